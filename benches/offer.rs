//! What a handshake costs in the pure rooms, both of its sides: `cargo bench --bench offer`. Figures stand in
//! benches/README.md.

#![allow(missing_docs, clippy::unwrap_used)] // a bench has no readers of its documentation, and fails loudly

use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use spliceway::handshake::{Answer, Offer};

fn main() {
    divan::main();
}

/// A browser's handshake, as Chromium sends it.
const HEAD: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: chat.example.com\r\nConnection: Upgrade\r\nPragma: no-cache\r\n\
    Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/142.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://chat.example.com\r\n\
    Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// A backend's answer to it.
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

fn fields() -> HeaderMap {
    let lines = HEAD.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(value))).collect()
}

fn parse(headers: &HeaderMap) -> Offer {
    Offer::parse(&Method::GET, Version::HTTP_11, headers, None, false).unwrap().unwrap()
}

#[divan::bench]
fn parse_an_offer(bencher: Bencher<'_, '_>) {
    let headers = fields();
    bencher.bench(|| parse(black_box(&headers)));
}

/// An everyday request: that it is no offer is all there is to know.
#[divan::bench]
fn see_that_there_is_none(bencher: Bencher<'_, '_>) {
    let mut headers = fields();
    headers.remove("upgrade");
    bencher.bench(|| Offer::is_asked(&Method::GET, Version::HTTP_11, black_box(&headers), None));
}

#[divan::bench]
fn write_the_head_for_a_backend(bencher: Bencher<'_, '_>) {
    let headers = fields();
    let (offer, raw) = (parse(&headers), HEAD.as_bytes());
    bencher
        .with_inputs(|| headers.clone())
        .bench_refs(|headers| offer.request_head("/chat?room=1", headers, Some(raw), offer.key().map(HeaderValue::as_bytes)));
}

/// From the bytes of a 101 to the agreement: the head is parsed, and Accept, which is a SHA-1, looked at.
#[divan::bench]
fn agree(bencher: Bencher<'_, '_>) {
    let headers = fields();
    let offer = parse(&headers);
    let key = offer.key().map(HeaderValue::as_bytes);
    bencher.bench(|| {
        let (answer, _) = Answer::parse(black_box(ANSWER), 100).unwrap().unwrap();
        offer.agree(&headers, key, answer).unwrap()
    });
}
