//! How WebSockets are kept alive, judged and limited: `[websocket]` for the whole file, and the same keys in a
//! route for its own. Not here: the handshake.

use super::reading::{Entry, Section};
use super::routes::not_one_of;
use crate::frame::is_sendable;
use crate::route::TunnelKind;
use crate::tunnel::{MaxAge, OverRate, Rate, Settings};

/// The keys.
pub(super) const KEYS: [&str; 14] = [
    "ping",
    "ping_backend",
    "pong_timeout",
    "idle",
    "max_age",
    "max_age_jitter",
    "max_age_code",
    "enforce",
    "max_message",
    "max_messages_per_second",
    "message_burst",
    "max_bytes_per_second",
    "byte_burst",
    "over_rate",
];

/// All kinds of tunnels so far; the first is for routes that say nothing.
pub(super) struct Tunnels {
    list: Vec<Settings>,
}

impl Tunnels {
    /// With what `[websocket]` says.
    pub(super) fn read(root: &Section<'_>) -> Self {
        let section = root.section("websocket");
        let settings = settings(&section, &Settings::default());
        section.finish();
        Self { list: vec![settings] }
    }

    /// The kind that a route asks for.
    pub(super) fn of_route(&mut self, section: &Section<'_>) -> TunnelKind {
        let default = self.list.first().cloned().unwrap_or_default();
        let settings = settings(section, &default);
        let place = self.list.iter().position(|other| *other == settings).unwrap_or_else(|| {
            self.list.push(settings);
            self.list.len() - 1
        });
        TunnelKind(place)
    }

    pub(super) fn finish(self) -> Vec<Settings> {
        self.list
    }
}

fn settings(section: &Section<'_>, default: &Settings) -> Settings {
    let or_off = |name, default| section.ask(name).and_then(|entry| entry.duration_or_off()).unwrap_or(default);
    Settings {
        ping: or_off("ping", default.ping),
        ping_backend: or_off("ping_backend", default.ping_backend),
        pong_timeout: section.duration("pong_timeout", default.pong_timeout),
        idle: or_off("idle", default.idle),
        max_age: max_age(section, default.max_age),
        enforce: section.flag("enforce", default.enforce),
        max_message: section.ask("max_message").and_then(|entry| size_or_off(&entry)).unwrap_or(default.max_message),
        messages: rate(section, "max_messages_per_second", "message_burst", default.messages, &count_or_off),
        bytes: rate(section, "max_bytes_per_second", "byte_burst", default.bytes, &size_or_off),
        over_rate: section.ask("over_rate").and_then(|entry| over_rate(&entry)).unwrap_or(default.over_rate),
    }
}

fn max_age(section: &Section<'_>, default: Option<MaxAge>) -> Option<MaxAge> {
    let time = section.ask("max_age").and_then(|entry| entry.duration_or_off());
    let jitter = section.ask("max_age_jitter");
    let code = section.ask("max_age_code");
    let time = time.unwrap_or(default.map(|age| age.time));
    for entry in [&jitter, &code].into_iter().flatten().filter(|_| time.is_none()) {
        entry.mistaken_key("there is no `max_age` that it belongs to").label("no meaning here").needs_whole_file().note();
    }
    let jitter = jitter.and_then(|entry| entry.duration_or_zero());
    let code = code.and_then(|entry| close_code(&entry)).or(default.map(|age| age.code)).unwrap_or(1001);
    let time = time?;
    // A tenth spreads the reconnects of tunnels that began together, and is what "an hour" still may mean.
    let jitter = jitter.or(default.filter(|age| age.time == time).map(|age| age.jitter)).unwrap_or(time / 10);
    Some(MaxAge { time, jitter, code })
}

fn close_code(entry: &Entry<'_>) -> Option<u16> {
    let code = entry.number::<u16>(1000..=4999)?;
    if !is_sendable(code) {
        entry.mistake(format!("{code} may not be sent in a Close")).label("1000 to 1003, 1007 to 1014, 3000 to 4999").note();
        return None;
    }
    Some(code)
}

#[allow(clippy::option_option)] // the outer one is "nothing usable there", as everywhere here
fn size_or_off(entry: &Entry<'_>) -> Option<Option<u64>> {
    if entry.is_off() { Some(None) } else { entry.size(1..=1 << 40).map(Some) }
}

#[allow(clippy::option_option)] // likewise
fn count_or_off(entry: &Entry<'_>) -> Option<Option<u64>> {
    if entry.is_off() { Some(None) } else { entry.number::<u64>(1..=1_000_000).map(Some) }
}

/// A rate and what may come at once; without a word on that, what may come in a second.
fn rate(
    section: &Section<'_>,
    name: &'static str,
    burst_name: &'static str,
    default: Option<Rate>,
    read: &dyn Fn(&Entry<'_>) -> Option<Option<u64>>,
) -> Option<Rate> {
    let per_second = section.ask(name).and_then(|entry| read(&entry));
    let burst = section.ask(burst_name);
    let per_second = per_second.unwrap_or(default.map(|rate| rate.per_second));
    if let Some(entry) = burst.as_ref().filter(|_| per_second.is_none()) {
        let noted = entry.mistaken_key(format!("there is no `{name}` that it belongs to"));
        noted.label("no meaning here").needs_whole_file().note();
    }
    let burst = burst.and_then(|entry| read(&entry)).flatten();
    let per_second = per_second?;
    let burst = burst.or(default.filter(|rate| rate.per_second == per_second).map(|rate| rate.burst)).unwrap_or(per_second);
    Some(Rate { per_second, burst })
}

fn over_rate(entry: &Entry<'_>) -> Option<OverRate> {
    let text = entry.text()?;
    match text.value.as_str() {
        "wait" => Some(OverRate::Wait),
        "close" => Some(OverRate::Close),
        _ => {
            not_one_of(&text, "what becomes of who sends too much", &["wait", "close"]);
            None
        }
    }
}
