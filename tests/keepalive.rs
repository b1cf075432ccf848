//! Silence, age and Pings: who is pinged and when, who is lost and who is not, and what ends by itself.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly
#![allow(clippy::needless_pass_by_value)] // rows read better without `&`

mod kit;

use std::thread;
use std::time::{Duration, Instant};

use kit::*;

const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;

const SHORT: &str = "websocket = { ping = \"200ms\", pong_timeout = \"300ms\" }";

/// Reads a Ping of ours and gives its payload.
#[track_caller]
fn our_ping(conn: &mut Conn) -> Vec<u8> {
    let (first, payload) = conn.read_frame();
    assert_eq!((first, payload.len()), (0x89, 8), "{payload:x?}");
    payload
}

rows! { a_silent_client_is_pinged_and_its_pong_goes_no_further {
    a_silent_client_is_pinged_and_its_pong_goes_no_further_ws: PLAIN;
    a_silent_client_is_pinged_and_its_pong_goes_no_further_wss: WSS;
}}

fn a_silent_client_is_pinged_and_its_pong_goes_no_further(over: Over) {
    let around = Around::new(over, SHORT);
    let (mut client, mut server) = around.open();
    let since = Instant::now();
    let mut payloads = Vec::new();
    for _ in 0..4 {
        let payload = our_ping(&mut client);
        client.send(frame(PONG, &payload, true));
        payloads.push(payload);
    }
    assert!(since.elapsed() >= Duration::from_millis(750), "each after 200 ms of silence: {:?}", since.elapsed());
    payloads.dedup();
    assert_eq!(payloads.len(), 4, "a payload is used once");
    server.expect_silence(SILENCE);
    client.send(frame(TEXT, b"hello", true));
    server.expect(frame(TEXT, b"hello", true));
    client.fin();
    server.fin();
    let line = around.closed();
    let (min, median, max) = (line.number("ping_ms_min"), line.number("ping_ms_median"), line.number("ping_ms_max"));
    assert!(0.0 < min && min <= median && median <= max && max < 5000.0, "{}", line.raw);
}

#[test]
fn a_client_that_speaks_is_not_pinged() {
    let around = Around::new(PLAIN, SHORT);
    let (mut client, mut server) = around.open();
    for _ in 0..12 {
        client.send(frame(TEXT, b"x", true));
        server.expect(frame(TEXT, b"x", true));
        client.expect_silence(Duration::from_millis(50));
    }
}

#[test]
fn ping_off_means_none() {
    let around = Around::new(PLAIN, "websocket.ping = \"off\"");
    let (mut client, _server) = around.open();
    client.expect_silence(Duration::from_millis(600));
}

rows! { a_client_without_a_sign_of_life_is_lost_after_pong_timeout {
    a_client_without_a_sign_of_life_is_lost_after_pong_timeout_ws: PLAIN;
    a_client_without_a_sign_of_life_is_lost_after_pong_timeout_wss: WSS;
}}

fn a_client_without_a_sign_of_life_is_lost_after_pong_timeout(over: Over) {
    let around = Around::new(over, SHORT);
    let (mut client, mut server) = around.open();
    our_ping(&mut client);
    let since = Instant::now();
    server.expect_reset();
    assert!((250..2500).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
    client.expect_reset();
    around.assert_ended("client", "lost");
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let around = Around::new(PLAIN, SHORT);
    let (mut client, mut server) = around.open();
    for _ in 0..4 {
        our_ping(&mut client);
        client.send(frame(TEXT, b"busy", true)); // and never a Pong
        server.expect(frame(TEXT, b"busy", true));
    }
}

#[test]
fn while_a_ping_of_the_backend_is_unanswered_there_is_none_of_ours_and_the_newest_answered_alone_is_enough() {
    let around = Around::new(PLAIN, "websocket = { ping = \"250ms\", pong_timeout = \"400ms\" }");
    let (mut client, mut server) = around.open();
    for n in 0..6u8 {
        server.send(frame(PING, &[n, 0], false));
        thread::sleep(Duration::from_millis(100));
        server.send(frame(PING, &[n, 1], false));
        assert_eq!(client.read_frame(), (0x89, vec![n, 0]));
        assert_eq!(client.read_frame(), (0x89, vec![n, 1]));
        thread::sleep(Duration::from_millis(200)); // beyond `ping`, and still no Ping of ours
        client.send(frame(PONG, &[n, 1], true)); // the newest alone (RFC 6455 section 5.5.3)
        server.expect(frame(PONG, &[n, 1], true));
    }
    // A Ping of ours first, then one of the backend: the client answers that alone, and lives.
    our_ping(&mut client);
    server.send(frame(PING, b"newer", false));
    assert_eq!(client.read_frame(), (0x89, b"newer".to_vec()));
    client.send(frame(PONG, b"newer", true));
    server.expect(frame(PONG, b"newer", true));
    our_ping(&mut client);
    client.send(frame(TEXT, b"alive", true));
    server.expect(frame(TEXT, b"alive", true));
}

#[test]
fn a_client_that_we_do_not_read_is_not_lost() {
    let around = Around::new(PLAIN, "websocket = { ping = \"100ms\", pong_timeout = \"150ms\" }");
    let (mut client, mut server) = around.open();
    // The server reads nothing: what the client sends fills both ways, and then we do not read it any more.
    let ring = frame(2, &pattern(64 << 10), true);
    let sent = client.send_until_stalled(&ring, Duration::from_millis(300));
    thread::sleep(Duration::from_secs(1));
    assert!(around.proxy.logs().iter().all(|line| line.message() != "tunnel closed"), "its Pong may stand behind that");
    let mut got = 0;
    while got < sent {
        got += server.read_exact((sent - got).min(1 << 16)).len();
    }
}

#[test]
fn a_slow_client_with_a_full_send_queue_is_not_lost_while_it_takes_bytes() {
    let around = Around::new(PLAIN, "websocket = { ping = \"100ms\", pong_timeout = \"200ms\" }");
    let (mut client, mut server) = around.open();
    let (ring, total) = (frame(2, &pattern(64 << 10), false), 12 << 20);
    let sender = thread::spawn(move || {
        let mut sent = 0;
        while sent < total {
            server.send(&ring);
            sent += ring.len();
        }
        (server, sent)
    });
    // The Ping stands behind megabytes: for two seconds the client takes some and answers nothing.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        client.read_exact(100 << 10);
        thread::sleep(Duration::from_millis(40));
    }
    assert!(around.proxy.logs().iter().all(|line| line.message() != "tunnel closed"));
    client.reset();
    drop(sender);
}

#[test]
fn within_a_huge_frame_there_is_no_ping_and_no_verdict() {
    let around = Around::new(PLAIN, "websocket = { ping = \"100ms\", pong_timeout = \"100ms\" }");
    let (mut client, mut server) = around.open();
    let huge = frame(2, &pattern(300_000), false);
    server.send(&huge[..100_000]);
    client.expect(&huge[..100_000]);
    client.expect_silence(Duration::from_millis(700));
    server.send(&huge[100_000..]);
    client.expect(&huge[100_000..]);
    our_ping(&mut client);
}

#[test]
fn a_ping_stands_between_the_fragments_of_a_message() {
    let around = Around::new(PLAIN, SHORT);
    let (mut client, mut server) = around.open();
    let mut first = frame(TEXT, b"frag", false);
    first[0] &= 0x7f;
    server.send(&first);
    client.expect(&first);
    let payload = our_ping(&mut client);
    client.send(frame(PONG, &payload, true));
    server.send(frame(0, b"ment", false));
    client.expect(frame(0, b"ment", false));
}

#[test]
fn backends_are_not_pinged_unless_ping_backend_says_so() {
    let around = Around::new(PLAIN, "websocket.ping = \"off\"");
    let (_client, mut server) = around.open();
    server.expect_silence(Duration::from_millis(400));
    let around = Around::new(PLAIN, "websocket = { ping = \"off\", ping_backend = \"200ms\", pong_timeout = \"300ms\" }");
    let (mut client, mut server) = around.open();
    for _ in 0..3 {
        let payload = our_ping(&mut server);
        server.send(frame(PONG, &payload, false));
    }
    client.expect_silence(SILENCE);
    our_ping(&mut server); // and now it is silent
    client.expect_close_and_fin(1011);
    client.fin();
    around.assert_ended("backend", "lost");
}

#[test]
fn idle_closes_a_tunnel_without_data_frames_although_there_are_pings() {
    let around = Around::new(PLAIN, "websocket = { ping = \"100ms\", idle = \"700ms\" }");
    let (mut client, mut server) = around.open();
    let since = Instant::now();
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(200));
        server.send(frame(TEXT, b"x", false)); // data either way is none
    }
    let mut data = 0;
    loop {
        let (first, payload) = client.read_frame();
        match first {
            0x89 => client.send(frame(PONG, &payload, true)),
            0x81 => data += 1,
            _ => {
                assert_eq!((first, payload), (0x88, vec![3, 0xe9]));
                break;
            }
        }
    }
    assert_eq!(data, 4);
    assert!((1400..4000).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
    client.expect_fin();
    server.expect_close_and_fin(1001);
    client.fin();
    server.fin();
    around.assert_ended("spliceway", "idle");
}

#[test]
fn max_age_ends_a_tunnel_however_busy_it_is_with_max_age_code() {
    let around = Around::new(PLAIN, "websocket = { max_age = \"500ms\", max_age_jitter = \"0s\", max_age_code = 4444 }");
    let (mut client, mut server) = around.open();
    let since = Instant::now();
    let mut got = 0;
    loop {
        server.try_send(frame(TEXT, b"news", false)).ok();
        let (first, payload) = client.read_frame();
        if first == 0x88 {
            assert_eq!(payload, 4444u16.to_be_bytes());
            break;
        }
        got += 1;
    }
    assert!(got > 10 && (490..3000).contains(&since.elapsed().as_millis()), "{got} messages in {:?}", since.elapsed());
    client.expect_fin();
    client.fin();
    drop(server);
    around.assert_ended("spliceway", "max_age");
}

#[test]
fn max_age_jitter_spreads_the_ends_of_tunnels_that_began_together() {
    let around = Around::new(PLAIN, "websocket = { max_age = \"1500ms\", max_age_jitter = \"1200ms\" }");
    let tunnels: Vec<_> = (0..40).map(|_| around.open()).collect();
    let mut ends: Vec<Duration> = thread::scope(|scope| {
        let wait = |(mut client, server): (Conn, Conn)| {
            let since = Instant::now();
            client.expect_close(1001);
            drop((client, server));
            since.elapsed()
        };
        let waiting: Vec<_> = tunnels.into_iter().map(|tunnel| scope.spawn(move || wait(tunnel))).collect();
        waiting.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    ends.sort();
    let spread = ends[39].saturating_sub(ends[0]);
    assert!(spread > Duration::from_millis(500), "{ends:?}");
    assert!(ends[39] < Duration::from_secs(4), "{ends:?}");
}
