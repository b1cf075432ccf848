//! Pure: where frames begin and end in a stream of bytes that comes in slices of any size.
//!
//! One tracker follows one direction. It is told of bytes and tells what they are; it keeps none of them but a
//! header that was cut, and the payload of a Close or a Pong. In the middle of a payload a slice costs one branch.

use super::{Close, Header, MAX_CONTROL_PAYLOAD, MAX_HEADER, Parsed, opcode};

/// What came to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All bytes were taken; the frame, or its header, goes on.
    More,
    /// A header is whole: a frame has begun.
    Began(Header),
    /// The frame has ended: here is a boundary.
    Ended(Header),
    /// From here on the stream cannot be followed.
    Lost,
}

/// Since when and why a stream is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// How many of its bytes had been followed.
    pub since: u64,
    /// What came then.
    pub why: &'static str,
}

/// What has passed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that have ended, control frames among them.
    pub frames: u64,
    /// Messages that have ended.
    pub messages: u64,
    /// Payload bytes of the largest of them, as they were on the wire (compressed, where they were).
    pub largest: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// A header, of which so many bytes are here.
    #[default]
    Header,
    /// A payload, of which `left` bytes are still to come.
    Payload,
    /// Anything.
    Opaque,
}

/// The tracker of one direction.
///
/// ```
/// use spliceway::frame::{Step, Tracker};
/// let mut tracker = Tracker::default();
/// let bytes = [0x81, 0x02, b'h', b'i', 0x89];
/// assert!(matches!(tracker.advance(&bytes), (2, Step::Began(header)) if header.length == 2));
/// assert!(matches!(tracker.advance(&bytes[2..]), (2, Step::Ended(_))));
/// assert!(tracker.is_at_boundary());
/// assert_eq!(tracker.advance(&bytes[4..]), (1, Step::More)); // the first byte of a Ping
/// assert!(!tracker.is_at_boundary());
/// ```
#[derive(Debug, Default)]
pub struct Tracker {
    left: u64,
    header: Header,
    phase: Phase,
    /// The header that came in pieces, and how much of it was here before the last of them.
    head: [u8; MAX_HEADER],
    have: u8,
    /// A message has begun and not ended.
    within: bool,
    /// It had when the frame at hand began.
    within_before: bool,
    /// The payload so far of the message that has begun, header by header.
    message: u64,
    counts: Counts,
    /// Bytes taken, while it is followed.
    taken: u64,
    /// A thin pointer: idle trackers are many.
    opaque: Option<&'static &'static str>,
    /// The payload of the Close or Pong that is being read, unmasked.
    payload: Option<Box<Payload>>,
}

#[derive(Debug)]
struct Payload {
    bytes: [u8; MAX_CONTROL_PAYLOAD],
    length: u8,
}

impl Tracker {
    /// One for a stream that has no such frames, for this reason: nothing is followed.
    pub fn opaque(why: &'static &'static str) -> Self {
        Self { phase: Phase::Opaque, opaque: Some(why), ..Self::default() }
    }

    /// Takes in bytes up to the next thing to tell: how many were taken, and what it is. To be called with the
    /// rest until it says [`Step::More`] (a frame without payload ends with no further byte).
    #[inline]
    pub fn advance(&mut self, bytes: &[u8]) -> (usize, Step) {
        let (taken, step) = match self.phase {
            Phase::Payload => self.advance_payload(bytes),
            Phase::Header => self.advance_header(bytes),
            Phase::Opaque => return (bytes.len(), Step::More),
        };
        self.taken += taken as u64;
        (taken, step)
    }

    /// Takes in the data frames that are whole at the start of `bytes`, up to the first other one: how many bytes
    /// they have. It tells the same as [`Tracker::advance`] in a tenth of the instructions, and most of what ever
    /// passes is such frames.
    #[inline]
    pub fn skip_data(&mut self, bytes: &[u8]) -> usize {
        if !self.is_at_boundary() {
            return 0;
        }
        let mut rest = bytes;
        while let &[first, second, ..] = rest
            && first & 0x08 == 0
        {
            let mask = usize::from(second >> 7) * 4;
            let (size, length) = match (second & 0x7f, rest) {
                (126, &[_, _, high, low, ..]) => (4 + mask, usize::from(u16::from_be_bytes([high, low]))),
                (126 | 127, _) => break, // few are so long
                (short, _) => (2 + mask, usize::from(short)),
            };
            let Some(behind) = rest.get(size + length..) else { break };
            self.count_data(first, length as u64);
            rest = behind;
        }
        let taken = bytes.len() - rest.len();
        self.taken += taken as u64;
        taken
    }

    /// A data frame that is whole.
    #[inline]
    fn count_data(&mut self, first: u8, length: u64) {
        self.counts.frames += 1;
        if !self.within && first & 0x8f > 0x80 {
            self.counts.messages += 1; // one frame, one message
            self.counts.largest = self.counts.largest.max(length);
            return;
        }
        let before = if first & 0x0f == opcode::CONTINUATION && self.within { self.message } else { 0 };
        self.message = before.saturating_add(length);
        self.within = first & 0x80 == 0;
        if !self.within {
            self.counts.messages += 1;
            self.counts.largest = self.counts.largest.max(self.message);
        }
    }

    /// How many bytes of a data frame may pass unseen: all that is left of it but its last byte, so that its end is
    /// always seen. 0 where a byte matters.
    #[inline]
    pub fn unseen(&self) -> u64 {
        if self.is_in_data() { self.left.saturating_sub(1) } else { 0 }
    }

    /// So many bytes of the frame at hand have passed unseen; no more than [`Tracker::unseen`] said.
    pub fn skip_unseen(&mut self, count: u64) {
        let count = count.min(self.unseen());
        self.left -= count;
        self.taken += count;
    }

    #[inline]
    fn advance_payload(&mut self, bytes: &[u8]) -> (usize, Step) {
        let here = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        if self.payload.is_some() {
            self.keep(bytes.get(..here).unwrap_or_default());
        }
        self.left -= here as u64;
        if self.left > 0 {
            return (here, Step::More);
        }
        self.phase = Phase::Header;
        self.have = 0;
        self.counts.frames += 1;
        if !self.header.is_control() && self.header.is_final() {
            self.within = false;
            self.counts.messages += 1;
            self.counts.largest = self.counts.largest.max(self.message);
        }
        (here, Step::Ended(self.header))
    }

    #[inline]
    fn advance_header(&mut self, bytes: &[u8]) -> (usize, Step) {
        if bytes.is_empty() {
            return (0, Step::More);
        }
        // The usual header is here in one piece, and is read where it stands.
        if self.have == 0 {
            match Header::parse(bytes) {
                Parsed::Whole(header) => {
                    self.begin(header);
                    return (usize::from(header.size), Step::Began(header));
                }
                Parsed::Endless => return self.lose(),
                Parsed::Partial => {}
            }
        }
        self.assemble(bytes)
    }

    /// A header that comes in pieces.
    #[cold]
    fn assemble(&mut self, bytes: &[u8]) -> (usize, Step) {
        let before = usize::from(self.have);
        let mut length = before;
        for (place, byte) in self.head.iter_mut().skip(before).zip(bytes) {
            *place = *byte;
            length += 1;
        }
        match Header::parse(self.head.get(..length).unwrap_or_default()) {
            Parsed::Partial => {
                #[allow(clippy::cast_possible_truncation)] // at most 14
                {
                    self.have = length as u8;
                }
                (length - before, Step::More)
            }
            Parsed::Whole(header) => {
                self.begin(header);
                (usize::from(header.size) - before, Step::Began(header))
            }
            Parsed::Endless => self.lose(),
        }
    }

    #[cold]
    fn lose(&mut self) -> (usize, Step) {
        self.phase = Phase::Opaque;
        self.opaque = Some(&"a frame with a 64-bit length whose top bit is set");
        self.taken -= u64::from(self.have); // since where that frame begins
        (0, Step::Lost)
    }

    #[inline]
    fn begin(&mut self, header: Header) {
        self.header = header;
        self.left = header.length;
        self.phase = Phase::Payload;
        self.payload = None;
        self.within_before = self.within;
        if header.is_control() {
            let kept = matches!(header.opcode(), opcode::CLOSE | opcode::PONG);
            if kept && header.length <= MAX_CONTROL_PAYLOAD as u64 {
                self.payload = Some(Box::new(Payload { bytes: [0; MAX_CONTROL_PAYLOAD], length: 0 }));
            }
        } else {
            // Where a message begins within another, which its reader will judge, it is counted from there.
            let before = if header.opcode() == opcode::CONTINUATION && self.within { self.message } else { 0 };
            self.message = before.saturating_add(header.length);
            self.within = true;
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Some(payload) = &mut self.payload else { return };
        let before = usize::from(payload.length);
        let key = self.header.mask.unwrap_or_default();
        let masked = bytes.iter().zip(key.iter().cycle().skip(before % 4));
        for (place, (byte, key)) in payload.bytes.iter_mut().skip(before).zip(masked) {
            *place = byte ^ key;
            payload.length += 1;
        }
    }

    /// Whether what was taken ends with the end of a frame, so that another may stand there.
    pub fn is_at_boundary(&self) -> bool {
        self.phase == Phase::Header && self.have == 0
    }

    /// Whether a message has begun and not ended. Within a frame it is the message of that frame.
    pub fn is_within_message(&self) -> bool {
        self.within
    }

    /// Whether one had begun and not ended where the frame at hand began.
    pub fn was_within_message(&self) -> bool {
        self.within_before
    }

    /// Whether it stands within a header.
    pub fn is_in_header(&self) -> bool {
        self.phase == Phase::Header && self.have > 0
    }

    /// Whether it stands within the payload of a data frame.
    pub fn is_in_data(&self) -> bool {
        self.phase == Phase::Payload && !self.header.is_control()
    }

    /// Whether it is one of at least so many bytes.
    #[inline]
    pub fn is_in_data_of(&self, bytes: u64) -> bool {
        self.is_in_data() && self.header.length >= bytes
    }

    /// Payload bytes of the message that has begun, by its headers so far.
    pub fn message_bytes(&self) -> u64 {
        self.message
    }

    /// How many bytes of the frame's payload are still to come; 0 between frames.
    pub fn left(&self) -> u64 {
        if self.phase == Phase::Payload { self.left } else { 0 }
    }

    /// The bytes so far of the header that is being read. After [`Step::Began`] or [`Step::Lost`]: those that had
    /// come before the bytes of that call.
    pub fn cut_header(&self) -> &[u8] {
        self.head.get(..usize::from(self.have)).unwrap_or_default()
    }

    /// The unmasked payload of the Close or Pong that has just ended; empty for all other frames, and for one
    /// that is longer than a control frame may be.
    pub fn payload(&self) -> &[u8] {
        self.payload.as_ref().and_then(|payload| payload.bytes.get(..usize::from(payload.length))).unwrap_or_default()
    }

    /// The Close that has just ended. Lets its payload go.
    pub fn take_close(&mut self) -> Close {
        let close = Close::parse(self.payload());
        self.payload = None;
        close
    }

    /// Lets go of the payload that was kept.
    pub fn forget_payload(&mut self) {
        self.payload = None;
    }

    /// What has passed.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Since when and why it is not followed, if it is not.
    pub fn lost(&self) -> Option<Opaque> {
        self.opaque.map(|why| Opaque { since: self.taken, why })
    }
}

#[cfg(test)]
mod tests;
