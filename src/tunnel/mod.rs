//! How bytes move once the handshake is done: two directions, each with a life of its own.
//!
//! A tunnel holds two streams and nothing else while nothing moves: no buffer, no timer, no HTTP. It
//! follows no frames, and it does not know what it is counted under.

mod direction;
mod ended;
mod scratch;

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::base::Shutdown;
use crate::net::Stream;
use direction::Direction;
pub use ended::{By, Ended, How};
pub use scratch::SCRATCH_BYTES;

/// How much longer the kernel may take to send the last bytes before a reset throws them away.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Bytes moved so far; read by whoever likes to, while the tunnel lives.
#[derive(Debug, Default)]
pub struct Traffic {
    from_client: AtomicU64,
    from_backend: AtomicU64,
}

impl Traffic {
    /// Bytes read from the client.
    pub fn from_client(&self) -> u64 {
        self.from_client.load(Ordering::Relaxed)
    }

    /// Bytes read from the backend.
    pub fn from_backend(&self) -> u64 {
        self.from_backend.load(Ordering::Relaxed)
    }
}

/// Two streams after a valid handshake. Bytes that were read too early stand in front of each
/// (`Stream::unread`) and go first.
///
/// Memory: while a peer does not drain, at most [`SCRATCH_BYTES`] for each direction, and what rustls
/// buffers (64 KiB of records to send, one record received); while nothing waits, none.
#[derive(Debug)]
pub struct Tunnel {
    client: Stream,
    backend: Stream,
    up: Direction,
    down: Direction,
    /// What happened first, if anything.
    first: Option<Ended>,
}

impl Tunnel {
    /// A tunnel between two streams.
    pub fn new(client: Stream, backend: Stream) -> Self {
        Self { client, backend, up: Direction::default(), down: Direction::default(), first: None }
    }

    /// Moves bytes until both sides have ended, or one has and `linger` is over, or `shutdown` is
    /// through its grace. Closes both streams: by RST where the other side was lost, else by FIN.
    pub async fn run(mut self, linger: Duration, traffic: &Traffic, shutdown: &Shutdown) -> Ended {
        tokio::select! {
            biased;
            () = shutdown.draining() => {}
            () = poll_fn(|cx| self.poll_until_first_end(cx, traffic)) => {}
        }
        if self.first.is_none() {
            self.first = Some(Ended { by: By::Us, how: How::Shutdown });
            self.up.end();
            self.down.end();
        }
        tokio::select! {
            () = shutdown.ended() => {}
            () = self.linger(linger, traffic) => {}
        }
        self.close().await
    }

    /// One end was seen: the other side gets its time, counted anew while the last bytes still move.
    async fn linger(&mut self, linger: Duration, traffic: &Traffic) {
        let sleep = sleep_until(Instant::now() + linger);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                biased;
                moved = poll_fn(|cx| self.poll_linger(cx, traffic)) => match moved {
                    Moved::LastBytes => sleep.as_mut().reset(Instant::now() + linger),
                    Moved::AllDone => return,
                },
                () = &mut sleep => return,
            }
        }
    }

    fn poll_until_first_end(&mut self, cx: &mut Context<'_>, traffic: &Traffic) -> Poll<()> {
        self.poll_both(cx, traffic);
        if self.first.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>, traffic: &Traffic) -> Poll<Moved> {
        let before = self.last_bytes();
        self.poll_both(cx, traffic);
        if self.is_over() {
            return Poll::Ready(Moved::AllDone);
        }
        if self.last_bytes() < before { Poll::Ready(Moved::LastBytes) } else { Poll::Pending }
    }

    /// Bytes that wait for a receiver whose sender has ended.
    fn last_bytes(&self) -> usize {
        self.up.last_bytes() + self.down.last_bytes()
    }

    fn poll_both(&mut self, cx: &mut Context<'_>, traffic: &Traffic) {
        self.up.poll(cx, &mut self.client, &mut self.backend, &traffic.from_client);
        if self.up.has_met_reset() {
            self.down.sender_is_reset();
        }
        self.down.poll(cx, &mut self.backend, &mut self.client, &traffic.from_backend);
        if self.down.has_met_reset() {
            self.up.sender_is_reset();
        }
        if self.first.is_none() {
            self.first = [(&self.up, By::Client), (&self.down, By::Backend)]
                .into_iter()
                .find_map(|(direction, by)| direction.how().map(|how| Ended { by, how }))
                .or_else(|| {
                    [(&self.up, By::Backend), (&self.down, By::Client)]
                        .into_iter()
                        .find_map(|(direction, by)| direction.refused().map(|how| Ended { by, how }))
                });
        }
    }

    /// Both directions are through, or one side is lost and the other has all its bytes.
    fn is_over(&self) -> bool {
        (self.up.is_done() && self.down.is_done()) || self.up.has_lost_its_sender() || self.down.has_lost_its_sender()
    }

    async fn close(mut self) -> Ended {
        let lost_client = self.up.how().is_some_and(How::is_loss);
        let lost_backend = self.down.how().is_some_and(How::is_loss);
        if !lost_client && !lost_backend {
            poll_fn(|cx| {
                // The linger ended it, not the peers: under TLS that too is said, or it looks like an attack.
                self.up.poll_last_word(cx, &mut self.backend);
                self.down.poll_last_word(cx, &mut self.client);
                Poll::Ready(())
            })
            .await;
        }
        for (lost, survivor) in [(lost_client, &mut self.backend), (lost_backend, &mut self.client)] {
            if lost {
                wait_until_sent(survivor).await;
                survivor.reset_on_close();
            }
        }
        self.first.unwrap_or(Ended { by: By::Us, how: How::Shutdown })
    }
}

enum Moved {
    LastBytes,
    AllDone,
}

/// A reset destroys what was not sent: bytes already read are delivered first. There is no
/// event for an empty send queue, so it is looked at; this happens once, at the end of a broken tunnel.
async fn wait_until_sent(stream: &Stream) {
    let deadline = Instant::now() + LAST_BYTES;
    while stream.lost_by_reset() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
