//! Frames that pass by. Input: a line of numbers, how many bytes come at a time (again and again), then those bytes.

use spliceway::frame::{
    Close, Counts, Extensions, Header, Judge, MAX_CONTROL_PAYLOAD, Side, Step, Tracker, close, is_sendable, ping,
};

use crate::text;

/// A frame by the model's reading.
struct Frame<'a> {
    first: u8,
    mask: Option<[u8; 4]>,
    length: u64,
    /// Where it begins, where its payload does.
    at: usize,
    body: usize,
    /// Its payload, as far as it is there.
    payload: &'a [u8],
}

impl Frame<'_> {
    fn is_whole(&self) -> bool {
        self.payload.len() as u64 == self.length
    }

    fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    fn is_control(&self) -> bool {
        self.opcode() >= 8
    }

    fn is_final(&self) -> bool {
        self.first & 0x80 != 0
    }

    fn unmasked(&self) -> Vec<u8> {
        let key = self.mask.unwrap_or_default();
        self.payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect()
    }
}

/// Where the model's reading ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Boundary,
    /// Within a header.
    Header,
    Payload,
    /// At a frame that has no end.
    Lost,
}

pub fn target(input: &[u8]) {
    let (sizes, bytes) = text::pieces(input);
    let (frames, end) = model(bytes);
    let mut whole = Watch::default();
    whole.advance(bytes, &frames);
    whole.end(bytes, &frames, end);
    let mut pieces = Watch::default();
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(sizes.next().copied().unwrap_or(1).min(rest.len()));
        pieces.advance(piece, &frames);
        rest = behind;
    }
    pieces.end(bytes, &frames, end);
    judged(&frames);
    ours(bytes);
}

/// RFC 6455 section 5.2, all at once.
fn model(bytes: &[u8]) -> (Vec<Frame<'_>>, End) {
    let (mut frames, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let [first, second, ..] = *rest else { return (frames, if rest.is_empty() { End::Boundary } else { End::Header }) };
        let more = [0, 2, 8][usize::from(second & 127).saturating_sub(125)];
        let key = if second & 128 == 0 { 0 } else { 4 };
        let Some(digits) = rest.get(2..2 + more) else { return (frames, End::Header) };
        let long = digits.iter().fold(0, |sum, digit| sum << 8 | u64::from(*digit));
        let length = if more == 0 { u64::from(second & 127) } else { long };
        if length >= 1 << 63 {
            return (frames, End::Lost);
        }
        let Some(mask) = rest.get(2 + more..2 + more + key) else { return (frames, End::Header) };
        let (body, mask) = (at + 2 + more + key, <[u8; 4]>::try_from(mask).ok());
        let here = usize::try_from(length).map_or(usize::MAX, |length| length).min(bytes.len() - body);
        frames.push(Frame { first, mask, length, at, body, payload: &bytes[body..body + here] });
        if (here as u64) < length {
            return (frames, End::Payload);
        }
        at = body + here;
    }
}

/// A tracker and what it is compared with.
#[derive(Default)]
struct Watch {
    tracker: Tracker,
    at: usize,
    began: usize,
    ended: usize,
    lost: bool,
    counts: Counts,
    message: u64,
    within: bool,
    /// It is told of slices that begin with whole data frames in one step.
    skipping: Tracker,
}

impl Watch {
    fn advance(&mut self, bytes: &[u8], frames: &[Frame<'_>]) {
        self.follow(bytes, frames);
        let mut rest = &bytes[self.skipping.skip_data(bytes)..];
        loop {
            let (taken, step) = self.skipping.advance(rest);
            rest = &rest[taken..];
            if step == Step::More {
                break;
            }
            self.skipping.forget_payload();
        }
        let state = |tracker: &Tracker| (tracker.counts(), tracker.left(), tracker.lost(), tracker.is_within_message());
        assert_eq!(state(&self.tracker), state(&self.skipping), "skipping comes to something else");
        assert_eq!(self.tracker.is_at_boundary(), self.skipping.is_at_boundary());
    }

    fn follow(&mut self, mut bytes: &[u8], frames: &[Frame<'_>]) {
        loop {
            let (taken, step) = self.tracker.advance(bytes);
            bytes = &bytes[taken..];
            self.at += taken;
            match step {
                Step::More => break,
                Step::Began(header) => self.begin(header, &frames[self.began]),
                Step::Ended(header) => self.finish(header, &frames[self.ended]),
                Step::Lost => {
                    assert!(!self.lost, "lost once more");
                    self.lost = true;
                }
            }
        }
        assert!(bytes.is_empty(), "not all was taken");
    }

    fn begin(&mut self, header: Header, frame: &Frame<'_>) {
        self.began += 1;
        let size = frame.body - frame.at;
        assert_eq!((header.first, header.mask, header.length), (frame.first, frame.mask, frame.length));
        assert_eq!((usize::from(header.size), self.at), (size, frame.body), "a header ends elsewhere");
        assert!(self.tracker.cut_header().len() < size, "the end of a header is no part that came before");
        assert_eq!(self.tracker.left(), frame.length);
        assert!(!self.tracker.is_at_boundary());
        if !frame.is_control() {
            self.message = if frame.opcode() == 0 && self.within { self.message + frame.length } else { frame.length };
            self.within = true;
            assert!(self.tracker.is_within_message());
        }
        assert_eq!(self.tracker.message_bytes(), self.message);
    }

    fn finish(&mut self, header: Header, frame: &Frame<'_>) {
        self.ended += 1;
        assert!(self.ended == self.began && frame.is_whole(), "an end that is none");
        assert_eq!((header.first, self.at), (frame.first, frame.body + frame.payload.len()), "a frame ends elsewhere");
        assert!(self.tracker.is_at_boundary() && self.tracker.left() == 0);
        self.counts.frames += 1;
        if !frame.is_control() && frame.is_final() {
            self.within = false;
            self.counts.messages += 1;
            self.counts.largest = self.counts.largest.max(self.message);
        }
        assert_eq!(self.tracker.counts(), self.counts);
        let kept = matches!(frame.opcode(), 8 | 10) && frame.payload.len() <= MAX_CONTROL_PAYLOAD;
        let payload = if kept { frame.unmasked() } else { Vec::new() };
        assert_eq!(self.tracker.payload(), payload, "the payload is another");
        if frame.opcode() == 8 {
            assert_eq!(self.tracker.take_close(), Close::parse(&payload));
            assert!(self.tracker.payload().is_empty());
        }
    }

    fn end(&self, bytes: &[u8], frames: &[Frame<'_>], end: End) {
        let whole = frames.iter().filter(|frame| frame.is_whole()).count();
        assert_eq!((self.at, self.began, self.ended), (bytes.len(), frames.len(), whole));
        assert_eq!((self.tracker.is_at_boundary(), self.lost), (end == End::Boundary, end == End::Lost));
        let last = frames.last().map_or(0, |frame| frame.body + frame.payload.len());
        match end {
            End::Boundary => assert!(self.tracker.cut_header().is_empty()),
            End::Header => assert_eq!(self.tracker.cut_header(), &bytes[last..]),
            End::Payload => {
                let frame = frames.last().expect("a frame that goes on");
                assert_eq!(self.tracker.left(), frame.length - frame.payload.len() as u64);
            }
            End::Lost => {}
        }
        assert_eq!(self.tracker.lost().map(|opaque| opaque.since), (end == End::Lost).then_some(last as u64));
    }
}

/// Each rule by itself: a frame passes where it breaks none of them.
fn judged(frames: &[Frame<'_>]) {
    let mut within = false;
    for frame in frames {
        let (size, opcode, rsv) = (frame.body - frame.at, frame.opcode(), frame.first & 0x70);
        let header =
            Header { first: frame.first, mask: frame.mask, length: frame.length, size: u8::try_from(size).expect("at most 14") };
        let least = [126, 0x1_0000].iter().filter(|more| frame.length >= **more).count();
        let minimal = size == [2, 4, 10][least] + if frame.mask.is_some() { 4 } else { 0 };
        for (from, extensions) in [Side::Client, Side::Server]
            .into_iter()
            .flat_map(|side| [Extensions::None, Extensions::Deflate, Extensions::Unknown].map(|extensions| (side, extensions)))
        {
            let masked = frame.mask.is_some() == (from == Side::Client);
            let free = extensions == Extensions::Unknown;
            let known = matches!(opcode, 0..=2 | 8..=10);
            let compressed = extensions == Extensions::Deflate && matches!(opcode, 1..=7) && rsv == 0x40;
            let control = !frame.is_control() || (frame.is_final() && frame.length <= 125);
            let order = !matches!(opcode, 0..=2) || (opcode == 0) == within;
            let legal = masked && (known || free) && (rsv == 0 || compressed || free) && control && order && minimal;
            let said = Judge { from, extensions }.header(header, within);
            assert_eq!(said.is_ok(), legal, "{said:?}, {from:?} with {extensions:?}");
            assert!(said.is_ok() || said.is_err_and(|violation| is_sendable(violation.code())));
        }
        if !frame.is_control() {
            within = !frame.is_final();
        }
        if opcode == 8 && frame.is_whole() {
            let payload = frame.unmasked();
            let legal = match &payload[..] {
                [] => true,
                [high, low, reason @ ..] => is_sendable(u16::from_be_bytes([*high, *low])) && std::str::from_utf8(reason).is_ok(),
                [_] => false,
            };
            assert_eq!(Judge::close(&payload).is_ok(), legal);
        }
    }
}

/// What we send ourselves is read as it was meant, and is legal.
fn ours(bytes: &[u8]) {
    let reason = String::from_utf8_lossy(bytes);
    let key = bytes.first_chunk().copied();
    let from = if key.is_some() { Side::Client } else { Side::Server };
    let judge = Judge { from, extensions: Extensions::None };
    let sent = [ping(bytes.first_chunk().copied().unwrap_or_default(), key), close(1001, &reason, key)].concat();
    let (frames, end) = model(&sent);
    assert_eq!((frames.len(), end), (2, End::Boundary));
    let said = Close::parse(&frames[1].unmasked());
    assert_eq!(said.code, Some(1001));
    assert!(reason.as_bytes().starts_with(&said.reason) && Judge::close(&frames[1].unmasked()).is_ok());
    assert!(reason.len() - said.reason.len() <= 3 || said.reason.len() > MAX_CONTROL_PAYLOAD - 6, "more was cut than had to be");
    for frame in &frames {
        let size = u8::try_from(frame.body - frame.at).expect("at most 14");
        let header = Header { first: frame.first, mask: frame.mask, length: frame.length, size };
        assert_eq!(judge.header(header, true), Ok(()));
    }
}
