//! Raw epoll, one thread for each core, and one scratch buffer for each thread.
//!
//! A message costs one `recv` and one `send`; an idle connection costs no buffer. With `--splice`,
//! bytes move through a pipe that connections borrow only while the receiver is slow.

use anyhow::Result;
use clap::Parser;
use limits::{Options, start_connect};
use socket2::Socket;
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result as IoResult};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

#[derive(Clone, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Move bytes with splice(2) instead of recv(2) and send(2)
    #[arg(long)]
    splice: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let splice = arguments.splice;
    arguments.options.run_on_each_thread(move |listener, options| {
        let mover: Box<dyn Mover> =
            if splice { Box::new(Splice::new(options.buffer)) } else { Box::new(Copy::new(options.buffer)) };
        Relay::new(listener, options, mover)?.run()
    })
}

/// One way through the relay.
#[derive(Default)]
struct Way {
    /// Bytes read and not yet sent.
    pending: Pending,
    finished: bool,
}

#[derive(Default)]
enum Pending {
    #[default]
    Nothing,
    Bytes(Vec<u8>, usize),
    Piped(Pipe, usize),
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// Moves bytes from one socket to another.
trait Mover {
    /// Reads once and sends it on. What the receiver does not take stays in `pending`.
    fn step(&mut self, from: RawFd, to: RawFd, pending: &mut Pending) -> IoResult<Step>;
    /// Sends what is pending; true if nothing is left.
    fn resume(&mut self, to: RawFd, pending: &mut Pending) -> IoResult<bool>;
}

enum Step {
    /// Everything there was has been moved.
    Drained,
    /// There may be more.
    More,
    /// The receiver is full.
    Full,
    End,
}

struct Copy {
    scratch: Vec<u8>,
}

impl Copy {
    fn new(size: usize) -> Self {
        Self { scratch: vec![0; size] }
    }
}

impl Mover for Copy {
    fn step(&mut self, from: RawFd, to: RawFd, pending: &mut Pending) -> IoResult<Step> {
        let Some(count) = would_block(recv(from, &mut self.scratch))? else {
            return Ok(Step::Drained);
        };
        if count == 0 {
            return Ok(Step::End);
        }
        let sent = would_block(send(to, &self.scratch[..count]))?.unwrap_or(0);
        if sent < count {
            *pending = Pending::Bytes(self.scratch[sent..count].to_vec(), 0);
            return Ok(Step::Full);
        }
        // A short read means an empty socket: edge-triggered epoll will tell about more.
        Ok(if count < self.scratch.len() { Step::Drained } else { Step::More })
    }

    fn resume(&mut self, to: RawFd, pending: &mut Pending) -> IoResult<bool> {
        let Pending::Bytes(bytes, sent) = pending else {
            return Ok(true);
        };
        *sent += would_block(send(to, &bytes[*sent..]))?.unwrap_or(0);
        let done = *sent == bytes.len();
        if done {
            *pending = Pending::Nothing;
        }
        Ok(done)
    }
}

struct Splice {
    size: usize,
    spare: Vec<Pipe>,
}

impl Splice {
    fn new(size: usize) -> Self {
        Self { size, spare: Vec::new() }
    }
}

impl Mover for Splice {
    fn step(&mut self, from: RawFd, to: RawFd, pending: &mut Pending) -> IoResult<Step> {
        let pipe = match self.spare.pop() {
            Some(pipe) => pipe,
            None => Pipe::new(self.size)?,
        };
        let read = would_block(splice(from, pipe.write.as_raw_fd(), self.size));
        let count = match read {
            Ok(Some(count)) if count > 0 => count,
            other => {
                self.spare.push(pipe);
                return other.map(|count| count.map_or(Step::Drained, |_| Step::End));
            }
        };
        *pending = Pending::Piped(pipe, count);
        // Short reads say little about a pipe, so the socket is asked again.
        Ok(if self.resume(to, pending)? { Step::More } else { Step::Full })
    }

    fn resume(&mut self, to: RawFd, pending: &mut Pending) -> IoResult<bool> {
        let Pending::Piped(pipe, left) = pending else {
            return Ok(true);
        };
        while *left > 0 {
            match would_block(splice(pipe.read.as_raw_fd(), to, *left))? {
                Some(sent) => *left -= sent,
                None => return Ok(false),
            }
        }
        if let Pending::Piped(pipe, _) = std::mem::take(pending) {
            self.spare.push(pipe);
        }
        Ok(true)
    }
}

/// A client and its backend, with the way from each to the other.
struct Pair {
    sockets: [Socket; 2],
    ways: [Way; 2],
}

struct Relay {
    epoll: OwnedFd,
    listener: TcpListener,
    options: Options,
    mover: Box<dyn Mover>,
    pairs: HashMap<u64, Pair>,
    next: u64,
}

const LISTENER: u64 = 0;

impl Relay {
    fn new(listener: TcpListener, options: Options, mover: Box<dyn Mover>) -> Result<Self> {
        // SAFETY: the descriptor is new and owned by nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(0))?) };
        watch(&epoll, listener.as_raw_fd(), libc::EPOLLIN, LISTENER)?;
        Ok(Self { epoll, listener, options, mover, pairs: HashMap::new(), next: LISTENER + 1 })
    }

    fn run(&mut self) -> Result<()> {
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
        loop {
            // SAFETY: `events` is valid for writing that many events.
            let count = unsafe {
                let room = events.len() as i32;
                libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), room, -1)
            };
            for event in &events[..count.max(0) as usize] {
                match event.u64 {
                    LISTENER => self.accept(),
                    token => self.progress(token),
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((client, _)) = self.listener.accept() {
            // A connection that cannot be set up is closed, and that is all there is to do.
            let _ = self.add(client.into());
        }
    }

    fn add(&mut self, client: Socket) -> IoResult<()> {
        client.set_nonblocking(true)?;
        client.set_tcp_nodelay(true)?;
        let sockets = [client, start_connect(self.options.backend)?];
        let id = self.next;
        self.next += 1;
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        for (side, socket) in sockets.iter().enumerate() {
            watch(&self.epoll, socket.as_raw_fd(), interest, id * 2 + side as u64)?;
        }
        let ways = Default::default();
        self.pairs.insert(id, Pair { sockets, ways });
        Ok(())
    }

    /// Something happened on one socket: it may have bytes, or room for bytes.
    fn progress(&mut self, token: u64) {
        let (id, side) = (token / 2, (token % 2) as usize);
        let Some(pair) = self.pairs.get_mut(&id) else {
            return;
        };
        let outcome =
            pair.advance(side, self.mover.as_mut()).and_then(|()| pair.advance_if_pending(1 - side, self.mover.as_mut()));
        if outcome.is_err() || pair.ways.iter().all(|way| way.finished) {
            self.pairs.remove(&id);
        }
    }
}

impl Pair {
    /// Moves what `side` has to the other side.
    fn advance(&mut self, side: usize, mover: &mut dyn Mover) -> IoResult<()> {
        let (from, to) = (self.sockets[side].as_raw_fd(), self.sockets[1 - side].as_raw_fd());
        let way = &mut self.ways[side];
        if way.finished || !mover.resume(to, &mut way.pending)? {
            return Ok(());
        }
        loop {
            match mover.step(from, to, &mut way.pending)? {
                Step::More => {}
                Step::Drained | Step::Full => return Ok(()),
                Step::End => {
                    way.finished = true;
                    return self.sockets[1 - side].shutdown(std::net::Shutdown::Write);
                }
            }
        }
    }

    fn advance_if_pending(&mut self, side: usize, mover: &mut dyn Mover) -> IoResult<()> {
        match self.ways[side].pending {
            Pending::Nothing => Ok(()),
            _ => self.advance(side, mover),
        }
    }
}

impl Pipe {
    fn new(size: usize) -> IoResult<Self> {
        let mut ends = [0; 2];
        // SAFETY: `ends` is valid for two descriptors, which nobody else owns.
        unsafe {
            check(libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK))?;
            check(libc::fcntl(ends[1], libc::F_SETPIPE_SZ, size as i32))?;
            Ok(Self { read: OwnedFd::from_raw_fd(ends[0]), write: OwnedFd::from_raw_fd(ends[1]) })
        }
    }
}

fn watch(epoll: &OwnedFd, socket: RawFd, interest: i32, token: u64) -> IoResult<()> {
    let mut event = libc::epoll_event { events: interest as u32, u64: token };
    // SAFETY: both descriptors are open and `event` is valid.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket, &raw mut event) }).map(drop)
}

fn recv(socket: RawFd, buffer: &mut [u8]) -> IoResult<usize> {
    // SAFETY: `buffer` is valid for writing its length.
    check_size(unsafe { libc::recv(socket, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

fn send(socket: RawFd, bytes: &[u8]) -> IoResult<usize> {
    // SAFETY: `bytes` is valid for reading its length.
    check_size(unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
}

fn splice(from: RawFd, to: RawFd, most: usize) -> IoResult<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let nowhere = std::ptr::null_mut();
    // SAFETY: the descriptors are open; no offsets are given.
    check_size(unsafe { libc::splice(from, nowhere, to, nowhere, most, flags) })
}

fn check(result: i32) -> IoResult<i32> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: isize) -> IoResult<usize> {
    usize::try_from(result).map_err(|_| Error::last_os_error())
}

/// `None` if the call would have blocked (or the socket is not connected yet).
fn would_block(result: IoResult<usize>) -> IoResult<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(None),
        Err(error) => Err(error),
    }
}
