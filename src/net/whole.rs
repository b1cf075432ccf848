//! Beneath rustls: a socket that gives it whole records only.
//!
//! So rustls never holds a part of a record while it waits, and its connection can be let go of between any two reads
//! without a byte being lost in it. It also reads more at once than rustls, which asks for 4 KiB each time.
//!
//! Small records go straight into rustls's buffer. Only the beginning of a record whose rest is not there yet is held,
//! with what came behind it, and nothing while the peer is silent. Bytes that are no records pass as they are: rustls
//! has the alerts for them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Socket;

/// A header: type, version, length.
const HEADER: usize = 5;
/// What rustls takes for the longest record (TLS 1.2 allows 2048 bytes more than data).
const LONGEST: usize = HEADER + (1 << 14) + 2048;
/// How much is read at once behind the beginning of a record: the rest of the longest, and as much again.
const READ_BYTES: usize = 2 * LONGEST;

/// A socket beneath TLS.
#[derive(Debug)]
pub struct WholeRecords {
    socket: Socket,
    /// Read and not given on; from `at`.
    held: Vec<u8>,
    at: usize,
    /// How much is left of a record that is whole in `held` and was given on in part.
    left: usize,
    /// These are no records.
    raw: bool,
}

/// What bytes begin with.
enum Start {
    /// A record of this length, all of it there.
    Whole(usize),
    /// One whose end is missing, or nothing at all.
    Part,
    Nonsense,
}

fn start(bytes: &[u8]) -> Start {
    let (kind, version) = (bytes.first(), bytes.get(1));
    if kind.is_some_and(|kind| !(20..=24).contains(kind)) || version.is_some_and(|major| *major != 3) {
        return Start::Nonsense;
    }
    let &[_, _, _, high, low, ..] = bytes else { return Start::Part };
    match HEADER + usize::from(u16::from_be_bytes([high, low])) {
        length if length > LONGEST => Start::Nonsense,
        length if length <= bytes.len() => Start::Whole(length),
        _ => Start::Part,
    }
}

/// How long the whole records are that `bytes` begins with, up to `most`; and what comes then.
fn whole(bytes: &[u8], most: usize) -> (usize, Start) {
    let mut end = 0;
    loop {
        match start(bytes.get(end..).unwrap_or_default()) {
            Start::Whole(length) if end + length <= most => end += length,
            next => return (end, next),
        }
    }
}

impl WholeRecords {
    /// At the beginning of a record.
    pub fn of(socket: Socket) -> Self {
        Self { socket, held: Vec::new(), at: 0, left: 0, raw: false }
    }

    /// The socket beneath.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// The socket, where nothing that is held matters any more.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// Whether whoever reads has got whole records, and nothing else.
    pub(super) fn is_between_records(&self) -> bool {
        self.left == 0 && !self.raw
    }

    /// The socket, and what was read of it and not given on.
    pub(super) fn into_parts(mut self) -> (Socket, Vec<u8>) {
        self.held.drain(..self.at);
        (self.socket, self.held)
    }

    fn held(&self) -> &[u8] {
        self.held.get(self.at..).unwrap_or_default()
    }

    /// Gives on what can be of what is held; whether anything was.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let room = buf.remaining();
        let bytes = if self.raw {
            self.held().len()
        } else if self.left > 0 {
            self.left
        } else {
            match whole(self.held(), room) {
                // The first one is longer than the room: in parts, for rustls reads on until it is whole.
                (0, Start::Whole(length)) => {
                    self.left = length;
                    length
                }
                (0, Start::Nonsense) => {
                    self.raw = true;
                    self.held().len()
                }
                (bytes, _) => bytes,
            }
        };
        let bytes = bytes.min(room);
        buf.put_slice(self.held().get(..bytes).unwrap_or_default());
        self.left = self.left.saturating_sub(bytes);
        self.at += bytes;
        if self.at >= self.held.len() {
            (self.held, self.at) = (Vec::new(), 0);
        }
        bytes > 0
    }

    /// Reads into `buf`, and takes back what is no whole record yet. Whether something is left, or the input has ended.
    fn poll_direct(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() || self.raw {
            return Poll::Ready(Ok(true));
        }
        let (end, next) = whole(fresh, usize::MAX);
        if matches!(next, Start::Nonsense) {
            self.raw = true;
            return Poll::Ready(Ok(true));
        }
        self.held.extend_from_slice(fresh.get(end..).unwrap_or_default());
        buf.set_filled(before + end);
        Poll::Ready(Ok(end > 0))
    }

    /// Reads more behind what is held. Whether there was more.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.held.drain(..self.at);
        self.at = 0;
        super::scratch::with(|scratch| {
            let mut read = ReadBuf::new(scratch.get_mut(..READ_BYTES).unwrap_or_default());
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
            self.held.extend_from_slice(read.filled());
            Poll::Ready(Ok(!read.filled().is_empty()))
        })
    }
}

impl AsyncRead for WholeRecords {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.held.is_empty() {
                if ready!(this.poll_direct(cx, buf))? {
                    return Poll::Ready(Ok(()));
                }
            } else if this.give(buf) || !ready!(this.poll_more(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for WholeRecords {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
