//! Pure: when a silent side is pinged, and when it is lost. Told the time in milliseconds, and what moved.
//!
//! A side that lives is never called dead (the rules are those of the law, "the tunnel"):
//! - Any byte from it is life. So is any byte of our send queue that it acknowledges.
//! - No Ping of ours goes out while one of the other endpoint is unanswered: the side may answer the newest alone
//!   (RFC 6455 section 5.5.3). That Ping then does the service of ours.
//! - The clock begins when the Ping is acknowledged, and stands still while we do not read from the side.
//! - Where no Ping can be put in (a huge frame is on its way) there is none, and no verdict.

/// How often the send queue is looked at while a Ping waits to be acknowledged. There is no event for it.
const LOOK: u64 = 250;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has spoken not long ago.
    Quiet,
    /// A Ping waits for a frame boundary.
    Wanted,
    /// A Ping is out and not acknowledged.
    Sent,
    /// It is acknowledged, since this time.
    Delivered(u64),
}

/// The watch over one side.
#[derive(Debug)]
pub(super) struct Probe {
    after: u64,
    timeout: u64,
    state: State,
    heard: u64,
    /// When to look again, in `Sent` and `Delivered`.
    look: u64,
    /// The other endpoint's Pings that the side has not answered.
    foreign: bool,
    payload: [u8; 8],
    /// Pings of ours with this payload that were not answered.
    outstanding: u32,
    queue: Queue,
}

/// The send queue toward the side, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    /// Bytes ever written to it.
    pub(super) written: u64,
    /// Bytes that are not acknowledged.
    pub(super) unsent: u64,
}

impl Queue {
    /// Whether some of it was acknowledged since `before`. TLS writes more bytes than it is given, so that not
    /// every progress shows; what shows is one.
    fn has_moved_since(self, before: Self) -> bool {
        self.unsent < before.unsent + self.written.saturating_sub(before.written)
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping([u8; 8]),
    Lost,
}

impl Probe {
    pub(super) fn new(after: u64, timeout: u64, payload: [u8; 8], now: u64) -> Self {
        Self {
            after: after.max(1),
            timeout: timeout.max(1),
            state: State::Quiet,
            heard: now,
            look: 0,
            foreign: false,
            payload,
            outstanding: 0,
            queue: Queue::default(),
        }
    }

    /// Whether nothing is under way: bytes from the side then change nothing but the time of the next Ping.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        self.state == State::Quiet
    }

    /// Bytes had come from the side at this time, while it was quiet.
    pub(super) fn spoke_at(&mut self, time: u64) {
        self.heard = self.heard.max(time);
    }

    /// Bytes came from the side. Whether a Ping that still waits is not needed any more.
    pub(super) fn heard(&mut self, now: u64) -> bool {
        self.heard = now;
        std::mem::replace(&mut self.state, State::Quiet) == State::Wanted
    }

    /// A Ping of the other endpoint has passed to the side.
    pub(super) fn pinged_by_other(&mut self) {
        self.foreign = true;
    }

    /// A Pong came that is not for us.
    pub(super) fn answered_other(&mut self) {
        self.foreign = false;
    }

    /// Our Ping has been written, or stands behind what is to be written.
    pub(super) fn sent(&mut self, now: u64, queue: Queue) {
        self.outstanding += 1;
        self.watch(now, queue);
    }

    fn watch(&mut self, now: u64, queue: Queue) {
        self.state = State::Sent;
        self.queue = queue;
        self.look = now + LOOK.min(self.timeout);
    }

    /// What a Pong has to carry to be ours.
    pub(super) fn expected(&self) -> Option<[u8; 8]> {
        (self.outstanding > 0).then_some(self.payload)
    }

    /// Our Pong came. Whether it is known which Ping it answers.
    pub(super) fn answered(&mut self) -> bool {
        // A Pong answers all Pings before it (RFC 6455 section 5.5.3). Another payload next time: a copy of an old
        // Pong is none of ours.
        let only = std::mem::take(&mut self.outstanding) == 1;
        self.payload = u64::from_ne_bytes(self.payload).wrapping_add(1).to_ne_bytes();
        only
    }

    /// When to ask again what is due; `None`: not before something happens.
    pub(super) fn next(&self) -> Option<u64> {
        match self.state {
            State::Quiet => Some(self.heard + self.after),
            State::Wanted => None,
            State::Sent | State::Delivered(_) => Some(self.look),
        }
    }

    /// What is due now. `deaf`: we do not read from the side at the moment, so its silence says nothing.
    pub(super) fn due(&mut self, now: u64, deaf: bool, queue: Queue) -> Due {
        if self.next().is_none_or(|next| now < next) {
            return Due::Nothing;
        }
        match self.state {
            State::Quiet if deaf => self.heard = now, // it may have spoken
            State::Quiet if self.foreign => self.watch(now, queue),
            State::Quiet => {
                self.state = State::Wanted;
                return Due::Ping(self.payload);
            }
            State::Wanted => {}
            State::Sent if queue.unsent == 0 => self.deliver(now, queue),
            State::Sent => {
                self.queue = queue;
                self.look = now + LOOK.min(self.timeout);
            }
            State::Delivered(_) if deaf || queue.has_moved_since(self.queue) => self.deliver(now, queue),
            State::Delivered(since) if now >= since + self.timeout => return Due::Lost,
            State::Delivered(since) => self.look = since + self.timeout,
        }
        Due::Nothing
    }

    fn deliver(&mut self, now: u64, queue: Queue) {
        self.state = State::Delivered(now);
        self.queue = queue;
        self.look = now + self.timeout;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: Queue = Queue { written: 100, unsent: 0 };
    const PAYLOAD: [u8; 8] = *b"12345678";

    fn probe() -> Probe {
        Probe::new(1000, 800, PAYLOAD, 0)
    }

    /// Pinged at 1000, acknowledged at 1250.
    fn delivered() -> Probe {
        let mut probe = probe();
        assert_eq!(probe.due(999, false, EMPTY), Due::Nothing);
        assert_eq!(probe.due(1000, false, EMPTY), Due::Ping(PAYLOAD));
        probe.sent(1000, EMPTY);
        assert_eq!(probe.due(1250, false, EMPTY), Due::Nothing);
        assert_eq!(probe.next(), Some(2050));
        probe
    }

    #[test]
    fn a_side_without_a_sign_of_life_is_lost_when_the_time_is_over() {
        let mut probe = delivered();
        assert_eq!(probe.due(2049, false, EMPTY), Due::Nothing);
        assert_eq!(probe.due(2050, false, EMPTY), Due::Lost);
    }

    #[test]
    fn any_byte_is_life_and_the_late_pong_is_still_ours() {
        let mut probe = delivered();
        assert!(!probe.heard(2000));
        assert_eq!((probe.next(), probe.expected()), (Some(3000), Some(PAYLOAD)));
        assert_eq!(probe.due(3000, false, EMPTY), Due::Ping(PAYLOAD), "the same payload until it was answered");
        probe.sent(3000, EMPTY);
        assert!(!probe.answered(), "nobody knows which of the two it answers");
        assert_eq!(probe.expected(), None);
        probe.heard(3020);
        assert!(matches!(probe.due(4020, false, EMPTY), Due::Ping(other) if other != PAYLOAD));
    }

    #[test]
    fn a_ping_that_is_not_acknowledged_starts_no_clock() {
        let mut probe = probe();
        assert_eq!(probe.due(1000, false, EMPTY), Due::Ping(PAYLOAD));
        let stuck = Queue { written: 110, unsent: 10 };
        probe.sent(1000, stuck);
        for now in (1000..100_000).step_by(50) {
            assert_eq!(probe.due(now, false, stuck), Due::Nothing);
        }
        assert_eq!(probe.due(100_000, false, Queue { unsent: 0, ..stuck }), Due::Nothing);
        let next = probe.next().expect("a clock");
        assert_eq!((next, probe.due(next, false, EMPTY)), (100_800, Due::Lost));
    }

    #[test]
    fn progress_of_the_send_queue_is_life() {
        let mut probe = delivered();
        assert_eq!(probe.due(2050, false, Queue { written: 300, unsent: 150 }), Due::Nothing);
        assert_eq!(probe.due(2850, false, Queue { written: 400, unsent: 249 }), Due::Nothing);
        assert_eq!(probe.due(3650, false, Queue { written: 400, unsent: 249 }), Due::Lost);
    }

    #[test]
    fn the_clock_stands_still_while_we_do_not_read() {
        let mut probe = delivered();
        assert_eq!(probe.due(2050, true, EMPTY), Due::Nothing);
        assert_eq!(probe.due(2849, false, EMPTY), Due::Nothing);
        assert_eq!(probe.due(2850, false, EMPTY), Due::Lost);
    }

    #[test]
    fn silence_while_we_do_not_read_is_none() {
        let mut probe = probe();
        assert_eq!(probe.due(1000, true, EMPTY), Due::Nothing);
        assert_eq!(probe.next(), Some(2000));
    }

    #[test]
    fn no_ping_of_ours_beside_an_unanswered_one_of_the_other_endpoint() {
        let mut probe = probe();
        probe.pinged_by_other();
        assert_eq!(probe.due(1000, false, EMPTY), Due::Nothing);
        assert_eq!(probe.expected(), None);
        assert_eq!(probe.due(1250, false, EMPTY), Due::Nothing);
        assert_eq!(probe.due(2050, false, EMPTY), Due::Lost, "that Ping does the service of ours");
    }

    #[test]
    fn a_ping_of_the_other_endpoint_that_was_answered_stands_in_no_way() {
        let mut probe = probe();
        probe.pinged_by_other();
        probe.answered_other();
        probe.heard(500);
        assert_eq!(probe.due(1500, false, EMPTY), Due::Ping(PAYLOAD));
    }

    #[test]
    fn without_a_boundary_there_is_no_ping_and_no_verdict() {
        let mut probe = probe();
        assert_eq!(probe.due(1000, false, EMPTY), Due::Ping(PAYLOAD));
        assert_eq!(probe.next(), None);
        assert_eq!(probe.due(1_000_000, false, EMPTY), Due::Nothing);
        assert!(probe.heard(1_000_000), "and none is needed when the side has spoken");
    }
}
