//! From what was counted and read in one step to its result: shares, costs, and whether to believe them.
//!
//! Pure functions. See `results::Step` for the fields.

use crate::heard::Heard;
use crate::load::loss;
use crate::processor::Reading;
use crate::results::{CounterCheck, Percentiles, ServerCost, ShardCount, Step};

/// A load is held while at most so much is lost, and the 99th percentile of latency is at most so long.
pub const LOSS_MAX: f64 = 0.001;
pub const LATENCY_US_MAX: f64 = 20_000.0;

/// The generator is the bottleneck beyond this share of a core, or this lateness at the 99th percentile.
const GENERATOR_CPU_MAX: f64 = 0.9;
const SEND_LATE_US_MAX: f64 = 5_000.0;

/// Other work on the cores beyond which a step is disturbed: a share of the server's, of the generator's, and what
/// two readings may differ by, seconds.
const DISTURBED_SERVER: f64 = 0.04;
const DISTURBED_GENERATOR: f64 = 0.08;
const READING_S: f64 = 0.02;

/// What all threads counted.
#[derive(Debug)]
pub struct Measured {
    /// Speakers.
    pub speakers: usize,
    /// Time measured.
    pub seconds: f64,
    /// All threads' counts.
    pub heard: Heard,
    /// Copies that should have come.
    pub expected: u64,
    /// Of the listener that lost most.
    pub worst_listener_loss: f64,
    /// Packets that did not open.
    pub open_failed: u64,
    /// Share of its core that the busiest thread used.
    pub busiest: f64,
}

/// Puts one step together; readings are at the measured time's start and end, and after the drain.
#[must_use]
pub fn assemble(
    measured: &Measured,
    (first, last, after): &(Reading, Reading, Reading),
    shards: Vec<ShardCount>,
    server_cores: &[u32],
    own_cores: &[u32],
) -> Step {
    let heard = &measured.heard;
    let loss = loss(measured.expected, heard.received);
    let latency_us = heard.latency.percentiles_us();
    let send_late_us = heard.late.percentiles_us();
    let per_s = heard.received_in_time as f64 / measured.seconds;
    let generator_cpu = last.own_cpu_since(first);
    let server = server_cost(first, last, per_s, server_cores);
    let drops = after.buffer_drops.saturating_sub(first.buffer_drops);
    let counters = counter_check(heard, &shards, drops);
    Step {
        speakers_total: measured.speakers as u32,
        seconds: measured.seconds,
        sent: heard.sent,
        expected: measured.expected,
        received: heard.received,
        loss,
        worst_listener_loss: measured.worst_listener_loss,
        duplicates: heard.duplicates,
        opened: heard.opened,
        open_failed: measured.open_failed,
        forwarded_per_s: per_s,
        held: holds(loss, &latency_us),
        disturbed: is_disturbed(first, last, server.as_ref(), own_cores),
        generator_us_per_datagram: if per_s > 0.0 { generator_cpu * 1e6 / per_s } else { 0.0 },
        generator_limited: measured.busiest > GENERATOR_CPU_MAX || send_late_us.p99 > SEND_LATE_US_MAX,
        generator_cpu,
        latency_us,
        send_late_us,
        server,
        receive_buffer_drops: drops,
        shards,
        counters,
    }
}

/// Whether a load with this loss and latency is carried.
fn holds(loss: f64, latency_us: &Percentiles) -> bool {
    loss <= LOSS_MAX && latency_us.p99 <= LATENCY_US_MAX
}

fn server_cost(first: &Reading, last: &Reading, per_s: f64, cores: &[u32]) -> Option<ServerCost> {
    let cpu = last.server_cpu_since(first)?;
    let core_busy = (!cores.is_empty()).then(|| last.busy_since(first, cores));
    let us = core_busy.unwrap_or(cpu) * 1e6;
    Some(ServerCost {
        cpu,
        core_busy,
        us_per_datagram: if per_s > 0.0 { us / per_s } else { 0.0 },
        rss_kib: last.server_rss_kib,
        context_switches_per_s: last.switches.saturating_sub(first.switches) as f64 / last.seconds_since(first),
    })
}

/// Whether cores were busy with neither server nor generator.
fn is_disturbed(first: &Reading, last: &Reading, server: Option<&ServerCost>, own_cores: &[u32]) -> bool {
    let slack = READING_S / last.seconds_since(first);
    let own = last.own_cpu_since(first);
    if let Some(ServerCost { cpu, core_busy: Some(busy), .. }) = server {
        let on_own = last.busy_since(first, own_cores) - own;
        return busy - cpu > DISTURBED_SERVER + slack
            || (!own_cores.is_empty() && on_own > DISTURBED_GENERATOR + slack);
    }
    // All cores are shared: what neither used is someone else's.
    let all: Vec<u32> = (0..last.idle_s.len() as u32).collect();
    let others = last.busy_since(first, &all) - own - server.map_or(0.0, |server| server.cpu);
    server.is_some() && others > DISTURBED_SERVER + DISTURBED_GENERATOR + 2.0 * slack
}

/// The server's counters of the whole step against ours. What is missing must have been dropped where it is counted.
fn counter_check(heard: &Heard, shards: &[ShardCount], buffer_drops: u64) -> Option<CounterCheck> {
    if shards.is_empty() {
        return None;
    }
    let sum = |of: fn(&ShardCount) -> u64| shards.iter().map(of).sum::<u64>();
    let dropped: u64 = shards.iter().flat_map(|shard| shard.dropped.values()).sum();
    let (server_received, server_forwarded) = (sum(|shard| shard.voice_received), sum(|shard| shard.voice_forwarded));
    let lost_up = heard.all_sent.checked_sub(server_received);
    let lost_down = server_forwarded.checked_sub(heard.all);
    let agrees = match (lost_up, lost_down) {
        (Some(up), Some(down)) => up + down <= buffer_drops + dropped,
        _ => false,
    };
    Some(CounterCheck {
        server_received,
        tool_sent: heard.all_sent,
        server_forwarded,
        tool_received: heard.all,
        agrees,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn shard(voice_received: u64, voice_forwarded: u64, dropped: u64) -> ShardCount {
        let dropped = BTreeMap::from([("send_failed".to_owned(), dropped)]);
        ShardCount { voice_received, voice_forwarded, dropped, ..ShardCount::default() }
    }

    /// Goal: counters agree when equal, or when what is missing is counted somewhere; never when more came than went.
    #[test]
    fn counters_agree_or_say_where_packets_went() {
        let heard = Heard { all_sent: 100, all: 900, ..Heard::default() };
        let agrees = |shards: &[ShardCount], drops| counter_check(&heard, shards, drops).map(|check| check.agrees);
        assert_eq!(agrees(&[shard(60, 500, 0), shard(40, 400, 0)], 0), Some(true));
        assert_eq!(agrees(&[shard(99, 900, 0)], 0), Some(false));
        assert_eq!(agrees(&[shard(99, 905, 2)], 4), Some(true));
        assert_eq!(agrees(&[shard(99, 905, 2)], 3), Some(false));
        assert_eq!(agrees(&[shard(101, 900, 9)], 9), Some(false));
        assert_eq!(agrees(&[shard(100, 899, 9)], 9), Some(false));
        assert_eq!(agrees(&[], 0), None);
    }

    fn readings(server_s: f64, own_s: f64, idle: [f64; 2]) -> (Reading, Reading) {
        let first = Reading { server_s: Some(0.0), idle_s: vec![0.0; 2], ..Reading::default() };
        let at = 2_000_000_000;
        (first, Reading { at, server_s: Some(server_s), own_s, idle_s: idle.to_vec(), ..Reading::default() })
    }

    /// Goal: other work on either core, or anywhere when cores are shared, marks a step; our own does not.
    #[test]
    fn other_work_is_seen() {
        let disturbed = |server_s, own_s, idle, alone: bool| {
            let (first, last) = readings(server_s, own_s, idle);
            let (server_cores, own_cores): (&[u32], &[u32]) = if alone { (&[0], &[1]) } else { (&[], &[]) };
            let cost = server_cost(&first, &last, 1e5, server_cores);
            is_disturbed(&first, &last, cost.as_ref(), own_cores)
        };
        assert!(!disturbed(1.0, 0.4, [1.0, 1.6], true));
        assert!(disturbed(1.0, 0.4, [0.8, 1.6], true));
        assert!(disturbed(1.0, 0.4, [1.0, 1.3], true));
        assert!(!disturbed(1.0, 0.4, [1.4, 1.2], false));
        assert!(disturbed(1.0, 0.4, [1.0, 1.2], false));
    }

    /// Goal: cost is by the cores' busy time where they are the server's alone, which has the kernel's work in it.
    #[test]
    fn cost_is_by_the_cores_where_known() {
        let (first, last) = readings(1.0, 0.4, [0.8, 1.6]);
        let alone = server_cost(&first, &last, 200_000.0, &[0]).unwrap();
        assert_eq!((alone.cpu, alone.core_busy), (0.5, Some(0.6)));
        assert!((alone.us_per_datagram - 3.0).abs() < 1e-9);
        assert!((server_cost(&first, &last, 200_000.0, &[]).unwrap().us_per_datagram - 2.5).abs() < 1e-9);
    }

    /// Goal: a load is held at the bounds, and not beyond either.
    #[test]
    fn the_bounds_of_holding() {
        let latency = |p99| Percentiles { p99, ..Percentiles::default() };
        assert!(holds(0.001, &latency(20_000.0)));
        assert!(!holds(0.0011, &latency(1.0)) && !holds(0.0, &latency(20_001.0)));
    }
}
