//! Pure: the offer over HTTP/2 (RFC 8441): CONNECT with `:protocol`, without a key, an upgrade or a body.

use http::header::{CONTENT_LENGTH, SEC_WEBSOCKET_VERSION};
use http::{HeaderMap, Method};

use super::offer::{Offer, Refusal};

/// The one `:protocol` that is spoken.
pub const PROTOCOL: &str = "websocket";

/// Whether a request is an extended CONNECT: `protocol` is its `:protocol`.
pub(super) fn is_asked(method: &Method, protocol: Option<&str>) -> bool {
    method == Method::CONNECT && protocol.is_some()
}

/// Judges one, in the order of the law: what is asked for, version, body.
pub(super) fn parse(protocol: &str, headers: &HeaderMap) -> Result<Offer, Refusal> {
    if !protocol.eq_ignore_ascii_case(PROTOCOL) {
        return Err(Refusal::UnknownProtocol);
    }
    let mut versions = headers.get_all(SEC_WEBSOCKET_VERSION).iter();
    if versions.next().is_none_or(|version| version != "13") || versions.next().is_some() {
        return Err(Refusal::VersionOverHttp2);
    }
    if !headers.get_all(CONTENT_LENGTH).iter().all(|length| length.as_bytes().iter().all(|&b| b == b'0')) {
        return Err(Refusal::Body);
    }
    Ok(Offer::over_http2())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Version};

    use super::*;

    fn check(protocol: &str, lines: &[(&'static str, &'static str)]) -> Result<Option<Offer>, Refusal> {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        Offer::parse(&Method::CONNECT, Version::HTTP_2, &headers, Some(protocol), false)
    }

    #[test]
    fn connect_with_the_protocol_and_version_13_is_an_offer_without_a_key() {
        let offer = check("websocket", &[("sec-websocket-version", "13")]).expect("legal").expect("an offer");
        assert_eq!((offer.key(), offer.is_over_http2()), (None, true));
        let empty = [("sec-websocket-version", "13"), ("content-length", "0")];
        assert!(check("WebSocket", &empty).is_ok_and(|offer| offer.is_some()));
    }

    #[test]
    fn the_protocol_is_judged_before_version_and_body() {
        let v = "sec-websocket-version";
        assert_eq!(check("connect-udp", &[]), Err(Refusal::UnknownProtocol));
        assert_eq!(check("", &[(v, "13")]), Err(Refusal::UnknownProtocol));
        for lines in [&[][..], &[(v, "8")], &[(v, "13"), (v, "13")], &[(v, "13, 8")], &[("content-length", "5")]] {
            assert_eq!(check("websocket", lines), Err(Refusal::VersionOverHttp2), "{lines:?}");
        }
        assert_eq!(check("websocket", &[(v, "13"), ("content-length", "5")]), Err(Refusal::Body));
        assert_eq!(Refusal::UnknownProtocol.status(), 501);
        assert_eq!(Refusal::VersionOverHttp2.status(), 400);
    }

    #[test]
    fn connect_without_a_protocol_is_no_offer() {
        let none = Offer::parse(&Method::CONNECT, Version::HTTP_2, &HeaderMap::new(), None, false);
        assert_eq!(none, Ok(None));
        assert!(!Offer::is_asked(&Method::GET, Version::HTTP_2, &HeaderMap::new(), Some("websocket")));
    }
}
