//! Ramps: what was offered and delivered, what it cost, how late it came, and where the limit is.
//!
//! In: the ramp outcomes of a report. Out: a section of the page, empty without any. Steps are plotted in
//! the order of their load, whatever order they were run in.

use super::findings::{name_of_ramp, reason};
use super::markup::{Cell, escape, figure, prose, section, table};
use super::numbers::{count, cpu, percent, percentile_us, several, time_us, whole};
use super::plot::{Axis, Plot, Point, Rule, Series};
use super::scale::Kind;
use super::voice::{load_told, server_cpu, trusted};
use crate::results::{Outcome, RampOutcome, Report, Step};

/// Limit of the 99th percentile, milliseconds.
const LATENCY_MAX_MS: f64 = 20.0;

/// The section.
pub fn ramps(report: &Report) -> String {
    let mut body = String::new();
    for outcome in &report.outcomes {
        if let Outcome::Ramp(ramp) = outcome {
            body.push_str(&one(ramp));
        }
    }
    if body.is_empty() {
        return body;
    }
    let told = "<p>More and more speakers. A step holds if at most 0.1 % of its datagrams are lost and the 99th \
                percentile of latency is at most 20 ms; one that does not is done again before it counts.</p>";
    section("ramps", "How much voice it carries", &format!("{told}{body}"))
}

fn one(ramp: &RampOutcome) -> String {
    let mut html = format!("<h3>{}: {}</h3>", escape(&name_of_ramp(ramp)), escape(&rooms(ramp)));
    let best = ramp.best.and_then(|best| ramp.steps.get(best));
    let held = match best {
        Some(step) => format!(
            "<strong>Held with {}: {} datagrams/s, p99 {}</strong>, loss {}, server CPU {}; ",
            several(step.speakers_total, "speaker"),
            count(step.forwarded_per_s),
            prose(&percentile_us(step.latency_us.count, step.latency_us.p99)),
            prose(&percent(step.loss)),
            prose(&server_cpu(step.server.as_ref()))
        ),
        None => "<strong>No step held</strong>; ".to_owned(),
    };
    html.push_str(&format!("<p>{held}{}</p><div class=\"plots\">", prose(&reason(ramp))));
    let mut steps: Vec<&Step> = ramp.steps.iter().collect();
    // Stable: repeats of a load stay in the order they were run.
    steps.sort_by_key(|step| step.speakers_total);
    let mut show = |title: &str, plot: Plot| html.push_str(&figure(title, &plot.svg(), &plot.legend()));
    show("Offered and delivered", throughput(ramp, &steps, best));
    show("CPU", processor(ramp, &steps, best));
    show("Latency one way", latency(ramp, &steps, best));
    html.push_str("</div><details><summary>Every step</summary>");
    html.push_str(&rows(ramp));
    html.push_str("</details>");
    html
}

fn rooms(ramp: &RampOutcome) -> String {
    let told = load_told(&ramp.load);
    // How many speak in each room is what the ramp changes.
    told.split_once(", ").map_or(told.clone(), |(rooms, rest)| {
        let extra = rest.split_once(", ").map_or(String::new(), |(_, extra)| format!(", {extra}"));
        format!("{rooms}{extra}")
    })
}

/// One line of a plot: of each step its value, if it has one.
fn line(name: &str, look: usize, steps: &[&Step], value: impl Fn(&Step) -> Option<(f64, String)>) -> Series {
    let points = steps.iter().enumerate().filter_map(|(at, step)| {
        let (y, told) = value(step)?;
        let speakers = several(step.speakers_total, "speaker");
        Some(Point {
            x: f64::from(step.speakers_total),
            y,
            told: format!("{speakers}: {told} {name}"),
            failed: !step.held,
            // Of a load that was measured again, the last is the one that counted.
            joined: steps.get(at + 1).is_none_or(|next| next.speakers_total != step.speakers_total),
        })
    });
    Series { name: name.to_owned(), look, dashed: false, points: points.collect() }
}

fn plot(ramp: &RampOutcome, what: &str, y: Axis, best: Option<&Step>, series: Vec<Series>) -> Plot {
    let held =
        best.map(|step| Rule::Down(f64::from(step.speakers_total), format!("held: {}", whole(step.speakers_total))));
    Plot {
        told: format!("{what} against speakers, {}", name_of_ramp(ramp)),
        x: Axis { label: "speakers", kind: Kind::Linear },
        y,
        series,
        rules: held.into_iter().collect(),
    }
}

fn throughput(ramp: &RampOutcome, steps: &[&Step], best: Option<&Step>) -> Plot {
    let rate = |datagrams: u64, step: &Step| {
        let rate = datagrams as f64 / step.seconds;
        Some((rate, format!("{}/s", count(rate))))
    };
    let mut offered = line("offered", 2, steps, |step| rate(step.expected, step));
    offered.dashed = true;
    // Whether a step held is said once, where it was delivered.
    offered.points.iter_mut().for_each(|point| point.failed = false);
    let delivered = line("delivered", 0, steps, |step| rate(step.received, step));
    plot(
        ramp,
        "Datagrams offered and delivered",
        Axis { label: "datagrams to listeners, per second", kind: Kind::Linear },
        best,
        vec![offered, delivered],
    )
}

fn processor(ramp: &RampOutcome, steps: &[&Step], best: Option<&Step>) -> Plot {
    let cores = |cores: f64| Some((cores, cpu(cores)));
    let server =
        line("server", 0, steps, |step| step.server.as_ref().and_then(|it| cores(it.core_busy.unwrap_or(it.cpu))));
    let generator = line("generator", 1, steps, |step| cores(step.generator_cpu));
    let mut plot = plot(
        ramp,
        "CPU of server and generator",
        Axis { label: "CPU, cores", kind: Kind::Linear },
        best,
        vec![server, generator],
    );
    plot.series.retain(|series| !series.points.is_empty());
    plot
}

fn latency(ramp: &RampOutcome, steps: &[&Step], best: Option<&Step>) -> Plot {
    let of = |us: f64, step: &Step| (step.latency_us.count > 0).then(|| (us / 1e3, time_us(us)));
    let p99 = line("p99", 0, steps, |step| of(step.latency_us.p99, step));
    let p50 = line("p50", 1, steps, |step| of(step.latency_us.p50, step));
    let mut plot =
        plot(ramp, "Latency", Axis { label: "latency, ms (log scale)", kind: Kind::Log }, best, vec![p99, p50]);
    plot.rules.push(Rule::Across(LATENCY_MAX_MS, "limit of p99: 20 ms".to_owned()));
    plot
}

fn rows(ramp: &RampOutcome) -> String {
    let headings = ["speakers", "<", "datagrams/s", "loss", "p50", "p99", "server CPU", "generator"];
    let row = |(at, step): (usize, &Step)| {
        let verdict = match (step.held, Some(at) == ramp.best) {
            (true, true) => "held, the most",
            (true, false) => "held",
            (false, _) => "did not hold",
        };
        vec![
            Cell::number(whole(step.speakers_total)),
            Cell::text(verdict),
            Cell::number(count(step.forwarded_per_s)),
            Cell::number(percent(step.loss)),
            Cell::number(percentile_us(step.latency_us.count, step.latency_us.p50)),
            Cell::number(percentile_us(step.latency_us.count, step.latency_us.p99)),
            Cell::number(server_cpu(step.server.as_ref())),
            trusted(step),
        ]
    };
    table(&headings, &ramp.steps.iter().enumerate().map(row).collect::<Vec<_>>())
}
