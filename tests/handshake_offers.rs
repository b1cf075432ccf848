//! What clients send to open a WebSocket, row by row: which offers reach a backend and how they look there,
//! which are ordinary requests, and which are refused with no backend touched.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly
#![allow(clippy::needless_pass_by_value)] // rows read better without `&` before every value

mod kit;

use std::sync::mpsc::channel;
use std::time::Duration;

use kit::*;

/// The fields whose lines are ours to write; all others are the client's.
const OURS: &[&str] = &["Upgrade", "Connection", "Sec-WebSocket-*", "X-Forwarded-*"];

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: server.example.com\r\n\r\n";

/// An offer that is agreed on; what the backend saw of it.
fn agreed(offer: Offer) -> Head {
    let backend = Backend::echo();
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(offer.bytes());
    let answer = client.read_head();
    assert_eq!(answer.first, "HTTP/1.1 101 Switching Protocols");
    client.send("there");
    client.expect("there");
    let seen = backend.head();
    assert!(seen.first.starts_with("GET ") && seen.first.ends_with(" HTTP/1.1"), "{seen}");
    seen.assert_line("Upgrade: websocket");
    seen.assert_line("Connection: Upgrade");
    seen.assert_line("Sec-WebSocket-Version: 13");
    let key = seen.value("sec-websocket-key").expect("a key").to_owned();
    seen.assert_line(&format!("Sec-WebSocket-Key: {key}"));
    answer.assert_line(&format!("Sec-WebSocket-Accept: {}", accept_for(&key)));
    let have = seen.lines_without(OURS);
    let (lines, gone) = (offer.lines(), ["Content-Length", "Expect"]);
    let sent = Head { raw: Vec::new(), first: String::new(), lines: lines.iter().map(|&line| line.to_owned()).collect() };
    assert_eq!(have, sent.lines_without(&[OURS, &gone].concat()), "all other lines, in their order and spelling");
    seen
}

/// An offer that we refuse ourselves. Gives the answer, and the record.
fn refused(bytes: impl AsRef<[u8]>, status: u16) -> (Head, Line) {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let (answer, body) = proxy.connect_and_send(bytes).read_answer();
    assert_eq!(answer.status(), status, "{answer}{}", body.text());
    assert_eq!(backend.connections(), 0, "no backend is touched");
    let record = proxy.request_record(0);
    assert_eq!((record.count("status"), record.text("fault").as_str()), (u64::from(status), "client"), "{}", record.raw);
    assert_ne!(record.text("why"), "", "{}", record.raw);
    (answer, record)
}

/// A request for an upgrade that is none: what the backend saw of it.
fn ordinary(bytes: impl AsRef<[u8]>) -> Head {
    let backend = Backend::http(200, "plain");
    let proxy = Proxy::before(&backend);
    let (answer, body) = proxy.connect_and_send(bytes).read_answer();
    assert_eq!((answer.status(), body.text().as_str()), (200, "plain"));
    let seen = backend.head();
    assert!(seen.first.ends_with(" HTTP/1.1"), "{seen}");
    seen.assert_none("Upgrade");
    assert!(!seen.has_token("Connection", "upgrade"), "{seen}");
    seen
}

// --- a correct offer -------------------------------------------------------------------------------------

#[test]
fn a_correct_offer_opens_a_tunnel() {
    agreed(Offer::new());
}

#[test]
fn handshake_fields_are_spelled_canonically_however_the_client_spells_them() {
    let seen = agreed(Offer::of(
        "GET /chat HTTP/1.1",
        &[
            "host: server.example.com",
            "UPGRADE: WEBSOCKET",
            "connection: upgrade",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-Websocket-Version: 13",
            "SEC-WEBSOCKET-PROTOCOL: chat, superchat",
            "sec-websocket-extensions: permessage-deflate; client_max_window_bits",
        ],
    ));
    seen.assert_line("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    seen.assert_line("Sec-WebSocket-Protocol: chat, superchat");
    seen.assert_line("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits");
}

#[test]
fn other_fields_keep_their_spelling_order_and_repetition() {
    // `agreed` compares all lines that are not the handshake's.
    let offer = Offer::of(
        "GET /chat HTTP/1.1",
        &[
            "x-B: 1",
            "hOsT: server.example.com",
            "X-a: 2",
            "Upgrade: websocket",
            "ORIGIN: http://example.com",
            "X-b: 3",
            "Connection: Upgrade",
            "cookie: a=1; b=2",
            "X-A: 4",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "User_Agent: underscored",
            "x-B: 5",
            "Sec-WebSocket-Version: 13",
        ],
    );
    let seen = agreed(offer);
    assert_eq!(seen.values("x-b"), ["1", "3", "5"]);
}

#[test]
fn an_empty_value_stays_a_field() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&backend);
    let _client = proxy.connect_and_send(Offer::new().line("X-Empty:").bytes());
    assert_eq!(backend.head().value("X-Empty"), Some(""));
}

#[test]
fn the_targets_bytes_go_on_as_they_are() {
    let target = "/a%7eb/%C3%a9/1//SID/?q=%20;x='(1)'&y=%2e%2E/../z&";
    assert_eq!(agreed(Offer::new().first(&format!("GET {target} HTTP/1.1"))).target(), target);
}

#[test]
fn an_absolute_target_becomes_origin_form_with_its_authority_as_host() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&backend);
    let offer = Offer::new().first("GET http://other.example.com:81/chat?x HTTP/1.1");
    assert_eq!(proxy.connect_and_send(offer.bytes()).read_head().status(), 101);
    let seen = backend.head();
    assert_eq!(seen.first, "GET /chat?x HTTP/1.1");
    assert_eq!(seen.values("Host"), ["other.example.com:81"]);
}

#[test]
fn a_byte_beyond_ascii_in_a_value_passes() {
    let seen = agreed(Offer::new().line("X-Name: caf\u{e9}"));
    assert!(seen.raw.windows(6).any(|six| six == b" caf\xe9\r"), "{seen}");
}

#[test]
fn origin_cookies_and_authorization_pass_even_where_connection_names_them() {
    let named = "Connection: Upgrade, Host, Origin, Cookie, Authorization, Sec-WebSocket-Key, Sec-WebSocket-Version";
    let offer = Offer::new().line("Origin: http://example.com").line("Cookie: a=1").line("Authorization: Basic eDp5");
    agreed(offer.replace("Connection", &[named]));
}

#[test]
fn hop_by_hop_fields_and_those_that_connection_names_stay_here() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&backend);
    let lines =
        ["Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: gzip", "X-Mine: 1", "Proxy-Authorization: Basic eDp5"];
    let offer =
        lines.iter().fold(Offer::new().replace("Connection", &["Connection: Upgrade, x-mine"]), |offer, line| offer.line(line));
    assert_eq!(proxy.connect_and_send(offer.bytes()).read_head().status(), 101);
    let seen = backend.head();
    for name in ["Keep-Alive", "Proxy-Connection", "TE", "X-Mine", "Proxy-Authorization"] {
        seen.assert_none(name);
    }
    seen.assert_line("Connection: Upgrade");
}

#[test]
fn the_backend_is_told_who_came_and_how() {
    let seen = agreed(Offer::new());
    assert_eq!(seen.values("X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(seen.values("X-Forwarded-Proto"), ["http"]);
    assert_eq!(seen.values("X-Forwarded-Host"), ["server.example.com"]);
}

/// `Sec-WebSocket-Extensions` and `-Protocol` pass byte for byte: the values the backend saw.
fn passes_as_it_is(name: &str, values: &[&str]) {
    let offer = values.iter().fold(Offer::new(), |offer, value| offer.line(&format!("{name}: {value}")));
    assert_eq!(agreed(offer).values(name), values);
}

rows! { passes_as_it_is {
    an_extension_without_parameters: "Sec-WebSocket-Extensions", &["permessage-deflate"];
    an_extension_with_a_bare_parameter: "Sec-WebSocket-Extensions", &["permessage-deflate; client_max_window_bits"];
    an_extension_without_space: "Sec-WebSocket-Extensions", &["permessage-deflate;client_max_window_bits=15"];
    an_extension_with_a_quoted_parameter: "Sec-WebSocket-Extensions", &["permessage-deflate; server_max_window_bits=\"10\""];
    extensions_in_order_of_preference: "Sec-WebSocket-Extensions", &["permessage-deflate; server_no_context_takeover, permessage-deflate"];
    extensions_on_two_lines: "Sec-WebSocket-Extensions", &["x-webkit-deflate-frame", "permessage-deflate"];
    a_list_of_protocols: "Sec-WebSocket-Protocol", &["chat,  superchat , v1.json"];
    protocols_on_two_lines: "Sec-WebSocket-Protocol", &["chat", "superchat"];
}}

// --- not an upgrade: an ordinary request -----------------------------------------------------------------

/// An offer by another method is an ordinary request by it.
fn is_ordinary_by(method: &str) {
    let seen = ordinary(Offer::new().first(&format!("{method} /chat HTTP/1.1")).line("Content-Length: 0").bytes());
    assert_eq!(seen.first, format!("{method} /chat HTTP/1.1"));
}

rows! { is_ordinary_by {
    a_post_is_not_an_upgrade: "POST";
    a_put_is_not_an_upgrade: "PUT";
    a_delete_is_not_an_upgrade: "DELETE";
    a_patch_is_not_an_upgrade: "PATCH";
    an_options_is_not_an_upgrade: "OPTIONS";
    an_unknown_method_is_not_an_upgrade: "BREW";
}}

#[test]
fn a_head_is_not_an_upgrade() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().first("HEAD /chat HTTP/1.1").bytes());
    assert_eq!(client.read_head().status(), 200);
    backend.head().assert_none("Upgrade");
}

#[test]
fn a_post_that_asks_for_an_upgrade_keeps_its_body() {
    let (sender, bodies) = channel();
    let backend = Backend::scripted(move |conn, _| {
        let head = conn.read_head();
        sender.send(conn.read_body(&head).text()).unwrap();
        conn.send(http(200, "plain"));
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let offer = Offer::new().first("POST /chat HTTP/1.1").line("Content-Length: 3").with_early("abc");
    assert_eq!(proxy.connect_and_send(offer).read_answer().0.status(), 200);
    assert_eq!(bodies.recv_timeout(LIMIT).unwrap(), "abc");
    backend.head().assert_none("Upgrade");
}

#[test]
fn an_http_1_0_offer_is_an_ordinary_request() {
    assert_eq!(ordinary(Offer::new().first("GET /chat HTTP/1.0").bytes()).first, "GET /chat HTTP/1.1");
}

/// An offer with this `Connection` (or none) is an ordinary request.
fn is_ordinary_with(connection: &[&str]) {
    ordinary(Offer::new().replace("Connection", connection).bytes());
}

rows! { is_ordinary_with {
    without_a_connection_field_it_is_not_an_upgrade: &[];
    with_connection_keep_alive_it_is_not_an_upgrade: &["Connection: keep-alive"];
    a_token_that_only_begins_with_upgrade_is_not_it: &["Connection: upgraded"];
    a_token_that_only_ends_with_upgrade_is_not_it: &["Connection: x-upgrade"];
    a_connection_that_names_websocket_does_not_ask: &["Connection: websocket"];
    an_empty_connection_does_not_ask: &["Connection:"];
}}

/// An upgrade to something else is never forwarded; the request is.
fn is_ordinary_to(upgrade: &[&str]) {
    ordinary(Offer::new().replace("Upgrade", upgrade).bytes());
}

rows! { is_ordinary_to {
    an_upgrade_to_h2c_is_ignored: &["Upgrade: h2c"];
    an_upgrade_to_tls_is_ignored: &["Upgrade: TLS/1.0"];
    an_upgrade_to_an_unknown_protocol_is_ignored: &["Upgrade: foo/2"];
    an_upgrade_to_a_longer_name_is_ignored: &["Upgrade: websocketx"];
    a_list_without_websocket_is_ignored: &["Upgrade: h2c, foo"];
    no_upgrade_field_is_no_upgrade: &[];
    an_empty_upgrade_is_no_upgrade: &["Upgrade:"];
}}

#[test]
fn an_h2c_upgrade_leaves_nothing_of_itself() {
    let lines = ["Host: a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"];
    let seen = ordinary(Offer::of("GET / HTTP/1.1", &lines).bytes());
    seen.assert_none("HTTP2-Settings");
}

// --- token lists -----------------------------------------------------------------------------------------

/// An offer in which this line, or these lines, stand for the plain one is a correct offer.
fn is_an_offer_with(name: &str, lines: &[&str]) {
    agreed(Offer::new().replace(name, lines));
}

rows! { is_an_offer_with {
    websocket_after_h2c_is_found: "Upgrade", &["Upgrade: h2c, websocket"];
    websocket_before_h2c_is_found: "Upgrade", &["Upgrade: websocket,h2c"];
    websocket_on_a_second_line_is_found: "Upgrade", &["Upgrade: h2c", "Upgrade: websocket"];
    websocket_twice_is_once: "Upgrade", &["Upgrade: websocket", "upgrade: websocket"];
    websocket_in_mixed_case_is_found: "Upgrade", &["Upgrade: WebSocket"];
    websocket_in_capitals_is_found: "Upgrade", &["Upgrade: WEBSOCKET"];
    empty_items_in_upgrade_are_nothing: "Upgrade", &["Upgrade: , ,\twebsocket\t,"];
    upgrade_after_keep_alive_is_found: "Connection", &["Connection: keep-alive, Upgrade"];
    upgrade_before_keep_alive_is_found: "Connection", &["Connection: Upgrade,keep-alive"];
    upgrade_on_a_second_line_is_found: "Connection", &["Connection: keep-alive", "Connection: Upgrade"];
    upgrade_in_lower_case_is_found: "Connection", &["Connection: upgrade"];
    upgrade_in_capitals_is_found: "Connection", &["connection: UPGRADE"];
    empty_items_in_connection_are_nothing: "Connection", &["Connection: , Upgrade ,,"];
}}

// --- versions and drafts ---------------------------------------------------------------------------------

/// 426 with what would be right; the log says so.
fn needs_13(offer: Offer, log: &str) {
    let (answer, record) = refused(offer.bytes(), 426);
    answer.assert_line("Sec-WebSocket-Version: 13");
    answer.assert_line("Upgrade: websocket");
    assert!(answer.has_token("Connection", "Upgrade"), "{answer}");
    assert!(record.says(log), "no {log:?} in {}", record.raw);
}

fn version(version: &str) -> Offer {
    Offer::new().replace("Sec-WebSocket-Version", &[&format!("Sec-WebSocket-Version: {version}")])
}

fn hixie_75() -> Offer {
    let lines = ["Upgrade: WebSocket", "Connection: Upgrade", "Host: server.example.com", "Origin: http://example.com"];
    Offer::of("GET /demo HTTP/1.1", &lines)
}

fn hixie_76() -> Offer {
    let keys = hixie_75().line("Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5").line("Sec-WebSocket-Key2: 12998 5 Y3 1  .P00");
    keys.line("Sec-WebSocket-Protocol: sample")
}

rows! { needs_13 {
    version_0_is_refused: version("0"), "version";
    version_4_is_refused: version("4"), "hybi";
    version_5_is_refused: version("5"), "hybi";
    version_6_is_refused: version("6"), "hybi";
    version_7_is_refused: version("7"), "hybi";
    version_8_is_refused: version("8").line("Sec-WebSocket-Origin: http://example.com"), "hybi";
    version_12_is_refused: version("12"), "version";
    version_14_is_refused: version("14"), "version";
    version_255_is_refused: version("255"), "version";
    version_130_is_refused: version("130"), "version";
    a_version_with_a_leading_zero_is_refused: version("013"), "version";
    a_version_that_is_no_number_is_refused: version("thirteen"), "version";
    an_empty_version_is_refused: version(""), "version";
    no_version_is_refused: Offer::new().without("Sec-WebSocket-Version"), "version";
    hixie_75_is_refused: hixie_75(), "hixie-75";
    hixie_76_without_its_eight_bytes_is_refused: hixie_76(), "hixie-76";
    websocket_with_nothing_else_is_refused: Offer::of("GET / HTTP/1.1", &["Host: a", "Upgrade: websocket", "Connection: Upgrade"]), "hixie-75";
}}

/// 400, and no backend.
fn is_bad(offer: Offer) {
    refused(offer.bytes(), 400);
}

fn versions(lines: &[&str]) -> Offer {
    Offer::new().replace("Sec-WebSocket-Version", lines)
}

rows! { is_bad {
    a_list_of_versions_is_bad: version("13, 8");
    a_list_of_versions_is_bad_in_any_order: version("8, 13");
    a_list_of_one_version_twice_is_bad: version("13, 13");
    a_repeated_version_is_bad: versions(&["Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"]);
    two_versions_are_bad: versions(&["Sec-WebSocket-Version: 8", "sec-websocket-version: 13"]);
}}

#[test]
fn hixie_76_is_answered_and_its_eight_bytes_are_no_request() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(hixie_76().with_early("^n:ds[4U"));
    let (answer, _) = client.read_answer();
    assert_eq!(answer.status(), 426, "{answer}");
    assert!(answer.has_token("Connection", "close"), "{answer}");
    client.expect_fin();
    assert_eq!(backend.connections(), 0);
}

#[test]
fn eight_bytes_that_follow_hixie_76_later_are_no_request_either() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(hixie_76().bytes());
    let (answer, _) = client.read_answer();
    assert_eq!(answer.status(), 426, "{answer}");
    assert!(answer.has_token("Connection", "close"), "they cannot be told from a request: {answer}");
    client.try_send("^n:ds[4U").ok();
    client.expect_fin();
}

#[test]
fn an_offer_of_another_version_leaves_the_connection_usable() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(version("8").bytes());
    assert_eq!(client.read_answer().0.status(), 426);
    client.send(Offer::new().bytes());
    assert_eq!(client.read_head().status(), 101);
}

// --- keys ------------------------------------------------------------------------------------------------

/// An offer with this key is refused.
fn is_a_bad_key(key: &str) {
    is_bad(Offer::new().replace("Sec-WebSocket-Key", &[&format!("Sec-WebSocket-Key: {key}")]));
}

rows! { is_a_bad_key {
    an_empty_key_is_bad: "";
    a_key_of_15_bytes_is_bad: "AAAAAAAAAAAAAAAAAAAA";
    a_key_of_17_bytes_is_bad: "AAAAAAAAAAAAAAAAAAAAAAA=";
    a_key_of_18_bytes_is_bad: "AAAAAAAAAAAAAAAAAAAAAAAA";
    a_key_without_its_padding_is_bad: "dGhlIHNhbXBsZSBub25jZQ";
    a_key_with_one_pad_missing_is_bad: "dGhlIHNhbXBsZSBub25jZQ=";
    a_key_with_a_pad_too_many_is_bad: "dGhlIHNhbXBsZSBub25jZQ===";
    a_key_with_padding_inside_is_bad: "dGhlIHNhbX==ZSBub25jZQAA";
    a_key_in_the_url_alphabet_is_bad: "sN9cRrP_n9NdMgdcy2VJFQ==";
    a_key_with_a_space_inside_is_bad: "dGhlIHNhbX sZSBub25jZQ==";
    a_key_with_other_characters_is_bad: "dGhlIHNhbX!sZSBub25jZQ==";
    a_key_beyond_ascii_is_bad: "dGhlIHNhbX\u{e9}sZSBub25jZQ==";
    a_list_of_two_keys_is_bad: "dGhlIHNhbXBsZSBub25jZQ==, x3JJHMbDL1EzLkh9GBhXDw==";
    a_key_of_a_thousand_characters_is_bad: &"A".repeat(1000);
}}

rows! { is_bad {
    a_missing_key_is_bad: Offer::new().without("Sec-WebSocket-Key");
    a_repeated_key_is_bad: Offer::new().line("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    two_keys_are_bad: Offer::new().line("sec-websocket-key: x3JJHMbDL1EzLkh9GBhXDw==");
}}

#[test]
fn trailing_bits_of_a_key_are_ignored_and_it_goes_on_as_it_is() {
    let seen = agreed(Offer::new().replace("Sec-WebSocket-Key", &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="]));
    seen.assert_line("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==");
}

// --- bodies and expectations -----------------------------------------------------------------------------

rows! { is_bad {
    a_content_length_of_5_is_bad: Offer::new().line("Content-Length: 5");
    a_content_length_that_is_no_number_is_bad: Offer::new().line("Content-Length: abc");
    a_content_length_with_a_sign_is_bad: Offer::new().line("Content-Length: +0");
    two_lengths_that_differ_are_bad: Offer::new().line("Content-Length: 0").line("Content-Length: 5");
    chunked_is_bad: Offer::new().line("Transfer-Encoding: chunked");
    chunked_in_capitals_is_bad: Offer::new().line("TRANSFER-ENCODING: CHUNKED");
    another_coding_is_bad: Offer::new().line("Transfer-Encoding: gzip, chunked");
    identity_is_bad: Offer::new().line("Transfer-Encoding: identity");
    a_length_of_0_beside_chunked_is_bad: Offer::new().line("Content-Length: 0").line("Transfer-Encoding: chunked");
}}

#[test]
fn a_body_that_an_offer_may_not_have_is_never_read_as_a_request() {
    let backend = Backend::http(200, "smuggled");
    let proxy = Proxy::before(&backend);
    let offer = Offer::new().line(&format!("Content-Length: {}", SMUGGLED.len())).with_early(SMUGGLED);
    let mut client = proxy.connect_and_send(offer);
    assert_eq!(client.read_answer().0.status(), 400);
    client.expect_fin();
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_content_length_of_0_is_dropped() {
    agreed(Offer::new().line("Content-Length: 0")).assert_none("Content-Length");
}

#[test]
fn an_expectation_is_dropped_and_not_answered() {
    // `agreed` takes nothing but a 101 for the first answer.
    agreed(Offer::new().line("Expect: 100-continue")).assert_none("Expect");
}

// --- the order of judging --------------------------------------------------------------------------------

rows! { is_bad {
    malformed_is_judged_before_not_an_upgrade: Offer::new().first("POST /chat HTTP/1.1").line("Host: other.example.com");
    malformed_is_judged_before_the_version: version("8").line("Host: other.example.com");
    a_missing_host_is_judged_before_the_version: version("8").without("Host");
}}

#[test]
fn not_an_upgrade_is_judged_before_the_version_and_the_key() {
    ordinary(version("8").without("Connection").bytes());
    ordinary(Offer::new().without("Connection").without("Sec-WebSocket-Key").bytes());
}

rows! { needs_13 {
    the_version_is_judged_before_the_key: version("8").without("Sec-WebSocket-Key"), "hybi";
    the_version_is_judged_before_the_body: version("8").line("Content-Length: 5"), "hybi";
}}

// --- bytes before the 101 --------------------------------------------------------------------------------

/// Early bytes wait for the 101 and are the first that the backend reads then.
fn are_held_for_the_101(early: Vec<u8>, send: fn(&mut Conn, &[u8])) {
    let expected = early.clone();
    let backend = Backend::scripted(move |conn, _| {
        let offer = conn.read_head();
        conn.expect_silence(SILENCE);
        conn.send(answer_101(&offer));
        conn.expect(&expected);
        conn.expect("later");
        conn.send("all here");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect();
    send(&mut client, &early);
    assert_eq!(client.read_head().status(), 101);
    client.send("later");
    client.expect("all here");
}

fn in_one_segment(client: &mut Conn, early: &[u8]) {
    client.send(Offer::new().with_early(early));
}

fn behind_the_head(client: &mut Conn, early: &[u8]) {
    client.send(Offer::new().bytes());
    client.send(early);
}

fn byte_by_byte(client: &mut Conn, early: &[u8]) {
    client.send_in_single_bytes(Offer::new().with_early(early));
}

rows! { are_held_for_the_101 {
    an_early_frame_is_held: frame(1, b"hello", true), in_one_segment;
    an_early_byte_is_held: vec![0x81], in_one_segment;
    early_bytes_that_look_like_a_request_are_held: SMUGGLED.into(), in_one_segment;
    a_thousand_early_bytes_are_held: pattern(1000), in_one_segment;
    a_thousand_early_bytes_behind_the_head_are_held: pattern(1000), behind_the_head;
    a_hundred_early_bytes_one_by_one_are_held: pattern(100), byte_by_byte;
    a_hundred_thousand_early_bytes_are_held: pattern(100_000), in_one_segment;
}}

#[test]
fn early_bytes_beyond_every_buffer_wait_in_the_client() {
    const MANY: usize = 32 << 20;
    let backend = Backend::scripted(|conn, _| {
        let offer = conn.read_head();
        conn.expect_silence(SILENCE);
        conn.send(answer_101(&offer));
        assert!(conn.read_exact(MANY) == pattern(MANY), "not the early bytes");
        conn.send("all here");
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let before = proxy.resident();
    let (mut reader, mut writer) = proxy.connect().split();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.send(Offer::new().with_early(pattern(MANY))));
        assert_eq!(reader.read_head().status(), 101);
        reader.expect("all here");
    });
    let more = proxy.resident().saturating_sub(before);
    assert!(more < 8 << 20, "the proxy grew by {more} bytes");
}

/// Where no tunnel comes of it, early bytes are thrown away and the connection closes.
fn are_thrown_away(backend: Backend, offer: Offer, status: u16, connections: usize) {
    let proxy = Proxy::before_with(&backend, "[timeouts]\nhandshake = \"300ms\"", "");
    let mut client = proxy.connect_and_send(offer.with_early(SMUGGLED));
    let (answer, _) = client.read_answer();
    assert_eq!(answer.status(), status, "{answer}");
    assert!(answer.has_token("Connection", "close"), "{answer}");
    client.expect_fin();
    assert_eq!(backend.connections(), connections);
    assert!(backend.heads_so_far().iter().all(|head| head.target() != "/smuggled"));
}

rows! { are_thrown_away {
    early_bytes_before_a_403_are_no_request: Backend::http(403, "no"), Offer::new(), 403, 1;
    early_bytes_before_a_200_are_no_request: Backend::http(200, "page"), Offer::new(), 200, 1;
    early_bytes_before_our_502_are_no_request: Backend::answering("HTTP/1.1 101 No\r\n\r\n"), Offer::new(), 502, 1;
    early_bytes_before_our_504_are_no_request: Backend::silent(), Offer::new(), 504, 1;
    early_bytes_before_our_426_are_no_request: Backend::silent(), version("8"), 426, 0;
    early_bytes_before_our_400_are_no_request: Backend::silent(), Offer::new().without("Sec-WebSocket-Key"), 400, 0;
}}

#[test]
fn early_bytes_are_no_request_where_the_offer_came_in_pieces_behind_a_body() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        if head.first.starts_with("POST") {
            conn.expect("abc");
            conn.send(http(200, "posted"));
        } else {
            conn.send(http(401, "no"));
        }
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before(&backend);
    let offer = Offer::new().bytes();
    let (begun, end) = offer.split_at(offer.len() - 2);
    let post = b"POST / HTTP/1.1\r\nHost: server.example.com\r\nContent-Length: 3\r\n\r\nabc".as_slice();
    let mut client = proxy.connect_and_send([post, begun].concat());
    assert_eq!(client.read_answer().0.status(), 200);
    client.send([end, b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
    let (answer, _) = client.read_answer();
    assert_eq!(answer.status(), 401);
    answer.assert_line("Connection: close");
    client.expect_fin();
    assert!(backend.heads_so_far().iter().all(|head| !head.first.contains("smuggled")));
}

#[test]
fn many_early_bytes_do_not_destroy_the_answer_that_refuses_them() {
    let backend = Backend::http(403, "the whole reason");
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().with_early(pattern(60_000)));
    let (answer, body) = client.read_answer();
    assert_eq!((answer.status(), body.text().as_str()), (403, "the whole reason"));
    client.expect_fin();
}

// --- clients that go -------------------------------------------------------------------------------------

/// A client that goes before the answer takes its handshake at the backend with it, in good time.
fn takes_the_handshake_along(leave: fn(Conn) -> Option<Conn>) {
    let (sender, ends) = channel();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        sender.send(conn.expect_any_end()).unwrap();
    });
    // Far more time than the test waits: it is the leaving that ends it.
    let proxy = Proxy::before_with(&backend, "[timeouts]\nhandshake = \"60s\"", "");
    let client = proxy.connect_and_send(Offer::new().bytes());
    backend.head();
    let _kept = leave(client);
    ends.recv_timeout(Duration::from_secs(3)).expect("the backend's connection ends");
    assert_eq!(proxy.request_record(0).text("fault"), "client");
}

rows! { takes_the_handshake_along {
    a_fin_before_the_answer_cancels_the_handshake: |mut client| { client.fin(); Some(client) };
    a_close_before_the_answer_cancels_the_handshake: |_| None;
    a_reset_before_the_answer_cancels_the_handshake: |client| { client.reset(); None };
}}

#[test]
fn a_client_that_spoke_early_and_left_is_cancelled_within_the_handshakes_time() {
    let (sender, ends) = channel();
    let backend = Backend::scripted(move |conn, _| {
        conn.read_head();
        sender.send(conn.expect_any_end()).unwrap();
    });
    let proxy = Proxy::before_with(&backend, "[timeouts]\nhandshake = \"1s\"", "");
    let client = proxy.connect_and_send(Offer::new().with_early(frame(1, b"hello", true)));
    backend.head();
    drop(client);
    ends.recv_timeout(Duration::from_secs(5)).expect("the backend's connection ends");
}

#[test]
fn fifty_clients_that_left_leave_no_handshake_behind() {
    let backend = Backend::silent();
    let proxy = Proxy::before_with(&backend, "[timeouts]\nhandshake = \"60s\"", "");
    let before = proxy.open_files();
    let clients: Vec<Conn> = (0..50).map(|_| proxy.connect_and_send(Offer::new().bytes())).collect();
    (0..50).for_each(|_| drop(backend.head()));
    drop(clients);
    backend.wait_until_idle();
    proxy.wait_for_open_files(before);
}

// --- routes ----------------------------------------------------------------------------------------------

#[test]
fn an_offer_that_no_route_takes_gets_404() {
    let proxy = Proxy::start("[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\npath = \"/only\"\nrespond = { status = 200 }\n");
    let (answer, _) = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    assert_eq!(answer.status(), 404);
}

#[test]
fn an_offer_on_a_listener_that_redirects_gets_403() {
    // A redirect needs a port that is known beforehand: one that was free a moment ago.
    let https = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let own = Authority::new().identity(&["localhost"]);
    let toml = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\n[[listen]]\naddress = \"127.0.0.1:{https}\"\n\
         [[listen.certificate]]\nchain = \"a.pem\"\nkey = \"a.key\"\n[[route]]\nrespond = {{ status = 200 }}\n"
    );
    let proxy = Proxy::setup(&toml).file("a.pem", own.chain_pem.as_bytes()).file("a.key", own.key_pem.as_bytes()).start();
    let (answer, _) = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    assert_eq!(answer.status(), 403);
}

/// All that is read at first is the offer, and what stands behind it came with it all the same.
#[test]
fn bytes_behind_a_refused_offer_that_fills_the_first_read_are_no_request() {
    let backend = Backend::http(200, "never");
    let proxy = Proxy::before(&backend);
    for size in [1023, 1024, 1025, 2048] {
        let offer = |fill: &str| {
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 12\r\nX-Fill: {fill}\r\n\r\n"
            )
        };
        let head = offer(&"x".repeat(size - offer("").len()));
        assert_eq!(head.len(), size);
        let mut client = proxy.connect();
        client.send(head + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let (answer, _) = client.read_answer();
        assert!(answer.status() == 426 && answer.has_token("connection", "close"), "{size}");
        client.expect_fin();
    }
    assert_eq!(backend.connections(), 0);
}

/// The head that comes next has a time of its own.
#[test]
fn the_clock_of_a_refused_offer_is_not_that_of_the_next_head() {
    let backend = Backend::http(200, "here");
    let proxy = Proxy::before_with(&backend, "timeouts.head = \"400ms\"", "");
    let mut client = proxy.connect();
    client.send(Offer::new().without("Sec-WebSocket-Version").bytes());
    assert_eq!(client.read_answer().0.status(), 426);
    std::thread::sleep(Duration::from_millis(600));
    client.send("GET / HTTP/1.1\r\nHost");
    client.expect_silence(SILENCE);
    client.send(": a\r\n\r\n");
    assert_eq!(client.read_answer().0.status(), 200);
}
