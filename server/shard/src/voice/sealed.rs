//! Copies of voice and reports, sealed for one client, in memory of their own.
//!
//! Not the driver's path, which seals into its ring's slots: for tunnels, and for the simulator's network.
//! Cost: one allocation and one AEAD a copy.

use echomesh_proto::rtp::HEADER_BYTES_MAX;
use echomesh_proto::srtp::{RTCP_INDEX_BYTES, SealKey, TAG_BYTES};

use super::VoiceHeader;

/// One listener's SRTP packet.
#[must_use]
pub fn sealed_rtp(key: &SealKey, header: &VoiceHeader, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADER_BYTES_MAX + payload.len() + TAG_BYTES];
    let head = header.outgoing().write(&mut packet);
    let plain = head + payload.len();
    packet[head..plain].copy_from_slice(payload);
    let sealed = key.seal_rtp(&mut packet, head, plain, header.index);
    packet.truncate(sealed);
    packet
}

/// One client's SRTCP packet.
#[must_use]
pub fn sealed_rtcp(key: &SealKey, compound: &[u8], index: u32) -> Vec<u8> {
    let mut packet = compound.to_vec();
    packet.resize(compound.len() + TAG_BYTES + RTCP_INDEX_BYTES, 0);
    let sealed = key.seal_rtcp(&mut packet, compound.len(), index);
    packet.truncate(sealed);
    packet
}
