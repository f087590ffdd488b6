//! Voice on its way out: gathers a turn's packets, seals each listener's copies and sends those of one
//! listener together.
//!
//! Not a rule: who hears what is the kernel's. In: `voice`, `report`. Out: datagrams into the voice ring, at
//! `flush`. A listener who gets several packets in a turn gets them in one message of several datagrams
//! (`UDP_SEGMENT`): the kernel walks its UDP path once for them. They must be of one length, so all but the
//! last are padded (RFC 3550 §5.1) before they are sealed.
//! Bounds: `COPIES_MAX` copies a flush, or those of one packet; `PADDING_BYTES_MAX` bytes added to a packet.
//! Cost: one header a packet; one copy and one seal a listener; nothing is allocated once buffers have grown.

mod run;

use std::ops::Range;

use echomesh_proto::ids::PeerId;
use echomesh_proto::rtp::HEADER_BYTES_MAX;
use echomesh_proto::time::Time;
use echomesh_shard::Histogram;
use echomesh_shard::voice::VoiceHeader;

use crate::peers::{Peer, Peers};
use crate::uring::VoiceRing;
use run::{Run, fill};

/// Copies after which a turn's packets are sent: a few milliseconds of the kernel's UDP path, in which the
/// shard does nothing else.
const COPIES_MAX: usize = 4_096;

/// No copy.
const NONE: u32 = u32::MAX;

/// A packet that waits: its header written, its payload in `bytes`.
struct Packet {
    head: [u8; HEADER_BYTES_MAX],
    head_bytes: usize,
    payload: Range<usize>,
    index: u64,
    /// Listeners: a range of `peers`.
    peers: Range<usize>,
}

/// One listener's copies of this flush: a chain through `copies`, in the order the packets came.
#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

/// One copy: which packet, and the same listener's next.
struct Copy {
    packet: u32,
    next: u32,
}

/// Packets of a turn that wait to be sent.
pub struct Egress {
    bytes: Vec<u8>,
    packets: Vec<Packet>,
    peers: Vec<PeerId>,
    /// By peer: its chain, empty outside of a flush.
    chains: Vec<Chain>,
    copies: Vec<Copy>,
    /// Peers that have a chain.
    touched: Vec<PeerId>,
    /// When the system had each packet of this turn.
    received: Vec<Time>,
    /// Copies and reports dropped since the listener was gone.
    peer_unknown: u64,
}

impl Egress {
    /// Buffers that hold a packet to `peers_max` listeners without growing.
    pub fn with_capacity(peers_max: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(64 * 1024),
            packets: Vec::with_capacity(COPIES_MAX),
            peers: Vec::with_capacity(COPIES_MAX + peers_max),
            chains: Vec::with_capacity(peers_max),
            copies: Vec::with_capacity(COPIES_MAX + peers_max),
            touched: Vec::with_capacity(peers_max),
            received: Vec::with_capacity(COPIES_MAX),
            peer_unknown: 0,
        }
    }

    /// Copies dropped since the listener was gone, so far.
    pub fn peer_unknown(&self) -> u64 {
        self.peer_unknown
    }

    /// Whether enough waits for one flush.
    pub fn is_full(&self) -> bool {
        self.peers.len() >= COPIES_MAX
    }

    /// Takes a packet for these listeners; `flush` sends it.
    pub fn voice(&mut self, header: &VoiceHeader, payload: &[u8], peers: &[PeerId]) {
        if peers.is_empty() {
            return;
        }
        let mut head = [0; HEADER_BYTES_MAX];
        let head_bytes = header.outgoing().write(&mut head);
        let (bytes, first) = (self.bytes.len(), self.peers.len());
        self.received.push(header.received);
        self.bytes.extend_from_slice(payload);
        self.peers.extend_from_slice(peers);
        self.packets.push(Packet {
            head,
            head_bytes,
            payload: bytes..self.bytes.len(),
            index: header.index,
            peers: first..self.peers.len(),
        });
    }

    /// All packets of this turn are with the system since `now`.
    pub fn given(&mut self, now: Time, forwarding: &mut Histogram) {
        for received in self.received.drain(..) {
            forwarding.record(now.since_us(received));
        }
    }

    /// Likewise, and nobody asks how long that took.
    pub fn forget_given(&mut self) {
        self.received.clear();
    }

    /// Queues an RTCP compound for one client, sealed. It may overtake voice of its turn, which is no harm.
    pub fn report(&mut self, compound: &[u8], index: u32, peer: PeerId, table: &Peers, ring: &mut VoiceRing) {
        let Some(peer) = table.get(peer) else {
            self.peer_unknown += 1;
            return;
        };
        ring.send(&peer.target, None, |packet| {
            packet[..compound.len()].copy_from_slice(compound);
            peer.key.seal_rtcp(packet, compound.len(), index)
        });
    }

    /// Seals and queues all that waits; `VoiceRing::submit` gives it to the kernel.
    pub fn flush(&mut self, table: &Peers, ring: &mut VoiceRing) {
        match self.packets.len() {
            0 => return,
            1 => self.send_one(table, ring),
            _ => self.send_grouped(table, ring),
        }
        self.bytes.clear();
        self.packets.clear();
        self.peers.clear();
    }

    fn send_one(&mut self, table: &Peers, ring: &mut VoiceRing) {
        let packet = &self.packets[0];
        for peer in &self.peers {
            match table.get(*peer) {
                Some(peer) => {
                    ring.send(&peer.target, None, |slot| fill(slot, packet, &self.bytes, 0, &peer.key));
                }
                None => self.peer_unknown += 1,
            }
        }
    }

    fn send_grouped(&mut self, table: &Peers, ring: &mut VoiceRing) {
        self.chain();
        for peer in self.touched.drain(..) {
            let chain = std::mem::replace(&mut self.chains[peer.0 as usize], Chain { first: NONE, last: NONE });
            let copies = Walk { copies: &self.copies, at: chain.first };
            match table.get(peer) {
                Some(peer) => send_chain(copies, &self.packets, &self.bytes, peer, ring),
                None => self.peer_unknown += copies.count() as u64,
            }
        }
        self.copies.clear();
    }

    /// Links each listener's copies.
    fn chain(&mut self) {
        for (number, packet) in (0_u32..).zip(&self.packets) {
            for peer in &self.peers[packet.peers.clone()] {
                let place = peer.0 as usize;
                if self.chains.len() <= place {
                    self.chains.resize(place + 1, Chain { first: NONE, last: NONE });
                }
                let copy = self.copies.len() as u32;
                self.copies.push(Copy { packet: number, next: NONE });
                let chain = &mut self.chains[place];
                if chain.first == NONE {
                    chain.first = copy;
                    self.touched.push(*peer);
                } else {
                    self.copies[chain.last as usize].next = copy;
                }
                chain.last = copy;
            }
        }
    }
}

/// The packets of one chain.
struct Walk<'a> {
    copies: &'a [Copy],
    at: u32,
}

impl Iterator for Walk<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let copy = self.copies.get(self.at as usize)?;
        self.at = copy.next;
        Some(copy.packet)
    }
}

/// Sends one listener's copies in as few messages as their lengths allow.
fn send_chain(copies: Walk<'_>, packets: &[Packet], bytes: &[u8], peer: &Peer, ring: &mut VoiceRing) {
    let mut run = Run::new(ring.can_segment());
    for number in copies {
        let packet = &packets[number as usize];
        if !run.takes(packet) {
            run.send(packets, bytes, peer, ring);
        }
        run.push(number, packet);
    }
    run.send(packets, bytes, peer, ring);
}

#[cfg(test)]
mod tests;
