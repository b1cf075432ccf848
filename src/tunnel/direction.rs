//! One direction of a tunnel: read, write at once, keep only what the receiver refused.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{How, SCRATCH_BYTES, scratch};
use crate::net::Stream;

/// What one poll moves at most, before the other direction and the other tasks of the thread get their
/// turn: so many reads, and so many bytes. tokio's own budget counts reads (128): one busy direction would
/// spend it alone, and 128 full buffers take tens of milliseconds.
const TURN_READS: u32 = 8;
const TURN_BYTES: usize = SCRATCH_BYTES;

/// What is still to be done in this direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Bytes are copied. Next: any.
    #[default]
    Open,
    /// The sender has ended: what waits is written, then FIN. Next: `Done`, `Discard`.
    Ending,
    /// The sender is lost: what waits is written, and no FIN: a reset follows. Next: `Done`.
    Failing,
    /// The receiver takes nothing more: what the sender still sends is thrown away, so that closing
    /// does not answer it with RST. Next: `Done`.
    Discard,
    /// Nothing.
    Done,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Direction {
    state: State,
    /// What the receiver refused; empty and without heap while it drains.
    waiting: Vec<u8>,
    /// How much of `waiting` has been written since.
    written: usize,
    /// Written, but perhaps still in a TLS buffer.
    unflushed: bool,
    /// How the sender ended.
    how: Option<How>,
    /// How the receiver failed.
    refused: Option<How>,
    /// Writing found the receiver reset.
    met_reset: bool,
    /// The sender's reset was seen by who wrote to it: its end is no FIN.
    sender_reset: bool,
    /// We end it, not the sender: after the FIN its bytes are thrown away.
    by_us: bool,
}

impl Direction {
    /// How the sender ended, once it has.
    pub(super) fn how(&self) -> Option<How> {
        self.how
    }

    /// How the receiver failed, if it has.
    pub(super) fn refused(&self) -> Option<How> {
        self.refused
    }

    /// Whether writing found the receiver reset. Linux tells each error once, and the reader will see an
    /// end like a FIN. Where a FIN had come before the reset, writing fails with EPIPE instead.
    pub(super) fn has_met_reset(&self) -> bool {
        self.met_reset
    }

    /// The sender's end, when it is read, is a reset.
    pub(super) fn sender_is_reset(&mut self) {
        self.sender_reset = true;
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The sender is lost, and the receiver has all that was read.
    pub(super) fn has_lost_its_sender(&self) -> bool {
        self.is_done() && self.how.is_some_and(How::is_loss)
    }

    /// Tells the receiver of the end, where it has all bytes and has not been told: once, without waiting.
    pub(super) fn poll_last_word(&self, cx: &mut Context<'_>, to: &mut Stream) {
        if self.state == State::Open && self.waiting.is_empty() {
            drop(Pin::new(to).poll_shutdown(cx));
        }
    }

    /// Bytes that wait although no more will come.
    pub(super) fn last_bytes(&self) -> usize {
        if matches!(self.state, State::Ending | State::Failing) { self.waiting.len() - self.written } else { 0 }
    }

    /// Ends the direction from our side: what waits is written, then FIN; what comes is thrown away.
    pub(super) fn end(&mut self) {
        if self.state == State::Open {
            self.state = State::Ending;
            self.by_us = true;
        }
    }

    /// Moves what can be moved, for one turn. Registers for what is missing, unless done.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, from: &mut Stream, to: &mut Stream, count: &AtomicU64) {
        let before = count.load(Ordering::Relaxed);
        let mut reads = 0;
        while self.state != State::Done {
            if reads == TURN_READS || count.load(Ordering::Relaxed) - before >= TURN_BYTES as u64 {
                return let_others(cx);
            }
            reads += 1;
            let step = match self.state {
                State::Open => self.poll_open(cx, from, to, count),
                State::Ending => self.poll_ending(cx, to),
                State::Failing => self.poll_waiting(cx, to).map_ok(|()| State::Done),
                State::Discard => poll_discard(cx, from).map(Ok),
                State::Done => return,
            };
            match step {
                Poll::Pending => return,
                Poll::Ready(Ok(next)) => self.state = next,
                Poll::Ready(Err(error)) => self.receiver_failed(&error),
            }
        }
        self.waiting = Vec::new();
    }

    /// The receiver is broken. Its own direction will tell whether it is lost or has just ended: a
    /// server that closes after its Close frame answers the client's with RST, and that is no loss.
    fn receiver_failed(&mut self, error: &io::Error) {
        self.refused.get_or_insert(How::of(error));
        self.met_reset |= error.kind() == io::ErrorKind::ConnectionReset;
        self.waiting = Vec::new();
        self.written = 0;
        self.state = if self.state == State::Open || self.by_us { State::Discard } else { State::Done };
    }

    fn sender_ended(&mut self, how: How) -> State {
        let how = if self.sender_reset && !how.is_loss() { How::Reset } else { how };
        self.how = Some(how);
        if how.is_loss() { State::Failing } else { State::Ending }
    }

    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        count: &AtomicU64,
    ) -> Poll<io::Result<State>> {
        ready!(self.poll_waiting(cx, to))?;
        match scratch::with(|buffer| self.poll_through(cx, from, to, buffer)) {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(self.sender_ended(How::Fin))),
            Poll::Ready(Ok(read)) => {
                count.fetch_add(read as u64, Ordering::Relaxed);
                Poll::Ready(Ok(State::Open))
            }
            Poll::Ready(Err(Fault::Receiver(error))) => Poll::Ready(Err(error)),
            Poll::Ready(Err(Fault::Sender(error))) => Poll::Ready(Ok(self.sender_ended(How::of(&error)))),
            Poll::Pending => {
                if self.unflushed {
                    ready!(Pin::new(to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                Poll::Pending
            }
        }
    }

    /// One read, and as many writes as the receiver takes; the rest goes to the heap.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, Fault>> {
        let mut read = ReadBuf::new(buffer);
        ready!(Pin::new(from).poll_read(cx, &mut read)).map_err(Fault::Sender)?;
        let mut rest = read.filled();
        let total = rest.len();
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Fault::Receiver(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(n)) => rest = rest.get(n..).unwrap_or_default(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Receiver(error))),
                Poll::Pending => {
                    self.waiting = rest.to_vec();
                    break;
                }
            }
            self.unflushed = true;
        }
        Poll::Ready(Ok(total))
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.written..).filter(|rest| !rest.is_empty()) {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.unflushed = true;
        }
        if self.written > 0 {
            self.waiting = Vec::new();
            self.written = 0;
        }
        if self.state == State::Failing && self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_ending(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<State>> {
        ready!(self.poll_waiting(cx, to))?;
        ready!(Pin::new(&mut *to).poll_flush(cx))?;
        ready!(Pin::new(to).poll_shutdown(cx))?;
        Poll::Ready(Ok(if self.by_us { State::Discard } else { State::Done }))
    }
}

/// Whose stream failed.
enum Fault {
    Sender(io::Error),
    Receiver(io::Error),
}

/// Reads and forgets until the sender ends in whatever way.
fn poll_discard(cx: &mut Context<'_>, from: &mut Stream) -> Poll<State> {
    let mut left = TURN_BYTES;
    while left > 0 {
        let read = scratch::with(|buffer| {
            let mut read = ReadBuf::new(buffer);
            Pin::new(&mut *from).poll_read(cx, &mut read).map_ok(|()| read.filled().len())
        });
        match ready!(read) {
            Ok(0) | Err(_) => return Poll::Ready(State::Done),
            Ok(n) => left = left.saturating_sub(n),
        }
    }
    let_others(cx);
    Poll::Pending
}

/// Has the task polled again, after the thread's other tasks and what the kernel has to tell.
fn let_others(cx: &mut Context<'_>) {
    // Not `wake_by_ref`: with a task always in its queue tokio asks the kernel after 61 polls only. What
    // yields is woken after asking.
    if pin!(tokio::task::yield_now()).poll(cx).is_ready() {
        cx.waker().wake_by_ref(); // never so far: it was made to be pending once
    }
}
