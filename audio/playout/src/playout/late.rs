//! What becomes of packets whose time has come before them, and where a talkspurt begins.
//!
//! Their sound up to now was concealed. What is over is left out, the rest is heard; but as far as the delay
//! is less than aimed at, time goes back instead, and they are heard from there.
//! Bounds: each packet is left out once; of many the decoder hears the last [`HEARD_MAX`].

use super::Playout;
use super::step::STEP_SAMPLES;
use crate::position::{microseconds, samples_of};
use crate::splice::OVERLAP;
use crate::{Decode, PACKET_SAMPLES_MAX, Pulled, TICK_SAMPLES};

/// Packets left out that the decoder hears, so that the next one finds the state its sender had.
const HEARD_MAX: i64 = 5;

/// Samples over which a guess fades into what was said: 10 ms.
const JOIN_OVERLAP: usize = 480;

/// Delay beyond the target with which a talkspurt may begin, microseconds; with more, its begin is left out.
const BEGIN_EXCESS_US: i64 = 60_000;

/// Delay beyond the target that is not borne until the voice can be shortened unheard, microseconds.
const EXCESS_US_MAX: i64 = 120_000;

impl Playout {
    /// Sound far too late is left out at once.
    pub(super) fn hurry(&mut self, now_us: i64) {
        if !self.playing || self.slots.len() == 0 {
            return;
        }
        let excess_us = self.delay_us(now_us).saturating_sub(self.delay.target_us());
        if excess_us > EXCESS_US_MAX {
            self.cursor = self.cursor.saturating_add(samples_of(excess_us));
        }
    }

    /// Where the talkspurt that packet `index` is the first of begins, which is now.
    pub(super) fn begin(&mut self, now_us: i64, index: u64) -> u64 {
        let mut index = index;
        let mut skips = false;
        self.pass_over_until(index);
        while let Some((_, head)) = self.slots.first(index) {
            let position = head.position;
            let due_us =
                self.delay.earliest_us(microseconds(position)).map(|us| us.saturating_add(self.delay.target_us()));
            let over_us = due_us.map_or(0, |due_us| now_us.saturating_sub(due_us));
            // The target may have become a little less while it waited.
            skips |= over_us > BEGIN_EXCESS_US;
            if !skips || over_us < microseconds(self.packet_samples) || self.slots.len() == 1 {
                self.cursor = position;
                break;
            }
            self.use_next();
            self.statistics.skipped += 1;
            let next = self.order.next();
            index = self.slots.first(next).map_or(next, |(index, _)| index);
            self.pass_over_until(index);
        }
        self.playing = true;
        self.concealed = 0;
        self.statistics.talkspurts += 1;
        index
    }

    /// The next packet's time has begun without it.
    pub(super) fn come_late(&mut self, now_us: i64, codec: &mut impl Decode) -> Pulled {
        let missing = samples_of(self.delay.target_us().saturating_sub(self.delay_us(now_us)));
        let Some((_, head)) = self.slots.first(self.order.next()) else {
            return Pulled::Silence;
        };
        let position = head.position;
        let over = self.cursor.saturating_sub(position);
        // What the delay is too short by is gained by hearing more of it.
        self.cursor -= missing.clamp(0, over);
        // What was guessed and not pulled yet is what the rest of it fades in from; not what was guessed of the time
        // before it.
        let guessed = if self.kind == Pulled::Concealed { self.samples.len() as i64 } else { 0 };
        let mut tail = guessed.min(self.cursor.saturating_sub(position)).max(0) as usize;
        if tail < OVERLAP {
            tail = 0;
        }
        self.cursor -= tail as i64;
        let unheard = tail;
        while let Some((index, head)) = self.slots.first(self.order.next()) {
            let over = self.cursor.saturating_sub(head.position);
            if over < STEP_SAMPLES && (tail == 0 || over <= -STEP_SAMPLES) {
                break;
            }
            self.pass_over_until(index);
            if over >= HEARD_MAX * self.packet_samples {
                self.use_next();
                self.statistics.skipped += 1;
                continue;
            }
            if tail == 0 {
                tail = self.tail(codec);
            }
            if self.hear_rest(over.max(0), tail, now_us, codec) {
                return Pulled::Decoded;
            }
        }
        self.cursor += tail as i64;
        if tail == 0 {
            // All of the next one is heard.
            return self.step(now_us, codec);
        }
        if tail > unheard {
            self.concealed += tail as i64;
            self.statistics.concealed += 1;
        }
        Pulled::Concealed
    }

    /// Whether the next packet came while its time was being guessed.
    pub(super) fn is_there_late(&self) -> bool {
        let next = self.order.next();
        self.playing
            && self.samples.len() >= OVERLAP
            && self
                .slots
                .first(next)
                .is_some_and(|(index, head)| index == next && self.cursor.saturating_sub(head.position) >= STEP_SAMPLES)
    }

    /// Decodes the next packet and keeps what is left of it after the first `over` samples. `false` if nothing
    /// is.
    fn hear_rest(&mut self, over: i64, tail: usize, now_us: i64, codec: &mut impl Decode) -> bool {
        let Self { slots, samples, .. } = self;
        let Some((_, head)) = slots.first(self.order.next()) else { return false };
        let (position, arrival_us) = (head.position, head.arrival_us);
        self.losses.played(codec.redundancy(head.payload()));
        let written = samples.append(PACKET_SAMPLES_MAX, |out| codec.decode(head.payload(), out));
        self.use_next();
        if written == 0 {
            self.statistics.undecodable += 1;
            return false;
        }
        self.packet_samples = written as i64;
        if written as i64 - over < STEP_SAMPLES {
            self.samples.retract(written);
            self.statistics.skipped += 1;
            return false;
        }
        self.join(tail, written, over);
        self.cursor = position.saturating_add(written as i64);
        self.concealed = 0;
        self.statistics.played += 1;
        self.note_wait(now_us.saturating_sub(arrival_us));
        true
    }

    /// Appends a guess that what is to follow can fade in from, and returns its length.
    pub(super) fn tail(&mut self, codec: &mut impl Decode) -> usize {
        self.append_guess(TICK_SAMPLES, codec);
        TICK_SAMPLES
    }

    /// Fades from a tail into the `written` samples after it, without the first `over` of them.
    pub(super) fn join(&mut self, tail: usize, written: usize, over: i64) {
        if tail > 0 {
            self.samples.join(tail + written, JOIN_OVERLAP, tail + over.unsigned_abs() as usize);
        }
    }
}
