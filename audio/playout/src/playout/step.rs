//! One step of a playout: decode, fill a loss, guess, or be silent.
//!
//! Not the choice of delay. In: what is buffered and the time. Out: at least 2.5 ms of sound, or silence
//! until the end of the frame.
//! Bounds: one call of the decoder, or two after a packet it refuses.

use super::Playout;
use crate::position::microseconds;
use crate::spare::Spare;
use crate::{Decode, FRAME_SAMPLES, PACKET_SAMPLES_MAX, Pulled};

/// Frames concealed when nothing has arrived, before silence: Opus fades out within about as long.
const CONCEALED_MAX: u32 = 5;

/// Lost sound up to this long is filled, samples (200 ms); a longer gap is played as a pause.
const GAP_SAMPLES_MAX: i64 = 9_600;

/// Least that a decoder conceals, samples: 2.5 ms (RFC 6716 §2.1.4). Smaller gaps are closed.
const STEP_SAMPLES: i64 = 120;

impl Playout {
    /// Decodes, fills or waits: what comes next in order.
    pub(super) fn step(&mut self, now_us: i64, codec: &mut impl Decode) -> Pulled {
        let next = self.order.next();
        let Some((index, head)) = self.slots.first(next) else {
            return self.starve(codec);
        };
        let (position, arrival_us, marker) = (head.position, head.arrival_us, head.marker);
        if !self.playing {
            let waited = arrival_us.saturating_add(self.delay.target_us());
            let even = self.delay.earliest_us(microseconds(position)).unwrap_or(arrival_us);
            if now_us < waited.min(even.saturating_add(self.delay.target_us())) {
                return self.starve(codec);
            }
            self.begin(index, position);
            return self.decode(index, now_us, codec);
        }
        let gap = position.saturating_sub(self.cursor);
        if index == next && gap < STEP_SAMPLES {
            return self.decode(index, now_us, codec);
        }
        if index == next || marker || gap > GAP_SAMPLES_MAX {
            self.playing = false;
            // The next one may be due at once; that it is not playing ends this.
            return self.step(now_us, codec);
        }
        self.fill(index, position, now_us, codec)
    }

    /// Fills a part of the gap that losses before packet `index` left.
    fn fill(&mut self, index: u64, position: i64, now_us: i64, codec: &mut impl Decode) -> Pulled {
        // What was concealed while nothing had arrived stands for the first of the lost.
        let credit = self.stalled.min(position.saturating_sub(self.cursor)).max(0);
        self.stalled = 0;
        self.cursor += credit;
        let gap = position.saturating_sub(self.cursor);
        if gap < STEP_SAMPLES {
            self.pass_over_until(index);
            return self.decode(index, now_us, codec);
        }
        let frame = FRAME_SAMPLES as i64;
        if self.may_still_come(now_us) {
            return self.conceal(frame, codec);
        }
        if gap > frame {
            self.cursor += frame;
            let remaining = (gap - frame + self.packet_samples - 1) / self.packet_samples;
            self.pass_over_until(index.saturating_sub(remaining.unsigned_abs()).max(self.order.next()));
            return self.conceal(frame, codec);
        }
        let length = (gap / STEP_SAMPLES * STEP_SAMPLES) as usize;
        self.cursor = position;
        self.pass_over_until(index);
        let Self { slots, samples, .. } = self;
        let recovered =
            slots.first(index).map_or(0, |(_, head)| samples.append(length, |out| codec.recover(head.payload(), out)));
        if recovered == 0 {
            return self.conceal(length as i64, codec);
        }
        self.statistics.recovered += 1;
        Pulled::Recovered
    }

    /// Whether the delay is so far below its target that a missing packet is worth a frame of waiting.
    fn may_still_come(&self, now_us: i64) -> bool {
        let Some(earliest) = self.delay.earliest_us(microseconds(self.cursor)) else {
            return false;
        };
        let delay_us = now_us.saturating_sub(earliest);
        (0..self.delay.target_us()).contains(&delay_us)
    }

    fn begin(&mut self, index: u64, position: i64) {
        self.pass_over_until(index);
        self.cursor = position;
        self.playing = true;
        self.stalled = 0;
        self.statistics.talkspurts += 1;
        self.spare = Spare::default();
    }

    /// Plays the packet `index`, which is next.
    fn decode(&mut self, index: u64, now_us: i64, codec: &mut impl Decode) -> Pulled {
        self.pass_over_until(index);
        let Self { slots, samples, .. } = self;
        let Some((_, head)) = slots.first(index) else {
            return Pulled::Silence;
        };
        let (position, arrival_us) = (head.position, head.arrival_us);
        let written = samples.append(PACKET_SAMPLES_MAX, |out| codec.decode(head.payload(), out)) as i64;
        self.use_next();
        self.starved = 0;
        self.stalled = 0;
        if written == 0 {
            self.statistics.undecodable += 1;
            self.cursor = position.saturating_add(self.packet_samples);
            return self.conceal(FRAME_SAMPLES as i64, codec);
        }
        self.statistics.played += 1;
        self.packet_samples = written;
        self.cursor = position.saturating_add(written);
        let waited = now_us.saturating_sub(arrival_us).max(0).unsigned_abs();
        let mean = self.statistics.delay_us;
        self.statistics.delay_us =
            if self.statistics.played == 1 { waited } else { mean.saturating_mul(15).saturating_add(waited) / 16 };
        Pulled::Decoded
    }

    /// Nothing to decode: conceals for a while, as more may be on its way, then is silent.
    fn starve(&mut self, codec: &mut impl Decode) -> Pulled {
        if !self.order.started() || self.starved >= CONCEALED_MAX {
            self.playing = false;
            self.stalled = 0;
            return Pulled::Silence;
        }
        self.starved += 1;
        self.stalled += FRAME_SAMPLES as i64;
        self.conceal(FRAME_SAMPLES as i64, codec)
    }

    /// Appends a guess. A decoder that cannot guess is given silence instead, so that time goes on.
    fn conceal(&mut self, length: i64, codec: &mut impl Decode) -> Pulled {
        let length = length as usize;
        self.samples.append(length, |out| {
            let written = codec.conceal(out).min(out.len());
            out[written..].fill(0);
            out.len()
        });
        self.statistics.concealed += 1;
        Pulled::Concealed
    }
}
