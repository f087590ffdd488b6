//! What crosses between the engine and the network: packets and orders one way, frames the other.
//!
//! Each is plain data in a ring's slot, made once; nothing is allocated to pass it.

use super::cue::Cue;
use crate::codec::EncoderSettings;
use crate::playout::{PAYLOAD_BYTES_MAX, Packet};
use crate::talkspurt::Outgoing;

/// Packets and orders on their way to the engine: over half a second of 16 speakers, 0.7 MB.
pub const ORDERS_MAX: usize = 512;

/// Frames on their way to the network: 160 ms, or 80 ms of the shorter ones.
pub const SPOKEN_MAX: usize = 8;

/// What the network tells the engine.
#[expect(clippy::large_enum_variant, reason = "it lives in a ring's slots, which are made once")]
pub(super) enum Order {
    Hear(PacketOrder),
    Forget(u32),
    Gain(u32, f32),
    Encode(EncoderSettings),
    Cue(Cue),
}

/// A packet in a slot.
pub(super) struct PacketOrder {
    ssrc: u32,
    arrival_us: u64,
    index: u64,
    media_time: u32,
    marker: bool,
    length: u16,
    payload: [u8; PAYLOAD_BYTES_MAX],
}

impl PacketOrder {
    /// `None`: it is too long.
    pub(super) fn new(packet: &Packet<'_>, ssrc: u32) -> Option<Self> {
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        payload.get_mut(..packet.payload.len())?.copy_from_slice(packet.payload);
        Some(Self {
            ssrc,
            arrival_us: packet.arrival_us,
            index: packet.index,
            media_time: packet.media_time,
            marker: packet.marker,
            length: packet.payload.len() as u16,
            payload,
        })
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(super) fn packet(&self) -> Packet<'_> {
        let Self { arrival_us, index, media_time, marker, length, .. } = *self;
        Packet { arrival_us, index, media_time, marker, payload: &self.payload[..usize::from(length)] }
    }
}

/// What the engine says.
pub struct Spoken {
    /// Whether someone speaks, or did just now.
    pub talking: bool,
    /// A frame to send. None when there is only a change of talking to tell.
    pub frame: Option<SpokenFrame>,
}

/// An encoded frame.
pub struct SpokenFrame {
    /// 48 kHz clock of its first sample.
    pub media_time: u32,
    /// First of a talkspurt.
    pub marker: bool,
    /// RFC 6464 byte.
    pub audio_level: u8,
    length: u16,
    bytes: [u8; PAYLOAD_BYTES_MAX],
}

impl SpokenFrame {
    /// `None`: it is too long, which Opus makes none.
    pub(super) fn new(frame: &Outgoing<'_>) -> Option<Self> {
        let Outgoing { media_time, marker, audio_level, payload } = *frame;
        let mut bytes = [0; PAYLOAD_BYTES_MAX];
        bytes.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(Self { media_time, marker, audio_level, length: payload.len() as u16, bytes })
    }

    /// The Opus packet.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}
