//! Pure: what belongs to one hop only (RFC 9110 section 7.6.1) goes no further.

use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, LOCATION, ORIGIN,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE,
};

use super::tokens::{has_token, tokens};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removed whether `Connection` names them or not.
const ALWAYS: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION];

/// Never removed for being named: with them a client could strip what the backend's decisions rest on
/// (and with the response's, a backend what the client's do).
const NEVER: [HeaderName; 9] =
    [HOST, CONTENT_LENGTH, COOKIE, AUTHORIZATION, ORIGIN, SET_COOKIE, LOCATION, CONTENT_TYPE, HeaderName::from_static("trailer")];

/// What was found while stripping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripped {
    /// The client takes trailers (`TE: trailers`).
    pub te_trailers: bool,
}

/// Removes the hop-by-hop fields of a request.
pub fn strip_request(headers: &mut HeaderMap) -> Stripped {
    let te_trailers = headers.contains_key(TE) && has_token(headers, &TE, "trailers");
    strip(headers);
    Stripped { te_trailers }
}

/// Removes the hop-by-hop fields of an answer.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers);
}

/// Says to the next hop that trailers are taken; over h1 `Connection` has to name the field.
pub fn add_te(headers: &mut HeaderMap, over_h1: bool) {
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if over_h1 {
        headers.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
}

fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        // `close` and `keep-alive` are the everyday values and name nothing that is not in ALWAYS.
        let everyday =
            |token: &[u8]| [&b"close"[..], b"keep-alive", b"upgrade", b"te"].iter().any(|day| token.eq_ignore_ascii_case(day));
        let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
            .filter(|token| !everyday(token))
            .filter_map(|token| HeaderName::from_bytes(token).ok())
            .filter(|name| !NEVER.contains(name) && !name.as_str().starts_with("sec-websocket-"))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in ALWAYS {
        headers.remove(name);
    }
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

    #[test]
    fn what_connection_names_goes_but_not_what_matters() {
        let mut headers = map(&[
            ("connection", "close, X-Secret, Host, Cookie, sec-websocket-key"),
            ("connection", "x-other, Content-Length"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("host", "h"),
            ("cookie", "c"),
            ("sec-websocket-key", "k"),
            ("content-length", "0"),
            ("te", "gzip, trailers"),
            ("keep-alive", "5"),
            ("x-stays", "1"),
        ]);
        assert!(strip_request(&mut headers).te_trailers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "cookie", "host", "sec-websocket-key", "x-stays"]);
    }

    proptest! {
        #[test]
        fn no_hop_by_hop_field_passes_and_twice_is_once(
            fields in prop::collection::vec(("(connection|te|upgrade|keep-alive|x-[a-c]|host|proxy-connection|transfer-encoding)", "(x-[a-c]|close|te|host|,| ){0,4}"), 0..12)
        ) {
            let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let mut headers = map(&fields);
            let named: Vec<_> = tokens(&headers, &CONNECTION).map(<[u8]>::to_vec).collect();
            strip_request(&mut headers);
            for name in ALWAYS { prop_assert!(!headers.contains_key(&name)); }
            for name in named.iter().filter(|name| name.starts_with(b"x-")).filter_map(|name| HeaderName::from_bytes(name).ok()) {
                prop_assert!(!headers.contains_key(name));
            }
            let once = headers.clone();
            strip_request(&mut headers);
            prop_assert_eq!(headers, once);
        }
    }
}
