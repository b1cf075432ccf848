//! The limit of open files: every connection needs two. Not a count of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises this process's limit of open files to the most the system allows it (soft limit to hard limit),
/// and returns the limit before and after. Where the kernel refuses, both are the same.
///
/// The soft limit is 1024 on most machines for the sake of programs that use `select`; nothing here does.
pub fn raise_open_files() -> (u64, u64) {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
    if before.current != before.maximum {
        setrlimit(Resource::Nofile, wanted).ok(); // the answer is read back below
    }
    let after = getrlimit(Resource::Nofile);
    (before.current.unwrap_or(u64::MAX), after.current.unwrap_or(u64::MAX))
}
