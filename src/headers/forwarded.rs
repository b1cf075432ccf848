//! Pure: who the client is, said to the backend so that it can be believed (RFC 7239 and the X- fields).
//!
//! What a peer outside the trusted networks says of itself is deleted, in every spelling that a CGI-like
//! backend would read as ours.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, HeaderValue};
use ipnet::IpNet;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Whose word is believed.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// Peers in these networks.
    pub networks: &'a [IpNet],
    /// Peers on unix sockets.
    pub unix: bool,
}

impl Trust<'_> {
    fn believes(self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |peer| self.networks.iter().any(|network| network.contains(&peer.to_canonical())))
    }
}

/// The client's address: the peer's, or where that is trusted the rightmost untrusted one that it
/// names. An element that is no address ends the walk: what stands left of it was not seen by anyone
/// we trust. `None`: a peer on a unix socket that names nobody.
pub fn client_address(peer: Option<IpAddr>, trust: Trust<'_>, headers: &HeaderMap) -> Option<IpAddr> {
    let mut client = peer;
    if !trust.believes(peer) {
        return client;
    }
    let lines: Vec<_> = headers.get_all(FOR).iter().collect();
    let elements = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|&b| b == b','));
    for element in elements {
        let Some(address) = address_of(element) else { return client };
        client = Some(address);
        if !trust.believes(client) {
            return client;
        }
    }
    client
}

/// An address with or without a port and brackets.
fn address_of(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim();
    let address = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    address.or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

/// What is said of one request.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded<'a> {
    /// The peer's address; `None` on a unix socket.
    pub peer: Option<IpAddr>,
    /// What the client spoke to us: `http` or `https`.
    pub proto: &'static str,
    /// What it called us.
    pub host: Option<&'a HeaderValue>,
    /// Whether RFC 7239 `Forwarded` is added.
    pub add_forwarded: bool,
}

impl Forwarded<'_> {
    /// Puts the fields right in a request's head.
    pub fn apply(&self, trust: Trust<'_>, headers: &mut HeaderMap) {
        let trusted = trust.believes(self.peer);
        remove_claims(headers, trusted);
        if let Some(peer) = self.peer {
            append_to_list(headers, &FOR, &peer.to_string());
        }
        if !headers.contains_key(PROTO) {
            headers.insert(PROTO, HeaderValue::from_static(self.proto));
        }
        if let Some(host) = self.host.filter(|_| !headers.contains_key(HOST)) {
            headers.insert(HOST, host.clone());
        }
        if self.add_forwarded {
            append_to_list(headers, &FORWARDED, &self.element());
        }
    }

    /// An element of `Forwarded` (RFC 7239 section 4); whatever is no token is quoted.
    fn element(&self) -> String {
        let mut text = match self.peer {
            None => "for=unknown".to_owned(),
            Some(IpAddr::V4(peer)) => format!("for={peer}"),
            Some(IpAddr::V6(peer)) => format!("for=\"[{peer}]\""),
        };
        // A host that was checked has no quote and no backslash in it.
        if let Some(host) = self.host.and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\'])) {
            let _ = write!(text, ";host=\"{host}\"");
        }
        let _ = write!(text, ";proto={}", self.proto);
        text
    }
}

/// Adds to a list, as one line.
fn append_to_list(headers: &mut HeaderMap, name: &HeaderName, element: &str) {
    let mut line = Vec::new();
    for value in headers.get_all(name) {
        line.extend_from_slice(value.as_bytes());
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(element.as_bytes());
    if let Ok(line) = HeaderValue::from_bytes(&line) {
        headers.insert(name.clone(), line);
    }
}

/// Deletes what only a trusted proxy may say; from a trusted one, the spellings with `_` all the same:
/// no proxy writes them, and backends that read CGI names cannot tell them from the real ones.
fn remove_claims(headers: &mut HeaderMap, trusted: bool) {
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str(), trusted)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

fn is_claim(name: &str, trusted: bool) -> bool {
    // Few fields begin with these letters: the common case costs one look.
    if !matches!(name.as_bytes().first(), Some(b'x' | b'f' | b'w')) {
        return false;
    }
    let plain = name.replace('_', "-");
    let claim =
        plain == "forwarded" || plain == "x-real-ip" || plain.starts_with("x-forwarded-") || plain.starts_with("wl-proxy-");
    claim && !(trusted && plain == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).expect("legal"), HeaderValue::from_str(value).expect("legal"));
        }
        headers
    }

    fn applied(peer: &str, networks: &[&str], fields: &[(&str, &str)], add_forwarded: bool) -> HeaderMap {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().expect("legal")).collect();
        let host = HeaderValue::from_static("chat.example:81");
        let mut headers = map(fields);
        let forwarded = Forwarded { peer: peer.parse().ok(), proto: "https", host: Some(&host), add_forwarded };
        forwarded.apply(Trust { networks: &networks, unix: false }, &mut headers);
        headers
    }

    const FORGED: [(&str, &str); 9] = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded_proto", "http"),
        ("x-forwarded-user", "root"),
        ("x-real-ip", "6.6.6.6"),
        ("x_real-ip", "6.6.6.6"),
        ("wl-proxy-ssl", "true"),
        ("wl_proxy_client-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
    ];

    #[test]
    fn a_stranger_says_nothing_of_itself() {
        let headers = applied("192.0.2.1", &["10.0.0.0/8"], &FORGED, true);
        let expected = map(&[
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "chat.example:81"),
            ("forwarded", "for=192.0.2.1;host=\"chat.example:81\";proto=https"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn a_trusted_proxy_is_added_to() {
        let fields = [
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=a"),
            ("x_forwarded_for", "6.6.6.6"),
        ];
        let headers = applied("::ffff:10.0.0.1", &["10.0.0.0/8"], &fields, true);
        assert_eq!(headers.get(FOR).expect("there"), "192.0.2.7, 10.0.0.2, ::ffff:10.0.0.1");
        assert_eq!(headers.get(PROTO).expect("there"), "http");
        assert!(headers.get(FORWARDED).expect("there").as_bytes().starts_with(b"for=a, for=\"[::ffff"));
        assert!(!headers.contains_key("x_forwarded_for"));
    }

    #[test]
    fn the_client_is_the_rightmost_untrusted_address() {
        let networks: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("legal")];
        let trust = Trust { networks: &networks, unix: true };
        for (peer, list, expected) in [
            ("192.0.2.1", "6.6.6.6", Some("192.0.2.1")),
            ("10.0.0.1", "6.6.6.6, 192.0.2.7, 10.0.0.2", Some("192.0.2.7")),
            ("10.0.0.1", "6.6.6.6, garbage, 10.0.0.2", Some("10.0.0.2")),
            ("10.0.0.1", "[2001:db8::1]:80", Some("2001:db8::1")),
            ("10.0.0.1", "10.0.0.3", Some("10.0.0.3")),
            ("unix", "192.0.2.9:1234", Some("192.0.2.9")),
            ("unix", "unknown", None),
        ] {
            let headers = map(&[("x-forwarded-for", list)]);
            let expected: Option<IpAddr> = expected.map(|address| address.parse().expect("legal"));
            assert_eq!(client_address(peer.parse().ok(), trust, &headers), expected, "{peer} {list}");
        }
    }

    proptest! {
        #[test]
        fn no_forged_field_passes(name in "(x[-_]forwarded[-_](for|proto|host|user)|x[-_]real[-_]ip|wl[-_]proxy[-_](ssl|client[-_]ip))") {
            let headers = applied("192.0.2.1", &[], &[(&name, "forged")], false);
            prop_assert!(headers.values().all(|value| value != "forged"));
        }
    }
}
