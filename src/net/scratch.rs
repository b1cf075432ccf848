//! One buffer per thread for ciphertext, borrowed for the length of a poll: no stream holds one while it waits.

use std::cell::RefCell;

/// Room for a tunnel's scratch buffer (256 KiB) in records of 16 KiB, each with 22 bytes around it, and for one record
/// more that came in part before.
pub(super) const SCRATCH_BYTES: usize = (256 << 10) + (20 << 10);

thread_local! {
    // Zeros from the kernel: what was never used takes no memory.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Lends the thread's buffer. Not to be called from within itself: a socket beneath does not.
pub(super) fn with<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}
