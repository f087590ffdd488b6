//! How fast the speaker's clock runs against ours.
//!
//! In: transits of packets. Out: parts per million, positive if the speaker's clock is fast; 0 as long as the
//! network's own changes could explain what is seen. The fastest packet of each second is on a straight line
//! if only the clocks differ; the line's slope is the drift, and how far they are from it tells what to
//! think of it.
//! Bounds: O(`SPANS`) once a second; the last [`SPANS`] seconds.

/// Seconds judged by.
const SPANS: usize = 60;

/// Seconds before anything is said.
const SPANS_MIN: usize = 12;

/// Length of a span, microseconds.
const SPAN_US: i64 = 1_000_000;

/// The line must rise or fall by so many times the scatter around it, or it is none.
const TRUST: f64 = 4.0;

/// Drift that is worth correcting, parts per million: below, a frame a quarter of an hour.
const PPM_MIN: f64 = 20.0;

/// Greatest drift believed, parts per million: crystals are within 100 of true.
const PPM_MAX: f64 = 500.0;

/// The clocks of one speaker and ours. Its default has no room, and only holds a place.
#[derive(Debug, Default)]
pub(crate) struct Drift {
    /// Fastest of each second: (arrival, transit), microseconds.
    spans: Box<[(i64, i64)]>,
    count: usize,
    at: usize,
    current: Option<(i64, i64)>,
    span_end_us: i64,
    ppm: f64,
}

impl Drift {
    pub(crate) fn new() -> Self {
        Self { spans: vec![(0, 0); SPANS].into_boxed_slice(), ..Self::default() }
    }

    /// Makes it as new.
    pub(crate) fn reset(&mut self) {
        *self = Self { spans: std::mem::take(&mut self.spans), ..Self::default() };
    }

    /// Parts per million the speaker's clock is fast.
    pub(crate) fn ppm(&self) -> f64 {
        self.ppm
    }

    /// Learns from a packet.
    pub(crate) fn learn(&mut self, arrival_us: i64, position_us: i64) {
        let transit = arrival_us.saturating_sub(position_us);
        let Some((_, fastest)) = self.current else {
            self.current = Some((arrival_us, transit));
            self.span_end_us = arrival_us.saturating_add(SPAN_US);
            return;
        };
        if arrival_us < self.span_end_us {
            if transit < fastest {
                self.current = Some((arrival_us, transit));
            }
            return;
        }
        self.spans[self.at] = self.current.take().unwrap_or_default();
        self.at = (self.at + 1) % SPANS;
        self.count = (self.count + 1).min(SPANS);
        self.current = Some((arrival_us, transit));
        self.span_end_us = arrival_us.saturating_add(SPAN_US);
        self.ppm = self.judge();
    }

    /// Fits a line by least squares.
    fn judge(&self) -> f64 {
        if self.count < SPANS_MIN {
            return 0.0;
        }
        let (origin_us, origin_transit) = self.spans[0];
        let point = |(arrival, transit): &(i64, i64)| {
            (arrival.saturating_sub(origin_us) as f64 / 1e6, transit.saturating_sub(origin_transit) as f64)
        };
        let points = || self.spans[..self.count].iter().map(point);
        let number = self.count as f64;
        let (mean_x, mean_y) = points().fold((0.0, 0.0), |sum, (x, y)| (sum.0 + x / number, sum.1 + y / number));
        let (mut xx, mut xy) = (0.0, 0.0);
        for (x, y) in points() {
            xx += (x - mean_x) * (x - mean_x);
            xy += (x - mean_x) * (y - mean_y);
        }
        if xx <= 0.0 {
            return 0.0;
        }
        let slope = xy / xx;
        let scatter = points().map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum::<f64>() / number;
        // Root of xx / number is how far the points reach to each side.
        let rise = slope.abs() * (xx / number).sqrt() * 2.0;
        let ppm = -slope;
        if rise < TRUST * scatter.sqrt() || ppm.abs() < PPM_MIN { 0.0 } else { ppm.clamp(-PPM_MAX, PPM_MAX) }
    }
}
