//! The summary for the terminal: one line for each result, in aligned columns, warnings last.
//!
//! In: a report. Out: plain text without colour, about 100 columns wide; the page tells more.

use std::fmt::Write;

use super::findings::{findings, name_of_ramp, name_of_voice, reason};
use super::numbers::{NOTHING, count, cpu, memory_kib, percent, percentile_us, several, short, whole};
use super::voice::server_cpu;
use crate::results::{Outcome, Report, Step};

/// The whole summary, ending with a line end.
pub fn summary(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{} on {}, {}, {}; server {}\n",
        one_line(&report.tool),
        one_line(&machine.processor),
        several(machine.cores, "core"),
        one_line(&machine.kernel),
        one_line(&report.server.address)
    );
    text.push_str(&voice(report));
    text.push_str(&ramps(report));
    text.push_str(&logins(report));
    text.push_str(&chat(report));
    text.push_str(&idle(report));
    text.push_str(&churn(report));
    let found = findings(report);
    if !found.is_empty() {
        text.push_str("\nbefore believing these figures:\n");
    }
    for finding in found {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {} {}", if finding.serious { "!" } else { "-" }, one_line(&finding.told));
    }
    text
}

/// Text from outside may not move the cursor or colour the terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// A title over aligned columns: the first to the left, the others to the right. Empty without rows.
fn table(title: &str, headings: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headings.get(column).map(|heading| heading.chars().count())).max().unwrap_or(0)
    };
    let mut text = format!("\n{title}\n");
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let (cell, width) = (one_line(cell), width(column));
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// The columns of one stretch of voice.
const STEP: [&str; 8] = ["datagrams/s", "loss", "p50", "p99", "p99.9", "server CPU", "µs each", "generator"];

fn step_cells(step: &Step) -> [String; 8] {
    let latency = &step.latency_us;
    let each = step.server.as_ref().map_or(NOTHING.to_owned(), |server| short(server.us_per_datagram));
    [
        count(step.forwarded_per_s),
        percent(step.loss),
        percentile_us(latency.count, latency.p50),
        percentile_us(latency.count, latency.p99),
        percentile_us(latency.count, latency.p999),
        server_cpu(step.server.as_ref()),
        each,
        cpu(step.generator_cpu),
    ]
}

fn voice(report: &Report) -> String {
    let rows = report.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Voice(voice) => Some([&[name_of_voice(voice)][..], &step_cells(&voice.measured)].concat()),
        _ => None,
    });
    table("voice at steady load", &[&[""][..], &STEP].concat(), &rows.collect::<Vec<_>>())
}

fn ramps(report: &Report) -> String {
    let mut rows = Vec::new();
    let mut reasons = String::new();
    for outcome in &report.outcomes {
        let Outcome::Ramp(ramp) = outcome else { continue };
        let name = name_of_ramp(ramp);
        let _ = writeln!(reasons, "  {}: {}", one_line(&name), reason(ramp));
        match ramp.best.and_then(|best| ramp.steps.get(best)) {
            Some(step) => rows.push([&[name, whole(step.speakers_total)][..], &step_cells(step)].concat()),
            None => rows.push(vec![name, "none held".to_owned()]),
        }
    }
    let table = table("most voice carried", &[&["", "speakers"][..], &STEP].concat(), &rows);
    format!("{table}{reasons}")
}

fn logins(report: &Report) -> String {
    let rows = report.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Logins(it) => Some(vec![
            it.name.replace('_', ", "),
            short(it.per_s),
            whole(it.concurrency),
            percentile_us(it.latency_us.count, it.latency_us.p50),
            percentile_us(it.latency_us.count, it.latency_us.p99),
            it.server_cpu.map_or(NOTHING.to_owned(), cpu),
        ]),
        _ => None,
    });
    table("logins", &["", "per second", "at a time", "p50", "p99", "server CPU"], &rows.collect::<Vec<_>>())
}

fn chat(report: &Report) -> String {
    let rows = report.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Chat(it) => Some(vec![
            format!("{}, room of {}", it.mode, whole(it.members)),
            short(it.lines_per_s),
            count(it.deliveries_per_s),
            percentile_us(it.acknowledge_us.count, it.acknowledge_us.p99),
            percentile_us(it.deliver_us.count, it.deliver_us.p50),
            percentile_us(it.deliver_us.count, it.deliver_us.p99),
            it.server_cpu.map_or(NOTHING.to_owned(), cpu),
        ]),
        _ => None,
    });
    let headings = ["", "lines/s", "deliveries/s", "stored p99", "delivered p50", "p99", "server CPU"];
    table("chat", &headings, &rows.collect::<Vec<_>>())
}

fn idle(report: &Report) -> String {
    let rows = report.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Idle(it) => Some(vec![
            several(it.clients, "client"),
            memory_kib(it.kib_per_client),
            memory_kib(it.rss_kib as f64),
            cpu(it.idle_cpu),
            format!("{} s", short(it.joined_s)),
        ]),
        _ => None,
    });
    table("idle clients", &["", "for each", "memory", "CPU", "joined in"], &rows.collect::<Vec<_>>())
}

fn churn(report: &Report) -> String {
    let rows = report.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Churn(it) => {
            let moves = format!("{} joins, {} reconnects", whole(it.joins), whole(it.reconnects));
            Some([&[moves][..], &step_cells(&it.voice)].concat())
        }
        _ => None,
    });
    table("voice while clients come and go", &[&[""][..], &STEP].concat(), &rows.collect::<Vec<_>>())
}
