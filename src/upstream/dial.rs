//! A new connection to a server: name, all its addresses, TLS; within the time for connecting.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use super::backend::Server;
use super::{Scheme, Target};
use crate::net::{Socket, Stream, no_delay, notice_loss_of};
use crate::tls::{Alpn, ClientAlpn, ConnectError};

/// Why there is no connection. The backend's fault, or that of the way to it; the request was not sent.
#[derive(Debug)]
pub enum DialError {
    /// The name has no address.
    Name(io::Error),
    /// No address took the connection; the last one's error.
    Connect(io::Error),
    /// The TLS handshake failed.
    Tls(ConnectError),
    /// The time for connecting was over.
    Timeout,
    /// The kernel has no room for another socket of ours: our own limit.
    OurLimit(io::Error),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => write!(f, "its name has no address ({error})"),
            Self::Connect(error) => write!(f, "it cannot be connected to ({error})"),
            Self::Tls(error) => write!(f, "TLS with it failed: {error}"),
            Self::Timeout => f.write_str("it did not take a connection in time"),
            Self::OurLimit(error) => write!(f, "we have no room for a connection to it ({error})"),
        }
    }
}

impl DialError {
    /// Which of two addresses' errors to tell. `::1` on a host without IPv6 is EADDRNOTAVAIL, which is no
    /// limit of ours if another address got further.
    fn or_rather(self, later: Self) -> Self {
        if matches!(later, Self::OurLimit(_)) && matches!(self, Self::Connect(_) | Self::Timeout) { self } else { later }
    }

    /// Whether it took too long, rather than failed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout) || matches!(self, Self::Connect(error) if error.kind() == io::ErrorKind::TimedOut)
    }
}

impl Server {
    /// Dials it, with TLS where its scheme says so; for a connection that may live long.
    pub(super) async fn dial(&self, alpn: ClientAlpn) -> Result<(Stream, Alpn), DialError> {
        let dialled = self.dial_for_now(alpn).await?;
        notice_loss_of(&dialled.0);
        Ok(dialled)
    }

    /// Likewise, for one that others see to when it has lived for some seconds: five system calls less.
    pub(super) async fn dial_for_now(&self, alpn: ClientAlpn) -> Result<(Stream, Alpn), DialError> {
        let dial = async {
            let socket = match &self.address.target {
                Target::Unix(path) => Socket::from(UnixStream::connect(path).await.map_err(connect_error)?),
                Target::Tcp { host, port } => {
                    let tcp = self.dial_tcp(host, *port).await?;
                    no_delay(&tcp);
                    Socket::from(tcp)
                }
            };
            match (&self.connector, &self.address.target) {
                (Some(connector), Target::Tcp { host, .. }) if self.address.scheme == Scheme::Https => {
                    // Boxed: most dials have no TLS, and all who dial have no room for it.
                    Box::pin(connector.connect(socket, host, alpn)).await.map_err(DialError::Tls)
                }
                _ => Ok((Stream::from(socket), Alpn::None)),
            }
        };
        timeout(self.settings.connect_time, dial).await.unwrap_or(Err(DialError::Timeout))
    }

    /// Tries every address of the name; each gets an equal share of the time that is left, so that one
    /// that swallows packets does not hide the others.
    async fn dial_tcp(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        if let Ok(ip) = host.parse() {
            // There is no other: it has all the time that is left, which our caller looks after.
            return TcpStream::connect(SocketAddr::new(ip, port)).await.map_err(connect_error);
        }
        let deadline = Instant::now() + self.settings.connect_time;
        let mut addresses: Vec<_> = tokio::net::lookup_host((host, port)).await.map_err(DialError::Name)?.collect();
        if is_localhost(host) {
            let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].map(|ip: IpAddr| SocketAddr::new(ip, port));
            addresses.extend(loopback.into_iter().filter(|address| !addresses.contains(address)).collect::<Vec<_>>());
        }
        let mut last = None;
        let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for (address, left) in addresses.into_iter().zip((1..=count).rev()) {
            let connect = TcpStream::connect(address);
            let connected = if left == 1 {
                Ok(connect.await) // the last has all the time that is left, which our caller looks after
            } else {
                timeout(deadline.saturating_duration_since(Instant::now()) / left, connect).await
            };
            match connected {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => {
                    let error = connect_error(error);
                    last = Some(match last {
                        Some(earlier) => DialError::or_rather(earlier, error),
                        None => error,
                    });
                }
                Err(_) => last = Some(DialError::Timeout),
            }
        }
        Err(last.unwrap_or_else(|| DialError::Name(io::Error::new(io::ErrorKind::NotFound, "no address"))))
    }
}

/// Always both loopback addresses (RFC 6761 section 6.3): many a hosts file has only one of them, and a
/// server that listens on `localhost` may have taken the other.
fn is_localhost(host: &str) -> bool {
    host.trim_end_matches('.').eq_ignore_ascii_case("localhost")
}

fn connect_error(error: io::Error) -> DialError {
    // EMFILE, ENFILE: open files; EADDRNOTAVAIL: local ports; ENOBUFS, ENOMEM: memory.
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::EADDRNOTAVAIL | libc::ENOBUFS | libc::ENOMEM) => DialError::OurLimit(error),
        _ => DialError::Connect(error),
    }
}
