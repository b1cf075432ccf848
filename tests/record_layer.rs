//! Tunnels under TLS on our own record layer, on rustls's, and on the one that TLS 1.2 leaves: the same to both sides.
//! How tunnels end, also under TLS, is in tunnel.rs; it runs on our own layer, the default.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly
#![allow(clippy::needless_pass_by_value)] // rows read better without `&` before every value

mod kit;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use kit::*;
use rustix::process::Signal;

const OWN: &str = "record_layer = \"own\"";
const RUSTLS: &str = "record_layer = \"rustls\"";

/// Bytes that no compressor or guess gets right.
fn random(count: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

/// In one binary frame each way, at the same time.
fn cross(client: Conn, server: Conn, bytes: usize) -> (Conn, Conn) {
    let (up, down) = (frame(2, &random(bytes, 1), true), frame(2, &random(bytes, 2), false));
    let ((mut client, mut client_out), (mut server, mut server_out)) = (client.split(), server.split());
    std::thread::scope(|scope| {
        scope.spawn(|| client_out.send(&up));
        scope.spawn(|| server_out.send(&down));
        scope.spawn(|| server.expect(&up));
        client.expect(&down);
    });
    (client, server)
}

rows! { a_tunnel_carries_every_byte_and_both_ends {
    a_tunnel_carries_every_byte_and_both_ends_own_client: OWN, WSS;
    a_tunnel_carries_every_byte_and_both_ends_own_backend: OWN, WSS_BACKEND;
    a_tunnel_carries_every_byte_and_both_ends_own_both: OWN, BOTH_WSS;
    a_tunnel_carries_every_byte_and_both_ends_rustls_client: RUSTLS, WSS;
    a_tunnel_carries_every_byte_and_both_ends_rustls_backend: RUSTLS, WSS_BACKEND;
    a_tunnel_carries_every_byte_and_both_ends_rustls_both: RUSTLS, BOTH_WSS;
}}

fn a_tunnel_carries_every_byte_and_both_ends(layer: &str, over: Over) {
    let around = Around::new(over, layer);
    let (client, server) = around.open();
    let (client, server) = cross(client, server, 5_000_000);
    let (mut client, mut server) = cross(client, server, 60);
    client.fin(); // under TLS with close_notify
    server.expect_fin();
    let last = frame(1, b"the other half lives", false);
    server.send(&last);
    client.expect(&last);
    server.fin();
    client.expect_fin();
    around.assert_ended("client", "fin");
}

rows! { an_end_without_close_notify_is_recorded {
    an_end_without_close_notify_is_recorded_own: OWN;
    an_end_without_close_notify_is_recorded_rustls: RUSTLS;
}}

fn an_end_without_close_notify_is_recorded(layer: &str) {
    let around = Around::new(BOTH_WSS, layer);
    let (mut client, mut server) = around.open();
    client.send(frame(1, b"last", true));
    client.cut();
    server.expect(frame(1, b"last", true));
    server.expect_fin();
    around.assert_ended("client", "unclean");
}

rows! { a_record_from_the_way_breaks_the_tunnel {
    a_record_from_the_way_breaks_the_tunnel_own: OWN;
    a_record_from_the_way_breaks_the_tunnel_rustls: RUSTLS;
}}

fn a_record_from_the_way_breaks_the_tunnel(layer: &str) {
    let around = Around::new(WSS, layer);
    let (mut client, mut server) = around.open();
    client.send(frame(1, b"last", true));
    server.expect(frame(1, b"last", true));
    client.send_beneath(&[&[23, 3, 3, 0, 40][..], &random(40, 3)].concat());
    server.expect_reset();
    around.assert_ended("client", "broken");
}

#[test]
fn frames_that_come_with_the_101_and_with_the_offer_are_not_left_behind() {
    for layer in [OWN, RUSTLS] {
        for size in [3, 5000, 20_000] {
            let around = Around::new(BOTH_WSS, layer);
            let mut client = around.connect();
            let (up, down) = (frame(2, &random(size, 1), true), frame(2, &random(size, 2), false));
            let (_, mut out) = client.both();
            std::thread::scope(|scope| {
                scope.spawn(|| out.send(Offer::new().with_early(&up)));
                let mut server = around.backend.take();
                let offer = server.read_head();
                server.send([answer_101(&offer).as_bytes(), &down].concat());
                server.expect(&up);
                assert_eq!(client.read_head().status(), 101);
                client.expect(&down);
            });
        }
    }
}

#[test]
fn tls_1_2_stays_with_rustls() {
    let around = Around::new(WSS, OWN);
    let config = around.authority.client_tls12(&["http/1.1"]);
    let mut client = Conn::connect_tls(around.proxy.address(1), "localhost", config);
    client.send(Offer::new().bytes());
    let mut server = around.backend.take();
    let offer = server.read_head();
    server.send(answer_101(&offer));
    assert_eq!(client.read_head().status(), 101);
    let (mut client, mut server) = cross(client, server, 1_000_000);
    client.fin();
    server.expect_fin();
    server.fin();
    client.expect_fin();
}

rows! { keys_are_updated_by_the_peers {
    keys_are_updated_by_the_peers_own: OWN;
    keys_are_updated_by_the_peers_rustls: RUSTLS;
}}

fn keys_are_updated_by_the_peers(layer: &str) {
    let around = Around::new(BOTH_WSS, layer);
    let (mut client, mut server) = around.open();
    for n in 0..100usize {
        if n % 3 != 1 {
            client.update_key();
        }
        if n % 2 == 0 {
            server.update_key();
        }
        let (up, down) = (frame(2, &random(n * 300, 1), true), frame(2, &random(n * 300, 2), false));
        client.send(&up);
        server.expect(&up);
        server.send(&down);
        client.expect(&down);
    }
}

#[test]
fn the_layer_can_be_changed_by_a_reload() {
    let text = "record_layer = \"{layer}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nbackend = \"{backend}\"\n";
    let backend = Backend::echo();
    let text = |layer: &str| text.replace("{layer}", layer);
    let proxy = Proxy::setup(&text("own")).put("backend", backend.url()).start();
    proxy.rewrite_config(&text("rustls"));
    proxy.signal(Signal::HUP);
    let line = proxy.wait_for_message("reloaded", 0);
    assert_eq!(line.level(), "INFO");
    assert!(!proxy.logs().iter().any(|line| line.level() == "WARN"), "it changes now, not at the next start");
}

rows! { openssl_is_understood_with_its_updates {
    openssl_is_understood_with_its_updates_aes_128: OWN, "TLS_AES_128_GCM_SHA256";
    openssl_is_understood_with_its_updates_aes_256: OWN, "TLS_AES_256_GCM_SHA384";
    openssl_is_understood_with_its_updates_chacha20: OWN, "TLS_CHACHA20_POLY1305_SHA256";
    openssl_is_understood_with_its_updates_by_rustls: RUSTLS, "TLS_AES_128_GCM_SHA256";
}}

/// `openssl s_client` takes a line that begins with K or k for a command: update the key, with or without asking for ours.
fn openssl_is_understood_with_its_updates(layer: &str, suite: &str) {
    let around = Around::new(WSS, layer);
    let address = around.proxy.address(1).to_string();
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-alpn", "http/1.1", "-tls1_3", "-ciphersuites", suite])
        .args(["-brief", "-servername", "localhost"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl");
    let (mut input, mut output) = (openssl.stdin.take().unwrap(), openssl.stdout.take().unwrap());
    let said = openssl.stderr.take().unwrap();
    input.write_all(&Offer::new().bytes()).unwrap();
    let mut server = around.backend.take();
    let offer = server.read_head();
    server.send(answer_101(&offer));
    let mut heard = Vec::new();
    let mut wait_for = |bytes: &[u8]| {
        while !heard.windows(bytes.len()).any(|part| part == bytes) {
            let mut more = [0; 1 << 14];
            let n = output.read(&mut more).unwrap();
            assert!(n > 0, "openssl ended without {}", shown(bytes));
            heard.extend_from_slice(&more[..n]);
        }
        heard.clear();
    };
    wait_for(b"\r\n\r\n");
    let mut notes = BufReader::new(said).lines();
    for n in 0..10usize {
        input.write_all(if n % 3 == 0 { b"k\n" } else { b"K\n" }).unwrap();
        notes.by_ref().map(Result::unwrap).find(|line| line.contains("KEYUPDATE")).expect("an update");
        let up = frame(2, &random(n * 100, 1), true);
        input.write_all(&up).unwrap();
        server.expect(&up);
        let down = frame(2, &random(1 + n * 2000, 2), false);
        server.send(&down);
        wait_for(&down);
    }
    drop(input); // it says close_notify
    server.expect_fin();
    openssl.wait().unwrap();
    around.assert_ended("client", "fin");
}
