//! Pure: what belongs to one hop and goes no further (RFC 9110 7.6.1). Our own fields are added after
//! the strip, by others.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, LOCATION,
    ORIGIN, SET_COOKIE, TE, TRAILER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Version};

use super::forwarded;
use super::tokens::{has_token, tokens};
use crate::base::eight::is_like;

/// What a strip took note of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stripped {
    /// The client takes trailers: [`add_te`] tells the backend.
    pub te_trailers: bool,
}

/// Removes a request's hop-by-hop fields and what its `Connection` names, but for what a client must not
/// be able to take away by naming it.
pub fn strip_request(headers: &mut HeaderMap) -> Stripped {
    if !headers.keys().any(is_hop) {
        return Stripped::default(); // nothing that names others either
    }
    let te_trailers = has_token(headers, &TE, "trailers");
    strip(headers, kept_in_request);
    Stripped { te_trailers }
}

/// Removes an answer's hop-by-hop fields and what its `Connection` names, but for the fields that an
/// answer is nothing without.
pub fn strip_response(headers: &mut HeaderMap) {
    if headers.keys().any(is_hop) {
        strip(headers, kept_in_response);
    }
}

/// Tells the next hop that trailers are taken: `TE: trailers`, and on h1 `TE` in its `Connection`.
pub fn add_te(headers: &mut HeaderMap, version: Version) {
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if version >= Version::HTTP_2 || has_token(headers, &CONNECTION, "te") {
        return;
    }
    // One line, as there are servers that look at the first alone.
    let options: Vec<&[u8]> = tokens(headers, &CONNECTION).chain([b"TE".as_slice()]).collect();
    if let Ok(value) = HeaderValue::from_bytes(&options.join(b", ".as_slice())) {
        headers.insert(CONNECTION, value);
    }
}

fn strip(headers: &mut HeaderMap, kept: fn(&HeaderName) -> bool) {
    // Empty, so without an allocation, for the everyday `close`, `keep-alive` and `Upgrade`.
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter(|token| !is_everyday(token))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !kept(name))
        .collect();
    for name in &named {
        headers.remove(name);
    }
    // Most heads have none, or `Connection` alone: a look at the names that are there is cheaper than nine searches.
    while let Some(name) = headers.keys().find(|name| is_hop(name)).cloned() {
        headers.remove(name);
    }
}

/// Removed always. `Trailer` is not among them: hyper sends no trailers without it. `HTTP2-Settings`
/// belongs to an `Upgrade: h2c` that never goes on (RFC 7540 3.2.1).
fn is_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
    )
}

/// Options that name no field, or one that goes anyway.
fn is_everyday(token: &[u8]) -> bool {
    [b"close".as_slice(), b"keep-alive", b"upgrade", b"te"].iter().any(|known| is_like(token, known))
}

fn kept_in_request(name: &HeaderName) -> bool {
    // The forwarding fields of a trusted peer: a client behind it must not be able to hide itself.
    [HOST, CONTENT_LENGTH, COOKIE, AUTHORIZATION, ORIGIN, TRAILER].contains(name)
        || is_websocket(name)
        || forwarded::is_guarded(name)
}

fn kept_in_response(name: &HeaderName) -> bool {
    [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, CACHE_CONTROL, SET_COOKIE, LOCATION, WWW_AUTHENTICATE, TRAILER]
        .contains(name)
        || is_websocket(name)
}

fn is_websocket(name: &HeaderName) -> bool {
    name.as_str().starts_with("sec-websocket-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use http::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TRANSFER_ENCODING, UPGRADE};

    use super::*;

    const HOP_BY_HOP: [HeaderName; 9] = [
        CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("http2-settings"),
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
    ];

    fn head(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut headers = head(&[
            ("connection", "close, X-Inner"),
            ("connection", "x-other"),
            ("x-inner", "1"),
            ("x-inner", "2"),
            ("x-other", "3"),
            ("accept", "*/*"),
        ]);
        assert_eq!(strip_request(&mut headers), Stripped { te_trailers: false });
        assert_eq!(headers, head(&[("accept", "*/*")]));
    }

    #[test]
    fn a_client_cannot_take_away_what_matters_by_naming_it() {
        let kept = [
            ("host", "a"),
            ("content-length", "0"),
            ("cookie", "a=b"),
            ("authorization", "x"),
            ("origin", "http://a"),
            ("sec-websocket-key", "k"),
            ("sec-websocket-version", "13"),
            ("x-forwarded-for", "192.0.2.1"),
            ("trailer", "x-sum"),
        ];
        let mut headers = head(&kept);
        let names: Vec<&str> = kept.iter().map(|(name, _)| *name).collect();
        headers.append(CONNECTION, names.join(",").parse().unwrap());
        strip_request(&mut headers);
        assert_eq!(headers, head(&kept));
    }

    #[test]
    fn an_answer_keeps_what_it_is_nothing_without() {
        let mut headers = head(&[
            ("connection", "set-cookie, location, x-gone"),
            ("set-cookie", "a=b"),
            ("location", "/"),
            ("x-gone", "1"),
            ("proxy-authenticate", "Basic"),
        ]);
        strip_response(&mut headers);
        assert_eq!(headers, head(&[("set-cookie", "a=b"), ("location", "/")]));
    }

    #[test]
    fn te_trailers_is_noted_and_put_back_for_the_next_hop() {
        let mut headers = head(&[("te", "gzip;q=0.5, Trailers"), ("connection", "TE")]);
        assert_eq!(strip_request(&mut headers), Stripped { te_trailers: true });
        assert!(headers.is_empty());
        let mut h2 = headers.clone();
        add_te(&mut headers, Version::HTTP_11);
        assert_eq!(headers, head(&[("te", "trailers"), ("connection", "TE")]));
        add_te(&mut h2, Version::HTTP_2);
        assert_eq!(h2, head(&[("te", "trailers")]));
    }

    #[test]
    fn te_joins_the_options_that_are_there_in_one_line() {
        let mut headers = head(&[("connection", "close"), ("connection", "x")]);
        add_te(&mut headers, Version::HTTP_11);
        add_te(&mut headers, Version::HTTP_11);
        assert_eq!(headers, head(&[("te", "trailers"), ("connection", "close, x, TE")]));
    }

    fn any_head() -> impl Strategy<Value = Vec<(String, String)>> {
        let name = prop_oneof![
            Just("connection".to_owned()),
            Just("Keep-Alive".to_owned()),
            Just("te".to_owned()),
            Just("transfer-encoding".to_owned()),
            Just("upgrade".to_owned()),
            Just("proxy-connection".to_owned()),
            Just("host".to_owned()),
            Just("set-cookie".to_owned()),
            "x-[a-c]",
        ];
        let value = prop_oneof![
            "(x-[a-c]|host|set-cookie|te|trailers|close|upgrade|Connection|@|,| |\u{e9}){0,6}",
            "(x-[a-c], ?){1,3}te",
        ];
        proptest::collection::vec((name, value), 0..8)
    }

    proptest! {
        #[test]
        fn no_hop_by_hop_field_gets_through_and_a_second_strip_changes_nothing(lines in any_head()) {
            let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (name.as_str(), value.trim())).collect();
            let before = head(&lines);
            let named: Vec<Vec<u8>> = tokens(&before, &CONNECTION).map(<[u8]>::to_ascii_lowercase).collect();
            for (is_request, kept) in [(true, kept_in_request as fn(&HeaderName) -> bool), (false, kept_in_response)] {
                let strip = |headers: &mut HeaderMap| {
                    if is_request {
                        strip_request(headers);
                    } else {
                        strip_response(headers);
                    }
                };
                let mut after = before.clone();
                strip(&mut after);
                for name in before.keys() {
                    let goes = HOP_BY_HOP.contains(name) || (!kept(name) && named.contains(&name.as_str().as_bytes().to_vec()));
                    let left: Vec<_> = after.get_all(name).iter().collect();
                    let there: Vec<_> = before.get_all(name).iter().filter(|_| !goes).collect();
                    prop_assert_eq!(left, there, "{}", name);
                }
                let once = after.clone();
                strip(&mut after);
                prop_assert_eq!(once, after);
            }
        }
    }
}
