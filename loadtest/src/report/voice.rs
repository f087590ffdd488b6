//! Steady voice: a row for each run, and latency by percentile.
//!
//! In: the voice outcomes of a report. Out: a section of the page, empty without any.

use super::findings::name_of_voice;
use super::markup::{Cell, figure, section, table};
use super::numbers::{NOTHING, count, cpu, memory_kib, percent, percentile_us, several, short, time_us, whole};
use super::plot::{Axis, Plot, Point, SERIES_MAX, Series};
use super::scale::Kind;
use crate::results::{Outcome, Percentiles, Report, ServerCost, Step, VoiceLoad, VoiceOutcome};

/// Packets that must lie above a percentile for it to be drawn: of fewer it is chance.
const ABOVE_MIN: f64 = 10.0;

/// The section.
pub fn voice(report: &Report) -> String {
    let voices: Vec<&VoiceOutcome> = report
        .outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Voice(voice) => Some(voice),
            _ => None,
        })
        .collect();
    if voices.is_empty() {
        return String::new();
    }
    let mut body = String::from(
        "<p>A fixed number of speakers, each sending a packet every 20 ms. Latency is one way, from the speaker's \
         send to the kernel's receive stamp at the listener, over every datagram received.</p>",
    );
    body.push_str(&rows(&voices));
    body.push_str("<div class=\"plots pair\">");
    for plot in plots(&voices) {
        body.push_str(&figure("Latency by percentile", &plot.svg(), &plot.legend()));
    }
    body.push_str(&costs(&voices));
    body.push_str("</div>");
    section("voice", "Voice at steady load", &body)
}

/// "20 rooms of 10, 3 speakers each".
pub fn load_told(load: &VoiceLoad) -> String {
    let rooms = several(load.rooms, "room");
    let mut told = format!("{rooms} of {}, {} each", whole(load.members), several(load.speakers, "speaker"));
    if load.talk != "continuous" {
        told = format!("{told}, talking {}", load.talk);
    }
    if load.payload != "100" {
        told = format!("{told}, payload {}", load.payload);
    }
    told
}

/// Its server's CPU: the cores' busy time where known.
pub fn server_cpu(server: Option<&ServerCost>) -> String {
    server.map_or(NOTHING.to_owned(), |server| cpu(server.core_busy.unwrap_or(server.cpu)))
}

fn rows(voices: &[&VoiceOutcome]) -> String {
    let headings = [
        "<workload",
        "<load",
        "clients",
        "datagrams/s",
        "loss",
        "p50",
        "p99",
        "p99.9",
        "max",
        "server CPU",
        "µs each",
        "memory",
        "generator",
    ];
    let most = voices.iter().map(|voice| voice.measured.forwarded_per_s).fold(f64::MIN_POSITIVE, f64::max);
    let row = |voice: &&VoiceOutcome| {
        let step = &voice.measured;
        let latency = &step.latency_us;
        let server = step.server.as_ref();
        vec![
            Cell::text(name_of_voice(voice)),
            Cell::text(load_told(&voice.load)),
            Cell::number(whole(voice.load.clients)),
            Cell::Bar(count(step.forwarded_per_s), step.forwarded_per_s / most),
            limited(percent(step.loss), step.loss <= 0.001),
            Cell::number(percentile_us(latency.count, latency.p50)),
            limited(percentile_us(latency.count, latency.p99), latency.p99 <= 20_000.0),
            Cell::number(percentile_us(latency.count, latency.p999)),
            Cell::number(percentile_us(latency.count, latency.max)),
            Cell::number(server_cpu(server)),
            Cell::number(server.map_or(NOTHING.to_owned(), |server| short(server.us_per_datagram))),
            Cell::number(server.map_or(NOTHING.to_owned(), |server| memory_kib(server.rss_kib as f64))),
            trusted(step),
        ]
    };
    table(&headings, &voices.iter().map(row).collect::<Vec<_>>())
}

/// A figure that has a limit.
fn limited(text: String, within: bool) -> Cell {
    if within { Cell::Number(text) } else { Cell::Bad(text) }
}

/// The generator's CPU, or why the row is not to be believed.
pub fn trusted(step: &Step) -> Cell {
    match (step.disturbed, step.generator_limited) {
        (true, _) => Cell::Bad("disturbed".to_owned()),
        (_, true) => Cell::Bad(format!("{}, at its limit", cpu(step.generator_cpu))),
        _ => Cell::number(cpu(step.generator_cpu)),
    }
}

/// What one datagram costs the server, beside the latencies; empty where there is nothing to compare.
fn costs(voices: &[&VoiceOutcome]) -> String {
    let known: Vec<(String, f64)> = voices
        .iter()
        .filter_map(|voice| Some((name_of_voice(voice), voice.measured.server.as_ref()?.us_per_datagram)))
        .collect();
    if known.len() < 2 {
        return String::new();
    }
    let most = known.iter().map(|(_, us)| *us).fold(f64::MIN_POSITIVE, f64::max);
    let row = |(name, us): (String, f64)| vec![Cell::Text(name), Cell::Bar(format!("{} µs", short(us)), us / most)];
    let rows: Vec<Vec<Cell>> = known.into_iter().map(row).collect();
    figure("Server CPU for one datagram", &table(&["<workload", "CPU each"], &rows), "")
}

/// One plot for each six workloads; several runs of one share its look.
fn plots(voices: &[&VoiceOutcome]) -> Vec<Plot> {
    let mut names: Vec<String> = Vec::new();
    for voice in voices {
        let name = name_of_voice(voice);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let chunk = |names: &[String]| {
        let series = voices.iter().filter_map(|voice| {
            let name = name_of_voice(voice);
            let look = names.iter().position(|it| *it == name)?;
            Some(Series { points: percentile_points(&name, &voice.measured.latency_us), name, look, dashed: false })
        });
        Plot {
            told: format!("One-way latency by percentile of {}", names.join("; ")),
            x: Axis { label: "share of datagrams that arrived within it", kind: Kind::Percentile },
            y: Axis { label: "latency, ms (log scale)", kind: Kind::Log },
            series: series.collect(),
            rules: Vec::new(),
        }
    };
    names.chunks(SERIES_MAX).map(chunk).collect()
}

fn percentile_points(name: &str, latency: &Percentiles) -> Vec<Point> {
    let of = [
        (0.5, latency.p50, "p50"),
        (0.9, latency.p90, "p90"),
        (0.99, latency.p99, "p99"),
        (0.999, latency.p999, "p99.9"),
        (0.9999, latency.p9999, "p99.99"),
    ];
    of.into_iter()
        .filter(|(share, ..)| latency.count as f64 * (1.0 - share) >= ABOVE_MIN - 1e-6)
        .map(|(share, us, label)| Point {
            x: share,
            y: us / 1e3,
            told: format!("{name}: {label} {}", time_us(us)),
            failed: false,
            joined: true,
        })
        .collect()
}
