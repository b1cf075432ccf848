//! tokio with one scratch buffer for each thread instead of two for each connection.
//!
//! A connection owns bytes only while its receiver is slow. This is the leanest relay that still
//! is ordinary tokio (and rustls) code: a single-threaded runtime with its own SO_REUSEPORT
//! listener on each thread.

use anyhow::Result;
use clap::Parser;
use limits::{Options, TlsOptions};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::Result as IoResult;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    tls: TlsOptions,
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let tls = arguments.tls.acceptor()?;
    arguments.options.run_on_each_thread(move |listener, options| {
        SCRATCH.set(vec![0; options.buffer]);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(accept(listener, options, tls.clone()))
    })
}

async fn accept(listener: std::net::TcpListener, options: Options, tls: Option<TlsAcceptor>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let backend = options.backend;
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        // A connection that fails is closed, and that is all there is to do. The two kinds are
        // separate tasks, so that a plain connection does not pay for the size of TLS.
        match tls.clone() {
            None => tokio::spawn(async move {
                let _ = client.set_nodelay(true);
                let _ = relay(client, backend).await;
            }),
            Some(tls) => tokio::spawn(async move {
                let _ = client.set_nodelay(true);
                if let Ok(client) = Box::pin(tls.accept(client)).await {
                    let _ = relay(client, backend).await;
                }
            }),
        };
    }
}

/// One way through the relay.
#[derive(Default)]
struct Way {
    /// Bytes the receiver has not taken yet.
    pending: Vec<u8>,
    ended: bool,
}

async fn relay(mut client: impl AsyncRead + AsyncWrite + Unpin, backend: std::net::SocketAddr) -> IoResult<()> {
    let mut backend = TcpStream::connect(backend).await?;
    backend.set_nodelay(true)?;
    let (mut up, mut down) = (Way::default(), Way::default());
    poll_fn(|cx| {
        let up = up.poll(cx, &mut client, &mut backend)?;
        let down = down.poll(cx, &mut backend, &mut client)?;
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

impl Way {
    /// Moves bytes until there are none, or the receiver is full, or the sender has ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<IoResult<()>> {
        loop {
            while !self.pending.is_empty() {
                let sent = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
                self.pending.drain(..sent);
                if self.pending.is_empty() {
                    self.pending = Vec::new();
                }
            }
            if self.ended {
                return Pin::new(to).poll_shutdown(cx);
            }
            match self.poll_read(cx, from, to)? {
                Poll::Ready(()) => {}
                Poll::Pending => {
                    ready!(Pin::new(to).poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads once into the scratch buffer and writes it on; keeps what the receiver refuses.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<IoResult<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            self.ended = bytes.is_empty();
            let mut sent = 0;
            while sent < bytes.len() {
                match Pin::new(&mut *to).poll_write(cx, &bytes[sent..])? {
                    Poll::Ready(count) => sent += count,
                    Poll::Pending => {
                        self.pending = bytes[sent..].to_vec();
                        break;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
    }
}
