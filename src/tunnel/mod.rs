//! How bytes move once the handshake is done: two directions, each with a life of its own.
//!
//! A tunnel follows the frames in both directions without touching them, and so knows when it may say something
//! itself: a Ping to a silent client, a Close where a side went without one. It holds no buffer while nothing
//! moves, no HTTP, and it does not know what it is counted under.

mod direction;
mod ended;
mod engine;
mod passage;
mod probe;
mod rate;
mod scratch;
mod settings;
mod task;
mod watch;
mod wheel;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;
use std::time::Duration;

use crate::base::{Moment, millis, random};
use crate::frame::{self, Extensions, Judge, Violation};
use crate::net::{Poller, Readiness, Stream};
use direction::Direction;
pub use ended::{By, Ended, How, Report, RoundTrips, Sent};
pub use engine::{Engine, Engines, Owner};
use passage::Passage;
pub use scratch::SCRATCH_BYTES;
pub use settings::{MaxAge, OverRate, Rate, Settings};
use watch::{Due, Side, View, Watch};

/// How much longer, in milliseconds, the kernel may take to send the last bytes before a reset throws them away.
const LAST_BYTES: u64 = 1000;

/// How often that is looked at. There is no event for an empty send queue.
const LAST_BYTES_LOOK: u64 = 2;

/// How long, in milliseconds, a Close of ours may wait for a frame to end. Then there is only the FIN.
const CLOSE_TIME: u64 = 2000;

/// How long, in milliseconds, the peer of one that broke a rule may take to say what it still has to, and to answer our Close.
const ANSWER_TIME: u64 = 1000;

/// What the streams carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The frames of RFC 6455, with these extensions.
    Frames(Extensions),
    /// Something else: bytes, of which nothing is known.
    Opaque(&'static &'static str),
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

/// How far the process is from its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    /// It serves.
    #[default]
    Live,
    /// Tunnels end politely.
    Drain,
    /// What is left is cut.
    Now,
}

/// Where a tunnel is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Bytes move. Next: `Hearing`, `Closing`, `Lingering`.
    Open,
    /// A side broke a rule. The other one has been told, and may have answered already what came before: the echo of
    /// the message in front, say. That goes first; our Close takes the place of its own. Next: `Closing`.
    Hearing { by: By, until: u64, end: u64 },
    /// Our Close waits for a boundary. Next: `Lingering`.
    Closing { until: u64 },
    /// One end was seen: the other side gets its time, counted anew while the last bytes still move. Next: `Sending`,
    /// `Over`.
    Lingering { until: u64 },
    /// A reset destroys what was not sent: it waits until the kernel has sent it. Next: `Over`.
    Sending { until: u64 },
    /// Nothing is left but the report.
    Over,
}

/// What a poll of a tunnel leaves to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// To be polled when a stream is ready, or at [`Tunnel::wake_at`].
    Wait,
    /// There are bytes to move, but it was others' turn.
    Again,
    /// It is over.
    Over,
}

/// Two streams after a valid handshake. Bytes that were read too early stand in front of each
/// (`Stream::unread`) and go first.
///
/// It has no clock and waits for nothing: it is driven by a task (`run`), or with many others by an [`Engine`].
///
/// Memory: while a peer does not drain, at most [`SCRATCH_BYTES`] for each direction (twice that for a moment where
/// bytes are sifted), and what TLS or HTTP/2 buffer; while nothing waits, two trackers and the clocks.
#[derive(Debug)]
pub struct Tunnel {
    client: Stream,
    backend: Stream,
    up: Direction,
    down: Direction,
    watch: Watch,
    /// In milliseconds.
    linger: u64,
    stage: Stage,
    /// What happened first, if anything.
    first: Option<Ended>,
    /// Who sent the first Close.
    closed_by: Option<By>,
}

impl Tunnel {
    /// A tunnel between two streams. `linger`: the time from one side's end to the other's.
    pub fn between(client: Stream, backend: Stream, settings: Arc<Settings>, framing: Framing, linger: Duration) -> Self {
        let (up, down, framed) = match framing {
            Framing::Opaque(why) => (Passage::opaque(why), Passage::opaque(why), false),
            Framing::Frames(extensions) => {
                let judge = |from| Judge { from, extensions };
                let up = Passage::new(&settings, judge(frame::Side::Client), true);
                (up, Passage::new(&settings, judge(frame::Side::Server), false), true)
            }
        };
        Self {
            client,
            backend,
            up: Direction::new(up, false),
            down: Direction::new(down, true),
            watch: Watch::new(settings, framed, Moment::new().now()),
            linger: millis(linger),
            stage: Stage::Open,
            first: None,
            closed_by: None,
        }
    }

    /// Whether it stands on sockets alone, so that an engine can drive it.
    fn has_sockets(&self) -> bool {
        !self.client.is_h2() && !self.backend.is_h2()
    }

    /// Has `poller` tell of both sockets: the client's under twice `number`, the backend's under the next one.
    fn watch(&mut self, poller: &Poller, number: u64) -> io::Result<()> {
        for (stream, token) in [(&mut self.client, number << 1), (&mut self.backend, (number << 1) | 1)] {
            stream.leave_runtime()?;
            stream.watch(poller, token)?;
        }
        Ok(())
    }

    /// Nothing can be heard of its streams: it is over, by us.
    fn give_up(&mut self) {
        self.first = Some(Ended::by(By::Us, How::Broken));
        self.stage = Stage::Over;
    }

    /// Sends a side bytes of its own that come from the outbox. Whether they do not all go: then it has to have a turn.
    fn send_late(&mut self, side: Side, bytes: &[u8]) -> bool {
        let (stream, direction) = match side {
            Side::Client => (&mut self.client, &mut self.down),
            Side::Backend => (&mut self.backend, &mut self.up),
        };
        let kept = stream.send_late(bytes);
        if kept {
            direction.is_owed_a_flush();
        }
        kept
    }

    /// Notes what a poller told of a side's socket.
    #[inline]
    fn note(&mut self, side: Side, readiness: Readiness) {
        match side {
            Side::Client => self.client.note(readiness),
            Side::Backend => self.backend.note(readiness),
        }
    }

    /// Does what there is to do. `fired`: it is the time, or later, that `wake_at` said.
    fn poll(&mut self, cx: &mut Context<'_>, traffic: &Traffic, at: &Moment, fired: bool, word: Word) -> Next {
        loop {
            if word == Word::Now && !matches!(self.stage, Stage::Sending { .. } | Stage::Over) {
                self.finish(cx, at);
            }
            let before = self.stage;
            let more = match self.stage {
                Stage::Open => self.poll_open(cx, traffic, at, fired, word),
                Stage::Hearing { by, until, end } => {
                    let more = self.poll_both(cx, traffic, at);
                    let direction = self.direction_from(by);
                    if !direction.is_speaking() || at.now() >= until {
                        if let Some(close) = direction.passage.take_last_word() {
                            direction.close(close);
                        }
                        self.stage = Stage::Closing { until: end };
                    }
                    more
                }
                Stage::Closing { until } => {
                    let more = self.poll_both(cx, traffic, at);
                    if !(self.up.is_closing() || self.down.is_closing()) || at.now() >= until {
                        self.up.end();
                        self.down.end();
                        self.stage = Stage::Lingering { until: at.now() + self.linger };
                    }
                    more
                }
                Stage::Lingering { until } => self.poll_lingering(cx, traffic, at, until),
                Stage::Sending { until } => {
                    self.poll_sending(at, until);
                    false
                }
                Stage::Over => return Next::Over,
            };
            if self.stage == before {
                return if more { Next::Again } else { Next::Wait };
            }
        }
    }

    /// When it has to be polled, whatever happens until then; `u64::MAX`: no need.
    fn wake_at(&self) -> u64 {
        match self.stage {
            Stage::Open => self.watch.next_look(),
            Stage::Hearing { until, .. } | Stage::Closing { until } | Stage::Lingering { until } | Stage::Sending { until } => {
                until
            }
            Stage::Over => u64::MAX,
        }
    }

    /// Until a side has ended, or we have to end it. Whether there are bytes left to move.
    fn poll_open(&mut self, cx: &mut Context<'_>, traffic: &Traffic, at: &Moment, fired: bool, word: Word) -> bool {
        if word == Word::Drain {
            self.say_close(Ended::by(By::Us, How::Shutdown), 1001, at);
            return false;
        }
        loop {
            let more = self.poll_both(cx, traffic, at);
            if self.first.is_some() {
                self.stage = Stage::Lingering { until: at.now() + self.linger };
                return more;
            }
            if let Some((side, violation)) = self.violation() {
                let ended = Ended { by: By::Us, how: How::Violation(violation), fault: Some(side) };
                self.say_close(ended, violation.code(), at);
                return more;
            }
            let view = View { client: &self.client, backend: &self.backend, up: &self.up, down: &self.down };
            match self.watch.take_due(&view, at, fired) {
                None => return more,
                Some(Due::Ping(Side::Client, payload)) => self.down.passage.put_in_next(frame::ping(payload, None), false),
                Some(Due::Ping(Side::Backend, payload)) => {
                    self.up.passage.put_in_next(frame::ping(payload, Some(random())), false);
                }
                Some(Due::Lost(Side::Client)) => self.up.give_up_sender(),
                Some(Due::Lost(Side::Backend)) => self.down.give_up_sender(),
                Some(Due::End(how, code)) => {
                    self.say_close(Ended::by(By::Us, how), code, at);
                    return more;
                }
            }
        }
    }

    /// We end it: Close to both sides at their next frame boundary, or after [`CLOSE_TIME`] without.
    fn say_close(&mut self, ended: Ended, code: u16, at: &Moment) {
        self.first = Some(ended);
        let violation = if let How::Violation(violation) = ended.how { Some(violation) } else { None };
        let reason = violation.map(|violation| violation.to_string()).unwrap_or_default();
        let (down, up) = (frame::close(code, &reason, None), frame::close(code, &reason, Some(random())));
        let end = at.now() + CLOSE_TIME;
        let until = at.now() + ANSWER_TIME;
        self.stage = match ended.fault.filter(|_| violation.is_some()) {
            Some(By::Client) => {
                self.up.close(up);
                self.down.passage.have_last_word(down);
                Stage::Hearing { by: By::Backend, until, end }
            }
            Some(By::Backend) => {
                self.down.close(down);
                self.up.passage.have_last_word(up);
                Stage::Hearing { by: By::Client, until, end }
            }
            _ => {
                self.down.close(down);
                self.up.close(up);
                Stage::Closing { until: end }
            }
        };
    }

    /// The direction whose sender this is.
    fn direction_from(&mut self, by: By) -> &mut Direction {
        if by == By::Backend { &mut self.down } else { &mut self.up }
    }

    fn violation(&self) -> Option<(By, Violation)> {
        let of = |direction: &Direction, by| direction.violation().map(|violation| (by, violation));
        of(&self.up, By::Client).or_else(|| of(&self.down, By::Backend))
    }

    fn poll_lingering(&mut self, cx: &mut Context<'_>, traffic: &Traffic, at: &Moment, until: u64) -> bool {
        let before = self.last_bytes();
        let more = self.poll_both(cx, traffic, at);
        if self.is_over() {
            self.finish(cx, at);
        } else if self.last_bytes() < before {
            self.stage = Stage::Lingering { until: at.now() + self.linger };
        } else if at.now() >= until {
            self.finish(cx, at);
        }
        more
    }

    /// Bytes that wait for a receiver whose sender has ended.
    fn last_bytes(&self) -> usize {
        self.up.last_bytes() + self.down.last_bytes()
    }

    /// Moves what can be moved, and tells the clocks. Whether there was more than one turn may move.
    fn poll_both(&mut self, cx: &mut Context<'_>, traffic: &Traffic, at: &Moment) -> bool {
        if self.first.is_some() {
            self.up.hurry();
            self.down.hurry();
        }
        // Most tunnels need not know it here: a look at the clock is a tenth of what moving a small message costs.
        let now = if self.up.is_timed() || self.down.is_timed() { at.now() } else { 0 };
        let before = (traffic.from_client(), traffic.from_backend());
        if self.up.looks_back() {
            self.up.look_back(&self.down, &self.client);
        }
        let more_up = self.up.poll(cx, &mut self.client, &mut self.backend, &traffic.from_client, now);
        if let Some(how) = self.up.met_loss() {
            self.down.sender_is_lost(how);
        }
        if let Some(how) = self.up.how() {
            self.down.receiver_has_ended(how);
        }
        if self.down.looks_back() {
            self.down.look_back(&self.up, &self.backend);
        }
        let more_down = self.down.poll(cx, &mut self.backend, &mut self.client, &traffic.from_backend, now);
        if let Some(how) = self.down.met_loss() {
            self.up.sender_is_lost(how);
        }
        if let Some(how) = self.down.how() {
            self.up.receiver_has_ended(how);
        }
        if traffic.from_client() != before.0 && self.watch.heard(Side::Client, at) {
            self.down.passage.take_back_ping();
        }
        if traffic.from_backend() != before.1 && self.watch.heard(Side::Backend, at) {
            self.up.passage.take_back_ping();
        }
        self.watch.stalls(self.up.is_stalled(), self.down.is_stalled(), at);
        self.note_seen(at);
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
        more_up || more_down
    }

    /// Tells the clocks what passed.
    fn note_seen(&mut self, at: &Moment) {
        let (up, down) = (self.up.passage.take_seen(), self.down.passage.take_seen());
        if up.data || down.data {
            self.watch.saw_data(at);
        }
        for (side, by, seen) in [(Side::Client, By::Client, up), (Side::Backend, By::Backend, down)] {
            if !seen.is_more_than_data() {
                continue;
            }
            if seen.close && self.first.is_none() {
                self.closed_by.get_or_insert(by);
            }
            if seen.close {
                let back = if side == Side::Client { &mut self.down } else { &mut self.up };
                back.receiver_has_closed();
            }
            let view = View { client: &self.client, backend: &self.backend, up: &self.up, down: &self.down };
            self.watch.saw(side, seen, &view, at.now());
            self.up.passage.expect(self.watch.expected(Side::Client));
            self.down.passage.expect(self.watch.expected(Side::Backend));
        }
    }

    /// Both directions are through, or one side is lost and the other has all its bytes.
    fn is_over(&self) -> bool {
        (self.up.is_done() && self.down.is_done())
            || self.up.has_lost_its_sender()
            || self.down.has_lost_its_sender()
            || self.up.closes_receiver()
            || self.down.closes_receiver()
            || self.is_all_said()
    }

    /// Both sides of a client of h2 have said their Close, and the backend has ended. A browser leaves its half of the
    /// stream open then, and waits for the reset.
    fn is_all_said(&self) -> bool {
        self.client.is_h2() && self.down.is_done() && self.down.passage.has_closed() && self.up.passage.close().is_some()
    }

    /// Closes both streams: by RST where the other side was lost, else by FIN when the tunnel is dropped.
    fn finish(&mut self, cx: &mut Context<'_>, at: &Moment) {
        if !self.up.fails_receiver() && !self.down.fails_receiver() {
            // The linger ended it, not the peers: under TLS that too is said, or it looks like an attack.
            self.up.poll_last_word(cx, &mut self.backend);
            self.down.poll_last_word(cx, &mut self.client);
        }
        let until = at.now() + LAST_BYTES_LOOK;
        self.linger = at.now() + LAST_BYTES; // not needed for its own purpose any more
        self.stage = Stage::Sending { until };
        self.poll_sending(at, until);
    }

    fn poll_sending(&mut self, at: &Moment, until: u64) {
        let sides = [(self.up.fails_receiver(), &self.backend), (self.down.fails_receiver(), &self.client)];
        if at.now() < self.linger && sides.iter().any(|(lost, survivor)| *lost && survivor.lost_by_reset() > 0) {
            if at.now() >= until {
                self.stage = Stage::Sending { until: at.now() + LAST_BYTES_LOOK };
            }
            return;
        }
        // One that answers nothing is not sent to for minutes more.
        let is_lost = |direction: &Direction| direction.how() == Some(How::Lost);
        if self.down.fails_receiver() || is_lost(&self.up) {
            self.client.reset_on_close();
        }
        if self.up.fails_receiver() || is_lost(&self.down) {
            self.backend.reset_on_close();
        }
        self.stage = Stage::Over;
    }

    /// Closes what is left, and tells how it was.
    fn into_report(self) -> Report {
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn connected() -> (tokio::net::TcpStream, tokio::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (near, far) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        (near.expect("connected"), far.expect("accepted").0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_lives_has_its_backends_tcp_notice_a_loss() {
        let ((client, _client_peer), (backend, _backend_peer)) = (connected().await, connected().await);
        let socket = socket2::Socket::from(std::os::fd::AsFd::as_fd(&backend).try_clone_to_owned().expect("a descriptor"));
        let [client, backend] = [client, backend].map(|tcp| Stream::from(crate::net::Socket::from(tcp)));
        let framing = Framing::Frames(Extensions::default());
        let tunnel = Tunnel::between(client, backend, Arc::default(), framing, Duration::from_secs(1));
        let (traffic, shutdown) = (Traffic::default(), crate::base::Shutdown::default());
        let mut run = std::pin::pin!(Box::new(tunnel).run(&traffic, &shutdown));
        tokio::time::timeout(Duration::from_secs(9), run.as_mut()).await.expect_err("nothing ends it");
        assert!(!socket.keepalive().expect("an option"));
        tokio::time::timeout(Duration::from_secs(2), run.as_mut()).await.expect_err("nothing ends it");
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(Duration::from_secs(150)));
    }

    /// To close the client's socket would end the tunnel, and with it what its backend has not taken yet.
    #[tokio::test]
    async fn what_waits_for_a_backend_that_ends_behind_both_closes_is_not_lost() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let pair = || tokio::net::UnixStream::pair().expect("a pair");
        let ((client, mut client_peer), (backend, mut backend_peer)) = (pair(), pair());
        socket2::SockRef::from(&backend).set_send_buffer_size(4096).expect("an option");
        // All of it is read at once, and most of it waits, the Close among it.
        let data = [&[0x82, 0xfe, 0xea, 0x60, 0, 0, 0, 0][..], &vec![7; 60_000], &frame::close(1000, "", Some([0; 4]))].concat();
        let close = frame::close(1000, "", None);
        client_peer.write_all(&data).await.expect("room");
        backend_peer.write_all(&close).await.expect("room");
        let [client, backend] = [client, backend].map(|unix| Stream::from(crate::net::Socket::from(unix)));
        let framing = Framing::Frames(Extensions::default());
        let tunnel = Tunnel::between(client, backend, Arc::default(), framing, Duration::from_secs(60));
        let (traffic, shutdown) = (Traffic::default(), crate::base::Shutdown::default());
        let talk = async {
            let mut heard = vec![0; close.len()];
            client_peer.read_exact(&mut heard).await.expect("the Close");
            assert_eq!(heard, close);
            backend_peer.shutdown().await.expect("an end");
            assert_eq!(client_peer.read(&mut heard).await.expect("an end"), 0);
            client_peer.shutdown().await.ok();
            let mut got = Vec::new();
            backend_peer.read_to_end(&mut got).await.expect("an end");
            assert!(got == data, "{} of {} bytes", got.len(), data.len());
        };
        tokio::join!(Box::new(tunnel).run(&traffic, &shutdown), talk);
    }

    /// What an idle tunnel costs is this, what its owner adds, and two sockets.
    #[test]
    fn a_tunnel_at_rest_is_small() {
        let parts = [size_of::<Stream>(), size_of::<Direction>(), size_of::<Watch>()];
        assert!(
            size_of::<Tunnel>() <= 624,
            "{} bytes, of which {parts:?} for a stream, a direction, the clocks",
            size_of::<Tunnel>()
        );
    }
}
