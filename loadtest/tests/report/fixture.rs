//! Made-up reports for tests of how they are told. Not measurements: the figures are round and plausible.

use std::collections::BTreeMap;

use echomesh_loadtest::results::*;

/// Percentiles of a plausible shape around a median, microseconds.
pub fn percentiles(count: u64, p50: f64, tail: f64) -> Percentiles {
    Percentiles {
        count,
        p50,
        p90: p50 * tail.powf(0.5),
        p99: p50 * tail,
        p999: p50 * tail.powf(1.5),
        p9999: p50 * tail.powf(1.8),
        max: p50 * tail.powf(2.2),
    }
}

/// A stretch in which `speakers` are each heard by `listeners` others, at this share of the server's core.
pub fn step(speakers: u32, listeners: u64, seconds: f64, busy: f64) -> Step {
    let sent = (f64::from(speakers) * 50.0 * seconds) as u64;
    let expected = sent * listeners;
    let late = 1.0 / (1.02 - busy.min(1.0));
    Step {
        speakers_total: speakers,
        seconds,
        sent,
        expected,
        received: expected,
        loss: 0.0,
        worst_listener_loss: 0.0,
        duplicates: 0,
        opened: expected / 16,
        open_failed: 0,
        forwarded_per_s: expected as f64 / seconds,
        held: true,
        latency_us: percentiles(expected, 70.0 * late, 2.0 + late.ln()),
        send_late_us: percentiles(sent, 40.0, 3.0),
        server: Some(ServerCost {
            cpu: busy * 0.93,
            core_busy: Some(busy),
            us_per_datagram: busy * 1e6 * seconds / expected as f64,
            rss_kib: 24_000 + u64::from(speakers) * 40,
            context_switches_per_s: 3000.0,
        }),
        generator_cpu: 0.1 + busy * 0.4,
        generator_us_per_datagram: 1.1,
        generator_limited: false,
        disturbed: false,
        receive_buffer_drops: 0,
        shards: Vec::new(),
        counters: None,
    }
}

/// The same with `lost` of a hundred not arriving.
pub fn losing(mut step: Step, lost: f64) -> Step {
    step.received = (step.expected as f64 * (1.0 - lost / 100.0)) as u64;
    step.loss = 1.0 - step.received as f64 / step.expected as f64;
    step.worst_listener_loss = step.loss * 1.5;
    step.forwarded_per_s = step.received as f64 / step.seconds;
    step.latency_us = percentiles(step.received, 9000.0, 4.0);
    step.held = false;
    step
}

pub fn load(rooms: u32, members: u32, speakers: u32) -> VoiceLoad {
    VoiceLoad {
        rooms,
        members,
        speakers,
        payload: "100".to_owned(),
        talk: "continuous".to_owned(),
        clients: rooms * members,
        setup_s: 1.4,
    }
}

fn voice(name: &str, shards: u32, load: VoiceLoad, busy: f64) -> Outcome {
    let listeners = u64::from(load.members) - 1;
    let mut measured = step(load.rooms * load.speakers, listeners, 5.0, busy);
    if shards > 1 {
        measured.shards = balance(shards, &measured);
    }
    Outcome::Voice(VoiceOutcome { name: name.to_owned(), shards, load, measured })
}

fn balance(shards: u32, step: &Step) -> Vec<ShardCount> {
    let each = |shard: u32, total: u64| total / u64::from(shards) * u64::from(9 + shard) / 10;
    (0..shards)
        .map(|shard| ShardCount {
            shard,
            voice_received: each(shard, step.sent),
            voice_forwarded: each(shard, step.received),
            voice_relayed: each(shard, step.sent),
            voice_from_mesh: each(shard, step.sent),
            dropped: BTreeMap::from([("socket_full".to_owned(), u64::from(shard) * 1234)]),
        })
        .collect()
}

/// A ramp that bisects to its limit, which is loss.
pub fn ramp(name: &str, shards: u32, limit: u32, load: VoiceLoad) -> RampOutcome {
    let listeners = u64::from(load.members) - 1;
    let at = |speakers: u32| {
        let busy = f64::from(speakers) / f64::from(limit) * 0.97;
        let it = step(speakers, listeners, 1.5, busy.min(1.0));
        if speakers > limit { losing(it, 4.0 * f64::from(speakers - limit) / f64::from(limit) * 10.0) } else { it }
    };
    let speakers = [50, 65, 85, 110, 98, 98, 104, 101].map(|percent| limit * percent / 100);
    let mut steps: Vec<Step> = speakers.into_iter().map(at).collect();
    if shards > 1 {
        steps[4].shards = balance(shards, &steps[4]);
    }
    RampOutcome {
        name: name.to_owned(),
        shards,
        load,
        steps,
        best: Some(4),
        first_failed: Some(7),
        stopped_by: Stop::Loss,
    }
}

fn logins(name: &str, count: u32, per_s: f64, p50: f64) -> Outcome {
    Outcome::Logins(LoginsOutcome {
        name: name.to_owned(),
        count,
        concurrency: 16,
        seconds: f64::from(count) / per_s,
        per_s,
        latency_us: percentiles(u64::from(count), p50, 2.2),
        server_cpu: Some(0.86),
        generator_cpu: 0.31,
        refused_busy: 0,
    })
}

fn chat(mode: &str, lines_per_s: f64) -> Outcome {
    Outcome::Chat(ChatOutcome {
        mode: mode.to_owned(),
        members: 100,
        seconds: 3.0,
        lines_sent: (lines_per_s * 3.0) as u64,
        deliveries: (lines_per_s * 297.0) as u64,
        deliveries_per_s: lines_per_s * 99.0,
        lines_per_s,
        acknowledge_us: percentiles((lines_per_s * 3.0) as u64, 900.0, 2.5),
        deliver_us: percentiles((lines_per_s * 297.0) as u64, 1400.0, 3.0),
        server_cpu: Some(lines_per_s / 1900.0),
        generator_cpu: 0.4,
        refused: 0,
    })
}

/// A report without any outcome.
pub fn empty() -> Report {
    Report {
        tool: "echomesh-loadtest 0.1.0".to_owned(),
        started_unix_ms: 1_790_000_000_000,
        machine: Machine {
            kernel: "Linux 6.18.44".to_owned(),
            processor: "AMD EPYC".to_owned(),
            cores: 2,
            memory_mib: 24_000,
        },
        server: ServerUnderTest {
            address: "127.0.0.1:41234".to_owned(),
            started_by_tool: true,
            shards: Some(1),
            arguments: ["--speakers-max", "0", "--shards", "1"].map(str::to_owned).to_vec(),
        },
        generator: Generator { threads: 1, cores: vec![1], opened_share: 0.0625 },
        outcomes: Vec::new(),
    }
}

/// A report with everything in it.
pub fn full() -> Report {
    let mut report = empty();
    report.outcomes = vec![
        voice("w1", 1, load(10, 10, 1), 0.03),
        voice("w2", 1, load(20, 10, 3), 0.15),
        voice("w3", 1, load(1, 100, 3), 0.09),
        voice("w4", 1, load(1, 500, 2), 0.28),
        voice("w2", 2, load(20, 10, 3), 0.19),
        Outcome::Ramp(ramp("w5", 1, 412, load(100, 10, 1))),
        Outcome::Ramp(ramp("w5big", 2, 160, load(4, 100, 1))),
        logins("password", 200, 31.4, 480_000.0),
        logins("handshake", 600, 1190.0, 11_000.0),
        logins("handshake_resumed", 900, 3420.0, 4100.0),
        logins("resume", 400, 1050.0, 12_000.0),
        chat("open", 50.0),
        chat("closed", 1210.0),
        Outcome::Idle(IdleOutcome {
            clients: 10_000,
            rooms: 100,
            joined_s: 14.2,
            base_rss_kib: 18_432,
            rss_kib: 431_000,
            kib_per_client: 41.3,
            idle_cpu: 0.004,
            messages_received: 1_010_000,
        }),
        Outcome::Churn(ChurnOutcome {
            seconds: 5.0,
            joins: 250,
            leaves: 240,
            reconnects: 120,
            voice: step(60, 9, 5.0, 0.2),
            join_us: percentiles(250, 8000.0, 2.0),
        }),
    ];
    report
}
