//! One connection, as a client or as a script behind the proxy holds it: heads, bodies, bytes and ends.
//! Fails a test with what it waited for and what had come. Interprets nothing but lengths.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use super::wire::{Got, Wire};
use super::{End, Head, LIMIT, shown};

/// A connection. Dropping it closes it.
pub struct Conn {
    wire: Wire,
    /// Read from the wire, not yet asked for.
    unread: Vec<u8>,
    limit: Duration,
    /// In failures.
    who: String,
    /// Where a backend gathers the heads that its scripts read.
    pub(super) heads: Option<Sender<Head>>,
}

/// How a body was delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By the head alone: there is none.
    None,
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The connection's end.
    Close,
}

/// A whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Without its framing.
    pub bytes: Vec<u8>,
    /// Field lines after the last chunk.
    pub trailers: Vec<String>,
    /// How its end was told.
    pub framing: Framing,
}

impl Body {
    /// As text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A body that ended before its framing said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// What came of it.
    pub bytes: Vec<u8>,
    /// What came then.
    pub end: End,
}

/// Making one.
impl Conn {
    fn over(wire: Wire, who: impl Into<String>) -> Self {
        Self { wire, unread: Vec::new(), limit: LIMIT, who: who.into(), heads: None }
    }

    /// A client over TCP.
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(Wire::tcp(dial(address)), "client")
    }

    /// A client over TCP from a given local address (any of 127.0.0.0/8), for tests of who is trusted.
    pub fn connect_from(local: std::net::IpAddr, address: SocketAddr) -> Self {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(local, 0).into()).unwrap();
        socket.connect_timeout(&address.into(), LIMIT).unwrap();
        Self::over(Wire::tcp(socket.into()), "client")
    }

    /// A client over a unix socket.
    pub fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap_or_else(|e| panic!("connecting to {}: {e}", path.display()));
        Self::over(Wire::unix(stream), "client")
    }

    /// A client over TLS; the error is the handshake's.
    pub fn try_connect_tls(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let state = ClientConnection::new(config, name).unwrap();
        let wire = Wire::tcp(dial(address)).secure(Connection::Client(state), LIMIT)?;
        Ok(Self::over(wire, "TLS client"))
    }

    /// A client over TLS that must succeed. `config` is an [`super::Authority`]'s.
    pub fn connect_tls(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Self {
        Self::try_connect_tls(address, name, config).unwrap_or_else(|e| panic!("TLS handshake with {address}: {e}"))
    }

    pub(super) fn accepted(stream: TcpStream, tls: Option<Arc<ServerConfig>>, who: String) -> std::io::Result<Self> {
        let mut wire = Wire::tcp(stream);
        if let Some(config) = tls {
            let state = ServerConnection::new(config).map_err(std::io::Error::other)?;
            wire = wire.secure(Connection::Server(state), LIMIT)?;
        }
        Ok(Self::over(wire, who))
    }

    pub(super) fn accepted_unix(stream: UnixStream, who: String) -> Self {
        Self::over(Wire::unix(stream), who)
    }

    /// The limit of each read and write from here on.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The limit of each read and write from here on.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The same connection twice: one to read with (it has what is unread), one to write with.
    pub fn split(mut self) -> (Self, Self) {
        let writer = self.both().1;
        (self, writer)
    }

    /// The same without giving it up: this one to read with, another to write with.
    pub fn both(&mut self) -> (&mut Self, Self) {
        let writer = Self { wire: self.wire.clone(), unread: Vec::new(), limit: self.limit, who: self.who.clone(), heads: None };
        (self, writer)
    }

    /// Asks the TLS state: its version, protocol, certificates, whether it was resumed.
    pub fn tls<T>(&self, ask: impl FnOnce(&Connection) -> T) -> T {
        self.wire.with_tls(ask)
    }

    /// Makes the kernel hold at most about this much of what we have not read. Before the first byte only.
    pub fn receive_buffer(&self, bytes: usize) {
        self.wire.sock().set_recv_buffer_size(bytes).unwrap();
    }

    /// Our own address.
    pub fn local_address(&self) -> SocketAddr {
        self.wire.sock().local_addr().unwrap().as_socket().expect("a TCP connection")
    }
}

/// Writing and ending.
impl Conn {
    /// Sends all of it, in one write where the kernel takes it so.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(e) = self.try_send(bytes.as_ref()) {
            panic!("{}: sending {}: {e}", self.who, shown(bytes.as_ref()));
        }
    }

    /// Sends all of it unless the connection has ended.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.wire.write(bytes.as_ref(), self.limit)
    }

    /// Each byte in a write of its own, which with `TCP_NODELAY` is a segment of its own.
    pub fn send_in_single_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        bytes.as_ref().chunks(1).for_each(|byte| self.send(byte));
    }

    /// Sends `ring` over and over until nothing more is taken for so long; how many bytes were. Not over TLS.
    pub fn send_until_stalled(&mut self, ring: &[u8], stall: Duration) -> usize {
        let mut sent = 0;
        while let Some(n) = self.wire.write_some(&ring[sent % ring.len()..], stall) {
            sent += n;
            assert!(sent < 256 << 20, "{}: nothing holds us back", self.who);
        }
        sent
    }

    /// Sends these bytes beneath TLS, as an attacker on the way would.
    pub fn send_beneath(&mut self, bytes: &[u8]) {
        self.wire.write_beneath(bytes, self.limit).unwrap();
    }

    /// Has TLS 1.3 seal with another key from here on, and asks the other side for the same.
    pub fn update_key(&mut self) {
        self.wire.update_key();
    }

    /// Ends our direction: FIN, on TLS after a `close_notify`. Reading goes on.
    pub fn fin(&mut self) {
        self.wire.fin();
    }

    /// A bare FIN, on TLS without `close_notify`.
    pub fn cut(&mut self) {
        self.wire.cut();
    }

    /// From here on its end is a reset: for scripts, whose connection ends with them.
    pub fn end_with_a_reset(&self) {
        self.wire.sock().set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Resets the connection. Not after `split` while the other part lives.
    pub fn reset(self) {
        self.wire.sock().set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Reading.
impl Conn {
    /// More into `unread`; `None` once bytes came.
    fn fill(&mut self, deadline: Instant) -> Option<Got> {
        let mut buffer = [0; 16 << 10];
        match self.wire.read(&mut buffer, deadline.saturating_duration_since(Instant::now())) {
            Got::Bytes(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                None
            }
            other => Some(other),
        }
    }

    /// More into `unread`, or how the other side ended. Too late is a failure.
    #[track_caller]
    fn more(&mut self, deadline: Instant, waiting_for: &str) -> Result<(), End> {
        match self.fill(deadline) {
            None => Ok(()),
            Some(Got::End(end)) => Err(end),
            Some(_) => panic!("{}: no {waiting_for} within {:?}; so far {}", self.who, self.limit, shown(&self.unread)),
        }
    }

    #[track_caller]
    fn must_have_more(&mut self, deadline: Instant, waiting_for: &str) {
        if let Err(end) = self.more(deadline, waiting_for) {
            panic!("{}: {end:?} instead of {waiting_for}; so far {}", self.who, shown(&self.unread));
        }
    }

    /// The next head.
    #[track_caller]
    pub fn read_head(&mut self) -> Head {
        self.try_read_head()
            .unwrap_or_else(|end| panic!("{}: {end:?} instead of a head; so far {}", self.who, shown(&self.unread)))
    }

    /// The next head, or how the other side ended before it was whole.
    #[track_caller]
    pub fn try_read_head(&mut self) -> Result<Head, End> {
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some(head) = Head::take(&mut self.unread) {
                if let Some(heads) = &self.heads {
                    heads.send(head.clone()).ok(); // nobody asks any more when the test is over
                }
                return Ok(head);
            }
            self.more(deadline, "head")?;
        }
    }

    /// Exactly so many bytes.
    #[track_caller]
    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + self.limit;
        while self.unread.len() < count {
            self.must_have_more(deadline, &format!("{count} bytes"));
        }
        self.unread.drain(..count).collect()
    }

    /// Exactly so many bytes, or how the other side ended before.
    #[track_caller]
    pub fn try_read_exact(&mut self, count: usize) -> Result<Vec<u8>, End> {
        let deadline = Instant::now() + self.limit;
        while self.unread.len() < count {
            self.more(deadline, &format!("{count} bytes"))?;
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Asserts that exactly these bytes come next.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let got = self.read_exact(bytes.len());
        assert!(got == bytes, "{}: expected {}, got {}", self.who, shown(bytes), shown(&got));
    }

    /// At least one byte, as many as are there.
    #[track_caller]
    pub fn read_some(&mut self) -> Vec<u8> {
        if self.unread.is_empty() {
            self.must_have_more(Instant::now() + self.limit, "byte");
        }
        std::mem::take(&mut self.unread)
    }

    /// Gives every byte to `sink` until the other side ends; each read has the whole limit. Holds nothing.
    #[track_caller]
    pub fn pour(&mut self, mut sink: impl FnMut(&[u8])) -> End {
        loop {
            sink(&self.unread);
            self.unread.clear();
            if let Err(end) = self.more(Instant::now() + self.limit, "byte or end") {
                return end;
            }
        }
    }

    /// All that comes, and how it ended.
    #[track_caller]
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        let mut all = Vec::new();
        let end = self.pour(|bytes| all.extend_from_slice(bytes));
        (all, end)
    }

    /// What was read from the wire and not yet asked for.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Asserts that the other side ends now, without a further byte, and so.
    #[track_caller]
    pub fn expect_end(&mut self, expected: End) {
        let (bytes, end) = self.read_to_end();
        assert!(bytes.is_empty() && end == expected, "{}: expected {expected:?}, got {} and {end:?}", self.who, shown(&bytes));
    }

    /// Asserts a FIN now.
    #[track_caller]
    pub fn expect_fin(&mut self) {
        self.expect_end(End::Fin);
    }

    /// Asserts a reset now.
    #[track_caller]
    pub fn expect_reset(&mut self) {
        self.expect_end(End::Reset);
    }

    /// Asserts that the other side ends now, in whichever way, without a further byte.
    #[track_caller]
    pub fn expect_any_end(&mut self) -> End {
        let (bytes, end) = self.read_to_end();
        assert!(bytes.is_empty(), "{}: expected an end, got {} first", self.who, shown(&bytes));
        end
    }

    /// Throws away what comes until the other side ends. For scripts that only have to stay connected;
    /// without a limit, since the test's own limits end it.
    pub fn wait_for_any_end(&mut self) -> End {
        self.unread.clear();
        let mut buffer = [0; 16 << 10];
        loop {
            if let Got::End(end) = self.wire.read(&mut buffer, LIMIT) {
                return end;
            }
        }
    }

    /// Asserts that neither a byte nor an end comes for so long.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        let ended = if self.unread.is_empty() { self.fill(Instant::now() + time) } else { None };
        match ended {
            Some(Got::Late) => {}
            Some(Got::End(end)) => panic!("{}: {end:?} where there should be silence", self.who),
            _ => panic!("{}: {} where there should be silence", self.who, shown(&self.unread)),
        }
    }
}

/// Bodies.
impl Conn {
    /// The next answer, whole. Not for answers to HEAD, whose body is never sent.
    #[track_caller]
    pub fn read_answer(&mut self) -> (Head, Body) {
        let head = self.read_head();
        let body = self.read_body(&head);
        (head, body)
    }

    /// The body that belongs to a head of either side.
    #[track_caller]
    pub fn read_body(&mut self, head: &Head) -> Body {
        self.try_read_body(head)
            .unwrap_or_else(|cut| panic!("{}: a body cut by {:?} after {}", self.who, cut.end, shown(&cut.bytes)))
    }

    /// The body that belongs to a head, or what came of it.
    #[track_caller]
    pub fn try_read_body(&mut self, head: &Head) -> Result<Body, Cut> {
        let mut bytes = Vec::new();
        match self.pour_body(head, |part| bytes.extend_from_slice(part)) {
            Ok((framing, trailers)) => Ok(Body { bytes, trailers, framing }),
            Err(end) => Err(Cut { bytes, end }),
        }
    }

    /// Gives a body to `sink` and holds nothing of it: for sizes beyond memory. The error is a cut.
    #[track_caller]
    pub fn pour_body(&mut self, head: &Head, mut sink: impl FnMut(&[u8])) -> Result<(Framing, Vec<String>), End> {
        let framing = framing(head);
        match framing {
            Framing::None => {}
            Framing::Length => {
                let length = head.value("content-length").unwrap_or_default().parse().expect("a Content-Length");
                self.pour_exactly(length, &mut sink)?;
            }
            Framing::Chunked => loop {
                let size = self.read_line()?;
                let digits = size.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{}: a chunk of size {size:?}", self.who));
                if size == 0 {
                    return Ok((framing, self.read_trailers()?));
                }
                self.pour_exactly(size, &mut sink)?;
                let end = self.read_line()?;
                assert!(end.is_empty(), "{}: {end:?} after a chunk", self.who);
            },
            Framing::Close => match self.pour(&mut sink) {
                End::Fin => {}
                end => return Err(end),
            },
        }
        Ok((framing, Vec::new()))
    }

    /// The next line, without its end. The error is the other side's end.
    #[track_caller]
    pub fn read_line(&mut self) -> Result<String, End> {
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some(at) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Ok(line[..at].iter().map(|&b| char::from(b)).collect());
            }
            self.more(deadline, "line")?;
        }
    }

    #[track_caller]
    fn read_trailers(&mut self) -> Result<Vec<String>, End> {
        let mut trailers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.push(line);
        }
    }

    #[track_caller]
    fn pour_exactly(&mut self, count: u64, sink: &mut impl FnMut(&[u8])) -> Result<(), End> {
        let mut left = count;
        loop {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(self.unread.len());
            sink(&self.unread[..now]);
            self.unread.drain(..now);
            left -= now as u64;
            if left == 0 {
                return Ok(());
            }
            self.more(Instant::now() + self.limit, "body byte")?;
        }
    }
}

/// RFC 9112 section 6.3, for peers that keep it.
fn framing(head: &Head) -> Framing {
    let is_answer = head.first.starts_with("HTTP/");
    if is_answer && (head.status() < 200 || head.status() == 204 || head.status() == 304) {
        Framing::None
    } else if head.has_token("transfer-encoding", "chunked") {
        Framing::Chunked
    } else if head.value("content-length").is_some() {
        Framing::Length
    } else if is_answer {
        Framing::Close
    } else {
        Framing::None
    }
}

fn dial(address: SocketAddr) -> TcpStream {
    TcpStream::connect_timeout(&address, LIMIT).unwrap_or_else(|e| panic!("connecting to {address}: {e}"))
}
