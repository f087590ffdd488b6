//! How alike two recordings are, once the delay between them is found: did this speech arrive?
//!
//! Not a measure of quality (PESQ, POLQA): it tells the same speech after a codec from other speech.
//! Method: the delay is where the cross-correlation of the whole is greatest; then each half second of what
//! was said is looked for near there, and the correlations found are averaged by energy. So a jitter buffer
//! that moves the speech by a frame or two costs only the half second where it does.
//! Bounds: O(n log n) time and 16 bytes for each of up to twice the samples at 16 kHz, rounded up to a power of
//! two: seconds, and 270 MB, for two recordings of five minutes. A tool for tests and reports.

use crate::SAMPLE_RATE;
use crate::resample::Resampler;

/// Rate whose half bounds the band compared, Hz: below 3 kHz Opus follows the waveform, above only its
/// loudness.
const BAND_RATE: u32 = 6_000;

/// Rate compared at, Hz: fine enough that half a sample of delay does not matter in the band.
const COMPARED_RATE: u32 = 16_000;

/// Length looked for at a time, samples of the compared rate: 0.5 s, two or three syllables.
const SEGMENT: usize = 8_000;

/// How far from the common delay a segment may be, samples: 100 ms, half of what a playout can move it.
const SEARCH: usize = 1_600;

/// Peaks below this are no sound: 60 dB below full scale.
const SILENCE_PEAK: u16 = 33;

/// What two recordings have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// 1.0: the second contains the first, but for its volume; 0.0: nothing of it. Measured with the ten
    /// recordings of Debian's pocketsphinx-testdata: after Opus at 32 kbit/s with DTX at least 0.96, two
    /// different ones at most 0.22.
    pub likeness: f32,
    /// How much later the second is, milliseconds; may be negative.
    pub lag_ms: f32,
}

/// Looks for `said` in `heard`, both 48 kHz mono. `None` if one of them has no sound.
#[must_use]
pub fn compare(said: &[i16], heard: &[i16]) -> Option<Similarity> {
    let silent = |samples: &[i16]| samples.iter().all(|sample| sample.unsigned_abs() < SILENCE_PEAK);
    if silent(said) || silent(heard) {
        return None;
    }
    let (said, heard) = (reduce(said), reduce(heard));
    let lag = strongest_lag(&said, &heard);
    let mut total = 0.0;
    let mut alike = 0.0;
    for (start, segment) in (0_i64..).step_by(SEGMENT).zip(said.chunks(SEGMENT)) {
        let energy = energy(segment);
        total += energy;
        alike += energy * f64::from(likeness(segment, &part(&heard, start + lag - SEARCH as i64, segment.len())));
    }
    if total == 0.0 {
        return None;
    }
    let lag_ms = (lag as f64 * 1_000.0 / f64::from(COMPARED_RATE)) as f32;
    Some(Similarity { likeness: (alike / total) as f32, lag_ms })
}

/// The signal as it is compared: without what is above the band, and bent towards its top, 6 dB an octave,
/// by taking from each sample the one before. For the encoder filters hum away (VOIP), which turns the phase
/// of a voice's lowest tones, and those would otherwise outweigh all else.
fn reduce(samples: &[i16]) -> Vec<f32> {
    let samples: Vec<f32> = samples.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
    let band = resample(&samples, SAMPLE_RATE, BAND_RATE);
    let mut reduced = resample(&band, BAND_RATE, COMPARED_RATE);
    let mut before = 0.0;
    for sample in &mut reduced {
        *sample -= std::mem::replace(&mut before, *sample);
    }
    reduced
}

fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    let mut resampler = Resampler::new(from, to);
    let mut input = samples.iter().copied();
    let next = || resampler.next(|| Ok::<_, std::convert::Infallible>(input.next())).unwrap_or(None);
    std::iter::from_fn(next).collect()
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum()
}

/// `length` samples and `SEARCH` on each side, from `start` on; silence where there are none.
fn part(samples: &[f32], start: i64, length: usize) -> Vec<f32> {
    let at = |at: i64| usize::try_from(at).ok().and_then(|at| samples.get(at)).copied().unwrap_or(0.0);
    (start..).take(length + 2 * SEARCH).map(at).collect()
}

/// By how many samples `heard` is later than `said`.
fn strongest_lag(said: &[f32], heard: &[f32]) -> i64 {
    let correlation = correlate(said, heard);
    let strongest = (0_i64..).zip(&correlation).max_by(|(_, left), (_, right)| left.total_cmp(right));
    let at = strongest.map_or(0, |(at, _)| at);
    // Delays of the second half are negative: the correlation is circular.
    if at < heard.len() as i64 { at } else { at - correlation.len() as i64 }
}

/// Greatest normalized correlation of a segment with any place of `around`, 0..=1.
fn likeness(segment: &[f32], around: &[f32]) -> f32 {
    let segment_energy = energy(segment);
    let correlation = correlate(segment, around);
    let mut window_energy = energy(&around[..segment.len()]);
    // Rounding must not make silence out of nothing, or sound of silence.
    let floor = energy(around) * 1e-6;
    let mut best = 0.0_f64;
    for at in 0..=2 * SEARCH {
        let scale = (segment_energy * window_energy).sqrt();
        if window_energy > floor && scale > 0.0 {
            best = best.max(f64::from(correlation[at]) / scale);
        }
        if let Some(entering) = around.get(at + segment.len()) {
            window_energy += f64::from(*entering).powi(2) - f64::from(around[at]).powi(2);
        }
    }
    best.min(1.0) as f32
}

/// Circular cross-correlation, long enough that it does not wrap: entry `n` is that of `left` with `right`
/// from `n` on, the last ones those with negative `n`.
fn correlate(left: &[f32], right: &[f32]) -> Vec<f32> {
    let length = (left.len() + right.len()).next_power_of_two();
    let padded = |samples: &[f32]| -> Vec<[f32; 2]> {
        samples.iter().map(|sample| [*sample, 0.0]).chain(std::iter::repeat([0.0; 2])).take(length).collect()
    };
    let mut product = padded(left);
    transform(&mut product);
    let mut other = padded(right);
    transform(&mut other);
    // The conjugate of conj(left) × right; a forward transform of that is the inverse one, times the length.
    for ([real, imaginary], [other_real, other_imaginary]) in product.iter_mut().zip(&other) {
        (*real, *imaginary) =
            (*real * other_real + *imaginary * other_imaginary, *imaginary * other_real - *real * other_imaginary);
    }
    transform(&mut product);
    product.iter().map(|[real, _]| real / length as f32).collect()
}

/// Fourier transform in place, radix 2 (Cooley and Tukey); the length is a power of two.
fn transform(values: &mut [[f32; 2]]) {
    let length = values.len();
    for at in 0..length {
        let mirrored = at.reverse_bits().checked_shr(usize::BITS - length.ilog2()).unwrap_or(0);
        if at < mirrored {
            values.swap(at, mirrored);
        }
    }
    let mut half = 1;
    while half < length {
        let turn = |at: usize| {
            let (sine, cosine) = (-std::f64::consts::PI * at as f64 / half as f64).sin_cos();
            [cosine as f32, sine as f32]
        };
        let turns: Vec<[f32; 2]> = (0..half).map(turn).collect();
        for block in values.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for ((low, high), [cosine, sine]) in low.iter_mut().zip(high).zip(&turns) {
                let turned = [high[0] * cosine - high[1] * sine, high[0] * sine + high[1] * cosine];
                *high = [low[0] - turned[0], low[1] - turned[1]];
                *low = [low[0] + turned[0], low[1] + turned[1]];
            }
        }
        half *= 2;
    }
}
