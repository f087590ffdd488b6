//! What the server did, as one JSON line at its end: for scripts, tests and people.

use std::fmt::Write;

use echomesh_shard::{CloseReason, Counters, Drop};

use crate::shard_thread::ShardTotals;

/// `{"totals":{…}}`: each counter summed over the shards, and under `closed` and `dropped` how often
/// each reason occurred; reasons that did not are left out.
pub fn json(shards: &[ShardTotals]) -> String {
    let sum = |of: fn(&ShardTotals) -> u64| shards.iter().map(of).sum::<u64>();
    let mut line = String::from("{\"totals\":{");
    for (name, count) in [
        ("accepted", sum(|shard| shard.counters.accepted)),
        ("logins", sum(|shard| shard.counters.logins)),
        ("logins_refused", sum(|shard| shard.counters.logins_refused)),
        ("resumes", sum(|shard| shard.counters.resumes)),
        ("chat_stored", sum(|shard| shard.counters.chat_stored)),
        ("chat_delivered", sum(|shard| shard.counters.chat_delivered)),
        ("voice_received", sum(|shard| shard.counters.voice_received)),
        ("voice_forwarded", sum(|shard| shard.counters.voice_forwarded)),
        ("voice_relayed", sum(|shard| shard.counters.voice_relayed)),
        ("voice_from_mesh", sum(|shard| shard.counters.voice_from_mesh)),
        ("rtcp_received", sum(|shard| shard.counters.rtcp_received)),
        ("rtcp_sent", sum(|shard| shard.counters.rtcp_sent)),
        ("busy", sum(|shard| shard.counters.busy)),
        ("datagrams_sent", sum(|shard| shard.datagrams_sent)),
        ("messages_sent", sum(|shard| shard.messages_sent)),
        ("send_failed", sum(|shard| shard.send_failed)),
        ("no_send_slot", sum(|shard| shard.no_send_slot)),
        ("voice_ring_full", sum(|shard| shard.voice_ring_full)),
        ("receive_failed", sum(|shard| shard.receive_failed)),
        ("receive_buffer_full", sum(|shard| shard.receive_buffer_full)),
        ("peer_unknown", sum(|shard| shard.peer_unknown)),
        ("accept_failed", sum(|shard| shard.accept_failed)),
    ] {
        write!(line, "\"{name}\":{count},").expect("a String takes all");
    }
    let closed = CloseReason::ALL.iter().map(|reason| (reason.as_str(), total(shards, |of| of.closed(*reason))));
    let dropped = Drop::ALL.iter().map(|reason| (reason.as_str(), total(shards, |of| of.dropped(*reason))));
    let (closed, dropped) = (reasons(closed), reasons(dropped));
    write!(line, "\"closed\":{{{closed}}},\"dropped\":{{{dropped}}}}}}}").expect("a String takes all");
    line
}

fn total(shards: &[ShardTotals], of: impl Fn(&Counters) -> u64) -> u64 {
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
}
