//! The other side of ordinary HTTP: connections to backends that are kept, shared and retried, names and
//! addresses, TLS and HTTP/2 toward them, and what the client and the log are told when one fails.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly
#![allow(clippy::needless_pass_by_value)] // rows read better without `&` before every value

mod kit;

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use kit::*;

const GET: &str = "GET /path HTTP/1.1\r\nHost: server.example.com\r\n\r\n";
const POST: &str = "POST /path HTTP/1.1\r\nHost: server.example.com\r\nContent-Length: 5\r\n\r\nhello";

/// One listener, one route to this server.
fn before(url: &str) -> Proxy {
    before_with(url, "")
}

/// The same, with text inside the backend's table.
fn before_with(url: &str, backend: &str) -> Proxy {
    setup(url, backend).start()
}

fn setup(url: &str, backend: &str) -> Setup {
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[backend.b]\nservers = [\"{{url}}\"]\n{backend}\n[[route]]\nbackend = \"b\"\n"
    );
    Proxy::setup(&text).put("url", url)
}

/// The answer to a GET over a connection of its own.
fn get(proxy: &Proxy) -> (u16, String) {
    let (head, body) = proxy.connect_and_send(GET).read_answer();
    (head.status(), body.text())
}

/// Few connections for many requests: the next request may come before the last connection is back.
fn are_kept(backend: &Backend) {
    let connections = backend.connections();
    assert!(connections <= 3, "{connections} connections");
}

fn is_fine(proxy: &Proxy) {
    assert_eq!(get(proxy), (200, "fine".to_owned()));
}

// --- connections that are kept and shared ----------------------------------------------------------------

#[test]
fn the_connection_to_a_backend_is_kept_for_the_next_request() {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect();
    for _ in 0..20 {
        client.send(GET);
        assert_eq!(client.read_answer().1.text(), "fine");
    }
    are_kept(&backend);
}

#[test]
fn the_connection_to_a_backend_is_shared_by_all_clients() {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before(&backend);
    for _ in 0..20 {
        is_fine(&proxy);
    }
    are_kept(&backend);
}

#[test]
fn connections_are_as_many_as_requests_at_once() {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before(&backend);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..25 {
                    client.send(GET);
                    assert_eq!(client.read_answer().1.text(), "fine");
                }
            });
        }
    });
    assert!(backend.connections() <= 6, "{} connections", backend.connections());
}

#[test]
fn answers_of_every_framing_leave_the_connection_usable() {
    let backend = Backend::scripted(|conn, _| {
        let answers: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        ];
        for answer in answers.iter().cycle() {
            let Ok(head) = conn.try_read_head() else { return };
            conn.read_body(&head);
            conn.send(answer);
        }
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect();
    for n in 0..12 {
        client.send(if n % 2 == 0 { GET } else { POST });
        client.read_answer();
    }
    are_kept(&backend);
}

#[test]
fn requests_that_come_at_once_are_never_pipelined_to_a_backend() {
    let backend = Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            conn.expect_silence(SILENCE);
            conn.send(http(200, head.target()));
        }
    });
    let proxy = Proxy::before(&backend);
    let all: String = ["/1", "/2", "/3"].map(|path| GET.replace("/path", path)).concat();
    let mut client = proxy.connect_and_send(all);
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.read_answer().1.text(), path, "answers in the order of requests");
    }
}

#[test]
fn an_idle_connection_is_closed_in_its_time() {
    let (sender, ends) = channel();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send(http(200, "fine"));
        sender.send(conn.expect_any_end()).unwrap();
    });
    let proxy = before_with(&backend.url(), "idle = \"200ms\"");
    is_fine(&proxy);
    ends.recv_timeout(LIMIT).expect("it is closed");
}

#[test]
fn an_answer_that_was_not_read_to_its_end_leaves_no_connection_for_others() {
    let backend = Backend::scripted(|conn, n| {
        conn.read_head();
        if n == 0 {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun");
            conn.wait_for_any_end();
        } else {
            conn.send(http(200, "fine"));
            conn.wait_for_any_end();
        }
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(GET);
    client.read_head();
    client.expect("begun");
    drop(client);
    is_fine(&proxy);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn bytes_that_a_backend_sends_unasked_are_nobodys_answer() {
    let backend = Backend::scripted(|conn, n| {
        conn.read_head();
        if n == 0 {
            conn.send([http(200, "fine"), http(200, "SECRET")].concat());
            conn.wait_for_any_end();
        } else {
            conn.send(http(200, "fine"));
            conn.wait_for_any_end();
        }
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send(GET);
        assert_eq!(client.read_answer().1.text(), "fine");
    }
}

#[test]
fn bytes_that_a_backend_sends_between_two_requests_are_nobodys_answer() {
    let (answered, go) = channel::<()>();
    let (sender, sent) = channel();
    let go = std::sync::Mutex::new(go);
    let backend = Backend::scripted(move |conn, n| {
        conn.read_head();
        conn.send(http(200, "fine"));
        if n == 0 {
            go.lock().unwrap().recv_timeout(LIMIT).unwrap();
            conn.send(http(200, "SECRET"));
            sender.send(()).unwrap();
        }
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(GET);
    assert_eq!(client.read_answer().1.text(), "fine");
    answered.send(()).unwrap();
    sent.recv_timeout(LIMIT).unwrap();
    thread::sleep(Duration::from_millis(20)); // loopback delivers at once, the proxy has still to be woken
    client.send(GET);
    assert_eq!(client.read_answer().1.text(), "fine");
    assert_eq!(backend.connections(), 2);
}

#[test]
fn an_answer_may_come_in_two_pieces_cut_anywhere() {
    const ANSWERS: [&str; 2] = [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
    ];
    let backend = Backend::scripted(|conn, _| {
        for (answer, cut) in ANSWERS.iter().flat_map(|answer| (1..=answer.len()).map(move |cut| (answer, cut))) {
            if conn.try_read_head().is_err() {
                return;
            }
            let (first, second) = answer.as_bytes().split_at(cut);
            conn.send(first);
            thread::sleep(Duration::from_millis(1)); // so that it is read by itself
            conn.send(second);
        }
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect();
    for _ in 0..ANSWERS.iter().map(|answer| answer.len()).sum() {
        client.send(GET);
        let (mut head, mut body) = client.read_answer();
        if head.status() == 103 {
            (head, body) = client.read_answer();
        }
        assert_eq!((head.status(), body.text().as_str()), (200, "fine"));
    }
    assert_eq!(backend.connections(), 1);
}

// --- connections that have gone stale --------------------------------------------------------------------

#[test]
fn a_backend_that_closes_after_each_answer_is_served_unseen() {
    let backend = Backend::scripted(|conn, _| {
        if let Ok(head) = conn.try_read_head() {
            conn.read_body(&head);
            conn.send(http(200, "fine"));
        }
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect();
    for n in 0..50 {
        client.send(GET);
        assert_eq!(client.read_answer().0.status(), 200, "request {n}");
    }
    assert_eq!(backend.connections(), 50);
}

/// The second request over a backend connection is read, and answered with its end.
fn stale(end: fn(&mut Conn)) -> Backend {
    Backend::scripted(move |conn, n| {
        let head = conn.read_head();
        conn.read_body(&head);
        conn.send(http(200, "fine"));
        match conn.try_read_head() {
            Ok(head) if n == 0 => {
                conn.read_body(&head);
                end(conn);
            }
            Ok(_) => conn.send(http(200, "again")),
            Err(_) => {}
        }
    })
}

fn is_sent_again(request: &str, end: fn(&mut Conn)) {
    let backend = stale(end);
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(GET);
    assert_eq!(client.read_answer().0.status(), 200);
    client.send(request);
    let head = client.read_head();
    assert_eq!(head.status(), 200, "{head}");
    assert_eq!(backend.connections(), 2);
    let record = proxy.request_record(1);
    assert!(!record.has("fault"), "unseen: {}", record.raw);
}

rows! { is_sent_again {
    a_get_on_a_connection_that_was_closed_is_sent_again: GET, |_| {};
    a_get_on_a_connection_that_was_reset_is_sent_again: GET, |conn| conn.end_with_a_reset();
    a_head_is_sent_again: "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", |_| {};
    a_delete_is_sent_again: "DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n", |_| {};
}}

/// It is not copied before it goes, but made once more from its head.
#[test]
fn what_is_sent_again_is_the_same_to_the_byte() {
    let backend = stale(|_| {});
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(GET);
    assert_eq!(client.read_answer().0.status(), 200);
    let odd =
        "X-oDD: 1\r\nx-Odd: 2\r\nCookie: a=b\r\nTE: trailers\r\nConnection: TE, X-Gone\r\nX-Gone: 1\r\nX-Real-IP: 9.9.9.9\r\n";
    client.send(format!("\r\nGET /%2e/b/../c?d=%2e HTTP/1.1\r\nhOsT: a\r\n{odd}\r\n"));
    assert_eq!(client.read_answer().0.status(), 200);
    let heads = backend.heads_so_far();
    let text = |n: usize| String::from_utf8_lossy(&heads[n].raw).into_owned();
    let (first, second) = (text(1), text(2));
    assert_eq!((heads.len(), &first), (3, &second));
    assert!(first.starts_with("GET /%2e/b/../c?d=%2e HTTP/1.1\r\n") && first.contains("X-oDD: 1"), "{first}");
    assert!(!first.to_ascii_lowercase().contains("x-gone: "), "{first}");
}

fn is_not_sent_again(request: &str) {
    let backend = stale(|_| {});
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(GET);
    assert_eq!(client.read_answer().0.status(), 200);
    client.send(request);
    assert_eq!(client.read_answer().0.status(), 502);
    assert_eq!((backend.connections(), backend.heads_so_far().len()), (1, 2), "once and no more");
    assert_eq!(proxy.request_record(1).text("fault"), "backend");
}

rows! { is_not_sent_again {
    a_post_whose_bytes_were_sent_is_not_sent_again: POST;
    a_post_without_a_body_is_not_sent_again_either: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    a_patch_is_not_sent_again: "PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxx";
}}

#[test]
fn a_post_that_was_not_sent_yet_goes_over_another_connection() {
    let (sender, closed) = channel();
    let backend = Backend::scripted(move |conn, _| {
        let head = conn.read_head();
        conn.read_body(&head);
        conn.send(http(200, "fine"));
        conn.fin();
        sender.send(()).unwrap();
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect();
    for n in 0..50 {
        client.send(POST);
        assert_eq!(client.read_answer().0.status(), 200, "request {n}");
        closed.recv_timeout(LIMIT).unwrap();
    }
    let seen = backend.heads_so_far().len();
    assert_eq!(seen, 50, "each of them once");
}

#[test]
fn a_fresh_connection_that_closes_is_not_tried_for_ever() {
    let backend = Backend::scripted(|conn, _| drop(conn.try_read_head()));
    let proxy = Proxy::before(&backend);
    assert_eq!(get(&proxy).0, 502);
    assert!(backend.connections() <= 2, "{}", backend.connections());
}

// --- names and addresses ---------------------------------------------------------------------------------

fn is_found_as_localhost(address: &str) {
    let backend = Backend::scripted_at(address, |conn, _| {
        conn.read_head();
        conn.send(http(200, "fine"));
        conn.wait_for_any_end();
    });
    is_fine(&before(&backend.url_as("localhost")));
}

rows! { is_found_as_localhost {
    a_localhost_that_is_ipv6_alone_is_found: "[::1]:0";
    a_localhost_that_is_ipv4_alone_is_found: "127.0.0.1:0";
}}

#[test]
fn an_ipv6_address_is_dialled() {
    let backend = Backend::scripted_at("[::1]:0", |conn, _| {
        conn.read_head();
        conn.send(http(200, "fine"));
        conn.wait_for_any_end();
    });
    is_fine(&before(&backend.url()));
}

#[test]
fn a_name_that_does_not_exist_is_502_and_no_error_at_the_start() {
    let proxy = before("http://no-such-host.invalid:80");
    let (head, body) = proxy.connect_and_send(GET).read_answer();
    assert_eq!(head.status(), 502);
    assert!(!body.text().contains("invalid"), "{}", body.text());
    let record = proxy.request_record(0);
    assert!(record.text("why").contains("name"), "{}", record.raw);
}

#[test]
fn a_backend_that_is_down_at_the_start_works_once_it_is_up() {
    let port = RefusedPort::new();
    let url = port.url();
    // Made before the proxy, as every backend is, and started later.
    let late: std::cell::OnceCell<Backend> = std::cell::OnceCell::new();
    let proxy = before(&url);
    let mut client = proxy.connect_and_send(GET);
    assert_eq!(client.read_answer().0.status(), 502);
    drop(port);
    let address = url.trim_start_matches("http://");
    late.set(Backend::scripted_at(address, |conn, _| {
        conn.read_head();
        conn.send(http(200, "fine"));
        conn.wait_for_any_end();
    }))
    .ok();
    client.send(GET);
    assert_eq!(client.read_answer().1.text(), "fine", "over the same connection");
    drop(client);
}

#[test]
fn a_backend_on_a_unix_socket_is_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Backend::scripted_unix(&dir.path().join("backend.sock"), |conn, _| {
        while let Ok(head) = conn.try_read_head() {
            conn.read_body(&head);
            conn.send(http(200, "fine"));
        }
    });
    let proxy = before(&backend.url());
    for _ in 0..20 {
        is_fine(&proxy);
    }
    are_kept(&backend);
    backend.head().assert_line("Host: server.example.com");
}

#[test]
fn a_unix_socket_that_is_not_there_is_502() {
    assert_eq!(get(&before("unix:/nonexistent/backend.sock")).0, 502);
}

fn before_two(first: &str, second: &str) -> Proxy {
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[backend.two]\nservers = [\"{first}\", \"{second}\"]\n\
                [[route]]\nbackend = \"two\"\n";
    Proxy::setup(text).put("first", first).put("second", second).start()
}

#[test]
fn a_server_that_refuses_is_passed_over_whatever_the_method() {
    let port = RefusedPort::new();
    let backend = Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            conn.read_body(&head);
            conn.send(http(200, "fine"));
        }
    });
    let proxy = before_two(&port.url(), &backend.url());
    let mut client = proxy.connect();
    for _ in 0..4 {
        client.send(POST);
        assert_eq!(client.read_answer().1.text(), "fine");
    }
}

#[test]
fn a_get_to_a_server_that_closes_without_a_word_goes_to_the_next() {
    let closing = Backend::scripted(|conn, _| drop(conn.try_read_head()));
    let backend = Backend::http(200, "fine");
    let proxy = before_two(&closing.url(), &backend.url());
    for _ in 0..4 {
        is_fine(&proxy);
    }
}

// --- servers that fail -----------------------------------------------------------------------------------

/// What the client is told: a short text with the request's id and nothing of what stands behind us. What
/// the log says: one line with that id, whose fault it is and why.
fn is_told(proxy: &Proxy, request: &str, status: u16, inside: &str) -> Line {
    let begun = Instant::now();
    let (head, body) = proxy.connect_and_send(request).read_answer();
    assert_eq!(head.status(), status, "{head}{}", body.text());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let record = proxy.request_record(0);
    let id = record.text("id");
    assert!(!id.is_empty() && body.text().contains(&id), "no id {id:?} in {:?}", body.text());
    assert!(body.bytes.len() < 300, "short: {:?}", body.text());
    for hidden in [inside, "127.0.0.1", "localhost", "os error", "hyper"] {
        assert!(!body.text().contains(hidden), "{hidden:?} in {:?}", body.text());
        assert!(head.lines.iter().all(|line| !line.contains(hidden)), "{hidden:?} in {head}");
    }
    assert_eq!((record.count("status"), record.text("fault").as_str()), (u64::from(status), "backend"), "{}", record.raw);
    assert_ne!(record.text("why"), "", "{}", record.raw);
    assert_ne!(record.text("backend"), "", "{}", record.raw);
    let lines: Vec<Line> = proxy.logs().into_iter().filter(|line| line.raw.contains(&id)).collect();
    assert_eq!(lines.len(), 1, "one line: {lines:?}");
    record
}

#[test]
fn a_server_that_refuses_is_502() {
    let port = RefusedPort::new();
    let inside = port.url().rsplit(':').next().unwrap().to_owned();
    let record = is_told(&before(&port.url()), GET, 502, &inside);
    assert!(record.says("refused"), "{}", record.raw);
}

fn fails_with(status: u16, script: fn(&mut Conn)) {
    let backend = Backend::scripted(move |conn, _| script(conn));
    let proxy = Proxy::before_with(&backend, "", "timeouts = { answer = \"300ms\" }");
    is_told(&proxy, POST, status, &backend.port().to_string());
}

rows! { fails_with {
    a_server_that_closes_at_once_is_502: 502, |_| {};
    a_server_that_closes_after_the_request_is_502: 502, |conn| { let head = conn.read_head(); conn.read_body(&head); };
    a_server_that_resets_is_502: 502, |conn| { conn.read_head(); conn.end_with_a_reset(); };
    a_server_that_closes_within_a_head_is_502: 502, |conn| { let head = conn.read_head(); conn.read_body(&head); conn.send("HTTP/1.1 200 OK\r\nContent-"); };
    a_server_that_speaks_nonsense_is_502: 502, |conn| { conn.read_head(); conn.send("\0\u{1}nonsense\r\n\r\n"); conn.wait_for_any_end(); };
    a_server_that_speaks_tls_is_502: 502, |conn| { conn.read_head(); conn.send(b"\x15\x03\x01\0\x02\x02\x46"); conn.fin(); conn.wait_for_any_end(); };
    a_server_that_is_silent_is_504: 504, |conn| { let head = conn.read_head(); conn.read_body(&head); conn.wait_for_any_end(); };
    a_server_that_stops_within_a_head_is_504: 504, |conn| { conn.read_head(); conn.send("HTTP/1.1 200 OK\r\nContent-"); conn.wait_for_any_end(); };
}}

#[test]
fn a_server_that_never_ends_its_head_is_502_and_no_memory_is_lost() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 200 OK\r\n");
        while conn.try_send("X-Field: 0123456789012345678901234567890123456789\r\n".repeat(100)).is_ok() {}
    });
    let proxy = Proxy::before(&backend);
    is_told(&proxy, GET, 502, &backend.port().to_string());
}

#[test]
fn a_server_that_does_not_take_connections_is_504() {
    // A full queue of connections swallows further ones.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        fillers.push(filler);
        assert!(fillers.len() < 64, "the queue never fills");
    }
    let proxy = before_with(&format!("http://{address}"), "connect = \"300ms\"");
    let record = is_told(&proxy, GET, 504, &address.port().to_string());
    assert!(record.says("in time"), "{}", record.raw);
}

#[test]
fn a_failure_leaves_the_clients_connection_usable() {
    let backend = Backend::scripted(|conn, n| {
        if n > 0 && conn.try_read_head().is_ok() {
            conn.send(http(200, "fine"));
            conn.wait_for_any_end();
        }
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(POST);
    assert_eq!(client.read_answer().0.status(), 502);
    client.send(GET);
    assert_eq!(client.read_answer().1.text(), "fine");
}

// --- TLS toward backends ---------------------------------------------------------------------------------

const CA: &str = "ca = \"ca.pem\"";

/// A server with this certificate, called by this name, where this authority is trusted.
fn secured(identity: &Identity, name: &str, trusted: &Authority) -> (Backend, Proxy) {
    let backend = Backend::scripted_tls(identity, |conn, _| {
        while let Ok(head) = conn.try_read_head() {
            conn.read_body(&head);
            conn.send(http(200, "fine"));
        }
    });
    let proxy = setup(&backend.url_as(name), CA).file("ca.pem", trusted.pem()).start();
    (backend, proxy)
}

#[test]
fn a_server_that_the_authority_vouches_for_is_trusted() {
    let authority = Authority::new();
    let (backend, proxy) = secured(&authority.identity(&["localhost"]), "localhost", &authority);
    for _ in 0..20 {
        is_fine(&proxy);
    }
    are_kept(&backend);
    backend.head().assert_line("X-Forwarded-Proto: http");
}

#[test]
fn a_server_with_a_certificate_for_its_address_is_trusted() {
    let authority = Authority::new();
    let (_backend, proxy) = secured(&authority.identity(&["127.0.0.1"]), "127.0.0.1", &authority);
    is_fine(&proxy);
}

fn is_not_trusted(identity: fn(&Authority) -> Identity, name: &str, reason: &str) {
    let authority = Authority::new();
    let (backend, proxy) = secured(&identity(&authority), name, &authority);
    let record = is_told(&proxy, GET, 502, &backend.port().to_string());
    assert!(record.says(reason), "{reason:?} in {}", record.raw);
    assert!(backend.heads_so_far().is_empty(), "nothing is said to it");
}

rows! { is_not_trusted {
    a_server_with_a_certificate_for_another_name_is_502: |authority| authority.identity(&["other.example.com"]), "localhost", "localhost";
    a_server_with_a_certificate_that_has_expired_is_502: |authority| authority.identity_valid(&["localhost"], Validity::Expired), "localhost", "expired";
    a_server_with_a_certificate_of_the_future_is_502: |authority| authority.identity_valid(&["localhost"], Validity::NotYet), "localhost", "valid only";
    a_server_that_nobody_vouches_for_is_502: |_| Authority::new().identity(&["localhost"]), "localhost", "not signed by";
}}

#[test]
fn without_a_ca_only_the_systems_authorities_count() {
    let authority = Authority::new();
    let backend = Backend::scripted_tls(&authority.identity(&["localhost"]), |conn, _| drop(conn.try_read_head()));
    let proxy = before(&backend.url_as("localhost"));
    is_told(&proxy, GET, 502, &backend.port().to_string());
    assert!(backend.heads_so_far().is_empty());
}

#[test]
fn a_plain_server_where_tls_is_expected_is_502() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_some();
        conn.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        conn.wait_for_any_end();
    });
    let authority = Authority::new();
    let url = format!("https://localhost:{}", backend.port());
    let proxy = setup(&url, CA).file("ca.pem", authority.pem()).start();
    let record = is_told(&proxy, GET, 502, &backend.port().to_string());
    assert!(record.says("TLS"), "{}", record.raw);
}

#[test]
fn a_server_that_is_silent_in_the_tls_handshake_is_504() {
    let backend = Backend::scripted(|conn, _| {
        conn.wait_for_any_end();
    });
    let authority = Authority::new();
    let url = format!("https://localhost:{}", backend.port());
    let proxy = setup(&url, "ca = \"ca.pem\"\nconnect = \"300ms\"").file("ca.pem", authority.pem()).start();
    is_told(&proxy, GET, 504, &backend.port().to_string());
}

// --- HTTP/2 toward backends ------------------------------------------------------------------------------

async fn version_and_host(mut call: Call) {
    let request = &call.request;
    let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    assert_eq!((request.uri().path(), host.as_str()), ("/path", "server.example.com"));
    assert!(!request.headers().contains_key("host") && !request.headers().contains_key("connection"));
    call.read().await;
    call.answer("h2");
}

/// What is spoken to a server that takes only h2, or only h1, where the backend's key says so.
fn speaks(protocol: &str, h2_server: bool) -> (u16, String) {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let keys = format!("{CA}\n{protocol}");
    if h2_server {
        let backend = H2Backend::scripted_tls(&identity, version_and_host);
        let proxy = setup(&backend.url_as("localhost"), &keys).file("ca.pem", authority.pem()).start();
        get(&proxy)
    } else {
        let backend = Backend::scripted_tls(&identity, |conn, _| {
            if conn.try_read_head().is_ok() {
                conn.send(http(200, "h1"));
                conn.wait_for_any_end();
            }
        });
        let proxy = setup(&backend.url_as("localhost"), &keys).file("ca.pem", authority.pem()).start();
        get(&proxy)
    }
}

#[test]
fn auto_takes_h2_where_the_server_has_it() {
    assert_eq!(speaks("", true), (200, "h2".to_owned()));
    assert_eq!(speaks("protocol = \"auto\"", true), (200, "h2".to_owned()));
}

#[test]
fn auto_takes_h1_where_the_server_has_no_alpn() {
    assert_eq!(speaks("", false), (200, "h1".to_owned()));
}

#[test]
fn h1_is_spoken_where_it_is_asked_for() {
    assert_eq!(speaks("protocol = \"h1\"", false), (200, "h1".to_owned()));
    assert_eq!(speaks("protocol = \"h1\"", true).0, 502, "a server without h1 has nothing to agree on");
}

#[test]
fn h2_is_spoken_where_it_is_asked_for() {
    assert_eq!(speaks("protocol = \"h2\"", true), (200, "h2".to_owned()));
}

#[test]
fn requests_of_many_clients_share_one_h2_connection() {
    let backend = H2Backend::scripted(version_and_host);
    let proxy = before(&backend.url());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(get(&proxy), (200, "h2".to_owned()));
                }
            });
        }
    });
    // All may dial at once before the first is there; afterwards there is one.
    let dialled = backend.connections();
    assert!(dialled <= 4, "{dialled}");
    for _ in 0..10 {
        assert_eq!(get(&proxy).0, 200);
    }
    assert_eq!(backend.connections(), dialled);
}

#[test]
fn an_h2_connection_that_takes_no_more_requests_is_replaced_unseen() {
    let backend = H2Backend::scripted_for(3, version_and_host);
    let proxy = before(&backend.url());
    let mut client = proxy.connect();
    for n in 0..30 {
        client.send(if n % 2 == 0 { GET } else { POST });
        let (head, body) = client.read_answer();
        assert_eq!((head.status(), body.text().as_str()), (200, "h2"), "request {n}");
    }
    assert!(backend.connections() >= 10, "{}", backend.connections());
}

#[test]
fn a_body_reaches_an_h2_backend_and_its_answer_comes_back() {
    let backend = H2Backend::scripted(|mut call: Call| async move {
        let (body, _) = call.read().await;
        assert_eq!(body, b"hello");
        call.answer("heard");
    });
    let proxy = before(&backend.url());
    assert_eq!(proxy.connect_and_send(POST).read_answer().1.text(), "heard");
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(proxy.connect_and_send(chunked).read_answer().1.text(), "heard");
}

#[test]
fn an_h2_backend_that_resets_a_stream_before_its_answer_is_502() {
    let backend = H2Backend::scripted(|mut call: Call| async move {
        call.respond.send_reset(h2::Reason::INTERNAL_ERROR);
    });
    is_told(&before(&backend.url()), GET, 502, "h2c://");
}

#[test]
fn an_h2_answer_that_is_reset_arrives_cut() {
    let backend = H2Backend::scripted(|mut call: Call| async move {
        let mut stream = call.respond.send_response(http::Response::new(()), false).unwrap();
        stream.send_data(bytes::Bytes::from_static(b"begun"), false).unwrap();
        tokio::task::yield_now().await;
        stream.send_reset(h2::Reason::CANCEL);
    });
    let proxy = before(&backend.url());
    let mut client = proxy.connect_and_send(GET);
    match client.read_head() {
        head if head.status() == 200 => assert!(client.try_read_body(&head).is_err(), "a whole answer"),
        head => assert_eq!(head.status(), 502),
    }
}

#[test]
fn a_client_that_goes_resets_its_stream_at_an_h2_backend() {
    let (sender, resets) = channel();
    let (here, there) = channel();
    let backend = H2Backend::scripted(move |mut call: Call| {
        let (sender, here) = (sender.clone(), here.clone());
        async move {
            here.send(()).unwrap();
            let reset = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
            sender.send(reset.is_ok()).unwrap();
        }
    });
    let proxy = before(&backend.url());
    let client = proxy.connect_and_send(GET);
    there.recv_timeout(LIMIT).unwrap();
    let left = Instant::now();
    drop(client);
    resets.recv_timeout(LIMIT).expect("the backend is told");
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
}

#[test]
fn an_h2_connection_that_has_gone_silent_costs_one_request_its_answer() {
    // Of each connection the first request is answered, the others never.
    let answered = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let backend = H2Backend::scripted(move |mut call: Call| {
        let n = answered.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            if n == 1 {
                std::future::pending::<()>().await;
            }
            call.answer("h2");
        }
    });
    let toml = "timeouts.answer = \"300ms\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nbackend = \"{url}\"\n";
    let proxy = Proxy::setup(toml).put("url", backend.url()).start();
    for status in [200, 504, 200, 200] {
        assert_eq!(proxy.connect_and_send(GET).read_answer().0.status(), status);
    }
    assert_eq!(backend.connections(), 2, "the silent one is used no more");
}
