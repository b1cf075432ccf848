//! Takes sockets and gives each a task with its permit. Nothing in here ends for an error.

use std::sync::Arc;

use super::{Shared, connection};
use crate::listen::Listener;
use crate::tls::Acceptor;

/// One way in: what holds for all connections of a listener.
#[derive(Debug)]
pub struct Entry {
    /// What all entries share.
    pub shared: Arc<Shared>,
    /// `None`: plain.
    pub tls: Option<Acceptor>,
    /// Send plain requests to `https` on this port.
    pub redirect_https: Option<u16>,
}

/// Accepts until the drain begins, then closes the listener.
pub async fn accept(listener: Listener, entry: Arc<Entry>) {
    let shutdown = entry.shared.shutdown.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.draining() => return,
            accepted = listener.accept() => accepted,
        };
        entry.shared.counters.connections.add();
        entry.shared.tasks.spawn("connection", connection::serve(entry.clone(), accepted));
    }
}
