//! Distributions of times in nanoseconds, to three digits, from 100 ns to a minute; what is outside is counted
//! at the end of the range.
//!
//! Bounds: about 200 KiB each, allocated once. Cost: a few nanoseconds a value.

use crate::results::Percentiles;

/// Range, nanoseconds.
const LOWEST: u64 = 100;
const HIGHEST: u64 = 60_000_000_000;

/// A distribution of times.
#[derive(Clone, Debug)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(hdrhistogram::Histogram::new_with_bounds(LOWEST, HIGHEST, 3).expect("the bounds are in order"))
    }
}

impl Histogram {
    /// One value.
    pub fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// Takes in another's values.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// Forgets all values.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// The usual percentiles, microseconds.
    #[must_use]
    pub fn percentiles_us(&self) -> Percentiles {
        let at = |quantile: f64| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Percentiles {
            count: self.0.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: self.0.max() as f64 / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: percentiles are those of the values, in microseconds, to three digits, and two halves make a whole.
    #[test]
    fn percentiles_are_in_microseconds() {
        let (mut low, mut high) = (Histogram::default(), Histogram::default());
        (1..=500).for_each(|us| low.record(us * 1_000));
        (501..=1_000).for_each(|us| high.record(us * 1_000));
        low.add(&high);
        let got = low.percentiles_us();
        let near = |got: f64, wanted: f64| (got - wanted).abs() <= wanted / 500.0;
        assert_eq!(got.count, 1_000);
        assert!(near(got.p50, 500.0) && near(got.p90, 900.0) && near(got.p99, 990.0), "{got:?}");
        assert!(near(got.p999, 999.0) && near(got.p9999, 1_000.0) && near(got.max, 1_000.0), "{got:?}");
        assert_eq!(Histogram::default().percentiles_us(), Percentiles::default());
    }

    /// Goal: a value beyond the range is counted, not lost.
    #[test]
    fn values_beyond_the_range_are_counted() {
        let mut histogram = Histogram::default();
        histogram.record(0);
        histogram.record(u64::MAX);
        assert_eq!(histogram.percentiles_us().count, 2);
    }
}
