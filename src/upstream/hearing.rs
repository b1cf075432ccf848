//! A stream that hears the other side out before it tells of a broken write.
//!
//! A server that refuses an upload (413, 401) answers and closes; what it had not read makes its kernel
//! reset the connection. The next write fails while the answer still waits to be read, and hyper gives
//! up at a failed write. So a write that fails waits here until reading has come to its end.
//!
//! It also gives up a server that takes no bytes at all: an upload may outlive its answer, and then
//! nobody else has a clock on it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::net::Stream;

/// How long a server may take no bytes while there are some for it: nginx's `proxy_send_timeout`.
const SEND_TIME: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Hearing {
    stream: Stream,
    /// What writing failed with.
    failed: Option<io::Error>,
    /// Nothing more can be read.
    ended: bool,
    /// Who waits to be told.
    writer: Option<Waker>,
    /// Runs while the server takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

impl Hearing {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, failed: None, ended: false, writer: None, stall: None }
    }

    /// What writing came to; a failure only once reading has ended.
    fn heard_out<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.failed.is_none() {
            match write(Pin::new(&mut self.stream), cx) {
                Poll::Ready(Ok(done)) => {
                    self.stall = None;
                    return Poll::Ready(Ok(done));
                }
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending => {
                    ready!(self.stall.get_or_insert_with(|| Box::pin(sleep(SEND_TIME))).as_mut().poll(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        if let Some(error) = self.failed.as_ref().filter(|_| self.ended) {
            return Poll::Ready(Err(error.kind().into()));
        }
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncRead for Hearing {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        if read.is_err() || buf.filled().len() == before {
            this.ended = true;
            if let Some(writer) = this.writer.take() {
                writer.wake();
            }
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Hearing {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().heard_out(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.get_mut().heard_out(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().heard_out(cx, Stream::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever shuts down reads no more.
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
