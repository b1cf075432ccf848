//! A socket under our own record layer: what a TLS 1.3 connection becomes once rustls has made its handshake and HTTP is
//! gone. To whoever reads and writes it is as a stream of rustls is: the same ends, the same errors.
//!
//! While nothing waits, there is the session and the socket. Held beside them, in [`Waiting`], for as long as it has to
//! be: a record whose end has not come, up to 256 KiB of records that the peer does not take, and what a caller with a
//! buffer smaller than a record has left.
//!
//! It reads until there is something to tell, or the socket says `Pending`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Socket, scratch};
use crate::record::{Alert, Fault, MOST_RECORD, OVERHEAD, Opened, Session, UNSEALED, record_bytes};

/// How many times in a turn we read what comes to nothing. Then others have theirs.
const TURN_READS: usize = 16;

/// A socket with TLS 1.3 on it.
#[derive(Debug)]
pub(super) struct Sealed {
    socket: Socket,
    session: Session,
    waiting: Option<Box<Waiting>>,
    /// Told to the reader once it has all the data that came before.
    fault: Option<Fault>,
}

/// What waits.
#[derive(Debug, Default)]
struct Waiting {
    /// Read from the socket, not opened: less than a record, but for the first time and for small readers.
    sealed: Vec<u8>,
    /// Opened, not read. Then nothing is read from the socket.
    data: Vec<u8>,
    data_at: usize,
    /// Records of ours. Then no data is sealed.
    out: Vec<u8>,
    out_at: usize,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.data.is_empty() && self.out.is_empty()
    }
}

impl Sealed {
    /// `sealed`: what was already read of the socket. `ended`: the peer's `close_notify` was, too.
    pub(super) fn new(socket: Socket, mut session: Session, sealed: Vec<u8>, ended: bool) -> Self {
        if ended {
            session.hear_end();
        }
        let waiting = (!sealed.is_empty()).then(|| Box::new(Waiting { sealed, ..Waiting::default() }));
        Self { socket, session, waiting, fault: None }
    }

    /// A connection on which nothing can be said or heard any more.
    pub(super) fn broken(socket: Socket) -> Self {
        Self { socket, session: Session::failed(), waiting: None, fault: Some(Alert::InternalError.into()) }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Bytes that the socket has not taken.
    pub(super) fn unsent(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.out.len() - waiting.out_at)
    }

    /// Whether a read would find nothing, and nothing is to be said.
    pub(super) fn is_quiet(&self) -> bool {
        self.waiting.is_none()
            && self.fault.is_none()
            && !self.session.has_heard_end()
            && !self.session.owes()
            && self.socket.is_quiet()
    }

    fn waiting(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }

    fn tidy(&mut self) {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.is_empty()) {
            self.waiting = None;
        }
    }

    /// Writes what waits.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(Ok(())) };
        while let Some(rest) = waiting.out.get(waiting.out_at..).filter(|rest| !rest.is_empty()) {
            let written = match ready!(Pin::new(&mut self.socket).poll_write(cx, rest)) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                written => written,
            };
            match written {
                Ok(n) => waiting.out_at += n,
                Err(error) => {
                    (waiting.out, waiting.out_at) = (Vec::new(), 0); // nobody will ever read it
                    return Poll::Ready(Err(error));
                }
            }
        }
        (waiting.out, waiting.out_at) = (Vec::new(), 0);
        self.tidy();
        Poll::Ready(Ok(()))
    }

    /// Writes records, and keeps what the socket does not take. To be called where nothing waits.
    fn send(&mut self, cx: &mut Context<'_>, mut records: &[u8]) -> io::Result<()> {
        while !records.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, records)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => records = records.get(n..).unwrap_or_default(),
                Poll::Pending => {
                    self.waiting().out = records.to_vec();
                    break;
                }
            }
        }
        Ok(())
    }

    /// Writes what waits, and then the update of our key that we owe.
    fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        if self.session.owes() {
            let mut record = [0; 2 * OVERHEAD];
            let bytes = self.session.seal_owed(&mut record).map_err(broken)?;
            self.send(cx, record.get(..bytes).unwrap_or_default())?;
            ready!(self.poll_out(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// The last record of ours, behind whatever waits.
    fn say_end(&mut self, alert: Alert) {
        let mut record = [0; 2 * OVERHEAD];
        if let Ok(bytes) = self.session.seal_end(alert, &mut record)
            && bytes > 0
        {
            self.waiting().out.extend_from_slice(record.get(..bytes).unwrap_or_default());
        }
    }

    fn fail(&mut self, cx: &mut Context<'_>, fault: Fault) {
        if let Fault::Ours(alert) = fault {
            self.say_end(alert);
            drop(self.poll_out(cx)); // as far as it goes: the error is the other one
        }
        self.fault = Some(fault);
    }

    /// Data that was opened before.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(waiting) = self.waiting.as_mut().filter(|waiting| !waiting.data.is_empty()) else { return false };
        let rest = waiting.data.get(waiting.data_at..).unwrap_or_default();
        let rest = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(rest);
        waiting.data_at += rest.len();
        if waiting.data_at >= waiting.data.len() {
            (waiting.data, waiting.data_at) = (Vec::new(), 0);
            self.tidy();
        }
        true
    }

    /// One read of the socket, where there is no whole record yet, and the opening of all that are whole. An error is the
    /// socket's, or an end that is none.
    fn poll_step(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, scratch: &mut [u8]) -> Poll<io::Result<()>> {
        let held = self.waiting.as_ref().map_or(&[][..], |waiting| &waiting.sealed);
        let had = held.len();
        // Not more than what is certain to have room in `buf` once it is opened, or one record.
        let most = buf.remaining().clamp(MOST_RECORD, scratch::SCRATCH_BYTES).max(had);
        let is_part = record_bytes(held).is_ok_and(|length| length.is_none_or(|length| length > had));
        let mut end = had;
        if is_part {
            let mut read = ReadBuf::new(scratch.get_mut(had..most).unwrap_or_default());
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
            let fresh = read.filled().len();
            if fresh == 0 {
                let text = "the peer closed the connection without TLS's close_notify";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
            }
            end += fresh;
        }
        if let (Some(waiting), Some(place)) = (&mut self.waiting, scratch.get_mut(..had)) {
            place.copy_from_slice(&std::mem::take(&mut waiting.sealed));
        }
        let opened = self.open(scratch.get(..end).unwrap_or_default(), buf);
        let rest = match opened {
            Ok(taken) => scratch.get(taken..end).unwrap_or_default(),
            Err(fault) => {
                self.fail(cx, fault);
                &[]
            }
        };
        if !rest.is_empty() && !self.session.has_heard_end() {
            self.waiting().sealed = rest.to_vec();
        }
        self.tidy();
        Poll::Ready(Ok(()))
    }

    /// Opens the whole records that `bytes` begins with, as far as their data has room. How many bytes they were.
    fn open(&mut self, bytes: &[u8], buf: &mut ReadBuf<'_>) -> Result<usize, Fault> {
        let (mut at, before) = (0, buf.filled().len());
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(record) = record_bytes(rest)?.and_then(|length| rest.get(..length)) else { return Ok(at) };
            let inner = record.len().saturating_sub(UNSEALED);
            let opened = if inner <= buf.remaining() {
                let opened = self.session.open(record, buf.initialize_unfilled_to(inner))?;
                if let Opened::Data(n) = opened {
                    buf.advance(n);
                }
                opened
            } else if buf.filled().len() > before {
                return Ok(at); // next time
            } else {
                let mut data = vec![0; inner];
                let opened = self.session.open(record, &mut data)?;
                if let Opened::Data(n) = opened {
                    data.truncate(n);
                    self.waiting().data = data;
                    self.give(buf);
                    return Ok(at + record.len());
                }
                opened
            };
            at += record.len();
            if opened == Opened::Closed {
                return Ok(at);
            }
        }
    }
}

fn broken(fault: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

impl AsyncRead for Sealed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if buf.remaining() == 0 || this.give(buf) {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURN_READS {
            if let Some(fault) = this.fault {
                return Poll::Ready(Err(broken(fault)));
            }
            if this.session.has_heard_end() {
                return Poll::Ready(Ok(()));
            }
            let step = scratch::with(|scratch| this.poll_step(cx, buf, scratch));
            // What we owe is said whoever asks; what the socket does not take is tried again with the next read or write.
            if this.session.owes() || this.unsent() > 0 {
                drop(this.poll_owed(cx));
            }
            ready!(step)?;
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for Sealed {
    /// Seals as much as the scratch buffer has room for, and has the socket take what it can. The rest is held, and
    /// nothing more is taken before it is gone.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.session.has_said_end() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(this.poll_out(cx))?;
        scratch::with(|scratch| {
            let sealed = this.session.seal(buf, scratch).map_err(broken)?;
            this.send(cx, scratch.get(..sealed.bytes).unwrap_or_default())?;
            Poll::Ready(Ok(sealed.taken))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_owed(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    /// `close_notify`, then FIN.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.say_end(Alert::CloseNotify);
        ready!(this.poll_out(cx))?;
        match ready!(Pin::new(&mut this.socket).poll_shutdown(cx)) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())), // it is gone already
            ended => Poll::Ready(ended),
        }
    }
}

#[cfg(test)]
mod tests;
