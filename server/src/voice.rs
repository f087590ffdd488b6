//! Sends the packet in hand: sealed for each local listener, copied to the rings of other shards.
//!
//! Not a rule: who hears what is the kernel's. Bounds: what finds no room in the socket or a ring is
//! dropped and counted. Cost: one header written a packet, one copy and one seal a listener; nothing
//! is allocated.

use echomesh_proto::ids::PeerId;
use echomesh_proto::rtp::HEADER_BYTES_MAX;
use echomesh_shard::Voice;

use crate::mesh::MeshEndpoint;
use crate::peers::Peers;
use crate::uring::VoiceRing;

/// Copies that went no further for reasons of this module; each only grows.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoiceDrops {
    /// The voice ring to another shard was full.
    pub mesh_ring_full: u64,
    /// The listener was gone.
    pub peer_unknown: u64,
}

/// Queues one sealed copy for each of `peers`; `VoiceRing::submit` sends them.
pub fn forward(voice: &Voice, payload: &[u8], peers: &[PeerId], table: &Peers, ring: &mut VoiceRing) -> VoiceDrops {
    let mut drops = VoiceDrops::default();
    let mut head = [0; HEADER_BYTES_MAX];
    let head_bytes = voice.header.outgoing().write(&mut head);
    let plain_bytes = head_bytes + payload.len();
    for peer in peers {
        let Some(peer) = table.get(*peer) else {
            drops.peer_unknown += 1;
            continue;
        };
        // The ring counts what it drops.
        ring.send(peer.address, |packet| {
            packet[..head_bytes].copy_from_slice(&head[..head_bytes]);
            packet[head_bytes..plain_bytes].copy_from_slice(payload);
            peer.key.seal_rtp(packet, head_bytes, plain_bytes, voice.header.index)
        });
    }
    drops
}

/// Queues an RTCP compound for one client, sealed. `false` if the peer is gone.
pub fn report(compound: &[u8], index: u32, peer: PeerId, table: &Peers, ring: &mut VoiceRing) -> bool {
    let Some(peer) = table.get(peer) else { return false };
    // The ring counts what it drops.
    ring.send(peer.address, |packet| {
        packet[..compound.len()].copy_from_slice(compound);
        peer.key.seal_rtcp(packet, compound.len(), index)
    });
    true
}

/// Copies the packet to the voice ring of each shard in `voice.relay`.
pub fn relay(voice: &Voice, payload: &[u8], mesh: &mut MeshEndpoint) -> VoiceDrops {
    let mut drops = VoiceDrops::default();
    if voice.relay.is_empty() {
        return drops;
    }
    let head = voice.header.to_record();
    for target in voice.relay.iter() {
        if !mesh.push_voice(target, &head, payload) {
            drops.mesh_ring_full += 1;
        }
    }
    drops
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use echomesh_proto::ids::{ShardSet, Ssrc};
    use echomesh_proto::rtp::Header;
    use echomesh_proto::srtp::{MasterKey, OpenKey};
    use echomesh_proto::time::{MediaTime, Time};
    use echomesh_shard::voice::VoiceHeader;

    use super::*;

    /// Goal: each listener gets the packet under its own key, with the stream's numbering; one that is
    /// gone is counted. Method: two listeners with real sockets open what they receive.
    #[test]
    fn each_listener_can_open_its_copy() {
        let listeners = [0u8, 1].map(|number| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            (number, socket)
        });
        let mut table = Peers::default();
        for (number, socket) in &listeners {
            let key = MasterKey { key: [*number; 16], salt: [7; 12] };
            table.set(PeerId(u32::from(*number)), socket.local_addr().unwrap(), key);
        }
        let header = VoiceHeader {
            received: Time(0),
            ssrc: Ssrc(0xABCD_EF00),
            index: 0x1_0005,
            media_time: MediaTime(960),
            marker: true,
            payload_type: 111,
            audio_level: Some(0x80 | 30),
        };
        let payload = [5; 80];
        let voice = Voice { header, payload: 0..80, in_bytes: false, peers: 0..3, relay: ShardSet::default() };
        let mut ring = VoiceRing::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let drops = forward(&voice, &payload, &[PeerId(0), PeerId(1), PeerId(2)], &table, &mut ring);
        ring.submit();
        assert_eq!(drops.peer_unknown, 1);
        for (number, socket) in &listeners {
            let mut packet = [0; 256];
            let bytes = socket.recv(&mut packet).unwrap();
            let parsed = Header::parse(&packet[..bytes]).unwrap();
            assert_eq!((parsed.ssrc, parsed.sequence, parsed.marker), (header.ssrc, 5, true));
            assert_eq!(parsed.audio_level, header.audio_level);
            let key = OpenKey::new(&MasterKey { key: [*number; 16], salt: [7; 12] });
            let opened = key.open_rtp(&mut packet[..bytes], parsed.bytes, header.index).unwrap();
            assert_eq!(packet[parsed.bytes..opened], payload);
        }
    }

    /// Goal: receiving, sealing and sending cost no allocation, C's included. Method: the ring sends to its own
    /// socket's peer and back, and after the first packets every allocation of this thread counts.
    #[test]
    fn forwarding_allocates_nothing() {
        use crate::counting_alloc;
        let (near, far) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (near_address, far_address) = (near.local_addr().unwrap(), far.local_addr().unwrap());
        far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut table = Peers::default();
        for peer in 0..3 {
            table.set(PeerId(peer), far_address, MasterKey { key: [7; 16], salt: [7; 12] });
        }
        let mut ring = VoiceRing::new(near).unwrap();
        let (payload, mut received, mut datagram) = ([5; 80], [0; 2_048], [0; 256]);
        for index in 0..200 {
            far.send_to(&payload, near_address).unwrap();
            let header = VoiceHeader {
                received: Time(0),
                ssrc: Ssrc(0xABCD_EF00),
                index,
                media_time: MediaTime(960),
                marker: false,
                payload_type: 111,
                audio_level: None,
            };
            let voice = Voice { header, payload: 0..80, in_bytes: false, peers: 0..3, relay: ShardSet::default() };
            let before = counting_alloc::count();
            ring.submit();
            while ring.receive(&mut received).is_none() {
                ring.submit();
            }
            let drops = forward(&voice, &payload, &[PeerId(0), PeerId(1), PeerId(2)], &table, &mut ring);
            ring.submit();
            let allocated = counting_alloc::count() - before;
            assert_eq!(drops.peer_unknown, 0);
            assert!(index < 50 || allocated == 0, "packet {index}: {allocated} allocations");
            for _ in 0..3 {
                far.recv(&mut datagram).unwrap();
            }
        }
    }
}
