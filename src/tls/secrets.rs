//! Traffic secrets, caught while a handshake of ours is driven: what our own record layer goes on with in a tunnel.
//!
//! rustls tells secrets to a key log only, one for all connections of a configuration. So the log listens only while one
//! handshake is being polled, on this thread, and writes to that handshake's own place. It takes the two secrets of
//! application data, writes no file, and reads no environment.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;

use rustls::KeyLog;

use crate::record::{Secret, Secrets};

const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

/// What one handshake has told so far.
#[derive(Debug, Default)]
struct Caught {
    client: Option<Secret>,
    server: Option<Secret>,
}

thread_local! {
    /// That of the handshake which is being polled.
    static CAUGHT: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// The log of both sides' configurations.
#[derive(Debug)]
pub(super) struct Catcher;

impl KeyLog for Catcher {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        CAUGHT.with_borrow_mut(|caught| match (caught, label) {
            (Some(caught), CLIENT) => caught.client = Secret::of(secret),
            (Some(caught), SERVER) => caught.server = Secret::of(secret),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT | SERVER) && CAUGHT.with_borrow(Option::is_some)
    }
}

/// Lends a handshake's place to the log, until dropped.
struct Lent<'a>(&'a mut Caught);

impl<'a> Lent<'a> {
    fn new(place: &'a mut Caught) -> Self {
        CAUGHT.set(Some(std::mem::take(place)));
        Self(place)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.0 = CAUGHT.take().unwrap_or_default();
    }
}

/// Drives a handshake, and catches its secrets if there are such: TLS 1.2 has none.
pub(super) async fn catching<T>(handshake: impl Future<Output = T>) -> (T, Option<Secrets>) {
    let mut handshake = pin!(handshake);
    let mut caught = Caught::default();
    let done = poll_fn(|cx| {
        let _lent = Lent::new(&mut caught);
        handshake.as_mut().poll(cx)
    })
    .await;
    (done, caught.client.zip(caught.server).map(|(client, server)| Secrets { client, server }))
}
