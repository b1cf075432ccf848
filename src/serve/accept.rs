//! Takes sockets and gives each a task with its permit. Nothing in here ends for an error.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Shared, connection};
use crate::listen::{Accepted, Listener};
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

/// Accepts until the drain begins, then closes the listener. With `runtimes`, of which the first is this one, connections
/// go to each of them in turn; without, all stay here.
pub async fn accept(listener: Listener, entry: Arc<Entry>, runtimes: Vec<Handle>) {
    let mut turn = (0..runtimes.len()).cycle();
    let shutdown = entry.shared.shutdown.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.draining() => return,
            accepted = listener.accept() => accepted,
        };
        entry.shared.counters.connections.add();
        let tasks = &entry.shared.tasks;
        match turn.next().filter(|number| *number > 0).and_then(|number| runtimes.get(number)) {
            // Boxed: tokio moves a task's future when it begins and when it ends, and this one is 4 KB.
            None => tasks.spawn("connection", Box::pin(connection::serve(entry.clone(), accepted))),
            Some(runtime) => {
                let entry = entry.clone();
                let moved = async move {
                    // One that cannot be watched (the kernel has no memory for it) is closed.
                    if let Ok(socket) = accepted.socket.move_here() {
                        connection::serve(entry, Accepted { socket, ..accepted }).await;
                    }
                };
                tasks.spawn_on("connection", moved, runtime);
            }
        }
    }
}
