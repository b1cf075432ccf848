//! The demo's backend: a hyper server on a loopback port of the kernel's choice, and its six addresses.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, broadcast};

use super::answers::{Answer, answer, json, text};
use super::chat::{self, Room};
use super::socket::{self, Socket};
use super::traffic::Traffic;
use super::{echo, events, poll};
use crate::base::{Shutdown, Tasks};

const PAGE: &str = include_str!("chat.html");
/// The page needs nothing from elsewhere, and says so.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     img-src data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// More than a demo needs, and far from the memory that unbounded ones would take.
const CONNECTIONS: usize = 1024;
/// For a head, and between two requests of a connection (hyper has one clock for both).
const HEAD_TIME: Duration = Duration::from_secs(30);
/// After a failed accept (no more open files, say): it may work again soon.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running backend. Dropping it changes nothing: its shutdown token ends it.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    pub(super) place: Place,
}

impl Backend {
    /// Binds and starts, inside a tokio runtime. It ends when `shutdown` drains: sockets get 1001.
    pub fn start(tasks: &Tasks, shutdown: Shutdown) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let (room, traffic) = (Arc::new(Room::new()), Arc::new(Traffic::new()));
        let place = Place { room, traffic, shutdown, tasks: tasks.clone() };
        tasks.spawn("demo backend", place.clone().accept(listener));
        Ok(Self { address, place })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A line for everything that happens from now on: who joined, what was echoed. A receiver that falls
    /// behind misses lines (`RecvError::Lagged`); it never
    /// ends before the backend is dropped.
    pub fn traffic(&self) -> broadcast::Receiver<String> {
        self.place.traffic.watch()
    }
}

/// What every connection shares.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) room: Arc<Room>,
    traffic: Arc<Traffic>,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl Place {
    async fn accept(self, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = async {
                    let permit = permits.clone().acquire_owned().await;
                    (listener.accept().await, permit)
                } => accepted,
                () = self.shutdown.draining() => return,
            };
            let (Ok((stream, _)), Ok(permit)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let place = self.clone();
            self.tasks.spawn("demo connection", async move {
                place.connection(stream).await;
                drop(permit);
            });
        }
    }

    async fn connection(&self, stream: TcpStream) {
        // Small messages, each of which someone waits for. A socket that refuses it works all the same.
        stream.set_nodelay(true).ok();
        let service = service_fn(async |request| Ok::<_, Infallible>(self.answer(request).await));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(64 << 10)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        // An error is a visitor that went away in the middle: nothing here depends on it.
        tokio::select! {
            done = connection.as_mut() => return drop(done),
            () = self.shutdown.draining() => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            () = self.shutdown.ended() => {}
        }
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Answer {
        self.traffic.requests.fetch_add(1, Relaxed);
        let path = request.uri().path().to_owned();
        if matches!(path.as_str(), "/chat" | "/echo") {
            let answer = socket::accept(&request);
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                self.upgrade(&path, hyper::upgrade::on(&mut request));
            }
            return answer;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let head = request.method() == Method::HEAD;
        match path.as_str() {
            "/" => {
                self.traffic.tell("http", format_args!("the page, to {}", client(request.headers())));
                page()
            }
            // To HEAD, the head of the stream and no stream; no waiting either.
            "/events" if head => answer(StatusCode::OK, "text/event-stream", ""),
            "/poll" if head => text(StatusCode::NO_CONTENT, ""),
            "/events" => events::stream(self.traffic.clone(), self.shutdown.clone()),
            "/poll" => poll::answer(request.uri().query(), &self.room, &self.traffic, &self.shutdown).await,
            "/headers" => {
                self.traffic.tell("http", format_args!("/headers, to {}", client(request.headers())));
                headers(&request)
            }
            _ => text(StatusCode::NOT_FOUND, "not here: try /, /chat, /echo, /events, /poll, /headers\n"),
        }
    }

    /// The conversation after the 101, as a task of its own: the connection's ends with the answer.
    fn upgrade(&self, path: &str, upgrade: OnUpgrade) {
        let (place, chat) = (self.clone(), path == "/chat");
        self.tasks.spawn("demo socket", async move {
            let Ok(io) = upgrade.await else { return };
            let shutdown = place.shutdown.clone();
            tokio::select! {
                () = place.converse(chat, TokioIo::new(io)) => {}
                () = shutdown.ended() => {}
            }
        });
    }

    async fn converse(&self, chat: bool, io: TokioIo<Upgraded>) {
        if chat {
            let mut socket = Socket::new(io, chat::MAX, chat::WRITE_TIME).await;
            let end = chat::converse(&mut socket, &self.room, &self.traffic, &self.shutdown).await;
            socket.end(end).await;
        } else {
            self.traffic.tell("echo", format_args!("opened"));
            let mut socket = Socket::new(io, echo::MAX, echo::WRITE_TIME).await;
            let end = echo::converse(&mut socket, &self.traffic, &self.shutdown).await;
            self.traffic.tell("echo", format_args!("{end}"));
            socket.end(end).await;
        }
    }
}

fn page() -> Answer {
    let mut page = answer(StatusCode::OK, "text/html; charset=utf-8", PAGE);
    page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    page
}

/// The request as it arrived here: what a proxy added is in plain sight.
fn headers(request: &Request<Incoming>) -> Answer {
    let mut fields = serde_json::Map::new();
    for name in request.headers().keys() {
        let values = request.headers().get_all(name).into_iter();
        let mut values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into()).collect();
        let value = if values.len() == 1 { values.pop() } else { None };
        fields.insert(name.to_string(), value.unwrap_or(serde_json::Value::Array(values)));
    }
    let line = format!("{} {} {:?}", request.method(), request.uri(), request.version());
    let body = serde_json::json!({ "request": line, "headers": fields });
    json(format!("{body:#}\n"))
}

/// Whom the proxy says it is for. For a line on a terminal: header values hold no control characters
/// but tab, and bytes above ASCII are not shown.
fn client(headers: &HeaderMap) -> String {
    let said = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    said.unwrap_or("someone without a proxy").chars().take(64).collect()
}
