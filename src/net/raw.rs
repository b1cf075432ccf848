//! Sockets that tokio does not watch: a poller over an epoll instance of its own, and sockets that remember what it
//! said of them. Not who is polled when, and no protocol.
//!
//! A registration with tokio costs an idle socket some hundred bytes and each event a walk to its waker. Here an event
//! is a number, and what it says is two bits in the socket.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, ReadBuf};

use super::outbox;

/// How many events are taken from the kernel at once.
pub const EVENTS: usize = 256;

/// An epoll instance. Its own descriptor becomes readable when a socket of it has something to tell, so that a runtime
/// can watch the whole of it as one.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

/// What an event says of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    flags: EventFlags,
}

impl Poller {
    /// A new one.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Tells of `socket` from now on under the name `token`, beginning with what it is ready for now. Edges only: each
    /// change is told once.
    fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), flags)?)
    }

    /// Puts what is to be told now behind what `told` holds: token and readiness, in the order in which it came up. Does
    /// not wait. Whether that was all.
    pub fn take(&self, told: &mut Vec<(u64, Readiness)>) -> io::Result<bool> {
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut room = [const { MaybeUninit::uninit() }; EVENTS];
        let (events, _) = epoll::wait(&self.epoll, &mut room, Some(&at_once))?;
        told.extend(events.iter().map(|event| (event.data.u64(), Readiness { flags: event.flags })));
        Ok(events.len() < EVENTS)
    }
}

/// A poller that the runtime watches: whoever takes from it is woken when there is something to take.
#[derive(Debug)]
pub struct Woken(AsyncFd<Arc<Poller>>);

impl Woken {
    /// To be called inside the runtime.
    #[allow(unsafe_code)] // tokio's way in
    pub fn new(poller: Arc<Poller>) -> io::Result<Self> {
        // SAFETY: the poller owns its descriptor, closes it only when it is dropped, and always gives the same one; it
        // is kept alive by the `Arc` that is moved in, for as long as the `AsyncFd` lives.
        let watched = unsafe { AsyncFd::register_with_interest(poller, Interest::READABLE) };
        watched.map(Self).map_err(|error| error.into_parts().1)
    }

    /// Like [`Poller::take`]; registers where there is nothing to tell.
    pub fn poll_take(&self, cx: &mut Context<'_>, told: &mut Vec<(u64, Readiness)>) -> Poll<io::Result<()>> {
        let mut ready = ready!(self.0.poll_read_ready(cx))?;
        // An error is a signal's, and what was to be told is told the next time.
        if self.0.get_ref().take(told)? {
            ready.clear_ready();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

/// A connected socket that a [`Poller`] watches.
///
/// Invariant: a bit that is not set will be told of by an event; so it is cleared only where the kernel has said that
/// there is nothing more.
#[derive(Debug)]
pub struct Raw {
    /// `None` only while it is being moved from one home to another.
    descriptor: Option<OwnedFd>,
    tcp: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer has ended: reading tells how, whatever a short read says.
    ended: bool,
    /// Bytes of it are in the outbox.
    posted: bool,
    /// Bytes from there that the kernel did not take, or its error, come first.
    behind: bool,
    /// What the poller calls it; of one that is not watched `WITHDRAWN`.
    number: u32,
}

impl Raw {
    /// Takes a socket that does not block.
    pub(super) fn new(descriptor: OwnedFd, tcp: bool) -> Self {
        let (readable, writable, ended) = (false, true, false);
        let (posted, behind, number) = (false, false, outbox::WITHDRAWN);
        Self { descriptor: Some(descriptor), tcp, readable, writable, ended, posted, behind, number }
    }

    /// What stands in the place of a socket that is being moved.
    pub(super) fn nothing() -> Self {
        let (readable, writable, ended) = (true, true, true);
        let (posted, behind, number) = (false, false, outbox::WITHDRAWN);
        Self { descriptor: None, tcp: false, readable, writable, ended, posted, behind, number }
    }

    /// `token` is its own as long as it lives, on the thread that it is read and written on.
    pub(super) fn watch(&mut self, poller: &Poller, token: u64) -> io::Result<()> {
        poller.add(self.fd()?, token)?;
        self.number = u32::try_from(token).unwrap_or(outbox::WITHDRAWN);
        Ok(())
    }

    /// Notes what an event said.
    pub(super) fn note(&mut self, Readiness { flags }: Readiness) {
        let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        self.ended |= ended;
        self.readable |= ended || flags.contains(EventFlags::IN);
        self.writable |= flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
    }

    /// The descriptor of a TCP socket.
    pub(super) fn tcp(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_ref().filter(|_| self.tcp).map(AsFd::as_fd)
    }

    pub(super) fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.descriptor.as_ref().map(AsFd::as_fd).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    pub(super) fn fd_or_none(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.descriptor.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// Whether a read would find nothing: no event has come since the last one that did.
    pub(super) fn is_quiet(&self) -> bool {
        !self.readable
    }

    pub(super) fn poll_read(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.readable {
            return Poll::Pending;
        }
        let room = buf.initialize_unfilled();
        let size = room.len();
        let read = match self.descriptor.as_ref().map(|fd| again(|| recv(fd, &mut *room, RecvFlags::empty()))) {
            None => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Some(Err(Errno::AGAIN)) => {
                self.readable = false;
                return Poll::Pending;
            }
            Some(read) => read?.0,
        };
        buf.advance(read);
        // A short read has emptied the socket: what comes later is an edge, and so is an end (epoll(7)).
        if read < size && read > 0 && !self.ended {
            self.readable = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.behind {
            ready!(self.poll_behind())?;
        }
        if !self.writable {
            return Poll::Pending;
        }
        if outbox::put(self.number, bytes) {
            self.posted = true;
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_sent())?;
        match self.descriptor.as_ref().map(|fd| again(|| send(fd, bytes, SendFlags::NOSIGNAL))) {
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Some(Err(Errno::AGAIN)) => {
                self.writable = false;
                Poll::Pending
            }
            Some(sent) => Poll::Ready(Ok(sent?)),
        }
    }

    pub(super) fn poll_write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent())?;
        if !self.writable {
            return Poll::Pending;
        }
        let mut control = SendAncillaryBuffer::default();
        let sent = self.descriptor.as_ref().map(|fd| again(|| sendmsg(fd, slices, &mut control, SendFlags::NOSIGNAL)));
        match sent {
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Some(Err(Errno::AGAIN)) => {
                self.writable = false;
                Poll::Pending
            }
            Some(sent) => Poll::Ready(Ok(sent?)),
        }
    }

    /// Sends what is in the outbox before its time: what follows does not go by it.
    pub(super) fn poll_sent(&mut self) -> Poll<io::Result<()>> {
        if self.posted {
            self.send_late(&outbox::withdraw(self.number));
        }
        self.poll_behind()
    }

    /// Sends bytes that come from the outbox. Whether some are kept, or an error is: then writing, or flushing, has to
    /// tell of it.
    pub(super) fn send_late(&mut self, bytes: &[u8]) -> bool {
        self.posted = false;
        let sent = match &self.descriptor {
            Some(fd) if self.writable && !self.behind => again(|| send(fd, bytes, SendFlags::NOSIGNAL)),
            _ => Ok(0),
        };
        if sent == Ok(bytes.len()) {
            return false;
        }
        self.writable &= sent != Err(Errno::AGAIN);
        self.behind = true;
        outbox::kept(self.number, |kept| match sent {
            Ok(n) => kept.bytes.extend_from_slice(bytes.get(n..).unwrap_or_default()),
            Err(Errno::AGAIN) => kept.bytes.extend_from_slice(bytes),
            Err(error) => kept.error = Some(error.into()),
        });
        true
    }

    /// Sends what was kept. An error takes the rest with it: nobody will read that.
    fn poll_behind(&mut self) -> Poll<io::Result<()>> {
        while self.behind {
            if let Some(error) = outbox::kept(self.number, |kept| kept.error.take()) {
                outbox::forget(self.number);
                self.behind = false;
                return Poll::Ready(Err(error));
            }
            if !self.writable {
                return Poll::Pending;
            }
            let Some(fd) = &self.descriptor else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
            let left = outbox::kept(self.number, |kept| {
                let sent = again(|| send(fd, &kept.bytes, SendFlags::NOSIGNAL));
                if let Ok(n) = sent {
                    kept.bytes.drain(..n.min(kept.bytes.len()));
                }
                sent.map(|_| kept.bytes.len())
            });
            match left {
                Ok(left) => self.behind = left > 0,
                Err(Errno::AGAIN) => self.writable = false,
                Err(error) => {
                    outbox::forget(self.number);
                    self.behind = false;
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing waits for the kernel, but for what is in the outbox and will be sent in a moment.
    pub(super) fn poll_flush(&mut self) -> Poll<io::Result<()>> {
        if self.behind { self.poll_behind() } else { Poll::Ready(Ok(())) }
    }

    /// How many bytes were written that the kernel does not have yet.
    pub(super) fn held_back(&self) -> usize {
        if self.posted || self.behind { outbox::waiting(self.number) } else { 0 }
    }

    pub(super) fn poll_shutdown(&mut self) -> Poll<io::Result<()>> {
        ready!(self.poll_sent())?;
        match shutdown(self.fd()?, Shutdown::Write) {
            Ok(()) | Err(Errno::NOTCONN) => Poll::Ready(Ok(())), // as std has it: who is gone needs no end
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if self.posted {
            self.send_late(&outbox::withdraw(self.number)); // as a kernel's buffer outlives its socket
        }
        if self.behind {
            outbox::forget(self.number);
        }
    }
}

/// Repeats what a signal interrupted.
pub(super) fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair(poller: &Poller) -> (Raw, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a mode");
        let mut raw = Raw::new(ours.into(), false);
        raw.watch(poller, 7).expect("room");
        (raw, theirs)
    }

    fn told(poller: &Poller, raw: &mut Raw) -> usize {
        let mut told = Vec::new();
        assert!(poller.take(&mut told).expect("events"), "that was all");
        for (token, readiness) in &told {
            assert_eq!(*token, 7);
            raw.note(*readiness);
        }
        told.len()
    }

    fn read(raw: &mut Raw) -> Poll<io::Result<Vec<u8>>> {
        let mut bytes = [0; 64];
        let mut buf = ReadBuf::new(&mut bytes);
        raw.poll_read(&mut buf).map_ok(|()| buf.filled().to_vec())
    }

    #[test]
    fn bytes_are_told_of_once_and_read_once() {
        let poller = Poller::new().expect("a poller");
        let (mut raw, mut peer) = pair(&poller);
        assert!(read(&mut raw).is_pending());
        peer.write_all(b"hello").expect("room");
        assert_eq!(told(&poller, &mut raw), 1);
        assert!(matches!(read(&mut raw), Poll::Ready(Ok(bytes)) if bytes == b"hello"));
        assert!(read(&mut raw).is_pending(), "no call is made for what a short read has said");
        assert_eq!(told(&poller, &mut raw), 0);
        peer.write_all(b"again").expect("room");
        assert_eq!(told(&poller, &mut raw), 1);
        assert!(matches!(read(&mut raw), Poll::Ready(Ok(bytes)) if bytes == b"again"));
    }

    #[test]
    fn an_end_behind_bytes_is_read_after_them() {
        let poller = Poller::new().expect("a poller");
        let (mut raw, mut peer) = pair(&poller);
        peer.write_all(b"last").expect("room");
        drop(peer);
        told(&poller, &mut raw);
        assert!(matches!(read(&mut raw), Poll::Ready(Ok(bytes)) if bytes == b"last"));
        assert!(matches!(read(&mut raw), Poll::Ready(Ok(bytes)) if bytes.is_empty()));
    }

    #[test]
    fn a_full_socket_is_written_to_again_when_it_has_room() {
        let poller = Poller::new().expect("a poller");
        let (mut raw, mut peer) = pair(&poller);
        told(&poller, &mut raw);
        let block = vec![1; 1 << 16];
        let mut sent = 0;
        while let Poll::Ready(n) = raw.poll_write(&block) {
            sent += n.expect("a peer");
        }
        assert_eq!(told(&poller, &mut raw), 0);
        let mut got = vec![0; sent];
        peer.read_exact(&mut got).expect("all of it");
        assert_eq!(told(&poller, &mut raw), 1);
        assert!(raw.poll_write(b"more").is_ready());
    }
}
