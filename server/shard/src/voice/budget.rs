//! What one stream may send: bytes of Opus and packets in a second.
//!
//! Not the bit rate that its client is told, which is an average that no encoder keeps to the letter: this is what is
//! beyond doubt more. In: what was authentic, so that nobody is silenced by others' packets in one's name.
//! Bounds: two moments a stream. Cost: two additions and comparisons a packet.

use echomesh_proto::time::Time;

use crate::config::Limits;
use crate::rates::{Bucket, Rate};

/// Opus's shortest frames take 2.5 ms (RFC 6716 §2.1.4).
const PACKETS: Rate = Rate::per_second(400, 400);

/// Half as much again as a client is told.
const BYTES_NUMERATOR: u32 = 3;
const BYTES_DENOMINATOR: u32 = 2;

/// What is left of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    bytes: Bucket,
    packets: Bucket,
}

fn bytes(limits: &Limits) -> Rate {
    let units = limits.bitrate_max / 8 / BYTES_DENOMINATOR * BYTES_NUMERATOR;
    Rate::per_second(units, units)
}

impl Budget {
    /// Whether more than there was is spent: the next packet is too much, whatever it has in it.
    pub(super) fn is_spent(&self, now: Time, limits: &Limits) -> bool {
        let is_owed = |bucket: &Bucket, rate| bucket.wait_us(now, rate, 0) > 0;
        limits.bitrate_max > 0 && (is_owed(&self.bytes, bytes(limits)) || is_owed(&self.packets, PACKETS))
    }

    /// A packet came.
    pub(super) fn spend(&mut self, now: Time, limits: &Limits, opus_bytes: usize) {
        if limits.bitrate_max > 0 {
            self.bytes.charge(now, bytes(limits), u32::try_from(opus_bytes).unwrap_or(u32::MAX));
            self.packets.charge(now, PACKETS, 1);
        }
    }
}
