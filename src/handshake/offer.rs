//! Pure: what the client asks: a WebSocket, nothing, or something that is answered without a backend.

use std::fmt;

use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::rfc6455::is_key;
use super::rfc8441;
use crate::headers::has_token;

/// A handshake that never was an RFC, or the RFC itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draft {
    /// RFC 6455, version 13.
    Rfc6455,
    /// hybi 4 to 10, by `Sec-WebSocket-Version` (IANA's registry; 9 and 10 wrote 8). From 7 on they have
    /// the RFC's key, accept and frames.
    Hybi(u8),
    /// draft-hixie-thewebsocketprotocol-75: no key, no version.
    Hixie75,
    /// draft-hixie-thewebsocketprotocol-76: `Sec-WebSocket-Key1`, `-Key2`, and 8 bytes behind the head.
    Hixie76,
    /// A version of the field that no draft of ours has.
    Unknown,
}

impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rfc6455 => f.write_str("RFC 6455"),
            Self::Hybi(version) => write!(f, "a hybi draft (version {version})"),
            Self::Hixie75 => f.write_str("hixie-75"),
            Self::Hixie76 => f.write_str("hixie-76"),
            Self::Unknown => f.write_str("an unknown version"),
        }
    }
}

/// A handshake that may go to a backend. Holding one proves that the law's first table was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    draft: Draft,
    key: Option<HeaderValue>,
    over_http2: bool,
}

/// Why a handshake gets an answer of ours. The client's fault, always; no backend is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another version than 13, or none: 426 with what we speak (RFC 6455 section 4.4).
    Version(Draft),
    /// `Sec-WebSocket-Version` twice, or a list: 400.
    VersionRepeated,
    /// No `Sec-WebSocket-Key`: 400.
    KeyMissing,
    /// More than one: 400.
    KeyRepeated,
    /// Not 16 bytes in base64: 400.
    KeyMalformed,
    /// A body was announced: 400.
    Body,
    /// Over HTTP/2: another version than 13, or none, or several: 400, as 426 asks for an upgrade, which there is not.
    VersionOverHttp2,
    /// An extended CONNECT for something else: 501.
    UnknownProtocol,
}

impl Refusal {
    /// The status of our answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Version(_) => StatusCode::UPGRADE_REQUIRED,
            Self::UnknownProtocol => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(draft) => {
                write!(f, "the client offers {draft}; only version 13 of the WebSocket protocol is spoken here")
            }
            Self::VersionRepeated => f.write_str("Sec-WebSocket-Version is repeated or a list"),
            Self::KeyMissing => f.write_str("Sec-WebSocket-Key is missing"),
            Self::KeyRepeated => f.write_str("Sec-WebSocket-Key is repeated"),
            Self::KeyMalformed => f.write_str("Sec-WebSocket-Key is not the base64 of 16 bytes"),
            Self::Body => f.write_str("a WebSocket handshake cannot have a body"),
            Self::VersionOverHttp2 => f.write_str("only version 13 of the WebSocket protocol is spoken here"),
            Self::UnknownProtocol => f.write_str("the :protocol of this CONNECT is not spoken here"),
        }
    }
}

impl Offer {
    /// Reads a request (whose fields passed the law on requests) in the law's order: not an upgrade
    /// (`Ok(None)`), version or draft, key and body, offer. `protocol` is the `:protocol` of an extended CONNECT
    /// (h2). `legacy` lets hixie-75 and hybi 7 to 10 be offers (h1).
    pub fn parse(
        method: &Method,
        version: Version,
        headers: &HeaderMap,
        protocol: Option<&str>,
        legacy: bool,
    ) -> Result<Option<Self>, Refusal> {
        if Self::is_asked(method, version, headers, protocol) {
            Self::read(headers, protocol, legacy).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The same of a request that [is asked](Self::is_asked) to be one.
    pub fn read(headers: &HeaderMap, protocol: Option<&str>, legacy: bool) -> Result<Self, Refusal> {
        if let Some(protocol) = protocol {
            return rfc8441::parse(protocol, headers);
        }
        let draft = draft(headers)?;
        let spoken = match draft {
            Draft::Rfc6455 => true,
            Draft::Hybi(7..) | Draft::Hixie75 => legacy,
            // Its 8 bytes would have to be read before the 101: never.
            Draft::Hybi(_) | Draft::Hixie76 | Draft::Unknown => false,
        };
        if !spoken {
            return Err(Refusal::Version(draft));
        }
        let key = if draft == Draft::Hixie75 { None } else { Some(key(headers)?) };
        let empty = headers.get_all(CONTENT_LENGTH).iter().all(|length| length.as_bytes().iter().all(|&b| b == b'0'));
        if !empty || headers.contains_key(TRANSFER_ENCODING) {
            return Err(Refusal::Body);
        }
        Ok(Self { draft, key, over_http2: false })
    }

    /// An offer that came over HTTP/2.
    pub(super) fn over_http2() -> Self {
        Self { draft: Draft::Rfc6455, key: None, over_http2: true }
    }

    /// Whether a request asks for a WebSocket at all (RFC 9110 section 7.8): GET, HTTP/1.1, both tokens; or for
    /// anything at all by an extended CONNECT.
    pub fn is_asked(method: &Method, version: Version, headers: &HeaderMap, protocol: Option<&str>) -> bool {
        if version >= Version::HTTP_2 {
            return rfc8441::is_asked(method, protocol);
        }
        version == Version::HTTP_11
            && method == Method::GET
            && headers.contains_key(UPGRADE)
            && has_token(headers, &UPGRADE, "websocket")
            && has_token(headers, &CONNECTION, "upgrade")
    }

    /// Which protocol it is.
    pub fn draft(&self) -> Draft {
        self.draft
    }

    /// Whether it came over HTTP/2 and is answered there.
    pub fn is_over_http2(&self) -> bool {
        self.over_http2
    }

    /// Whether it can be made over HTTP/2: the drafts cannot.
    pub fn fits_http2(&self) -> bool {
        self.draft == Draft::Rfc6455
    }

    /// Whether an h1 backend is to be offered a key: in hixie-75 there is none.
    pub fn needs_key(&self) -> bool {
        self.draft != Draft::Hixie75
    }

    /// The client's key; `None` in hixie-75 and over HTTP/2.
    pub fn key(&self) -> Option<&HeaderValue> {
        self.key.as_ref()
    }
}

fn draft(headers: &HeaderMap) -> Result<Draft, Refusal> {
    let mut versions = headers.get_all(SEC_WEBSOCKET_VERSION).iter();
    let Some(version) = versions.next() else {
        let key1 = HeaderName::from_static("sec-websocket-key1");
        let key2 = HeaderName::from_static("sec-websocket-key2");
        return Ok(if headers.contains_key(key1) || headers.contains_key(key2) {
            Draft::Hixie76
        } else if headers.contains_key(SEC_WEBSOCKET_KEY) {
            Draft::Unknown
        } else {
            Draft::Hixie75
        });
    };
    if versions.next().is_some() || version.as_bytes().contains(&b',') {
        return Err(Refusal::VersionRepeated);
    }
    Ok(match version.as_bytes() {
        b"13" => Draft::Rfc6455,
        b"10" => Draft::Hybi(10),
        [digit @ b'4'..=b'9'] => Draft::Hybi(digit - b'0'),
        _ => Draft::Unknown,
    })
}

fn key(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().ok_or(Refusal::KeyMissing)?;
    if keys.next().is_some() {
        return Err(Refusal::KeyRepeated);
    }
    if is_key(key.as_bytes()) { Ok(key.clone()) } else { Err(Refusal::KeyMalformed) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OFFER: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];

    fn check(without: &str, with: &[(&'static str, &str)], legacy: bool) -> Result<Option<Draft>, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in OFFER.iter().filter(|(name, _)| !without.split(' ').any(|w| w == *name)).chain(with) {
            headers.append(*name, HeaderValue::from_str(value).expect("legal"));
        }
        Offer::parse(&Method::GET, Version::HTTP_11, &headers, None, legacy).map(|offer| offer.map(|offer| offer.draft()))
    }

    #[test]
    fn an_offer_needs_get_http_1_1_and_both_tokens() {
        assert_eq!(check("", &[], false), Ok(Some(Draft::Rfc6455)));
        assert_eq!(check("upgrade", &[("upgrade", "h2c, WebSocket")], false), Ok(Some(Draft::Rfc6455)));
        assert_eq!(
            check("connection", &[("connection", "keep-alive"), ("connection", "x,uPgRaDe")], false),
            Ok(Some(Draft::Rfc6455))
        );
        for (without, with) in [
            ("upgrade", None),
            ("connection", None),
            ("upgrade", Some(("upgrade", "h2c"))),
            ("upgrade", Some(("upgrade", "websocket/13"))),
            ("upgrade", Some(("upgrade", "xwebsocket"))),
        ] {
            assert_eq!(check(without, with.as_slice(), false), Ok(None));
        }
        let headers = OFFER.iter().map(|&(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
        assert!(!Offer::is_asked(&Method::POST, Version::HTTP_11, &headers, None));
        assert!(!Offer::is_asked(&Method::GET, Version::HTTP_10, &headers, None));
    }

    #[test]
    fn the_version_is_judged_before_key_and_body() {
        let v = "sec-websocket-version";
        assert_eq!(
            check("sec-websocket-version sec-websocket-key", &[(v, "12"), ("content-length", "9")], false),
            Err(Refusal::Version(Draft::Unknown))
        );
        assert_eq!(check(v, &[(v, "13, 8")], false), Err(Refusal::VersionRepeated));
        assert_eq!(check("", &[(v, "13")], false), Err(Refusal::VersionRepeated));
        assert_eq!(check(v, &[], false), Err(Refusal::Version(Draft::Unknown)));
        assert_eq!(check("sec-websocket-version sec-websocket-key", &[], false), Err(Refusal::Version(Draft::Hixie75)));
        assert_eq!(check("sec-websocket-version sec-websocket-key", &[], true), Ok(Some(Draft::Hixie75)));
        assert_eq!(check(v, &[(v, "8")], false), Err(Refusal::Version(Draft::Hybi(8))));
        assert_eq!(check(v, &[(v, "8")], true), Ok(Some(Draft::Hybi(8))));
        assert_eq!(check(v, &[(v, "10")], true), Ok(Some(Draft::Hybi(10))));
        assert_eq!(check(v, &[(v, "6")], true), Err(Refusal::Version(Draft::Hybi(6))));
        let hixie76 = [("sec-websocket-key1", "4 @1  46546xW%0l 1 5"), ("sec-websocket-key2", "12998 5 Y3 1  .P00")];
        assert_eq!(check("sec-websocket-version sec-websocket-key", &hixie76, true), Err(Refusal::Version(Draft::Hixie76)));
    }

    #[test]
    fn a_bad_key_or_a_body_is_refused() {
        let k = "sec-websocket-key";
        assert_eq!(check(k, &[], false), Err(Refusal::KeyMissing));
        assert_eq!(check("", &[(k, "dGhlIHNhbXBsZSBub25jZQ==")], false), Err(Refusal::KeyRepeated));
        assert_eq!(check(k, &[(k, "short")], false), Err(Refusal::KeyMalformed));
        assert_eq!(check("", &[("content-length", "0")], false), Ok(Some(Draft::Rfc6455)));
        assert_eq!(check("", &[("content-length", "1")], false), Err(Refusal::Body));
        assert_eq!(check("", &[("transfer-encoding", "chunked")], false), Err(Refusal::Body));
    }

    /// The fields of an offer, some of them missing, and strange ones beside them.
    fn any_fields() -> impl Strategy<Value = HeaderMap> {
        let names = [
            "upgrade",
            "connection",
            "sec-websocket-key",
            "sec-websocket-key1",
            "sec-websocket-version",
            "content-length",
            "transfer-encoding",
            "host",
        ];
        let value = prop_oneof![
            "(websocket|WebSocket|h2c|upgrade|keep-alive|13|8|0|dGhlIHNhbXBsZSBub25jZQ==|chunked|,| ){0,3}"
                .prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..28),
        ];
        let right = prop::sample::subsequence(OFFER.to_vec(), 2..=4);
        let beside = prop::collection::vec((prop::sample::select(names.to_vec()), value), 0..4);
        (right, beside).prop_map(|(right, beside)| {
            let right = right.into_iter().map(|(name, value)| (name, value.as_bytes().to_vec()));
            let mut headers = HeaderMap::new();
            for (name, value) in right.chain(beside) {
                HeaderValue::from_bytes(&value).ok().map(|value| headers.append(name, value));
            }
            headers
        })
    }

    /// RFC 6455 section 4.1 once more, without a word of the code above.
    fn is_rfc6455(headers: &HeaderMap) -> bool {
        let lines = |name: &str| -> Vec<&[u8]> { headers.get_all(name).iter().map(HeaderValue::as_bytes).collect() };
        let holds = |name: &str, word: &str| {
            lines(name).join(&b',').split(|&b| b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
        let is_key = |key: &[u8]| key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_digit);
        holds("upgrade", "websocket")
            && holds("connection", "upgrade")
            && lines("sec-websocket-version") == [b"13"]
            && matches!(lines("sec-websocket-key")[..], [key] if is_key(key))
            && lines("transfer-encoding").is_empty()
            && lines("content-length").concat().iter().all(|&byte| byte == b'0')
    }

    proptest! {
        #[test]
        fn no_fields_break_the_reader_and_an_offer_is_what_the_rfc_says(headers in any_fields()) {
            let parse = |legacy| Offer::parse(&Method::GET, Version::HTTP_11, &headers, None, legacy);
            let strict = parse(false);
            prop_assert_eq!(matches!(strict, Ok(Some(_))), is_rfc6455(&headers), "{:?}", strict);
            if !matches!(strict, Err(Refusal::Version(_))) {
                prop_assert_eq!(strict, parse(true));
            }
        }
    }

    #[test]
    fn every_refusal_says_what_is_wrong_and_only_a_version_is_a_426() {
        let drafts = [Draft::Rfc6455, Draft::Hybi(8), Draft::Hixie75, Draft::Hixie76, Draft::Unknown].map(Refusal::Version);
        for (refusal, word) in drafts.into_iter().zip(["RFC 6455", "version 8", "hixie-75", "hixie-76", "unknown version"]) {
            assert_eq!(refusal.status().as_u16(), 426);
            assert!(refusal.to_string().contains(word) && refusal.to_string().contains("version 13"), "{refusal}");
        }
        for (refusal, words) in [
            (Refusal::VersionRepeated, "Sec-WebSocket-Version is repeated"),
            (Refusal::KeyMissing, "Key is missing"),
            (Refusal::KeyRepeated, "Key is repeated"),
            (Refusal::KeyMalformed, "base64 of 16 bytes"),
            (Refusal::Body, "body"),
        ] {
            assert_eq!(refusal.status().as_u16(), 400);
            assert!(refusal.to_string().contains(words), "{refusal}");
        }
    }
}
