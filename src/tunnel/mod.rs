//! How bytes move once the handshake is done: two directions, each with a life of its own.
//!
//! A tunnel follows the frames in both directions without touching them, and so knows when it may say something
//! itself: a Ping to a silent client, a Close where a side went without one. It holds no buffer while nothing
//! moves, no HTTP, and it does not know what it is counted under.

mod direction;
mod ended;
mod passage;
mod probe;
mod rate;
mod scratch;
mod settings;
mod watch;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::base::{Shutdown, random};
use crate::frame::{self, Extensions, Judge, Violation};
use crate::net::Stream;
use direction::Direction;
pub use ended::{By, Ended, How, Report, RoundTrips, Sent};
use passage::Passage;
pub use scratch::SCRATCH_BYTES;
pub use settings::{MaxAge, OverRate, Rate, Settings};
use watch::{Due, Side, View, Watch};

/// How much longer the kernel may take to send the last bytes before a reset throws them away.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// How long a Close of ours may wait for a frame to end. Then there is only the FIN.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// How long the peer of one that broke a rule may take to say what it still has to, and to answer our Close.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// What the streams carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The frames of RFC 6455, with these extensions.
    Frames(Extensions),
    /// Something else: bytes, of which nothing is known.
    Opaque(&'static str),
}

/// Bytes moved so far; read by whoever likes to, while the tunnel lives.
#[derive(Debug, Default)]
pub struct Traffic {
    from_client: AtomicU64,
    from_backend: AtomicU64,
}

impl Traffic {
    /// Bytes read from the client.
    pub fn from_client(&self) -> u64 {
        self.from_client.load(Ordering::Relaxed)
    }

    /// Bytes read from the backend.
    pub fn from_backend(&self) -> u64 {
        self.from_backend.load(Ordering::Relaxed)
    }
}

/// Two streams after a valid handshake. Bytes that were read too early stand in front of each
/// (`Stream::unread`) and go first.
///
/// Memory: while a peer does not drain, at most [`SCRATCH_BYTES`] for each direction (twice that for a moment where
/// bytes are sifted), and what TLS or HTTP/2 buffer; while nothing waits, a timer and two trackers.
#[derive(Debug)]
pub struct Tunnel {
    client: Stream,
    backend: Stream,
    up: Direction,
    down: Direction,
    watch: Watch,
    /// What happened first, if anything.
    first: Option<Ended>,
    /// Who sent the first Close.
    closed_by: Option<By>,
}

impl Tunnel {
    /// A tunnel between two streams. On the heap: a future has room for what it moves at each place that it moves
    /// it to, and idle tunnels pay for that.
    pub fn between(client: Stream, backend: Stream, settings: Arc<Settings>, framing: Framing) -> Box<Self> {
        let (up, down, framed) = match framing {
            Framing::Opaque(why) => (Passage::opaque(why), Passage::opaque(why), false),
            Framing::Frames(extensions) => {
                let judge = |from| Judge { from, extensions };
                let up = Passage::new(&settings, judge(frame::Side::Client), true);
                (up, Passage::new(&settings, judge(frame::Side::Server), false), true)
            }
        };
        Box::new(Self {
            client,
            backend,
            up: Direction::new(up, None),
            down: Direction::new(down, Some(epitaph)),
            watch: Watch::new(settings, framed),
            first: None,
            closed_by: None,
        })
    }

    /// Moves bytes until both sides have ended, or one has and `linger` is over, or `shutdown` is
    /// through its grace. Closes both streams: by RST where the other side was lost, else by FIN.
    pub async fn run(mut self: Box<Self>, linger: Duration, traffic: &Traffic, shutdown: &Shutdown) -> Report {
        let ours = tokio::select! {
            biased;
            () = shutdown.draining() => Some((Ended::by(By::Us, How::Shutdown), 1001)),
            ours = poll_fn(|cx| self.poll_until_end(cx, traffic)) => ours,
        };
        tokio::select! {
            () = shutdown.ended() => {}
            () = async {
                if let Some((ended, code)) = ours {
                    self.say_close(ended, code, traffic).await;
                }
                self.linger(linger, traffic).await;
            } => {}
        }
        self.close().await
    }

    /// We end it: Close to both sides at their next frame boundary, or after [`CLOSE_TIME`] without.
    async fn say_close(&mut self, ended: Ended, code: u16, traffic: &Traffic) {
        self.first = Some(ended);
        let violation = if let How::Violation(violation) = ended.how { Some(violation) } else { None };
        let reason = violation.map(|violation| violation.to_string()).unwrap_or_default();
        let (down, up) = (frame::close(code, &reason, None), frame::close(code, &reason, Some(random())));
        let end = Instant::now() + CLOSE_TIME;
        match ended.fault.filter(|_| violation.is_some()) {
            Some(By::Client) => {
                self.up.close(up);
                self.hear_out(|tunnel| &mut tunnel.down, down, traffic).await;
            }
            Some(By::Backend) => {
                self.down.close(down);
                self.hear_out(|tunnel| &mut tunnel.up, up, traffic).await;
            }
            _ => {
                self.down.close(down);
                self.up.close(up);
            }
        }
        let said = poll_fn(|cx| {
            self.poll_both(cx, traffic);
            if self.up.is_closing() || self.down.is_closing() { Poll::Pending } else { Poll::Ready(()) }
        });
        timeout_at(end, said).await.ok();
        self.up.end();
        self.down.end();
    }

    /// One side broke a rule. The other has been told, and may have answered already what came before: the echo of the
    /// message in front, say. That goes first; our Close takes the place of its own.
    async fn hear_out(&mut self, direction: fn(&mut Self) -> &mut Direction, close: Vec<u8>, traffic: &Traffic) {
        direction(self).passage.have_last_word(close);
        let heard = poll_fn(|cx| {
            self.poll_both(cx, traffic);
            if direction(self).is_speaking() { Poll::Pending } else { Poll::Ready(()) }
        });
        timeout(ANSWER_TIME, heard).await.ok();
        if let Some(close) = direction(self).passage.take_last_word() {
            direction(self).close(close);
        }
    }

    /// One end was seen: the other side gets its time, counted anew while the last bytes still move.
    async fn linger(&mut self, linger: Duration, traffic: &Traffic) {
        let sleep = sleep_until(Instant::now() + linger);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                biased;
                moved = poll_fn(|cx| self.poll_linger(cx, traffic)) => match moved {
                    Moved::LastBytes => sleep.as_mut().reset(Instant::now() + linger),
                    Moved::AllDone => return,
                },
                () = &mut sleep => return,
            }
        }
    }

    /// Completes when a side has ended (`None`) or we have to end it: as what, and with which code.
    fn poll_until_end(&mut self, cx: &mut Context<'_>, traffic: &Traffic) -> Poll<Option<(Ended, u16)>> {
        loop {
            self.poll_both(cx, traffic);
            if self.first.is_some() {
                return Poll::Ready(None);
            }
            if let Some((side, violation)) = self.violation() {
                let ended = Ended { by: By::Us, how: How::Violation(violation), fault: Some(side) };
                return Poll::Ready(Some((ended, violation.code())));
            }
            let view = View { client: &self.client, backend: &self.backend, up: &self.up, down: &self.down };
            match std::task::ready!(self.watch.poll_due(cx, &view)) {
                Due::Look => {}
                Due::Ping(Side::Client, payload) => self.down.passage.put_in_next(frame::ping(payload, None), false),
                Due::Ping(Side::Backend, payload) => self.up.passage.put_in_next(frame::ping(payload, Some(random())), false),
                Due::Lost(Side::Client) => self.up.give_up_sender(),
                Due::Lost(Side::Backend) => self.down.give_up_sender(),
                Due::End(how, code) => return Poll::Ready(Some((Ended::by(By::Us, how), code))),
            }
        }
    }

    fn violation(&self) -> Option<(By, Violation)> {
        let of = |direction: &Direction, by| direction.violation().map(|violation| (by, violation));
        of(&self.up, By::Client).or_else(|| of(&self.down, By::Backend))
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>, traffic: &Traffic) -> Poll<Moved> {
        let before = self.last_bytes();
        self.poll_both(cx, traffic);
        if self.is_over() {
            return Poll::Ready(Moved::AllDone);
        }
        if self.last_bytes() < before { Poll::Ready(Moved::LastBytes) } else { Poll::Pending }
    }

    /// Bytes that wait for a receiver whose sender has ended.
    fn last_bytes(&self) -> usize {
        self.up.last_bytes() + self.down.last_bytes()
    }

    /// Moves what can be moved, and tells the clocks.
    fn poll_both(&mut self, cx: &mut Context<'_>, traffic: &Traffic) {
        if self.first.is_some() {
            self.up.hurry();
            self.down.hurry();
        }
        // Most tunnels need not know it here: a look at the clock is a tenth of what moving a small message costs.
        let now = if self.up.is_timed() || self.down.is_timed() { self.watch.now() } else { 0 };
        let before = (traffic.from_client(), traffic.from_backend());
        self.up.poll(cx, &mut self.client, &mut self.backend, &traffic.from_client, now);
        if let Some(how) = self.up.met_loss() {
            self.down.sender_is_lost(how);
        }
        if self.up.how().is_some() {
            self.down.receiver_has_ended();
        }
        self.down.poll(cx, &mut self.backend, &mut self.client, &traffic.from_backend, now);
        if let Some(how) = self.down.met_loss() {
            self.up.sender_is_lost(how);
        }
        if traffic.from_client() != before.0 && self.watch.heard(Side::Client) {
            self.down.passage.take_back_ping();
        }
        if traffic.from_backend() != before.1 && self.watch.heard(Side::Backend) {
            self.up.passage.take_back_ping();
        }
        self.watch.stalls(self.up.is_stalled(), self.down.is_stalled());
        self.note_seen();
        if self.first.is_none() {
            self.first = [(&self.up, By::Client), (&self.down, By::Backend)]
                .into_iter()
                .find_map(|(direction, by)| direction.how().map(|how| Ended::by(by, how)))
                .or_else(|| {
                    [(&self.up, By::Backend), (&self.down, By::Client)]
                        .into_iter()
                        .find_map(|(direction, by)| direction.refused().map(|how| Ended::by(by, how)))
                });
        }
    }

    /// Tells the clocks what passed.
    fn note_seen(&mut self) {
        let (up, down) = (self.up.passage.take_seen(), self.down.passage.take_seen());
        if up.data || down.data {
            self.watch.saw_data();
        }
        for (side, by, seen) in [(Side::Client, By::Client, up), (Side::Backend, By::Backend, down)] {
            if !seen.is_more_than_data() {
                continue;
            }
            if seen.close && self.first.is_none() {
                self.closed_by.get_or_insert(by);
            }
            let view = View { client: &self.client, backend: &self.backend, up: &self.up, down: &self.down };
            self.watch.saw(side, seen, &view);
            self.up.passage.expected = self.watch.expected(Side::Client);
            self.down.passage.expected = self.watch.expected(Side::Backend);
        }
    }

    /// Both directions are through, or one side is lost and the other has all its bytes.
    fn is_over(&self) -> bool {
        (self.up.is_done() && self.down.is_done())
            || self.up.has_lost_its_sender()
            || self.down.has_lost_its_sender()
            || self.is_all_said()
    }

    /// Both sides of a client of h2 have said their Close, and the backend has ended. A browser leaves its half of the
    /// stream open then, and waits for the reset.
    fn is_all_said(&self) -> bool {
        self.client.is_h2() && self.down.is_done() && self.down.passage.has_closed() && self.up.passage.close().is_some()
    }

    async fn close(&mut self) -> Report {
        let (client_lost, backend_lost) = (self.up.fails_receiver(), self.down.fails_receiver());
        if !client_lost && !backend_lost {
            poll_fn(|cx| {
                // The linger ended it, not the peers: under TLS that too is said, or it looks like an attack.
                self.up.poll_last_word(cx, &mut self.backend);
                self.down.poll_last_word(cx, &mut self.client);
                Poll::Ready(())
            })
            .await;
        }
        for (lost, survivor) in [(client_lost, &mut self.backend), (backend_lost, &mut self.client)] {
            if lost {
                wait_until_sent(survivor).await;
                survivor.reset_on_close();
            }
        }
        // One that answers nothing is not sent to for minutes more.
        for (direction, side) in [(&self.up, &mut self.client), (&self.down, &mut self.backend)] {
            if direction.how() == Some(How::Lost) {
                side.reset_on_close();
            }
        }
        let mut ended = self.first.unwrap_or(Ended::by(By::Us, How::Shutdown));
        if let Some(by) = self.closed_by.filter(|_| ended.by != By::Us) {
            ended.by = by;
        }
        Report {
            ended,
            client: Sent::of(&self.up.passage),
            backend: Sent::of(&self.down.passage),
            round_trips: self.watch.round_trips(),
        }
    }
}

/// What a client is told in the place of the Close that its backend did not send: 1012 (a restart) after an end,
/// 1011 (an error) after a loss.
fn epitaph(how: How) -> Vec<u8> {
    frame::close(if how.is_loss() { 1011 } else { 1012 }, "", None)
}

enum Moved {
    LastBytes,
    AllDone,
}

/// A reset destroys what was not sent: bytes already read are delivered first. There is no
/// event for an empty send queue, so it is looked at; this happens once, at the end of a broken tunnel.
async fn wait_until_sent(stream: &mut Stream) {
    let deadline = Instant::now() + LAST_BYTES;
    while stream.lost_by_reset() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
