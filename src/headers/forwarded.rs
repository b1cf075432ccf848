//! Pure: who the client is and what backends are told about it: `X-Forwarded-*`, `Forwarded` (RFC 7239).
//! Which peers are trusted is a setting; where a peer's address comes from is `net`'s.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::tokens::{quotes_are_closed, trim};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// Whose forwarding fields are believed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trust<'a> {
    /// Peers in these networks.
    pub networks: &'a [IpNet],
    /// Peers on unix sockets.
    pub unix: bool,
}

impl Trust<'_> {
    /// Whether this peer is believed; `None` is a peer on a unix socket.
    pub fn holds_for(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |address| self.knows(address))
    }

    fn knows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// The client: the rightmost address of `X-Forwarded-For` that is not trusted, the peer itself where it is
/// not. An element that is no address ends the walk at the last one that was believed. `None`: nothing is
/// known beyond a unix socket.
///
/// To be asked before [`set_forwarded`].
pub fn client_address(peer: Option<IpAddr>, headers: &HeaderMap, trust: &Trust<'_>) -> Option<IpAddr> {
    if !trust.holds_for(peer) {
        return peer;
    }
    let mut client = peer.map(|address| address.to_canonical());
    let elements = headers.get_all(FORWARDED_FOR).iter().rev().flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
    for element in elements.map(trim).filter(|element| !element.is_empty()) {
        let Some(address) = address(element) else { break };
        client = Some(address);
        if !trust.knows(address) {
            break;
        }
    }
    client
}

/// What is said about one request.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The peer's address; `None` on a unix socket.
    pub peer: Option<IpAddr>,
    /// [`Trust::holds_for`] that peer.
    pub trusted: bool,
    /// It came by TLS.
    pub secure: bool,
    /// The address of `peer` as a value, where it was made before: a connection carries many requests.
    pub peer_value: Option<&'a HeaderValue>,
    /// The effective host, as the client sent it.
    pub host: Option<&'a HeaderValue>,
    /// Add `Forwarded` too.
    pub forwarded: bool,
}

/// Deletes what the peer has no right to say, then appends the peer to `X-Forwarded-For`, and says by
/// which scheme and for which host it asked, where a trusted peer has not said so already.
pub fn set_forwarded(headers: &mut HeaderMap, hop: &Hop<'_>) {
    scrub(headers, hop.trusted);
    // Of a peer that is not trusted nothing is left.
    let said = |headers: &HeaderMap, name: &HeaderName| hop.trusted && headers.contains_key(name);
    match (hop.peer, hop.peer_value) {
        (None, _) => {}
        // The everyday case: nothing to append to, and the text is there already.
        (Some(_), Some(value)) if !said(headers, &FORWARDED_FOR) => {
            headers.insert(FORWARDED_FOR, value.clone());
        }
        (Some(peer), _) => append(headers, &FORWARDED_FOR, &peer.to_canonical().to_string()),
    }
    let proto = if hop.secure { "https" } else { "http" };
    if !said(headers, &FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if let (Some(host), false) = (hop.host, said(headers, &FORWARDED_HOST)) {
        headers.insert(FORWARDED_HOST, host.clone());
    }
    if hop.forwarded {
        let host = hop.host.map(|host| String::from_utf8_lossy(host.as_bytes()));
        // An element after an open quote would be read as part of it (RFC 7239 is no wiser): start anew.
        if headers.get_all(FORWARDED).iter().any(|line| !quotes_are_closed(line.as_bytes())) {
            headers.remove(FORWARDED);
        }
        append(headers, &FORWARDED, &element(hop.peer, host.as_deref(), proto));
    }
}

/// A field that says who is behind the peer, in any spelling that a backend may take for it.
pub(super) fn is_guarded(name: &HeaderName) -> bool {
    const FAMILIES: [&[u8]; 2] = [b"x-forwarded-", b"wl-proxy-"];
    const WHOLE: [&[u8]; 3] = [b"forwarded", b"x-forwarded", b"x-real-ip"];
    let name = name.as_str().as_bytes();
    // Nearly every field is done with here.
    matches!(name, [b'f' | b'x' | b'w', ..])
        && (WHOLE.iter().any(|whole| name.len() == whole.len() && folds_to(name, whole))
            || FAMILIES.iter().any(|family| folds_to(name, family)))
}

/// From peers that are not trusted every guarded field goes; from all peers those that are not spelled
/// with `-`: CGI turns both into one variable (`HTTP_X_FORWARDED_FOR`), and ours must be the only one in it.
fn scrub(headers: &mut HeaderMap, trusted: bool) {
    let forged: Vec<HeaderName> =
        headers.keys().filter(|name| is_guarded(name) && (!trusted || !is_plain(name))).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

fn is_plain(name: &HeaderName) -> bool {
    name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether `name` begins with `start` when every sign in it counts as `-`: Apache and lighttpd make `_`
/// of each, WSGI servers of `-` alone.
fn folds_to(name: &[u8], start: &[u8]) -> bool {
    name.len() >= start.len()
        && name.iter().zip(start).all(|(&byte, &wanted)| byte == wanted || (wanted == b'-' && !byte.is_ascii_alphanumeric()))
}

/// Joins all lines and a last element into one line.
fn append(headers: &mut HeaderMap, name: &HeaderName, last: &str) {
    let mut joined = Vec::new();
    for line in headers.get_all(name).iter().map(|line| trim(line.as_bytes())).filter(|line| !line.is_empty()) {
        joined.extend_from_slice(line);
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(last.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(name, value);
    }
}

/// One `forwarded-element`. IPv6 stands in brackets and quotes; a host is quoted where it is no token.
fn element(peer: Option<IpAddr>, host: Option<&str>, proto: &str) -> String {
    let mut text = match peer.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => format!("for={address}"),
        Some(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
        None => "for=unknown".to_owned(),
    };
    if let Some(host) = host {
        let is_token =
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        text.push_str(";host=");
        if is_token {
            text.push_str(host);
        } else {
            text.extend(["\"", &host.replace('\\', "\\\\").replace('"', "\\\""), "\""]);
        }
    }
    text.push_str(";proto=");
    text.push_str(proto);
    text
}

/// An address as proxies write it: bare, in brackets, with a port.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let bare = || text.parse::<IpAddr>().ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    bare().or_else(bracketed).or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests;
