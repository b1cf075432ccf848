//! What the reader beneath rustls promises: all bytes, in order, and never a part of a record where one could wait.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;

fn record(kind: u8, size: usize) -> Vec<u8> {
    let length = u16::try_from(size).unwrap().to_be_bytes();
    let body = (0..size).map(|n| u8::try_from(n % 251).unwrap());
    [kind, 3, 3, length[0], length[1]].into_iter().chain(body).collect()
}

/// Writes `stream` in these pieces, and reads it with a buffer of this size. `check` is told of each read.
fn read_all(stream: &[u8], pieces: &[usize], room: usize, mut check: impl FnMut(&[u8], &WholeRecords)) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut near = WholeRecords::of(Socket::from(near));
        let write = async {
            let (mut rest, mut sizes) = (stream, pieces.iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                far.write_all(piece).await.unwrap();
                rest = behind;
                tokio::task::yield_now().await;
            }
            drop(far);
        };
        let mut all = Vec::new();
        let read = async {
            let mut buf = vec![0; room];
            loop {
                let n = near.read(&mut buf).await.unwrap();
                if n == 0 {
                    break;
                }
                all.extend_from_slice(&buf[..n]);
                check(&all, &near);
            }
        };
        tokio::join!(write, read);
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn records_come_whole_however_they_are_cut(
        sizes in prop::collection::vec(prop_oneof![0..40usize, 0..5000usize, Just((1 << 14) + 2048)], 1..12),
        pieces in prop::collection::vec(prop_oneof![1..30usize, 1..20_000usize], 1..5),
        room in prop_oneof![Just(4096usize), 1..100usize],
    ) {
        let (mut stream, mut ends) = (Vec::new(), vec![0]);
        for size in sizes {
            stream.extend(record(23, size));
            ends.push(stream.len());
        }
        let all = read_all(&stream, &pieces, room, |all, below| {
            // The rest of a record that was given on in part is there.
            let end = *ends.iter().find(|end| **end >= all.len()).unwrap();
            assert_eq!(below.is_between_records(), end == all.len());
            assert_eq!(below.left, end - all.len());
            assert!(below.held().len() >= below.left);
        });
        prop_assert!(all == stream);
    }

    #[test]
    fn what_is_no_record_comes_as_it_is(
        noise in prop::collection::vec(any::<u8>(), 1..3000), pieces in prop::collection::vec(1..900usize, 1..5),
        first in prop_oneof![0..20u8, 25..=255u8],
    ) {
        let mut stream = record(22, 30);
        stream.push(first);
        stream.extend(noise);
        let all = read_all(&stream, &pieces, 4096, |_, _| {});
        prop_assert!(all == stream);
    }
}

#[test]
fn nothing_is_held_once_all_was_read() {
    let stream = [record(22, 6000), record(23, 17), record(23, 9000)].concat();
    read_all(&stream, &[100], 4096, |all, below| {
        if all.len() == stream.len() {
            assert_eq!(below.held.capacity(), 0);
        }
    });
}

#[test]
fn a_part_at_the_end_is_no_more_than_the_end() {
    let stream = [record(23, 10), record(23, 100)].concat();
    for cut in 16..stream.len() {
        assert_eq!(read_all(&stream[..cut], &[7], 4096, |_, _| {}), record(23, 10));
    }
}
