//! What backends are told about the client and whose word is believed, which Host they get, and the fields
//! that a route changes. Each promise over HTTP and in a WebSocket's handshake.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::net::{IpAddr, Ipv4Addr};

use kit::*;

/// A loopback address that the configurations here trust, and another one they trust.
const TRUSTED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 7, 0, 1));
const TRUSTED_TOO: &str = "127.7.0.2";
/// One that none of them does.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 8, 0, 1));

const TRUST: &str = "trusted_proxies = [\"127.7.0.0/16\", \"2001:db8:7::/48\"]";

/// Agrees to offers, answers everything else with 200.
fn both() -> Backend {
    Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            if head.value("upgrade").is_some() {
                conn.send(answer_101(&head));
                conn.wait_for_any_end();
                return;
            }
            conn.send(http(200, "fine"));
        }
    })
}

/// An ordinary request and an offer that have these lines, for the same host.
fn requests(lines: &[&str]) -> [Vec<u8>; 2] {
    let plain =
        lines.iter().fold("GET /chat HTTP/1.1\r\nHost: server.example.com\r\n".to_owned(), |text, line| text + line + "\r\n");
    let offer = lines.iter().fold(Offer::new(), |offer, line| offer.line(line));
    [(plain + "\r\n").into_bytes(), offer.bytes()]
}

/// What the backend sees of both, sent by a peer with this address.
#[track_caller]
fn seen_from(peer: IpAddr, proxy: &Proxy, backend: &Backend, lines: &[&str]) -> [Head; 2] {
    requests(lines).map(|request| {
        let mut client = Conn::connect_from(peer, proxy.address(0));
        client.send(request);
        let status = client.read_head().status();
        assert!(status == 200 || status == 101, "{status}");
        backend.head()
    })
}

// --- strangers -------------------------------------------------------------------------------------------

#[test]
fn a_backend_is_told_the_peer_the_scheme_and_the_host() {
    let backend = both();
    let proxy = Proxy::before(&backend);
    for seen in seen_from(STRANGER, &proxy, &backend, &[]) {
        seen.assert_line("X-Forwarded-For: 127.8.0.1");
        seen.assert_line("X-Forwarded-Proto: http");
        seen.assert_line("X-Forwarded-Host: server.example.com");
        seen.assert_none("Forwarded");
    }
}

#[test]
fn what_a_stranger_says_of_itself_is_deleted_in_every_spelling() {
    let backend = both();
    let proxy = Proxy::before_with(&backend, TRUST, "forwarded = true");
    let lies = [
        "X-Forwarded-For: 6.6.6.6",
        "x-forwarded-for: 6.6.6.6",
        "X_Forwarded_For: 6.6.6.6",
        "X-Forwarded_For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X_FORWARDED_PROTO: https",
        "X-Forwarded-Host: evil.example",
        "X_Forwarded_Host: evil.example",
        "X.Forwarded.Host: evil.example",
        "X-Forwarded-Port: 666",
        "X-Forwarded-User: root",
        "X-Forwarded-Prefix: /evil",
        "X-Real-IP: 6.6.6.6",
        "X_Real_IP: 6.6.6.6",
        "Forwarded: for=6.6.6.6;proto=https",
        "WL-Proxy-Client-IP: 6.6.6.6",
        "WL_Proxy_Client_IP: 6.6.6.6",
        "WL-Proxy-SSL: true",
        "wl-proxy-client-cert: x",
    ];
    for seen in seen_from(STRANGER, &proxy, &backend, &[&["X-Honest: 1"], lies.as_slice()].concat()) {
        seen.assert_line("X-Forwarded-For: 127.8.0.1");
        seen.assert_line("X-Forwarded-Proto: http");
        seen.assert_line("X-Forwarded-Host: server.example.com");
        seen.assert_line("Forwarded: for=127.8.0.1;host=server.example.com;proto=http");
        seen.assert_line("X-Honest: 1");
        for word in ["6.6.6.6", "evil", "666", "root", "true", "WL", "wl-"] {
            assert!(!seen.to_string().contains(word), "{word} in\n{seen}");
        }
    }
}

#[test]
fn nobody_is_trusted_who_is_not_named() {
    let backend = both();
    let proxy = Proxy::before(&backend);
    for seen in
        seen_from(IpAddr::V4(Ipv4Addr::LOCALHOST), &proxy, &backend, &["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https"])
    {
        seen.assert_line("X-Forwarded-For: 127.0.0.1");
        seen.assert_line("X-Forwarded-Proto: http");
    }
}

#[test]
fn a_client_cannot_hide_by_naming_our_fields_in_connection() {
    let backend = both();
    let proxy = Proxy::before_with(&backend, TRUST, "");
    let name = "X-Forwarded-For, X-Forwarded-Proto, Host, Cookie, Authorization, Origin, X-Gone";
    let plain = format!(
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: {name}\r\nX-Forwarded-For: 192.0.2.1\r\nCookie: a=1\r\n\
        Authorization: b\r\nOrigin: http://a.example\r\nX-Gone: 1\r\n\r\n"
    );
    let mut client = Conn::connect_from(TRUSTED, proxy.address(0));
    client.send(plain);
    client.read_answer();
    let seen = backend.head();
    seen.assert_line("X-Forwarded-For: 192.0.2.1, 127.7.0.1");
    seen.assert_line("X-Forwarded-Proto: http");
    seen.assert_line("Host: a.example");
    seen.assert_line("Cookie: a=1");
    seen.assert_line("Authorization: b");
    seen.assert_line("Origin: http://a.example");
    seen.assert_none("X-Gone");
    let offer = Offer::new().replace("Connection", &["Connection: Upgrade, X-Forwarded-For, Host, Cookie, Sec-WebSocket-Key"]);
    let mut client = proxy.connect_and_send(offer.line("Cookie: a=1").bytes());
    assert_eq!(client.read_head().status(), 101);
    let seen = backend.head();
    seen.assert_line("X-Forwarded-For: 127.0.0.1");
    seen.assert_line("Host: server.example.com");
    seen.assert_line("Cookie: a=1");
}

// --- trusted peers ---------------------------------------------------------------------------------------

#[test]
fn a_trusted_peer_is_appended_to_and_its_word_stands() {
    let backend = both();
    let proxy = Proxy::before_with(&backend, TRUST, "forwarded = true");
    let said = [
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-For: 192.0.2.2, 127.7.0.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: outer.example",
        "X-Forwarded-Port: 443",
        "X-Real-IP: 192.0.2.1",
        "Forwarded: for=192.0.2.1",
        "X_Forwarded_For: 6.6.6.6",
    ];
    for seen in seen_from(TRUSTED, &proxy, &backend, &said) {
        seen.assert_line("X-Forwarded-For: 192.0.2.1, 192.0.2.2, 127.7.0.9, 127.7.0.1");
        seen.assert_line("X-Forwarded-Proto: https");
        seen.assert_line("X-Forwarded-Host: outer.example");
        seen.assert_line("X-Forwarded-Port: 443");
        seen.assert_line("X-Real-IP: 192.0.2.1");
        seen.assert_line("Forwarded: for=192.0.2.1, for=127.7.0.1;host=server.example.com;proto=http");
        seen.assert_none("X_Forwarded_For");
    }
}

#[test]
fn the_client_in_the_log_is_the_rightmost_address_that_is_not_trusted() {
    let backend = both();
    let proxy = Proxy::before_with(&backend, TRUST, "");
    let cases = [
        (TRUSTED, "192.0.2.9", "192.0.2.9"),
        (TRUSTED, "6.6.6.6, 192.0.2.9, 127.7.0.3", "192.0.2.9"),
        (TRUSTED, "[2001:db8::1]:4711, 2001:db8:7::9", "2001:db8::1"),
        (TRUSTED, "192.0.2.9:4711", "192.0.2.9"),
        (TRUSTED, "6.6.6.6, unknown, 127.7.0.3", "127.7.0.3"),
        (TRUSTED, TRUSTED_TOO, TRUSTED_TOO),
    ];
    for (n, (peer, list, expected)) in cases.into_iter().enumerate() {
        seen_from(peer, &proxy, &backend, &[&format!("X-Forwarded-For: {list}")]);
        assert_eq!(proxy.request_record(n).text("client"), expected, "{list}");
        assert_eq!(proxy.wait_for_message("tunnel opened", n).text("client"), expected, "{list}");
        assert_eq!(proxy.wait_for_message("tunnel closed", n).text("client"), expected, "{list}");
    }
}

#[test]
fn a_strangers_list_does_not_change_the_client_in_the_log() {
    let backend = both();
    let proxy = Proxy::before_with(&backend, TRUST, "");
    seen_from(
        STRANGER,
        &proxy,
        &backend,
        &["X-Forwarded-For: 6.6.6.6, 127.7.0.1", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6"],
    );
    for record in [proxy.request_record(0), proxy.wait_for_message("tunnel opened", 0)] {
        assert!(record.text("client").starts_with("127.8.0.1:"), "{}", record.raw);
    }
}

#[test]
fn lists_over_several_lines_are_one_list() {
    let backend = both();
    let proxy = Proxy::before_with(&backend, TRUST, "");
    seen_from(
        TRUSTED,
        &proxy,
        &backend,
        &["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-For: 127.7.0.3"],
    );
    assert_eq!(proxy.request_record(0).text("client"), "192.0.2.9");
}

// --- other ways in ---------------------------------------------------------------------------------------

fn over_unix(head: &str, lines: &[&str]) -> (Head, Line) {
    let backend = both();
    let text =
        format!("{head}\n[[listen]]\naddress = \"unix:{{dir}}/s\"\n[[route]]\nbackend = \"{{backend}}\"\nforwarded = true\n");
    let proxy = Proxy::setup(&text).put("backend", backend.url()).start();
    let mut client = Conn::connect_unix(&proxy.dir().join("s"));
    let [plain, _] = requests(lines);
    client.send(plain);
    assert_eq!(client.read_answer().0.status(), 200);
    (backend.head(), proxy.request_record(0))
}

#[test]
fn a_peer_on_a_unix_socket_is_believed_only_where_the_configuration_says_so() {
    let lines = ["X-Forwarded-For: 192.0.2.9", "X-Forwarded-Proto: https"];
    let (seen, record) = over_unix("trusted_proxies = [\"unix\"]", &lines);
    seen.assert_line("X-Forwarded-For: 192.0.2.9");
    seen.assert_line("X-Forwarded-Proto: https");
    seen.assert_line("Forwarded: for=unknown;host=server.example.com;proto=http");
    assert_eq!(record.text("client"), "192.0.2.9");
    for head in ["", "trusted_proxies = [\"0.0.0.0/0\", \"::/0\"]"] {
        let (seen, record) = over_unix(head, &lines);
        seen.assert_none("X-Forwarded-For");
        seen.assert_line("X-Forwarded-Proto: http");
        assert_eq!(record.text("client"), "unix");
    }
}

#[test]
fn over_tls_the_backend_is_told_https() {
    let (backend, authority) = (both(), Authority::new());
    let identity = authority.identity(&["server.example.com"]);
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n\
        [[route]]\nbackend = \"{backend}\"\nforwarded = true\n";
    let proxy = Proxy::setup(text)
        .put("backend", backend.url())
        .file("c.pem", identity.chain_pem)
        .file("k.pem", identity.key_pem)
        .start();
    for request in requests(&["X-Forwarded-Proto: http"]) {
        let mut client = Conn::connect_tls(proxy.address(0), "server.example.com", authority.client(&[]));
        client.send(request);
        client.read_head();
        let seen = backend.head();
        seen.assert_line("X-Forwarded-Proto: https");
        seen.assert_line("Forwarded: for=127.0.0.1;host=server.example.com;proto=https");
    }
}

#[test]
fn over_http2_a_backend_is_told_the_same() {
    let backend = both();
    let proxy = Proxy::before_with(&backend, TRUST, "forwarded = true");
    let lies =
        [("x-forwarded-for", "6.6.6.6"), ("x_forwarded_for", "6.6.6.6"), ("x-real-ip", "6.6.6.6"), ("forwarded", "for=6.6.6.6")];
    let request = lies
        .into_iter()
        .fold(::http::Request::get("http://server.example.com/"), |request, (name, value)| request.header(name, value));
    let answer = H2::connect(proxy.address(0)).request(request.body(()).unwrap(), None, None).unwrap();
    assert_eq!(answer.status, 200);
    let seen = backend.head();
    seen.assert_line("Host: server.example.com");
    seen.assert_line("X-Forwarded-For: 127.0.0.1");
    seen.assert_line("X-Forwarded-Proto: http");
    seen.assert_line("X-Forwarded-Host: server.example.com");
    seen.assert_line("Forwarded: for=127.0.0.1;host=server.example.com;proto=http");
    assert!(!seen.to_string().contains("6.6.6.6"), "{seen}");
}

#[test]
fn an_ipv4_client_of_a_dual_stack_listener_is_an_ipv4_client() {
    let backend = both();
    let text = format!("{TRUST}\n[[listen]]\naddress = \"[::]:0\"\n[[route]]\nbackend = \"{{backend}}\"\n");
    let proxy = Proxy::setup(&text).put("backend", backend.url()).start();
    let port = proxy.address(0).port();
    let mut client = Conn::connect_from(TRUSTED, (Ipv4Addr::LOCALHOST, port).into());
    let [plain, _] = requests(&["X-Forwarded-For: 192.0.2.9"]);
    client.send(plain);
    client.read_answer();
    backend.head().assert_line("X-Forwarded-For: 192.0.2.9, 127.7.0.1");
    assert_eq!(proxy.request_record(0).text("client"), "192.0.2.9");
}

// --- Host ------------------------------------------------------------------------------------------------

#[test]
fn the_host_is_the_clients_the_backends_own_or_one_of_choice() {
    let backend = both();
    for (keys, expected) in [
        ("", "server.example.com".to_owned()),
        ("host_header = \"keep\"", "server.example.com".to_owned()),
        ("host_header = \"backend\"", backend.address().to_string()),
        ("host_header = \"inner.example:81\"", "inner.example:81".to_owned()),
    ] {
        let proxy = Proxy::before_with(&backend, "", keys);
        for seen in seen_from(STRANGER, &proxy, &backend, &[]) {
            seen.assert_line(&format!("Host: {expected}"));
            seen.assert_line("X-Forwarded-Host: server.example.com");
        }
    }
}

#[test]
fn a_request_without_a_host_gets_the_backends() {
    let backend = both();
    let proxy = Proxy::before(&backend);
    proxy.connect_and_send("GET / HTTP/1.0\r\n\r\n").read_head();
    let seen = backend.head();
    seen.assert_line(&format!("Host: {}", backend.address()));
    seen.assert_none("X-Forwarded-Host");
}

// --- the route's own changes -----------------------------------------------------------------------------

#[test]
fn a_route_sets_appends_and_removes_fields_of_the_request() {
    let backend = both();
    let keys = "request_headers.remove = [\"X-Debug\", \"x-both\"]\nrequest_headers.set = { X-Env = \"prod\", X-Both = \"set\", X-Forwarded-Proto = \"https\" }\n\
        request_headers.append = { X-List = [\"two\", \"three\"], Via = \"1.1 spliceway\" }";
    let proxy = Proxy::before_with(&backend, "", keys);
    let lines = ["X-Debug: 1", "x-debug: 2", "X-Env: dev", "X-Env: test", "X-Both: client", "X-List: one", "X-Other: stays"];
    for seen in seen_from(STRANGER, &proxy, &backend, &lines) {
        seen.assert_none("X-Debug");
        seen.assert_line("X-Env: prod");
        seen.assert_line("X-Both: set");
        seen.assert_line("X-Forwarded-Proto: https");
        assert_eq!(seen.values("X-List"), ["one", "two", "three"]);
        seen.assert_line("Via: 1.1 spliceway");
        seen.assert_line("X-Other: stays");
    }
}

/// What every answer of a route must show.
fn changed(head: &Head) {
    head.assert_line("X-Own: ours");
    assert_eq!(head.values("Vary"), ["Origin", "Accept-Encoding"], "{head}");
    head.assert_none("X-Powered-By");
}

const CHANGES: &str = "response_headers.remove = [\"X-Powered-By\"]\nresponse_headers.set = { X-Own = \"ours\" }\n\
    response_headers.append = { Vary = \"Accept-Encoding\" }";

#[test]
fn a_route_changes_the_fields_of_a_backends_answer_and_of_its_101() {
    let backend = Backend::scripted(|conn, _| {
        let Ok(head) = conn.try_read_head() else { return };
        let lines = "X-Powered-By: magic\r\nX-Own: theirs\r\nVary: Origin\r\n";
        if head.value("upgrade").is_some() {
            conn.send(answer_101(&head).strip_suffix("\r\n").unwrap().to_owned() + lines + "\r\n");
        } else {
            conn.send(format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n"));
        }
        conn.wait_for_any_end();
    });
    let proxy = Proxy::before_with(&backend, "", CHANGES);
    for request in requests(&[]) {
        changed(&proxy.connect_and_send(request).read_head());
    }
}

#[test]
fn a_route_changes_the_fields_of_answers_of_our_own() {
    let refused = RefusedPort::new();
    let nonsense = Backend::answering("what?");
    let changes = CHANGES.replace("\"Accept-Encoding\"", "[\"Origin\", \"Accept-Encoding\"]");
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\npath = \"/own\"\nrespond = {{ body = \"x\" }}\n{changes}\n\
        [[route]]\npath = \"/away\"\nredirect = \"https://b.example/\"\n{changes}\n\
        [[route]]\npath = \"/refused\"\nbackend = \"{}\"\nmax_body = \"1B\"\n{changes}\n\
        [[route]]\nbackend = \"{}\"\n{changes}\n",
        refused.url(),
        nonsense.url()
    );
    let proxy = Proxy::start(&text);
    let offer = |target: &str| Offer::new().first(&format!("GET {target} HTTP/1.1"));
    for (request, status) in [
        (b"GET /own HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 200),
        (b"GET /away HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 308),
        (b"GET /refused HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 502),
        (b"POST /refused HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab".to_vec(), 413),
        (b"GET /nonsense HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 502),
        (offer("/own").bytes(), 200),
        (offer("/refused").bytes(), 502),
        (offer("/nonsense").bytes(), 502),
        (offer("/").replace("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"]).bytes(), 426),
        (offer("/").replace("Sec-WebSocket-Key", &["Sec-WebSocket-Key: short"]).bytes(), 400),
    ] {
        let (head, _) = proxy.connect_and_send(&request).read_answer();
        assert_eq!(head.status(), status, "{}", shown(&request));
        changed(&head);
    }
}

#[test]
fn an_inner_address_is_in_no_answer_of_ours() {
    let refused = RefusedPort::new();
    let proxy = Proxy::start(&format!("[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nbackend = \"{}\"\n", refused.url()));
    let port = refused.url().rsplit(':').next().unwrap().to_owned();
    for request in requests(&[]) {
        let (head, body) = proxy.connect_and_send(request).read_answer();
        assert_eq!(head.status(), 502);
        assert!(!head.to_string().contains(&port) && !body.text().contains(&port), "{head}{}", body.text());
    }
    assert!(proxy.request_record(0).raw.contains(&port), "the log names it");
}
