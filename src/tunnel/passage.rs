//! Pure: what passes in one direction of a tunnel, told the time in milliseconds. Every byte as it came, but for
//! three things: what the route forbids, frames of ours that are put in between, and answers to our Pings, which
//! are taken out.
//!
//! Invariant: a frame of ours is put in only where a frame has ended in what was passed on, never within one, and
//! nothing is passed on behind a Close of ours.
//!
//! While none of the three can happen, bytes are followed and not touched. Else headers are kept back until they
//! are whole and admitted: at most 14 bytes, or the 131 of a control frame that is judged or compared as a whole.

use std::ops::Range;

use super::rate::Bucket;
use super::{OverRate, Settings};
use crate::frame::{Close, Counts, Header, Judge, MAX_CONTROL_PAYLOAD, Opaque, Step, Tracker, Violation, is_sendable, opcode};

/// What became of a slice of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It passes as it is.
    AsIs,
    /// What was put into `out` passes in its place.
    Changed,
    /// Likewise, and what stands in this range of it waits until that time.
    Paused(Range<usize>, u64),
    /// Likewise, and then nothing more: the sender broke a rule.
    Stopped(Violation),
}

/// What was seen since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// A part of a data frame.
    pub(super) data: bool,
    /// A Ping.
    pub(super) ping: bool,
    /// A Pong that was not for us.
    pub(super) pong: bool,
    /// Pongs that answer our Pings.
    pub(super) our_pongs: u8,
    /// A Close that tells of an end.
    pub(super) close: bool,
    /// Our Ping, which was put in.
    pub(super) our_ping: bool,
}

impl Seen {
    /// Whether anything but data was.
    #[inline]
    pub(super) fn is_more_than_data(self) -> bool {
        self.ping || self.pong || self.our_pongs > 0 || self.close || self.our_ping
    }
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Passage {
    tracker: Tracker,
    /// How many bytes of the header at hand were passed on before it was whole.
    passed: u8,
    /// A Close of ours was put in.
    shut: bool,
    /// The sender broke a rule: nothing of it is passed on any more. What was ends with a frame.
    stopped: bool,
    /// The sender's Close was passed on.
    close_passed: bool,
    seen: Seen,
    rules: Option<Box<Rules>>,
    aside: Option<Box<Aside>>,
}

/// What most tunnels have none of most of the time, and idle ones do not pay for.
#[derive(Debug, Default)]
struct Aside {
    /// The frame at hand is kept back as a whole: what there is of it.
    held: Option<Vec<u8>>,
    /// What a Pong of the sender has to carry to be the answer to our Ping.
    expected: Option<[u8; 8]>,
    /// A frame of ours that waits for a boundary.
    ours: Option<Ours>,
    /// The Close that is put in the place of the sender's.
    last_word: Option<Vec<u8>>,
    /// The sender's Close.
    close: Option<Close>,
}

impl Aside {
    /// Whether bytes pass as they are, as far as this goes.
    fn is_plain(&self) -> bool {
        self.held.is_none() && self.expected.is_none() && self.ours.is_none() && self.last_word.is_none()
    }
}

#[derive(Debug)]
struct Ours {
    frame: Vec<u8>,
    is_close: bool,
}

/// What the route asks of the sender.
#[derive(Debug)]
struct Rules {
    judge: Option<Judge>,
    max_message: Option<u64>,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    over_rate: OverRate,
}

impl Passage {
    /// A direction by these settings; `judge` is who would judge it, `limited` whether rates hold for it.
    pub(super) fn new(settings: &Settings, judge: Judge, limited: bool) -> Self {
        let bucket = |rate: Option<_>| rate.filter(|_| limited).map(|rate| Bucket::new(rate, 0));
        let rules = Rules {
            judge: settings.enforce.then_some(judge),
            max_message: settings.max_message,
            messages: bucket(settings.messages),
            bytes: bucket(settings.bytes),
            over_rate: settings.over_rate,
        };
        let any = rules.judge.is_some() || rules.max_message.is_some() || rules.messages.is_some() || rules.bytes.is_some();
        Self { rules: any.then(|| Box::new(rules)), ..Self::default() }
    }

    /// A direction that has no such frames: nothing is followed, judged or put in.
    pub(super) fn opaque(why: &'static &'static str) -> Self {
        Self { tracker: Tracker::opaque(why), ..Self::default() }
    }

    /// No rate holds any more.
    pub(super) fn lift_rates(&mut self) {
        if let Some(rules) = &mut self.rules {
            (rules.messages, rules.bytes) = (None, None);
        }
    }

    /// How much may be read now; an error says until when nothing may.
    #[inline]
    pub(super) fn room(&mut self, now: u64) -> Result<usize, u64> {
        if self.rules.is_none() { Ok(usize::MAX) } else { self.rated_room(now) }
    }

    fn rated_room(&mut self, now: u64) -> Result<usize, u64> {
        let Some(rules) = self.rules.as_mut().filter(|rules| rules.over_rate == OverRate::Wait) else { return Ok(usize::MAX) };
        let Some(bytes) = &mut rules.bytes else { return Ok(usize::MAX) };
        match bytes.allows(now) {
            0 => Err(bytes.ready_at()),
            allowed => Ok(usize::try_from(allowed).unwrap_or(usize::MAX)),
        }
    }

    /// Whether it has to be told the time.
    #[inline]
    pub(super) fn is_timed(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.messages.is_some() || rules.bytes.is_some())
    }

    /// Whether bytes may have to wait for a rate.
    #[inline]
    pub(super) fn is_rated(&self) -> bool {
        self.rules
            .as_ref()
            .is_some_and(|rules| rules.over_rate == OverRate::Wait && (rules.messages.is_some() || rules.bytes.is_some()))
    }

    /// Takes in what was read.
    #[inline]
    pub(super) fn take(&mut self, bytes: &[u8], now: u64, out: &mut Vec<u8>) -> Taken {
        let plain = self.rules.is_none() && self.aside.as_ref().is_none_or(|aside| aside.is_plain());
        if plain && !self.keeps_back() {
            self.follow(bytes);
            return Taken::AsIs;
        }
        self.sift(bytes, now, out)
    }

    fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// Takes something out of what stands aside.
    fn take_aside<T>(&mut self, take: impl FnOnce(&mut Aside) -> Option<T>) -> Option<T> {
        self.aside.as_mut().and_then(|aside| take(aside))
    }

    /// Lets go of the room for what is not there.
    fn tidy(&mut self) {
        self.aside.take_if(|aside| aside.is_plain() && aside.close.is_none());
    }

    fn is_holding(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.held.is_some())
    }

    fn expected(&self) -> Option<[u8; 8]> {
        self.aside.as_ref().and_then(|aside| aside.expected)
    }

    /// What a Pong of the sender has to carry to be the answer to our Ping.
    pub(super) fn expect(&mut self, payload: Option<[u8; 8]>) {
        match (payload, &mut self.aside) {
            (None, None) => {}
            (payload, _) => self.aside().expected = payload,
        }
        self.tidy();
    }

    /// Some bytes of the header at hand were not passed on.
    fn keeps_back(&self) -> bool {
        self.tracker.is_in_header() && usize::from(self.passed) < self.tracker.cut_header().len()
    }

    /// Whether the middle of a data frame of at least so many bytes passes here as it is.
    #[inline]
    pub(super) fn is_in_frame_of(&self, bytes: u64) -> bool {
        self.tracker.is_in_data_of(bytes) && self.rules.is_none() && !self.is_holding() && !self.shut && !self.stopped
    }

    /// How many of the bytes that come next need not be looked at: they are the middle of a long frame.
    #[inline]
    pub(super) fn unseen(&self) -> u64 {
        self.tracker.unseen()
    }

    /// So many of them were passed on.
    pub(super) fn skip_unseen(&mut self, count: u64) {
        self.tracker.skip_unseen(count);
        self.seen.data = true;
    }

    /// Follows bytes that are passed on, or thrown away, as they are.
    #[inline]
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        let skipped = self.tracker.skip_data(bytes);
        self.seen.data |= skipped > 0;
        if skipped < bytes.len() {
            self.follow_each(bytes.get(skipped..).unwrap_or_default());
        }
    }

    /// Follows bytes in which there is more than whole data frames.
    fn follow_each(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let (taken, step) = self.tracker.advance(rest);
            rest = rest.get(taken..).unwrap_or_default();
            match step {
                Step::More => break,
                Step::Began(header) => self.seen.data |= !header.is_control(),
                Step::Ended(header) => {
                    self.seen.data |= !header.is_control();
                    if header.is_control() {
                        self.control_ended(header);
                    }
                }
                Step::Lost => {}
            }
        }
        self.after_slice(bytes);
    }

    fn after_slice(&mut self, bytes: &[u8]) {
        #[allow(clippy::cast_possible_truncation)] // at most 14
        {
            self.passed = if self.tracker.is_in_header() { self.tracker.cut_header().len() as u8 } else { 0 };
        }
        // A slice from the middle of a long frame, or of a stream that is not followed.
        self.seen.data |= !bytes.is_empty() && (self.tracker.is_in_data() || self.tracker.lost().is_some());
    }

    fn control_ended(&mut self, header: Header) {
        match header.opcode() {
            opcode::PING => self.seen.ping = true,
            opcode::PONG => {
                self.seen.pong = true;
                self.tracker.forget_payload();
            }
            opcode::CLOSE if self.close().is_none() => {
                let close = self.tracker.take_close();
                // What has no such code was hardly meant as the end, whatever else it is.
                self.seen.close = close.code.is_none_or(is_sendable);
                self.aside().close = Some(close);
                self.close_passed = !self.stopped && !self.shut;
            }
            _ => self.tracker.forget_payload(),
        }
    }

    /// The way of a slice in which something may have to be changed.
    fn sift(&mut self, bytes: &[u8], now: u64, out: &mut Vec<u8>) -> Taken {
        if !self.is_holding() && self.tracker.left() > bytes.len() as u64 {
            self.spend_bytes(bytes.len(), now); // nothing begins or ends in it
            self.follow(bytes);
            return Taken::AsIs;
        }
        let mut rest = bytes;
        loop {
            if self.put_in(out) && self.shut {
                self.follow(rest); // for the record: it may hold the sender's Close
                return Taken::Changed;
            }
            if self.tracker.is_at_boundary()
                && let Some(until) = self.rules.as_mut().and_then(|rules| rules.wait_for_message(rest, now))
            {
                self.spend_bytes(bytes.len() - rest.len(), now);
                return Taken::Paused(bytes.len() - rest.len()..bytes.len(), until);
            }
            let (taken, step) = self.tracker.advance(rest);
            let (now_taken, later) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
            let admitted = match step {
                Step::More => {
                    if self.tracker.left() > 0 || self.tracker.lost().is_some() {
                        self.pass(now_taken, out);
                    }
                    break;
                }
                Step::Began(header) => self.began(header, now_taken, now, out),
                Step::Ended(header) => {
                    self.pass(now_taken, out);
                    self.ended(header, out)
                }
                Step::Lost => self.lost(out),
            };
            if let Err(violation) = admitted {
                self.stopped = true;
                self.follow(later); // for the record: it may hold the sender's Close
                return Taken::Stopped(violation);
            }
            if self.shut {
                self.follow(later); // for the record: the sender's Close
                return Taken::Changed;
            }
            rest = later;
        }
        self.spend_bytes(bytes.len(), now);
        self.seen.data |= !bytes.is_empty() && (self.tracker.is_in_data() || self.tracker.lost().is_some());
        Taken::Changed
    }

    fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let held = self.aside.as_mut().and_then(|aside| aside.held.as_mut());
        held.unwrap_or(out).extend_from_slice(bytes);
    }

    /// A header is whole, `end` being its end: it goes on, is held, or is refused.
    fn began(&mut self, header: Header, end: &[u8], now: u64, out: &mut Vec<u8>) -> Result<(), Violation> {
        self.seen.data |= !header.is_control();
        if let Some(rules) = &mut self.rules {
            rules.admit(header, self.tracker.was_within_message(), self.tracker.message_bytes(), now)?;
        }
        let passed = std::mem::take(&mut self.passed);
        if header.opcode() == opcode::CLOSE
            && passed == 0
            && let Some(close) = self.take_last_word()
        {
            out.extend_from_slice(&close);
            self.shut = true;
            return Ok(());
        }
        let compared = header.opcode() == opcode::PONG && header.length == 8 && self.expected().is_some();
        let judged = header.opcode() == opcode::CLOSE && self.rules.as_ref().is_some_and(|rules| rules.judge.is_some());
        let kept = self.tracker.cut_header().get(usize::from(passed)..).unwrap_or_default();
        if passed == 0 && (compared || judged) && header.length <= MAX_CONTROL_PAYLOAD as u64 {
            let held = [kept, end].concat();
            self.aside().held = Some(held);
        } else {
            out.extend_from_slice(kept);
            out.extend_from_slice(end);
        }
        Ok(())
    }

    /// A frame has ended: one that was held goes on, or not.
    fn ended(&mut self, header: Header, out: &mut Vec<u8>) -> Result<(), Violation> {
        self.seen.data |= !header.is_control();
        let held = self.take_aside(|aside| aside.held.take());
        if held.is_some() && header.opcode() == opcode::CLOSE {
            let verdict = Judge::close(self.tracker.payload());
            self.stopped |= verdict.is_err(); // it is recorded, and not passed on
            self.control_ended(header);
            verdict?;
        } else if held.is_some() && self.expected().is_some_and(|expected| self.tracker.payload() == expected) {
            self.tracker.forget_payload();
            self.seen.our_pongs = self.seen.our_pongs.saturating_add(1);
            return Ok(());
        } else if header.is_control() {
            self.control_ended(header);
        }
        out.extend_from_slice(&held.unwrap_or_default());
        Ok(())
    }

    fn lost(&mut self, out: &mut Vec<u8>) -> Result<(), Violation> {
        if let Some(rules) = &self.rules {
            if rules.judge.is_some() {
                return Err(Violation::Length);
            }
            if rules.max_message.is_some() {
                return Err(Violation::TooLong);
            }
        }
        let passed = usize::from(std::mem::take(&mut self.passed));
        out.extend_from_slice(self.tracker.cut_header().get(passed..).unwrap_or_default());
        Ok(())
    }

    fn spend_bytes(&mut self, count: usize, now: u64) {
        let rules = self.rules.as_mut().filter(|rules| rules.over_rate == OverRate::Wait);
        if let Some(bytes) = rules.and_then(|rules| rules.bytes.as_mut()) {
            bytes.allows(now);
            bytes.spend(count as u64);
        }
    }

    /// Puts a frame of ours in at the next boundary, in the place of one that still waits for it.
    pub(super) fn put_in_next(&mut self, frame: Vec<u8>, is_close: bool) {
        if self.takes_ours() {
            self.aside().ours = Some(Ours { frame, is_close });
        }
    }

    /// The sender is heard out; its Close, if it sends one, is replaced by this one.
    pub(super) fn have_last_word(&mut self, frame: Vec<u8>) {
        self.aside().last_word = Some(frame);
    }

    /// That Close, where the sender's has not come.
    pub(super) fn take_last_word(&mut self) -> Option<Vec<u8>> {
        self.take_aside(|aside| aside.last_word.take())
    }

    /// A Ping that still waits is not wanted any more.
    pub(super) fn take_back_ping(&mut self) {
        self.take_aside(|aside| aside.ours.take_if(|ours| !ours.is_close));
        self.tidy();
    }

    /// Puts the frame of ours that waits into `out`, if here is a boundary. Whether it did.
    #[inline]
    pub(super) fn put_in(&mut self, out: &mut Vec<u8>) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.ours.is_some()) && self.put_in_here(out)
    }

    fn put_in_here(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.is_open_here() {
            return false;
        }
        let Some(ours) = self.take_aside(|aside| aside.ours.take()) else { return false };
        out.extend_from_slice(&ours.frame);
        if ours.is_close {
            self.shut = true;
            self.take_aside(|aside| aside.held.take());
        }
        self.seen.our_ping = !ours.is_close;
        true
    }

    /// Whether a frame of ours may stand behind what was passed on so far.
    pub(super) fn is_open_here(&self) -> bool {
        // Nor is a frame begun in what was passed on where all of it was kept back.
        let kept_back = self.is_holding() || (self.tracker.is_in_header() && self.passed == 0);
        let at_boundary = self.tracker.is_at_boundary() || kept_back;
        (at_boundary || self.stopped) && self.takes_ours()
    }

    /// Whether a frame of ours may ever be put in from here on: not behind a Close, nor where frames are not known.
    pub(super) fn takes_ours(&self) -> bool {
        !self.shut && !self.close_passed && (self.stopped || self.tracker.lost().is_none())
    }

    /// Whether the receiver was sent a Close, the sender's or ours.
    pub(super) fn has_closed(&self) -> bool {
        self.close_passed || self.shut
    }

    /// Whether a Close of ours was put in.
    pub(super) fn is_shut(&self) -> bool {
        self.shut
    }

    /// The sender has ended: what was kept back, which will not become whole.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        if self.shut {
            return Vec::new();
        }
        let passed = usize::from(self.passed);
        if let Some(held) = self.take_aside(|aside| aside.held.take()) {
            return held;
        }
        let header = if self.keeps_back() { self.tracker.cut_header().get(passed..) } else { None };
        header.unwrap_or_default().to_vec()
    }

    /// What was seen since this was last called.
    #[inline]
    pub(super) fn take_seen(&mut self) -> Seen {
        std::mem::take(&mut self.seen)
    }

    /// The sender's Close.
    pub(super) fn close(&self) -> Option<&Close> {
        self.aside.as_ref().and_then(|aside| aside.close.as_ref())
    }

    pub(super) fn counts(&self) -> Counts {
        self.tracker.counts()
    }

    pub(super) fn lost_track(&self) -> Option<Opaque> {
        self.tracker.lost()
    }
}

impl Rules {
    fn admit(&mut self, header: Header, within: bool, message: u64, now: u64) -> Result<(), Violation> {
        if let Some(judge) = self.judge {
            judge.header(header, within)?;
        }
        if !header.is_control() && self.max_message.is_some_and(|most| message > most) {
            return Err(Violation::TooLong);
        }
        if self.over_rate == OverRate::Close {
            if let Some(bytes) = &mut self.bytes {
                bytes.allows(now);
                if bytes.is_overdrawn() {
                    return Err(Violation::TooFast);
                }
                bytes.spend(u64::from(header.size).saturating_add(header.length));
            }
            if begins_message(header.first)
                && let Some(messages) = &mut self.messages
            {
                if messages.allows(now) == 0 {
                    return Err(Violation::TooFast);
                }
                messages.spend(1);
            }
        }
        Ok(())
    }

    /// Until when the message that begins with `rest` has to wait, if it has to; else it is paid for.
    fn wait_for_message(&mut self, rest: &[u8], now: u64) -> Option<u64> {
        let first = *rest.first()?;
        let messages = self.messages.as_mut().filter(|_| self.over_rate == OverRate::Wait && begins_message(first))?;
        if messages.allows(now) == 0 {
            return Some(messages.ready_at());
        }
        messages.spend(1);
        None
    }
}

fn begins_message(first: u8) -> bool {
    first & 0x08 == 0 && first & 0x0f != opcode::CONTINUATION
}

#[cfg(test)]
mod tests;
