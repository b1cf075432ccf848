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
use http::{Extensions, Request, Response};
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
    PARSED.get_or_init(|| {
        let parsed = RefCell::new(Extensions::new());
        let service = service_fn(|request: Request<Incoming>| {
            parsed.replace(request.into_parts().0.extensions);
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        });
        // The first poll parses all there is and calls the service; how it goes on does not matter.
        drop(http1::Builder::new().preserve_header_case(true).serve_connection(Canned(HEAD), service).now_or_never());
        parsed.into_inner()
    })
}

/// Input from a constant, then the end; output to nowhere.
struct Canned(&'static [u8]);

impl Read for Canned {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let n = self.0.len().min(buf.remaining());
        if let Some((now, later)) = self.0.split_at_checked(n) {
            buf.put_slice(now);
            self.0 = later;
        }
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
    use super::canonical;

    #[test]
    fn a_map_of_names_was_made() {
        assert!(!canonical().is_empty());
    }
}
