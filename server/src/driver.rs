//! The driver's core: the kernel of one shard, and what its effects are carried out with.
//!
//! No rules. One [`Core`] a thread, borrowed for one turn at a time and never across an await. A turn
//! reads the clock, drains the incoming rings before anything else, gives the kernel its inputs, and
//! ends with one submission of voice and one wake-up for each shard that was written to.
//! Bounds: `RECORDS_A_TURN` of each ring and `DATAGRAMS_A_TURN` a turn, so that no source starves others.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use echomesh_proto::ids::PeerId;
use echomesh_proto::time::{MILLISECOND_US, Now, Time};
use echomesh_shard::{
    ClosedCause, Counters, Effect, Effects, Input, Occupancy, Shard, ShardConfig, ShardSettings, TICK_US, Voice,
};
use rustix::time::{ClockId, clock_gettime};
use tokio_uring::net::TcpStream;

use crate::admin::Snapshot;
use crate::egress::Egress;
use crate::interleave::Interleave;
use crate::jobs::{JobPort, JobReply};
use crate::link::{Link, Links};
use crate::measures::Measures;
use crate::mesh::MeshEndpoint;
use crate::pace::{Pace, Pacer};
use crate::peers::Peers;
use crate::tls_stream::TlsStream;
use crate::uring::VoiceRing;
use crate::wake::Wake;
use crate::watchdog::{Doing, Pulse};

/// Records taken from one ring in one turn.
const RECORDS_A_TURN: usize = 256;

/// Datagrams taken from the socket in one turn.
const DATAGRAMS_A_TURN: usize = 256;

/// Longer than any datagram or most records: grown by the longest control records only.
const PACKET_BYTES: usize = 2_048;

/// Nanoseconds in a microsecond: the system's stamps are in the former.
const NANOSECONDS_US: u64 = 1_000;

/// What a shard did in its life.
#[derive(Clone, Debug, Default)]
pub struct ShardTotals {
    /// The kernel's.
    pub counters: Counters,
    /// What it holds now.
    pub occupancy: Occupancy,
    /// How long things took, and what else the driver measured.
    pub measures: Measures,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Their bytes.
    pub udp_received_bytes: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub udp_sent_bytes: u64,
    /// Messages they were sent in.
    pub messages_sent: u64,
    /// Datagrams the socket did not take: queue full, no route.
    pub send_failed: u64,
    /// Receives that failed.
    pub receive_failed: u64,
    /// Datagrams that the system dropped: a socket's receive buffer was full, or they could not be ours.
    pub receive_dropped: u64,
    /// Voice records dropped because a ring to another shard was full.
    pub voice_ring_full: u64,
    /// Copies dropped because the listener was gone.
    pub peer_unknown: u64,
    /// Connections that could not be accepted: out of file descriptors, gone at once.
    pub accept_failed: u64,
    /// Requests that the store failed.
    pub store_failed: u64,
}

/// Shared by the tasks of one thread.
pub type SharedCore = Rc<RefCell<Core>>;

/// What the core is made of, besides the kernel's settings.
pub struct Parts {
    /// The shard's voice socket.
    pub voice: VoiceRing,
    /// Rings to and from the other shards.
    pub mesh: MeshEndpoint,
    /// Rings to and from store and hashers.
    pub jobs: JobPort,
    /// Of all shards.
    pub wakes: Vec<Arc<Wake>>,
    /// Origin of the clock all shards share.
    pub started: Instant,
    /// Whether voice may wait while the shard is busy.
    pub gathers: bool,
    /// Shows that the shard lives.
    pub pulse: Arc<Pulse>,
}

/// Kernel and resources of one shard.
pub struct Core {
    shard: Shard,
    effects: Effects,
    parts: Parts,
    now: Now,
    links: Links,
    peers: Peers,
    /// The datagram in hand, and the record in hand: `Effect::Voice` points into one of them.
    packet: Box<[u8]>,
    record: Vec<u8>,
    egress: Egress,
    pacer: Pacer,
    /// For the metrics.
    pub measures: Measures,
    interleave: Interleave,
    /// Of this thread, and when it was read, at the last tick.
    used: (Duration, Time),
    /// Unix time less our time, microseconds; read at each tick.
    unix_offset_us: u64,
    /// Voice records dropped since a ring to another shard was full.
    voice_ring_full: u64,
    accept_failed: u64,
    stopping: bool,
}

impl Core {
    /// A shard at start; the kernel is told what room the control rings have.
    pub fn new(config: ShardConfig, parts: Parts) -> Self {
        let streams_max = config.limits.streams_max as usize;
        let mut core = Self {
            shard: Shard::new(config),
            effects: Effects::with_capacity(streams_max),
            now: Now::default(),
            links: Links::default(),
            peers: Peers::default(),
            packet: vec![0; PACKET_BYTES].into(),
            record: Vec::with_capacity(PACKET_BYTES),
            egress: Egress::with_capacity(streams_max),
            pacer: Pacer::new(parts.gathers),
            measures: Measures::default(),
            interleave: Interleave::new(),
            used: (Duration::ZERO, Time(0)),
            unix_offset_us: 0,
            parts,
            voice_ring_full: 0,
            accept_failed: 0,
            stopping: false,
        };
        core.set_clock();
        core.now = core.read_clock();
        for target in core.parts.mesh.others() {
            let bytes = core.parts.mesh.control_free(target);
            core.input(Input::RingFree { target, bytes });
        }
        core
    }

    /// Unix time may be set while we run; ours only goes on.
    fn set_clock(&mut self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ours = self.parts.started.elapsed().as_micros() as u64;
        // A clock that says 1970 is not ours to judge.
        self.unix_offset_us = (unix.as_micros() as u64).saturating_sub(ours);
    }

    fn read_time(&self) -> Time {
        Time(self.parts.started.elapsed().as_micros() as u64)
    }

    /// One reading a turn.
    fn read_clock(&self) -> Now {
        let time = self.read_time();
        Now { time, unix_ms: (time.0 + self.unix_offset_us) / MILLISECOND_US }
    }

    /// When the system received a datagram; now, if it does not say, or its clock was set meanwhile.
    fn received(&self, stamp_ns: Option<u64>) -> Time {
        let received = stamp_ns.map(|stamp_ns| stamp_ns / NANOSECONDS_US);
        let received = received.and_then(|unix_us| unix_us.checked_sub(self.unix_offset_us));
        received.map_or(self.now.time, |received| Time(received).min(self.now.time))
    }

    fn begin(&mut self) {
        self.interleave.turn(&self.parts.voice);
        self.now = self.read_clock();
    }

    /// One turn around some inputs.
    pub fn turn<Out>(&mut self, work: impl FnOnce(&mut Self) -> Out) -> Out {
        self.begin();
        self.drain_rings();
        let out = work(self);
        self.finish();
        self.parts.pulse.doing(Doing::Outside);
        out
    }

    /// A turn for the incoming rings only; false if nothing was in them.
    pub fn turn_rings(&mut self) -> bool {
        self.begin();
        let any = self.drain_rings();
        self.finish();
        self.parts.pulse.doing(Doing::Outside);
        any
    }

    /// A turn for the voice socket; false once it has nothing more.
    pub fn turn_voice(&mut self) -> bool {
        self.turn(|core| {
            let mut packet = std::mem::take(&mut core.packet);
            let mut more = true;
            for _ in 0..DATAGRAMS_A_TURN {
                let Some(got) = core.parts.voice.receive(&mut packet) else {
                    more = false;
                    break;
                };
                let datagram = &mut packet[..got.bytes];
                let received = core.received(got.stamp_ns);
                let input = Input::Datagram { source: got.source, received, datagram };
                core.parts.pulse.doing(Doing::Voice);
                core.shard.handle(core.now, input, &mut core.effects);
                core.carry_out(&packet);
                if core.egress.is_full() {
                    break;
                }
            }
            core.packet = packet;
            more
        })
    }

    /// One input to the kernel, its effects carried out. Not for voice. Within a turn.
    pub fn input(&mut self, input: Input<'_>) {
        self.parts.pulse.doing(Doing::of(&input));
        self.shard.handle(self.now, input, &mut self.effects);
        self.carry_out(&[]);
    }

    /// Shuts connections that have lingered, and lets the kernel's deadlines pass.
    pub fn tick(&mut self) {
        self.set_clock();
        self.turn(|core| {
            core.measure();
            core.links.shut_overdue(core.now.time);
            core.input(Input::Tick);
        });
        self.parts.pulse.tick(self.parts.started.elapsed());
    }

    /// A connection was accepted: takes it into the table and tells the kernel. One that the kernel closes at once is
    /// closed here and now, before it costs a task, a buffer or a handshake.
    pub fn accepted(
        &mut self,
        stream: TcpStream,
        tls: TlsStream,
        remote: SocketAddr,
        local: SocketAddr,
    ) -> Option<Rc<Link>> {
        self.turn(|core| {
            let link = core.links.add(stream, tls);
            core.input(Input::Accepted { connection: link.id, remote, local });
            if link.is_known() {
                return Some(link);
            }
            core.links.drop_now(link.id);
            None
        })
    }

    /// A connection could not be accepted.
    pub fn accept_failed(&mut self) {
        self.accept_failed += 1;
    }

    /// A connection is over by the peer's or the network's doing, unless the kernel closed it first.
    pub fn lost(&mut self, link: &Link, cause: ClosedCause) {
        self.turn(|core| {
            if link.forget() {
                core.input(Input::Closed { connection: link.id, cause });
            }
            core.links.close(link.id, core.now.time);
        });
    }

    /// A connection's tasks have ended.
    pub fn removed(&mut self, link: &Link) {
        self.links.remove(link.id);
    }

    /// The operator has changed settings.
    pub fn change(&mut self, settings: Box<ShardSettings>) {
        self.turn(|core| core.input(Input::Settings(settings)));
    }

    /// Begins the end: the kernel takes nothing new.
    pub fn drain(&mut self) {
        self.turn(|core| core.input(Input::Drain));
    }

    /// Whether all that was begun is answered.
    pub fn is_quiet(&self) -> bool {
        self.shard.is_quiet()
    }

    /// Stops: the kernel tells the clients and closes.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.turn(|core| core.input(Input::Shutdown));
    }

    /// Whether `stop` was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Whether every connection is gone.
    pub fn is_idle(&self) -> bool {
        self.links.is_empty()
    }

    /// Ends the connections that are left, whatever they have still to say.
    pub fn shut_all(&self) {
        self.links.shut_all();
    }

    /// What happened so far.
    pub fn totals(&self) -> ShardTotals {
        let ring = self.parts.voice.counters();
        ShardTotals {
            counters: self.shard.counters().clone(),
            occupancy: self.shard.occupancy(),
            measures: self.measures.clone(),
            datagrams_received: ring.received,
            udp_received_bytes: ring.received_bytes,
            datagrams_sent: ring.sends.sent,
            udp_sent_bytes: ring.sends.sent_bytes,
            messages_sent: ring.sends.messages_sent,
            send_failed: ring.sends.queue_full + ring.sends.failed,
            receive_failed: ring.receive_failed,
            receive_dropped: ring.receive_dropped,
            voice_ring_full: self.voice_ring_full,
            peer_unknown: self.egress.peer_unknown(),
            accept_failed: self.accept_failed,
            store_failed: self.parts.jobs.store_failed(),
        }
    }

    /// All there is now, for who looks.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            at: Duration::from_micros(self.now.time.0),
            overview: self.shard.overview(self.now),
            totals: self.totals(),
        }
    }

    /// Whether turns are timed now, and figures are to be published.
    pub fn is_measuring(&self) -> bool {
        self.interleave.is_on()
    }

    /// How much of its core the thread used since the last tick, in the kernel's UDP path too, and how late this one is.
    fn measure(&mut self) {
        let used = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
        let (before, since) = std::mem::replace(&mut self.used, (used, self.now.time));
        let passed_us = self.now.time.since_us(since).max(1);
        // The first comes whenever the thread has begun.
        if !before.is_zero() {
            self.measures.ticks_late.record(passed_us.saturating_sub(TICK_US));
        }
        self.measures.cpu_us = used.as_micros() as u64;
        self.measures.control_ring.pass(self.now.time);
        self.measures.voice_ring.pass(self.now.time);
        let busy = used.saturating_sub(before).as_micros() as u64 * 1_000 / passed_us;
        self.pacer.used(u32::try_from(busy).unwrap_or(u32::MAX));
    }

    /// How the voice socket is to be served now.
    pub fn pace(&self) -> Pace {
        self.pacer.pace()
    }

    /// Takes what waits in the rings of other shards, store and hashers; false if nothing did.
    fn drain_rings(&mut self) -> bool {
        let mut any = false;
        let mut record = std::mem::take(&mut self.record);
        for source in self.parts.mesh.others() {
            self.measures.control_ring.note(self.parts.mesh.control_waiting(source) as u64);
            for _ in 0..RECORDS_A_TURN {
                if !self.parts.mesh.pop_control(source, &mut record) {
                    break;
                }
                any = true;
                self.input(Input::MeshControl { source, record: &record });
            }
        }
        for source in self.parts.mesh.others() {
            self.measures.voice_ring.note(self.parts.mesh.voice_waiting(source) as u64);
            for _ in 0..RECORDS_A_TURN {
                if self.egress.is_full() || !self.parts.mesh.pop_voice(source, &mut record) {
                    break;
                }
                any = true;
                self.parts.pulse.doing(Doing::Voice);
                self.shard.handle(self.now, Input::MeshVoice { source, record: &record }, &mut self.effects);
                self.carry_out(&record);
            }
        }
        self.record = record;
        // The kernel bounds what is unanswered, so this ends.
        while let Some(reply) = self.parts.jobs.poll(self.now.time, &mut self.measures) {
            any = true;
            match reply {
                JobReply::Store(reply) => self.input(Input::Store(reply)),
                JobReply::Hash(reply) => self.input(Input::Hash(reply)),
            }
        }
        any
    }

    fn flush_voice(&mut self) {
        self.egress.flush(&self.peers, &mut self.parts.voice);
    }

    /// Ends a turn: control rings that have room again, voice to the kernel, other shards woken.
    fn finish(&mut self) {
        for target in self.shard.waits_for_rings().iter() {
            let bytes = self.parts.mesh.control_free(target);
            self.input(Input::RingFree { target, bytes });
        }
        self.parts.pulse.doing(Doing::Sending);
        self.flush_voice();
        self.parts.voice.submit();
        self.time_turn();
        for target in self.parts.mesh.take_touched().iter() {
            self.measures.mesh_wakeups += u64::from(self.parts.wakes[target.index()].signal());
        }
    }

    /// How long this turn took, and its packets to get through.
    fn time_turn(&mut self) {
        if !self.is_measuring() {
            self.egress.forget_given();
            return;
        }
        let now = self.read_time();
        self.measures.turns.record(now.since_us(self.now.time));
        self.egress.given(now, &mut self.measures.forwarding);
    }

    fn carry_out(&mut self, packet: &[u8]) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.list.drain(..) {
            self.apply(effect, packet, &effects.bytes, &effects.peers);
        }
        effects.clear();
        self.effects = effects;
    }

    fn apply(&mut self, effect: Effect, packet: &[u8], bytes: &[u8], peers: &[PeerId]) {
        match effect {
            Effect::Voice(voice) => {
                let payload =
                    if voice.in_bytes { &bytes[voice.payload.clone()] } else { &packet[voice.payload.clone()] };
                self.relay(&voice, payload);
                self.egress.voice(&voice.header, payload, &peers[voice.peers.clone()]);
            }
            Effect::Send { connection, bytes: range } => self.links.send(connection, &bytes[range]),
            Effect::Close { connection, reason } => {
                tracing::debug!(slot = connection.slot, reason = reason.as_str(), "connection closed");
                self.links.close(connection, self.now.time);
            }
            Effect::PauseReading { connection } => self.links.set_paused(connection, true),
            Effect::ResumeReading { connection } => self.links.set_paused(connection, false),
            Effect::MeshControl { target, record } => {
                let pushed = self.parts.mesh.push_control(target, &bytes[record]);
                assert!(pushed, "the kernel keeps the credit of control rings");
            }
            Effect::Report { peer, compound, index } => {
                self.egress.report(&bytes[compound], index, peer, &self.peers, &mut self.parts.voice);
            }
            // What waits is for the listener as it was.
            Effect::PeerSet { peer, address, key } => {
                self.flush_voice();
                self.peers.set(peer, self.parts.voice.target(address), &key);
            }
            Effect::PeerMoved { peer, address } => {
                self.flush_voice();
                self.peers.set_target(peer, self.parts.voice.target(address));
            }
            Effect::PeerGone { peer } => {
                self.flush_voice();
                self.peers.forget(peer);
            }
            Effect::Store(request) => self.parts.jobs.store(self.now.time, request),
            Effect::Hash(request) => self.parts.jobs.hash(self.now.time, request),
        }
    }

    /// Copies the packet to the voice ring of each shard in `voice.relay`.
    fn relay(&mut self, voice: &Voice, payload: &[u8]) {
        if voice.relay.is_empty() {
            return;
        }
        let head = voice.header.to_record();
        for target in voice.relay.iter() {
            if !self.parts.mesh.push_voice(target, &head, payload) {
                self.voice_ring_full += 1;
            }
        }
    }
}
