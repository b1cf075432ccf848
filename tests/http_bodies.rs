//! Bodies on their way through: streamed both ways and never gathered, cut where they were cut, with their
//! trailers, within their limits; and given up when either side has gone.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use http::Request;
use kit::*;

const GET: &str = "GET /path HTTP/1.1\r\nHost: server.example.com\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A signal between a test and a script: whoever waits for it goes on when it is given.
struct Signal {
    give: Sender<()>,
    wait: Mutex<Receiver<()>>,
}

impl Signal {
    fn new() -> std::sync::Arc<Self> {
        let (give, wait) = channel();
        std::sync::Arc::new(Self { give, wait: Mutex::new(wait) })
    }

    fn give(&self) {
        self.give.send(()).unwrap();
    }

    #[track_caller]
    fn wait(&self) {
        self.wait.lock().unwrap().recv_timeout(LIMIT).expect("a signal in time");
    }
}

fn chunk(bytes: &str) -> String {
    format!("{:x}\r\n{bytes}\r\n", bytes.len())
}

// --- streaming -------------------------------------------------------------------------------------------

#[test]
fn an_event_reaches_the_client_within_100_ms() {
    let (go, sent) = (Signal::new(), channel());
    let (going, sending) = (go.clone(), sent.0);
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for n in 0..5 {
            going.wait();
            sending.send(Instant::now()).unwrap();
            conn.send(chunk(&format!("data: {n}\n\n")));
        }
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(GET);
    client.read_head().assert_line("Content-Type: text/event-stream");
    for n in 0..5 {
        client.expect_silence(Duration::from_millis(20));
        go.give();
        client.expect(chunk(&format!("data: {n}\n\n")));
        let took = sent.1.recv().unwrap().elapsed();
        assert!(took < Duration::from_millis(100), "event {n}: {took:?}");
    }
}

#[test]
fn the_head_of_an_answer_does_not_wait_for_its_body() {
    let go = Signal::new();
    let going = go.clone();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        going.wait();
        conn.send("body");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(GET);
    assert_eq!(client.read_head().status(), 200);
    go.give();
    client.expect("body");
}

#[test]
fn an_answer_without_a_length_streams_until_the_backend_closes() {
    let go = Signal::new();
    let going = go.clone();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 200 OK\r\n\r\n<script>1</script>");
        going.wait();
        conn.send("<script>2</script>");
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(GET);
    client.read_head().assert_line("Transfer-Encoding: chunked");
    client.expect(chunk("<script>1</script>"));
    client.expect_silence(SILENCE);
    go.give();
    client.expect(chunk("<script>2</script>") + "0\r\n\r\n");
}

#[test]
fn each_part_of_a_request_reaches_the_backend_before_the_next_is_sent() {
    let seen = Signal::new();
    let heard = seen.clone();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head().assert_line("Transfer-Encoding: chunked");
        for n in 0..5 {
            conn.expect(chunk(&format!("part {n}")));
            heard.give();
        }
        conn.expect("0\r\n\r\n");
        conn.send(http(200, "fine"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for n in 0..5 {
        client.send(chunk(&format!("part {n}")));
        seen.wait();
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read_answer().1.text(), "fine");
}

#[test]
fn an_answer_may_begin_and_flow_while_the_request_still_does() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send(CHUNKED);
        for n in 0..5 {
            conn.expect(chunk(&format!("ping {n}")));
            conn.send(chunk(&format!("pong {n}")));
        }
        conn.expect("0\r\n\r\n");
        conn.send("0\r\n\r\n");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.read_head().status(), 200);
    for n in 0..5 {
        client.send(chunk(&format!("ping {n}")));
        client.expect(chunk(&format!("pong {n}")));
    }
    client.send("0\r\n\r\n");
    client.expect("0\r\n\r\n");
}

#[test]
fn a_long_poll_is_answered_when_there_is_something_to_say() {
    let said = Signal::new();
    let hearing = said.clone();
    let backend = Backend::scripted(move |conn, _| {
        let head = conn.read_head();
        if head.target() == "/poll" {
            hearing.wait();
        } else {
            hearing.give();
        }
        conn.send(http(200, "news"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut poll = proxy.connect_and_send("GET /poll HTTP/1.1\r\nHost: a\r\n\r\n");
    poll.expect_silence(Duration::from_secs(1));
    proxy.connect_and_send("POST /say HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").read_answer();
    assert_eq!(poll.read_answer().1.text(), "news");
}

// --- trailers --------------------------------------------------------------------------------------------

#[test]
fn trailers_of_an_answer_reach_a_client_that_takes_them() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head().assert_line("TE: trailers");
        conn.send("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\n\r\n");
    let (head, body) = client.read_answer();
    head.assert_line("Trailer: X-Sum");
    assert_eq!((body.text().as_str(), body.trailers.len()), ("body", 1), "{body:?}");
    assert!(body.trailers[0].eq_ignore_ascii_case("x-sum: 42"), "{body:?}");
}

#[test]
fn trailers_of_an_answer_do_not_reach_a_client_that_does_not_take_them() {
    let answer = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n";
    let backend = Backend::answering(answer);
    let proxy = Proxy::before(&backend);
    let (_, body) = proxy.connect_and_send(GET).read_answer();
    assert_eq!((body.text().as_str(), body.trailers.len()), ("body", 0), "{body:?}");
}

#[test]
fn trailers_of_a_request_reach_the_backend() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        let body = conn.read_body(&head);
        assert_eq!((body.text().as_str(), body.trailers.len()), ("body", 1), "{body:?}");
        assert!(body.trailers[0].eq_ignore_ascii_case("x-sum: 42"), "{body:?}");
        conn.send(http(200, "fine"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(
        "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n",
    );
    assert_eq!(client.read_answer().1.text(), "fine");
}

// --- cut answers -----------------------------------------------------------------------------------------

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum Client {
    Http11,
    Http10,
    Http2,
}

/// How the backend's answer, of which `begun` has arrived, comes to its early end.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// A FIN; over TLS one without `close_notify`.
    Fin,
    Reset,
}

/// Before a backend of `localhost` that this authority has signed.
fn before_tls(backend: &Backend, authority: &Authority) -> Proxy {
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[backend.b]\nservers = [\"{url}\"]\nca = \"ca.pem\"\n[[route]]\nbackend = \"b\"\n";
    Proxy::setup(text).put("url", backend.url_as("localhost")).file("ca.pem", authority.pem()).start()
}

/// An answer that breaks off is an error at the client, never a whole answer, and the record says so.
fn arrives_cut(begun: &'static str, cut: Cut, tls: bool, client: Client) {
    let arrived = Signal::new();
    let arriving = arrived.clone();
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let script = move |conn: &mut Conn, _: usize| {
        conn.read_head();
        conn.send(begun);
        arriving.wait();
        match cut {
            Cut::Fin => conn.cut(),
            Cut::Reset => return conn.end_with_a_reset(),
        }
        conn.wait_for_any_end();
    };
    let backend = if tls { Backend::scripted_tls(&identity, script) } else { Backend::scripted(script) };
    let proxy = if tls { before_tls(&backend, &authority) } else { Proxy::before(&backend) };
    match client {
        Client::Http11 | Client::Http10 => {
            let version = if matches!(client, Client::Http11) { "1.1" } else { "1.0" };
            let mut client = proxy.connect_and_send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
            let head = client.read_head();
            assert_eq!(head.status(), 200);
            arrived.give();
            let got = client.try_read_body(&head).map(|body| body.text());
            assert!(got.is_err(), "a whole answer of {got:?}");
        }
        Client::Http2 => {
            let h2 = H2::connect(proxy.address(0));
            h2.run(async {
                let mut sender = h2.sender().ready().await.unwrap();
                let request = Request::get("http://a/").body(()).unwrap();
                let (answer, _) = sender.send_request(request, true).unwrap();
                let mut body = answer.await.unwrap().into_body();
                arrived.give();
                loop {
                    match body.data().await {
                        Some(Ok(_)) => {}
                        Some(Err(_)) => break,
                        None => panic!("a whole answer"),
                    }
                }
            });
        }
    }
    let record = proxy.request_record(0);
    assert_eq!((record.count("status"), record.text("fault").as_str()), (200, "backend"), "{}", record.raw);
    assert!(record.text("why").contains("cut short"), "{}", record.raw);
}

const SHORT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun";
const NO_LAST_CHUNK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n";
const WITHIN_A_CHUNK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nbegun";
const BEHIND_THE_LAST_CHUNK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n0\r\n";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\nbegun";

rows! { arrives_cut {
    short_of_its_length_to_1_1: SHORT, Cut::Fin, false, Client::Http11;
    short_of_its_length_to_1_0: SHORT, Cut::Fin, false, Client::Http10;
    short_of_its_length_to_h2: SHORT, Cut::Fin, false, Client::Http2;
    without_its_last_chunk_to_1_1: NO_LAST_CHUNK, Cut::Fin, false, Client::Http11;
    without_its_last_chunk_to_1_0: NO_LAST_CHUNK, Cut::Fin, false, Client::Http10;
    without_its_last_chunk_to_h2: NO_LAST_CHUNK, Cut::Fin, false, Client::Http2;
    within_a_chunk_to_1_1: WITHIN_A_CHUNK, Cut::Fin, false, Client::Http11;
    within_a_chunk_to_1_0: WITHIN_A_CHUNK, Cut::Fin, false, Client::Http10;
    behind_its_last_chunk_to_1_1: BEHIND_THE_LAST_CHUNK, Cut::Fin, false, Client::Http11;
    without_close_notify_to_1_1: UNTIL_CLOSE, Cut::Fin, true, Client::Http11;
    without_close_notify_to_1_0: UNTIL_CLOSE, Cut::Fin, true, Client::Http10;
    without_close_notify_to_h2: UNTIL_CLOSE, Cut::Fin, true, Client::Http2;
    short_of_its_length_over_tls_to_1_1: SHORT, Cut::Fin, true, Client::Http11;
    without_its_last_chunk_over_tls_to_h2: NO_LAST_CHUNK, Cut::Fin, true, Client::Http2;
    by_a_reset_to_1_1: UNTIL_CLOSE, Cut::Reset, false, Client::Http11;
    by_a_reset_to_1_0: UNTIL_CLOSE, Cut::Reset, false, Client::Http10;
    by_a_reset_to_h2: UNTIL_CLOSE, Cut::Reset, false, Client::Http2;
    by_a_reset_within_its_length_to_1_1: SHORT, Cut::Reset, false, Client::Http11;
}}

#[test]
fn an_answer_over_tls_that_ends_with_close_notify_is_whole() {
    let authority = Authority::new();
    let backend = Backend::scripted_tls(&authority.identity(&["localhost"]), |conn, _| {
        conn.read_head();
        conn.send(UNTIL_CLOSE);
        conn.fin();
        conn.wait_for_any_end();
    });
    let proxy = before_tls(&backend, &authority);
    assert_eq!(proxy.connect_and_send(GET).read_answer().1.text(), "begun");
    let (_, body) = proxy.connect_and_send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").read_answer();
    assert_eq!((body.text().as_str(), body.framing), ("begun", Framing::Close));
}

// --- cut requests ----------------------------------------------------------------------------------------

/// A request that breaks off reaches the backend cut, never whole, and within a second.
fn reaches_the_backend_cut(begun: &str, leave: fn(Conn)) {
    let (sender, ends) = channel();
    let begun_there = Signal::new();
    let beginning = begun_there.clone();
    let backend = Backend::scripted(move |conn, _| {
        let head = conn.read_head();
        let cut = conn.pour_body(&head, |part| {
            if !part.is_empty() {
                beginning.give.send(()).ok();
            }
        });
        assert!(cut.is_err(), "a whole request");
        sender.send(Instant::now()).unwrap();
    });
    let proxy = Proxy::before(&backend);
    let client = proxy.connect_and_send(begun);
    begun_there.wait();
    let left = Instant::now();
    leave(client);
    let took = ends.recv_timeout(LIMIT).expect("the backend is told").saturating_duration_since(left);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let record = proxy.request_record(0);
    assert_eq!(record.text("fault"), "client", "{}", record.raw);
}

const SHORT_UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nbegun";
const CHUNKED_UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n";

rows! { reaches_the_backend_cut {
    an_upload_that_ends_short_of_its_length: SHORT_UPLOAD, drop;
    an_upload_that_ends_without_its_last_chunk: CHUNKED_UPLOAD, drop;
    an_upload_that_is_reset: SHORT_UPLOAD, Conn::reset;
    a_chunked_upload_that_is_reset: CHUNKED_UPLOAD, Conn::reset;
}}

#[test]
fn an_upload_with_a_malformed_chunk_is_400_and_reaches_the_backend_cut() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        assert!(conn.try_read_body(&head).is_err());
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send([CHUNKED_UPLOAD, "xyz\r\n"].concat());
    assert_eq!(client.read_answer().0.status(), 400);
    client.expect_any_end();
    assert_eq!(proxy.request_record(0).text("fault"), "client");
}

// --- a client that has gone ------------------------------------------------------------------------------

/// When the client leaves while the backend thinks, the backend's connection ends within a second.
fn is_cancelled_when(leave: fn(Conn) -> Option<Conn>) {
    let (sender, ends) = channel();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.wait_for_any_end();
        sender.send(Instant::now()).unwrap();
    });
    let proxy = Proxy::before(&backend);
    let client = proxy.connect_and_send(GET);
    backend.head();
    let left = Instant::now();
    let _still_there = leave(client);
    let took = ends.recv_timeout(LIMIT).expect("the backend is told").saturating_duration_since(left);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let record = proxy.request_record(0);
    assert_eq!((record.count("status"), record.text("fault").as_str()), (499, "client"), "{}", record.raw);
}

rows! { is_cancelled_when {
    a_client_that_ends_cancels_its_request: |mut client| { client.fin(); Some(client) };
    a_client_that_closes_cancels_its_request: |client| { drop(client); None };
    a_client_that_resets_cancels_its_request: |client| { client.reset(); None };
}}

#[test]
fn fifty_clients_that_go_leave_no_request_behind() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let clients: Vec<Conn> = (0..50).map(|_| proxy.connect_and_send(GET)).collect();
    for _ in 0..50 {
        backend.head();
    }
    let left = Instant::now();
    drop(clients);
    backend.wait_until_idle();
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
}

#[test]
fn a_client_that_goes_within_an_answer_stops_the_backend() {
    let (sender, ends) = channel();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send(CHUNKED);
        let part = chunk(&"x".repeat(1000));
        while conn.try_send(&part).is_ok() {}
        sender.send(Instant::now()).unwrap();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(GET);
    client.read_head();
    client.read_some();
    let left = Instant::now();
    drop(client);
    let took = ends.recv_timeout(LIMIT).expect("the backend is told").saturating_duration_since(left);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let record = proxy.request_record(0);
    assert_eq!((record.count("status"), record.text("fault").as_str()), (200, "client"), "{}", record.raw);
}

#[test]
fn a_client_that_goes_while_an_answer_is_silent_stops_the_backend() {
    let (sender, ends) = channel();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send([CHUNKED, &chunk("one")].concat());
        conn.wait_for_any_end();
        sender.send(Instant::now()).unwrap();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(GET);
    client.read_head();
    client.expect(chunk("one"));
    let left = Instant::now();
    drop(client);
    let took = ends.recv_timeout(LIMIT).expect("the backend is told").saturating_duration_since(left);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

// --- sizes and speeds ------------------------------------------------------------------------------------

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

fn send_zeros(conn: &mut Conn, count: u64) {
    for _ in 0..count / MIB {
        conn.send(ZEROS);
    }
}

/// Counts what must be zeros, and the most memory that the proxy had meanwhile.
struct Counter<'a> {
    proxy: Option<&'a Proxy>,
    count: u64,
    looked: u64,
    most: u64,
}

impl<'a> Counter<'a> {
    fn new(proxy: Option<&'a Proxy>) -> Self {
        Self { proxy, count: 0, looked: 0, most: 0 }
    }

    fn take(&mut self, part: &[u8]) {
        assert!(part == &ZEROS[..part.len()], "zeros");
        self.count += part.len() as u64;
        if let Some(proxy) = self.proxy.filter(|_| self.count >= self.looked) {
            self.looked = self.count + 64 * MIB;
            self.most = self.most.max(proxy.resident());
        }
    }
}

#[test]
fn five_gib_stream_to_the_client_in_bounded_memory() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 5 * GIB));
        send_zeros(conn, 5 * GIB);
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let idle = proxy.resident();
    let mut client = proxy.connect_and_send(GET);
    let head = client.read_head();
    let mut counter = Counter::new(Some(&proxy));
    client.pour_body(&head, |part| counter.take(part)).expect("all of it");
    assert_eq!(counter.count, 5 * GIB);
    assert!(counter.most < idle + 40 * MIB, "{idle} bytes idle, {} at most", counter.most);
    drop(client);
    assert_eq!(proxy.request_record(0).count("bytes_out"), 5 * GIB);
}

#[test]
fn five_gib_stream_to_the_backend_in_bounded_memory() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        let mut counter = Counter::new(None);
        conn.pour_body(&head, |part| counter.take(part)).expect("all of it");
        conn.send(http(200, &counter.count.to_string()));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let idle = proxy.resident();
    let mut client = proxy.connect_and_send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 5 * GIB));
    let mut most = 0;
    for _ in 0..5 * GIB / (64 * MIB) {
        send_zeros(&mut client, 64 * MIB);
        most = most.max(proxy.resident());
    }
    assert_eq!(client.read_answer().1.text(), (5 * GIB).to_string());
    assert!(most < idle + 40 * MIB, "{idle} bytes idle, {most} at most");
    assert_eq!(proxy.request_record(0).count("bytes_in"), 5 * GIB);
}

/// The proxy's memory once it has served a request: its code is loaded, its pools are filled.
fn resident_when_warm(proxy: &Proxy) -> u64 {
    let (head, _) = proxy.connect_and_send("POST /warm HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").read_answer();
    assert_eq!(head.status(), 200);
    proxy.resident()
}

/// The head of the first request that is not for warming.
fn read_head_when_warm(conn: &mut Conn) -> Head {
    loop {
        let head = conn.read_head();
        if head.target() != "/warm" {
            return head;
        }
        conn.read_body(&head);
        conn.send(http(200, "warm"));
    }
}

/// How much was sent when no more could be for a while.
fn sent_when_stalled(parts: &Receiver<u64>) -> u64 {
    let mut sent = 0;
    while let Ok(part) = parts.recv_timeout(Duration::from_millis(400)) {
        sent += part;
    }
    sent
}

/// What the kernels of four sockets may hold; far below what is sent.
const IN_KERNEL: u64 = 24 * MIB;

#[test]
fn a_client_that_does_not_read_stops_the_backend_and_costs_under_1_mib() {
    let (sender, parts) = channel();
    let backend = Backend::scripted(move |conn, _| {
        conn.set_limit(Duration::from_secs(60));
        read_head_when_warm(conn);
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 * MIB));
        for part in ZEROS.chunks(1 << 16).cycle().take(1024) {
            conn.send(part);
            sender.send(part.len() as u64).ok();
        }
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let idle = resident_when_warm(&proxy);
    let mut client = proxy.connect();
    client.receive_buffer(1 << 16);
    client.send(GET);
    let head = client.read_head();
    let sent = sent_when_stalled(&parts);
    assert!(sent < IN_KERNEL, "{sent} bytes were taken from the backend");
    let grown = proxy.resident().saturating_sub(idle);
    assert!(grown < MIB, "{grown} bytes of memory");
    let mut counter = Counter::new(None);
    client.pour_body(&head, |part| counter.take(part)).expect("all of it");
    assert_eq!(counter.count, 64 * MIB);
}

#[test]
fn a_backend_that_does_not_read_stops_the_client_and_costs_under_1_mib() {
    let go = Signal::new();
    let going = go.clone();
    let backend = Backend::scripted(move |conn, _| {
        let head = read_head_when_warm(conn);
        going.wait();
        let mut counter = Counter::new(None);
        conn.pour_body(&head, |part| counter.take(part)).expect("all of it");
        conn.send(http(200, &counter.count.to_string()));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let idle = resident_when_warm(&proxy);
    let client = proxy.connect_and_send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 64 * MIB));
    let (mut reader, mut writer) = client.within(Duration::from_secs(60)).split();
    let (sender, parts) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for part in ZEROS.chunks(1 << 16).cycle().take(1024) {
                writer.send(part);
                sender.send(part.len() as u64).ok();
            }
        });
        let sent = sent_when_stalled(&parts);
        let grown = proxy.resident().saturating_sub(idle);
        go.give();
        assert!(sent < IN_KERNEL, "{sent} bytes were taken from the client");
        assert!(grown < MIB, "{grown} bytes of memory");
        assert_eq!(reader.read_answer().1.text(), (64 * MIB).to_string());
    });
}

#[test]
fn a_body_in_single_bytes_comes_through() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        let body = conn.read_body(&head);
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n");
        conn.send_in_single_bytes(&body.bytes);
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect();
    client.send_in_single_bytes("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n");
    client.send_in_single_bytes(pattern(200));
    assert_eq!(client.read_answer().1.bytes, pattern(200));
}

// --- limits ----------------------------------------------------------------------------------------------

fn max_body_of_ten(request: &str) -> (u16, usize, Line) {
    let backend = Backend::scripted(|conn, _| {
        let Ok(head) = conn.try_read_head() else { return };
        if conn.try_read_body(&head).is_ok() {
            conn.send(http(200, "fine"));
            conn.wait_for_any_end();
        }
    });
    let proxy = Proxy::before_with(&backend, "", "max_body = \"10B\"");
    let status = proxy.connect_and_send(request).read_answer().0.status();
    (status, backend.connections(), proxy.request_record(0))
}

#[test]
fn a_body_that_says_it_is_too_large_is_413_and_touches_no_backend() {
    let (status, connections, record) = max_body_of_ten("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
    assert_eq!((status, connections), (413, 0));
    assert_eq!(record.text("fault"), "client");
}

#[test]
fn a_body_that_turns_out_too_large_is_413_and_never_whole_at_the_backend() {
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n3\r\n890\r\n0\r\n\r\n";
    let (status, _, record) = max_body_of_ten(request);
    assert_eq!((status, record.text("fault").as_str()), (413, "client"), "{}", record.raw);
}

#[test]
fn a_body_of_just_the_limit_passes() {
    assert_eq!(max_body_of_ten("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789").0, 200);
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n";
    assert_eq!(max_body_of_ten(chunked).0, 200);
}

#[test]
fn an_answer_that_stands_still_for_too_long_is_cut() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send([CHUNKED, &chunk("one")].concat());
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before_with(&backend, "", "timeouts = { between = \"300ms\" }");
    let mut client = proxy.connect_and_send(GET);
    let head = client.read_head();
    let begun = Instant::now();
    assert!(client.try_read_body(&head).is_err());
    assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
    let record = proxy.request_record(0);
    assert_eq!(record.text("fault"), "backend", "{}", record.raw);
}

#[test]
fn an_answer_that_keeps_moving_is_not_cut_however_long_it_takes() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send(CHUNKED);
        for _ in 0..6 {
            conn.expect_silence(Duration::from_millis(150));
            conn.send(chunk("one"));
        }
        conn.send("0\r\n\r\n");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before_with(&backend, "", "timeouts = { between = \"600ms\", answer = \"400ms\" }");
    assert_eq!(proxy.connect_and_send(GET).read_answer().1.text(), "one".repeat(6));
}

#[test]
fn a_slow_request_is_not_held_against_the_backend() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        conn.read_body(&head);
        conn.send(http(200, "fine"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before_with(&backend, "", "timeouts = { answer = \"500ms\" }");
    let mut client = proxy.connect_and_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n");
    for _ in 0..8 {
        client.expect_silence(Duration::from_millis(150));
        client.send("x");
    }
    assert_eq!(client.read_answer().1.text(), "fine");
}

// --- answers that come before the request is over -------------------------------------------------------

/// A backend that answers on the head alone and closes, with most of the upload unread: a reset follows its
/// answer, which has to reach the client all the same.
fn an_early_answer_arrives(length: &str, count: u64) {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send(http(413, "too much"));
        conn.fin();
        // Closes without reading: what is still sent is answered with resets.
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(format!("POST / HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n"));
    let mut writer = client.both().1;
    let sending = thread::spawn(move || {
        for _ in 0..count {
            if writer.try_send(ZEROS).is_err() {
                return;
            }
        }
    });
    let (head, body) = client.read_answer();
    assert_eq!((head.status(), body.text().as_str()), (413, "too much"), "{head}{}", body.text());
    drop(client);
    sending.join().unwrap();
}

rows! { an_early_answer_arrives {
    an_answer_before_the_body_began_arrives: "Content-Length: 5", 0;
    an_answer_before_a_large_body_is_over_arrives: "Content-Length: 67108864", 64;
}}

#[test]
fn an_upload_goes_on_behind_an_early_answer() {
    let backend = Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            conn.send(http(200, if head.target() == "/next" { "next" } else { "fine" }));
            let body = conn.read_body(&head).bytes;
            assert!(head.target() == "/next" || body == pattern(100_000));
        }
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(client.read_answer().1.text(), "fine");
    client.send(pattern(100_000));
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_answer().1.text(), "next");
}

#[test]
fn a_client_that_goes_with_a_further_request_behind_cancels_as_well() {
    let (sender, ends) = channel();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.wait_for_any_end();
        sender.send(Instant::now()).unwrap();
    });
    let proxy = Proxy::before(&backend);
    let client = proxy.connect_and_send(GET.repeat(2));
    backend.head();
    let left = Instant::now();
    drop(client);
    let took = ends.recv_timeout(LIMIT).expect("the backend is told").saturating_duration_since(left);
    assert!(took < Duration::from_secs(1), "{took:?}");
}
