//! One byte stream, plain or TLS, as the kit's connections use it. Knows no HTTP and waits as told.
//!
//! TLS is driven here and not by `StreamOwned`, so that a stream can be read and written by two threads
//! at once, and so that the three ends of a TLS stream are told apart.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::Connection;
use socket2::SockRef;

/// How the other side ended its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A FIN; on TLS after a `close_notify`.
    Fin,
    /// A FIN without the `close_notify` that TLS asks for.
    Unclean,
    /// A reset.
    Reset,
}

/// What one read gave.
pub(super) enum Got {
    Bytes(usize),
    End(End),
    /// Nothing within the time.
    Late,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The two ways to use a socket, chosen once per call.
macro_rules! either {
    ($socket:expr, $it:ident => $use:expr) => {
        match $socket {
            Socket::Tcp($it) => $use,
            Socket::Unix($it) => $use,
        }
    };
}

struct Tls {
    state: Arc<Mutex<Connection>>,
    /// Held while ciphertext goes out, so that records keep their order. Taken before `state`, never after.
    out: Arc<Mutex<()>>,
    /// Ciphertext not yet given to `state`.
    pending: Vec<u8>,
}

pub(super) struct Wire {
    socket: Socket,
    tls: Option<Tls>,
}

impl Wire {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { socket: Socket::Tcp(stream), tls: None }
    }

    pub(super) fn unix(stream: UnixStream) -> Self {
        Self { socket: Socket::Unix(stream), tls: None }
    }

    /// Runs the handshake, as the side that `state` is.
    pub(super) fn secure(self, state: Connection, limit: Duration) -> io::Result<Self> {
        let mut state = state;
        let mut socket = self.socket;
        either!(&socket, s => s.set_read_timeout(Some(limit)))?;
        while state.is_handshaking() {
            either!(&mut socket, s => state.complete_io(s))?;
        }
        let tls = Tls { state: Arc::new(Mutex::new(state)), out: Arc::new(Mutex::new(())), pending: Vec::new() };
        Ok(Self { socket, tls: Some(tls) })
    }

    /// The same stream once more, for another thread. Only one of the two may read.
    pub(super) fn clone(&self) -> Self {
        let socket = match &self.socket {
            Socket::Tcp(s) => Socket::Tcp(s.try_clone().unwrap()),
            Socket::Unix(s) => Socket::Unix(s.try_clone().unwrap()),
        };
        let tls = self.tls.as_ref().map(|tls| Tls {
            state: Arc::clone(&tls.state),
            out: Arc::clone(&tls.out),
            pending: tls.pending.clone(),
        });
        Self { socket, tls }
    }

    pub(super) fn with_tls<T>(&self, ask: impl FnOnce(&Connection) -> T) -> T {
        ask(&self.tls.as_ref().expect("a TLS stream").state.lock().unwrap())
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn sock(&self) -> SockRef<'_> {
        either!(&self.socket, s => SockRef::from(s))
    }

    pub(super) fn read(&mut self, buffer: &mut [u8], limit: Duration) -> Got {
        // A limit of zero is no limit to the kernel.
        either!(&self.socket, s => s.set_read_timeout(Some(limit.max(Duration::from_millis(1))))).unwrap();
        let result = match &mut self.tls {
            None => either!(&mut self.socket, s => s.read(buffer)),
            Some(tls) => tls.read(&mut self.socket, buffer),
        };
        match result {
            Ok(0) => Got::End(End::Fin),
            Ok(n) => Got::Bytes(n),
            Err(e) => match e.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Got::Late,
                ErrorKind::UnexpectedEof => Got::End(End::Unclean),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Got::End(End::Reset),
                _ => panic!("reading: {e}"),
            },
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        either!(&self.socket, s => s.set_write_timeout(Some(limit)))?;
        match &self.tls {
            None => either!(&mut self.socket, s => s.write_all(bytes)),
            // A record's worth at a time: rustls would buffer all of it, and refuses beyond 64 KiB.
            Some(tls) => bytes.chunks(16 << 10).try_for_each(|part| {
                let socket = &mut self.socket;
                tls.flush(socket, |state| state.writer().write_all(part))
            }),
        }
    }

    /// One write of plain bytes; `None` where nothing is taken within the time.
    pub(super) fn write_some(&mut self, bytes: &[u8], limit: Duration) -> Option<usize> {
        assert!(self.tls.is_none(), "half a record cannot be taken back");
        either!(&self.socket, s => s.set_write_timeout(Some(limit))).unwrap();
        match either!(&mut self.socket, s => s.write(bytes)) {
            Ok(n) => Some(n),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(e) => panic!("writing: {e}"),
        }
    }

    /// Bytes on the socket as they are, TLS or not.
    pub(super) fn write_beneath(&mut self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        either!(&self.socket, s => s.set_write_timeout(Some(limit)))?;
        either!(&mut self.socket, s => s.write_all(bytes))
    }

    /// Has TLS 1.3 seal with another key from here on, and asks the other side for the same.
    pub(super) fn update_key(&mut self) {
        let tls = self.tls.as_ref().expect("a TLS stream");
        tls.flush(&mut self.socket, |state| state.refresh_traffic_keys().map_err(io::Error::other)).unwrap();
    }

    /// Ends our direction politely.
    pub(super) fn fin(&mut self) {
        if let Some(tls) = &self.tls {
            let told = tls.flush(&mut self.socket, |state| {
                state.send_close_notify();
                Ok(())
            });
            told.ok(); // the other side may be gone already, then there is none to tell
        }
        self.cut();
    }

    /// A bare FIN, on TLS without `close_notify`.
    pub(super) fn cut(&mut self) {
        either!(&self.socket, s => s.shutdown(Shutdown::Write)).ok();
    }
}

impl Tls {
    fn read(&mut self, socket: &mut Socket, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state.lock().unwrap().reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.pending.is_empty() {
                let mut cipher = [0; 16 << 10];
                let n = either!(socket, s => s.read(&mut cipher))?;
                if n == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                self.pending.extend_from_slice(&cipher[..n]);
            }
            let answers = {
                let mut state = self.state.lock().unwrap();
                let mut rest = self.pending.as_slice();
                let taken = state.read_tls(&mut rest)?;
                self.pending.drain(..taken);
                state.process_new_packets().map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
                state.wants_write()
            };
            if answers {
                self.flush(socket, |_| Ok(()))?;
            }
        }
    }

    fn flush(&self, socket: &mut Socket, act: impl FnOnce(&mut Connection) -> io::Result<()>) -> io::Result<()> {
        let _in_order = self.out.lock().unwrap();
        let mut cipher = Vec::new();
        {
            let mut state = self.state.lock().unwrap();
            act(&mut state)?;
            while state.wants_write() {
                state.write_tls(&mut cipher)?;
            }
        }
        either!(socket, s => s.write_all(&cipher))
    }
}
