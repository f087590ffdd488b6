//! The shard kernel: every rule of the EchoMesh server, and no I/O.
//!
//! A server is N shards. Each owns the connections it accepted, the rooms and accounts whose home it
//! is, and the voice streams placed on it. [`Shard::handle`] takes one [`Input`], a clock reading and
//! a buffer of [`Effects`] to fill; the driver carries the effects out. The same inputs in the same
//! order give the same effects: time and entropy are inputs, and no map here has a random order.
//!
//! # Layout
//! - [`input`], [`effect`], [`jobs`], [`config`], [`counters`], [`histogram`], [`held`]: the boundary.
//! - `connection`: the control connections; `requests`, `login`: what clients may ask.
//! - `admission`, `throttle`, `guesses`, `memory`: how much of it, from one address, connection or account, and in all;
//!   by `rates`.
//! - `accounts`: tokens, invitations, passwords, guests, what commands on the machine did.
//! - `moderation`, `rights`, `bans`: who may do what to whom. `rooms`: making, setting, entering and ending rooms.
//!   `chat`: history, changes, direct lines, what was seen.
//! - `session`: sessions and the account's home; `saving`: those that outlive the server; `home`: a room's home;
//!   `replica`: rooms as each shard knows them.
//! - `changing`: settings that change while it runs. `stopping`: the end.
//! - `voice`: streams, numbering, fan-out. `mesh`: what shards say to each other.
//! - [`overview`]: what an operator who looks is shown. `audit`: what a simulator asks of the state. `mistakes`: those
//!   planted to test the simulator.
//!
//! # Panics
//! A panic means a bug of this crate, never of a peer's bytes.
#![forbid(unsafe_code)]

pub mod accounts;
mod admission;
mod audit;
mod bans;
mod changing;
mod chat;
pub mod config;
mod connection;
pub mod counters;
pub mod effect;
mod guesses;
pub mod held;
pub mod histogram;
mod home;
pub mod input;
pub mod jobs;
mod login;
mod memory;
mod mesh;
#[cfg(feature = "mistakes")]
pub mod mistakes;
#[cfg(not(feature = "mistakes"))]
mod mistakes;
mod moderation;
pub mod names;
pub mod overview;
pub mod rates;
mod replica;
mod requests;
pub mod rights;
mod rooms;
mod saving;
mod session;
mod stopping;
mod table;
mod throttle;
pub mod voice;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use echomesh_proto::ids::{ConnectionId, PeerId, RoomNumber, SessionId, ShardId, ShardSet, Ssrc, UserId};
use echomesh_proto::time::{MILLISECOND_US, Now, Time};
use prost::Message;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

pub use bans::{Ban, Network};
pub use chat::jobs as chat_jobs;
pub use config::{Limits, Registration, ShardConfig, ShardSettings, StoredRoom};
pub use counters::{CloseReason, Counters, Drop, LoginOutcome, Occupancy, Reported};
pub use effect::{Effect, Effects, Voice};
pub use held::Held;
pub use histogram::{BUCKETS_MAX, Histogram};
pub use input::{ClosedCause, Input, READ_BYTES_MAX, Security, TICK_US};
pub use jobs::{
    Act, HashOutcome, HashReply, HashRequest, JobToken, LoggedAct, StoreJob, StoreOutcome, StoreReply, StoreRequest,
};
pub use mesh::{RECORD_BYTES_MAX, RECORD_PREFIX_BYTES};
pub use overview::Overview;
pub use rates::Rate;
pub use rooms::Properties;
pub use saving::SavedSession;

use accounts::{Chores, SignOut};
use admission::Admission;
use bans::Bans;
use chat::{DirectDesk, Marks, Retention};
use connection::Connection;
use guesses::Guesses;
use home::HomeRoom;
use memory::Memory;
use mesh::{Ask, Mesh, MeshMsg, Outbox, ToHome};
use mistakes::{Mistake, planted};
use moderation::{RoleChange, Staff};
use rates::Buckets;
use replica::Replica;
use rights::Access;
use rooms::Endings;
use saving::Saving;
use session::{Session, SessionPlace};
use stopping::Ending;
pub(crate) use table::{ChatJob, Job, Jobs};
use voice::{Path, Stream};

/// Ticks in which all deadlines are looked at once: each connection about once a second.
const DEADLINE_TICKS: usize = 20;

/// A room that exists, as every shard knows it.
#[derive(Debug)]
struct KnownRoom {
    number: RoomNumber,
    name: String,
    home: ShardId,
    properties: Properties,
    /// Accounts that manage it by their own name, in order.
    managers: Vec<u64>,
    /// As its home has told.
    members: u32,
}

/// One shard's rules and state.
pub struct Shard {
    config: ShardConfig,
    now: Now,
    random: ChaCha20Rng,
    counters: Counters,
    ending: Ending,
    ticks: usize,

    connections: Vec<Option<Box<Connection>>>,
    admission: Admission,
    memory: Memory,
    guesses: Guesses,
    /// Who made accounts of late.
    makers: Buckets<Network>,
    /// Connections that sent more than their rate, and are not read from.
    slowed: Vec<ConnectionId>,
    /// Connections with frames that may take effect now.
    ready: VecDeque<ConnectionId>,
    /// Connections that wait for a congested ring.
    held_back: Vec<ConnectionId>,
    sessions: BTreeMap<SessionId, Session>,
    /// Sessions without connection, oldest first.
    detached: BTreeSet<(Time, SessionId)>,
    /// All bans of the server and its rooms.
    bans: Bans,
    /// Roles that changed a moment ago, oldest first.
    role_changes: VecDeque<RoleChange>,
    /// What the staff shard remembers.
    staff: Staff,
    /// Sessions that were ended a moment ago, oldest first.
    sign_outs: VecDeque<(Time, SignOut)>,
    /// What the staff shard does now and then.
    chores: Chores,
    /// What accounts have seen and is not stored yet.
    marks: Marks,
    direct_desk: DirectDesk,
    retention: Retention,
    /// Accounts whose home this is: where their sessions live.
    accounts: BTreeMap<UserId, BTreeMap<SessionId, SessionPlace>>,
    jobs: Jobs,
    saving: Saving,
    endings: Endings,
    /// Rooms whose number of members the other shards were not told.
    counts_changed: BTreeSet<RoomNumber>,

    /// Every room of the server, by key.
    directory: BTreeMap<String, KnownRoom>,
    /// The key of each room in the directory.
    room_keys: BTreeMap<RoomNumber, String>,
    /// Rooms whose home this is.
    homes: BTreeMap<RoomNumber, HomeRoom>,
    /// Rooms with members or streams here.
    replicas: BTreeMap<RoomNumber, Replica>,

    streams: BTreeMap<Ssrc, Stream>,
    /// Streams whose client spoke just now, at the last tick.
    speakers: u64,
    session_streams: BTreeMap<(RoomNumber, SessionId), Ssrc>,
    /// The room of each stream that the replicas here know.
    stream_rooms: BTreeMap<Ssrc, RoomNumber>,
    free_peers: Vec<PeerId>,
    /// Streams whose output numbers rolled over since the last tick.
    rolled: Vec<Ssrc>,
    /// What listeners here lose of other shards' streams, since the last tick: stream, 256ths, milliseconds.
    losses: Vec<(Ssrc, u8, u16)>,
    /// Voice has put something into a control ring.
    unsettled: bool,
    /// Voice frames of connections taken in this call.
    voice_frames: u32,
    ssrcs_given: u32,
    ssrc_offset: u32,

    /// Messages to ourselves.
    local: VecDeque<Mesh>,
    outboxes: Vec<Outbox>,
}

impl Shard {
    /// A shard at start.
    #[must_use]
    pub fn new(mut config: ShardConfig) -> Self {
        let mut random = ChaCha20Rng::from_seed(config.seed);
        let ssrc_offset = random.next_u32();
        let outboxes = (0..config.shards).map(|_| Outbox::default()).collect();
        let rooms = std::mem::take(&mut config.rooms);
        let bans = Bans::new(std::mem::take(&mut config.bans));
        let saving = Saving::new(std::mem::take(&mut config.sessions));
        let endings = Endings::new(std::mem::take(&mut config.ended_rooms));
        let mut shard = Self {
            config,
            now: Now::default(),
            random,
            counters: Counters::default(),
            ending: Ending::Serving,
            ticks: 0,
            connections: Vec::new(),
            admission: Admission::default(),
            memory: Memory::default(),
            guesses: Guesses::default(),
            makers: Buckets::new(guesses::KEYS_MAX),
            slowed: Vec::new(),
            ready: VecDeque::new(),
            held_back: Vec::new(),
            sessions: BTreeMap::new(),
            detached: BTreeSet::new(),
            bans,
            role_changes: VecDeque::new(),
            staff: Staff::default(),
            sign_outs: VecDeque::new(),
            chores: Chores::default(),
            marks: Marks::default(),
            direct_desk: DirectDesk::default(),
            retention: Retention::default(),
            accounts: BTreeMap::new(),
            jobs: Jobs::default(),
            saving,
            endings,
            counts_changed: BTreeSet::new(),
            directory: BTreeMap::new(),
            room_keys: BTreeMap::new(),
            homes: BTreeMap::new(),
            replicas: BTreeMap::new(),
            streams: BTreeMap::new(),
            speakers: 0,
            session_streams: BTreeMap::new(),
            stream_rooms: BTreeMap::new(),
            free_peers: Vec::new(),
            rolled: Vec::new(),
            losses: Vec::new(),
            unsettled: false,
            voice_frames: 0,
            ssrcs_given: 0,
            ssrc_offset,
            local: VecDeque::new(),
            outboxes,
        };
        for room in rooms {
            let home = shard.home_of(&room.key);
            let StoredRoom { number, key, name, properties, creator, newest_line, standings } = room;
            let access = Access::new(creator, standings);
            let managers = access.managers();
            if home == shard.config.shard {
                let mut at_home = HomeRoom::new(name.clone(), properties.clone(), shard.config.shards, access);
                at_home.newest_line = newest_line;
                shard.homes.insert(number, at_home);
            }
            shard.room_keys.insert(number, key.clone());
            shard.directory.insert(key, KnownRoom { number, name, home, properties, managers, members: 0 });
        }
        shard
    }

    /// Takes one input and appends what is to be done to `effects`.
    pub fn handle(&mut self, now: Now, input: Input<'_>, effects: &mut Effects) {
        self.now = now;
        self.voice_frames = 0;
        if self.has_sessions_to_restore() {
            self.restore_sessions(now);
        }
        match input {
            Input::Datagram { source, received, datagram } => {
                self.packet(now, Path::Udp(source), received, datagram, effects);
                return self.settle_voice(now, effects);
            }
            Input::MeshVoice { record, .. } => {
                self.mesh_voice(now, record, effects);
                return self.settle_voice(now, effects);
            }
            Input::Accepted { connection, remote, local } => {
                self.accepted(now, connection, remote.ip(), local.ip(), effects);
            }
            Input::Opened { connection, security } => self.opened(connection, security, effects),
            Input::Bytes { connection, bytes } => self.received(now, connection, bytes),
            Input::Drained { connection, bytes } => self.drained(connection, bytes),
            Input::Closed { connection, cause } => self.closed(now, connection, cause),
            Input::MeshControl { source, record } => match MeshMsg::decode(record).ok().and_then(|msg| msg.body) {
                Some(mesh) => self.mesh(now, source, mesh, effects),
                None => self.counters.drop(Drop::MeshBadRecord),
            },
            Input::RingFree { target, bytes } => self.ring_free(target, bytes),
            Input::Store(reply) => self.stored(now, reply, effects),
            Input::Hash(reply) => self.hashed(now, reply, effects),
            Input::Tick => self.tick(now, effects),
            Input::Settings(settings) => self.settings_changed(*settings),
            Input::Drain => self.drain(effects),
            Input::Shutdown => self.shutdown(now, effects),
        }
        self.settle(now, effects);
    }

    /// Shards whose control ring has waiting records: tell `Input::RingFree` when it has room.
    #[must_use]
    pub fn waits_for_rings(&self) -> ShardSet {
        let mut set = ShardSet::default();
        for (shard, _) in self.outboxes.iter().enumerate().filter(|(_, outbox)| outbox.is_waiting()) {
            set.insert(ShardId(shard as u8));
        }
        set
    }

    /// What it holds. Cost: a look at each other shard's outbox.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            sessions: self.sessions.len() as u64,
            detached: self.detached.len() as u64,
            streams: self.streams.len() as u64,
            speakers: self.speakers,
            rooms: self.homes.len() as u64,
            storing: self.jobs.storing().into(),
            reading: self.jobs.reading().into(),
            hashing: self.jobs.hashing().into(),
            outbox_bytes: self.outboxes.iter().map(|outbox| outbox.bytes() as u64).sum(),
            memory_bytes: self.memory.held() as u64,
            memory_bytes_max: self.config.limits.memory_bytes_max as u64,
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Voice asks for nothing more, unless a copy went into a control ring.
    fn settle_voice(&mut self, now: Now, effects: &mut Effects) {
        if std::mem::take(&mut self.unsettled) {
            self.settle(now, effects);
        }
    }

    /// Works off what this input made possible: messages to ourselves, then frames that waited for an
    /// answer, then the rings.
    fn settle(&mut self, now: Now, effects: &mut Effects) {
        loop {
            if let Some(mesh) = self.local.pop_front() {
                self.mesh(now, self.config.shard, mesh, effects);
            } else if let Some(id) = self.ready.pop_front() {
                self.serve(now, id, effects);
            } else {
                break;
            }
        }
        for target in 0..self.config.shards {
            while let Some(record) = self.outboxes[usize::from(target)].pop() {
                let start = effects.bytes.len();
                effects.bytes.extend_from_slice(&record);
                let record = start..effects.bytes.len();
                effects.list.push(Effect::MeshControl { target: ShardId(target), record });
            }
        }
        // Where the rings took all that was in the way, nobody will tell that they have room.
        let nothing_waits = self.waits_for_rings().is_empty() && !planted(Mistake::ForgetHeldBack);
        if nothing_waits && !self.held_back.is_empty() {
            self.ready.extend(self.held_back.drain(..));
            self.settle(now, effects);
        }
    }

    fn mesh(&mut self, now: Now, source: ShardId, mesh: Mesh, effects: &mut Effects) {
        match mesh {
            Mesh::ToHome(request) => self.at_home(now, source, request, effects),
            Mesh::Answer(answer) => match answer.msg.body {
                Some(body) => self.answer(answer.asker, body, effects),
                None => self.counters.drop(Drop::MeshBadRecord),
            },
            Mesh::RoomKnown(room) => self.room_known(source, room),
            Mesh::Replica(delta) => self.replica_delta(now, delta, effects),
            Mesh::ReplicaDrop(room) => {
                self.drop_replica(RoomNumber(room));
            }
            Mesh::Line(line) => self.line(&line, effects),
            Mesh::Placed(note) => self.placed(&note, effects),
            Mesh::Displaced(note) => self.displaced(&note, effects),
            Mesh::OpenStream(ask) => self.open_stream(source, &ask, effects),
            Mesh::CloseStream(ask) => self.close_stream(Ssrc(ask.ssrc), effects),
            Mesh::SessionOpen(note) => self.session_open(source, note),
            Mesh::SessionOpened(note) => self.session_opened(note, effects),
            Mesh::SessionClosed(note) => self.session_closed(&note),
            Mesh::TakeFromHome(note) => self.take_from_home(note, effects),
            Mesh::Take(note) => self.take_session(now, &note, effects),
            Mesh::SessionRecord(record) => self.session_arrived(now, record, effects),
            Mesh::SessionMoved(note) => self.session_moved(source, &note),
            Mesh::SaveAgain(note) => self.save_again(note),
            Mesh::SessionStays(note) => self.session_stays(&note),
            Mesh::Levels(report) => self.levels(now, &report),
            Mesh::Selected(selected) => self.selected(&selected),
            Mesh::Losses(losses) => self.listeners_lost(&losses),
            Mesh::TunnelIn(tunnel) => self.tunnelled(now, source, tunnel, effects),
            Mesh::TunnelOut(out) => self.tunnel_out(out, effects),
            Mesh::Order(order) => self.order(now, order, effects),
            Mesh::Banned(ban) => self.banned(now, ban, effects),
            Mesh::Unbanned(id) => self.bans.remove(id),
            Mesh::RoleSet(note) => self.role_set(now, &note),
            Mesh::Expel(note) => self.expel(&note, effects),
            Mesh::Reported(state) => self.reported(state, effects),
            Mesh::RoomGone(room) => self.room_gone(RoomNumber(room)),
            Mesh::RoomCounts(counts) => self.room_counts(&counts),
            Mesh::Guess(guess) => self.note_guess(now, &guess),
            Mesh::Guessed(answer) => self.guessed(answer, effects),
            Mesh::Relocate(note) => self.relocate(&note),
            Mesh::SignOut(sign_out) => self.signed_out(now, sign_out, effects),
            Mesh::Direct(ask) => self.direct(now, ask, effects),
            Mesh::DirectLine(line) => self.direct_line(line, effects),
        }
    }

    /// Sends to a shard, ourselves included, in order.
    fn tell(&mut self, target: ShardId, mesh: Mesh) {
        if target == self.config.shard {
            self.local.push_back(mesh);
        } else {
            let bytes_max = self.config.limits.outbox_bytes_max;
            self.outboxes[target.index()].push(&MeshMsg { body: Some(mesh) }, bytes_max);
        }
    }

    /// The home of a room: as the directory has it, else where its key says it would be made.
    fn home_of(&self, key: &str) -> ShardId {
        let hashed =
            || ShardId((names::spread(names::parent_of(key).unwrap_or(key)) % u64::from(self.config.shards)) as u8);
        self.directory.get(key).map_or_else(hashed, |known| known.home)
    }

    fn tell_home(&mut self, key: &str, request: ToHome) {
        self.tell(self.home_of(key), Mesh::ToHome(request));
    }

    fn is_congested(&self, shard: ShardId) -> bool {
        self.outboxes[shard.index()].is_congested(self.config.limits.outbox_bytes_max)
    }

    fn congested(&self) -> bool {
        self.outboxes.iter().any(|outbox| outbox.is_congested(self.config.limits.outbox_bytes_max))
    }

    fn ring_free(&mut self, target: ShardId, bytes: usize) {
        self.outboxes[target.index()].set_credit(bytes);
        if !self.held_back.is_empty() && !planted(Mistake::ForgetHeldBack) {
            self.ready.extend(self.held_back.drain(..));
        }
    }

    /// Sends a job to the store, if it has room for one more.
    fn ask_store(&mut self, job: Job, store: StoreJob, effects: &mut Effects) -> bool {
        let has_room = self.store_has_room() && self.rings_have_room(job.told_bytes());
        if has_room {
            self.send_to_store(job, store, effects);
        }
        has_room
    }

    /// An eighth of its queue is for what is written at a stop.
    fn store_has_room(&self) -> bool {
        let most = self.config.limits.store_requests_max;
        self.jobs.storing() < if self.is_stopping() { most } else { most - most / 8 }
    }

    /// Whether so many bytes more may be told by what waits for the store: its answers may come all at once, and find an
    /// outbox that is half full.
    fn rings_have_room(&self, bytes: usize) -> bool {
        bytes == 0 || self.jobs.telling() + bytes <= self.config.limits.outbox_bytes_max / 2
    }

    /// Sends a job to the store, which has room for it.
    fn send_to_store(&mut self, job: Job, store: StoreJob, effects: &mut Effects) {
        let token = self.jobs.insert(job);
        effects.list.push(Effect::Store(StoreRequest { token, job: store }));
    }

    fn stored(&mut self, now: Now, reply: StoreReply, effects: &mut Effects) {
        match self.jobs.take(reply.token) {
            Some(Job::Login(asker)) => self.login_stored(now, asker, reply.outcome, effects),
            Some(Job::Claim(asker, user)) => self.claim_stored(now, asker, user, &reply.outcome, effects),
            Some(Job::CreateRoom(pending)) => self.room_stored(now, *pending, &reply.outcome, effects),
            Some(Job::EndRoom(room)) => self.ending_stored(room, &reply.outcome),
            Some(Job::Sweep) => self.room_swept(&reply.outcome),
            Some(Job::Save(sessions, gone)) => self.sessions_saved(sessions, gone, &reply.outcome),
            Some(Job::Chat(job)) => self.chat_stored(*job, reply.outcome, effects),
            Some(job @ (Job::Target(_) | Job::Order(_) | Job::Audit(_))) => {
                self.moderation_stored(now, job, reply.outcome, effects);
            }
            Some(Job::Account(job)) => self.account_stored(now, *job, reply.outcome, effects),
            Some(Job::OperatorActs) => self.operator_acted(now, reply.outcome),
            Some(Job::Aside) => {}
            Some(Job::Chatting(pending)) => self.chat_replied(now, *pending, reply.outcome, effects),
            Some(
                Job::Hash(_)
                | Job::AccountHash(_)
                | Job::Rehash(..)
                | Job::RoomSecret(_)
                | Job::OrderSecret(_)
                | Job::RoomPassword(_),
            )
            | None => self.counters.drop(Drop::StaleAnswer),
        }
    }

    fn hashed(&mut self, now: Now, reply: HashReply, effects: &mut Effects) {
        self.guess_was_hashed(now, &reply);
        match self.jobs.take(reply.token) {
            Some(Job::Hash(asker)) => self.login_hashed(now, asker, reply.outcome, effects),
            Some(Job::AccountHash(job)) => self.account_hashed(*job, reply.outcome, effects),
            Some(Job::Rehash(user, old)) => self.rehashed(user, old, reply.outcome, effects),
            Some(Job::RoomSecret(pending)) => self.room_secret_hashed(now, pending, reply.outcome, effects),
            Some(Job::OrderSecret(order)) => self.order_secret_hashed(now, *order, reply.outcome, effects),
            Some(Job::RoomPassword(pending)) => self.room_password_hashed(*pending, reply.outcome, effects),
            _ => self.counters.drop(Drop::StaleAnswer),
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects) {
        self.ticks += 1;
        let mut slot = self.ticks % DEADLINE_TICKS;
        while slot < self.connections.len() {
            self.check_deadlines(now, slot, effects);
            slot += DEADLINE_TICKS;
        }
        self.slowed_tick(now);
        self.expire_detached(now);
        self.forget_role_changes(now);
        self.forget_sign_outs(now);
        self.do_chores(now, effects);
        self.tell_rollovers();
        self.loudest_tick(now);
        self.report_tick(now, effects);
        self.marks_tick(now, effects);
        self.retention_tick(now, effects);
        self.flush_all(now, effects);
        self.saving_tick(effects);
        self.endings_tick(now, effects);
        self.counts_tick();
    }
}

/// When to try again after a wait, milliseconds.
fn retry_ms(wait_us: u64) -> u32 {
    u32::try_from(wait_us.div_ceil(MILLISECOND_US)).unwrap_or(u32::MAX)
}

/// A note to a room's home about a session, with nobody waiting for an answer.
fn home_request(room: RoomNumber, session: SessionId, moves: u32, ask: Ask) -> ToHome {
    ToHome { room: room.0, session: session.0, moves, ask: Some(ask), ..ToHome::default() }
}
