//! Rates: how much may happen in a time, and how long to wait for more.
//!
//! Not a clock and not a rule: callers say when it is, what may happen and what follows if it may not.
//! A bucket is one moment, the one at which it will be full again (GCRA, as ITU-T I.371 and RFC 2697's kin have it).
//! Bounds: a table holds `keys_max` buckets. Cost: O(1) a bucket, a look-up in a table; a table that is full of keys is
//! gone through once in `LOOK_US`.

use std::collections::BTreeMap;

use echomesh_proto::time::{SECOND_US, Time};

/// Least time between two searches for buckets that can be forgotten.
const LOOK_US: u64 = 100_000;

/// So many units in a time, and so many at once after a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// 0: there is no limit.
    units: u32,
    us: u64,
    burst: u32,
}

impl Rate {
    /// No limit.
    pub const NONE: Rate = Rate { units: 0, us: SECOND_US, burst: 0 };

    /// Units a second; 0: no limit.
    #[must_use]
    pub const fn per_second(units: u32, burst: u32) -> Self {
        Self { units, us: SECOND_US, burst }
    }

    /// One unit in so many seconds.
    #[must_use]
    pub const fn one_in(seconds: u32, burst: u32) -> Self {
        Self { units: 1, us: seconds as u64 * SECOND_US, burst }
    }

    fn is_none(self) -> bool {
        self.units == 0
    }

    /// What units take, rounded up: at most a microsecond's worth more passes than was said.
    fn cost_us(self, units: u32) -> u64 {
        (u64::from(units) * self.us).div_ceil(u64::from(self.units))
    }

    /// What a full bucket holds.
    fn burst_us(self) -> u64 {
        self.cost_us(self.burst)
    }
}

/// What one party may still do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// When it is full again.
    full: Time,
}

impl Bucket {
    /// Takes units, if they are there.
    ///
    /// # Errors
    /// How long until they are, microseconds. Nothing was taken.
    pub fn take(&mut self, now: Time, rate: Rate, units: u32) -> Result<(), u64> {
        match self.wait_us(now, rate, units) {
            0 => {
                if !rate.is_none() {
                    self.full = self.full.max(now).after_us(rate.cost_us(units));
                }
                Ok(())
            }
            wait_us => Err(wait_us),
        }
    }

    /// Takes units that are spent already, there or not: what is missing is owed, up to one burst.
    pub fn charge(&mut self, now: Time, rate: Rate, units: u32) {
        if !rate.is_none() {
            let owed = now.after_us(2 * rate.burst_us());
            self.full = self.full.max(now).after_us(rate.cost_us(units)).min(owed);
        }
    }

    /// How long until so many units can be taken; 0: now. Of no units: until nothing is owed.
    #[must_use]
    pub fn wait_us(&self, now: Time, rate: Rate, units: u32) -> u64 {
        if rate.is_none() {
            return 0;
        }
        (self.full.since_us(now) + rate.cost_us(units)).saturating_sub(rate.burst_us())
    }

    fn is_full(&self, now: Time) -> bool {
        self.full <= now
    }
}

/// Buckets by key. Keys whose bucket is full again are forgotten when others need the room; while all are in use, new
/// ones share one.
#[derive(Debug)]
pub struct Buckets<K> {
    keys_max: usize,
    by_key: BTreeMap<K, Bucket>,
    shared: Bucket,
    /// When to search again.
    look: Time,
}

impl<K: Ord + Copy> Buckets<K> {
    /// None yet, and never more than so many.
    #[must_use]
    pub fn new(keys_max: usize) -> Self {
        Self { keys_max, by_key: BTreeMap::new(), shared: Bucket::default(), look: Time(0) }
    }

    /// [`Bucket::take`] of one unit.
    ///
    /// # Errors
    /// How long until it is there, microseconds.
    pub fn take(&mut self, now: Time, rate: Rate, key: K) -> Result<(), u64> {
        if rate.is_none() { Ok(()) } else { self.of(now, key).take(now, rate, 1) }
    }

    /// [`Bucket::charge`] of one unit.
    pub fn charge(&mut self, now: Time, rate: Rate, key: K) {
        if !rate.is_none() {
            self.of(now, key).charge(now, rate, 1);
        }
    }

    /// [`Bucket::wait_us`] for one unit.
    #[must_use]
    pub fn wait_us(&self, now: Time, rate: Rate, key: K) -> u64 {
        match self.by_key.get(&key) {
            Some(bucket) => bucket.wait_us(now, rate, 1),
            None if self.by_key.len() < self.keys_max => 0,
            None => self.shared.wait_us(now, rate, 1),
        }
    }

    fn of(&mut self, now: Time, key: K) -> &mut Bucket {
        if self.by_key.len() >= self.keys_max && !self.by_key.contains_key(&key) {
            if self.look <= now {
                self.look = now.after_us(LOOK_US);
                self.by_key.retain(|_, bucket| !bucket.is_full(now));
            }
            if self.by_key.len() >= self.keys_max {
                return &mut self.shared;
            }
        }
        self.by_key.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: whatever is asked and when, never more passes than the burst and what the rate gives in the time, and
        /// who waits as told is not refused.
        #[test]
        fn no_more_passes_than_was_said(
            (units, seconds, burst) in (1_u32..2_000, 1_u32..20, 1_u32..500),
            asks in prop::collection::vec((0_u64..3_000_000, 1_u32..50), 1..300),
        ) {
            for rate in [Rate::per_second(units, burst), Rate::one_in(seconds, burst)] {
                let (mut bucket, mut now, mut passed) = (Bucket::default(), Time(7), 0);
                for (pause_us, cost) in &asks {
                    now = now.after_us(*pause_us);
                    match bucket.take(now, rate, *cost) {
                        Ok(()) => passed += u64::from(*cost),
                        Err(wait_us) if *cost <= burst => {
                            let mut later = bucket;
                            prop_assert!(later.take(now.after_us(wait_us), rate, *cost).is_ok());
                            prop_assert!(later.take(now.after_us(wait_us - 1), rate, *cost).is_err());
                        }
                        Err(_) => {}
                    }
                    let given = now.since_us(Time(6)) * u64::from(rate.units) / rate.us;
                    prop_assert!(passed <= u64::from(burst) + given, "{passed} of {burst} and {given}");
                }
            }
        }
    }

    /// Goal: what is spent before it is known is owed, but no more than one burst; without a limit nothing is.
    #[test]
    fn debts_are_repaid_and_bounded() {
        let (rate, now) = (Rate::per_second(10, 20), Time(5));
        let mut bucket = Bucket::default();
        bucket.charge(now, rate, 25);
        assert_eq!(bucket.wait_us(now, rate, 0), 500_000);
        assert_eq!(bucket.wait_us(now, rate, 1), 600_000);
        bucket.charge(now, rate, 1_000);
        assert_eq!(bucket.wait_us(now, rate, 0), 2_000_000);
        bucket.charge(now, Rate::NONE, u32::MAX);
        assert_eq!(bucket.wait_us(now, Rate::NONE, u32::MAX), 0);
        assert_eq!(bucket.take(now, Rate::NONE, u32::MAX), Ok(()));
    }

    /// Goal: a table stays within its bound, keeps those in use apart, lets strangers share while all are, and forgets
    /// who has been silent.
    #[test]
    fn a_full_table_lets_strangers_share() {
        let rate = Rate::one_in(1, 2);
        let mut buckets = Buckets::new(3);
        for key in 0..3 {
            assert_eq!(buckets.take(Time(0), rate, key), Ok(()));
        }
        for stranger in 3..5 {
            assert_eq!(buckets.take(Time(0), rate, stranger), Ok(()));
        }
        assert_eq!(buckets.take(Time(0), rate, 5), Err(SECOND_US), "the shared one is empty");
        assert_eq!(buckets.wait_us(Time(0), rate, 6), SECOND_US);
        assert_eq!(buckets.take(Time(0), rate, 0), Ok(()), "one of its own has one more");
        assert_eq!(buckets.by_key.len(), 3);
        let later = Time(SECOND_US);
        assert_eq!(buckets.take(later, rate, 6), Ok(()));
        assert_eq!(buckets.by_key.keys().copied().collect::<Vec<_>>(), [0, 6], "1 and 2 are full again");
    }
}
