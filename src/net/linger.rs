//! The lingering close: FIN, then a while of reading and discarding, then close.
//!
//! `close()` with unread input makes Linux send RST, which destroys the answer just written at the
//! peer. So what a client still sends is read and thrown away, within bounds.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, ReadBuf};

use super::Stream;

/// How long a closed connection is read from.
pub const LINGER_TIME: Duration = Duration::from_secs(2);
/// How much is read from it.
pub const LINGER_BYTES: usize = 64 << 10;

/// Ends `stream` so that what was written arrives: `close_notify` where there is TLS, FIN, then discards
/// input until the peer's FIN, 64 KiB or 2 s.
pub async fn lingering_close(mut stream: Stream) {
    let close = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut left = LINGER_BYTES;
        let mut waste = vec![0; 4096]; // on the heap: a task is as large as its largest moment
        while left > 0 {
            let mut buf = ReadBuf::new(&mut waste);
            match poll_fn(|cx| stream.poll_read_raw(cx, &mut buf)).await {
                Ok(()) if !buf.filled().is_empty() => left = left.saturating_sub(buf.filled().len()),
                _ => return,
            }
        }
    };
    tokio::time::timeout(LINGER_TIME, close).await.ok();
}
