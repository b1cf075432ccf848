//! The body of a backend's answer: gives its connection back to the pool when it has been read.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::BodyError;
use super::backend::Lease;
use super::connection::{Http1, quiet};
use super::plain::Whole;
use crate::net::{H2Body, Place};

/// A streamed body. Dropping it before its end closes an h1 connection.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Source,
    lease: Lease,
    connection: Option<Box<Http1>>,
    good: bool,
    /// The head that it came behind, as that was spelled.
    head: Vec<u8>,
}

/// Who reads it.
#[derive(Debug)]
enum Source {
    Hyper(Incoming),
    /// We do: the answer to an extended CONNECT.
    Stream(Box<(H2Body, Place)>), // the place is held, not looked at
    /// It is all here.
    Whole(Bytes),
}

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Stream(body) => body.0.is_end_stream(),
            Self::Whole(bytes) => bytes.is_empty(),
        }
    }

    /// Whether its connection is needed no more.
    fn has_been_read(&self) -> bool {
        matches!(self, Self::Whole(_)) || self.is_end_stream()
    }
}

impl AnswerBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, connection: Option<Box<Http1>>) -> Self {
        let head = connection.as_ref().map(|http1| http1.answer_head()).unwrap_or_default();
        Self { incoming: Source::Hyper(incoming), lease, connection, good: false, head }
    }

    /// An answer that has been read already.
    pub(super) fn whole(whole: Whole, lease: Lease, connection: Box<Http1>) -> Self {
        let Whole { head, body } = whole;
        Self { incoming: Source::Whole(body), lease, connection: Some(connection), good: false, head }
    }

    pub(super) fn of_stream(body: H2Body, place: Place, lease: Lease) -> Self {
        Self { incoming: Source::Stream(Box::new((body, place))), lease, connection: None, good: false, head: Vec::new() }
    }

    /// The head of the answer, for how its names are spelled. Empty over h2, which knows one spelling.
    pub fn take_head(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.head)
    }

    /// The head was judged and found good: its connection may carry other requests. Without this word it
    /// is closed at the end.
    pub fn judged_good(&mut self) {
        self.good = true;
        self.give_back_at_end();
    }

    fn give_back_at_end(&mut self) {
        if self.good
            && self.incoming.has_been_read()
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
            Source::Hyper(body) => poll_incoming(body, this.connection.as_deref_mut(), cx).map_err(BodyError::from),
            Source::Stream(body) => Pin::new(&mut body.0).poll_frame(cx).map_err(BodyError::from),
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
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
            Source::Stream(body) => body.0.size_hint(),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// Reads a body, and where nothing of it is here drives its connection, if that is ours to do.
fn poll_incoming(
    body: &mut Incoming,
    connection: Option<&mut Http1>,
    cx: &mut Context<'_>,
) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
    let Some(connection) = connection.filter(|connection| !connection.is_left_to_a_task()) else {
        return Pin::new(body).poll_frame(cx);
    };
    // The look tells hyper that more is wanted.
    let polled = Pin::new(&mut *body).poll_frame(&mut quiet());
    if polled.is_ready() {
        return polled;
    }
    connection.drive(cx);
    Pin::new(body).poll_frame(&mut quiet())
}
