//! Connections to one server that wait for a request. A stack: the warmest first, so that the rest
//! grow cold and close.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http2;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::RequestBody;
use super::connection::Http1;
use crate::base;

#[derive(Debug)]
pub(super) struct Pool {
    idle_time: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    http1: Vec<(Box<Http1>, Instant)>,
    http2: Option<Http2>,
    /// How many h2 connections there have been.
    numbered: u64,
}

/// One connection carries all requests.
#[derive(Debug)]
struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    used: Instant,
    number: u64,
}

impl Pool {
    pub(super) fn new(idle_time: Duration) -> Self {
        Self { idle_time, state: Mutex::default() }
    }

    /// An h1 connection that can take a request now.
    pub(super) fn take_http1(&self) -> Option<Box<Http1>> {
        let mut state = self.lock();
        let worker = base::worker();
        // The warmest that this thread's runtime watches, then the warmest of all.
        let home = state.http1.iter().rposition(|(http1, _)| http1.home == worker && http1.sender.is_ready());
        let mut place = home.map_or(state.http1.len(), |home| home + 1);
        while let Some(before) = place.checked_sub(1) {
            place = before;
            let (http1, since) = state.http1.get_mut(place)?;
            if !http1.sender.is_ready() {
                http1.settle();
            } // else whoever asks on it looks first whether the server has closed it
            if http1.sender.is_closed() {
                state.http1.remove(place);
            } else if http1.sender.is_ready() {
                // Those below it are colder still.
                return if base::now().saturating_duration_since(*since) < self.idle_time {
                    Some(state.http1.remove(place).0)
                } else {
                    None
                };
            } // else it is still ending its last exchange, and stays for later
        }
        None
    }

    /// The warmest h1 connection that is still ending its last exchange.
    pub(super) fn take_ending(&self) -> Option<Box<Http1>> {
        let mut state = self.lock();
        let place = state.http1.iter().rposition(|(http1, _)| !http1.sender.is_ready() && !http1.sender.is_closed())?;
        Some(state.http1.remove(place).0)
    }

    pub(super) fn put_http1(&self, mut http1: Box<Http1>) {
        if http1.reusable && !http1.sender.is_ready() {
            http1.settle();
            if !http1.sender.is_ready() {
                http1.leave_to_a_task(&Handle::current()); // in here nobody drives it
            }
        }
        if http1.reusable && !http1.sender.is_closed() {
            self.lock().http1.push((http1, base::now())); // the closed among them go with `take_http1` and `sweep`
        }
    }

    /// The h2 connection, and its number.
    pub(super) fn share_http2(&self) -> Option<(http2::SendRequest<RequestBody>, u64)> {
        let mut state = self.lock();
        let http2 = state.http2.as_mut().filter(|http2| !http2.sender.is_closed())?;
        http2.used = Instant::now();
        Some((http2.sender.clone(), http2.number))
    }

    /// Shares a new h2 connection from now on; its number.
    pub(super) fn keep_http2(&self, sender: http2::SendRequest<RequestBody>) -> u64 {
        let mut state = self.lock();
        state.numbered += 1;
        let number = state.numbered;
        state.http2 = Some(Http2 { sender, used: Instant::now(), number });
        number
    }

    /// The next request dials, if this is still the shared one; those that share it keep it.
    pub(super) fn drop_http2(&self, number: u64) {
        let mut state = self.lock();
        state.http2.take_if(|http2| http2.number == number);
    }

    /// Lets go what is closed or has been idle for too long; an h2 connection ends when the last
    /// request that shares it has.
    pub(super) fn sweep(&self) {
        let mut state = self.lock();
        state.http1.retain_mut(|(http1, since)| {
            http1.settle();
            !http1.sender.is_closed() && since.elapsed() < self.idle_time
        });
        state.http2.take_if(|http2| http2.sender.is_closed() || http2.used.elapsed() >= self.idle_time);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
