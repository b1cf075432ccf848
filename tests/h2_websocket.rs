//! WebSockets over HTTP/2 (RFC 8441): clients that come by it, backends that take it, and how a stream's ends,
//! resets and windows stand for those of a connection.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request};
use kit::*;
use rustix::process::Signal;

/// A client with prior knowledge.
fn h2(proxy: &Proxy) -> H2 {
    H2::connect(proxy.address(0))
}

/// A socket over h2, and the h1 server that agreed to it.
fn open<'a>(h2: &'a H2, backend: &Backend) -> (H2Socket<'a>, Conn) {
    let asked = h2.settled().ask(connect(&[]));
    let mut server = backend.take();
    let offer = server.read_head();
    server.send(answer_101(&offer));
    (asked.opened(), server)
}

/// Asserts who ended the tunnel, and how.
#[track_caller]
fn ended(proxy: &Proxy, by: &str, how: &str) {
    let line = proxy.wait_for_message("tunnel closed", 0);
    assert_eq!((line.text("ended_by").as_str(), line.text("how").as_str()), (by, how), "{}", line.raw);
}

// --- the handshake ---------------------------------------------------------------------------------------

#[test]
fn settings_offer_the_connect_protocol() {
    let proxy = Proxy::start("[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = { status = 204 }\n");
    let settings = Frames::connect(proxy.address(0)).read_kind(kind::SETTINGS);
    let enabled = settings.payload.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]); // RFC 8441 section 3
    assert!(enabled, "{settings:?}");
}

#[test]
fn a_socket_over_h2_reaches_an_h1_backend_with_a_key_of_ours() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let lines = [
        ("origin", "https://server.example.com"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
        ("sec-websocket-key", KEY),
    ];
    let asked = h2.settled().ask(connect(&lines));
    let mut server = backend.take();
    let offer = server.read_head();
    assert_eq!(offer.first, "GET /chat HTTP/1.1");
    for line in [
        "Host: server.example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: chat, superchat",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "Origin: https://server.example.com",
        "Cookie: a=1; b=2",
    ] {
        offer.assert_line(line);
    }
    let keys = offer.values("sec-websocket-key");
    assert!(keys.len() == 1 && keys[0].len() == 24 && keys[0] != KEY, "{keys:?}");
    server.send(
        answer_101(&offer).strip_suffix("\r\n").unwrap().to_owned()
            + "Sec-WebSocket-Protocol: superchat\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSet-Cookie: c=3\r\n\r\n",
    );
    let mut socket = asked.opened();
    let headers = &socket.headers;
    assert_eq!(headers["sec-websocket-protocol"], "superchat");
    assert_eq!(headers["sec-websocket-extensions"], "permessage-deflate");
    assert_eq!(headers["set-cookie"], "c=3");
    for name in ["sec-websocket-accept", "upgrade", "connection", "content-length", "transfer-encoding"] {
        assert!(!headers.contains_key(name), "{name} in {headers:?}");
    }
    socket.send(frame(1, b"hello", true));
    server.expect(frame(1, b"hello", true));
    server.send(frame(2, &pattern(100_000), false));
    socket.expect(frame(2, &pattern(100_000), false));
}

#[test]
fn bytes_before_the_answer_wait_for_it_and_go_first() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let mut asked = h2.settled().ask(connect(&[]));
    asked.send.send_data(Bytes::from_static(b"early"), false).unwrap();
    let mut server = backend.take();
    let offer = server.read_head();
    server.expect_silence(SILENCE);
    server.send(answer_101(&offer) + "first");
    let mut socket = asked.opened();
    socket.expect("first");
    socket.send(" late");
    server.expect("early late");
}

#[test]
fn a_refusal_passes_with_its_body() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 8\r\n\r\nwho? you");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    for _ in 0..2 {
        let answer = h2.settled().ask(connect(&[])).answer();
        assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (401, b"who? you".as_slice()));
        assert_eq!(answer.headers["www-authenticate"], "Basic");
    }
    let record = proxy.request_record(0);
    assert_eq!((record.count("status"), record.text("method").as_str()), (401, "CONNECT"), "{}", record.raw);
}

#[test]
fn a_200_in_place_of_a_101_is_502() {
    let backend = Backend::http(200, "no socket");
    let proxy = Proxy::before(&backend);
    assert_eq!(h2(&proxy).settled().ask(connect(&[])).answer().status, 502);
    assert_eq!(proxy.request_record(0).text("fault"), "backend");
}

#[test]
fn a_wrong_accept_is_502() {
    let backend = Backend::scripted(|conn, _| {
        let offer = conn.read_head();
        conn.send(answer_101(&offer).replace("Accept: ", "Accept: x"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    assert_eq!(h2(&proxy).settled().ask(connect(&[])).answer().status, 502);
    backend.wait_until_idle();
}

#[test]
fn another_protocol_is_501() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let mut request = connect(&[]);
    request.extensions_mut().insert(h2::ext::Protocol::from_static("connect-udp"));
    assert_eq!(h2(&proxy).settled().ask(request).answer().status, 501);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_version_other_than_13_is_400_with_ours() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    for versions in [&[][..], &["8"], &["13", "13"]] {
        let mut request = connect(&[]);
        request.headers_mut().remove("sec-websocket-version");
        for version in versions {
            request.headers_mut().append("sec-websocket-version", version.parse().unwrap());
        }
        let answer = h2.settled().ask(request).answer();
        assert_eq!((answer.status.as_u16(), answer.headers["sec-websocket-version"].as_bytes()), (400, b"13".as_slice()));
        assert!(!answer.headers.contains_key("upgrade"));
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_socket_where_a_fixed_success_is_answered_is_404() {
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = { status = 200, body = \"fine\" }\n";
    let proxy = Proxy::start(text);
    assert_eq!(h2(&proxy).settled().ask(connect(&[])).answer().status, 404, "a 200 would open a tunnel");
}

#[test]
fn a_socket_on_a_listener_that_only_redirects_is_403() {
    let identity = Authority::new().identity(&["localhost"]);
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\n[[listen]]\naddress = \"127.0.0.1:{https}\"\n\
                [[listen.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n[[route]]\nrespond = { status = 204 }\n";
    let setup = Proxy::setup(text).put("https", free_port());
    let proxy = setup.file("c.pem", &identity.chain_pem).file("k.pem", &identity.key_pem).start();
    assert_eq!(h2(&proxy).settled().ask(connect(&[])).answer().status, 403);
}

#[test]
fn a_terminated_socket_and_one_that_names_its_method_are_the_same_over_h2() {
    let backend = Backend::echo();
    let proxy = Proxy::before_with(&backend, "", "handshake = \"terminate\"\nmethods = [\"GET\"]");
    let h2 = h2(&proxy);
    let mut socket = h2.socket();
    socket.send("hello");
    socket.expect("hello");
}

#[test]
fn a_client_that_resets_before_the_answer_takes_its_offer_back() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let mut asked = h2.settled().ask(connect(&[]));
    let mut server = backend.take();
    server.read_head();
    asked.send.send_reset(Reason::CANCEL);
    server.wait_for_any_end();
    assert_eq!(proxy.request_record(0).count("status"), 499);
}

// --- the ends of a stream --------------------------------------------------------------------------------

#[test]
fn the_end_of_a_stream_is_a_half_close_each_way() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let (mut socket, mut server) = open(&h2, &backend);
    socket.send("last");
    socket.fin();
    server.expect("last");
    server.expect_fin();
    server.send("still here");
    socket.expect("still here");
    server.fin();
    socket.expect_fin();
    ended(&proxy, "client", "fin");
}

#[test]
fn the_end_of_a_backend_is_the_end_of_the_stream() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let (mut socket, mut server) = open(&h2, &backend);
    server.send("last");
    server.fin();
    socket.expect("last");
    socket.expect_fin();
    socket.send("heard");
    socket.fin();
    server.expect("heard");
    server.expect_fin();
    ended(&proxy, "backend", "fin");
}

rows! { a_reset_of_the_client_resets_the_backend {
    a_reset_of_the_client_resets_the_backend_cancel: Reason::CANCEL;
    a_reset_of_the_client_resets_the_backend_no_error: Reason::NO_ERROR;
    a_reset_of_the_client_resets_the_backend_error: Reason::INTERNAL_ERROR;
}}

fn a_reset_of_the_client_resets_the_backend(reason: Reason) {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let (mut socket, mut server) = open(&h2, &backend);
    socket.send("last");
    server.expect("last");
    socket.send.send_reset(reason);
    server.expect_reset();
    ended(&proxy, "client", "reset");
}

#[test]
fn a_reset_of_the_backend_resets_the_stream_behind_its_last_bytes() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let (mut socket, mut server) = open(&h2, &backend);
    server.send("last");
    socket.expect("last");
    server.reset();
    assert_eq!(socket.expect_reset(), Reason::CANCEL);
    ended(&proxy, "backend", "reset");
}

#[test]
fn a_connection_that_breaks_resets_the_backends_of_all_its_sockets() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let (one, mut server) = open(&h2, &backend);
    let (other, mut second) = open(&h2, &backend);
    std::mem::forget((one, other)); // their drop would reset them before the connection goes
    drop(h2);
    server.expect_reset();
    second.expect_reset();
}

#[test]
fn a_goaway_of_the_client_leaves_its_sockets_alone() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&backend);
    let mut frames = Frames::connect(proxy.address(0));
    // CONNECT by HPACK without indexing: names and values as they are (RFC 7541 section 6.2.2).
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "a"),
        ("sec-websocket-version", "13"),
    ];
    let literal = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| [vec![0], literal(name), literal(value)].concat()).collect();
    frames.send(kind::HEADERS, 0x4, 1, &block);
    frames.read_kind(kind::HEADERS);
    frames.send(kind::GOAWAY, 0, 0, &[0; 8]);
    for _ in 0..3 {
        frames.send(kind::DATA, 0, 1, b"hello");
        assert_eq!(frames.read_kind(kind::DATA).payload, b"hello");
    }
    frames.send(kind::DATA, 1, 1, b"");
    let end = frames.read_kind(kind::DATA);
    assert_eq!((end.flags & 1, end.payload.len()), (1, 0));
    frames.read_to_end();
    ended(&proxy, "client", "fin");
}

#[test]
fn the_drain_ends_sockets_and_then_their_connection() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let (mut socket, mut server) = open(&h2, &backend);
    proxy.signal(Signal::TERM);
    server.expect_fin();
    server.fin();
    socket.expect_fin();
    socket.fin();
    ended(&proxy, "spliceway", "shutdown");
    assert!(proxy.wait_exit(LIMIT).success());
}

#[test]
fn an_idle_socket_keeps_its_connection() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before_with(&backend, "timeouts.keep_alive = \"300ms\"", "");
    let h2 = h2(&proxy);
    let (mut socket, mut server) = open(&h2, &backend);
    server.expect_silence(Duration::from_millis(1500));
    socket.send("still here");
    server.expect("still here");
}

// --- room ------------------------------------------------------------------------------------------------

#[test]
fn body_and_socket_share_one_connection() {
    let backend = Backend::scripted(|conn, _| {
        let Ok(head) = conn.try_read_head() else { return };
        if head.value("upgrade").is_some() {
            conn.send(answer_101(&head));
            let hello = conn.read_exact(5);
            conn.send(hello);
            conn.wait_for_any_end();
        } else {
            let body = conn.read_body(&head);
            conn.send(http(200, &body.text()));
            conn.wait_for_any_end();
        }
    });
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let mut socket = h2.socket();
    let post = Request::builder().method(Method::POST).uri("http://a/").body(()).unwrap();
    let answer = h2.request(post, Some(Bytes::from(vec![b'x'; 50_000])), None).unwrap();
    assert_eq!(answer.body, vec![b'x'; 50_000]);
    socket.send("hello");
    socket.expect("hello");
}

#[test]
fn one_socket_that_stalls_stops_none_of_its_499_neighbours() {
    const SOCKETS: usize = 500;
    let backend = Backend::scripted(|conn, _| {
        let Ok(head) = conn.try_read_head() else { return };
        conn.send(answer_101(&head));
        if head.target() == "/floods" {
            let block = pattern(1 << 16);
            while conn.try_send(&block).is_ok() {}
            return;
        }
        while let Ok(bytes) = conn.try_read_exact(4) {
            if conn.try_send(bytes).is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::before_with(&backend, "[limits]\nh2_streams = 600\n", "");
    let h2 = h2(&proxy);
    h2.settled();
    let mut floods = connect(&[]);
    *floods.uri_mut() = "http://a/floods".parse().unwrap();
    let stalled = h2.ask(floods).opened();
    let asked: Vec<_> = (1..SOCKETS).map(|_| h2.ask(connect(&[]))).collect();
    let mut sockets: Vec<_> = asked.into_iter().map(H2Asked::opened).collect();
    let before = proxy.resident();
    for round in 0..3 {
        for (n, socket) in sockets.iter_mut().enumerate() {
            socket.send(u32::try_from(round * SOCKETS + n).unwrap().to_be_bytes());
        }
        for (n, socket) in sockets.iter_mut().enumerate() {
            socket.expect(u32::try_from(round * SOCKETS + n).unwrap().to_be_bytes());
        }
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes for a stalled socket whose bound is 256 KiB and a window");
    drop(stalled);
}

#[test]
fn a_socket_whose_backend_reads_nothing_gives_no_room_beyond_its_window() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let (mut socket, mut server) = open(&h2, &backend);
    let sent = h2.run(async {
        let mut sent = 0;
        let block = Bytes::from(vec![0; 16 << 10]);
        loop {
            socket.send.reserve_capacity(block.len());
            let room = std::future::poll_fn(|cx| socket.send.poll_capacity(cx));
            let Ok(room) = tokio::time::timeout(Duration::from_millis(700), room).await else { return sent };
            let room = room.unwrap().unwrap();
            socket.send.send_data(block.slice(..room), false).unwrap();
            sent += room;
        }
    });
    assert!(sent < 16 << 20, "{sent} bytes taken"); // the kernel's buffers, 256 KiB of ours, a window of 64 KiB
    h2.settled(); // the connection goes on
    assert_eq!(server.read_exact(sent).len(), sent, "not a byte is lost");
}

#[test]
fn a_client_that_shuts_its_window_for_an_answer_is_given_up() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        let length = 8 << 20;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let sent = conn.try_send(head).and_then(|()| conn.try_send(vec![0; length]));
        assert!(sent.is_err(), "the proxy has room for 64 KiB");
    });
    let proxy = Proxy::before_with(&backend, "timeouts.send = \"500ms\"", "");
    let h2 = h2(&proxy);
    let asked = Instant::now();
    let request = Request::get("http://a/").body(()).unwrap();
    let mut body = h2.run(async {
        let mut sender = h2.sender().ready().await.unwrap();
        sender.send_request(request, true).unwrap().0.await.unwrap().into_body()
    });
    let error = h2.run(async {
        loop {
            if let Err(error) = body.data().await.expect("no clean end") {
                return error; // nothing is given back to the window
            }
        }
    });
    assert_eq!((error.reason(), error.is_remote()), (Some(Reason::CANCEL), true));
    assert!(asked.elapsed() >= Duration::from_millis(450), "{:?}", asked.elapsed());
    let record = proxy.request_record(0);
    assert!(record.text("fault") == "client" && record.says("took no bytes"), "{}", record.raw);
    h2.settled(); // and the connection goes on
}

// --- records ---------------------------------------------------------------------------------------------

#[test]
fn records_show_a_socket_over_h2_at_its_open_and_its_close() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let mut socket = h2.socket();
    socket.send("hello");
    socket.expect("hello");
    socket.fin();
    socket.expect_fin();
    let opened = proxy.wait_for_message("tunnel opened", 0);
    let closed = proxy.wait_for_message("tunnel closed", 0);
    assert_eq!(opened.text("session"), closed.text("session"));
    assert_eq!((closed.count("bytes_from_client"), closed.count("bytes_from_backend")), (5, 5), "{}", closed.raw);
    assert!(!proxy.logs().iter().any(|line| line.message() == "request"), "a tunnel is no request too");
}
