//! io_uring, one ring for each core: multishot accept, multishot recv into provided buffers, and
//! sends straight from those buffers.
//!
//! Each direction has its own buffers, so that a full direction cannot starve the other one (an
//! echo would then block for ever).

use anyhow::{Context, Result};
use clap::Parser;
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use limits::{Options, start_connect};
use socket2::Socket;
use std::collections::VecDeque;
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU16, Ordering};

const RING_ENTRIES: u32 = 4096;
const COMPLETIONS: u32 = 4 * RING_ENTRIES;
/// Buffers of each direction.
const BUFFERS: u16 = 512;

fn main() -> Result<()> {
    Options::parse().run_on_each_thread(|listener, options| Relay::new(listener, options)?.run())
}

/// What a completion belongs to, packed into its user data.
#[derive(Clone, Copy)]
enum Token {
    Accept,
    /// Bytes have come from this side of the pair.
    Recv {
        pair: usize,
        side: usize,
    },
    /// Bytes from this side have been sent to the other.
    Send {
        pair: usize,
        side: usize,
    },
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, pair, side) = match self {
            Token::Accept => (0, 0, 0),
            Token::Recv { pair, side } => (1, pair, side),
            Token::Send { pair, side } => (2, pair, side),
        };
        (pair as u64) << 3 | (side as u64) << 2 | kind
    }

    fn unpack(data: u64) -> Self {
        let (pair, side) = ((data >> 3) as usize, (data >> 2 & 1) as usize);
        match data & 3 {
            0 => Token::Accept,
            1 => Token::Recv { pair, side },
            _ => Token::Send { pair, side },
        }
    }
}

/// A ring of buffers that the kernel takes from when bytes arrive.
struct Buffers {
    group: u16,
    size: usize,
    memory: Vec<u8>,
    ring: *mut BufRingEntry,
    tail: u16,
}

impl Buffers {
    fn register(uring: &IoUring, group: u16, size: usize) -> Result<Self> {
        let length = usize::from(BUFFERS) * size_of::<BufRingEntry>();
        // SAFETY: a new anonymous mapping, page-aligned as the kernel wants it; never unmapped.
        let ring = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
            libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0)
        };
        anyhow::ensure!(ring != libc::MAP_FAILED, "mmap of a buffer ring");
        // SAFETY: the mapping stays valid for as long as the ring.
        unsafe { uring.submitter().register_buf_ring_with_flags(ring as u64, BUFFERS, group, 0) }.context("register buffers")?;
        let mut buffers = Self { group, size, memory: vec![0; usize::from(BUFFERS) * size], ring: ring.cast(), tail: 0 };
        (0..BUFFERS).for_each(|id| buffers.give_back(id));
        Ok(buffers)
    }

    fn give_back(&mut self, id: u16) {
        let address = self.address(id);
        // SAFETY: the index is inside the ring, and the tail is only written here.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail & (BUFFERS - 1)));
            entry.set_addr(address as u64);
            entry.set_len(self.size as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.ring).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    fn address(&self, id: u16) -> *const u8 {
        self.memory[usize::from(id) * self.size..].as_ptr()
    }
}

struct Filled {
    buffer: u16,
    offset: usize,
    len: usize,
}

/// One way through the relay: bytes wait in `queue`, and the first entry is being sent.
#[derive(Default)]
struct Way {
    queue: VecDeque<Filled>,
    receiving: bool,
    finished: bool,
    shut: bool,
}

struct Pair {
    sockets: [Socket; 2],
    ways: [Way; 2],
}

struct Relay {
    uring: IoUring,
    buffers: [Buffers; 2],
    listener: TcpListener,
    options: Options,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    /// Ways that found no buffer.
    starved: Vec<(usize, usize)>,
}

impl Relay {
    fn new(listener: TcpListener, options: Options) -> Result<Self> {
        let uring =
            IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_cqsize(COMPLETIONS).build(RING_ENTRIES)?;
        let buffers = [Buffers::register(&uring, 0, options.buffer)?, Buffers::register(&uring, 1, options.buffer)?];
        Ok(Self { uring, buffers, listener, options, pairs: Vec::new(), free: Vec::new(), starved: Vec::new() })
    }

    fn run(&mut self) -> Result<()> {
        self.accept_more()?;
        let mut done = Vec::new();
        loop {
            self.uring.submit_and_wait(1)?;
            done.extend(self.uring.completion());
            for entry in done.drain(..) {
                self.complete(&entry)?;
            }
            for (pair, side) in std::mem::take(&mut self.starved) {
                self.receive(pair, side)?;
            }
        }
    }

    fn submit(&mut self, entry: squeue::Entry, token: Token) -> Result<()> {
        let entry = entry.user_data(token.pack());
        // SAFETY: buffers and sockets stay valid until their operation has completed.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.uring.submit()?;
        }
        Ok(())
    }

    fn complete(&mut self, entry: &cqueue::Entry) -> Result<()> {
        match Token::unpack(entry.user_data()) {
            Token::Accept => {
                if entry.result() >= 0 {
                    // SAFETY: the kernel has just given us this descriptor.
                    let client = unsafe { Socket::from_raw_fd(entry.result()) };
                    self.add(client)?;
                }
                if !cqueue::more(entry.flags()) {
                    self.accept_more()?;
                }
                Ok(())
            }
            Token::Recv { pair, side } => self.received(pair, side, entry),
            Token::Send { pair, side } => self.sent(pair, side, entry.result()),
        }
    }

    fn accept_more(&mut self) -> Result<()> {
        let listener = Fd(self.listener.as_raw_fd());
        self.submit(opcode::AcceptMulti::new(listener).build(), Token::Accept)
    }

    fn add(&mut self, client: Socket) -> Result<()> {
        client.set_tcp_nodelay(true)?;
        let Ok(backend) = start_connect(self.options.backend) else {
            return Ok(());
        };
        // Operations on a blocking socket wait inside the ring; on a non-blocking one a send to
        // a socket that is still connecting would fail.
        backend.set_nonblocking(false)?;
        let pair = Pair { sockets: [client, backend], ways: Default::default() };
        let id = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        self.pairs[id] = Some(pair);
        self.receive(id, 0)?;
        self.receive(id, 1)
    }

    fn receive(&mut self, id: usize, side: usize) -> Result<()> {
        let Some(pair) = &mut self.pairs[id] else {
            return Ok(());
        };
        pair.ways[side].receiving = true;
        let socket = Fd(pair.sockets[side].as_raw_fd());
        let recv = opcode::RecvMulti::new(socket, self.buffers[side].group);
        self.submit(recv.build(), Token::Recv { pair: id, side })
    }

    fn received(&mut self, id: usize, side: usize, entry: &cqueue::Entry) -> Result<()> {
        let Some(pair) = &mut self.pairs[id] else {
            return Ok(());
        };
        let way = &mut pair.ways[side];
        way.receiving = cqueue::more(entry.flags());
        match (entry.result(), cqueue::buffer_select(entry.flags())) {
            (len @ 1.., Some(buffer)) => {
                way.queue.push_back(Filled { buffer, offset: 0, len: len as usize });
                let idle = way.queue.len() == 1;
                let again = !way.receiving;
                if idle {
                    self.send_first(id, side)?;
                }
                if again {
                    self.receive(id, side)?;
                }
                Ok(())
            }
            (result, _) if result == -libc::ENOBUFS => {
                self.starved.push((id, side));
                Ok(())
            }
            _ => {
                way.finished = true;
                self.settle(id, side)
            }
        }
    }

    fn send_first(&mut self, id: usize, side: usize) -> Result<()> {
        let Some(pair) = &self.pairs[id] else {
            return Ok(());
        };
        let to = Fd(pair.sockets[1 - side].as_raw_fd());
        let filled = &pair.ways[side].queue[0];
        let start = self.buffers[side].address(filled.buffer).wrapping_add(filled.offset);
        let send = opcode::Send::new(to, start, filled.len as u32).flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL);
        self.submit(send.build(), Token::Send { pair: id, side })
    }

    fn sent(&mut self, id: usize, side: usize, result: i32) -> Result<()> {
        let Some(pair) = &mut self.pairs[id] else {
            return Ok(());
        };
        let way = &mut pair.ways[side];
        let Some(first) = way.queue.front_mut() else {
            return Ok(());
        };
        if result > 0 && (result as usize) < first.len {
            first.offset += result as usize;
            first.len -= result as usize;
            return self.send_first(id, side);
        }
        // After an error the rest has nowhere to go.
        let last = if result > 0 { 1 } else { way.queue.len() };
        for filled in way.queue.drain(..last) {
            self.buffers[side].give_back(filled.buffer);
        }
        if result <= 0 {
            let _ = pair.sockets[side].shutdown(Shutdown::Both);
        } else if !way.queue.is_empty() {
            return self.send_first(id, side);
        }
        self.settle(id, side)
    }

    /// Passes on the end of a way, and forgets the pair once both ways have ended.
    fn settle(&mut self, id: usize, side: usize) -> Result<()> {
        let Some(pair) = &mut self.pairs[id] else {
            return Ok(());
        };
        let way = &mut pair.ways[side];
        if way.finished && way.queue.is_empty() && !way.shut {
            way.shut = true;
            let _ = pair.sockets[1 - side].shutdown(Shutdown::Write);
        }
        if pair.ways.iter().all(|way| way.shut && !way.receiving) {
            self.pairs[id] = None;
            self.free.push(id);
        }
        Ok(())
    }
}
