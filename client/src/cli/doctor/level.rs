//! How loud a microphone was, and how fast a device's clock runs beside the system's: figures of samples and of when
//! they came.
//!
//! Not a device. In: samples; moments with the frames moved by then. Out: a judgement, and parts per million.
//! Bounds: O(1) memory.

use echomesh_audio::SAMPLE_RATE;

/// Samples of the window whose loudest is told: 20 ms.
const WINDOW: usize = SAMPLE_RATE as usize / 50;

/// Louder than this is speech, dBov: what counts as voice in a packet (RFC 6464 levels of speech are 20 to 40).
const SPEECH_DB: f64 = -50.0;

/// Samples at full scale, side by side, that are a clipped wave and no chance.
const CLIPPED_RUN: u32 = 3;

/// Parts of a million of all samples that may be clipped: a knock on the table.
const CLIPPED_PPM_MAX: u64 = 200;

/// The last bit flickers in converters that are muted behind themselves.
const SILENT_PEAK: u16 = 1;

/// What a microphone gave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Level {
    samples: u64,
    peak: u16,
    clipped: u64,
    run: u32,
    window_energy: f64,
    window_filled: usize,
    loudest: f64,
}

/// What to think of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loudness {
    /// No sample came.
    Nothing,
    /// Only zeros.
    Silent,
    /// Nothing as loud as speech.
    Quiet,
    /// Cut off at full scale.
    Clipping,
    /// As it should be.
    Good,
}

impl Level {
    /// Takes samples.
    pub fn push(&mut self, samples: &[i16]) {
        for sample in samples {
            self.samples += 1;
            self.peak = self.peak.max(sample.unsigned_abs());
            let is_full = *sample == i16::MAX || *sample == i16::MIN;
            self.run = if is_full { self.run + 1 } else { 0 };
            self.clipped += u64::from(self.run >= CLIPPED_RUN);
            let amplitude = f64::from(*sample) / 32_768.0;
            self.window_energy += amplitude * amplitude;
            self.window_filled += 1;
            if self.window_filled == WINDOW {
                self.loudest = self.loudest.max(self.window_energy / WINDOW as f64);
                (self.window_energy, self.window_filled) = (0.0, 0);
            }
        }
    }

    /// The loudest 20 ms, dBov.
    pub fn loudest_db(&self) -> f64 {
        10.0 * self.loudest.max(1e-12).log10()
    }

    /// What to think of it.
    pub fn judge(&self) -> Loudness {
        if self.samples == 0 {
            Loudness::Nothing
        } else if self.peak <= SILENT_PEAK {
            Loudness::Silent
        } else if self.clipped * 1_000_000 > self.samples * CLIPPED_PPM_MAX {
            Loudness::Clipping
        } else if self.loudest_db() < SPEECH_DB {
            Loudness::Quiet
        } else {
            Loudness::Good
        }
    }
}

/// A line through moments and frames, by least squares.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    count: f64,
    time: f64,
    frames: f64,
    time_time: f64,
    time_frames: f64,
    frames_frames: f64,
}

/// How fast, and how sure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// Parts per million faster than the system's clock.
    pub ppm: f64,
    /// Standard error of it.
    pub error_ppm: f64,
}

/// Moments that a line needs.
const MOMENTS_MIN: f64 = 50.0;

impl Clock {
    /// By `time_s`, seconds from any beginning, so many seconds of frames by the device's rate were moved.
    pub fn push(&mut self, time_s: f64, frames_s: f64) {
        // The difference is small, so that no digits are lost.
        let frames_s = frames_s - time_s;
        self.count += 1.0;
        self.time += time_s;
        self.frames += frames_s;
        self.time_time += time_s * time_s;
        self.time_frames += time_s * frames_s;
        self.frames_frames += frames_s * frames_s;
    }

    /// The slope; `None` if too little came.
    pub fn drift(&self) -> Option<Drift> {
        if self.count < MOMENTS_MIN {
            return None;
        }
        let spread = self.time_time - self.time * self.time / self.count;
        let together = self.time_frames - self.time * self.frames / self.count;
        let scatter = self.frames_frames - self.frames * self.frames / self.count;
        if spread <= 0.0 {
            return None;
        }
        let slope = together / spread;
        let rest = (scatter - slope * together).max(0.0);
        let error = (rest / (self.count - 2.0) / spread).sqrt();
        Some(Drift { ppm: slope * 1e6, error_ppm: error * 1e6 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(amplitude: f64) -> Vec<i16> {
        let sample = |n: u32| (amplitude * (f64::from(n) * 0.05).sin()).clamp(-32_768.0, 32_767.0) as i16;
        (0..48_000).map(sample).collect()
    }

    /// Goal: a muted, a quiet, a good and an overdriven microphone are told apart.
    #[test]
    fn microphones_are_judged_by_what_they_give() {
        let judged = |samples: &[i16]| {
            let mut level = Level::default();
            level.push(samples);
            level.judge()
        };
        assert_eq!(judged(&[]), Loudness::Nothing);
        assert_eq!(judged(&[0; 48_000]), Loudness::Silent);
        assert_eq!(judged(&[1; 48_000]), Loudness::Silent);
        assert_eq!(judged(&sine(50.0)), Loudness::Quiet);
        assert_eq!(judged(&sine(3_000.0)), Loudness::Good);
        assert_eq!(judged(&sine(32_767.0)), Loudness::Good, "full scale, and not cut");
        assert_eq!(judged(&sine(60_000.0)), Loudness::Clipping);
        let mut knock = sine(3_000.0);
        knock[100..104].fill(i16::MAX);
        assert_eq!(judged(&knock), Loudness::Good);
        let mut loud = Level::default();
        loud.push(&sine(32_767.0));
        assert!((loud.loudest_db() + 3.0).abs() < 0.2, "{}", loud.loudest_db());
    }

    /// Goal: a clock's error is found through the scatter of wake-ups, and how sure that is. Method: 5 s in steps of 10 ms,
    /// with up to 1 ms of lateness from a small generator.
    #[test]
    fn drift_is_found_through_scatter() {
        for ppm in [-400.0, 0.0, 80.0] {
            let (mut clock, mut state) = (Clock::default(), 1_u32);
            assert_eq!(clock.drift(), None);
            for step in 0..500 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let late = f64::from(state >> 8) / f64::from(1 << 24) * 0.001;
                let frames = f64::from(step) * 0.01;
                clock.push(frames / (1.0 + ppm / 1e6) + late, frames);
            }
            let drift = clock.drift().unwrap();
            assert!((drift.ppm - ppm).abs() < 4.0 * drift.error_ppm && drift.error_ppm < 20.0, "{ppm}: {drift:?}");
        }
    }
}
