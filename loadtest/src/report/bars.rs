//! What needs no axis: balance over shards, idle clients, logins, chat and churn, as tables with bars.
//!
//! In: the report. Out: sections of the page, each empty where nothing of its kind was measured.

use super::findings::{name_of_ramp, name_of_voice};
use super::markup::{Cell, section, table};
use super::numbers::{NOTHING, count, cpu, memory_kib, percent, percentile_us, short, whole};
use crate::results::{ChatOutcome, ChurnOutcome, IdleOutcome, LoginsOutcome, Outcome, Report, ShardCount, Step};

/// Balance over shards, of each voice outcome and of each ramp's best step, where there are 2 or more.
pub fn balance(report: &Report) -> String {
    let mut rows = Vec::new();
    for outcome in &report.outcomes {
        match outcome {
            Outcome::Voice(voice) => shard_rows(&name_of_voice(voice), &voice.measured, &mut rows),
            Outcome::Ramp(ramp) => {
                if let Some(step) = ramp.best.and_then(|best| ramp.steps.get(best)) {
                    shard_rows(&name_of_ramp(ramp), step, &mut rows);
                }
            }
            _ => {}
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let headings = ["<workload", "shard", "received/s", "forwarded/s", "relayed/s", "from the mesh/s", "<dropped"];
    let told = "<p>What each shard did: packets received from its speakers, copies forwarded to its listeners, and \
                packets relayed to and from the other shards. Bars compare the shards of one workload.</p>";
    section("shards", "Balance over shards", &format!("{told}{}", table(&headings, &rows)))
}

fn shard_rows(name: &str, step: &Step, rows: &mut Vec<Vec<Cell>>) {
    if step.shards.len() < 2 {
        return;
    }
    let bar = |of: fn(&ShardCount) -> u64, shard: &ShardCount| {
        let most = step.shards.iter().map(of).max().unwrap_or(0).max(1);
        Cell::Bar(count(of(shard) as f64 / step.seconds), of(shard) as f64 / most as f64)
    };
    for (at, shard) in step.shards.iter().enumerate() {
        let drops: Vec<String> = shard
            .dropped
            .iter()
            .filter(|(_, number)| **number > 0)
            .map(|(reason, number)| format!("{} {reason}", whole(*number)))
            .collect();
        rows.push(vec![
            Cell::text(if at == 0 { name } else { "" }),
            Cell::number(whole(shard.shard)),
            bar(|it| it.voice_received, shard),
            bar(|it| it.voice_forwarded, shard),
            bar(|it| it.voice_relayed, shard),
            bar(|it| it.voice_from_mesh, shard),
            Cell::text(if drops.is_empty() { "none".to_owned() } else { drops.join(", ") }),
        ]);
    }
}

/// Many clients that do nothing.
pub fn idle(report: &Report) -> String {
    let all: Vec<&IdleOutcome> = report
        .outcomes
        .iter()
        .filter_map(|outcome| if let Outcome::Idle(idle) = outcome { Some(idle) } else { None })
        .collect();
    let most = largest(all.iter().map(|idle| idle.kib_per_client));
    let row = |idle: &&IdleOutcome| {
        vec![
            Cell::number(whole(idle.clients)),
            Cell::number(whole(idle.rooms)),
            Cell::Bar(memory_kib(idle.kib_per_client), idle.kib_per_client / most),
            Cell::number(memory_kib(idle.base_rss_kib as f64)),
            Cell::number(memory_kib(idle.rss_kib as f64)),
            Cell::number(cpu(idle.idle_cpu)),
            Cell::number(format!("{} s", short(idle.joined_s))),
            Cell::number(whole(idle.messages_received)),
        ]
    };
    let headings = ["clients", "rooms", "for each", "memory before", "with all", "CPU idle", "joined in", "messages"];
    filled("idle", "Idle clients", &headings, all.iter().map(row).collect())
}

/// Logins, handshakes and resumes.
pub fn logins(report: &Report) -> String {
    let all: Vec<&LoginsOutcome> = report
        .outcomes
        .iter()
        .filter_map(|outcome| if let Outcome::Logins(logins) = outcome { Some(logins) } else { None })
        .collect();
    let most = largest(all.iter().map(|logins| logins.per_s));
    let row = |logins: &&LoginsOutcome| {
        let latency = &logins.latency_us;
        vec![
            Cell::text(logins.name.replace('_', ", ")),
            Cell::Bar(short(logins.per_s), logins.per_s / most),
            Cell::number(whole(logins.concurrency)),
            Cell::number(whole(logins.count)),
            Cell::number(percentile_us(latency.count, latency.p50)),
            Cell::number(percentile_us(latency.count, latency.p99)),
            Cell::number(logins.server_cpu.map_or(NOTHING.to_owned(), cpu)),
            Cell::number(cpu(logins.generator_cpu)),
            Cell::number(whole(logins.refused_busy)),
        ]
    };
    let headings = ["<kind", "per second", "at a time", "count", "p50", "p99", "server CPU", "generator", "told busy"];
    filled("logins", "Logins", &headings, all.iter().map(row).collect())
}

/// Chat lines into one room.
pub fn chat(report: &Report) -> String {
    let all: Vec<&ChatOutcome> = report
        .outcomes
        .iter()
        .filter_map(|outcome| if let Outcome::Chat(chat) = outcome { Some(chat) } else { None })
        .collect();
    let most = largest(all.iter().map(|chat| chat.deliveries_per_s));
    let row = |chat: &&ChatOutcome| {
        let (stored, delivered) = (&chat.acknowledge_us, &chat.deliver_us);
        vec![
            Cell::text(match chat.mode.as_str() {
                "open" => "steady rate",
                "closed" => "as fast as it goes",
                other => other,
            }),
            Cell::number(whole(chat.members)),
            Cell::number(short(chat.lines_per_s)),
            Cell::Bar(count(chat.deliveries_per_s), chat.deliveries_per_s / most),
            Cell::number(percentile_us(stored.count, stored.p50)),
            Cell::number(percentile_us(stored.count, stored.p99)),
            Cell::number(percentile_us(delivered.count, delivered.p50)),
            Cell::number(percentile_us(delivered.count, delivered.p99)),
            Cell::number(chat.server_cpu.map_or(NOTHING.to_owned(), cpu)),
            Cell::number(whole(chat.refused)),
        ]
    };
    let headings = [
        "<load",
        "members",
        "lines/s",
        "deliveries/s",
        "stored p50",
        "p99",
        "delivered p50",
        "p99",
        "server CPU",
        "refused",
    ];
    filled("chat", "Chat", &headings, all.iter().map(row).collect())
}

/// Voice while clients come and go.
pub fn churn(report: &Report) -> String {
    let all: Vec<&ChurnOutcome> = report
        .outcomes
        .iter()
        .filter_map(|outcome| if let Outcome::Churn(churn) = outcome { Some(churn) } else { None })
        .collect();
    let row = |churn: &&ChurnOutcome| {
        let (voice, join) = (&churn.voice.latency_us, &churn.join_us);
        vec![
            Cell::number(whole(churn.joins)),
            Cell::number(whole(churn.leaves)),
            Cell::number(whole(churn.reconnects)),
            Cell::number(format!("{} s", short(churn.seconds))),
            Cell::number(percentile_us(join.count, join.p50)),
            Cell::number(percentile_us(join.count, join.p99)),
            Cell::number(count(churn.voice.forwarded_per_s)),
            Cell::number(percent(churn.voice.loss)),
            Cell::number(percentile_us(voice.count, voice.p99)),
        ]
    };
    let headings =
        ["joins", "leaves", "reconnects", "in", "join p50", "p99", "voice datagrams/s", "voice loss", "voice p99"];
    filled("churn", "Clients that come and go", &headings, all.iter().map(row).collect())
}

/// For bars: never zero.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::MIN_POSITIVE, f64::max)
}

fn filled(id: &str, title: &str, headings: &[&str], rows: Vec<Vec<Cell>>) -> String {
    if rows.is_empty() { String::new() } else { section(id, title, &table(headings, &rows)) }
}
