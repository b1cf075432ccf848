//! Which server of a backend: one per client by a cookie, else the one with the fewest alive, and the next
//! one where a server cannot be reached.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use kit::*;

/// A server that says its name in each answer and closes; an offer it agrees to, and stays until the end.
fn server(name: &'static str) -> Backend {
    Backend::scripted(move |conn, _| {
        let Ok(head) = conn.try_read_head() else { return };
        conn.try_read_body(&head).ok();
        if head.value("upgrade").is_some() {
            conn.send(answer_101(&head).strip_suffix("\r\n").unwrap().to_owned() + "X-Server: " + name + "\r\n\r\n");
            conn.wait_for_any_end();
        } else {
            conn.send(format!("HTTP/1.1 200 OK\r\nX-Server: {name}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
        }
    })
}

fn list(urls: &[String]) -> String {
    urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", ")
}

/// In front of these servers, as one backend with these keys.
fn before(urls: &[String], keys: &str) -> Proxy {
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[backend.chat]\nservers = [{}]\n{keys}\n[[route]]\nbackend = \"chat\"\n",
        list(urls)
    );
    Proxy::start(&text)
}

const STICKY: &str = "sticky = { cookie = \"lb\" }";

fn get(cookie: &str) -> Vec<u8> {
    let cookie = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
    format!("GET / HTTP/1.1\r\nHost: h\r\n{cookie}\r\n").into_bytes()
}

fn offer(cookie: &str) -> Vec<u8> {
    if cookie.is_empty() { Offer::new().bytes() } else { Offer::new().line(&format!("Cookie: {cookie}")).bytes() }
}

fn name(head: &Head) -> String {
    head.value("x-server").unwrap_or_else(|| panic!("no server answered:\n{head}")).to_owned()
}

/// Our cookie in an answer, as the client sends it back, and its attributes.
fn cookie(head: &Head) -> (String, String) {
    let line = head.value("set-cookie").unwrap_or_else(|| panic!("no cookie:\n{head}"));
    let (pair, attributes) = line.split_once("; ").unwrap();
    (pair.to_owned(), attributes.to_owned())
}

#[track_caller]
fn ask(proxy: &Proxy, request: Vec<u8>) -> Head {
    proxy.connect_and_send(request).read_head()
}

// --- the cookie ------------------------------------------------------------------------------------------

#[test]
fn a_cookie_is_set_on_http_answers_and_on_the_101() {
    let server = server("one");
    let proxy = before(&[server.url()], STICKY);
    for request in [get(""), offer("")] {
        let (pair, attributes) = cookie(&ask(&proxy, request));
        assert!(pair.starts_with("lb=") && pair.len() > 10, "{pair}");
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
    }
}

#[test]
fn the_cookie_is_secure_over_tls() {
    let (server, authority) = (server("one"), Authority::new());
    let identity = authority.identity(&["h"]);
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n\
        [backend.chat]\nservers = [\"{}\"]\n{STICKY}\n[[route]]\nbackend = \"chat\"\n",
        server.url()
    );
    let proxy = Proxy::setup(&text).file("c.pem", identity.chain_pem).file("k.pem", identity.key_pem).start();
    for request in [get(""), offer("")] {
        let mut client = Conn::connect_tls(proxy.address(0), "h", authority.client(&[]));
        client.send(request);
        assert_eq!(cookie(&client.read_head()).1, "Path=/; HttpOnly; SameSite=Lax; Secure");
    }
}

#[test]
fn the_cookie_tells_nothing_of_the_server_and_is_the_same_in_another_instance() {
    let server = server("one");
    let pairs = [(); 2].map(|()| cookie(&ask(&before(&[server.url()], STICKY), get(""))).0);
    assert_eq!(pairs[0], pairs[1]);
    assert!(!pairs[0].contains("127") && !pairs[0].contains(&server.port().to_string()), "{}", pairs[0]);
}

#[test]
fn without_sticky_there_is_no_cookie() {
    let server = server("one");
    let proxy = before(&[server.url()], "");
    for request in [get(""), offer("")] {
        ask(&proxy, request).assert_none("set-cookie");
    }
}

#[test]
fn a_backends_own_cookies_stay_beside_ours() {
    let server = Backend::scripted(|conn, _| {
        let Ok(head) = conn.try_read_head() else { return };
        let lines = "Set-Cookie: a=1\r\nSet-Cookie: lb=mine\r\n";
        if head.value("upgrade").is_some() {
            conn.send(answer_101(&head).strip_suffix("\r\n").unwrap().to_owned() + lines + "\r\n");
        } else {
            conn.send(format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n"));
        }
        conn.wait_for_any_end();
    });
    let proxy = before(&[server.url()], STICKY);
    for request in [get(""), offer("")] {
        let head = ask(&proxy, request);
        let cookies = head.values("set-cookie");
        assert_eq!(cookies[..2], ["a=1", "lb=mine"]);
        assert!(cookies[2].starts_with("lb=") && cookies.len() == 3, "{head}");
    }
}

// --- one server per client -------------------------------------------------------------------------------

#[test]
fn a_client_stays_with_its_server_over_http_and_websocket() {
    let servers = [server("a"), server("b"), server("c")];
    let proxy = before(&servers.each_ref().map(Backend::url), STICKY);
    let mut names = Vec::new();
    for _ in 0..3 {
        let first = ask(&proxy, get(""));
        let pair = cookie(&first).0;
        for request in [get(&pair), offer(&pair), get(&format!("x=1; {pair}; y=2")), offer(&pair), get(&pair)] {
            let head = ask(&proxy, request);
            assert_eq!(name(&head), name(&first));
            head.assert_none("set-cookie");
        }
        names.push(name(&first));
    }
    names.sort();
    assert_eq!(names, ["a", "b", "c"], "clients without a cookie are spread");
}

#[test]
fn the_cookie_is_found_among_those_that_http2_splits() {
    let servers = [server("a"), server("b")];
    let proxy = before(&servers.each_ref().map(Backend::url), STICKY);
    let client = H2::connect(proxy.address(0));
    let first = client.get("http://h/");
    let line = first.headers["set-cookie"].to_str().unwrap();
    let pair = line.split(';').next().unwrap();
    for _ in 0..4 {
        let request = ::http::Request::get("http://h/").header("cookie", "x=1").header("cookie", pair).header("cookie", "y=2");
        let answer = client.request(request.body(()).unwrap(), None, None).unwrap();
        assert_eq!(answer.headers["x-server"], first.headers["x-server"]);
        assert!(!answer.headers.contains_key("set-cookie"), "{:?}", answer.headers);
    }
}

#[test]
fn a_client_stays_with_its_server_even_where_others_have_less_to_do() {
    let servers = [server("a"), server("b")];
    let proxy = before(&servers.each_ref().map(Backend::url), STICKY);
    let first = ask(&proxy, get(""));
    let pair = cookie(&first).0;
    let tunnels: Vec<Conn> = (0..4).map(|_| proxy.connect_and_send(offer(&pair))).collect();
    for mut tunnel in tunnels {
        assert_eq!(name(&tunnel.read_head()), name(&first));
    }
}

#[test]
fn the_clients_cookies_reach_the_server_ours_among_them() {
    let server = server("one");
    let proxy = before(&[server.url()], STICKY);
    let pair = cookie(&ask(&proxy, get(""))).0;
    server.head();
    let cookies = format!("a=1; {pair}; b=2");
    for request in [get(&cookies), offer(&cookies)] {
        ask(&proxy, request);
        server.head().assert_line(&format!("Cookie: {cookies}"));
    }
}

#[test]
fn a_forged_cookie_leads_nowhere_and_gets_a_true_one() {
    let servers = [server("a"), server("b")];
    let proxy = before(&servers.each_ref().map(Backend::url), STICKY);
    let own = cookie(&ask(&proxy, get(""))).0;
    let upper = own.to_uppercase().replacen("LB=", "lb=", 1);
    for forged in ["lb=forged", "lb=", "lb=127.0.0.1:22", "lb=http://127.0.0.1:22", "LB=x", &upper, &format!("{own}0")] {
        for request in [get(forged), offer(forged)] {
            let head = ask(&proxy, request);
            name(&head);
            assert!(cookie(&head).0.starts_with("lb="), "{forged}");
        }
    }
}

#[test]
fn a_client_whose_server_is_down_goes_to_another_one_and_gets_its_cookie() {
    let servers = [server("a"), server("b")];
    let proxy = before(&servers.each_ref().map(Backend::url), STICKY);
    let first = ask(&proxy, get(""));
    let (gone, other) = if name(&first) == "a" { (&servers[0], "b") } else { (&servers[1], "a") };
    let pair = cookie(&first).0;
    gone.close();
    proxy.wait_until("the server's port is closed", |_| std::net::TcpStream::connect(gone.address()).is_err());
    for request in [get(&pair), offer(&pair)] {
        let head = ask(&proxy, request);
        assert_eq!(name(&head), other);
        let fresh = cookie(&head).0;
        assert_ne!(fresh, pair);
        for again in [get(&fresh), offer(&fresh)] {
            let head = ask(&proxy, again);
            assert_eq!(name(&head), other);
            head.assert_none("set-cookie");
        }
    }
}

// --- without a cookie: the fewest alive ------------------------------------------------------------------

#[test]
fn a_socket_goes_to_the_server_with_the_fewest_alive() {
    let servers = [server("a"), server("b"), server("c")];
    let proxy = before(&servers.each_ref().map(Backend::url), "");
    let mut tunnels: Vec<(String, Conn)> = Vec::new();
    let open = || {
        let mut client = proxy.connect_and_send(offer(""));
        (name(&client.read_head()), client)
    };
    tunnels.extend((0..9).map(|_| open()));
    for server in ["a", "b", "c"] {
        assert_eq!(tunnels.iter().filter(|(name, _)| name == server).count(), 3, "three each");
    }
    // Three of one server end: the next three are its.
    let (gone, left): (Vec<_>, Vec<_>) = tunnels.into_iter().partition(|(name, _)| name == "b");
    drop(gone);
    proxy.wait_for_message("tunnel closed", 2);
    let fresh: Vec<(String, Conn)> = (0..3).map(|_| open()).collect();
    assert!(fresh.iter().all(|(name, _)| name == "b"), "{:?}", fresh.iter().map(|(name, _)| name).collect::<Vec<_>>());
    drop(left);
}

#[test]
fn requests_that_wait_for_their_answer_count_as_sockets_do() {
    let (silent, quick) = (Backend::silent(), server("quick"));
    let proxy = before(&[silent.url(), quick.url()], "");
    // One each, in turn among equals; a request stays with the silent server.
    let _both = [(); 2].map(|()| proxy.connect_and_send(get("")));
    silent.wait_for_connections(1);
    proxy.request_record(0);
    for n in 1..4 {
        assert_eq!(name(&ask(&proxy, get(""))), "quick");
        proxy.request_record(n);
    }
    assert_eq!(silent.connections(), 1);
}

// --- a server that cannot be reached ---------------------------------------------------------------------

#[test]
fn where_a_server_refuses_the_next_one_is_asked() {
    let (refused, server) = (RefusedPort::new(), server("there"));
    let proxy = before(&[refused.url(), server.url()], "");
    let post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello".to_vec();
    for request in [get(""), offer(""), post.clone(), get(""), offer(""), post] {
        assert_eq!(name(&ask(&proxy, request)), "there");
    }
    let record = proxy.request_record(0);
    assert!(!record.has("fault") || record.text("fault").is_empty() || record.text("fault") == "null", "{}", record.raw);
    assert_eq!(record.text("backend"), server.url());
}

#[test]
fn a_server_that_closes_before_its_answer_to_a_handshake_is_not_the_last_word() {
    let closing = Backend::scripted(|conn, _| drop(conn.try_read_head()));
    let server = server("there");
    let proxy = before(&[closing.url(), server.url()], "");
    for _ in 0..4 {
        assert_eq!(name(&ask(&proxy, offer(""))), "there");
    }
    assert!(closing.connections() > 0);
}

#[test]
fn where_no_server_can_be_reached_the_answer_is_a_502_without_a_cookie() {
    let refused = [RefusedPort::new(), RefusedPort::new()];
    let proxy = before(&refused.each_ref().map(RefusedPort::url), STICKY);
    for request in [get(""), offer("")] {
        let head = ask(&proxy, request);
        assert_eq!(head.status(), 502);
        head.assert_none("set-cookie");
    }
}
