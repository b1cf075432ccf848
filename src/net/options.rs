//! Socket options, each with the reason why it is set.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::{Socket, Stream};

/// How long a peer may leave sent bytes without an acknowledgement: as long as keepalive gives one to which
/// nothing is sent (the kernel goes by this for both, tcp(7)). Linux's own default is a quarter
/// of an hour.
const USER_TIMEOUT: Duration = Duration::from_secs(60 + 6 * 15);

/// What every TCP connection of ours gets, on both sides.
///
/// No delay: frames and heads are written whole, so Nagle's algorithm only adds 40 ms where it meets a
/// delayed ACK. Keepalive: a peer whose machine vanished is noticed within some minutes even where
/// nothing is ever sent to it; the times are between those of nginx (none) and of chat clients (30 s). The user
/// timeout does the same for a peer to which something was sent.
/// Failures are ignored: a connection without these options still works.
pub fn tune(socket: &Socket) {
    if let Socket::Tcp(tcp) = socket {
        tcp.set_nodelay(true).ok();
        let keepalive =
            TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(6);
        SockRef::from(tcp).set_tcp_keepalive(&keepalive).ok();
        SockRef::from(tcp).set_tcp_user_timeout(Some(USER_TIMEOUT)).ok();
    }
}

/// Lets a peer that keeps its window shut do so for longer than [`USER_TIMEOUT`], which Linux counts against it
/// although it answers every probe; or (`long` false) no more. Whether it may now. One with unacknowledged bytes
/// may not: it may be dead.
pub fn may_stay_shut(stream: &Stream, long: bool) -> bool {
    let Socket::Tcp(tcp) = stream.socket() else { return false };
    let may = long && unacknowledged_segments(tcp) == Some(0);
    let time = if may { Duration::ZERO } else { USER_TIMEOUT };
    SockRef::from(tcp).set_tcp_user_timeout(Some(time)).is_ok() && may
}

/// How many segments the peer has not acknowledged; what waits for its window is none.
#[allow(unsafe_code)] // no safe crate of ours has TCP_INFO
fn unacknowledged_segments(tcp: &tokio::net::TcpStream) -> Option<u32> {
    use std::os::fd::AsRawFd;
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the descriptor is open for the length of the borrow; `info` is as large as `length` says, and the
    // kernel writes no more than that. All zeros are a valid `tcp_info`, and so is whatever the kernel writes.
    let (status, info) = unsafe {
        let status =
            libc::getsockopt(tcp.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut length);
        (status, info.assume_init())
    };
    (status == 0).then_some(info.tcpi_unacked)
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
