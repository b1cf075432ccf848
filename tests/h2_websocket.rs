//! WebSockets over HTTP/2 (RFC 8441): clients that come by it, backends that take it, and how a stream's ends,
//! resets and windows stand for those of a connection.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::future::Future;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::ext::Protocol;
use h2::server::Builder;
use http::{Method, Request, Response};
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
    request.extensions_mut().insert(Protocol::from_static("connect-udp"));
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

#[test]
fn a_client_that_leaves_its_half_open_behind_both_closes_holds_no_backend() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let (mut socket, mut server) = open(&h2, &backend);
    let (asked, answered) = (frame(8, &4001_u16.to_be_bytes(), true), frame(8, &4001_u16.to_be_bytes(), false));
    socket.send(&asked);
    server.expect(&asked);
    server.send(&answered);
    server.fin();
    let since = Instant::now();
    server.expect_fin(); // as Chromium does it: no END_STREAM, and no reset
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed()); // the linger is 5 s
    socket.expect(&answered);
    socket.expect_fin();
    ended(&proxy, "client", "fin");
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
    server.expect_close_and_fin(1001);
    server.fin();
    socket.expect([0x88, 2, 3, 0xe9]);
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
fn a_window_full_of_the_smallest_messages_does_not_end_the_connection() {
    const MESSAGES: usize = 65_535 / 7; // a masked frame of one byte has 7
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let mut asked = h2.settled().ask(connect(&[]));
    let mut server = backend.take();
    let offer = server.read_head();
    for _ in 0..MESSAGES {
        asked.send.send_data(frame(1, b"x", true).into(), false).unwrap();
    }
    h2.settled(); // all of it has come, and waits
    server.send(answer_101(&offer));
    let mut socket = asked.opened();
    server.expect(frame(1, b"x", true).repeat(MESSAGES));
    server.send("heard");
    socket.expect("heard");
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

// --- backends of HTTP/2 ----------------------------------------------------------------------------------

/// A server that takes extended CONNECT.
fn sockets<F, Fut>(script: F) -> H2Backend
where
    F: Fn(Call) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    H2Backend::scripted_with(settings(), usize::MAX, script)
}

fn settings() -> Builder {
    let mut builder = Builder::new();
    builder.enable_connect_protocol();
    builder
}

/// Agrees, and sends every byte back; the end of the stream as its end, and a reset by going away.
async fn echo(mut call: Call) {
    let mut send = call.respond.send_response(Response::new(()), false).unwrap();
    while let Some(part) = call.request.body_mut().data().await {
        let Ok(part) = part else { return };
        call.request.body_mut().flow_control().release_capacity(part.len()).unwrap();
        if send.send_data(part, false).is_err() {
            return;
        }
    }
    send.send_data(Bytes::new(), true).ok();
}

fn before(url: &str) -> Proxy {
    before_with(url, "", "")
}

fn before_with(url: &str, head: &str, backend: &str) -> Proxy {
    let text = "{head}\n[[listen]]\naddress = \"127.0.0.1:0\"\n[backend.peer]\nservers = [\"{url}\"]\n{backend}\n\
                [[route]]\nbackend = \"peer\"\n";
    Proxy::setup(text).put("head", head).put("url", url).put("backend", backend).start()
}

/// A socket over h1 that is agreed to.
#[track_caller]
fn h1_socket(proxy: &Proxy) -> Conn {
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    let answer = client.read_head();
    assert_eq!((answer.status(), answer.value("sec-websocket-accept")), (101, Some(accept_for(KEY).as_str())), "{answer}");
    client
}

#[track_caller]
fn assert_echo(client: &mut Conn, bytes: &[u8]) {
    client.send(bytes);
    client.expect(bytes);
}

#[test]
fn an_h1_client_reaches_an_h2_backend_by_extended_connect() {
    let backend = sockets(|mut call: Call| async move {
        let request = &call.request;
        assert_eq!(request.method(), Method::CONNECT);
        assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
        assert_eq!(request.uri(), "http://server.example.com/chat");
        assert_eq!(request.headers()["sec-websocket-version"], "13");
        assert_eq!(request.headers()["sec-websocket-protocol"], "chat, superchat");
        for name in ["sec-websocket-key", "upgrade", "connection", "host", "content-length"] {
            assert!(!request.headers().contains_key(name), "{name} in {request:?}");
        }
        let answer = Response::builder().status(202).header("sec-websocket-protocol", "chat").header("x-field", "1");
        let mut send = call.respond.send_response(answer.body(()).unwrap(), false).unwrap();
        send.send_data(Bytes::from_static(b"first"), false).unwrap();
        let part = call.request.body_mut().data().await.unwrap().unwrap();
        send.send_data(part, true).unwrap();
    });
    let proxy = before(&backend.url());
    let mut client = proxy.connect_and_send(Offer::new().line("Sec-WebSocket-Protocol: chat, superchat").with_early("early"));
    let answer = client.read_head();
    assert_eq!(answer.first, "HTTP/1.1 101 Switching Protocols");
    let accept = format!("Sec-WebSocket-Accept: {}", accept_for(KEY));
    for line in ["Upgrade: websocket", "Connection: Upgrade", accept.as_str(), "Sec-WebSocket-Protocol: chat", "X-Field: 1"] {
        answer.assert_line(line);
    }
    client.expect("firstearly");
    client.expect_fin();
}

#[test]
fn a_socket_over_h2_reaches_an_h2_backend() {
    let backend = sockets(echo);
    let proxy = before(&backend.url());
    let h2 = h2(&proxy);
    let mut socket = h2.socket();
    socket.send(pattern(300_000));
    socket.expect(pattern(300_000));
    socket.fin();
    socket.expect_fin();
    ended(&proxy, "client", "fin");
}

#[test]
fn an_https_backend_takes_it_where_its_protocol_is_h2() {
    let authority = Authority::new();
    let backend = H2Backend::scripted_tls_with(&authority.identity(&["localhost"]), settings(), echo);
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[backend.peer]\nservers = [\"{url}\"]\nprotocol = \"h2\"\nca = \"ca.pem\"\n\
                [[route]]\nbackend = \"peer\"\n";
    let proxy = Proxy::setup(text).put("url", backend.url_as("localhost")).file("ca.pem", authority.pem()).start();
    assert_echo(&mut h1_socket(&proxy), b"hello");
}

#[test]
fn a_refusal_of_an_h2_backend_passes_with_its_body() {
    let backend = sockets(|mut call: Call| async move {
        let mut send = call.respond.send_response(Response::builder().status(403).body(()).unwrap(), false).unwrap();
        send.send_data(Bytes::from_static(b"not you"), true).unwrap();
    });
    let proxy = before(&backend.url());
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send(Offer::new().bytes());
        let (answer, body) = client.read_answer();
        assert_eq!((answer.status(), body.text().as_str()), (403, "not you"), "and the connection can be used again");
    }
    let answer = h2(&proxy).settled().ask(connect(&[])).answer();
    assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (403, b"not you".as_slice()));
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_subprotocol_that_was_not_offered_is_502_over_h2_too() {
    let backend = sockets(|mut call: Call| async move {
        let answer = Response::builder().header("sec-websocket-protocol", "other").body(()).unwrap();
        let _send = call.respond.send_response(answer, false).unwrap();
        assert!(call.request.body_mut().data().await.unwrap().is_err(), "the stream is reset");
    });
    let proxy = before(&backend.url());
    let (answer, _) = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    assert_eq!(answer.status(), 502);
}

#[test]
fn a_backend_that_does_not_offer_extended_connect_is_asked_over_h1_and_not_again_over_h2() {
    let (sender, prefaces) = channel();
    let backend = Backend::scripted(move |conn, _| {
        if conn.read_exact(3) == b"GET" {
            let offer = conn.read_head();
            conn.send(answer_101(&offer));
            conn.wait_for_any_end();
            return;
        }
        sender.send(()).unwrap();
        conn.read_exact(21); // of the preface
        conn.send(raw_frame(kind::SETTINGS, 0, 0, b""));
        while let Ok(head) = conn.try_read_exact(9) {
            let Ok(payload) = conn.try_read_exact(usize::from(head[2])) else { return };
            if head[3] == kind::PING {
                conn.send(raw_frame(kind::PING, 1, 0, &payload));
            }
        }
    });
    let proxy = before(&format!("h2c://{}", backend.address()));
    let clients: Vec<_> = (0..3).map(|_| h1_socket(&proxy)).collect();
    let h2 = h2(&proxy);
    let socket = h2.socket();
    assert_eq!(prefaces.try_iter().count(), 1);
    drop((clients, socket));
}

#[test]
fn sockets_share_a_connection_up_to_the_streams_that_the_backend_takes() {
    let mut settings = settings();
    settings.max_concurrent_streams(2);
    let backend = H2Backend::scripted_with(settings, usize::MAX, echo);
    let proxy = before(&backend.url());
    let mut clients: Vec<_> = (0..5).map(|_| h1_socket(&proxy)).collect();
    for client in &mut clients {
        assert_echo(client, b"hello");
    }
    assert_eq!(backend.connections(), 3);
    let mut one = clients.remove(0);
    one.fin();
    one.expect_fin();
    proxy.wait_for_message("tunnel closed", 0);
    assert_echo(&mut h1_socket(&proxy), b"hello");
    assert_eq!(backend.connections(), 3, "a place that was given back is taken again");
}

#[test]
fn a_goaway_of_the_backend_leaves_its_sockets_alone_and_takes_no_new_ones() {
    let backend = H2Backend::scripted_with(settings(), 1, echo);
    let proxy = before(&backend.url());
    let mut first = h1_socket(&proxy);
    assert_echo(&mut first, b"hello");
    let mut second = h1_socket(&proxy);
    assert_echo(&mut second, b"hello");
    assert_echo(&mut first, b"still here");
    assert_eq!(backend.connections(), 2);
}

#[test]
fn ends_and_resets_pass_between_an_h1_client_and_an_h2_backend() {
    let (sender, ends) = channel();
    let backend = sockets(move |mut call: Call| {
        let sender = sender.clone();
        async move {
            let mut send = call.respond.send_response(Response::new(()), false).unwrap();
            let part = call.request.body_mut().data().await.unwrap().unwrap();
            if part == "reset" {
                send.send_data(Bytes::from_static(b"last"), false).unwrap();
                call.request.body_mut().data().await; // that it was read
                return send.send_reset(Reason::INTERNAL_ERROR);
            }
            let end = loop {
                match call.request.body_mut().data().await {
                    Some(Ok(empty)) => assert!(empty.is_empty()), // END_STREAM may have a frame of its own
                    Some(Err(error)) => break error.reason(),
                    None => break None,
                }
            };
            sender.send(end).unwrap();
            send.send_data(Bytes::from_static(b"last"), true).ok();
        }
    });
    let proxy = before(&backend.url());
    let mut client = h1_socket(&proxy);
    client.send("fin");
    client.fin();
    client.expect("last");
    client.expect_fin();
    assert_eq!(ends.recv_timeout(LIMIT), Ok(None), "END_STREAM");

    let mut client = h1_socket(&proxy);
    client.send("x");
    proxy.wait_for_message("tunnel opened", 1);
    std::thread::sleep(SILENCE); // a reset destroys what was not read yet
    client.reset();
    assert_eq!(ends.recv_timeout(LIMIT), Ok(Some(Reason::CANCEL)));

    let mut client = h1_socket(&proxy);
    client.send("reset");
    client.expect("last");
    client.send("read");
    client.expect_reset();
}

#[test]
fn a_stream_that_the_backend_refuses_goes_to_the_next_server() {
    let refuses = sockets(|mut call: Call| async move { call.respond.send_reset(Reason::REFUSED_STREAM) });
    let agrees = sockets(echo);
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[backend.peer]\nservers = [\"{}\", \"{}\"]\n[[route]]\nbackend = \"peer\"\n",
        refuses.url(),
        agrees.url()
    );
    let proxy = Proxy::start(&text);
    for _ in 0..4 {
        assert_echo(&mut h1_socket(&proxy), b"hello");
    }
    assert!(refuses.connections() > 0, "it was asked");
}

#[test]
fn a_stream_that_the_backend_resets_before_its_answer_is_502() {
    let backend = sockets(|mut call: Call| async move { call.respond.send_reset(Reason::INTERNAL_ERROR) });
    let proxy = before(&backend.url());
    let (answer, _) = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    assert_eq!(answer.status(), 502);
    assert_eq!(h2(&proxy).settled().ask(connect(&[])).answer().status, 502);
}

#[test]
fn a_backend_that_wants_http_1_1_for_it_is_asked_so() {
    let backend = Backend::scripted(|conn, _| {
        if conn.read_exact(3) == b"GET" {
            let offer = conn.read_head();
            conn.send(answer_101(&offer));
            conn.wait_for_any_end();
            return;
        }
        conn.read_exact(21);
        conn.send(raw_frame(kind::SETTINGS, 0, 0, &[0, 8, 0, 0, 0, 1]));
        while let Ok(head) = conn.try_read_exact(9) {
            let Ok(payload) = conn.try_read_exact(usize::from(head[1]) << 8 | usize::from(head[2])) else { return };
            if head[3] == kind::PING && head[4] == 0 {
                conn.send(raw_frame(kind::PING, 1, 0, &payload));
            } else if head[3] == kind::HEADERS {
                conn.send(raw_frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 0xd])); // HTTP_1_1_REQUIRED
            }
        }
    });
    let proxy = before(&format!("h2c://{}", backend.address()));
    drop(h1_socket(&proxy));
}

#[test]
fn a_backend_without_an_answer_is_504_when_the_handshakes_time_is_over() {
    let (sender, ends) = channel();
    let backend = sockets(move |mut call: Call| {
        let sender = sender.clone();
        async move {
            let reset = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
            sender.send(reset.unwrap()).unwrap();
        }
    });
    let proxy = before_with(&backend.url(), "timeouts.handshake = \"400ms\"", "");
    let (answer, _) = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    assert_eq!(answer.status(), 504);
    assert_eq!(ends.recv_timeout(LIMIT), Ok(Reason::CANCEL), "the backend is told");
}

#[test]
fn clients_that_take_nothing_do_not_stop_the_others_on_the_backends_connection() {
    let backend = sockets(|mut call: Call| async move {
        let mut send = call.respond.send_response(Response::new(()), false).unwrap();
        if call.request.uri().path() != "/floods" {
            let part = call.request.body_mut().data().await.unwrap().unwrap();
            return send.send_data(part, true).unwrap();
        }
        let block = Bytes::from(vec![0; 16 << 10]);
        loop {
            send.reserve_capacity(block.len());
            match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(Ok(room)) if send.send_data(block.slice(..room), false).is_ok() => {}
                _ => return,
            }
        }
    });
    let proxy = before(&backend.url());
    let stalled: Vec<_> = (0..30)
        .map(|_| {
            let mut client = proxy.connect_and_send(Offer::new().first("GET /floods HTTP/1.1").bytes());
            assert_eq!(client.read_head().status(), 101);
            client
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500)); // until each is full
    for _ in 0..10 {
        let mut client = h1_socket(&proxy);
        client.send("hello");
        client.expect("hello");
        client.expect_fin();
    }
    assert_eq!(backend.connections(), 1);
    drop(stalled);
}
