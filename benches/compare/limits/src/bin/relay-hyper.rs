//! hyper on both sides and nothing in between: what parsing and writing HTTP/1.1 costs at least
//! in a proxy built on hyper. HTTP only, no upgrades.
//!
//! A single-threaded runtime with its own SO_REUSEPORT listener and its own idle backend
//! connections on each thread. With `--cert` and `--key` it terminates TLS (rustls).

use anyhow::Result;
use clap::Parser;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use limits::{Options, TlsOptions};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    tls: TlsOptions,
}

thread_local! {
    /// Backend connections; those at the front have been idle for longest.
    static POOL: RefCell<VecDeque<SendRequest<Incoming>>> = const { RefCell::new(VecDeque::new()) };
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let tls = arguments.tls.acceptor()?;
    arguments.options.run_on_each_thread(move |listener, options| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, accept(listener, options.backend, tls.clone()))
    })
}

async fn accept(listener: std::net::TcpListener, backend: SocketAddr, tls: Option<TlsAcceptor>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let tls = tls.clone();
        spawn_local(async move {
            client.set_nodelay(true)?;
            match tls {
                None => serve(client, backend).await,
                Some(tls) => serve(tls.accept(client).await?, backend).await,
            }
        });
    }
}

async fn serve(client: impl AsyncRead + AsyncWrite + Unpin + 'static, backend: SocketAddr) -> Result<()> {
    let forward = service_fn(move |request| forward(request, backend));
    http1::Builder::new().serve_connection(TokioIo::new(client), forward).await?;
    Ok(())
}

async fn forward(request: Request<Incoming>, backend: SocketAddr) -> Result<Response<Incoming>> {
    let mut sender = match idle_sender() {
        Some(sender) => sender,
        None => connect(backend).await?,
    };
    let response = sender.send_request(request).await?;
    // It is ready again once the body has been read, which `idle_sender` checks.
    POOL.with_borrow_mut(|pool| pool.push_back(sender));
    Ok(response)
}

fn idle_sender() -> Option<SendRequest<Incoming>> {
    POOL.with_borrow_mut(|pool| {
        pool.retain(|sender| !sender.is_closed());
        let at = pool.iter().position(SendRequest::is_ready)?;
        pool.remove(at)
    })
}

async fn connect(backend: SocketAddr) -> Result<SendRequest<Incoming>> {
    let stream = TcpStream::connect(backend).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    spawn_local(connection);
    Ok(sender)
}
