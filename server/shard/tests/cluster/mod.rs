//! Several shards joined by ideal rings, an in-memory store and an instant hasher, in virtual time:
//! the ground of the kernel's tests. Not the simulator: nothing here fails or is late.

#![allow(dead_code, reason = "each test program uses its part")]

mod accounts;
pub mod memory;
mod microphone;
pub mod rooms;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use echomesh_proto::control::{
    AuditEntry, Body, ChatMsg, EchoMsg, LoginRequest, LoginResponse, Moderation, ModerationAction, Role, RoomAction,
    RoomActionType, StatusCode, VoiceAnnounce,
};
use echomesh_proto::framing::FrameDecoder;
use echomesh_proto::ids::{ConnectionId, PeerId, ShardId, UserId};
use echomesh_proto::srtp::MasterKey;
use echomesh_proto::time::{Now, Time};
use echomesh_shard::chat_jobs::Place;
use echomesh_shard::voice::VoiceHeader;
use echomesh_shard::{
    Act, CloseReason, ClosedCause, Effect, Effects, HashOutcome, HashReply, Input, Limits, LoggedAct, Registration,
    Security, Shard, ShardConfig, StoreJob, StoreOutcome, StoreReply, StoreRequest, TICK_US,
};
use memory::{Accounts, Memory};
pub use microphone::Microphone;
use prost::Message;

/// A client's connection: which shard, which id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    pub shard: usize,
    pub id: ConnectionId,
}

/// A packet that left for a listener.
#[derive(Clone, Debug)]
pub struct Heard {
    pub shard: usize,
    pub address: SocketAddr,
    pub header: VoiceHeader,
    pub payload: Vec<u8>,
}

/// An RTCP compound for a client, before it is sealed.
pub struct Report {
    pub address: SocketAddr,
    pub index: u32,
    pub compound: Vec<u8>,
}

pub struct Cluster {
    pub shards: Vec<Shard>,
    pub now: Now,
    pub inbox: BTreeMap<Client, Vec<EchoMsg>>,
    pub closed: BTreeMap<Client, CloseReason>,
    pub reports: Vec<Report>,
    pub heard: Vec<Heard>,
    pub voice_records: usize,
    /// Clients whose bytes never drain.
    pub stalled: Vec<Client>,
    pub paused: Vec<Client>,
    pub store_fails: bool,
    /// The store takes jobs and never answers.
    pub store_is_silent: bool,
    accounts: Accounts,
    /// Tokens, invitations, and what commands on the machine did.
    pub kept: accounts::Kept,
    /// What is stored of rooms and sessions.
    pub stored: rooms::Rooms,
    /// The audit log, oldest first.
    pub audit: Vec<AuditEntry>,
    pub memory: Memory,
    control: VecDeque<(usize, usize, Vec<u8>)>,
    voice: VecDeque<(usize, usize, Vec<u8>)>,
    peers: Vec<BTreeMap<PeerId, (SocketAddr, MasterKey)>>,
    jobs: VecDeque<(usize, StoreReply)>,
    hashes: VecDeque<(usize, HashReply)>,
    /// The hashers' answers are held back.
    pub hold_hashes: bool,
    pub held_hashes: Vec<(usize, HashReply)>,
    decoders: BTreeMap<Client, FrameDecoder>,
    generation: u32,
}

pub fn config(shard: u8, shards: u8) -> ShardConfig {
    ShardConfig {
        shard: ShardId(shard),
        shards,
        seed: [shard + 1; 32],
        server_name: "test".into(),
        server_version: "0".into(),
        motd: String::new(),
        voice_port: 8888,
        registration: Registration::Open,
        guests: false,
        plaintext_anywhere: false,
        speakers_max: 0,
        spread_after: 256,
        retention_days: 0,
        limits: Limits::default(),
        rooms: Vec::new(),
        bans: Vec::new(),
        sessions: Vec::new(),
        ended_rooms: Vec::new(),
    }
}

impl Cluster {
    pub fn new(shards: u8) -> Self {
        Self::with(shards, |_| {})
    }

    pub fn with(shards: u8, change: impl Fn(&mut ShardConfig)) -> Self {
        let kernel = |shard| {
            let mut config = config(shard, shards);
            change(&mut config);
            Shard::new(config)
        };
        let mut cluster = Self {
            shards: (0..shards).map(kernel).collect(),
            now: Now { unix_ms: 1_700_000_000_000, ..Now::default() },
            inbox: BTreeMap::new(),
            closed: BTreeMap::new(),
            reports: Vec::new(),
            heard: Vec::new(),
            voice_records: 0,
            stalled: Vec::new(),
            paused: Vec::new(),
            store_fails: false,
            store_is_silent: false,
            accounts: BTreeMap::new(),
            kept: accounts::Kept::default(),
            stored: rooms::Rooms::default(),
            audit: Vec::new(),
            memory: Memory::default(),
            control: VecDeque::new(),
            voice: VecDeque::new(),
            peers: (0..shards).map(|_| BTreeMap::new()).collect(),
            jobs: VecDeque::new(),
            hashes: VecDeque::new(),
            hold_hashes: false,
            held_hashes: Vec::new(),
            decoders: BTreeMap::new(),
            generation: 0,
        };
        for shard in 0..usize::from(shards) {
            for target in 0..shards {
                cluster.input(shard, Input::RingFree { target: ShardId(target), bytes: 1 << 20 });
            }
        }
        cluster
    }

    pub fn input(&mut self, shard: usize, input: Input<'_>) {
        let packet = match &input {
            Input::MeshVoice { record, .. } => record.to_vec(),
            _ => Vec::new(),
        };
        self.input_with(shard, input, packet);
    }

    fn input_with(&mut self, shard: usize, input: Input<'_>, packet: Vec<u8>) {
        let mut effects = Effects::default();
        self.shards[shard].handle(self.now, input, &mut effects);
        self.apply(shard, effects, &packet);
    }

    pub fn datagram(&mut self, shard: usize, source: SocketAddr, datagram: Vec<u8>) {
        self.late_datagram(shard, source, self.now.time, datagram);
    }

    /// A datagram that the system has had since `received`.
    pub fn late_datagram(&mut self, shard: usize, source: SocketAddr, received: Time, mut datagram: Vec<u8>) {
        let mut effects = Effects::default();
        let input = Input::Datagram { source, received, datagram: &mut datagram };
        self.shards[shard].handle(self.now, input, &mut effects);
        self.apply(shard, effects, &datagram);
        self.run();
    }

    fn apply(&mut self, shard: usize, effects: Effects, packet: &[u8]) {
        let Effects { list, bytes, peers } = effects;
        for effect in list {
            match effect {
                Effect::Send { connection, bytes: range } => self.sent(Client { shard, id: connection }, &bytes[range]),
                Effect::Close { connection, reason } => {
                    self.closed.insert(Client { shard, id: connection }, reason);
                }
                Effect::PauseReading { connection } => self.paused.push(Client { shard, id: connection }),
                Effect::ResumeReading { connection } => self.paused.retain(|client| client.id != connection),
                Effect::MeshControl { target, record } => {
                    self.control.push_back((shard, target.index(), bytes[record].to_vec()));
                }
                Effect::Voice(voice) => {
                    let source = if voice.in_bytes { &bytes[..] } else { packet };
                    let payload = source[voice.payload.clone()].to_vec();
                    for target in voice.relay.iter() {
                        let mut record = voice.header.to_record().to_vec();
                        record.extend_from_slice(&payload);
                        self.voice_records += 1;
                        self.voice.push_back((shard, target.index(), record));
                    }
                    for peer in &peers[voice.peers] {
                        let address = self.peers[shard][peer].0;
                        self.heard.push(Heard { shard, address, header: voice.header, payload: payload.clone() });
                    }
                }
                Effect::Report { peer, compound, index } => {
                    let address = self.peers[shard][&peer].0;
                    self.reports.push(Report { address, index, compound: bytes[compound].to_vec() });
                }
                Effect::PeerSet { peer, address, key } => {
                    self.peers[shard].insert(peer, (address, key));
                }
                Effect::PeerMoved { peer, address } => self.peers[shard].get_mut(&peer).unwrap().0 = address,
                Effect::PeerGone { peer } => {
                    self.peers[shard].remove(&peer).unwrap();
                }
                Effect::Store(_) if self.store_is_silent => {}
                Effect::Store(request) if self.stored.is_held(shard, &request) => self.stored.held.push(request),
                Effect::Store(StoreRequest { token, job }) => {
                    let outcome = self.store(job);
                    self.jobs.push_back((shard, StoreReply { token, outcome }));
                }
                Effect::Hash(request) => {
                    let outcome = match request.verify {
                        Some(hash) if hash == format!("old {}", request.password) => HashOutcome::Outdated,
                        Some(hash) => HashOutcome::Verified(hash == request.password),
                        None => HashOutcome::Hashed(request.password),
                    };
                    let reply = (shard, HashReply { token: request.token, outcome });
                    if self.hold_hashes { self.held_hashes.push(reply) } else { self.hashes.push_back(reply) }
                }
            }
        }
    }

    fn sent(&mut self, client: Client, bytes: &[u8]) {
        let decoder = self.decoders.entry(client).or_default();
        decoder.push(bytes);
        while let Some(frame) = decoder.next_frame().unwrap() {
            self.inbox.entry(client).or_default().push(EchoMsg::decode(frame).unwrap());
        }
        if !self.stalled.contains(&client) && !self.closed.contains_key(&client) {
            self.input(client.shard, Input::Drained { connection: client.id, bytes: bytes.len() });
        }
    }

    /// As if it had always been so in the store.
    pub fn set_role(&mut self, user: UserId, role: Role) {
        let account = self.accounts.values_mut().find(|account| account.0 == user.0).expect("an account");
        account.3 = role;
    }

    fn store(&mut self, job: StoreJob) -> StoreOutcome {
        if self.store_fails {
            return StoreOutcome::Failed;
        }
        match job {
            StoreJob::FindAccount { key } => match self.accounts.get(&key).cloned() {
                Some((user, name, password_hash, role)) => {
                    StoreOutcome::Account { user: UserId(user), name, password_hash, role }
                }
                None => StoreOutcome::NotFound,
            },
            StoreJob::CreateAccount { key, name, password_hash, invitation, time_ms } => {
                if self.accounts.contains_key(&key) {
                    return StoreOutcome::Exists;
                }
                if !invitation.is_empty() && !self.kept.take_use(&invitation, time_ms) {
                    return StoreOutcome::Denied;
                }
                self.kept.users += 1;
                let user = self.kept.users;
                self.accounts.insert(key, (user, name, password_hash, Role::Member));
                StoreOutcome::AccountCreated { user: UserId(user) }
            }
            StoreJob::Accounts(job) => self.accounts_job(*job),
            StoreJob::Claim { user, code, entry } => {
                if code == "right" {
                    self.set_role(user, Role::Owner);
                    self.audit.push(*entry);
                    StoreOutcome::Claimed
                } else {
                    StoreOutcome::Denied
                }
            }
            StoreJob::Moderate(logged) => {
                let LoggedAct { act, mut entry, .. } = *logged;
                self.stored.act(&act);
                match act {
                    Act::SetRole { user, role } => self.set_role(user, role),
                    Act::DeleteLine { room, message_id, time_ms }
                        if !self.memory.delete(Place::Room(room), message_id, time_ms) =>
                    {
                        return StoreOutcome::NotFound;
                    }
                    _ => {}
                }
                let id = self.audit.len() as u64 + 1;
                entry.entry_id = id;
                self.audit.push(entry);
                StoreOutcome::Moderated { id }
            }
            StoreJob::ReadAudit { before, count } => {
                let older = self.audit.iter().rev().filter(|entry| before == 0 || entry.entry_id < before);
                StoreOutcome::Audit(older.take(count as usize).cloned().collect())
            }
            StoreJob::CreateRoom { .. }
            | StoreJob::EndRoom { .. }
            | StoreJob::SweepRoom { .. }
            | StoreJob::SaveSessions { .. } => self.stored.carry_out(job),
            StoreJob::AppendChat { room, user, client_id, content, mentions, time_ms } => {
                self.memory.append(room, user, client_id, content, mentions, time_ms)
            }
            StoreJob::Chat(write) => self.memory.write(&self.accounts, *write),
            StoreJob::ReadChat(read) => self.memory.read(&self.accounts, *read),
        }
    }

    /// Until nothing is under way.
    pub fn run(&mut self) {
        while self.step() {}
    }

    /// The next thing that is under way; false if nothing is.
    pub fn step(&mut self) -> bool {
        if let Some((source, target, record)) = self.control.pop_front() {
            self.input(target, Input::MeshControl { source: ShardId(source as u8), record: &record });
        } else if let Some((source, target, record)) = self.voice.pop_front() {
            self.input(target, Input::MeshVoice { source: ShardId(source as u8), record: &record });
        } else if let Some((shard, reply)) = self.jobs.pop_front() {
            self.input(shard, Input::Store(reply));
        } else if let Some((shard, reply)) = self.hashes.pop_front() {
            self.input(shard, Input::Hash(reply));
        } else {
            return self.refill();
        }
        true
    }

    /// Listeners that the shards' drivers would send to.
    pub fn peers(&self) -> usize {
        self.peers.iter().map(BTreeMap::len).sum()
    }

    fn refill(&mut self) -> bool {
        let mut refilled = false;
        for shard in 0..self.shards.len() {
            for target in self.shards[shard].waits_for_rings().iter() {
                self.input(shard, Input::RingFree { target, bytes: 1 << 20 });
                refilled = true;
            }
        }
        refilled
    }

    /// Passes time in ticks.
    pub fn pass(&mut self, us: u64) {
        for _ in 0..us.div_ceil(TICK_US) {
            self.now.time = self.now.time.after_us(TICK_US);
            self.now.unix_ms += TICK_US / 1000;
            for shard in 0..self.shards.len() {
                self.input(shard, Input::Tick);
            }
            self.run();
        }
    }

    pub fn connect(&mut self, shard: usize) -> Client {
        self.connect_as(shard, "127.0.0.1:4000", Security::Plaintext)
    }

    pub fn connect_as(&mut self, shard: usize, remote: &str, security: Security) -> Client {
        let slot = self.generation + 1;
        self.accept(shard, slot, remote, security)
    }

    /// A connection in a slot that may have been another's.
    pub fn accept(&mut self, shard: usize, slot: u32, remote: &str, security: Security) -> Client {
        self.generation += 1;
        let id = ConnectionId { slot, generation: self.generation };
        let local = "127.0.0.1:8888".parse().unwrap();
        self.input(shard, Input::Accepted { connection: id, remote: remote.parse().unwrap(), local });
        if !self.closed.contains_key(&Client { shard, id }) {
            self.input(shard, Input::Opened { connection: id, security });
        }
        Client { shard, id }
    }

    pub fn bytes(&mut self, client: Client, bytes: &[u8]) {
        for part in bytes.chunks(echomesh_shard::READ_BYTES_MAX) {
            if self.closed.contains_key(&client) {
                return;
            }
            self.input(client.shard, Input::Bytes { connection: client.id, bytes: part });
        }
    }

    pub fn send(&mut self, client: Client, request_id: u32, body: Body) {
        let mut frame = Vec::new();
        EchoMsg::new(request_id, body).append_frame(&mut frame);
        self.bytes(client, &frame);
    }

    /// Sends one request, runs, and gives its answer; all else stays in the inbox.
    pub fn ask(&mut self, client: Client, body: Body) -> Body {
        self.send(client, 77, body);
        self.run();
        let inbox = self.inbox.get_mut(&client).expect("an answer");
        let at = inbox.iter().position(|msg| msg.request_id == 77).expect("an answer with the request's id");
        let answer = inbox.remove(at);
        assert!(inbox.iter().all(|msg| msg.request_id != 77), "one answer only");
        answer.body.unwrap()
    }

    pub fn code(&mut self, client: Client, body: Body) -> StatusCode {
        code(&self.ask(client, body))
    }

    pub fn login(&mut self, client: Client, name: &str, features: u64) -> LoginResponse {
        match self.ask(client, login(name, "secret", features)) {
            Body::LoginResponse(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// A logged-in client, in a room that is made if missing.
    pub fn member(&mut self, shard: usize, name: &str, room: &str) -> Client {
        let client = self.connect(shard);
        assert_eq!(self.login(client, name, 1).status_code, 0);
        self.ask(client, action(RoomActionType::RaCreate, room));
        assert_eq!(self.code(client, action(RoomActionType::RaJoin, room)), StatusCode::StatusOk);
        self.inbox.clear();
        client
    }

    /// A member with a role.
    pub fn person(&mut self, shard: usize, name: &str, room: &str, role: Role) -> Client {
        let first = self.connect(shard);
        let user = self.login(first, name, 0).user_id;
        self.close(first);
        self.set_role(UserId(user), role);
        if role >= Role::Member {
            return self.member(shard, name, room);
        }
        let client = self.connect(shard);
        self.login(client, name, 1);
        assert_eq!(self.code(client, action(RoomActionType::RaJoin, room)), StatusCode::StatusOk);
        client
    }

    pub fn close(&mut self, client: Client) {
        self.input(client.shard, Input::Closed { connection: client.id, cause: ClosedCause::Network });
        self.run();
    }

    pub fn take(&mut self, client: Client) -> Vec<Body> {
        self.inbox.remove(&client).unwrap_or_default().into_iter().filter_map(|msg| msg.body).collect()
    }

    /// Opens voice and sends the SRTCP packet that tells the server where the client is.
    pub fn open_voice(&mut self, client: Client, room: &str, address: &str) -> Microphone {
        let mut microphone = self.open_voice_silently(client, room);
        microphone.address = address.parse().unwrap();
        self.datagram(microphone.ssrc.shard().index(), microphone.address, microphone.report(1));
        microphone
    }

    /// Opens voice, and sends nothing.
    pub fn open_voice_silently(&mut self, client: Client, room: &str) -> Microphone {
        let Body::VoiceAnnounce(given) = self.ask(client, Body::VoiceAnnounce(open(room))) else { panic!("no voice") };
        Microphone::new(&given)
    }

    /// The parameters in a client's inbox, if they are there.
    pub fn given_voice(&self, client: Client) -> Option<Microphone> {
        self.inbox.get(&client)?.iter().find_map(|msg| match &msg.body {
            Some(Body::VoiceAnnounce(given)) => Some(Microphone::new(given)),
            _ => None,
        })
    }

    /// One voice packet, to the shard its SSRC is steered to.
    pub fn talk(&mut self, microphone: &mut Microphone) -> Vec<u8> {
        let datagram = microphone.packet();
        self.datagram(microphone.ssrc.shard().index(), microphone.address, datagram.clone());
        datagram
    }
}

pub fn login(name: &str, password: &str, features: u64) -> Body {
    Body::LoginRequest(LoginRequest {
        username: name.into(),
        password: password.into(),
        features,
        ..LoginRequest::default()
    })
}

pub fn action(kind: RoomActionType, room: &str) -> Body {
    Body::RoomAction(RoomAction { action_type: kind as i32, room_id: room.into(), ..RoomAction::default() })
}

/// A moderator's request about a user.
pub fn moderation(action: ModerationAction, room: &str, username: &str) -> Moderation {
    let (room_id, username) = (room.to_owned(), username.to_owned());
    Moderation { action: action as i32, room_id, username, ..Moderation::default() }
}

pub fn chat(room: &str, content: &str) -> Body {
    Body::ChatMsg(ChatMsg { room_id: room.into(), content: content.into(), ..ChatMsg::default() })
}

/// Opens voice.
pub fn open(room: &str) -> VoiceAnnounce {
    VoiceAnnounce { room_id: room.into(), open: true, ..VoiceAnnounce::default() }
}

pub fn announce(room: &str, muted: bool, deafened: bool) -> Body {
    Body::VoiceAnnounce(VoiceAnnounce { room_id: room.into(), muted, deafened, ..VoiceAnnounce::default() })
}

/// The outcome an answer states.
pub fn code(body: &Body) -> StatusCode {
    let code = match body {
        Body::Status(status) => status.status_code,
        Body::LoginResponse(response) => response.status_code,
        Body::RoomState(state) => state.status_code,
        Body::ChatMsg(_)
        | Body::VoiceAnnounce(_)
        | Body::Who(_)
        | Body::ModerationState(_)
        | Body::AccountState(_)
        | Body::ChatState(_) => 0,
        other => panic!("not an answer: {other:?}"),
    };
    StatusCode::try_from(code).unwrap()
}
