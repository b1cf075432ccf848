//! eBPF sockmap: the kernel moves the bytes, and this process only pairs the sockets.
//!
//! A stream verdict program looks up the cookie of the socket that bytes came in on and redirects
//! them to the socket stored under that cookie. The program is so short that it is written here as
//! instructions, without a compiler. Needs root and CONFIG_BPF_STREAM_PARSER.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use limits::Options;
use socket2::Socket;
use std::collections::HashMap;
use std::io::Error;
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const MOST_SOCKETS: u32 = 1 << 17;

fn main() -> Result<()> {
    Options::parse().run_on_each_thread(|listener, options| Relay::new(listener, options)?.run())
}

mod bpf {
    use super::*;

    const MAP_CREATE: libc::c_long = 0;
    const MAP_UPDATE_ELEM: libc::c_long = 2;
    const PROG_LOAD: libc::c_long = 5;
    const PROG_ATTACH: libc::c_long = 8;
    const MAP_TYPE_SOCKHASH: u32 = 18;
    const PROG_TYPE_SK_SKB: u32 = 14;
    const ATTACH_SK_SKB_STREAM_VERDICT: u32 = 5;

    const GET_SOCKET_COOKIE: i32 = 46;
    const SK_REDIRECT_HASH: i32 = 72;

    #[repr(C)]
    struct Instruction {
        code: u8,
        registers: u8,
        offset: i16,
        immediate: i32,
    }

    const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
        Instruction { code, registers: from << 4 | to, offset, immediate }
    }

    fn call(command: libc::c_long, attributes: &mut [u64]) -> Result<i32> {
        // SAFETY: `attributes` is a zero-padded bpf_attr of the size given.
        let result = unsafe {
            let size = size_of_val(attributes);
            libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size)
        };
        ensure!(result >= 0, "bpf command {command}: {}", Error::last_os_error());
        Ok(result as i32)
    }

    fn pair(low: u32, high: u32) -> u64 {
        u64::from(low) | u64::from(high) << 32
    }

    /// A map from socket cookies to sockets.
    pub fn create_map() -> Result<OwnedFd> {
        let (key_size, value_size) = (8, 8);
        let mut attributes = [pair(MAP_TYPE_SOCKHASH, key_size), pair(value_size, MOST_SOCKETS), 0, 0];
        let map = call(MAP_CREATE, &mut attributes).context("create the socket map")?;
        // SAFETY: the descriptor is new.
        Ok(unsafe { OwnedFd::from_raw_fd(map) })
    }

    /// Loads the program and attaches it to the map.
    pub fn attach_program(map: &OwnedFd) -> Result<OwnedFd> {
        const LOAD_MAP: u8 = 1; // pseudo source register: the immediate is a map descriptor
        let program = [
            instruction(0xBF, 6, 1, 0, 0),                      // r6 = context
            instruction(0x85, 0, 0, 0, GET_SOCKET_COOKIE),      // r0 = cookie(r1)
            instruction(0x7B, 10, 0, -8, 0),                    // key = r0
            instruction(0xBF, 1, 6, 0, 0),                      // r1 = context
            instruction(0x18, 2, LOAD_MAP, 0, map.as_raw_fd()), // r2 = map
            instruction(0, 0, 0, 0, 0),                         // (second half)
            instruction(0xBF, 3, 10, 0, 0),                     // r3 = frame pointer
            instruction(0x07, 3, 0, 0, -8),                     // r3 = &key
            instruction(0xB7, 4, 0, 0, 0),                      // r4 = no flags: egress
            instruction(0x85, 0, 0, 0, SK_REDIRECT_HASH),       // r0 = redirect(r1, r2, r3, r4)
            instruction(0x95, 0, 0, 0, 0),                      // return r0
        ];
        let license = c"GPL";
        let mut attributes = [0; 16];
        attributes[0] = pair(PROG_TYPE_SK_SKB, program.len() as u32);
        attributes[1] = program.as_ptr() as u64;
        attributes[2] = license.as_ptr() as u64;
        let loaded = call(PROG_LOAD, &mut attributes).context("load the program")?;
        // SAFETY: the descriptor is new.
        let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
        let mut attributes = [pair(map.as_raw_fd() as u32, loaded.as_raw_fd() as u32), pair(ATTACH_SK_SKB_STREAM_VERDICT, 0)];
        call(PROG_ATTACH, &mut attributes).context("attach the program")?;
        Ok(loaded)
    }

    pub fn put(map: &OwnedFd, cookie: u64, socket: RawFd) -> Result<()> {
        let value = socket as u64;
        let mut attributes = [pair(map.as_raw_fd() as u32, 0), &raw const cookie as u64, &raw const value as u64, 0];
        call(MAP_UPDATE_ELEM, &mut attributes).context("put a socket into the map")?;
        Ok(())
    }
}

struct Relay {
    listener: TcpListener,
    options: Options,
    map: OwnedFd,
    _program: OwnedFd,
    epoll: OwnedFd,
    pairs: HashMap<u64, [Socket; 2]>,
    next: u64,
}

const LISTENER: u64 = 0;

impl Relay {
    fn new(listener: TcpListener, options: Options) -> Result<Self> {
        let map = bpf::create_map()?;
        let program = bpf::attach_program(&map)?;
        // SAFETY: the descriptor is new and owned by nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(0)) };
        watch(&epoll, listener.as_raw_fd(), libc::EPOLLIN, LISTENER)?;
        Ok(Self { listener, options, map, _program: program, epoll, pairs: HashMap::new(), next: LISTENER + 1 })
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
                    id => self.close(id),
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((client, _)) = self.listener.accept() {
            if let Err(error) = self.add(client.into()) {
                eprintln!("{error:#}");
            }
        }
    }

    fn add(&mut self, client: Socket) -> Result<()> {
        client.set_nonblocking(true)?;
        client.set_tcp_nodelay(true)?;
        // A blocking connect keeps this short, and is quick on a local network.
        let backend: Socket = std::net::TcpStream::connect(self.options.backend)?.into();
        backend.set_nonblocking(true)?;
        backend.set_tcp_nodelay(true)?;
        bpf::put(&self.map, cookie(&client)?, backend.as_raw_fd())?;
        bpf::put(&self.map, cookie(&backend)?, client.as_raw_fd())?;
        // What came before the program was in place still lies in the socket.
        let mut early = vec![0; 64 * 1024];
        // SAFETY: `early` is valid for writing its length.
        let count = unsafe { libc::recv(client.as_raw_fd(), early.as_mut_ptr().cast(), early.len(), 0) };
        if count > 0 {
            backend.send(&early[..count as usize])?;
        }
        let id = self.next;
        self.next += 1;
        for socket in [&client, &backend] {
            watch(&self.epoll, socket.as_raw_fd(), libc::EPOLLRDHUP, id)?;
        }
        self.pairs.insert(id, [client, backend]);
        Ok(())
    }

    /// One side has ended: both are closed. (A proxy would have to wait for what is in flight.)
    fn close(&mut self, id: u64) {
        if let Some(sockets) = self.pairs.remove(&id) {
            for socket in sockets {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }
}

fn cookie(socket: &Socket) -> Result<u64> {
    let mut cookie = 0_u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `cookie` is valid for writing `size` bytes.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_COOKIE, (&raw mut cookie).cast(), &raw mut size)
    };
    ensure!(result == 0, "SO_COOKIE: {}", Error::last_os_error());
    Ok(cookie)
}

fn watch(epoll: &OwnedFd, socket: RawFd, interest: i32, token: u64) -> Result<()> {
    let mut event = libc::epoll_event { events: interest as u32, u64: token };
    // SAFETY: both descriptors are open and `event` is valid.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket, &raw mut event) };
    ensure!(result == 0, "epoll_ctl: {}", Error::last_os_error());
    Ok(())
}
