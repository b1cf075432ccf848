//! The threads that serve: each with a runtime of its own, or all with one. Not what runs on them.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::base::{be_worker, free_spares, keep_spares};
use crate::config::Runtime;

/// For tasks that were cut off to write their records.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Runtimes, and the threads that drive them. The calling thread drives the first.
#[derive(Debug)]
pub struct Threads {
    first: tokio::runtime::Runtime,
    others: Vec<(Handle, JoinHandle<()>)>,
    stop: CancellationToken,
    /// How many threads serve.
    count: usize,
}

/// How many turns tasks have before the kernel is asked for news. More than tokio's 61: each request has several turns,
/// and what many do together is cheaper (`base::others_first`). A turn takes some 10 us.
const TURNS: u32 = 128;

impl Threads {
    /// As an app wants them.
    pub fn of(app: &App) -> io::Result<Self> {
        Self::new(app.config.runtime, app.config.threads)
    }

    /// So many (`None`: one per core).
    pub fn new(runtime: Runtime, count: Option<usize>) -> io::Result<Self> {
        let count = count.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
        let stop = CancellationToken::new();
        if runtime == Runtime::Shared {
            let first = Builder::new_multi_thread()
                .worker_threads(count)
                .enable_all()
                .on_thread_start(keep_spares)
                .on_thread_stop(free_spares)
                .build()?;
            return Ok(Self { first, others: Vec::new(), stop, count });
        }
        let build = || Builder::new_current_thread().enable_all().event_interval(TURNS).build();
        let first = build()?;
        be_worker(0);
        let others = (1..count).map(|number| {
            let runtime = build()?;
            let handle = runtime.handle().clone();
            let stop = stop.clone();
            let serve = move || {
                be_worker(number);
                keep_spares();
                runtime.block_on(stop.cancelled());
                runtime.shutdown_timeout(LAST_WORDS);
                free_spares();
            };
            Ok((handle, std::thread::Builder::new().name(format!("worker {number}")).spawn(serve)?))
        });
        let others = others.collect::<io::Result<_>>()?;
        Ok(Self { first, others, stop, count })
    }

    /// How many threads serve.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The runtimes, the first first.
    pub fn handles(&self) -> Vec<Handle> {
        std::iter::once(self.first.handle()).chain(self.others.iter().map(|(handle, _)| handle)).cloned().collect()
    }

    /// Runs to the end. A name that is still being resolved does not hold up the exit.
    pub fn complete<T>(self, work: impl Future<Output = T>) -> T {
        keep_spares();
        let outcome = self.first.block_on(work);
        self.stop.cancel();
        for (_, thread) in self.others {
            thread.join().ok(); // it cannot panic outside of a task, and a task's panic is told
        }
        self.first.shutdown_timeout(LAST_WORDS);
        free_spares();
        outcome
    }
}
