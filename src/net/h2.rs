//! Streams of h2 as byte streams and bodies, on the `h2` crate itself: here resets are errors, the end of a
//! stream is an end, and the peer is given room only for what was taken. Not here: connections, heads.
//!
//! hyper's own streams read a reset with CANCEL or NO_ERROR as a clean end, and their drop sends a clean one.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;
use super::options::SendQueue;

/// The most that one write copies: a frame of the usual size (RFC 9113 section 6.5.2).
const PIECE: usize = 16 << 10;

/// The connection beneath some streams of h2, as they and who opens them see it.
#[derive(Clone, Debug)]
pub struct Beneath(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Option<SendQueue>,
    streams: AtomicUsize,
}

/// One stream's place on its connection: counted until it is dropped.
#[derive(Debug)]
pub struct Place(Beneath);

impl Beneath {
    /// What is beneath the streams of the connection that is to run on `stream`.
    pub fn of(stream: &mut Stream) -> Self {
        Self(Arc::new(Inner { queue: stream.send_queue(), streams: AtomicUsize::new(0) }))
    }

    /// How many places are taken.
    pub fn streams(&self) -> usize {
        self.0.streams.load(Ordering::Relaxed)
    }

    /// Takes a place.
    pub fn place(&self) -> Place {
        self.0.streams.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream of h2 as a byte stream. Dropped before both sides have ended it, it is reset (CANCEL); what was
/// written before goes first.
///
/// Memory: what the window lets the peer send and the reader has not taken, and what `max_send_buffer_size`
/// of the connection lets wait to be sent.
pub struct H2Stream {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// The rest of the frame that is being read.
    read: Bytes,
    /// `END_STREAM` was sent.
    ended: bool,
    place: Place,
}

impl fmt::Debug for H2Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2Stream").field("id", &self.send.stream_id()).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl H2Stream {
    /// Of its two halves, both without an end so far.
    pub fn new(send: SendStream<Bytes>, recv: RecvStream, place: Place) -> Self {
        Self { send, recv, read: Bytes::new(), ended: false, place }
    }

    pub(super) fn reset_on_close(&mut self) {
        // The drop of a stream that we have not ended does it, and behind what waits to be sent. This would
        // throw that away.
        if self.ended {
            self.send.send_reset(Reason::CANCEL);
        }
    }

    /// What waits within h2 is not counted: it waits there only while the kernel's queue is full.
    pub(super) fn unsent(&self) -> usize {
        self.place.0.0.queue.as_ref().map_or(0, SendQueue::unsent)
    }

    /// Why the stream cannot be written to.
    fn broken(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.send.poll_reset(cx) {
            Poll::Ready(Ok(_)) => io::ErrorKind::ConnectionReset.into(),
            Poll::Ready(Err(error)) => io_error(error),
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

/// A reset, of the stream or by GOAWAY, is one to a reader; so is the end of the connection beneath, for a
/// stream that goes on cannot end so.
fn io_error(error: ::h2::Error) -> io::Error {
    match error.get_io().map(io::Error::kind) {
        Some(io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotConnected) | None => {
            io::Error::new(io::ErrorKind::ConnectionReset, error)
        }
        Some(kind) => io::Error::new(kind, error),
    }
}

impl AsyncRead for H2Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        while buf.remaining() > 0 {
            if this.read.is_empty() {
                // An error or an end behind bytes is told again by the next read.
                match this.recv.poll_data(cx) {
                    Poll::Ready(Some(Ok(data))) => this.read = data,
                    _ if buf.filled().len() > before => break,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(io_error(error))),
                    Poll::Ready(None) => break,
                    Poll::Pending => return Poll::Pending,
                }
            }
            let n = this.read.len().min(buf.remaining());
            buf.put_slice(&this.read.split_to(n));
            if this.read.is_empty() {
                this.read = Bytes::new(); // lets the allocation go
            }
            this.recv.flow_control().release_capacity(n).map_err(io_error)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let piece = buf.get(..PIECE).unwrap_or(buf);
        if piece.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = match ready!(poll_room(&mut this.send, cx, piece.len())) {
            Some(room) => room,
            None => return Poll::Ready(Err(this.broken(cx))),
        };
        let piece = piece.get(..room).unwrap_or(piece);
        match this.send.send_data(Bytes::copy_from_slice(piece), false) {
            Ok(()) => Poll::Ready(Ok(piece.len())),
            Err(_) => Poll::Ready(Err(this.broken(cx))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // the connection's task writes what it is given
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.ended, true) && this.send.send_data(Bytes::new(), true).is_err() {
            return Poll::Ready(Err(this.broken(cx)));
        }
        Poll::Ready(Ok(()))
    }
}

/// Waits until some of `length` bytes, at least one, may be sent; how many. `None`: nothing can be sent on this
/// stream any more.
///
/// To be asked with the bytes in hand: what is reserved is taken from the window of the whole connection.
pub fn poll_room(send: &mut SendStream<Bytes>, cx: &mut Context<'_>, length: usize) -> Poll<Option<usize>> {
    send.reserve_capacity(length);
    while send.capacity() == 0 {
        match ready!(send.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(None),
        }
    }
    Poll::Ready(Some(send.capacity().min(length)))
}

/// A body on a stream of h2. Every reset is an error, whatever its reason, and so is the connection's end.
#[derive(Debug)]
pub struct H2Body {
    recv: RecvStream,
    /// What the head's length leaves.
    left: Option<u64>,
    /// The data are through.
    data_ended: bool,
}

impl H2Body {
    /// Of a head with this `Content-Length`; h2 holds the peer to it.
    pub fn new(recv: RecvStream, length: Option<u64>) -> Self {
        let left = if recv.is_end_stream() { Some(0) } else { length };
        Self { recv, left, data_ended: false }
    }
}

impl Body for H2Body {
    type Data = Bytes;
    type Error = ::h2::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ::h2::Error>>> {
        let this = self.get_mut();
        if !this.data_ended {
            if let Some(data) = ready!(this.recv.poll_data(cx)) {
                let data = data?;
                this.recv.flow_control().release_capacity(data.len())?;
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            this.data_ended = true;
        }
        let trailers = ready!(this.recv.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.recv.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
