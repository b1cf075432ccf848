//! What passes through the demo's backend: counts for its page, lines for its terminal. Not the proxy's records.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tokio::sync::broadcast;

/// Lines that a listener may fall behind before it misses some; nobody is slowed down by a terminal.
const LINES: usize = 256;

/// Counts and lines.
#[derive(Debug)]
pub(super) struct Traffic {
    started: Instant,
    lines: broadcast::Sender<String>,
    /// Requests answered, of any kind.
    pub(super) requests: AtomicU64,
    /// Chat messages.
    pub(super) messages: AtomicU64,
    /// Echoed messages.
    pub(super) echoes: AtomicU64,
    /// People in the chat now.
    pub(super) people: AtomicU64,
    /// SSE streams now.
    pub(super) streams: AtomicU64,
}

impl Traffic {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            lines: broadcast::Sender::new(LINES),
            requests: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            echoes: AtomicU64::new(0),
            people: AtomicU64::new(0),
            streams: AtomicU64::new(0),
        }
    }

    /// One line for whoever watches. `what` is the station (`chat`, `echo`, ...); the rest must hold no control
    /// characters of a visitor's, a terminal obeys them.
    pub(super) fn tell(&self, what: &str, line: std::fmt::Arguments<'_>) {
        // An error says that nobody watches.
        self.lines.send(format!("{what:<7}{line}")).ok();
    }

    pub(super) fn watch(&self) -> broadcast::Receiver<String> {
        self.lines.subscribe()
    }

    /// The counts as one JSON object, for the SSE stream.
    pub(super) fn as_json(&self) -> String {
        serde_json::json!({
            "at": now_ms(),
            "up": self.started.elapsed().as_secs(),
            "requests": self.requests.load(Relaxed),
            "messages": self.messages.load(Relaxed),
            "echoes": self.echoes.load(Relaxed),
            "people": self.people.load(Relaxed),
            "streams": self.streams.load(Relaxed),
        })
        .to_string()
    }
}

/// Something counted while it lives.
#[derive(Debug)]
pub(super) struct Present<'a>(&'a AtomicU64);

impl<'a> Present<'a> {
    pub(super) fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Milliseconds since 1970, as a browser's `Date` takes them.
pub(super) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
