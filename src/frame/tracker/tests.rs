//! Pure: the tracker's tests: known frames, and any frames in any slices.

use proptest::prelude::*;

use super::*;

/// A frame as an endpoint writes it, with its length in as few bytes as can be.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(bit | u8::try_from(short).expect("short")),
        middle @ 126..=0xffff => {
            out.push(bit | 0x7e);
            out.extend(u16::try_from(middle).expect("middle").to_be_bytes());
        }
        long => {
            out.push(bit | 0x7f);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend(mask.into_iter().flatten());
    let key = mask.unwrap_or_default();
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// What a tracker tells of bytes in these slices: each step with the offset behind it, and the payloads kept.
fn follow<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> (Vec<(u64, Step)>, Vec<Vec<u8>>, Tracker) {
    let (mut tracker, mut steps, mut payloads, mut offset) = (Tracker::default(), Vec::new(), Vec::new(), 0);
    for slice in slices {
        let mut rest = slice;
        loop {
            let (taken, step) = tracker.advance(rest);
            rest = &rest[taken..];
            offset += taken as u64;
            if step == Step::More {
                assert!(rest.is_empty(), "all is taken where nothing is told");
                break;
            }
            if let Step::Ended(header) = step {
                assert!(tracker.is_at_boundary());
                if matches!(header.opcode(), opcode::CLOSE | opcode::PONG) {
                    payloads.push(tracker.payload().to_vec());
                    tracker.forget_payload();
                }
            }
            steps.push((offset, step));
        }
    }
    (steps, payloads, tracker)
}

#[test]
fn messages_fragments_and_control_frames_are_told_apart() {
    let mask = Some([9, 8, 7, 6]);
    let bytes = [
        frame(0x01, b"frag", mask),
        frame(0x89, b"", mask),
        frame(0x80, b"ment", mask),
        frame(0x8a, b"12345678", mask),
        frame(0x82, &[7; 300], mask),
        frame(0x88, b"\x0f\xa1bye", mask),
    ]
    .concat();
    let (steps, payloads, mut tracker) = follow([&bytes[..]]);
    assert_eq!(steps.len(), 12);
    assert_eq!(payloads, [b"12345678".to_vec(), b"\x0f\xa1bye".to_vec()]);
    assert_eq!(tracker.counts(), Counts { frames: 6, messages: 2, largest: 300 });
    assert!(tracker.is_at_boundary() && !tracker.is_within_message() && tracker.lost().is_none());
    let close = frame(0x88, b"\x03\xe8", mask);
    assert!(matches!(tracker.advance(&close), (6, Step::Began(_))));
    assert!(matches!(tracker.advance(&close[6..]), (2, Step::Ended(_))));
    assert_eq!(tracker.take_close().code, Some(1000));
    assert_eq!(tracker.payload(), b"");
}

#[test]
fn what_cannot_be_followed_is_opaque_from_its_header_on() {
    let bytes = [frame(0x81, b"hi", None), vec![0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 1, 5, 5]].concat();
    let (steps, _, mut tracker) = follow(bytes.chunks(3));
    assert_eq!(steps.last().map(|(_, step)| *step), Some(Step::Lost));
    let lost = tracker.lost().expect("opaque");
    assert!(lost.since == 4 && lost.why.contains("64-bit"), "{lost:?}");
    assert!(!tracker.is_at_boundary());
    assert_eq!(tracker.advance(&[0x81, 0]), (2, Step::More));
    assert_eq!(Tracker::opaque(&"a draft").lost(), Some(Opaque { since: 0, why: "a draft" }));
}

#[test]
fn a_control_frame_that_is_too_long_is_followed_and_not_kept() {
    let (steps, payloads, tracker) = follow([&frame(0x88, &[1; 200], None)[..]]);
    assert_eq!((steps.len(), payloads), (2, vec![Vec::new()]));
    assert!(tracker.is_at_boundary());
}

#[test]
fn a_message_grows_by_its_headers() {
    let bytes = [frame(0x01, &[0; 10], None), frame(0x00, &[0; 20], None)].concat();
    let mut tracker = Tracker::default();
    let (taken, _) = tracker.advance(&bytes);
    assert_eq!((tracker.message_bytes(), tracker.left(), tracker.cut_header()), (10, 10, &b""[..]));
    let (payload, _) = tracker.advance(&bytes[taken..]);
    assert_eq!((payload, tracker.left()), (10, 0));
    tracker.advance(&bytes[taken + payload..]);
    assert!(tracker.is_within_message());
    assert_eq!(tracker.message_bytes(), 30);
}

/// Frames of every kind, legal or not: the tracker judges none of them.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0..=10usize, 120..=130usize, Just(0x1_0003usize), 0..=700usize];
    (any::<u8>(), length, any::<Option<[u8; 4]>>(), any::<u8>())
        .prop_map(|(first, length, mask, seed)| frame(first, &vec![seed; length], mask))
}

proptest! {
    #[test]
    fn any_split_of_any_frames_tells_the_same_as_the_whole(
        frames in prop::collection::vec(any_frame(), 0..8),
        cuts in prop::collection::vec(1..400usize, 1..60),
        tail in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let bytes = [frames.concat(), tail].concat();
        let (whole, payloads, one) = follow([&bytes[..]]);
        let (mut slices, mut rest) = (Vec::new(), &bytes[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (slice, behind) = rest.split_at((*cut).min(rest.len()));
            slices.push(slice);
            rest = behind;
        }
        let (split, same_payloads, other) = follow(slices);
        // Where the stream is lost, some of the header may have been taken before.
        let end = whole.iter().position(|(_, step)| *step == Step::Lost).unwrap_or(whole.len());
        prop_assert_eq!(&whole[..end], &split[..end]);
        prop_assert_eq!(whole.len(), split.len());
        prop_assert_eq!(payloads, same_payloads);
        prop_assert_eq!(one.counts(), other.counts());
        prop_assert_eq!(one.is_at_boundary(), other.is_at_boundary());
        prop_assert_eq!(one.lost(), other.lost());
    }

    #[test]
    fn skipping_whole_data_frames_comes_to_the_same_as_following_each(
        frames in prop::collection::vec(any_frame(), 0..8),
        cuts in prop::collection::vec(1..900usize, 1..30),
    ) {
        let bytes = frames.concat();
        let (mut each, mut skipping, mut rest) = (Tracker::default(), Tracker::default(), &bytes[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (slice, behind) = rest.split_at((*cut).min(rest.len()));
            rest = behind;
            let skipped = skipping.skip_data(slice);
            for (tracker, mut slice) in [(&mut each, slice), (&mut skipping, &slice[skipped..])] {
                loop {
                    let (taken, step) = tracker.advance(slice);
                    slice = &slice[taken..];
                    if step == Step::More { break; }
                    tracker.forget_payload();
                }
            }
            prop_assert_eq!(each.counts(), skipping.counts());
            prop_assert_eq!(each.is_at_boundary(), skipping.is_at_boundary());
            prop_assert_eq!(each.is_within_message(), skipping.is_within_message());
            prop_assert_eq!(each.left(), skipping.left());
            prop_assert!(!each.is_within_message() || each.message_bytes() == skipping.message_bytes());
        }
    }

    #[test]
    fn frames_end_where_they_were_written_to_end(frames in prop::collection::vec(any_frame(), 1..8)) {
        let ends: Vec<u64> = frames.iter().scan(0, |end, frame| { *end += frame.len() as u64; Some(*end) }).collect();
        let bytes = frames.concat();
        let (steps, _, tracker) = follow(bytes.chunks(97));
        let told: Vec<u64> = steps.iter().filter(|(_, step)| matches!(step, Step::Ended(_))).map(|(at, _)| *at).collect();
        prop_assert_eq!(told, ends);
        prop_assert_eq!(tracker.counts().frames, frames.len() as u64);
    }
}

#[test]
fn what_passes_unseen_leaves_the_end_of_its_frame_to_be_seen() {
    let mut tracker = Tracker::default();
    let header = [0x82, 127, 0, 0, 0, 0, 0, 0x10, 0, 0];
    assert!(matches!(tracker.advance(&header), (10, Step::Began(_))));
    assert_eq!(tracker.unseen(), 0xf_ffff);
    tracker.skip_unseen(0xf_0000);
    assert_eq!((tracker.left(), tracker.is_in_data()), (0x1_0000, true));
    tracker.skip_unseen(u64::MAX);
    assert_eq!((tracker.left(), tracker.unseen()), (1, 0));
    assert!(matches!(tracker.advance(b"x"), (1, Step::Ended(_))));
    assert_eq!(tracker.counts(), Counts { frames: 1, messages: 1, largest: 0x10_0000 });
    let ping = [0x89, 5];
    tracker.advance(&ping);
    assert_eq!(tracker.unseen(), 0, "a control frame is looked at");
}
