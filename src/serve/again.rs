//! A request's head, read once more by hyper: what was made of it the first time went to a server that had just closed.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, request};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;

/// What hyper makes of a head of at most so many `lines`. `None`: it takes it for none.
pub(super) fn parse(head: Bytes, lines: usize) -> Option<request::Parts> {
    let parsed = RefCell::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        parsed.replace(Some(request.into_parts().0));
        async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
    });
    let mut builder = http1::Builder::new();
    builder.max_headers(lines).max_buf_size(head.len().max(64 << 10)); // 8 KiB is its least
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
    use super::parse;

    #[test]
    fn a_head_of_any_size_is_read_again_as_it_was_and_what_is_none_is_not() {
        let head = format!("GET /a HTTP/1.1\r\nHoSt: x\r\nX-Long: {}\r\n\r\n", "y".repeat(200_000));
        let parts = parse(head.into(), 100).unwrap();
        assert_eq!((parts.uri.path(), parts.headers.len()), ("/a", 2));
        assert!(parse("GET /a HTTP/1.1\r\nHost: x\r\n".into(), 100).is_none());
    }
}
