//! Pure: what both sides agreed on. A tunnel is made of nothing less.
//!
//! Also the heads that carry a handshake: the offer toward the backend, the 101 toward the client, and the fields
//! of both over HTTP/2.

use std::fmt;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Answer;
use super::offer::{Draft, Offer};
use super::rfc6455::accept_for;
use super::spelling::{names_of, write_head};
use crate::frame::Extensions;
use crate::headers::{has_token, list_elements};

/// Why a 101 is not an agreement. The backend's fault; the client gets 502 and no tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// A 101 of HTTP/1.0.
    Version,
    /// No `Upgrade: websocket`, or another protocol beside it.
    Upgrade,
    /// No `upgrade` token in `Connection`.
    Connection,
    /// `Sec-WebSocket-Accept` is missing or repeated.
    AcceptMissing,
    /// It is not what the key gives.
    AcceptWrong,
    /// A subprotocol that was not offered, or more than one.
    Protocol,
    /// An extension that was not offered, or one twice.
    Extensions,
    /// A body was announced.
    Body,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "its 101 is of HTTP/1.0, which has no upgrades",
            Self::Upgrade => "its 101 does not say `Upgrade: websocket`",
            Self::Connection => "its 101 does not say `Connection: Upgrade`",
            Self::AcceptMissing => "its 101 has no single Sec-WebSocket-Accept",
            Self::AcceptWrong => "the Sec-WebSocket-Accept of its 101 does not match the key",
            Self::Protocol => "its answer chooses a subprotocol that was not offered, or more than one",
            Self::Extensions => "its answer accepts an extension that was not offered, or one twice",
            Self::Body => "its 101 announces a body",
        })
    }
}

/// A valid answer to an offer: a 101, or over HTTP/2 any 2xx.
#[derive(Clone, Debug)]
pub struct Agreement {
    draft: Draft,
    answer: Answer,
    /// The key that the backend was sent, and its right accept for it.
    accepted: Option<(Bytes, HeaderValue)>,
}

impl Offer {
    /// The head of the offer toward the backend. `headers` are the client's after every law and edit,
    /// `raw` its head as it came (spelling and order are taken from there), `key` the key to offer: the
    /// client's or our own.
    pub fn request_head(&self, target: &str, headers: &mut HeaderMap, raw: Option<&[u8]>, key: Option<&[u8]>) -> Bytes {
        headers.remove(CONTENT_LENGTH);
        headers.remove(EXPECT);
        if key.is_none() {
            headers.remove(SEC_WEBSOCKET_KEY);
        }
        // hixie-75 compares bytes: `WebSocket`, not `websocket`.
        let upgrade: &[u8] = if self.draft() == Draft::Hixie75 { b"WebSocket" } else { b"websocket" };
        let host = headers.get(http::header::HOST).cloned();
        let mut fixed: Vec<(&HeaderName, &[u8])> = Vec::with_capacity(4);
        if let Some(host) = &host {
            fixed.push((&http::header::HOST, host.as_bytes()));
        }
        fixed.push((&UPGRADE, upgrade));
        fixed.push((&CONNECTION, b"Upgrade"));
        if let Some(key) = key {
            fixed.push((&SEC_WEBSOCKET_KEY, key));
        }
        write_head(&[b"GET ", target.as_bytes(), b" HTTP/1.1"], names_of(raw.unwrap_or_default()), headers, &fixed)
    }

    /// What remains of an offer's fields over HTTP/2 (RFC 8441 section 5): no key, and nothing of the upgrade.
    pub fn fields_over_http2(headers: &mut HeaderMap) {
        for name in [CONTENT_LENGTH, EXPECT, UPGRADE, CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_ACCEPT, TRANSFER_ENCODING] {
            headers.remove(name);
        }
    }

    /// Judges the fields of a 2xx over HTTP/2, which is an agreement by its status. `headers` are those of the request.
    pub fn agree_over_http2(&self, headers: &HeaderMap, granted: HeaderMap) -> Result<Agreement, Disagreement> {
        check_protocol(headers, &granted)?;
        check_extensions(headers, &granted)?;
        let answer =
            Answer { is_http11: false, status: StatusCode::OK, reason: Bytes::new(), names: Vec::new(), headers: granted };
        Ok(Agreement { draft: self.draft(), answer, accepted: None })
    }

    /// Judges a 101. `headers` are those of the request (what was offered), `key` the one that was sent.
    pub fn agree(&self, headers: &HeaderMap, key: Option<&[u8]>, answer: Answer) -> Result<Agreement, Disagreement> {
        if !answer.is_http11 {
            return Err(Disagreement::Version);
        }
        let granted = &answer.headers;
        let mut upgrades = granted.get_all(UPGRADE).iter();
        let upgrade = upgrades.next().ok_or(Disagreement::Upgrade)?;
        if upgrades.next().is_some() || !upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") {
            return Err(Disagreement::Upgrade);
        }
        if !has_token(granted, &CONNECTION, "upgrade") {
            return Err(Disagreement::Connection);
        }
        if granted.contains_key(TRANSFER_ENCODING) || granted.get_all(CONTENT_LENGTH).iter().any(|length| length != "0") {
            return Err(Disagreement::Body);
        }
        let mut accepted = None;
        if let Some(key) = key {
            let mut accepts = granted.get_all(SEC_WEBSOCKET_ACCEPT).iter();
            let accept = accepts.next().ok_or(Disagreement::AcceptMissing)?;
            if accepts.next().is_some() {
                return Err(Disagreement::AcceptMissing);
            }
            if accept.as_bytes() != accept_for(key).as_bytes() {
                return Err(Disagreement::AcceptWrong);
            }
            accepted = Some((Bytes::copy_from_slice(key), accept.clone()));
        }
        check_protocol(headers, granted)?;
        check_extensions(headers, granted)?;
        Ok(Agreement { draft: self.draft(), answer, accepted })
    }
}

fn check_protocol(offered: &HeaderMap, granted: &HeaderMap) -> Result<(), Disagreement> {
    let mut chosen = granted.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let Some(protocol) = chosen.next() else { return Ok(()) };
    let was_offered = list_elements(offered, &SEC_WEBSOCKET_PROTOCOL).any(|element| element == protocol.as_bytes());
    if chosen.next().is_some() || protocol.is_empty() || !was_offered {
        return Err(Disagreement::Protocol);
    }
    Ok(())
}

fn check_extensions(offered: &HeaderMap, granted: &HeaderMap) -> Result<(), Disagreement> {
    let mut seen: Vec<&[u8]> = Vec::new();
    for extension in list_elements(granted, &SEC_WEBSOCKET_EXTENSIONS) {
        let name = extension_name(extension);
        let was_offered = list_elements(offered, &SEC_WEBSOCKET_EXTENSIONS).any(|e| extension_name(e).eq_ignore_ascii_case(name));
        if name.is_empty() || !was_offered || seen.iter().any(|there| there.eq_ignore_ascii_case(name)) {
            return Err(Disagreement::Extensions);
        }
        seen.push(name);
    }
    Ok(())
}

/// The token before the parameters (RFC 6455 section 9.1).
fn extension_name(element: &[u8]) -> &[u8] {
    element.split(|&b| b == b';').next().unwrap_or_default().trim_ascii()
}

impl Agreement {
    /// The fields of the backend's answer, for the hop-by-hop law and the operator's edits.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.answer.headers
    }

    /// Which extensions the frames of the tunnel may use; `None` where the draft knows no such frames.
    pub fn extensions(&self) -> Option<Extensions> {
        if self.draft == Draft::Hixie75 {
            return None;
        }
        let mut names = list_elements(&self.answer.headers, &SEC_WEBSOCKET_EXTENSIONS).map(extension_name);
        Some(match (names.next(), names.next()) {
            (None, _) => Extensions::None,
            (Some(name), None) if name.eq_ignore_ascii_case(b"permessage-deflate") => Extensions::Deflate,
            _ => Extensions::Unknown,
        })
    }

    /// The fields of the 200 toward a client over HTTP/2.
    pub fn response_fields(self) -> HeaderMap {
        let mut headers = self.answer.headers;
        Offer::fields_over_http2(&mut headers);
        headers
    }

    /// The 101 toward the client; `key` is the client's.
    pub fn response_head(&mut self, key: Option<&[u8]>) -> Bytes {
        let headers = &mut self.answer.headers;
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        if key.is_none() {
            headers.remove(SEC_WEBSOCKET_ACCEPT);
        }
        let accept = key.map(|key| match &self.accepted {
            Some((sent, accept)) if sent == key => accept.clone(), // it was computed once
            _ => HeaderValue::try_from(accept_for(key)).unwrap_or(HeaderValue::from_static("")), // base64 is legal in one
        });
        // Clients of hixie-75 compare the whole head with what the draft prints.
        let (upgrade, reason): (&[u8], &[u8]) = if self.draft == Draft::Hixie75 {
            (b"WebSocket", &self.answer.reason)
        } else {
            (b"websocket", b"Switching Protocols")
        };
        let mut fixed: Vec<(&HeaderName, &[u8])> = vec![(&UPGRADE, upgrade), (&CONNECTION, b"Upgrade")];
        if let Some(accept) = &accept {
            fixed.push((&SEC_WEBSOCKET_ACCEPT, accept.as_bytes()));
        }
        write_head(&[b"HTTP/1.1 101 ", reason], self.answer.names.iter().map(AsRef::as_ref), headers, &fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, Method, Version};
    use proptest::prelude::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const GOOD: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    fn request(with: &[(&'static str, &'static str)]) -> (HeaderMap, Offer) {
        let fields =
            [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-key", KEY), ("sec-websocket-version", "13")];
        let mut headers = HeaderMap::new();
        for &(name, value) in fields.iter().chain(with) {
            headers.append(name, HeaderValue::from_static(value));
        }
        let offer = Offer::parse(&Method::GET, Version::HTTP_11, &headers, None, false).expect("legal").expect("an offer");
        (headers, offer)
    }

    fn judge(with: &[(&'static str, &'static str)], fields: &str) -> Result<String, Disagreement> {
        let (headers, offer) = request(with);
        let head = format!("HTTP/1.1 101 x\r\n{fields}\r\n");
        let (answer, _) = Answer::parse(head.as_bytes(), 20).expect("legal").expect("whole");
        let mut agreement = offer.agree(&headers, Some(KEY.as_bytes()), answer)?;
        Ok(String::from_utf8_lossy(&agreement.response_head(Some(KEY.as_bytes()))).into_owned())
    }

    #[test]
    fn a_right_101_is_written_canonically() {
        let fields = "upgrade: WebSocket\r\nX-mY: 1\r\nconnection: upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nContent-Length: 0\r\n";
        let head = judge(&[], fields).expect("agreed");
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX-mY: 1\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                accept_for(KEY.as_bytes())
            )
        );
    }

    #[test]
    fn whatever_was_not_agreed_is_refused() {
        use Disagreement as D;
        let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        for (fields, why) in [
            (format!("Connection: Upgrade\r\n{accept}"), D::Upgrade),
            (format!("Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n{accept}"), D::Upgrade),
            (format!("Upgrade: websocket\r\n{accept}"), D::Connection),
            ("Upgrade: websocket\r\nConnection: Upgrade\r\n".to_owned(), D::AcceptMissing),
            (format!("{GOOD}{accept}"), D::AcceptMissing),
            (GOOD.replace("s3p", "S3p"), D::AcceptWrong),
            (format!("{GOOD}Content-Length: 5\r\n"), D::Body),
            (format!("{GOOD}Transfer-Encoding: chunked\r\n"), D::Body),
            (format!("{GOOD}Sec-WebSocket-Protocol: chat\r\n"), D::Protocol),
            (format!("{GOOD}Sec-WebSocket-Extensions: permessage-deflate\r\n"), D::Extensions),
        ] {
            assert_eq!(judge(&[], &fields), Err(why), "{fields}");
        }
    }

    #[test]
    fn what_frames_may_use_is_what_was_granted() {
        let offer = [("sec-websocket-extensions", "permessage-deflate, x-foo")];
        for (line, expected) in [
            ("", Extensions::None),
            ("Sec-WebSocket-Extensions: PerMessage-Deflate; server_no_context_takeover\r\n", Extensions::Deflate),
            ("Sec-WebSocket-Extensions: x-foo\r\n", Extensions::Unknown),
            ("Sec-WebSocket-Extensions: permessage-deflate, x-foo\r\n", Extensions::Unknown),
        ] {
            let (headers, offer) = request(&offer);
            let head = format!("HTTP/1.1 101 x\r\n{GOOD}{line}\r\n");
            let (answer, _) = Answer::parse(head.as_bytes(), 20).expect("legal").expect("whole");
            let agreement = offer.agree(&headers, Some(KEY.as_bytes()), answer).expect("agreed");
            assert_eq!(agreement.extensions(), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_101_of_http_1_0_agrees_to_nothing() {
        let (headers, offer) = request(&[]);
        let head = format!("HTTP/1.0 101 Switching Protocols\r\n{GOOD}\r\n");
        let (answer, _) = Answer::parse(head.as_bytes(), 20).expect("legal").expect("whole");
        assert_eq!(offer.agree(&headers, Some(KEY.as_bytes()), answer).err(), Some(Disagreement::Version));
    }

    #[test]
    fn only_what_was_offered_may_be_chosen_and_once() {
        let offer =
            [("sec-websocket-protocol", "chat, superchat"), ("sec-websocket-extensions", "permessage-deflate; a=\"x,y\", x-foo")];
        for (line, agreed) in [
            ("Sec-WebSocket-Protocol: superchat", true),
            ("Sec-WebSocket-Protocol: Chat", false),
            ("Sec-WebSocket-Protocol: chat, superchat", false),
            ("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat", false),
            ("Sec-WebSocket-Protocol: ", false),
            ("Sec-WebSocket-Extensions: X-Foo; b, permessage-deflate", true),
            ("Sec-WebSocket-Extensions: x-foo, x-foo", false),
            ("Sec-WebSocket-Extensions: x-foo\r\nSec-WebSocket-Extensions: x-foo", false),
            ("Sec-WebSocket-Extensions: y", false),
        ] {
            assert_eq!(judge(&offer, &format!("{GOOD}{line}\r\n")).is_ok(), agreed, "{line}");
        }
    }

    #[test]
    fn over_http2_only_what_was_offered_may_be_chosen_and_nothing_of_the_upgrade_remains() {
        let (headers, offer) = request(&[("sec-websocket-protocol", "chat")]);
        let granted = |lines: &[(&'static str, &'static str)]| {
            lines
                .iter()
                .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect::<HeaderMap>()
        };
        let fields =
            granted(&[("sec-websocket-protocol", "chat"), ("x-a", "1"), ("sec-websocket-accept", "x"), ("content-length", "0")]);
        let agreement = offer.agree_over_http2(&headers, fields).expect("agreed");
        assert_eq!(agreement.response_fields(), granted(&[("sec-websocket-protocol", "chat"), ("x-a", "1")]));
        let other = granted(&[("sec-websocket-protocol", "other")]);
        assert_eq!(offer.agree_over_http2(&headers, other).err(), Some(Disagreement::Protocol));
        let mut agreement = offer.agree_over_http2(&headers, HeaderMap::new()).expect("agreed");
        let head = agreement.response_head(Some(KEY.as_bytes()));
        assert!(head.starts_with(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"));
    }

    proptest! {
        #[test]
        fn nothing_is_agreed_that_was_not_offered(
            offered in (prop::collection::vec("[abA]", 0..3), prop::collection::vec("[xyX]", 0..3)),
            granted in (prop::collection::vec("[abA]?", 0..3), prop::collection::vec("[xyX]", 0..3)),
            parameters in "(; ?[a-z](=\"[,; a-z]{0,3}\")?){0,2}",
        ) {
            let (mut headers, offer) = request(&[]);
            let with = |names: &[String]| names.iter().map(|name| format!("{name}{parameters}")).collect::<Vec<_>>().join(" , ");
            headers.append(SEC_WEBSOCKET_PROTOCOL, offered.0.join(",").parse().expect("legal"));
            headers.append(SEC_WEBSOCKET_EXTENSIONS, with(&offered.1).parse().expect("legal"));
            let protocols: Vec<String> = granted.0.iter().map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).collect();
            let protocols = protocols.concat();
            let head = format!("HTTP/1.1 101 x\r\n{GOOD}{protocols}Sec-WebSocket-Extensions: {}\r\n\r\n", with(&granted.1));
            let (answer, _) = Answer::parse(head.as_bytes(), 20).expect("legal").expect("whole");

            let protocol = granted.0.is_empty() || (granted.0.len() == 1 && offered.0.contains(&granted.0[0]));
            let lower = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect::<Vec<_>>();
            let (asked, given) = (lower(&offered.1), lower(&granted.1));
            let once = given.iter().all(|name| given.iter().filter(|other| *other == name).count() == 1);
            let extensions = once && given.iter().all(|name| asked.contains(name));
            prop_assert_eq!(offer.agree(&headers, Some(KEY.as_bytes()), answer).is_ok(), protocol && extensions);
        }

        #[test]
        fn the_offer_that_goes_on_is_the_offer_that_came(
            fields in prop::collection::vec(("x-[a-c]|connection|upgrade|expect|content-length|X_[a-c]", "[ -~]{0,8}"), 0..6),
            spelled in "(X-[A-C]|host|HOST|uPgrade|[ -~]{0,6}|:|\r\n){0,8}",
        ) {
            let (mut headers, offer) = request(&[]);
            for (name, value) in &fields {
                headers.append(HeaderName::from_bytes(name.as_bytes()).expect("legal"), value.trim().parse().expect("legal"));
            }
            let before = headers.clone();
            let head = offer.request_head("/x", &mut headers, Some(spelled.as_bytes()), Some(KEY.as_bytes()));
            let mut lines = [httparse::EMPTY_HEADER; 20];
            let mut read = httparse::Request::new(&mut lines);
            prop_assert_eq!(read.parse(&head), Ok(httparse::Status::Complete(head.len())));
            let mut sent = HeaderMap::new();
            for line in read.headers.iter() {
                sent.append(HeaderName::from_bytes(line.name.as_bytes()).expect("legal"), HeaderValue::from_bytes(line.value).expect("legal"));
            }
            prop_assert_eq!(Offer::parse(&Method::GET, Version::HTTP_11, &sent, None, false), Ok(Some(offer)));
            for name in ["x-a", "x-b", "x-c", "x_a", "sec-websocket-version"] {
                prop_assert!(sent.get_all(name).iter().eq(before.get_all(name).iter()), "{name}");
            }
            prop_assert_eq!((sent.get_all(CONNECTION).iter().count(), sent.get_all(UPGRADE).iter().count()), (1, 1));
        }
    }

    #[test]
    fn a_hixie_75_client_gets_the_words_that_it_compares() {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(http::header::HOST, HeaderValue::from_static("a"));
        let offer = Offer::parse(&Method::GET, Version::HTTP_11, &headers, None, true).expect("legal").expect("an offer");
        let fields = "Upgrade: WebSocket\r\nConnection: Upgrade\r\nWebSocket-Origin: http://a\r\n\r\n";
        let head = format!("HTTP/1.1 101 Web Socket Protocol Handshake\r\n{fields}");
        let (answer, _) = Answer::parse(head.as_bytes(), 20).expect("legal").expect("whole");
        let mut agreement = offer.agree(&headers, None, answer).expect("agreed");
        assert_eq!(String::from_utf8_lossy(&agreement.response_head(None)), head);
        assert_eq!(
            String::from_utf8_lossy(&offer.request_head("/demo", &mut headers, None, None)),
            "GET /demo HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n"
        );
    }

    #[test]
    fn every_disagreement_names_the_field_that_is_wrong() {
        use Disagreement as D;
        for (why, word) in [
            (D::Version, "HTTP/1.0"),
            (D::Upgrade, "`Upgrade: websocket`"),
            (D::Connection, "`Connection: Upgrade`"),
            (D::AcceptMissing, "no single Sec-WebSocket-Accept"),
            (D::AcceptWrong, "does not match the key"),
            (D::Protocol, "subprotocol"),
            (D::Extensions, "extension"),
            (D::Body, "body"),
        ] {
            assert!(why.to_string().contains(word), "{why}");
        }
    }
}
