//! The token that says "we are going": seen by everyone, given by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// Two steps to the end of a listener, a connection, a tunnel or the process.
///
/// `drain`: take nothing new, finish what was begun, end tunnels politely. `now`: the grace is over.
/// `now` implies `drain`. Clones are the same token.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    now: CancellationToken,
    // The same once more, to be looked at without the lock that a token has: connections ask at each turn.
    draining: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Shutdown {
    /// A token that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the first step.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release); // before the token wakes who will look
        self.drain.cancel();
    }

    /// Begins the second step (and the first, where it had not begun).
    pub fn now(&self) {
        self.drain();
        self.ended.store(true, Ordering::Release);
        self.now.cancel();
    }

    /// Whether the first step has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether the second step has begun.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Completes when the first step begins. Cancel safe.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Completes when the second step begins. Cancel safe.
    pub async fn ended(&self) {
        self.now.cancelled().await;
    }
}
