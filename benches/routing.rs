//! How long it takes to find a request's route, and to make the table, with few routes and with many:
//! `cargo bench --bench routing`. Figures stand in benches/README.md.

#![allow(missing_docs, clippy::unwrap_used)] // a bench has no readers of its documentation, and fails loudly

use std::fmt::Write;
use std::path::Path;

use divan::{Bencher, black_box};
use http::{HeaderMap, Method};
use spliceway::config;
use spliceway::route::{Query, Route, Table};

fn main() {
    divan::main();
}

const COUNTS: [usize; 3] = [10, 1_000, 10_000];

/// What a host of many tenants has: nine of ten routes have a host of their own, the others a path; the last is for
/// everything else.
fn text(count: usize) -> String {
    let mut text = String::new();
    for n in 1..count {
        let key = if n % 10 == 0 { format!("path = \"/tenant-{n}/\"") } else { format!("host = \"tenant-{n}.example.com\"") };
        writeln!(text, "[[route]]\n{key}\nbackend = \"http://127.0.0.1:3000\"").unwrap();
    }
    text + "[[route]]\nbackend = \"http://127.0.0.1:3000\"\n"
}

fn routes(count: usize) -> Vec<Route> {
    config::read(&text(count), "routes.toml", Path::new("."), &|_| None).unwrap().routes
}

fn find(bencher: Bencher<'_, '_>, count: usize, host: &str, path: &str) {
    let (table, headers) = (Table::new(routes(count)), HeaderMap::new());
    bencher.bench(|| {
        let query = Query { host: Some(black_box(host)), path: black_box(path), method: &Method::GET, headers: &headers };
        table.find(&query).unwrap().unwrap().route
    });
}

#[divan::bench(args = COUNTS)]
fn by_host(bencher: Bencher<'_, '_>, count: usize) {
    find(bencher, count, &format!("tenant-{}.example.com", count - 1), "/rooms/1");
}

#[divan::bench(args = COUNTS)]
fn by_path(bencher: Bencher<'_, '_>, count: usize) {
    find(bencher, count, "example.com", if count == 10 { "/rooms/1/messages" } else { "/tenant-500/rooms/1/messages" });
}

/// A path with an escape: every way in which a backend might read it is looked up.
#[divan::bench(args = COUNTS)]
fn by_a_path_with_escapes(bencher: Bencher<'_, '_>, count: usize) {
    find(bencher, count, "example.com", "/files/a%20b%2Fc;v=1");
}

#[divan::bench(args = COUNTS)]
fn make_the_table(bencher: Bencher<'_, '_>, count: usize) {
    let routes = routes(count);
    bencher.with_inputs(|| routes.clone()).bench_values(Table::new);
}

#[divan::bench(args = COUNTS)]
fn read_the_file(bencher: Bencher<'_, '_>, count: usize) {
    let text = text(count);
    bencher.bench(|| config::read(black_box(&text), "routes.toml", Path::new("."), &|_| None).unwrap().routes.len());
}
