//! The figures of a shard: tables of names, from which the JSON line at the end, the metrics and docs/METRICS.md come.
//!
//! Not a counter itself: [`ShardTotals`] holds those. A new field of it takes one line in a table here, and
//! docs/METRICS.md made anew (`metrics/reference.rs` says how). Names are by Prometheus's conventions: base units,
//! `_total` for what only grows.

use std::fmt::{self, Write};

use echomesh_shard::{CloseReason, Drop, Histogram, LoginOutcome};

use crate::measures::Handshake;
use crate::shard_thread::ShardTotals;

/// What a number of a table counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things, or bytes.
    Whole,
    /// Millionths of the unit in its name.
    Millionths,
}

/// A figure.
pub struct Total {
    /// One that only grows is under it in the JSON line, and as a metric `echomesh_NAME_total`.
    pub name: &'static str,
    /// What it counts, for who reads the metrics.
    pub help: &'static str,
    /// Of what it gives.
    pub unit: Unit,
    /// Where it is.
    pub get: fn(&ShardTotals) -> u64,
}

/// Counts of the same thing by reason.
pub struct Family {
    /// Under it in the JSON line.
    pub key: &'static str,
    /// As a metric `echomesh_NAME_total`.
    pub name: &'static str,
    /// What it counts, for who reads the metrics.
    pub help: &'static str,
    /// What tells them apart.
    pub label: &'static str,
    /// Its values.
    pub values: &'static [&'static str],
    /// Where the count of one of them is, by its place in `values`.
    pub get: fn(&ShardTotals, usize) -> u64,
}

/// A histogram, in millionths of the unit in its name.
pub struct Distribution {
    /// As a metric `echomesh_NAME`.
    pub name: &'static str,
    /// What it tells, for who reads the metrics.
    pub help: &'static str,
    /// Where it is.
    pub get: fn(&ShardTotals) -> &Histogram,
}

const fn total(name: &'static str, help: &'static str, get: fn(&ShardTotals) -> u64) -> Total {
    Total { name, help, unit: Unit::Whole, get }
}

const fn distribution(name: &'static str, help: &'static str, get: fn(&ShardTotals) -> &Histogram) -> Distribution {
    Distribution { name, help, get }
}

/// Every figure that only grows, but those that are counted by reason.
#[rustfmt::skip] // A table is read by its lines.
pub const TOTALS: &[Total] = &[
    total("accepted", "Control connections accepted.", |of| of.counters.accepted),
    total("logins", "Logins that succeeded, resumes not included.", |of| of.counters.logins),
    total("logins_refused", "Logins refused.", |of| of.counters.logins_refused),
    total("resumes", "Sessions resumed after their connection was lost.", |of| of.counters.resumes),
    total("chat_stored", "Chat lines stored and acknowledged.", |of| of.counters.chat_stored),
    total("direct_stored", "Direct lines stored and acknowledged.", |of| of.counters.direct_stored),
    total("chat_changed", "Lines of chat edited or deleted.", |of| of.counters.chat_changed),
    total("chat_expired", "Lines of chat deleted for their age.", |of| of.counters.chat_expired),
    total("chat_delivered", "Chat lines handed to connections.", |of| of.counters.chat_delivered),
    total("voice_received", "Voice packets accepted from speakers.", |of| of.counters.voice_received),
    total("voice_forwarded", "Copies of voice packets for listeners.", |of| of.counters.voice_forwarded),
    total("voice_relayed", "Voice packets handed to other shards.", |of| of.counters.voice_relayed),
    total("voice_from_mesh", "Voice packets taken from other shards.", |of| of.counters.voice_from_mesh),
    total("voice_fanned_out", "Voice packets that went on to a listener or a shard.", |of| of.counters.voice_fanned_out),
    total("rtcp_received", "RTCP packets accepted.", |of| of.counters.rtcp_received),
    total("rtcp_sent", "RTCP packets made for clients.", |of| of.counters.rtcp_sent),
    total("busy", "Requests answered with: try again.", |of| of.counters.busy),
    total("too_fast", "Requests beyond their connection's rate, not done.", |of| of.counters.too_fast),
    total("slowed", "Times that a connection was not read from since it sent too many bytes.", |of| of.counters.slowed),
    total("guesses_refused", "Passwords, tokens and codes not looked at since too many were wrong.", |of| of.counters.guesses_refused),
    total("datagrams_received", "Datagrams taken from the voice socket.", |of| of.datagrams_received),
    total("udp_received_bytes", "Bytes of these datagrams, without headers of UDP and IP.", |of| of.udp_received_bytes),
    total("datagrams_sent", "Datagrams given to the system.", |of| of.datagrams_sent),
    total("udp_sent_bytes", "Bytes of these datagrams, without headers of UDP and IP.", |of| of.udp_sent_bytes),
    total("messages_sent", "Messages they went in: several datagrams for one listener go in one.", |of| of.messages_sent),
    total("tcp_received_bytes", "Bytes read from control connections, TLS included.", |of| of.measures.tcp_received_bytes),
    total("tcp_sent_bytes", "Bytes written to control connections, TLS included.", |of| of.measures.tcp_sent_bytes),
    total("send_failed", "Datagrams the system did not take.", |of| of.send_failed),
    total("voice_ring_full", "Voice packets dropped since the ring to another shard was full.", |of| of.voice_ring_full),
    total("receive_failed", "Receives of datagrams that failed.", |of| of.receive_failed),
    total("receive_dropped", "Datagrams the system dropped: a receive buffer was full, or they could not be voice.", |of| of.receive_dropped),
    total("peer_unknown", "Copies of voice packets dropped since the listener was gone.", |of| of.peer_unknown),
    total("accept_failed", "Control connections that could not be accepted.", |of| of.accept_failed),
    total("store_failed", "Requests to the store that failed: the database is away, slow or refuses.", |of| of.store_failed),
    total("wakeups", "Times that the shard slept and was woken for a ring: of a shard, the store or the hashers.", |of| of.measures.wakeups),
    total("mesh_wakeups", "Sleeping shards that this one woke.", |of| of.measures.mesh_wakeups),
    Total { name: "cpu_seconds", help: "Processor time of the shard's thread, work of the system for it included.", unit: Unit::Millionths, get: |of| of.measures.cpu_us },
];

/// Every figure that goes up and down; as a metric `echomesh_NAME`.
#[rustfmt::skip] // A table is read by its lines.
pub const GAUGES: &[Total] = &[
    total("sessions", "Sessions, with or without connection.", |of| of.occupancy.sessions),
    total("sessions_detached", "Sessions without connection, which wait to be resumed.", |of| of.occupancy.detached),
    total("streams", "Voice streams.", |of| of.occupancy.streams),
    total("speakers", "Voice streams whose client spoke in the last 300 ms.", |of| of.occupancy.speakers),
    total("rooms", "Rooms, on the shard that is their home.", |of| of.occupancy.rooms),
    total("store_requests", "Requests to the store that have no answer yet.", |of| of.occupancy.storing),
    total("store_reads", "Reads of chat that have no answer yet.", |of| of.occupancy.reading),
    total("hash_requests", "Passwords to be hashed or compared that have no answer yet.", |of| of.occupancy.hashing),
    total("mesh_control_ring_bytes", "Most bytes that waited in a control ring to this shard, of 262144, in the last 15 to 30 s.", |of| of.measures.control_ring.most()),
    total("mesh_voice_ring_bytes", "Most bytes that waited in a voice ring to this shard, of 262144, in the last 15 to 30 s.", |of| of.measures.voice_ring.most()),
    total("mesh_outbox_bytes", "Bytes for other shards that wait for room in control rings.", |of| of.occupancy.outbox_bytes),
    total("connection_memory_bytes", "Memory that connections hold, as memory-mib counts it.", |of| of.occupancy.memory_bytes),
    total("connection_memory_limit_bytes", "This shard's share of memory-mib; 0: no limit.", |of| of.occupancy.memory_bytes_max),
];

/// Every figure that is counted by reason.
#[rustfmt::skip] // A table is read by its lines.
pub const FAMILIES: &[Family] = &[
    Family {
        key: "login_outcomes", name: "login_outcomes", label: "outcome", values: LoginOutcome::NAMES,
        help: "Logins and resumes, by how they were answered.",
        get: |of, place| of.counters.login_outcome(LoginOutcome::ALL[place]),
    },
    Family {
        key: "tls_handshakes", name: "tls_handshakes", label: "outcome", values: Handshake::NAMES,
        help: "TLS handshakes that came to an end, by which.",
        get: |of, place| of.measures.handshakes(place),
    },
    Family {
        key: "closed", name: "connections_closed", label: "reason", values: CloseReason::NAMES,
        help: "Control connections ended, by reason.",
        get: |of, place| of.counters.closed(CloseReason::ALL[place]),
    },
    Family {
        key: "dropped", name: "dropped", label: "reason", values: Drop::NAMES,
        help: "Voice packets and other inputs that went no further, by reason.",
        get: |of, place| of.counters.dropped(Drop::ALL[place]),
    },
];

/// Every histogram.
pub const DISTRIBUTIONS: &[Distribution] = &[
    distribution(
        "forwarding_seconds",
        "Voice packets with listeners here: from when the system had one to when its last copy was given back to the system, \
         the way across shards included.",
        |of| &of.measures.forwarding,
    ),
    distribution(
        "turn_seconds",
        "Turns of the shard, in which it does nothing else: from the start of one to when its voice was with the system.",
        |of| &of.measures.turns,
    ),
    distribution(
        "tick_late_seconds",
        "Ticks of the shard, due 50 ms after the one before: by how much later they came.",
        |of| &of.measures.ticks_late,
    ),
    distribution("store_seconds", "Requests to the store: until the shard took the answer.", |of| &of.measures.store),
    distribution("store_read_seconds", "Reads of chat: until the shard took the answer.", |of| &of.measures.reads),
    distribution(
        "hash_seconds",
        "Passwords hashed or compared, the wait for a turn included: until the shard took the answer.",
        |of| &of.measures.hashes,
    ),
    distribution(
        "downlink_loss_ratio",
        "Share lost of a stream on its way to a client, by the client's RTCP reports: a value for each stream in each.",
        |of| &of.counters.reported.downlink_loss,
    ),
    distribution(
        "downlink_jitter_seconds",
        "Interarrival jitter (RFC 3550) of a stream at a client, by its RTCP reports.",
        |of| &of.counters.reported.downlink_jitter,
    ),
    distribution(
        "uplink_loss_ratio",
        "Share lost of a speaker's stream on its way here in the 2 s before each report to it.",
        |of| &of.counters.reported.uplink_loss,
    ),
    distribution("uplink_jitter_seconds", "Interarrival jitter (RFC 3550) of a speaker's stream here.", |of| {
        &of.counters.reported.uplink_jitter
    }),
    distribution(
        "round_trip_seconds",
        "To a client and back, by RTCP (RFC 3611); what either side waited is not in it.",
        |of| &of.counters.reported.round_trip,
    ),
];

/// A number of a table as text.
pub struct Shown(pub u64, pub Unit);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(value, Unit::Whole) => write!(f, "{value}"),
            // Exact in a double up to 285 years of microseconds.
            Self(value, Unit::Millionths) => write!(f, "{}", *value as f64 / 1e6),
        }
    }
}

/// `{"totals":{…}}`: each figure summed over the shards, and under the key of each family how often
/// each reason occurred; reasons that did not are left out.
pub fn json(shards: &[ShardTotals]) -> String {
    let mut line = String::from("{\"totals\":{");
    for Total { name, get, unit, .. } in TOTALS {
        let count: u64 = shards.iter().map(get).sum();
        write!(line, "\"{name}\":{},", Shown(count, *unit)).expect("a String takes all");
    }
    for Family { key, values, get, .. } in FAMILIES {
        let counts = values.iter().enumerate();
        let counts = counts.map(|(place, value)| (value, shards.iter().map(|shard| get(shard, place)).sum::<u64>()));
        let occurred: Vec<String> =
            counts.filter(|(_, count)| *count > 0).map(|(value, count)| format!("\"{value}\":{count}")).collect();
        write!(line, "\"{key}\":{{{}}},", occurred.join(",")).expect("a String takes all");
    }
    line.pop();
    line.push_str("}}");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: scripts can read the line as JSON, sums are over all shards, and absent reasons are absent.
    #[test]
    fn totals_are_summed_in_one_line() {
        let mut shard = ShardTotals::default();
        shard.counters.voice_received = 7;
        shard.send_failed = 2;
        shard.measures.cpu_us = 1_250_000;
        shard.measures.handshake(Handshake::Resumed);
        let line = json(&[shard.clone(), shard]);
        let totals = &serde_json::from_str::<serde_json::Value>(&line).unwrap()["totals"];
        assert_eq!((&totals["voice_received"], &totals["send_failed"]), (&14.into(), &4.into()), "{line}");
        assert_eq!((&totals["accepted"], &totals["cpu_seconds"]), (&0.into(), &2.5.into()), "{line}");
        assert_eq!(totals["tls_handshakes"], serde_json::json!({ "resumed": 2 }), "{line}");
        assert_eq!((&totals["closed"], &totals["dropped"]), (&serde_json::json!({}), &serde_json::json!({})), "{line}");
    }

    /// Goal: no figure has the name of another, nor a key in the line at the end that is another's.
    #[test]
    fn names_are_unique() {
        let named = |totals: &'static [Total]| totals.iter().map(|total| total.name);
        let metrics = named(TOTALS).chain(named(GAUGES)).chain(FAMILIES.iter().map(|family| family.name));
        let metrics = metrics.chain(DISTRIBUTIONS.iter().map(|distribution| distribution.name));
        let keys = named(TOTALS).chain(FAMILIES.iter().map(|family| family.key));
        for names in [metrics.collect::<Vec<_>>(), keys.collect()] {
            let unique: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(unique.len(), names.len(), "{names:?}");
        }
    }
}
