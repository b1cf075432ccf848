//! Room on the heap for one future after the other: the exchanges of an HTTP/1 connection, which has one at a time.
//!
//! An exchange is some kilobytes large. To allocate and free as much for each request costs more than to route it.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

type Room<F> = Pin<Box<Option<F>>>;

/// Keeps the room while no future is in it.
pub(super) struct Slot<F>(Mutex<Option<Room<F>>>);

/// A future in the slot's room, or in one of its own if that is taken; its drop gives the room back.
pub(super) struct Placed<'a, F> {
    slot: &'a Slot<F>,
    /// Always there until the drop.
    room: Option<Room<F>>,
}

impl<F: Future> Slot<F> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn place(&self, future: F) -> Placed<'_, F> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let room = match kept {
            Some(mut room) => {
                room.set(Some(future));
                room
            }
            None => Box::pin(Some(future)),
        };
        Placed { slot: self, room: Some(room) }
    }
}

impl<F: Future> Future for Placed<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let future = self.room.as_mut().and_then(|room| room.as_mut().as_pin_mut());
        future.map_or(Poll::Pending, |future| future.poll(cx))
    }
}

impl<F> Drop for Placed<'_, F> {
    fn drop(&mut self) {
        if let Some(mut room) = self.room.take() {
            room.set(None); // what the future holds goes now
            *self.slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
            assert!(slot.0.lock().unwrap().is_some());
        }
    }
}
