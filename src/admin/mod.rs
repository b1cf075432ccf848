//! What operators see and say, on an address of its own. For now: `/healthz`. It judges nothing itself.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::base::{Shutdown, Tasks};

/// Enough for every probe of a cluster, and a bound on what a stranger can hold open.
const CONNECTIONS: usize = 64;
/// For a head, and between two requests of a connection.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// After a failed accept (no more open files, say): it may work again soon.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where; meant for loopback or a private network.
    pub address: SocketAddr,
}

/// What is told.
#[derive(Clone, Debug)]
pub struct State {
    /// The token of the service: once it drains, `/healthz` is 503, so that no one sends new clients here.
    pub service: Shutdown,
}

/// The admin address cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, cause } = self;
        match cause.kind() {
            io::ErrorKind::AddrInUse => write!(f, "the admin address {address} is taken by another program"),
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "the admin address {address} is not an address of this machine")
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "the admin address {address} may not be used by this user; \
                 ports below 1024 need CAP_NET_BIND_SERVICE"
            ),
            _ => write!(f, "cannot listen on the admin address {address}: {cause}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Binds the admin address; connections wait in the kernel's queue until `serve`.
pub fn bind(settings: &Settings) -> Result<std::net::TcpListener, BindError> {
    let bound = std::net::TcpListener::bind(settings.address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|cause| BindError { address: settings.address, cause })
}

/// Answers on `listener` until `shutdown` drains, inside a tokio runtime.
///
/// `shutdown` is the admin listener's own end, not the service's: drain it, and wait for `tasks`, after the
/// service is gone, else nobody hears the 503.
pub fn serve(listener: std::net::TcpListener, state: State, shutdown: Shutdown, tasks: &Tasks) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    tasks.spawn("admin listener", accept(listener, state, shutdown, tasks.clone()));
    Ok(())
}

async fn accept(listener: TcpListener, state: State, shutdown: Shutdown, tasks: Tasks) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = async {
                let permit = permits.clone().acquire_owned().await;
                (listener.accept().await, permit)
            } => accepted,
            () = shutdown.draining() => return,
        };
        let (Ok((stream, _)), Ok(permit)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (state, shutdown) = (state.clone(), shutdown.clone());
        tasks.spawn("admin connection", async move {
            connection(stream, &state, &shutdown).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, state: &State, shutdown: &Shutdown) {
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request, state)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // An error is a client that went away or spoke nonsense; hyper has answered what can be answered.
    tokio::select! {
        done = connection.as_mut() => return drop(done),
        () = shutdown.draining() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = shutdown.ended() => {}
    }
}

fn answer<B>(request: &Request<B>, state: &State) -> Response<Full<Bytes>> {
    let known = request.uri().path() == "/healthz" && matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, body) = match known {
        true if state.service.is_draining() => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::NOT_FOUND, "not found; try /healthz\n"),
    };
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests;
