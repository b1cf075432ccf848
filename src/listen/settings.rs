//! What can be said of one listener. Plain data; how it is written in TOML is `config`'s.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port; port 0 lets the kernel choose.
    Ip(SocketAddr),
    /// A unix stream socket at a path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where.
    pub address: Address,
    /// For an IPv6 wildcard: refuse IPv4 clients. Off: `[::]:80` takes both.
    pub ipv6_only: bool,
    /// The most connections alive at once; further ones wait in the kernel's queue. `None`: as many as
    /// there are open files.
    pub max_connections: Option<usize>,
    /// The permission bits of a unix socket.
    pub unix_mode: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: Address::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
            ipv6_only: false,
            max_connections: None,
            unix_mode: 0o660,
        }
    }
}
