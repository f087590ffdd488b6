//! What one run found out: the schema that the engine fills and the report reads.
//!
//! Not how anything is measured: see `talk`, `ramp`, `idle`, `logins`, `chat` and `churn`.
//! Units are in the names: `_s` seconds, `_us` microseconds, `_kib` KiB, `_per_s` events a second; `cpu` is
//! cores' worth of time (1.0: one core fully used). One JSON document a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything one run of the tool found out. One JSON document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name and version, "echomesh-loadtest 0.1.0".
    pub tool: String,
    /// When it began, Unix milliseconds.
    pub started_unix_ms: u64,
    /// Where the tool ran.
    pub machine: Machine,
    /// What it was run against.
    pub server: ServerUnderTest,
    /// How the tool itself ran.
    pub generator: Generator,
    /// One for each workload, shard count and run, in the order run.
    pub outcomes: Vec<Outcome>,
}

/// The machine of the tool, and of the server if it is local.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// As `uname -sr` says.
    pub kernel: String,
    /// Model, from /proc/cpuinfo.
    pub processor: String,
    /// Online cores.
    pub cores: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
}

/// The server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerUnderTest {
    /// Host and port; of the last one, if the tool started several.
    pub address: String,
    /// Whether the tool started it.
    pub started_by_tool: bool,
    /// Shards, where there is one count for the whole run and it is known.
    pub shards: Option<u32>,
    /// Its arguments, where the tool started it.
    pub arguments: Vec<String>,
}

/// How the tool ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Its threads.
    pub threads: u32,
    /// Cores they were pinned to; empty: none.
    pub cores: Vec<u32>,
    /// Share of received packets that are decrypted and authenticated; the rest are counted by their clear RTP
    /// header. Of voice workloads; ramps may open fewer, see each step's `opened`.
    pub opened_share: f64,
}

/// What one workload found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Steady voice.
    Voice(VoiceOutcome),
    /// Voice of more and more speakers until it fails.
    Ramp(RampOutcome),
    /// Members that do nothing.
    Idle(IdleOutcome),
    /// Logins, handshakes or resumes.
    Logins(LoginsOutcome),
    /// Chat in one room.
    Chat(ChatOutcome),
    /// Voice while members come and go.
    Churn(ChurnOutcome),
}

/// Steady voice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoiceOutcome {
    /// "w1", or "voice" for one of the user's own.
    pub name: String,
    /// The server's shards; 0: not known.
    pub shards: u32,
    /// Who talks to whom.
    pub load: VoiceLoad,
    /// What came of it.
    pub measured: Step,
}

/// Who talks to whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoiceLoad {
    /// Rooms.
    pub rooms: u32,
    /// Members of each room.
    pub members: u32,
    /// Speakers in each room; in a ramp, at its start, rounded up.
    pub speakers: u32,
    /// Bytes of Opus in a packet, "100", or "opus-vbr" for sizes taken from real speech.
    pub payload: String,
    /// "continuous", or seconds of speech and of silence, "1.5s/3s".
    pub talk: String,
    /// Clients connected.
    pub clients: u32,
    /// From the first connection until all had voice, seconds.
    pub setup_s: f64,
}

/// More and more speakers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RampOutcome {
    /// "w5", or "ramp" for one of the user's own.
    pub name: String,
    /// The server's shards; 0: not known.
    pub shards: u32,
    /// Who could talk to whom.
    pub load: VoiceLoad,
    /// In the order run, those that were done again included.
    pub steps: Vec<Step>,
    /// Index into `steps`: most speakers that held.
    pub best: Option<usize>,
    /// Index into `steps`: fewest speakers that failed.
    pub first_failed: Option<usize>,
    /// Why it ended.
    pub stopped_by: Stop,
}

/// Why a ramp ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Over one packet in a thousand was lost.
    Loss,
    /// The 99th percentile of latency was over 20 ms.
    Latency,
    /// The generator was the bottleneck: no claim about the server beyond what held.
    Generator,
    /// All members speak.
    Exhausted,
    /// The time limit.
    Time,
}

/// One stretch of steady load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Speakers in all rooms.
    pub speakers_total: u32,
    /// Measured, seconds.
    pub seconds: f64,
    /// Packets sent in that time.
    pub sent: u64,
    /// Copies of them that listeners should get.
    pub expected: u64,
    /// Copies of them that came, until the end of the drain.
    pub received: u64,
    /// 1 − received / expected.
    pub loss: f64,
    /// The same of the listener that lost most.
    pub worst_listener_loss: f64,
    /// Copies that came again.
    pub duplicates: u64,
    /// Copies that were decrypted and authenticated.
    pub opened: u64,
    /// Copies that should have opened and did not.
    pub open_failed: u64,
    /// Copies received a second, within the measured time.
    pub forwarded_per_s: f64,
    /// Loss at most 0.001 and 99th percentile of latency at most 20 ms.
    pub held: bool,
    /// From the speaker's send to the kernel's receive stamp at the listener, one way.
    pub latency_us: Percentiles,
    /// From when a packet was due to when it was sent.
    pub send_late_us: Percentiles,
    /// What it cost the server; `None`: the server is elsewhere.
    pub server: Option<ServerCost>,
    /// Of the tool, cores.
    pub generator_cpu: f64,
    /// Of the tool, for each copy received, sending included.
    pub generator_us_per_datagram: f64,
    /// A thread of the tool used over 90 % of its core, or the 99th percentile of `send_late_us` is over 5 ms.
    pub generator_limited: bool,
    /// Other work ran on the cores.
    pub disturbed: bool,
    /// Datagrams the tool's machine dropped because a socket's buffer was full (RcvbufErrors).
    pub receive_buffer_drops: u64,
    /// What the server counted, warm-up and drain included; empty: its metrics are not known.
    pub shards: Vec<ShardCount>,
    /// The server's counters against the tool's, warm-up and drain included.
    pub counters: Option<CounterCheck>,
}

/// Of a distribution, in the unit of the field's name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Values.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// 99.99 %.
    pub p9999: f64,
    /// The largest.
    pub max: f64,
}

/// What a load costs the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerCost {
    /// Time of the process, cores.
    pub cpu: f64,
    /// Non-idle share of the server's cores, summed: the kernel's work for it included. `None` unless those
    /// cores are the server's alone.
    pub core_busy: Option<f64>,
    /// For each copy received; by `core_busy` where known, else `cpu`.
    pub us_per_datagram: f64,
    /// Resident memory, KiB.
    pub rss_kib: u64,
    /// Of all its threads, voluntary and not.
    pub context_switches_per_s: f64,
}

/// What one shard counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardCount {
    /// Its number.
    pub shard: u32,
    /// Packets accepted from speakers.
    pub voice_received: u64,
    /// Copies to listeners.
    pub voice_forwarded: u64,
    /// Copies to other shards.
    pub voice_relayed: u64,
    /// Copies from other shards.
    pub voice_from_mesh: u64,
    /// What it dropped, by reason; reasons that did not occur are absent.
    pub dropped: BTreeMap<String, u64>,
}

/// The server's counters against the tool's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CounterCheck {
    /// Packets the server accepted.
    pub server_received: u64,
    /// Packets the tool sent.
    pub tool_sent: u64,
    /// Copies the server forwarded.
    pub server_forwarded: u64,
    /// Copies the tool got.
    pub tool_received: u64,
    /// Equal, or what is missing was counted as dropped on the way.
    pub agrees: bool,
}

/// Members that do nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdleOutcome {
    /// Clients.
    pub clients: u32,
    /// Rooms they are spread over.
    pub rooms: u32,
    /// From the first connection until all were in their rooms, seconds.
    pub joined_s: f64,
    /// The server's memory before; 0: not known.
    pub base_rss_kib: u64,
    /// And with all of them; 0: not known.
    pub rss_kib: u64,
    /// The difference, for each client.
    pub kib_per_client: f64,
    /// Of the server, with all of them and nothing to do; 0 too if not known.
    pub idle_cpu: f64,
    /// Control messages all clients got while they joined.
    pub messages_received: u64,
}

/// Logins, handshakes or resumes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoginsOutcome {
    /// "password", "handshake", "handshake_resumed", "resume" or "token".
    pub name: String,
    /// How many.
    pub count: u32,
    /// At a time.
    pub concurrency: u32,
    /// All of them.
    pub seconds: f64,
    /// Done a second.
    pub per_s: f64,
    /// Of one, from connecting to its end.
    pub latency_us: Percentiles,
    /// Of the server; `None`: not known.
    pub server_cpu: Option<f64>,
    /// Of the tool.
    pub generator_cpu: f64,
    /// Attempts answered "busy", which were made again.
    pub refused_busy: u64,
}

/// Chat in one room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatOutcome {
    /// "open": a fixed rate; "closed": a fixed number of lines under way.
    pub mode: String,
    /// Members of the room.
    pub members: u32,
    /// Measured, seconds.
    pub seconds: f64,
    /// Lines said.
    pub lines_sent: u64,
    /// Copies that others got, all of them counted until the end of the drain.
    pub deliveries: u64,
    /// Within the measured time.
    pub deliveries_per_s: f64,
    /// Acknowledged, which means stored, within the measured time.
    pub lines_per_s: f64,
    /// From saying to the server's acknowledgement.
    pub acknowledge_us: Percentiles,
    /// From saying to each other member.
    pub deliver_us: Percentiles,
    /// Of the server; `None`: not known.
    pub server_cpu: Option<f64>,
    /// Of the tool.
    pub generator_cpu: f64,
    /// Lines refused; not said again.
    pub refused: u64,
}

/// Voice while members come and go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChurnOutcome {
    /// Measured, seconds.
    pub seconds: f64,
    /// Rooms entered by clients that come and go.
    pub joins: u64,
    /// Rooms left.
    pub leaves: u64,
    /// Connections dropped and sessions resumed.
    pub reconnects: u64,
    /// Voice between those that stay.
    pub voice: Step,
    /// From connecting to having voice in a room.
    pub join_us: Percentiles,
}
