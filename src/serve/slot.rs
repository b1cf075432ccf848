//! Room on the heap for one future after the other: the exchanges of an HTTP/1 connection, which has one at a time.
//!
//! An exchange is some kilobytes large. To allocate and free as much for each request costs more than to route it. And
//! most of what wakes a connection is news for its exchange alone (from the backend, or its own next turn): then the
//! exchange is asked here, and hyper, which would look for everything that it waits for, only once there is an answer.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The room, which is there while no future is in it, too.
pub(super) struct Slot<F: Future>(Mutex<Room<F>>);

struct Room<F: Future> {
    future: Pin<Box<Option<F>>>,
    /// What came of it, until hyper takes that.
    output: Option<F::Output>,
    /// How many there have been.
    number: u64,
    /// Wakes the connection's task, which has one waker all its life.
    task: Waker,
}

/// The future that is in the slot; its drop ends that.
pub(super) struct Placed<'a, F: Future> {
    slot: &'a Slot<F>,
    number: u64,
}

impl<F: Future> Slot<F> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Room { future: Box::pin(None), output: None, number: 0, task: Waker::noop().clone() }))
    }

    /// The task that futures in here are to wake, whoever asks them.
    pub(super) fn wakes(&self, task: &Waker) {
        self.lock().task.clone_from(task);
    }

    /// Puts a future in the room. One that is in it ends: hyper has one at a time.
    pub(super) fn put(&self, future: F) {
        let mut room = self.lock();
        room.future.set(Some(future));
        room.output = None;
        room.number += 1;
    }

    /// Likewise, for hyper to wait for.
    pub(super) fn place(&self, future: F) -> Placed<'_, F> {
        self.put(future);
        self.placed()
    }

    /// What is in the room, for hyper to wait for.
    pub(super) fn placed(&self) -> Placed<'_, F> {
        Placed { slot: self, number: self.lock().number }
    }

    /// Ends what is in the room.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Asks the future. Pending: there is one, and it goes on. Ready: hyper has to be asked.
    pub(super) fn poll(&self) -> Poll<()> {
        let mut room = self.lock();
        let polled = room.poll();
        if let Poll::Ready(output) = polled {
            room.output = output;
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Room<F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future> Room<F> {
    fn clear(&mut self) {
        self.future.set(None);
        self.output = None;
    }

    /// What came of the future; nothing, where there is none.
    fn poll(&mut self) -> Poll<Option<F::Output>> {
        if self.output.is_some() {
            return Poll::Ready(self.output.take());
        }
        let Some(future) = self.future.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let output = std::task::ready!(future.poll(&mut Context::from_waker(&self.task)));
        self.future.set(None); // what it holds goes now
        Poll::Ready(Some(output))
    }
}

impl<F: Future> Future for Placed<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<F::Output> {
        let mut room = self.slot.lock();
        if room.number != self.number {
            return Poll::Pending; // another is there: nobody waits for this one
        }
        match room.poll() {
            Poll::Ready(Some(output)) => Poll::Ready(output),
            _ => Poll::Pending,
        }
    }
}

impl<F: Future> Drop for Placed<'_, F> {
    fn drop(&mut self) {
        let mut room = self.slot.lock();
        if room.number == self.number {
            room.clear();
        }
    }
}

/// Whether there is news for hyper: what it waits for itself, on the client's side, wakes the task through this.
pub(super) struct News {
    any: AtomicBool,
    task: Waker,
}

impl News {
    /// There is some at first.
    pub(super) fn new(task: &Waker) -> Arc<Self> {
        Arc::new(Self { any: true.into(), task: task.clone() })
    }

    /// Whether there was some since this was last asked.
    pub(super) fn take(&self) -> bool {
        self.any.swap(false, Ordering::AcqRel)
    }
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.any.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn what_a_future_holds_goes_with_its_place_and_the_room_stays() {
        let slot = Slot::new();
        let held = Arc::new(());
        for finished in [true, false, true] {
            let held_inside = held.clone();
            let mut placed = slot.place(async move {
                if !finished {
                    std::future::pending::<()>().await;
                }
                Arc::strong_count(&held_inside)
            });
            assert_eq!((&mut placed).now_or_never(), finished.then_some(2));
            drop(placed);
            assert_eq!(Arc::strong_count(&held), 1);
        }
    }

    #[test]
    fn what_came_of_a_future_waits_for_whoever_placed_it_and_is_told_once() {
        let slot = Slot::new();
        assert_eq!(slot.poll(), Poll::Ready(()), "none is there");
        for asked_here in [0, 1, 2] {
            let mut turns = 0;
            let mut placed = slot.place(std::future::poll_fn(move |_| {
                turns += 1;
                if turns > 1 { Poll::Ready(turns) } else { Poll::Pending }
            }));
            let here: Vec<_> = (0..asked_here).map(|_| slot.poll()).collect();
            assert_eq!(here, [Poll::Pending, Poll::Ready(())][..asked_here]);
            let there: Vec<_> = (asked_here..2).map(|_| (&mut placed).now_or_never()).collect();
            assert_eq!(there, [None, Some(2)][asked_here..]);
            let last = (&mut placed).now_or_never();
            assert_eq!(last, (asked_here == 2).then_some(2));
        }
    }

    #[test]
    fn a_place_that_was_taken_over_ends_nothing() {
        let slot = Slot::new();
        let first = slot.place(std::future::ready(1));
        let second = slot.place(std::future::ready(2));
        drop(first);
        assert_eq!(second.now_or_never(), Some(2));
    }

    #[test]
    fn a_future_wakes_the_task_and_not_whoever_asks_it() {
        let (task, other) = (News::new(Waker::noop()), News::new(Waker::noop()));
        let slot = Slot::new();
        slot.wakes(&task.clone().into());
        let mut placed = slot.place(async {
            crate::base::others_first().await;
        });
        let _first = (task.take(), other.take());
        assert!(Pin::new(&mut placed).poll(&mut Context::from_waker(&other.clone().into())).is_pending());
        assert_eq!((task.take(), other.take()), (true, false));
    }
}
