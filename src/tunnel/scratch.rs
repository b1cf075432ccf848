//! One read buffer per thread, borrowed for the length of a poll: idle tunnels hold none.

use std::cell::RefCell;

/// Its size. Of 8 to 1024 KiB, 256 KiB cost least CPU per byte in bulk with a plain read and write
/// loop on loopback; larger ones fall out of the second-level cache.
pub const SCRATCH_BYTES: usize = 256 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Lends the thread's buffer. Not to be called from within itself; the tunnel does not.
pub(super) fn with<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}
