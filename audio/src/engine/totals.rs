//! What an engine did, for the end of a call.

use std::sync::atomic::Ordering;

use crate::SAMPLE_RATE;
use crate::alsa::Direction;
use crate::alsa::shared::ReportEnd;
use crate::receiver::ReceiverStatistics;
use crate::similarity::{Similarity, compare};

/// What was said and heard.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Frames encoded.
    pub encoded: u64,
    /// Of them, those that were sent: not silence.
    pub sent: u64,
    /// Ticks of 10 ms given to the output, and those with at least one speaker.
    pub played: u64,
    /// Of them, those with at least one speaker.
    pub with_speech: u64,
    /// All speakers.
    pub receiver: ReceiverStatistics,
    /// Frames that the network had no place for.
    pub spoken_dropped: u64,
    /// Packets and orders that the engine had no place for.
    pub orders_dropped: u64,
    /// Ticks of input skipped because the machine did not run us.
    pub ticks_skipped: u64,
    /// Samples that another program did not take in time.
    pub output_dropped: u64,
    /// Devices.
    pub devices: Vec<DeviceTotals>,
    /// What was said and heard, if it was kept.
    pub tap: Tap,
}

/// What a device's thread counted.
#[derive(Clone, Copy, Debug)]
pub struct DeviceTotals {
    /// Which way.
    pub direction: Direction,
    /// Rate granted, Hz; 0 while there is no device.
    pub rate: u32,
    /// Frames moved.
    pub frames: u64,
    /// Xruns.
    pub xruns: u64,
    /// Samples that found their ring full.
    pub dropped: u64,
    /// Times the engine had nothing ready to play.
    pub starved: u64,
    /// Latest wake-up, microseconds after it was due.
    pub wake_late_us_max: u32,
    /// Samples between the program and the air, a moment ago.
    pub delay: u32,
    /// Samples waiting in the ring, a moment ago.
    pub waiting: u32,
}

impl DeviceTotals {
    pub(super) fn of(reports: &ReportEnd) -> Self {
        let counters = &reports.counters;
        Self {
            direction: reports.direction,
            rate: counters.rate.load(Ordering::Relaxed),
            frames: counters.frames.load(Ordering::Relaxed),
            xruns: counters.xruns.load(Ordering::Relaxed),
            dropped: counters.dropped.load(Ordering::Relaxed),
            starved: counters.starved.load(Ordering::Relaxed),
            wake_late_us_max: counters.wake_late_us_max.load(Ordering::Relaxed),
            delay: counters.delay.load(Ordering::Relaxed),
            waiting: counters.waiting.load(Ordering::Relaxed),
        }
    }
}

impl std::fmt::Display for DeviceTotals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { direction, frames, xruns, dropped, starved, wake_late_us_max, .. } = self;
        let late_ms = f64::from(*wake_late_us_max) / 1_000.0;
        write!(
            f,
            "{direction}: {frames} frames, {xruns} xruns, woken at most {late_ms:.1} ms late, {starved} times without \
             sound in time, {dropped} samples dropped"
        )
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.encoded > 0 {
            writeln!(f, "said: {} frames, {} of them silence and not sent", self.encoded, self.encoded - self.sent)?;
        }
        if self.played > 0 {
            let (seconds, speech) = (self.played as f64 / 100.0, self.with_speech as f64 / 100.0);
            writeln!(f, "heard: {seconds:.2} s, {speech:.2} s of them with speech")?;
            let totals = &self.receiver.totals;
            writeln!(
                f,
                "playout: {} decoded, {} recovered, {} from deep redundancy, {} concealed, {} skipped; {} late, {} \
                 missing, {} duplicate; {} of more speakers than can be heard",
                totals.played,
                totals.recovered,
                totals.recovered_deep,
                totals.concealed,
                totals.skipped,
                totals.late,
                totals.missing,
                totals.duplicate,
                self.receiver.dropped_speaker_limit
            )?;
            let ms = |us: u64| us as f64 / 1_000.0;
            let stretched = |samples: u64| samples as f64 * 1_000.0 / f64::from(SAMPLE_RATE);
            writeln!(
                f,
                "playout: {:.1} ms of delay, {:.1} ms aimed at; {:.0} ms stretched, {:.0} ms compressed; clock {:+} ppm",
                ms(totals.delay_us),
                ms(totals.target_us),
                stretched(totals.stretched),
                stretched(totals.compressed),
                totals.drift_ppm
            )?;
        }
        for device in &self.devices {
            writeln!(f, "{device}")?;
        }
        let counts = [
            ("frames not taken by the network", self.spoken_dropped),
            ("packets not taken by the engine", self.orders_dropped),
            ("ticks skipped", self.ticks_skipped),
            ("samples not taken by the program that reads them", self.output_dropped),
        ];
        for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "audio: {count} {name}")?;
        }
        Ok(())
    }
}

/// What was said and heard, kept to be compared.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    said: Track,
    heard: Track,
}

/// A track this far behind the clock has a hole, samples: 50 ms.
const APART_SAMPLES_MAX: usize = SAMPLE_RATE as usize / 20;

/// One of the two.
#[derive(Clone, Debug, Default)]
struct Track {
    /// When its first sample was handled.
    begun_us: u64,
    samples: Vec<i16>,
}

impl Track {
    fn push(&mut self, now_us: u64, tick: &[i16]) {
        if self.samples.is_empty() {
            self.begun_us = now_us;
        }
        // A device that gave nothing for a while, as at its start, leaves silence.
        let due = (now_us - self.begun_us) * u64::from(SAMPLE_RATE) / 1_000_000;
        let due = usize::try_from(due).unwrap_or(usize::MAX).min(self.samples.capacity());
        if due > self.samples.len() + APART_SAMPLES_MAX {
            self.samples.resize(due, 0);
        }
        // Its room was made at the start; what comes after it is not kept.
        if self.samples.len() + tick.len() <= self.samples.capacity() {
            self.samples.extend_from_slice(tick);
        }
    }
}

impl Tap {
    pub(super) fn new(seconds: u32) -> Self {
        let track = || Track { begun_us: 0, samples: Vec::with_capacity((seconds * SAMPLE_RATE) as usize) };
        Self { said: track(), heard: track() }
    }

    pub(super) fn said(&mut self, now_us: u64, tick: &[i16]) {
        self.said.push(now_us, tick);
    }

    pub(super) fn heard(&mut self, now_us: u64, tick: &[i16]) {
        self.heard.push(now_us, tick);
    }

    /// How alike they are, and how much later what was heard left the engine than what was said came to it,
    /// milliseconds. `None` if one of them has no sound.
    #[must_use]
    pub fn compare(&self) -> Option<Similarity> {
        let found = compare(&self.said.samples, &self.heard.samples)?;
        let apart_ms = (self.heard.begun_us as f64 - self.said.begun_us as f64) / 1_000.0;
        Some(Similarity { lag_ms: found.lag_ms + apart_ms as f32, ..found })
    }
}
