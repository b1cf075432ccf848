//! Opening a TCP listener. Not accepting on it.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::BindError;
use crate::net;

/// The length asked for the kernel's queue of connections that wait to be accepted; it takes no more than
/// `net.core.somaxconn`, whose default is this very number since Linux 5.4.
pub(super) const BACKLOG: i32 = 4096;

/// Who else has a port that is to be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Nobody: one that is taken is an error.
    Alone,
    /// Nobody yet, but others of ours will (`SO_REUSEPORT`).
    First,
    /// Others of ours.
    Further,
}

/// Opens a TCP listener. `ipv6_only` concerns only the wildcard `[::]`.
pub(super) fn tcp(address: SocketAddr, ipv6_only: bool, sharing: Sharing) -> Result<TcpListener, BindError> {
    let failed = |doing| move |error: io::Error| BindError::of_ip(address, doing, error);
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(failed("opening a socket"))?;
    // So that a restart does not wait for the TIME_WAIT of the connections before it. On Linux it does
    // not let two listeners share the port.
    socket.set_reuse_address(true).map_err(failed("setting SO_REUSEADDR"))?;
    if address.is_ipv6() {
        // Said either way: the default is the machine's (net.ipv6.bindv6only).
        socket.set_only_v6(ipv6_only).map_err(failed("setting IPV6_V6ONLY"))?;
    }
    socket.set_nonblocking(true).map_err(failed("setting it non-blocking"))?;
    let share = || socket.set_reuse_port(true).map_err(failed("setting SO_REUSEPORT"));
    if sharing == Sharing::Further {
        share()?;
    }
    net::tune(&socket); // what it accepts inherits that
    socket.bind(&address.into()).map_err(failed("binding"))?;
    if sharing == Sharing::First {
        // Only now: bound with it, it would share the port with another process of this user without a word.
        share()?;
    }
    socket.listen(BACKLOG).map_err(failed("listening"))?;
    TcpListener::from_std(socket.into()).map_err(failed("handing it to the runtime"))
}
