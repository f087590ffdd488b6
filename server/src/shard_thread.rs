//! A shard's thread: the kernel, and everything that feeds it and carries out its effects.
//!
//! No rules. One [`Core`] per thread, borrowed for one input at a time and never across an await. Tasks:
//! accept and connections (`tcp`), the voice ring, the mesh, a tick. Incoming rings are drained before
//! sockets are served.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use echomesh_proto::ids::{ConnectionId, PeerId, ShardId, ShardSet};
use echomesh_proto::rtp::OutgoingHeader;
use echomesh_proto::srtp::SealKey;
use echomesh_proto::time::{Now, Time};
use echomesh_shard::{Counters, Effect, Effects, Input, Shard, ShardConfig, TICK_US, Voice};
use tokio::io::unix::AsyncFd;

use crate::jobs::JobPort;
use crate::mesh::MeshEndpoint;
use crate::tcp::{self, Link};
use crate::uring::{RingCounters, VoiceRing};
use crate::wake::{Sleeper, Wake};

/// How long connections may take to close when the server stops.
const STOP_US: u64 = 2_000_000;

/// Batches of voice between turns given to the other tasks.
const VOICE_TURNS: usize = 16;

/// Datagrams handled before their sends are submitted.
const BATCH_MAX: usize = 64;

/// Room for a datagram that is too long to be told as such.
const DATAGRAM_ROOM: usize = echomesh_proto::limits::DATAGRAM_BYTES_MAX + 64;

/// What a shard thread is made of.
pub struct ShardSetup {
    /// For the kernel.
    pub config: ShardConfig,
    /// Where to run.
    pub core: Option<core_affinity::CoreId>,
    /// Control.
    pub tcp: std::net::TcpListener,
    /// Voice.
    pub udp: std::net::UdpSocket,
    /// For control connections.
    pub tls: Arc<rustls::ServerConfig>,
    /// Rings to and from the other shards.
    pub mesh: MeshEndpoint,
    /// Rings to and from store and hashers.
    pub jobs: JobPort,
    /// To be unparked after a request.
    pub workers: crate::jobs::Workers,
    /// Of all shards.
    pub wakes: Vec<Arc<Wake>>,
    /// Origin of the clock all shards share.
    pub started: Instant,
    /// Set to stop.
    pub stop: Arc<AtomicBool>,
}

/// What a shard did in its life.
#[derive(Clone, Debug, Default)]
pub struct ShardTotals {
    /// The kernel's.
    pub counters: Counters,
    /// The voice socket's.
    pub ring: RingCounters,
    /// Records dropped because a voice ring was full.
    pub voice_ring_full: u64,
}

/// Shared by the tasks of one thread.
pub type SharedCore = Rc<RefCell<Core>>;

/// Kernel and resources of one shard.
pub struct Core {
    shard: Shard,
    effects: Effects,
    started: Instant,
    links: Vec<Option<Rc<Link>>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    voice: VoiceRing,
    peers: Vec<Option<(std::net::SocketAddr, SealKey)>>,
    mesh: MeshEndpoint,
    jobs: JobPort,
    workers: crate::jobs::Workers,
    wakes: Vec<Arc<Wake>>,
    woken: ShardSet,
    packet: Vec<u8>,
    totals: ShardTotals,
}

/// Starts the thread of one shard.
pub fn spawn(setup: ShardSetup) -> std::io::Result<JoinHandle<Result<ShardTotals, String>>> {
    let name = format!("shard-{}", setup.config.shard.0);
    std::thread::Builder::new().name(name).spawn(move || {
        if let Some(core) = setup.core
            && !core_affinity::set_for_current(core)
        {
            tracing::warn!(core = core.id, "cannot pin the shard's thread; it runs where the scheduler likes");
        }
        tokio_uring::start(run(setup))
    })
}

async fn run(setup: ShardSetup) -> Result<ShardTotals, String> {
    let fail = |what: &str, error: std::io::Error| format!("shard {}: {what}: {error}", setup.config.shard.0);
    let own = setup.config.shard.index();
    let voice = VoiceRing::new(setup.udp).map_err(|error| fail("voice ring", error))?;
    let completions = voice.watch().map_err(|error| fail("voice ring", error))?;
    let sleeper = setup.wakes[own].sleeper().map_err(|error| fail("wake-up", error))?;
    let streams_max = setup.config.limits.streams_max as usize;
    let core = Rc::new(RefCell::new(Core {
        shard: Shard::new(setup.config),
        effects: Effects::with_capacity(streams_max),
        started: setup.started,
        links: Vec::new(),
        generations: Vec::new(),
        free: Vec::new(),
        voice,
        peers: Vec::new(),
        mesh: setup.mesh,
        jobs: setup.jobs,
        workers: setup.workers,
        wakes: setup.wakes,
        woken: ShardSet::default(),
        packet: Vec::with_capacity(64 * 1024),
        totals: ShardTotals::default(),
    }));
    core.borrow_mut().tell_ring_space(true);
    let listener = tokio_uring::net::TcpListener::from_std(setup.tcp);
    tokio_uring::spawn(tcp::accept(core.clone(), listener, setup.tls));
    tokio_uring::spawn(serve_voice(core.clone(), completions));
    tokio_uring::spawn(serve_mesh(core.clone(), sleeper));
    let mut tick = tokio::time::interval(Duration::from_micros(TICK_US));
    let mut stopping_since = None;
    loop {
        tick.tick().await;
        let mut core = core.borrow_mut();
        core.input(Input::Tick);
        let now = core.now();
        match stopping_since {
            None if setup.stop.load(Ordering::Relaxed) => {
                stopping_since = Some(now.time);
                core.input(Input::Shutdown);
            }
            Some(since) if core.links.iter().all(Option::is_none) || now.time.since_us(since) > STOP_US => break,
            _ => {}
        }
    }
    let core = core.borrow();
    Ok(ShardTotals { counters: core.shard.counters().clone(), ring: core.voice.counters(), ..core.totals.clone() })
}

/// Datagrams: let the kernel decide on each that is there, submit the sends once a batch.
async fn serve_voice(core: SharedCore, completions: AsyncFd<OwnedFd>) {
    loop {
        let mut turns = 0;
        while core.borrow_mut().voice_batch() {
            turns += 1;
            if turns % VOICE_TURNS == 0 {
                tokio::task::yield_now().await;
            }
        }
        // The error is the runtime's end.
        let Ok(mut ready) = completions.readable().await else { return };
        ready.clear_ready();
    }
}

/// Rings of the other shards, the store and the hashers.
async fn serve_mesh(core: SharedCore, sleeper: Sleeper) {
    loop {
        while core.borrow_mut().drain_rings() {
            tokio::task::yield_now().await;
        }
        sleeper.announce();
        if core.borrow().rings_wait() {
            sleeper.stay_awake();
            continue;
        }
        if sleeper.sleep().await.is_err() {
            return;
        }
    }
}

impl Core {
    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { time: Time(self.started.elapsed().as_micros() as u64), unix_ms: unix.as_millis() as u64 }
    }

    /// Takes a connection into the table.
    pub fn add(&mut self, link: Rc<Link>) -> ConnectionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.links.push(None);
            self.generations.push(0);
            self.links.len() as u32 - 1
        });
        let generation = &mut self.generations[slot as usize];
        *generation = generation.wrapping_add(1);
        self.links[slot as usize] = Some(link);
        ConnectionId { slot, generation: *generation }
    }

    /// The connection's tasks are done with it.
    pub fn remove(&mut self, id: ConnectionId) {
        if self.generations[id.slot as usize] == id.generation && self.links[id.slot as usize].take().is_some() {
            self.free.push(id.slot);
        }
    }

    fn link(&self, id: ConnectionId) -> Option<&Rc<Link>> {
        let current = self.generations.get(id.slot as usize) == Some(&id.generation);
        self.links.get(id.slot as usize).filter(|_| current)?.as_ref()
    }

    /// One input to the kernel, its effects carried out, other shards woken.
    pub fn input(&mut self, input: Input<'_>) {
        self.handle(input);
        self.flush();
    }

    /// One input of a batch: [`Self::flush`] follows the batch.
    fn handle(&mut self, input: Input<'_>) {
        let now = self.now();
        self.shard.handle(now, input, &mut self.effects);
        self.carry_out();
    }

    /// Submits sends and wakes the shards that were written to.
    fn flush(&mut self) {
        self.tell_ring_space(false);
        self.voice.submit();
        for shard in std::mem::take(&mut self.woken).iter() {
            self.wakes[shard.index()].signal();
        }
    }

    /// Tells the kernel how much room the control rings have: all of them, or those it waits for.
    fn tell_ring_space(&mut self, all: bool) {
        let waits = self.shard.waits_for_rings();
        for target in 0..self.mesh.control_out.len() {
            let target = ShardId(target as u8);
            if let Some(ring) = self.mesh.control_out[target.index()].as_ref().filter(|_| all || waits.contains(target))
            {
                let bytes = ring.free();
                self.handle(Input::RingFree { target, bytes });
            }
        }
    }

    fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.list.drain(..) {
            self.apply(effect, &effects.bytes, &effects.peers);
        }
        effects.clear();
        self.effects = effects;
    }

    fn apply(&mut self, effect: Effect, bytes: &[u8], peers: &[PeerId]) {
        match effect {
            Effect::Voice(voice) => self.send_voice(&voice, peers),
            Effect::Send { connection, bytes: range } => {
                if let Some(link) = self.link(connection) {
                    link.send(&bytes[range]);
                }
            }
            Effect::Close { connection, reason } => {
                tracing::debug!(slot = connection.slot, reason = reason.as_str(), "connection closed");
                if let Some(link) = self.link(connection) {
                    link.close();
                }
            }
            Effect::PauseReading { connection } => self.set_paused(connection, true),
            Effect::ResumeReading { connection } => self.set_paused(connection, false),
            Effect::MeshControl { target, record } => {
                let ring = self.mesh.control_out[target.index()].as_mut();
                let pushed = ring.is_some_and(|ring| ring.push(&bytes[record], &[]));
                assert!(pushed, "the kernel keeps the credit of control rings");
                self.woken.insert(target);
            }
            Effect::PeerSet { peer, address, key } => {
                if self.peers.len() <= peer.0 as usize {
                    self.peers.resize_with(peer.0 as usize + 1, || None);
                }
                self.peers[peer.0 as usize] = Some((address, SealKey::new(&key)));
            }
            Effect::PeerMoved { peer, address } => {
                if let Some(Some(entry)) = self.peers.get_mut(peer.0 as usize) {
                    entry.0 = address;
                }
            }
            Effect::PeerGone { peer } => {
                if let Some(entry) = self.peers.get_mut(peer.0 as usize) {
                    *entry = None;
                }
            }
            Effect::Store(request) => {
                self.jobs.store(request);
                self.workers.store.unpark();
            }
            Effect::Hash(request) => {
                self.jobs.hash(request);
                self.workers.hash.unpark();
            }
        }
    }

    fn set_paused(&self, id: ConnectionId, paused: bool) {
        if let Some(link) = self.link(id) {
            link.set_paused(paused);
        }
    }

    /// Seals the packet in hand for each local listener, and copies it to the rings of other shards.
    fn send_voice(&mut self, voice: &Voice, peers: &[PeerId]) {
        let header = &voice.header;
        let payload = &self.packet[voice.payload.clone()];
        for target in voice.relay.iter() {
            let ring = self.mesh.voice_out[target.index()].as_mut();
            if ring.is_some_and(|ring| ring.push(&header.to_record(), payload)) {
                self.woken.insert(target);
            } else {
                self.totals.voice_ring_full += 1;
            }
        }
        let outgoing = OutgoingHeader {
            marker: header.marker,
            payload_type: header.payload_type,
            sequence: header.index as u16,
            media_time: header.media_time,
            ssrc: header.ssrc,
            audio_level: header.audio_level,
        };
        for peer in &peers[voice.peers.clone()] {
            let Some(Some((address, key))) = self.peers.get(peer.0 as usize) else { continue };
            // A refusal is counted by the ring.
            self.voice.send(*address, |buffer| {
                let head = outgoing.write(buffer);
                let plain = head + payload.len();
                buffer[head..plain].copy_from_slice(payload);
                key.seal_rtp(buffer, head, plain, header.index)
            });
        }
    }

    /// Handles the datagrams that are there; false if there were none.
    fn voice_batch(&mut self) -> bool {
        let mut packet = std::mem::take(&mut self.packet);
        let mut received = 0;
        while received < BATCH_MAX {
            packet.resize(DATAGRAM_ROOM, 0);
            let Some((source, bytes)) = self.voice.receive(&mut packet) else { break };
            received += 1;
            packet.truncate(bytes);
            let now = self.now();
            self.shard.handle(now, Input::Datagram { source, datagram: &mut packet }, &mut self.effects);
            std::mem::swap(&mut self.packet, &mut packet);
            self.carry_out();
            std::mem::swap(&mut self.packet, &mut packet);
        }
        self.packet = packet;
        self.flush();
        received > 0 || self.voice.has_completions()
    }

    /// Takes what waits in the rings; false if nothing did.
    fn drain_rings(&mut self) -> bool {
        let mut any = false;
        for source in 0..self.mesh.control_in.len() {
            let shard = ShardId(source as u8);
            let mut record = std::mem::take(&mut self.packet);
            while self.mesh.control_in[source].as_mut().is_some_and(|ring| ring.pop(&mut record)) {
                any = true;
                self.handle(Input::MeshControl { source: shard, record: &record });
            }
            while self.mesh.voice_in[source].as_mut().is_some_and(|ring| ring.pop(&mut record)) {
                any = true;
                let now = self.now();
                self.shard.handle(now, Input::MeshVoice { source: shard, record: &record }, &mut self.effects);
                std::mem::swap(&mut self.packet, &mut record);
                self.carry_out();
                std::mem::swap(&mut self.packet, &mut record);
            }
            self.packet = record;
        }
        while let Some(reply) = self.jobs.store_reply() {
            any = true;
            self.handle(Input::Store(reply));
        }
        while let Some(reply) = self.jobs.hash_reply() {
            any = true;
            self.handle(Input::Hash(reply));
        }
        if any {
            self.flush();
        }
        any
    }

    fn rings_wait(&self) -> bool {
        let waits = |ring: &Option<crate::mesh::Receiver>| ring.as_ref().is_some_and(|ring| !ring.is_empty());
        self.mesh.control_in.iter().any(waits) || self.mesh.voice_in.iter().any(waits) || self.jobs.has_replies()
    }
}
