//! Brings the delay to its target within a talkspurt: leaves out or repeats some periods of the voice, where
//! that is not heard.
//!
//! In a pause any place will do. Voice is changed only if the delay is far off: the two places have to look
//! alike, and there is a rest after it.
//! Bounds: one look for such a place a tick, and only if the delay is off; up to two packets decoded ahead.

use super::Playout;
use super::step::STEP_SAMPLES;
use crate::position::samples_of;
use crate::samples::HISTORY_SAMPLES;
use crate::splice::{OFFSET_MAX, OFFSET_MIN, OVERLAP, Place, Way, find, loudness};
use crate::{Decode, PACKET_SAMPLES_MAX, Pulled, TICK_SAMPLES};

/// Two places of voice are alike from this correlation on.
const ALIKE: f32 = 0.9;

/// The delay has to be too long or too short by more than this for voice to be changed, samples: 40 and 30 ms.
/// Every change is heard a little, by PESQ too, and a pause comes soon.
const VOICE_EXCESS: i64 = 1_920;
const VOICE_MISSING: i64 = 1_440;

/// A delay too short by less than this is left, samples: 5 ms, half a tick.
const SLACK: i64 = 240;

/// Ticks of voice without a pause or a change after which a tick of excess is enough to change voice: 5 s.
const BREATHLESS_TICKS: u32 = 500;

/// With more than this waiting, samples, there is nothing to lengthen: one longest packet.
const LENGTHENED_MAX: usize = PACKET_SAMPLES_MAX;

/// Ticks of silence before it is a pause, not a closure within a word: 120 ms.
const QUIET_TICKS: u32 = 12;

/// Sound this much below the voice is silence: 34 dB.
const QUIET: f32 = 0.02;

/// Root mean square that is silence whatever the voice is: 60 dB below full scale.
const QUIET_MAX: f32 = 33.0;

/// The loudness of the voice falls by this factor each tick: 3 dB in 7 s.
const FADE: f32 = 0.9995;

/// Ticks of rest after voice was changed: at most one period in 40 ms.
const REST_TICKS: u32 = 4;

const TICK: i64 = TICK_SAMPLES as i64;

impl Playout {
    /// Keeps track of the voice's loudness.
    pub(super) fn listen(&mut self, out: &[i16; TICK_SAMPLES]) {
        self.loudness = loudness(out).max(self.loudness * FADE);
        self.rest = self.rest.saturating_sub(1);
        self.breathless = if self.quiet_ticks >= QUIET_TICKS { 0 } else { self.breathless.saturating_add(1) };
        self.quiet_ticks = if loudness(out) <= self.quiet() { self.quiet_ticks.saturating_add(1) } else { 0 };
    }

    /// Changes what waits, if the delay is off and it can be done unheard.
    pub(super) fn adjust(&mut self, now_us: i64, codec: &mut impl Decode) {
        if !self.playing || self.kind == Pulled::Concealed || self.rest > 0 {
            return;
        }
        let excess = samples_of(self.delay_us(now_us).saturating_sub(self.delay.target_us()));
        if excess >= 0 {
            self.shorten(excess, now_us, codec);
        } else {
            self.lengthen(excess.saturating_neg());
        }
    }

    fn shorten(&mut self, excess: i64, now_us: i64, codec: &mut impl Decode) {
        let part = (self.samples.len() % TICK_SAMPLES) as i64;
        // The delay shrinks by whole ticks; what is less than a tick waits for nothing.
        let most = part + excess / TICK * TICK;
        if most < OFFSET_MIN as i64 {
            return;
        }
        let quiet = self.is_quiet();
        let enough = if self.breathless > BREATHLESS_TICKS { TICK } else { VOICE_EXCESS };
        if !quiet && excess < enough {
            return;
        }
        self.look_ahead(now_us, codec);
        let spare = self.samples.len().saturating_sub(self.reader.needs(self.drift.ppm()));
        let most = (most as usize).min(spare).min(OFFSET_MAX);
        let (_, waiting) = self.samples.parts();
        if most < OFFSET_MIN || waiting.len() < most + OVERLAP {
            return;
        }
        let quiet = quiet && loudness(&waiting[..most + OVERLAP]) <= self.quiet();
        let place =
            if quiet { Some(Place { offset: most, likeness: 1.0 }) } else { find(waiting, 0, Way::Ahead, most) };
        if let Some(place) = place.filter(|place| place.likeness >= ALIKE) {
            self.samples.compress(place.offset, OVERLAP);
            self.breathless = 0;
            self.statistics.compressed += place.offset as u64;
            self.rest = if quiet { 0 } else { REST_TICKS };
        }
    }

    fn lengthen(&mut self, missing: i64) {
        let quiet = self.is_quiet();
        if missing < SLACK || !quiet && missing < VOICE_MISSING {
            return;
        }
        let part = (self.samples.len() % TICK_SAMPLES) as i64;
        let wanted = (missing + TICK - 1) / TICK * TICK - part;
        if self.samples.len() < OVERLAP || self.samples.len() > LENGTHENED_MAX {
            return;
        }
        let place = if quiet {
            let offset = (wanted.max(OFFSET_MIN as i64) as usize).min(OFFSET_MAX);
            Some(Place { offset, likeness: 1.0 })
        } else {
            find(self.samples.all(), HISTORY_SAMPLES, Way::Back, OFFSET_MAX)
        };
        if let Some(place) = place.filter(|place| place.likeness >= ALIKE) {
            self.samples.stretch(place.offset, OVERLAP);
            self.statistics.stretched += place.offset as u64;
            self.rest = if quiet { 0 } else { REST_TICKS };
        }
    }

    /// Decodes packets that wait in order, so that there is enough to look for a place in.
    fn look_ahead(&mut self, now_us: i64, codec: &mut impl Decode) {
        let wanted = self.reader.needs(self.drift.ppm()) + OFFSET_MAX;
        while self.samples.len() < wanted {
            let next = self.order.next();
            let ready = self.slots.first(next).is_some_and(|(index, head)| {
                index == next && (head.position.saturating_sub(self.cursor)).abs() < STEP_SAMPLES
            });
            if !ready || self.decode(next, now_us, codec) != Pulled::Decoded {
                return;
            }
        }
    }

    fn quiet(&self) -> f32 {
        (self.loudness * QUIET).max(QUIET_MAX)
    }

    /// Whether what was pulled last and what comes next are silence.
    fn is_quiet(&self) -> bool {
        if self.quiet_ticks < QUIET_TICKS {
            return false;
        }
        let (before, waiting) = self.samples.parts();
        let next = &waiting[..waiting.len().min(TICK_SAMPLES)];
        loudness(&before[HISTORY_SAMPLES - TICK_SAMPLES..]) <= self.quiet() && loudness(next) <= self.quiet()
    }
}
