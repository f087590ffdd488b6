//! What is kept of a packet once it is decrypted: enough to write each listener's RTP header, and the
//! head of its record on a mesh voice ring.
//!
//! Everything else a sender put into its header (CSRCs, other extensions, padding) ends here.

use echomesh_proto::ids::Ssrc;
use echomesh_proto::rtp::OutgoingHeader;
use echomesh_proto::time::{MediaTime, Time};

/// Bytes of a mesh voice record before the payload: received (8, microseconds), output index (8), SSRC (4),
/// media time (4), payload type with marker as bit 7 (1), audio level or 0xFF (1), zero (6);
/// little-endian, as it never leaves the process.
pub const VOICE_RECORD_HEADER_BYTES: usize = 32;

const NO_AUDIO_LEVEL: u8 = 0xFF;

/// One packet of one stream, as the listeners get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoiceHeader {
    /// When the datagram was received, on the clock all shards share.
    pub received: Time,
    /// The stream.
    pub ssrc: Ssrc,
    /// 48-bit output index: sequence number in the low 16 bits, ROC above (RFC 3711 §3.3.1).
    pub index: u64,
    /// The sender's 48 kHz clock.
    pub media_time: MediaTime,
    /// First packet of a talkspurt, or after withheld ones.
    pub marker: bool,
    /// RTP payload type, below 128.
    pub payload_type: u8,
    /// RFC 6464 level byte below 0xFF: bit 7 voice activity, bits 0–6 level in -dBov.
    pub audio_level: Option<u8>,
}

impl VoiceHeader {
    /// The RTP header of a listener's copy.
    #[must_use]
    pub fn outgoing(&self) -> OutgoingHeader {
        OutgoingHeader {
            marker: self.marker,
            payload_type: self.payload_type,
            // The low 16 bits of the index are the sequence number (RFC 3711 §3.3.1).
            sequence: self.index as u16,
            media_time: self.media_time,
            ssrc: self.ssrc,
            audio_level: self.audio_level,
        }
    }

    /// Writes the head of a mesh voice record.
    #[must_use]
    pub fn to_record(&self) -> [u8; VOICE_RECORD_HEADER_BYTES] {
        let mut out = [0; VOICE_RECORD_HEADER_BYTES];
        out[..8].copy_from_slice(&self.received.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.index.to_le_bytes());
        out[16..20].copy_from_slice(&self.ssrc.0.to_le_bytes());
        out[20..24].copy_from_slice(&self.media_time.0.to_le_bytes());
        out[24] = self.payload_type | u8::from(self.marker) << 7;
        out[25] = self.audio_level.unwrap_or(NO_AUDIO_LEVEL);
        out
    }

    /// Reads the head of a mesh voice record; the payload is the rest. `None` if it is too short.
    #[must_use]
    pub fn from_record(record: &[u8]) -> Option<Self> {
        let head: &[u8; VOICE_RECORD_HEADER_BYTES] = record.first_chunk()?;
        let u64_at = |at: usize| head[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let u32_at = |at: usize| head[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        Some(Self {
            received: Time(u64_at(0)?),
            index: u64_at(8)?,
            ssrc: Ssrc(u32_at(16)?),
            media_time: MediaTime(u32_at(20)?),
            marker: head[24] & 0x80 != 0,
            payload_type: head[24] & 0x7F,
            audio_level: (head[25] != NO_AUDIO_LEVEL).then_some(head[25]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a packet crosses the mesh unchanged, and a cut record is told apart.
    #[test]
    fn a_record_carries_the_header() {
        let header = VoiceHeader {
            received: Time(123_456_789),
            ssrc: Ssrc(0xDEAD_BE01),
            index: 0xFFFF_FFFF_FFFF,
            media_time: MediaTime(0x8000_0001),
            marker: true,
            payload_type: 111,
            audio_level: Some(0x80 | 42),
        };
        let record = header.to_record();
        assert_eq!(VoiceHeader::from_record(&record), Some(header));
        assert_eq!(VoiceHeader::from_record(&record[..31]), None);
        let silent = VoiceHeader { audio_level: None, marker: false, ..header };
        assert_eq!(VoiceHeader::from_record(&silent.to_record()), Some(silent));
    }
}
