//! The law of header fields. Input: a request's head, an empty line, an answer's head.

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use ipnet::IpNet;
use spliceway::headers::{self, Hop, Rewrite, Trust};

use crate::text;

/// Of one hop and no further, whatever `Connection` says.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
    "http2-settings",
];

pub fn target(input: &[u8]) {
    let (request, answer) = text::parts(input);
    let (method, uri, version) = text::request_line(request).unwrap_or((Method::GET, Uri::from_static("/"), Version::HTTP_11));
    self::request(&method, &uri, version, text::fields(request));
    self::answer(text::fields(answer));
}

fn request(method: &Method, uri: &Uri, version: Version, mut fields: HeaderMap) {
    let legal = headers::check_request(method, uri, version, &fields);
    let host = headers::effective_host(uri, &fields).map(str::to_owned);
    headers::cookie(&fields, "spliceway");
    let length = headers::content_length(&fields);
    if legal.is_ok() {
        assert!(method != Method::CONNECT && method != Method::TRACE);
        assert!(length.is_ok() && (length == Ok(None) || !fields.contains_key("transfer-encoding")));
        assert!(host.as_deref().map_or(version == Version::HTTP_10, headers::is_host), "{host:?} passed");
        let target = headers::origin_target(uri);
        assert!(target.starts_with('/') || (target == "*" && method == Method::OPTIONS), "{target} passed");
    }

    twice(&mut fields, |fields| headers::normalise_request(uri, fields));
    assert!(text::all(&fields, COOKIE.as_str()).len() <= 1, "cookies are one line");
    if legal.is_ok() {
        assert_eq!(headers::content_length(&fields), length, "the length is another");
        assert!(text::all(&fields, CONTENT_LENGTH.as_str()).len() <= 1, "a length is one line");
        assert_eq!(fields.get(HOST).map(HeaderValue::as_bytes), host.as_deref().map(str::as_bytes), "Host is the effective host");
    }

    let before = fields.clone();
    let te = headers::strip_request(&mut fields).te_trailers;
    assert_eq!(te, text::names(&before, "te", "trailers"));
    stripped(&before, &fields, |name| {
        ["host", "content-length", "cookie", "authorization", "origin", "trailer"].contains(&name) || is_about_the_client(name)
    });
    twice(&mut fields, |fields| {
        headers::strip_request(fields);
    });

    for bits in 0..8 {
        forward(&fields, host.as_deref(), bits & 1 == 0, bits & 2 == 0, bits & 4 == 0);
    }

    // With the options of before the strip in place: they are joined.
    let mut with_te = before;
    for version in [Version::HTTP_2, Version::HTTP_11] {
        twice(&mut with_te, |fields| headers::add_te(fields, version));
        assert_eq!(text::all(&with_te, "te"), [b"trailers"]);
    }
    assert!(text::names(&with_te, "connection", "te"));
}

fn is_about_the_client(name: &str) -> bool {
    let folded = cgi(name);
    ["X_FORWARDED_", "WL_PROXY_"].iter().any(|family| folded.starts_with(family))
        || ["FORWARDED", "X_FORWARDED", "X_REAL_IP"].contains(&folded.as_str())
}

/// What a CGI backend makes of a name.
fn cgi(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// What was left is what was there, less the hop's fields and those that `Connection` names.
fn stripped(before: &HeaderMap, after: &HeaderMap, kept: fn(&str) -> bool) {
    for name in before.keys().map(HeaderName::as_str) {
        let named = text::names(before, "connection", name);
        let goes = HOP_BY_HOP.contains(&name) || (named && !kept(name) && !name.starts_with("sec-websocket-"));
        let expected = if goes { Vec::new() } else { text::all(before, name) };
        assert_eq!(text::all(after, name), expected, "{name}, which Connection names: {named}");
    }
    assert!(after.keys().all(|name| before.contains_key(name)), "a strip adds nothing");
}

fn forward(before: &HeaderMap, host: Option<&str>, trusted: bool, secure: bool, forwarded: bool) {
    let networks: [IpNet; 1] = ["10.0.0.0/8".parse().expect("a network")];
    let trust = Trust { networks: &networks, unix: false };
    let peer: IpAddr = if trusted { "10.0.0.1" } else { "192.0.2.1" }.parse().expect("an address");
    assert_eq!(trust.holds_for(Some(peer)), trusted);
    let client = headers::client_address(Some(peer), before, &trust);
    assert!(trusted || client == Some(peer), "a stranger said who it is");

    let host = host.and_then(|host| HeaderValue::from_str(host).ok());
    let made = HeaderValue::from_str(&peer.to_string()).expect("an address is a value");
    let peer_value = forwarded.then_some(&made); // made before, or not
    let hop = Hop { peer: Some(peer), peer_value, trusted, secure, host: host.as_ref(), forwarded };
    let mut fields = before.clone();
    headers::set_forwarded(&mut fields, &hop);
    let chain = text::all(&fields, "x-forwarded-for");
    assert!(chain.len() == 1 && chain[0].ends_with(peer.to_string().as_bytes()), "the peer is not the last of {chain:?}");
    if trusted {
        // What a proxy behind us finds is whom we found.
        let behind = headers::client_address(Some(peer), &fields, &trust);
        assert_eq!(behind, client, "the walk goes on where it ended");
        if forwarded {
            let elements: Vec<&[u8]> = headers::list_elements(&fields, &HeaderName::from_static("forwarded")).collect();
            let ours = elements.last().is_some_and(|last| last.starts_with(b"for=10.0.0.1;"));
            assert!(ours, "our element is no element of its own");
        }
        return;
    }
    let proto: &[u8] = if secure { b"https" } else { b"http" };
    for (name, value) in &fields {
        let value = value.as_bytes();
        match cgi(name.as_str()).as_str() {
            "X_FORWARDED_FOR" => assert_eq!(value, b"192.0.2.1"),
            "X_FORWARDED_PROTO" => assert_eq!(value, proto),
            "X_FORWARDED_HOST" => assert_eq!(Some(value), host.as_ref().map(HeaderValue::as_bytes)),
            "FORWARDED" => assert!(forwarded && value.starts_with(b"for=192.0.2.1;")),
            _ => assert!(!is_about_the_client(name.as_str()), "{name} is a stranger's word"),
        }
    }
    twice(&mut fields, |fields| headers::set_forwarded(fields, &hop));
    for name in before.keys().filter(|name| !is_about_the_client(name.as_str())) {
        assert_eq!(text::all(before, name.as_str()), text::all(&fields, name.as_str()), "{name} is not ours to change");
    }
}

fn answer(mut fields: HeaderMap) {
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        assert!(headers::check_response(version, StatusCode::SWITCHING_PROTOCOLS, &fields).is_err());
        if headers::check_response(version, StatusCode::OK, &fields).is_ok() {
            let (length, encoding) = (headers::content_length(&fields), fields.contains_key("transfer-encoding"));
            assert!(length == Ok(None) || (length.is_ok() && !encoding), "two ends of one body");
            assert!(!encoding || version == Version::HTTP_11);
        }
    }
    let length = headers::content_length(&fields);
    twice(&mut fields, headers::keep_one_length);
    assert_eq!(headers::content_length(&fields), length);

    let before = fields.clone();
    headers::strip_response(&mut fields);
    stripped(&before, &fields, |name| {
        [
            "content-length",
            "content-type",
            "content-encoding",
            "cache-control",
            "set-cookie",
            "location",
            "www-authenticate",
            "trailer",
        ]
        .contains(&name)
    });
    twice(&mut fields, headers::strip_response);
    assert!(!fields.contains_key(CONNECTION));

    for (client_prefix, backend_prefix) in [("/app", "/v2"), ("/app", ""), ("", "/v2"), ("", "")] {
        if let Some(location) = fields.get(LOCATION) {
            moved(location, client_prefix, backend_prefix);
        }
        let mut cookies = fields.clone();
        headers::rewrite_cookie_paths(&mut cookies, backend_prefix, client_prefix);
        let pairs = |fields: &HeaderMap| -> Vec<Vec<u8>> {
            let pair = |line: &[u8]| line.split(|&byte| byte == b';').next().unwrap_or_default().to_vec();
            text::all(fields, SET_COOKIE.as_str()).into_iter().map(pair).collect()
        };
        assert_eq!(pairs(&cookies), pairs(&fields), "a cookie is another");
    }
}

/// A backend's path must not become a host.
fn moved(location: &HeaderValue, client_prefix: &str, backend_prefix: &str) {
    let rewrite = Rewrite {
        client_prefix,
        backend_prefix,
        client_host: Some("a.example"),
        sent_host: Some("inner:3000"),
        backend_authority: "10.0.0.1:3000",
    };
    let Some(moved) = headers::rewrite_location(location, &rewrite) else { return };
    let (from, to) = (location.as_bytes(), moved.as_bytes());
    let own = |text: &[u8]| text.to_ascii_lowercase().windows(11).any(|window| window == b"//a.example");
    let local = to.starts_with(b"/") && !matches!(to.get(1), Some(b'/' | b'\\' | b'\t'));
    assert!(local || (own(from) && own(to)), "{location:?} became {moved:?}");
}

/// What is done again changes nothing more.
fn twice(fields: &mut HeaderMap, act: impl Fn(&mut HeaderMap)) {
    act(fields);
    let once = text::sorted(fields);
    act(fields);
    assert_eq!(text::sorted(fields), once, "done twice it is another head");
}
