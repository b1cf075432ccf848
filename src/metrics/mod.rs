//! Counters, and nothing that shows them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the process has seen.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections taken in.
    pub connections: Counter,
    /// HTTP requests answered, refused handshakes among them.
    pub requests: Counter,
    /// Tunnels opened.
    pub tunnels: Counter,
    /// Tasks that panicked.
    pub panics: Counter,
}
