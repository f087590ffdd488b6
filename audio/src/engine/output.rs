//! Where the mix goes: a loudspeaker's ring, which says when it wants more, or a file at the clock's pace.
//!
//! A loudspeaker that is away is pulled for by the clock, so that the jitter buffers go on and speech is there
//! at once when it is back.
//! Bounds: a ring of `RING_SAMPLES`; what finds it full is dropped and counted by who reads it late.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rtrb::Producer;

use super::EngineError;
use super::input::{Gather, Rate};
use super::piped::PipedOutput;
use crate::alsa::shared::Counters;
use crate::playout::TICK_US;
use crate::resample::Resampler;
use crate::sink::Sink;
use crate::{SAMPLE_RATE, TICK_SAMPLES};

/// Most ticks mixed at once: a device of long periods, and no more.
const TICKS_MAX: u32 = 16;

/// Ticks a clock may be behind before it gives up catching up.
const BEHIND_US_MAX: u64 = 200_000;

/// A clock of ticks.
#[derive(Default)]
pub(super) struct Pace {
    /// 0 before the first.
    due_us: u64,
}

impl Pace {
    /// Whether a tick is due; if so, the next one is a tick later.
    pub(super) fn take(&mut self, now_us: u64) -> bool {
        if self.due_us == 0 || now_us > self.due_us + BEHIND_US_MAX {
            self.due_us = now_us;
        }
        let due = now_us >= self.due_us;
        self.due_us += if due { TICK_US } else { 0 };
        due
    }

    /// When the next tick is due.
    pub(super) fn due_us(&self) -> u64 {
        self.due_us
    }
}

/// Gives a tick on at another rate.
pub(super) fn push(tick: &[i16; TICK_SAMPLES], rate: &mut Rate, mut give: impl FnMut(i16)) {
    let Some(resampler) = rate.resampler() else {
        tick.iter().for_each(|sample| give(*sample));
        return;
    };
    let mut input = tick.iter();
    // The end of the tick is no end: it goes on where it was.
    let mut next = || input.next().map(|sample| Some(f32::from(*sample))).ok_or(());
    while let Ok(Some(sample)) = resampler.next(&mut next) {
        // The cast saturates.
        give(sample.round() as i16);
    }
}

/// A loudspeaker.
pub(super) struct Loudspeaker {
    ring: Producer<i16>,
    counters: Arc<Counters>,
    rate: Rate,
    /// What it really played.
    written: Gather,
    absent: Pace,
    /// Ticks given since the thread was last asked.
    burst: u32,
}

impl Loudspeaker {
    pub(super) fn new(ring: Producer<i16>, written: Gather, counters: Arc<Counters>) -> Self {
        Self { ring, counters, rate: Rate::new(), written, absent: Pace::default(), burst: 0 }
    }

    fn wants(&mut self, now_us: u64) -> bool {
        if !self.counters.runs() {
            return self.absent.take(now_us);
        }
        self.absent = Pace::default();
        let waiting = self.ring.buffer().capacity() - self.ring.slots();
        let wants = waiting < self.counters.wanted.load(Ordering::Acquire) as usize && self.burst < TICKS_MAX;
        if wants && self.burst == 0 {
            self.counters.waiting.store(waiting as u32, Ordering::Relaxed);
        }
        self.burst = if wants { self.burst + 1 } else { 0 };
        wants
    }

    fn give(&mut self, tick: &[i16; TICK_SAMPLES]) {
        let rate = self.counters.rate.load(Ordering::Acquire);
        if rate == 0 {
            return;
        }
        self.rate.follow(rate, |rate| Resampler::new(SAMPLE_RATE, rate));
        let (ring, dropped) = (&mut self.ring, &self.counters.dropped);
        push(tick, &mut self.rate, |sample| {
            if ring.push(sample).is_err() {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// Where the mix goes.
pub(super) enum Output {
    Nothing,
    /// Boxed: it is much the larger.
    Device(Box<Loudspeaker>),
    File(Box<Sink>, Pace),
    Piped(Box<PipedOutput>),
}

impl Output {
    /// Whether a tick is to be mixed now.
    pub(super) fn wants(&mut self, now_us: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Device(device) => device.wants(now_us),
            Self::File(_, pace) => pace.take(now_us),
            Self::Piped(piped) => piped.wants(now_us),
        }
    }

    /// Takes the tick.
    ///
    /// # Errors
    /// `EngineError::Sink`, such as a full disk.
    pub(super) fn give(&mut self, tick: &[i16; TICK_SAMPLES]) -> Result<(), EngineError> {
        match self {
            Self::Nothing => Ok(()),
            Self::Device(device) => {
                device.give(tick);
                Ok(())
            }
            Self::File(sink, _) => sink.write(tick).map_err(EngineError::Sink),
            Self::Piped(piped) => piped.give(tick).map_err(EngineError::Pcm),
        }
    }

    /// Samples that another program did not take in time.
    pub(super) fn dropped(&self) -> u64 {
        match self {
            Self::Piped(piped) => piped.dropped(),
            Self::Nothing | Self::Device(_) | Self::File(..) => 0,
        }
    }

    /// What was really played, tick by tick, for the echo canceller.
    pub(super) fn next_written(&mut self) -> Option<&[i16; TICK_SAMPLES]> {
        let Self::Device(device) = self else { return None };
        device.written.skip_backlog();
        device.written.next().map(|tick| &*tick)
    }

    /// When it must be asked at the latest; a loudspeaker that runs rings the bell.
    pub(super) fn due_us(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Device(device) => (!device.counters.runs()).then_some(device.absent.due_us),
            Self::File(_, pace) => Some(pace.due_us),
            Self::Piped(piped) => Some(piped.due_us()),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// `EngineError::Sink`, such as a full disk.
    pub(super) fn finish(self) -> Result<(), EngineError> {
        match self {
            Self::File(sink, _) => sink.finish().map_err(EngineError::Sink),
            Self::Piped(piped) => piped.finish().map_err(EngineError::Pcm),
            Self::Nothing | Self::Device(_) => Ok(()),
        }
    }
}
