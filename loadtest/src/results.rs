//! What one run of the load test found out, as one JSON document.
//!
//! Not how it is measured (the engine) and not how it is shown ([`crate::report`]).
//! Units are in the names: `_s` seconds, `_us` microseconds, `_kib` KiB, `_per_s` a second; CPU is in
//! cores (1.0 is one core, fully used); shares and losses are 0 to 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything one run of the tool found out. One JSON document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Program and version, "echomesh-loadtest 0.1.0".
    pub tool: String,
    /// When the run began, milliseconds since 1970 in UTC.
    pub started_unix_ms: u64,
    pub machine: Machine,
    pub server: ServerUnderTest,
    pub generator: Generator,
    /// In the order measured.
    pub outcomes: Vec<Outcome>,
}

/// The machine the generator ran on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Kernel release, as `uname -r` says it.
    pub kernel: String,
    /// Model name of the processor.
    pub processor: String,
    pub cores: u32,
    pub memory_mib: u64,
}

/// The server that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerUnderTest {
    /// HOST:PORT of the control connection.
    pub address: String,
    pub started_by_tool: bool,
    /// Unknown for a server that ran already; several counts of shards are told by each outcome.
    pub shards: Option<u32>,
    /// Arguments the tool started it with.
    pub arguments: Vec<String>,
}

/// What made the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    pub threads: u32,
    /// Cores it was pinned to; empty if it was not.
    pub cores: Vec<u32>,
    /// Share of received packets that are decrypted and authenticated; the rest are counted by their
    /// clear RTP header.
    pub opened_share: f64,
}

/// One workload's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    Voice(VoiceOutcome),
    Ramp(RampOutcome),
    Idle(IdleOutcome),
    Logins(LoginsOutcome),
    Chat(ChatOutcome),
    Churn(ChurnOutcome),
}

/// Steady voice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoiceOutcome {
    /// "w1", or as given.
    pub name: String,
    pub shards: u32,
    pub load: VoiceLoad,
    pub measured: Step,
}

/// Who is in which room, and who speaks how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoiceLoad {
    pub rooms: u32,
    /// In each room.
    pub members: u32,
    /// In each room; of a ramp, at its start.
    pub speakers: u32,
    /// "100" (bytes of Opus in each packet) or "opus-vbr".
    pub payload: String,
    /// "continuous", or "1.5s/3s": talkspurt and pause.
    pub talk: String,
    pub clients: u32,
    /// How long all clients took to join, with voice open.
    pub setup_s: f64,
}

/// More and more speakers, to find the most that hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RampOutcome {
    pub name: String,
    pub shards: u32,
    pub load: VoiceLoad,
    /// In the order run.
    pub steps: Vec<Step>,
    /// Index into `steps`: the most speakers that held.
    pub best: Option<usize>,
    /// Index into `steps`: the fewest speakers that did not hold.
    pub first_failed: Option<usize>,
    pub stopped_by: Stop,
}

/// Why a ramp ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// More than 0.1 % of the datagrams did not arrive.
    Loss,
    /// The 99th percentile of one-way latency was over 20 ms.
    Latency,
    /// The generator was the bottleneck: no claim about the server.
    Generator,
    /// All members speak.
    Exhausted,
    /// The time given was used up.
    Time,
}

/// One stretch of steady load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Over all rooms.
    pub speakers_total: u32,
    /// Length of the measured stretch.
    pub seconds: f64,
    /// Packets the speakers sent.
    pub sent: u64,
    /// Datagrams the listeners should have received for them.
    pub expected: u64,
    /// Datagrams the listeners did receive.
    pub received: u64,
    /// 1 - received / expected.
    pub loss: f64,
    /// The same for the listener that lost most.
    pub worst_listener_loss: f64,
    pub duplicates: u64,
    /// Received datagrams that were decrypted and authenticated.
    pub opened: u64,
    /// Those among them that failed to.
    pub open_failed: u64,
    /// Datagrams received per second.
    pub forwarded_per_s: f64,
    /// Loss is at most 0.001, and the 99th percentile of latency at most 20 ms.
    pub held: bool,
    /// Speaker's send to kernel receive stamp at the listener, one way.
    pub latency_us: Percentiles,
    /// How late the generator sent, after the time it should have.
    pub send_late_us: Percentiles,
    /// Unknown for a server on another host.
    pub server: Option<ServerCost>,
    /// Of the generator's threads, in cores.
    pub generator_cpu: f64,
    pub generator_us_per_datagram: f64,
    /// The generator was at its own limit: what it measured is not the server's.
    pub generator_limited: bool,
    /// Other work was on the cores.
    pub disturbed: bool,
    /// Datagrams the kernel dropped at full receive buffers (`RcvbufErrors` of the machine).
    pub receive_buffer_drops: u64,
    pub shards: Vec<ShardCount>,
    /// Server's counters against the tool's.
    pub counters: Option<CounterCheck>,
}

/// Of one quantity, in the unit its field's name says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many were measured; with none, the rest says nothing.
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub p9999: f64,
    pub max: f64,
}

/// What the load cost the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerCost {
    /// Process time, in cores.
    pub cpu: f64,
    /// Non-idle share of the server's cores, summed, when it is pinned and local.
    pub core_busy: Option<f64>,
    /// By `core_busy` where known, else by `cpu`.
    pub us_per_datagram: f64,
    pub rss_kib: u64,
    pub context_switches_per_s: f64,
}

/// What one shard counted in the measured stretch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardCount {
    pub shard: u32,
    /// Packets accepted from speakers.
    pub voice_received: u64,
    /// Copies sent to listeners.
    pub voice_forwarded: u64,
    /// Packets handed to other shards.
    pub voice_relayed: u64,
    /// Packets that came from other shards.
    pub voice_from_mesh: u64,
    /// By reason.
    pub dropped: BTreeMap<String, u64>,
}

/// Two counts of the same packets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CounterCheck {
    pub server_received: u64,
    pub tool_sent: u64,
    pub server_forwarded: u64,
    pub tool_received: u64,
    pub agrees: bool,
}

/// Many clients that do nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdleOutcome {
    pub clients: u32,
    pub rooms: u32,
    /// How long all took to join.
    pub joined_s: f64,
    /// Of the server before the first client.
    pub base_rss_kib: u64,
    /// Of the server with all of them.
    pub rss_kib: u64,
    pub kib_per_client: f64,
    /// Of the server, while nothing happens.
    pub idle_cpu: f64,
    /// Control messages that all clients received.
    pub messages_received: u64,
}

/// Logins, handshakes or resumes, one kind of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoginsOutcome {
    /// "password", "handshake", "handshake_resumed" or "resume".
    pub name: String,
    pub count: u32,
    /// At most this many at a time.
    pub concurrency: u32,
    pub seconds: f64,
    pub per_s: f64,
    /// From connect to done.
    pub latency_us: Percentiles,
    pub server_cpu: Option<f64>,
    pub generator_cpu: f64,
    /// Times the server said it is busy, and was asked again.
    pub refused_busy: u64,
}

/// Chat lines into one room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatOutcome {
    /// "open" (a steady rate) or "closed" (a window of unacknowledged lines).
    pub mode: String,
    pub members: u32,
    pub seconds: f64,
    pub lines_sent: u64,
    /// A line delivered to one member is one.
    pub deliveries: u64,
    pub deliveries_per_s: f64,
    pub lines_per_s: f64,
    /// From saying it to the server's acknowledgement, which means stored.
    pub acknowledge_us: Percentiles,
    /// From saying it to another member's receiving it.
    pub deliver_us: Percentiles,
    pub server_cpu: Option<f64>,
    pub generator_cpu: f64,
    pub refused: u64,
}

/// Voice while clients come and go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChurnOutcome {
    pub seconds: f64,
    pub joins: u64,
    pub leaves: u64,
    pub reconnects: u64,
    /// The voice meanwhile.
    pub voice: Step,
    pub join_us: Percentiles,
}
