//! Time as one number: milliseconds since shortly before the process began. Not the wall clock.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// Where the count begins. A day early: a paused clock of a test may have begun before this was first asked.
static BEGAN: LazyLock<Instant> = LazyLock::new(|| {
    let now = std::time::Instant::now();
    Instant::from_std(now.checked_sub(Duration::from_secs(86_400)).unwrap_or(now))
});

/// The time at one moment, which is looked at once, and only if somebody asks.
///
/// A look costs a tenth of what moving a small message does.
#[derive(Debug, Default)]
pub struct Moment(Cell<Option<u64>>);

impl Moment {
    /// The present one.
    pub fn new() -> Self {
        Self::default()
    }

    /// In milliseconds.
    #[inline]
    pub fn now(&self) -> u64 {
        self.0.get().unwrap_or_else(|| self.look())
    }

    fn look(&self) -> u64 {
        let now = millis(Instant::now().saturating_duration_since(*BEGAN));
        self.0.set(Some(now));
        now
    }
}

/// What `now` says on this thread.
#[derive(Clone, Copy)]
enum Standing {
    /// What the clock says.
    No,
    /// That from the next look on.
    Unasked,
    At(Instant),
}

thread_local! {
    static STANDING: Cell<Standing> = const { Cell::new(Standing::No) };
}

/// One turn of a task, in which the time stands still for [`now`]: for the short while between two waits.
///
/// For idle times, which a look each is too dear for, and whose seconds a turn does not change.
#[must_use]
#[derive(Debug)]
pub struct Turn {
    _of_this_thread: std::marker::PhantomData<*const ()>,
}

impl Turn {
    /// Until this is dropped.
    pub fn begin() -> Self {
        STANDING.set(Standing::Unasked);
        Self { _of_this_thread: std::marker::PhantomData }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        STANDING.set(Standing::No);
    }
}

/// The time: within a [`Turn`] that of the first time that it was asked for.
pub fn now() -> Instant {
    match STANDING.get() {
        Standing::At(at) => at,
        Standing::No => Instant::now(),
        Standing::Unasked => {
            let at = Instant::now();
            STANDING.set(Standing::At(at));
            at
        }
    }
}

/// The instant that `Moment` calls by this number.
pub fn instant(at: u64) -> Instant {
    *BEGAN + Duration::from_millis(at)
}

/// In whole milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn within_a_turn_the_time_stands_still_and_goes_on_behind_it() {
        let first = now();
        let turn = Turn::begin();
        assert_eq!(now(), first);
        tokio::time::advance(Duration::from_secs(1)).await; // no turn of a task would wait
        assert_eq!(now(), first);
        drop(turn);
        assert_eq!(now(), first + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_is_one_number_and_the_next_is_later() {
        let moment = Moment::new();
        let now = moment.now();
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(moment.now(), now);
        assert_eq!(Moment::new().now(), now + 30);
        assert!(instant(now) <= Instant::now());
    }
}
