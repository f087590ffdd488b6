//! Packets of one listener that go in one message: which fit together, and how they are written.
//!
//! Bounds: `PACKETS_MAX` packets that fit a slot, at most `PADDING_BYTES_MAX` apart in length.

use echomesh_proto::rtp;
use echomesh_proto::srtp::{SealKey, TAG_BYTES};

use super::Packet;
use crate::peers::Peer;
use crate::uring::{SLOT_BYTES, VoiceRing};

/// Packets in one message: past eight the kernel's walk is a small part of what is left.
const PACKETS_MAX: usize = 8;

/// Most padding of one packet: half a usual packet costs less than a walk through the kernel.
const PADDING_BYTES_MAX: usize = 64;

/// Packets that go together.
pub struct Run {
    packets: [u32; PACKETS_MAX],
    count: usize,
    shortest: usize,
    longest: usize,
    most: usize,
}

impl Packet {
    fn plain_bytes(&self) -> usize {
        self.head_bytes + self.payload.len()
    }
}

impl Run {
    /// An empty one; of single packets where the way takes no segments.
    pub fn new(can_segment: bool) -> Self {
        let most = if can_segment { PACKETS_MAX } else { 1 };
        Self { packets: [0; PACKETS_MAX], count: 0, shortest: usize::MAX, longest: 0, most }
    }

    /// Whether this packet may go along.
    pub fn takes(&self, packet: &Packet) -> bool {
        let (shortest, longest) = self.with(packet);
        let fits = (self.count + 1) * (longest + TAG_BYTES) <= SLOT_BYTES;
        self.count == 0 || (self.count < self.most && longest - shortest <= PADDING_BYTES_MAX && fits)
    }

    fn with(&self, packet: &Packet) -> (usize, usize) {
        (self.shortest.min(packet.plain_bytes()), self.longest.max(packet.plain_bytes()))
    }

    /// Takes the packet along.
    pub fn push(&mut self, number: u32, packet: &Packet) {
        (self.shortest, self.longest) = self.with(packet);
        self.packets[self.count] = number;
        self.count += 1;
    }

    /// Seals and queues the packets as one message, and begins anew.
    pub fn send(&mut self, packets: &[Packet], bytes: &[u8], peer: &Peer, ring: &mut VoiceRing) {
        let numbers = &self.packets[..self.count];
        let segment = self.longest + TAG_BYTES;
        // A slot is far shorter than 2^16.
        let segment_bytes = (self.count > 1).then_some(segment as u16);
        if let Some((last, others)) = numbers.split_last() {
            ring.send(&peer.target, segment_bytes, |slot| {
                let mut at = 0;
                for number in others {
                    let packet = &packets[*number as usize];
                    let padding = self.longest - packet.plain_bytes();
                    at += fill(&mut slot[at..], packet, bytes, padding as u8, &peer.key);
                }
                at + fill(&mut slot[at..], &packets[*last as usize], bytes, 0, &peer.key)
            });
        }
        *self = Self { count: 0, shortest: usize::MAX, longest: 0, ..*self };
    }
}

/// Writes one listener's copy at the start of `slot`; returns its length.
pub fn fill(slot: &mut [u8], packet: &Packet, bytes: &[u8], padding: u8, key: &SealKey) -> usize {
    let plain = packet.plain_bytes();
    slot[..packet.head_bytes].copy_from_slice(&packet.head[..packet.head_bytes]);
    slot[packet.head_bytes..plain].copy_from_slice(&bytes[packet.payload.clone()]);
    let plain = rtp::pad(slot, plain, padding);
    key.seal_rtp(slot, packet.head_bytes, plain, packet.index)
}
