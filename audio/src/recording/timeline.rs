//! One stream's packets, in order, each with its place in the recording's time.
//!
//! Not a jitter buffer: nobody waits for the sound, so order is waited for generously. A kernel: arrivals
//! bring the time.
//! A stream is placed by its first packet's arrival and goes on by its own clock; a talkspurt whose clock is
//! [`DRIFT`] off its arrival, or any packet that is [`WILD`] off, is placed by its arrival anew.
//! Bounds: [`WAITING_MAX`] packets for [`WAIT_US`].

use std::collections::BTreeMap;

use echomesh_playout::{PAYLOAD_BYTES_MAX, Packet};

use super::samples;

/// How long a packet waits for those before it, microseconds: longer than networks reorder.
const WAIT_US: u64 = 500_000;

/// Packets that wait: over a second.
const WAITING_MAX: usize = 64;

/// Samples by which a talkspurt's clock may be off its arrival: 100 ms, more than a good network's jitter.
const DRIFT: i64 = 4_800;

/// Samples by which any packet's may: 5 s, more than a stalled connection delays.
const WILD: i64 = 240_000;

/// A packet in its place.
pub(super) struct Placed {
    /// Sample of the recording at which it begins.
    pub begin: u64,
    /// Packet number: a gap is a loss.
    pub index: u64,
    pub payload: Vec<u8>,
    arrival_us: u64,
}

/// Where a media time is in the recording.
#[derive(Clone, Copy)]
struct Anchor {
    media_time: u32,
    sample: i64,
}

/// The packets of one stream.
pub(super) struct Timeline {
    ssrc: u32,
    start_us: u64,
    anchor: Option<Anchor>,
    waiting: BTreeMap<u64, Placed>,
    /// Number after the last packet given out.
    next_index: u64,
}

impl Timeline {
    pub(super) fn new(ssrc: u32, start_us: u64) -> Self {
        Self { ssrc, start_us, anchor: None, waiting: BTreeMap::new(), next_index: 0 }
    }

    pub(super) fn ssrc(&self) -> Option<u32> {
        Some(self.ssrc)
    }

    /// Takes a packet; `false` if it came before, or too late.
    pub(super) fn insert(&mut self, packet: Packet<'_>) -> bool {
        let Packet { arrival_us, index, media_time, marker, payload } = packet;
        if index < self.next_index || self.waiting.contains_key(&index) || payload.len() > PAYLOAD_BYTES_MAX {
            return false;
        }
        let arrived = samples(arrival_us.saturating_sub(self.start_us)) as i64;
        let by_clock = self.anchor.map(|anchor| {
            let passed = media_time.wrapping_sub(anchor.media_time).cast_signed();
            anchor.sample + i64::from(passed)
        });
        let bound = if marker { DRIFT } else { WILD };
        let sample = by_clock.filter(|sample| (sample - arrived).abs() <= bound).unwrap_or(arrived);
        // A packet that was overtaken moves nothing; the anchor follows so that the clock may wrap.
        if self.anchor.is_none() || by_clock.is_none_or(|by_clock| by_clock != sample) || by_clock > self.newest() {
            self.anchor = Some(Anchor { media_time, sample });
        }
        let begin = sample.max(0).unsigned_abs();
        self.waiting.insert(index, Placed { begin, index, payload: payload.to_vec(), arrival_us });
        true
    }

    fn newest(&self) -> Option<i64> {
        self.anchor.map(|anchor| anchor.sample)
    }

    /// The next packet in order, if none is missing before it or it has waited long enough by `now_us`;
    /// `None`: it is the end, all are given.
    pub(super) fn next(&mut self, now_us: Option<u64>) -> Option<Placed> {
        let first = self.waiting.first_entry()?;
        let in_order = *first.key() == self.next_index;
        let waited = now_us.is_none_or(|now| now.saturating_sub(first.get().arrival_us) >= WAIT_US);
        if !in_order && !waited && self.waiting.len() <= WAITING_MAX {
            return None;
        }
        let placed = self.waiting.pop_first().map(|(_, placed)| placed)?;
        self.next_index = placed.index + 1;
        Some(placed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(arrival_ms: u64, index: u64, media_time: u32, marker: bool) -> Packet<'static> {
        Packet { arrival_us: arrival_ms * 1_000, index, media_time, marker, payload: &[1, 2, 3] }
    }

    /// Index and place in milliseconds of all that comes out.
    fn all(timeline: &mut Timeline, now_ms: Option<u64>) -> Vec<(u64, u64)> {
        let now_us = now_ms.map(|now| now * 1_000);
        std::iter::from_fn(|| timeline.next(now_us)).map(|placed| (placed.index, placed.begin / 48)).collect()
    }

    /// Goal: packets come out in order, at the places of their own clock, though it wraps and they overtake.
    #[test]
    fn packets_are_put_in_order() {
        let mut timeline = Timeline::new(1, 1_000_000);
        let clock = |frame: u32| (u32::MAX - 1_000).wrapping_add(frame * 960);
        for (arrival, frame) in [(1_100, 0), (1_121, 1), (1_165, 3), (1_166, 2), (1_180, 4)] {
            assert!(timeline.insert(packet(arrival, 70 + u64::from(frame), clock(frame), frame == 0)));
        }
        assert!(!timeline.insert(packet(1_181, 72, clock(2), false)), "a copy");
        let first = all(&mut timeline, Some(1_600));
        assert_eq!(first, [(70, 100), (71, 120), (72, 140), (73, 160), (74, 180)]);
        assert!(!timeline.insert(packet(1_700, 69, clock(0).wrapping_sub(960), false)), "too late");
    }

    /// Goal: a lost packet is waited for, and no longer than agreed.
    #[test]
    fn a_loss_is_waited_for() {
        let mut timeline = Timeline::new(1, 0);
        timeline.insert(packet(0, 1, 0, true));
        timeline.insert(packet(40, 3, 1_920, false));
        assert_eq!(all(&mut timeline, Some(499)), []);
        assert_eq!(all(&mut timeline, Some(500)), [(1, 0)]);
        assert_eq!(all(&mut timeline, Some(540)), [(3, 40)]);
        timeline.insert(packet(600, 9, 9_600, false));
        assert_eq!(all(&mut timeline, None), [(9, 200)]);
    }

    /// Goal: talkspurts follow their own clock while it is near, their arrival when it has drifted off, and an
    /// impossible clock places nothing far away.
    #[test]
    fn a_clock_that_is_off_is_put_right() {
        let mut timeline = Timeline::new(1, 0);
        timeline.insert(packet(1_000, 0, 0, true));
        timeline.insert(packet(2_050, 1, 48_000, true));
        timeline.insert(packet(3_200, 2, 96_000, true));
        timeline.insert(packet(3_220, 3, 96_960, false));
        timeline.insert(packet(3_240, 4, 3_000_000_000, false));
        assert_eq!(all(&mut timeline, None), [(0, 1_000), (1, 2_000), (2, 3_200), (3, 3_220), (4, 3_240)]);
    }
}
