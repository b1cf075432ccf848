//! The law of headers, applied: what `headers` and `route` decide, put together for one exchange.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONNECTION, HOST, LOCATION, SET_COOKIE, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, request};

use super::connection::Connection;
use super::forward::Answered;
use super::respond::Failure;
use super::{Settings, World};
use crate::headers::{self, BadRequest, Hop, Trust};
use crate::net::Peer;
use crate::route::{Forward, HostHeader, Normal, PathPattern, Route, rewrite_target};
use crate::upstream::{Backend, Lease};

/// A request head that is ready for a backend, but for what depends on the server.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Path and query.
    pub(super) target: Target,
    /// The client takes trailers.
    pub(super) te_trailers: bool,
    /// What the client's cookie says about its server.
    pub(super) cookie: Option<String>,
    /// What the client called us.
    pub(super) host: Option<HeaderValue>,
    /// What the backend is to be called; `None`: by its own name.
    sent_host: Option<HeaderValue>,
}

impl Prepared {
    /// The `Host` toward a server.
    pub(super) fn host_for(&self, lease: &Lease) -> HeaderValue {
        let own = || HeaderValue::from_str(lease.authority()).unwrap_or(HeaderValue::from_static("localhost"));
        self.sent_host.clone().unwrap_or_else(own)
    }
}

/// The target toward a backend.
#[derive(Debug)]
pub(super) enum Target {
    /// As the client sent it: its own bytes, and parsed already.
    Sent(PathAndQuery),
    /// Made anew.
    Made(String),
}

impl Target {
    fn of(uri: &Uri) -> Self {
        match (headers::origin_target(uri), uri.path_and_query()) {
            (Cow::Borrowed(text), Some(sent)) if text == sent.as_str() => Self::Sent(sent.clone()),
            (text, _) => Self::Made(text.into_owned()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Sent(sent) => sent.as_str(),
            Self::Made(text) => text,
        }
    }

    /// In origin form; `None` where a rewrite has made no target of it.
    pub(super) fn to_uri(&self) -> Option<Uri> {
        match self {
            Self::Sent(sent) => Some(sent.clone().into()),
            Self::Made(text) => text.parse().ok(),
        }
    }
}

/// Who the client is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Client {
    /// The peer itself.
    Peer(Peer),
    /// One that a trusted proxy names.
    Named(IpAddr),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(f),
            Self::Named(address) => address.fmt(f),
        }
    }
}

/// A field's value as text; bytes that are no UTF-8 are replaced. For the log and for comparing names.
pub(super) fn text(value: &HeaderValue) -> String {
    lossy(value).into_owned()
}

/// The same on loan, where it is text already.
pub(super) fn lossy(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// The `:protocol` of an extended CONNECT.
pub(super) fn protocol(parts: &request::Parts) -> Option<&str> {
    parts.extensions.get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str)
}

/// What a request's method is to the law and to routes: an extended CONNECT has the target of a GET and stands
/// for the one of HTTP/1.1 (RFC 8441 section 5).
pub(super) fn method(parts: &request::Parts) -> &Method {
    if protocol(parts).is_some() { &Method::GET } else { &parts.method }
}

/// The host a request is for, once its form is checked: of the target where that has one, else `Host`.
pub(super) fn host(parts: &request::Parts) -> Result<Option<HeaderValue>, BadRequest> {
    headers::check_request(method(parts), &parts.uri, parts.version, &parts.headers)?;
    if parts.uri.authority().is_none() {
        return Ok(parts.headers.get(HOST).cloned()); // the client's own bytes: nothing is copied
    }
    let host = headers::effective_host(&parts.uri, &parts.headers);
    Ok(host.and_then(|host| HeaderValue::from_str(host).ok()))
}

fn trust(settings: &Settings) -> Trust<'_> {
    Trust { networks: &settings.trusted, unix: settings.trust_unix }
}

/// The client's address for the log: where the peer is a trusted proxy, the one that it names.
pub(super) fn client(connection: &Connection, world: &World, fields: &HeaderMap) -> Client {
    let peer = connection.peer;
    match headers::client_address(peer.ip_address(), fields, &trust(&world.settings)) {
        Some(address) if Some(address) != peer.ip_address() => Client::Named(address),
        _ => Client::Peer(peer),
    }
}

/// The backend of a route.
pub(super) fn backend<'a>(world: &'a World, forward: &Forward) -> Result<&'a Arc<Backend>, Failure> {
    world.backends.get(forward.backend.0).ok_or_else(|| Failure::bad_gateway("the route's backend is gone"))
}

/// Makes a client's head fit for the backend, in place.
pub(super) fn request(
    connection: &Connection,
    world: &World,
    route: &Route,
    forward: &Forward,
    path: &Normal<'_>,
    host: Option<HeaderValue>,
    parts: &mut request::Parts,
) -> Prepared {
    let fields = &mut parts.headers;
    headers::normalise_request(&parts.uri, fields);
    // What the client said, before the route's edits.
    let sticky = backend(world, forward).ok().and_then(|backend| backend.sticky_cookie());
    let cookie = sticky.and_then(|name| headers::cookie(fields, name).map(str::to_owned));
    let stripped = headers::strip_request(fields);
    let peer = connection.peer.ip_address();
    let hop = Hop {
        peer,
        peer_value: connection.peer_value.as_ref(),
        trusted: trust(&world.settings).holds_for(peer),
        secure: connection.secure,
        host: host.as_ref(),
        forwarded: forward.forwarded,
    };
    headers::set_forwarded(fields, &hop);
    route.request_headers.apply(fields);
    let sent_host = match &forward.host_header {
        HostHeader::Keep => host.clone(),
        HostHeader::Backend => None,
        HostHeader::Set(value) => Some(value.clone()),
    };
    let target = match prefixes(route, forward) {
        Some((prefix, replacement)) => Target::Made(rewrite_target(path, parts.uri.query(), prefix, replacement)),
        None => Target::of(&parts.uri),
    };
    Prepared { target, te_trailers: stripped.te_trailers, cookie, host, sent_host }
}

/// Makes a backend's head fit for the client, in place.
pub(super) fn response(
    connection: &Connection,
    answered: &Answered<'_>,
    backend: &Backend,
    status: StatusCode,
    fields: &mut HeaderMap,
) {
    let upgrade = (status == StatusCode::UPGRADE_REQUIRED).then(|| fields.get(UPGRADE).cloned()).flatten();
    headers::strip_response(fields);
    if let Some(upgrade) = upgrade {
        // What a 426 is for (RFC 9110 section 15.5.22).
        fields.insert(UPGRADE, upgrade);
        fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    put_location_right(answered, fields);
    put_cookies_right(answered.route, answered.forward, fields);
    add_sticky(connection, backend, answered.cookie, &answered.lease, fields);
}

/// The route's prefix and what takes its place toward the backend, where it is rewritten.
fn prefixes<'a>(route: &'a Route, forward: &'a Forward) -> Option<(&'a str, &'a str)> {
    match (&route.path, &forward.rewrite) {
        (Some(PathPattern::Prefix(prefix)), Some(replacement)) => Some((prefix, replacement)),
        _ => None,
    }
}

/// The paths of a backend's cookies as the client knows them; in a 101 too.
pub(super) fn put_cookies_right(route: &Route, forward: &Forward, fields: &mut HeaderMap) {
    if let Some((prefix, replacement)) = prefixes(route, forward) {
        headers::rewrite_cookie_paths(fields, replacement, prefix);
    }
}

fn put_location_right(answered: &Answered<'_>, fields: &mut HeaderMap) {
    let Some(location) = fields.get(LOCATION) else { return };
    let (client_prefix, backend_prefix) = prefixes(answered.route, answered.forward).unwrap_or_default();
    let sent = answered.prepared.host_for(&answered.lease);
    let (sent, client) = (text(&sent), answered.prepared.host.as_ref().map(text));
    let rewrite = headers::Rewrite {
        client_prefix,
        backend_prefix,
        client_host: client.as_deref(),
        sent_host: Some(&sent),
        backend_authority: answered.lease.authority(),
    };
    if let Some(right) = headers::rewrite_location(location, &rewrite) {
        fields.insert(LOCATION, right);
    }
}

/// Sets our cookie where the client has none, or one that leads elsewhere.
pub(super) fn add_sticky(
    connection: &Connection,
    backend: &Backend,
    cookie: Option<&str>,
    lease: &Lease,
    fields: &mut HeaderMap,
) {
    if let Some(name) = backend.sticky_cookie().filter(|_| cookie != Some(lease.token())) {
        let secure = if connection.secure { "; Secure" } else { "" };
        let value = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax{secure}", lease.token());
        if let Ok(value) = HeaderValue::try_from(value) {
            fields.append(SET_COOKIE, value);
        }
    }
}
