//! Who is at the other end. Not a name, and no trust: that is judged in `headers`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The address of a peer, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A TCP peer. An IPv4 client of a dual-stack listener is shown as IPv4.
    Ip(SocketAddr),
    /// A peer on a unix socket: it has no address, it is on this machine.
    Unix,
}

impl Peer {
    /// A TCP peer, with an IPv4-mapped IPv6 address turned back into IPv4.
    pub fn ip(address: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// The IP address, where there is one.
    pub fn ip_address(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}
