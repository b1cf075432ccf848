//! Pure: a request without a body and a small answer to it, without hyper: the everyday case.
//!
//! With hyper's client for it a request costs a fifth more in all (benches/README.md). So the head of such a request is
//! written here, and an answer that came whole with the first read, head and body, is taken apart here. All that is not
//! plain (a body of unknown length or one that goes on, an answer to HEAD, 1xx, an end of the connection, what is
//! malformed) is hyper's: nothing is refused here, and nothing is framed here but by `Content-Length`, as the law reads it
//! (`headers::content_length`).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};

use super::HeadLimits;
use crate::headers::content_length;
use crate::net::Names;

/// The lines of a head; one with more is hyper's.
const LINES: usize = 64;

/// The head of `request`, which has no body, its names spelled as in the head `names`. `None`: hyper is to send it.
pub(super) fn request_head<B>(request: &Request<B>, names: &[u8]) -> Option<Vec<u8>> {
    let (method, uri) = (request.method(), request.uri());
    if matches!(*method, Method::HEAD | Method::CONNECT) || uri.authority().is_some() {
        return None;
    }
    let mut head = Vec::with_capacity(512);
    for part in [method.as_str(), " ", uri.path_and_query()?.as_str(), " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    let mut names = Names::of(names);
    for (name, value) in request.headers() {
        if *name == TRANSFER_ENCODING {
            return None;
        }
        let start = head.len();
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        names.spell(head.get_mut(start..)?);
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    Some(head)
}

/// An answer that is whole.
#[derive(Debug)]
pub(super) struct Whole {
    /// Its head as it came.
    pub(super) head: Vec<u8>,
    pub(super) body: Bytes,
}

/// The answer that `read` is, neither more nor less. `None`: hyper is to read it.
pub(super) fn answer(read: &Bytes, limits: HeadLimits) -> Option<Response<Whole>> {
    let mut lines = [const { MaybeUninit::uninit() }; LINES];
    let mut head = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut head, read, &mut lines);
    let Ok(httparse::Status::Complete(length)) = parsed else { return None };
    let status = StatusCode::from_u16(head.code?).ok()?;
    let has_body = status >= StatusCode::OK && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let is_spelled = head.reason.is_some_and(|reason| status.canonical_reason() == Some(reason));
    if head.version != Some(1) || !has_body || !is_spelled || head.headers.len() > limits.count || length > limits.bytes {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(head.headers.len() + 2);
    for line in head.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        match name {
            TRANSFER_ENCODING => return None,
            CONNECTION if !line.value.eq_ignore_ascii_case(b"keep-alive") => return None,
            _ => {}
        }
        headers.append(name, HeaderValue::from_maybe_shared(read.slice_ref(line.value)).ok()?);
    }
    let body = read.slice(length..);
    if content_length(&headers).ok()? != Some(body.len() as u64) {
        return None;
    }
    let mut response = Response::new(Whole { head: read.get(..length)?.to_vec(), body });
    *response.status_mut() = status;
    *response.version_mut() = Version::HTTP_11;
    *response.headers_mut() = headers;
    Some(response)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 400, count: 10 };

    fn whole(text: &str) -> Option<(u16, String)> {
        let answer = answer(&Bytes::copy_from_slice(text.as_bytes()), LIMITS)?;
        Some((answer.status().as_u16(), String::from_utf8_lossy(&answer.body().body).into_owned()))
    }

    #[test]
    fn a_request_is_written_with_the_names_as_they_came() {
        let mut request = Request::new(());
        *request.uri_mut() = "/a?b=%20".parse().unwrap();
        for (name, value) in [("host", "x"), ("x-b", "1"), ("x-b", "\u{e9}"), ("x-forwarded-for", "::1")] {
            request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let head = request_head(&request, b"GET / HTTP/1.1\r\nhOst: x\r\nGone: 1\r\nX-b: 1\r\nx-B: 2\r\n\r\n").unwrap();
        let right = "GET /a?b=%20 HTTP/1.1\r\nhOst: x\r\nX-b: 1\r\nx-B: \u{e9}\r\nX-Forwarded-For: ::1\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&head), right);
    }

    #[test]
    fn what_is_not_plain_is_hypers_to_send() {
        let request = |method: Method, uri: &str, name: &'static str| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            *request.uri_mut() = uri.parse().unwrap();
            request.headers_mut().insert(name, HeaderValue::from_static("chunked"));
            request_head(&request, b"").is_some()
        };
        assert!(request(Method::GET, "/", "x") && request(Method::DELETE, "/", "x") && request(Method::OPTIONS, "*", "x"));
        assert!(!request(Method::HEAD, "/", "x") && !request(Method::GET, "/", "transfer-encoding"));
        assert!(!request(Method::GET, "http://a/", "x") && !request(Method::CONNECT, "a:1", "x"));
    }

    #[test]
    fn an_answer_is_plain_when_it_is_whole_and_all_its_lengths_say_so() {
        let with = |fields: &str, body: &str| whole(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}"));
        assert_eq!(with("Content-Length: 2\r\nConnection: Keep-Alive\r\n", "ab"), Some((200, "ab".to_owned())));
        assert_eq!(with("content-length: 0\r\n", ""), Some((200, String::new())));
        assert_eq!(with("Content-Length: 2, 2\r\nContent-Length: 2\r\n", "ab"), Some((200, "ab".to_owned())));
        for (fields, body) in [
            ("", "ab"),
            ("Content-Length: 2\r\n", "a"),
            ("Content-Length: 2\r\n", "abc"),
            ("Content-Length: 2\r\nContent-Length: 3\r\n", "ab"),
            ("Content-Length: 2, 3\r\n", "ab"),
            ("Content-Length: +2\r\n", "ab"),
            ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "ab"),
            ("Content-Length: 2\r\nConnection: close\r\n", "ab"),
            ("Content-Length: 2\r\n: x\r\n", "ab"),
            ("Content-Length: 2\r\na:1\r\nb:1\r\nc:1\r\nd:1\r\ne:1\r\nf:1\r\ng:1\r\nh:1\r\ni:1\r\nj:1\r\n", "ab"),
        ] {
            assert_eq!(with(fields, body), None, "{fields}");
        }
        let answer = |line: &str| whole(&format!("{line}\r\nContent-Length: 2\r\n\r\nab")).is_some();
        assert!(answer("HTTP/1.1 404 Not Found") && answer("HTTP/1.1 500 Internal Server Error"));
        for line in ["HTTP/1.0 200 OK", "HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified", "HTTP/1.1 103 Early Hints"] {
            assert!(!answer(line), "{line}");
        }
        assert!(!answer("HTTP/1.1 200 Fine") && !answer("HTTP/1.1 200") && !answer("HTTP/1.1 101 Switching Protocols"));
        assert!(!answer(&format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(400))));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300), prefix in any::<bool>()) {
            let head: &[u8] = if prefix { b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n" } else { b"" };
            answer(&[head, &bytes].concat().into(), LIMITS);
        }

        #[test]
        fn no_part_of_an_answer_is_taken_for_the_whole(body in "[a-z\r\n]{0,40}", cut in 0_usize..100) {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            prop_assert!(whole(&text).is_some());
            prop_assert_eq!(whole(text.get(..cut.min(text.len() - 1)).unwrap()), None);
            prop_assert_eq!(whole(&(text + "H")), None);
        }
    }
}
