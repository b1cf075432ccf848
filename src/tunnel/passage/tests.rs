//! Pure: the passage's tests: nothing changes but what has to, and frames of ours stand between frames only.

use proptest::prelude::*;

use super::*;
use crate::frame::{self, Extensions, Parsed, Side};
use crate::tunnel::Rate;

const CLIENT: Judge = Judge { from: Side::Client, extensions: Extensions::None };
const SERVER: Judge = Judge { from: Side::Server, extensions: Extensions::None };
const OURS: [u8; 8] = *b"from us!";

fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let key = masked.then_some([1, 2, 3, 4]);
    let length = u8::try_from(payload.len()).ok().filter(|&length| length < 126);
    let mut out = vec![first, length.unwrap_or(126) | if masked { 0x80 } else { 0 }];
    if length.is_none() {
        out.extend(u16::try_from(payload.len()).expect("a short payload").to_be_bytes());
    }
    out.extend(key.into_iter().flatten());
    out.extend(payload.iter().zip(key.unwrap_or_default().iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

fn sifting(settings: &Settings, judge: Judge) -> Passage {
    Passage::new(settings, judge, true)
}

/// What a passage passes on of these slices at this time, up to where it stops.
fn passed<'a>(passage: &mut Passage, slices: impl IntoIterator<Item = &'a [u8]>, now: u64) -> (Vec<u8>, Option<Violation>) {
    let mut all = Vec::new();
    for slice in slices {
        let mut out = Vec::new();
        match passage.take(slice, now, &mut out) {
            Taken::AsIs => out = slice.to_vec(),
            Taken::Changed => {}
            Taken::Paused(..) => panic!("no rate was set"),
            Taken::Stopped(violation) => {
                all.extend(out);
                return (all, Some(violation));
            }
        }
        all.extend(out);
    }
    (all, None)
}

#[test]
fn only_the_pong_with_our_payload_is_taken_out_and_each_time() {
    let bytes = [frame(0x8a, b"another!", true), frame(0x8a, &OURS, true), frame(0x8a, b"short", true), frame(0x81, b"x", true)];
    for size in 1..40 {
        let mut passage = Passage::default();
        passage.expect(Some(OURS));
        let all = bytes.concat();
        let (out, _) = passed(&mut passage, all.chunks(size), 0);
        assert_eq!(out, [&bytes[0][..], &bytes[2], &bytes[3]].concat(), "in slices of {size}");
        let seen = passage.take_seen();
        assert!(seen.our_pongs == 1 && seen.pong && seen.data && !seen.close);
    }
}

#[test]
fn a_pong_whose_beginning_was_passed_on_before_the_ping_is_passed_on() {
    let pong = frame(0x8a, &OURS, true);
    let mut passage = Passage::default();
    let (before, _) = passed(&mut passage, [&pong[..3]], 0);
    passage.expect(Some(OURS));
    let (behind, _) = passed(&mut passage, [&pong[3..]], 0);
    assert_eq!([before, behind].concat(), pong);
}

#[test]
fn nothing_passes_behind_a_close_of_ours() {
    let mut passage = Passage::default();
    let first = frame(0x82, &[7; 50], false);
    let (part, _) = passed(&mut passage, [&first[..20]], 0);
    passage.put_in_next(frame::close(1001, "", None), true);
    assert!(!passage.is_open_here());
    let (rest, _) = passed(&mut passage, [&[&first[20..], &frame(0x81, b"late", false)].concat()[..]], 0);
    assert_eq!([part, rest].concat(), [first, vec![0x88, 2, 3, 0xe9]].concat());
    assert!(passage.is_shut() && !passage.takes_ours());
    passage.follow(&frame(0x88, b"\x03\xe8", false));
    assert_eq!(passage.close().and_then(|close| close.code), Some(1000), "the sender's own is recorded all the same");
}

#[test]
fn behind_the_senders_close_and_where_frames_are_not_known_nothing_of_ours_is_put_in() {
    let mut passage = Passage::default();
    passed(&mut passage, [&frame(0x88, b"", false)[..]], 0);
    passage.put_in_next(frame::ping(OURS, None), false);
    assert!(!passage.put_in(&mut Vec::new()) && passage.take_seen().close);
    let mut passage = Passage::opaque(&"a draft");
    passage.put_in_next(frame::ping(OURS, None), false);
    assert_eq!(passed(&mut passage, [&b"\x00hi\xff"[..]], 0).0, b"\x00hi\xff");
    assert!(!passage.is_open_here());
}

#[test]
fn a_ping_that_waits_can_be_taken_back_a_close_cannot() {
    let mut passage = Passage::default();
    passage.put_in_next(frame::ping(OURS, None), false);
    passage.take_back_ping();
    assert!(!passage.put_in(&mut Vec::new()));
    passage.put_in_next(frame::close(1001, "", None), true);
    passage.take_back_ping();
    assert!(passage.put_in(&mut Vec::new()) && !passage.take_seen().our_ping && passage.is_shut());
}

#[test]
fn the_last_word_stands_in_the_place_of_the_senders_close_and_is_kept_for_its_end() {
    let (good, close) = (frame(0x81, b"echo", false), frame(0x88, b"\x03\xe8bye", false));
    let ours = frame::close(1002, "", None);
    let all = [&good[..], &close, &frame(0x81, b"late", false)].concat();
    for size in 1..all.len() {
        let mut passage = Passage::default();
        passage.have_last_word(ours.clone());
        let (mut out, mut rest) = (Vec::new(), &all[..]);
        while !passage.is_shut() {
            let (slice, behind) = rest.split_at(size.min(rest.len()));
            out.extend(passed(&mut passage, [slice], 0).0);
            rest = behind;
        }
        passage.follow(rest);
        assert_eq!(out, [&good[..], &ours].concat(), "in slices of {size}");
        assert_eq!(passage.close().and_then(|close| close.code), Some(1000));
        assert_eq!(passage.take_last_word(), None);
    }
    let mut passage = Passage::default();
    passage.have_last_word(ours.clone());
    assert_eq!(passed(&mut passage, [&good[..]], 0).0, good);
    assert_eq!(passage.take_last_word(), Some(ours));
}

#[test]
fn an_offending_frame_is_not_passed_on_and_a_close_may_stand_in_its_place() {
    let good = frame(0x81, b"good", true);
    for (bad, why) in [
        (frame(0x81, b"unmasked", false), Violation::Unmasked),
        (frame(0xc1, b"x", true), Violation::Rsv),
        (frame(0x80, b"x", true), Violation::LoneContinuation),
        (frame(0x88, b"\x03\xec", true), Violation::CloseCode),
        (frame(0x88, b"\x03\xe8\xff\xff", true), Violation::CloseReason),
        (vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], Violation::Length),
    ] {
        let all = [&good[..], &bad, &frame(0x88, b"\x03\xe8", true)].concat();
        for size in 1..all.len() {
            let mut passage = sifting(&Settings { enforce: true, ..Settings::default() }, CLIENT);
            let (out, violation) = passed(&mut passage, all.chunks(size), 0);
            assert_eq!((out, violation), (good.clone(), Some(why)), "in slices of {size}");
            passage.put_in_next(frame::close(1002, "", Some([0; 4])), true);
            let mut close = Vec::new();
            assert!(passage.put_in(&mut close) && close[0] == 0x88, "{why:?}");
        }
    }
}

#[test]
fn the_fragments_of_a_message_count_together_and_the_header_says_it() {
    let settings = Settings { max_message: Some(10), ..Settings::default() };
    let mut passage = sifting(&settings, SERVER);
    let small = [frame(0x01, &[0; 6], false), frame(0x89, &[0; 60], false), frame(0x80, &[0; 4], false)].concat();
    assert_eq!(passed(&mut passage, [&small[..]], 0), (small, None));
    let large = [frame(0x01, &[0; 6], false), frame(0x80, &[0; 5], false)];
    assert_eq!(passed(&mut passage, [&large.concat()[..]], 0), (large[0].clone(), Some(Violation::TooLong)));
}

#[test]
fn messages_beyond_the_rate_wait_where_they_begin() {
    let settings = Settings { messages: Some(Rate { per_second: 10, burst: 2 }), ..Settings::default() };
    let mut passage = sifting(&settings, CLIENT);
    let three = [frame(0x01, b"a", true), frame(0x80, b"b", true), frame(0x81, b"c", true), frame(0x81, b"d", true)].concat();
    let mut out = Vec::new();
    let taken = passage.take(&three, 0, &mut out);
    let at = three.len() - 7;
    assert_eq!(taken, Taken::Paused(at..three.len(), 100));
    assert_eq!(out, three[..at]);
    out.clear();
    assert_eq!(passage.take(&three[at..], 100, &mut out), Taken::Changed);
    assert_eq!(out, three[at..]);
}

#[test]
fn bytes_beyond_the_rate_are_not_read() {
    let settings = Settings { bytes: Some(Rate { per_second: 1000, burst: 100 }), ..Settings::default() };
    let mut passage = sifting(&settings, CLIENT);
    assert_eq!(passage.room(0), Ok(100));
    passed(&mut passage, [&frame(0x82, &[0; 94], true)[..]], 0);
    assert_eq!(passage.room(0), Err(1));
    assert_eq!(passage.room(50), Ok(50));
}

#[test]
fn by_choice_going_beyond_the_rate_is_a_violation() {
    let over_rate = OverRate::Close;
    let messages = Settings { messages: Some(Rate { per_second: 1, burst: 2 }), over_rate, ..Settings::default() };
    let three = [frame(0x81, b"a", true), frame(0x81, b"b", true), frame(0x81, b"c", true)].concat();
    let (out, violation) = passed(&mut sifting(&messages, CLIENT), [&three[..]], 0);
    assert_eq!((out.len(), violation), (14, Some(Violation::TooFast)));
    let bytes = Settings { bytes: Some(Rate { per_second: 10, burst: 10 }), over_rate, ..Settings::default() };
    let mut passage = sifting(&bytes, CLIENT);
    let (out, violation) = passed(&mut passage, [&three[..]], 0);
    assert_eq!((out.len(), violation, passage.room(0)), (14, Some(Violation::TooFast), Ok(usize::MAX)));
}

#[test]
fn what_was_kept_back_is_given_out_at_the_end() {
    let mut passage = sifting(&Settings { enforce: true, ..Settings::default() }, CLIENT);
    let text = frame(0x81, b"whole", true);
    let (out, _) = passed(&mut passage, [&text[..], &text[..4]], 0);
    assert_eq!([out, passage.take_rest()].concat(), [&text[..], &text[..4]].concat());
    let mut passage = Passage::default();
    passage.expect(Some(OURS));
    let pong = frame(0x8a, &OURS, true);
    let (out, _) = passed(&mut passage, [&pong[..9]], 0);
    assert_eq!((out.len(), passage.take_rest()), (0, pong[..9].to_vec()));
}

/// Frames that a judge of clients admits.
fn legal_frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let kind = prop_oneof![Just(0x81u8), Just(0x82u8), Just(0x89u8), Just(0x8au8)];
    let one = (kind, 0..300usize, any::<u8>()).prop_map(|(first, length, fill)| {
        let length = if first & 0x08 != 0 { length.min(125) } else { length };
        frame(first, &vec![fill; length], true)
    });
    prop::collection::vec(one, 1..12)
}

/// The slices of `bytes` that these cuts make.
fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let (mut slices, mut rest) = (Vec::new(), bytes);
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (slice, behind) = rest.split_at((*cut).min(rest.len()));
        slices.push(slice);
        rest = behind;
    }
    slices
}

proptest! {
    #[test]
    fn legal_frames_pass_as_they_are_whatever_is_asked(frames in legal_frames(), cuts in prop::collection::vec(1..200usize, 1..30)) {
        let bytes = frames.concat();
        for settings in [
            Settings::default(),
            Settings { enforce: true, max_message: Some(300), ..Settings::default() },
        ] {
            let mut passage = sifting(&settings, CLIENT);
            prop_assert_eq!(passed(&mut passage, cut(&bytes, &cuts), 0), (bytes.clone(), None));
            prop_assert!(passage.is_open_here());
        }
    }

    #[test]
    fn pings_of_ours_stand_between_frames_and_change_nothing_else(
        frames in legal_frames(),
        cuts in prop::collection::vec(1..200usize, 1..30),
        at in prop::collection::vec(any::<bool>(), 40),
    ) {
        let bytes = frames.concat();
        let (mut passage, mut out) = (Passage::default(), Vec::new());
        for (slice, ping) in cut(&bytes, &cuts).into_iter().zip(at.iter().cycle()) {
            if *ping {
                passage.put_in_next(frame::ping(OURS, Some([9; 4])), false);
                passage.put_in(&mut out);
            }
            out.extend(passed(&mut passage, [slice], 0).0);
        }
        let ours = frame::ping(OURS, Some([9; 4]));
        let (mut rest, mut others) = (&out[..], Vec::new());
        while let Parsed::Whole(header) = Header::parse(rest) {
            let (one, behind) = rest.split_at(usize::from(header.size) + usize::try_from(header.length).expect("short"));
            if one != ours {
                others.extend_from_slice(one);
            }
            rest = behind;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(others, bytes);
    }
}
