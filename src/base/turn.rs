//! Work in turns: a task steps back, and those that are ready too come first. It waits for nothing.
//!
//! Where many requests are at hand each has the same few things to be done about it, which together are more code than a
//! processor keeps at hand. When all do the first thing, then all the second, the code is fetched once for all of them;
//! and what they write is written in one go, so that a peer which sleeps is woken once (benches/README.md).

use std::pin::Pin;
use std::task::{Context, Poll};

/// Completes when the tasks that are ready now have had their turn. With none it costs a look at an empty queue.
pub fn others_first() -> OthersFirst {
    OthersFirst { waited: false }
}

/// See [`others_first`].
#[derive(Debug)]
pub struct OthersFirst {
    waited: bool,
}

impl Future for OthersFirst {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.waited, true) {
            return Poll::Ready(());
        }
        // Not `yield_now` of tokio, which asks the kernel for news in between.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn all_do_the_first_thing_before_one_does_the_second() {
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let one = || async {
            seen.lock().expect("no panic").push(1);
            others_first().await;
            seen.lock().expect("no panic").push(2);
        };
        let local = tokio::task::LocalSet::new();
        local.run_until(futures_util::future::join_all([one(), one(), one()])).await;
        assert_eq!(*seen.lock().expect("no panic"), [1, 1, 1, 2, 2, 2]);
    }
}
