//! Every room's error becomes a status, a line in the log and a few words for the client: one table.

use std::fmt;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, Response, StatusCode};

use super::body::{Alive, Reply, Source, chain};
use super::connection::Connection;
use super::record::{Fault, Record};
use crate::handshake::{AnswerError, Disagreement, Refusal};
use crate::headers::{BadRequest, BadResponse};
use crate::net::{Clock, Peer, Socket, Stream, TapHandle, lingering_close};
use crate::route::PathError;
use crate::tls::{AcceptError, AcceptFault};
use crate::upstream::{DialError, SendError};

/// An answer of ours instead of the backend's.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) fault: Fault,
    /// What was being done and what went wrong: for the log, and for the client where it is its fault.
    pub(super) why: String,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    fn new(status: StatusCode, fault: Fault, why: impl fmt::Display) -> Self {
        Self { status, fault, why: why.to_string(), fields: Vec::new() }
    }

    /// The answer did not begin in time.
    pub(super) fn silent(what: &str) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, Fault::Backend, what)
    }

    /// The backend did something that is no answer.
    pub(super) fn bad_gateway(why: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, Fault::Backend, why)
    }

    /// A success that is no 101, to an offer over HTTP/2, where it would open a tunnel.
    pub(super) fn no_switch(status: StatusCode) -> Self {
        Self::bad_gateway(format!("it answered a WebSocket handshake with {status} and no 101"))
    }

    pub(super) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, Fault::Client, "no route matches the request")
    }

    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Fault::Client, "the body is larger than the route allows")
    }

    /// The client owes the rest of its body (RFC 9110 section 15.5.9).
    pub(super) fn late_body() -> Self {
        let mut failure = Self::new(StatusCode::REQUEST_TIMEOUT, Fault::Client, "the request's body was not finished in time");
        failure.fields.push((CONNECTION, HeaderValue::from_static("close")));
        failure
    }

    pub(super) fn broken_body() -> Self {
        Self::new(StatusCode::BAD_REQUEST, Fault::Client, "the body broke off or is malformed")
    }

    /// A WebSocket on a listener that only redirects: no client follows a redirect there.
    pub(super) fn needs_tls() -> Self {
        Self::new(StatusCode::FORBIDDEN, Fault::Client, "WebSockets are only served over TLS here (wss://)")
    }

    /// A WebSocket over HTTP/2 where a fixed answer of success waits: on CONNECT that would be a tunnel.
    pub(super) fn no_socket() -> Self {
        Self::new(StatusCode::NOT_FOUND, Fault::Client, "no WebSocket is served here")
    }

    /// An error of sending a request, seen together with what became of its body.
    pub(super) fn sending(error: &SendError) -> Self {
        Self::bad_gateway(format!("it broke off before its answer ({error})"))
    }

    /// No server could be dialled; the last one's error.
    pub(super) fn dialling(error: &DialError) -> Self {
        let status = if error.is_timeout() { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
        let fault = if matches!(error, DialError::OurLimit(_)) { Fault::Us } else { Fault::Backend };
        Self::new(status, fault, error)
    }
}

impl From<BadRequest> for Failure {
    fn from(bad: BadRequest) -> Self {
        let mut failure = Self::new(bad.status(), Fault::Client, bad);
        if failure.status == StatusCode::METHOD_NOT_ALLOWED {
            let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"); // RFC 9110 section 15.5.6
            failure.fields.push((ALLOW, allow));
        }
        failure
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Fault::Client, error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let mut failure = Self::new(refusal.status(), Fault::Client, refusal);
        if failure.status == StatusCode::UPGRADE_REQUIRED {
            failure.fields.push((SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
            failure.fields.push((UPGRADE, HeaderValue::from_static("websocket")));
            failure.fields.push((CONNECTION, HeaderValue::from_static("Upgrade")));
        } else if refusal == Refusal::VersionOverHttp2 {
            failure.fields.push((SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
        }
        failure
    }
}

impl From<BadResponse> for Failure {
    fn from(bad: BadResponse) -> Self {
        Self::bad_gateway(bad)
    }
}

impl From<Disagreement> for Failure {
    fn from(disagreement: Disagreement) -> Self {
        Self::bad_gateway(disagreement)
    }
}

impl From<AnswerError> for Failure {
    fn from(error: AnswerError) -> Self {
        Self::bad_gateway(error)
    }
}

/// The answer that tells the client of `failure`, and the record's word about it.
pub(super) fn failure(failure: Failure, mut record: Record, alive: Alive) -> Response<Reply> {
    let Failure { status, fault, why, fields } = failure;
    let words = match fault {
        Fault::Client => why.as_str(),
        // Nothing of what stands behind us: no address, no name, no error text.
        _ if status == StatusCode::GATEWAY_TIMEOUT => "the server behind this proxy did not answer in time",
        _ => "the server behind this proxy did not answer properly",
    };
    let text = format!("{status}\n{words}\nrequest {}\n", record.id);
    let mut headers = HeaderMap::with_capacity(fields.len() + 1);
    headers.extend(fields);
    record.blame(fault, || why);
    text_answer(status, headers, text, record, alive)
}

/// A plain text answer of ours.
pub(super) fn text_answer(
    status: StatusCode,
    mut headers: HeaderMap,
    text: String,
    mut record: Record,
    alive: Alive,
) -> Response<Reply> {
    record.status = Some(status);
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain; charset=utf-8"));
    let mut response = Response::new(Reply::new(Source::Own(Bytes::from(text)), record, alive));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Makes an answer the last one of its h1 connection.
pub(super) fn close_after(headers: &mut HeaderMap) {
    let value = if headers.contains_key(UPGRADE) { "Upgrade, close" } else { "close" };
    headers.insert(CONNECTION, HeaderValue::from_static(value));
}

/// What hyper ended a connection for. To a head that it could not read it has answered itself, so that
/// is a request too, if one of which nothing is known.
pub(super) fn failed_http(error: &hyper::Error, tap: &TapHandle, connection: &Connection) {
    let text = chain(error);
    let (status, why) = match tap.expired() {
        Some(Clock::Idle) => return,
        Some(Clock::Head) => (Some(408), "the client did not finish a request's head in time"),
        Some(Clock::Send) => (None, "the client took no bytes in time"),
        None if tap.had_long_line() || error.is_parse_too_large() && text.contains("URI") => {
            (Some(414), "the client sent a target that is too long")
        }
        None if error.is_parse_too_large() => (Some(431), "the client sent a head that is too large"),
        None if error.is_parse() => (Some(400), "the client sent a malformed request"),
        None if error.is_incomplete_message() => (None, "the client went away within a request"),
        None if error.is_user() => return, // an answer cut short: its record says so
        None => (None, "the connection broke"),
    };
    let (peer, shared) = (connection.peer, &connection.entry.shared);
    if status.is_some() {
        shared.counters.requests.add();
    }
    if let Some(status) = status.filter(|_| shared.records) {
        tracing::info!(target: "spliceway::records", client = %peer, status, fault = "client", why = format!("{why}: {text}"), "request");
    } else {
        tracing::info!(target: "spliceway::connections", client = %peer, fault = "client", error = text, "{why}");
    }
}

/// A client that has gone before the answer to its offer.
pub(super) fn gone(connection: &Connection) {
    let client = connection.peer;
    tracing::info!(target: "spliceway::connections", %client, fault = "client", "the client went away within a request");
}

/// What an h2 connection ended for, where not for the end of its time.
pub(super) fn failed_http2(error: &h2::Error, tap: &TapHandle, peer: Peer) {
    let why = match tap.expired() {
        Some(Clock::Send) => "the client took no bytes in time",
        _ if error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) && error.is_library() => {
            "the client did what floods do, beyond what HTTP/2 clients need"
        }
        _ if error.is_library() => "the client broke the rules of HTTP/2",
        _ => "the connection broke",
    };
    tracing::info!(target: "spliceway::connections", client = %peer, fault = "client", error = chain(error), "{why}");
}

/// A client that keeps h2 busy with frames that carry nothing.
pub(super) fn flooded(peer: Peer) {
    let why = "the client sent too many HTTP/2 frames that carry nothing (PING, SETTINGS, RST_STREAM ...)";
    tracing::info!(target: "spliceway::connections", client = %peer, fault = "client", "{why}");
}

/// A client that connects and says nothing.
pub(super) fn silent(peer: Peer) {
    tracing::debug!(target: "spliceway::connections", client = %peer, fault = "client", "the client sent nothing in time");
}

/// Our answer to a head that the tap has cut off, so that hyper has none.
pub(super) fn without_hyper(tap: &TapHandle) -> Option<String> {
    if tap.had_long_line() {
        return Some(last_answer(StatusCode::URI_TOO_LONG, "the request's target is too long"));
    }
    (tap.expired() == Some(Clock::Head))
        .then(|| last_answer(StatusCode::REQUEST_TIMEOUT, "the request's head was not finished in time"))
}

/// An answer as it stands on the wire, and the connection's last.
fn last_answer(status: StatusCode, words: &str) -> String {
    let text = format!("{status}\n{words}\n");
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// A client that failed its TLS handshake: it has been sent the alert, which has to arrive.
pub(super) async fn failed_tls(error: AcceptError, peer: Peer) {
    match error.fault {
        AcceptFault::Gone => tracing::debug!(target: "spliceway::connections", client = %peer, fault = "client", "{error}"),
        AcceptFault::Client | AcceptFault::Time => {
            tracing::info!(target: "spliceway::connections", client = %peer, fault = "client", "TLS handshake failed: {error}");
        }
        AcceptFault::Ours => {
            tracing::warn!(target: "spliceway::connections", client = %peer, fault = "spliceway", "TLS handshake failed: {error}");
        }
    }
    if let Some(socket) = error.socket {
        lingering_close(Stream::from(socket)).await;
    }
}

/// A client that speaks plain HTTP to a TLS port is told so in plain HTTP.
pub(super) async fn plain_on_tls(socket: Socket, peer: Peer) {
    use tokio::io::AsyncWriteExt;
    tracing::info!(target: "spliceway::connections", client = %peer, fault = "client", "the client sent plain HTTP to a TLS port");
    let answer = last_answer(StatusCode::BAD_REQUEST, "this port speaks TLS: use https:// or wss://");
    let mut stream = Stream::from(socket);
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        lingering_close(stream).await;
    }
}
