//! Socket options, each with the reason why it is set.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::{Socket, Stream};

/// How long a peer may leave sent bytes without an acknowledgement: as long as keepalive gives one to which
/// nothing is sent (the kernel goes by this for both, tcp(7)). Linux's own default is a quarter
/// of an hour.
const USER_TIMEOUT: Duration = Duration::from_secs(60 + 6 * 15);

/// What every TCP connection of ours gets, on both sides. Given to a listener, those that it accepts have it from the
/// beginning: Linux makes their sockets of the listener's, options and all. That spares six system calls each.
///
/// Failures are ignored, of all of these: a connection without these options still works.
pub fn tune(tcp: &impl AsFd) {
    no_delay(tcp);
    notice_loss(tcp);
}

/// Frames and heads are written whole, so Nagle's algorithm only adds 40 ms where it meets a delayed ACK.
pub fn no_delay(tcp: &impl AsFd) {
    SockRef::from(tcp).set_tcp_nodelay(true).ok();
}

/// What [`tune`] does but for the delay, to the socket beneath a stream.
pub fn notice_loss_of(stream: &Stream) {
    if let Some(tcp) = stream.socket().and_then(Socket::tcp) {
        notice_loss(&tcp);
    }
}

/// Keepalive: a peer whose machine vanished is noticed within some minutes even where nothing is ever sent to it; the
/// times are between those of nginx (none) and of chat clients (30 s). The user timeout does the same for a peer to
/// which something was sent.
fn notice_loss(tcp: &impl AsFd) {
    let tcp = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(6);
    tcp.set_tcp_keepalive(&keepalive).ok();
    tcp.set_tcp_user_timeout(Some(USER_TIMEOUT)).ok();
}

/// Lets a peer that keeps its window shut do so for longer than `USER_TIMEOUT`, which Linux counts against it
/// although it answers every probe; or (`long` false) no more. Whether it may now. One with unacknowledged bytes
/// may not: it may be dead.
pub fn may_stay_shut(stream: &Stream, long: bool) -> bool {
    let Some(tcp) = stream.socket().and_then(Socket::tcp) else { return false };
    let may = long && unacknowledged_segments(tcp) == Some(0);
    let time = if may { Duration::ZERO } else { USER_TIMEOUT };
    SockRef::from(&tcp).set_tcp_user_timeout(Some(time)).is_ok() && may
}

/// How many segments the peer has not acknowledged; what waits for its window is none.
#[allow(unsafe_code)] // no safe crate of ours has TCP_INFO
fn unacknowledged_segments(tcp: BorrowedFd<'_>) -> Option<u32> {
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
pub(super) fn reset_on_close(socket: &Socket) {
    if let Some(tcp) = socket.tcp() {
        SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).ok();
    }
}

/// How many bytes the kernel holds that the peer has not acknowledged (SIOCOUTQ).
/// 0 for a unix socket, whose bytes are at the peer as soon as they are written.
pub(super) fn unsent(socket: &Socket) -> usize {
    let held_back = if let Socket::Raw(raw) = socket { raw.held_back() } else { 0 };
    socket.tcp().map_or(0, queued) + held_back
}

#[allow(unsafe_code)] // no safe crate of ours has SIOCOUTQ
fn queued(tcp: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for the length of the borrow, and TIOCOUTQ (which is SIOCOUTQ on
    // a socket, tcp(7)) writes one c_int to the given place, which lives through the call.
    let status = unsafe { libc::ioctl(tcp.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if status == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// A look at the send queue of a connection whose socket somebody else holds.
///
/// The descriptor is a bare number, which the kernel gives to another file once it is closed. So whoever holds
/// the socket also holds a [`Watched`], which takes the number away before the socket goes.
#[derive(Clone, Debug)]
pub(super) struct SendQueue(Arc<Mutex<Option<RawFd>>>);

/// To be dropped before the socket is.
#[derive(Debug)]
pub(super) struct Watched(SendQueue);

impl SendQueue {
    /// That of `socket`.
    pub(super) fn of(socket: &Socket) -> (Self, Watched) {
        let number = socket.tcp().map(|tcp| tcp.as_raw_fd());
        let queue = Self(Arc::new(Mutex::new(number)));
        (queue.clone(), Watched(queue))
    }

    /// Like [`unsent`]; 0 once the socket is closed.
    #[allow(unsafe_code)] // a number that may be stale is not within what `BorrowedFd` can say by itself
    pub(super) fn unsent(&self) -> usize {
        let number = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(number) = *number else { return 0 };
        // SAFETY: `Watched` takes the number away, under this lock, before the socket is closed. It is still
        // there and the lock is held to the end of the call, so the descriptor is open for that long.
        queued(unsafe { BorrowedFd::borrow_raw(number) })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn the_send_queue_is_seen_from_elsewhere_until_the_socket_goes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tcp, peer) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        let mut socket = Socket::from(tcp.expect("connected"));
        let (queue, watched) = SendQueue::of(&socket);
        assert_eq!(queue.unsent(), 0);
        let block = vec![0; 1 << 20];
        let full = async { while socket.write_all(&block).await.is_ok() {} };
        tokio::time::timeout(Duration::from_millis(200), full).await.expect_err("nobody reads");
        assert!(queue.unsent() > 0);
        drop(watched);
        assert_eq!(queue.unsent(), 0);
        drop(peer);
    }
}
