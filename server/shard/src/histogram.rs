//! How often a value fell into which of some fixed ranges: for figures of which the average says little.
//!
//! Not a percentile: whoever reads the counts makes one. Values are whole numbers of a unit that the owner chooses:
//! here millionths, of a second or of a whole. Bounds: `BUCKETS_MAX` ranges, and one for what is beyond. Cost: a search
//! among them and two additions, nothing allocated.

/// Ranges at most.
pub const BUCKETS_MAX: usize = 16;

/// Counts of values by range.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    counts: [u64; BUCKETS_MAX + 1],
    sum: u64,
}

impl Histogram {
    /// Empty. A range holds the values up to its bound, itself included, and over the one before; bounds ascend.
    ///
    /// # Panics
    /// There are more than [`BUCKETS_MAX`], or they do not ascend: a bug.
    #[must_use]
    pub const fn new(bounds: &'static [u64]) -> Self {
        assert!(bounds.len() <= BUCKETS_MAX);
        let mut at = 1;
        while at < bounds.len() {
            assert!(bounds[at - 1] < bounds[at]);
            at += 1;
        }
        Self { bounds, counts: [0; BUCKETS_MAX + 1], sum: 0 }
    }

    /// One value.
    pub fn record(&mut self, value: u64) {
        let range = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[range] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// The bounds of its ranges.
    #[must_use]
    pub fn bounds(&self) -> &'static [u64] {
        self.bounds
    }

    /// Values in each range, the last being what was beyond all bounds.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts[..=self.bounds.len()]
    }

    /// All values together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a value on a bound is within it, one beyond all is not lost, and the sum cannot overflow.
    #[test]
    fn values_fall_into_their_ranges() {
        let mut histogram = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, 1_000] {
            histogram.record(value);
        }
        assert_eq!((histogram.counts(), histogram.sum(), histogram.count()), (&[2, 2, 2][..], 1_062, 6));
        histogram.record(u64::MAX);
        assert_eq!((histogram.counts()[2], histogram.sum()), (3, u64::MAX));
    }
}
