//! The clock on a backend's answer: one timer for each connection, lent to one request after the other. What the
//! clock says is `body::Flow`'s to know.
//!
//! A timer that is made, started and dropped for each request costs more than the look at it. So one stays in the
//! runtime's wheel: when it ends too early for the request at hand, which is once a minute at most, it is set anew.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::body::Flow;

/// Where a connection keeps its timer while no request has it.
#[derive(Debug, Default)]
pub(super) struct Rack(Mutex<Option<Pin<Box<Sleep>>>>);

/// A timer on loan; its drop gives it back.
pub(super) struct AnswerClock<'a> {
    rack: &'a Rack,
    flow: &'a Flow,
    time: Duration,
    /// Always there until the drop.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Rack {
    /// A clock that runs out when `flow` has stood still for `time`.
    pub(super) fn lend<'a>(&'a self, flow: &'a Flow, time: Duration) -> AnswerClock<'a> {
        let deadline = flow.last_moved() + time;
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // One that would end too late is of no use: routes differ in their times.
        let kept = kept.filter(|sleep| sleep.deadline() <= deadline);
        AnswerClock { rack: self, flow, time, sleep: Some(kept.unwrap_or_else(|| Box::pin(sleep_until(deadline)))) }
    }
}

impl AnswerClock<'_> {
    /// Ready when the upload has stood still for the time, or has been over for as long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else { return Poll::Ready(()) };
        loop {
            ready!(sleep.as_mut().poll(cx));
            let deadline = self.flow.last_moved() + self.time;
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

impl Drop for AnswerClock<'_> {
    fn drop(&mut self) {
        *self.rack.0.lock().unwrap_or_else(PoisonError::into_inner) = self.sleep.take();
    }
}
