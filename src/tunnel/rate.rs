//! Pure: a token bucket, told the time in milliseconds.

use super::Rate;

/// What is left to spend. May be overdrawn once, and then has to be waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// In thousandths, so that each millisecond adds a whole number.
    level: i64,
    at: u64,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: Rate, now: u64) -> Self {
        Self { rate, level: thousandths(rate.burst), at: now }
    }

    /// How many may be spent at once now; 0 where it has to be waited.
    pub(super) fn allows(&mut self, now: u64) -> u64 {
        let passed = now.saturating_sub(self.at);
        self.at = now;
        let gained = i64::try_from(passed.saturating_mul(self.rate.per_second)).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(gained).min(thousandths(self.rate.burst));
        u64::try_from(self.level / 1000).unwrap_or(0)
    }

    pub(super) fn spend(&mut self, count: u64) {
        self.level = self.level.saturating_sub(thousandths(count));
    }

    /// Whether more was spent than there was.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.level < 0
    }

    /// When one can be spent again.
    pub(super) fn ready_at(&self) -> u64 {
        let missing = u64::try_from(1000 - self.level).unwrap_or(0);
        self.at + missing.div_ceil(self.rate.per_second.max(1))
    }
}

fn thousandths(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_at_once_then_the_rate() {
        let mut bucket = Bucket::new(Rate { per_second: 10, burst: 3 }, 0);
        assert_eq!(bucket.allows(0), 3);
        bucket.spend(3);
        assert_eq!((bucket.allows(99), bucket.ready_at()), (0, 100));
        assert_eq!(bucket.allows(100), 1);
        assert_eq!(bucket.allows(100_000), 3);
        bucket.spend(5);
        assert!(bucket.is_overdrawn());
        assert_eq!(bucket.ready_at(), 100_300);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_together(
            per_second in 1..1000u64, burst in 1..100u64, steps in prop::collection::vec(0..500u64, 1..200),
        ) {
            let mut bucket = Bucket::new(Rate { per_second, burst }, 0);
            let (mut now, mut spent) = (0, 0);
            for step in steps {
                now += step;
                let allowed = bucket.allows(now);
                bucket.spend(allowed);
                spent += allowed;
                prop_assert!(spent <= burst + per_second * now / 1000 + 1);
                // Who waits as long as is said can spend.
                prop_assert!(allowed > 0 || bucket.allows(bucket.ready_at().max(now)) > 0);
                now = now.max(bucket.at);
            }
        }
    }
}
