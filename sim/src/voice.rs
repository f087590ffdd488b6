//! Voice in the simulated world: the datagrams' way through network, kernels and mesh, and what the
//! drivers of the server would seal.
//!
//! Faults while the seed is young: datagrams are lost, doubled and overtake each other, clients change
//! their port, voice rings are full. Checked here: no key seals the same SSRC and index twice or is given to two
//! listeners, nothing of a speaker goes on whom the room's home has muted, as its shard was told, and nothing goes to a
//! listener who is not in the speaker's room, as its shard was told, or to an address that only replays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use echomesh_proto::ids::{PeerId, ShardId, Ssrc};
use echomesh_proto::rtp;
use echomesh_proto::srtp::{MasterKey, SealKey};
use echomesh_proto::time::Time;
use echomesh_shard::voice::{VoiceHeader, sealed_rtcp, sealed_rtp};
use echomesh_shard::{Effect, Effects, Input, Voice};

use crate::world::{Event, World};

/// Clients' ports: this, and a hundred for each client, which it walks through as it moves.
const PORT: u16 = 10_000;
const PORTS: u16 = 100;

/// A frame's length, microseconds.
pub const FRAME_US: u64 = 20_000;

struct Peer {
    address: SocketAddr,
    key: SealKey,
    /// Which key it is: each is a new one.
    generation: u64,
}

/// What the drivers know of the listeners, and all that was ever sealed.
#[derive(Default)]
pub struct Downlink {
    peers: BTreeMap<(usize, PeerId), Peer>,
    generation: u64,
    sealed: BTreeSet<(u64, Ssrc, u64)>,
    reported: BTreeSet<(u64, u32)>,
    keys: BTreeSet<[u8; 16]>,
}

impl Downlink {
    /// Of a server that was started anew: it knows nobody, and what was sealed before stays so.
    pub fn after(old: &mut Self) -> Self {
        let old = std::mem::take(old);
        Self { peers: BTreeMap::new(), ..old }
    }

    fn set(&mut self, at: (usize, PeerId), address: SocketAddr, key: &MasterKey) -> Result<(), String> {
        if !self.keys.insert(key.key) {
            return Err("a listener's key is given a second time".to_owned());
        }
        self.generation += 1;
        self.peers.insert(at, Peer { address, key: SealKey::new(key), generation: self.generation });
        Ok(())
    }

    /// One listener's copy, and where it goes.
    fn seal(
        &mut self,
        at: (usize, PeerId),
        header: &VoiceHeader,
        payload: &[u8],
    ) -> Result<(SocketAddr, Vec<u8>), String> {
        let peer = self.peers.get(&at).ok_or("voice for a peer that is not there")?;
        if !self.sealed.insert((peer.generation, header.ssrc, header.index)) {
            return Err(format!("{:08x} {} is sealed twice under one key", header.ssrc.0, header.index));
        }
        Ok((peer.address, sealed_rtp(&peer.key, header, payload)))
    }

    fn seal_report(
        &mut self,
        at: (usize, PeerId),
        compound: &[u8],
        index: u32,
    ) -> Result<(SocketAddr, Vec<u8>), String> {
        let peer = self.peers.get(&at).ok_or("a report for a peer that is not there")?;
        if !self.reported.insert((peer.generation, index)) {
            return Err(format!("report {index} is sealed twice under one key"));
        }
        Ok((peer.address, sealed_rtcp(&peer.key, compound, index)))
    }
}

/// Where a client's datagrams come from now.
pub fn address(client: usize, moves: u16) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, 1), PORT + client as u16 * PORTS + moves % PORTS).into()
}

impl World {
    /// A client's datagrams on their way.
    pub fn transmit_voice(&mut self, client: usize) {
        let datagrams = self.clients[client].take_datagrams();
        if self.clients[client].udp_blocked || self.clients[client].cut_until > self.time {
            return;
        }
        for datagram in datagrams {
            let source = address(client, self.clients[client].moves);
            for delay in self.datagram_delays() {
                self.later(delay, Event::Uplink(source, self.time + delay, datagram.clone()));
            }
        }
    }

    /// When a datagram's copies arrive: once if nothing goes wrong.
    fn datagram_delays(&mut self) -> Vec<u64> {
        let copies = match self.is_healed() {
            true => 1,
            false if self.one_in(self.faults.lost_one_in) => 0,
            false => 1 + u64::from(self.one_in(self.faults.doubled_one_in)),
        };
        (0..copies).map(|_| self.delay()).collect()
    }

    /// The shard that the filter of the sockets gives a datagram to.
    pub fn steered(datagram: &[u8], shards: usize) -> Option<usize> {
        rtp::stream_of(datagram).map(|ssrc| ssrc.shard().index()).filter(|shard| *shard < shards)
    }

    pub fn uplink(&mut self, source: SocketAddr, received: u64, mut datagram: Vec<u8>) {
        let is_honest = !Self::is_attackers(&source);
        let shard = match Self::steered(&datagram, self.shards.len()) {
            Some(shard) => shard,
            None if is_honest => return self.break_with("a client sent a datagram that no shard owns".to_owned()),
            None => datagram.len() % self.shards.len(),
        };
        let overheard = is_honest.then(|| datagram.clone());
        self.trace_voice("uplink from", &source, datagram.len());
        let (now, mut effects) = (self.now(), Effects::default());
        let taken_before = self.taken(shard);
        self.shards[shard].handle(
            now,
            Input::Datagram { source, received: Time(received), datagram: &mut datagram },
            &mut effects,
        );
        // Of one that was not taken, for it waited too long, a replay is the first that is taken, and moves the address (M33).
        let is_taken = self.taken(shard) > taken_before;
        if let Some(overheard) = overheard.filter(|_| is_taken && !self.is_healed()) {
            self.attackers.overhear_datagram(&overheard);
        }
        self.carry_out(shard, effects, &datagram);
    }

    /// Datagrams that a shard found to be authentic and new.
    fn taken(&self, shard: usize) -> u64 {
        let counters = self.shards[shard].counters();
        counters.voice_received + counters.rtcp_received
    }

    pub fn mesh_voice(&mut self, source: usize, target: usize, record: &[u8]) {
        let (now, mut effects) = (self.now(), Effects::default());
        let input = Input::MeshVoice { source: ShardId(source as u8), record };
        self.shards[target].handle(now, input, &mut effects);
        self.carry_out(target, effects, record);
    }

    /// What the driver does about voice.
    pub fn voice_effect(&mut self, shard: usize, effect: Effect, peers: &[PeerId], bytes: &[u8], packet: &[u8]) {
        match effect {
            Effect::Voice(voice) => self.fan_out(shard, &voice, peers, if voice.in_bytes { bytes } else { packet }),
            Effect::PeerSet { peer, address, key } => {
                if let Err(broken) = self.downlink.set((shard, peer), address, &key) {
                    self.break_with(broken);
                }
            }
            Effect::PeerMoved { peer, address } => match self.downlink.peers.get_mut(&(shard, peer)) {
                Some(peer) => peer.address = address,
                None => self.break_with("a peer that is not there moved".to_owned()),
            },
            Effect::PeerGone { peer } => {
                if self.downlink.peers.remove(&(shard, peer)).is_none() {
                    self.break_with("a peer that is not there is gone".to_owned());
                }
            }
            _ => self.break_with("not an effect of voice".to_owned()),
        }
    }

    /// With --trace: where a datagram is.
    fn trace_voice(&self, what: &str, target: &dyn std::fmt::Debug, bytes: usize) {
        if self.is_traced() {
            eprintln!("{:>10} us {what} {target:?}, {bytes} bytes", self.now().time.0);
        }
    }

    fn fan_out(&mut self, shard: usize, voice: &Voice, peers: &[PeerId], packet: &[u8]) {
        let payload = &packet[voice.payload.clone()];
        self.trace_voice("voice", voice, payload.len());
        let ssrc = voice.header.ssrc;
        if ssrc.shard().index() == shard && self.shards[shard].is_server_muted(ssrc) {
            self.break_with(format!("voice of {:08x} went on, whom its home has muted", ssrc.0));
        }
        for target in voice.relay.iter() {
            if !self.is_healed() && self.one_in(self.faults.voice_full_one_in) {
                continue;
            }
            let record = [&voice.header.to_record()[..], payload].concat();
            let delay = self.delay();
            self.later(delay, Event::MeshVoice(shard, target.index(), record));
        }
        let room = self.shards[shard].stream_room(ssrc);
        for peer in &peers[voice.peers.clone()] {
            if !room.is_some_and(|room| self.shards[shard].is_peer_in(*peer, room)) {
                self.break_with(format!("voice of {:08x} goes to someone who is not in its room", ssrc.0));
            }
            match self.downlink.seal((shard, *peer), &voice.header, payload) {
                Ok((target, datagram)) => {
                    for delay in self.datagram_delays() {
                        self.later(delay, Event::Downlink(target, datagram.clone()));
                    }
                }
                Err(broken) => self.break_with(broken),
            }
        }
    }

    /// A report for a client.
    pub fn report(&mut self, shard: usize, peer: PeerId, compound: &[u8], index: u32) {
        match self.downlink.seal_report((shard, peer), compound, index) {
            Ok((target, datagram)) => {
                for delay in self.datagram_delays() {
                    self.later(delay, Event::Downlink(target, datagram.clone()));
                }
            }
            Err(broken) => self.break_with(broken),
        }
    }

    /// A datagram arrives at an address; at one that its client has left, at nobody.
    pub fn downlinked(&mut self, target: SocketAddr, mut datagram: Vec<u8>) {
        self.trace_voice("downlink to", &target, datagram.len());
        if Self::is_attackers(&target) {
            return self.break_with("a datagram goes to an address that only replays".to_owned());
        }
        let client = usize::from((target.port() - PORT) / PORTS);
        let is_cut = self.clients[client].udp_blocked || self.clients[client].cut_until > self.time;
        if address(client, self.clients[client].moves) != target || is_cut {
            return;
        }
        let now = self.now();
        if let Err(broken) = self.clients[client].datagram(now, &mut datagram) {
            self.break_with(broken);
        }
        self.transmit(client);
    }

    /// A client says a frame, and so many more after it.
    pub fn talk(&mut self, client: usize, frames: u32) {
        let now = self.now();
        self.clients[client].talk(now);
        self.transmit(client);
        self.transmit_voice(client);
        if frames > 0 {
            self.later(FRAME_US, Event::Talk(client, frames - 1));
        }
    }
}
