//! Socket options, each with the reason why it is set.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::Socket;

/// What every TCP connection of ours gets, on both sides.
///
/// No delay: frames and heads are written whole, so Nagle's algorithm only adds 40 ms where it meets a
/// delayed ACK. Keepalive: a peer whose machine vanished is noticed within some minutes even where
/// nothing is ever sent to it; the times are between those of nginx (none) and of chat clients (30 s).
/// Failures are ignored: a connection without these options still works.
pub fn tune(socket: &Socket) {
    if let Socket::Tcp(tcp) = socket {
        tcp.set_nodelay(true).ok();
        let keepalive =
            TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(6);
        SockRef::from(tcp).set_tcp_keepalive(&keepalive).ok();
    }
}

/// Makes the coming `close` send RST instead of FIN. What the kernel has not sent yet is lost, so
/// wait for [`unsent`] to be 0 first.
pub fn reset_on_close(socket: &Socket) {
    if let Socket::Tcp(tcp) = socket {
        SockRef::from(tcp).set_linger(Some(Duration::ZERO)).ok();
    }
}

/// How many bytes the kernel holds that the peer has not acknowledged (SIOCOUTQ).
/// 0 for a unix socket, whose bytes are at the peer as soon as they are written.
#[allow(unsafe_code)] // no safe crate of ours has SIOCOUTQ
pub fn unsent(socket: &Socket) -> usize {
    use std::os::fd::AsRawFd;
    let Socket::Tcp(tcp) = socket else { return 0 };
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for the length of the borrow, and TIOCOUTQ (which is SIOCOUTQ on
    // a socket, tcp(7)) writes one c_int to the given place, which lives through the call.
    let status = unsafe { libc::ioctl(tcp.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if status == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}
