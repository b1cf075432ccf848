//! A stream that hears the other side out before it tells of a broken write.
//!
//! A server that refuses an upload (413, 401) answers and closes; what it had not read makes its kernel
//! reset the connection. The next write fails while the answer still waits to be read, and hyper gives
//! up at a failed write. So a write that fails waits here until reading has come to its end.
//!
//! It also notes how names are spelled, which hyper forgets: it has those of a request written as their author spelled
//! them, and keeps the answer's head as it came. And it counts the answers before the final one.
//!
//! It gives up a server that takes no bytes at all: an upload may outlive its answer, and then
//! nobody else has a clock on it.
//!
//! Last, who holds the connection can speak on it while hyper is at rest ([`Ear::ask`]), and have hyper read an answer
//! whose request hyper has not sent ([`Ear::replay`]).

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::io::poll_read_buf;

use crate::net::{Spelling, Stream, head_end};

/// How long a server may take no bytes while there are some for it: nginx's `proxy_send_timeout`.
const SEND_TIME: Duration = Duration::from_secs(60);

/// The most answers of 1xx before the final one. A server that says 102 or 103 says it a few times.
pub const INFORMATIONAL_ANSWERS: usize = 100;

/// The stream as hyper has it.
#[derive(Debug)]
pub(super) struct Hearing(Arc<Mutex<Line>>);

/// The hold that the connection's owner has on it.
#[derive(Clone, Debug)]
pub(super) struct Ear(Arc<Mutex<Line>>);

#[derive(Debug)]
struct Line {
    stream: Stream,
    heads: Heads,
    spelling: Spelling,
    /// What writing failed with.
    failed: Option<io::Error>,
    /// What reading failed with, which hyper has not been told.
    broken: Option<io::Error>,
    /// Nothing more can be read.
    ended: bool,
    /// Who waits to be told.
    writer: Option<Waker>,
    /// Runs while the server takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    /// What hyper writes next goes nowhere: it was sent already. Until then nothing is read, since to hyper an answer
    /// before its request would be an error.
    mute: bool,
    /// Who waits for that.
    reader: Option<Waker>,
}

/// What a stream hears of heads.
#[derive(Debug, Default)]
struct Heads {
    /// How the names in the request are spelled that hyper is about to write.
    names: Option<Vec<u8>>,
    /// The answer's head is awaited, or not whole.
    listening: bool,
    /// What has come of it.
    answer: Vec<u8>,
    informational: usize,
}

/// What came of asking without hyper.
#[derive(Debug)]
pub(super) enum Asked {
    /// The first that the server said, or nothing, where it ended the connection.
    Read(Bytes),
    /// hyper is to ask: there was news before, or the server takes nothing.
    NotAsked,
}

/// As hyper's first: the head and the body of a small answer.
const FIRST_READ: usize = 8 << 10;

impl Ear {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before a request is given to hyper.
    pub(super) fn asked(&self, names: Vec<u8>) {
        self.lock().heads = Heads { names: Some(names), listening: true, answer: Vec::new(), informational: 0 };
    }

    /// The head of the final answer, as it came.
    pub(super) fn answered(&self) -> Vec<u8> {
        let heads = &mut self.lock().heads;
        heads.listening = false;
        std::mem::take(&mut heads.answer)
    }

    /// Sends a request, and reads once. hyper has to be at rest, and stay so meanwhile.
    pub(super) async fn ask(&self, request: &[u8]) -> Asked {
        let mut looked = false;
        let mut rest = request;
        let mut read = BytesMut::new();
        poll_fn(|cx| {
            let mut line = self.lock();
            // What comes before the request is no answer to it.
            if !std::mem::replace(&mut looked, true) && line.poll_news(cx).is_ready() {
                return Poll::Ready(Asked::NotAsked);
            }
            if let Err(error) = ready!(line.poll_write_all(cx, &mut rest)) {
                line.failed = Some(error); // there may be an answer all the same
                return Poll::Ready(Asked::NotAsked);
            }
            read.reserve(FIRST_READ);
            if let Err(error) = ready!(poll_read_buf(Pin::new(&mut line.stream), cx, &mut read)) {
                line.broken = Some(error);
            }
            Poll::Ready(Asked::Read(read.split().freeze()))
        })
        .await
    }

    /// hyper is to read `read`, and what follows it, as the answer to what it is given next, which was sent already.
    pub(super) fn replay(&self, read: Bytes) {
        let mut line = self.lock();
        line.stream.unread(read);
        line.mute = true;
    }
}

impl Line {
    /// Whether anything can be read, be it the end. Nothing is lost.
    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut piece = [0; 64];
        let mut read = ReadBuf::new(&mut piece);
        match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)) {
            Ok(()) => self.stream.unread(Bytes::copy_from_slice(read.filled())),
            Err(error) => self.broken = Some(error),
        }
        Poll::Ready(())
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>, rest: &mut &[u8]) -> Poll<io::Result<()>> {
        while !rest.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            *rest = rest.get(n..).filter(|_| n > 0).ok_or(io::ErrorKind::WriteZero)?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl Heads {
    /// Takes in bytes of answers. Not without an end those that are none: hyper reads over them, and so must we.
    fn hear(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while self.listening && !bytes.is_empty() {
            let before = self.answer.len();
            if before > 0 {
                self.answer.extend_from_slice(bytes); // a head in pieces
            }
            let end = head_end(if before > 0 { &self.answer } else { bytes }, before);
            let used = end.map_or(bytes.len(), |end| end.saturating_sub(before));
            if before == 0 {
                self.answer.extend_from_slice(bytes.get(..used).unwrap_or_default());
            }
            self.answer.truncate(before + used);
            bytes = bytes.get(used..).unwrap_or_default();
            if end.is_none() {
                break;
            }
            if !matches!(self.answer.get(..12), Some([b'H', .., b' ', b'1', b'0', b'0' | b'2'..=b'9'])) {
                self.listening = false;
                break;
            }
            self.answer.clear();
            self.informational += 1;
            if self.informational > INFORMATIONAL_ANSWERS {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it sent informational answers without an end"));
            }
        }
        Ok(())
    }
}

impl Hearing {
    pub(super) fn new(stream: Stream) -> (Self, Ear) {
        let line = Arc::new(Mutex::new(Line {
            stream,
            heads: Heads::default(),
            spelling: Spelling::new(),
            failed: None,
            broken: None,
            ended: false,
            writer: None,
            stall: None,
            mute: false,
            reader: None,
        }));
        (Self(line.clone()), Ear(line))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// What writing came to; a failure only once reading has ended.
    fn heard_out<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Spelling, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.failed.is_none() {
            match write(Pin::new(&mut self.stream), &mut self.spelling, cx) {
                Poll::Ready(Ok(done)) => {
                    self.stall = None;
                    return Poll::Ready(Ok(done));
                }
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending => {
                    ready!(self.stall.get_or_insert_with(|| Box::pin(sleep(SEND_TIME))).as_mut().poll(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        if let Some(error) = self.failed.as_ref().filter(|_| self.ended) {
            return Poll::Ready(Err(error.kind().into()));
        }
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncRead for Hearing {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut line = self.line();
        if line.mute {
            line.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = match line.broken.take() {
            Some(error) => Err(error),
            None => ready!(Pin::new(&mut line.stream).poll_read(cx, buf)),
        };
        if read.is_err() || buf.filled().len() == before {
            line.ended = true;
            if let Some(writer) = line.writer.take() {
                writer.wake();
            }
        } else if line.heads.listening {
            line.heads.hear(buf.filled().get(before..).unwrap_or_default())?;
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Hearing {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut line = self.line();
        let names = line.heads.names.take();
        if std::mem::take(&mut line.mute) {
            // hyper writes a head without a body in one go.
            if let Some(reader) = line.reader.take() {
                reader.wake();
            }
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        if let Some(names) = names {
            line.spelling.expect(names);
        }
        line.heard_out(cx, |stream, spelling, cx| spelling.write(bufs, |bufs| stream.poll_write_vectored(cx, bufs)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line().heard_out(cx, |stream, spelling, cx| {
            spelling.flushed();
            stream.poll_flush(cx)
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever shuts down reads no more.
        Pin::new(&mut self.line().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&str]) -> (io::Result<()>, Vec<u8>, bool) {
        let mut heads = Heads { listening: true, ..Heads::default() };
        let result = pieces.iter().try_for_each(|piece| heads.hear(piece.as_bytes()));
        (result, heads.answer, heads.listening)
    }

    #[test]
    fn the_head_of_the_final_answer_is_kept_however_it_comes() {
        let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
        let head = "HTTP/1.1 200 OK\r\nX-a: 1\r\n\r\n";
        let all = format!("{early}{head}body\r\n\r\n");
        for cut in 0..all.len() {
            let (first, second) = all.split_at(cut);
            for pieces in [vec![first, second], vec![first, &second[..second.len() / 2], &second[second.len() / 2..]]] {
                let (result, answer, listening) = heard(&pieces);
                assert!(result.is_ok() && !listening);
                assert_eq!(String::from_utf8_lossy(&answer), head, "cut at {cut}");
            }
        }
    }

    #[test]
    fn informational_answers_have_an_end() {
        let answers = |n| "HTTP/1.1 102 Processing\r\n\r\n".repeat(n);
        assert!(heard(&[&answers(INFORMATIONAL_ANSWERS)]).0.is_ok());
        assert!(heard(&[&answers(INFORMATIONAL_ANSWERS + 1)]).0.is_err());
    }
}
