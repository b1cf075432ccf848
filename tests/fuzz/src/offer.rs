//! The handshake. Input: a client's head, an empty line, what the backend answers; `{accept}` there stands for the
//! right `Sec-WebSocket-Accept`, which no fuzzer guesses.

use bytes::Bytes;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, Method, Version};
use spliceway::handshake::{Answer, Draft, Offer, Refusal, accept_for, read_offer};
use spliceway::headers;

use crate::text::{all, fields, names, parts, request_line, sorted};

const TARGET: &str = "/chat?room=1";

pub fn target(input: &[u8]) {
    let (request, answer) = parts(input);
    self::read(&input[..input.len() - answer.len()]);
    let fields = fields(request);
    let (method, version) =
        request_line(request).map_or((Method::GET, Version::HTTP_11), |(method, _, version)| (method, version));
    let strict = Offer::parse(&method, version, &fields, None, false);
    let legacy = Offer::parse(&method, version, &fields, None, true);
    let asked = method == Method::GET
        && version == Version::HTTP_11
        && names(&fields, "upgrade", "websocket")
        && names(&fields, "connection", "upgrade");
    for said in [&strict, &legacy] {
        assert_eq!(!asked, *said == Ok(None), "an offer is asked for, or it is none");
    }
    assert_eq!(matches!(strict, Ok(Some(_))), asked && is_rfc6455(&fields), "{strict:?}");
    match (&strict, &legacy) {
        (Err(Refusal::Version(Draft::Hybi(7..) | Draft::Hixie75)), _) => {}
        (strict, legacy) => assert_eq!(strict, legacy, "leniency is for the drafts alone"),
    }
    let Ok(Some(offer)) = legacy else { return };
    assert_eq!(offer.key().is_none(), offer.draft() == Draft::Hixie75, "hixie-75 alone has no key");
    let forwarded = self::request(request, &offer, fields);
    self::answer(answer, &offer, &forwarded);
}

/// What is read without hyper is a head, and nothing of it is made up.
fn read(head: &[u8]) {
    let Some(offer) = read_offer(&Bytes::copy_from_slice(head), 16) else { return };
    assert!(head.starts_with(b"GET ") && head.ends_with(b"\n") && offer.headers().len() <= 16);
    assert!(offer.headers().contains_key(UPGRADE));
    for value in offer.headers().values().filter(|value| !value.is_empty()) {
        assert!(head.windows(value.len()).any(|window| window == value.as_bytes()), "{value:?}");
    }
}

/// RFC 6455 section 4.1, and no body.
fn is_rfc6455(fields: &HeaderMap) -> bool {
    let is_key = |key: &[u8]| {
        let digits = key.strip_suffix(b"==").filter(|digits| digits.len() == 22);
        digits.is_some_and(|digits| digits.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte)))
    };
    all(fields, "sec-websocket-version") == [b"13"]
        && matches!(all(fields, "sec-websocket-key")[..], [key] if is_key(key))
        && !fields.contains_key("transfer-encoding")
        && all(fields, "content-length").concat().iter().all(|&byte| byte == b'0')
}

/// The offer toward a backend says what the client said, once, and is the same offer. Gives its fields.
fn request(raw: &[u8], offer: &Offer, mut fields: HeaderMap) -> HeaderMap {
    let spelled: Vec<String> = crate::text::lines(raw)
        .filter_map(|line| line.split(|&byte| byte == b':').next())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    headers::strip_request(&mut fields);
    let key = offer.key().map(|key| key.as_bytes().to_vec());
    let mut expected = fields.clone();
    let head = offer.request_head(TARGET, &mut fields, Some(raw), key.as_deref());
    let mut lines = vec![httparse::EMPTY_HEADER; 1024];
    let mut read = httparse::Request::new(&mut lines);
    assert_eq!(read.parse(&head), Ok(httparse::Status::Complete(head.len())), "{head:?}");
    assert_eq!((read.method, read.path, read.version), (Some("GET"), Some(TARGET), Some(1)));
    for line in read.headers.iter() {
        let title = line.name.split('-').map(|word| word.get(..1).unwrap_or_default().to_ascii_uppercase());
        let is_title = line.name.split('-').zip(title).all(|(word, first)| word.starts_with(&first));
        let ours = line.name.starts_with("Sec-WebSocket-") || is_title;
        assert!(ours || spelled.iter().any(|name| name == line.name), "{} is nobody's spelling", line.name);
    }
    let sent = self::fields(&head);
    for (name, value) in [(&UPGRADE, "websocket"), (&CONNECTION, "Upgrade")] {
        let lines = all(&sent, name.as_str());
        assert!(lines.len() == 1 && lines[0].eq_ignore_ascii_case(value.as_bytes()), "{name}: {lines:?}");
        expected.insert(name, sent[name].clone());
    }
    if let Some(key) = &key {
        assert_eq!(all(&sent, "sec-websocket-key"), [key]);
    }
    // Of several Host fields none gets here; of one with `Connection: close, Upgrade` all that it says is gone.
    for name in ["content-length", "expect"] {
        expected.remove(name);
    }
    if let Some(host) = expected.get(HOST).cloned() {
        expected.insert(HOST, host);
    }
    assert_eq!(sorted(&sent), sorted(&expected), "the backend is told something else");
    let again = Offer::parse(&Method::GET, Version::HTTP_11, &sent, None, true);
    assert_eq!(again.as_ref(), Ok(&Some(offer.clone())), "the offer became another");
    sent
}

/// What is agreed was offered, and the client is told nothing else.
fn answer(text: &[u8], offer: &Offer, offered: &HeaderMap) {
    let key = offer.key().map(http::HeaderValue::as_bytes);
    let head = [with_accept(text, key.unwrap_or_default()), b"\n\n".to_vec()].concat();
    let Ok(Some((answer, _))) = Answer::parse(&head, 32) else { return };
    let granted = answer.headers.clone();
    let is_http11 = answer.is_http11;
    let Ok(mut agreement) = offer.agree(offered, key, answer) else { return };
    assert!(is_http11, "HTTP/1.0 has no upgrades");
    agreed(offered, &granted, key);

    headers::strip_response(agreement.headers_mut());
    let expected = agreement.headers_mut().clone();
    let head = agreement.response_head(key);
    let (told, length) = Answer::parse(&head, 40).expect("our own head").expect("a whole one");
    assert_eq!((length, told.status.as_u16(), told.is_http11), (head.len(), 101, true));
    agreed(offered, &told.headers, key);
    for (name, lines) in sorted(&expected) {
        let ours = ["upgrade", "connection", "content-length", "transfer-encoding", "sec-websocket-accept"];
        if !ours.contains(&name.as_str()) {
            assert_eq!(all(&told.headers, &name), lines, "the client is told something else");
        }
    }
    offer.agree(offered, key, told).expect("what we tell the client is an agreement too");
}

fn with_accept(text: &[u8], key: &[u8]) -> Vec<u8> {
    const MARK: &[u8] = b"{accept}";
    match text.windows(MARK.len()).position(|window| window == MARK) {
        Some(at) => [&text[..at], accept_for(key).as_bytes(), &text[at + MARK.len()..]].concat(),
        None => text.to_vec(),
    }
}

fn agreed(offered: &HeaderMap, granted: &HeaderMap, key: Option<&[u8]>) {
    assert!(matches!(all(granted, "upgrade")[..], [one] if one.eq_ignore_ascii_case(b"websocket")));
    assert!(names(granted, "connection", "upgrade"));
    assert!(!granted.contains_key("transfer-encoding") && all(granted, "content-length").iter().all(|length| *length == b"0"));
    if let Some(key) = key {
        assert_eq!(all(granted, "sec-websocket-accept"), [accept_for(key).as_bytes()]);
    }
    let protocols = all(granted, "sec-websocket-protocol");
    assert!(protocols.len() <= 1 && protocols.iter().all(|one| is_element(offered, "sec-websocket-protocol", one, b",")));
    let mut seen = Vec::new();
    for extension in headers::list_elements(granted, &"sec-websocket-extensions".parse().expect("a name")) {
        let name = extension.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        assert!(is_element(offered, "sec-websocket-extensions", &name, b",;"), "{name:?} was not offered");
        assert!(!seen.contains(&name), "{name:?} was granted twice");
        seen.push(name);
    }
}

/// Whether a line holds this text, in any case, with a comma or the line's beginning before it and one of `ends` or the
/// line's end behind it. Nothing that was offered fails here; that a subprotocol's case counts is for the room's tests.
fn is_element(offered: &HeaderMap, field: &str, text: &[u8], ends: &[u8]) -> bool {
    !text.is_empty()
        && all(offered, field).into_iter().any(|line| {
            (0..=line.len().saturating_sub(text.len())).any(|at| {
                let (before, rest) = line.split_at(at);
                rest.get(..text.len()).is_some_and(|found| found.eq_ignore_ascii_case(text))
                    && before.trim_ascii_end().last().is_none_or(|&byte| byte == b',')
                    && rest[text.len()..].trim_ascii_start().first().is_none_or(|byte| ends.contains(byte))
            })
        })
}
