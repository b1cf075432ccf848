//! The body of a backend's answer: gives its connection back to the pool when it has been read.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::backend::Lease;
use super::connection::Http1;

/// A streamed body. Dropping it before its end closes an h1 connection.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Incoming,
    lease: Lease,
    connection: Option<Http1>,
    good: bool,
}

impl AnswerBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, connection: Option<Http1>) -> Self {
        Self { incoming, lease, connection, good: false }
    }

    /// The head was judged and found good: its connection may carry other requests. Without this word it
    /// is closed at the end.
    pub fn judged_good(&mut self) {
        self.good = true;
        self.give_back_at_end();
    }

    fn give_back_at_end(&mut self) {
        if self.good
            && self.incoming.is_end_stream()
            && let Some(connection) = self.connection.take()
        {
            self.lease.server.pool.put_http1(connection);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => {
                if let Some(connection) = this.connection.take().filter(|_| this.good) {
                    this.lease.server.pool.put_http1(connection);
                }
            }
            Poll::Ready(Some(Ok(_))) => this.give_back_at_end(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
