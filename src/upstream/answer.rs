//! The body of a backend's answer: gives its connection back to the pool when it has been read.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::BodyError;
use super::backend::Lease;
use super::connection::Http1;
use crate::net::{H2Body, Place};

/// A streamed body. Dropping it before its end closes an h1 connection.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Source,
    lease: Lease,
    connection: Option<Http1>,
    good: bool,
}

/// Who reads it.
#[derive(Debug)]
enum Source {
    Hyper(Incoming),
    /// We do: the answer to an extended CONNECT.
    Stream(H2Body, #[allow(dead_code)] Place), // the place is held, not looked at
}

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Stream(body, _) => body.is_end_stream(),
        }
    }
}

impl AnswerBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, connection: Option<Http1>) -> Self {
        Self { incoming: Source::Hyper(incoming), lease, connection, good: false }
    }

    pub(super) fn of_stream(body: H2Body, place: Place, lease: Lease) -> Self {
        Self { incoming: Source::Stream(body, place), lease, connection: None, good: false }
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
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = match &mut this.incoming {
            Source::Hyper(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Source::Stream(body, _) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
        };
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
        match &self.incoming {
            Source::Hyper(body) => body.size_hint(),
            Source::Stream(body, _) => body.size_hint(),
        }
    }
}
