//! One step of a playout: decode, fill a loss, guess, or be silent.
//!
//! Not the choice of delay, nor what becomes of late packets. In: what is buffered and the time. Out: at
//! least 2.5 ms of sound, or silence until the end of the tick.
//! Bounds: one call of the decoder, or two after a packet it refuses.

use super::Playout;
use crate::position::microseconds;
use crate::{Decode, FRAME_SAMPLES, PACKET_SAMPLES_MAX, Pulled, Redundancy, TICK_SAMPLES, TICK_US};

/// Sound concealed in a row before silence, samples (120 ms): Opus fades out within about as long.
const CONCEALED_MAX: i64 = 5_760;

/// Lost sound up to this long is filled, samples (200 ms); a longer gap is played as a pause.
const GAP_SAMPLES_MAX: i64 = 9_600;

/// Least that a decoder conceals, samples: 2.5 ms (RFC 6716 §2.1.4). Smaller gaps are closed.
pub(super) const STEP_SAMPLES: i64 = 120;

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
            // Nearer to this tick than to the next one.
            if now_us.saturating_add(TICK_US as i64 / 2) <= waited.min(even.saturating_add(self.delay.target_us())) {
                return Pulled::Silence;
            }
            let index = self.begin(now_us, index);
            return self.decode(index, now_us, codec);
        }
        let gap = position.saturating_sub(self.cursor);
        if gap > GAP_SAMPLES_MAX || gap >= STEP_SAMPLES && (index == next || marker) {
            self.playing = false;
            // The next one may be due at once; that it is not playing ends this.
            return self.step(now_us, codec);
        }
        if gap <= -STEP_SAMPLES {
            return self.come_late(now_us, codec);
        }
        if gap < STEP_SAMPLES {
            return self.decode(index, now_us, codec);
        }
        self.fill(index, gap, codec)
    }

    /// Fills a part of the gap that losses before packet `index` left.
    fn fill(&mut self, index: u64, gap: i64, codec: &mut impl Decode) -> Pulled {
        let Some((_, head)) = self.slots.first(self.order.next()) else {
            return Pulled::Silence;
        };
        let whole = gap / STEP_SAMPLES * STEP_SAMPLES;
        let packet = self.packet_samples;
        let redundancy = codec.redundancy(head.payload());
        if redundancy == Redundancy::History {
            let payload = head.payload();
            let written = self.samples.append(whole as usize, |out| codec.recover_deep(payload, out)) as i64;
            if written > 0 {
                self.statistics.recovered_deep += (written + packet - 1).div_euclid(packet.max(1)).unsigned_abs();
                return self.recovered(index, written);
            }
        }
        if gap > packet || redundancy == Redundancy::None {
            let most = if gap > packet { gap - packet } else { gap };
            return self.conceal((most / STEP_SAMPLES * STEP_SAMPLES).clamp(STEP_SAMPLES, self.guess_samples()), codec);
        }
        // The copy is of the whole packet; what was concealed of it already is left out.
        let over = packet - whole;
        let tail = if over >= STEP_SAMPLES { self.tail(codec) } else { 0 };
        let Some((_, head)) = self.slots.first(self.order.next()) else {
            return Pulled::Silence;
        };
        let payload = head.payload();
        let written = self.samples.append(packet as usize, |out| codec.recover(payload, out));
        // A copy of less than the packet is no help if what is wanted is not in it.
        if (written as i64) < over + STEP_SAMPLES {
            self.samples.retract(tail + written);
            return self.conceal(whole.min(self.guess_samples()), codec);
        }
        self.join(tail, written, over);
        self.statistics.recovered += 1;
        self.recovered(index, whole)
    }

    fn recovered(&mut self, index: u64, samples: i64) -> Pulled {
        self.cursor += samples;
        self.pass_over_until(index);
        self.concealed = 0;
        Pulled::Recovered
    }

    /// Plays the packet `index`, which is next of those that are here.
    pub(super) fn decode(&mut self, index: u64, now_us: i64, codec: &mut impl Decode) -> Pulled {
        self.pass_over_until(index);
        let Self { slots, samples, .. } = self;
        let Some((_, head)) = slots.first(index) else {
            return Pulled::Silence;
        };
        let (position, arrival_us) = (head.position, head.arrival_us);
        self.losses.played(codec.redundancy(head.payload()));
        let waits = microseconds(samples.len() as i64);
        let written = samples.append(PACKET_SAMPLES_MAX, |out| codec.decode(head.payload(), out)) as i64;
        self.use_next();
        if written == 0 {
            self.statistics.undecodable += 1;
            return self.conceal(self.guess_samples(), codec);
        }
        self.concealed = 0;
        self.statistics.played += 1;
        self.packet_samples = written;
        self.cursor = position.saturating_add(written);
        self.note_wait(now_us.saturating_add(waits).saturating_sub(arrival_us));
        Pulled::Decoded
    }

    /// A packet waited so long from arrival to play.
    pub(super) fn note_wait(&mut self, waited_us: i64) {
        let waited = waited_us.max(0).unsigned_abs();
        let mean = self.statistics.delay_us;
        self.statistics.delay_us =
            if self.statistics.played == 1 { waited } else { mean.saturating_mul(15).saturating_add(waited) / 16 };
    }

    /// Nothing to decode: conceals for a while, as more may be on its way, then is silent.
    fn starve(&mut self, codec: &mut impl Decode) -> Pulled {
        if !self.playing || self.concealed >= CONCEALED_MAX {
            self.playing = false;
            return Pulled::Silence;
        }
        self.conceal(self.guess_samples(), codec)
    }

    /// Length guessed at a time: a packet's, as libopus guesses best, but at most 20 ms.
    pub(super) fn guess_samples(&self) -> i64 {
        self.packet_samples.clamp(TICK_SAMPLES as i64, FRAME_SAMPLES as i64)
    }

    /// Appends a guess. A decoder that cannot guess is given silence instead, so that time goes on.
    pub(super) fn conceal(&mut self, length: i64, codec: &mut impl Decode) -> Pulled {
        self.append_guess(length as usize, codec);
        self.cursor = self.cursor.saturating_add(length);
        self.concealed = self.concealed.saturating_add(length);
        self.statistics.concealed += 1;
        Pulled::Concealed
    }

    pub(super) fn append_guess(&mut self, length: usize, codec: &mut impl Decode) {
        self.samples.append(length, |out| {
            let written = codec.conceal(out).min(out.len());
            out[written..].fill(0);
            out.len()
        });
    }
}
