//! The server side of a WebSocket, as a guest behind the proxy speaks it: the 101, and a socket that is
//! pinged, bounded in what it holds, and closed politely. Not the proxy's own handshake or frames.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::answers::{Answer, text};

/// Silence after which a ping goes out; twice as long without a byte and the peer is gone. 25 s stays below
/// the 30 s and 60 s at which common middle boxes cut.
const PING: Duration = Duration::from_secs(25);
/// How long a peer may take for its own Close and FIN after our Close.
const GOODBYE: Duration = Duration::from_secs(2);
/// What is read and thrown away after our FIN, so that no RST destroys the Close frame just written: enough for
/// the rest of a message whose header alone was too large (1009). It is held nowhere.
const DISCARD: usize = 4 << 20;

/// The 101 for a correct offer (RFC 6455 4.2), or the ordinary answer that says what is wrong with it.
pub(super) fn accept<B>(request: &Request<B>) -> Answer {
    let headers = request.headers();
    let upgrade = has_token(headers, &header::UPGRADE, "websocket");
    let asked = upgrade && has_token(headers, &header::CONNECTION, "upgrade");
    if request.method() != Method::GET || request.version() != Version::HTTP_11 || !asked {
        return required("this address speaks WebSocket: ask for an upgrade\n");
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return required("this server speaks version 13 of the WebSocket protocol (RFC 6455)\n");
    }
    let key = only(headers, &header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    let Some(key) = key else {
        return text(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key must be there once: 16 bytes in base64\n");
    };
    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let fields = answer.headers_mut();
    fields.clear();
    fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::try_from(accept_for(key.as_bytes())).expect("base64 is legal in a field value");
    fields.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    answer
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 4.2.2, step 5).
fn accept_for(key: &[u8]) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    base64::engine::general_purpose::STANDARD.encode(digest)
}

fn is_key(key: &[u8]) -> bool {
    base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// 426 with the fields that RFC 9110 15.5.22 and RFC 6455 4.4 want in it.
fn required(why: &'static str) -> Answer {
    let mut answer: Response<_> = text(StatusCode::UPGRADE_REQUIRED, why);
    let fields = answer.headers_mut();
    fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    answer
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).into_iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// What a peer does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A whole text message.
    Text(Utf8Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// Nothing for a while: `ping` it.
    Silence,
    /// No more will come.
    End(End),
}

/// Why a conversation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed, with this code where it gave one; it was echoed.
    Peer(Option<u16>),
    /// The bytes stopped without a Close frame.
    Cut,
    /// The peer did not read for too long, or fell too far behind.
    Slow,
    /// It did not even answer a ping.
    Silent,
    /// We end it with this code.
    Ours(CloseCode),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Peer(Some(code)) => write!(f, "closed by the visitor, code {code}"),
            Self::Peer(None) => f.write_str("closed by the visitor, no code"),
            Self::Cut => f.write_str("cut without a Close"),
            Self::Slow => f.write_str("dropped, too slow a reader"),
            Self::Silent => f.write_str("dropped, no answer to a ping"),
            Self::Ours(code) => write!(f, "closed by the backend, code {}", u16::from(*code)),
        }
    }
}

/// A WebSocket after its 101.
#[derive(Debug)]
pub(super) struct Socket<S> {
    stream: WebSocketStream<S>,
    clock: Interval,
    heard: bool,
    /// Set once the peer's Close was read.
    closed: Option<End>,
    write_time: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// `max` bounds one message; a write that takes longer than `write_time` ends the socket.
    pub(super) async fn new(io: S, max: usize, write_time: Duration) -> Self {
        let settings = WebSocketConfig::default()
            .read_buffer_size(4 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(max))
            .max_frame_size(Some(max));
        let mut clock = interval_at(tokio::time::Instant::now() + PING, PING);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(settings)).await;
        Self { stream, clock, heard: true, closed: None, write_time }
    }

    /// The next event. Cancel safe.
    pub(super) async fn event(&mut self) -> Event {
        loop {
            let message = tokio::select! {
                message = self.stream.next() => message,
                _ = self.clock.tick() => {
                    let alive = std::mem::replace(&mut self.heard, false);
                    return if alive { Event::Silence } else { Event::End(End::Silent) };
                }
            };
            self.heard = true;
            match message {
                Some(Ok(Message::Text(text))) => return Event::Text(text),
                Some(Ok(Message::Binary(bytes))) => return Event::Binary(bytes),
                // The library answers pings, and our Close for theirs goes out with the next poll.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    self.closed = Some(End::Peer(frame.map(|frame| frame.code.into())));
                }
                Some(Err(error)) => return Event::End(self.closed.unwrap_or_else(|| blame(&error))),
                None => return Event::End(self.closed.unwrap_or(End::Cut)),
            }
        }
    }

    /// Sends one message, whole.
    pub(super) async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(self.write_time, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Cut),
            Err(_) => Err(End::Slow),
        }
    }

    /// Asks for a sign of life.
    pub(super) async fn ping(&mut self) -> Result<(), End> {
        self.send(Message::Ping(Bytes::from_static(b"spliceway"))).await
    }

    /// Ends it: Close where one is due, FIN, then a bounded look at what still comes.
    pub(super) async fn end(mut self, end: End) {
        match end {
            End::Ours(code) => {
                // Whether it arrives is the peer's matter now: it has its time and no more.
                timeout(GOODBYE, self.say_goodbye(code)).await.ok();
            }
            End::Peer(_) => {}
            // Nothing can be said to a peer that does not read; what is queued for it goes with the socket.
            End::Cut | End::Slow | End::Silent => return,
        }
        timeout(GOODBYE, linger(self.stream.get_mut())).await.ok();
    }

    async fn say_goodbye(&mut self, code: CloseCode) {
        let frame = CloseFrame { code, reason: Utf8Bytes::default() };
        if self.stream.close(Some(frame)).await.is_ok() {
            while let Some(Ok(_)) = self.stream.next().await {}
        }
    }
}

/// The Close code that a broken rule gets (RFC 6455 7.4.1).
fn blame(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Ours(CloseCode::Size),
        Error::Utf8(_) => End::Ours(CloseCode::Invalid),
        // "Reset without closing handshake" is how the library calls an EOF in the middle.
        Error::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => End::Cut,
        Error::Protocol(_) => End::Ours(CloseCode::Protocol),
        _ => End::Cut,
    }
}

async fn linger(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    if io.shutdown().await.is_err() {
        return;
    }
    let (mut scratch, mut left) = ([0; 4096], DISCARD);
    while let Ok(n @ 1..) = io.read(&mut scratch).await {
        left = left.saturating_sub(n);
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_accept_of_the_rfcs_example_key_is_the_rfcs() {
        assert_eq!(accept_for(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    fn offer(change: impl FnOnce(&mut Request<()>)) -> u16 {
        let mut request = Request::builder()
            .header("Upgrade", "h2c, WebSocket")
            .header("Connection", "keep-alive, upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .expect("a correct request");
        change(&mut request);
        accept(&request).status().as_u16()
    }

    #[test]
    fn only_a_correct_offer_gets_a_101() {
        let value = HeaderValue::from_static;
        assert_eq!(offer(|_| ()), 101);
        assert_eq!(offer(|request| *request.method_mut() = Method::POST), 426);
        assert_eq!(offer(|request| *request.version_mut() = Version::HTTP_10), 426);
        assert_eq!(offer(|request| drop(request.headers_mut().remove("connection"))), 426);
        assert_eq!(offer(|request| drop(request.headers_mut().insert("sec-websocket-version", value("8")))), 426);
        assert_eq!(offer(|request| drop(request.headers_mut().remove("sec-websocket-key"))), 400);
        assert_eq!(offer(|request| drop(request.headers_mut().insert("sec-websocket-key", value("c2hvcnQ=")))), 400);
        assert_eq!(
            offer(|request| assert!(request.headers_mut().append("sec-websocket-key", value("AAAAAAAAAAAAAAAAAAAAAA==")))),
            400
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_pinged_and_one_that_does_not_answer_is_given_up() {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let started = tokio::time::Instant::now();
        let mut socket = Socket::new(ours, 1 << 10, GOODBYE).await;
        let mut peer = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        assert_eq!(socket.event().await, Event::Silence);
        socket.ping().await.expect("taken");
        assert!(matches!(peer.next().await, Some(Ok(Message::Ping(_)))));
        peer.flush().await.expect("the pong the library has ready");
        assert_eq!(socket.event().await, Event::Silence, "a pong is life");
        assert_eq!(socket.event().await, Event::End(End::Silent));
        assert_eq!(started.elapsed(), 3 * PING);
    }
}
