//! The cheap backend: HTTP/1.1 keep-alive and WebSocket on one port.
//!
//! - `GET /?n=BYTES`             a body of that many bytes
//! - WebSocket, `/source?size=S` sends messages of S bytes, from the client's first message on until
//!   its Close
//! - WebSocket, `/sink?size=S`   checks messages of S bytes; reports their number at the Close
//! - WebSocket, any other path   echoes
//!
//! A connection costs one read and one write for each batch of bytes, and keeps no buffer.

use crate::frame::{self, Decoder, Event};
use crate::message::{self, Checker, Template};
use crate::{handshake, http, scratch};
use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

const BACKLOG: i32 = 4096;
const LARGEST_BODY: usize = 16 * 1024 * 1024;
const LARGEST_HEAD: usize = 64 * 1024;
const DEFAULT_SIZE: usize = 65536;

thread_local! {
    /// What the current batch of bytes is answered with.
    static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static BODY: Vec<u8> = message::pattern(LARGEST_BODY);
}

pub fn serve(listen: SocketAddr, threads: usize) -> Result<()> {
    let threads: Vec<_> = (0..threads).map(|_| std::thread::spawn(move || serve_on_this_thread(listen))).collect();
    for thread in threads {
        thread.join().expect("a backend thread panicked")?;
    }
    Ok(())
}

fn serve_on_this_thread(listen: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = reuseport_listener(listen)?;
        loop {
            // Running out of descriptors must not end the backend.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                continue;
            };
            tokio::task::spawn_local(async move {
                // A peer that goes away is no fault of the backend.
                let _ = Connection::new(stream).serve().await;
            });
        }
    })
}

fn reuseport_listener(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).context("bind")?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into())?)
}

struct Connection {
    stream: TcpStream,
    state: State,
}

/// What the next bytes are. The buffers are empty while a connection is idle.
enum State {
    Http { head: Vec<u8> },
    Echo { decoder: Decoder },
    Sink { decoder: Decoder, checker: Checker, fault: Option<String> },
    Source { decoder: Decoder, template: Arc<Template>, started: bool },
    Closing,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let state = State::Http { head: Vec::new() };
        Self { stream, state }
    }

    async fn serve(mut self) -> Result<()> {
        self.stream.set_nodelay(true)?;
        loop {
            let state = &mut self.state;
            let read = scratch::read(&mut self.stream, |bytes| {
                OUTPUT.with_borrow_mut(|out| {
                    out.clear();
                    state.take(bytes, out)
                })
            });
            if read.await?.is_none() {
                return Ok(());
            }
            // No other task runs on this thread between the read and this use of OUTPUT.
            let unsent = OUTPUT.with_borrow(|out| self.send_now(out))?;
            self.stream.write_all(&unsent).await?;
            match self.state {
                State::Closing => return Ok(()),
                State::Source { decoder, template, started: true } => {
                    return send_until_close(self.stream, decoder, &template).await;
                }
                _ => {}
            }
        }
    }

    /// Writes as much as the socket takes, and returns the rest.
    fn send_now(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let sent = match self.stream.try_write(bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(bytes[sent..].to_vec())
    }
}

impl State {
    /// Takes a batch of bytes and puts the answer into `out`.
    fn take(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) -> Result<()> {
        match self {
            State::Http { head } => {
                head.extend_from_slice(bytes);
                self.take_requests(out)
            }
            State::Echo { decoder } => {
                if echo(decoder, bytes, out)? {
                    *self = State::Closing;
                }
                Ok(())
            }
            State::Sink { decoder, checker, fault } => {
                if sink(decoder, checker, fault, bytes)? {
                    let report = fault.take().unwrap_or_else(|| checker.messages().to_string());
                    frame::put_header(out, frame::TEXT, report.len() as u64, None);
                    out.extend_from_slice(report.as_bytes());
                    put_close(out);
                    *self = State::Closing;
                }
                Ok(())
            }
            State::Source { decoder, started, .. } => {
                *started = true;
                decoder.feed(bytes, |_| Ok(()))
            }
            State::Closing => Ok(()),
        }
    }

    /// Answers all requests that are complete.
    fn take_requests(&mut self, out: &mut Vec<u8>) -> Result<()> {
        while let State::Http { head } = self {
            let Some(len) = http::head_len(head) else {
                ensure!(head.len() < LARGEST_HEAD, "request head too large");
                return Ok(());
            };
            let mut rest = head.split_off(len);
            let next = answer(head, out)?;
            match next {
                None => *head = rest,
                Some(state) => {
                    *self = state;
                    if !rest.is_empty() {
                        return self.take(&mut rest, out);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Answers one request; returns the new state if it changes.
fn answer(head: &[u8], out: &mut Vec<u8>) -> Result<Option<State>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head)?;
    let path = request.path.unwrap_or("/");
    if let Some(key) = http::header(request.headers, "sec-websocket-key") {
        handshake::put_response(out, key);
        return Ok(Some(websocket_state(path)));
    }

    let len = http::query_number(path, "n").unwrap_or(0).min(LARGEST_BODY);
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n");
    out.extend_from_slice(format!("Content-Length: {len}\r\n\r\n").as_bytes());
    BODY.with(|body| out.extend_from_slice(&body[..len]));
    let wants_close = http::header(request.headers, "connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    Ok(wants_close.then_some(State::Closing))
}

fn websocket_state(path: &str) -> State {
    let size = http::query_number(path, "size").unwrap_or(DEFAULT_SIZE);
    let decoder = Decoder::default();
    if path.starts_with("/sink") {
        State::Sink { decoder, checker: Checker::new(Template::new(size)), fault: None }
    } else if path.starts_with("/source") {
        State::Source { decoder, template: Template::new(size), started: false }
    } else {
        State::Echo { decoder }
    }
}

/// Puts the bytes of frames back, unmasked; returns true after a Close.
fn echo(decoder: &mut Decoder, bytes: &mut [u8], out: &mut Vec<u8>) -> Result<bool> {
    let mut closed = false;
    decoder.feed(bytes, |event| {
        match event {
            Event::Start { opcode, len } => {
                closed |= opcode == frame::CLOSE;
                let opcode = if opcode == frame::PING { frame::PONG } else { opcode };
                frame::put_header(out, opcode, len, None);
            }
            Event::Data(data) => out.extend_from_slice(data),
            Event::End => {}
        }
        Ok(())
    })?;
    Ok(closed)
}

/// Checks messages and notes the first fault; returns true at a Close.
fn sink(decoder: &mut Decoder, checker: &mut Checker, fault: &mut Option<String>, bytes: &mut [u8]) -> Result<bool> {
    let mut closed = false;
    decoder.feed(bytes, |event| {
        let checked = match event {
            Event::Start { opcode, .. } if opcode == frame::CLOSE => {
                closed = true;
                Ok(())
            }
            Event::Start { opcode, len } => checker.start(opcode, len),
            Event::Data(data) if !closed => checker.data(data),
            Event::End if !closed => {
                checker.end();
                Ok(())
            }
            Event::Data(_) | Event::End => Ok(()),
        };
        if let Err(error) = checked {
            fault.get_or_insert_with(|| error.to_string());
        }
        Ok(())
    })?;
    Ok(closed)
}

/// Sends messages without end until the client sends a Close.
async fn send_until_close(mut stream: TcpStream, mut decoder: Decoder, template: &Template) -> Result<()> {
    let (mut reader, mut writer) = stream.split();
    let closed = Cell::new(false);
    let sending = async {
        let mut out = Vec::new();
        let mut number = 0;
        while !closed.get() {
            out.clear();
            template.put_server_frame(&mut out, number);
            number += 1;
            writer.write_all(&out).await?;
        }
        out.clear();
        put_close(&mut out);
        writer.write_all(&out).await?;
        Ok(())
    };
    let watching = async {
        while !closed.get() {
            let read = scratch::read(&mut reader, |bytes| {
                decoder.feed(bytes, |event| {
                    if matches!(event, Event::Start { opcode, .. } if opcode == frame::CLOSE) {
                        closed.set(true);
                    }
                    Ok(())
                })
            });
            read.await?.context("the client went away")?;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::try_join!(sending, watching).map(|_| ())
}

fn put_close(out: &mut Vec<u8>) {
    let code = 1000_u16.to_be_bytes();
    frame::put_header(out, frame::CLOSE, code.len() as u64, None);
    out.extend_from_slice(&code);
}
