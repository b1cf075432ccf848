//! HTTP/2 clients that flood: what costs them nothing must not cost us much, nor their neighbours anything.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use kit::*;

/// So much may an attack have taken.
const BOUND: u64 = 24 << 20;

/// Sends this burst as often as it is taken, at most so many times; the kinds of frames that come back, and the end.
#[track_caller]
fn flood(proxy: &Proxy, bursts: usize, burst: impl Fn(usize) -> Vec<u8>) -> (usize, Vec<u8>) {
    let idle = proxy.resident();
    let mut client = Frames::connect(proxy.address(0));
    client.send(kind::SETTINGS, 1, 0, b"");
    let mut sent = 0;
    while sent < bursts && client.0.try_send(burst(sent)).is_ok() {
        sent += 1;
    }
    let grown = proxy.resident().saturating_sub(idle);
    assert!(grown < BOUND, "{grown} bytes more");
    client.0.fin();
    let (kinds, _) = client.read_to_end();
    let neighbour = H2::connect(proxy.address(0));
    assert_eq!(neighbour.get("http://a/").status, 200);
    (sent, kinds)
}

fn served() -> (Backend, Proxy) {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before(&backend);
    assert_eq!(H2::connect(proxy.address(0)).get("http://a/").status, 200); // warm
    (backend, proxy)
}

#[test]
fn requests_that_are_reset_at_once_end_the_connection() {
    let (_backend, proxy) = served();
    let pairs = |burst: usize| {
        let streams = (burst * 500..burst * 500 + 500).map(|n| u32::try_from(2 * n + 1).unwrap());
        let get = b"\x82\x86\x84\x41\x01x";
        let pair = |id| [raw_frame(kind::HEADERS, 0x5, id, get), raw_frame(kind::RST_STREAM, 0, id, &[0, 0, 0, 8])].concat();
        streams.flat_map(pair).collect()
    };
    let (_, kinds) = flood(&proxy, 200, pairs);
    assert!(kinds.contains(&kind::GOAWAY), "{kinds:?}");
}

#[test]
fn streams_that_break_the_protocol_one_after_the_other_end_the_connection() {
    let (_backend, proxy) = served();
    // A window update of 0 makes us reset the stream (CVE-2025-8671).
    let pairs = |burst: usize| {
        let streams = (burst * 500..burst * 500 + 500).map(|n| u32::try_from(2 * n + 1).unwrap());
        let get = b"\x82\x86\x84\x41\x01x";
        let pair = |id| [raw_frame(kind::HEADERS, 0x5, id, get), raw_frame(kind::WINDOW_UPDATE, 0, id, &[0; 4])].concat();
        streams.flat_map(pair).collect()
    };
    let (_, kinds) = flood(&proxy, 200, pairs);
    assert!(kinds.contains(&kind::GOAWAY), "{kinds:?}");
}

rows! { answers_that_nobody_reads_are_bounded {
    answers_that_nobody_reads_are_bounded_to_pings: kind::PING, 8;
    answers_that_nobody_reads_are_bounded_to_settings: kind::SETTINGS, 0;
}}

fn answers_that_nobody_reads_are_bounded(kind: u8, length: usize) {
    let (_backend, proxy) = served();
    flood(&proxy, 300, |_| raw_frame(kind, 0, 0, &vec![0; length]).repeat(1000));
}

#[test]
fn data_frames_without_data_end_the_connection() {
    let (_backend, proxy) = served();
    let burst = |n: usize| {
        let head = raw_frame(kind::HEADERS, 0x4, 1, b"\x83\x86\x84\x41\x01x"); // POST /
        let empty = raw_frame(kind::DATA, 0, 1, b"").repeat(1000);
        if n == 0 { [head, empty].concat() } else { empty }
    };
    let (_, kinds) = flood(&proxy, 300, burst);
    assert!(kinds.contains(&kind::GOAWAY) || kinds.contains(&kind::RST_STREAM), "{kinds:?}");
}
