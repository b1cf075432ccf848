//! The token that says "we are going": seen by everyone, given by one.

use tokio_util::sync::CancellationToken;

/// Two steps to the end of a listener, a connection, a tunnel or the process.
///
/// `drain`: take nothing new, finish what was begun, end tunnels politely. `now`: the grace is over.
/// `now` implies `drain`. Clones are the same token.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    now: CancellationToken,
}

impl Shutdown {
    /// A token that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the first step.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Begins the second step (and the first, where it had not begun).
    pub fn now(&self) {
        self.drain.cancel();
        self.now.cancel();
    }

    /// Whether the first step has begun.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Whether the second step has begun.
    pub fn has_ended(&self) -> bool {
        self.now.is_cancelled()
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
