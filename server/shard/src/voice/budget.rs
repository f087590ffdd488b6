//! What one stream may send: bytes of Opus and packets in a second.
//!
//! Not the bit rate that its client is told, which is an average that no encoder keeps to the letter: this is what is
//! beyond doubt more. In: what was authentic, so that nobody is silenced by others' packets in one's name.
//! Bounds: two moments a stream. Cost: eight divisions a packet, some tens of nanoseconds.

use echomesh_proto::time::Time;

use crate::rates::{Bucket, Rate};

/// Packets a second: Opus's shortest frames take 2.5 ms (RFC 6716 §2.1.4).
const PACKET_UNITS: u32 = 400;
const PACKETS: Rate = Rate::per_second(PACKET_UNITS, PACKET_UNITS);

/// Half as much again as a client is told.
const BYTES_NUMERATOR: u32 = 3;
const BYTES_DENOMINATOR: u32 = 2;

/// Of a second's worth, what a new stream has spent already: so who opens one after the other gains little.
const SPENT_NUMERATOR: u32 = 4;
const SPENT_DENOMINATOR: u32 = 5;

/// What is left of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    /// Bit rate that its client was told; 0: any.
    told: u32,
    has_begun: bool,
    bytes: Bucket,
    packets: Bucket,
}

fn byte_units(bitrate: u32) -> u32 {
    bitrate / 8 / BYTES_DENOMINATOR * BYTES_NUMERATOR
}

fn byte_rate(bitrate: u32) -> Rate {
    Rate::per_second(byte_units(bitrate), byte_units(bitrate))
}

impl Budget {
    /// The stream's client is told this bit rate, bit/s; 0: any.
    pub(super) fn tell(&mut self, bitrate_max: u32) {
        self.told = bitrate_max;
    }

    /// The bit rate that holds: who was told more than is allowed now keeps it until told again.
    fn bitrate(&self, allowed: u32) -> Option<u32> {
        (self.told > 0 && allowed > 0).then(|| self.told.max(allowed))
    }

    /// Whether more than there was is spent: the next packet is too much, whatever it has in it.
    pub(super) fn is_spent(&self, now: Time, allowed: u32) -> bool {
        let is_owed = |bucket: &Bucket, rate| bucket.wait_us(now, rate, 0) > 0;
        self.bitrate(allowed)
            .is_some_and(|bitrate| is_owed(&self.bytes, byte_rate(bitrate)) || is_owed(&self.packets, PACKETS))
    }

    /// A packet came with so many bytes of Opus, padding included.
    pub(super) fn spend(&mut self, now: Time, allowed: u32, bytes: usize) {
        let Some(bitrate) = self.bitrate(allowed) else { return };
        let (mut bytes, mut packets) = (u32::try_from(bytes).unwrap_or(u32::MAX), 1);
        if !self.has_begun {
            self.has_begun = true;
            bytes = bytes.saturating_add(byte_units(bitrate) / SPENT_DENOMINATOR * SPENT_NUMERATOR);
            packets += PACKET_UNITS / SPENT_DENOMINATOR * SPENT_NUMERATOR;
        }
        self.bytes.charge(now, byte_rate(bitrate), bytes);
        self.packets.charge(now, PACKETS, packets);
    }
}
