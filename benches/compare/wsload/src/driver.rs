//! Runs a load: connections are prepared first, then all threads start together, and only what
//! happens inside the measured window is counted.

use crate::process::{self, Watch};
use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

pub struct Plan {
    pub threads: usize,
    pub connections: usize,
    pub warmup: Duration,
    pub duration: Duration,
    pub watches: Vec<Watch>,
}

/// A workload. Each generator thread prepares and runs its share of the connections on its own
/// single-threaded runtime.
pub trait Load: Clone + Send + 'static {
    type Ready;

    async fn prepare(&self, connections: usize) -> Result<Self::Ready>;
    async fn run(&self, ready: Self::Ready, window: Window) -> Tally;
}

/// The part of a run that is counted.
#[derive(Clone, Copy)]
pub struct Window {
    start: Instant,
    pub end: Instant,
}

impl Window {
    fn after(warmup: Duration, duration: Duration) -> Self {
        let start = Instant::now() + warmup;
        Self { start, end: start + duration }
    }

    fn contains(&self, instant: Instant) -> bool {
        self.start <= instant && instant < self.end
    }
}

/// What was counted.
pub struct Tally {
    window: Window,
    operations: u64,
    bytes: u64,
    resumed: u64,
    latency: Histogram<u64>,
    errors: Vec<String>,
}

impl Tally {
    pub fn new(window: Window) -> Self {
        let latency = Histogram::new_with_bounds(100, 60_000_000_000, 3);
        Self { window, operations: 0, bytes: 0, resumed: 0, latency: latency.expect("the bounds are valid"), errors: Vec::new() }
    }

    /// Counts an operation that began at `begin` and ended at `end`.
    pub fn operation(&mut self, begin: Instant, end: Instant, bytes: u64) {
        if self.window.contains(end) {
            self.operations += 1;
            self.bytes += bytes;
            self.latency.saturating_record((end - begin).as_nanos() as u64);
        }
    }

    /// Counts bulk data, of which single latencies mean nothing.
    pub fn bulk(&mut self, end: Instant, operations: u64, bytes: u64) {
        if self.window.contains(end) {
            self.operations += operations;
            self.bytes += bytes;
        }
    }

    pub fn resumed(&mut self, end: Instant) {
        if self.window.contains(end) {
            self.resumed += 1;
        }
    }

    pub fn error(&mut self, error: &anyhow::Error) {
        self.errors.push(format!("{error:#}"));
    }

    fn merge(&mut self, other: Tally) {
        self.operations += other.operations;
        self.bytes += other.bytes;
        self.resumed += other.resumed;
        self.errors.extend(other.errors);
        self.latency += other.latency;
    }
}

pub struct Measured {
    tally: Tally,
    seconds: f64,
    cpu_seconds: BTreeMap<String, f64>,
}

pub fn drive<L: Load>(plan: &Plan, load: L) -> Result<Measured> {
    let barrier = Arc::new(Barrier::new(plan.threads + 1));
    let threads: Vec<_> = (0..plan.threads)
        .map(|index| {
            let load = load.clone();
            let barrier = Arc::clone(&barrier);
            let share = plan.connections / plan.threads + usize::from(index < plan.connections % plan.threads);
            let (warmup, duration) = (plan.warmup, plan.duration);
            std::thread::spawn(move || -> Result<Tally> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let local = LocalSet::new();
                let ready = local.block_on(&runtime, load.prepare(share));
                barrier.wait();
                let window = Window::after(warmup, duration);
                Ok(local.block_on(&runtime, load.run(ready?, window)))
            })
        })
        .collect();

    barrier.wait();
    let window = Window::after(plan.warmup, plan.duration);
    std::thread::sleep(plan.warmup);
    let before = process::cpu_seconds(&plan.watches);
    let started = Instant::now();
    std::thread::sleep(plan.duration);
    let after = process::cpu_seconds(&plan.watches);
    let seconds = started.elapsed().as_secs_f64();

    let mut tally = Tally::new(window);
    for thread in threads {
        tally.merge(thread.join().expect("a generator thread panicked")?);
    }
    let cpu_seconds = after
        .into_iter()
        .map(|(name, seconds)| {
            let used = seconds - before.get(&name).copied().unwrap_or(0.0);
            (name, used)
        })
        .collect();
    Ok(Measured { tally, seconds, cpu_seconds })
}

impl Measured {
    pub fn report(&self, workload: &str) -> Value {
        let tally = &self.tally;
        let per_million = |seconds: &f64| seconds * 1e6 / tally.operations.max(1) as f64;
        let microseconds = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1e3;
        let mut report = json!({
            "workload": workload,
            "seconds": self.seconds,
            "operations": tally.operations,
            "per_second": tally.operations as f64 / self.seconds,
            "mb_per_second": tally.bytes as f64 / 1e6 / self.seconds,
            "resumed": tally.resumed,
            "cpu_seconds": self.cpu_seconds,
            "cpu_seconds_per_million": self.cpu_seconds
                .iter()
                .map(|(name, seconds)| (name.clone(), per_million(seconds)))
                .collect::<BTreeMap<_, _>>(),
            "errors": tally.errors.len(),
            "first_error": tally.errors.first(),
        });
        if !tally.latency.is_empty() {
            report["latency_us"] = json!({
                "p50": microseconds(0.5),
                "p99": microseconds(0.99),
                "p99.9": microseconds(0.999),
                "max": tally.latency.max() as f64 / 1e3,
            });
        }
        report
    }
}
