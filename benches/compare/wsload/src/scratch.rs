//! Reading into one buffer per thread, so that an idle connection costs no buffer.

use anyhow::Result;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

const SIZE: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SIZE]);
}

/// Waits for bytes and gives them to `consume`, which must not read from another connection.
/// Returns `None` at the end of the stream.
pub async fn read<S, T>(stream: &mut S, mut consume: impl FnMut(&mut [u8]) -> Result<T>) -> Result<Option<T>>
where
    S: AsyncRead + Unpin,
{
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            let filled = buffer.filled_mut();
            if filled.is_empty() {
                return Poll::Ready(Ok(None));
            }
            Poll::Ready(consume(filled).map(Some))
        })
    })
    .await
}
