//! Connections to one server that wait for a request. A stack: the warmest first, so that the rest
//! grow cold and close.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http2;
use tokio::time::Instant;

use super::RequestBody;
use super::connection::Http1;

#[derive(Debug)]
pub(super) struct Pool {
    idle_time: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    http1: Vec<(Http1, Instant)>,
    /// One connection carries all; with the time it was last used.
    http2: Option<(http2::SendRequest<RequestBody>, Instant)>,
}

impl Pool {
    pub(super) fn new(idle_time: Duration) -> Self {
        Self { idle_time, state: Mutex::default() }
    }

    /// An h1 connection that can take a request now.
    pub(super) fn take_http1(&self) -> Option<Http1> {
        let mut state = self.lock();
        // One that is not ready yet is still ending its last exchange: it stays for later.
        let place = state.http1.iter().rposition(|(http1, since)| http1.sender.is_ready() && since.elapsed() < self.idle_time)?;
        Some(state.http1.remove(place).0)
    }

    /// The warmest h1 connection that is still ending its last exchange.
    pub(super) fn take_ending(&self) -> Option<Http1> {
        let mut state = self.lock();
        let place = state.http1.iter().rposition(|(http1, _)| !http1.sender.is_ready() && !http1.sender.is_closed())?;
        Some(state.http1.remove(place).0)
    }

    pub(super) fn put_http1(&self, http1: Http1) {
        if http1.reusable && !http1.sender.is_closed() {
            let mut state = self.lock();
            state.http1.retain(|(http1, _)| !http1.sender.is_closed());
            state.http1.push((http1, Instant::now()));
        }
    }

    pub(super) fn share_http2(&self) -> Option<http2::SendRequest<RequestBody>> {
        let mut state = self.lock();
        let (sender, used) = state.http2.as_mut().filter(|(sender, _)| !sender.is_closed())?;
        *used = Instant::now();
        Some(sender.clone())
    }

    pub(super) fn keep_http2(&self, sender: http2::SendRequest<RequestBody>) {
        self.lock().http2 = Some((sender, Instant::now()));
    }

    /// The next request dials; those that share the connection keep it.
    pub(super) fn drop_http2(&self) {
        self.lock().http2 = None;
    }

    /// Lets go what is closed or has been idle for too long; an h2 connection ends when the last
    /// request that shares it has.
    pub(super) fn sweep(&self) {
        let mut state = self.lock();
        state.http1.retain(|(http1, since)| !http1.sender.is_closed() && since.elapsed() < self.idle_time);
        if state.http2.as_ref().is_some_and(|(sender, used)| sender.is_closed() || used.elapsed() >= self.idle_time) {
            state.http2 = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
