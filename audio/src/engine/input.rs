//! Where the engine's ticks come from: a microphone's ring, another program's, or a file at the clock's pace.
//!
//! In: samples of any rate. Out: ticks of 10 ms, 48 kHz. Bounds: [`BACKLOG_MS_MAX`] of a microphone's sound are
//! kept when the engine was away; older is skipped and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rtrb::Consumer;

use super::EngineError;
use super::piped::PipedInput;
use crate::alsa::shared::Counters;
use crate::playout::TICK_US;
use crate::resample::Resampler;
use crate::source::Source;
use crate::{SAMPLE_RATE, TICK_SAMPLES};

/// Sound that may wait for the engine, milliseconds.
const BACKLOG_MS_MAX: usize = 60;

/// Ticks a file may be behind before it gives up catching up: a stopped or suspended machine.
const BEHIND_MAX: u64 = 20;

/// A row of samples of a device's rate, as 48 kHz or from it.
pub(super) struct Rate {
    rate: u32,
    /// `None` if the device has 48 kHz.
    resampler: Option<Resampler>,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self { rate: SAMPLE_RATE, resampler: None }
    }

    /// The device may have another rate after it was away.
    pub(super) fn follow(&mut self, rate: u32, make: impl Fn(u32) -> Resampler) {
        if rate != 0 && rate != self.rate {
            self.rate = rate;
            self.resampler = (rate != SAMPLE_RATE).then(|| make(rate));
        }
    }

    pub(super) fn resampler(&mut self) -> Option<&mut Resampler> {
        self.resampler.as_mut()
    }
}

/// Ticks gathered from a ring of a device's samples.
pub(super) struct Gather {
    ring: Consumer<i16>,
    counters: Arc<Counters>,
    rate: Rate,
    tick: [i16; TICK_SAMPLES],
    filled: usize,
}

impl Gather {
    pub(super) fn new(ring: Consumer<i16>, counters: Arc<Counters>) -> Self {
        Self { ring, counters, rate: Rate::new(), tick: [0; TICK_SAMPLES], filled: 0 }
    }

    /// Throws away what is too old, and says how many ticks that were.
    pub(super) fn skip_backlog(&mut self) -> u64 {
        let tick = self.rate.rate as usize * TICK_SAMPLES / SAMPLE_RATE as usize;
        let waiting = self.ring.slots();
        if waiting <= self.rate.rate as usize * BACKLOG_MS_MAX / 1_000 {
            return 0;
        }
        let ticks = waiting / tick - 1;
        if let Ok(chunk) = self.ring.read_chunk(ticks * tick) {
            chunk.commit_all();
        }
        ticks as u64
    }

    /// The next tick, if there is a whole one.
    pub(super) fn next(&mut self) -> Option<&mut [i16; TICK_SAMPLES]> {
        self.rate.follow(self.counters.rate.load(Ordering::Acquire), |rate| Resampler::new(rate, SAMPLE_RATE));
        if let Some(resampler) = self.rate.resampler() {
            let ring = &mut self.ring;
            let mut input = || ring.pop().map(|sample| Some(f32::from(sample)));
            while self.filled < TICK_SAMPLES {
                // An empty ring is no end: it goes on where it was.
                let Ok(Some(sample)) = resampler.next(&mut input) else { return None };
                // The cast saturates.
                self.tick[self.filled] = sample.round() as i16;
                self.filled += 1;
            }
        } else {
            let chunk = self.ring.read_chunk(TICK_SAMPLES).ok()?;
            for (sample, taken) in self.tick.iter_mut().zip(chunk) {
                *sample = taken;
            }
        }
        self.filled = 0;
        Some(&mut self.tick)
    }

    /// The tick that was given last.
    pub(super) fn tick(&mut self) -> &mut [i16; TICK_SAMPLES] {
        &mut self.tick
    }

    /// Whether there is enough for the next tick, or nearly.
    pub(super) fn has_tick(&self) -> bool {
        self.ring.slots() >= self.rate.rate as usize * TICK_SAMPLES / SAMPLE_RATE as usize
    }

    /// The next tick of a row that is over, its end with silence behind it; `None`: nothing is left.
    pub(super) fn next_of_end(&mut self) -> Option<&mut [i16; TICK_SAMPLES]> {
        let Self { ring, rate, tick, filled, .. } = self;
        let from = *filled;
        while *filled < TICK_SAMPLES {
            let mut input = || ring.pop().ok().map(f32::from);
            let next = match rate.resampler() {
                Some(resampler) => resampler.next(|| Ok::<_, std::convert::Infallible>(input())).unwrap_or(None),
                None => input(),
            };
            let Some(sample) = next else { break };
            // The cast saturates.
            tick[*filled] = sample.round() as i16;
            *filled += 1;
        }
        if *filled == 0 && from == 0 {
            return None;
        }
        tick[std::mem::take(filled)..].fill(0);
        Some(tick)
    }
}

/// A file or the tone.
pub(super) struct Spoken {
    /// As it was opened, to open it again.
    name: String,
    looped: bool,
    /// `None` once it is over.
    source: Option<Source>,
    /// When the next tick is to be said; 0 before the first.
    due_us: u64,
    tick: [i16; TICK_SAMPLES],
}

impl Spoken {
    pub(super) fn open(name: &str, looped: bool) -> Result<Self, EngineError> {
        let source = Some(Source::open(name).map_err(EngineError::Source)?);
        Ok(Self { name: name.to_owned(), looped, source, due_us: 0, tick: [0; TICK_SAMPLES] })
    }

    /// Ticks that are too late to be said.
    fn skip_late(&mut self, now_us: u64) -> u64 {
        // A file that is over is late for nothing.
        if self.source.is_none() {
            return 0;
        }
        if self.due_us == 0 {
            self.due_us = now_us;
        }
        let behind = now_us.saturating_sub(self.due_us) / TICK_US;
        let skipped = if behind > BEHIND_MAX { behind } else { 0 };
        self.due_us += skipped * TICK_US;
        skipped
    }

    fn next(&mut self, now_us: u64) -> Result<Option<&mut [i16; TICK_SAMPLES]>, EngineError> {
        if now_us < self.due_us {
            return Ok(None);
        }
        let Some(source) = &mut self.source else { return Ok(None) };
        self.due_us += TICK_US;
        if source.frame(&mut self.tick).map_err(EngineError::Source)? {
            return Ok(Some(&mut self.tick));
        }
        self.source = None;
        if !self.looped {
            return Ok(None);
        }
        let mut again = Source::open(&self.name).map_err(EngineError::Source)?;
        // A file without sound is over at once, and stays so.
        let begun = again.frame(&mut self.tick).map_err(EngineError::Source)?;
        self.source = begun.then_some(again);
        Ok(begun.then_some(&mut self.tick))
    }
}

/// Where ticks come from.
pub(super) enum Input {
    Nothing,
    Device(Box<Gather>),
    File(Box<Spoken>),
    Piped(Box<PipedInput>),
}

impl Input {
    /// Ticks that were skipped before the next one.
    pub(super) fn skipped(&mut self, now_us: u64) -> u64 {
        match self {
            // Another program waits until it is read.
            Self::Nothing | Self::Piped(_) => 0,
            Self::Device(gather) => gather.skip_backlog(),
            Self::File(file) => file.skip_late(now_us),
        }
    }

    /// The next tick, if it is time.
    ///
    /// # Errors
    /// `EngineError::Source` or `Pcm` if the file or the other program cannot be read any more.
    pub(super) fn next(&mut self, now_us: u64) -> Result<Option<&mut [i16; TICK_SAMPLES]>, EngineError> {
        match self {
            Self::Nothing => Ok(None),
            Self::Device(gather) => Ok(gather.next()),
            Self::File(file) => file.next(now_us),
            Self::Piped(piped) => piped.next(now_us).map_err(EngineError::Pcm),
        }
    }

    /// Whether another program has said all that it will.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Piped(piped) => piped.is_over(),
            Self::Nothing | Self::Device(_) | Self::File(_) => false,
        }
    }

    /// When it must be asked at the latest; a device rings the bell.
    pub(super) fn due_us(&self) -> Option<u64> {
        match self {
            Self::File(file) => file.source.is_some().then_some(file.due_us),
            Self::Piped(piped) => piped.due_us(),
            Self::Nothing | Self::Device(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Sink;

    /// Goal: ticks that the machine had no time for are counted, the time after a file's end is not.
    #[test]
    fn time_after_the_end_is_not_missed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("short.wav");
        let mut sink = Sink::open(path.to_str().unwrap()).unwrap();
        for _ in 0..5 {
            sink.write(&[1_000; TICK_SAMPLES]).unwrap();
        }
        sink.finish().unwrap();
        let mut spoken = Spoken::open(path.to_str().unwrap(), false).unwrap();
        assert_eq!(spoken.skip_late(1_000_000), 0);
        assert!(spoken.next(1_000_000).unwrap().is_some());
        let late_us = 1_000_000 + (BEHIND_MAX + 2) * TICK_US;
        assert_eq!(spoken.skip_late(late_us), BEHIND_MAX + 1);
        while spoken.next(late_us + TICK_US * 20).unwrap().is_some() {}
        assert_eq!(spoken.skip_late(late_us + TICK_US * 1_000), 0);
    }
}
