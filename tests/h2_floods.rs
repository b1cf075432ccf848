//! Clients of HTTP/2 that keep a server busy or full without asking for anything: each meets its limit, the log
//! says whose fault it was, and neighbours do not notice.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::time::{Duration, Instant};

use kit::*;

const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PRIORITY: u8 = 2;

/// The budget of frames that carry nothing, for the 128 streams of the default.
const BUDGET: usize = 1024 + 8 * 128;
const MIB: u64 = 1 << 20;

/// GET / by the static table of HPACK.
const GET: &[u8] = b"\x82\x86\x84\x41\x01x";

/// A client past the settings of both sides.
fn frames(proxy: &Proxy) -> Frames {
    let mut frames = Frames::connect(proxy.address(0));
    frames.read_kind(kind::SETTINGS);
    frames.send(kind::SETTINGS, 1, 0, b"");
    frames
}

fn error_of(goaway: &Frame) -> u32 {
    u32::from_be_bytes(goaway.payload[4..8].try_into().unwrap())
}

/// Sends the frame so often, in large writes, and as long as it is taken.
fn pour(frames: &mut Frames, frame: &[u8], times: usize) {
    const AT_ONCE: usize = 128;
    for _ in 0..times.div_ceil(AT_ONCE) {
        if frames.0.try_send(frame.repeat(AT_ONCE)).is_err() {
            return;
        }
    }
}

/// Asserts that the connection ended with a GOAWAY for a flood, that it names the reason where there is one, and
/// that a line of the log holds these words.
#[track_caller]
fn assert_calmed(proxy: &Proxy, frames: &mut Frames, reason: &str, words: &str) {
    let goaway = frames.read_kind(kind::GOAWAY);
    assert_eq!((error_of(&goaway), String::from_utf8_lossy(&goaway.payload[8..]).as_ref()), (ENHANCE_YOUR_CALM, reason));
    let line = proxy.wait_for_log(|line| line.says(words), LIMIT);
    assert_eq!(line.text("fault"), "client", "{}", line.raw);
}

/// A flood of one frame that carries nothing: ended soon after its budget, and a neighbour is answered throughout.
#[track_caller]
fn assert_ends(frame: &[u8]) {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before(&backend);
    let mut neighbour = frames(&proxy);
    let mut flood = frames(&proxy);
    pour(&mut flood, frame, BUDGET / 2);
    answered(&mut neighbour, 1);
    pour(&mut flood, frame, 20 * BUDGET);
    answered(&mut neighbour, 3);
    assert_calmed(&proxy, &mut flood, "", "carry nothing");
    answered(&mut neighbour, 5);
}

/// A GET on this connection is answered.
#[track_caller]
fn answered(frames: &mut Frames, stream: u32) {
    frames.get(stream);
    while frames.read_kind(kind::DATA).flags & END_STREAM == 0 {}
}

#[test]
fn pings_without_end_end_the_connection() {
    assert_ends(&raw_frame(kind::PING, 0, 0, &[0; 8]));
}

#[test]
fn settings_without_end_end_the_connection() {
    assert_ends(&raw_frame(kind::SETTINGS, 0, 0, b""));
}

#[test]
fn settings_of_the_window_without_end_end_the_connection() {
    assert_ends(&raw_frame(kind::SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff"));
}

#[test]
fn priorities_without_end_end_the_connection() {
    assert_ends(&raw_frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]));
}

#[test]
fn window_updates_of_a_byte_without_end_end_the_connection() {
    assert_ends(&raw_frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
}

#[test]
fn unknown_frames_without_end_end_the_connection() {
    assert_ends(&raw_frame(0x16, 0, 0, b"unknown"));
}

#[test]
fn requests_that_are_reset_at_once_end_the_connection() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let mut neighbour = frames(&proxy);
    let mut flood = frames(&proxy);
    for stream in (1..60_001).step_by(2) {
        let get = raw_frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, GET);
        let reset = raw_frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        if flood.0.try_send([get, reset].concat()).is_err() {
            break;
        }
    }
    assert_eq!(error_of(&flood.read_kind(kind::GOAWAY)), ENHANCE_YOUR_CALM);
    let line = proxy.wait_for_log(|line| line.says("floods") || line.says("carry nothing"), LIMIT);
    assert_eq!(line.text("fault"), "client");
    assert!(backend.connections() <= BUDGET, "{}", backend.connections());
    neighbour.send(kind::PING, 0, 0, b"neighbor");
    neighbour.read_kind(kind::PING);
}

#[test]
fn as_many_requests_as_there_are_streams_may_be_given_up_at_once() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let mut client = frames(&proxy);
    for round in 0..4 {
        let streams = (round * 256 + 1..=(round + 1) * 256).step_by(2);
        streams.clone().for_each(|stream| client.get(stream));
        streams.for_each(|stream| client.send(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        let n = usize::try_from(round * 128 + 127).unwrap();
        assert_eq!(proxy.request_record(n).count("status"), 499);
    }
    client.send(kind::PING, 0, 0, b"is alive");
    client.read_kind(kind::PING);
}

#[test]
fn continuations_without_end_end_the_connection() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let mut flood = frames(&proxy);
    flood.send(kind::HEADERS, END_STREAM, 1, GET);
    pour(&mut flood, &raw_frame(kind::CONTINUATION, 0, 1, b""), 10_000);
    assert_calmed(&proxy, &mut flood, "too_many_continuations", "what floods do");
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_head_beyond_all_measure_ends_the_connection_in_little_memory() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let idle = proxy.resident();
    let mut flood = frames(&proxy);
    // One large field enters the dynamic table, then stands in the head 16,000 times, a byte each.
    let field = [b"\x40\x01a\x7f\x81\x1e".as_slice(), &[b'v'; 4000]].concat();
    let bomb = [GET, &field, &[0xbe; 12_000]].concat();
    flood.send(kind::HEADERS, END_STREAM | END_HEADERS, 1, &bomb[..16_000]);
    assert_calmed(&proxy, &mut flood, "header_list_way_too_large", "what floods do");
    assert!(proxy.resident() < idle + 8 * MIB, "{} and then {}", idle, proxy.resident());
    assert_eq!(backend.connections(), 0);
}

#[test]
fn empty_data_without_end_ends_the_connection() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let mut flood = frames(&proxy);
    flood.send(kind::HEADERS, END_HEADERS, 1, b"\x83\x86\x84\x41\x01x");
    pour(&mut flood, &raw_frame(kind::DATA, 0, 1, b""), 10_000);
    assert_calmed(&proxy, &mut flood, "too_many_data_frames", "what floods do");
}

#[test]
fn empty_heads_without_end_end_the_connection() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let mut flood = frames(&proxy);
    for stream in (1..10_001).step_by(2) {
        if flood.0.try_send(raw_frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, b"")).is_err() {
            break;
        }
    }
    assert_calmed(&proxy, &mut flood, "too_many_internal_resets", "what floods do");
    assert_eq!(backend.connections(), 0);
}

#[test]
fn streams_beyond_the_limit_are_refused_and_without_end_end_the_connection() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let mut flood = frames(&proxy);
    (1..258).step_by(2).for_each(|stream| flood.get(stream));
    let refused = flood.read_kind(kind::RST_STREAM);
    assert_eq!((refused.stream, refused.payload.as_slice()), (257, REFUSED_STREAM.to_be_bytes().as_slice()));
    for stream in (259..10_001).step_by(2) {
        if flood.0.try_send(raw_frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, GET)).is_err() {
            break;
        }
    }
    assert_calmed(&proxy, &mut flood, "too_many_internal_resets", "what floods do");
    assert!(backend.connections() <= 128, "{}", backend.connections());
}

#[test]
fn a_window_that_is_never_opened_holds_the_answer_and_nobody_else() {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before_with(&backend, "timeouts.send = \"1s\"\n", "");
    let mut shut = frames(&proxy);
    shut.send(kind::SETTINGS, 0, 0, b"\0\x04\0\0\0\0"); // INITIAL_WINDOW_SIZE 0
    shut.get(1);
    assert_eq!(shut.read_kind(kind::HEADERS).stream, 1);
    answered(&mut frames(&proxy), 1);
    let reset = shut.read_kind(kind::RST_STREAM);
    assert_eq!(reset.stream, 1, "the answer is given up after timeouts.send");
}

#[test]
fn a_window_of_a_byte_at_a_time_is_served() {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before(&backend);
    let mut client = frames(&proxy);
    client.send(kind::SETTINGS, 0, 0, b"\0\x04\0\0\0\x01");
    client.get(1);
    let mut body = Vec::new();
    while body.len() < 4 {
        body.extend(client.read_kind(kind::DATA).payload);
        client.send(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    }
    assert_eq!(body, b"fine");
}

#[test]
fn a_window_of_less_than_nothing_breaks_the_rules() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let mut client = frames(&proxy);
    client.send(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0]);
    assert_eq!(error_of(&client.read_kind(kind::GOAWAY)), PROTOCOL_ERROR);
    let line = proxy.wait_for_log(|line| line.says("broke the rules of HTTP/2"), LIMIT);
    assert_eq!(line.text("fault"), "client", "{}", line.raw);
}

#[test]
fn half_a_preface_and_half_a_head_end_with_the_time_of_an_unused_connection() {
    let backend = Backend::silent();
    let proxy = Proxy::before_with(&backend, "timeouts.keep_alive = \"1s\"\ntimeouts.head = \"1s\"\n", "");
    let began = Instant::now();
    let mut head = frames(&proxy);
    head.0.send(&raw_frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, GET)[..11]);
    let mut preface = proxy.connect_and_send("PRI * HTTP/2.0\r\n\r\nSM");
    preface.read_to_end();
    head.read_to_end();
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[test]
fn keepalives_and_small_messages_are_no_flood() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..BUDGET {
            conn.send("1\r\nm\r\n");
            conn.expect("1\r\nm\r\n");
        }
        conn.send("0\r\n\r\n");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = frames(&proxy);
    // Messages of a byte both ways, for each of ours a PING and the windows of stream and connection opened again.
    client.send(kind::HEADERS, END_HEADERS, 1, b"\x83\x86\x84\x41\x01x");
    client.send(kind::DATA, 0, 1, b"m");
    for n in 0..BUDGET {
        while client.read_kind(kind::DATA).payload != b"m" {}
        client.send(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
        client.send(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
        if n % 4 == 0 {
            client.send(kind::PING, 0, 0, &[0; 8]);
        }
        if n + 1 < BUDGET {
            client.send(kind::DATA, 0, 1, b"m");
        }
    }
    assert_eq!(client.read_kind(kind::DATA).flags & END_STREAM, END_STREAM);
}
