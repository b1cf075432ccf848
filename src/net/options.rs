//! Socket options, each with the reason why it is set.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
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
pub(super) fn reset_on_close(socket: &Socket) {
    if let Socket::Tcp(tcp) = socket {
        SockRef::from(tcp).set_linger(Some(Duration::ZERO)).ok();
    }
}

/// How many bytes the kernel holds that the peer has not acknowledged (SIOCOUTQ).
/// 0 for a unix socket, whose bytes are at the peer as soon as they are written.
pub(super) fn unsent(socket: &Socket) -> usize {
    let Socket::Tcp(tcp) = socket else { return 0 };
    queued(tcp.as_fd())
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
        let number = if let Socket::Tcp(tcp) = socket { Some(tcp.as_raw_fd()) } else { None };
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
        let mut socket = Socket::Tcp(tcp.expect("connected"));
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
