//! One read buffer per thread, borrowed for the length of a poll: idle tunnels hold none.

use std::cell::RefCell;

/// Its size: what the cheapest plain copy had among the relays that were measured before this one was
/// written (0.31 CPU s/GB; nginx with buffers of 128 KiB 0.34). Not yet measured against others in here.
pub const SCRATCH_BYTES: usize = 256 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Lends the thread's buffer. Not to be called from within itself; the tunnel does not.
pub(super) fn with<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}
