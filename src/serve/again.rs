//! The RFC's spelling of handshake fields in answers that hyper writes.
//!
//! hyper writes names in title case, which gives `Sec-Websocket-Version`; embedded clients compare bytes.
//! It does write names as a message spelled them, but only from a map that its own parser made. So it is
//! made to parse, once, a head that spells them as we want.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Extensions, Request, Response, request};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Accept: x\r\n\
    Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Extensions: x\r\n\r\n";

/// To be put into the extensions of an answer.
pub(super) fn canonical() -> &'static Extensions {
    static PARSED: OnceLock<Extensions> = OnceLock::new();
    PARSED.get_or_init(|| parse(Bytes::from_static(HEAD), 100).map(|parts| parts.extensions).unwrap_or_default())
}

/// What hyper makes of a head of at most so many `lines`, the spelling of its names among the extensions. `None`: it
/// takes it for none.
pub(super) fn parse(head: Bytes, lines: usize) -> Option<request::Parts> {
    let parsed = RefCell::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        parsed.replace(Some(request.into_parts().0));
        async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
    });
    let mut builder = http1::Builder::new();
    builder.preserve_header_case(true).max_headers(lines).max_buf_size(head.len().max(64 << 10)); // 8 KiB is its least
    // The first poll parses all there is and calls the service; how it goes on does not matter.
    drop(builder.serve_connection(Canned(head), service).now_or_never());
    parsed.into_inner()
}

/// Input from memory, then the end; output to nowhere.
struct Canned(Bytes);

impl Read for Canned {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let n = self.0.len().min(buf.remaining());
        buf.put_slice(&self.0.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl Write for Canned {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::{canonical, parse};

    #[test]
    fn a_map_of_names_was_made() {
        assert!(!canonical().is_empty());
    }

    #[test]
    fn a_head_of_any_size_is_read_again_as_it_was_and_what_is_none_is_not() {
        let head = format!("GET /a HTTP/1.1\r\nHoSt: x\r\nX-Long: {}\r\n\r\n", "y".repeat(200_000));
        let parts = parse(head.into(), 100).unwrap();
        assert_eq!((parts.uri.path(), parts.headers.len()), ("/a", 2));
        assert!(!parts.extensions.is_empty());
        assert!(parse("GET /a HTTP/1.1\r\nHost: x\r\n".into(), 100).is_none());
    }
}
