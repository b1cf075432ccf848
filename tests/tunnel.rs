//! What a tunnel does between its 101 and its end: order, early bytes, half-closes, resets, lingering, records.
//! By hand on both sides. How much it may carry and cost is in `tunnel_load.rs`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly
#![allow(clippy::needless_pass_by_value)] // rows read better without `&` before every value

mod kit;

use std::time::{Duration, Instant};

use kit::*;
use rustix::process::Signal;

/// With the default times.
fn around(over: Over) -> Around {
    Around::new(over, "")
}

const SHORT_LINGER: &str = "timeouts.linger = \"400ms\"";
const LONG_LINGER: &str = "timeouts.linger = \"60s\"";

/// Asserts that a time is about that of a clock: not before it, and not long after it.
#[track_caller]
fn assert_about(since: Instant, clock: Duration) {
    let (taken, late) = (since.elapsed(), clock + Duration::from_secs(3));
    assert!(taken + Duration::from_millis(50) >= clock && taken < late, "after {taken:?}, by a clock of {clock:?}");
}

// --- the bytes around the 101 ---------------------------------------------------------------------------

rows! { frames_in_the_segment_of_the_101_come_first {
    frames_in_the_segment_of_the_101_come_first_plain: PLAIN;
    frames_in_the_segment_of_the_101_come_first_wss: WSS;
    frames_in_the_segment_of_the_101_come_first_from_a_wss_backend: WSS_BACKEND;
    frames_in_the_segment_of_the_101_come_first_wss_on_both_sides: BOTH_WSS;
}}

fn frames_in_the_segment_of_the_101_come_first(over: Over) {
    let around = around(over);
    let early = pattern(14_000); // with the head one record, and one segment on loopback
    let mut client = around.connect();
    client.send(Offer::new().bytes());
    let mut server = around.backend.take();
    let offer = server.read_head();
    server.send([answer_101(&offer).as_bytes(), &early].concat());
    server.send("later");
    assert_eq!(client.read_head().status(), 101);
    client.expect(&early);
    client.expect("later");
}

rows! { client_frames_before_the_101_are_held_in_order {
    client_frames_before_the_101_are_held_in_order_plain: PLAIN;
    client_frames_before_the_101_are_held_in_order_wss: WSS;
    client_frames_before_the_101_are_held_in_order_to_a_wss_backend: WSS_BACKEND;
}}

fn client_frames_before_the_101_are_held_in_order(over: Over) {
    let around = around(over);
    let mut client = around.connect();
    client.send(Offer::new().with_early("one "));
    let mut server = around.backend.take();
    let offer = server.read_head();
    client.send("two ");
    server.expect_silence(SILENCE);
    client.send("three ");
    server.send(answer_101(&offer));
    server.expect("one two three ");
    assert_eq!(client.read_head().status(), 101);
    client.send("four");
    server.expect("four");
    server.send("five");
    client.expect("five");
}

rows! { more_early_bytes_than_are_held_wait_in_the_kernel {
    more_early_bytes_than_are_held_wait_in_the_kernel_plain: PLAIN;
    more_early_bytes_than_are_held_wait_in_the_kernel_wss: WSS;
}}

fn more_early_bytes_than_are_held_wait_in_the_kernel(over: Over) {
    let around = around(over);
    let early = pattern(3 << 20);
    let mut client = around.connect();
    let bytes = Offer::new().with_early(&early);
    let (_reader, mut writer) = client.both();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.send(&bytes));
        let mut server = around.backend.take();
        let offer = server.read_head();
        server.expect_silence(SILENCE);
        server.send(answer_101(&offer));
        server.expect(&early);
    });
    assert_eq!(client.read_head().status(), 101);
}

rows! { one_byte_at_a_time_arrives_each_way {
    one_byte_at_a_time_arrives_each_way_plain: PLAIN;
    one_byte_at_a_time_arrives_each_way_wss: WSS;
    one_byte_at_a_time_arrives_each_way_wss_on_both_sides: BOTH_WSS;
}}

fn one_byte_at_a_time_arrives_each_way(over: Over) {
    let around = around(over);
    let mut client = around.connect();
    client.send_in_single_bytes(Offer::new().bytes());
    let mut server = around.backend.take();
    let offer = server.read_head();
    server.send_in_single_bytes(answer_101(&offer));
    assert_eq!(client.read_head().status(), 101);
    for byte in pattern(500) {
        // Alone on its way: nothing pushes a byte that was left in a buffer.
        client.send([byte]);
        server.expect([byte]);
        server.send([!byte]);
        client.expect([!byte]);
    }
    let bytes = pattern(3000);
    client.send_in_single_bytes(&bytes);
    server.send_in_single_bytes(&bytes);
    server.expect(&bytes);
    client.expect(&bytes);
}

#[test]
fn the_offer_and_the_first_frames_in_one_tls_record_are_two_things() {
    let around = around(WSS);
    let mut client = around.connect();
    let early = pattern(8000);
    client.send(Offer::new().with_early(&early));
    let mut server = around.backend.take();
    let offer = server.read_head();
    server.expect_silence(SILENCE);
    server.send(answer_101(&offer));
    server.expect(&early);
}

// --- the client ends -------------------------------------------------------------------------------------

rows! { a_fin_of_the_client_reaches_the_backend_which_may_go_on {
    a_fin_of_the_client_reaches_the_backend_which_may_go_on_plain: PLAIN;
    a_fin_of_the_client_reaches_the_backend_which_may_go_on_wss: WSS;
    a_fin_of_the_client_reaches_the_backend_which_may_go_on_wss_on_both_sides: BOTH_WSS;
}}

fn a_fin_of_the_client_reaches_the_backend_which_may_go_on(over: Over) {
    let around = Around::new(over, LONG_LINGER);
    let (mut client, mut server) = around.open();
    client.send("last words");
    client.fin();
    server.expect("last words");
    server.expect_fin();
    for _ in 0..20 {
        server.send("still here ");
        client.expect("still here ");
    }
    server.fin();
    client.expect_fin();
    let line = around.assert_ended("client", "fin");
    assert_eq!((line.count("bytes_from_client"), line.count("bytes_from_backend")), (10, 220), "{}", line.raw);
}

rows! { after_a_fin_of_the_client_both_sides_are_closed_when_the_linger_is_over {
    after_a_fin_of_the_client_both_sides_are_closed_when_the_linger_is_over_plain: PLAIN;
    after_a_fin_of_the_client_both_sides_are_closed_when_the_linger_is_over_wss: WSS;
}}

fn after_a_fin_of_the_client_both_sides_are_closed_when_the_linger_is_over(over: Over) {
    let around = Around::new(over, SHORT_LINGER);
    let (mut client, mut server) = around.open();
    let open_files = around.proxy.open_files();
    let since = Instant::now();
    client.fin();
    server.expect_fin();
    server.send("meanwhile");
    client.expect("meanwhile");
    client.expect_fin();
    assert_about(since, Duration::from_millis(400));
    let line = around.assert_ended("client", "fin");
    assert!((0.35..3.5).contains(&line.number("seconds")), "{}", line.raw);
    around.proxy.wait_for_open_files(open_files - 2);
    // The backend finds nobody there: the kernel answers with a reset, which ends writing.
    let until = Instant::now() + LIMIT;
    while server.try_send("is there anybody?").is_ok() {
        assert!(Instant::now() < until, "the proxy's socket is still open");
    }
}

#[test]
fn an_unclean_end_of_a_wss_client_is_a_fin_to_the_backend_and_recorded() {
    let around = Around::new(WSS, LONG_LINGER);
    let (mut client, mut server) = around.open();
    client.send("last words");
    client.cut();
    server.expect("last words");
    server.expect_fin();
    server.send("still here");
    client.expect("still here");
    server.fin();
    client.expect_fin();
    let line = around.assert_ended("client", "unclean");
    assert_eq!((line.count("bytes_from_client"), line.count("bytes_from_backend")), (10, 10), "{}", line.raw);
}

rows! { a_reset_of_the_client_is_a_reset_at_the_backend_behind_its_last_bytes {
    a_reset_of_the_client_is_a_reset_at_the_backend_behind_its_last_bytes_plain: PLAIN;
    a_reset_of_the_client_is_a_reset_at_the_backend_behind_its_last_bytes_wss: WSS;
}}

fn a_reset_of_the_client_is_a_reset_at_the_backend_behind_its_last_bytes(over: Over) {
    let around = Around::new(over, LONG_LINGER);
    for n in 0..10 {
        let (mut client, mut server) = around.open();
        let bytes = pattern(10_000);
        client.send(&bytes);
        client.reset();
        server.expect(&bytes);
        server.expect_reset();
        let line = around.proxy.wait_for_message("tunnel closed", n);
        assert_eq!((line.text("ended_by").as_str(), line.text("how").as_str()), ("client", "reset"), "{}", line.raw);
        assert_eq!(line.count("bytes_from_client"), 10_000, "{}", line.raw);
    }
}

// --- the backend ends ------------------------------------------------------------------------------------

rows! { a_fin_of_the_backend_reaches_the_client_behind_its_last_bytes {
    a_fin_of_the_backend_reaches_the_client_behind_its_last_bytes_plain: PLAIN;
    a_fin_of_the_backend_reaches_the_client_behind_its_last_bytes_wss: WSS;
    a_fin_of_the_backend_reaches_the_client_behind_its_last_bytes_from_a_wss_backend: WSS_BACKEND;
}}

fn a_fin_of_the_backend_reaches_the_client_behind_its_last_bytes(over: Over) {
    let around = Around::new(over, LONG_LINGER);
    let (mut client, mut server) = around.open();
    let bytes = pattern(200_000);
    server.send(&bytes);
    server.fin();
    client.expect(&bytes);
    client.expect_fin();
    // A half-close: what the client still says is delivered while the backend listens.
    client.send("answer");
    server.expect("answer");
    client.fin();
    server.expect_fin();
    let line = around.assert_ended("backend", "fin");
    assert_eq!((line.count("bytes_from_client"), line.count("bytes_from_backend")), (6, 200_000), "{}", line.raw);
}

rows! { late_bytes_of_the_client_are_not_answered_with_a_reset {
    late_bytes_of_the_client_are_not_answered_with_a_reset_plain: PLAIN;
    late_bytes_of_the_client_are_not_answered_with_a_reset_wss: WSS;
}}

fn late_bytes_of_the_client_are_not_answered_with_a_reset(over: Over) {
    let around = Around::new(over, LONG_LINGER);
    let (mut client, mut server) = around.open();
    server.send("goodbye");
    server.fin();
    drop(server); // not a half-close: what comes now is answered with a reset there
    client.expect("goodbye");
    client.expect_fin();
    for _ in 0..50 {
        client.send(pattern(1000));
        client.expect_fin(); // and no reset
    }
    client.fin();
    // What is unread when a socket closes makes a reset: all of it must have been read.
    around.assert_ended("backend", "fin");
    client.expect_fin();
}

rows! { the_end_that_every_server_makes_never_resets_the_client {
    the_end_that_every_server_makes_never_resets_the_client_plain: PLAIN;
    the_end_that_every_server_makes_never_resets_the_client_wss: WSS;
    the_end_that_every_server_makes_never_resets_the_client_wss_on_both_sides: BOTH_WSS;
}}

/// A Close frame, FIN, and the socket is gone; the client's Close frame meets nobody.
fn the_end_that_every_server_makes_never_resets_the_client(over: Over) {
    let around = around(over);
    for n in 0..20 {
        let (mut client, mut server) = around.open();
        let close = frame(8, &[3, 232], false);
        server.send([frame(1, b"bye", false), close.clone()].concat());
        server.fin();
        if n % 2 == 0 {
            drop(server); // at once
            client.expect([frame(1, b"bye", false), close].concat());
            client.send(frame(8, &[3, 232], true));
        } else {
            client.expect([frame(1, b"bye", false), close].concat());
            drop(server); // while the answer is on its way
            client.send(frame(8, &[3, 232], true));
        }
        client.expect_fin();
        client.fin();
        let line = around.proxy.wait_for_message("tunnel closed", n);
        assert_eq!(line.text("ended_by"), "backend", "{}", line.raw);
        client.expect_fin(); // still no reset, with the proxy's socket closed
    }
}

/// Neither has anything to say behind its Close (RFC 6455 section 5.5.1): nobody waits for the other's FIN.
#[test]
fn when_both_have_said_close_the_end_of_one_is_the_end_of_the_tunnel() {
    for by_backend in [true, false] {
        let around = Around::new(PLAIN, LONG_LINGER);
        let (mut client, mut server) = around.open();
        let open_files = around.proxy.open_files();
        let (from_client, from_server) = (frame(8, &[3, 232], true), frame(8, &[3, 232], false));
        client.send(&from_client);
        server.expect(&from_client);
        server.send(&from_server);
        client.expect(&from_server);
        let (ends, other) = if by_backend { (&mut server, &mut client) } else { (&mut client, &mut server) };
        ends.fin();
        other.expect_fin();
        around.assert_ended("client", "fin");
        around.proxy.wait_for_open_files(open_files - 2);
        ends.expect_fin();
        other.expect_fin(); // and no reset
    }
}

/// It still waits for the client's Close: that is not lost.
#[test]
fn a_close_behind_the_end_of_a_backend_still_reaches_it() {
    let around = Around::new(PLAIN, LONG_LINGER);
    let (mut client, mut server) = around.open();
    let (from_client, from_server) = (frame(8, &[3, 232], true), frame(8, &[3, 232], false));
    server.send(&from_server);
    server.fin();
    client.expect(&from_server);
    client.expect_fin();
    client.send(&from_client);
    server.expect(&from_client);
    client.fin();
    server.expect_fin();
    around.assert_ended("backend", "fin");
}

rows! { after_a_fin_of_the_backend_a_silent_client_is_closed_when_the_linger_is_over {
    after_a_fin_of_the_backend_a_silent_client_is_closed_when_the_linger_is_over_plain: PLAIN;
    after_a_fin_of_the_backend_a_silent_client_is_closed_when_the_linger_is_over_wss: WSS;
}}

fn after_a_fin_of_the_backend_a_silent_client_is_closed_when_the_linger_is_over(over: Over) {
    let around = Around::new(over, SHORT_LINGER);
    let (mut client, mut server) = around.open();
    let open_files = around.proxy.open_files();
    let since = Instant::now();
    server.fin();
    client.expect_close_and_fin(1012);
    around.assert_ended("backend", "fin");
    assert_about(since, Duration::from_millis(400));
    around.proxy.wait_for_open_files(open_files - 2);
}

#[test]
fn an_unclean_end_of_a_wss_backend_is_a_fin_to_the_client_and_recorded() {
    let around = Around::new(WSS_BACKEND, LONG_LINGER);
    let (mut client, mut server) = around.open();
    server.send("last words");
    server.cut();
    client.expect("last words");
    client.expect_fin();
    client.fin();
    server.expect_fin();
    around.assert_ended("backend", "unclean");
}

rows! { a_reset_of_the_backend_is_a_reset_at_the_client_behind_its_last_bytes {
    a_reset_of_the_backend_is_a_reset_at_the_client_behind_its_last_bytes_plain: PLAIN;
    a_reset_of_the_backend_is_a_reset_at_the_client_behind_its_last_bytes_wss: WSS;
    a_reset_of_the_backend_is_a_reset_at_the_client_behind_its_last_bytes_from_a_wss_backend: WSS_BACKEND;
}}

fn a_reset_of_the_backend_is_a_reset_at_the_client_behind_its_last_bytes(over: Over) {
    let around = Around::new(over, LONG_LINGER);
    for n in 0..10 {
        let (mut client, mut server) = around.open();
        let bytes = pattern(10_000);
        server.send(&bytes);
        server.reset();
        client.expect(&bytes);
        client.expect_reset();
        let line = around.proxy.wait_for_message("tunnel closed", n);
        assert_eq!((line.text("ended_by").as_str(), line.text("how").as_str()), ("backend", "reset"), "{}", line.raw);
        assert_eq!(line.count("bytes_from_backend"), 10_000, "{}", line.raw);
    }
}

// --- ends with bytes under way ---------------------------------------------------------------------------

/// So long without a byte taken is a stall.
const STALL: Duration = Duration::from_millis(300);

/// Sends until the proxy takes no more; how much it was.
fn fill(to: &mut Conn) -> usize {
    to.send_until_stalled(&pattern(64 << 10), STALL)
}

rows! { a_fin_waits_for_the_bytes_that_a_slow_receiver_has_not_taken {
    a_fin_waits_for_the_bytes_that_a_slow_receiver_has_not_taken_client: PLAIN, true;
    a_fin_waits_for_the_bytes_that_a_slow_receiver_has_not_taken_wss_client: WSS, true;
    a_fin_waits_for_the_bytes_that_a_slow_receiver_has_not_taken_backend: PLAIN, false;
    a_fin_waits_for_the_bytes_that_a_slow_receiver_has_not_taken_wss_backend: WSS_BACKEND, false;
}}

fn a_fin_waits_for_the_bytes_that_a_slow_receiver_has_not_taken(over: Over, to_client: bool) {
    let around = Around::new(over, LONG_LINGER);
    let (client, server) = around.open();
    let (mut sender, mut receiver) = if to_client { (server, client) } else { (client, server) };
    let sent = fill(&mut sender);
    sender.fin();
    drop(sender);
    let mut got = 0;
    let end = receiver.pour(|bytes| got += bytes.len());
    assert_eq!((got, end), (sent, End::Fin));
    receiver.fin();
    around.assert_ended(if to_client { "backend" } else { "client" }, "fin");
}

rows! { a_receiver_that_is_slower_than_the_linger_gets_every_byte {
    a_receiver_that_is_slower_than_the_linger_gets_every_byte_ws: PLAIN;
    a_receiver_that_is_slower_than_the_linger_gets_every_byte_wss: WSS;
}}

fn a_receiver_that_is_slower_than_the_linger_gets_every_byte(over: Over) {
    let around = Around::new(over, SHORT_LINGER);
    let (mut client, mut server) = around.open();
    let sent = fill(&mut server);
    server.fin();
    drop(server);
    let (mut got, pause) = (0, Duration::from_secs(2) / u32::try_from(sent >> 18).unwrap());
    while got < sent {
        let part = (sent - got).min(1 << 18);
        got += client.read_exact(part).len();
        std::thread::sleep(pause); // it is slow
    }
    client.expect_fin();
    let line = around.assert_ended("backend", "fin");
    assert_eq!(line.count("bytes_from_backend"), sent as u64, "{}", line.raw);
}

rows! { a_reset_waits_for_the_bytes_that_a_slow_receiver_has_not_taken {
    a_reset_waits_for_the_bytes_that_a_slow_receiver_has_not_taken_client: PLAIN;
    a_reset_waits_for_the_bytes_that_a_slow_receiver_has_not_taken_wss_client: WSS;
}}

fn a_reset_waits_for_the_bytes_that_a_slow_receiver_has_not_taken(over: Over) {
    let around = Around::new(over, LONG_LINGER);
    let (mut client, mut server) = around.open();
    let sent = fill(&mut server);
    server.reset(); // the kernel forgets what it had not sent
    let mut got = 0;
    let end = client.pour(|bytes| got += bytes.len());
    let line = around.assert_ended("backend", "reset");
    assert_eq!((got as u64, end), (line.count("bytes_from_backend"), End::Reset), "{}", line.raw);
    assert!(got <= sent && got > 100_000, "{got} of {sent}");
}

rows! { a_receiver_that_goes_away_with_bytes_under_way_ends_the_sender {
    a_receiver_that_goes_away_with_bytes_under_way_ends_the_sender_client: PLAIN, true;
    a_receiver_that_goes_away_with_bytes_under_way_ends_the_sender_wss_client: WSS, true;
    a_receiver_that_goes_away_with_bytes_under_way_ends_the_sender_backend: PLAIN, false;
}}

fn a_receiver_that_goes_away_with_bytes_under_way_ends_the_sender(over: Over, to_client: bool) {
    let around = Around::new(over, LONG_LINGER);
    let (client, server) = around.open();
    let open_files = around.proxy.open_files();
    let (mut sender, receiver) = if to_client { (server, client) } else { (client, server) };
    fill(&mut sender);
    receiver.reset();
    if to_client {
        sender.expect_reset();
    } else {
        sender.expect_close_and_fin(1011);
        drop(sender);
    }
    around.assert_ended(if to_client { "client" } else { "backend" }, "reset");
    around.proxy.wait_for_open_files(open_files - 2);
}

rows! { a_direction_that_stands_still_does_not_stop_the_other {
    a_direction_that_stands_still_does_not_stop_the_other_ws: PLAIN;
    a_direction_that_stands_still_does_not_stop_the_other_wss: WSS;
}}

fn a_direction_that_stands_still_does_not_stop_the_other(over: Over) {
    let around = Around::new(over, LONG_LINGER);
    let (mut client, mut server) = around.open();
    let sent = fill(&mut server); // of which the client takes nothing
    let up = pattern(2 << 20);
    let (_, mut writer) = client.both();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.send(&up));
        server.expect(&up);
    });
    assert_eq!(client.read_exact(sent).len(), sent);
}

#[test]
fn a_broken_tls_record_is_a_loss() {
    let around = Around::new(WSS, LONG_LINGER);
    let (mut client, mut server) = around.open();
    client.send("last words");
    server.expect("last words");
    client.send_beneath(&[&[23, 3, 3, 0, 64], pattern(64).as_slice()].concat());
    server.expect_reset();
    let line = around.assert_ended("client", "broken");
    assert_eq!(line.count("bytes_from_client"), 10, "{}", line.raw);
}

#[test]
fn a_receiver_that_takes_nothing_holds_the_tunnel_no_longer_than_the_linger() {
    let around = Around::new(PLAIN, SHORT_LINGER);
    let (mut client, mut server) = around.open();
    let open_files = around.proxy.open_files();
    fill(&mut server);
    let since = Instant::now();
    server.fin();
    client.fin(); // the client is there and reads nothing
    around.closed();
    assert_about(since, Duration::from_millis(400));
    around.proxy.wait_for_open_files(open_files - 2);
}

// --- the proxy ends --------------------------------------------------------------------------------------

rows! { sigterm_ends_tunnels_with_a_fin_each_way {
    sigterm_ends_tunnels_with_a_fin_each_way_plain: PLAIN;
    sigterm_ends_tunnels_with_a_fin_each_way_wss: WSS;
    sigterm_ends_tunnels_with_a_fin_each_way_wss_on_both_sides: BOTH_WSS;
}}

fn sigterm_ends_tunnels_with_a_fin_each_way(over: Over) {
    let mut around = around(over);
    let (mut client, mut server) = around.open();
    client.send("up");
    server.expect("up");
    server.send("down");
    client.expect("down");
    around.proxy.signal(Signal::TERM);
    client.expect_fin();
    server.expect_fin();
    client.send("the end"); // into the linger: read and thrown away
    client.fin();
    server.fin();
    let status = around.proxy.wait_exit(LIMIT);
    assert_eq!(status.code(), Some(0));
    client.expect_fin();
    let line = around.assert_ended("spliceway", "shutdown");
    assert_eq!((line.count("bytes_from_client"), line.count("bytes_from_backend")), (2, 4), "{}", line.raw);
}

rows! { sigterm_delivers_every_byte_that_was_read {
    sigterm_delivers_every_byte_that_was_read_plain: PLAIN;
    sigterm_delivers_every_byte_that_was_read_wss: WSS;
}}

fn sigterm_delivers_every_byte_that_was_read(over: Over) {
    let mut around = around(over);
    let (mut client, mut server) = around.open();
    let sent = fill(&mut server);
    around.proxy.signal(Signal::TERM);
    server.expect_close_and_fin(1001);
    let mut got = Vec::new();
    let end = client.pour(|bytes| got.extend_from_slice(bytes));
    client.fin();
    drop(server);
    assert_eq!(around.proxy.wait_exit(LIMIT).code(), Some(0));
    let line = around.assert_ended("spliceway", "shutdown");
    assert_eq!(end, End::Fin);
    assert_eq!(got.len() as u64, line.count("bytes_from_backend"), "every byte that was read is delivered");
    assert!(got.len() <= sent && got.len() > 100_000, "{} of {sent}", got.len());
    let part = pattern(64 << 10);
    assert!(got.chunks(part.len()).all(|have| have == &part[..have.len()]));
}

#[test]
fn sigterm_waits_for_silent_peers_no_longer_than_the_linger() {
    let mut around = Around::new(PLAIN, SHORT_LINGER);
    let (_client, _server) = around.open();
    let since = Instant::now();
    around.proxy.signal(Signal::TERM);
    assert_eq!(around.proxy.wait_exit(LIMIT).code(), Some(0));
    assert_about(since, Duration::from_millis(400));
}

#[test]
fn the_grace_cuts_tunnels_that_linger_beyond_it() {
    let mut around = Around::new(PLAIN, "timeouts.linger = \"60s\"\ntimeouts.grace = \"500ms\"");
    let (_client, _server) = around.open();
    let since = Instant::now();
    around.proxy.signal(Signal::TERM);
    assert_eq!(around.proxy.wait_exit(LIMIT).code(), Some(0));
    assert_about(since, Duration::from_millis(500));
    around.assert_ended("spliceway", "shutdown");
}

// --- records ---------------------------------------------------------------------------------------------

#[test]
fn a_tunnel_is_recorded_at_its_open_and_at_its_close() {
    let around = around(PLAIN);
    let (mut client, mut server) = around.open();
    let opened = around.proxy.wait_for_message("tunnel opened", 0);
    assert_eq!(opened.text("client"), client.local_address().to_string(), "{}", opened.raw);
    assert!(opened.text("backend").contains(&around.backend.port().to_string()), "{}", opened.raw);
    assert_ne!(opened.text("route"), "", "{}", opened.raw);
    assert_ne!(opened.text("id"), "", "{}", opened.raw);
    assert!(!around.proxy.logs().iter().any(|line| line.message() == "tunnel closed"), "it lives");
    client.send(pattern(1234));
    server.expect(pattern(1234));
    server.send(pattern(56_789));
    client.expect(pattern(56_789));
    let since = Instant::now();
    client.expect_silence(Duration::from_millis(300));
    let lived = since.elapsed().as_secs_f64();
    client.fin();
    server.expect_fin();
    server.fin();
    let closed = around.assert_ended("client", "fin");
    for field in ["session", "client", "route", "backend"] {
        assert_eq!(closed.text(field), opened.text(field), "{}", closed.raw);
    }
    assert_eq!((closed.count("bytes_from_client"), closed.count("bytes_from_backend")), (1234, 56_789), "{}", closed.raw);
    assert!((lived..lived + 5.0).contains(&closed.number("seconds")), "{}", closed.raw);
}

#[test]
fn early_bytes_are_counted_and_heads_are_not() {
    let around = around(PLAIN);
    let mut client = around.connect();
    client.send(Offer::new().with_early("12345"));
    let mut server = around.backend.take();
    let offer = server.read_head();
    server.send(answer_101(&offer) + "1234567");
    client.read_head();
    client.expect("1234567");
    server.expect("12345");
    client.fin();
    server.expect_fin();
    server.fin();
    let line = around.assert_ended("client", "fin");
    assert_eq!((line.count("bytes_from_client"), line.count("bytes_from_backend")), (5, 7), "{}", line.raw);
}

#[test]
fn a_tunnel_outlives_every_clock_of_http() {
    let short = |name: &str| format!("timeouts.{name} = \"200ms\"\n");
    let around = Around::new(PLAIN, &["head", "keep_alive", "handshake", "answer", "between"].map(short).concat());
    let (mut client, mut server) = around.open();
    client.expect_silence(Duration::from_millis(1500));
    client.send("still");
    server.expect("still");
    server.send("here");
    client.expect("here");
}
