//! Reads what waits at the speaker's pace: a little faster or slower than ours, if its clock is.
//!
//! As long as the clocks agree, samples are passed on as they are. Else between two samples a windowed sinc
//! says what was there.
//! Bounds: [`TAPS`] multiplications twice a sample; no allocation after `new`.

use crate::TICK_SAMPLES;
use crate::samples::{HISTORY_SAMPLES, Samples};

/// Samples that make one: with 16, what is below 16 kHz keeps its level within 0.5 dB.
const TAPS: usize = 16;

/// Places between two samples for which the sinc is kept; others are between two of them.
const PLACES: usize = 128;

/// Where in its samples a playout reads. Its default has no room, and only holds a place.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// `PLACES + 1` rows of `TAPS` weights.
    weights: Box<[f32]>,
    /// Between the next sample and the one after it, 0..1.
    place: f64,
}

impl Reader {
    pub(crate) fn new() -> Self {
        let mut weights = vec![0.0; (PLACES + 1) * TAPS].into_boxed_slice();
        for (row, weights) in weights.chunks_exact_mut(TAPS).enumerate() {
            let place = row as f64 / PLACES as f64;
            for (tap, weight) in weights.iter_mut().enumerate() {
                let distance = tap as f64 - (TAPS / 2 - 1) as f64 - place;
                *weight = (sinc(distance) * window(distance / (TAPS / 2) as f64)) as f32;
            }
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        Self { weights, place: 0.0 }
    }

    /// Back between no samples: what follows is another sound.
    pub(crate) fn reset(&mut self) {
        self.place = 0.0;
    }

    /// Samples that have to wait for a tick to be read.
    pub(crate) fn needs(&self, ppm: f64) -> usize {
        if self.is_even(ppm) { TICK_SAMPLES } else { self.last(ppm) + TAPS / 2 + 1 }
    }

    fn is_even(&self, ppm: f64) -> bool {
        self.place == 0.0 && ppm == 0.0
    }

    /// Index of the sample before the place after a tick.
    fn last(&self, ppm: f64) -> usize {
        (self.place + TICK_SAMPLES as f64 * (1.0 + ppm / 1e6)) as usize
    }

    /// Fills `out`; with silence where there is nothing.
    pub(crate) fn read(&mut self, samples: &mut Samples, ppm: f64, out: &mut [i16; TICK_SAMPLES]) {
        let (_, waiting) = samples.parts();
        if self.is_even(ppm) || waiting.len() < self.needs(ppm) {
            let taken = waiting.len().min(TICK_SAMPLES);
            out[..taken].copy_from_slice(&waiting[..taken]);
            out[taken..].fill(0);
            samples.advance(taken);
            return;
        }
        let all = samples.all();
        let step = 1.0 + ppm / 1e6;
        for (n, out) in out.iter_mut().enumerate() {
            let at = self.place + n as f64 * step;
            *out = self.between(&all[HISTORY_SAMPLES + at as usize + 1 - TAPS / 2..], at.fract() as f32);
        }
        let end = self.place + TICK_SAMPLES as f64 * step;
        samples.advance(end as usize);
        self.place = end.fract();
    }

    /// The sample at `place` of the way between the two in the middle of the first [`TAPS`].
    fn between(&self, samples: &[i16], place: f32) -> i16 {
        let at = place * PLACES as f32;
        let row = (at as usize).min(PLACES - 1);
        let part = at - row as f32;
        let rows = &self.weights[row * TAPS..(row + 2) * TAPS];
        let (low, high) = rows.split_at(TAPS);
        let mut sum = 0.0;
        for ((sample, low), high) in samples[..TAPS].iter().zip(low).zip(high) {
            sum += f32::from(*sample) * (low + (high - low) * part);
        }
        // The cast saturates.
        sum.round() as i16
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

/// Blackman's window, -1..=1.
fn window(x: f64) -> f64 {
    let x = x.clamp(-1.0, 1.0) * std::f64::consts::PI;
    0.42 + 0.5 * x.cos() + 0.08 * (2.0 * x).cos()
}
