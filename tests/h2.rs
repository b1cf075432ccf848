//! Clients that speak HTTP/2: what reaches backends of either version, gRPC's shape, trailers, streams that
//! stall or go without harm to their neighbours.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::future::poll_fn;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use kit::*;

const URI: &str = "http://server.example.com/path?q=1";

/// A client with prior knowledge.
fn h2(proxy: &Proxy) -> H2 {
    H2::connect(proxy.address(0))
}

fn before(url: &str) -> Proxy {
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nbackend = \"{url}\"\n";
    Proxy::setup(text).put("url", url).start()
}

fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for &(name, value) in lines {
        map.append(name, HeaderValue::from_static(value));
    }
    map
}

fn request(method: Method, lines: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(URI).body(()).unwrap();
    *request.headers_mut() = fields(lines);
    request
}

// --- to a backend of HTTP/1.1 ----------------------------------------------------------------------------

#[test]
fn a_request_reaches_an_h1_backend_as_if_it_were_h1() {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before(&backend);
    let lines = [("accept", "*/*"), ("x-custom-field", "caf"), ("x-list", "1"), ("x-list", "2")];
    let answer = h2(&proxy).request(request(Method::GET, &lines), None, None).unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, b"fine".as_slice()));
    let seen = backend.head();
    assert_eq!(seen.first, "GET /path?q=1 HTTP/1.1");
    seen.assert_line("Host: server.example.com");
    seen.assert_line("X-Custom-Field: caf");
    assert_eq!(seen.values("x-list"), ["1", "2"]);
    for name in ["Connection", "Transfer-Encoding", "Content-Length", "TE"] {
        seen.assert_none(name);
    }
}

#[test]
fn h2_is_agreed_on_by_alpn_and_the_backend_is_told_https() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let backend = Backend::http(200, "fine");
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen.certificate]]\nchain = \"chain.pem\"\nkey = \"key.pem\"\n\
                [[route]]\nbackend = \"{url}\"\n";
    let setup = Proxy::setup(text).put("url", backend.url());
    let proxy = setup.file("chain.pem", &identity.chain_pem).file("key.pem", &identity.key_pem).start();
    let h2 = H2::connect_tls(proxy.address(0), "localhost", authority.client(&["h2", "http/1.1"]));
    assert_eq!(h2.get("https://localhost/").body, b"fine");
    let seen = backend.head();
    seen.assert_line("Host: localhost");
    seen.assert_line("X-Forwarded-Proto: https");
}

#[test]
fn cookie_lines_are_joined_for_an_h1_backend() {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before(&backend);
    let lines = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3; d=4")];
    h2(&proxy).request(request(Method::GET, &lines), None, None).unwrap();
    backend.head().assert_line("Cookie: a=1; b=2; c=3; d=4");
}

#[test]
fn hop_by_hop_fields_of_an_h1_answer_do_not_reach_h2() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n\
         X-MiXed: kept\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let proxy = Proxy::before(&backend);
    let answer = h2(&proxy).get(URI);
    for name in ["connection", "x-secret", "keep-alive", "transfer-encoding"] {
        assert!(!answer.headers.contains_key(name), "{name} in {:?}", answer.headers);
    }
    assert_eq!((answer.headers["x-mixed"].as_bytes(), answer.body.as_slice()), (b"kept".as_slice(), b"ok".as_slice()));
}

#[test]
fn a_body_without_a_length_is_chunked_for_an_h1_backend_and_one_with_a_length_is_not() {
    let backend = Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            let body = conn.read_body(&head);
            conn.send(http(200, &format!("{:?} {}", body.framing, body.text())));
        }
    });
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let send = |lines: &[_]| h2.request(request(Method::POST, lines), Some(Bytes::from_static(b"hello")), None).unwrap().body;
    assert_eq!(send(&[]), b"Chunked hello");
    assert_eq!(send(&[("content-length", "5")]), b"Length hello");
    let get = h2.request(request(Method::GET, &[]), Some(Bytes::from_static(b"hello")), None).unwrap().body;
    assert_eq!(get, b"Chunked hello", "a GET with a body too");
}

#[test]
fn requests_at_once_on_one_connection_are_answered_each() {
    let backend = Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            conn.send(http(200, head.target()));
        }
    });
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    h2.run(async {
        let mut answers = Vec::new();
        for n in 0..50 {
            let mut sender = h2.sender().ready().await.unwrap();
            let request = Request::get(format!("http://a/{n}")).body(()).unwrap();
            answers.push(sender.send_request(request, true).unwrap().0);
        }
        for (n, answer) in answers.into_iter().enumerate() {
            let mut body = answer.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), format!("/{n}").as_bytes());
        }
    });
}

#[test]
fn an_event_reaches_the_client_within_100_ms() {
    let (go, going) = channel::<()>();
    let (sender, sent) = channel();
    let going = std::sync::Mutex::new(going);
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        while going.lock().unwrap().recv_timeout(LIMIT).is_ok() {
            sender.send(Instant::now()).unwrap();
            conn.send("data: 1\n\n");
        }
    });
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    h2.run(async {
        let mut sender = h2.sender().ready().await.unwrap();
        let mut body = sender.send_request(request(Method::GET, &[]), true).unwrap().0.await.unwrap().into_body();
        for _ in 0..5 {
            go.send(()).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), "data: 1\n\n");
            let took = sent.recv().unwrap().elapsed();
            assert!(took < Duration::from_millis(100), "{took:?}");
        }
    });
    drop(go);
}

// --- answers without a body ------------------------------------------------------------------------------

#[test]
fn an_answer_to_head_keeps_its_length() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
    let proxy = Proxy::before(&backend);
    let answer = h2(&proxy).request(request(Method::HEAD, &[]), None, None).unwrap();
    assert_eq!((answer.headers["content-length"].as_bytes(), answer.body.len()), (b"1234".as_slice(), 0));
    assert!(!proxy.request_record(0).has("fault"));
}

#[test]
fn no_length_is_invented_for_an_answer_to_head() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nX-Field: 1\r\n\r\n");
    let proxy = Proxy::before(&backend);
    let answer = h2(&proxy).request(request(Method::HEAD, &[]), None, None).unwrap();
    assert!(!answer.headers.contains_key("content-length"), "{:?}", answer.headers);
}

#[test]
fn a_304_keeps_its_length() {
    let backend = Backend::answering("HTTP/1.1 304 Not Modified\r\nContent-Length: 512\r\n\r\n");
    let proxy = Proxy::before(&backend);
    let answer = h2(&proxy).request(request(Method::GET, &[]), None, None).unwrap();
    assert_eq!((answer.status.as_u16(), answer.headers["content-length"].as_bytes()), (304, b"512".as_slice()));
}

// --- trailers and gRPC -----------------------------------------------------------------------------------

#[test]
fn trailers_pass_between_an_h2_client_and_an_h1_backend() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        assert_eq!((head.value("TE"), head.value("Connection")), (Some("trailers"), Some("TE")));
        let body = conn.read_body(&head);
        assert_eq!(body.trailers, ["x-sum: 1"], "of the request");
        conn.send("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let request = request(Method::POST, &[("te", "trailers"), ("trailer", "x-sum")]);
    let answer = h2(&proxy).request(request, Some(Bytes::from_static(b"hello")), Some(fields(&[("x-sum", "1")]))).unwrap();
    assert_eq!(answer.trailers.expect("trailers")["x-sum"], "2");
}

/// A gRPC server: unary calls, one that fails with trailers alone, and one that streams both ways.
async fn grpc(mut call: Call) {
    assert_eq!(call.request.headers()["te"], "trailers");
    assert_eq!(call.request.headers()["content-type"], "application/grpc");
    let head = || Response::builder().header("content-type", "application/grpc");
    match call.request.uri().path() {
        "/unary" => {
            let (message, trailers) = call.read().await;
            assert!(trailers.is_none());
            let mut stream = call.respond.send_response(head().body(()).unwrap(), false).unwrap();
            stream.send_data(message.into(), false).unwrap();
            stream.send_trailers(fields(&[("grpc-status", "0"), ("grpc-message", "fine")])).unwrap();
        }
        "/fails" => {
            let answer = head().header("grpc-status", "5").body(()).unwrap();
            call.respond.send_response(answer, true).unwrap();
        }
        "/streams" => {
            let mut stream = call.respond.send_response(head().body(()).unwrap(), false).unwrap();
            while let Some(part) = call.request.body_mut().data().await {
                let part = part.unwrap();
                call.request.body_mut().flow_control().release_capacity(part.len()).unwrap();
                stream.send_data(part, false).unwrap();
            }
            stream.send_trailers(fields(&[("grpc-status", "0")])).unwrap();
        }
        other => panic!("{other}"),
    }
}

fn grpc_request(path: &str) -> Request<()> {
    let request = Request::post(format!("http://server.example.com{path}"));
    request.header("te", "trailers").header("content-type", "application/grpc").body(()).unwrap()
}

#[test]
fn a_grpc_call_ends_with_its_trailers() {
    let backend = H2Backend::scripted(grpc);
    let proxy = before(&backend.url());
    let answer = h2(&proxy).request(grpc_request("/unary"), Some(Bytes::from_static(b"\0\0\0\0\x02hi")), None).unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, b"\0\0\0\0\x02hi".as_slice()));
    let trailers = answer.trailers.expect("trailers");
    assert_eq!((trailers["grpc-status"].as_bytes(), trailers["grpc-message"].as_bytes()), (b"0".as_slice(), b"fine".as_slice()));
}

#[test]
fn a_grpc_call_that_fails_has_its_status_in_the_head() {
    let backend = H2Backend::scripted(grpc);
    let proxy = before(&backend.url());
    let answer = h2(&proxy).request(grpc_request("/fails"), Some(Bytes::new()), None).unwrap();
    assert_eq!((answer.headers["grpc-status"].as_bytes(), answer.body.len()), (b"5".as_slice(), 0));
}

#[test]
fn a_grpc_stream_flows_both_ways_at_once() {
    let backend = H2Backend::scripted(grpc);
    let proxy = before(&backend.url());
    let h2 = h2(&proxy);
    h2.run(async {
        let mut sender = h2.sender().ready().await.unwrap();
        let (answer, mut stream) = sender.send_request(grpc_request("/streams"), false).unwrap();
        let mut body = answer.await.unwrap().into_body();
        for n in 0..20 {
            let message = Bytes::from(format!("message {n}"));
            stream.send_data(message.clone(), false).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), message);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
}

#[test]
fn request_trailers_reach_an_h2_backend() {
    let backend = H2Backend::scripted(|mut call: Call| async move {
        let (body, trailers) = call.read().await;
        assert_eq!((body.as_slice(), trailers.unwrap()["x-sum"].as_bytes()), (b"hello".as_slice(), b"1".as_slice()));
        call.answer("fine");
    });
    let proxy = before(&backend.url());
    let trailers = Some(fields(&[("x-sum", "1")]));
    let answer = h2(&proxy).request(request(Method::POST, &[]), Some(Bytes::from_static(b"hello")), trailers).unwrap();
    assert_eq!(answer.body, b"fine");
}

#[test]
fn the_reason_of_a_reset_is_an_error_at_the_client() {
    let backend = H2Backend::scripted(|mut call: Call| async move {
        let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(Bytes::from_static(b"begun"), false).unwrap();
        stream.send_reset(h2::Reason::INTERNAL_ERROR);
    });
    let proxy = before(&backend.url());
    let answer = h2(&proxy).request(request(Method::GET, &[]), None, None);
    assert!(answer.as_ref().map_or(true, |answer| answer.status == 502), "{answer:?}");
}

// --- answers that come before the request is over ---------------------------------------------------------

/// A request whose body is begun and goes no further; the whole answer to it.
fn answer_to_the_beginning_of(proxy: &Proxy, lines: &[(&'static str, &'static str)], begun: &'static str) -> (u16, Vec<u8>) {
    let h2 = h2(proxy);
    h2.run(async {
        let mut sender = h2.sender().ready().await.unwrap();
        let (answer, mut stream) = sender.send_request(request(Method::POST, lines), false).unwrap();
        if !begun.is_empty() {
            stream.send_data(Bytes::from_static(begun.as_bytes()), false).unwrap();
        }
        let (head, mut body) = answer.await.unwrap().into_parts();
        let mut bytes = Vec::new();
        while let Some(part) = body.data().await {
            bytes.extend(part.unwrap());
        }
        (head.status.as_u16(), bytes)
    })
}

#[test]
fn an_answer_before_the_body_is_over_arrives_whole() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send(http(413, "too much"));
    });
    let proxy = Proxy::before(&backend);
    assert_eq!(answer_to_the_beginning_of(&proxy, &[], "begun"), (413, b"too much".to_vec()));
}

#[test]
fn a_body_that_was_not_asked_for_holds_nobody() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send(http(417, "no"));
        assert_eq!(conn.read_to_end().0, b"", "no byte of the body reaches the backend");
    });
    let proxy = Proxy::before(&backend);
    assert_eq!(answer_to_the_beginning_of(&proxy, &[("expect", "100-continue")], ""), (417, b"no".to_vec()));
    backend.wait_until_idle();
}

#[test]
fn a_body_is_sent_on_where_a_backend_does_not_answer_its_expectation() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        conn.expect_silence(SILENCE);
        assert_eq!(conn.read_body(&head).text(), "hello");
        conn.send(http(200, "fine"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let lines = [("expect", "100-continue"), ("content-length", "5")];
    let answer = h2(&proxy).request(request(Method::POST, &lines), Some(Bytes::from_static(b"hello")), None).unwrap();
    assert_eq!(answer.body, b"fine");
}

// --- refusals and failures -------------------------------------------------------------------------------

#[test]
fn connect_without_a_protocol_is_405() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let connect = Request::builder().method(Method::CONNECT).uri("server.example.com:443").body(()).unwrap();
    let answer = h2(&proxy).request(connect, None, None).unwrap();
    assert_eq!(answer.status, 405);
    assert!(answer.headers.contains_key("allow"));
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_host_that_differs_from_the_authority_is_400() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let answer = h2(&proxy).request(request(Method::GET, &[("host", "other.example.com")]), None, None).unwrap();
    assert_eq!((answer.status.as_u16(), backend.connections()), (400, 0));
}

#[test]
fn a_backend_that_is_down_is_502_and_the_connection_goes_on() {
    let port = RefusedPort::new();
    let proxy = before(&port.url());
    let h2 = h2(&proxy);
    for n in 0..2 {
        let answer = h2.get(URI);
        assert_eq!(answer.status, 502);
        let id = proxy.request_record(n).text("id");
        assert!(String::from_utf8_lossy(&answer.body).contains(&id), "{answer:?}");
    }
}

#[test]
fn the_number_of_streams_is_a_key() {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before_with(&backend, "[limits]\nh2_streams = 7\n", "");
    let h2 = h2(&proxy);
    h2.get(URI);
    assert_eq!(h2.sender().current_max_send_streams(), 7);
}

// --- streams that go or stall ----------------------------------------------------------------------------

#[test]
fn a_stream_that_is_reset_cancels_its_request_and_no_other() {
    let (sender, ends) = channel();
    let backend = Backend::scripted(move |conn, _| {
        while let Ok(head) = conn.try_read_head() {
            if head.target() == "/waits" {
                conn.wait_for_any_end();
                sender.send(()).unwrap();
                return;
            }
            conn.send(http(200, "fine"));
        }
    });
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let mut stream = h2.run(async {
        let mut sender = h2.sender().ready().await.unwrap();
        sender.send_request(Request::get("http://a/waits").body(()).unwrap(), true).unwrap().1
    });
    assert_eq!(backend.head().target(), "/waits");
    let left = Instant::now();
    stream.send_reset(h2::Reason::CANCEL);
    ends.recv_timeout(LIMIT).expect("the backend is told");
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
    assert_eq!(h2.get(URI).body, b"fine");
    let record = proxy.request_record(0);
    assert_eq!((record.count("status"), record.text("fault").as_str()), (499, "client"), "{}", record.raw);
}

#[test]
fn a_connection_that_goes_cancels_all_its_requests() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let answers: Vec<_> = h2.run(async {
        let mut answers = Vec::new();
        for _ in 0..10 {
            let mut sender = h2.sender().ready().await.unwrap();
            answers.push(sender.send_request(request(Method::GET, &[]), true).unwrap().0);
        }
        answers
    });
    for _ in 0..10 {
        backend.head();
    }
    let left = Instant::now();
    drop((answers, h2));
    backend.wait_until_idle();
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
}

#[test]
fn an_upload_that_is_reset_reaches_the_backend_cut() {
    let (sender, cuts) = channel();
    let backend = Backend::scripted(move |conn, _| {
        let head = conn.read_head();
        sender.send(conn.try_read_body(&head).is_err()).unwrap();
    });
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let mut stream = h2.run(async {
        let mut sender = h2.sender().ready().await.unwrap();
        sender.send_request(request(Method::POST, &[]), false).unwrap().1
    });
    stream.send_data(Bytes::from_static(b"begun"), false).unwrap();
    backend.head();
    stream.send_reset(h2::Reason::CANCEL);
    assert!(cuts.recv_timeout(LIMIT).unwrap(), "a whole request");
}

const MIB: usize = 1 << 20;

#[test]
fn answers_that_are_not_read_do_not_stop_their_neighbours() {
    let backend = Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            if head.target() == "/large" {
                conn.set_limit(Duration::from_secs(60));
                if conn
                    .try_send([&b"HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n"[..], &vec![0; 32 * MIB]].concat())
                    .is_err()
                {
                    return;
                }
            } else {
                conn.send(http(200, "fine"));
            }
        }
    });
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let stalled: Vec<_> = h2.run(async {
        let mut stalled = Vec::new();
        for _ in 0..8 {
            let mut sender = h2.sender().ready().await.unwrap();
            let answer = sender.send_request(Request::get("http://a/large").body(()).unwrap(), true).unwrap().0;
            stalled.push(answer.await.unwrap());
        }
        stalled
    });
    for _ in 0..10 {
        assert_eq!(h2.get(URI).body, b"fine");
    }
    drop(stalled);
}

#[test]
fn uploads_that_a_backend_does_not_read_do_not_stop_their_neighbours() {
    let backend = Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            if head.target() == "/stalls" {
                conn.receive_buffer(4096);
                // Holds its connection without reading until the proxy has gone.
                while conn.try_send("HTTP/1.1 102 Processing\r\n\r\n").is_ok() {
                    std::thread::sleep(Duration::from_millis(50)); // between two signs of life
                }
                return;
            }
            conn.read_body(&head);
            conn.send(http(200, "fine"));
        }
    });
    let proxy = Proxy::before(&backend);
    let h2 = h2(&proxy);
    let stalled = h2.run(async {
        let mut stalled = Vec::new();
        for _ in 0..4 {
            let mut sender = h2.sender().ready().await.unwrap();
            let request = Request::post("http://a/stalls").body(()).unwrap();
            let (answer, mut stream) = sender.send_request(request, false).unwrap();
            stream.send_data(Bytes::from(vec![0; 16 * MIB]), false).unwrap();
            stalled.push((answer, stream));
        }
        stalled
    });
    for _ in 0..4 {
        assert_eq!(backend.head().target(), "/stalls");
    }
    for _ in 0..10 {
        let answer = h2.request(request(Method::POST, &[]), Some(Bytes::from(vec![1; 100_000])), None).unwrap();
        assert_eq!(answer.body, b"fine");
    }
    drop(stalled);
}

#[test]
fn a_large_answer_streams_to_h2_in_bounded_memory() {
    const COUNT: usize = 256 * MIB;
    let backend = Backend::scripted(|conn, _| {
        while conn.try_read_head().is_ok() {
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {COUNT}\r\n\r\n"));
            let block = vec![0; MIB];
            for _ in 0..COUNT / MIB {
                conn.send(&block);
            }
        }
    });
    let proxy = Proxy::before(&backend);
    let idle = proxy.resident();
    let h2 = h2(&proxy);
    let (count, most) = h2.run(async {
        let mut sender = h2.sender().ready().await.unwrap();
        let mut body = sender.send_request(request(Method::GET, &[]), true).unwrap().0.await.unwrap().into_body();
        let (mut count, mut most) = (0, 0);
        while let Some(part) = body.data().await {
            let part = part.unwrap();
            body.flow_control().release_capacity(part.len()).unwrap();
            if count / (16 * MIB) != (count + part.len()) / (16 * MIB) {
                most = most.max(proxy.resident());
            }
            count += part.len();
        }
        (count, most)
    });
    assert_eq!(count, COUNT);
    assert!(most < idle + 40 * MIB as u64, "{idle} bytes idle, {most} at most");
}

#[test]
fn a_large_request_streams_from_h2_to_h2_in_bounded_memory() {
    const COUNT: usize = 64 * MIB;
    let backend = H2Backend::scripted(|mut call: Call| async move {
        let mut count = 0;
        while let Some(part) = call.request.body_mut().data().await {
            let part = part.unwrap();
            call.request.body_mut().flow_control().release_capacity(part.len()).unwrap();
            count += part.len();
        }
        let answer = if count == COUNT { "all of it" } else { "something else" };
        call.answer(answer);
    });
    let proxy = before(&backend.url());
    let idle = proxy.resident();
    let h2 = h2(&proxy);
    let most = h2.run(async {
        let mut sender = h2.sender().ready().await.unwrap();
        let (answer, mut stream) = sender.send_request(request(Method::POST, &[]), false).unwrap();
        let block = Bytes::from(vec![0; MIB]);
        let (mut sent, mut most) = (0, 0);
        while sent < COUNT {
            stream.reserve_capacity(MIB.min(COUNT - sent));
            let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
            let part = block.slice(..room.min(COUNT - sent));
            sent += part.len();
            stream.send_data(part, sent == COUNT).unwrap();
            if sent % (4 * MIB) < room {
                most = most.max(proxy.resident());
            }
        }
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "all of it");
        most
    });
    assert!(most < idle + 40 * MIB as u64, "{idle} bytes idle, {most} at most");
}
