//! Pure: one route as data: what it matches and what it does.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{HostPattern, PathPattern};
use crate::headers::Edits;

/// Which backend, as its place in the list of backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackendId(pub usize);

/// Which settings of tunnels, as their place in the list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TunnelKind(pub usize);

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// As records show it.
    pub name: Arc<str>,
    /// `None`: any host.
    pub host: Option<HostPattern>,
    /// `None`: any path.
    pub path: Option<PathPattern>,
    /// Empty: any method.
    pub methods: Vec<Method>,
    /// Each must be there; with a value, one line must have exactly that value.
    pub headers: Vec<(HeaderName, Option<HeaderValue>)>,
    /// What to do.
    pub action: Action,
    /// Applied to the request after our own fields.
    pub request_headers: Edits,
    /// Applied to every answer of the route, also to the 101.
    pub response_headers: Edits,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send it to a backend.
    Forward(Forward),
    /// Answer by ourselves.
    Respond(Respond),
    /// Send the client elsewhere.
    Redirect(Redirect),
}

/// An answer of our own.
#[derive(Clone, Debug)]
pub struct Respond {
    /// Its status: 200 to 599.
    pub status: StatusCode,
    /// Its body, sent as `text/plain; charset=utf-8` where `response_headers` says nothing else.
    pub body: String,
}

/// A redirect.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The `Location`; `{host}`, `{path}` (with the query) in it stand for the request's.
    pub location: String,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// Which `Host` the backend gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// The client's (the default).
    Keep,
    /// The backend's own host and port.
    Backend,
    /// This one.
    Set(HeaderValue),
}

/// What to do with the WebSocket handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocket {
    /// The client's key goes to the backend, the backend's accept to the client.
    Forward,
    /// We dial with a key of our own and answer the client's ourselves.
    Terminate,
}

/// How to forward.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Where to.
    pub backend: BackendId,
    /// Who performs the handshake.
    pub handshake: WebSocket,
    /// How its tunnels are kept, judged and limited.
    pub tunnel: TunnelKind,
    /// Let hixie-75 and hybi 7 to 10 pass.
    pub legacy_drafts: bool,
    /// What takes the place of the route's path prefix: `None` nothing is changed, `Some("")` it is
    /// stripped, `Some("/v2")` it is replaced. No slash at the end. Only with a prefix pattern.
    pub rewrite: Option<String>,
    /// Which `Host`.
    pub host_header: HostHeader,
    /// The largest request body in bytes; `None`: any.
    pub max_body: Option<u64>,
    /// Add RFC 7239 `Forwarded`.
    pub forwarded: bool,
    /// How long the WebSocket handshake may take, dialling included.
    pub handshake_time: Duration,
    /// How long the backend may be silent before the first byte of its answer.
    pub answer_time: Duration,
    /// How long it may be silent within the answer; `None`: for ever.
    pub between_time: Option<Duration>,
}
