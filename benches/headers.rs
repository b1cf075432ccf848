//! What the law of header fields costs for one request and its answer: `cargo bench --bench headers`. Figures stand in
//! benches/README.md.

#![allow(missing_docs, clippy::unwrap_used)] // a bench has no readers of its documentation, and fails loudly

use std::net::IpAddr;

use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use spliceway::headers::{self, Hop, Trust};

fn main() {
    divan::main();
}

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// A browser's GET.
fn request() -> HeaderMap {
    map(&[
        ("host", "app.example.com"),
        ("connection", "keep-alive"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-GB,en;q=0.9"),
        ("referer", "https://app.example.com/"),
        ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ])
}

fn answer() -> HeaderMap {
    map(&[
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", "1024"),
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("date", "Thu, 26 Nov 2026 12:00:00 GMT"),
        ("cache-control", "no-cache"),
        ("vary", "accept-encoding"),
    ])
}

/// All of the law, in the order in which `serve` applies it.
#[divan::bench]
fn a_request(bencher: Bencher<'_, '_>) {
    let uri = Uri::from_static("/index.html?a=1");
    let peer: Option<IpAddr> = Some([203, 0, 113, 7].into());
    bencher.with_inputs(request).bench_refs(|fields| {
        headers::check_request(&Method::GET, &uri, Version::HTTP_11, fields).unwrap();
        let host = headers::effective_host(&uri, fields).and_then(|host| HeaderValue::from_str(host).ok());
        let trust = Trust::default();
        let client = headers::client_address(peer, fields, &trust);
        headers::normalise_request(&uri, fields);
        let stripped = headers::strip_request(fields);
        let hop = Hop { peer, peer_value: None, trusted: false, secure: true, host: host.as_ref(), forwarded: false };
        headers::set_forwarded(fields, &hop);
        black_box((client, stripped))
    });
}

#[divan::bench]
fn an_answer(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(answer).bench_refs(|fields| {
        headers::check_response(Version::HTTP_11, StatusCode::OK, fields).unwrap();
        headers::strip_response(fields);
    });
}

/// What `a_request` and `an_answer` pay for their input, which is not in their figures; here to see that it is not.
#[divan::bench]
fn nothing(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(request).bench_refs(|fields| black_box(fields.len()));
}
