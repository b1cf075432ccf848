//! A client's first bytes, and which HTTP they begin where that was not agreed on: the preface of h2 with prior
//! knowledge, or anything else.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::Stream;

/// The first bytes of h2 with prior knowledge (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much is read to look for it: a usual head, so that it is read once.
const FIRST_READ: usize = 1 << 10;

/// What a client began with.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The whole preface of h2.
    pub http2: bool,
    /// When its first byte came: `P` may begin a POST, and its head's clock runs from there.
    pub at: Instant,
    /// What was read, which whoever goes on has to put back.
    pub read: Bytes,
}

/// Waits for the first bytes: for the first at most `idle`, for those that can still become the preface
/// `head` from there. `None`: nothing came in time, or before `stop`, or the client has gone.
pub async fn begin(stream: &mut Stream, idle: Duration, head: Duration, stop: impl Future<Output = ()>) -> Option<Beginning> {
    let mut stop = pin!(stop);
    let mut read = BytesMut::with_capacity(FIRST_READ);
    let mut begun = None;
    let http2 = loop {
        let deadline = begun.map_or_else(|| Instant::now() + idle, |begun| begun + head);
        let n = tokio::select! {
            biased;
            n = timeout_at(deadline, stream.read_buf(&mut read)) => n,
            () = &mut stop, if begun.is_none() => return None,
        };
        match n {
            Ok(Ok(0)) | Err(_) if begun.is_some() => break false, // h1 has an answer for a head that does not go on
            Ok(Ok(n)) if n > 0 => begun = begun.or_else(|| Some(Instant::now())),
            _ => return None,
        }
        let same = PREFACE.iter().zip(&read).take_while(|(a, b)| a == b).count();
        if same < read.len().min(PREFACE.len()) || same == PREFACE.len() {
            break same == PREFACE.len();
        }
    };
    begun.map(|at| Beginning { http2, at, read: read.freeze() })
}
