//! What a reader must know before believing a figure: said in plain sentences, before anything else.
//!
//! In: the report. Out: sentences, worst first; none when all is well. Texts from outside are in them as
//! they are: whoever shows them escapes them.

use super::numbers::{count, percent, several, time_us, whole};
use crate::results::{ChurnOutcome, Outcome, RampOutcome, Report, Step, Stop, VoiceOutcome};

/// One sentence, and whether figures are wrong because of it rather than only less sharp.
pub struct Finding {
    pub serious: bool,
    pub told: String,
}

/// Lateness of sending that still leaves latencies to be believed, microseconds.
const SEND_LATE_MAX_US: f64 = 5000.0;

/// All that is to be said of a report.
pub fn findings(report: &Report) -> Vec<Finding> {
    let mut found = Vec::new();
    if report.outcomes.is_empty() {
        found.push(Finding { serious: true, told: "Nothing was measured: no workload came to its end.".to_owned() });
    }
    for outcome in &report.outcomes {
        match outcome {
            Outcome::Voice(voice) => of_step(&name_of_voice(voice), &voice.measured, true, &mut found),
            Outcome::Churn(ChurnOutcome { voice, .. }) => of_step("churn", voice, true, &mut found),
            Outcome::Ramp(ramp) => of_ramp(ramp, &mut found),
            Outcome::Logins(logins) if logins.refused_busy > 0 => found.push(Finding {
                serious: false,
                told: format!(
                    "{}: the server said it is busy {} times and was asked again; that time is in the latencies.",
                    logins.name,
                    whole(logins.refused_busy)
                ),
            }),
            Outcome::Chat(chat) if chat.refused > 0 => found.push(Finding {
                serious: true,
                told: format!(
                    "chat, {}: {} of {} lines were refused by the server.",
                    chat.mode,
                    whole(chat.refused),
                    whole(chat.lines_sent)
                ),
            }),
            Outcome::Logins(_) | Outcome::Chat(_) | Outcome::Idle(_) => {}
        }
    }
    if report.outcomes.iter().any(without_server) {
        let told = "The server's CPU and memory are not known: it is on another host, or its process was not named.";
        found.push(Finding { serious: false, told: told.to_owned() });
    }
    found.sort_by_key(|finding| !finding.serious);
    found
}

/// How a voice outcome is called everywhere.
pub fn name_of_voice(voice: &VoiceOutcome) -> String {
    named(&voice.name, voice.shards)
}

/// How a ramp is called everywhere.
pub fn name_of_ramp(ramp: &RampOutcome) -> String {
    named(&ramp.name, ramp.shards)
}

/// Whether the ramp ended before it found what the server cannot carry.
pub fn at_least(ramp: &RampOutcome) -> bool {
    match ramp.stopped_by {
        Stop::Generator | Stop::Exhausted => true,
        Stop::Time => ramp.first_failed.is_none(),
        Stop::Loss | Stop::Latency => false,
    }
}

/// The shards of a server elsewhere may be unknown, which is told as 0.
fn named(name: &str, shards: u32) -> String {
    if shards == 0 { name.to_owned() } else { format!("{name}, {}", several(shards, "shard")) }
}

/// Why the ramp ended, and what that means for its result: the rest of a sentence about the ramp.
pub fn reason(ramp: &RampOutcome) -> String {
    let failed = ramp.first_failed.and_then(|at| ramp.steps.get(at));
    match (ramp.stopped_by, failed) {
        (Stop::Loss, Some(step)) => format!(
            "stopped by loss: with {} speaking, {} of the datagrams did not arrive (limit 0.1 %).",
            whole(step.speakers_total),
            percent(step.loss)
        ),
        (Stop::Latency, Some(step)) => format!(
            "stopped by latency: with {} speaking, the 99th percentile was {} (limit 20 ms).",
            whole(step.speakers_total),
            time_us(step.latency_us.p99)
        ),
        (Stop::Loss, None) => "stopped by loss over 0.1 %.".to_owned(),
        (Stop::Latency, None) => "stopped by a 99th percentile of latency over 20 ms.".to_owned(),
        (Stop::Generator, _) => {
            "stopped because the generator was at its own limit: the server carries at least this much, and nothing \
             is claimed about more."
                .to_owned()
        }
        (Stop::Exhausted, _) => "stopped because all members speak: the server carries at least this much.".to_owned(),
        (Stop::Time, None) => {
            "stopped by the time limit before any step failed: the server carries at least this much.".to_owned()
        }
        (Stop::Time, Some(_)) => {
            "stopped by the time limit: the limit lies between what held and what did not.".to_owned()
        }
    }
}

fn without_server(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Voice(voice) => voice.measured.server.is_none(),
        Outcome::Ramp(ramp) => ramp.steps.iter().any(|step| step.server.is_none()),
        Outcome::Churn(churn) => churn.voice.server.is_none(),
        Outcome::Logins(_) | Outcome::Chat(_) | Outcome::Idle(_) => false,
    }
}

fn of_ramp(ramp: &RampOutcome, found: &mut Vec<Finding>) {
    let name = name_of_ramp(ramp);
    if ramp.stopped_by == Stop::Generator {
        let told = "the generator was at its own limit: the server carries at least what held, and maybe more.";
        found.push(Finding { serious: false, told: format!("{name}: {told}") });
    }
    match ramp.best.and_then(|best| ramp.steps.get(best)) {
        // A step past the limit may well lose packets: only what is claimed is looked at.
        Some(best) => of_step(&name, best, false, found),
        None => found.push(Finding {
            serious: true,
            told: format!("{name}: no step held; begin the ramp with fewer speakers to find what does."),
        }),
    }
}

fn of_step(name: &str, step: &Step, must_hold: bool, found: &mut Vec<Finding>) {
    let mut say = |serious: bool, told: String| found.push(Finding { serious, told: format!("{name}: {told}") });
    if step.disturbed {
        say(true, "other work was on the same cores; measure again on a quiet machine.".to_owned());
    }
    if step.generator_limited {
        say(true, "the generator was at its own limit, so these figures are not the server's.".to_owned());
    }
    if must_hold && !step.held {
        say(
            true,
            format!(
                "did not hold: loss {} (limit 0.1 %), 99th percentile {} (limit 20 ms).",
                percent(step.loss),
                time_us(step.latency_us.p99)
            ),
        );
    } else if step.received < step.expected {
        let missing = (step.expected - step.received) as f64;
        say(false, format!("{} of {} datagrams did not arrive.", count(missing), whole(step.expected)));
    }
    if step.open_failed > 0 {
        let told = format!("{} received packets failed authentication.", whole(step.open_failed));
        say(true, told);
    }
    if step.duplicates > 0 {
        say(true, format!("{} datagrams arrived twice.", whole(step.duplicates)));
    }
    if let Some(check) = step.counters.as_ref().filter(|check| !check.agrees) {
        say(
            true,
            format!(
                "the server's counters and the tool's differ: {} received for {} sent, {} forwarded for {} received.",
                whole(check.server_received),
                whole(check.tool_sent),
                whole(check.server_forwarded),
                whole(check.tool_received)
            ),
        );
    }
    if step.receive_buffer_drops > 0 {
        let drops = whole(step.receive_buffer_drops);
        say(false, format!("full receive buffers on this machine, of whatever program, dropped {drops} datagrams."));
    }
    if !step.generator_limited && step.send_late_us.count > 0 && step.send_late_us.p99 > SEND_LATE_MAX_US {
        say(false, format!("one packet in a hundred was sent {} late or more.", time_us(step.send_late_us.p99)));
    }
}
