//! Which route a request takes, and what routes do that answer by themselves: promises on the running proxy.
//! Paths that can be read in two ways are `paths.rs`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use kit::*;

const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";

/// Routes that each answer with their own name: matchers, name.
fn named(routes: &[(&str, &str)]) -> Proxy {
    let route = |(keys, name): &(&str, &str)| format!("[[route]]\n{keys}\nrespond = {{ body = \"{name}\" }}\n");
    Proxy::start(&(LISTEN.to_owned() + &routes.iter().map(route).collect::<String>()))
}

/// What a request is answered with: the body of a 200, else the status.
#[track_caller]
fn took(proxy: &Proxy, request: impl AsRef<[u8]>) -> String {
    let (head, body) = proxy.connect_and_send(request).read_answer();
    if head.status() == 200 { body.text() } else { head.status().to_string() }
}

fn get(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Asserts of each host and target which route is taken.
#[track_caller]
fn takes(proxy: &Proxy, cases: &[(&str, &str, &str)]) {
    for &(host, target, expected) in cases {
        assert_eq!(took(proxy, get(host, target)), expected, "{host} {target}");
    }
}

// --- the host --------------------------------------------------------------------------------------------

#[test]
fn an_exact_host_goes_before_a_wildcard_and_a_wildcard_before_none() {
    let proxy = named(&[
        ("", "any"),
        ("host = \"*.example.com\"", "wildcard"),
        ("host = \"*.deep.example.com\"", "longer wildcard"),
        ("host = \"chat.example.com\"", "exact"),
    ]);
    takes(
        &proxy,
        &[
            ("chat.example.com", "/", "exact"),
            ("other.example.com", "/", "wildcard"),
            ("a.deep.example.com", "/", "longer wildcard"),
            ("example.org", "/", "any"),
            ("127.0.0.1", "/", "any"),
        ],
    );
    assert_eq!(took(&proxy, "GET / HTTP/1.0\r\n\r\n"), "any", "HTTP/1.0 needs no host");
}

#[test]
fn a_wildcard_stands_for_exactly_one_label() {
    let proxy = named(&[("host = \"*.example.com\"", "wildcard")]);
    takes(
        &proxy,
        &[
            ("a.example.com", "/", "wildcard"),
            ("example.com", "/", "404"),
            ("a.b.example.com", "/", "404"),
            ("aexample.com", "/", "404"),
            ("a.example.com.evil.org", "/", "404"),
        ],
    );
}

#[test]
fn case_port_and_a_dot_at_the_end_of_the_host_make_no_difference() {
    let proxy = named(&[("host = \"Chat.Example.com\"", "chat"), ("host = \"[2001:DB8::1]\"", "six")]);
    takes(
        &proxy,
        &[
            ("chat.example.com", "/", "chat"),
            ("CHAT.EXAMPLE.COM", "/", "chat"),
            ("chat.example.com:8443", "/", "chat"),
            ("chat.example.com:", "/", "chat"),
            ("chat.example.com.", "/", "chat"),
            ("chat.example.com.:80", "/", "chat"),
            ("[2001:db8::1]", "/", "six"),
            ("[2001:db8::1]:8080", "/", "six"),
            ("[2001:0db8:0::1]:8080", "/", "six"),
        ],
    );
}

#[test]
fn one_route_can_be_for_several_hosts() {
    let proxy = named(&[("host = [\"a.example\", \"*.b.example\"]", "both")]);
    takes(&proxy, &[("a.example", "/", "both"), ("x.b.example", "/", "both"), ("c.example", "/", "404")]);
}

#[test]
fn a_host_whose_paths_do_not_match_falls_back_to_the_routes_without_a_host() {
    let proxy = named(&[
        ("path = \"/shared/\"", "shared"),
        ("host = \"*.example.com\"\npath = \"/wild/\"", "wildcard"),
        ("host = \"chat.example.com\"\npath = \"/ws/\"", "chat"),
        ("host = \"chat.example.com\"\npath = \"/posted/\"\nmethods = [\"POST\"]", "posted"),
    ]);
    takes(
        &proxy,
        &[
            ("chat.example.com", "/ws/", "chat"),
            ("chat.example.com", "/wild/", "wildcard"),
            ("chat.example.com", "/shared/", "shared"),
            ("chat.example.com", "/posted/", "404"),
            ("chat.example.com", "/other/", "404"),
        ],
    );
}

#[test]
fn an_absolute_targets_authority_decides_and_not_the_host_field() {
    let proxy = named(&[("host = \"a.example\"", "a"), ("host = \"b.example\"", "b")]);
    assert_eq!(took(&proxy, get("b.example", "http://a.example/")), "a");
    assert_eq!(took(&proxy, get("b.example", "http://a.example")), "a");
}

#[test]
fn over_http2_the_authority_is_the_host() {
    let proxy = named(&[("host = \"a.example\"\npath = \"/x/\"", "a"), ("host = \"*.example\"", "wildcard"), ("", "any")]);
    let client = H2::connect(proxy.address(0));
    for (uri, expected) in [
        ("http://A.example.:81/x?q", "a"),
        ("http://a.example/xy", "wildcard"),
        ("http://b.example/x", "wildcard"),
        ("http://127.0.0.1/x", "any"),
    ] {
        let answer = client.get(uri);
        assert_eq!((answer.status.as_u16(), String::from_utf8(answer.body).unwrap().as_str()), (200, expected), "{uri}");
    }
}

// --- the path --------------------------------------------------------------------------------------------

#[test]
fn a_prefix_ends_at_the_border_of_a_segment() {
    let proxy = named(&[("path = \"/ws/\"", "ws"), ("path = \"/app\"", "app")]);
    takes(
        &proxy,
        &[
            ("h", "/ws", "ws"),
            ("h", "/ws/", "ws"),
            ("h", "/ws?a=/b", "ws"),
            ("h", "/ws/room/1", "ws"),
            ("h", "/wsx", "404"),
            ("h", "/ws.html", "404"),
            ("h", "/WS/", "404"),
            ("h", "/x/ws/", "404"),
            ("h", "/app", "app"),
            ("h", "/app/x", "app"),
            ("h", "/apple", "404"),
            ("h", "/?/ws/", "404"),
        ],
    );
}

#[test]
fn an_exact_path_goes_first_then_the_longest_prefix_whatever_the_order_of_the_file() {
    let proxy = named(&[
        ("path = \"/\"", "root"),
        ("path = \"/a/\"", "a"),
        ("path = \"/a/b/c/\"", "abc"),
        ("path = \"= /a/b\"", "exactly ab"),
        ("path = \"/a/b/\"", "ab"),
    ]);
    takes(
        &proxy,
        &[
            ("h", "/a/b", "exactly ab"),
            ("h", "/a/b?q", "exactly ab"),
            ("h", "/a/b/", "ab"),
            ("h", "/a/b/x", "ab"),
            ("h", "/a/b/c", "abc"),
            ("h", "/a/bc", "a"),
            ("h", "/b", "root"),
        ],
    );
}

#[test]
fn a_path_is_matched_after_unreserved_escapes_and_dot_segments() {
    let proxy = named(&[("path = \"/chat-room/\"", "room"), ("path = \"= /x/~me\"", "me")]);
    takes(
        &proxy,
        &[
            ("h", "/%63hat%2Droom/1", "room"),
            ("h", "/a/../chat-room/", "room"),
            ("h", "/a/%2e%2E/./chat-room", "room"),
            ("h", "/x/%7eme", "me"),
            ("h", "/chat-room/../x/~me", "me"),
        ],
    );
}

// --- methods, fields, the order of the file --------------------------------------------------------------

#[test]
fn a_method_is_compared_as_it_is() {
    let proxy = named(&[("methods = [\"POST\", \"PUT\"]", "writes"), ("", "reads")]);
    for (method, expected) in [("POST", "writes"), ("PUT", "writes"), ("GET", "reads"), ("post", "reads"), ("DELETE", "reads")] {
        let request = format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(took(&proxy, request), expected, "{method}");
    }
}

#[test]
fn a_field_must_be_there_and_where_a_value_is_asked_for_have_it_on_one_line() {
    let proxy =
        named(&[("headers = { X-Kind = \"a\" }", "kind a"), ("path = \"/any\"\nheaders = { X-Kind = true }", "any kind")]);
    for (target, fields, expected) in [
        ("/", "X-Kind: a\r\n", "kind a"),
        ("/", "x-kind: a\r\n", "kind a"),
        ("/", "X-Kind: b\r\nX-Kind: a\r\n", "kind a"),
        ("/", "X-Kind: A\r\n", "404"),
        ("/", "X-Kind: a, b\r\n", "404"),
        ("/", "", "404"),
        ("/any", "X-Kind: whatever\r\n", "any kind"),
        ("/any", "X-Kind:\r\n", "any kind"),
        ("/any", "", "404"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        assert_eq!(took(&proxy, request), expected, "{target} {fields:?}");
    }
}

#[test]
fn among_equals_more_matchers_win_and_then_the_order_of_the_file() {
    let proxy = named(&[
        ("headers = { X-A = true }", "a"),
        ("headers = { X-B = true }", "b"),
        ("headers = { X-A = true, X-B = true, X-C = true }", "three"),
        ("methods = [\"GET\"]\nheaders = { X-A = true }", "get a"),
        ("methods = [\"PUT\"]", "put"),
        ("", "none"),
    ]);
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-B: 1\r\nX-C: 1\r\n\r\n", "three"),
        ("GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-B: 1\r\n\r\n", "get a"),
        ("DELETE / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-B: 1\r\n\r\n", "a"),
        ("PUT / HTTP/1.1\r\nHost: h\r\nX-B: 1\r\n\r\n", "b"),
        ("PUT / HTTP/1.1\r\nHost: h\r\n\r\n", "put"),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "none"),
    ] {
        assert_eq!(took(&proxy, request), expected, "{request}");
    }
}

#[test]
fn a_longer_path_goes_before_more_matchers() {
    let proxy =
        named(&[("path = \"/a\"\nmethods = [\"GET\"]\nheaders = { X-A = true }", "matchers"), ("path = \"/a/b\"", "longer")]);
    let request = "GET /a/b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n";
    assert_eq!(took(&proxy, request), "longer");
}

#[test]
fn options_asterisk_takes_the_default_route() {
    let backend = Backend::http(200, "default");
    let text = format!(
        "{LISTEN}[[route]]\npath = \"/x/\"\nrespond = {{ body = \"x\" }}\n[[route]]\npath = \"= /\"\nrespond = {{ body = \"root\" }}\n\
        [[route]]\nbackend = \"{{backend}}\"\nreplace_prefix = \"/v2\"\n"
    );
    let proxy = Proxy::setup(&text).put("backend", backend.url()).start();
    assert_eq!(took(&proxy, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), "default");
    assert_eq!(backend.head().first, "OPTIONS * HTTP/1.1");
}

#[test]
fn no_method_but_options_asks_about_the_server_as_a_whole() {
    let backend = Backend::silent();
    let proxy = Proxy::before(&backend);
    assert_eq!(took(&proxy, get("h", "*")), "400");
    assert_eq!(backend.connections(), 0);
}

// --- no route --------------------------------------------------------------------------------------------

#[test]
fn without_a_route_the_answer_is_a_404_of_ours_and_the_connection_goes_on() {
    let proxy = named(&[("path = \"/there\"", "there")]);
    let mut client = proxy.connect_and_send(get("h", "/elsewhere"));
    let (head, body) = client.read_answer();
    assert_eq!(head.status(), 404);
    head.assert_line("Content-Type: text/plain; charset=utf-8");
    assert!(body.text().contains("no route"), "{}", body.text());
    client.send(get("h", "/there"));
    assert_eq!(client.read_answer().1.text(), "there");
    let record = proxy.request_record(0);
    assert_eq!((record.count("status"), record.text("route").as_str()), (404, ""), "{}", record.raw);
    assert_eq!(proxy.request_record(1).text("route"), "/there");
}

// --- routes that answer by themselves --------------------------------------------------------------------

#[test]
fn a_route_responds_with_its_status_its_body_and_its_fields() {
    let text = format!(
        "{LISTEN}[[route]]\npath = \"/gone\"\nrespond = {{ status = 410, body = \"was here\\n\" }}\n\
        response_headers.set = {{ Content-Type = \"text/html\", X-Own = \"1\" }}\n\
        [[route]]\npath = \"/empty\"\nrespond = {{ status = 204 }}\n[[route]]\nrespond = {{ body = \"fine\" }}\n"
    );
    let proxy = Proxy::start(&text);
    let (head, body) = proxy.connect_and_send(get("h", "/gone")).read_answer();
    assert_eq!((head.status(), body.text().as_str(), body.framing), (410, "was here\n", Framing::Length));
    head.assert_line("Content-Type: text/html");
    head.assert_line("X-Own: 1");
    let (head, body) = proxy.connect_and_send(get("h", "/empty")).read_answer();
    assert_eq!((head.status(), body.bytes.len()), (204, 0));
    head.assert_none("content-length");
    let (head, body) = proxy.connect_and_send(get("h", "/")).read_answer();
    assert_eq!((head.status(), body.text().as_str()), (200, "fine"));
    head.assert_line("Content-Type: text/plain; charset=utf-8");
}

#[test]
fn an_answer_of_ours_to_head_has_the_length_and_no_body() {
    let proxy = named(&[("", "twelve bytes")]);
    let mut client = proxy.connect_and_send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    client.read_head().assert_line("Content-Length: 12");
    client.send(get("h", "/"));
    assert_eq!(client.read_answer().1.text(), "twelve bytes");
}

#[test]
fn an_answer_of_ours_comes_after_a_body_that_nobody_wants_and_the_next_request_too() {
    let proxy = named(&[("", "ours")]);
    let mut client = proxy.connect_and_send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /");
    assert_eq!(client.read_answer().1.text(), "ours");
    client.send(get("h", "/"));
    assert_eq!(client.read_answer().1.text(), "ours");
}

fn redirected(keys: &str, request: &str) -> (u16, String) {
    let proxy = Proxy::start(&format!("{LISTEN}[[route]]\n{keys}\n"));
    let (head, _) = proxy.connect_and_send(request).read_answer();
    (head.status(), head.value("location").unwrap_or_default().to_owned())
}

#[test]
fn a_redirect_is_a_308_with_host_and_path_filled_in() {
    let to = "redirect = \"https://{host}/{path}\"";
    for (request, expected) in [
        (get("a.example", "/x/y?q=1&r=%2f"), "https://a.example/x/y?q=1&r=%2f"),
        (get("a.example:8080", "/"), "https://a.example/"),
        (get("[::1]:8080", "/"), "https://[::1]/"),
        (get("a.example", "/a%20b/../c;d"), "https://a.example/a%20b/../c;d"),
        (get("b.example", "http://a.example?q"), "https://a.example/?q"),
    ] {
        assert_eq!(redirected(to, &request), (308, expected.to_owned()), "{request}");
    }
}

#[test]
fn a_redirect_has_the_status_it_is_told_and_only_the_placeholders_it_names() {
    let request = get("a.example", "/x?y");
    for (to, expected) in [
        ("redirect = { to = \"https://b.example/\", status = 301 }", (301, "https://b.example/")),
        ("redirect = { to = \"https://b.example{path}#top\", status = 302 }", (302, "https://b.example/x?y#top")),
        ("redirect = { to = \"/new{path}\", status = 303 }", (303, "/new/x?y")),
        ("redirect = { to = \"https://{host}:8443{path}\", status = 307 }", (307, "https://a.example:8443/x?y")),
        ("redirect = \"https://b.example/{host}{path}\"", (308, "https://b.example/a.example/x?y")),
        ("redirect = \"https://b.example/?from={path}&also={path}\"", (308, "https://b.example/?from=/x?y&also=/x?y")),
    ] {
        assert_eq!(redirected(to, &request), (expected.0, expected.1.to_owned()), "{to}");
    }
}

#[test]
fn no_path_turns_a_redirect_to_another_host() {
    for target in ["//evil.example/", "///evil.example/", "/\\evil.example/"] {
        let (status, location) = redirected("redirect = \"/{path}\"", &get("a.example", target));
        assert!(status == 400 || location == "/evil.example/", "{target}: {status} {location}");
    }
}

#[test]
fn a_redirect_that_needs_a_host_is_refused_where_the_request_has_none() {
    assert_eq!(redirected("redirect = \"https://{host}/{path}\"", "GET /x HTTP/1.0\r\n\r\n"), (400, String::new()));
    let elsewhere = redirected("redirect = \"https://b.example{path}\"", "GET /x HTTP/1.0\r\n\r\n");
    assert_eq!(elsewhere, (308, "https://b.example/x".to_owned()));
}

// --- a listener that sends everything to https -----------------------------------------------------------

fn redirecting(port: u16) -> Proxy {
    let identity = Authority::new().identity(&["a.example"]);
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\n\
        [[listen]]\naddress = \"127.0.0.1:{port}\"\n[[listen.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n\
        [[route]]\nrespond = { body = \"routed\" }\n";
    Proxy::setup(text).put("port", port).file("c.pem", identity.chain_pem).file("k.pem", identity.key_pem).start()
}

#[test]
fn a_listener_redirects_everything_to_https_on_the_port_of_the_tls_listener() {
    let port = free_port();
    let proxy = redirecting(port);
    for (request, expected) in [
        (get("a.example", "/x?y=1"), format!("https://a.example:{port}/x?y=1")),
        (get("a.example:8080", "//x/%2e;z"), format!("https://a.example:{port}//x/%2e;z")),
        (get("[::1]:80", "/"), format!("https://[::1]:{port}/")),
        (
            "POST /form HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nab".to_owned(),
            format!("https://a.example:{port}/form"),
        ),
    ] {
        let (head, _) = proxy.connect_and_send(&request).read_answer();
        assert_eq!((head.status(), head.value("location")), (308, Some(expected.as_str())), "{request}");
    }
    let answer = H2::connect(proxy.address(0)).get("http://a.example/h2?q");
    assert_eq!(
        (answer.status.as_u16(), answer.headers["location"].as_bytes()),
        (308, format!("https://a.example:{port}/h2?q").as_bytes())
    );
    let (head, _) = proxy.connect_and_send("GET / HTTP/1.0\r\n\r\n").read_answer();
    assert_eq!((head.status(), head.value("location")), (400, None), "nowhere to go without a host");
}

#[test]
fn a_websocket_offer_on_such_a_listener_gets_403() {
    let proxy = redirecting(free_port());
    for offer in [Offer::new(), Offer::new().replace("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"])] {
        let (head, body) = proxy.connect_and_send(offer.bytes()).read_answer();
        assert_eq!(head.status(), 403, "{head}");
        head.assert_none("location");
        assert!(body.text().contains("wss://"), "{}", body.text());
    }
}

// --- WebSocket offers ------------------------------------------------------------------------------------

#[test]
fn a_websocket_offer_takes_its_route_as_any_request_does() {
    let (chat, wild, any) = (Backend::echo(), Backend::echo(), Backend::echo());
    let text = format!(
        "{LISTEN}[[route]]\nbackend = \"{{any}}\"\n[[route]]\nhost = \"*.example.com\"\nbackend = \"{{wild}}\"\n\
        [[route]]\nhost = \"chat.example.com\"\npath = \"/ws/\"\nbackend = \"{{chat}}\"\n\
        [[route]]\npath = \"= /posted\"\nmethods = [\"POST\"]\nrespond = {{ body = \"x\" }}\n\
        [[route]]\nheaders = {{ Sec-WebSocket-Protocol = \"own\" }}\nrespond = {{ status = 418, body = \"teapot\" }}\n"
    );
    let proxy = Proxy::setup(&text).put("chat", chat.url()).put("wild", wild.url()).put("any", any.url()).start();
    let offer = |host: &str, target: &str| {
        Offer::new().first(&format!("GET {target} HTTP/1.1")).replace("Host", &[&format!("Host: {host}")])
    };
    for (host, target, backend) in [
        ("CHAT.example.com:80", "/ws", &chat),
        ("chat.example.com.", "/%77s/room", &chat),
        ("chat.example.com", "/wsx", &wild),
        ("other.example.com", "/ws/", &wild),
        ("example.com", "/ws/", &any),
        ("example.com", "/posted", &any),
    ] {
        let mut client = proxy.connect_and_send(offer(host, target).bytes());
        assert_eq!(client.read_head().status(), 101, "{host} {target}");
        client.send(host);
        client.expect(host);
        assert_eq!(backend.head().target(), target, "{host} {target}");
    }
    let own = offer("example.org", "/").line("Sec-WebSocket-Protocol: own");
    let (head, body) = proxy.connect_and_send(own.bytes()).read_answer();
    assert_eq!((head.status(), body.text().as_str()), (418, "teapot"));
    assert_eq!(any.connections(), 2, "a route that answers by itself touches no backend");
}

#[test]
fn a_websocket_offer_without_a_route_gets_404_and_the_connection_goes_on() {
    let proxy = named(&[("path = \"/there\"", "there")]);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    assert_eq!(client.read_answer().0.status(), 404);
    client.send(get("h", "/there"));
    assert_eq!(client.read_answer().1.text(), "there");
}

#[test]
fn a_websocket_offer_follows_a_redirect_route_as_http() {
    let proxy = Proxy::start(&format!("{LISTEN}[[route]]\nredirect = \"https://{{host}}/{{path}}\"\n"));
    let (head, _) = proxy.connect_and_send(Offer::new().bytes()).read_answer();
    assert_eq!((head.status(), head.value("location")), (308, Some("https://server.example.com/chat")));
}
