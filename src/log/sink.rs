//! Where lines go: into a buffer, which a thread of its own writes out.
//!
//! A write for each line costs more than the request that it is about, and whoever reads standard error slowly, or not
//! at all, would hold up all that is served. So lines wait [`PAUSE`], and what nobody reads is at last thrown away, and
//! counted.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others: not to be felt by a reader, and 100 writes a second at most.
const PAUSE: Duration = Duration::from_millis(10);
/// So many bytes wait for nothing more.
const ENOUGH: usize = 64 << 10;
/// The most that waits: beyond it lines are lost. Ten seconds of 1,000 requests each.
const MOST: usize = 4 << 20;

/// Takes lines.
#[derive(Clone, Debug)]
pub(super) struct Sink(Arc<Shared>);

/// Its drop waits until every line is out, but for one second at most where nobody reads them.
#[derive(Debug)]
pub struct Flush {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The first line, enough lines, or the end.
    news: Condvar,
    /// The writer is done.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// The writer sleeps until there is a line.
    sleeping: bool,
    lost: u64,
    ending: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// Begins to write to `out`. Where no thread can be started lines wait for the end.
    pub(super) fn to(out: impl Write + Send + 'static) -> (Self, Flush) {
        let shared = Arc::<Shared>::default();
        let own = shared.clone();
        let writer = thread::Builder::new().name("log".to_owned()).spawn(move || write(&own, out)).ok();
        (Self(shared.clone()), Flush { shared, writer })
    }

    /// Takes a line, or several, each with its end.
    pub(super) fn put(&self, lines: &[u8]) {
        let mut state = self.0.lock();
        if state.lines.len() + lines.len() > MOST {
            state.lost += 1;
            return;
        }
        let before = state.lines.len();
        state.lines.extend_from_slice(lines);
        let enough = before < ENOUGH && state.lines.len() >= ENOUGH;
        if std::mem::take(&mut state.sleeping) || enough {
            drop(state);
            self.0.news.notify_one();
        }
    }
}

/// Writes lines until the end.
fn write(shared: &Shared, mut out: impl Write) {
    let mut lines = Vec::new();
    loop {
        let (lost, ending) = {
            let mut state = shared.lock();
            while state.lines.is_empty() && !state.ending {
                state.sleeping = true;
                state = shared.news.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.sleeping = false;
            let waits = |state: &mut State| state.lines.len() < ENOUGH && !state.ending;
            (state, _) = shared.news.wait_timeout_while(state, PAUSE, waits).unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut lines, &mut state.lines);
            (std::mem::take(&mut state.lost), state.ending)
        };
        // A log that nobody can write is no reason to end: whoever closed it wants none.
        out.write_all(&lines).and_then(|()| out.flush()).ok();
        lines.clear();
        lines.shrink_to(ENOUGH * 2); // a flood's room is not kept
        if lost > 0 {
            tracing::warn!(lost, "lines of the log were thrown away: whoever reads standard error does not keep up");
        }
        let mut state = shared.lock();
        if ending && state.lines.is_empty() {
            state.ended = true;
            shared.done.notify_all();
            return;
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ending = true;
        self.shared.news.notify_one();
        if self.writer.take().is_some() {
            let second = Duration::from_secs(1);
            drop(self.shared.done.wait_timeout_while(state, second, |state| !state.ended));
        }
    }
}

impl Write for Sink {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.put(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes nothing before it is let.
    struct Slow(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().ok();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Slow, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let ((let_go, gate), written) = (mpsc::channel(), Arc::<Mutex<Vec<u8>>>::default());
        (Slow(gate, written.clone()), let_go, written)
    }

    #[test]
    fn lines_come_out_by_themselves_and_in_order() {
        let (out, let_go, written) = slow();
        let (sink, _flush) = Sink::to(out);
        sink.put(b"a\n");
        sink.put(b"b\n");
        let_go.send(()).unwrap();
        while written.lock().unwrap().len() < 4 {
            thread::yield_now();
        }
        assert_eq!(*written.lock().unwrap(), b"a\nb\n");
    }

    #[test]
    fn the_end_waits_for_every_line() {
        let (out, let_go, written) = slow();
        drop(let_go); // takes all
        let (sink, flush) = Sink::to(out);
        let line = [b'x'; 1 << 10];
        for _ in 0..500 {
            sink.put(&line);
        }
        drop(flush);
        assert_eq!(written.lock().unwrap().len(), 500 << 10);
    }

    #[test]
    fn a_reader_that_reads_nothing_holds_up_nobody_and_memory_has_a_bound() {
        let (out, let_go, written) = slow();
        let (sink, flush) = Sink::to(out);
        let line = [b'x'; 1 << 10];
        sink.put(&line);
        while !sink.0.lock().lines.is_empty() {
            thread::yield_now(); // until the writer has it, and waits for its reader
        }
        for _ in 0..20 << 10 {
            sink.put(&line);
        }
        let state = sink.0.lock();
        assert!(state.lines.len() <= MOST && state.lost >= 15 << 10);
        drop(state);
        drop(let_go);
        drop(flush);
        assert!(written.lock().unwrap().len() <= MOST + line.len());
    }
}
