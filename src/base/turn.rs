//! Work in turns: a task steps back, and those that are ready too come first. It waits for nothing.
//!
//! Where many requests are at hand each has the same few things to be done about it, which together are more code than a
//! processor keeps at hand. When all do the first thing, then all the second, the code is fetched once for all of them;
//! and what they write is written in one go, so that a peer which sleeps is woken once (benches/README.md).

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Completes when the tasks that are ready now have had their turn. With none it costs a look at an empty queue.
pub fn others_first() -> OthersFirst {
    OthersFirst { steps_back: true, waits: false }
}

/// The same, but only where there has lately been a crowd: a turn costs what a small part of the work does, and only with
/// many is that won back.
pub fn crowd_first() -> OthersFirst {
    OthersFirst { steps_back: CROWD.get().last >= MANY, waits: false }
}

/// Of 64 requests at once each is 4 % cheaper with a further turn, of 32 none, of 8 each is 10 % dearer (benches/README.md).
const MANY: u32 = 40;

/// Who steps back on this thread.
#[derive(Clone, Copy)]
struct Crowd {
    waiting: u32,
    /// The most of them since there were none.
    most: u32,
    /// That, the last time.
    last: u32,
}

thread_local! {
    static CROWD: Cell<Crowd> = const { Cell::new(Crowd { waiting: 0, most: 0, last: 0 }) };
}

/// See [`others_first`]. To be awaited on one thread.
#[derive(Debug)]
pub struct OthersFirst {
    steps_back: bool,
    waits: bool,
}

impl Future for OthersFirst {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::take(&mut self.steps_back) {
            return Poll::Ready(());
        }
        let mut crowd = CROWD.get();
        crowd.waiting = crowd.waiting.saturating_add(1);
        crowd.most = crowd.most.max(crowd.waiting);
        CROWD.set(crowd);
        self.waits = true;
        // Not `yield_now` of tokio, which asks the kernel for news in between.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for OthersFirst {
    fn drop(&mut self) {
        if self.waits {
            let mut crowd = CROWD.get();
            crowd.waiting = crowd.waiting.saturating_sub(1);
            if crowd.waiting == 0 {
                crowd.last = std::mem::take(&mut crowd.most);
            }
            CROWD.set(crowd);
        }
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

    #[tokio::test]
    async fn for_a_crowd_there_are_more_turns_than_for_a_few() {
        let turns = |tasks: u32| async move {
            futures_util::future::join_all((0..tasks).map(|_| others_first())).await;
            let mut turns = 0;
            let mut crowd = std::pin::pin!(crowd_first());
            std::future::poll_fn(|cx| {
                turns += 1;
                crowd.as_mut().poll(cx)
            })
            .await;
            turns
        };
        assert_eq!((turns(MANY).await, turns(3).await, turns(MANY).await), (2, 1, 2));
    }
}
