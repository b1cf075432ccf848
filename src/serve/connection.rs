//! One connection: TLS, then h1 or h2, then hyper drives until it closes or becomes a tunnel.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::upgrade::{self, Takeover};
use super::{Entry, Settings, Times, exchange, respond};
use crate::base::Tasks;
use crate::listen::{Accepted, Permit};
use crate::net::{Clock, LINGER_TIME, Peer, Socket, Stream, Tap, TapHandle, TapTimes, begin, lingering_close, reset_on_close};
use crate::tls::{AcceptError, Alpn, Hello};

/// Our window for one h2 stream, and for all streams of a connection: one stalled upload cannot stop the
/// others before 16 have stalled. What is received and not yet forwarded is bounded by the latter.
const H2_STREAM_WINDOW: u32 = 64 << 10;
const H2_CONNECTION_WINDOW: u32 = 1 << 20;
/// What is queued to send on one h2 stream before the backend is made to wait.
const H2_SEND_BUFFER: usize = 64 << 10;

/// What every exchange on a connection knows of it.
pub(super) struct Connection {
    pub(super) entry: Arc<Entry>,
    pub(super) peer: Peer,
    pub(super) secure: bool,
    /// The hold on the input of h1; `None` on h2.
    pub(super) tap: Option<TapHandle>,
    /// Exchanges alive (h2).
    pub(super) exchanges: AtomicUsize,
    begun: Instant,
    /// Milliseconds from `begun` to the end of the last exchange.
    used: AtomicU64,
    /// An answer was cut whose length only the close would have told: the close must be a reset.
    pub(super) cut: std::sync::atomic::AtomicBool,
    /// Set by an exchange that wants the connection for a tunnel.
    takeover: Mutex<Option<Takeover>>,
}

impl Connection {
    fn new(entry: &Arc<Entry>, peer: Peer, secure: bool, tap: Option<TapHandle>) -> Arc<Self> {
        Arc::new(Self {
            entry: entry.clone(),
            peer,
            secure,
            tap,
            exchanges: AtomicUsize::new(0),
            begun: Instant::now(),
            used: AtomicU64::new(0),
            cut: false.into(),
            takeover: Mutex::new(None),
        })
    }

    /// An exchange has ended now.
    pub(super) fn touch(&self) {
        self.used.store(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Asks for the connection. The caller then waits for ever: its future is dropped with hyper's state.
    pub(super) fn take_over(&self, takeover: Takeover) {
        *self.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
    }

    fn taken_over(&self) -> Option<Takeover> {
        self.takeover.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(entry: Arc<Entry>, accepted: Accepted) {
    let Accepted { socket, peer, permit } = accepted;
    let settings = entry.shared.world.load().settings.clone();
    let begun = Instant::now();
    let (mut stream, alpn) = match &entry.tls {
        None => (Stream::from(socket), Alpn::None),
        Some(acceptor) => match first_byte(&socket, &entry, &settings.times).await {
            Ok(Hello::Gone) => return,
            Ok(Hello::PlainText) => return respond::plain_on_tls(socket, peer).await,
            Ok(Hello::Tls) => match acceptor.accept(socket, settings.times.tls.saturating_sub(begun.elapsed())).await {
                Ok(secured) => (secured.stream, secured.alpn),
                Err(error) => return respond::failed_tls(error, peer).await,
            },
            Err(error) => return respond::failed_tls(error, peer).await,
        },
    };
    let (http2, begun) = match alpn {
        Alpn::H2 => (true, None),
        Alpn::Http1 => (false, None),
        Alpn::None => {
            let times = &settings.times;
            let Some(beginning) = begin(&mut stream, times.keep_alive, times.head, entry.shared.shutdown.draining()).await else {
                respond::silent(peer);
                return lingering_close(stream).await;
            };
            (beginning.http2, Some(beginning.at))
        }
    };
    if http2 {
        serve_http2(&entry, peer, stream, &settings).await;
    } else {
        serve_http1(&entry, peer, stream, &settings, (permit, begun)).await;
    }
}

/// What a client on a TLS port begins with. One that has sent nothing when the drain begins is gone.
async fn first_byte(socket: &Socket, entry: &Entry, times: &Times) -> Result<Hello, AcceptError> {
    tokio::select! {
        biased;
        hello = Hello::sniff(socket, times.tls) => hello,
        () = entry.shared.shutdown.draining() => Ok(Hello::Gone),
    }
}

fn tap_times(times: &Times) -> TapTimes {
    TapTimes { head: times.head, keep_alive: times.keep_alive, send: times.send }
}

/// What ended hyper's part of an h1 connection.
enum End {
    Http(hyper::Result<()>),
    Tunnel(Takeover),
}

async fn serve_http1(
    entry: &Arc<Entry>,
    peer: Peer,
    stream: Stream,
    settings: &Settings,
    (permit, begun): (Permit, Option<Instant>),
) {
    let (tap, handle) = Tap::new(stream, tap_times(&settings.times));
    let tap = tap.with_longest_line(settings.heads.bytes).begun_at(begun);
    let connection = Connection::new(entry, peer, tap.is_tls(), Some(handle.clone()));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None); // the tap has the clocks
    builder.preserve_header_case(true).title_case_headers(true);
    builder.max_header_size(settings.heads.bytes).max_buf_size(settings.heads.bytes.max(64 << 10));
    if settings.heads.count != 100 {
        builder.max_headers(settings.heads.count); // hyper's default needs no heap
    }
    // The service begins in the call itself, before hyper can read on: the tap has to know.
    let service = service_fn(|request| {
        let begun = exchange::begin(&connection, request);
        Box::pin(exchange::exchange(connection.clone(), begun)) // `poll_without_shutdown` wants it unpinned
    });
    let mut http = builder.serve_connection(TokioIo::new(tap), service);
    let end = {
        let mut draining = pin!(entry.shared.shutdown.draining());
        let mut ended = pin!(entry.shared.shutdown.ended());
        let mut told = false;
        poll_fn(|cx| {
            if !told && draining.as_mut().poll(cx).is_ready() {
                told = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            if let Poll::Ready(result) = http.poll_without_shutdown(cx) {
                return Poll::Ready(End::Http(result));
            }
            if let Some(takeover) = connection.taken_over() {
                return Poll::Ready(End::Tunnel(takeover));
            }
            ended.as_mut().poll(cx).map(|()| End::Http(Ok(())))
        })
        .await
    };
    let parts = http.into_parts();
    let (mut stream, held) = parts.io.into_inner().into_parts();
    match end {
        End::Tunnel(takeover) => {
            stream.unread(held);
            stream.unread(parts.read_buf);
            let shared = entry.shared.clone();
            let linger = settings.times.linger;
            // A task of its own: this one's size is that of HTTP, and a tunnel lives for hours.
            entry.shared.tasks.spawn("tunnel", upgrade::tunnel(shared, peer, takeover, stream, linger, permit));
        }
        End::Http(result) => close_http1(&connection, &handle, stream, result).await,
    }
}

async fn close_http1(connection: &Connection, tap: &TapHandle, mut stream: Stream, result: hyper::Result<()>) {
    if let Err(error) = &result {
        respond::failed_http(error, tap, connection);
    }
    if tap.expired() == Some(Clock::Send) {
        return reset_on_close(stream.socket());
    }
    if let Some(answer) = respond::without_hyper(tap)
        && !matches!(timeout(LINGER_TIME, stream.write_all(answer.as_bytes())).await, Ok(Ok(())))
    {
        return; // a peer that takes nothing, or is gone
    }
    if connection.cut.load(Ordering::Relaxed) {
        return reset_on_close(stream.socket());
    }
    lingering_close(stream).await;
}

async fn serve_http2(entry: &Arc<Entry>, peer: Peer, stream: Stream, settings: &Settings) {
    let secure = stream.is_tls();
    let (tap, handle) = Tap::passing(stream, tap_times(&settings.times), settings.h2_streams);
    let connection = Connection::new(entry, peer, secure, None);
    let mut builder = http2::Builder::new(Streams(entry.shared.tasks.clone()));
    builder.timer(TokioTimer::new());
    builder.max_concurrent_streams(settings.h2_streams).max_send_buf_size(H2_SEND_BUFFER);
    builder.initial_stream_window_size(H2_STREAM_WINDOW).initial_connection_window_size(H2_CONNECTION_WINDOW);
    builder.max_header_list_size(u32::try_from(settings.heads.bytes).unwrap_or(u32::MAX));
    let service = service_fn(|request| {
        let begun = exchange::begin(&connection, request);
        exchange::exchange(connection.clone(), begun)
    });
    let mut http = pin!(builder.serve_connection(TokioIo::new(tap), service));
    let shutdown = &entry.shared.shutdown;
    let (mut told, mut unused) = (false, false);
    let result = loop {
        tokio::select! {
            biased;
            result = http.as_mut() => break result,
            () = shutdown.ended() => break Ok(()),
            () = handle.flooded() => {
                respond::flooded(peer);
                break Ok(());
            }
            () = shutdown.draining(), if !told => {
                told = true;
                http.as_mut().graceful_shutdown();
            }
            () = idle(&connection, settings.times.keep_alive), if !told => {
                (told, unused) = (true, true);
                http.as_mut().graceful_shutdown();
            }
            // hyper closes when the client has answered its PING; one that does not is not waited for.
            () = idle(&connection, LINGER_TIME), if unused => break Ok(()),
        }
    };
    if let Err(error) = result {
        respond::failed_http(&error, &handle, &connection);
    }
}

/// Completes when no exchange has been alive for `time`.
async fn idle(connection: &Connection, time: Duration) {
    loop {
        let since = connection.begun + Duration::from_millis(connection.used.load(Ordering::Relaxed));
        let alive = connection.exchanges.load(Ordering::Relaxed) > 0;
        if !alive && since.elapsed() >= time {
            return;
        }
        // Looked at, not told: a look each `time` costs nothing, and the end of idleness is never early.
        tokio::time::sleep_until(if alive { Instant::now() } else { since } + time).await;
    }
}

/// Lets hyper start its tasks where ours are counted.
#[derive(Clone)]
struct Streams(Tasks);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("h2 stream", future);
    }
}
