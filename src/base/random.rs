//! Random bytes that nobody can foresee: keys, masks, payloads of Pings.

use rustix::rand::{GetRandomFlags, getrandom};

/// So many of them, from the kernel.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Cannot fail for so few bytes once the kernel's pool is ready, and blocks before (getrandom(2)).
    getrandom(&mut bytes, GetRandomFlags::empty()).ok();
    bytes
}

#[cfg(test)]
mod tests {
    use super::random;

    #[test]
    fn two_are_never_the_same() {
        assert_ne!(random::<16>(), random::<16>());
    }
}
