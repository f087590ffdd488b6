//! A client's stream as its program sends it: packets and reports under the uplink key.

use std::net::SocketAddr;

use echomesh_proto::control::VoiceAnnounce;
use echomesh_proto::ids::Ssrc;
use echomesh_proto::rtcp::{REPORT_BYTES_MAX, Writer};
use echomesh_proto::rtp::OutgoingHeader;
use echomesh_proto::srtp::{MasterKey, SealKey, TAG_BYTES};
use echomesh_proto::time::MediaTime;

/// The parameters a client got for its stream.
pub struct Microphone {
    pub ssrc: Ssrc,
    /// Of the last packet, under the uplink key.
    pub index: u64,
    /// Of the packets from now on.
    pub marker: bool,
    /// Likewise, -dBov.
    pub level: u8,
    /// Likewise, bytes of Opus, at least 5.
    pub payload: usize,
    key: SealKey,
    pub address: SocketAddr,
}

impl Microphone {
    pub(super) fn new(given: &VoiceAnnounce) -> Self {
        let key = SealKey::new(&MasterKey {
            key: given.uplink_key[..].try_into().unwrap(),
            salt: given.uplink_salt[..].try_into().unwrap(),
        });
        let ssrc = Ssrc(given.ssrc);
        Self { ssrc, index: 100, marker: false, level: 30, payload: 5, key, address: "127.0.0.1:1".parse().unwrap() }
    }

    /// An SRTCP receiver report.
    pub fn report(&self, index: u32) -> Vec<u8> {
        let mut report = [0; REPORT_BYTES_MAX + 32];
        let plain = Writer::new(&mut report, self.ssrc, "", &[]).finish();
        self.seal_report(&mut report, plain, index)
    }

    /// A compound of `plain` bytes, sealed.
    pub fn seal_report(&self, compound: &mut [u8], plain: usize, index: u32) -> Vec<u8> {
        let length = self.key.seal_rtcp(compound, plain, index);
        compound[..length].to_vec()
    }

    pub fn packet(&mut self) -> Vec<u8> {
        self.index += 1;
        let header = OutgoingHeader {
            marker: self.marker,
            payload_type: 111,
            sequence: self.index as u16,
            media_time: MediaTime((self.index as u32).wrapping_mul(960)),
            ssrc: self.ssrc,
            audio_level: Some(self.level),
        };
        let mut packet = vec![0; 200 + self.payload];
        let bytes = header.write(&mut packet);
        packet[bytes..bytes + 5].copy_from_slice(b"voice");
        let length = self.key.seal_rtp(&mut packet, bytes, bytes + self.payload, self.index);
        assert_eq!(length, bytes + self.payload + TAG_BYTES);
        packet.truncate(length);
        packet
    }
}
