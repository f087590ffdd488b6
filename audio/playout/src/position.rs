//! Where sound lies in its stream: the 32-bit media clock, unrolled.
//!
//! Bounds: O(1); positions saturate.

/// Unrolls media times into positions: samples since the stream's first packet, negative before it.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    /// Media time seen last, and its position.
    last: Option<(u32, i64)>,
}

impl Positions {
    /// Position of a media time: the shorter way around the clock from the one before.
    pub(crate) fn of(&mut self, media_time: u32) -> i64 {
        let position = match self.last {
            None => 0,
            Some((last, position)) => position.saturating_add(i64::from(media_time.wrapping_sub(last).cast_signed())),
        };
        self.last = Some((media_time, position));
        position
    }
}

/// Length of this many samples at 48 kHz.
pub(crate) fn microseconds(samples: i64) -> i64 {
    samples.saturating_mul(125) / 6
}

/// Samples at 48 kHz in this time.
pub(crate) fn samples_of(microseconds: i64) -> i64 {
    microseconds.saturating_mul(6) / 125
}
