//! Nonsense from clients and from backends: it gets an answer or an end in time and a line in the log, costs
//! no memory and no processor time, and every other connection is untouched.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use kit::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const TIMES: &str = "timeouts = { head = \"1s\", keep_alive = \"1s\", send = \"1s\", answer = \"1s\", handshake = \"1s\" }";

/// What memory may grow by whatever is done to the proxy.
const BOUND: u64 = 12 << 20;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A proxy under attack, with a tunnel through it that must not notice.
struct Victim {
    tunnel: Conn,
    resident: u64,
    open_files: usize,
    proxy: Proxy,
    _honest: Backend,
}

impl Victim {
    /// With `bad` as the backend of `/bad`, an answer of its own at `/own`, and an honest backend for all else.
    fn with(bad: Option<&Backend>) -> Self {
        Self::with_times(TIMES, bad)
    }

    /// The same where no clock is to end anything: the times are the defaults.
    fn unhurried(bad: Option<&Backend>) -> Self {
        Self::with_times("", bad)
    }

    fn with_times(times: &str, bad: Option<&Backend>) -> Self {
        let honest = Backend::scripted(|conn, _| {
            conn.set_limit(6 * LIMIT);
            while let Ok(head) = conn.try_read_head() {
                if head.value("upgrade").is_none() {
                    // A client's broken body ends the connection.
                    if conn.try_read_body(&head).is_err() || conn.try_send(http(200, "ok")).is_err() {
                        return;
                    }
                    continue;
                }
                conn.send(answer_101(&head));
                while let Ok(bytes) = conn.try_read_exact(5) {
                    conn.send(bytes);
                }
            }
        });
        let text = format!(
            "{times}\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nbackend = \"{{honest}}\"\n\
            [[route]]\npath = \"/bad\"\nbackend = \"{{bad}}\"\n\
            [[route]]\npath = \"/own\"\nrespond = {{ body = \"{}\" }}\n",
            "a".repeat(4000)
        );
        let bad = bad.map_or_else(|| honest.url(), Backend::url);
        let proxy = Proxy::setup(&text).put("honest", honest.url()).put("bad", bad).start();
        let mut tunnel = proxy.connect_and_send(Offer::new().bytes());
        assert_eq!(tunnel.read_head().status(), 101);
        let mut client = proxy.connect_and_send(GET);
        assert_eq!(client.read_answer().0.status(), 200);
        client.fin();
        client.expect_fin();
        let (resident, open_files) = (proxy.resident(), proxy.open_files());
        Self { tunnel, resident, open_files, proxy, _honest: honest }
    }

    #[track_caller]
    fn client(&self, bytes: impl AsRef<[u8]>) -> Conn {
        self.proxy.connect_and_send(bytes)
    }

    /// The tunnel that was there works, a new request is served, and both at once.
    #[track_caller]
    fn assert_unhurt(&mut self) {
        let began = Instant::now();
        self.tunnel.send("there");
        self.tunnel.expect("there");
        let mut client = self.client("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(client.read_answer().0.status(), 200);
        assert!(began.elapsed() < ms(3000), "it took {:?}", began.elapsed());
        let resident = self.proxy.resident();
        assert!(resident < self.resident + BOUND, "memory grew from {} to {resident}", self.resident);
    }

    /// The same; and nothing is left of the attack.
    #[track_caller]
    fn assert_recovered(&mut self) {
        self.assert_unhurt();
        // The pool may hold one connection to each backend that it did not at first.
        self.proxy.wait_for_open_files(self.open_files + 2);
        self.proxy.assert_idle();
        assert!(self.proxy.logs().iter().all(|line| !line.says("panic")), "a panic");
    }

    /// A line in the log blames this side.
    #[track_caller]
    fn assert_blamed(&self, side: &str) {
        self.proxy.wait_for_log(|line| line.text("fault") == side, LIMIT);
    }
}

/// Reads whatever answer there is, and its end, which must come in time.
#[track_caller]
fn expect_answer_and_end(client: &mut Conn, status: u16) {
    let began = Instant::now();
    let (bytes, end) = client.read_to_end();
    assert!(bytes.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{} and {end:?}", shown(&bytes));
    assert_eq!(end, End::Fin);
    assert!(began.elapsed() < ms(5000), "{:?}", began.elapsed());
}

/// Random enough for garbage, and the same in each run (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}

// Clients.

#[test]
fn garbage_gets_400_or_an_end_and_hurts_nobody() {
    let mut victim = Victim::with(None);
    let mut random = Random(2);
    let mut heads = vec![GET.as_bytes().to_vec(), Offer::new().bytes(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()];
    heads.push(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec());
    let mut clients = Vec::new();
    for n in 0..200 {
        let size = usize::try_from(random.next() % 3000).unwrap() + 1;
        let garbage = match n % 4 {
            0 => random.bytes(size),
            1 => vec![u8::try_from(random.next() % 32).unwrap(); size], // one control byte, over and over
            // A whole message with some bytes changed, and one with garbage in its middle.
            2 => {
                let mut head = heads[n / 4 % heads.len()].clone();
                for _ in 0..=random.next() % 4 {
                    let at = usize::try_from(random.next()).unwrap_or(n) % head.len();
                    head[at] = random.bytes(1)[0];
                }
                head
            }
            _ => {
                let head = &heads[n / 4 % heads.len()];
                let (front, back) = head.split_at(usize::try_from(random.next()).unwrap_or(n) % head.len());
                [front, &random.bytes(size % 100), back].concat()
            }
        };
        let mut client = victim.proxy.connect();
        client.try_send(&garbage).ok();
        client.fin();
        clients.push(client);
    }
    victim.assert_unhurt();
    for mut client in clients {
        client.read_to_end(); // fails where none comes in time
    }
    victim.assert_blamed("client");
    victim.assert_recovered();
}

#[test]
fn garbage_from_clients_that_stay_connected_ends_in_time() {
    let mut victim = Victim::with(None);
    let mut random = Random(3);
    let clients: Vec<Conn> = (0..50).map(|_| victim.client(random.bytes(64))).collect();
    victim.assert_unhurt();
    for mut client in clients {
        client.read_to_end();
    }
    victim.assert_recovered();
}

#[test]
fn bytes_of_zero_get_400() {
    let mut victim = Victim::with(None);
    expect_answer_and_end(&mut victim.client(vec![0; 5000]), 400);
    expect_answer_and_end(&mut victim.client("GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
    expect_answer_and_end(&mut victim.client("GET / HTTP/1.1\r\nHost: x\r\nX-A: \0\r\n\r\n"), 400);
    victim.assert_blamed("client");
    victim.assert_recovered();
}

#[test]
fn a_tls_hello_on_the_plain_port_gets_400() {
    let mut victim = Victim::with(None);
    let authority = Authority::new();
    assert!(Conn::try_connect_tls(victim.proxy.address(0), "x.test", authority.client(&["h2"])).is_err());
    let record = victim.proxy.wait_for_log(|line| line.text("status") == "400", LIMIT);
    assert_eq!(record.text("fault"), "client");
    victim.assert_recovered();
}

#[test]
fn half_a_head_and_then_an_end_is_over_at_once() {
    let mut victim = Victim::unhurried(None);
    for part in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\nX-A", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
        let mut client = victim.client(part);
        client.fin();
        let began = Instant::now();
        client.read_to_end();
        assert!(began.elapsed() < LIMIT / 2, "{part:?}: {:?}", began.elapsed());
        victim.client(part).reset();
    }
    victim.assert_recovered();
}

#[test]
fn half_a_head_and_then_nothing_ends_in_time() {
    let mut victim = Victim::with(None);
    for part in ["G", "GET / HTTP/1.1\r\nHost: x\r\n", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let mut client = victim.client(part);
        let began = Instant::now();
        client.read_to_end();
        assert!(began.elapsed() >= ms(900) && began.elapsed() < ms(4000), "{part:?}: {:?}", began.elapsed());
    }
    victim.assert_recovered();
}

#[test]
fn ten_megabytes_of_header_without_an_end_are_refused_early() {
    let mut victim = Victim::with(None);
    for start in ["", "GET /", "GET / HTTP/1.1\r\nX-A: "] {
        let client = victim.client(start);
        let (mut reader, mut writer) = client.split();
        let sending = std::thread::spawn(move || (0..640).take_while(|_| writer.try_send([b'a'; 16 << 10]).is_ok()).count());
        let status = reader.read_head().status();
        assert!([400, 414, 431].contains(&status), "{start:?}: {status}");
        reader.wait_for_any_end();
        drop(reader);
        assert!(sending.join().unwrap() < 640, "{start:?}: it was read to its end");
    }
    victim.assert_blamed("client");
    victim.assert_recovered();
}

#[test]
fn bodies_that_break_off_or_are_malformed_reach_no_one_as_whole() {
    let bad = Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            if conn.try_read_body(&head).is_ok() || conn.try_send(http(200, "whole")).is_err() {
                return;
            }
        }
    });
    let mut victim = Victim::with(Some(&bad));
    let chunked = "POST /bad HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "5\r\nhel",
        "xyz\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFFFFF\r\nhello",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\nhello\n0\n\n\0",
    ] {
        let mut client = victim.client(format!("{chunked}{body}"));
        client.fin();
        let (bytes, _) = client.read_to_end();
        assert!(!bytes.starts_with(b"HTTP/1.1 2"), "{body:?}: {}", shown(&bytes));
    }
    let flood = format!("{chunked}5;{}", "a".repeat(1 << 20)); // a chunk extension without an end
    let mut client = victim.client("");
    client.try_send(flood).ok();
    client.read_to_end();
    let flood = format!("{chunked}0\r\n{}", "X-A: a\r\n".repeat(100_000)); // trailers without an end
    let mut client = victim.client("");
    client.try_send(flood).ok();
    client.read_to_end();
    victim.assert_blamed("client");
    victim.assert_recovered();
}

#[test]
fn an_h2_connection_that_breaks_the_protocol_ends_with_goaway() {
    let mut victim = Victim::with(None);
    let address = victim.proxy.address(0);
    let attacks: [fn(&mut Frames); 7] = [
        |h2| h2.send(kind::DATA, 0, 1, b"on a stream that is none"),
        |h2| h2.send(kind::HEADERS, 0x5, 2, b"\x82\x86\x84"), // an even stream
        |h2| h2.send(kind::HEADERS, 0x5, 1, &[0xff; 40]),     // no HPACK
        |h2| h2.send(kind::SETTINGS, 0, 0, b"five!"),
        |h2| h2.send(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
        |h2| h2.send(kind::CONTINUATION, 0x4, 1, b"\x82"),
        |h2| h2.0.send([0xff; 9]), // a frame of 16 MiB
    ];
    for attack in attacks {
        let mut h2 = Frames::connect(address);
        h2.send(kind::SETTINGS, 1, 0, b"");
        attack(&mut h2);
        let (kinds, _) = h2.read_to_end();
        assert!(kinds.contains(&kind::GOAWAY), "{kinds:?}");
        victim.assert_unhurt();
    }
    let mut h2 = Frames::connect(address); // a head that never ends
    h2.send(kind::SETTINGS, 1, 0, b"");
    h2.send(kind::HEADERS, 0x1, 1, b"\x82\x86\x84");
    let block = [&[0x00, 0x7f, 0x80, 0x7f][..], &[b'a'; 16000][..]].concat();
    for _ in 0..600 {
        if h2.0.try_send(raw_frame(kind::CONTINUATION, 0, 1, &block)).is_err() {
            break;
        }
    }
    h2.read_to_end();
    victim.assert_blamed("client");
    victim.assert_recovered();
}

#[test]
fn an_h2_preface_that_is_followed_by_nothing_or_by_nonsense_ends_in_time() {
    let mut victim = Victim::with(None);
    for after in ["", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut client = victim.client(format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{after}"));
        let began = Instant::now();
        client.read_to_end();
        assert!(began.elapsed() < LIMIT / 2, "{:?}", began.elapsed());
    }
    victim.assert_recovered();
}

#[test]
fn clients_that_never_read_are_given_up_and_hold_little() {
    let bad = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.try_send("HTTP/1.1 200 OK\r\n\r\n").ok();
        while conn.try_send([b'a'; 16 << 10]).is_ok() {}
    });
    let mut victim = Victim::with(Some(&bad));
    let clients: Vec<Conn> = (0..10).map(|_| victim.client("GET /bad HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    bad.wait_for_connections(10);
    victim.assert_unhurt();
    bad.wait_until_idle();
    victim.assert_blamed("client");
    victim.assert_recovered();
    drop(clients);
}

#[test]
fn clients_that_pipeline_without_reading_are_given_up_and_hold_little() {
    let mut victim = Victim::with(None);
    let mut client = victim.client("");
    let flood = "GET /own HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    client.set_limit(ms(3000));
    let mut sent = 0;
    while client.try_send(&flood).is_ok() && sent < 50_000_000 {
        sent += flood.len();
    }
    assert!(sent < 50_000_000, "every request was taken, with no answer read");
    victim.assert_blamed("client");
    drop(client);
    victim.assert_recovered();
}

#[test]
fn early_bytes_of_a_client_that_gets_no_answer_are_bounded() {
    let bad = Backend::silent();
    let mut victim = Victim::with(Some(&bad));
    let offer = Offer::new().first("GET /bad HTTP/1.1");
    let mut clients: Vec<Conn> = (0..10).map(|_| victim.client(offer.bytes())).collect();
    bad.wait_for_connections(10);
    for client in &mut clients {
        client.set_limit(ms(50));
        while client.try_send([b'a'; 16 << 10]).is_ok() {}
    }
    victim.assert_unhurt();
    victim.proxy.wait_for_log(|line| line.text("status") == "504", LIMIT);
    bad.wait_until_idle();
    drop(clients);
    victim.assert_recovered();
}

#[test]
fn a_client_that_is_gone_in_any_state_leaves_nothing() {
    let bad = Backend::silent();
    let mut victim = Victim::unhurried(Some(&bad));
    for request in [
        "GET /bad HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "POST /bad HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhal".to_owned(),
        String::from_utf8(Offer::new().first("GET /bad HTTP/1.1").bytes()).unwrap(),
        String::from_utf8(Offer::new().first("GET /bad HTTP/1.1").with_early("early")).unwrap(),
    ] {
        for how in 0..3 {
            let before = bad.connections();
            let mut client = victim.client(&request);
            bad.wait_for_connections(before + 1);
            match how {
                0 => client.fin(),
                1 => drop(client),
                _ => client.reset(),
            }
            let began = Instant::now();
            bad.wait_until_idle();
            assert!(began.elapsed() < LIMIT / 2, "{how} of {request:?}: {:?}", began.elapsed());
        }
    }
    victim.assert_recovered();
}

// Backends.

/// Asks a backend that does this for HTTP and for a WebSocket; what the client gets and whose fault it is.
#[track_caller]
fn expect_502_from(script: impl Fn(&mut Conn) + Send + Sync + 'static) {
    let bad = Backend::scripted(move |conn, _| {
        conn.try_read_head().ok();
        script(conn);
        conn.wait_for_any_end();
    });
    let mut victim = Victim::with(Some(&bad));
    for request in ["GET /bad HTTP/1.1\r\nHost: x\r\n\r\n".into(), Offer::new().first("GET /bad HTTP/1.1").bytes()] {
        let mut client = victim.client(request);
        let (head, _) = client.read_answer();
        assert_eq!(head.status(), 502, "{head}");
        victim.assert_unhurt();
    }
    victim.assert_blamed("backend");
    victim.assert_recovered();
}

#[test]
fn a_backend_whose_head_never_ends_is_a_502() {
    expect_502_from(|conn| {
        conn.try_send("HTTP/1.1 200 OK\r\n").ok();
        while conn.try_send("X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(100)).is_ok() {}
    });
}

#[test]
fn a_backend_whose_line_never_ends_is_a_502() {
    expect_502_from(|conn| {
        conn.try_send("HTTP/1.1 200 ").ok();
        while conn.try_send([b'a'; 16 << 10]).is_ok() {}
    });
}

#[test]
fn a_backend_that_sends_100_for_ever_is_a_502() {
    let hundreds = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    expect_502_from(move |conn| while conn.try_send(&hundreds).is_ok() {});
}

#[test]
fn a_backend_that_sends_early_hints_for_ever_is_a_502() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n".repeat(1000);
    expect_502_from(move |conn| while conn.try_send(&hints).is_ok() {});
}

#[test]
fn a_backend_that_sends_garbage_is_a_502() {
    expect_502_from(|conn| {
        conn.try_send(Random(5).bytes(3000)).ok();
    });
    expect_502_from(|conn| {
        conn.try_send("SSH-2.0-OpenSSH_9.9\r\n").ok();
    });
    expect_502_from(|conn| {
        conn.try_send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello").ok();
    });
}

/// Asks a backend whose answer begins well and goes on like this: the client must not take it for whole.
#[track_caller]
fn expect_a_cut_after(start: &'static str, rest: impl Fn(&mut Conn) + Send + Sync + 'static) {
    let bad = Backend::scripted(move |conn, _| {
        conn.try_read_head().ok();
        conn.try_send(format!("HTTP/1.1 200 OK\r\n{start}")).ok();
        rest(conn);
        conn.wait_for_any_end();
    });
    let mut victim = Victim::with(Some(&bad));
    let mut client = victim.client("GET /bad HTTP/1.1\r\nHost: x\r\n\r\n");
    match client.try_read_head() {
        Ok(head) if head.status() == 200 => drop(client.try_read_body(&head).expect_err("a cut")),
        Ok(head) => assert_eq!(head.status(), 502, "{head}"),
        Err(end) => panic!("{end:?} without an answer"),
    }
    victim.assert_blamed("backend");
    victim.assert_recovered();
}

#[test]
fn a_chunk_of_a_gigantic_size_is_no_whole_answer() {
    for size in ["FFFFFFFFFFFFFFFFF", "-1", "0x10", "zz"] {
        expect_a_cut_after("Transfer-Encoding: chunked\r\n\r\n", move |conn| {
            conn.try_send(format!("{size}\r\nhello\r\n0\r\n\r\n")).ok();
        });
    }
    expect_a_cut_after("Transfer-Encoding: chunked\r\n\r\n", |conn| {
        conn.try_send("FFFFFFFFFFFFFF0\r\nhello").ok();
        conn.fin();
    });
}

#[test]
fn a_chunk_extension_without_an_end_is_no_whole_answer() {
    expect_a_cut_after(
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5;",
        |conn| {
            while conn.try_send([b'a'; 16 << 10]).is_ok() {}
        },
    );
}

#[test]
fn trailers_without_an_end_are_no_whole_answer() {
    expect_a_cut_after("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", |conn| {
        while conn.try_send("X-A: aaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(1000)).is_ok() {}
    });
}

#[test]
fn an_endless_answer_to_a_slow_client_holds_little() {
    let bad = Backend::scripted(|conn, _| {
        conn.read_head();
        conn.send("HTTP/1.1 200 OK\r\n\r\n");
        while conn.try_send([b'a'; 16 << 10]).is_ok() {}
    });
    let mut victim = Victim::with(Some(&bad));
    let mut client = victim.client("");
    client.receive_buffer(32 << 10);
    client.send("GET /bad HTTP/1.1\r\nHost: x\r\n\r\n");
    for _ in 0..20 {
        client.read_exact(16 << 10);
        victim.assert_unhurt();
    }
    drop(client);
    bad.wait_until_idle();
    victim.assert_recovered();
}

#[test]
fn a_backend_that_says_more_than_it_should_does_not_poison_the_next_request() {
    let bad = Backend::scripted(|conn, n| {
        while let Ok(head) = conn.try_read_head() {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nn{n}");
            let more = if head.target() == "/bad/1" { "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison" } else { "" };
            if conn.try_send(answer + more).is_err() {
                return;
            }
        }
    });
    let mut victim = Victim::with(Some(&bad));
    for n in 0..20 {
        let mut client = victim.client("GET /bad/1 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(client.read_answer().1.text().starts_with('n'), "{n}");
        client.send("GET /bad/2 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(client.read_answer().1.text().starts_with('n'), "{n}");
    }
    victim.assert_recovered();
}

// Whatever waits, waits asleep.

/// A proxy with times so long that no clock ends what is looked at.
#[track_caller]
fn patient(backend: &Backend) -> Proxy {
    let times =
        "timeouts = { head = \"1m\", keep_alive = \"1m\", send = \"1m\", answer = \"1m\", handshake = \"1m\", linger = \"1m\" }";
    Proxy::before_with(backend, times, "")
}

#[test]
fn a_stalled_client_and_a_stalled_backend_cost_no_processor_time() {
    let endless = Backend::scripted(|conn, _| {
        let head = conn.read_head();
        match head.value("upgrade") {
            Some(_) => conn.send(answer_101(&head)),
            None => conn.send("HTTP/1.1 200 OK\r\n\r\n"),
        }
        while conn.try_send([b'a'; 16 << 10]).is_ok() {}
    });
    let proxy = patient(&endless);
    let http: Vec<Conn> = (0..5).map(|_| proxy.connect_and_send(GET)).collect();
    let tunnels: Vec<Conn> = (0..5).map(|_| proxy.connect_and_send(Offer::new().bytes())).collect();
    endless.wait_for_connections(10);
    proxy.assert_idle();
    drop((http, tunnels));
    endless.wait_until_idle();
    proxy.assert_idle();
}

#[test]
fn early_bytes_that_wait_for_an_answer_cost_no_processor_time() {
    let silent = Backend::silent();
    let proxy = patient(&silent);
    let mut few = proxy.connect_and_send(Offer::new().with_early("early"));
    let mut many = proxy.connect_and_send(Offer::new().bytes()).within(ms(100));
    while many.try_send([b'a'; 16 << 10]).is_ok() {}
    silent.wait_for_connections(2);
    proxy.assert_idle();
    few.fin();
    many.fin();
    few.expect_any_end();
    proxy.assert_idle();
}

#[test]
fn half_closed_and_half_finished_connections_cost_no_processor_time() {
    let (over, until_over) = channel::<()>();
    let until_over = Mutex::new(until_over);
    let backend = Backend::scripted(move |conn, _| {
        let head = conn.read_head();
        if head.value("upgrade").is_some() {
            conn.send(answer_101(&head));
        }
        until_over.lock().unwrap().recv().ok(); // hears the ends and gives none
    });
    let proxy = patient(&backend);
    let mut tunnel = proxy.connect_and_send(Offer::new().bytes());
    tunnel.read_head();
    tunnel.fin();
    let _upload = proxy.connect_and_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhal");
    let _head = proxy.connect_and_send("GET / HT");
    let _preface = proxy.connect_and_send("PRI * HTTP/2.0\r\n\r\n");
    let mut h2 = Frames::connect(proxy.address(0));
    h2.send(kind::SETTINGS, 1, 0, b"");
    h2.get(1);
    for _ in 0..3 {
        backend.head();
    }
    h2.0.cut();
    proxy.assert_idle();
    drop(over);
}

#[test]
fn an_h2_connection_past_its_idle_time_with_a_stream_left_costs_no_processor_time() {
    let silent = Backend::silent();
    let proxy = Proxy::before_with(&silent, "timeouts.keep_alive = \"200ms\"", "");
    let mut h2 = Frames::connect(proxy.address(0));
    h2.send(kind::SETTINGS, 1, 0, b"");
    h2.read_kind(kind::GOAWAY); // told to go
    h2.get(1); // and comes with one more, which crossed it
    silent.wait_for_connections(1);
    proxy.assert_idle();
}
