//! Random bytes that nobody can foresee: keys, masks, payloads of Pings.

use rustix::rand::{GetRandomFlags, getrandom};

/// So many of them, from the kernel.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Cannot fail for so few bytes once the kernel's pool is ready, and blocks before (getrandom(2)).
    getrandom(&mut bytes, GetRandomFlags::empty()).ok();
    bytes
}

/// Eight of them without asking the kernel each time: the keyed hash of a counter (that of std's maps). For what has to
/// be told apart, and is no secret.
pub fn unforeseen() -> [u8; 8] {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::{random, unforeseen};

    #[test]
    fn two_unforeseen_ones_are_never_the_same() {
        assert_ne!(unforeseen(), unforeseen());
    }

    #[test]
    fn two_are_never_the_same() {
        assert_ne!(random::<16>(), random::<16>());
    }
}
