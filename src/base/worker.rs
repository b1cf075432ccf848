//! Which of the process's threads this one is. A hint for what is kept by thread, never more.

use std::cell::Cell;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// This thread is the `number`th that serves, counted from 0.
pub fn be_worker(number: usize) {
    NUMBER.set(number);
}

/// The number of this thread; `usize::MAX` where it is none of those that serve.
pub fn worker() -> usize {
    NUMBER.get()
}
