//! Tasks that somebody counts: nothing is spawned and forgotten. Not a scheduler, and no policy.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A place where tasks are counted and their panics end only themselves.
///
/// Clones are the same place. Dropping it does not end its tasks; `wait` sees them end.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    on_panic: Arc<dyn Fn(&'static str, String) + Send + Sync>,
}

/// One that is counted as alive until this is dropped.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "its drop is its use")] TaskTrackerToken);

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").field("alive", &self.tracker.len()).finish_non_exhaustive()
    }
}

impl Tasks {
    /// A new place. `on_panic` gets the name of the task and the panic's message.
    pub fn new(on_panic: impl Fn(&'static str, String) + Send + Sync + 'static) -> Self {
        Self { tracker: TaskTracker::new(), on_panic: Arc::new(on_panic) }
    }

    /// Starts `future` on the current runtime; `name` says what it is in the line a panic leaves.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(name, future, &Handle::current());
    }

    /// Likewise, on this runtime.
    #[allow(clippy::disallowed_methods)] // the one place where a task may be started
    pub fn spawn_on(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static, on: &Handle) {
        let on_panic = self.on_panic.clone();
        // Adapters, not an `async` block: a block would have room for the future twice, where it came in
        // and where it is polled, and idle sockets pay for it.
        let contained = AssertUnwindSafe(future).catch_unwind().map(move |ended| {
            if let Err(panic) = ended {
                on_panic(name, message(&*panic));
            }
        });
        self.tracker.spawn_on(contained, on);
    }

    /// Counts something that is no task and lives as long as the hold on it.
    pub fn hold(&self) -> Hold {
        Hold(self.tracker.token())
    }

    /// Runs one step of such a thing. A panic ends the step, and is reported like that of a task.
    pub fn contain<T>(&self, name: &'static str, step: impl FnOnce() -> T) -> Option<T> {
        match std::panic::catch_unwind(AssertUnwindSafe(step)) {
            Ok(done) => Some(done),
            Err(panic) => {
                (self.on_panic)(name, message(&*panic));
                None
            }
        }
    }

    /// How many are alive.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether none is alive.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Completes when all have ended. More may be started meanwhile; they are waited for too.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn a_panic_ends_its_own_task_and_is_reported_by_name() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let tasks = {
            let seen = seen.clone();
            Tasks::new(move |name, message| seen.lock().expect("no panic in here").push((name, message)))
        };
        let (tell, told) = tokio::sync::oneshot::channel();
        #[allow(clippy::panic)] // it is what is tested
        tasks.spawn("breaks", async { panic!("on purpose") });
        tasks.spawn("lives", async { tell.send(()).expect("the test listens") });
        told.await.expect("the other task lives");
        tasks.wait().await;
        assert_eq!(*seen.lock().expect("not poisoned"), [("breaks", "on purpose".to_owned())]);
    }
}
