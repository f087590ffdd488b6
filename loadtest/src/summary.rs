//! What came of it, as plain text for standard output.

use std::fmt::Write;

use crate::results::{Outcome, Report, Step};

/// All outcomes, one block each.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for outcome in &report.outcomes {
        one(outcome, &mut out).expect("a String takes all");
    }
    out
}

fn one(outcome: &Outcome, out: &mut String) -> std::fmt::Result {
    match outcome {
        Outcome::Voice(voice) => {
            writeln!(out, "{}  {} shards, set up in {:.1} s", voice.name, voice.shards, voice.load.setup_s)?;
            step(&voice.measured, out)
        }
        Outcome::Ramp(ramp) => {
            writeln!(out, "{}  {} shards, set up in {:.1} s", ramp.name, ramp.shards, ramp.load.setup_s)?;
            writeln!(out, "  stopped by {:?}, {} steps", ramp.stopped_by, ramp.steps.len())?;
            for (label, at) in [("most that held", ramp.best), ("fewest that failed", ramp.first_failed)] {
                if let Some(at) = at {
                    writeln!(out, "  {label}:")?;
                    step(&ramp.steps[at], out)?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn step(step: &Step, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "    {} speakers, {:.0} copies/s, sent {}, expected {}, received {}, loss {:.4} %, worst {:.4} %, opened {}, not {}, again {}",
        step.speakers_total,
        step.forwarded_per_s,
        step.sent,
        step.expected,
        step.received,
        step.loss * 100.0,
        step.worst_listener_loss * 100.0,
        step.opened,
        step.open_failed,
        step.duplicates
    )?;
    let latency = &step.latency_us;
    writeln!(
        out,
        "    latency us p50 {:.0} p90 {:.0} p99 {:.0} p99.9 {:.0} max {:.0}; send late p99 {:.0}",
        latency.p50, latency.p90, latency.p99, latency.p999, latency.max, step.send_late_us.p99
    )?;
    if let Some(server) = &step.server {
        writeln!(
            out,
            "    server cpu {:.3}, cores busy {:.3}, {:.3} us/copy, {} KiB, {:.0} switches/s",
            server.cpu,
            server.core_busy.unwrap_or(f64::NAN),
            server.us_per_datagram,
            server.rss_kib,
            server.context_switches_per_s
        )?;
    }
    writeln!(
        out,
        "    generator cpu {:.3}, {:.3} us/copy{}{}; buffer drops {}; counters {:?}",
        step.generator_cpu,
        step.generator_us_per_datagram,
        if step.generator_limited { ", LIMITED" } else { "" },
        if step.disturbed { ", DISTURBED" } else { "" },
        step.receive_buffer_drops,
        step.counters
    )
}
