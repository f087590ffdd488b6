//! The world of one seed: shards, rings, TCP, store and hashers as events in virtual time.
//!
//! Which faults there are while the seed is young is drawn (`faults`). Then it heals, last lines and words are said,
//! and everything must have come to rest as promised (`checks`). Bounds: `ACTIONS` actions, virtual minutes.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use echomesh_proto::ids::{ConnectionId, PeerId, RoomNumber, ShardId};
use echomesh_proto::time::{Now, Time};
use echomesh_shard::{
    ClosedCause, Effect, Effects, HashReply, Input, RECORD_BYTES_MAX, RECORD_PREFIX_BYTES, Shard, ShardConfig,
    StoreReply, StoreRequest, TICK_US,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::attackers::Attackers;
use crate::checks;
use crate::client::Client;
use crate::draining::Ending;
use crate::faults::Faults;
use crate::mistakes;
use crate::network::Unread;
use crate::restart;
use crate::store::Store;
use crate::told::Told;
use crate::voice::Downlink;

/// What clients do in all.
pub const ACTIONS: u64 = 400;
pub const ROOMS: [&str; 4] = ["attic", "hall", "cellar", "hall/left"];

/// Virtual time after the last fault in which everything must be answered and told.
pub const HEALING_US: u64 = 20_000_000;

/// If no connection carries anything for so long, nothing is under way but voice.
const QUIET_US: u64 = 3_000_000;

/// One seed in so many has listeners with playout buffers: their decoding is most of what such a seed costs.
const PLAYOUT_ONE_IN: u64 = 8;

/// What a seed did, to be compared with another run of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines stored.
    pub lines: usize,
    /// Voice frames heard by someone, and those that were played.
    pub voice: usize,
    pub played: usize,
    /// Sessions that came back after a lost connection.
    pub resumed: usize,
    /// How often the server was killed, or restarted in order.
    pub restarts: usize,
    /// Steps after which a shard waited for room in a ring.
    pub full_rings: usize,
    /// Of every byte a client got.
    pub digest: u64,
}

impl Summary {
    /// Adds another seed's.
    pub fn add(&mut self, other: &Summary) {
        self.lines += other.lines;
        self.voice += other.voice;
        self.played += other.played;
        self.resumed += other.resumed;
        self.restarts += other.restarts;
        self.full_rings += other.full_rings;
        self.digest ^= other.digest;
    }
}

pub enum Event {
    Accepted(usize, ConnectionId),
    ToServer(usize, ConnectionId, Vec<u8>),
    /// What waited at the server may be read again.
    Readable(usize, ConnectionId),
    ToClient(usize, usize, ConnectionId, Vec<u8>),
    /// So much of what was sent is with the client.
    Drained(usize, ConnectionId, usize),
    /// The client learns that its connection is over, or the server does.
    ClientClosed(usize, usize, ConnectionId),
    ServerClosed(usize, ConnectionId),
    Mesh(usize, usize),
    MeshVoice(usize, usize, Vec<u8>),
    /// A datagram from an address, and when it was in the server's socket; or one to an address.
    Uplink(SocketAddr, u64, Vec<u8>),
    Downlink(SocketAddr, Vec<u8>),
    /// A client says a frame, and so many more.
    Talk(usize, u32),
    /// A client's address changes, while the seed is young.
    Roams(usize),
    StoreDoes(usize, StoreRequest),
    Store(usize, StoreReply),
    Hash(usize, HashReply),
    /// A shard learns that the server ends, that it is to stop; all have, and another server starts.
    Drains(usize),
    Stops(usize),
    Restart,
    /// A shard takes other settings.
    Reloads(usize),
    Tick,
    Act,
}

impl Event {
    /// The shard that has to be awake for it.
    fn shard(&self, shards: usize) -> Option<usize> {
        match self {
            Event::Accepted(shard, _)
            | Event::ToServer(shard, ..)
            | Event::Readable(shard, ..)
            | Event::Drained(shard, ..)
            | Event::ServerClosed(shard, _)
            | Event::Mesh(_, shard)
            | Event::MeshVoice(_, shard, _)
            | Event::Store(shard, _)
            | Event::Hash(shard, _)
            | Event::Drains(shard)
            | Event::Reloads(shard)
            | Event::Stops(shard) => Some(*shard),
            Event::Uplink(_, _, datagram) => World::steered(datagram, shards),
            Event::ToClient(..)
            | Event::ClientClosed(..)
            | Event::Downlink(..)
            | Event::Talk(..)
            | Event::Roams(_)
            | Event::StoreDoes(..)
            | Event::Restart
            | Event::Tick
            | Event::Act => None,
        }
    }
}

/// A ring of the mesh.
pub struct Ring {
    records: VecDeque<Vec<u8>>,
    bytes: usize,
    capacity: usize,
    pushed: u64,
    /// When its last record is taken: one that is late holds up those behind it, and other rings overtake it.
    taken_at: u64,
}

impl Ring {
    /// Nothing is in it.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
        self.taken_at = 0;
    }

    /// What is put into it from now on is not taken before then.
    pub fn hold_until(&mut self, time: u64) {
        self.taken_at = self.taken_at.max(time);
    }

    /// Records that nobody has taken.
    pub fn waiting(&self) -> usize {
        self.records.len()
    }
}

pub struct World {
    random: ChaCha8Rng,
    pub faults: Faults,
    trace: bool,
    pub time: u64,
    order: u64,
    /// When a connection carried something last.
    busy: u64,
    pub events: BTreeMap<(u64, u64), Event>,
    pub shards: Vec<Shard>,
    /// Until when each takes nothing.
    pub stalled_until: Vec<u64>,
    pub rings: BTreeMap<(usize, usize), Ring>,
    pub clients: Vec<Client>,
    pub attackers: Attackers,
    pub downlink: Downlink,
    /// As the server sees them.
    pub connections: BTreeMap<(usize, ConnectionId), usize>,
    pub slots: u32,
    /// What each connection was told, as far as it matters that it is told once.
    pub told: BTreeMap<(usize, ConnectionId), Told>,
    /// What waits at connections that are not read.
    pub unread: BTreeMap<(usize, ConnectionId), Unread>,
    pub store: Store,
    /// As the operator has it now.
    pub config: ShardConfig,
    /// How often the server was killed or restarted.
    pub restarts: usize,
    /// It was told to stop, and will be started again.
    pub ending: Option<Ending>,
    /// The store does each shard's jobs in order, and answers in order.
    pub store_free: Vec<u64>,
    pub store_answers: Vec<u64>,
    pub store_away_until: u64,
    pub healed: bool,
    /// Its listeners have playout buffers.
    pub plays: bool,
    /// Members of each room when it was last looked.
    pub occupancy: BTreeMap<RoomNumber, usize>,
    full_rings: usize,
    digest: u64,
    broken: Option<String>,
}

/// When a part of a seed is over.
#[derive(Clone, Copy)]
enum Until {
    /// Clients have done all they do.
    Acted,
    /// Nothing is under way.
    Quiet,
    /// It is time.
    Then,
}

/// Runs one seed.
pub fn run(seed: u64, trace: bool) -> Result<Summary, String> {
    let mut world = World::new(seed, trace);
    if trace {
        eprintln!("{:#?}", world.faults);
    }
    world.later(0, Event::Tick);
    world.later(0, Event::Act);
    world.run(u64::MAX, Until::Acted)?;
    world.heal()?;
    checks::at_rest(&world)?;
    let resumed = world.clients.iter().map(|client| client.resumed).sum();
    let voice = world.clients.iter().map(|client| client.heard_frames.len()).sum();
    let played = world.clients.iter().map(Client::played).sum();
    Ok(Summary {
        voice,
        played,
        restarts: world.restarts,
        lines: world.store.lines.len(),
        resumed,
        full_rings: world.full_rings,
        digest: world.digest,
    })
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let faults = Faults::draw(&mut random, &mut ChaCha8Rng::seed_from_u64(!seed));
        let shards = 2 + (random.next_u32() % 3) as u8;
        let mut rings = BTreeMap::new();
        for source in 0..usize::from(shards) {
            for target in (0..usize::from(shards)).filter(|target| *target != source) {
                let spare = random.next_u32() as usize % (faults.ring_spare + 1);
                let capacity = RECORD_BYTES_MAX + RECORD_PREFIX_BYTES + spare;
                rings.insert(
                    (source, target),
                    Ring { records: VecDeque::new(), bytes: 0, capacity, pushed: 0, taken_at: 0 },
                );
            }
        }
        let speakers_max = random.next_u32() % 3;
        let seeds: Vec<u8> = (0..shards).map(|_| random.next_u32() as u8).collect();
        let mut store = Store::default();
        let config = restart::config(speakers_max, restart::limits(faults.tight_limits));
        let kernels = restart::start(&seeds, 0, &config, &mut store);
        let plays = random.next_u64().is_multiple_of(PLAYOUT_ONE_IN);
        let clients = Client::some(&mut random, &faults, plays);
        let mut world = Self {
            random,
            faults,
            trace,
            time: 0,
            order: 0,
            busy: 0,
            events: BTreeMap::new(),
            stalled_until: vec![0; kernels.len()],
            shards: kernels,
            rings,
            clients,
            attackers: Attackers::default(),
            downlink: Downlink::default(),
            connections: BTreeMap::new(),
            slots: 0,
            told: BTreeMap::new(),
            unread: BTreeMap::new(),
            store,
            config,
            restarts: 0,
            ending: None,
            store_free: vec![0; usize::from(shards)],
            store_answers: vec![0; usize::from(shards)],
            store_away_until: 0,
            healed: false,
            plays,
            occupancy: BTreeMap::new(),
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

    /// Whether it is the turn of something that happens once in so many times; 0: never.
    pub fn one_in(&mut self, times: u64) -> bool {
        times > 0 && self.below(times) == 0
    }

    pub fn later(&mut self, us: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.time + us, self.order), event);
    }

    /// A delay: mostly short, at times very long while the seed is young.
    pub fn delay(&mut self) -> u64 {
        if self.healed {
            return self.below(300);
        }
        let is_spike = self.one_in(self.faults.spike_one_in);
        self.below(if is_spike { self.faults.spike_us } else { self.faults.delay_us })
    }

    pub fn is_traced(&self) -> bool {
        self.trace
    }

    pub fn is_healed(&self) -> bool {
        self.healed
    }

    /// A promise is broken: the seed ends.
    pub fn break_with(&mut self, broken: String) {
        self.broken.get_or_insert(broken);
    }

    /// Of every byte that a client gets.
    pub fn digest(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Until then, or `until` says so.
    fn run(&mut self, end: u64, until: Until) -> Result<(), String> {
        let mut actions = 0;
        loop {
            let is_over = match until {
                Until::Acted => actions == ACTIONS,
                Until::Quiet => self.time > self.busy + QUIET_US && self.is_answered(),
                Until::Then => false,
            };
            let Some(entry) = self.events.first_entry().filter(|entry| !is_over && entry.key().0 <= end) else { break };
            let (time, order) = *entry.key();
            let event = entry.remove();
            self.time = time;
            let stall = event.shard(self.shards.len()).map_or(0, |shard| self.stalled_until[shard]);
            if stall > time {
                self.events.insert((stall, order), event);
                continue;
            }
            actions += u64::from(matches!(event, Event::Act));
            if matches!(event, Event::ToServer(..) | Event::ToClient(..) | Event::ServerClosed(..) | Event::Hash(..)) {
                self.busy = time;
            }
            self.event(event);
            self.refill(false);
            if let Some(broken) = self.broken.take() {
                return Err(format!("at {} us: {broken}", self.time));
            }
        }
        Ok(())
    }

    fn is_answered(&self) -> bool {
        self.clients.iter().all(|client| client.unanswered() == 0)
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Accepted(shard, connection) => self.accepted(shard, connection),
            Event::ToServer(shard, connection, bytes) => self.readable(shard, connection, bytes),
            Event::Readable(shard, connection) => self.read_on(shard, connection),
            Event::ToClient(client, shard, connection, bytes) => self.arrived(client, shard, connection, &bytes),
            Event::Drained(shard, connection, bytes) if self.is_open(shard, connection) => {
                self.input(shard, Input::Drained { connection, bytes });
            }
            Event::Drained(..) => {}
            Event::ClientClosed(client, shard, connection) => {
                if self.clients[client].connection == Some((shard, connection)) {
                    self.clients[client].connection = None;
                    self.tell(client, echomesh_client::Input::Closed);
                }
            }
            Event::ServerClosed(shard, connection) => {
                if self.is_open(shard, connection) {
                    self.connections.remove(&(shard, connection));
                    self.attackers.connections.remove(&(shard, connection));
                    self.unread.remove(&(shard, connection));
                    self.told.remove(&(shard, connection));
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
            Event::Uplink(source, received, datagram) => self.uplink(source, received, datagram),
            Event::Downlink(target, datagram) => self.downlinked(target, datagram),
            Event::Talk(client, frames) => self.talk(client, frames),
            Event::Roams(client) if !self.healed => self.roam(client),
            Event::Roams(_) => {}
            Event::StoreDoes(shard, request) => self.store_does(shard, request),
            Event::Store(shard, reply) => self.input(shard, Input::Store(reply)),
            Event::Hash(shard, reply) => self.input(shard, Input::Hash(reply)),
            Event::Drains(shard) => self.drains(shard),
            Event::Stops(shard) => self.stops(shard),
            Event::Restart => self.restart(),
            Event::Reloads(shard) => self.reloads(shard),
            Event::Tick => self.tick(),
            Event::Act if !self.healed => {
                self.act();
                let pause = self.below(40_000);
                self.later(pause, Event::Act);
            }
            Event::Act => {}
        }
    }

    fn tick(&mut self) {
        for shard in 0..self.shards.len() {
            if self.stalled_until[shard] > self.time {
                continue;
            }
            self.input(shard, Input::Tick);
            self.look_at_bounds(shard);
            self.look_at_end(shard);
        }
        for client in 0..self.clients.len() {
            self.tell(client, echomesh_client::Input::Tick);
        }
        self.later(TICK_US, Event::Tick);
    }

    fn look_at_bounds(&mut self, shard: usize) {
        if let Some(over) = self.shards[shard].over_its_bound() {
            self.break_with(format!("shard {shard}: {over}"));
        }
    }

    pub fn refill(&mut self, all: bool) {
        for shard in 0..self.shards.len() {
            let waits = self.shards[shard].waits_for_rings();
            self.full_rings += usize::from(!waits.is_empty());
            if !waits.is_empty() {
                self.look_at_bounds(shard);
            }
            if self.stalled_until[shard] > self.time {
                continue;
            }
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

    pub fn input(&mut self, shard: usize, input: Input<'_>) {
        if self.trace && !matches!(input, Input::Tick | Input::RingFree { .. } | Input::Drained { .. }) {
            eprintln!("{:>10} us shard {shard}: {input:?}", self.time);
        }
        let (now, mut effects) = (self.now(), Effects::default());
        let may_admit = matches!(input, Input::MeshControl { .. } | Input::Bytes { .. } | Input::Hash(_));
        self.shards[shard].handle(now, input, &mut effects);
        if may_admit && let Err(broken) = checks::room_for_all(&self.shards[shard], &mut self.occupancy) {
            self.break_with(broken);
        }
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
                self.attackers.connections.remove(&(shard, connection));
                self.unread.remove(&(shard, connection));
                self.told.remove(&(shard, connection));
                if let Some(client) = self.connections.remove(&(shard, connection)) {
                    let at = self.clients[client].departs.max(self.time);
                    self.later(at - self.time, Event::ClientClosed(client, shard, connection));
                }
            }
            Effect::MeshControl { target, record } => self.push(shard, target.index(), bytes[record].to_vec()),
            Effect::Store(request) => self.ask_store(shard, request),
            Effect::Hash(request) => self.ask_hasher(shard, request),
            Effect::PauseReading { connection } => self.set_reading(shard, connection, true),
            Effect::ResumeReading { connection } => self.set_reading(shard, connection, false),
            Effect::Voice(_) | Effect::PeerSet { .. } | Effect::PeerMoved { .. } | Effect::PeerGone { .. } => {
                self.voice_effect(shard, effect, peers, bytes, packet);
            }
            Effect::Report { peer, compound, index } => {
                self.report(shard, peer, &bytes[compound], index);
            }
        }
    }

    /// A record goes into a ring, and its target is woken.
    fn push(&mut self, source: usize, target: usize, record: Vec<u8>) {
        let delay = self.delay();
        let ring = self.rings.get_mut(&(source, target)).expect("a ring for each pair");
        ring.bytes += record.len() + RECORD_PREFIX_BYTES;
        ring.taken_at = ring.taken_at.max(self.time + delay);
        let at = ring.taken_at;
        if ring.bytes > ring.capacity {
            self.broken = Some(format!("ring {source} to {target} is over its capacity"));
        }
        ring.records.push_back(record);
        ring.pushed += 1;
        if mistakes::loses_wake_up(ring.pushed) {
            return;
        }
        self.later(at - self.time, Event::Mesh(source, target));
    }

    /// Until all must be answered and told: when nothing happens any more, or the time for it is over.
    pub fn rest(&mut self) -> Result<(), String> {
        self.busy = self.time;
        self.run(self.time + HEALING_US, Until::Quiet)
    }

    /// For so long, whatever happens.
    pub fn wait(&mut self, us: u64) -> Result<(), String> {
        let end = self.time + us;
        self.run(end, Until::Then)?;
        self.time = end;
        Ok(())
    }
}
