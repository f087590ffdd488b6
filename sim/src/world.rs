//! The world of one seed: shards, rings, TCP, store and hashers as events in virtual time.
//!
//! Faults while the seed is young: rings that are late and full, bytes in pieces, resets that either
//! side learns of first, slow readers, a store that fails. Then it heals, a last line is said, and
//! everything must have come to rest as promised (`checks`). Bounds: `ACTIONS` actions, virtual minutes.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use echomesh_proto::control::RoomActionType;
use echomesh_proto::ids::{ConnectionId, PeerId, ShardId};
use echomesh_proto::time::{Now, Time};
use echomesh_shard::{
    ClosedCause, Effect, Effects, HashOutcome, HashReply, Input, READ_BYTES_MAX, RECORD_BYTES_MAX, RECORD_PREFIX_BYTES,
    Security, Shard, StoreOutcome, StoreReply, TICK_US,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::checks;
use crate::client::Client;
use crate::restart::{self, KILL_ONE_IN};
use crate::store::Store;
use crate::voice::Downlink;

/// What clients do in all.
pub const ACTIONS: u64 = 400;
const ROOMS: [&str; 4] = ["attic", "hall", "cellar", "hall/left"];
/// Virtual time after the last fault in which everything must be answered and told.
const HEALING_US: u64 = 20_000_000;

/// What a seed did, to be compared with another run of it.
pub struct Summary {
    /// Lines stored.
    pub lines: usize,
    /// Voice frames heard by someone.
    pub voice: usize,
    /// Sessions that came back after a lost connection.
    pub resumed: usize,
    /// How often the server was killed.
    pub restarts: usize,
    /// Steps after which a shard waited for room in a ring.
    pub full_rings: usize,
    /// Of every byte a client got.
    pub digest: u64,
}

pub enum Event {
    ToServer(usize, ConnectionId, Vec<u8>),
    ToClient(usize, usize, ConnectionId, Vec<u8>),
    /// The client learns that its connection is over, or the server does.
    ClientClosed(usize, usize, ConnectionId),
    ServerClosed(usize, ConnectionId),
    Mesh(usize, usize),
    MeshVoice(usize, usize, Vec<u8>),
    /// A datagram from a client's address, or to it.
    Uplink(SocketAddr, Vec<u8>),
    Downlink(SocketAddr, Vec<u8>),
    /// A client says a frame, and so many more.
    Talk(usize, u32),
    Store(usize, StoreReply),
    Hash(usize, HashReply),
    Tick,
    Act,
}

/// A ring of the mesh.
pub struct Ring {
    records: VecDeque<Vec<u8>>,
    bytes: usize,
    capacity: usize,
}

impl Ring {
    /// Nothing is in it.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }
}

pub struct World {
    random: ChaCha8Rng,
    trace: bool,
    time: u64,
    order: u64,
    pub events: BTreeMap<(u64, u64), Event>,
    pub shards: Vec<Shard>,
    pub rings: BTreeMap<(usize, usize), Ring>,
    pub clients: Vec<Client>,
    pub downlink: Downlink,
    /// As the server sees them.
    pub connections: BTreeMap<(usize, ConnectionId), usize>,
    slots: u32,
    pub store: Store,
    pub speakers_max: u32,
    /// How often the server was killed.
    pub restarts: usize,
    /// The store answers each shard in order.
    pub store_free: Vec<u64>,
    pub healed: bool,
    full_rings: usize,
    digest: u64,
    broken: Option<String>,
}

/// Runs one seed.
pub fn run(seed: u64, trace: bool) -> Result<Summary, String> {
    let mut world = World::new(seed, trace);
    world.later(0, Event::Tick);
    world.later(0, Event::Act);
    world.run_until(u64::MAX, true)?;
    world.heal()?;
    checks::at_rest(&world.shards, &world.clients, &world.store)?;
    let resumed = world.clients.iter().map(|client| client.resumed).sum();
    let voice = world.clients.iter().map(|client| client.heard_frames.len()).sum();
    let restarts = world.restarts;
    Ok(Summary {
        voice,
        restarts,
        lines: world.store.lines.len(),
        resumed,
        full_rings: world.full_rings,
        digest: world.digest,
    })
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let shards = 2 + (random.next_u32() % 3) as u8;
        let mut rings = BTreeMap::new();
        for source in 0..usize::from(shards) {
            for target in (0..usize::from(shards)).filter(|target| *target != source) {
                let capacity = RECORD_BYTES_MAX + RECORD_PREFIX_BYTES + random.next_u32() as usize % 4096;
                rings.insert((source, target), Ring { records: VecDeque::new(), bytes: 0, capacity });
            }
        }
        let speakers_max = random.next_u32() % 3;
        let seeds: Vec<u8> = (0..shards).map(|_| random.next_u32() as u8).collect();
        let mut store = Store::default();
        let kernels = restart::start(shards, 0, &seeds, speakers_max, &mut store);
        let clients = (0..3 + random.next_u32() % 6)
            .map(|number| Client::new(format!("c{number}"), random.next_u32() % 4 == 0))
            .collect();
        let mut world = Self {
            random,
            trace,
            time: 0,
            order: 0,
            events: BTreeMap::new(),
            shards: kernels,
            rings,
            clients,
            downlink: Downlink::default(),
            connections: BTreeMap::new(),
            slots: 0,
            store,
            speakers_max,
            restarts: 0,
            store_free: vec![0; usize::from(shards)],
            healed: false,
            full_rings: 0,
            digest: seed,
            broken: None,
        };
        world.refill(true);
        world
    }

    pub fn now(&self) -> Now {
        Now { time: Time(self.time), unix_ms: 1_700_000_000_000 + self.time / 1000 }
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound.max(1)
    }

    pub fn later(&mut self, us: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.time + us, self.order), event);
    }

    /// A delay: mostly short, at times very long while the seed is young.
    pub fn delay(&mut self) -> u64 {
        let bound = if !self.healed && self.below(20) == 0 { 500_000 } else { 300 };
        self.below(bound)
    }

    pub fn is_traced(&self) -> bool {
        self.trace
    }

    pub fn is_healed(&self) -> bool {
        self.healed
    }

    /// A promise is broken: the seed ends.
    pub fn break_with(&mut self, broken: String) {
        self.broken = Some(broken);
    }

    fn run_until(&mut self, end: u64, acting: bool) -> Result<(), String> {
        let mut actions = 0;
        while let Some(entry) = self.events.first_entry() {
            let (time, _) = *entry.key();
            if time > end || (acting && actions == ACTIONS) {
                break;
            }
            let event = entry.remove();
            self.time = time;
            actions += u64::from(matches!(event, Event::Act));
            self.event(event);
            self.refill(false);
            if let Some(broken) = self.broken.take() {
                return Err(format!("at {} us: {broken}", self.time));
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::ToServer(shard, connection, bytes) if self.connections.contains_key(&(shard, connection)) => {
                self.input(shard, Input::Bytes { connection, bytes: &bytes });
            }
            Event::ToServer(..) => {}
            Event::ToClient(client, shard, connection, bytes) => self.arrived(client, shard, connection, &bytes),
            Event::ClientClosed(client, shard, connection) => {
                if self.clients[client].connection == Some((shard, connection)) {
                    self.clients[client].connection = None;
                    self.tell(client, echomesh_client::Input::Closed);
                }
            }
            Event::ServerClosed(shard, connection) => {
                if self.connections.remove(&(shard, connection)).is_some() {
                    self.input(shard, Input::Closed { connection, cause: ClosedCause::Network });
                }
            }
            Event::Mesh(source, target) => {
                let ring = self.rings.get_mut(&(source, target)).expect("a ring for each pair");
                let record = ring.records.pop_front().expect("an event for each record");
                ring.bytes -= record.len() + RECORD_PREFIX_BYTES;
                self.input(target, Input::MeshControl { source: ShardId(source as u8), record: &record });
            }
            Event::MeshVoice(source, target, record) => self.mesh_voice(source, target, &record),
            Event::Uplink(source, datagram) => self.uplink(source, datagram),
            Event::Downlink(target, datagram) => self.downlinked(target, datagram),
            Event::Talk(client, frames) => self.talk(client, frames),
            Event::Store(shard, reply) => self.input(shard, Input::Store(reply)),
            Event::Hash(shard, reply) => self.input(shard, Input::Hash(reply)),
            Event::Tick => {
                for shard in 0..self.shards.len() {
                    self.input(shard, Input::Tick);
                }
                for client in 0..self.clients.len() {
                    self.tell(client, echomesh_client::Input::Tick);
                }
                self.later(TICK_US, Event::Tick);
            }
            Event::Act if !self.healed => {
                self.act();
                let pause = self.below(40_000);
                self.later(pause, Event::Act);
            }
            Event::Act => {}
        }
    }

    pub fn refill(&mut self, all: bool) {
        for shard in 0..self.shards.len() {
            let waits = self.shards[shard].waits_for_rings();
            self.full_rings += usize::from(!waits.is_empty());
            for target in (0..self.shards.len()).filter(|target| *target != shard) {
                let id = ShardId(target as u8);
                if all || waits.contains(id) {
                    let ring = &self.rings[&(shard, target)];
                    let bytes = ring.capacity - ring.bytes;
                    self.input(shard, Input::RingFree { target: id, bytes });
                }
            }
        }
    }

    fn input(&mut self, shard: usize, input: Input<'_>) {
        if self.trace && !matches!(input, Input::Tick | Input::RingFree { .. }) {
            eprintln!("{:>10} us shard {shard}: {input:?}", self.time);
        }
        let (now, mut effects) = (self.now(), Effects::default());
        self.shards[shard].handle(now, input, &mut effects);
        self.carry_out(shard, effects, &[]);
    }

    /// Does what a kernel says. `packet` is the datagram or voice record it was given, decrypted.
    pub fn carry_out(&mut self, shard: usize, effects: Effects, packet: &[u8]) {
        let Effects { list, bytes, peers } = effects;
        for effect in list {
            self.effect(shard, effect, &bytes, &peers, packet);
        }
    }

    fn effect(&mut self, shard: usize, effect: Effect, bytes: &[u8], peers: &[PeerId], packet: &[u8]) {
        match effect {
            Effect::Send { connection, bytes: range } => self.deliver(shard, connection, &bytes[range]),
            Effect::Close { connection, .. } => {
                if let Some(client) = self.connections.remove(&(shard, connection)) {
                    let at = self.clients[client].departs.max(self.time);
                    self.later(at - self.time, Event::ClientClosed(client, shard, connection));
                }
            }
            Effect::MeshControl { target, record } => {
                let record = bytes[record].to_vec();
                let ring = self.rings.get_mut(&(shard, target.index())).expect("a ring for each pair");
                ring.bytes += record.len() + RECORD_PREFIX_BYTES;
                if ring.bytes > ring.capacity {
                    self.broken = Some(format!("ring {shard} to {} is over its capacity", target.0));
                }
                ring.records.push_back(record);
                let delay = self.delay();
                self.later(delay, Event::Mesh(shard, target.index()));
            }
            Effect::Store(request) => {
                let fails = !self.healed && self.below(30) == 0;
                let outcome = if fails { StoreOutcome::Failed } else { self.store.carry_out(request.job) };
                let delay = self.delay() * 10;
                let at = self.store_free[shard].max(self.time + delay);
                self.store_free[shard] = at + 1;
                let reply = StoreReply { token: request.token, outcome };
                self.later(at - self.time, Event::Store(shard, reply));
            }
            Effect::Hash(request) => {
                let outcome = match request.verify {
                    _ if !self.healed && self.below(30) == 0 => HashOutcome::Busy,
                    Some(hash) => HashOutcome::Verified(hash == request.password),
                    None => HashOutcome::Hashed(request.password),
                };
                let delay = self.delay() * 10;
                self.later(delay, Event::Hash(shard, HashReply { token: request.token, outcome }));
            }
            Effect::PauseReading { .. } | Effect::ResumeReading { .. } => {}
            Effect::Voice(_) | Effect::PeerSet { .. } | Effect::PeerMoved { .. } | Effect::PeerGone { .. } => {
                self.voice_effect(shard, effect, peers, bytes, packet);
            }
            Effect::Report { peer, compound, index } => {
                self.report(shard, peer, &bytes[compound], index);
            }
        }
    }

    /// TCP from the server: in order, at any time.
    fn deliver(&mut self, shard: usize, connection: ConnectionId, bytes: &[u8]) {
        let Some(client) = self.connections.get(&(shard, connection)).copied() else { return };
        let slow = self.clients[client].slow && !self.healed;
        let delay = if slow { self.below(3_000_000) } else { self.delay() };
        let at = self.clients[client].departs.max(self.time + delay);
        self.clients[client].departs = at;
        self.later(at - self.time, Event::ToClient(client, shard, connection, bytes.to_vec()));
    }

    fn arrived(&mut self, client: usize, shard: usize, connection: ConnectionId, bytes: &[u8]) {
        if self.clients[client].connection == Some((shard, connection)) {
            for byte in bytes {
                self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
            self.tell(client, echomesh_client::Input::Bytes(bytes));
        }
        if self.connections.contains_key(&(shard, connection)) {
            self.input(shard, Input::Drained { connection, bytes: bytes.len() });
        }
    }

    /// Gives a client's session an input, and its bytes to TCP.
    pub fn tell(&mut self, client: usize, input: echomesh_client::Input<'_>) {
        if self.trace && !matches!(input, echomesh_client::Input::Tick) {
            eprintln!("{:>10} us {}: {input:?}", self.time, self.clients[client].name);
        }
        let now = self.now();
        if let Err(broken) = self.clients[client].handle(now, input) {
            self.broken = Some(broken);
        }
        self.transmit(client);
        self.transmit_voice(client);
    }

    /// One random client does one random thing.
    fn act(&mut self) {
        let client = self.below(self.clients.len() as u64) as usize;
        if self.below(KILL_ONE_IN) == 0 {
            return self.restart();
        }
        let Some((shard, connection)) = self.clients[client].connection else { return self.connect(client) };
        if self.below(25) == 0 || self.clients[client].is_refused() {
            return self.reset(client, shard, connection);
        }
        if self.below(100) == 0 {
            return self.sign_out(client);
        }
        let now = self.now();
        let room = ROOMS[self.below(ROOMS.len() as u64) as usize];
        let other = ROOMS[self.below(ROOMS.len() as u64) as usize];
        let choice = self.below(24);
        let whom = self.below(self.clients.len() as u64) as usize;
        let whom = self.clients[whom].name.clone();
        let kind = self.below(5);
        let moderation = self.random_moderation(room);
        let random_flags = self.below(4);
        let subject = &mut self.clients[client];
        match choice {
            0 => subject.act_on(now, RoomActionType::RaCreate, room),
            1 | 2 => subject.act_on(now, RoomActionType::RaJoin, room),
            3 => subject.act_on(now, RoomActionType::RaLeave, room),
            4 => subject.burst(now, room),
            10 => subject.open_voice(now, room),
            11 => return self.talk(client, 5),
            12 => subject.announce(now, room, random_flags),
            13 => subject.moves += 1,
            14 => subject.udp_blocked = !subject.udp_blocked,
            15 | 16 => subject.moderate(now, moderation),
            17..=19 => {
                self.act_on_rooms(client, room, other);
                self.transmit(0);
            }
            20 | 21 => subject.whisper(now, whom),
            22 | 23 => subject.chat_action(now, room, kind),
            _ => {
                let line = subject.unsent.pop_front().unwrap_or_else(|| subject.new_line(room, 0));
                subject.say(now, line);
            }
        }
        self.transmit(client);
    }

    /// The connection is gone for the client; the server learns it now or much later, so that the session
    /// may come back while its old connection still seems alive.
    pub fn reset(&mut self, client: usize, shard: usize, connection: ConnectionId) {
        let delay = if self.below(2) == 0 { 0 } else { self.below(3_000_000) };
        self.later(delay, Event::ServerClosed(shard, connection));
        self.clients[client].connection = None;
        self.tell(client, echomesh_client::Input::Closed);
    }

    pub fn connect(&mut self, client: usize) {
        let shard = self.below(self.shards.len() as u64) as usize;
        self.slots += 1;
        let connection = ConnectionId { slot: self.slots % 64, generation: self.slots };
        if self.connections.keys().any(|(at, other)| *at == shard && other.slot == connection.slot) {
            return;
        }
        let address = "127.0.0.1:1".parse().expect("an address");
        self.connections.insert((shard, connection), client);
        self.clients[client].connection = Some((shard, connection));
        self.clients[client].arrives = self.time;
        self.clients[client].departs = self.time;
        self.input(shard, Input::Accepted { connection, remote: address, local: address });
        self.input(shard, Input::Opened { connection, security: Security::Plaintext });
        self.tell(client, echomesh_client::Input::Connected);
    }

    /// TCP to the server: in order, in any pieces, at any time.
    pub fn transmit(&mut self, client: usize) {
        let bytes = self.clients[client].take_output();
        let Some((shard, connection)) = self.clients[client].connection else { return };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = match self.below(4) {
                0 => 1,
                _ => rest.len().min(READ_BYTES_MAX),
            };
            let (part, others) = rest.split_at(length);
            let at = self.clients[client].arrives.max(self.time + self.delay());
            self.clients[client].arrives = at;
            self.later(at - self.time, Event::ToServer(shard, connection, part.to_vec()));
            rest = others;
        }
    }

    /// Until all must be answered and told.
    pub fn rest(&mut self) -> Result<(), String> {
        self.run_until(self.time + HEALING_US, false)
    }
}
