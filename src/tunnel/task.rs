//! A tunnel as a future of its own: for streams that wake a task, those of h2 among them.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::time::{Sleep, sleep_until};

use super::{Next, Report, Traffic, Tunnel, Word};
use crate::base::{Moment, Shutdown, instant};

impl Tunnel {
    /// Moves bytes until both sides have ended, or one has and the linger is over, or `shutdown` is through its grace.
    pub async fn run(self: Box<Self>, traffic: &Traffic, shutdown: &Shutdown) -> Report {
        let mut tunnel = self;
        let mut draining = pin!(shutdown.draining());
        let mut ended = pin!(shutdown.ended());
        let mut word = Word::Live;
        let mut timer = Timer::default();
        poll_fn(|cx| {
            if word == Word::Live && draining.as_mut().poll(cx).is_ready() {
                word = Word::Drain;
            }
            if word == Word::Drain && ended.as_mut().poll(cx).is_ready() {
                word = Word::Now;
            }
            loop {
                let fired = timer.has_fired();
                match tunnel.poll(cx, traffic, &Moment::new(), fired, word) {
                    Next::Over => return Poll::Ready(()),
                    Next::Again => let_others(cx),
                    Next::Wait => {}
                }
                if timer.set(tunnel.wake_at(), cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
        tunnel.into_report()
    }
}

/// One timer, made when it is first needed.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn has_fired(&self) -> bool {
        self.sleep.as_ref().is_some_and(|sleep| sleep.is_elapsed())
    }

    /// Sets it for this time. Ready: that is now.
    fn set(&mut self, at: u64, cx: &mut std::task::Context<'_>) -> Poll<()> {
        if at == u64::MAX {
            self.sleep = None;
            return Poll::Pending;
        }
        let at = instant(at);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx)
    }
}

/// Has the task polled again, after the thread's other tasks and what the kernel has to tell.
pub(super) fn let_others(cx: &mut std::task::Context<'_>) {
    // Not `wake_by_ref`: with a task always in its queue tokio asks the kernel after 61 polls only. What
    // yields is woken after asking.
    if pin!(tokio::task::yield_now()).poll(cx).is_ready() {
        cx.waker().wake_by_ref(); // never so far: it was made to be pending once
    }
}
