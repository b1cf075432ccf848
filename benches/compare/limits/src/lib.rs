//! What the relays share: arguments, sockets, and one thread for each core.
//!
//! Every relay takes connections, opens one to the backend for each, and moves bytes both ways.
//! None of them looks at the bytes, so none of them is a proxy: they show what a forward path can
//! cost at least.

mod tls;

pub use tls::TlsOptions;

use anyhow::{Context, Result};
use clap::Parser;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{SocketAddr, TcpListener};

pub const BACKLOG: i32 = 4096;

#[derive(Clone, Parser)]
pub struct Options {
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    #[arg(long, default_value = "127.0.0.1:9000")]
    pub backend: SocketAddr,
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Bytes of the buffer (one for each thread, or for each direction where the relay needs that)
    #[arg(long, default_value_t = 64 * 1024)]
    pub buffer: usize,
}

impl Options {
    /// Runs `work` on each thread, with a listener of its own.
    pub fn run_on_each_thread(&self, work: impl Fn(TcpListener, Options) -> Result<()> + Clone + Send + 'static) -> Result<()> {
        let threads: Vec<_> = (0..self.threads)
            .map(|_| {
                let (options, work) = (self.clone(), work.clone());
                std::thread::spawn(move || work(reuseport_listener(options.listen)?, options))
            })
            .collect();
        for thread in threads {
            thread.join().expect("a relay thread panicked")?;
        }
        Ok(())
    }
}

/// A non-blocking listener that shares its port with others.
pub fn reuseport_listener(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).context("bind")?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A non-blocking socket on its way to being connected.
pub fn start_connect(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        other => other?,
    }
    Ok(socket)
}
