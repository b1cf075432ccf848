//! Byte streams to a server over HTTP/2, by extended CONNECT (RFC 8441): many on one connection, on connections
//! apart from those for requests. Whether a server takes it, its settings say; what the streams are for, others.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, Reason};
use http::{HeaderMap, Request, Response};
use tokio::time::{Instant, timeout};

use super::answer::AnswerBody;
use super::backend::{Lease, Server};
use super::connection::to_http2;
use super::{DialError, Protocol, Scheme};
use crate::net::{Beneath, H2Body, H2Stream, Place, Stream};
use crate::tls::{Alpn, ClientAlpn};

/// How many streams share a connection at most, whatever more the server would take.
const STREAMS: usize = 128;
/// One stream's window toward us: what one client that takes nothing may have wait here.
const STREAM_WINDOW: u32 = 64 << 10;
/// All of them together, so that no number of clients that take nothing stops the others: 8 MiB. So a stream's
/// memory is its window and its send buffer.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW << STREAMS.trailing_zeros();
/// What is queued to send on one stream before the client is made to wait.
const SEND_BUFFER: usize = 64 << 10;
/// What h2 may spend on keeping track of received frames that are smaller than what it takes to keep track of one
/// (256 bytes); beyond that it ends the connection with all its streams. A window full of messages of 50 bytes is
/// 270 KiB of it: that of 120 clients that take nothing.
const SMALL_FRAMES: usize = 32 << 20;
/// How long a server that does not take it is not asked again.
const DECLINED_TIME: Duration = Duration::from_secs(60);

/// What a server said to an extended CONNECT.
#[derive(Debug)]
pub enum Connected {
    /// A 2xx: its fields, and the stream.
    Stream(HeaderMap, Stream),
    /// Any other answer, which is ordinary HTTP.
    Answer(Response<AnswerBody>),
}

/// Why it said nothing.
#[derive(Debug)]
pub enum ConnectError {
    /// There is no connection.
    Dial(DialError),
    /// The server has not looked at it, or has gone before an answer: another one may be asked.
    Unseen(h2::Error),
    /// The server would have none of it, and gave no answer.
    Refused(h2::Error),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Unseen(error) => write!(f, "it ended the stream or connection before an answer to the handshake ({error})"),
            Self::Refused(error) => write!(f, "it reset the stream of the handshake ({error})"),
        }
    }
}

impl Lease {
    /// Whether it may take a handshake over HTTP/2: what to ask of it otherwise need not be made.
    pub fn may_connect(&self) -> bool {
        self.server.may_carry() && !self.server.carriers.is_declined()
    }

    /// Asks the leased server for a stream: `request` is CONNECT in origin form with `Host`, hop-by-hop fields
    /// gone. `None`: it does not take this over HTTP/2, and is to be asked over HTTP/1.1.
    pub async fn extended_connect(
        &self,
        request: Request<()>,
        protocol: &'static str,
    ) -> Result<Option<Connected>, ConnectError> {
        let server = &self.server;
        if !self.may_connect() {
            return Ok(None);
        }
        let mut request = request;
        request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
        to_http2(&mut request, self);
        let mut shared = server.carriers.place();
        loop {
            let (carrier, place, fresh) = match shared.take() {
                Some((carrier, place)) => (carrier, place, false),
                None => match server.carriers.dial(server).await.map_err(ConnectError::Dial)? {
                    Some((carrier, place)) => (carrier, place, true),
                    None => return Ok(None),
                },
            };
            let mut doubt = Doubt { server, carrier: &carrier, since: Instant::now(), answered: false };
            let asked = carrier.ask(request.clone(), place, self).await;
            doubt.answered = true;
            drop(doubt);
            match asked {
                Ok(connected) => return Ok(Some(connected)),
                Err(error) if error.reason() == Some(Reason::HTTP_1_1_REQUIRED) => {
                    server.carriers.decline();
                    return Ok(None);
                }
                Err(error) if is_unseen(&error) => {
                    server.carriers.forget(&carrier);
                    if fresh {
                        return Err(ConnectError::Unseen(error));
                    }
                    // Once more, on a connection that nobody has closed yet.
                }
                Err(error) => return Err(ConnectError::Refused(error)),
            }
        }
    }
}

/// Drops a connection on which a handshake was given up after a time: if the fault is the connection's, the next
/// handshake is not to suffer from it too. Its streams keep it.
struct Doubt<'a> {
    server: &'a Server,
    carrier: &'a Arc<Carrier>,
    since: Instant,
    answered: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        // A client that soon changes its mind proves nothing.
        if !self.answered && self.since.elapsed() >= self.server.settings.connect_time {
            self.server.carriers.forget(self.carrier);
        }
    }
}

/// Whether a server has not looked at a stream (RFC 9113 section 8.7), or is gone.
fn is_unseen(error: &h2::Error) -> bool {
    error.reason() == Some(Reason::REFUSED_STREAM) || (error.is_go_away() && error.is_remote()) || error.is_io()
}

impl Server {
    fn may_carry(&self) -> bool {
        match self.address.scheme {
            Scheme::H2c => true,
            Scheme::Https => self.settings.protocol == Protocol::H2,
            Scheme::Http => false,
        }
    }
}

/// The connections that carry streams to one server.
#[derive(Debug, Default)]
pub(super) struct Carriers {
    state: Mutex<State>,
    /// Held by who dials, so that those who come at once share what comes of it.
    dialling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    carriers: Vec<(Arc<Carrier>, Instant)>,
    /// When the server showed that it does not take extended CONNECT.
    declined: Option<Instant>,
    /// When it could not be dialled.
    failed: Option<Instant>,
}

#[derive(Debug)]
struct Carrier {
    sender: SendRequest<Bytes>,
    beneath: Beneath,
    /// The connection has ended.
    over: Arc<AtomicBool>,
}

impl Carrier {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    async fn ask(&self, request: Request<()>, place: Place, lease: &Lease) -> Result<Connected, h2::Error> {
        let (answer, mut send) = self.sender.clone().ready().await?.send_request(request, false)?;
        let (head, recv) = answer.await?.into_parts();
        if head.status.is_success() {
            return Ok(Connected::Stream(head.headers, H2Stream::new(send, recv, place).into()));
        }
        send.send_data(Bytes::new(), true).ok(); // nothing more will come; a server that knows that has reset it
        let length = crate::headers::content_length(&head.headers).ok().flatten();
        let body = AnswerBody::of_stream(H2Body::new(recv, length), place, lease.clone());
        Ok(Connected::Answer(Response::from_parts(head, body)))
    }
}

impl Carriers {
    /// A place on a connection that has one.
    fn place(&self) -> Option<(Arc<Carrier>, Place)> {
        let mut state = self.lock();
        state.carriers.retain(|(carrier, _)| !carrier.is_over());
        // The oldest with room, so that the others can grow empty and close.
        let has_room = |carrier: &Carrier| carrier.beneath.streams() < carrier.sender.current_max_send_streams().min(STREAMS);
        let (carrier, used) = state.carriers.iter_mut().find(|(carrier, _)| has_room(carrier))?;
        *used = Instant::now();
        Some((carrier.clone(), carrier.beneath.place()))
    }

    /// A place on a new connection, or on one that another has just dialled. `None`: the server declines.
    async fn dial(&self, server: &Server) -> Result<Option<(Arc<Carrier>, Place)>, DialError> {
        let begun = Instant::now();
        let alone = self.dialling.lock().await;
        if let Some(place) = self.place() {
            return Ok(Some(place));
        }
        if self.is_declined() {
            return Ok(None);
        }
        // Who waited for an attempt that failed does not wait for more of them, one after the other.
        let alone = Some(alone).filter(|_| self.lock().failed.is_none_or(|failed| failed < begun));
        let dialled = timeout(server.settings.connect_time, start(server)).await.unwrap_or(Err(DialError::Timeout));
        let place = match dialled {
            Ok(Some(carrier)) => {
                let (carrier, place) = (Arc::new(carrier.0), carrier.1);
                self.lock().carriers.push((carrier.clone(), Instant::now()));
                Ok(Some((carrier, place)))
            }
            Ok(None) => {
                self.decline();
                Ok(None)
            }
            Err(error) => {
                self.lock().failed = Some(Instant::now());
                Err(error)
            }
        };
        drop(alone);
        place
    }

    fn decline(&self) {
        self.lock().declined = Some(Instant::now());
    }

    fn is_declined(&self) -> bool {
        self.lock().declined.is_some_and(|declined| declined.elapsed() < DECLINED_TIME)
    }

    /// No new stream goes by this connection. It ends with the last one that does.
    fn forget(&self, carrier: &Arc<Carrier>) {
        self.lock().carriers.retain(|(other, _)| !Arc::ptr_eq(other, carrier));
    }

    /// Lets go what has ended, or has had no stream for so long.
    pub(super) fn sweep(&self, idle_time: Duration) {
        let is_used = |carrier: &Carrier, used: &Instant| carrier.beneath.streams() > 0 || used.elapsed() < idle_time;
        self.lock().carriers.retain(|(carrier, used)| !carrier.is_over() && is_used(carrier, used));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dials, and waits for the server's settings. `None`: it speaks no HTTP/2 with us, or does not take extended
/// CONNECT.
async fn start(server: &Server) -> Result<Option<(Carrier, Place)>, DialError> {
    let (mut stream, alpn) = match server.dial(ClientAlpn::H2).await {
        // Perhaps it has no HTTP/2 to agree on; if it is something else, dialling for HTTP/1.1 will tell.
        Err(DialError::Tls(_)) => return Ok(None),
        dialled => dialled?,
    };
    if server.address.scheme == Scheme::Https && alpn != Alpn::H2 {
        return Ok(None);
    }
    let beneath = Beneath::of(&mut stream);
    let mut builder = client::Builder::new();
    builder.enable_push(false).max_send_buffer_size(SEND_BUFFER).data_frame_budget(SMALL_FRAMES);
    builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    builder.max_header_list_size(u32::try_from(server.heads.bytes).unwrap_or(u32::MAX));
    let Ok((sender, mut connection)) = builder.handshake(stream).await else { return Ok(None) };
    let ping = connection.ping_pong();
    let over = Arc::new(AtomicBool::new(false));
    let ends = over.clone();
    server.tasks.spawn("backend h2 streams", async move {
        connection.await.ok(); // its errors reach the streams
        ends.store(true, Ordering::Relaxed);
    });
    // Settings are the first that a server sends: they have come when it answers.
    let Some(mut ping) = ping else { return Ok(None) };
    if ping.ping(Ping::opaque()).await.is_err() || !sender.is_extended_connect_protocol_enabled() {
        return Ok(None);
    }
    let place = beneath.place();
    Ok(Some((Carrier { sender, beneath, over }, place)))
}
