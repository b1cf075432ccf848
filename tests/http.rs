//! Ordinary HTTP/1 through the proxy, head by head: which requests are refused, what of a head reaches the
//! other side and what stays on its hop, and how answers without bodies, `Expect` and bad answers fare.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly
#![allow(clippy::needless_pass_by_value)] // rows read better without `&` before every value

mod kit;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use kit::*;

/// What we add to every request.
const ADDED: &[&str] = &["X-Forwarded-*"];

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: server.example.com\r\n\r\n";

/// A request as it stands on the wire: each character below U+0100 is a byte.
fn request(first: &str, lines: &[&str]) -> Vec<u8> {
    let text = lines.iter().fold(first.to_owned(), |text, line| text + "\r\n" + line) + "\r\n\r\n";
    latin1(&text)
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect()
}

/// A GET with these lines.
fn get(lines: &[&str]) -> Vec<u8> {
    request("GET /path HTTP/1.1", &[&["Host: server.example.com"], lines].concat())
}

/// A request that is forwarded: what the backend saw of it.
fn forwarded(bytes: impl AsRef<[u8]>) -> Head {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before(&backend);
    let (answer, body) = proxy.connect_and_send(bytes).read_answer();
    assert_eq!((answer.status(), body.text().as_str()), (200, "fine"), "{answer}");
    backend.head()
}

/// What the client gets of this answer; its connection is usable afterwards.
fn passed(answer: &str) -> (Head, Body) {
    let bytes = latin1(answer);
    let backend = Backend::scripted(move |conn, _| while conn.try_read_head().is_ok() && conn.try_send(&bytes).is_ok() {});
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(get(&[]));
    let first = client.read_answer();
    client.send(get(&[]));
    is_like(&client.read_answer(), &first);
    first
}

/// Asserts that the second answer on a connection is the first once more; `Date` moves on.
fn is_like((head, body): &(Head, Body), first: &(Head, Body)) {
    assert_eq!((&head.first, head.lines_without(&["Date"])), (&first.0.first, first.0.lines_without(&["Date"])));
    assert_eq!(body, &first.1);
}

/// A request that is refused with no backend touched, and nothing behind it is read as one.
fn refused(bytes: impl AsRef<[u8]>, status: u16) -> Head {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let (answer, _) = proxy.connect_and_send(bytes).read_answer();
    assert_eq!(answer.status(), status, "{answer}");
    let record = proxy.request_record(0);
    assert_eq!((record.count("status"), record.text("fault").as_str()), (u64::from(status), "client"), "{}", record.raw);
    assert_ne!(record.text("why"), "", "{}", record.raw);
    assert_eq!(backend.connections(), 0, "no backend is touched");
    answer
}

// --- request forms ---------------------------------------------------------------------------------------

#[test]
fn connect_is_405_and_names_what_is_allowed() {
    let answer = refused("CONNECT server.example.com:443 HTTP/1.1\r\nHost: server.example.com:443\r\n\r\n", 405);
    assert!(answer.has_token("Allow", "GET") && !answer.has_token("Allow", "CONNECT"), "{answer}");
}

#[test]
fn trace_is_405_and_names_what_is_allowed() {
    let answer = refused(request("TRACE / HTTP/1.1", &["Host: server.example.com", "Cookie: secret=1"]), 405);
    assert!(answer.has_token("Allow", "GET") && !answer.has_token("Allow", "TRACE"), "{answer}");
}

#[test]
fn options_asterisk_goes_to_the_default_route_as_it_is() {
    let seen = forwarded(request("OPTIONS * HTTP/1.1", &["Host: server.example.com"]));
    assert_eq!(seen.first, "OPTIONS * HTTP/1.1");
}

/// The request line and the `Host` that a target with these lines becomes.
fn becomes(target: &str, host: &str, first: &str, sent_host: &str) {
    let seen = forwarded(request(&format!("GET {target} HTTP/1.1"), &[host]));
    assert_eq!(seen.first, first);
    seen.assert_line(sent_host);
}

rows! { becomes {
    an_absolute_target_becomes_origin_form_and_its_authority_the_host:
        "http://other.example.com:8000/a/b?c=d", "Host: server.example.com", "GET /a/b?c=d HTTP/1.1", "Host: other.example.com:8000";
    an_absolute_target_of_any_case_likewise:
        "HTTP://Other.example.com/", "Host: server.example.com", "GET / HTTP/1.1", "Host: Other.example.com";
    an_absolute_target_without_a_path_has_the_path_slash:
        "http://other.example.com", "Host: server.example.com", "GET / HTTP/1.1", "Host: other.example.com";
    an_absolute_target_with_a_query_alone_gets_a_slash_before_it:
        "http://other.example.com?q=1", "Host: server.example.com", "GET /?q=1 HTTP/1.1", "Host: other.example.com";
    a_host_with_a_port_is_kept: "/", "Host: server.example.com:8443", "GET / HTTP/1.1", "Host: server.example.com:8443";
    an_ipv6_host_is_kept: "/", "Host: [::1]:80", "GET / HTTP/1.1", "Host: [::1]:80";
    an_upper_case_host_is_kept: "/", "Host: SERVER.Example.com", "GET / HTTP/1.1", "Host: SERVER.Example.com";
}}

fn is_400(lines: &[&str]) {
    refused(request("GET / HTTP/1.1", lines), 400);
}

rows! { is_400 {
    no_host_is_400: &["Accept: */*"];
    two_hosts_are_400: &["Host: a.example.com", "Host: b.example.com"];
    two_equal_hosts_are_400: &["Host: a.example.com", "host: a.example.com"];
    a_host_with_a_space_is_400: &["Host: a example.com"];
    a_host_that_is_a_list_is_400: &["Host: a.example.com, b.example.com"];
    a_host_with_a_path_is_400: &["Host: a.example.com/x"];
    a_host_with_a_user_is_400: &["Host: user@a.example.com"];
    a_host_with_a_bad_port_is_400: &["Host: a.example.com:http"];
    a_host_with_too_large_a_port_is_400: &["Host: a.example.com:65536"];
    a_host_beyond_ascii_is_400: &["Host: caf\u{e9}.example.com"];
    a_host_with_an_open_bracket_is_400: &["Host: [::1"];
    two_lengths_that_differ_are_400: &["Host: a", "Content-Length: 5", "Content-Length: 6"];
    a_list_of_lengths_is_400: &["Host: a", "Content-Length: 5, 6"];
    a_signed_length_is_400: &["Host: a", "Content-Length: +5"];
    a_hexadecimal_length_is_400: &["Host: a", "Content-Length: 0x5"];
    a_length_beyond_all_numbers_is_400: &["Host: a", "Content-Length: 99999999999999999999999"];
    an_encoding_before_chunked_is_400: &["Host: a", "Transfer-Encoding: gzip, chunked"];
    an_encoding_other_than_chunked_is_400: &["Host: a", "Transfer-Encoding: gzip"];
    an_encoding_called_identity_is_400: &["Host: a", "Transfer-Encoding: identity"];
    an_encoding_that_ends_like_chunked_is_400: &["Host: a", "Transfer-Encoding: xchunked"];
    chunked_twice_is_400: &["Host: a", "Transfer-Encoding: chunked, chunked"];
    chunked_on_two_lines_is_400: &["Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"];
    a_space_before_a_colon_is_400: &["Host: a", "X-Field : 1"];
    a_folded_line_is_400: &["Host: a", "X-Field: 1", " 2"];
}}

#[test]
fn an_http_1_0_request_needs_no_host() {
    let seen = forwarded("GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(seen.first, "GET /old HTTP/1.1");
    assert_eq!(seen.values("Host").len(), 1, "our own request is of 1.1: {seen}");
}

#[test]
fn an_http_1_0_request_with_chunks_is_400() {
    refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
}

/// A length together with chunks, a request hidden behind either reading.
fn never_smuggles(lines: &[&str]) {
    let backend = Backend::scripted(|conn, _| {
        let Ok(head) = conn.try_read_head() else { return };
        let body = conn.read_body(&head);
        assert_eq!(body.framing, Framing::Chunked, "the length never reaches a backend");
        head.assert_none("Content-Length");
        conn.send(http(200, "fine"));
        assert_eq!(conn.read_to_end().0, b"", "nothing behind the body");
    });
    let proxy = Proxy::before(&backend);
    let head = request("POST / HTTP/1.1", &[&["Host: server.example.com"], lines].concat());
    let mut client = proxy.connect_and_send([&head, b"0\r\n\r\n".as_slice(), SMUGGLED.as_bytes()].concat());
    let (answer, _) = client.read_answer();
    assert!([200, 400].contains(&answer.status()), "{answer}");
    client.expect_any_end();
    assert!(backend.heads_so_far().iter().all(|head| head.target() == "/"));
}

rows! { never_smuggles {
    a_length_before_chunks_smuggles_nothing: &["Content-Length: 5", "Transfer-Encoding: chunked"];
    a_length_behind_chunks_smuggles_nothing: &["Transfer-Encoding: chunked", "Content-Length: 5"];
    a_long_length_with_chunks_smuggles_nothing: &["Content-Length: 500", "Transfer-Encoding: chunked"];
}}

#[test]
fn nothing_behind_a_malformed_request_is_read() {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before(&backend);
    let bad = request("GET / HTTP/1.1", &["Host: a", "Content-Length: 5", "Content-Length: 6"]);
    let mut client = proxy.connect_and_send([bad.as_slice(), SMUGGLED.as_bytes()].concat());
    assert_eq!(client.read_answer().0.status(), 400);
    client.expect_any_end();
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_length_that_is_said_twice_reaches_the_backend_once() {
    let bytes = request("POST / HTTP/1.1", &["Host: a", "Content-Length: 5", "Content-Length: 5"]);
    let seen = forwarded([bytes.as_slice(), b"hello"].concat());
    seen.assert_line("Content-Length: 5");
}

// --- bytes that are kept ---------------------------------------------------------------------------------

fn target_is_kept(target: &str) {
    let seen = forwarded(latin1(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")));
    assert_eq!(seen.first, format!("GET {target} HTTP/1.1"));
}

rows! { target_is_kept {
    a_lone_question_mark_is_kept: "/path?";
    a_query_with_question_marks_is_kept: "/path??a=?&&b";
    escapes_are_kept_in_their_case: "/caf%c3%A9/%41%7e";
    an_escaped_slash_is_kept: "/a%2Fb%5Cc";
    doubled_slashes_are_kept: "/1//SID//";
    dot_segments_are_kept: "/a/./b/../c";
    parameters_are_kept: "/a;v=1/b;w";
    signs_that_uris_do_not_allow_are_kept: "/a\"{}|^b";
    a_broken_escape_in_a_query_is_kept: "/a?b=%zz%";
    a_plus_in_a_query_is_kept: "/a?b=c+d%20e&f=[1]";
}}

#[test]
fn a_head_reaches_the_backend_in_its_spelling_and_bytes() {
    let lines = [
        "hOST: Server.Example.com",
        "x-LOWER-upper: 1",
        "X-Latin: caf\u{e9} \u{ff}",
        "X-Empty:",
        "X-Inner: a  b\tc",
        "X_Under: score",
        "Accept: text/html",
        "X-List: 1, 2",
        "x-list: 3",
        "X-LIST: 1, 2",
        "Cookie: a=1; b=\"2\"",
        "Authorization: Basic x==",
        "User-Agent: curl/8",
    ];
    let seen = forwarded(request("GET / HTTP/1.1", &lines));
    let mut have = seen.lines_without(ADDED);
    // Lines of one name keep their order, the order of names says nothing (RFC 9110 section 5.3).
    let same: Vec<&str> = have.iter().copied().filter(|line| line.to_ascii_lowercase().starts_with("x-list")).collect();
    assert_eq!(same, ["X-List: 1, 2", "x-list: 3", "X-LIST: 1, 2"]);
    let mut sent = lines;
    have.sort_unstable();
    sent.sort_unstable();
    // White space around a value is not part of it (RFC 9110 section 5.5).
    let have: Vec<&str> = have.iter().map(|line| line.trim_end_matches(' ')).collect();
    assert_eq!(have, sent);
}

#[test]
fn a_head_reaches_the_client_in_its_spelling_and_bytes() {
    let lines = [
        "SERVER: x",
        "x-LOWER-upper: 1",
        "X-Latin: caf\u{e9}",
        "Set-Cookie: a=1; Path=/",
        "set-cookie: b=2",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "ETag: \"x\"",
        "Content-Length: 2",
    ];
    let (answer, _) = passed(&(lines.iter().fold("HTTP/1.1 299 Odd but fine".to_owned(), |t, l| t + "\r\n" + l) + "\r\n\r\nok"));
    assert_eq!(answer.first, "HTTP/1.1 299 Odd but fine");
    let (mut have, mut sent) = (answer.lines_without(&[]), lines);
    have.sort_unstable();
    sent.sort_unstable();
    assert_eq!(have, sent);
    assert_eq!(answer.values("Set-Cookie"), ["a=1; Path=/", "b=2"]);
}

#[test]
fn no_server_field_is_added() {
    passed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").0.assert_none("Server");
}

#[test]
fn a_get_gets_no_body_on_its_way() {
    let seen = forwarded(get(&[]));
    seen.assert_none("Content-Length");
    seen.assert_none("Transfer-Encoding");
    seen.assert_none("Connection");
}

#[test]
fn a_length_of_zero_is_kept() {
    forwarded(request("POST / HTTP/1.1", &["Host: a", "Content-Length: 0"])).assert_line("Content-Length: 0");
}

#[test]
fn a_method_that_nobody_knows_is_forwarded() {
    assert_eq!(forwarded(request("BREW /pot HTTP/1.1", &["Host: a"])).first, "BREW /pot HTTP/1.1");
}

// --- hop by hop ------------------------------------------------------------------------------------------

fn stays_on_its_hop(lines: &[&str], names: &[&str]) {
    let seen = forwarded(get(lines));
    for name in names {
        seen.assert_none(name);
    }
    seen.assert_line("Host: server.example.com");
}

rows! { stays_on_its_hop {
    keep_alive_stays: &["Connection: keep-alive", "Keep-Alive: timeout=5"], &["Connection", "Keep-Alive"];
    close_stays: &["Connection: close"], &["Connection"];
    proxy_connection_stays: &["Proxy-Connection: keep-alive"], &["Proxy-Connection"];
    what_is_for_a_proxy_stays: &["Proxy-Authorization: Basic x", "Proxy-Authenticate: Basic"], &["Proxy-Authorization", "Proxy-Authenticate"];
    te_without_trailers_stays: &["TE: gzip"], &["TE", "Connection"];
    an_upgrade_to_h2c_stays: &["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"], &["Connection", "Upgrade", "HTTP2-Settings"];
    what_connection_names_stays: &["Connection: close, x-secret", "connection: X-Other", "X-Secret: 1", "X-Other: 2"], &["Connection", "X-Secret", "X-Other"];
}}

#[test]
fn what_matters_is_not_removed_by_naming_it() {
    let lines = [
        "Connection: Host, Cookie, Authorization, Origin, Content-Length, X-Forwarded-For, X-Forwarded-Proto",
        "Cookie: a=1",
        "Authorization: Basic x",
        "Origin: https://a.example.com",
    ];
    let seen = forwarded(get(&lines));
    seen.assert_line("Host: server.example.com");
    lines[1..].iter().for_each(|line| seen.assert_line(line));
    seen.assert_line("X-Forwarded-For: 127.0.0.1");
    seen.assert_line("X-Forwarded-Proto: http");
}

#[test]
fn te_trailers_is_said_anew_to_the_backend() {
    let seen = forwarded(get(&["Connection: TE", "TE: deflate;q=0.5, Trailers"]));
    seen.assert_line("TE: trailers");
    seen.assert_line("Connection: TE");
}

#[test]
fn hop_by_hop_fields_of_an_answer_stay() {
    let (answer, _) = passed(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Secret\r\nKeep-Alive: timeout=5\r\nX-Secret: 1\r\nProxy-Connection: x\r\n\
         Upgrade: h2c\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    for name in ["Connection", "Keep-Alive", "X-Secret", "Proxy-Connection", "Upgrade"] {
        answer.assert_none(name);
    }
    answer.assert_line("X-Kept: 1");
}

#[test]
fn a_backend_that_closes_does_not_close_the_clients_connection() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.send(get(&[]));
        let (answer, body) = client.read_answer();
        answer.assert_none("Connection");
        assert_eq!(body.text(), "ok");
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn a_client_that_says_close_is_closed_and_one_of_1_0_that_says_keep_alive_is_kept() {
    let backend = Backend::http(200, "fine");
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(get(&["Connection: close"]));
    client.read_answer().0.assert_line("Connection: close");
    client.expect_fin();
    let mut old = proxy.connect();
    for _ in 0..2 {
        old.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        assert!(old.read_answer().0.has_token("Connection", "keep-alive"));
    }
    old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    old.read_answer();
    old.expect_fin();
}

// --- answers without a body ------------------------------------------------------------------------------

/// The answer to a HEAD; a GET over the same connection comes next.
fn answer_to_head(answer: &'static str) -> Head {
    let backend = Backend::scripted(move |conn, _| {
        while let Ok(head) = conn.try_read_head() {
            conn.send(if head.first.starts_with("HEAD") { answer.as_bytes().to_owned() } else { http(200, "fine") });
        }
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect();
    let mut ask = || {
        client.send(request("HEAD / HTTP/1.1", &["Host: a"]));
        let head = client.read_head();
        client.send(get(&[]));
        assert_eq!(client.read_answer().1.text(), "fine", "the next answer begins where the head ended");
        head
    };
    let head = ask();
    (0..9).for_each(|_| assert_eq!(ask().lines_without(&["Date"]), head.lines_without(&["Date"])));
    assert!(backend.connections() <= 3, "the backend's connection is usable too: {}", backend.connections());
    let record = proxy.request_record(0);
    assert!(!record.has("fault"), "{}", record.raw);
    head
}

#[test]
fn an_answer_to_head_keeps_its_length_and_has_no_body() {
    answer_to_head("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n").assert_line("Content-Length: 1234");
}

#[test]
fn no_length_is_invented_for_an_answer_to_head() {
    answer_to_head("HTTP/1.1 200 OK\r\nX-Field: 1\r\n\r\n").assert_none("Content-Length");
}

#[test]
fn an_answer_to_head_of_a_chunked_resource_has_no_body() {
    answer_to_head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").assert_none("Content-Length");
}

/// An answer that has no body whatever its fields say; the connection goes on right behind its head.
fn has_no_body(answer: &str) -> Head {
    let (head, body) = passed(answer);
    assert_eq!(body.framing, Framing::None);
    head
}

#[test]
fn a_204_has_no_body_and_gets_no_length() {
    let head = has_no_body("HTTP/1.1 204 No Content\r\nX-Field: 1\r\n\r\n");
    head.assert_none("Content-Length");
    head.assert_none("Transfer-Encoding");
}

#[test]
fn a_204_with_a_length_of_zero_is_legal() {
    has_no_body("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_304_keeps_its_length_and_has_no_body() {
    has_no_body("HTTP/1.1 304 Not Modified\r\nContent-Length: 512\r\nETag: \"x\"\r\n\r\n").assert_line("Content-Length: 512");
}

#[test]
fn a_304_gets_no_length() {
    has_no_body("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n").assert_none("Content-Length");
}

#[test]
fn an_empty_answer_keeps_its_length_of_zero() {
    let (head, body) = passed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    head.assert_line("Content-Length: 0");
    assert_eq!(body.text(), "");
}

// --- Expect: 100-continue --------------------------------------------------------------------------------

const EXPECTING: &[&str] = &["Host: a", "Content-Length: 5", "Expect: 100-continue"];

#[test]
fn the_body_is_not_asked_for_before_the_backend_says_100() {
    let (told, waiting) = channel();
    let (go, going) = channel();
    let going = std::sync::Mutex::new(going);
    let backend = Backend::scripted(move |conn, _| {
        let head = conn.read_head();
        head.assert_line("Expect: 100-continue");
        told.send(()).unwrap();
        going.lock().unwrap().recv().unwrap();
        conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(conn.read_body(&head).text(), "hello");
        conn.send(http(200, "fine"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(request("POST / HTTP/1.1", EXPECTING));
    waiting.recv_timeout(LIMIT).unwrap();
    client.expect_silence(SILENCE);
    go.send(()).unwrap();
    assert_eq!(client.read_head().status(), 100);
    client.send("hello");
    assert_eq!(client.read_answer().1.text(), "fine");
}

fn is_final(status: u16) {
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send(http(status, "no"));
        assert_eq!(conn.read_to_end().0, b"", "no byte of the body reaches the backend");
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(request("POST / HTTP/1.1", EXPECTING));
    let (answer, body) = client.read_answer();
    assert_eq!((answer.status(), body.text().as_str()), (status, "no"), "no 100 goes before it");
    // What would come next may be the body after all: it is not read as a request.
    client.try_send("hello").ok();
    client.try_send(SMUGGLED).ok();
    client.expect_any_end();
    backend.wait_until_idle();
    assert_eq!(backend.connections(), 1);
}

rows! { is_final {
    a_417_is_final_and_the_body_is_not_asked_for: 417;
    a_401_is_final_and_the_body_is_not_asked_for: 401;
    a_200_before_the_body_is_final_too: 200;
}}

#[test]
fn a_backend_that_says_nothing_for_a_second_gets_the_body_all_the_same() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        assert_eq!(conn.read_body(&head).text(), "hello");
        conn.send(http(200, "fine"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let begun = Instant::now();
    let mut client = proxy.connect_and_send(request("POST / HTTP/1.1", EXPECTING));
    assert_eq!(client.read_head().status(), 100);
    let took = begun.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{took:?}");
    client.send("hello");
    assert_eq!(client.read_answer().1.text(), "fine");
}

#[test]
fn a_client_that_does_not_wait_is_served_too() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(conn.read_body(&head).text(), "hello");
        conn.send(http(200, "fine"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let head = request("POST / HTTP/1.1", EXPECTING);
    let mut client = proxy.connect_and_send([head.as_slice(), b"hello"].concat());
    let mut answer = client.read_head();
    if answer.status() == 100 {
        answer = client.read_head();
    }
    assert_eq!(client.read_body(&answer).text(), "fine");
}

/// A request that expects a 100 and gets an answer of ours: no 100 goes before it, and what comes behind is
/// not read as a request.
fn is_final_too(status: u16, route: &str) {
    let backend = Backend::silent();
    let proxy = Proxy::before_with(&backend, "", route);
    let mut client = proxy.connect_and_send(request("POST / HTTP/1.1", EXPECTING));
    let answer = client.read_answer().0;
    assert_eq!(answer.status(), status);
    answer.assert_line("Connection: close");
    client.try_send("hello").ok();
    client.try_send(SMUGGLED).ok();
    client.expect_any_end();
    assert_eq!(backend.connections(), 0);
}

rows! { is_final_too {
    a_413_of_ours_is_final_and_the_body_is_not_asked_for: 413, "max_body = \"4B\"";
    a_404_of_ours_is_final_and_the_body_is_not_asked_for: 404, "path = \"/elsewhere\"";
}}

#[test]
fn an_http_1_0_client_cannot_expect() {
    let seen = forwarded("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    seen.assert_none("Expect");
}

// --- answers of other versions, and bad ones -------------------------------------------------------------

#[test]
fn a_1_0_answer_that_ends_with_its_connection_is_a_whole_answer() {
    let (head, body) = {
        let backend = Backend::answering("HTTP/1.0 200 Old\r\nX-Field: 1\r\n\r\nall of it");
        let proxy = Proxy::before(&backend);
        let mut client = proxy.connect_and_send(get(&[]));
        let first = client.read_answer();
        client.send(get(&[]));
        is_like(&client.read_answer(), &first);
        first
    };
    assert_eq!(head.first, "HTTP/1.1 200 Old", "the backend's version is not the client's matter");
    assert_eq!((body.text().as_str(), body.framing), ("all of it", Framing::Chunked));
}

#[test]
fn a_1_0_answer_ends_with_the_connection_for_a_1_0_client() {
    let backend = Backend::answering("HTTP/1.0 200 OK\r\n\r\nall of it");
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let (head, body) = client.read_answer();
    assert_eq!((head.status(), body.text().as_str(), body.framing), (200, "all of it", Framing::Close));
}

#[test]
fn a_chunked_answer_reaches_a_1_0_client_without_its_chunks() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n6\r\n of it\r\n0\r\n\r\n");
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    let (head, body) = client.read_answer();
    head.assert_none("Transfer-Encoding");
    assert_eq!((body.text().as_str(), body.framing), ("all of it", Framing::Close));
}

/// An answer that could be read in two ways: 502, its connection closed, the client's still usable.
fn is_502(answer: &'static str) {
    let (sender, ends) = channel();
    let backend = Backend::scripted(move |conn, n| {
        conn.read_head();
        if n == 0 {
            conn.send(answer);
            conn.wait_for_any_end();
            sender.send(()).unwrap();
        } else {
            conn.send(http(200, "fine"));
            conn.wait_for_any_end();
        }
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(get(&[]));
    let (head, body) = client.read_answer();
    assert_eq!(head.status(), 502, "{head}");
    assert!(!body.text().contains("SECRET"), "nothing of it is passed on: {}", body.text());
    ends.recv_timeout(LIMIT).expect("the backend's connection is closed");
    let record = proxy.request_record(0);
    assert_eq!((record.count("status"), record.text("fault").as_str()), (502, "backend"), "{}", record.raw);
    assert_ne!(record.text("why"), "", "{}", record.raw);
    assert!(body.text().contains(&record.text("id")), "{}", body.text());
    client.send(get(&[]));
    assert_eq!(client.read_answer().1.text(), "fine", "the client's connection stays usable");
}

rows! { is_502 {
    a_length_and_chunks_in_an_answer_are_502: "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nSECRET\r\n0\r\n\r\n";
    chunks_and_a_length_in_an_answer_are_502: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n6\r\nSECRET\r\n0\r\n\r\n";
    an_answer_in_gzip_chunks_is_502: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n6\r\nSECRET\r\n0\r\n\r\n";
    an_answer_encoded_in_gzip_is_502: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nSECRET";
    an_answer_with_lengths_that_differ_is_502: "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 7\r\n\r\nSECRET";
    an_answer_with_a_list_of_lengths_that_differ_is_502: "HTTP/1.1 200 OK\r\nContent-Length: 6, 7\r\n\r\nSECRET";
    an_answer_with_a_length_that_is_no_number_is_502: "HTTP/1.1 200 OK\r\nContent-Length: -6\r\n\r\nSECRET";
    a_101_that_nobody_asked_for_is_502: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nSECRET";
    a_1_0_answer_with_chunks_is_502: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nSECRET\r\n0\r\n\r\n";
    a_204_with_two_lengths_is_502: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    a_folded_line_in_an_answer_is_502: "HTTP/1.1 200 OK\r\nX-Field: 1\r\n SECRET\r\nContent-Length: 0\r\n\r\n";
    garbage_for_an_answer_is_502: "SSH-2.0-SECRET\r\n\r\n";
    an_answer_of_a_version_to_come_is_502: "HTTP/3.7 200 OK\r\nContent-Length: 6\r\n\r\nSECRET";
}}

#[test]
fn equal_lengths_in_an_answer_become_one() {
    let (head, body) = passed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok");
    head.assert_line("Content-Length: 2");
    assert_eq!(body.text(), "ok");
}

#[test]
fn a_100_that_nobody_asked_for_is_passed_over() {
    assert_eq!(passed("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").0.status(), 200);
}

#[test]
fn early_hints_are_passed_over() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let (head, body) = passed(&(hints.repeat(2) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    assert_eq!((head.status(), body.text().as_str()), (200, "ok"));
}

#[test]
fn a_body_behind_an_answer_to_head_is_nobodys_answer() {
    let backend = Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            let secret = if head.first.starts_with("HEAD") { "SECRET" } else { "fine" };
            if conn.try_send(http(200, secret)).is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect();
    for _ in 0..5 {
        client.send(request("HEAD / HTTP/1.1", &["Host: a"]));
        assert_eq!(client.read_head().status(), 200);
        client.send(get(&[]));
        assert_eq!(client.read_answer().1.text(), "fine");
    }
}

#[test]
fn an_answer_head_beyond_the_limit_is_502() {
    let lines = "X-Field: 0123456789012345678901234567890123456789\r\n".repeat(80);
    let large = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n");
    let backend = Backend::answering(&large);
    let proxy = Proxy::before_with(&backend, "[limits]\nheader_bytes = \"2KiB\"\n", "");
    assert_eq!(proxy.connect_and_send(get(&[])).read_answer().0.status(), 502);
    assert_eq!(proxy.request_record(0).text("fault"), "backend");
}
