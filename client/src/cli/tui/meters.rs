//! Who is how loud: levels as packets carry them (RFC 6464), for a moment each.
//!
//! In: levels with their time. Out: a share of a bar. Bounds: `STREAMS_MAX` streams; the longest silent makes room.

use std::collections::BTreeMap;

use echomesh_proto::time::Time;

/// Streams remembered.
const STREAMS_MAX: usize = 64;

/// A level counts so long, microseconds: three packets.
const HOLD_US: u64 = 80_000;

/// Not talking any more after so long, microseconds.
const TALK_US: u64 = 250_000;

/// The range of a bar, decibels below full scale.
const LOUD_DB: f32 = 10.0;
const SILENT_DB: f32 = 60.0;

/// Where a level is on a bar.
pub fn share_of(db: u8) -> f32 {
    ((SILENT_DB - f32::from(db)) / (SILENT_DB - LOUD_DB)).clamp(0.0, 1.0)
}

/// The own voice.
pub const OWN: u32 = 0;

#[derive(Clone, Copy, Debug)]
struct Meter {
    db: u8,
    time: Time,
}

/// All of them, by stream.
#[derive(Debug, Default)]
pub struct Meters {
    by_stream: BTreeMap<u32, Meter>,
}

impl Meters {
    /// A packet's level byte; one without is taken for speech.
    pub fn note(&mut self, stream: u32, time: Time, level: Option<u8>) {
        if self.by_stream.len() >= STREAMS_MAX && !self.by_stream.contains_key(&stream) {
            let oldest = self.by_stream.iter().min_by_key(|(_, meter)| meter.time).map(|(stream, _)| *stream);
            oldest.map(|stream| self.by_stream.remove(&stream));
        }
        self.by_stream.insert(stream, Meter { db: level.unwrap_or(30) & 0x7F, time });
    }

    /// How loud it is now: 0.0 silent to 1.0.
    pub fn share(&self, stream: u32, now: Time) -> f32 {
        self.db(stream, now).map_or(0.0, share_of)
    }

    /// How many decibels below full scale it is now; `None`: nothing is known of now.
    pub fn db(&self, stream: u32, now: Time) -> Option<u8> {
        let fresh = self.by_stream.get(&stream).filter(|meter| now.since_us(meter.time) <= HOLD_US);
        fresh.map(|meter| meter.db)
    }

    /// Whether it was heard just now.
    pub fn is_talking(&self, stream: u32, now: Time) -> bool {
        self.by_stream.get(&stream).is_some_and(|meter| now.since_us(meter.time) <= TALK_US)
    }

    /// Whether anything moves.
    pub fn is_moving(&self, now: Time) -> bool {
        self.by_stream.values().any(|meter| now.since_us(meter.time) <= 2 * TALK_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a bar shows the level of now, is empty in silence, and streams are bounded.
    #[test]
    fn bars_show_levels_of_now() {
        let mut meters = Meters::default();
        meters.note(7, Time(0), Some(0x80 | 35));
        assert!((meters.share(7, Time(10)) - 0.5).abs() < 0.01);
        assert_eq!((meters.share(7, Time(90_000)), meters.share(8, Time(0))), (0.0, 0.0));
        assert!(meters.is_talking(7, Time(200_000)) && !meters.is_talking(7, Time(300_000)));
        assert!(meters.is_moving(Time(400_000)) && !meters.is_moving(Time(600_000)));
        for stream in 100..300 {
            meters.note(stream, Time(u64::from(stream)), Some(1));
        }
        assert_eq!(meters.by_stream.len(), STREAMS_MAX);
        assert!(meters.is_talking(299, Time(300)));
    }
}
