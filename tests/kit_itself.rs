//! The kit, tried against itself with no proxy between: what the other tests say is worth what this says.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::time::Duration;

use kit::*;

fn end_seen_when(act: fn(Conn)) -> End {
    let (sender, ends) = std::sync::mpsc::channel();
    let backend = Backend::scripted(move |conn, _| {
        conn.expect("hello");
        sender.send(conn.expect_any_end()).unwrap();
    });
    let mut client = Conn::connect(backend.address());
    client.send("hello");
    act(client);
    ends.recv_timeout(LIMIT).unwrap()
}

#[test]
fn a_fin_and_a_reset_are_told_apart() {
    assert_eq!(end_seen_when(drop), End::Fin);
    assert_eq!(end_seen_when(|mut client| client.fin()), End::Fin);
    assert_eq!(end_seen_when(Conn::reset), End::Reset);
    assert_eq!(end_seen_when(|client| client.end_with_a_reset()), End::Reset);
}

#[test]
fn a_tls_end_without_close_notify_is_told_from_one_with_it() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let backend = Backend::scripted_tls(&identity, |conn, n| {
        conn.expect("hello");
        if n == 0 {
            conn.fin();
        } else {
            conn.cut();
        }
        conn.wait_for_any_end();
    });
    for expected in [End::Fin, End::Unclean] {
        let mut client = Conn::connect_tls(backend.address(), "localhost", authority.client(&[]));
        client.send("hello");
        client.expect_end(expected);
    }
}

#[test]
fn a_tls_client_refuses_a_certificate_that_is_not_good_now() {
    let authority = Authority::new();
    for validity in [Validity::Expired, Validity::NotYet] {
        let backend = Backend::scripted_tls(&authority.identity_valid(&["localhost"], validity), |_, _| {});
        assert!(Conn::try_connect_tls(backend.address(), "localhost", authority.client(&[])).is_err(), "{validity:?}");
    }
}

/// Reading and writing at once, far more than any buffer between holds.
fn echoes_32_mib(client: Conn) {
    const PART: usize = 1 << 20;
    let part = pattern(PART);
    let (mut reader, mut writer) = client.split();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..32).for_each(|_| writer.send(&part));
            writer.fin();
        });
        (0..32).for_each(|n| assert!(reader.read_exact(PART) == part, "part {n}"));
        reader.expect_fin();
    });
}

#[test]
fn an_echo_gives_every_byte_back_while_more_is_sent() {
    let backend = Backend::echo();
    let mut client = Conn::connect(backend.address());
    client.send(Offer::new().bytes());
    client.read_head().assert_line("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    echoes_32_mib(client);
}

#[test]
fn a_tls_stream_is_read_and_written_at_once() {
    let authority = Authority::new();
    let backend = Backend::scripted_tls(&authority.identity(&["localhost"]), |conn, _| {
        let (reader, mut writer) = conn.both();
        reader.pour(|bytes| writer.send(bytes));
        conn.fin();
    });
    echoes_32_mib(Conn::connect_tls(backend.address(), "localhost", authority.client(&[])));
}

#[test]
fn known_keys_have_their_known_accepts() {
    assert_eq!(accept_for("sN9cRrP/n9NdMgdcy2VJFQ=="), "fFBooB7FAkLlXgRSz0BT3v4hq5s=");
    assert_eq!(accept_for("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(accept_for("x3JJHMbDL1EzLkh9GBhXDw=="), "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
}

#[test]
fn a_head_keeps_order_spelling_and_bytes() {
    let backend = Backend::silent();
    let mut client = Conn::connect(backend.address());
    client.send(b"GET /\xe9 HTTP/1.1\r\nhOst: a\r\nX-b:  \xe9 \r\nx-B:2\r\n\r\nrest");
    let head = backend.head();
    assert_eq!(head.first, "GET /é HTTP/1.1");
    assert_eq!(head.lines, ["hOst: a", "X-b:  é ", "x-B:2"]);
    assert_eq!(head.values("x-b"), ["é", "2"]);
    assert_eq!(head.lines_without(&["X-*"]), ["hOst: a"]);
}

fn answered(answer: &'static str) -> Result<Body, Cut> {
    let backend = Backend::answering(answer);
    let mut client = Conn::connect(backend.address());
    client.send("GET / HTTP/1.1\r\n\r\n");
    let head = client.read_head();
    client.try_read_body(&head)
}

#[test]
fn bodies_end_where_their_framing_says() {
    let body = answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    assert_eq!((body.text().as_str(), body.framing), ("hello", Framing::Length));
    let body =
        answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nT: 1\r\n\r\n").unwrap();
    assert_eq!((body.text().as_str(), body.framing), ("hello", Framing::Chunked));
    assert_eq!(body.trailers, ["T: 1"]);
    let body = answered("HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
    assert_eq!((body.text().as_str(), body.framing), ("hello", Framing::Close));
    assert_eq!(answered("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").unwrap().framing, Framing::None);
}

#[test]
fn a_body_that_ends_early_is_a_cut() {
    let cut = Cut { bytes: b"hel".to_vec(), end: End::Fin };
    assert_eq!(answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"), Err(cut.clone()));
    assert_eq!(answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n"), Err(cut));
}

#[test]
fn a_read_that_waits_in_vain_fails_with_what_had_come() {
    let backend = Backend::scripted(|conn, _| {
        conn.send("abc");
        conn.wait_for_any_end();
    });
    let mut client = Conn::connect(backend.address()).within(Duration::from_millis(50));
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.read_exact(4))).unwrap_err();
    let words = failed.downcast_ref::<String>().unwrap();
    assert!(words.contains("4 bytes") && words.contains("abc"), "{words}");
}

#[test]
fn a_script_that_fails_fails_its_test() {
    let backend = Backend::scripted(|conn, _| conn.expect("x"));
    Conn::connect(backend.address()).send("y");
    backend.wait_for_connections(1);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(backend))).unwrap_err();
    assert!(failed.downcast_ref::<String>().unwrap().contains("connection 0: "), "names its connection");
}

#[test]
fn a_refused_port_refuses() {
    let port = RefusedPort::new();
    let address: std::net::SocketAddr = port.url().strip_prefix("http://").unwrap().parse().unwrap();
    assert_eq!(std::net::TcpStream::connect(address).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_closed_backend_refuses_and_keeps_its_connections() {
    let backend = Backend::echo();
    let mut client = Conn::connect(backend.address());
    client.send(Offer::new().bytes());
    client.read_head();
    backend.close();
    let refused = || std::net::TcpStream::connect(backend.address()).is_err();
    let end = std::time::Instant::now() + LIMIT;
    while !refused() {
        assert!(std::time::Instant::now() < end, "the port is still open");
    }
    client.send("still here");
    client.expect("still here");
}

#[test]
fn an_h2_client_sends_and_reads_a_request() {
    // A server preface and answer by hand: SETTINGS, ACK, HEADERS ":status: 200" (index 8), DATA "hi".
    let backend = Backend::scripted(|conn, _| {
        conn.send([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]);
        conn.expect("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        loop {
            let head = conn.read_exact(9);
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            conn.read_exact(length);
            if head[3] == 1 {
                break; // HEADERS
            }
        }
        conn.send([0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88, 0, 0, 2, 0, 1, 0, 0, 0, 1, b'h', b'i']);
        conn.wait_for_any_end();
    });
    let client = H2::connect(backend.address());
    let answer = client.get("http://localhost/");
    assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, b"hi".as_slice()));
}
