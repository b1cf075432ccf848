//! An answer whose head we have read ourselves, read once more by hyper, which frames its body.
//!
//! A handshake is written and its answer's head read without hyper; when the answer is no 101 it is
//! ordinary HTTP after all. hyper then gets the bytes from the start, and believes to have sent the
//! request: what it writes goes nowhere.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use hyper::client::conn::TrySendError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::AnswerBody;
use super::backend::Lease;
use super::connection::start_http1;
use super::no_body;
use crate::net::Stream;

/// Reads `read` and what follows on `stream` as the answer to a GET. The connection ends with it.
pub async fn replay(lease: Lease, mut stream: Stream, read: Bytes) -> hyper::Result<Response<AnswerBody>> {
    stream.unread(read);
    let mute = Mute { stream, asked: false, reader: None };
    let mut connection = start_http1(mute, &lease.server).await?;
    connection.reusable = false;
    let response = connection.send(Request::new(no_body()), Vec::new()).await.map_err(TrySendError::into_error)?;
    Ok(response.map(|body| AnswerBody::new(body, lease, Some(connection))))
}

/// A stream that swallows what is written, and has nothing to read before: an answer before its request
/// would be an error to hyper.
struct Mute {
    stream: Stream,
    asked: bool,
    reader: Option<Waker>,
}

impl AsyncRead for Mute {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.asked {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Mute {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.asked = true;
        if let Some(reader) = this.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
