//! What is too large, too many or too slow gets its answer and its end in time, and nothing else suffers.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use kit::*;
use socket2::{Domain, Socket, Type};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A request of exactly so many bytes.
fn request_of(bytes: usize) -> String {
    let rest = "GET / HTTP/1.1\r\nHost: x\r\nX-Fill: \r\n\r\n".len();
    format!("GET / HTTP/1.1\r\nHost: x\r\nX-Fill: {}\r\n\r\n", "a".repeat(bytes - rest))
}

/// A request with so many lines of fields.
fn request_with(lines: usize) -> String {
    let fields = (1..lines).fold(String::new(), |all, n| all + &format!("X-{n}: a\r\n"));
    format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

#[track_caller]
fn expect_refusal(proxy: &Proxy, client: &mut Conn, status: u16) {
    let (head, _) = client.read_answer();
    assert_eq!(head.status(), status, "{head}");
    assert!(head.has_token("connection", "close"), "{head}");
    client.expect_fin();
    let record = proxy.wait_for_log(|line| line.message() == "request" && line.text("status") == status.to_string(), LIMIT);
    assert_eq!(record.text("fault"), "client", "{}", record.raw);
}

#[track_caller]
fn expect_closed_after(client: &mut Conn, since: Instant, time: Duration) {
    client.expect_fin();
    assert!(since.elapsed() >= time, "closed after {:?}, not {time:?}", since.elapsed());
}

// How large a head may be.

#[test]
fn a_head_of_the_limit_passes_and_a_larger_one_gets_431_and_no_backend() {
    let backend = Backend::http(200, "ok");
    let proxy = Proxy::before_with(&backend, "limits.header_bytes = \"4KiB\"", "");
    let mut client = proxy.connect_and_send(request_of(4096));
    assert_eq!(client.read_answer().0.status(), 200);
    client.send(request_of(4097));
    expect_refusal(&proxy, &mut client, 431);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_431_arrives_although_the_client_sent_more_than_was_read() {
    let backend = Backend::http(200, "ok");
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(request_of(90 << 10));
    expect_refusal(&proxy, &mut client, 431);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_head_that_comes_in_small_pieces_has_the_same_limit() {
    let backend = Backend::http(200, "ok");
    let proxy = Proxy::before_with(&backend, "limits.header_bytes = \"1KiB\"", "");
    let mut client = proxy.connect();
    client.send_in_single_bytes(request_of(1024));
    assert_eq!(client.read_answer().0.status(), 200);
    let head = request_of(1200);
    client.send_in_single_bytes(&head[..1024]);
    expect_refusal(&proxy, &mut client, 431);
}

#[test]
fn as_many_lines_as_the_limit_pass_and_one_more_gets_431() {
    for (limit, config) in [(100, ""), (20, "limits.header_count = 20"), (300, "limits.header_count = 300")] {
        let backend = Backend::http(200, "ok");
        let proxy = Proxy::before_with(&backend, config, "");
        let mut client = proxy.connect_and_send(request_with(limit));
        assert_eq!(client.read_answer().0.status(), 200, "{limit}");
        client.send(request_with(limit + 1));
        expect_refusal(&proxy, &mut client, 431);
    }
}

#[test]
fn a_target_that_fills_the_limit_alone_gets_414() {
    for config in ["", "limits.header_bytes = \"1MiB\""] {
        let backend = Backend::http(200, "ok");
        let proxy = Proxy::before_with(&backend, config, "");
        let mut client = proxy.connect_and_send(format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70_000)));
        expect_refusal(&proxy, &mut client, 414);
        assert_eq!(backend.connections(), 0);
    }
}

#[test]
fn a_head_of_a_megabyte_passes_where_the_limit_allows_it() {
    let backend = Backend::http(200, "ok");
    let proxy = Proxy::before_with(&backend, "limits.header_bytes = \"1MiB\"", "");
    let mut client = proxy.connect_and_send(request_of(900 << 10));
    assert_eq!(client.read_answer().0.status(), 200);
    assert!(backend.head().value("x-fill").unwrap().len() > 800 << 10);
}

#[test]
fn an_offer_has_the_limits_of_any_request() {
    let backend = Backend::echo();
    let proxy = Proxy::before_with(&backend, "limits = { header_bytes = \"2KiB\", header_count = 10 }", "");
    for offer in [
        Offer::new().line(&format!("X-Fill: {}", "a".repeat(2048))),
        (0..10).fold(Offer::new(), |offer, n| offer.line(&format!("X-{n}: a"))),
    ] {
        expect_refusal(&proxy, &mut proxy.connect_and_send(offer.bytes()), 431);
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn an_h2_head_over_the_limit_gets_431_and_the_connection_goes_on() {
    let backend = Backend::http(200, "ok");
    let proxy = Proxy::before_with(&backend, "limits.header_bytes = \"4KiB\"", "");
    let client = H2::connect(proxy.address(0));
    let large = http::Request::get("http://x/").header("x-fill", "a".repeat(5000)).body(()).unwrap();
    assert_eq!(client.request(large, None, None).expect("an answer").status, 431);
    assert_eq!(client.get("http://x/").status, 200);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn no_more_h2_streams_at_once_than_allowed() {
    let backend = Backend::silent();
    let proxy = Proxy::before_with(&backend, "limits.h2_streams = 2", "");
    let mut client = Frames::connect(proxy.address(0));
    let settings = client.read_kind(kind::SETTINGS);
    let allowed = [0, 3, 0, 0, 0, 2]; // SETTINGS_MAX_CONCURRENT_STREAMS = 2
    assert!(settings.payload.chunks(6).any(|setting| setting == allowed), "{settings:?}");
    client.send(kind::SETTINGS, 1, 0, b""); // acknowledged: from now on it holds
    for stream in [1, 3, 5] {
        client.get(stream);
    }
    let refused = client.read_kind(kind::RST_STREAM);
    assert_eq!((refused.stream, refused.payload), (5, vec![0, 0, 0, 7]), "REFUSED_STREAM");
    backend.wait_for_connections(2);
}

// A client's time.

#[test]
fn a_head_that_is_not_finished_in_time_gets_408_however_it_drips() {
    let backend = Backend::http(200, "ok");
    let proxy = Proxy::before_with(&backend, "timeouts = { head = \"400ms\", keep_alive = \"30s\" }", "");
    let mut client = proxy.connect();
    let begun = Instant::now();
    for byte in GET.bytes().take(6) {
        client.send([byte]);
        client.expect_silence(ms(50));
    }
    let (head, _) = client.read_answer();
    assert_eq!(head.status(), 408);
    let after = begun.elapsed();
    assert!(after >= ms(400) && after < ms(2000), "{after:?}");
    client.expect_fin();
    let record = proxy.request_record(0);
    assert_eq!((record.text("status").as_str(), record.text("fault").as_str()), ("408", "client"), "{}", record.raw);
    assert_eq!(backend.connections(), 0);
    proxy.assert_idle();
}

#[test]
fn empty_lines_are_no_head_and_do_not_keep_a_connection() {
    let backend = Backend::http(200, "ok");
    let proxy = Proxy::before_with(&backend, "timeouts = { head = \"5s\", keep_alive = \"400ms\" }", "");
    let mut client = proxy.connect_and_send(GET);
    client.read_answer();
    let since = Instant::now();
    let (mut reader, mut writer) = client.split();
    let dripping = std::thread::spawn(move || {
        while since.elapsed() < ms(3000) && writer.try_send("\r\n").is_ok() {
            std::thread::sleep(ms(50)); // slow is what is tested
        }
    });
    reader.expect_any_end();
    assert!(since.elapsed() >= ms(350) && since.elapsed() < ms(2000), "{:?}", since.elapsed());
    drop(reader);
    dripping.join().unwrap();
}

#[test]
fn a_connection_that_waits_for_its_next_request_has_a_clock_of_its_own() {
    let backend = Backend::http(200, "ok");
    let proxy = Proxy::before_with(&backend, "timeouts = { head = \"200ms\", keep_alive = \"700ms\" }", "");
    let mut client = proxy.connect_and_send(GET);
    client.read_answer();
    client.expect_silence(ms(400)); // the time for a head does not concern it
    client.send(GET);
    client.read_answer();
    let since = Instant::now();
    expect_closed_after(&mut client, since, ms(600));
}

#[test]
fn a_connection_that_sends_nothing_at_all_has_the_same_clock() {
    let backend = Backend::http(200, "ok");
    let proxy = Proxy::before_with(&backend, "timeouts = { head = \"200ms\", keep_alive = \"700ms\" }", "");
    let since = Instant::now();
    let mut client = proxy.connect();
    let mut late = proxy.connect();
    late.expect_silence(ms(400));
    late.send(GET);
    assert_eq!(late.read_answer().0.status(), 200);
    expect_closed_after(&mut client, since, ms(650));
}

#[test]
fn a_short_idle_time_does_not_shorten_the_time_for_a_head() {
    let backend = Backend::http(200, "ok");
    let proxy = Proxy::before_with(&backend, "timeouts = { head = \"5s\", keep_alive = \"200ms\" }", "");
    let mut client = proxy.connect_and_send(&GET[..9]);
    client.expect_silence(ms(500));
    client.send(&GET[9..]);
    assert_eq!(client.read_answer().0.status(), 200);
}

#[test]
fn a_request_in_the_making_is_no_idle_connection() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.expect_silence(ms(600));
        conn.send(http(200, "late"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before_with(&backend, "timeouts = { head = \"200ms\", keep_alive = \"200ms\" }", "");
    let mut client = proxy.connect_and_send(GET);
    assert_eq!(client.read_answer().1.text(), "late");
}

#[test]
fn an_idle_h2_connection_ends_with_goaway_though_the_client_reacts_to_nothing() {
    let backend = Backend::http(200, "ok");
    let proxy = Proxy::before_with(&backend, "timeouts = { head = \"300ms\", keep_alive = \"400ms\" }", "");
    let mut client = Frames::connect(proxy.address(0));
    client.send(kind::SETTINGS, 1, 0, b"");
    client.get(1);
    let since = Instant::now();
    let goaway = client.read_kind(kind::GOAWAY);
    assert_eq!(goaway.payload[4..8], [0; 4], "NO_ERROR");
    assert!(since.elapsed() >= ms(400), "{:?}", since.elapsed());
    client.read_to_end();
    assert!(since.elapsed() < LIMIT / 2, "{:?}", since.elapsed());
    proxy.assert_idle();
}

#[test]
fn an_h2_stream_that_waits_is_no_idle_connection() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.expect_silence(ms(900));
        conn.send(http(200, "late"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before_with(&backend, "timeouts = { head = \"200ms\", keep_alive = \"300ms\" }", "");
    assert_eq!(H2::connect(proxy.address(0)).get("http://x/").body, b"late");
}

/// Answers without an end, until it cannot.
fn endless() -> Backend {
    Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 200 OK\r\n\r\n");
        while conn.try_send([b'a'; 16 << 10]).is_ok() {}
    })
}

#[test]
fn a_client_that_takes_nothing_of_an_answer_is_given_up_in_time() {
    let backend = endless();
    let proxy = Proxy::before_with(&backend, "timeouts.send = \"500ms\"", "");
    let client = proxy.connect_and_send(GET);
    backend.wait_for_connections(1);
    backend.wait_until_idle(); // it was cut off, and not before its time
    let record = proxy.request_record(0);
    assert_eq!(record.text("fault"), "client", "{}", record.raw);
    proxy.wait_for_log(|line| line.says("took no bytes in time"), LIMIT);
    proxy.assert_idle();
    drop(client);
}

#[test]
fn a_tls_client_that_takes_nothing_is_given_up_in_time() {
    let backend = endless();
    let authority = Authority::new();
    let identity = authority.identity(&["x.test"]);
    let text = "timeouts.send = \"500ms\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen.certificate]]\nchain = \"c.pem\"\n\
        key = \"k.pem\"\n[[route]]\nbackend = \"{backend}\"";
    let setup = Proxy::setup(text).file("c.pem", &identity.chain_pem).file("k.pem", &identity.key_pem);
    let proxy = setup.put("backend", backend.url()).start();
    let mut client = Conn::connect_tls(proxy.address(0), "x.test", authority.client(&["http/1.1"]));
    client.send(GET);
    backend.wait_for_connections(1);
    backend.wait_until_idle();
    proxy.wait_for_log(|line| line.says("took no bytes in time"), LIMIT);
    drop(client);
}

#[test]
fn an_h2_client_that_opens_its_windows_and_takes_nothing_is_given_up_in_time() {
    let backend = endless();
    let proxy = Proxy::before_with(&backend, "timeouts.send = \"500ms\"", "");
    let mut client = Frames::connect(proxy.address(0));
    client.send(kind::SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]); // SETTINGS_INITIAL_WINDOW_SIZE: all
    client.send(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0]);
    client.send(kind::SETTINGS, 1, 0, b"");
    client.get(1);
    backend.wait_for_connections(1);
    backend.wait_until_idle();
    proxy.wait_for_log(|line| line.says("took no bytes in time"), LIMIT);
    proxy.assert_idle();
}

#[test]
fn a_client_that_takes_an_answer_slowly_is_served_for_as_long_as_it_takes() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 16777216\r\n\r\n");
        conn.send(vec![b'a'; 16 << 20]);
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before_with(&backend, "timeouts.send = \"1s\"", "");
    let mut client = proxy.connect();
    client.receive_buffer(64 << 10);
    client.send(GET);
    let (began, mut rested) = (Instant::now(), Instant::now());
    let head = client.read_head();
    let mut got = 0;
    let body = client.pour_body(&head, |part| {
        got += part.len();
        if began.elapsed() < ms(2500) && rested.elapsed() > ms(10) {
            std::thread::sleep(ms(150)); // slow is what is tested
            rested = Instant::now();
        }
    });
    assert!(body.is_ok() && got == 16 << 20, "{body:?} after {got} bytes");
}

#[test]
fn a_client_that_stops_within_its_body_gets_408() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        conn.try_read_body(&head).unwrap_err();
    });
    let proxy = Proxy::before_with(&backend, "timeouts.answer = \"400ms\"", "");
    for start in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n5\r\nhal"] {
        let mut client = proxy.connect_and_send(format!("POST / HTTP/1.1\r\nHost: x\r\n{start}"));
        let since = Instant::now();
        expect_refusal(&proxy, &mut client, 408);
        assert!(since.elapsed() < ms(3000), "{:?}", since.elapsed());
    }
}

// A backend's time.

#[test]
fn a_backend_that_stops_reading_an_upload_is_a_504_in_time() {
    let (over, until_over) = channel::<()>();
    let until_over = Mutex::new(until_over);
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        until_over.lock().unwrap().recv().unwrap_err();
    });
    let proxy = Proxy::before_with(&backend, "timeouts.answer = \"500ms\"", "");
    let before = proxy.open_files();
    let client = proxy.connect_and_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n");
    let (mut reader, mut writer) = client.split();
    let sending = std::thread::spawn(move || while writer.try_send([b'a'; 16 << 10]).is_ok() {});
    assert_eq!(reader.read_head().status(), 504);
    assert_eq!(proxy.request_record(0).text("fault"), "backend");
    reader.wait_for_any_end();
    drop(reader);
    sending.join().unwrap();
    proxy.wait_for_open_files(before); // neither connection is kept, although the backend still is there
    proxy.assert_idle();
    drop(over);
}

#[track_caller]
fn expect_504(config: &str, url: &str, request: impl AsRef<[u8]>) {
    let text = format!("{config}\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nbackend = \"{url}\"\n");
    let proxy = Proxy::start(&text);
    let since = Instant::now();
    let mut client = proxy.connect_and_send(request);
    let (head, body) = client.read_answer();
    let after = since.elapsed();
    assert_eq!(head.status(), 504, "{head}");
    assert!(after >= ms(400) && after < ms(3000), "{after:?}");
    let record = proxy.request_record(0);
    assert_eq!(record.text("fault"), "backend");
    assert!(body.text().contains(&record.text("id")) && !body.text().contains("127.0.0.1"), "{}", body.text());
}

#[test]
fn a_backend_that_does_not_answer_is_a_504_in_time() {
    let backend = Backend::silent();
    expect_504("timeouts.answer = \"400ms\"", &backend.url(), GET);
}

#[test]
fn a_backend_that_does_not_answer_a_handshake_is_a_504_in_time() {
    let backend = Backend::silent();
    expect_504("timeouts.handshake = \"400ms\"", &backend.url(), Offer::new().bytes());
}

#[test]
fn a_backend_that_stops_within_its_answer_to_a_handshake_is_a_504_in_time() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 101 Switching");
        conn.wait_for_any_end();
    });
    expect_504("timeouts.handshake = \"400ms\"", &backend.url(), Offer::new().bytes());
}

/// A port whose kernel queue is full: connects to it are neither taken nor refused.
struct FullPort {
    listener: Socket,
    _queued: Vec<Socket>,
}

impl FullPort {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            if socket.connect_timeout(&address, ms(300)).is_err() {
                return Self { listener, _queued: queued };
            }
            queued.push(socket);
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap().as_socket().unwrap())
    }
}

#[test]
fn a_backend_that_does_not_take_a_connection_is_a_504_in_time() {
    let full = FullPort::new();
    expect_504("timeouts.connect = \"400ms\"", &full.url(), GET);
    expect_504("timeouts.connect = \"400ms\"", &full.url(), Offer::new().bytes());
}

#[test]
fn the_handshakes_time_includes_that_of_connecting() {
    let full = FullPort::new();
    expect_504("timeouts = { connect = \"30s\", handshake = \"400ms\" }", &full.url(), Offer::new().bytes());
}

// How large a backend's head may be.

#[test]
fn a_backends_head_over_the_limits_is_a_502() {
    let fields = (0..101).fold(String::new(), |all, n| all + &format!("X-{n}: a\r\n"));
    for answer in [
        format!("HTTP/1.1 200 OK\r\nX-Fill: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(40 << 10)),
        format!("HTTP/1.1 200 OK\r\nX-Fill: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(1 << 20)),
        format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n"),
    ] {
        let backend = Backend::scripted(move |conn, _| {
            conn.read_head();
            conn.try_send(&answer).ok();
            conn.wait_for_any_end();
        });
        let proxy = Proxy::before(&backend);
        for (n, request) in [GET.as_bytes().to_vec(), Offer::new().bytes()].into_iter().enumerate() {
            let mut client = proxy.connect_and_send(request);
            assert_eq!(client.read_answer().0.status(), 502);
            let record = proxy.request_record(n);
            assert_eq!((record.text("fault").as_str(), record.text("status").as_str()), ("backend", "502"));
        }
    }
}

// How many connections.

#[test]
fn connections_over_the_limit_wait_in_the_kernels_queue_and_none_is_lost() {
    let backend = Backend::echo();
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\nmax_connections = 2\n[[route]]\nbackend = \"{backend}\"";
    let proxy = Proxy::setup(text).put("backend", backend.url()).start();
    let open = || {
        let mut client = proxy.connect_and_send(Offer::new().bytes());
        client.read_head();
        client
    };
    let (first, mut second) = (open(), open());
    let mut waiting: Vec<Conn> = (0..20).map(|_| proxy.connect_and_send(Offer::new().bytes())).collect();
    for client in &mut waiting {
        client.expect_silence(ms(10));
    }
    second.send("there");
    second.expect("there");
    assert_eq!(backend.connections(), 2);
    drop((first, second));
    for mut client in waiting {
        assert_eq!(client.read_head().status(), 101); // in their order, each when another has gone
    }
    proxy.assert_idle();
}

#[test]
fn the_limit_of_one_listener_is_not_that_of_another() {
    let backend = Backend::http(200, "ok");
    let listen = "[[listen]]\naddress = \"127.0.0.1:0\"\nmax_connections = 1\n";
    let proxy =
        Proxy::setup(&format!("{listen}{listen}[[route]]\nbackend = \"{{backend}}\"")).put("backend", backend.url()).start();
    let _busy = proxy.connect_and_send("GET");
    let mut other = Conn::connect(proxy.address(1));
    other.send(GET);
    assert_eq!(other.read_answer().0.status(), 200);
}

#[test]
fn an_h2_connection_in_use_is_not_idle_however_short_its_requests_are() {
    let backend = Backend::http(200, "quick");
    let proxy = Proxy::before_with(&backend, "timeouts = { head = \"200ms\", keep_alive = \"400ms\" }", "");
    let client = H2::connect(proxy.address(0));
    let since = Instant::now();
    while since.elapsed() < ms(1500) {
        assert_eq!(client.get("http://x/").body, b"quick", "after {:?}", since.elapsed());
        std::thread::sleep(ms(20)); // a client that thinks, not a wait for something
    }
}
