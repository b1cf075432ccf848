//! What tunnels may carry and what they may cost: a gibibyte each way, slow readers, stalled neighbours, idle
//! crowds, and 500 deaths. One at a time, since they measure. The promises about order and ends are in `tunnel.rs`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly
#![allow(clippy::print_stderr)] // what was measured is worth reading

mod kit;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kit::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// So long without a byte taken is a stall.
const STALL: Duration = Duration::from_millis(300);

/// Only one of these tests runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- a gibibyte each way ---------------------------------------------------------------------------------

rows! { a_gibibyte_each_way_at_once_arrives_unchanged_in_bounded_memory {
    a_gibibyte_each_way_at_once_arrives_unchanged_in_bounded_memory_ws: PLAIN;
    a_gibibyte_each_way_at_once_arrives_unchanged_in_bounded_memory_wss: WSS;
}}

fn a_gibibyte_each_way_at_once_arrives_unchanged_in_bounded_memory(over: Over) {
    let _alone = alone();
    let around = Around::new(over, "");
    let idle = around.proxy.resident();
    let (client, server) = around.open();
    // A prime length: neither a block nor a record begins where another did.
    let (up, down) = (pattern(1_048_573), pattern(2_097_143).split_off(1_048_570));
    let (client, mut to_proxy) = client.split();
    let (server, mut to_client) = server.split();
    let began = Instant::now();
    let mut peak = 0;
    thread::scope(|scope| {
        let all = [
            scope.spawn(|| send_round(&mut to_proxy, &up)),
            scope.spawn(|| send_round(&mut to_client, &down)),
            scope.spawn(|| expect_round(server, &up)),
            scope.spawn(|| expect_round(client, &down)),
        ];
        while !all.iter().all(thread::ScopedJoinHandle::is_finished) {
            peak = around.proxy.resident().max(peak);
            thread::sleep(Duration::from_millis(5)); // between two looks
        }
    });
    let (taken, more) = (began.elapsed(), peak.saturating_sub(idle));
    eprintln!("{over:?}: 1 GiB each way in {taken:?}; at most {} KiB above idle", more / KIB);
    assert!(more < 40 * MIB, "{} KiB above idle", more / KIB);
    let line = around.closed();
    assert_eq!((line.count("bytes_from_client"), line.count("bytes_from_backend")), (GIB, GIB), "{}", line.raw);
}

/// Sends a gibibyte of `ring` round and round, then FIN.
fn send_round(to: &mut Conn, ring: &[u8]) {
    let mut left = usize::try_from(GIB).unwrap();
    while left > 0 {
        let part = &ring[..ring.len().min(left)];
        to.send(part);
        left -= part.len();
    }
    to.fin();
}

/// Takes what `send_round` sends, and a FIN.
fn expect_round(mut from: Conn, ring: &[u8]) {
    let mut at = 0;
    let end = from.pour(|mut bytes| {
        while !bytes.is_empty() {
            let rest = &ring[at % ring.len()..];
            let n = rest.len().min(bytes.len());
            assert!(rest[..n] == bytes[..n], "the bytes from {at} on are others than those sent");
            bytes = &bytes[n..];
            at += n;
        }
    });
    assert_eq!((at as u64, end), (GIB, End::Fin));
}

// --- peers that do not drain -----------------------------------------------------------------------------

rows! { a_slow_reader_costs_under_a_mebibyte_and_stops_its_sender {
    a_slow_reader_costs_under_a_mebibyte_and_stops_its_sender_ws_client: PLAIN, true;
    a_slow_reader_costs_under_a_mebibyte_and_stops_its_sender_ws_backend: PLAIN, false;
    a_slow_reader_costs_under_a_mebibyte_and_stops_its_sender_wss_client: WSS, true;
    a_slow_reader_costs_under_a_mebibyte_and_stops_its_sender_wss_backend: WSS_BACKEND, false;
}}

fn a_slow_reader_costs_under_a_mebibyte_and_stops_its_sender(over: Over, client_reads: bool) {
    let _alone = alone();
    let around = Around::new(over, "threads = 1");
    let part = pattern(64 << 10);
    warm(&around, &part);
    let (client, server) = around.open();
    let (mut reader, mut sender) = if client_reads { (client, server) } else { (server, client) };
    let before = around.proxy.resident();
    let sent = sender.send_until_stalled(&part, STALL);
    let more = around.proxy.resident().saturating_sub(before);
    eprintln!("{over:?}, stalled after {} KiB; {} KiB more in the proxy", sent as u64 / KIB, more / KIB);
    assert!(more < MIB, "{} KiB for one slow reader", more / KIB);
    // Once it reads, all of it comes, and the sender goes on.
    let (_, mut rest) = sender.both();
    thread::scope(|scope| {
        scope.spawn(|| rest.send("and on"));
        let got = reader.read_exact(sent);
        assert!(got.chunks(part.len()).all(|have| have == &part[..have.len()]));
        reader.expect("and on");
    });
}

/// Moves bytes through a tunnel of its own, so that what every thread needs once is there.
fn warm(around: &Around, bytes: &[u8]) {
    let (mut client, mut server) = around.open();
    for _ in 0..8 {
        client.send(bytes);
        server.expect(bytes);
        server.send(bytes);
        client.expect(bytes);
    }
}

rows! { a_stalled_tunnel_delays_no_other_on_its_thread {
    a_stalled_tunnel_delays_no_other_on_its_thread_ws: PLAIN;
    a_stalled_tunnel_delays_no_other_on_its_thread_wss: WSS;
}}

fn a_stalled_tunnel_delays_no_other_on_its_thread(over: Over) {
    let _alone = alone();
    let around = Around::new(over, "threads = 1");
    let (stalled, mut pushing) = around.open(); // its client reads nothing
    pushing.send_until_stalled(&pattern(64 << 10), STALL);
    pushing.set_limit(Duration::from_millis(20));
    let p99 = round_trips(&around, "a stalled tunnel", |done| {
        while !done.load(Ordering::Relaxed) {
            pushing.try_send("more").ok(); // it keeps pushing
        }
    });
    assert!(p99 < Duration::from_millis(50), "p99 {p99:?}");
    drop(stalled);
}

rows! { a_tunnel_in_full_flow_delays_no_other_on_its_thread {
    a_tunnel_in_full_flow_delays_no_other_on_its_thread_ws: PLAIN;
    a_tunnel_in_full_flow_delays_no_other_on_its_thread_wss: WSS;
}}

fn a_tunnel_in_full_flow_delays_no_other_on_its_thread(over: Over) {
    let _alone = alone();
    let around = Around::new(over, "threads = 1");
    let (client, mut server) = around.open();
    let part = pattern(256 << 10);
    let p99 = round_trips(&around, "a tunnel in full flow", move |done| {
        let drain = thread::spawn(move || {
            let (mut client, mut got) = (client, 0);
            client.pour(|bytes| got += bytes.len() as u64);
            got
        });
        while !done.load(Ordering::Relaxed) {
            server.send(&part);
        }
        drop(server);
        let got = drain.join().unwrap();
        eprintln!("{} MiB went by meanwhile", got / MIB);
        assert!(got > 4 * MIB, "it was no flow");
    });
    // Here the machine has all its cores busy, so it is the kernel that says who is late.
    assert!(p99 < Duration::from_millis(100), "p99 {p99:?}");
}

/// A thousand round trips through a tunnel of their own while `beside` runs, which is told when they are
/// done; what 99 of 100 stay below.
fn round_trips(around: &Around, what: &str, beside: impl FnOnce(&AtomicBool) + Send) -> Duration {
    let (mut client, mut server) = around.open();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let beside = scope.spawn(|| beside(&done));
        let mut times: Vec<Duration> = (0..1000)
            .map(|_| {
                let began = Instant::now();
                client.send("there");
                server.expect("there");
                server.send("back");
                client.expect("back");
                began.elapsed()
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        beside.join().unwrap();
        times.sort();
        eprintln!("{:?}: beside {what}: p50 {:?}, p99 {:?}, worst {:?}", around.over, times[500], times[990], times[999]);
        times[990]
    })
}

// --- crowds ----------------------------------------------------------------------------------------------

rows! { an_idle_tunnel_holds_next_to_nothing {
    an_idle_tunnel_holds_next_to_nothing_ws: PLAIN, 6 * KIB;
    an_idle_tunnel_holds_next_to_nothing_wss: WSS, 16 * KIB;
}}

fn an_idle_tunnel_holds_next_to_nothing(over: Over, most: u64) {
    const CROWD: usize = 500;
    let _alone = alone();
    let around = Around::new(over, "");
    let part = pattern(16 << 10);
    let began = |n: usize| -> Vec<(Conn, Conn)> {
        (0..n)
            .map(|_| {
                let (mut client, mut server) = around.open();
                client.send(&part);
                server.expect(&part);
                server.send(&part);
                client.expect(&part);
                (client, server)
            })
            .collect()
    };
    let _first = began(20);
    let before = around.proxy.resident();
    let crowd = began(CROWD);
    let each = around.proxy.resident().saturating_sub(before) / CROWD as u64;
    eprintln!("{over:?}: {each} bytes for each idle tunnel");
    assert!(each < most, "{each} bytes for each idle tunnel");
    drop(crowd);
}

/// In how many ways `die` knows to end a tunnel.
const DEATHS: usize = 10;

/// Ends a tunnel in one of all ways; bytes each way that must be in the record.
fn die(way: usize, mut client: Conn, mut server: Conn) -> Option<(u64, u64)> {
    match way {
        0 => {
            client.fin();
            server.expect_fin();
            server.fin();
            client.expect_fin();
        }
        1 => {
            server.fin();
            client.expect_close_and_fin(1012);
        }
        2 => client.reset(),
        3 => server.reset(),
        4 => {
            client.cut();
            server.expect_fin();
        }
        5 => {
            client.reset();
            server.reset();
        }
        6 => {
            client.send("up");
            server.send("down");
            drop(client); // with unread bytes perhaps: a reset, or a FIN
            drop(server);
            return None;
        }
        7 => {
            client.fin();
            server.fin();
        }
        8 => {
            client.send(pattern(10_000)); // within the first window: a reset takes back what is not sent
            client.reset();
            server.read_exact(10_000);
            return Some((10_000, 0));
        }
        _ => {
            server.send(pattern(100_000));
            server.fin();
            client.read_exact(100_000);
            return Some((0, 100_000));
        }
    }
    Some((0, 0))
}

rows! { five_hundred_tunnels_die_in_every_way_and_leave_nothing {
    five_hundred_tunnels_die_in_every_way_and_leave_nothing_ws: PLAIN;
    five_hundred_tunnels_die_in_every_way_and_leave_nothing_wss: WSS;
}}

fn five_hundred_tunnels_die_in_every_way_and_leave_nothing(over: Over) {
    const CROWD: usize = 500;
    let _alone = alone();
    let around = Around::new(over, "timeouts.linger = \"200ms\"\nwebsocket.ping = \"off\"");
    let (client, server) = around.open();
    drop((client, server));
    around.closed();
    let open_files = around.proxy.open_files();
    let crowd: Vec<_> = (0..CROWD).map(|_| around.open()).collect();
    assert_eq!(around.proxy.open_files(), open_files + 2 * CROWD);
    let bytes: Vec<_> = crowd.into_iter().enumerate().map(|(n, (client, server))| die(n % DEATHS, client, server)).collect();
    // And some that die before they are tunnels.
    for n in 0..20 {
        let mut client = around.connect();
        client.send(Offer::new().bytes());
        let mut server = around.backend.take();
        server.read_head();
        match n % 4 {
            0 => client.reset(),
            1 => drop(client),
            2 => server.reset(),
            _ => drop((client, server)),
        }
    }
    around.proxy.wait_for_message("tunnel closed", CROWD);
    around.proxy.wait_for_open_files(open_files);
    let records: Vec<Line> = around.proxy.logs().into_iter().filter(|line| line.message() == "tunnel closed").collect();
    assert_eq!(records.len(), CROWD + 1, "one record for each, the first among them");
    let mut sessions: Vec<u64> = records.iter().map(|line| line.count("session")).collect();
    sessions.sort_unstable();
    sessions.dedup();
    assert_eq!(sessions.len(), CROWD + 1);
    for line in &records {
        // Sessions are counted in the order of opening, from 1; the first was the warm-up's.
        let n = usize::try_from(line.count("session")).unwrap() - 1;
        if let Some(Some(bytes)) = n.checked_sub(1).map(|n| bytes[n]) {
            assert_eq!((line.count("bytes_from_client"), line.count("bytes_from_backend")), bytes, "{n}: {}", line.raw);
        }
    }
    // It serves on.
    let (mut client, mut server) = around.open();
    client.send("there");
    server.expect("there");
}

#[test]
fn tunnels_that_come_and_go_leave_no_memory_behind() {
    const MANY: usize = 1000;
    let _alone = alone();
    let around = Around::new(PLAIN, "threads = 1");
    let come_and_go = || {
        for _ in 0..MANY {
            let (mut client, mut server) = around.open();
            client.fin();
            server.expect_fin();
            server.fin();
            client.expect_fin();
        }
        around.proxy.resident()
    };
    let first = come_and_go();
    let more = come_and_go().saturating_sub(first);
    eprintln!("{MANY} tunnels after {MANY} others: {} KiB more", more / KIB);
    assert!(more < 256 * KIB, "{more} bytes, {} for each", more / MANY as u64);
}
