//! SIGHUP: the configuration and the certificates are read again, live sockets stay as they are, and what is
//! wrong keeps the old ones and says why. And `${NAME}` from the environment.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::time::Duration;

use kit::*;
use rustix::process::Signal;

const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";

fn responding(body: &str) -> String {
    format!("{LISTEN}[[route]]\nrespond = {{ body = \"{body}\" }}\n")
}

/// Writes another config, asks for a reload and waits until it is done for the n-th time (from 0).
#[track_caller]
fn reload(proxy: &Proxy, text: &str, n: usize) {
    proxy.rewrite_config(text);
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("reloaded", n);
}

/// The same with a config that must not be taken; what was said.
#[track_caller]
fn refused_reload(proxy: &Proxy, text: &str) -> Line {
    proxy.rewrite_config(text);
    proxy.signal(Signal::HUP);
    let said = proxy.wait_for_log(|line| line.says("not reloaded"), LIMIT);
    assert_eq!(said.level(), "ERROR", "{}", said.raw);
    said
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[track_caller]
fn body(proxy: &Proxy, target: &str) -> String {
    proxy.connect_and_send(get(target)).read_answer().1.text()
}

// --- what is read again ----------------------------------------------------------------------------------

#[test]
fn routes_are_read_again() {
    let proxy = Proxy::start(&responding("one"));
    assert_eq!(body(&proxy, "/"), "one");
    reload(&proxy, &(responding("two") + "[[route]]\npath = \"/new\"\nrespond = { body = \"three\" }\n"), 0);
    assert_eq!(body(&proxy, "/"), "two");
    assert_eq!(body(&proxy, "/new"), "three");
    reload(&proxy, &responding("four"), 1);
    assert_eq!(body(&proxy, "/new"), "four");
}

#[test]
fn an_idle_connection_takes_the_new_routes_with_its_next_request() {
    let proxy = Proxy::start(&responding("one"));
    let mut client = proxy.connect_and_send(get("/"));
    assert_eq!(client.read_answer().1.text(), "one");
    reload(&proxy, &responding("two"), 0);
    client.send(get("/"));
    assert_eq!(client.read_answer().1.text(), "two");
}

#[test]
fn backends_are_read_again() {
    let (first, second) = (Backend::http(200, "first"), Backend::http(200, "second"));
    let text = |url: &str| format!("{LISTEN}[backend.app]\nservers = [\"{url}\"]\n[[route]]\nbackend = \"app\"\n");
    let proxy = Proxy::start(&text(&first.url()));
    assert_eq!(body(&proxy, "/"), "first");
    reload(&proxy, &text(&second.url()), 0);
    assert_eq!(body(&proxy, "/"), "second");
    assert_eq!(body(&proxy, "/"), "second");
    assert_eq!(first.heads_so_far().len(), 1);
}

#[test]
fn limits_and_trust_are_read_again() {
    let backend = Backend::http(200, "x");
    let text = |head: &str| format!("{head}\n{LISTEN}[[route]]\nbackend = \"{}\"\n", backend.url());
    let proxy = Proxy::start(&text(""));
    let request = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
    proxy.connect_and_send(request).read_answer();
    backend.head().assert_line("X-Forwarded-For: 127.0.0.1");
    reload(&proxy, &text("trusted_proxies = [\"127.0.0.1\"]"), 0);
    proxy.connect_and_send(request).read_answer();
    backend.head().assert_line("X-Forwarded-For: 192.0.2.1, 127.0.0.1");
}

#[test]
fn certificates_are_read_again_without_a_change_of_the_configuration() {
    let authority = Authority::new();
    let (old, new) = (authority.identity(&["a.example"]), authority.identity(&["a.example"]));
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n\
        [[route]]\nrespond = { body = \"x\" }\n";
    let proxy = Proxy::setup(text).file("c.pem", &old.chain_pem).file("k.pem", &old.key_pem).start();
    let connect = || Conn::connect_tls(proxy.address(0), "a.example", authority.client(&[]));
    let shown = |client: &Conn| client.tls(|state| state.peer_certificates().unwrap()[0].clone());
    let mut before = connect();
    assert_eq!(&shown(&before), old.certificate());
    std::fs::write(proxy.dir().join("c.pem"), &new.chain_pem).unwrap();
    std::fs::write(proxy.dir().join("k.pem"), &new.key_pem).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("reloaded", 0);
    assert_eq!(&shown(&connect()), new.certificate());
    before.send(get("/"));
    assert_eq!(before.read_answer().1.text(), "x", "a connection of before goes on");
}

#[test]
fn certificates_are_read_again_where_another_key_of_the_listener_needs_a_start() {
    let authority = Authority::new();
    let (old, new) = (authority.identity(&["a.example"]), authority.identity(&["a.example"]));
    let text = |keys: &str| {
        format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n{keys}\n[[listen.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n\
            [[route]]\nrespond = {{}}\n"
        )
    };
    let proxy = Proxy::setup(&text("")).file("c.pem", &old.chain_pem).file("k.pem", &old.key_pem).start();
    std::fs::write(proxy.dir().join("c.pem"), &new.chain_pem).unwrap();
    std::fs::write(proxy.dir().join("k.pem"), &new.key_pem).unwrap();
    reload(&proxy, &text("max_connections = 7"), 0);
    proxy.wait_for_log(|line| line.level() == "WARN" && line.says("next start"), LIMIT);
    let client = Conn::connect_tls(proxy.address(0), "a.example", authority.client(&[]));
    assert_eq!(&client.tls(|state| state.peer_certificates().unwrap()[0].clone()), new.certificate());
}

#[test]
fn the_authorities_of_a_backend_are_read_again() {
    let (old, new) = (Authority::new(), Authority::new());
    let backend = Backend::scripted_tls(&new.identity(&["127.0.0.1"]), |conn, _| {
        if conn.try_read_head().is_ok() {
            conn.send(http(200, "trusted"));
            conn.wait_for_any_end();
        }
    });
    let text =
        format!("{LISTEN}[backend.app]\nservers = [\"{}\"]\nca = \"ca.pem\"\n[[route]]\nbackend = \"app\"\n", backend.url());
    let proxy = Proxy::setup(&text).file("ca.pem", old.pem()).start();
    assert_eq!(proxy.connect_and_send(get("/")).read_answer().0.status(), 502);
    std::fs::write(proxy.dir().join("ca.pem"), new.pem()).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("reloaded", 0);
    assert_eq!(body(&proxy, "/"), "trusted");
}

#[test]
fn another_certificate_can_be_added_by_name() {
    let authority = Authority::new();
    let (a, b) = (authority.identity(&["a.example"]), authority.identity(&["b.example"]));
    let one = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen.certificate]]\nchain = \"a.pem\"\nkey = \"a.key\"\n";
    let two = "[[listen.certificate]]\nchain = \"b.pem\"\nkey = \"b.key\"\n";
    let route = "[[route]]\nrespond = { body = \"x\" }\n";
    let files = [("a.pem", &a.chain_pem), ("a.key", &a.key_pem), ("b.pem", &b.chain_pem), ("b.key", &b.key_pem)];
    let setup = files.into_iter().fold(Proxy::setup(&format!("{one}{route}")), |setup, (name, pem)| setup.file(name, pem));
    let proxy = setup.start();
    assert!(Conn::try_connect_tls(proxy.address(0), "b.example", authority.client(&[])).is_err());
    reload(&proxy, &format!("{one}{two}{route}"), 0);
    let client = Conn::connect_tls(proxy.address(0), "b.example", authority.client(&[]));
    assert_eq!(&client.tls(|state| state.peer_certificates().unwrap()[0].clone()), b.certificate());
}

// --- live sockets ----------------------------------------------------------------------------------------

#[test]
fn a_live_tunnel_does_not_notice_a_reload_even_where_its_route_and_backend_are_gone() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    assert_eq!(client.read_head().status(), 101);
    client.send("before");
    client.expect("before");
    reload(&proxy, &responding("no backend any more"), 0);
    let done = proxy.wait_for_message("reloaded", 0);
    assert_eq!(done.count("sockets"), 1, "{}", done.raw);
    let bytes = pattern(1 << 20);
    let (mut reader, mut writer) = client.split();
    let sent = bytes.clone();
    let writing = std::thread::spawn(move || {
        writer.send(sent);
        writer
    });
    assert!(reader.read_exact(bytes.len()) == bytes);
    let mut writer = writing.join().unwrap();
    writer.fin();
    reader.expect_fin();
    let record = proxy.wait_for_message("tunnel closed", 0);
    assert_eq!(record.count("bytes_from_client"), (bytes.len() + 6) as u64, "{}", record.raw);
    assert_eq!(record.text("backend"), backend.url());
}

#[test]
fn a_request_under_way_ends_as_it_began() {
    let backend = Backend::scripted(|conn, _| {
        if conn.try_read_head().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none");
            conn.read_exact(3);
            conn.send("two");
            conn.wait_for_any_end();
        }
    });
    let proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
    let head = client.read_head();
    client.expect("one");
    reload(&proxy, &responding("new"), 0);
    client.send("abc");
    client.expect("two");
    assert_eq!(head.status(), 200);
    assert_eq!(body(&proxy, "/"), "new");
}

/// Agrees to offers with its name and stays.
fn named(name: &'static str) -> Backend {
    Backend::scripted(move |conn, _| {
        if let Ok(head) = conn.try_read_head() {
            conn.send(answer_101(&head).strip_suffix("\r\n").unwrap().to_owned() + "X-Server: " + name + "\r\n\r\n");
            conn.wait_for_any_end();
        }
    })
}

#[test]
fn a_backend_that_stays_keeps_its_counts() {
    let servers = [named("a"), named("b")];
    let text = |more: &str| {
        format!(
            "{LISTEN}[backend.chat]\nservers = [\"{}\", \"{}\"]\n[[route]]\nbackend = \"chat\"\n{more}",
            servers[0].url(),
            servers[1].url()
        )
    };
    let proxy = Proxy::start(&text(""));
    let open = || {
        let mut client = proxy.connect_and_send(Offer::new().bytes());
        let head = client.read_head();
        (head.value("x-server").unwrap().to_owned(), client)
    };
    let (of_a, of_b): (Vec<_>, Vec<_>) = (0..6).map(|_| open()).partition(|(name, _)| name == "a");
    assert_eq!((of_a.len(), of_b.len()), (3, 3));
    drop(of_b);
    proxy.wait_for_message("tunnel closed", 2);
    reload(&proxy, &text("[[route]]\npath = \"/new\"\nrespond = { body = \"x\" }\n"), 0);
    // Three live on a, from before the reload: the next three are b's.
    let fresh: Vec<_> = (0..3).map(|_| open()).collect();
    assert!(fresh.iter().all(|(name, _)| name == "b"), "{:?}", fresh.iter().map(|(name, _)| name).collect::<Vec<_>>());
}

#[test]
fn a_server_that_is_added_to_a_backend_catches_up_with_the_others() {
    let servers = [named("a"), named("b"), named("c")];
    let text = |count: usize| {
        let urls: Vec<String> = servers[..count].iter().map(|server| format!("\"{}\"", server.url())).collect();
        format!("{LISTEN}[backend.chat]\nservers = [{}]\n[[route]]\nbackend = \"chat\"\n", urls.join(", "))
    };
    let proxy = Proxy::start(&text(2));
    let open = || {
        let mut client = proxy.connect_and_send(Offer::new().bytes());
        let head = client.read_head();
        (head.value("x-server").unwrap().to_owned(), client)
    };
    let before: Vec<_> = (0..6).map(|_| open()).collect();
    reload(&proxy, &text(3), 0);
    let fresh: Vec<_> = (0..3).map(|_| open()).collect();
    assert!(fresh.iter().all(|(name, _)| name == "c"), "{:?}", fresh.iter().map(|(name, _)| name).collect::<Vec<_>>());
    drop(before);
}

#[test]
fn a_socket_over_tls_outlives_the_certificate_it_began_with() {
    let (backend, authority) = (Backend::echo(), Authority::new());
    let (old, new) = (authority.identity(&["a.example"]), authority.identity(&["a.example"]));
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n\
        [[route]]\nbackend = \"{backend}\"\n";
    let setup = Proxy::setup(text).put("backend", backend.url());
    let proxy = setup.file("c.pem", &old.chain_pem).file("k.pem", &old.key_pem).start();
    let mut client = Conn::connect_tls(proxy.address(0), "a.example", authority.client(&[]));
    client.send(Offer::new().bytes());
    assert_eq!(client.read_head().status(), 101);
    std::fs::write(proxy.dir().join("c.pem"), &new.chain_pem).unwrap();
    std::fs::write(proxy.dir().join("k.pem"), &new.key_pem).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("reloaded", 0);
    let bytes = pattern(100_000);
    client.send(&bytes);
    client.expect(&bytes);
    client.fin();
    client.expect_fin();
}

#[test]
fn a_sticky_cookie_leads_to_its_server_after_a_reload_too() {
    let servers = [named("a"), named("b"), named("c")];
    let text = |order: [usize; 3]| {
        let urls = order.map(|n| format!("\"{}\"", servers[n].url()));
        let backend = format!("[backend.chat]\nservers = [{}]\nsticky = {{ cookie = \"lb\" }}\n", urls.join(", "));
        format!("{LISTEN}{backend}[[route]]\nbackend = \"chat\"\n")
    };
    let proxy = Proxy::start(&text([0, 1, 2]));
    let head = proxy.connect_and_send(Offer::new().bytes()).read_head();
    let pair = head.value("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    reload(&proxy, &text([2, 1, 0]), 0);
    for _ in 0..4 {
        let again = proxy.connect_and_send(Offer::new().line(&format!("Cookie: {pair}")).bytes()).read_head();
        assert_eq!(again.value("x-server"), head.value("x-server"));
        again.assert_none("set-cookie");
    }
}

#[test]
fn a_reload_while_sockets_open_and_close_loses_none() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&backend);
    let text =
        |n: usize| format!("{LISTEN}[[route]]\nbackend = \"{}\"\nresponse_headers.set = {{ X-N = \"{n}\" }}\n", backend.url());
    let mut live = Vec::new();
    for n in 0..10 {
        proxy.rewrite_config(&text(n));
        proxy.signal(Signal::HUP);
        let mut client = proxy.connect_and_send(Offer::new().bytes());
        assert_eq!(client.read_head().status(), 101);
        live.push(client);
    }
    for (n, client) in live.iter_mut().enumerate() {
        client.send(n.to_string());
        client.expect(n.to_string());
    }
}

// --- what is wrong ---------------------------------------------------------------------------------------

#[test]
fn an_error_keeps_the_old_configuration_and_says_why_with_file_and_line() {
    let proxy = Proxy::start(&responding("old"));
    let broken = format!("{LISTEN}[[route]]\nrespond = {{ body = \"new\" }}\nstripprefix = true\n");
    let said = refused_reload(&proxy, &broken);
    for words in ["spliceway.toml:5:1", "stripprefix", "strip_prefix", "^"] {
        assert!(said.says(words), "{words} in {}", said.raw);
    }
    assert_eq!(body(&proxy, "/"), "old");
    // And what is put right then is taken.
    reload(&proxy, &responding("new"), 0);
    assert_eq!(body(&proxy, "/"), "new");
}

#[test]
fn a_file_that_is_gone_keeps_the_old_configuration() {
    let proxy = Proxy::start(&responding("old"));
    std::fs::remove_file(proxy.dir().join("spliceway.toml")).unwrap();
    proxy.signal(Signal::HUP);
    let said = proxy.wait_for_log(|line| line.says("not reloaded"), LIMIT);
    assert!(said.says("spliceway.toml") && said.says("no such file"), "{}", said.raw);
    assert_eq!(body(&proxy, "/"), "old");
}

#[test]
fn a_certificate_that_cannot_be_used_keeps_all_of_the_old() {
    let authority = Authority::new();
    let (good, other) = (authority.identity(&["a.example"]), authority.identity(&["a.example"]));
    let text = |body: &str| {
        format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n\
            [[route]]\nrespond = {{ body = \"{body}\" }}\n"
        )
    };
    let proxy = Proxy::setup(&text("old")).file("c.pem", &good.chain_pem).file("k.pem", &good.key_pem).start();
    std::fs::write(proxy.dir().join("k.pem"), &other.key_pem).unwrap();
    let said = refused_reload(&proxy, &text("new"));
    assert!(said.says("k.pem") && said.says("listen[0].certificate[0].key"), "{}", said.raw);
    assert!(said.says("spliceway.toml:5:7"), "{}", said.raw);
    let mut client = Conn::connect_tls(proxy.address(0), "a.example", authority.client(&[]));
    assert_eq!(&client.tls(|state| state.peer_certificates().unwrap()[0].clone()), good.certificate());
    client.send(get("/"));
    assert_eq!(client.read_answer().1.text(), "old", "the routes are those of before too");
}

#[test]
fn a_changed_listener_is_said_to_need_a_start_and_the_rest_is_taken() {
    let proxy = Proxy::start(&responding("old"));
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\nmax_connections = 7\n[[listen]]\naddress = \"unix:{dir}/new\"\n\
        [[route]]\nrespond = { body = \"new\" }\n";
    reload(&proxy, text, 0);
    let said = proxy.wait_for_log(|line| line.says("listener 127.0.0.1:0"), LIMIT);
    assert!(said.level() == "WARN" && said.says("next start"), "{}", said.raw);
    let said = proxy.wait_for_log(|line| line.says("/new"), LIMIT);
    assert!(said.level() == "WARN" && said.says("next start"), "{}", said.raw);
    assert!(!proxy.dir().join("new").exists());
    assert_eq!(body(&proxy, "/"), "new");
}

#[test]
fn a_listener_that_is_gone_from_the_file_is_said_to_need_a_start() {
    let text = "[[listen]]\naddress = \"unix:{dir}/s\"\n";
    let proxy = Proxy::start(&format!("{LISTEN}{text}[[route]]\nrespond = {{ body = \"old\" }}\n"));
    reload(&proxy, &responding("new"), 0);
    let said = proxy.wait_for_log(|line| line.level() == "WARN" && line.says("/s"), LIMIT);
    assert!(said.says("next start"), "{}", said.raw);
    let mut client = Conn::connect_unix(&proxy.dir().join("s"));
    client.send(get("/"));
    assert_eq!(client.read_answer().1.text(), "new", "it listens until then, with the new routes");
}

#[test]
fn tls_that_is_switched_on_or_off_is_said_to_need_a_start() {
    let identity = Authority::new().identity(&["a.example"]);
    let setup = Proxy::setup(&responding("old")).file("c.pem", &identity.chain_pem).file("k.pem", &identity.key_pem);
    let proxy = setup.start();
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n\
        [[route]]\nrespond = { body = \"new\" }\n";
    reload(&proxy, text, 0);
    proxy.wait_for_log(|line| line.level() == "WARN" && line.says("TLS") && line.says("next start"), LIMIT);
    assert_eq!(body(&proxy, "/"), "new");
}

#[test]
fn what_else_needs_a_start_is_said_too() {
    let proxy = Proxy::start(&responding("old"));
    let text = format!("threads = 1\nrecords = false\n[admin]\naddress = \"127.0.0.1:1\"\n{}", responding("new"));
    reload(&proxy, &text, 0);
    for key in ["threads", "records", "admin"] {
        let said = proxy.wait_for_log(|line| line.level() == "WARN" && line.says(key), Duration::from_secs(2));
        assert!(said.says("next start"), "{}", said.raw);
    }
}

// --- variables -------------------------------------------------------------------------------------------

#[test]
fn a_variable_is_taken_from_the_environment() {
    let backend = Backend::http(200, "x");
    let text = format!(
        "{LISTEN}[[route]]\nbackend = \"${{BACKEND}}\"\nrequest_headers.set = {{ X-Env = \"${{STAGE}}-1\", X-Price = \"$${{STAGE}} $5\" }}\n"
    );
    let proxy = Proxy::setup(&text).env("BACKEND", &backend.url()).env("STAGE", "prod").start();
    proxy.connect_and_send(get("/")).read_answer();
    let seen = backend.head();
    seen.assert_line("X-Env: prod-1");
    seen.assert_line("X-Price: ${STAGE} $5");
}

#[test]
fn a_variable_that_is_not_set_is_an_error_at_a_start_and_at_a_reload() {
    let text = format!("{LISTEN}[[route]]\nrespond = {{ body = \"${{SPLICEWAY_TEST_UNSET}}\" }}\n");
    let mut proxy = Proxy::setup(&text).launch();
    assert_eq!(proxy.wait_exit(LIMIT).code(), Some(2));
    assert!(proxy.logs().iter().any(|line| line.says("SPLICEWAY_TEST_UNSET")));
    let proxy = Proxy::start(&responding("old"));
    let said = refused_reload(&proxy, &text);
    assert!(said.says("SPLICEWAY_TEST_UNSET") && said.says("spliceway.toml:4:"), "{}", said.raw);
    assert_eq!(body(&proxy, "/"), "old");
}
