//! How fast the tracker follows frames: `cargo bench --bench frame`. Figures stand in benches/README.md.

#![allow(missing_docs)] // a bench has no readers of its documentation

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use spliceway::frame::{Step, Tracker};

fn main() {
    divan::main();
}

/// So many bytes of masked binary messages of one size, as a client sends them.
fn messages(payload: usize, total: usize) -> Vec<u8> {
    let mut one = vec![0x82];
    match payload {
        short @ 0..=125 => one.push(0x80 | u8::try_from(short).unwrap_or(0)),
        middle @ 126..=0xffff => {
            one.push(0x80 | 0x7e);
            one.extend(u16::try_from(middle).unwrap_or(0).to_be_bytes());
        }
        long => {
            one.push(0x80 | 0x7f);
            one.extend((long as u64).to_be_bytes());
        }
    }
    one.extend([1, 2, 3, 4]);
    one.resize(one.len() + payload, 7);
    one.repeat(total.div_ceil(one.len()))
}

/// Follows all of a stream that comes in slices of this size, as a tunnel does.
fn follow(bytes: &[u8], slice: usize) -> u64 {
    let mut tracker = Tracker::default();
    for slice in bytes.chunks(slice) {
        let slice = black_box(slice);
        let mut rest = slice.get(tracker.skip_data(slice)..).unwrap_or_default();
        while !rest.is_empty() {
            let (taken, step) = tracker.advance(rest);
            rest = rest.get(taken..).unwrap_or_default();
            if step == Step::More {
                break;
            }
        }
    }
    tracker.counts().messages
}

/// One message in each slice: what a chat or a game is.
#[divan::bench(args = [16, 64, 1024])]
fn one_message_a_slice(bencher: Bencher<'_, '_>, payload: usize) {
    let bytes = messages(payload, 1 << 20);
    let slice = payload + if payload < 126 { 6 } else { 8 };
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| follow(&bytes, slice));
}

/// Slices as large as a tunnel's buffer, full of messages.
#[divan::bench(args = [16, 64, 1024, 1 << 20])]
fn full_slices(bencher: Bencher<'_, '_>, payload: usize) {
    let bytes = messages(payload, 4 << 20);
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| follow(&bytes, 256 << 10));
}
