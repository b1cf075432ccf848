//! Pure: a client's offer, read from bytes, where it is nothing out of the ordinary.
//!
//! hyper reads requests, and its word is what counts: whatever is unusual is left to it. What is read here it would read
//! just so, which a property test below holds us to.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};

/// The most lines that such a head has. More are not unheard of, but seldom.
const LINES: usize = 64;

/// The whole of `head` as a GET of HTTP/1.1 that asks for an upgrade and has no body. `None`: it is something else, not
/// whole, more than that head, or has more than `max_lines` lines.
pub fn read_offer(head: &Bytes, max_lines: usize) -> Option<Request<()>> {
    if !head.starts_with(b"GET ") || !names_upgrade(head) {
        return None;
    }
    let mut lines = [const { MaybeUninit::uninit() }; LINES];
    let mut parsed = httparse::Request::new(&mut []);
    let lines = lines.get_mut(..max_lines.min(LINES))?;
    let status = httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, head, lines).ok()?;
    if status != httparse::Status::Complete(head.len()) || parsed.version != Some(1) {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for line in parsed.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        if [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT].contains(&name) {
            return None;
        }
        headers.append(name, HeaderValue::from_maybe_shared(head.slice_ref(line.value)).ok()?);
    }
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_maybe_shared(head.slice_ref(parsed.path?.as_bytes())).ok()?;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    Some(request)
}

/// Whether a line begins with `Upgrade:`. Most heads have none, and are not to be read twice for it.
fn names_upgrade(head: &[u8]) -> bool {
    const NAME: &[u8] = b"upgrade:";
    head.split(|byte| *byte == b'\n').any(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(lines: &str) -> Option<Request<()>> {
        let head = format!("GET /a?b HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        read_offer(&head.into(), 100)
    }

    #[test]
    fn an_everyday_offer_is_read() {
        let request = offer("connection: keep-alive, Upgrade\r\nUPGRADE: websocket\r\nCookie: a\r\ncookie:b \r\n").unwrap();
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("GET", "/a?b"));
        assert_eq!((request.version(), request.headers().len()), (Version::HTTP_11, 5));
        let cookies: Vec<_> = request.headers().get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a", "b"]);
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_left_to_hyper() {
        assert!(offer("").is_none(), "no upgrade");
        assert!(offer("X-Upgrade: websocket\r\n").is_none());
        for line in ["Content-Length: 0", "Transfer-Encoding: chunked", "Expect: 100-continue", "a b: c", " folded", "a: \u{1}"] {
            assert!(offer(&format!("Upgrade: websocket\r\n{line}\r\n")).is_none(), "{line}");
        }
        let head = |text: &str| read_offer(&text.to_owned().into(), 100);
        assert!(head("GET / HTTP/1.1\r\nUpgrade: a\r\n\r\n").is_some());
        assert!(head("GET / HTTP/1.1\r\nUpgrade: a\r\n\r\nmore").is_none());
        assert!(head("GET / HTTP/1.1\r\nUpgrade: a\r\n").is_none(), "not whole");
        assert!(head("GET / HTTP/1.0\r\nUpgrade: a\r\n\r\n").is_none());
        assert!(head("POST / HTTP/1.1\r\nUpgrade: a\r\n\r\n").is_none());
        assert!(head("\r\nGET / HTTP/1.1\r\nUpgrade: a\r\n\r\n").is_none());
        assert!(head("GET no target HTTP/1.1\r\nUpgrade: a\r\n\r\n").is_none());
        let lines = format!("GET / HTTP/1.1\r\nUpgrade: a\r\n{}\r\n", "a: b\r\n".repeat(7));
        assert!(read_offer(&lines.clone().into(), 8).is_some() && read_offer(&lines.into(), 7).is_none());
    }
}
