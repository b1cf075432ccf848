//! One connection: TLS, its first bytes, then HTTP/1 or HTTP/2. And what the requests on it know of it.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::HeaderValue;
use tokio::time::Instant;

use super::clock::Rack;
use super::finished::Finished;
use super::upgrade::Takeover;
use super::{Entry, Times, http1, http2, respond};
use crate::base::{millis, now};
use crate::listen::Accepted;
use crate::net::{Peer, Socket, Stream, TapHandle, TapTimes, begin, ip_text, lingering_close};
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
    pub(super) fn take_over(&self, takeover: Box<Takeover>) {
        *self.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
    }

    pub(super) fn taken_over(&self) -> Option<Box<Takeover>> {
        self.takeover.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(entry: Arc<Entry>, accepted: Accepted) {
    let Accepted { socket, peer, permit } = accepted;
    let settings = entry.shared.world.load().settings.clone();
    let begun = Instant::now();
    let shutdown = entry.shared.shutdown.clone();
    let mut draining = pin!(shutdown.draining()); // once for all that waits here: to register is not for nothing
    let (mut stream, alpn) = match &entry.tls {
        None => (Stream::from(socket), Alpn::None),
        Some(acceptor) => match first_byte(&socket, draining.as_mut(), &settings.times).await {
            Ok(Hello::Gone) => return,
            Ok(Hello::PlainText) => return respond::plain_on_tls(socket, peer).await,
            Ok(Hello::Tls) => {
                let time = settings.times.tls.saturating_sub(begun.elapsed());
                // Boxed, as are connections of HTTP/2: most tasks have no room for them.
                match Box::pin(acceptor.accept(socket, time, settings.record_layer)).await {
                    Ok(secured) => (secured.stream, secured.alpn),
                    Err(error) => return respond::failed_tls(error, peer).await,
                }
            }
            Err(error) => return respond::failed_tls(error, peer).await,
        },
    };
    if alpn == Alpn::H2 {
        return Box::pin(http2::serve(&entry, peer, stream, &settings)).await;
    }
    let times = &settings.times;
    let Some(mut beginning) = begin(&mut stream, times.keep_alive, times.head, draining.as_mut()).await else {
        respond::silent(peer);
        return lingering_close(stream).await;
    };
    if beginning.http2 && alpn == Alpn::None {
        stream.unread(std::mem::take(&mut beginning.read));
        return Box::pin(http2::serve(&entry, peer, stream, &settings)).await;
    }
    http1::serve(&entry, peer, (stream, permit), (beginning, draining), &settings).await;
}

/// What a client on a TLS port begins with. One that has sent nothing when the drain begins is gone.
async fn first_byte(socket: &Socket, draining: impl Future<Output = ()>, times: &Times) -> Result<Hello, AcceptError> {
    tokio::select! {
        biased;
        hello = Hello::sniff(socket, times.tls) => hello,
        () = draining => Ok(Hello::Gone),
    }
}

pub(super) fn tap_times(times: &Times) -> TapTimes {
    TapTimes { head: times.head, keep_alive: times.keep_alive, send: times.send }
}
