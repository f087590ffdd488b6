//! Playout of one speaker: decides, once per frame, what the decoder does next.
//!
//! Order is by index, spacing by media time: a gap in indices is loss and is filled, a gap in media time
//! alone is a pause (DTX, mute, withheld by the server) and is silent.
//! Delay: a talkspurt begins once its first packet has waited for the target delay. When packets come too
//! late it grows by what had to be concealed; it shrinks at the next talkspurt, or by a packet thrown away
//! when even the worst moment of two seconds had frames to spare. Never over `DELAY_US_MAX`.
//! In: `insert`, any order, duplicates allowed. Out: `pull`, once per 20 ms.
//! Bounds: `slots::SLOTS` packets, no allocation after `new`.
//! Source: delay may change between talkspurts, RFC 3551 §4.1; DTX, RFC 7587 §3.1.3.

mod step;

use crate::delay::{DELAY_US_MAX, Delay};
use crate::order::{Order, Place};
use crate::position::{Positions, microseconds};
use crate::samples::Samples;
use crate::slots::Slots;
use crate::spare::Spare;
use crate::{Decode, FRAME_SAMPLES, PACKET_SAMPLES_MAX, PAYLOAD_BYTES_MAX, Packet, Pulled, Statistics};

/// Indices are of 48 bits (RFC 3711 §3.3.1).
const INDEX_MAX: u64 = (1 << 48) - 1;

/// Playout buffer of one speaker. See the crate's documentation for its use.
#[derive(Debug)]
pub struct Playout {
    slots: Slots,
    samples: Samples,
    delay: Delay,
    statistics: Statistics,
    spare: Spare,
    positions: Positions,
    order: Order,
    /// Position of the sample to decode next.
    cursor: i64,
    /// In a talkspurt; otherwise silent until the first packet is due.
    playing: bool,
    /// Frames concealed in a row while nothing had arrived.
    starved: u32,
    /// Samples concealed since the cursor stood still: credit against a gap that turns out to be loss.
    stalled: i64,
    /// Samples of the last packet decoded.
    packet_samples: i64,
}

impl Default for Playout {
    fn default() -> Self {
        Self::new()
    }
}

impl Playout {
    /// An empty one. Allocates all it will ever need, about 100 KiB.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Slots::new(), Samples::new())
    }

    /// One that has these buffers, which are empty.
    fn with(slots: Slots, samples: Samples) -> Self {
        Self {
            slots,
            samples,
            delay: Delay::new(),
            statistics: Statistics::default(),
            spare: Spare::default(),
            positions: Positions::default(),
            order: Order::default(),
            cursor: 0,
            playing: false,
            starved: 0,
            stalled: 0,
            packet_samples: FRAME_SAMPLES as i64,
        }
    }

    /// Counts since it was made.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics { target_us: self.delay.target_us().unsigned_abs(), ..self.statistics }
    }

    /// Makes it as new, without allocating, and returns what it counted. What was buffered counts as
    /// `dropped_overflow`.
    pub fn reset(&mut self) -> Statistics {
        self.statistics.dropped_overflow += self.slots.clear() as u64;
        self.samples.clear();
        let counted = self.statistics();
        *self = Self::with(std::mem::take(&mut self.slots), std::mem::take(&mut self.samples));
        counted
    }

    /// Packets that wait to be played.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.slots.len()
    }

    /// Takes a packet, or counts why not.
    pub fn insert(&mut self, packet: Packet<'_>) {
        if packet.payload.is_empty() || packet.payload.len() > PAYLOAD_BYTES_MAX || packet.index > INDEX_MAX {
            self.statistics.dropped_invalid += 1;
            return;
        }
        let index = packet.index;
        let place = if self.slots.contains(index) { Place::Played } else { self.order.place(index) };
        match place {
            Place::Played => {
                self.statistics.duplicate += 1;
                return;
            }
            // Of a stream that may be over, so its time tells nothing.
            Place::FarBehind => {
                self.statistics.late += 1;
                return;
            }
            Place::Late => self.statistics.late += 1,
            Place::Restart => self.restart(index),
            Place::Wanted => {}
        }
        let arrival_us = i64::try_from(packet.arrival_us).unwrap_or(i64::MAX);
        let position = self.positions.of(packet.media_time);
        self.delay.learn(arrival_us, microseconds(position));
        if place != Place::Late {
            self.slots.put(index, position, arrival_us, packet.marker, packet.payload);
        }
    }

    /// Fills `out` with the next 20 ms, and says where they came from.
    pub fn pull(&mut self, now_us: u64, codec: &mut impl Decode, out: &mut [i16; FRAME_SAMPLES]) -> Pulled {
        let now_us = i64::try_from(now_us).unwrap_or(i64::MAX);
        self.shorten(codec);
        let mut worst = Pulled::Decoded;
        // Each turn appends at least 2.5 ms or ends the frame in silence.
        while self.samples.len() < FRAME_SAMPLES {
            let step = self.step(now_us, codec);
            worst = worst.max(step);
            if step == Pulled::Silence {
                break;
            }
        }
        self.samples.take(out);
        worst
    }

    /// Brings the delay down when there is more than the bound, or than was needed for a while.
    fn shorten(&mut self, codec: &mut impl Decode) {
        if !self.playing {
            return;
        }
        if self.buffered_us() > DELAY_US_MAX {
            while self.buffered_us() > self.delay.target_us() && self.skip(codec) {}
            self.spare = Spare::default();
        } else if self.spare.is_too_much(self.buffered_us()) {
            self.skip(codec);
        }
    }

    /// Sound from the next packet to the newest, microseconds; pauses do not count, losses do.
    fn buffered_us(&self) -> i64 {
        if self.slots.len() == 0 {
            return 0;
        }
        microseconds((self.order.ahead() as i64).saturating_mul(self.packet_samples))
    }

    /// Throws the next packet away; `false` if it is not here: a loss is healed first, from the packet behind
    /// it. The decoder hears what is thrown away, so that the packet after it finds the state its sender had.
    fn skip(&mut self, codec: &mut impl Decode) -> bool {
        let next = self.order.next();
        let Self { slots, samples, .. } = self;
        let Some((_, head)) = slots.first(next).filter(|(index, _)| *index == next) else {
            return false;
        };
        let position = head.position;
        let written = samples.append(PACKET_SAMPLES_MAX, |out| codec.decode(head.payload(), out));
        samples.retract(written);
        self.cursor = position.saturating_add(self.packet_samples);
        self.use_next();
        self.statistics.skipped += 1;
        true
    }

    /// The turn of the packets before `index` is over; none of them is here.
    fn pass_over_until(&mut self, index: u64) {
        self.statistics.missing += self.order.pass_over_until(index);
    }

    /// The next packet is used.
    fn use_next(&mut self) {
        self.slots.remove(self.order.next());
        self.order.used();
    }

    /// Forgets what is buffered and begins anew at this index.
    fn restart(&mut self, index: u64) {
        self.statistics.dropped_overflow += self.slots.clear() as u64;
        self.statistics.restarts += 1;
        self.order.restart(index);
        self.playing = false;
    }
}
