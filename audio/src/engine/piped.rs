//! Another program as the engine's input and output: whose clock counts, and what becomes of sound that it gives or
//! takes too slowly.
//!
//! Not its pipes: those have threads of their own ([`crate::pcm`]).
//! In: a tick is taken when the clock says so and one is there, a little sooner than the clock from a pipe, so that a
//! program whose clock is fast is followed, and one that has no clock, such as `cat`, is held to ours. Out: a tick is
//! mixed at the clock's pace, and left to wait while a program of slower clock has not taken those before.
//! Bounds: the rings of `pcm`; [`CREDIT_NS`] of catching up; [`STUCK_TICKS`] of waiting, then sound is dropped, counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rtrb::Producer;

use super::input::{Gather, Rate};
use super::output::{Pace, push};
use crate::alsa::shared::{Bell, Counters};
use crate::pcm::{PcmError, PcmReader, PcmSettings, PcmWriter};
use crate::playout::TICK_US;
use crate::resample::Resampler;
use crate::{SAMPLE_RATE, TICK_SAMPLES};

/// A tick, nanoseconds.
const TICK_NS: u64 = TICK_US * 1_000;

/// How much faster than the clock a pipe is read, ticks in a million: two crystals are within 200 of each other, and
/// listeners take as much drift for what it is.
const HURRY_PPM: u64 = 250;

/// Ticks that were due and not there are made up for as far as this: two of them.
const CREDIT_NS: u64 = 2 * TICK_NS;

/// Silent ticks at the end: a frame that was begun gets full.
const END_TICKS: u32 = 2;

/// Ticks for which a program that does not take its sound is waited for: longer is no slow clock, but a program that
/// stands still.
const STUCK_TICKS: u32 = 20;

/// What another program says.
pub(super) struct PipedInput {
    reader: PcmReader,
    gather: Gather,
    /// When the next tick may be taken; 0 before the first.
    due_ns: u64,
    tick_ns: u64,
    /// Of its end.
    silence: [i16; TICK_SAMPLES],
    end_ticks: u32,
}

impl PipedInput {
    pub(super) fn open(settings: &PcmSettings, bell: &Bell) -> Result<Self, PcmError> {
        let (reader, ring) = PcmReader::start(settings, bell)?;
        let counters = Arc::new(Counters::default());
        counters.rate.store(reader.rate(), Ordering::Release);
        let tick_ns = if reader.is_file() { TICK_NS } else { TICK_NS - TICK_NS * HURRY_PPM / 1_000_000 };
        let gather = Gather::new(ring, counters);
        Ok(Self { reader, gather, due_ns: 0, tick_ns, silence: [0; TICK_SAMPLES], end_ticks: END_TICKS })
    }

    /// The next tick, if it is time and one is there.
    pub(super) fn next(&mut self, now_us: u64) -> Result<Option<&mut [i16; TICK_SAMPLES]>, PcmError> {
        let now_ns = now_us * 1_000;
        self.due_ns = if self.due_ns == 0 { now_ns } else { self.due_ns.max(now_ns.saturating_sub(CREDIT_NS)) };
        if now_ns < self.due_ns || self.is_over() {
            return Ok(None);
        }
        // Looked at first: what came before the end is in the ring then.
        let is_last = self.reader.is_over();
        let Self { gather, silence, end_ticks, .. } = self;
        let tick = match gather.next().is_some() {
            true => Some(gather.tick()),
            false if !is_last => None,
            false => match gather.next_of_end().is_some() {
                true => Some(gather.tick()),
                false => {
                    if let Some(error) = self.reader.failure() {
                        return Err(error);
                    }
                    *end_ticks -= 1;
                    silence.fill(0);
                    Some(silence)
                }
            },
        };
        self.due_ns += if tick.is_some() { self.tick_ns } else { 0 };
        Ok(tick)
    }

    /// Whether all was said.
    pub(super) fn is_over(&self) -> bool {
        self.end_ticks == 0
    }

    /// When the tick that is there may be taken; the reader rings the bell for one that is not.
    pub(super) fn due_us(&self) -> Option<u64> {
        let waits = (self.gather.has_tick() || self.reader.is_over()) && !self.is_over();
        waits.then_some(self.due_ns.div_ceil(1_000))
    }
}

/// What another program hears.
pub(super) struct PipedOutput {
    writer: PcmWriter,
    ring: Producer<i16>,
    rate: Rate,
    pace: Pace,
    /// Samples of a tick at its rate, and one more for rates that do not divide.
    tick: usize,
    stuck: u32,
    dropped: u64,
}

impl PipedOutput {
    pub(super) fn open(settings: &PcmSettings) -> Result<Self, PcmError> {
        let (writer, ring) = PcmWriter::start(settings)?;
        let mut rate = Rate::new();
        rate.follow(writer.rate(), |rate| Resampler::new(SAMPLE_RATE, rate));
        let tick = writer.rate() as usize * TICK_SAMPLES / SAMPLE_RATE as usize + 1;
        Ok(Self { writer, ring, rate, pace: Pace::default(), tick, stuck: 0, dropped: 0 })
    }

    /// Whether a tick is to be mixed now.
    pub(super) fn wants(&mut self, now_us: u64) -> bool {
        if !self.pace.take(now_us) {
            return false;
        }
        self.stuck = if self.ring.slots() >= self.tick { 0 } else { self.stuck + 1 };
        // Those who speak must be heard by somebody, or they wait in the jitter buffers.
        self.stuck == 0 || self.stuck > STUCK_TICKS
    }

    /// Takes the tick.
    pub(super) fn give(&mut self, tick: &[i16; TICK_SAMPLES]) -> Result<(), PcmError> {
        let Self { ring, rate, dropped, .. } = self;
        push(tick, rate, |sample| *dropped += u64::from(ring.push(sample).is_err()));
        self.writer.wake();
        self.writer.failure().map_or(Ok(()), Err)
    }

    /// When it must be asked at the latest.
    pub(super) fn due_us(&self) -> u64 {
        self.pace.due_us()
    }

    /// Samples that the other program did not take in time.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Gives what is left, as far as it is taken.
    pub(super) fn finish(self) -> Result<(), PcmError> {
        self.writer.finish()
    }
}
