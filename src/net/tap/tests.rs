//! The tap on its own: heads cut anywhere, bytes held, clocks.

use super::*;
use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::net::Socket;

const TIMES: TapTimes =
    TapTimes { head: Duration::from_secs(10), keep_alive: Duration::from_secs(75), send: Duration::from_secs(60) };

fn pair() -> (UnixStream, Tap, TapHandle) {
    let (client, server) = UnixStream::pair().expect("a pair");
    let (tap, handle) = Tap::new(Stream::from(Socket::from(server)), TIMES);
    (client, tap, handle)
}

proptest! {
    #[test]
    fn the_end_of_a_head_is_found_however_it_is_cut(
        blank in "(\r\n){0,2}", lines in prop::collection::vec("[a-z][a-z \r]{0,6}[a-z]\r?\n", 1..5), end in "\r?\n",
        rest in "[a-z\r\n]{0,9}", cuts in prop::collection::vec(1usize..9, 0..20),
    ) {
        let head = lines.concat() + &end;
        let all = format!("{blank}{head}{rest}");
        let mut state = State::new();
        let mut left = all.as_bytes();
        let mut cuts = cuts.into_iter();
        loop {
            let n = cuts.next().unwrap_or(left.len()).min(left.len());
            let (taken, whole) = state.scan(&left[..n]);
            left = &left[taken..];
            if whole { break; }
            prop_assert_eq!(taken, n);
            prop_assert!(!left.is_empty());
        }
        prop_assert_eq!(String::from_utf8_lossy(&state.head), head);
        prop_assert_eq!(left, rest.as_bytes());
    }
}

#[tokio::test]
async fn bytes_behind_an_offer_are_held_and_a_second_head_is_not_seen() {
    let (mut client, mut tap, handle) = pair();
    client.write_all(b"GET /ws HTTP/1.1\r\nhOST: x\r\n\r\n\x81\x01GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut buf = [0; 200];
    let n = tap.read(&mut buf).await.expect("a head");
    assert_eq!(&buf[..n], b"GET /ws HTTP/1.1\r\nhOST: x\r\n\r\n");
    assert_eq!(handle.request(true, false).as_deref(), Some(&buf[..n]));
    client.write_all(b"more").await.expect("sent");
    drop(client);
    assert_eq!(tap.read(&mut buf).await.expect("EOF is seen though bytes wait"), 0);
    assert!(handle.offer_refused());
    assert_eq!(&tap.into_parts().1[..], b"\x81\x01GET / HTTP/1.1\r\n\r\nmore");
}

#[tokio::test]
async fn pipelined_heads_come_one_at_a_time() {
    let (mut client, mut tap, handle) = pair();
    client.write_all(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET").await.expect("sent");
    let mut buf = [0; 200];
    for path in ["/1", "/2"] {
        let n = tap.read(&mut buf).await.expect("a head");
        assert_eq!(&buf[..n], format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
        handle.request(false, false);
        handle.answered();
    }
    assert_eq!(tap.read(&mut buf).await.expect("a part"), 3);
    assert!(handle.mid_head());
}

#[tokio::test]
async fn a_head_is_kept_while_its_request_is_served() {
    let (mut client, mut tap, handle) = pair();
    for head in ["GET /1 HTTP/1.1\r\n\r\n", "GET /22 HTTP/1.1\r\nhOST: x\r\n\r\n"] {
        client.write_all(head.as_bytes()).await.expect("sent");
        assert_eq!(tap.read(&mut [0; 200]).await.expect("a head"), head.len());
        handle.request(false, false);
        assert_eq!(handle.served().as_deref(), Some(head.as_bytes()));
        handle.answered();
        assert!(!handle.has_served());
    }
}

#[tokio::test]
async fn what_may_be_the_end_of_a_head_only_is_not_kept_as_one() {
    let (mut client, mut tap, handle) = pair();
    let mut buf = [0; 200];
    client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n").await.expect("sent");
    assert!(tap.read(&mut buf).await.expect("a head") > 0);
    handle.request(false, true);
    assert!(!handle.has_served(), "it has a body");
    // With the body comes the beginning of a head, which hyper keeps. What follows looks like a head of its own.
    client.write_all(b"xGET / HTTP/1.1\r\nX: ").await.expect("sent");
    assert!(tap.read(&mut buf).await.expect("more") > 0);
    handle.body_ended();
    handle.answered();
    client.write_all(b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    assert!(tap.read(&mut buf).await.expect("the rest") > 0);
    handle.request(false, false);
    assert!(!handle.has_served());
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_head_and_an_idle_connection_have_clocks_of_their_own() {
    let (mut client, mut tap, handle) = pair();
    let start = Instant::now();
    let mut buf = [0; 99];
    assert_eq!(tap.read(&mut buf).await.expect_err("idle").kind(), io::ErrorKind::TimedOut);
    assert_eq!((start.elapsed().as_secs(), handle.expired()), (75, Some(Clock::Idle)));

    let (mut client2, mut tap, handle) = pair();
    client2.write_all(b"GET / HT").await.expect("sent");
    assert_eq!(tap.read(&mut buf).await.expect("a part"), 8);
    let start = Instant::now();
    assert_eq!(tap.read(&mut buf).await.expect_err("slow").kind(), io::ErrorKind::TimedOut);
    assert_eq!((start.elapsed().as_secs(), handle.expired()), (10, Some(Clock::Head)));
    client.write_all(b"x").await.expect("still open");
}

#[tokio::test(start_paused = true)]
async fn the_idle_clock_runs_after_an_answer_though_the_read_was_pending_before() {
    let (mut client, mut tap, handle) = pair();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut buf = [0; 99];
    assert_eq!(tap.read(&mut buf).await.expect("a head"), 18);
    handle.request(false, false);
    let start = Instant::now();
    let waiting = async move { tap.read(&mut [0; 9]).await.expect_err("idle").kind() };
    let answering = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        handle.answered();
    };
    assert_eq!(tokio::join!(waiting, answering).0, io::ErrorKind::TimedOut);
    assert_eq!((start.elapsed().as_secs(), handle.expired()), (175, Some(Clock::Idle)));
}

#[tokio::test]
async fn a_request_line_longer_than_allowed_is_told_from_a_large_head() {
    for (head, long) in [(format!("GET /{} HTTP/1.1\r\n", "a".repeat(60)), true), ("GET / HTTP/1.1\r\n".repeat(5), false)] {
        let (mut client, tap, handle) = pair();
        let mut tap = tap.with_longest_line(50);
        client.write_all(head.as_bytes()).await.expect("sent");
        assert_eq!((tap.read(&mut [0; 200]).await.is_err(), handle.had_long_line()), (long, long));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_given_up() {
    let (_client, mut tap, handle) = pair();
    let start = Instant::now();
    let error = tap.write_all(&vec![0; 16 << 20]).await.expect_err("nobody reads");
    assert_eq!((error.kind(), handle.expired()), (io::ErrorKind::TimedOut, Some(Clock::Send)));
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn a_head_that_began_behind_a_body_is_never_taken_for_the_next_one() {
    for ending in ["\n", "\r\n", "\r\n\r\n"] {
        let (mut client, mut tap, handle) = pair();
        let mut buf = [0; 300];
        client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n").await.expect("sent");
        assert!(tap.read(&mut buf).await.expect("a head") > 0);
        handle.request(false, true);
        client.write_all(b"abcGET /ws HTTP/1.1\r\nUpgrade: websocket").await.expect("sent");
        assert!(tap.read(&mut buf).await.expect("a body, and more") > 3);
        handle.body_ended();
        handle.answered();
        client.write_all(format!("{ending}GET /smuggled HTTP/1.1\r\n\r\n").as_bytes()).await.expect("sent");
        assert!(tap.read(&mut buf).await.expect("the rest, and another head") > 0);
        assert_eq!(handle.request(true, false), None, "{ending:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_outlives_its_answer_is_not_idle() {
    let (mut client, mut tap, handle) = pair();
    let mut buf = [0; 99];
    client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n").await.expect("sent");
    assert!(tap.read(&mut buf).await.expect("a head") > 0);
    handle.request(false, true);
    handle.answered();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        client.write_all(b"a").await.expect("sent");
        assert_eq!(tap.read(&mut buf).await.expect("it goes on"), 1);
    }
    let start = Instant::now();
    assert!(tap.read(&mut buf).await.is_err());
    assert_eq!(start.elapsed().as_secs(), 75);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_still_being_sent_is_not_idle() {
    let (mut client, server) = UnixStream::pair().expect("a pair");
    let times = TapTimes { keep_alive: Duration::from_secs(20), ..TIMES }; // less than it may take to send
    let (mut tap, handle) = Tap::new(Stream::from(Socket::from(server)), times);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut buf = [0; 99];
    assert_eq!(tap.read(&mut buf).await.expect("a head"), 18);
    handle.request(false, false);
    let answer = vec![0; 8 << 20];
    let mut sent = 0;
    // As hyper does: all of the answer is there, and the socket is full.
    while let Poll::Ready(n) = poll_fn(|cx| Poll::Ready(Pin::new(&mut tap).poll_write(cx, &answer))).await {
        sent += n.expect("room");
    }
    handle.answered();
    let idle = tokio::time::timeout(Duration::from_secs(50), tap.read(&mut buf)).await;
    assert!(idle.is_err() && handle.expired().is_none(), "the clock of sending has it: {idle:?}");
    let mut taken = vec![0; sent];
    client.read_exact(&mut taken).await.expect("what was sent");
    tap.write_all(b"more").await.expect("room again");
    let start = Instant::now();
    assert!(tap.read(&mut buf).await.is_err());
    assert_eq!((start.elapsed().as_secs(), handle.expired()), (20, Some(Clock::Idle)));
}

/// A frame of h2 without a payload to speak of.
fn h2_frame(kind: u8, length: u8) -> Vec<u8> {
    [&[0, 0, length, kind, 0, 0, 0, 0, 1], vec![0; length.into()].as_slice()].concat()
}

/// A tap on h2, past the preface, and what takes its budget to the last frame.
async fn spent() -> (UnixStream, Tap, TapHandle) {
    let (mut client, server) = UnixStream::pair().expect("a pair");
    let (mut tap, handle) = Tap::passing(Stream::from(Socket::from(server)), TIMES, 0);
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");
    client.write_all(&h2_frame(6, 8).repeat(1024)).await.expect("sent");
    let mut read = vec![0; 24 + 17 * 1024];
    tap.read_exact(&mut read).await.expect("all of it");
    assert!(handle.flooded().now_or_never().is_none(), "the last of the budget may be spent");
    (client, tap, handle)
}

#[tokio::test(start_paused = true)]
async fn of_a_client_that_floods_nothing_more_is_read() {
    let (mut client, mut tap, handle) = spent().await;
    client.write_all(&h2_frame(6, 8)).await.expect("sent");
    tap.read_exact(&mut [0; 17]).await.expect("the frame that was one too many");
    handle.flooded().await;
    client.write_all(&h2_frame(6, 8)).await.expect("sent");
    assert!(tokio::time::timeout(Duration::from_secs(1000), tap.read(&mut [0; 99])).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_gives_back_also_when_it_is_sent_in_parts() {
    let (mut client, mut tap, handle) = spent().await;
    // Two DATA frames of 32 bytes, three for each, in buffers that begin and end anywhere.
    let sent = h2_frame(0, 32).repeat(2);
    let parts: Vec<_> = sent.chunks(7).map(IoSlice::new).collect();
    let n = poll_fn(|cx| Pin::new(&mut tap).poll_write_vectored(cx, &parts)).await.expect("room");
    assert_eq!(n, sent.len());
    for given in (0..7).rev() {
        assert!(handle.flooded().now_or_never().is_none(), "{given} left");
        client.write_all(&h2_frame(6, 8)).await.expect("sent");
        tap.read_exact(&mut [0; 17]).await.expect("a frame");
    }
    handle.flooded().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_h2_waits_for_a_client_that_still_sends_but_not_for_long() {
    let (mut client, mut tap, _) = spent().await;
    client.write_all(b"more").await.expect("sent");
    let start = Instant::now();
    tap.shutdown().await.expect("a FIN");
    assert_eq!(start.elapsed(), LINGER_TIME, "for one that stays");
    let (client, mut tap, _) = spent().await;
    drop(client);
    let start = Instant::now();
    tap.shutdown().await.ok();
    assert_eq!(start.elapsed(), Duration::ZERO, "for one that has gone");
}
