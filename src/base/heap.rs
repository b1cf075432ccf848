//! The heap, as far as the system has given it to us: what is free goes back.

/// Gives the system back what is free now, in all arenas of glibc's malloc; it keeps by itself all that lies below
/// something in use. Takes a millisecond for each some tens of megabytes, during which other threads that allocate may
/// have to wait. Elsewhere it does nothing.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)] // no safe crate has it
    // SAFETY: malloc_trim(3) may be called at any time from any thread, and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Knows when that is worth it.
#[derive(Debug, Default)]
pub struct Ebb {
    most: usize,
}

impl Ebb {
    /// So many are alive now. Whether half of those that there were have gone, and a thousand at least.
    pub fn is_out(&mut self, alive: usize) -> bool {
        self.most = self.most.max(alive);
        let gone = self.most - alive;
        let is_out = gone >= 1000 && gone >= self.most / 2;
        if is_out {
            self.most = alive;
        }
        is_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_when_half_have_gone_and_not_for_a_few() {
        let mut ebb = Ebb::default();
        let told = [9_000, 9_500, 5_000, 4_750, 4_750, 4_000, 2_000, 0, 999, 0, 1_000, 0].map(|alive| ebb.is_out(alive));
        let right = [false, false, false, true, false, false, true, true, false, false, false, true];
        assert_eq!(told, right);
    }
}
