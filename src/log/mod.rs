//! The log: lines on standard error, for a person or as JSON. What is worth a line is decided elsewhere.

mod calendar;
mod json;
mod sink;

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

pub use sink::Flush;
use sink::Sink;

/// Begins to log what `filter` lets through, until what it gives is dropped: then every line is out. To be called once.
pub fn start(filter: &str, human: bool) -> Flush {
    let (sink, flush) = Sink::to(std::io::stderr());
    let log = registry().with(EnvFilter::new(filter));
    if human {
        log.with(fmt::layer().with_ansi(std::io::stderr().is_terminal()).compact().with_writer(sink)).init();
    } else {
        log.with(json::Lines::to(sink)).init();
    }
    flush
}
