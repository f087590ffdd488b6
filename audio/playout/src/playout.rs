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

use crate::delay::{DELAY_US_MAX, Delay};
use crate::samples::Samples;
use crate::slots::{SLOTS, Slots};
use crate::{Decode, FRAME_SAMPLES, FRAME_US, PACKET_SAMPLES_MAX, PAYLOAD_BYTES_MAX, Packet, Pulled, Statistics};

/// Indices are of 48 bits (RFC 3711 §3.3.1).
const INDEX_MAX: u64 = (1 << 48) - 1;

/// Frames concealed when nothing has arrived, before silence: Opus fades out within about as long.
const CONCEALED_MAX: u32 = 5;

/// Lost sound up to this long is filled, samples (200 ms); a longer gap is played as a pause.
const GAP_SAMPLES_MAX: i64 = 9_600;

/// Least that a decoder conceals, samples: 2.5 ms (RFC 6716 §2.1.4). Smaller gaps are closed.
const STEP_SAMPLES: i64 = 120;

/// Packets in a row from far behind that mean that the stream began anew, not that one was lost for long.
const BEHIND_MAX: u32 = 3;

/// Pulls over which the least number of packets to spare is taken: 2 s.
const SPARE_PULLS: u32 = 100;

/// To spare at the worst moment before one packet is thrown away, microseconds: after it one frame is left.
const SPARE_US: i64 = 2 * FRAME_US as i64;

/// Playout buffer of one speaker. See the crate's documentation for its use.
#[derive(Debug)]
pub struct Playout {
    slots: Slots,
    samples: Samples,
    delay: Delay,
    statistics: Statistics,
    /// Media time of the latest packet inserted, and its position.
    clock: Option<(u32, i64)>,
    /// Index to play next; `None` before the first packet.
    next: Option<u64>,
    /// Highest index seen since the stream began.
    newest: u64,
    /// Bit `n` is set if index `next - 1 - n` was played: tells duplicates from late ones.
    history: u64,
    /// Position of the sample to decode next.
    cursor: i64,
    /// In a talkspurt; otherwise silent until the first packet is due.
    playing: bool,
    /// Anything was played since the stream began.
    started: bool,
    /// Frames concealed in a row while nothing had arrived.
    starved: u32,
    /// Samples concealed since the cursor stood still: credit against a gap that turns out to be loss.
    stalled: i64,
    /// Samples of the last packet decoded.
    packet_samples: i64,
    /// Packets in a row from far behind.
    behind: u32,
    spare_us: i64,
    spare_pulls: u32,
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
            clock: None,
            next: None,
            newest: 0,
            history: 0,
            cursor: 0,
            playing: false,
            started: false,
            starved: 0,
            stalled: 0,
            packet_samples: FRAME_SAMPLES as i64,
            behind: 0,
            spare_us: i64::MAX,
            spare_pulls: 0,
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
        let mut next = *self.next.get_or_insert(index);
        if self.slots.contains(index) || self.was_played(index, next) {
            self.statistics.duplicate += 1;
            return;
        }
        let arrival_us = i64::try_from(packet.arrival_us).unwrap_or(i64::MAX);
        if index < next && !self.is_before_start(index) {
            self.behind = if next - index > SLOTS { self.behind + 1 } else { 0 };
            if self.behind < BEHIND_MAX {
                self.statistics.late += 1;
                if self.behind == 0 {
                    let position = self.position(packet.media_time);
                    self.delay.learn(arrival_us, microseconds(position));
                }
                return;
            }
            self.restart(index);
        } else if index >= next.saturating_add(SLOTS) {
            self.restart(index);
        } else if index < next {
            self.next = Some(index);
        }
        next = self.next.unwrap_or(index);
        debug_assert!((next..next + SLOTS).contains(&index));
        self.behind = 0;
        let position = self.position(packet.media_time);
        self.delay.learn(arrival_us, microseconds(position));
        self.newest = self.newest.max(index);
        self.slots.put(index, position, arrival_us, packet.marker, packet.payload);
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

    /// Decodes, fills or waits: what comes next in order.
    fn step(&mut self, now_us: i64, codec: &mut impl Decode) -> Pulled {
        let next = self.next.unwrap_or(0);
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
        let next = self.next.unwrap_or(index);
        // What was concealed while nothing had arrived stands for the first of the lost.
        let credit = self.stalled.min(position.saturating_sub(self.cursor)).max(0);
        self.stalled = 0;
        self.cursor += credit;
        let gap = position.saturating_sub(self.cursor);
        if gap < STEP_SAMPLES {
            self.pass_over(next, index);
            return self.decode(index, now_us, codec);
        }
        let frame = FRAME_SAMPLES as i64;
        if self.may_still_come(now_us) {
            return self.conceal(frame, codec);
        }
        if gap > frame {
            self.cursor += frame;
            let remaining = (gap - frame + self.packet_samples - 1) / self.packet_samples;
            self.pass_over(next, index.saturating_sub(remaining.unsigned_abs()).max(next));
            return self.conceal(frame, codec);
        }
        let length = (gap / STEP_SAMPLES * STEP_SAMPLES) as usize;
        self.cursor = position;
        self.pass_over(next, index);
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
        delay_us >= 0 && delay_us.saturating_add(FRAME_US as i64) <= self.delay.target_us()
    }

    fn begin(&mut self, index: u64, position: i64) {
        self.pass_over(self.next.unwrap_or(index), index);
        self.cursor = position;
        self.playing = true;
        self.started = true;
        self.stalled = 0;
        self.statistics.talkspurts += 1;
        self.forget_spare();
    }

    /// Plays the packet `index`, which is next.
    fn decode(&mut self, index: u64, now_us: i64, codec: &mut impl Decode) -> Pulled {
        self.pass_over(self.next.unwrap_or(index), index);
        let Self { slots, samples, .. } = self;
        let Some((_, head)) = slots.first(index) else {
            return Pulled::Silence;
        };
        let (position, arrival_us) = (head.position, head.arrival_us);
        let written = samples.append(PACKET_SAMPLES_MAX, |out| codec.decode(head.payload(), out)) as i64;
        self.finish_slot(index);
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
        if !self.started || self.starved >= CONCEALED_MAX {
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

    /// Brings the delay down when there is more than the bound, or than was needed for a while.
    fn shorten(&mut self, codec: &mut impl Decode) {
        let Some(next) = self.next.filter(|_| self.playing) else {
            return;
        };
        let spare_us = self.ahead_us(next);
        if spare_us > DELAY_US_MAX {
            while self.ahead_us(self.next.unwrap_or(next)) > self.delay.target_us() && self.skip(codec) {}
            self.forget_spare();
            return;
        }
        self.spare_us = self.spare_us.min(spare_us);
        self.spare_pulls += 1;
        if self.spare_pulls >= SPARE_PULLS {
            if self.spare_us >= SPARE_US {
                self.skip(codec);
            }
            self.forget_spare();
        }
    }

    fn forget_spare(&mut self) {
        self.spare_us = i64::MAX;
        self.spare_pulls = 0;
    }

    /// Sound from index `next` to the newest packet, microseconds, pauses not counted.
    fn ahead_us(&self, next: u64) -> i64 {
        if self.slots.len() == 0 {
            return 0;
        }
        let packets = (self.newest + 1).saturating_sub(next) as i64;
        microseconds(packets.saturating_mul(self.packet_samples))
    }

    /// Throws the next packet away; `false` if there is none. The decoder hears it, so that the packet after
    /// it finds the state its sender had.
    fn skip(&mut self, codec: &mut impl Decode) -> bool {
        let next = self.next.unwrap_or(0);
        let Self { slots, samples, .. } = self;
        let Some((index, head)) = slots.first(next) else {
            return false;
        };
        let position = head.position;
        let written = samples.append(PACKET_SAMPLES_MAX, |out| codec.decode(head.payload(), out));
        samples.retract(written);
        self.cursor = position.saturating_add(self.packet_samples);
        self.pass_over(next, index);
        self.finish_slot(index);
        self.statistics.skipped += 1;
        true
    }

    /// The turn of the packets from `next` until `index` is over; none of them is here.
    fn pass_over(&mut self, next: u64, index: u64) {
        let missing = index.saturating_sub(next);
        self.statistics.missing += missing;
        self.history = if missing < u64::from(u64::BITS) { self.history << missing } else { 0 };
        self.next = Some(index);
    }

    /// The packet `index`, which was next, is used.
    fn finish_slot(&mut self, index: u64) {
        self.slots.remove(index);
        self.history = self.history << 1 | 1;
        self.next = Some(index + 1);
    }

    fn was_played(&self, index: u64, next: u64) -> bool {
        let ago = next.saturating_sub(index);
        (1..=u64::from(u64::BITS)).contains(&ago) && self.history >> (ago - 1) & 1 == 1
    }

    /// Whether nothing was played yet and this packet, though older than the first to arrive, still fits.
    fn is_before_start(&self, index: u64) -> bool {
        !self.started && self.newest.saturating_sub(index) < SLOTS
    }

    /// Forgets what is buffered and begins anew at this index.
    fn restart(&mut self, index: u64) {
        self.statistics.dropped_overflow += self.slots.clear() as u64;
        self.statistics.restarts += 1;
        self.next = Some(index);
        self.newest = index;
        self.history = 0;
        self.playing = false;
        self.started = false;
    }

    /// Position of a media time: the shorter way around the clock from the packet before.
    fn position(&mut self, media_time: u32) -> i64 {
        let position = match self.clock {
            None => 0,
            Some((last, position)) => position.saturating_add(i64::from(media_time.wrapping_sub(last).cast_signed())),
        };
        self.clock = Some((media_time, position));
        position
    }
}

/// Length of this many samples at 48 kHz.
fn microseconds(samples: i64) -> i64 {
    samples.saturating_mul(125) / 6
}
