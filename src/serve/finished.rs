//! Records of answers that are over, on their way to the log: they are written in a turn of their own, when those of
//! other connections are. To make a line takes a tenth of a request's time, and less where many are made together
//! (`base::others_first`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::record::Record;

/// Those of one connection.
#[derive(Default)]
pub(super) struct Finished {
    /// Somebody will write them.
    later: AtomicBool,
    any: AtomicBool,
    records: Mutex<Vec<Record>>,
}

/// Who writes them. Its drop writes what is left; what comes behind that is written at once.
pub(super) struct Later<'a>(&'a Finished);

impl Finished {
    /// From now on records wait for [`Later::write`].
    pub(super) fn later(&self) -> Later<'_> {
        self.later.store(true, Ordering::Relaxed);
        Later(self)
    }

    /// Its answer is over.
    pub(super) fn put(&self, mut record: Record) {
        if self.later.load(Ordering::Relaxed) {
            record.end();
            self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
            self.any.store(true, Ordering::Release);
        } // else its drop writes it
    }
}

impl Later<'_> {
    /// Whether any wait.
    pub(super) fn has_any(&self) -> bool {
        self.0.any.load(Ordering::Acquire)
    }

    /// Writes those that do.
    pub(super) fn write(&self) {
        if self.0.any.swap(false, Ordering::AcqRel) {
            let mut records = self.0.records.lock().unwrap_or_else(PoisonError::into_inner);
            records.clear(); // their drop writes them
            records.shrink_to(4);
        }
    }
}

impl Drop for Later<'_> {
    fn drop(&mut self) {
        self.0.later.store(false, Ordering::Relaxed);
        self.write();
    }
}
