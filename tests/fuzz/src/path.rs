//! The law of paths: what a path is read as, which route it takes, what a rewrite makes of it. Input: `HOST TARGET`, then
//! a route on each line: `HOST PATH [REPLACEMENT]`, where `-` is any.

use http::{HeaderMap, Method, StatusCode};
use spliceway::headers::Edits;
use spliceway::route::{
    Action, BackendId, Forward, HostHeader, HostPattern, Normal, PathPattern, Query, Redirect, Route, Table, TunnelKind,
    WebSocket, rewrite_target,
};

use crate::text;

pub fn target(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let mut lines = text::lines(input.as_bytes()).filter_map(|line| std::str::from_utf8(line).ok());
    let (host, raw) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or(("-", input));
    let (raw, query) = raw.split_once('?').map_or((raw, None), |(path, query)| (path, Some(query)));
    let host = (host != "-").then_some(host);
    let routes: Vec<Route> = lines.filter_map(route).enumerate().map(named).collect();

    let normal = Normal::parse(raw);
    let expected = normalised(raw);
    assert_eq!(normal.as_ref().ok().map(Normal::as_str), expected.as_deref(), "the model reads it so");
    redirect(host, raw);
    let table = Table::new(routes.clone());
    let headers = HeaderMap::new();
    let found = table.find(&Query { host, path: raw, method: &Method::GET, headers: &headers });
    let (Some(normal), Ok(read)) = (expected, normal) else {
        assert!(found.is_err(), "a bad path has a route");
        return;
    };
    assert_eq!(Normal::parse(&normal).as_ref().map(Normal::as_str), Ok(normal.as_str()), "a normal path is its own");
    let wanted = scan(&routes, host, &normal).map(|route| route.name.clone());
    let found = match found {
        Ok(found) => found,
        // Refused for a reading that only these signs make.
        Err(error) => return assert!(!read.is_plain(), "{error} of a plain path"),
    };
    let name = found.as_ref().map(|found| found.route.name.clone());
    assert_eq!(name, wanted, "the first of the rules is another");
    if normal != "*" {
        let seen = lenient(raw);
        assert_eq!(scan(&routes, host, &seen).map(|route| route.name.clone()), name, "a lenient backend sees {seen}");
    }
    if let Some(found) = &found {
        rewritten(&found.route, &found.path, query);
    }
}

fn route(line: &str) -> Option<Route> {
    let mut words = line.split_whitespace();
    let host = words.next().filter(|host| *host != "-").map(HostPattern::parse).transpose().ok()?;
    let path = words.next().filter(|path| *path != "-").map(PathPattern::parse).transpose().ok()?;
    let replacement = words.next().filter(|_| matches!(path, Some(PathPattern::Prefix(_))));
    let replacement = replacement.map(|text| PathPattern::parse(text).ok()).map(|read| match read {
        Some(PathPattern::Prefix(path)) => path,
        _ => String::new(),
    });
    Some(Route {
        name: "".into(),
        host,
        path,
        methods: Vec::new(),
        headers: Vec::new(),
        action: Action::Forward(forward(replacement)),
        request_headers: Edits::default(),
        response_headers: Edits::default(),
    })
}

fn forward(rewrite: Option<String>) -> Forward {
    Forward {
        backend: BackendId(0),
        handshake: WebSocket::Forward,
        legacy_drafts: false,
        rewrite,
        host_header: HostHeader::Keep,
        max_body: None,
        forwarded: false,
        handshake_time: std::time::Duration::ZERO,
        answer_time: std::time::Duration::ZERO,
        between_time: None,
        tunnel: TunnelKind(0),
    }
}

fn named((at, mut route): (usize, Route)) -> Route {
    route.name = at.to_string().into();
    route
}

/// RFC 3986 section 6.2.2, a byte at a time. `None`: it is refused.
fn normalised(raw: &str) -> Option<String> {
    if raw == "*" {
        return Some(raw.to_owned());
    }
    let mut bytes = raw.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let value = 16 * digit(bytes.next()?)? + digit(bytes.next()?)?;
        match value {
            0 => return None,
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => decoded.push(value),
            other => decoded.extend_from_slice(format!("%{other:02X}").as_bytes()),
        }
    }
    let decoded = String::from_utf8(decoded).ok()?;
    let mut segments = Vec::new();
    let mut rest = decoded.strip_prefix('/')?.split('/').peekable();
    while let Some(segment) = rest.next() {
        let is_last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop()?;
                }
                if is_last {
                    segments.push("");
                }
            }
            other => segments.push(other),
        }
    }
    Some(format!("/{}", segments.join("/")))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// A backend as lenient as they come: everything decoded in one go, all slashes alike, parameters cut.
fn lenient(raw: &str) -> String {
    let mut bytes = raw.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        match (byte, ahead.next().and_then(digit), ahead.next().and_then(digit)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(16 * high + low);
                bytes = ahead;
            }
            _ => decoded.push(byte),
        }
    }
    let text = String::from_utf8_lossy(&decoded);
    let mut kept = Vec::new();
    let mut ends_in_slash = false;
    for segment in text.split(['/', '\\']).map(|segment| segment.split(';').next().unwrap_or_default()) {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    format!("/{}{}", kept.join("/"), if ends_in_slash && !kept.is_empty() { "/" } else { "" })
}

/// The rules of the reference, one route after the other: the host decides, then the path, then the order.
fn scan<'a>(routes: &'a [Route], host: Option<&str>, path: &str) -> Option<&'a Route> {
    let mut best: Option<((usize, usize), &Route)> = None;
    for route in routes {
        let Some(rank) = host_rank(route, host).zip(path_rank(route, path)) else { continue };
        let open = path != "*" || (route.host.is_none() && matches!(&route.path, None | Some(PathPattern::Prefix(_))));
        if open && best.is_none_or(|(known, _)| rank > known) {
            best = Some((rank, route));
        }
    }
    best.map(|(_, route)| route)
}

fn host_rank(route: &Route, host: Option<&str>) -> Option<usize> {
    let Some(wanted) = &route.host else { return Some(0) };
    let host = canonical(host?);
    match wanted {
        HostPattern::Exact(wanted) => (canonical(wanted) == host).then_some(2),
        HostPattern::Wildcard(suffix) => {
            let (label, rest) = host.split_once('.')?;
            (!label.is_empty() && rest == canonical(suffix)).then_some(1)
        }
    }
}

fn path_rank(route: &Route, path: &str) -> Option<usize> {
    match &route.path {
        None => Some(0),
        Some(PathPattern::Prefix(prefix)) if path == "*" => prefix.is_empty().then_some(0),
        Some(PathPattern::Exact(wanted)) => (wanted == path).then_some(usize::MAX),
        Some(PathPattern::Prefix(prefix)) => (path == prefix || path.starts_with(&format!("{prefix}/"))).then_some(prefix.len()),
    }
}

/// Case, port and the last dot do not matter; an address has one form.
fn canonical(host: &str) -> String {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        // What follows the bracket up to a colon is no host's; it stays, and matches nothing.
        Some((address, rest)) => format!("[{address}]{}", rest.split(':').next().unwrap_or_default()),
        None => host.split(':').next().unwrap_or_default().to_owned(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    address.and_then(|address| address.parse().ok()).map_or(name.clone(), |address: std::net::Ipv6Addr| format!("[{address}]"))
}

fn rewritten(route: &Route, path: &Normal<'_>, query: Option<&str>) {
    let (Action::Forward(forward), Some(PathPattern::Prefix(prefix))) = (&route.action, &route.path) else { return };
    let Some(replacement) = &forward.rewrite else { return };
    let target = rewrite_target(path, query, prefix, replacement);
    let (path, rest) = target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
    assert_eq!(rest, query, "a query goes on as it came");
    if path == "*" {
        return;
    }
    assert!(path.starts_with('/') && !path.starts_with("//"), "{target} may be taken for a host");
    let seen = lenient(path);
    let inside = seen == *replacement || seen.starts_with(&format!("{replacement}/"));
    assert!(inside, "{target}, read as {seen}, has left {replacement}");
}

/// No request puts a second line, or a host of its own, into a redirect.
fn redirect(host: Option<&str>, path: &str) {
    for location in ["https://{host}{path}", "https://b.example/{path}", "{path}", "/x{path}"] {
        let redirect = Redirect { location: location.to_owned(), status: StatusCode::PERMANENT_REDIRECT };
        let Some(value) = redirect.expand(host, path) else { continue };
        assert!(value.as_bytes().iter().all(u8::is_ascii_graphic), "{value:?}");
        let start: &[u8] = if location.starts_with("https") { b"https://" } else { b"/" };
        assert!(value.as_bytes().starts_with(start));
        let is_local = !matches!(value.as_bytes().get(1), Some(b'/' | b'\\'));
        assert!(location.starts_with("https") || is_local, "{value:?} leads to another host");
    }
}
