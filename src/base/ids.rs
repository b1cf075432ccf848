//! Names for things that appear in logs: requests and sessions. Not for addresses, and no secrets.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// One request, as it is named in an error page and in the log, so that a user's report finds its line.
///
/// Shown as 16 hexadecimal digits: 8 that are drawn once per process, 8 that count. Two processes are
/// thereby told apart, and the id costs one atomic addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// The next id of this process.
    pub fn next() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        static PROCESS: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        let process = *PROCESS.get_or_init(|| {
            let seed = std::hash::RandomState::new();
            std::hash::BuildHasher::hash_one(&seed, std::process::id()) << 32
        });
        Self(process | (COUNT.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff))
    }
}

impl RequestId {
    /// Its sixteen digits, which are ASCII.
    pub fn digits(self) -> [u8; 16] {
        let mut digits = [0; 16];
        for (place, digit) in digits.iter_mut().enumerate() {
            let value = (self.0 >> (60 - 4 * place)) & 15;
            *digit = b"0123456789abcdef".get(usize::try_from(value).unwrap_or(0)).copied().unwrap_or(b'0');
        }
        digits
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

/// One live tunnel in the registry. Never used again within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// The next id of this process.
    pub fn next() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        Self(COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// The bare number, for choosing a shard.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(itoa::Buffer::new().format(self.0))
    }
}
