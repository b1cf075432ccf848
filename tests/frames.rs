//! Frames on their way through: followed and not touched, judged and limited where a route asks for it, and never
//! anything of ours within one.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly
#![allow(clippy::needless_pass_by_value)] // rows read better without `&`

mod kit;

use std::thread;
use std::time::{Duration, Instant};

use kit::*;
use rustix::process::Signal;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

fn around(head: &str) -> Around {
    Around::new(PLAIN, head)
}

/// A Close as an endpoint writes it.
fn close(code: u16, reason: &str, masked: bool) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat(), masked)
}

// --- what passes by default ------------------------------------------------------------------------------

#[test]
fn by_default_whatever_breaks_the_rules_passes_as_it_is() {
    let around = around("");
    let (mut client, mut server) = around.open();
    let wild = [
        frame(TEXT, b"not masked", false),
        frame(3, b"a reserved opcode", true),
        frame(0x71, b"every RSV bit", true),
        frame(0, b"a continuation of nothing", true),
        vec![0x09, 0x80, 1, 2, 3, 4],                // a Ping in fragments
        vec![0x89, 0xfe, 0, 3, 1, 2, 3, 4, 5, 6, 7], // a Ping whose length is not minimal
        frame(TEXT, &[0xff; 10], true),
    ]
    .concat();
    client.send(&wild);
    server.expect(&wild);
    server.send(frame(TEXT, b"masked by a server", true));
    client.expect(frame(TEXT, b"masked by a server", true));
    client.send(close(1005, "", true));
    server.expect(close(1005, "", true));
}

#[test]
fn a_stream_that_cannot_be_followed_goes_on_and_its_record_says_since_when_and_why() {
    let around = around("");
    let (mut client, mut server) = around.open();
    let good = frame(BINARY, b"good", true);
    let endless = [vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], pattern(100_000)].concat();
    client.send([good.clone(), endless.clone()].concat());
    server.expect([good, endless].concat());
    client.fin();
    server.expect_fin();
    server.fin();
    let line = around.assert_ended("client", "fin");
    assert_eq!(line.count("messages_from_client"), 1, "{}", line.raw);
    assert!(line.text("opaque_from_client").starts_with("from byte 10 on: "), "{}", line.raw);
}

#[test]
fn the_record_of_a_tunnel_tells_both_closes_and_what_was_counted() {
    let around = around("");
    let (mut client, mut server) = around.open();
    client.send([frame(TEXT, b"one", true), frame(BINARY, &[7; 3000], true), frame(PING, b"x", true)].concat());
    server.read_frame();
    server.read_frame();
    server.read_frame();
    server.send(frame(TEXT, b"hello", false));
    client.read_frame();
    client.send(close(4001, "enough", true));
    assert_eq!(server.read_frame(), (0x88, b"\x0f\xa1enough".to_vec()));
    server.send(close(1000, "", false));
    server.fin();
    client.expect_close_and_fin(1000);
    client.fin();
    let line = around.assert_ended("client", "fin");
    let count = |field: &str| line.count(field);
    assert_eq!((count("messages_from_client"), count("messages_from_backend")), (2, 1), "{}", line.raw);
    assert_eq!((count("largest_from_client"), count("largest_from_backend")), (3000, 5), "{}", line.raw);
    assert_eq!((count("close_from_client"), count("close_from_backend")), (4001, 1000), "{}", line.raw);
    assert_eq!(line.text("close_reason_from_client"), "enough", "{}", line.raw);
}

#[test]
fn hixie_75_has_other_frames_and_gets_none_of_ours() {
    let backend = Backend::by_hand();
    let text = "
        websocket.ping = \"50ms\"
        [[listen]]
        address = \"127.0.0.1:0\"
        [[route]]
        backend = \"{backend}\"
        legacy_drafts = true";
    let proxy = Proxy::setup(text).put("backend", backend.url()).start();
    let offer = Offer::new().without("Sec-WebSocket-Key").without("Sec-WebSocket-Version");
    let mut client = proxy.connect_and_send(offer.bytes());
    let mut server = backend.take();
    server.read_head();
    server.send("HTTP/1.1 101 Web Socket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!(client.read_head().status(), 101);
    client.expect_silence(Duration::from_millis(200));
    server.send(b"\x00hello\xff");
    client.expect(b"\x00hello\xff");
    server.fin();
    client.expect_fin();
    let line = proxy.wait_for_message("tunnel closed", 0);
    assert!(line.text("opaque_from_client").contains("draft"), "{}", line.raw);
}

// --- Close in the place of one that did not come -----------------------------------------------------------

#[test]
fn a_backend_that_ends_without_a_close_is_told_of_as_1012() {
    let around = around("");
    let (mut client, mut server) = around.open();
    server.send(frame(TEXT, b"last", false));
    server.fin();
    assert_eq!(client.read_frame().1, b"last");
    client.expect_close_and_fin(1012);
    client.send(close(1012, "", true)); // as the RFC wants it; it goes on to a backend that may still read
    server.expect_close(1012);
    client.fin();
    around.assert_ended("backend", "fin");
}

#[test]
fn a_backend_that_is_lost_is_told_of_as_1011() {
    let around = around("");
    let (mut client, server) = around.open();
    server.reset();
    client.expect_close_and_fin(1011);
    client.fin();
    around.assert_ended("backend", "reset");
}

#[test]
fn within_a_frame_a_clean_end_is_just_the_fin_and_a_loss_is_a_reset() {
    let around = around("");
    let part = &frame(BINARY, &[1; 100], false)[..50];
    let (mut client, mut server) = around.open();
    server.send(part);
    server.fin();
    client.expect(part);
    client.expect_fin();
    let (mut client, mut server) = around.open();
    server.send(part);
    client.expect(part);
    server.reset();
    client.expect_reset();
}

#[test]
fn behind_a_close_of_the_backend_nothing_is_added() {
    let around = around("");
    let (mut client, mut server) = around.open();
    server.send(close(4000, "", false));
    server.fin();
    client.expect_close_and_fin(4000);
}

#[test]
fn shutdown_tells_both_sides_with_1001_and_the_client_may_answer() {
    let mut around = around("");
    let (mut client, mut server) = around.open();
    around.proxy.signal(Signal::TERM);
    client.expect_close_and_fin(1001);
    server.expect_close_and_fin(1001);
    client.send(close(1001, "", true));
    client.fin();
    server.send(close(1001, "", false));
    server.fin();
    assert_eq!(around.proxy.wait_exit(LIMIT).code(), Some(0));
    let line = around.assert_ended("spliceway", "shutdown");
    assert_eq!((line.count("close_from_client"), line.count("close_from_backend")), (1001, 1001), "{}", line.raw);
}

#[test]
fn at_shutdown_a_frame_under_way_is_finished_first_and_waited_for_two_seconds_at_most() {
    let around = around("");
    let (mut client, mut server) = around.open();
    let whole = frame(BINARY, &[9; 1000], false);
    server.send(&whole[..300]);
    client.expect(&whole[..300]);
    let (mut stuck_client, mut stuck_server) = around.open();
    stuck_server.send(&whole[..10]);
    stuck_client.expect(&whole[..10]);
    let since = Instant::now();
    around.proxy.signal(Signal::TERM);
    server.expect_close(1001); // the way up had nothing under way
    client.expect_silence(SILENCE);
    server.send(&whole[300..]);
    client.expect(&whole[300..]);
    client.expect_close_and_fin(1001);
    stuck_client.expect_fin();
    assert!((1900..4000).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
}

// --- enforce ------------------------------------------------------------------------------------------------

rows! { enforce_closes_on_what_the_rfc_forbids {
    enforce_closes_on_a_clients_frame_that_is_not_masked: frame(TEXT, b"x", false), 1002, "not masked";
    enforce_closes_on_a_reserved_opcode: frame(3, b"x", true), 1002, "opcode";
    enforce_closes_on_an_rsv_bit_without_an_extension: frame(0x40 | TEXT, b"x", true), 1002, "RSV";
    enforce_closes_on_a_continuation_of_nothing: frame(0, b"x", true), 1002, "continuation";
    enforce_closes_on_a_message_within_a_message: [vec![0x01, 0x80, 0, 0, 0, 0], frame(TEXT, b"x", true)].concat(), 1002, "within";
    enforce_closes_on_a_length_that_is_not_minimal: vec![0x82, 0xfe, 0, 5, 1, 2, 3, 4, 5, 6, 7, 8, 9], 1002, "minimal";
    enforce_closes_on_a_length_with_the_top_bit: vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 1002, "minimal";
    enforce_closes_on_a_control_frame_in_fragments: vec![0x09, 0x80, 0, 0, 0, 0], 1002, "fragments";
    enforce_closes_on_a_control_frame_that_is_too_long: frame(PING, &[0; 126], true), 1002, "125";
    enforce_closes_on_a_close_code_that_may_not_be_sent: close(1006, "", true), 1002, "code";
    enforce_closes_on_a_close_of_one_byte: frame(CLOSE, b"x", true), 1002, "code";
    enforce_closes_on_a_close_reason_that_is_not_utf_8: frame(CLOSE, b"\x03\xe8\xff", true), 1007, "UTF-8";
}}

fn enforce_closes_on_what_the_rfc_forbids(bad: Vec<u8>, code: u16, why: &str) {
    let around = around("websocket.enforce = true");
    for single_bytes in [false, true] {
        let (mut client, mut server) = around.open();
        let good = frame(TEXT, b"good", true);
        client.send(&good);
        server.expect(&good);
        // What a message within a message needs first is legal.
        let offending = if bad[0] == 0x01 { 7 } else { bad.len() };
        if single_bytes {
            client.send_in_single_bytes(&bad);
        } else {
            client.send(&bad);
        }
        server.expect(&bad[..bad.len() - offending]);
        client.expect_close_and_fin(code);
        server.expect_close_and_fin(code);
        server.fin();
        client.fin();
        let line = around.proxy.wait_for_message("tunnel closed", usize::from(single_bytes));
        assert_eq!((line.text("ended_by"), line.text("how")), ("spliceway".to_owned(), "violation".to_owned()), "{}", line.raw);
        assert_eq!(line.text("fault"), "client", "{}", line.raw);
        assert!(line.text("why").contains(why), "{}", line.raw);
    }
}

#[test]
fn enforce_lets_the_answer_to_what_was_right_go_before_the_close() {
    let around = around("websocket.enforce = true");
    let (mut client, mut server) = around.open();
    client.send([frame(TEXT, b"good", true), frame(3, b"bad", true)].concat());
    server.expect(frame(TEXT, b"good", true));
    server.expect_close_and_fin(1002);
    client.expect_silence(SILENCE);
    // Some servers answer 1000 to whatever they are told; the client is told what it did.
    server.send([frame(TEXT, b"good", false), close(1000, "", false)].concat());
    server.fin();
    client.expect(frame(TEXT, b"good", false));
    client.expect_close_and_fin(1002);
    client.fin();
    let line = around.assert_ended("spliceway", "violation");
    assert_eq!((line.text("fault").as_str(), line.count("close_from_backend")), ("client", 1000), "{}", line.raw);
}

#[test]
fn enforce_closes_with_the_code_where_the_backend_ends_without_a_close() {
    let around = around("websocket.enforce = true");
    let (mut client, mut server) = around.open();
    client.send(frame(3, b"bad", true));
    server.expect_close_and_fin(1002);
    server.fin();
    client.expect_close_and_fin(1002);
}

#[test]
fn enforce_judges_the_backend_too() {
    let around = around("websocket.enforce = true");
    let (mut client, mut server) = around.open();
    server.send([frame(TEXT, b"good", false), frame(TEXT, b"masked", true)].concat());
    assert_eq!(client.read_frame().1, b"good");
    client.expect_close_and_fin(1002);
    server.expect_close_and_fin(1002);
    server.fin();
    client.fin();
    assert_eq!(around.assert_ended("spliceway", "violation").text("fault"), "backend");
}

#[test]
fn enforce_lets_through_what_keeps_the_rules_with_and_without_compression() {
    let around = around("websocket.enforce = true");
    let mut client = around.connect();
    client.send(Offer::new().line("Sec-WebSocket-Extensions: permessage-deflate").bytes());
    let mut server = around.backend.take();
    let offer = server.read_head();
    let granted = answer_101(&offer).replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    server.send(granted);
    client.read_head();
    let legal = [
        frame(0x40 | TEXT, b"compressed, as far as anybody can tell", true),
        vec![0x01, 0x82, 0, 0, 0, 0, b'h', b'i'],
        frame(PING, b"between fragments", true),
        vec![0x80, 0x80, 0, 0, 0, 0],
        frame(BINARY, &pattern(70_000), true),
        close(4999, "caf\u{e9}", true),
    ]
    .concat();
    client.send(&legal);
    server.expect(&legal);
    client.fin();
    server.expect_fin();
    // RSV1 belongs to the first frame of a message alone.
    let (mut client, mut server) = around.open();
    client.send(frame(0x40 | PING, b"", true));
    client.expect_close(1002);
    server.expect_close(1002);
}

// --- limits -------------------------------------------------------------------------------------------------

#[test]
fn max_message_lets_through_what_is_as_long_and_not_a_byte_more() {
    let around = around("websocket.max_message = \"100KiB\"");
    let (mut client, mut server) = around.open();
    let longest = frame(BINARY, &pattern(100 << 10), true);
    client.send([longest.clone(), longest.clone()].concat());
    server.expect([longest.clone(), longest].concat());
    // By its header alone, of which not a byte goes on.
    client.send(&frame(BINARY, &pattern((100 << 10) + 1), true)[..14]);
    client.expect_close_and_fin(1009);
    server.expect_close_and_fin(1009);
    server.fin();
    client.fin();
    let line = around.assert_ended("spliceway", "violation");
    assert!(line.text("why").contains("long"), "{}", line.raw);
}

#[test]
fn max_message_is_the_sum_of_the_fragments_and_holds_for_the_backend_too() {
    let around = around("websocket.max_message = \"1000B\"");
    let (mut client, mut server) = around.open();
    let mut first = frame(TEXT, &[b'a'; 600], false);
    first[0] &= 0x7f;
    server.send([first.clone(), frame(PING, &[0; 125], false)].concat());
    client.expect([first, frame(PING, &[0; 125], false)].concat());
    server.send(frame(0, &[b'b'; 401], false));
    client.expect_close_and_fin(1009);
    server.expect_close_and_fin(1009);
}

#[test]
fn beyond_max_message_a_direction_within_a_frame_is_cut_after_two_seconds() {
    let around = around("websocket.max_message = \"1000B\"\ntimeouts.linger = \"100ms\"");
    let (mut client, mut server) = around.open();
    let part = &frame(BINARY, &[5; 900], false)[..100];
    server.send(part);
    client.expect(part);
    let since = Instant::now();
    client.send(frame(BINARY, &[6; 1001], true));
    server.expect_close_and_fin(1009);
    client.expect_fin();
    assert!((1900..4000).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
}

/// How long so many messages take from end to end.
fn time_for(client: &mut Conn, server: &mut Conn, messages: usize, payload: &[u8]) -> Duration {
    let one = frame(TEXT, payload, true);
    let since = Instant::now();
    let all = one.repeat(messages);
    let (mut sender, mut receiver) = (client.both().1, server.both().1);
    thread::scope(|scope| {
        let sent = all.clone();
        scope.spawn(move || sender.send(sent));
        receiver.expect(&all);
    });
    since.elapsed()
}

#[test]
fn max_messages_per_second_makes_a_client_wait_behind_its_message_burst() {
    let around = around("websocket = { max_messages_per_second = 20, message_burst = 10 }");
    let (mut client, mut server) = around.open();
    let took = time_for(&mut client, &mut server, 30, b"hello");
    assert!((950..3000).contains(&took.as_millis()), "10 at once and 20 more at 20 a second: {took:?}");
    client.send(close(1000, "", true));
    server.expect_close(1000); // a control frame does not wait
}

#[test]
fn a_client_that_has_to_wait_behind_a_stalled_backend_costs_no_time_and_loses_nothing() {
    let around = around("websocket = { max_messages_per_second = 4000, message_burst = 4 }\nthreads = 1");
    let (mut client, mut server) = around.open();
    server.receive_buffer(64 << 10); // or the kernel takes tens of megabytes for it
    // Small messages, so that what is read at once always holds more of them than may go: whatever the server's side
    // refuses, refuses a part of that. And more than all buffers on the way take.
    let all = frame(BINARY, &pattern(2 << 10), true).repeat(8000);
    let (mut sender, sent) = (client.both().1, all.clone());
    let sending = thread::spawn(move || sender.send(sent));
    thread::sleep(Duration::from_millis(1500));
    let before = around.proxy.cpu();
    thread::sleep(Duration::from_secs(1));
    let used = around.proxy.cpu().saturating_sub(before);
    assert!(used < Duration::from_millis(300), "{used:?} of a second");
    server.expect(&all);
    sending.join().unwrap();
}

#[test]
fn behind_the_end_of_the_backend_what_had_to_wait_goes_at_once() {
    let around = around("websocket = { max_messages_per_second = 1, message_burst = 1 }");
    let (mut client, mut server) = around.open();
    let since = Instant::now();
    client.send([frame(TEXT, b"one", true), frame(TEXT, b"two", true), frame(TEXT, b"three", true)].concat());
    server.expect(frame(TEXT, b"one", true));
    server.send(close(1000, "", false));
    server.fin();
    client.expect_close_and_fin(1000);
    server.expect([frame(TEXT, b"two", true), frame(TEXT, b"three", true)].concat());
    client.send(close(1000, "", true));
    server.expect_close(1000);
    client.fin();
    let line = around.closed();
    assert_eq!(line.count("close_from_client"), 1000, "{}", line.raw);
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
}

#[test]
fn max_bytes_per_second_makes_a_client_wait_behind_its_byte_burst() {
    let around = around("websocket = { max_bytes_per_second = \"100KiB\", byte_burst = \"50KiB\" }");
    let (mut client, mut server) = around.open();
    let took = time_for(&mut client, &mut server, 15, &[7; 10 << 10]);
    assert!((950..3000).contains(&took.as_millis()), "50 KiB at once and 100 more: {took:?}");
}

#[test]
fn rates_are_for_clients_and_not_for_backends() {
    let around = around("websocket = { max_messages_per_second = 1, max_bytes_per_second = \"1KiB\" }");
    let (mut client, mut server) = around.open();
    let many = frame(TEXT, b"news", false).repeat(10_000);
    server.send(&many);
    client.expect(&many);
}

#[test]
fn over_rate_close_ends_a_client_that_sends_too_many_messages_with_1008() {
    let around = around("websocket = { max_messages_per_second = 5, message_burst = 5, over_rate = \"close\" }");
    let (mut client, mut server) = around.open();
    let one = frame(TEXT, b"x", true);
    client.send(one.repeat(6));
    server.expect(one.repeat(5));
    client.expect_close_and_fin(1008);
    server.expect_close_and_fin(1008);
}

#[test]
fn over_rate_close_ends_a_client_that_sends_too_many_bytes_with_1008() {
    let around = around("websocket = { max_bytes_per_second = \"10KiB\", byte_burst = \"20KiB\", over_rate = \"close\" }");
    let (mut client, mut server) = around.open();
    let one = frame(BINARY, &[1; 15 << 10], true);
    client.send(one.repeat(3));
    server.expect(one.repeat(2)); // the second is begun in time
    client.expect_close_and_fin(1008);
    server.expect_close_and_fin(1008);
}

#[test]
fn a_key_of_a_route_takes_the_place_of_the_files() {
    let backend = Backend::by_hand();
    let text = "
        websocket.max_message = \"10B\"
        [[listen]]
        address = \"127.0.0.1:0\"
        [[route]]
        path = \"/chat\"
        backend = \"{backend}\"
        max_message = \"off\"
        [[route]]
        path = \"/small\"
        backend = \"{backend}\"";
    let proxy = Proxy::setup(text).put("backend", backend.url()).start();
    let open = |path: &str| {
        let mut client = proxy.connect();
        client.send(Offer::new().first(&format!("GET {path} HTTP/1.1")).bytes());
        let mut server = backend.take();
        let offer = server.read_head();
        server.send(answer_101(&offer));
        client.read_head();
        (client, server)
    };
    let eleven = frame(BINARY, &[0; 11], true);
    let (mut client, mut server) = open("/chat");
    client.send(&eleven);
    server.expect(&eleven);
    let (mut client, mut server) = open("/small");
    client.send(&eleven);
    client.expect_close(1009);
    server.expect_close(1009);
}

// --- never within a frame -----------------------------------------------------------------------------------

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }
}

/// The nth message of a side: its length and bytes follow from `n`.
fn message(n: usize, masked: bool) -> Vec<u8> {
    let length = [0, 1, 5, 125, 126, 300, 2000][n * 5 % 7];
    frame(BINARY, &vec![u8::try_from(n % 251).unwrap(); length], masked)
}

/// Sends messages in slices of any size until the other side ends.
fn send_messages(mut conn: Conn, masked: bool, seed: u64) {
    let mut chance = Chance(seed);
    let mut left = Vec::new();
    for n in 0.. {
        left.extend(message(n, masked));
        while left.len() > 200 {
            let slice: Vec<u8> = left.drain(..=chance.below(left.len())).collect();
            if conn.try_send(slice).is_err() {
                return;
            }
            if chance.below(4) == 0 {
                thread::sleep(Duration::from_micros(300));
            }
        }
    }
}

/// Reads messages and checks each byte: they are the other side's, in order and whole, with Pings between them,
/// and a Close with 1001 behind which nothing comes. How many Pings there were.
fn check_messages(conn: &mut Conn, masked: bool) -> usize {
    let (mut n, mut pings) = (0, 0);
    loop {
        let (first, payload) = conn.read_frame();
        match first {
            0x89 => {
                assert_eq!(payload.len(), 8);
                pings += 1;
            }
            0x88 => {
                assert_eq!(payload, [3, 0xe9]);
                conn.expect_fin();
                return pings;
            }
            _ => {
                let whole = frame(first & 0x0f, &payload, masked);
                assert_eq!(whole, message(n, masked), "message {n}");
                n += 1;
            }
        }
    }
}

#[test]
fn a_ping_or_a_close_never_stands_within_a_frame_in_a_thousand_runs() {
    const ABREAST: usize = 50;
    const RUNS: usize = 20;
    let around = around(
        "websocket = { ping = \"3ms\", ping_backend = \"3ms\", max_age = \"60ms\", max_age_jitter = \"50ms\" }\ntimeouts.linger = \"100ms\"",
    );
    let pings = std::sync::atomic::AtomicUsize::new(0);
    for run in 0..RUNS {
        let tunnels: Vec<_> = (0..ABREAST).map(|_| around.open()).collect();
        thread::scope(|scope| {
            for (n, (client, server)) in tunnels.into_iter().enumerate() {
                let seed = (run * ABREAST + n + 1) as u64;
                // One side speaks at a time, or its bytes would be all the life that a Ping asks for.
                let (speaker, mut listener, masked) = if n % 2 == 0 { (server, client, false) } else { (client, server, true) };
                let pings = &pings;
                scope.spawn(move || {
                    let (mut ended, sender) = speaker.split();
                    thread::scope(|scope| {
                        scope.spawn(move || send_messages(sender, masked, seed));
                        pings.fetch_add(check_messages(&mut listener, masked), std::sync::atomic::Ordering::Relaxed);
                        listener.fin();
                        let (first, _) = loop {
                            let frame = ended.read_frame();
                            if frame.0 != 0x89 {
                                break frame;
                            }
                        };
                        assert_eq!(first, 0x88, "the silent way has its Close too");
                        drop(ended); // ends the sender
                        drop(listener);
                    });
                });
            }
        });
    }
    let pings = pings.into_inner();
    assert!(pings > ABREAST * RUNS / 2, "too few Pings for the test to mean anything: {pings}");
}

#[test]
fn pongs_of_both_kinds_keep_apart() {
    let around = around("websocket.ping = \"100ms\"");
    let (mut client, mut server) = around.open();
    let (first, ours) = client.read_frame();
    assert_eq!((first, ours.len()), (0x89, 8));
    server.send(frame(PING, b"theirs", false));
    assert_eq!(client.read_frame(), (0x89, b"theirs".to_vec()));
    client.send([frame(PONG, &ours, true), frame(PONG, b"theirs", true), frame(TEXT, b"x", true)].concat());
    server.expect([frame(PONG, b"theirs", true), frame(TEXT, b"x", true)].concat());
}
