//! One connection: TLS, then h1 or h2, then hyper drives until it closes or becomes a tunnel.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::body::{ClientBody, Reply};
use super::clock::Rack;
use super::exchange::{self, Begun, Outcome};
use super::finished::Finished;
use super::slot::{News, Slot};
use super::upgrade::{self, Client, Takeover};
use super::{Entry, Settings, Times, http2, respond};
use crate::base::{Turn, millis, now};
use crate::listen::{Accepted, Permit};
use crate::net::{Clock, LINGER_TIME, Peer, Socket, Stream, Tap, TapHandle, TapTimes, begin, ip_text, lingering_close};
use crate::tls::{AcceptError, Alpn, Hello};

/// What every exchange on a connection knows of it.
pub(super) struct Connection {
    pub(super) entry: Arc<Entry>,
    pub(super) peer: Peer,
    /// Its address as a field's value: for `X-Forwarded-For`.
    pub(super) peer_value: Option<HeaderValue>,
    /// It as records have it.
    peer_text: OnceLock<Box<str>>,
    pub(super) secure: bool,
    /// The hold on the input of h1; `None` on h2.
    pub(super) tap: Option<TapHandle>,
    /// Exchanges alive (h2).
    pub(super) exchanges: AtomicUsize,
    pub(super) begun: Instant,
    /// Milliseconds from `begun` to the end of the last exchange.
    pub(super) used: AtomicU64,
    /// An answer was cut whose length only the close would have told: the close must be a reset.
    pub(super) cut: std::sync::atomic::AtomicBool,
    /// Set by an exchange that wants the connection for a tunnel.
    takeover: Mutex<Option<Box<Takeover>>>,
    /// The timer of answers.
    pub(super) rack: Rack,
    /// Records that are to be written.
    pub(super) finished: Finished,
}

impl Connection {
    pub(super) fn new(entry: &Arc<Entry>, peer: Peer, secure: bool, tap: Option<TapHandle>) -> Arc<Self> {
        Arc::new(Self {
            entry: entry.clone(),
            peer,
            peer_value: peer.ip_address().and_then(|address| HeaderValue::try_from(ip_text(address.to_canonical())).ok()),
            peer_text: OnceLock::new(),
            secure,
            tap,
            exchanges: AtomicUsize::new(0),
            begun: Instant::now(),
            used: AtomicU64::new(0),
            cut: false.into(),
            takeover: Mutex::new(None),
            rack: Rack::default(),
            finished: Finished::default(),
        })
    }

    /// Its peer as records have it.
    pub(super) fn peer_text(&self) -> &str {
        self.peer_text.get_or_init(|| self.peer.to_string().into())
    }

    /// An exchange has ended now.
    pub(super) fn touch(&self) {
        self.used.store(millis(now().saturating_duration_since(self.begun)), Ordering::Relaxed);
    }

    /// Asks for the connection. The caller then waits for ever: its future is dropped with hyper's state.
    fn take_over(&self, takeover: Box<Takeover>) {
        *self.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
    }

    fn taken_over(&self) -> Option<Box<Takeover>> {
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
            Ok(Hello::Tls) => {
                let time = settings.times.tls.saturating_sub(begun.elapsed());
                match acceptor.accept(socket, time, settings.record_layer).await {
                    Ok(secured) => (secured.stream, secured.alpn),
                    Err(error) => return respond::failed_tls(error, peer).await,
                }
            }
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
        http2::serve(&entry, peer, stream, &settings).await;
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

pub(super) fn tap_times(times: &Times) -> TapTimes {
    TapTimes { head: times.head, keep_alive: times.keep_alive, send: times.send }
}

/// What ended hyper's part of an h1 connection.
enum End {
    Http(hyper::Result<()>),
    Tunnel(Box<Takeover>),
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
    let records = connection.finished.later();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None); // the tap has the clocks
    builder.max_header_size(settings.heads.bytes).max_buf_size(settings.heads.bytes.max(64 << 10));
    if settings.heads.count != 100 {
        builder.max_headers(settings.heads.count); // hyper's default needs no heap
    }
    let slot = Slot::new();
    // The service begins in the call itself, before hyper can read on: the tap has to know.
    let service = service_fn(|request: Request<Incoming>| {
        let begun = exchange::begin(&connection, request.map(ClientBody::Http1));
        slot.place(exchange(connection.clone(), begun))
    });
    let mut http = builder.serve_connection(TokioIo::new(tap), service);
    let end = {
        let shutdown = &entry.shared.shutdown;
        let mut draining = pin!(shutdown.draining());
        let mut ended = pin!(shutdown.ended());
        let mut told = false;
        let mut wakers: Option<(Arc<News>, Waker)> = None;
        poll_fn(|cx| {
            let _turn = Turn::begin();
            let (news, news_waker) = wakers.get_or_insert_with(|| {
                // These wake this task, which has one waker all its life: after the first turn a look is enough. One that
                // is over already is seen by the look as well.
                let _over = [draining.as_mut().poll(cx).is_ready(), ended.as_mut().poll(cx).is_ready()];
                slot.wakes(cx.waker());
                let news = News::new(cx.waker());
                (news.clone(), news.into())
            });
            records.write(); // of the turn before
            let mut is_for_hyper = news.take();
            if !told && shutdown.is_draining() {
                told = true;
                is_for_hyper = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            // The exchange may in turn have news for hyper: it wants more of a body.
            is_for_hyper = is_for_hyper || slot.poll().is_ready() || news.take();
            if is_for_hyper && let Poll::Ready(result) = http.poll_without_shutdown(&mut Context::from_waker(news_waker)) {
                return Poll::Ready(End::Http(result));
            }
            if records.has_any() {
                cx.waker().wake_by_ref();
            }
            if let Some(takeover) = connection.taken_over() {
                return Poll::Ready(End::Tunnel(takeover));
            }
            if shutdown.has_ended() { Poll::Ready(End::Http(Ok(()))) } else { Poll::Pending }
        })
        .await
    };
    let parts = http.into_parts();
    drop(records);
    let (mut stream, held) = parts.io.into_inner().into_parts();
    match end {
        End::Tunnel(takeover) => {
            stream.unread(held);
            stream.unread(parts.read_buf);
            let shared = entry.shared.clone();
            let linger = settings.times.linger;
            Box::pin(upgrade::tunnel(shared, takeover, Client::Http1(stream, permit), linger)).await;
        }
        End::Http(result) => close_http1(&connection, &handle, stream, result).await,
    }
}

/// Answers a request. Where it became a tunnel the future never completes: the connection's driver sees that,
/// and drops it with the rest of HTTP.
async fn exchange(connection: Arc<Connection>, begun: Box<Begun>) -> Result<Response<Reply>, Infallible> {
    match exchange::exchange(connection.clone(), begun).await {
        Outcome::Answer(mut answer) => {
            if let Some(tap) = &connection.tap {
                tap.spell(answer.body_mut().take_names());
            }
            Ok(answer)
        }
        Outcome::Tunnel(takeover, _alive) => {
            connection.take_over(takeover);
            std::future::pending().await
        }
    }
}

async fn close_http1(connection: &Connection, tap: &TapHandle, mut stream: Stream, result: hyper::Result<()>) {
    if let Err(error) = &result {
        respond::failed_http(error, tap, connection);
    }
    if tap.expired() == Some(Clock::Send) {
        return stream.reset_on_close();
    }
    if let Some(answer) = respond::without_hyper(tap)
        && !matches!(timeout(LINGER_TIME, stream.write_all(answer.as_bytes())).await, Ok(Ok(())))
    {
        return; // a peer that takes nothing, or is gone
    }
    if connection.cut.load(Ordering::Relaxed) {
        return stream.reset_on_close();
    }
    lingering_close(stream).await;
}
