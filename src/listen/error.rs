//! Why a listener could not be opened, in a sentence that names the address, the cause and the remedy.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Address;

/// Why a listener could not be opened.
#[derive(Debug)]
pub enum BindError {
    /// The port is below 1024 and the process may not have it (EACCES).
    Privileged(SocketAddr),
    /// Another socket has the address (EADDRINUSE).
    InUse(SocketAddr),
    /// The address is not one of this machine (EADDRNOTAVAIL).
    NotOurs(SocketAddr),
    /// The kernel has no such address family: IPv6 is switched off (EAFNOSUPPORT).
    NoFamily(SocketAddr),
    /// A live process serves on the unix socket.
    Served(PathBuf),
    /// What is at the path is not a socket: it is not ours to remove.
    NotASocket(PathBuf),
    /// The folder of the unix socket does not exist.
    NoFolder(PathBuf),
    /// The path is longer than a unix address can be.
    PathTooLong(PathBuf),
    /// The folder of the unix socket, or the old socket in it, may not be used by this user.
    NoAccess(PathBuf),
    /// Anything else.
    Other {
        /// The address as it was given.
        address: Address,
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

impl BindError {
    /// Sorts an error of the kernel by what can be done about it.
    pub(super) fn of_ip(address: SocketAddr, doing: &'static str, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EACCES) if (1..1024).contains(&address.port()) => Self::Privileged(address),
            Some(libc::EADDRINUSE) => Self::InUse(address),
            Some(libc::EADDRNOTAVAIL) => Self::NotOurs(address),
            Some(libc::EAFNOSUPPORT) => Self::NoFamily(address),
            _ => Self::Other { address: Address::Ip(address), doing, error },
        }
    }

    /// The same for a unix socket.
    pub(super) fn of_path(path: PathBuf, doing: &'static str, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => Self::NoAccess(path),
            Some(libc::ENOENT | libc::ENOTDIR) => Self::NoFolder(path),
            // Somebody bound it between our look and our bind.
            Some(libc::EADDRINUSE) => Self::Served(path),
            _ => Self::Other { address: Address::Unix(path), doing, error },
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Privileged(a) => write!(
                f,
                "cannot listen on {a}: port {port} is below 1024, and this user may not open such ports; give the program \
                 CAP_NET_BIND_SERVICE (`setcap cap_net_bind_service=+ep $(command -v spliceway)`, or in a systemd unit \
                 `AmbientCapabilities=CAP_NET_BIND_SERVICE`), or listen on a port from 1024 up",
                port = a.port()
            ),
            Self::InUse(a) => write!(
                f,
                "cannot listen on {a}: another process has port {port}; `ss -ltnp 'sport = :{port}'` shows which \
                 (as root, to see those of other users)",
                port = a.port()
            ),
            Self::NotOurs(a) => write!(
                f,
                "cannot listen on {a}: {ip} is not an address of this machine; `ip address` lists those that are, \
                 and 0.0.0.0 or [::] stand for all of them",
                ip = a.ip()
            ),
            Self::NoFamily(a) => write!(
                f,
                "cannot listen on {a}: this machine has {family} switched off; listen on an {other} address instead",
                family = if a.is_ipv6() { "IPv6" } else { "IPv4" },
                other = if a.is_ipv6() { "IPv4" } else { "IPv6" },
            ),
            Self::Served(path) => write!(
                f,
                "cannot listen on unix:{path}: another process serves there; stop it first, or choose another path \
                 (`ss -lxp src {path}` shows which process it is)",
                path = path.display()
            ),
            Self::NotASocket(path) => write!(
                f,
                "cannot listen on unix:{path}: there is something at this path that is not a socket, so it is left alone; \
                 remove it, or choose another path",
                path = path.display()
            ),
            Self::NoFolder(path) => write!(
                f,
                "cannot listen on unix:{}: the folder {} does not exist; create it first",
                path.display(),
                super::unix::folder(path).display()
            ),
            Self::PathTooLong(path) => {
                write!(f, "cannot listen on unix:{}: the path of a unix socket may have at most 107 bytes", path.display())
            }
            Self::NoAccess(path) => write!(
                f,
                "cannot listen on unix:{}: this user may not write in the folder {}, or may not use the old socket in it; \
                 change their owner or mode, or choose another path",
                path.display(),
                super::unix::folder(path).display()
            ),
            Self::Other { address, doing, error } => write!(f, "cannot listen on {address}: {doing}: {error}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Other { error, .. } => Some(error),
            _ => None,
        }
    }
}
