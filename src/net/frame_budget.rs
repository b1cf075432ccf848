//! Pure: what an HTTP/2 client may send that carries nothing, by the nine bytes of frame headers alone. It
//! knows no HPACK, no streams and no payload.
//!
//! The `h2` crate bounds what a client can make it hold. What it does not bound is work: a `PING`, `SETTINGS`,
//! `PRIORITY`, `WINDOW_UPDATE`, `RST_STREAM` or unknown frame is answered or looked at, leaves no record, and the
//! next may follow for ever. So each costs one of a budget, and two things give back:
//! - *what we send*: two for each `HEADERS` or `DATA` frame, and one for each 32 bytes in it. No client that reads
//!   answers or a tunnel's messages runs dry, be it one that opens the window of the stream and that of the
//!   connection again after each frame of a byte. What is sent answers no `PING`: those cost;
//! - *time*: 20 a second. Keepalives (gRPC's come each 10 s, or more seldom) cost nothing, for days.
//!
//! Nothing that the client sends gives back: a request does when it is answered, and one that is reset before costs.
//! The budget is 1024, and 8 more for each stream that the client may have open: it can open them all, with a
//! priority, a window and a reset for each, before the first answer. A request's own `HEADERS` and `DATA` cost
//! nothing: they are served, bounded by streams and windows, and recorded.
//!
//! Invariant: however the bytes are split, the same is counted.

use std::time::Duration;

/// For every connection.
const FRAMES: u64 = 1024;
/// For each stream that may be open.
const FRAMES_PER_STREAM: u64 = 8;
/// How long it takes until one is given back.
const REFILL: Duration = Duration::from_millis(50);
/// How many bytes sent give one back.
const BYTES_FOR_ONE: u64 = 32;
/// Given back for each HEADERS or DATA frame sent: a `WINDOW_UPDATE` of its stream and one of the connection.
const FOR_A_FRAME: u64 = 2;

/// What a client's connection begins with, in front of its first frame.
const PREFACE_BYTES: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// The budget of one connection and what is spent of it.
#[derive(Debug)]
pub(super) struct FrameBudget {
    read: Walk,
    written: Walk,
    spent: u64,
    most: u64,
    /// How many times `REFILL` had passed when time last gave back.
    refills: u128,
}

impl FrameBudget {
    /// For a client that may have this many streams open, before its preface.
    pub(super) fn new(streams: u32) -> Self {
        Self {
            read: Walk { left: PREFACE_BYTES, ..Walk::default() },
            written: Walk::default(),
            spent: 0,
            most: FRAMES + FRAMES_PER_STREAM * u64::from(streams),
            refills: 0,
        }
    }

    /// Takes in what the client sent, `since` the connection's beginning; whether it is still within the budget.
    pub(super) fn read(&mut self, bytes: &[u8], since: Duration) -> bool {
        let refills = since.as_millis() / REFILL.as_millis();
        let given = u64::try_from(refills.saturating_sub(self.refills)).unwrap_or(u64::MAX);
        self.spent = self.spent.saturating_sub(given);
        self.refills = self.refills.max(refills);
        let spent = &mut self.spent;
        self.read.walk(bytes, |frame| *spent += u64::from(frame.carries_nothing()));
        self.spent <= self.most
    }

    /// Takes in what was sent to the client.
    pub(super) fn written(&mut self, bytes: &[u8]) {
        let spent = &mut self.spent;
        self.written.walk(bytes, |frame| *spent = spent.saturating_sub(frame.gives_back()));
    }
}

/// A frame header, as much of it as counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    length: u32,
    kind: u8,
    flags: u8,
}

impl Frame {
    fn new([high, middle, low, kind, flags, ..]: [u8; HEAD]) -> Self {
        Self { length: u32::from_be_bytes([0, high, middle, low]), kind, flags }
    }

    fn carries_nothing(self) -> bool {
        match self.kind {
            DATA => self.length == 0 && self.flags & END_STREAM == 0,
            HEADERS => false,
            _ => true,
        }
    }

    fn gives_back(self) -> u64 {
        if matches!(self.kind, DATA | HEADERS) { FOR_A_FRAME + u64::from(self.length) / BYTES_FOR_ONE } else { 0 }
    }
}

/// How many bytes a frame header has.
const HEAD: usize = 9;

/// Goes from frame header to frame header.
#[derive(Debug, Default)]
struct Walk {
    /// The header being read.
    head: [u8; HEAD],
    /// How much of it there is.
    filled: usize,
    /// How much of a payload is still to come.
    left: usize,
}

impl Walk {
    /// Calls `seen` for each frame whose header ends within `bytes`.
    fn walk(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        loop {
            let Some(rest) = bytes.get(self.left..).filter(|rest| !rest.is_empty()) else {
                self.left -= self.left.min(bytes.len());
                return;
            };
            self.left = 0;
            let head = if let (0, Some((head, behind))) = (self.filled, rest.split_first_chunk()) {
                bytes = behind;
                *head
            } else {
                let part = rest.get(..HEAD - self.filled).unwrap_or(rest);
                for (to, from) in self.head.iter_mut().skip(self.filled).zip(part) {
                    *to = *from;
                }
                self.filled += part.len();
                bytes = rest.get(part.len()..).unwrap_or_default();
                if self.filled < HEAD {
                    return;
                }
                self.filled = 0;
                self.head
            };
            let frame = Frame::new(head);
            self.left = usize::try_from(frame.length).unwrap_or(usize::MAX);
            seen(frame);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests fail loudly
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const RST_STREAM: u8 = 3;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        [&size[1..], &[kind, flags, 0, 0, 0, 1], &vec![kind; length]].concat()
    }

    fn begun(streams: u32) -> FrameBudget {
        let mut budget = FrameBudget::new(streams);
        assert!(budget.read(PREFACE, Duration::ZERO));
        budget
    }

    /// How many of these it takes to run dry at once.
    fn takes(budget: &mut FrameBudget, frame: &[u8]) -> Option<u64> {
        (1..100_000).find(|_| !budget.read(frame, Duration::ZERO))
    }

    #[test]
    fn what_carries_nothing_runs_dry_and_the_streams_allow_for_more() {
        for kind in (2..=10).chain([0x10, 0xff]) {
            assert_eq!(takes(&mut begun(0), &frame(kind, 0, 8)), Some(FRAMES + 1), "kind {kind}");
        }
        assert_eq!(takes(&mut begun(0), &frame(DATA, 0, 0)), Some(FRAMES + 1));
        assert_eq!(takes(&mut begun(128), &frame(RST_STREAM, 0, 4)), Some(FRAMES + 8 * 128 + 1));
    }

    #[test]
    fn requests_and_their_bodies_never_run_dry() {
        for (kind, flags, length) in [(HEADERS, 4, 20), (HEADERS, 5, 20), (DATA, 0, 1), (DATA, END_STREAM, 0)] {
            assert_eq!(takes(&mut begun(0), &frame(kind, flags, length)), None, "kind {kind}, {length} bytes");
        }
    }

    #[test]
    fn a_keepalive_each_tenth_of_a_second_costs_nothing_for_days() {
        let (mut budget, ping) = (begun(0), frame(PING, 0, 8));
        assert!((1..1_000_000).all(|n| budget.read(&ping, Duration::from_millis(100) * n)));
    }

    #[test]
    fn messages_of_a_byte_with_two_window_updates_for_each_cost_nothing() {
        let (mut budget, data, updates) = (begun(0), frame(DATA, 0, 3), frame(WINDOW_UPDATE, 0, 4).repeat(2));
        for _ in 0..100_000 {
            budget.written(&data);
            assert!(budget.read(&updates, Duration::ZERO));
        }
    }

    #[test]
    fn our_pongs_and_acknowledgements_give_nothing_back() {
        let (mut budget, ping) = (begun(0), frame(PING, 0, 8));
        let dry = (1..100_000).find(|_| {
            budget.written(&ping);
            !budget.read(&ping, Duration::ZERO)
        });
        assert_eq!(dry, Some(FRAMES + 1));
    }

    proptest! {
        #[test]
        fn any_split_counts_the_same(
            frames in vec((any::<bool>(), 0u8..12, any::<u8>(), 0usize..100), 0..60),
            sizes in vec(1usize..40, 1..40),
        ) {
            let (mut whole, mut split) = (begun(0), FrameBudget::new(0));
            PREFACE.chunks(5).for_each(|piece| assert!(split.read(piece, Duration::ZERO)));
            let mut sizes = sizes.iter().cycle();
            for (ours, kind, flags, length) in frames {
                let bytes = frame(kind, flags, length);
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                    rest = behind;
                    if ours { split.written(piece) } else { split.read(piece, Duration::ZERO); }
                }
                if ours { whole.written(&bytes) } else { whole.read(&bytes, Duration::ZERO); }
                prop_assert_eq!(whole.spent, split.spent);
            }
        }

        #[test]
        fn any_bytes_are_walked_without_a_panic(bytes in vec(any::<u8>(), 0..4000), since in 0u64..u64::MAX) {
            let mut budget = FrameBudget::new(u32::MAX);
            budget.read(&bytes, Duration::from_millis(since));
            budget.written(&bytes);
        }
    }
}
