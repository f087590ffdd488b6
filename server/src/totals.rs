//! The figures of a shard: one table of names, from which the JSON line at the end and the metrics come.
//!
//! Not a counter itself: [`ShardTotals`] holds those. A new field of it takes one line in [`TOTALS`].

use std::fmt::Write;

use echomesh_shard::{CloseReason, Counters, Drop};

use crate::shard_thread::ShardTotals;

/// A figure.
pub struct Total {
    /// One that only grows is under it in the JSON line, and as a metric `echomesh_NAME_total`.
    pub name: &'static str,
    /// What it counts, for who reads the metrics.
    pub help: &'static str,
    /// Where it is.
    pub get: fn(&ShardTotals) -> u64,
}

const fn total(name: &'static str, help: &'static str, get: fn(&ShardTotals) -> u64) -> Total {
    Total { name, help, get }
}

/// Every figure but those that are counted by reason.
#[rustfmt::skip] // A table is read by its lines.
pub const TOTALS: &[Total] = &[
    total("accepted", "Control connections accepted.", |of| of.counters.accepted),
    total("logins", "Logins that succeeded.", |of| of.counters.logins),
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
    total("datagrams_sent", "Datagrams given to the system.", |of| of.datagrams_sent),
    total("messages_sent", "Messages they went in: several datagrams for one listener go in one.", |of| of.messages_sent),
    total("send_failed", "Datagrams the system did not take.", |of| of.send_failed),
    total("voice_ring_full", "Voice packets dropped since the ring to another shard was full.", |of| of.voice_ring_full),
    total("receive_failed", "Receives of datagrams that failed.", |of| of.receive_failed),
    total("receive_dropped", "Datagrams the system dropped: a receive buffer was full, or they could not be voice.", |of| of.receive_dropped),
    total("peer_unknown", "Copies of voice packets dropped since the listener was gone.", |of| of.peer_unknown),
    total("accept_failed", "Control connections that could not be accepted.", |of| of.accept_failed),
];

/// Every figure that goes up and down; as a metric `echomesh_NAME`.
#[rustfmt::skip] // A table is read by its lines.
pub const GAUGES: &[Total] = &[
    total("sessions", "Sessions, with or without connection.", |of| of.occupancy.sessions),
    total("sessions_detached", "Sessions without connection, which wait to be resumed.", |of| of.occupancy.detached),
    total("streams", "Voice streams.", |of| of.occupancy.streams),
    total("rooms", "Rooms, on the shard that is their home.", |of| of.occupancy.rooms),
];

/// `{"totals":{…}}`: each figure summed over the shards, and under `closed` and `dropped` how often
/// each reason occurred; reasons that did not are left out.
pub fn json(shards: &[ShardTotals]) -> String {
    let mut line = String::from("{\"totals\":{");
    for Total { name, get, .. } in TOTALS {
        let count: u64 = shards.iter().map(get).sum();
        write!(line, "\"{name}\":{count},").expect("a String takes all");
    }
    let closed = CloseReason::ALL.iter().map(|reason| (reason.as_str(), sum(shards, |of| of.closed(*reason))));
    let dropped = Drop::ALL.iter().map(|reason| (reason.as_str(), sum(shards, |of| of.dropped(*reason))));
    let (closed, dropped) = (reasons(closed), reasons(dropped));
    write!(line, "\"closed\":{{{closed}}},\"dropped\":{{{dropped}}}}}}}").expect("a String takes all");
    line
}

fn sum(shards: &[ShardTotals], of: impl Fn(&Counters) -> u64) -> u64 {
    shards.iter().map(|shard| of(&shard.counters)).sum()
}

fn reasons<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let occurred: Vec<String> =
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| format!("\"{name}\":{count}")).collect();
    occurred.join(",")
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
        let line = json(&[shard.clone(), shard]);
        assert!(line.starts_with("{\"totals\":{\"accepted\":0,"), "{line}");
        assert!(line.contains("\"voice_received\":14,") && line.contains("\"send_failed\":4,"), "{line}");
        assert!(line.ends_with("\"closed\":{},\"dropped\":{}}}"), "{line}");
    }

    /// Goal: no figure has the name of another, or of one that is counted by reason.
    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> =
            TOTALS.iter().map(|total| total.name).chain(["dropped", "connections_closed"]).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
