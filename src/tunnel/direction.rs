//! One direction of a tunnel: read, have it sifted, write at once, keep only what the receiver refused.
//! What passes is the passage's to say; when frames of ours are due is the tunnel's.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::passage::{Passage, Taken};
use super::{How, SCRATCH_BYTES, scratch};
use crate::frame::{self, Violation};
use crate::net::{Pipe, Stream};

/// What one poll moves at most, before the other direction and the other tasks of the thread get their
/// turn: so many reads, and so many bytes. tokio's own budget counts reads (128): one busy direction would
/// spend it alone, and 128 full buffers take tens of milliseconds.
const TURN_READS: u32 = 8;
const TURN_BYTES: usize = SCRATCH_BYTES;

/// How many bytes of a frame have to be left for it to go through a pipe: what saves more than the two further calls cost.
const SPLICED_BYTES: u64 = 64 << 10;

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

/// What the receiver, which is the sender of the other direction, still has to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Receiver {
    #[default]
    Speaks,
    /// Nothing, by the law: its Close was read (RFC 6455 section 5.5.1).
    HasClosed,
    /// Nothing: its end was read.
    HasEnded,
}

/// What is read at once where bytes have to wait for a rate: what was read too much is kept.
const RATED_BYTES: usize = 16 << 10;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Direction {
    state: State,
    /// What passes.
    pub(super) passage: Passage,
    /// Bytes written, ours among them.
    sent: u64,
    /// Nothing is read before this time, in milliseconds; 0: it is.
    paused: u64,
    /// What the receiver refused; without heap while it drains.
    waiting: Waiting,
    /// The rule that the sender broke. Nothing is read any more.
    violation: Option<Violation>,
    /// The receiver is told of its sender's end by a Close, where that sent none.
    epitaph: bool,
    /// Written, but perhaps still in a TLS buffer.
    unflushed: bool,
    /// How the sender ended.
    how: Option<How>,
    /// How the receiver failed.
    refused: Option<How>,
    /// Writing found the receiver lost, in this way.
    met_loss: Option<How>,
    /// The sender's loss was seen by who wrote to it: its end is no FIN.
    sender_loss: Option<How>,
    /// We end it, not the sender: after the FIN its bytes are thrown away.
    by_us: bool,
    /// What its receiver still has to say.
    receiver: Receiver,
    /// The other direction, from the receiver, has delivered all that it has.
    back_is_through: bool,
    /// The receiver's end was left to the close of its socket.
    without_fin: bool,
}

/// What a client is told in the place of the Close that its backend did not send: 1012 (a restart) after an end,
/// 1011 (an error) after a loss.
fn epitaph(how: How) -> Vec<u8> {
    frame::close(if how.is_loss() { 1011 } else { 1012 }, "", None)
}

/// Bytes that wait for their receiver. Boxed: most directions have none.
#[derive(Debug, Default)]
struct Waiting(Option<Box<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// These first.
    pipe: Option<Pipe>,
    bytes: Vec<u8>,
    /// How many of `bytes` it has taken meanwhile.
    written: usize,
}

impl Held {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }
}

impl Waiting {
    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.rest().len() + held.pipe.as_ref().map_or(0, Pipe::held))
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// At the end of what waits.
    fn add(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.get_or_insert_default().bytes.extend_from_slice(bytes);
        }
    }

    /// Writes some of it.
    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<usize>> {
        let Some(held) = &mut self.0 else { return Poll::Ready(Ok(0)) };
        let count = if let Some(pipe) = &mut held.pipe {
            let count = ready!(to.poll_drain(pipe))?;
            if let Some(pipe) = held.pipe.take_if(|pipe| pipe.held() == 0) {
                pipe.give_back();
            }
            count
        } else {
            let count = ready!(Pin::new(to).poll_write(cx, held.rest()))?;
            held.written += count;
            count
        };
        if held.pipe.is_none() && held.rest().is_empty() {
            self.0 = None;
        }
        Poll::Ready(if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) })
    }
}

impl Direction {
    pub(super) fn new(passage: Passage, epitaph: bool) -> Self {
        Self { passage, epitaph, ..Self::default() }
    }

    /// The rule that the sender broke, if it did.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Whether it has to know the time.
    #[inline]
    pub(super) fn is_timed(&self) -> bool {
        self.passage.is_timed() || self.paused > 0
    }

    /// Until when nothing is read, in milliseconds of the tunnel.
    ///
    /// `None` behind a receiver that refuses bytes: it is waited for first, whatever the time is.
    pub(super) fn paused(&self) -> Option<u64> {
        (self.paused > 0 && self.waiting.is_empty()).then_some(self.paused)
    }

    /// From here on nothing waits for a rate: the tunnel ends, and its clocks are not looked at any more.
    pub(super) fn hurry(&mut self) {
        self.paused = 0;
        self.passage.lift_rates();
    }

    /// Whether the receiver refuses bytes, so that nothing is read.
    pub(super) fn is_stalled(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many bytes were written, and how many wait to be.
    pub(super) fn progress(&self) -> (u64, usize) {
        (self.sent, self.waiting.len())
    }

    /// Ends the direction with a Close of ours at the next boundary; at once, where none may be put in any more.
    pub(super) fn close(&mut self, frame: Vec<u8>) {
        if self.state == State::Open && self.passage.takes_ours() {
            self.passage.put_in_next(frame, true);
        } else {
            self.end();
        }
    }

    /// Whether the sender may still say something: it has neither ended nor sent a Close.
    pub(super) fn is_speaking(&self) -> bool {
        self.state == State::Open && self.passage.takes_ours()
    }

    /// Whether a Close of ours still waits for a boundary.
    pub(super) fn is_closing(&self) -> bool {
        self.state == State::Open
    }

    /// The receiver has ended too, in this way, and is told nothing of its sender's end but the end.
    pub(super) fn receiver_has_ended(&mut self, how: How) {
        self.epitaph = false;
        if how == How::Fin {
            self.receiver = Receiver::HasEnded;
        }
    }

    /// Whether it has to know how far the other direction is: see [`Direction::look_back`].
    #[inline]
    pub(super) fn looks_back(&self) -> bool {
        self.receiver != Receiver::Speaks
    }

    /// Notes whether the other direction, toward `sender`, has delivered all that it has: only then may the receiver's
    /// socket, and with it the tunnel, be closed.
    pub(super) fn look_back(&mut self, back: &Self, sender: &Stream) {
        let is_clean = back.state == State::Open && back.waiting.is_empty() && !back.unflushed && sender.holds_nothing_back();
        self.back_is_through = is_clean || back.is_done();
    }

    /// The receiver has said its Close.
    pub(super) fn receiver_has_closed(&mut self) {
        if self.receiver == Receiver::Speaks {
            self.receiver = Receiver::HasClosed;
        }
    }

    /// The sender has ended, the receiver has all its bytes, and its socket is to be closed: that is its end.
    pub(super) fn closes_receiver(&self) -> bool {
        self.without_fin
    }

    /// The sender is given up: it is lost.
    pub(super) fn give_up_sender(&mut self) {
        if self.state == State::Open {
            self.state = self.sender_ended(How::Lost);
        } else if self.state == State::Discard {
            self.state = State::Done;
        }
    }

    /// How the sender ended, once it has.
    pub(super) fn how(&self) -> Option<How> {
        self.how
    }

    /// How the receiver failed, if it has.
    pub(super) fn refused(&self) -> Option<How> {
        self.refused
    }

    /// How writing found the receiver lost, if it did. Linux tells each error once, and the reader will see an
    /// end like a FIN. Where a FIN had come before a reset, writing fails with EPIPE instead.
    pub(super) fn met_loss(&self) -> Option<How> {
        self.met_loss
    }

    /// The sender's end, when it is read, is this loss.
    pub(super) fn sender_is_lost(&mut self, how: How) {
        self.sender_loss.get_or_insert(how);
    }

    /// The receiver's socket did not take all that it had seemed to take.
    pub(super) fn is_owed_a_flush(&mut self) {
        self.unflushed = true;
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The sender is lost, and the receiver has all that was read.
    pub(super) fn has_lost_its_sender(&self) -> bool {
        self.is_done() && self.fails_receiver()
    }

    /// The sender is lost, and the receiver is told so by a reset; not where a Close told it.
    pub(super) fn fails_receiver(&self) -> bool {
        self.how.is_some_and(How::is_loss) && !self.passage.is_shut()
    }

    /// Tells the receiver of the end, where it has all bytes and has not been told: once, without waiting.
    pub(super) fn poll_last_word(&self, cx: &mut Context<'_>, to: &mut Stream) {
        if self.state == State::Open && self.waiting.is_empty() && !self.may_close(to) {
            drop(Pin::new(to).poll_shutdown(cx));
        }
    }

    /// Bytes that wait although no more will come.
    pub(super) fn last_bytes(&self) -> usize {
        if matches!(self.state, State::Ending | State::Failing) { self.waiting.len() } else { 0 }
    }

    /// Ends the direction from our side: what waits is written, then FIN; what comes is thrown away.
    pub(super) fn end(&mut self) {
        if self.state == State::Open {
            self.state = State::Ending;
            self.by_us = true;
        }
    }

    /// Moves what can be moved, for one turn. Registers for what is missing, unless done or paused. `now`: in
    /// milliseconds. Whether the turn was over before the bytes were: then there must be another.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, from: &mut Stream, to: &mut Stream, count: &AtomicU64, now: u64) -> bool {
        let before = count.load(Ordering::Relaxed);
        let mut reads = 0;
        while self.state != State::Done {
            if reads == TURN_READS || count.load(Ordering::Relaxed) - before >= TURN_BYTES as u64 {
                return true;
            }
            reads += 1;
            let step = match self.state {
                State::Open => self.poll_open(cx, from, to, count, now),
                State::Ending => self.poll_ending(cx, to),
                State::Failing => self.poll_waiting(cx, to).map_ok(|()| State::Done),
                State::Discard => match self.poll_discard(cx, from) {
                    Some(next) => next.map(Ok),
                    None => return true,
                },
                State::Done => return false,
            };
            match step {
                Poll::Pending => return false,
                Poll::Ready(Ok(next)) => self.state = next,
                Poll::Ready(Err(error)) => self.receiver_failed(&error),
            }
        }
        self.waiting = Waiting::default();
        false
    }

    /// The receiver is broken. Its own direction will tell whether it is lost or has just ended: a
    /// server that closes after its Close frame answers the client's with RST, and that is no loss.
    fn receiver_failed(&mut self, error: &io::Error) {
        self.refused.get_or_insert(How::of(error));
        let how = How::of(error);
        if how == How::Lost || error.kind() == io::ErrorKind::ConnectionReset {
            self.met_loss.get_or_insert(how);
        }
        self.waiting = Waiting::default();
        self.state = if self.state == State::Open || self.by_us { State::Discard } else { State::Done };
    }

    fn sender_ended(&mut self, how: How) -> State {
        let how = self.sender_loss.filter(|_| !how.is_loss()).unwrap_or(how);
        self.how = Some(how);
        let rest = self.passage.take_rest();
        self.waiting.add(&rest);
        if rest.is_empty()
            && self.passage.is_open_here()
            && let Some(close) = self.passage.take_last_word().or_else(|| self.epitaph.then(|| epitaph(how)))
        {
            self.passage.put_in_next(close, true);
            self.put_in();
        }
        if self.fails_receiver() { State::Failing } else { State::Ending }
    }

    /// Has the frame of ours that waits for a boundary wait for the receiver instead, if here is one. Whether it does.
    #[inline]
    fn put_in(&mut self) -> bool {
        let mut frame = Vec::new();
        let put = self.passage.put_in(&mut frame);
        self.waiting.add(&frame);
        put
    }

    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        count: &AtomicU64,
        now: u64,
    ) -> Poll<io::Result<State>> {
        ready!(self.poll_waiting(cx, to))?;
        if self.put_in() {
            if self.passage.is_shut() {
                self.by_us = true;
                return Poll::Ready(Ok(State::Ending));
            }
            return Poll::Ready(Ok(State::Open));
        }
        // Each event has both directions asked, and each read is asked for another: most of that ends here.
        if self.paused == 0 && self.violation.is_none() && from.is_quiet() {
            return self.poll_rest(cx, to);
        }
        let mut tail = usize::MAX;
        if self.passage.is_in_frame_of(SPLICED_BYTES) && from.is_spliceable() && to.is_spliceable() {
            let unseen = self.passage.unseen();
            if unseen >= SPLICED_BYTES {
                return self.poll_splice(cx, from, to, count, unseen);
            }
            // Not more than the next header, or the frame behind would be copied as far as it is here.
            tail = usize::try_from(unseen).unwrap_or(usize::MAX).saturating_add(1 + frame::MAX_HEADER);
        }
        let room = if self.violation.is_some() { Err(u64::MAX) } else { self.room(now) };
        match room {
            Ok(room) => self.poll_copy(cx, from, to, count, room.min(tail), now),
            Err(until) => {
                self.paused = if self.violation.is_some() { 0 } else { until };
                self.poll_rest(cx, to)
            }
        }
    }

    /// Nothing comes: what may still be in a TLS buffer goes.
    fn poll_rest(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<State>> {
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Pending
    }

    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        count: &AtomicU64,
        room: usize,
        now: u64,
    ) -> Poll<io::Result<State>> {
        let read = scratch::with(|buffer| self.poll_through(cx, from, to, buffer.get_mut(..room).unwrap_or_default(), now));
        match read {
            Poll::Ready(Ok(None)) => Poll::Ready(Ok(self.sender_ended(How::Fin))),
            Poll::Ready(Ok(Some(read))) => {
                // This direction alone writes it: no locked addition.
                count.store(count.load(Ordering::Relaxed) + read as u64, Ordering::Relaxed);
                self.by_us |= self.passage.is_shut();
                Poll::Ready(Ok(if self.by_us { State::Ending } else { State::Open }))
            }
            Poll::Ready(Err(Fault::Receiver(error))) => Poll::Ready(Err(error)),
            Poll::Ready(Err(Fault::Sender(error))) => Poll::Ready(Ok(self.sender_ended(How::of(&error)))),
            Poll::Pending => self.poll_rest(cx, to),
        }
    }

    /// The middle of a long frame, through a pipe. What the receiver does not take stays in there.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        count: &AtomicU64,
        unseen: u64,
    ) -> Poll<io::Result<State>> {
        let Ok(mut pipe) = Pipe::take() else {
            // No descriptors left: so much is copied instead.
            return self.poll_copy(cx, from, to, count, SCRATCH_BYTES, 0);
        };
        let most = usize::try_from(unseen).unwrap_or(usize::MAX);
        let filled = from.poll_fill(&mut pipe, most);
        let Poll::Ready(Ok(filled @ 1..)) = filled else {
            pipe.give_back();
            return filled.map(|filled| Ok(self.sender_ended(filled.map_or_else(|error| How::of(&error), |_| How::Fin))));
        };
        count.store(count.load(Ordering::Relaxed) + filled as u64, Ordering::Relaxed);
        self.passage.skip_unseen(filled as u64);
        self.waiting.0 = Some(Box::new(Held { pipe: Some(pipe), ..Held::default() }));
        ready!(self.poll_waiting(cx, to))?;
        Poll::Ready(Ok(State::Open))
    }

    /// How much may be read now, or until when nothing may.
    fn room(&mut self, now: u64) -> Result<usize, u64> {
        if now < self.paused {
            return Err(self.paused);
        }
        self.paused = 0;
        let room = self.passage.room(now)?;
        Ok(if self.passage.is_rated() { room.min(RATED_BYTES) } else { room.min(SCRATCH_BYTES) })
    }

    /// One read, and as many writes as the receiver takes; the rest goes to the heap. How many of the sender's
    /// bytes were dealt with; `None`: it has ended.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        buffer: &mut [u8],
        now: u64,
    ) -> Poll<Result<Option<usize>, Fault>> {
        let mut read = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut read)).map_err(Fault::Sender)?;
        let bytes = read.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(None));
        }
        let mut sifted = Vec::new();
        let mut total = bytes.len();
        let rest = match self.passage.take(bytes, now, &mut sifted) {
            Taken::AsIs => bytes,
            Taken::Changed => &sifted,
            Taken::Paused(rest, until) => {
                self.paused = until;
                let rest = bytes.get(rest).unwrap_or_default();
                total -= rest.len();
                from.unread(Bytes::copy_from_slice(rest));
                &sifted
            }
            Taken::Stopped(violation) => {
                self.violation = Some(violation);
                &sifted
            }
        };
        self.write(cx, to, rest).map_err(Fault::Receiver)?;
        Poll::Ready(Ok(Some(total)))
    }

    fn write(&mut self, cx: &mut Context<'_>, to: &mut Stream, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => {
                    self.sent += n as u64;
                    rest = rest.get(n..).unwrap_or_default();
                }
                Poll::Pending => {
                    self.waiting.add(rest);
                    break;
                }
            }
            self.unflushed = true;
        }
        Ok(())
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let n = ready!(self.waiting.poll_write(cx, to))?;
            self.sent += n as u64;
            self.unflushed = true;
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
        if !self.by_us && self.looks_back() {
            ready!(to.poll_sent())?;
            if self.may_close(to) {
                self.without_fin = true;
                return Poll::Ready(Ok(State::Done));
            }
        }
        ready!(Pin::new(to).poll_shutdown(cx))?;
        Poll::Ready(Ok(if self.by_us { State::Discard } else { State::Done }))
    }

    /// Whether the FIN for the receiver may go with the close of its socket, at once: two system calls less, and no wait
    /// for an end that the receiver owes nobody.
    fn may_close(&self, receiver: &Stream) -> bool {
        let says_no_more = match self.receiver {
            Receiver::Speaks => false,
            // Behind a Close without an answer there may still be one to come. And what it said against the law must not
            // be answered with a reset by the close.
            Receiver::HasClosed => self.passage.has_closed() && receiver.is_bare_and_read(),
            Receiver::HasEnded => receiver.is_bare(),
        };
        says_no_more && self.back_is_through && receiver.holds_nothing_back()
    }

    /// Reads until the sender ends in whatever way, and keeps nothing but the sender's Close. `None`: the turn is over.
    fn poll_discard(&mut self, cx: &mut Context<'_>, from: &mut Stream) -> Option<Poll<State>> {
        let mut left = TURN_BYTES;
        while left > 0 {
            let read = scratch::with(|buffer| {
                let mut read = ReadBuf::new(buffer);
                Pin::new(&mut *from).poll_read(cx, &mut read).map_ok(|()| {
                    self.passage.follow(read.filled());
                    read.filled().len()
                })
            });
            match read {
                Poll::Pending => return Some(Poll::Pending),
                Poll::Ready(Ok(0) | Err(_)) => return Some(Poll::Ready(State::Done)),
                Poll::Ready(Ok(n)) => left = left.saturating_sub(n),
            }
        }
        None
    }
}

/// Whose stream failed.
enum Fault {
    Sender(io::Error),
    Receiver(io::Error),
}
