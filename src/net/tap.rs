//! What stands between a socket and hyper's server: it cuts the input of h1 at the end of each head.
//!
//! hyper parses heads and frames bodies; this does neither. It finds where a head ends, and gives five
//! things that hyper has no word for:
//! - the head as the client spelled it, for the handshake that we write to the backend ourselves;
//! - the bytes behind a WebSocket offer, held here until it is known what they are;
//! - EOF noticed while such bytes, or a pipelined request, wait (before its answer a client's FIN means
//!   that it has gone);
//! - three clocks: for an unfinished head, for an idle connection, for a peer that takes no bytes;
//! - a limit on the request line alone, so that the client is told that it was the target.
//!
//! And it puts the names in answers right that hyper does not spell (`spelling`).
//!
//! On h2 it passes bytes on, keeps the clock of sending, and counts the frames that carry nothing.
//!
//! Invariant: while the input is in step, hyper's buffer is empty when the service is called, so all
//! bytes behind the head are here. A request pipelined right behind a body breaks the step until the
//! next pause; then `request` says so and the caller takes the safe side. Out of step the clock of an idle
//! connection is the only one: where a head begins is not known.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::frame_budget::FrameBudget;
use super::{LINGER_BYTES, LINGER_TIME, Spelling, Stream};
use crate::base::now;

/// The most that is held behind an offer; the kernel keeps the rest.
const HELD_BYTES: usize = 64 << 10;

/// How long a connection may stand still, in each way that it can.
#[derive(Clone, Copy, Debug)]
pub struct TapTimes {
    /// From a head's first byte to its last.
    pub head: Duration,
    /// Without a byte of the next head.
    pub keep_alive: Duration,
    /// With bytes for the peer of which it takes none.
    pub send: Duration,
}

/// Which clock ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// A head was begun and not finished in time.
    Head,
    /// Nothing came in time.
    Idle,
    /// The peer took nothing in time.
    Send,
}

/// What the input is being read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A head, up to its end.
    Head,
    /// A whole head is with hyper, the service has not been called yet.
    Delivered,
    /// A body, or anything else: passed on unseen.
    Pass,
    /// What follows an offer: held, nothing reaches hyper but EOF.
    Gate,
}

/// The line of a head that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Empty,
    /// One CR: an empty line, if LF comes next.
    Cr,
    Text,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// The head so far, as it came.
    head: Vec<u8>,
    /// The head of the request that is served, as it came; empty where that is not known.
    served: Vec<u8>,
    /// It is that, from its first byte to its last, for certain.
    served_whole: bool,
    /// How the names in the answer are spelled that hyper is about to write.
    model: Option<Vec<u8>>,
    /// What the line being read holds so far.
    line: Line,
    /// Bytes read from the stream that hyper has not got.
    held: BytesMut,
    /// hyper may hold the beginning of the next head: it came with the end of a body, or out of step.
    doubtful: bool,
    /// So it does, or may: an empty line was skipped that may have been that head's end.
    out_of_step: bool,
    /// A request is being served: no clock runs, and what comes is held, since hyper looks for EOF only
    /// while its own buffer is empty.
    serving: bool,
    /// Who waits for input while a request is served. hyper does not ask again by itself when the answer
    /// is out and its last read is still pending, and then no clock would run.
    reader: Option<Waker>,
    /// When the clock in force began.
    since: Instant,
    /// When the first head began, where that was seen before.
    begun: Option<Instant>,
    expired: Option<Clock>,
    /// The request line alone is longer than a head may be.
    long_line: bool,
    /// A client of h2 has sent more frames that carry nothing than it may.
    flooded: bool,
    /// Who waits for that.
    flood_watcher: Option<Waker>,
}

impl State {
    /// At the start of a head, nothing read.
    fn new() -> Self {
        Self {
            mode: Mode::Head,
            head: Vec::new(),
            served: Vec::new(),
            served_whole: false,
            model: None,
            line: Line::Empty,
            held: BytesMut::new(),
            doubtful: false,
            out_of_step: false,
            serving: false,
            since: Instant::now(),
            begun: None,
            expired: None,
            long_line: false,
            flooded: false,
            flood_watcher: None,
            reader: None,
        }
    }

    /// Takes in bytes of a head; how many of them belong to it, and whether it is whole.
    ///
    /// hyper takes a bare LF as a line end and skips empty lines before the request line: so here.
    fn scan(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            taken += piece.len();
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            self.line = match (self.line, text) {
                (line, b"") => line,
                (Line::Empty, b"\r") => Line::Cr,
                _ => Line::Text,
            };
            let blank = ended && self.line != Line::Text;
            if !self.head.is_empty() || self.line == Line::Text {
                self.head.extend_from_slice(piece);
                if blank {
                    return (taken, true);
                }
            }
            if blank && self.head.is_empty() {
                self.out_of_step |= self.doubtful;
            }
            if ended {
                self.line = Line::Empty;
            }
        }
        (taken, false)
    }

    /// Whether the request line fills more than `bytes` by itself.
    fn is_line_longer_than(&self, bytes: usize) -> bool {
        self.head.get(..bytes).is_some_and(|start| !start.contains(&b'\n'))
    }

    /// Whether nothing reaches hyper now.
    fn holds(&self) -> bool {
        self.mode == Mode::Gate || (self.mode == Mode::Head && self.serving)
    }

    /// Who is to be woken for that.
    fn waits(&mut self, cx: &Context<'_>) {
        if !self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            self.reader = Some(cx.waker().clone());
        }
    }

    /// Has the input read again.
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// The budget of frames is spent.
    fn flood(&mut self) {
        self.flooded = true;
        if let Some(watcher) = self.flood_watcher.take() {
            watcher.wake();
        }
    }

    fn start_head(&mut self) {
        self.mode = Mode::Head;
        self.line = Line::Empty;
        self.head.clear();
        self.head.shrink_to(1024); // a large head is not kept for the idle time
    }
}

/// The input and output of one h1 connection.
#[derive(Debug)]
pub struct Tap {
    stream: Stream,
    state: Arc<Mutex<State>>,
    times: TapTimes,
    longest_line: usize,
    spelling: Spelling,
    /// What hyper reads first: a head that was read without it.
    again: Option<Bytes>,
    /// What frames of h2 may carry nothing, and when their connection began.
    frames: Option<(Box<FrameBudget>, Instant)>,
    clock: Option<Pin<Box<Sleep>>>,
    /// Runs while the peer takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    /// On h2, once our FIN is out: how much more is read and thrown away, and for how long.
    linger: Option<(usize, Pin<Box<Sleep>>)>,
}

/// The service's hold on its connection's tap.
#[derive(Clone, Debug)]
pub struct TapHandle(Arc<Mutex<State>>);

impl Tap {
    /// Puts a tap on `stream`, at the start of a head.
    pub fn new(stream: Stream, times: TapTimes) -> (Self, TapHandle) {
        let state = Arc::new(Mutex::new(State::new()));
        let handle = TapHandle(state.clone());
        let tap = Self {
            stream,
            state,
            times,
            longest_line: usize::MAX,
            spelling: Spelling::new(),
            again: None,
            frames: None,
            clock: None,
            stall: None,
            linger: None,
        };
        (tap, handle)
    }

    /// The first head had begun before, at this moment.
    #[must_use]
    pub fn begun_at(self, begun: Option<Instant>) -> Self {
        lock(&self.state).begun = begun;
        self
    }

    /// Its first head is this, whole, and was read without hyper: [`TapHandle::request`] comes before any reading. hyper
    /// reads it once more where it comes to that.
    #[must_use]
    pub fn with_first_head(self, head: Bytes) -> Self {
        {
            let mut state = lock(&self.state);
            state.head.extend_from_slice(&head);
            state.mode = Mode::Delivered;
            state.begun = None; // of that head, and of no later one
        }
        Self { again: Some(head), ..self }
    }

    /// Ready when nothing more comes of a client whose first head was read without hyper: it has ended, or is lost. What
    /// comes of it is held meanwhile.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_hold(cx).map(drop)
    }

    /// Ends the connection for a request line beyond this many bytes, before hyper calls the whole head
    /// too large: the client is to be told that it was the target.
    #[must_use]
    pub fn with_longest_line(self, bytes: usize) -> Self {
        Self { longest_line: bytes, ..self }
    }

    /// For a connection of h2, before its preface: only the clock of sending runs, and frames that carry
    /// nothing are counted, for a client that may have so many `streams` open.
    pub fn passing(stream: Stream, times: TapTimes, streams: u32) -> (Self, TapHandle) {
        let (mut tap, handle) = Self::new(stream, times);
        tap.frames = Some((Box::new(FrameBudget::new(streams)), Instant::now()));
        {
            let mut state = lock(&tap.state);
            state.mode = Mode::Pass;
            state.serving = true;
        }
        (tap, handle)
    }

    /// Whether TLS is spoken on it.
    pub fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }

    /// The stream, and the bytes that hyper has not got, in order.
    pub fn into_parts(self) -> (Stream, Bytes) {
        let held = std::mem::take(&mut lock(&self.state).held).freeze();
        (self.stream, held)
    }

    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<Clock> {
        let (which, deadline) = {
            let mut state = lock(&self.state);
            // The answer is not out, or is in hyper's buffer: the clock of sending has it.
            if state.serving || self.stall.is_some() {
                state.waits(cx);
                return Poll::Pending; // read again when it is out
            }
            let begun = !state.head.is_empty();
            if begun { (Clock::Head, state.since + self.times.head) } else { (Clock::Idle, state.since + self.times.keep_alive) }
        };
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // A sleep that ends too early is set anew when it ends: no timer is moved per request. One that
        // ends too late is moved now.
        if clock.deadline() > deadline {
            clock.as_mut().reset(deadline);
        }
        while clock.as_mut().poll(cx).is_ready() {
            if clock.deadline() >= deadline {
                lock(&self.state).expired = Some(which);
                return Poll::Ready(which);
            }
            clock.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// What writing came to; an error where the peer has taken nothing for too long.
    fn or_stalled<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.stall.take().is_some() {
                let mut state = lock(&self.state);
                state.since = now();
                state.wake();
            }
            return written;
        }
        let time = self.times.send;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        if stall.as_mut().poll(cx).is_ready() {
            lock(&self.state).expired = Some(Clock::Send);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    /// Counts the frames in what was sent.
    fn count_written<'a>(&mut self, written: &Poll<io::Result<usize>>, bufs: impl Iterator<Item = &'a [u8]>) {
        if let (Some((frames, _)), Poll::Ready(Ok(n))) = (&mut self.frames, written) {
            let mut left = *n;
            for buf in bufs {
                let sent = buf.get(..left).unwrap_or(buf);
                frames.written(sent);
                left -= sent.len();
            }
        }
    }

    /// `lingering_close` for h2, whose library keeps the stream: without it a close would destroy the GOAWAY that
    /// was just written, where the client still sends.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let start = || (LINGER_BYTES, Box::pin(tokio::time::sleep(LINGER_TIME)));
        let (left, clock) = self.linger.get_or_insert_with(start);
        let mut piece = [0; 4096];
        while *left > 0 && clock.as_mut().poll(cx).is_pending() {
            let mut read = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => *left = left.saturating_sub(read.filled().len()),
                Poll::Ready(_) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Reads into `held` until there is an end, an error, or enough.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.state).waits(cx);
        let mut piece = [const { MaybeUninit::uninit() }; 4096]; // asked for at each request, and mostly in vain
        while lock(&self.state).held.len() < HELD_BYTES {
            let mut read = ReadBuf::uninit(&mut piece);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => lock(&self.state).held.extend_from_slice(read.filled()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(head) = &mut this.again {
            buf.put_slice(&head.split_to(head.len().min(buf.remaining())));
            this.again.take_if(|head| head.is_empty());
            return Poll::Ready(Ok(()));
        }
        {
            let state = lock(&this.state);
            if state.flooded {
                return Poll::Pending; // nothing more is read of it; its end is the owner's
            }
            if state.holds() {
                drop(state);
                return this.poll_hold(cx);
            }
        }
        let before = buf.filled().len();
        {
            let mut state = lock(&this.state);
            let n = state.held.len().min(buf.remaining());
            if let Some(held) = state.held.get(..n).filter(|_| n > 0) {
                buf.put_slice(held);
                state.held.advance(n);
            }
        }
        if buf.filled().len() == before {
            match Pin::new(&mut this.stream).poll_read(cx, buf) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    return this.poll_clock(cx).map(|_| Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        let mut state = lock(&this.state);
        let fresh = buf.filled().get(before..).unwrap_or_default();
        match state.mode {
            Mode::Head if !fresh.is_empty() => {
                let begun = !state.head.is_empty();
                let (taken, whole) = state.scan(fresh);
                // Empty lines before a head are none: an idle connection stays idle.
                if !begun && !state.head.is_empty() && !state.serving {
                    state.since = state.begun.take().unwrap_or_else(Instant::now);
                }
                if state.is_line_longer_than(this.longest_line) {
                    state.long_line = true;
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                if whole {
                    state.mode = Mode::Delivered;
                    let rest = fresh.get(taken..).unwrap_or_default();
                    // In front of what is held: `fresh` may itself have come from there.
                    if !rest.is_empty() {
                        let behind = state.held.split();
                        state.held.extend_from_slice(rest);
                        state.held.extend_from_slice(&behind);
                    }
                    buf.set_filled(before + taken);
                }
            }
            // hyper wants more than we took for the whole head: it reads the input otherwise than we do.
            Mode::Delivered => state.mode = Mode::Pass,
            Mode::Pass if !fresh.is_empty() => {
                // An upload that outlives its answer is not idle.
                state.since = now();
                if let Some((frames, begun)) = &mut this.frames
                    && !frames.read(fresh, state.since.duration_since(*begun))
                {
                    state.flood();
                }
            }
            Mode::Head | Mode::Pass | Mode::Gate => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(model) = lock(&this.state).model.take() {
            this.spelling.expect(model);
        }
        let Self { stream, spelling, .. } = this;
        let polled = spelling.write(bufs, |bufs| Pin::new(stream).poll_write_vectored(cx, bufs));
        this.count_written(&polled, bufs.iter().map(|buf| &**buf));
        this.or_stalled(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.spelling.flushed();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.or_stalled(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            let polled = Pin::new(&mut this.stream).poll_shutdown(cx);
            match this.or_stalled(cx, polled) {
                Poll::Ready(Ok(())) if this.frames.is_some() => {}
                polled => return polled,
            }
        }
        this.poll_linger(cx).map(Ok)
    }
}

impl TapHandle {
    /// The service was called with a request. For an offer, gives its head as it came, and from now on
    /// holds what follows; `None` where the input is out of step.
    pub fn request(&self, is_offer: bool, has_body: bool) -> Option<Vec<u8>> {
        let mut state = lock(&self.0);
        state.serving = true;
        let in_step = state.mode == Mode::Delivered && !state.out_of_step;
        // Behind a body what was seen may be the end of a head only, and a client can make that look like another.
        let whole = in_step && !state.doubtful;
        state.doubtful = !in_step;
        state.out_of_step = false;
        let head = if is_offer && in_step { Some(std::mem::take(&mut state.head)) } else { None };
        state.served.clear();
        state.served_whole = whole && !is_offer && !has_body;
        if !is_offer {
            // Exchanged, not copied: each is the other's room for the request after the next.
            let State { head, served, .. } = &mut *state;
            std::mem::swap(head, served);
        }
        state.start_head();
        if is_offer {
            state.mode = Mode::Gate;
        } else if has_body {
            state.mode = Mode::Pass;
        }
        head
    }

    /// The head of the request that is served, once more; `None` for an offer or with a body, and where it is not
    /// sure that it was seen from its first byte.
    pub fn served(&self) -> Option<Vec<u8>> {
        let state = lock(&self.0);
        state.served_whole.then(|| state.served.clone())
    }

    /// What is known of how the names in that head are spelled.
    pub fn names(&self) -> Vec<u8> {
        lock(&self.0).served.clone()
    }

    /// The answer's head comes next, and its names are to be spelled as in this one.
    pub fn spell(&self, model: Vec<u8>) {
        lock(&self.0).model = Some(model);
    }

    /// Whether [`served`](Self::served) has one.
    pub fn has_served(&self) -> bool {
        lock(&self.0).served_whole
    }

    /// The request's body has been read to its end: a head comes next.
    pub fn body_ended(&self) {
        let mut state = lock(&self.0);
        if state.mode == Mode::Pass && state.held.is_empty() {
            state.start_head();
            state.doubtful = true;
        }
    }

    /// The offer came to nothing. Whether bytes follow it, which must not be read as a request; where
    /// none do, the connection goes on with the next head.
    pub fn offer_refused(&self) -> bool {
        let mut state = lock(&self.0);
        if state.held.is_empty() {
            state.start_head();
            return false;
        }
        true // the gate stays shut
    }

    /// The answer is out: the clock of an idle connection begins.
    pub fn answered(&self) {
        let mut state = lock(&self.0);
        state.serving = false;
        state.served.clear();
        state.served_whole = false;
        state.served.shrink_to(1024); // as in `start_head`
        state.since = now();
        state.wake();
    }

    /// Whether the connection ended for a request line that is too long.
    pub fn had_long_line(&self) -> bool {
        lock(&self.0).long_line
    }

    /// Completes when a client of h2 has sent more frames that carry nothing than it may. From then on nothing is
    /// read of it: whoever drives the connection has to end it.
    pub async fn flooded(&self) {
        poll_fn(|cx| {
            let mut state = lock(&self.0);
            if state.flooded {
                return Poll::Ready(());
            }
            state.flood_watcher = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Which clock ended the connection, where one did.
    pub fn expired(&self) -> Option<Clock> {
        lock(&self.0).expired
    }

    /// Whether a request was begun but not finished when the connection ended.
    #[cfg(test)]
    pub fn mid_head(&self) -> bool {
        let state = lock(&self.0);
        state.mode == Mode::Head && !state.head.is_empty()
    }
}

/// A panic elsewhere cannot leave the state half changed: nothing in here panics while it is held.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
