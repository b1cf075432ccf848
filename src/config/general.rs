//! The keys of the file as a whole: threads, trust, time limits, size limits, the admin listener.
//! Not here: listeners, backends, routes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::reading::Section;
use super::routes::not_one_of;
use super::values::Text;
use super::{Engine, Runtime};
use crate::tls::RecordLayer;
use crate::{admin, serve};

/// What holds for backends and routes that say nothing else.
#[derive(Clone, Debug)]
pub(super) struct RouteTimes {
    pub(super) connect: Duration,
    pub(super) handshake: Duration,
    pub(super) answer: Duration,
    pub(super) between: Option<Duration>,
}

impl Default for RouteTimes {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            handshake: Duration::from_secs(10),
            answer: Duration::from_secs(60), // nginx's
            between: None,
        }
    }
}

/// `threads`.
pub(super) fn threads(root: &Section<'_>) -> Option<usize> {
    root.ask("threads").and_then(|entry| entry.number(1..=1024))
}

/// `record_layer`.
pub(super) fn record_layer(root: &Section<'_>) -> RecordLayer {
    let all = [("own", RecordLayer::Own), ("rustls", RecordLayer::Rustls)];
    one_of(root, "record_layer", "who carries a tunnel under TLS 1.3", &all).unwrap_or_default()
}

/// `runtime` and `engine`.
pub(super) fn arrangement(root: &Section<'_>) -> (Runtime, Engine) {
    let runtime = [("per_thread", Runtime::PerThread), ("shared", Runtime::Shared)];
    let engine = [("epoll", Engine::Epoll), ("tasks", Engine::Tasks)];
    (
        one_of(root, "runtime", "how threads share the work", &runtime).unwrap_or_default(),
        one_of(root, "engine", "what drives WebSockets", &engine).unwrap_or_default(),
    )
}

fn one_of<T: Copy>(section: &Section<'_>, key: &'static str, what: &str, all: &[(&str, T)]) -> Option<T> {
    let text = section.ask(key)?.text()?;
    let found = all.iter().find(|(word, _)| *word == text.value);
    if found.is_none() {
        not_one_of(&text, what, &all.iter().map(|(word, _)| *word).collect::<Vec<_>>());
    }
    found.map(|(_, value)| *value)
}

/// `trusted_proxies`, `[timeouts]` and `[limits]`.
pub(super) fn serve(root: &Section<'_>) -> (serve::Settings, RouteTimes) {
    let mut settings = serve::Settings::default();
    trusted(root, &mut settings);
    limits(root.section("limits"), &mut settings);
    let times = timeouts(root.section("timeouts"), &mut settings.times);
    (settings, times)
}

fn timeouts(section: Section<'_>, times: &mut serve::Times) -> RouteTimes {
    times.head = section.duration("head", times.head);
    times.keep_alive = section.duration("keep_alive", times.keep_alive);
    times.send = section.duration("send", times.send);
    times.tls = section.duration("tls", times.tls);
    let or_zero = |name, default| section.ask(name).and_then(|entry| entry.duration_or_zero()).unwrap_or(default);
    times.linger = or_zero("linger", times.linger);
    times.grace = or_zero("grace", times.grace);
    let default = RouteTimes::default();
    let route_times = RouteTimes { connect: section.duration("connect", default.connect), ..of_route(&section, &default) };
    section.finish();
    route_times
}

/// The three that a route can set for itself.
pub(super) fn of_route(section: &Section<'_>, default: &RouteTimes) -> RouteTimes {
    RouteTimes {
        connect: default.connect,
        handshake: section.duration("handshake", default.handshake),
        answer: section.duration("answer", default.answer),
        between: section.ask("between").and_then(|entry| entry.duration_or_off()).unwrap_or(default.between),
    }
}

fn limits(section: Section<'_>, settings: &mut serve::Settings) {
    // Below 1 KiB no browser's request fits; 1 MiB is far beyond what any server takes.
    let bytes = section.ask("header_bytes").and_then(|entry| entry.size(1 << 10..=1 << 20));
    if let Some(bytes) = bytes.and_then(|bytes| usize::try_from(bytes).ok()) {
        settings.heads.bytes = bytes;
    }
    if let Some(count) = section.ask("header_count").and_then(|entry| entry.number(8..=1000)) {
        settings.heads.count = count;
    }
    if let Some(streams) = section.ask("h2_streams").and_then(|entry| entry.number(1..=10_000)) {
        settings.h2_streams = streams;
    }
    section.finish();
}

fn trusted(root: &Section<'_>, settings: &mut serve::Settings) {
    let Some(entry) = root.ask("trusted_proxies") else { return };
    for text in entry.texts("a list of networks").unwrap_or_default() {
        if text.value == "unix" {
            settings.trust_unix = true;
        } else if let Some(network) = network(&text.value) {
            settings.trusted.push(network);
        } else {
            not_a_network(&text);
        }
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn not_a_network(text: &Text<'_>) {
    let label = match text.value.as_str() {
        "*" | "all" | "any" => "every peer is `\"0.0.0.0/0\", \"::/0\"`",
        _ => "as in `10.0.0.0/8`, `::1` or `unix`",
    };
    text.mistake(format!("{} is not a network or address", text.shown())).label(label).note();
}

/// `[admin]`.
pub(super) fn admin<'a>(root: &Section<'a>) -> Option<(admin::Settings, Text<'a>)> {
    let section = root.section("admin");
    let text = section.ask("address").and_then(|entry| entry.text());
    if section.is_present() && section.ask("address").is_none() {
        section.missing("address", r#"address = "127.0.0.1:9090""#);
    }
    section.finish();
    let text = text?;
    let Ok(address) = text.value.parse::<SocketAddr>() else {
        let what = format!("{} is not an IP address and a port", text.shown());
        text.mistake(what).label("as in `127.0.0.1:9090` or `[::1]:9090`").note();
        return None;
    };
    Some((admin::Settings { address }, text))
}
