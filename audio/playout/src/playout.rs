//! Playout of one speaker: decides, once per tick, what the decoder does next.
//!
//! Order is by index, spacing by media time: a gap in indices is loss and is filled, a gap in media time
//! alone is a pause (DTX, mute, withheld by the server) and is silent.
//! Time goes on at the sender's pace whatever arrives: what is missing when its turn comes is recovered or
//! concealed, and what comes later than that is heard from where it still fits. Only if the delay is less than
//! arrivals ask for is a late packet heard whole, which makes the delay longer. A talkspurt begins with
//! the delay aimed at; within one it is approached by leaving out or repeating periods of the voice.
//! In: `insert`, any order, duplicates allowed. Out: `pull`, once per 10 ms.
//! Bounds: `slots::SLOTS` packets, no allocation after `new`.
//! Source: delay may change between talkspurts, RFC 3551 §4.1; DTX, RFC 7587 §3.1.3.

mod adjust;
mod late;
mod step;

use crate::comfort::Comfort;
use crate::delay::Delay;
use crate::drift::Drift;
use crate::losses::Losses;
use crate::order::{Order, Place};
use crate::position::{Positions, microseconds};
use crate::reader::Reader;
use crate::samples::Samples;
use crate::slots::{SLOTS, Slots};
use crate::{Decode, FRAME_SAMPLES, FRAME_US, PAYLOAD_BYTES_MAX, Packet, Pulled, Statistics, TICK_SAMPLES};

/// Steps of a tick: packets that are too late, and what a tick is made of.
const TURNS_MAX: u64 = SLOTS + 16;

/// Indices are of 48 bits (RFC 3711 §3.3.1).
const INDEX_MAX: u64 = (1 << 48) - 1;

/// Playout buffer of one speaker. See the crate's documentation for its use.
#[derive(Debug)]
pub struct Playout {
    slots: Slots,
    samples: Samples,
    reader: Reader,
    comfort: Comfort,
    delay: Delay,
    drift: Drift,
    losses: Losses,
    statistics: Statistics,
    positions: Positions,
    order: Order,
    /// Position of the sample to append next.
    cursor: i64,
    /// In a talkspurt; otherwise silent until the first packet is due.
    playing: bool,
    /// Samples concealed since sound last came from a packet.
    concealed: i64,
    /// Samples of the last packet decoded.
    packet_samples: i64,
    /// Where the last samples came from.
    kind: Pulled,
    /// Loudness of the voice: root mean square of the loudest ticks of late.
    loudness: f32,
    /// Ticks until the voice may be shortened or lengthened again.
    rest: u32,
    /// Ticks in a row that were silence.
    quiet_ticks: u32,
    /// Ticks since there was a pause, or the voice was shortened.
    breathless: u32,
}

impl Default for Playout {
    fn default() -> Self {
        Self::new()
    }
}

impl Playout {
    /// An empty one, whose delay is at least one frame. Allocates all it will ever need, about 150 KiB.
    #[must_use]
    pub fn new() -> Self {
        Self::with_floor(FRAME_US)
    }

    /// One whose delay beyond the fastest packets is at least this. Below a frame, single losses cannot be
    /// recovered from the next packet.
    #[must_use]
    pub fn with_floor(delay_us_min: u64) -> Self {
        Self {
            slots: Slots::new(),
            samples: Samples::new(),
            reader: Reader::new(),
            comfort: Comfort::default(),
            delay: Delay::new(i64::try_from(delay_us_min).unwrap_or(i64::MAX)),
            drift: Drift::new(),
            losses: Losses::default(),
            statistics: Statistics::default(),
            positions: Positions::default(),
            order: Order::default(),
            cursor: 0,
            playing: false,
            concealed: 0,
            packet_samples: FRAME_SAMPLES as i64,
            kind: Pulled::Silence,
            loudness: 0.0,
            rest: 0,
            quiet_ticks: 0,
            breathless: 0,
        }
    }

    /// Counts since it was made.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let drift_ppm = self.drift.ppm().round() as i64;
        Statistics { target_us: self.delay.target_us().unsigned_abs(), drift_ppm, ..self.statistics }
    }

    /// Makes it as new, without allocating, and returns what it counted. What was buffered counts as
    /// `dropped_overflow`.
    pub fn reset(&mut self) -> Statistics {
        self.statistics.dropped_overflow += self.slots.clear() as u64;
        let counted = self.statistics();
        self.samples.clear();
        self.reader.reset();
        self.comfort = Comfort::default();
        self.delay.reset();
        self.drift.reset();
        self.losses = Losses::default();
        self.statistics = Statistics::default();
        self.positions = Positions::default();
        self.order = Order::default();
        self.cursor = 0;
        self.playing = false;
        self.concealed = 0;
        self.packet_samples = FRAME_SAMPLES as i64;
        self.kind = Pulled::Silence;
        self.loudness = 0.0;
        self.rest = 0;
        self.quiet_ticks = 0;
        self.breathless = 0;
        counted
    }

    /// Packets that wait to be played.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.slots.len()
    }

    /// Loudness of the voice of late, 0..1 of full scale: a root mean square that falls slowly.
    #[must_use]
    pub fn loudness(&self) -> f32 {
        self.loudness / 32_768.0
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
        if self.delay.learn(arrival_us, microseconds(position), &self.losses) {
            self.drift.reset();
        }
        self.drift.learn(arrival_us, microseconds(position));
        if place != Place::Late {
            self.slots.put(index, position, arrival_us, packet.marker, packet.payload);
        }
    }

    /// Fills `out` with the next 10 ms, and says where they came from.
    pub fn pull(&mut self, now_us: u64, codec: &mut impl Decode, out: &mut [i16; TICK_SAMPLES]) -> Pulled {
        let now_us = i64::try_from(now_us).unwrap_or(i64::MAX);
        let ppm = self.drift.ppm();
        let mut worst = if self.samples.len() > 0 { self.kind } else { Pulled::Decoded };
        self.hurry(now_us);
        if self.kind == Pulled::Concealed && self.is_there_late() {
            self.kind = self.come_late(now_us, codec);
        }
        // Each turn appends at least 2.5 ms, uses packets up, or ends the tick in silence.
        for _ in 0..TURNS_MAX {
            if self.samples.len() >= self.reader.needs(ppm) {
                break;
            }
            self.kind = self.step(now_us, codec);
            worst = worst.max(self.kind);
            if self.kind == Pulled::Silence {
                self.reader.reset();
                break;
            }
        }
        self.adjust(now_us, codec);
        let sound = if self.kind == Pulled::Silence { self.samples.len().min(TICK_SAMPLES) } else { TICK_SAMPLES };
        self.reader.read(&mut self.samples, ppm, out);
        self.listen(out);
        if worst == Pulled::Decoded {
            self.comfort.learn(out);
        }
        if sound < TICK_SAMPLES {
            self.comfort.fill(&mut out[sound..]);
        }
        worst
    }

    /// Effective delay, microseconds: how late the packet at the cursor may come, against the fastest. It is
    /// needed when what waits is less than a tick.
    fn delay_us(&self, now_us: i64) -> i64 {
        let ticks = self.samples.len() / TICK_SAMPLES * TICK_SAMPLES;
        let needed_us = now_us.saturating_add(microseconds(ticks as i64));
        let earliest = self.delay.earliest_us(microseconds(self.cursor));
        earliest.map_or(0, |earliest| needed_us.saturating_sub(earliest))
    }

    /// The turn of the packets before `index` is over; none of them is here.
    fn pass_over_until(&mut self, index: u64) {
        let missing = self.order.pass_over_until(index);
        self.losses.lost(missing);
        self.statistics.missing += missing;
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
        self.delay.forget();
        self.drift.reset();
        self.comfort = Comfort::default();
        self.playing = false;
    }
}
