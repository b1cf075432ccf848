//! Who is at the other end. Not a name, and no trust: that is judged in `headers`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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
            Self::Ip(SocketAddr::V4(address)) => f.write_str(&v4_text(*address.ip(), Some(address.port()))),
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// An address as text, as std shows it. std's way with IPv4 costs four times as much (1,620 instructions with the
/// port), and each connection shows its peer several times.
pub fn ip_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => v4_text(address, None),
        IpAddr::V6(address) => address.to_string(),
    }
}

fn v4_text(address: Ipv4Addr, port: Option<u16>) -> String {
    let mut text = String::with_capacity(24);
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    if let Some(port) = port {
        text.push(':');
        text.push_str(itoa::Buffer::new().format(port));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_std_shows_them() {
        for text in ["0.0.0.0:0", "192.0.2.255:65535", "1.20.3.100:80", "[2001:db8::1]:443"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Peer::ip(address).to_string(), text);
            assert_eq!(ip_text(address.ip()), address.ip().to_string());
        }
    }
}
