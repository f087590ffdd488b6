//! What the server did, as one JSON line at its end: for scripts, tests and people.

use echomesh_shard::{CloseReason, Drop};

use crate::shard_thread::ShardTotals;

/// `{"totals":{...}}`, summed over shards; reasons that did not occur are left out.
pub fn json(shards: &[ShardTotals]) -> String {
    let sum = |of: fn(&ShardTotals) -> u64| shards.iter().map(of).sum::<u64>();
    let plain = [
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
        ("datagrams_sent", sum(|shard| shard.datagrams_sent)),
        ("send_failed", sum(|shard| shard.send_failed)),
        ("no_send_slot", sum(|shard| shard.no_send_slot)),
        ("receive_failed", sum(|shard| shard.receive_failed)),
        ("voice_ring_full", sum(|shard| shard.voice_ring_full)),
        ("peer_unknown", sum(|shard| shard.peer_unknown)),
        ("accept_failed", sum(|shard| shard.accept_failed)),
    ];
    let reasons = |pairs: Vec<(&str, u64)>| {
        let shown: Vec<String> =
            pairs.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("\"{name}\":{count}")).collect();
        format!("{{{}}}", shown.join(","))
    };
    let closed = CloseReason::ALL
        .iter()
        .map(|reason| (reason.as_str(), shards.iter().map(|shard| shard.counters.closed(*reason)).sum::<u64>()));
    let dropped = Drop::ALL
        .iter()
        .map(|reason| (reason.as_str(), shards.iter().map(|shard| shard.counters.dropped(*reason)).sum::<u64>()));
    let plain: Vec<String> = plain.iter().map(|(name, count)| format!("\"{name}\":{count}")).collect();
    let (closed, dropped) = (reasons(closed.collect()), reasons(dropped.collect()));
    format!("{{\"totals\":{{{},\"closed\":{closed},\"dropped\":{dropped}}}}}", plain.join(","))
}
