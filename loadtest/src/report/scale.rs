//! Scales of a plot: where a value is on an axis, and which ticks the axis has.
//!
//! In: the values to be shown. Out: positions of 0 to 1 and labelled ticks. A value that is not finite,
//! or not positive on a logarithmic scale, has no position. Never divides by an empty range.

use super::numbers;

/// How values are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From zero.
    Linear,
    Log,
    /// Of 0 to 1, by how much is above: p50, p90, p99 and so on, with the same distance for each nine.
    Percentile,
}

/// One axis, fitted to its values.
#[derive(Clone, Debug)]
pub struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
}

/// Most steps between the labelled ticks of a linear scale.
const TICKS_MAX: f64 = 5.5;

/// Nines shown on a percentile scale.
const PERCENTILES: [(f64, &str); 5] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

impl Kind {
    /// The value in the units in which the axis is linear.
    fn of(self, value: f64) -> Option<f64> {
        let laid = match self {
            Self::Linear => value,
            Self::Log if value > 0.0 => value.log10(),
            Self::Percentile if value < 1.0 => -(1.0 - value).log10(),
            Self::Log | Self::Percentile => return None,
        };
        laid.is_finite().then_some(laid)
    }
}

impl Scale {
    /// Fits the values, whatever they are.
    pub fn fit(kind: Kind, values: impl Iterator<Item = f64>) -> Self {
        let laid: Vec<f64> = values.filter_map(|value| kind.of(value)).collect();
        let low = laid.iter().copied().fold(f64::INFINITY, f64::min);
        let high = laid.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        match kind {
            Kind::Linear => Self { kind, low: low.min(0.0), high: if high > 0.0 { high * 1.06 } else { 1.0 } },
            Kind::Log => Self::fit_log(low, high),
            Kind::Percentile => Self { kind, low: 0.5_f64.log10().abs() - 0.1, high: high.max(2.0) + 0.2 },
        }
    }

    /// Ends at 1, 2 or 5 of a decade, at least a factor of two apart, so that noise does not fill the plot.
    fn fit_log(low: f64, high: f64) -> Self {
        let (low, high) = (low - 0.01, high + 0.01);
        let missing = (0.3 - (high - low)).max(0.0) / 2.0;
        let (low, high) = (low - missing, high + missing);
        let down = steps_of_decade(low.floor()).rfind(|step| *step <= low).unwrap_or(low);
        let up = steps_of_decade(high.floor()).find(|step| *step >= high).unwrap_or(high);
        Self { kind: Kind::Log, low: down, high: up }
    }

    /// Where the value is: 0 at the axis' begin, 1 at its end.
    pub fn position(&self, value: f64) -> Option<f64> {
        let share = (self.kind.of(value)? - self.low) / (self.high - self.low);
        (-0.001..=1.001).contains(&share).then_some(share)
    }

    /// Positions and labels.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let values: Vec<(f64, String)> = match self.kind {
            Kind::Linear => self.linear_ticks(),
            Kind::Log => self.log_ticks(),
            Kind::Percentile => PERCENTILES.iter().map(|(value, label)| (*value, (*label).to_owned())).collect(),
        };
        values.into_iter().filter_map(|(value, label)| Some((self.position(value)?, label))).collect()
    }

    fn linear_ticks(&self) -> Vec<(f64, String)> {
        let span = self.high - self.low;
        let decade = 10_f64.powf((span / TICKS_MAX).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|it| it * decade).find(|step| span / step <= TICKS_MAX);
        let step = step.unwrap_or(decade * 10.0);
        let decimals = usize::from(step < 0.995) + usize::from(step < 0.0995) + usize::from(step < 0.009_95);
        let first = (self.low / step).ceil();
        (0..=TICKS_MAX as u32 + 1)
            .map(|number| (first + f64::from(number)) * step)
            .take_while(|value| *value <= self.high + step * 1e-6)
            .map(|value| (value, if decimals == 0 { thousands(value) } else { format!("{value:.decimals$}") }))
            .collect()
    }

    /// Decades; with less than two of them also 2 and 5.
    fn log_ticks(&self) -> Vec<(f64, String)> {
        let fine = self.high - self.low < 2.2;
        let first = self.low.floor() as i32;
        (first..=self.high.ceil() as i32)
            .flat_map(|decade| [1.0, 2.0, 5.0].map(|it: f64| (it, it * 10_f64.powi(decade))))
            .filter(|(digit, _)| fine || *digit == 1.0)
            .map(|(_, value)| (value, plain(value)))
            .collect()
    }
}

/// 1, 2 and 5 of a decade and the next decade, as logarithms.
fn steps_of_decade(decade: f64) -> impl DoubleEndedIterator<Item = f64> {
    [0.0, 2_f64.log10(), 5_f64.log10(), 1.0].into_iter().map(move |step| decade + step)
}

/// Large numbers as 20k or 1.5M, so that labels stay narrow.
fn thousands(value: f64) -> String {
    let trimmed = |value: f64| if value.fract().abs() < 0.05 { format!("{value:.0}") } else { format!("{value:.1}") };
    match value.abs() {
        size if size >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        size if size >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        _ => numbers::count(value),
    }
}

/// A value of 1, 2 or 5 times a power of ten, with no more decimals than it has.
fn plain(value: f64) -> String {
    let decimals = (-(value.log10() + 1e-9).floor()).clamp(0.0, 6.0) as usize;
    if decimals == 0 { thousands(value) } else { format!("{value:.decimals$}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(kind: Kind, values: &[f64]) -> Vec<String> {
        Scale::fit(kind, values.iter().copied()).ticks().into_iter().map(|(_, label)| label).collect()
    }

    /// Goal: ticks are round numbers that a person would choose.
    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(Kind::Linear, &[0.97]), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(Kind::Linear, &[143_000.0]), ["0", "50k", "100k", "150k"]);
        assert_eq!(labels(Kind::Log, &[0.08, 24.0]), ["0.1", "1", "10"]);
        assert_eq!(labels(Kind::Log, &[0.25, 0.9]), ["0.2", "0.5", "1"]);
        assert_eq!(labels(Kind::Percentile, &[0.5, 0.999]), ["p50", "p90", "p99", "p99.9"]);
    }

    /// Goal: no data, one value and equal values give a usable axis, never NaN.
    #[test]
    fn any_data_gives_an_axis() {
        for kind in [Kind::Linear, Kind::Log, Kind::Percentile] {
            for values in [&[][..], &[0.0], &[5.0, 5.0], &[f64::NAN, f64::INFINITY], &[-1.0], &[1e-9, 1e12]] {
                let scale = Scale::fit(kind, values.iter().copied());
                assert!(!scale.ticks().is_empty(), "{kind:?} {values:?}");
                assert!(scale.ticks().iter().all(|(at, _)| at.is_finite() && (-0.01..=1.01).contains(at)));
            }
        }
        assert_eq!(Scale::fit(Kind::Log, [1.0].into_iter()).position(0.0), None);
    }
}
