//! How much sound there was to spare at the worst moment of late: what the delay can do without.
//!
//! Bounds: O(1).

use crate::FRAME_US;

/// Pulls over which the worst moment is taken: 2 s.
const PULLS: u32 = 100;

/// To spare at the worst moment before one packet is thrown away, microseconds: after it one frame is left.
const ENOUGH_US: i64 = 2 * FRAME_US as i64;

/// The worst moment since it was last judged.
#[derive(Debug)]
pub(crate) struct Spare {
    least_us: i64,
    pulls: u32,
}

impl Default for Spare {
    fn default() -> Self {
        Self { least_us: i64::MAX, pulls: 0 }
    }
}

impl Spare {
    /// Takes note of the sound buffered at a pull. `true` if a packet has long been too many; then, and when
    /// it was not, it begins anew.
    pub(crate) fn is_too_much(&mut self, buffered_us: i64) -> bool {
        self.least_us = self.least_us.min(buffered_us);
        self.pulls += 1;
        if self.pulls < PULLS {
            return false;
        }
        let least_us = std::mem::take(self).least_us;
        least_us >= ENOUGH_US
    }
}
