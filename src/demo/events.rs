//! The SSE stream: the backend's counts, once a second, the first at once. Ends when the backend drains.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::{Interval, MissedTickBehavior};

use super::answers::{Answer, streamed};
use super::traffic::Traffic;
use crate::base::Shutdown;

/// The answer to `GET /events`.
pub(super) fn stream(traffic: Arc<Traffic>, shutdown: Shutdown) -> Answer {
    let body = unfold(Events::new(traffic, shutdown), async |mut events| {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(event)), events))
    });
    streamed(StatusCode::OK, "text/event-stream", StreamBody::new(body).boxed_unsync())
}

struct Events {
    traffic: Arc<Traffic>,
    shutdown: Shutdown,
    clock: Interval,
    sent: u64,
}

impl Events {
    fn new(traffic: Arc<Traffic>, shutdown: Shutdown) -> Self {
        traffic.streams.fetch_add(1, Relaxed);
        traffic.tell("events", format_args!("stream opened"));
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        // A reader that stalled gets no burst of what it missed: each event is the state of its moment.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { traffic, shutdown, clock, sent: 0 }
    }

    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            _ = self.clock.tick() => {}
            () = self.shutdown.draining() => return None,
        }
        // The first tells a browser how soon to come back after a cut.
        let retry = if self.sent == 0 { "retry: 1000\n" } else { "" };
        self.sent += 1;
        Some(format!("{retry}id: {}\ndata: {}\n\n", self.sent, self.traffic.as_json()).into())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.traffic.streams.fetch_sub(1, Relaxed);
        self.traffic.tell("events", format_args!("stream closed after {} events", self.sent));
    }
}
