//! What backends answer to an offer, row by row: which answers open a tunnel and how they look to the client,
//! which are plain HTTP, which are a fault; `terminate`, the old drafts, and servers that do not answer.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly
#![allow(clippy::needless_pass_by_value)] // rows read better without `&` before every value

mod kit;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use kit::*;

const PLAIN: &str = "GET /plain HTTP/1.1\r\nHost: server.example.com\r\n\r\n";

/// A valid 101 as lines; `{accept}` stands for the right Accept.
const VALID: &[&str] =
    &["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}"];

/// Puts the right Accept into an answer.
fn filled(answer: &str, offer: &Head) -> Vec<u8> {
    let accept = accept_for(offer.value("sec-websocket-key").unwrap_or_default());
    answer.replace("{accept}", &accept).chars().map(|c| u8::try_from(c).expect("Latin-1")).collect()
}

fn head_of(lines: &[&str]) -> String {
    lines.join("\r\n") + "\r\n\r\n"
}

/// `VALID` with further lines.
fn valid_and(more: &[&str]) -> String {
    head_of(&[VALID, more].concat())
}

/// `VALID` with another line in the place of the n-th.
fn valid_but(n: usize, line: &str) -> String {
    let mut lines = VALID.to_vec();
    lines[n] = line;
    head_of(&lines)
}

/// `VALID` without the n-th line.
fn valid_without(n: usize) -> String {
    let mut lines = VALID.to_vec();
    lines.remove(n);
    head_of(&lines)
}

/// A backend that gives every offer this answer (bytes behind the head included) and then echoes.
fn answering(answer: impl Into<String>) -> Backend {
    let answer = answer.into();
    Backend::scripted(move |conn, _| {
        let offer = conn.read_head();
        conn.send(filled(&answer, &offer));
        let (reader, mut writer) = conn.both();
        reader.pour(|bytes| writer.try_send(bytes).unwrap_or_default());
    })
}

/// This answer to this offer opens a tunnel; what the client saw of it.
fn opens_for(offer: Offer, answer: impl Into<String>) -> Head {
    let backend = answering(answer);
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(offer.bytes());
    let seen = client.read_head();
    client.send("there and back");
    client.expect("there and back");
    assert_eq!(seen.status(), 101, "{seen}");
    seen.assert_line("Upgrade: websocket");
    seen.assert_line("Connection: Upgrade");
    seen.assert_line("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    seen.assert_none("Content-Length");
    seen.assert_none("Transfer-Encoding");
    seen
}

fn opens(answer: impl Into<String>) -> Head {
    opens_for(Offer::new(), answer)
}

/// A 502 or 504 of ours: short, with the request's id, with no address of the inside; the record tells whose
/// fault it was.
fn is_ours(proxy: &Proxy, backend: Option<&Backend>, (answer, body): (Head, Body), status: u16) -> Line {
    assert_eq!(answer.status(), status, "{answer}{}", body.text());
    let record = proxy.request_record(0);
    assert_eq!((record.count("status"), record.text("fault").as_str()), (u64::from(status), "backend"), "{}", record.raw);
    assert_ne!(record.text("why"), "", "{}", record.raw);
    assert!(body.text().contains(&record.text("id")), "no id in {:?}", body.text());
    assert!(body.bytes.len() < 1000, "short: {:?}", body.text());
    let inside = backend.map(|backend| backend.port().to_string());
    let told = inside.is_some_and(|port| body.text().contains(&port)) || body.text().contains("127.0.0.1");
    assert!(!told, "an inner address in {:?}", body.text());
    record
}

/// This answer to this offer is a fault: 502, the backend's connection closed, nothing of it passed on.
fn fails_for(offer: Offer, answer: impl Into<String>) {
    let (answer, (sender, ends)) = (answer.into(), channel());
    let backend = Backend::scripted(move |conn, _| {
        let offer = conn.read_head();
        conn.try_send(filled(&answer, &offer)).ok(); // a proxy that has read too much may close before the end of it
        conn.try_send("early and never to be seen").ok();
        sender.send(conn.expect_any_end()).unwrap();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(offer.bytes());
    let (answer, body) = client.read_answer();
    assert!(!body.text().contains("never to be seen"), "{}", body.text());
    is_ours(&proxy, Some(&backend), (answer, body), 502);
    ends.recv_timeout(LIMIT).expect("the backend's connection is closed");
    assert_eq!(backend.connections(), 1, "an answer is final: no other attempt");
}

fn fails(answer: impl Into<String>) {
    fails_for(Offer::new(), answer);
}

// --- a valid 101 -----------------------------------------------------------------------------------------

#[test]
fn a_valid_101_opens_the_tunnel() {
    let seen = opens(valid_and(&[]));
    assert_eq!(seen.first, "HTTP/1.1 101 Switching Protocols");
}

/// A key whose Accept is known from elsewhere than our own arithmetic.
fn has_its_known_accept(key: &str, accept: &str) {
    let backend = answering(valid_but(3, &format!("Sec-WebSocket-Accept: {accept}")));
    let proxy = Proxy::before(&backend);
    let offer = Offer::new().replace("Sec-WebSocket-Key", &[&format!("Sec-WebSocket-Key: {key}")]);
    let seen = proxy.connect_and_send(offer.bytes()).read_head();
    assert_eq!(seen.status(), 101, "{seen}");
    seen.assert_line(&format!("Sec-WebSocket-Accept: {accept}"));
    backend.head().assert_line(&format!("Sec-WebSocket-Key: {key}"));
}

rows! { has_its_known_accept {
    the_first_known_key_has_its_accept: "sN9cRrP/n9NdMgdcy2VJFQ==", "fFBooB7FAkLlXgRSz0BT3v4hq5s=";
    the_second_known_key_has_its_accept: "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    the_third_known_key_has_its_accept: "x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk=";
}}

/// The backend's early bytes are the first that the client reads after the 101.
fn comes_first(early: &[u8], send: fn(&mut Conn, &[u8])) {
    let bytes = early.to_owned();
    let backend = Backend::scripted(move |conn, _| {
        let offer = conn.read_head();
        send(conn, &[answer_101(&offer).as_bytes(), &bytes].concat());
        conn.expect("from the client");
        conn.send("later");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    assert_eq!(client.read_head().status(), 101);
    client.expect(early);
    client.send("from the client");
    client.expect("later");
}

rows! { comes_first {
    a_frame_in_the_101s_segment_comes_first: &frame(1, b"hello", false), |conn, bytes| conn.send(bytes);
    a_single_byte_behind_the_101_comes_first: &[0x81], |conn, bytes| conn.send(bytes);
    a_thousand_bytes_behind_the_101_come_first: &pattern(1000), |conn, bytes| conn.send(bytes);
    a_mebibyte_behind_the_101_comes_first: &pattern(1 << 20), |conn, bytes| conn.send(bytes);
    bytes_that_look_like_an_answer_come_through: b"HTTP/1.1 200 OK\r\n\r\n", |conn, bytes| conn.send(bytes);
    a_101_in_single_bytes_is_whole: b"hello", |conn, bytes| conn.send_in_single_bytes(bytes);
}}

#[test]
fn early_bytes_of_both_sides_cross() {
    let backend = Backend::scripted(|conn, _| {
        let offer = conn.read_head();
        conn.send(answer_101(&offer) + "from the backend");
        conn.expect("from the client");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().with_early("from the client"));
    assert_eq!(client.read_head().status(), 101);
    client.expect("from the backend");
}

#[test]
fn a_backend_that_ends_right_after_its_101_and_a_close_frame_is_heard_out() {
    let close = frame(8, &[0x03, 0xe8], false);
    let expected = close.clone();
    let backend = Backend::scripted(move |conn, _| {
        let offer = conn.read_head();
        conn.send([answer_101(&offer).as_bytes(), &close].concat());
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    assert_eq!(client.read_head().status(), 101);
    client.expect(expected);
    client.expect_fin();
}

#[test]
fn a_tunnel_has_a_record_at_its_open_and_at_its_close() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    client.read_head();
    let opened = proxy.wait_for_message("tunnel opened", 0);
    client.send("12345");
    client.expect("12345");
    client.fin();
    client.expect_fin();
    let closed = proxy.wait_for_message("tunnel closed", 0);
    assert_eq!(opened.text("session"), closed.text("session"));
    for record in [&opened, &closed] {
        assert!(record.text("client").starts_with("127.0.0.1"), "{}", record.raw);
        assert!(record.text("backend").contains(&backend.port().to_string()), "{}", record.raw);
        assert!(record.has("route"), "{}", record.raw);
    }
    assert_eq!((closed.count("bytes_from_client"), closed.count("bytes_from_backend")), (5, 5), "{}", closed.raw);
    assert_eq!(closed.text("ended_by"), "client", "{}", closed.raw);
    assert_ne!(closed.text("how"), "", "{}", closed.raw);
    assert!(closed.number("seconds") >= 0.0, "{}", closed.raw);
}

// --- the dresses of a 101 --------------------------------------------------------------------------------

/// A 101 in this dress opens the tunnel (the client sees the handshake's fields in their own).
fn is_a_dress_of_101(answer: String) {
    opens(answer);
}

rows! { is_a_dress_of_101 {
    upgrade_in_mixed_case: valid_but(1, "Upgrade: WebSocket");
    upgrade_in_capitals: valid_but(1, "UPGRADE: WEBSOCKET");
    connection_in_lower_case: valid_but(2, "Connection: upgrade");
    connection_as_a_list: valid_but(2, "Connection: keep-alive, Upgrade");
    connection_on_two_lines: valid_and(&["Connection: keep-alive"]);
    names_in_lower_case:
        head_of(&["HTTP/1.1 101 Switching Protocols", "upgrade: websocket", "connection: upgrade", "sec-websocket-accept: {accept}"]);
    hypers_title_case: valid_but(3, "Sec-Websocket-Accept: {accept}");
    an_empty_reason: valid_but(0, "HTTP/1.1 101 ");
    no_reason_and_no_space: valid_but(0, "HTTP/1.1 101");
    another_reason: valid_but(0, "HTTP/1.1 101 Web Socket Protocol Handshake");
    space_around_values: valid_but(3, "Sec-WebSocket-Accept: \t {accept} \t");
    no_space_before_values: valid_but(3, "Sec-WebSocket-Accept:{accept}");
    a_content_length_of_0: valid_and(&["Content-Length: 0"]);
    a_server_and_a_date: valid_and(&["Server: Apache-Coyote/1.1", "Date: Sat, 21 Nov 2026 08:00:00 GMT"]);
}}

#[test]
fn other_fields_of_a_101_reach_the_client() {
    let more = [
        "Origin: http://example.com",
        "Set-Cookie: a=1; Path=/",
        "Set-Cookie: b=2",
        "Sec-WebSocket-Location: ws://server.example.com/chat",
        "x-Mixed-CASE: yes",
    ];
    let seen = opens(valid_and(&more));
    assert_eq!(seen.values("Set-Cookie"), ["a=1; Path=/", "b=2"]);
    for line in [more[0], more[3], more[4]] {
        seen.assert_line(line);
    }
}

#[test]
fn hop_by_hop_fields_of_a_101_stay_here() {
    let seen = opens(valid_and(&["Keep-Alive: timeout=5", "Proxy-Connection: keep-alive"]));
    seen.assert_none("Keep-Alive");
    seen.assert_none("Proxy-Connection");
}

#[test]
fn a_100_before_the_101_is_passed_over() {
    opens("HTTP/1.1 100 Continue\r\n\r\n".to_owned() + &valid_and(&[]));
}

// --- subprotocols ----------------------------------------------------------------------------------------

fn offering_protocols() -> Offer {
    Offer::new().line("Sec-WebSocket-Protocol: chat, superchat")
}

#[test]
fn an_offered_protocol_passes() {
    for protocol in ["chat", "superchat"] {
        let line = format!("Sec-WebSocket-Protocol: {protocol}");
        opens_for(offering_protocols(), valid_and(&[&line])).assert_line(&line);
    }
}

#[test]
fn a_protocol_offered_on_a_second_line_passes() {
    let offer = Offer::new().line("Sec-WebSocket-Protocol: chat").line("Sec-WebSocket-Protocol: superchat");
    opens_for(offer, valid_and(&["sec-websocket-protocol: superchat"])).assert_line("Sec-WebSocket-Protocol: superchat");
}

#[test]
fn no_protocol_out_of_those_offered_is_an_answer() {
    opens_for(offering_protocols(), valid_and(&[])).assert_none("Sec-WebSocket-Protocol");
}

/// These lines in the answer to an offer of `chat` and `superchat` are a fault.
fn is_no_answer_to_chat(lines: &[&str]) {
    fails_for(offering_protocols(), valid_and(lines));
}

rows! { is_no_answer_to_chat {
    a_protocol_that_was_not_offered: &["Sec-WebSocket-Protocol: mega"];
    a_protocol_in_another_case: &["Sec-WebSocket-Protocol: Chat"];
    a_part_of_a_protocol: &["Sec-WebSocket-Protocol: super"];
    two_protocols_on_two_lines: &["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: superchat"];
    one_protocol_on_two_lines: &["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: chat"];
    two_protocols_in_a_list: &["Sec-WebSocket-Protocol: chat, superchat"];
    an_empty_protocol: &["Sec-WebSocket-Protocol:"];
}}

#[test]
fn a_protocol_where_none_was_offered_is_a_fault() {
    fails(valid_and(&["Sec-WebSocket-Protocol: chat"]));
}

// --- extensions ------------------------------------------------------------------------------------------

/// The answer's extensions reach the client byte for byte.
fn is_an_answer_to(offered: &[&str], granted: &[&str]) {
    let line = |value: &&str| format!("Sec-WebSocket-Extensions: {value}");
    let offer = offered.iter().fold(Offer::new(), |offer, value| offer.line(&line(value)));
    let lines: Vec<String> = granted.iter().map(line).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(opens_for(offer, valid_and(&lines)).values("Sec-WebSocket-Extensions"), granted);
}

rows! { is_an_answer_to {
    the_offered_extension_alone: &["permessage-deflate"], &["permessage-deflate"];
    the_offered_extension_with_parameters: &["permessage-deflate; client_max_window_bits"],
        &["permessage-deflate; server_no_context_takeover; client_max_window_bits=15"];
    the_offered_extension_without_spaces: &["permessage-deflate"], &["permessage-deflate;server_max_window_bits=10"];
    the_offered_extension_with_a_quoted_parameter: &["permessage-deflate"], &["permessage-deflate; server_max_window_bits=\"10\""];
    the_offered_extension_out_of_two_spellings: &["permessage-deflate; server_no_context_takeover, permessage-deflate"], &["permessage-deflate"];
    one_extension_of_two_lines: &["x-webkit-deflate-frame", "permessage-deflate"], &["permessage-deflate"];
    two_extensions_in_a_list: &["a-first, b-second"], &["a-first; x=\"y, z\", b-second"];
    two_extensions_on_two_lines: &["a-first, b-second"], &["a-first", "b-second"];
    no_extension_of_those_offered: &["permessage-deflate"], &[];
}}

/// An answer with these extensions to an offer of `permessage-deflate` and `x-other` is a fault.
fn is_no_answer_to_deflate(lines: &[&str]) {
    fails_for(Offer::new().line("Sec-WebSocket-Extensions: permessage-deflate, x-other"), valid_and(lines));
}

rows! { is_no_answer_to_deflate {
    an_extension_that_was_not_offered: &["Sec-WebSocket-Extensions: permessage-brotli"];
    an_extension_that_was_not_offered_beside_one_that_was: &["Sec-WebSocket-Extensions: permessage-deflate, permessage-brotli"];
    one_extension_twice_in_a_list: &["Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate"];
    one_extension_twice_with_other_parameters: &["Sec-WebSocket-Extensions: permessage-deflate; a=1, permessage-deflate; a=2"];
    one_extension_on_two_lines: &["Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: permessage-deflate"];
}}

#[test]
fn an_extension_where_none_was_offered_is_a_fault() {
    fails(valid_and(&["Sec-WebSocket-Extensions: permessage-deflate"]));
}

// --- a 101 that is none ----------------------------------------------------------------------------------

/// The client gets 502, the backend's connection is closed, nothing comes through.
fn is_a_fault(answer: impl Into<String>) {
    fails(answer);
}

rows! { is_a_fault {
    a_101_without_upgrade: valid_without(1);
    a_101_without_connection: valid_without(2);
    a_101_without_accept: valid_without(3);
    a_101_with_nothing: head_of(&["HTTP/1.1 101 Switching Protocols"]);
    a_101_to_h2c: valid_but(1, "Upgrade: h2c");
    a_101_to_a_longer_name: valid_but(1, "Upgrade: websocket2");
    a_101_with_connection_close: valid_but(2, "Connection: close");
    a_101_with_connection_keep_alive: valid_but(2, "Connection: keep-alive");
    a_101_with_another_keys_accept: valid_but(3, "Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
    a_101_with_accept_in_another_case: valid_but(3, "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=");
    a_101_with_the_key_as_accept: valid_but(3, &format!("Sec-WebSocket-Accept: {KEY}"));
    a_101_with_an_empty_accept: valid_but(3, "Sec-WebSocket-Accept:");
    a_101_with_accept_twice: valid_and(&["Sec-WebSocket-Accept: {accept}"]);
    a_101_with_a_wrong_and_a_right_accept: valid_and(&["Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk="]);
    a_101_with_a_shortened_accept: valid_but(3, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo");
    a_101_with_a_content_length_of_5: valid_and(&["Content-Length: 5"]);
    a_101_with_a_content_length_that_is_no_number: valid_and(&["Content-Length: x"]);
    a_101_with_a_body_in_chunks: valid_and(&["Transfer-Encoding: chunked"]);
    a_101_with_a_space_before_a_colon: valid_and(&["X-Name : 1"]);
    a_101_with_a_line_without_a_colon: valid_and(&["nonsense"]);
    a_101_with_a_nul_in_a_value: valid_and(&["X-Name: a\u{0}b"]);
    a_status_that_is_no_number: "HTTP/1.1 abc Switching Protocols\r\n\r\n";
    a_status_of_two_digits: "HTTP/1.1 10 Switching Protocols\r\n\r\n";
    a_version_of_2: "HTTP/2 101 Switching Protocols\r\n\r\n";
    an_ssh_banner: "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n";
    binary_garbage: "\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}\u{50}\r\n\r\n\u{ff}\u{fe}";
    frames_without_an_answer: "\u{81}\u{5}hello\r\n\r\n";
    a_head_of_64_kibibytes: valid_and(&[&format!("X-Large: {}", "x".repeat(64 << 10))]);
    a_head_of_64_kibibytes_in_many_lines: valid_and(&vec!["X-Many: 0123456789"; 3300]);
    a_head_without_an_end: "HTTP/1.1 101 ".to_owned() + &"x".repeat(128 << 10);
}}

#[test]
fn the_reason_of_a_fault_stands_in_the_log() {
    let backend = answering(valid_but(3, "Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk="));
    let proxy = Proxy::before(&backend);
    let answer = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    let record = is_ours(&proxy, Some(&backend), answer, 502);
    assert!(record.text("why").to_lowercase().contains("accept"), "{}", record.raw);
}

#[test]
fn a_fault_leaves_the_clients_connection_usable() {
    let backend = Backend::scripted(|conn, n| {
        let offer = conn.read_head();
        conn.send(if n == 0 { "HTTP/1.1 101 No\r\n\r\n".to_owned() } else { answer_101(&offer) });
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    assert_eq!(client.read_answer().0.status(), 502);
    client.send(Offer::new().bytes());
    assert_eq!(client.read_head().status(), 101);
}

#[test]
fn a_101_that_nobody_asked_for_is_a_fault() {
    let (sender, ends) = channel();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nnever seen");
        sender.send(conn.expect_any_end()).unwrap();
    });
    let proxy = Proxy::before(&backend);
    let (answer, body) = proxy.connect_and_send(PLAIN).read_answer();
    is_ours(&proxy, Some(&backend), (answer, body), 502);
    ends.recv_timeout(LIMIT).expect("the backend's connection is closed");
}

// --- refusals --------------------------------------------------------------------------------------------

/// A refusal reaches the client whole, as plain HTTP, and its connection can be used for an offer again.
fn is_a_refusal(answer: &'static str, body: &str) -> Head {
    let backend = Backend::scripted(move |conn, n| {
        let offer = conn.read_head();
        if n == 0 {
            conn.send(answer);
            // A close-delimited answer needs the FIN; the others would keep the connection alive.
            if !answer.contains("Length") && !answer.contains("chunked") {
                return;
            }
            match conn.try_read_head() {
                Ok(offer) => conn.send(answer_101(&offer)),
                Err(_) => return,
            }
        } else {
            conn.send(answer_101(&offer));
        }
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    let (seen, seen_body) = client.read_answer();
    let status: u16 = answer[9..12].parse().unwrap();
    assert_eq!((seen.status(), seen_body.text().as_str()), (status, body), "{seen}");
    assert_ne!(seen_body.framing, Framing::Close, "the connection stays usable: {seen}");
    assert!(!seen.has_token("Connection", "close"), "{seen}");
    client.send(Offer::new().bytes());
    assert_eq!(client.read_head().status(), 101, "the next offer on the same connection");
    let record = proxy.request_record(0);
    assert_eq!(record.count("status"), u64::from(status), "{}", record.raw);
    seen
}

/// The same, where the head is not looked at.
fn passes_whole(answer: &'static str, body: &str) {
    let seen = is_a_refusal(answer, body);
    seen.assert_none("Upgrade");
}

rows! { passes_whole {
    a_200_passes: "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage", "page";
    a_200_in_chunks_passes: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\npa\r\n2\r\nge\r\n0\r\n\r\n", "page";
    a_200_without_a_length_passes: "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\npage", "page";
    a_200_of_http_1_0_passes: "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\npage", "page";
    a_204_passes: "HTTP/1.1 204 No Content\r\nX-Length: none\r\n\r\n", "";
    a_301_passes: "HTTP/1.1 301 Moved Permanently\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n", "";
    a_302_passes: "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 5\r\n\r\nlogin", "login";
    a_304_passes: "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", "";
    a_307_passes: "HTTP/1.1 307 Temporary Redirect\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n", "";
    a_400_passes: "HTTP/1.1 400 Bad Request\r\nSec-WebSocket-Version: 13, 8\r\nContent-Length: 3\r\n\r\nbad", "bad";
    a_401_passes: "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 3\r\n\r\nwho", "who";
    a_403_passes: "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "no";
    a_403_without_a_body_passes: "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "";
    a_404_passes: "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nnowhere", "nowhere";
    a_404_dressed_as_an_upgrade_passes_as_a_404:
        "HTTP/1.1 404 Not Found\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 7\r\n\r\nnowhere", "nowhere";
    a_200_dressed_as_an_upgrade_passes_as_a_200:
        "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\npage", "page";
    a_500_without_a_length_passes: "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\n\r\nbroken", "broken";
    a_503_passes: "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 5\r\n\r\nlater", "later";
}}

#[test]
fn a_426_gets_its_upgrade_and_connection_back() {
    let answer = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                  Content-Length: 4\r\n\r\nmore";
    let seen = is_a_refusal(answer, "more");
    seen.assert_line("Upgrade: websocket");
    assert!(seen.has_token("Connection", "Upgrade"), "{seen}");
    seen.assert_line("Sec-WebSocket-Version: 13");
}

#[test]
fn the_fields_of_a_refusal_reach_the_client() {
    let answer = "HTTP/1.1 401 Go Away\r\nWWW-Authenticate: Basic realm=\"x\"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                  Sec-WebSocket-Version: 13, 8, 7\r\nContent-Length: 0\r\n\r\n";
    let seen = is_a_refusal(answer, "");
    assert_eq!(seen.values("WWW-Authenticate"), ["Basic realm=\"x\""]);
    assert_eq!(seen.values("Set-Cookie"), ["a=1", "b=2"]);
    assert_eq!(seen.values("Sec-WebSocket-Version"), ["13, 8, 7"]);
}

#[test]
fn a_plain_request_follows_a_refusal_on_the_same_connection() {
    let backend = Backend::http(403, "no");
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    assert_eq!(client.read_answer().0.status(), 403);
    client.send(PLAIN);
    assert_eq!(client.read_answer().0.status(), 403);
    assert_eq!([backend.head(), backend.head()].map(|head| head.target().to_owned()), ["/chat", "/plain"]);
}

#[test]
fn a_large_refusal_streams_through_whole() {
    const LARGE: usize = 8 << 20;
    let body: &'static [u8] = pattern(LARGE).leak();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send(format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {LARGE}\r\n\r\n"));
        conn.send(body);
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let (answer, seen) = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    assert_eq!(answer.status(), 403);
    assert!(seen.bytes == body, "not the body");
}

#[test]
fn a_refusal_begins_to_arrive_before_it_is_whole() {
    let (go_on, told) = channel::<()>();
    let told = std::sync::Mutex::new(told);
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nfirst");
        told.lock().unwrap().recv_timeout(LIMIT).unwrap();
        conn.send("later");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    client.read_head();
    client.expect("first");
    go_on.send(()).unwrap();
    client.expect("later");
}

/// A refusal that the backend breaks off reaches the client as broken.
fn arrives_as_cut(answer: &'static str) {
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send(answer);
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    let head = client.read_head();
    let cut = client.try_read_body(&head).expect_err("not a whole answer");
    assert_eq!(cut.bytes, b"begun");
    assert_eq!(proxy.request_record(0).text("fault"), "backend");
}

rows! { arrives_as_cut {
    a_refusal_shorter_than_its_length_is_cut: "HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nbegun";
    a_refusal_without_its_last_chunk_is_cut: "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n";
}}

// --- servers that do not answer --------------------------------------------------------------------------

fn before_two(first: &str, second: &str) -> Proxy {
    let text = "[timeouts]\nhandshake = \"5s\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[backend.two]\n\
                servers = [\"{first}\", \"{second}\"]\n[[route]]\nbackend = \"two\"\n";
    Proxy::setup(text).put("first", first).put("second", second).start()
}

/// In both orders, and as often as it takes for the turn to come: the good server is found.
fn finds_the_good_server(bad: &str, good: &Backend) {
    for (first, second) in [(bad, good.url().as_str()), (good.url().as_str(), bad)] {
        let proxy = before_two(first, second);
        let clients: Vec<Conn> = (0..4)
            .map(|n| {
                let mut client = proxy.connect_and_send(Offer::new().bytes());
                assert_eq!(client.read_head().status(), 101, "client {n}");
                client
            })
            .collect();
        drop(clients);
    }
}

#[test]
fn a_refused_connection_tries_the_next_server() {
    let (refusing, good) = (RefusedPort::new(), Backend::echo());
    finds_the_good_server(&refusing.url(), &good);
}

#[test]
fn a_close_before_the_first_byte_tries_the_next_server() {
    let good = Backend::echo();
    let bad = Backend::scripted(|conn, _| drop(conn.try_read_head()));
    finds_the_good_server(&bad.url(), &good);
    assert!(bad.connections() > 0, "it was tried");
}

#[test]
fn a_reset_before_the_first_byte_tries_the_next_server() {
    let good = Backend::echo();
    // Closing with the offer unread is a reset.
    let bad = Backend::scripted(|_, _| {});
    finds_the_good_server(&bad.url(), &good);
}

#[test]
fn early_bytes_and_the_whole_offer_reach_the_next_server() {
    let good = Backend::scripted(|conn, _| {
        let offer = conn.read_head();
        conn.send(answer_101(&offer));
        conn.expect("early");
        conn.send("got it");
        conn.wait_for_any_end();
    });
    let bad = Backend::scripted(|conn, _| drop(conn.try_read_head()));
    let proxy = before_two(&bad.url(), &good.url());
    for _ in 0..2 {
        let mut client = proxy.connect_and_send(Offer::new().with_early("early"));
        assert_eq!(client.read_head().status(), 101);
        client.expect("got it");
    }
}

#[test]
fn when_every_server_refuses_the_client_gets_502() {
    let ports = [RefusedPort::new(), RefusedPort::new()];
    let proxy = before_two(&ports[0].url(), &ports[1].url());
    let answer = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    is_ours(&proxy, None, answer, 502);
}

#[test]
fn when_every_server_closes_each_was_tried_once() {
    let bad = || Backend::scripted(|conn, _| drop(conn.try_read_head()));
    let (first, second) = (bad(), bad());
    let proxy = before_two(&first.url(), &second.url());
    let answer = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    is_ours(&proxy, Some(&first), answer, 502);
    assert_eq!((first.connections(), second.connections()), (1, 1));
}

#[test]
fn a_close_within_the_answers_head_is_final() {
    let good = Backend::echo();
    let bad = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 101 Swit");
    });
    let proxy = before_two(&bad.url(), &good.url());
    // Whichever server the first client got, one of two gets the bad one while the other lives on the good one.
    let mut first = proxy.connect_and_send(Offer::new().bytes());
    let status = first.read_head().status();
    let mut second = proxy.connect_and_send(Offer::new().bytes());
    let statuses = [status, second.read_head().status()];
    assert!(statuses.contains(&502), "{statuses:?}");
    assert_eq!(bad.connections() + good.connections(), 2, "no offer was sent twice");
}

/// No whole answer within the handshake's time: 504, then, and the backend's connection is closed.
fn is_too_late(begun: &'static str) {
    let (sender, ends) = channel();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        conn.send(begun);
        sender.send(conn.expect_any_end()).unwrap();
    });
    let proxy = Proxy::before_with(&backend, "[timeouts]\nhandshake = \"300ms\"", "");
    let start = Instant::now();
    let answer = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    let took = start.elapsed();
    is_ours(&proxy, Some(&backend), answer, 504);
    assert!((Duration::from_millis(290)..Duration::from_secs(3)).contains(&took), "{took:?}");
    ends.recv_timeout(LIMIT).expect("the backend's connection is closed");
}

rows! { is_too_late {
    silence_is_504_when_the_handshakes_time_is_over: "";
    half_a_head_is_504_when_the_handshakes_time_is_over: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso";
    an_interim_answer_does_not_stop_the_handshakes_clock: "HTTP/1.1 100 Continue\r\n\r\n";
}}

#[test]
fn a_route_may_have_a_handshake_time_of_its_own() {
    let backend = Backend::silent();
    let proxy = Proxy::before_with(&backend, "[timeouts]\nhandshake = \"60s\"", "timeouts = { handshake = \"300ms\" }");
    let answer = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    is_ours(&proxy, Some(&backend), answer, 504);
}

#[test]
fn a_server_that_drips_its_head_is_too_late_as_well() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        // A byte at a time with no end, until the proxy has had enough.
        while conn.try_send("x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let proxy = Proxy::before_with(&backend, "[timeouts]\nhandshake = \"300ms\"", "");
    let status = proxy.connect_and_send(Offer::new().bytes()).read_answer().0.status();
    assert!(status == 504 || status == 502, "{status}");
}

#[test]
fn the_handshakes_time_is_not_the_tunnels() {
    let backend = Backend::echo();
    let proxy = Proxy::before_with(&backend, "[timeouts]\nhandshake = \"200ms\"", "");
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    assert_eq!(client.read_head().status(), 101);
    client.expect_silence(Duration::from_millis(600));
    client.send("still here");
    client.expect("still here");
}

// --- terminate -------------------------------------------------------------------------------------------

const TERMINATE: &str = "handshake = \"terminate\"";

#[test]
fn terminate_dials_with_a_key_of_our_own_and_answers_the_clients() {
    let backend = Backend::echo();
    let proxy = Proxy::before_with(&backend, "", TERMINATE);
    let keys: Vec<String> = (0..2)
        .map(|_| {
            let mut client = proxy.connect_and_send(Offer::new().bytes());
            let seen = client.read_head();
            seen.assert_line("Upgrade: websocket");
            seen.assert_line("Connection: Upgrade");
            seen.assert_line("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            client.send("there and back");
            client.expect("there and back");
            let offer = backend.head();
            offer.assert_line("Sec-WebSocket-Version: 13");
            let key = offer.value("Sec-WebSocket-Key").expect("a key").to_owned();
            offer.assert_line(&format!("Sec-WebSocket-Key: {key}"));
            key
        })
        .collect();
    assert!(keys.iter().all(|key| key != KEY && key.len() == 24 && key.ends_with("==")), "{keys:?}");
    assert_ne!(keys[0], keys[1], "a fresh key for each dial");
}

#[test]
fn terminate_passes_protocol_and_extensions_both_ways() {
    let lines = ["Sec-WebSocket-Protocol: superchat", "Sec-WebSocket-Extensions: permessage-deflate;server_no_context_takeover"];
    let backend = answering(valid_and(&[lines[0], lines[1], "Set-Cookie: a=1"]));
    let proxy = Proxy::before_with(&backend, "", TERMINATE);
    let offered =
        ["Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"];
    let offer = Offer::new().line(offered[0]).line(offered[1]).line("Origin: http://example.com");
    let mut client = proxy.connect_and_send(offer.bytes());
    let seen = client.read_head();
    assert_eq!(seen.status(), 101, "{seen}");
    for line in lines {
        seen.assert_line(line);
    }
    seen.assert_line("Set-Cookie: a=1");
    let head = backend.head();
    for line in offered {
        head.assert_line(line);
    }
    head.assert_line("Origin: http://example.com");
}

#[test]
fn terminate_passes_a_refusal_as_the_answer_that_it_is() {
    let backend = Backend::http(403, "not you");
    let proxy = Proxy::before_with(&backend, "", TERMINATE);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    let (answer, body) = client.read_answer();
    assert_eq!((answer.status(), body.text().as_str()), (403, "not you"));
    answer.assert_none("Sec-WebSocket-Accept");
    client.send(PLAIN);
    assert_eq!(client.read_answer().0.status(), 403, "the connection stays usable");
}

/// With `terminate` a 101 must be right for *our* key.
fn is_a_fault_to_terminate(answer: String) {
    let backend = answering(answer);
    let proxy = Proxy::before_with(&backend, "", TERMINATE);
    let answer = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    is_ours(&proxy, Some(&backend), answer, 502);
}

rows! { is_a_fault_to_terminate {
    terminate_refuses_an_accept_for_the_clients_key: valid_but(3, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    terminate_refuses_a_101_without_accept: valid_without(3);
    terminate_refuses_a_protocol_that_was_not_offered: valid_and(&["Sec-WebSocket-Protocol: chat"]);
    terminate_refuses_an_extension_that_was_not_offered: valid_and(&["Sec-WebSocket-Extensions: permessage-deflate"]);
}}

#[test]
fn terminate_loses_no_early_bytes() {
    let backend = Backend::scripted(|conn, _| {
        let offer = conn.read_head();
        conn.send(answer_101(&offer) + "from the backend");
        conn.expect("from the client");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before_with(&backend, "", TERMINATE);
    let mut client = proxy.connect_and_send(Offer::new().with_early("from the client"));
    assert_eq!(client.read_head().status(), 101);
    client.expect("from the backend");
}

// --- the old drafts --------------------------------------------------------------------------------------

const LEGACY: &str = "legacy_drafts = true";

fn hixie_75() -> Offer {
    let lines =
        ["Upgrade: WebSocket", "Connection: Upgrade", "Host: server.example.com", "Origin: http://example.com", "Cookie: a=1"];
    Offer::of("GET /demo HTTP/1.1", &lines)
}

#[test]
fn hixie_75_passes_with_its_spelling_where_drafts_are_let_through() {
    const ANSWER: &str = "HTTP/1.1 101 Web Socket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
                          WebSocket-Origin: http://example.com\r\nWebSocket-Location: ws://server.example.com/demo\r\n\r\n";
    let backend = answering(ANSWER.to_owned() + "\u{0}hello\u{ff}");
    let proxy = Proxy::before_with(&backend, "", LEGACY);
    let mut client = proxy.connect_and_send(hixie_75().bytes());
    let seen = client.read_head();
    assert_eq!(seen.status(), 101, "{seen}");
    seen.assert_line("Upgrade: WebSocket");
    seen.assert_line("Connection: Upgrade");
    seen.assert_line("WebSocket-Origin: http://example.com");
    seen.assert_line("WebSocket-Location: ws://server.example.com/demo");
    client.expect(b"\0hello\xff");
    client.send(b"\0back\xff");
    client.expect(b"\0back\xff");
    let offer = backend.head();
    offer.assert_line("Upgrade: WebSocket");
    offer.assert_line("Connection: Upgrade");
    offer.assert_line("Origin: http://example.com");
    assert!(offer.lines_without(&["Sec-WebSocket-*"]).len() == offer.lines.len(), "{offer}");
}

/// hybi 7 to 10: version 7 or 8, the Accept checked as usual.
fn passes_as_a_draft(version: &str, origin: &str) {
    let backend = answering(valid_and(&[]));
    let proxy = Proxy::before_with(&backend, "", LEGACY);
    let line = format!("Sec-WebSocket-Version: {version}");
    let offer = Offer::new().replace("Sec-WebSocket-Version", &[&line]).line(origin);
    let mut client = proxy.connect_and_send(offer.bytes());
    let seen = client.read_head();
    assert_eq!(seen.status(), 101, "{seen}");
    client.send("there and back");
    client.expect("there and back");
    let head = backend.head();
    head.assert_line(&line);
    head.assert_line(origin);
}

rows! { passes_as_a_draft {
    hybi_7_passes_where_drafts_are_let_through: "7", "Sec-WebSocket-Origin: http://example.com";
    hybi_8_passes_where_drafts_are_let_through: "8", "Sec-WebSocket-Origin: http://example.com";
}}

#[test]
fn a_draft_with_a_wrong_accept_is_a_fault() {
    let backend = answering(valid_but(3, "Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk="));
    let proxy = Proxy::before_with(&backend, "", LEGACY);
    let offer = Offer::new().replace("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"]);
    let answer = proxy.connect_and_send(offer.bytes()).read_answer();
    is_ours(&proxy, Some(&backend), answer, 502);
}

/// These are refused even where drafts are let through.
fn is_refused_even_so(offer: Offer) {
    let backend = Backend::silent();
    let proxy = Proxy::before_with(&backend, "", LEGACY);
    let (answer, _) = proxy.connect_and_send(offer.bytes()).read_answer();
    assert_eq!(answer.status(), 426, "{answer}");
    assert_eq!(backend.connections(), 0);
}

fn version(version: &str) -> Offer {
    Offer::new().replace("Sec-WebSocket-Version", &[&format!("Sec-WebSocket-Version: {version}")])
}

rows! { is_refused_even_so {
    hixie_76_is_refused_even_where_drafts_are_let_through:
        hixie_75().line("Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5").line("Sec-WebSocket-Key2: 12998 5 Y3 1  .P00");
    hybi_6_is_refused_even_where_drafts_are_let_through: version("6");
    version_12_is_refused_even_where_drafts_are_let_through: version("12");
    version_99_is_refused_even_where_drafts_are_let_through: version("99");
}}

#[test]
fn the_true_version_is_judged_as_usual_where_drafts_are_let_through() {
    let backend = answering(valid_without(3));
    let proxy = Proxy::before_with(&backend, "", LEGACY);
    let answer = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    is_ours(&proxy, Some(&backend), answer, 502);
}

rows! { a_client_that_goes_before_the_answer_ends_the_asking {
    a_client_that_goes_before_the_answer_ends_the_asking_plain: kit::PLAIN;
    a_client_that_goes_before_the_answer_ends_the_asking_wss: WSS;
}}

fn a_client_that_goes_before_the_answer_ends_the_asking(over: Over) {
    let around = Around::new(over, "");
    let mut client = around.connect();
    client.send(Offer::new().bytes());
    let mut server = around.backend.take();
    server.read_head();
    client.fin();
    server.expect_fin();
    client.expect_fin();
    let record = around.proxy.request_record(0);
    assert_eq!((record.count("status"), record.text("fault").as_str()), (499, "client"), "{}", record.raw);
    around.proxy.wait_for_message("the client went away within a request", 0);
}
