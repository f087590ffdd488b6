//! Two shards and a driver that behaves: it does what `effect.rs` asks and says what `input.rs` promises.
//!
//! Not the script, which says when. Rings have a capacity and are in order; the store answers each shard in order, but
//! for reads; hashers in any. In: inputs. Out: queues that the script empties, what peers were sent, and panics where a
//! shard asks for what it may not. Checked here, at every effect: bytes queued for a connection, unanswered jobs, the
//! rings' credit, the peer table, ranges, and that no key seals two packets under one index.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use echomesh_proto::control::{Body, EchoMsg, MsgType};
use echomesh_proto::framing::FrameDecoder;
use echomesh_proto::ids::{ConnectionId, PeerId, ShardId, Ssrc};
use echomesh_proto::limits::DATAGRAM_BYTES_MAX;
use echomesh_proto::srtp::{MasterKey, SealKey};
use echomesh_proto::time::{Now, Time};
use echomesh_shard::voice::{sealed_rtcp, sealed_rtp};
use echomesh_shard::{
    CloseReason, Effect, Effects, HashOutcome, HashReply, Input, Limits, RECORD_PREFIX_BYTES, Shard, ShardConfig,
    StoreJob, StoreOutcome, StoreReply, StoreRequest, Voice,
};
use prost::Message;

use super::store::Store;
use crate::messages::Known;

/// Shards of the server.
pub const SHARDS: usize = 2;

/// Streams whose keys are kept for the script.
const MICROPHONES_MAX: usize = 8;

/// Packets of voice in one call that has none in hand, as `effect.rs` says.
const VOICES_MAX: usize = 64;

/// A client's connection.
pub struct Line {
    pub shard: usize,
    pub id: ConnectionId,
    /// Sent by the peer, not read by the shard.
    pub inbound: Vec<u8>,
    pub is_paused: bool,
    /// Given to the driver, not yet to the socket.
    pub unread: usize,
    decoder: FrameDecoder,
    /// Ids of requests without an answer; 0 is none.
    pub asked: Vec<u32>,
    /// Sent bytes that may be any requests.
    pub is_wild: bool,
}

/// The keys of a stream that some client was given.
pub struct Microphone {
    pub ssrc: Ssrc,
    pub seal: SealKey,
    pub index: u64,
    pub rtcp_index: u32,
}

/// A ring from one shard to the other.
#[derive(Default)]
pub struct Ring {
    pub records: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// What a shard asked of threads beside it.
#[derive(Default)]
pub struct Desk {
    pub store: VecDeque<StoreRequest>,
    pub reads: Vec<StoreRequest>,
    pub hashes: Vec<echomesh_shard::HashRequest>,
}

/// The server, its clients, and its clock.
pub struct World {
    pub shards: Vec<Shard>,
    pub limits: Limits,
    pub now: Now,
    pub lines: Vec<Line>,
    /// To the shard of this place, from the other.
    pub control: [Ring; SHARDS],
    pub voice: [VecDeque<Vec<u8>>; SHARDS],
    ring_bytes: usize,
    pub desks: [Desk; SHARDS],
    pub store: Store,
    pub microphones: Vec<Microphone>,
    pub known: Known,
    peers: [BTreeMap<PeerId, (SocketAddr, MasterKey)>; SHARDS],
    /// Key, stream and index of what was sealed: RTP, then RTCP.
    sealed: [BTreeSet<([u8; 16], u32, u64)>; 2],
    pub is_stopping: bool,
    /// Records of no voice that the script gave each shard.
    pub bad_records: [u64; SHARDS],
    /// Of the connection accepted last.
    pub generation: u32,
}

impl World {
    /// A server at start.
    pub fn new(configs: [ShardConfig; SHARDS], ring_bytes: usize) -> Self {
        let limits = configs[0].limits.clone();
        let mut world = Self {
            shards: configs.into_iter().map(Shard::new).collect(),
            limits,
            now: Now { unix_ms: 1_700_000_000_000, time: Time(1_000_000) },
            lines: Vec::new(),
            control: Default::default(),
            voice: Default::default(),
            ring_bytes,
            desks: Default::default(),
            store: Store::default(),
            microphones: Vec::new(),
            known: Known::default(),
            peers: Default::default(),
            sealed: Default::default(),
            is_stopping: false,
            bad_records: Default::default(),
            generation: 0,
        };
        for shard in 0..SHARDS {
            world.free(shard);
        }
        world
    }

    /// Tells a shard how much room there is in its ring to the other.
    fn free(&mut self, shard: usize) {
        let bytes = self.ring_bytes - self.control[1 - shard].bytes;
        self.input(shard, Input::RingFree { target: ShardId(1 - shard as u8), bytes });
    }

    /// As on each turn of a shard.
    pub fn refill(&mut self) {
        for shard in 0..SHARDS {
            let waits = self.shards[shard].waits_for_rings();
            assert!(!waits.contains(ShardId(shard as u8)), "a shard waits for itself");
            if !waits.is_empty() {
                self.free(shard);
            }
        }
    }

    /// Gives a shard an input that has no packet.
    pub fn input(&mut self, shard: usize, input: Input<'_>) {
        let mut effects = Effects::default();
        self.shards[shard].handle(self.now, input, &mut effects);
        self.apply(shard, effects, &[]);
    }

    /// A datagram.
    pub fn datagram(&mut self, shard: usize, source: SocketAddr, received: Time, mut datagram: Vec<u8>) {
        let mut effects = Effects::default();
        let input = Input::Datagram { source, received, datagram: &mut datagram };
        self.shards[shard].handle(self.now, input, &mut effects);
        self.apply(shard, effects, &datagram);
    }

    /// A record of the voice ring.
    pub fn voice_record(&mut self, shard: usize, record: &[u8]) {
        let mut effects = Effects::default();
        let source = ShardId(1 - shard as u8);
        self.shards[shard].handle(self.now, Input::MeshVoice { source, record }, &mut effects);
        self.apply(shard, effects, record);
    }

    /// The next record of the control ring, if there is one.
    pub fn deliver(&mut self, shard: usize) -> bool {
        let Some(record) = self.control[shard].records.pop_front() else { return false };
        self.control[shard].bytes -= record.len() + RECORD_PREFIX_BYTES;
        self.input(shard, Input::MeshControl { source: ShardId(1 - shard as u8), record: &record });
        true
    }

    /// The store answers its oldest job of a shard, or a read.
    pub fn answer_store(&mut self, shard: usize, read: Option<usize>, fails: bool) -> bool {
        let desk = &mut self.desks[shard];
        let request = match read {
            Some(at) if !desk.reads.is_empty() => desk.reads.swap_remove(at % desk.reads.len()),
            _ => match desk.store.pop_front() {
                Some(request) => request,
                None => return false,
            },
        };
        let StoreRequest { token, job } = request;
        let outcome = if fails { StoreOutcome::Failed } else { self.store.carry_out(job) };
        self.input(shard, Input::Store(StoreReply { token, outcome }));
        true
    }

    /// A hasher answers one request.
    pub fn answer_hash(&mut self, shard: usize, at: usize, is_busy: bool, is_outdated: bool) -> bool {
        let hashes = &mut self.desks[shard].hashes;
        if hashes.is_empty() {
            return false;
        }
        let request = hashes.swap_remove(at % hashes.len());
        let outcome = match request.verify {
            _ if is_busy => HashOutcome::Busy,
            Some(hash) if hash == request.password && is_outdated => HashOutcome::Outdated,
            Some(hash) => HashOutcome::Verified(hash == request.password),
            None => HashOutcome::Hashed(request.password),
        };
        self.input(shard, Input::Hash(HashReply { token: request.token, outcome }));
        true
    }

    fn apply(&mut self, shard: usize, effects: Effects, packet: &[u8]) {
        let Effects { list, bytes, peers } = effects;
        let voices = list.iter().filter(|effect| matches!(effect, Effect::Voice(_))).count();
        assert!(voices <= if packet.is_empty() { VOICES_MAX } else { 1 }, "{voices} voices in one call");
        for effect in list {
            match effect {
                Effect::Send { connection, bytes: range } => self.sent(shard, connection, &bytes[range]),
                Effect::Close { connection, reason } => self.closed(shard, connection, reason),
                Effect::PauseReading { connection } => self.set_paused(shard, connection, true),
                Effect::ResumeReading { connection } => self.set_paused(shard, connection, false),
                Effect::MeshControl { target, record } => self.pushed(shard, target, bytes[record].to_vec()),
                Effect::Voice(voice) => self.fan_out(shard, &voice, &bytes, &peers, packet),
                Effect::PeerSet { peer, address, key } => {
                    self.peers[shard].insert(peer, (address, key));
                }
                Effect::PeerMoved { peer, address } => {
                    self.peers[shard].get_mut(&peer).expect("a peer that is set moves").0 = address;
                }
                Effect::Report { peer, compound, index } => {
                    let key = self.peers[shard].get(&peer).expect("a peer that is set is told").1.clone();
                    let ssrc = u32::from_be_bytes(*bytes[compound.clone()][4..].first_chunk().expect("a compound"));
                    assert!(self.sealed[1].insert((key.key, ssrc, index.into())), "an SRTCP index is used twice");
                    let packet = sealed_rtcp(&SealKey::new(&key), &bytes[compound], index);
                    assert!(packet.len() <= DATAGRAM_BYTES_MAX);
                }
                Effect::PeerGone { peer } => {
                    self.peers[shard].remove(&peer).expect("a peer that is set goes");
                }
                Effect::Store(request) => {
                    let desk = &mut self.desks[shard];
                    if matches!(request.job, StoreJob::ReadChat(_)) {
                        desk.reads.push(request);
                    } else {
                        desk.store.push_back(request);
                    }
                    assert!(desk.reads.len() <= self.limits.reads_max as usize);
                    assert!(desk.store.len() <= self.limits.store_requests_max as usize);
                }
                Effect::Hash(request) => {
                    let desk = &mut self.desks[shard];
                    desk.hashes.push(request);
                    assert!(desk.hashes.len() <= self.limits.hash_requests_max as usize);
                }
            }
        }
    }

    fn line(&mut self, shard: usize, id: ConnectionId) -> Option<&mut Line> {
        self.lines.iter_mut().find(|line| line.shard == shard && line.id == id)
    }

    fn set_paused(&mut self, shard: usize, id: ConnectionId, paused: bool) {
        let line = self.line(shard, id).expect("an open connection is paused");
        assert_ne!(std::mem::replace(&mut line.is_paused, paused), paused, "it is said once");
    }

    fn closed(&mut self, shard: usize, id: ConnectionId, reason: CloseReason) {
        if self.line(shard, id).is_none() {
            // It was not taken in.
            let refusals = [CloseReason::ConnectionLimit, CloseReason::Flood, CloseReason::Shutdown];
            assert!(refusals.contains(&reason), "closed, and not open: {reason:?}");
        }
        self.lines.retain(|line| line.shard != shard || line.id != id);
    }

    fn pushed(&mut self, shard: usize, target: ShardId, record: Vec<u8>) {
        assert_eq!(target.index(), 1 - shard, "to the other shard");
        let ring = &mut self.control[target.index()];
        ring.bytes += record.len() + RECORD_PREFIX_BYTES;
        assert!(ring.bytes <= self.ring_bytes, "the ring is over its capacity");
        ring.records.push_back(record);
    }

    fn sent(&mut self, shard: usize, id: ConnectionId, bytes: &[u8]) {
        let output_bytes_max = self.limits.output_bytes_max;
        let line = self.line(shard, id).expect("an open connection is sent to");
        line.unread += bytes.len();
        assert!(line.unread <= output_bytes_max, "{} bytes wait for a reader", line.unread);
        line.decoder.push(bytes);
        let mut messages = Vec::new();
        while let Some(frame) = line.decoder.next_frame().expect("the server's frames are right") {
            messages.push(EchoMsg::decode(frame).expect("and its messages too"));
        }
        assert!(line.decoder.is_empty(), "a send is whole frames");
        line.decoder.shrink();
        for message in &messages {
            if !line.is_wild && message.request_id != 0 && !matches!(message.body, Some(Body::VoiceFrame(_))) {
                let at = line.asked.iter().position(|id| *id == message.request_id);
                line.asked.swap_remove(at.unwrap_or_else(|| panic!("an answer to nothing: {message:?}")));
            }
            let body = message.body.as_ref().expect("the server's messages have bodies");
            let is_pong = message.r#type == MsgType::MtPong as i32 && matches!(body, Body::Ping(_));
            assert!(is_pong || message.r#type == body.msg_type() as i32, "its type names its body");
        }
        for body in messages.into_iter().filter_map(|message| message.body) {
            self.known.learn(&body);
            self.given_voice(&body);
        }
    }

    fn given_voice(&mut self, body: &Body) {
        let Body::VoiceAnnounce(given) = body else { return };
        let (Ok(key), Ok(salt)) = (given.uplink_key[..].try_into(), given.uplink_salt[..].try_into()) else { return };
        let seal = SealKey::new(&MasterKey { key, salt });
        if self.microphones.len() == MICROPHONES_MAX {
            self.microphones.remove(0);
        }
        self.known.number(given.ssrc.into());
        self.microphones.push(Microphone { ssrc: Ssrc(given.ssrc), seal, index: 100, rtcp_index: 0 });
    }

    fn fan_out(&mut self, shard: usize, voice: &Voice, bytes: &[u8], peers: &[PeerId], packet: &[u8]) {
        let source = if voice.in_bytes { bytes } else { packet };
        let payload = &source[voice.payload.clone()];
        assert!(!voice.relay.contains(ShardId(shard as u8)), "a shard relays to others");
        for target in voice.relay.iter() {
            let mut record = voice.header.to_record().to_vec();
            record.extend_from_slice(payload);
            self.voice[target.index()].push_back(record);
        }
        for peer in &peers[voice.peers.clone()] {
            let (_, key) = self.peers[shard].get(peer).expect("a peer that is set hears");
            let new = self.sealed[0].insert((key.key, voice.header.ssrc.0, voice.header.index));
            assert!(new, "an SRTP index is used twice");
            assert!(sealed_rtp(&SealKey::new(key), &voice.header, payload).len() <= DATAGRAM_BYTES_MAX);
        }
    }

    /// Entries of the peer tables.
    pub fn peers(&self) -> usize {
        self.peers.iter().map(BTreeMap::len).sum()
    }

    /// A connection that was accepted.
    pub fn add_line(&mut self, shard: usize, id: ConnectionId) {
        self.lines.push(Line {
            shard,
            id,
            inbound: Vec::new(),
            is_paused: false,
            unread: 0,
            decoder: FrameDecoder::default(),
            asked: Vec::new(),
            is_wild: false,
        });
    }
}
