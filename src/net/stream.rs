//! The one stream type: TCP or unix, bare or under TLS (rustls's, or our own record layer), or a stream of h2; with bytes
//! that were read too early in front.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

use super::h2::H2Stream;
use super::options::{self, SendQueue, Watched};
use super::pipe::Pipe;
use super::raw::{Poller, Raw, Readiness};
use super::sealed::Sealed;
use super::takeover::{self, Shaken};
use super::whole::WholeRecords;
use crate::record::Secrets;

/// A connected socket. What the runtime needs for one is boxed: idle tunnels have none of it, nor room for it.
#[derive(Debug)]
pub enum Socket {
    /// TCP over IPv4 or IPv6.
    Tcp(Box<TcpStream>),
    /// A unix stream socket.
    Unix(Box<UnixStream>),
    /// Either of them, watched by a poller of our own.
    Raw(Raw),
}

impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(Box::new(tcp))
    }
}

impl From<UnixStream> for Socket {
    fn from(unix: UnixStream) -> Self {
        Self::Unix(Box::new(unix))
    }
}

impl Socket {
    /// See [`Stream::is_quiet`].
    pub(super) fn is_quiet(&self) -> bool {
        if let Self::Raw(raw) = self { raw.is_quiet() } else { false }
    }

    /// Whether the peer has sent nothing that was not read, as far as the kernel knows; its end counts too.
    fn has_nothing_unread(&self) -> bool {
        let fd = match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
            Self::Raw(raw) => return raw.is_quiet(),
        };
        recv(fd, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) == Err(Errno::AGAIN)
    }

    /// The descriptor, where it is TCP.
    pub(super) fn tcp(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(tcp) => Some(tcp.as_fd()),
            Self::Raw(raw) => raw.tcp(),
            Self::Unix(_) => None,
        }
    }

    /// Moves it from the runtime that it is in to the one that this is called in.
    pub fn move_here(self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(tcp) => TcpStream::from_std(tcp.into_std()?)?.into(),
            Self::Unix(unix) => UnixStream::from_std(unix.into_std()?)?.into(),
            Self::Raw(raw) => Self::Raw(raw),
        })
    }

    /// Lets go of the runtime.
    fn leave_runtime(self) -> io::Result<Raw> {
        Ok(match self {
            Self::Tcp(tcp) => Raw::new(tcp.into_std()?.into(), true),
            Self::Unix(unix) => Raw::new(unix.into_std()?.into(), false),
            Self::Raw(raw) => raw,
        })
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
            Self::Raw(s) => s.poll_read(buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
            Self::Unix(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
            Self::Raw(s) => s.poll_write(buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s.as_mut()).poll_write_vectored(cx, bufs),
            Self::Unix(s) => Pin::new(s.as_mut()).poll_write_vectored(cx, bufs),
            Self::Raw(s) => s.poll_write_vectored(bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s.as_mut()).poll_flush(cx),
            Self::Unix(s) => Pin::new(s.as_mut()).poll_flush(cx),
            Self::Raw(s) => s.poll_flush(),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
            Self::Unix(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
            Self::Raw(s) => s.poll_shutdown(),
        }
    }
}

/// How the bytes travel.
#[derive(Debug)]
enum Transport {
    Plain(Socket),
    // Boxed: a rustls connection is over a kilobyte, and most streams are plain.
    TlsServer(Box<Shaken<server::TlsStream<WholeRecords>>>),
    TlsClient(Box<Shaken<client::TlsStream<WholeRecords>>>),
    Sealed(Box<Sealed>),
    H2(Box<H2Stream>),
}

/// A byte stream to a peer.
///
/// Invariant: the bytes given to [`Stream::unread`] are read before any byte of the transport.
#[derive(Debug)]
pub struct Stream {
    /// Boxed: it is gone as soon as it was read.
    front: Option<Box<Bytes>>,
    /// Before the transport: fields are dropped in their order.
    watched: Option<Watched>,
    transport: Transport,
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self::over(Transport::Plain(socket))
    }
}

impl From<H2Stream> for Stream {
    fn from(h2: H2Stream) -> Self {
        Self::over(Transport::H2(Box::new(h2)))
    }
}

impl Stream {
    fn over(transport: Transport) -> Self {
        Self { front: None, watched: None, transport }
    }

    /// A client's connection after its handshake; with `secrets` it can go on without rustls.
    pub fn of_client(tls: server::TlsStream<WholeRecords>, secrets: Option<Secrets>) -> Self {
        Self::over(Transport::TlsServer(Box::new(Shaken { tls, secrets })))
    }

    /// A backend's, likewise.
    pub fn of_backend(tls: client::TlsStream<WholeRecords>, secrets: Option<Secrets>) -> Self {
        Self::over(Transport::TlsClient(Box::new(Shaken { tls, secrets })))
    }

    /// For a connection that is a tunnel from here on: goes on without rustls, where it is TLS 1.3 and nothing of it is
    /// half read or half written. To be called between two reads, and after a flush.
    #[must_use]
    pub fn into_record_layer(self) -> Self {
        let Self { front, watched, transport } = self;
        let (transport, read) = match transport {
            Transport::TlsServer(tls) => match takeover::of_client(*tls) {
                (Ok(sealed), read) => (Transport::Sealed(Box::new(sealed)), read),
                (Err(tls), read) => (Transport::TlsServer(Box::new(tls)), read),
            },
            Transport::TlsClient(tls) => match takeover::of_backend(*tls) {
                (Ok(sealed), read) => (Transport::Sealed(Box::new(sealed)), read),
                (Err(tls), read) => (Transport::TlsClient(Box::new(tls)), read),
            },
            other => (other, Vec::new()),
        };
        // What rustls had decrypted comes behind what was put back, and before what the record layer reads.
        let front = if read.is_empty() {
            front
        } else {
            Some(Box::new([front.as_deref().map(Bytes::as_ref).unwrap_or_default(), &read].concat().into()))
        };
        Self { front, watched, transport }
    }

    /// Whether our own record layer carries it.
    pub fn is_on_record_layer(&self) -> bool {
        matches!(self.transport, Transport::Sealed(_))
    }

    /// Puts bytes back: they are read next, before those that were put back earlier.
    pub fn unread(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return; // what is empty may still hold the buffer that it was cut from
        }
        let bytes = match self.front.take() {
            Some(front) => [bytes.as_ref(), front.as_ref()].concat().into(),
            None => bytes,
        };
        self.front = Some(Box::new(bytes));
    }

    /// Whether it is known, without a look, that a read would find nothing; of a stream that tokio watches it is not.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.front.is_none()
            && match &self.transport {
                Transport::Plain(socket) => socket.is_quiet(),
                Transport::Sealed(sealed) => sealed.is_quiet(),
                _ => false,
            }
    }

    /// Whether it is a bare socket: nothing between us and that has an end of its own to tell.
    pub fn is_bare(&self) -> bool {
        matches!(self.transport, Transport::Plain(_))
    }

    /// Whether it is a bare socket of which all was read that has come; to close one that has more makes a reset.
    pub fn is_bare_and_read(&self) -> bool {
        self.front.is_none() && matches!(&self.transport, Transport::Plain(socket) if socket.has_nothing_unread())
    }

    /// Sends what a bare socket holds back, see `outbox`: what follows is not written.
    pub fn poll_sent(&mut self) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(Socket::Raw(raw)) => raw.poll_sent(),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Whether the kernel has all that was written and flushed.
    pub fn holds_nothing_back(&self) -> bool {
        let socket = self.socket().map_or(0, |socket| if let Socket::Raw(raw) = socket { raw.held_back() } else { 0 });
        let sealed = if let Transport::Sealed(sealed) = &self.transport { sealed.unsent() } else { 0 };
        socket + sealed == 0
    }

    /// The socket of its own beneath, for its options; a stream of h2 has none.
    pub fn socket(&self) -> Option<&Socket> {
        match &self.transport {
            Transport::Plain(socket) => Some(socket),
            Transport::TlsServer(shaken) => Some(shaken.tls.get_ref().0.socket()),
            Transport::TlsClient(shaken) => Some(shaken.tls.get_ref().0.socket()),
            Transport::Sealed(sealed) => Some(sealed.socket()),
            Transport::H2(_) => None,
        }
    }

    fn socket_mut(&mut self) -> Option<&mut Socket> {
        match &mut self.transport {
            Transport::Plain(socket) => Some(socket),
            Transport::TlsServer(shaken) => Some(shaken.tls.get_mut().0.socket_mut()),
            Transport::TlsClient(shaken) => Some(shaken.tls.get_mut().0.socket_mut()),
            Transport::Sealed(sealed) => Some(sealed.socket_mut()),
            Transport::H2(_) => None,
        }
    }

    /// Takes its socket away from the runtime: from then on it is read and written as far as a poller has told of it,
    /// see [`Stream::watch`], and wakes nobody. Not to be called on a stream of h2, which has no socket. Where it
    /// fails the stream is lost.
    pub fn leave_runtime(&mut self) -> io::Result<()> {
        let Some(socket) = self.socket_mut() else { return Err(io::ErrorKind::Unsupported.into()) };
        let left = std::mem::replace(socket, Socket::Raw(Raw::nothing())).leave_runtime()?;
        *socket = Socket::Raw(left);
        Ok(())
    }

    /// Has `poller` tell of its socket, which has left the runtime, under this name.
    pub fn watch(&mut self, poller: &Poller, token: u64) -> io::Result<()> {
        match self.socket_mut() {
            Some(Socket::Raw(raw)) => raw.watch(poller, token),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// What a poller told of its socket.
    #[inline]
    pub fn note(&mut self, readiness: Readiness) {
        if let Some(Socket::Raw(raw)) = self.socket_mut() {
            raw.note(readiness);
        }
    }

    /// Has its socket send bytes that come from the outbox. Whether some are kept, or an error is: then flushing has to
    /// tell of it.
    pub fn send_late(&mut self, bytes: &[u8]) -> bool {
        if let Some(Socket::Raw(raw)) = self.socket_mut() { raw.send_late(bytes) } else { false }
    }

    /// Whether its next byte comes straight from a socket that can be spliced, and goes straight to one.
    #[inline]
    pub fn is_spliceable(&self) -> bool {
        matches!(self.transport, Transport::Plain(Socket::Raw(_))) && self.front.is_none()
    }

    fn raw_mut(&mut self) -> io::Result<&mut Raw> {
        match &mut self.transport {
            Transport::Plain(Socket::Raw(raw)) => Ok(raw),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Takes at most so many of its bytes into an empty pipe. 0: it has ended.
    pub fn poll_fill(&mut self, pipe: &mut Pipe, most: usize) -> Poll<io::Result<usize>> {
        pipe.poll_fill(self.raw_mut()?, most)
    }

    /// Writes what it takes of a pipe.
    pub fn poll_drain(&mut self, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        pipe.poll_drain(self.raw_mut()?)
    }

    /// Whether it is a stream of an HTTP/2 connection.
    pub fn is_h2(&self) -> bool {
        matches!(self.transport, Transport::H2(_))
    }

    /// Whether TLS is spoken on it. Of what a stream of h2 is carried by this says nothing.
    pub fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::TlsServer(_) | Transport::TlsClient(_) | Transport::Sealed(_))
    }

    /// Makes its coming end a reset: RST of TCP, or at once `RST_STREAM` of h2 (RFC 8441 section 5). It takes
    /// bytes with it: [`Stream::lost_by_reset`].
    pub fn reset_on_close(&mut self) {
        if let Transport::H2(h2) = &mut self.transport {
            h2.reset_on_close();
        } else if let Some(socket) = self.socket() {
            options::reset_on_close(socket);
        }
    }

    /// How many bytes were written that a reset would destroy now: what the kernel has not sent, or what h2 has
    /// not given to its connection.
    pub fn lost_by_reset(&self) -> usize {
        match &self.transport {
            Transport::H2(h2) => h2.queued(),
            _ => self.unsent(),
        }
    }

    /// How many bytes were written that the peer has not acknowledged; of h2 with those of all other streams that
    /// the kernel holds for the connection beneath.
    pub fn unsent(&self) -> usize {
        match &self.transport {
            Transport::H2(h2) => h2.unsent(),
            Transport::Sealed(sealed) => sealed.unsent() + options::unsent(sealed.socket()),
            _ => self.socket().map_or(0, options::unsent),
        }
    }

    /// A look at its send queue for others, for as long as it lives.
    pub(super) fn send_queue(&mut self) -> Option<SendQueue> {
        let (queue, watched) = SendQueue::of(self.socket()?);
        self.watched = Some(watched);
        Some(queue)
    }

    /// Reads from the socket beneath TLS: for discarding what a peer still sends after our end. A stream of h2
    /// has nothing to discard: its end is told apart from that of the connection.
    pub(super) fn poll_read_raw(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = self.socket_mut() else { return Poll::Ready(Ok(())) };
        Pin::new(socket).poll_read(cx, buf)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(front) = &mut this.front {
            let n = front.len().min(buf.remaining());
            buf.put_slice(&front.split_to(n));
            if front.is_empty() {
                this.front = None;
            }
            return Poll::Ready(Ok(()));
        }
        match &mut this.transport {
            Transport::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Transport::TlsServer(s) => Pin::new(&mut s.tls).poll_read(cx, buf),
            Transport::TlsClient(s) => Pin::new(&mut s.tls).poll_read(cx, buf),
            Transport::Sealed(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
            Transport::H2(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Transport::TlsServer(s) => Pin::new(&mut s.tls).poll_write(cx, buf),
            Transport::TlsClient(s) => Pin::new(&mut s.tls).poll_write(cx, buf),
            Transport::Sealed(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
            Transport::H2(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Plain(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Transport::TlsServer(s) => Pin::new(&mut s.tls).poll_write_vectored(cx, bufs),
            Transport::TlsClient(s) => Pin::new(&mut s.tls).poll_write_vectored(cx, bufs),
            Transport::Sealed(s) => Pin::new(s.as_mut()).poll_write_vectored(cx, bufs),
            Transport::H2(s) => Pin::new(s.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(s) => Pin::new(s).poll_flush(cx),
            Transport::TlsServer(s) => Pin::new(&mut s.tls).poll_flush(cx),
            Transport::TlsClient(s) => Pin::new(&mut s.tls).poll_flush(cx),
            Transport::Sealed(s) => Pin::new(s.as_mut()).poll_flush(cx),
            Transport::H2(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Transport::TlsServer(s) => Pin::new(&mut s.tls).poll_shutdown(cx),
            Transport::TlsClient(s) => Pin::new(&mut s.tls).poll_shutdown(cx),
            Transport::Sealed(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
            Transport::H2(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
        }
    }
}
