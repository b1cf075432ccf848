//! Streams of h2 as byte streams and bodies, on the `h2` crate itself: here resets are errors, the end of a
//! stream is an end, and the peer is given room only for what was taken. Not here: connections, heads.
//!
//! hyper's own streams read a reset with `CANCEL` or `NO_ERROR` as a clean end, and their drop sends a clean one.

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

/// A stream of h2 as a byte stream. Dropped before both sides have ended it, it is reset (CANCEL), which takes
/// with it what h2 has not sent yet: [`Stream::lost_by_reset`].
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
    /// Bytes written that h2 has not given to its connection yet.
    queued: Arc<AtomicUsize>,
    place: Place,
}

/// Written bytes on their way through h2, counted until it lets them go.
struct Piece {
    bytes: Vec<u8>,
    queued: Arc<AtomicUsize>,
}

impl Piece {
    fn new(bytes: &[u8], queued: &Arc<AtomicUsize>) -> Bytes {
        queued.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Self { bytes: bytes.to_vec(), queued: queued.clone() })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl fmt::Debug for H2Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2Stream").field("id", &self.send.stream_id()).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl H2Stream {
    /// Of its two halves, both without an end so far.
    pub fn new(send: SendStream<Bytes>, recv: RecvStream, place: Place) -> Self {
        Self { send, recv, read: Bytes::new(), ended: false, queued: Arc::default(), place }
    }

    pub(super) fn reset_on_close(&mut self) {
        self.send.send_reset(Reason::CANCEL);
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(super) fn unsent(&self) -> usize {
        self.queued() + self.place.0.0.queue.as_ref().map_or(0, SendQueue::unsent)
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
        let Some(room) = ready!(poll_room(&mut this.send, cx, piece.len())) else {
            return Poll::Ready(Err(this.broken(cx)));
        };
        let piece = piece.get(..room).unwrap_or(piece);
        match this.send.send_data(Piece::new(piece, &this.queued), false) {
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

#[cfg(test)]
mod tests {
    use std::future::Future;

    use http::{Request, Response};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn place() -> Place {
        Beneath(Arc::new(Inner { queue: None, streams: AtomicUsize::new(0) })).place()
    }

    /// Runs a stream of ours as the server's side of an exchange, and what the client makes of it.
    async fn between<F: Future<Output = ()>>(
        ours: impl FnOnce(H2Stream) -> F,
        client: impl AsyncFnOnce(SendStream<Bytes>, RecvStream),
    ) {
        let (a, b) = tokio::io::duplex(1 << 16);
        let server = async {
            let mut connection = ::h2::server::handshake(b).await.expect("a connection");
            let (request, mut respond) = connection.accept().await.expect("a request").expect("legal");
            let send = respond.send_response(Response::new(()), false).expect("open");
            drop(respond);
            let serve = ours(H2Stream::new(send, request.into_body(), place()));
            tokio::join!(serve, async { while connection.accept().await.is_some() {} });
        };
        let client = async {
            let (mut sender, connection) = ::h2::client::handshake(a).await.expect("a connection");
            let talk = async {
                let (answer, send) = sender.send_request(Request::new(()), false).expect("room");
                client(send, answer.await.expect("an answer").into_body()).await;
            };
            tokio::select! {
                () = talk => {}
                ended = connection => ended.expect("no end of the connection before that of the test"),
            }
        };
        tokio::select! { biased; () = client => {}, () = server => {} }
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_is_reset_and_its_last_bytes_can_be_waited_for() {
        let ours = |mut stream: H2Stream| async move {
            stream.write_all(b"last").await.expect("room");
            assert_eq!(stream.queued(), 4);
            while stream.queued() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await; // there is no event for it
            }
        };
        between(ours, async |_send, mut recv| {
            assert_eq!(recv.data().await.expect("bytes").expect("no reset yet"), "last");
            assert_eq!(recv.data().await.expect("a reset").expect_err("no bytes").reason(), Some(Reason::CANCEL));
        })
        .await;
    }

    #[tokio::test]
    async fn room_is_given_as_bytes_are_taken_and_a_reset_is_read_behind_them() {
        let (taken, take) = tokio::sync::oneshot::channel();
        let ours = |mut stream: H2Stream| async move {
            take.await.expect("the client goes on");
            let mut bytes = vec![0; 65_535];
            stream.read_exact(&mut bytes).await.expect("a window full");
            let error = stream.read_u8().await.expect_err("a reset");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            let error = stream.write_all(b"x").await.expect_err("a reset");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        };
        between(ours, async |mut send, mut recv| {
            send.reserve_capacity(100_000);
            let mut sent = 0;
            while sent < 65_535 {
                let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await.expect("open").expect("no reset");
                send.send_data(Bytes::from(vec![0; room]), false).expect("room");
                sent += room;
            }
            assert_eq!(send.capacity(), 0, "nothing was read");
            taken.send(()).expect("it waits");
            let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await.expect("open").expect("no reset");
            assert!(room > 0);
            send.send_reset(Reason::NO_ERROR);
            assert!(recv.data().await.is_some_and(|end| end.is_err()));
        })
        .await;
    }
}
