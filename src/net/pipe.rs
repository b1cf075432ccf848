//! Pipes for splice(2): bytes go from one socket to another without a copy into this process. When that is worth it is
//! the tunnel's to say.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Poll, ready};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::raw::{Raw, again};

/// What a pipe is asked to hold: the most that Linux gives to those without privileges (`fs.pipe-max-size`).
/// 1 MiB instead of the usual 64 KiB: 0.20 instead of 0.21 CPU s/GB for messages of 1 MiB, 0.30 instead of 0.40 for
/// those of 64 KiB. Where the kernel refuses it (`fs.pipe-user-pages-soft`) the usual size serves.
const PIPE_BYTES: usize = 1 << 20;

/// How many empty pipes a thread keeps. Two descriptors each.
const SPARE: usize = 4;

thread_local! {
    static PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe on loan from its thread: taken only while bytes are in it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    /// An empty one.
    pub fn take() -> io::Result<Self> {
        if let Some(pipe) = PIPES.with_borrow_mut(Vec::pop) {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&write, PIPE_BYTES).ok();
        Ok(Self { read, write, held: 0 })
    }

    /// Gives it back; one that still holds something is closed instead.
    pub fn give_back(self) {
        if self.held == 0 {
            PIPES.with_borrow_mut(|pipes| {
                if pipes.len() < SPARE {
                    pipes.push(self);
                }
            });
        }
    }

    /// Closes the thread's spare ones.
    pub fn close_spare() {
        PIPES.take();
    }

    /// How many bytes are in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes in at most so many bytes of a socket. To be called on an empty one: a full pipe and an empty socket look
    /// the same. 0: the socket has ended.
    pub(super) fn poll_fill(&mut self, from: &mut Raw, most: usize) -> Poll<io::Result<usize>> {
        if !from.readable {
            return Poll::Pending;
        }
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match again(|| splice(from.fd_or_none()?, None, &self.write, None, most.min(PIPE_BYTES), flags)) {
            Err(Errno::AGAIN) => {
                from.readable = false;
                Poll::Pending
            }
            // A short one says nothing: a pipe has room for so many pieces, however small.
            moved => Poll::Ready(moved.inspect(|count| self.held += count).map_err(Into::into)),
        }
    }

    /// Gives a socket what it takes.
    pub(super) fn poll_drain(&mut self, to: &mut Raw) -> Poll<io::Result<usize>> {
        ready!(to.poll_sent())?;
        if !to.writable {
            return Poll::Pending;
        }
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match again(|| splice(&self.read, None, to.fd_or_none()?, None, self.held, flags)) {
            Err(Errno::AGAIN) => {
                to.writable = false;
                Poll::Pending
            }
            moved => Poll::Ready(moved.inspect(|count| self.held = self.held.saturating_sub(*count)).map_err(Into::into)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair() -> (Raw, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a mode");
        let mut raw = Raw::new(ours.into(), false);
        raw.readable = true;
        (raw, theirs)
    }

    #[test]
    fn bytes_go_through_and_the_end_is_seen() {
        let ((mut from, mut sender), (mut to, mut receiver)) = (pair(), pair());
        let mut pipe = Pipe::take().expect("a pipe");
        assert!(pipe.poll_fill(&mut from, 100).is_pending());
        from.readable = true;
        sender.write_all(b"through the kernel").expect("room");
        assert!(matches!(pipe.poll_fill(&mut from, 7), Poll::Ready(Ok(7))));
        assert!(matches!(pipe.poll_drain(&mut to), Poll::Ready(Ok(7))));
        assert_eq!(pipe.held(), 0);
        assert!(matches!(pipe.poll_fill(&mut from, 100), Poll::Ready(Ok(11))));
        assert!(matches!(pipe.poll_drain(&mut to), Poll::Ready(Ok(11))));
        let mut got = [0; 18];
        receiver.read_exact(&mut got).expect("all of it");
        assert_eq!(&got, b"through the kernel");
        drop(sender);
        assert!(matches!(pipe.poll_fill(&mut from, 100), Poll::Ready(Ok(0))));
        pipe.give_back();
    }
}
