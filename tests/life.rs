//! The life of the process: open files, listeners, and its end by signals.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use kit::*;
use rustix::process::Signal;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Far above what an end without waiting takes, far below the grace of 10 s.
const AT_ONCE: Duration = Duration::from_secs(3);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn setup(backend: &Backend, head: &str) -> Setup {
    let text = format!("{head}\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nbackend = \"{{backend}}\"\n");
    Proxy::setup(&text).put("backend", backend.url())
}

#[track_caller]
fn opened(mut client: Conn) -> Conn {
    client.send(Offer::new().bytes());
    assert_eq!(client.read_head().status(), 101);
    client
}

#[track_caller]
fn expect_echo(tunnel: &mut Conn) {
    tunnel.send("there");
    tunnel.expect("there");
}

#[track_caller]
fn expect_served(proxy: &Proxy) {
    let mut client = proxy.connect_and_send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(client.read_answer().0.status(), 200);
}

/// A backend whose answers wait until the sender is used: one word, one answer.
fn slow(answer: impl Into<Vec<u8>>) -> (Backend, Sender<()>) {
    let (go, wait) = channel();
    let (answer, wait) = (answer.into(), Mutex::new(wait));
    let backend = Backend::scripted(move |conn, _| {
        if conn.try_read_head().is_ok() && wait.lock().unwrap().recv().is_ok() {
            conn.try_send(&answer).ok();
        }
        conn.wait_for_any_end();
    });
    (backend, go)
}

// Open files.

#[test]
fn the_limit_of_open_files_is_raised_to_the_hard_limit_and_said() {
    let backend = Backend::http(200, "ok");
    let proxy = setup(&backend, "").through(&["prlimit", "--nofile=256:1000"]).start();
    let line = proxy.wait_for_log(|line| line.says("open files: raised to the hard limit"), LIMIT);
    assert_eq!((line.count("before"), line.count("limit")), (256, 1000));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.pid().as_raw_nonzero())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("1000"), "{files}");
}

#[test]
fn running_out_of_open_files_ends_nothing_and_is_said_once_in_a_while() {
    let backend = Backend::scripted(|conn, _| {
        conn.set_limit(3 * LIMIT);
        while let Ok(head) = conn.try_read_head() {
            if head.value("upgrade").is_none() {
                conn.send(http(200, "ok"));
                continue;
            }
            conn.send(answer_101(&head));
            while let Ok(bytes) = conn.try_read_exact(5) {
                conn.send(bytes);
            }
        }
    });
    let proxy = setup(&backend, "threads = 2").through(&["prlimit", "--nofile=64:64"]).start();
    let mut tunnel = opened(proxy.connect());
    let mut early = proxy.connect();
    let crowd: Vec<Conn> = (0..200).map(|_| proxy.connect_and_send("GET / HTTP/1.1\r\n")).collect();
    let line = proxy.wait_for_log(|line| line.says("cannot accept connections"), LIMIT);
    assert!(line.says("LimitNOFILE") && line.level() == "WARN", "{}", line.raw);
    expect_echo(&mut tunnel);
    early.send(GET);
    let (head, _) = early.read_answer();
    assert!(head.status() >= 500, "there is no room for a connection to the backend: {head}");
    assert_eq!(proxy.request_record(0).text("fault"), "spliceway");
    proxy.assert_idle();
    let complaints = proxy.logs().iter().filter(|line| line.says("cannot accept connections")).count();
    assert!(complaints <= 2, "{complaints} lines");
    drop(crowd);
    // The rest of the crowd comes out of the queue first, and takes its places for a moment.
    proxy.wait_until("requests are served again", |proxy| {
        let mut client = proxy.connect_and_send(GET);
        client.read_answer().0.status() == 200
    });
    early.send(GET);
    assert_eq!(early.read_answer().0.status(), 200, "the same connection");
    expect_echo(&mut tunnel);
}

// Listeners.

#[test]
fn a_port_that_only_the_privileged_may_have_is_refused_with_the_name_of_the_capability() {
    let first_free = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first_free.trim().parse::<u16>().unwrap() <= 80 {
        return; // this machine lets everyone have every port
    }
    let setup = Proxy::setup("[[listen]]\naddress = \"127.0.0.1:80\"\n[[route]]\nrespond = { body = \"x\" }");
    // Root without the capability is like anyone else.
    let without = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"];
    let setup = if rustix::process::geteuid().is_root() { setup.through(&without) } else { setup };
    let mut proxy = setup.launch();
    assert_eq!(proxy.wait_exit(LIMIT).code(), Some(1));
    let said: String = proxy.logs().iter().map(|line| line.raw.clone()).collect();
    assert!(said.contains("CAP_NET_BIND_SERVICE") && said.contains("127.0.0.1:80"), "{said}");
}

fn on_unix_socket(backend: &Backend, keys: &str) -> Setup {
    let text = format!("[[listen]]\naddress = \"unix:{{dir}}/s\"\n{keys}\n[[route]]\nbackend = \"{{backend}}\"\n");
    Proxy::setup(&text).put("backend", backend.url())
}

#[test]
fn a_unix_socket_has_its_mode_serves_and_goes_with_the_process() {
    for (keys, mode) in [("", 0o660), ("mode = \"0600\"", 0o600), ("mode = \"0666\"", 0o666)] {
        let backend = Backend::http(200, "ok");
        let setup = on_unix_socket(&backend, keys);
        let path = setup.dir().join("s");
        drop(UnixListener::bind(&path).unwrap()); // the socket of a process that was killed
        let mut proxy = setup.start();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        let mut client = Conn::connect_unix(&path);
        client.send(GET);
        assert_eq!(client.read_answer().0.status(), 200);
        assert_eq!(proxy.request_record(0).text("client"), "unix");
        drop(client);
        proxy.signal(Signal::TERM);
        assert!(proxy.wait_exit(AT_ONCE).success());
        assert!(!path.exists());
    }
}

#[test]
fn a_unix_socket_that_another_process_serves_is_left_alone() {
    let backend = Backend::http(200, "ok");
    let setup = on_unix_socket(&backend, "");
    let path = setup.dir().join("s");
    let other = UnixListener::bind(&path).unwrap();
    let mut proxy = setup.launch();
    assert_eq!(proxy.wait_exit(LIMIT).code(), Some(1));
    assert!(proxy.logs().iter().any(|line| line.says("another process serves there")));
    other.accept().unwrap(); // the look
    drop(std::os::unix::net::UnixStream::connect(&path).expect("still there"));
}

#[test]
fn every_port_that_is_taken_is_named_before_anything_is_served() {
    let (one, two) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let (one, two) = (one.local_addr().map(|a| (one, a)).unwrap(), two.local_addr().map(|a| (two, a)).unwrap());
    let text = "[[listen]]\naddress = \"{one}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"{two}\"\n\
        [[route]]\nrespond = { body = \"x\" }";
    let mut proxy = Proxy::setup(text).put("one", one.1).put("two", two.1).launch();
    assert_eq!(proxy.wait_exit(LIMIT).code(), Some(1));
    let said: String = proxy.logs().iter().map(|line| line.raw.clone() + "\n").collect();
    assert!(said.contains(&one.1.to_string()) && said.contains(&two.1.to_string()), "{said}");
}

// The end.

#[test]
fn sigterm_and_sigint_end_an_idle_process_at_once_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let backend = Backend::http(200, "ok");
        let mut proxy = Proxy::before(&backend);
        let mut idle = proxy.connect_and_send(GET);
        idle.read_answer();
        let mut silent = proxy.connect();
        expect_served(&proxy);
        proxy.signal(signal);
        idle.expect_fin();
        silent.expect_fin();
        drop((idle, silent)); // a client that does not close is lingered for
        assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0));
        let ended = proxy.wait_for_message("ended", 0);
        assert_eq!((ended.count("requests"), ended.count("panics")), (2, 0), "{}", ended.raw);
    }
}

#[test]
fn tls_clients_that_have_said_nothing_do_not_hold_up_the_end() {
    let authority = Authority::new();
    let identity = authority.identity(&["x.test"]);
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n\
        [[route]]\nrespond = { body = \"x\" }";
    let mut proxy = Proxy::setup(text).file("c.pem", &identity.chain_pem).file("k.pem", &identity.key_pem).start();
    let mut mute = proxy.connect();
    let mut shaken = Conn::connect_tls(proxy.address(0), "x.test", authority.client(&[]));
    let mut idle = Conn::connect_tls(proxy.address(0), "x.test", authority.client(&["http/1.1"]));
    idle.send(GET);
    idle.read_answer();
    proxy.signal(Signal::TERM);
    mute.expect_fin();
    shaken.expect_fin();
    idle.expect_fin();
    drop((mute, shaken, idle));
    assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0));
}

#[test]
fn sigterm_refuses_new_connections_and_lets_a_slow_request_finish() {
    let (backend, go) = slow(http(200, "worth waiting for"));
    let mut proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(GET);
    backend.wait_for_connections(1);
    backend.head();
    let address = proxy.address(0);
    proxy.signal(Signal::TERM);
    proxy.wait_for_log(|line| line.says("ending: no new connections"), LIMIT);
    proxy.wait_until("new connections are refused", |_| TcpStream::connect(address).is_err());
    client.expect_silence(SILENCE);
    go.send(()).unwrap();
    let (head, body) = client.read_answer();
    assert_eq!(body.text(), "worth waiting for");
    assert!(head.has_token("connection", "close"), "{head}");
    client.expect_fin();
    drop(client);
    assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0));
    assert_eq!(proxy.request_record(0).text("status"), "200");
}

#[test]
fn a_head_that_is_being_sent_at_sigterm_is_finished_and_answered() {
    let backend = Backend::http(200, "ok");
    let mut proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(&GET[..9]);
    client.expect_silence(SILENCE); // so that it has been read
    proxy.signal(Signal::TERM);
    proxy.wait_for_log(|line| line.says("ending: no new connections"), LIMIT);
    client.send(&GET[9..]);
    assert_eq!(client.read_answer().1.text(), "ok");
    client.expect_fin();
    drop(client);
    assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0));
}

#[test]
fn sigterm_sends_goaway_and_lets_h2_streams_finish() {
    let (backend, go) = slow(http(200, "worth waiting for"));
    let mut proxy = Proxy::before(&backend);
    let client = H2::connect(proxy.address(0));
    let mut idle = Frames::connect(proxy.address(0));
    idle.read_kind(kind::SETTINGS);
    let request = http::Request::get("http://x/").body(()).unwrap();
    let (answer, _) = client.sender().send_request(request, true).unwrap();
    backend.head();
    proxy.signal(Signal::TERM);
    idle.read_kind(kind::GOAWAY);
    drop(idle);
    go.send(()).unwrap();
    let body = client.run(async {
        let mut body = answer.await.expect("an answer").into_body();
        body.data().await.expect("a body").expect("whole")
    });
    assert_eq!(body, "worth waiting for");
    assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0));
}

#[test]
fn sigterm_ends_tunnels_with_fin_and_their_last_bytes_arrive() {
    let (saw, seen) = channel();
    let backend = Backend::scripted(move |conn, _| {
        let head = conn.read_head();
        conn.send(answer_101(&head));
        conn.expect("from the client");
        conn.send("from the backend");
        saw.send(conn.expect_any_end()).unwrap();
    });
    let mut proxy = Proxy::before(&backend);
    let mut client = opened(proxy.connect());
    client.send("from the client");
    client.expect("from the backend");
    proxy.signal(Signal::TERM);
    client.expect_fin();
    assert_eq!(seen.recv_timeout(LIMIT), Ok(End::Fin));
    drop(client);
    assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0));
    let closed = proxy.wait_for_message("tunnel closed", 0);
    assert_eq!((closed.text("ended_by"), closed.text("how")), ("spliceway".to_owned(), "shutdown".to_owned()));
    assert_eq!((closed.count("bytes_from_client"), closed.count("bytes_from_backend")), (15, 16));
}

#[test]
fn peers_of_a_tunnel_that_do_not_answer_the_fin_have_the_linger_time() {
    let backend = Backend::echo();
    let mut proxy = setup(&backend, "timeouts = { linger = \"500ms\", grace = \"30s\" }").start();
    let mut client = opened(proxy.connect());
    let since = Instant::now();
    proxy.signal(Signal::TERM);
    client.expect_close_and_fin(1001); // and does not close
    assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0));
    assert!(since.elapsed() >= ms(400), "{:?}", since.elapsed());
}

#[test]
fn a_handshake_under_way_is_finished_and_its_tunnel_ended() {
    let offer = Head { raw: Vec::new(), first: String::new(), lines: vec![format!("Sec-WebSocket-Key: {KEY}")] };
    let (backend, go) = slow(answer_101(&offer));
    let mut proxy = Proxy::before(&backend);
    let mut client = proxy.connect_and_send(Offer::new().bytes());
    backend.head();
    proxy.signal(Signal::TERM);
    client.expect_silence(SILENCE);
    go.send(()).unwrap();
    assert_eq!(client.read_head().status(), 101);
    client.expect_close_and_fin(1001);
    drop(client);
    assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0));
}

#[test]
fn when_the_grace_is_over_what_is_left_is_cut_and_the_exit_is_still_0() {
    let backend = Backend::scripted(|conn, n| {
        conn.read_head();
        if n == 0 {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nSSE\r\n");
        }
        conn.wait_for_any_end();
    });
    let mut proxy = setup(&backend, "timeouts.grace = \"700ms\"").start();
    let mut streaming = proxy.connect_and_send(GET);
    let head = streaming.read_head();
    let mut waiting = proxy.connect_and_send(GET);
    backend.wait_for_connections(2);
    let since = Instant::now();
    proxy.signal(Signal::TERM);
    let cut = streaming.try_read_body(&head).unwrap_err();
    assert_eq!(cut.bytes, b"SSE", "no last chunk");
    waiting.expect_any_end();
    assert!(since.elapsed() >= ms(650), "{:?}", since.elapsed());
    assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0));
    proxy.wait_for_log(|line| line.says("the grace is over"), LIMIT);
    for n in [0, 1] {
        proxy.request_record(n); // of those that were cut, too
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let backend = Backend::silent();
        let mut proxy = Proxy::before(&backend);
        let _client = proxy.connect_and_send(GET);
        backend.wait_for_connections(1);
        proxy.signal(Signal::TERM);
        proxy.wait_for_log(|line| line.says("ending: no new connections"), LIMIT);
        proxy.signal(signal);
        assert!(proxy.wait_exit(AT_ONCE).code().is_some(), "ended by itself");
        proxy.wait_for_log(|line| line.says("second signal"), LIMIT);
    }
}

#[test]
fn a_peer_that_never_reads_does_not_hold_up_the_end_beyond_the_grace() {
    let backend = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        conn.send(answer_101(&head));
        while conn.try_send([b'a'; 16 << 10]).is_ok() {}
    });
    let mut proxy = setup(&backend, "timeouts.grace = \"1s\"").start();
    let client = opened(proxy.connect());
    proxy.assert_idle(); // everything is full
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0));
    drop(client);
}

#[test]
fn healthz_is_200_and_503_once_the_process_ends() {
    let (backend, go) = slow(http(200, "late"));
    let mut proxy = setup(&backend, "admin.address = \"127.0.0.1:0\"").start();
    let admin: SocketAddr = proxy.wait_for_message("admin listening", 0).text("address").parse().unwrap();
    let health = || {
        let mut client = Conn::connect(admin);
        client.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        client.read_answer().0.status()
    };
    let mut client = proxy.connect_and_send(GET);
    backend.head();
    assert_eq!(health(), 200);
    proxy.signal(Signal::TERM);
    proxy.wait_until("/healthz is 503", |_| health() == 503);
    go.send(()).unwrap();
    assert_eq!(client.read_answer().1.text(), "late");
    drop(client);
    assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0), "the admin listener does not hold it up");
}

#[test]
fn an_answer_that_only_the_close_would_end_is_cut_by_a_reset() {
    let backend = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 200 OK\r\n\r\npart");
        conn.wait_for_any_end();
    });
    let mut proxy = setup(&backend, "timeouts.grace = \"300ms\"").start();
    let mut client = proxy.connect_and_send("GET / HTTP/1.0\r\nHost: x\r\n\r\n");
    client.read_head();
    client.expect("part");
    proxy.signal(Signal::TERM);
    client.expect_reset(); // a FIN would say that this was all
    assert_eq!(proxy.wait_exit(AT_ONCE).code(), Some(0));
}

#[test]
fn sigterm_lets_an_offer_be_answered_that_is_under_way() {
    let around = Around::new(PLAIN, "");
    let mut client = around.connect();
    client.send(Offer::new().bytes());
    let mut server = around.backend.take();
    server.read_head();
    around.proxy.signal(Signal::TERM);
    client.expect_silence(SILENCE);
    server.send(http(403, "no"));
    let (answer, body) = client.read_answer();
    assert_eq!((answer.status(), body.text().as_str()), (403, "no"));
    client.expect_fin();
}
