//! The few figures that answer "what does this box carry?", one card each.
//!
//! In: the report. Out: what, how much, and under which conditions; nothing for what was not measured.
//! Of several runs of one workload the middle one is told: no best-of.

use std::collections::BTreeMap;

use super::findings::{at_least, name_of_ramp, name_of_voice};
use super::numbers::{count, memory_kib, percent, several, short, time_us, whole};
use crate::results::{Outcome, RampOutcome, Report, Step, VoiceOutcome};

/// One figure.
pub struct Headline {
    pub what: String,
    pub figure: String,
    /// Under which conditions.
    pub under: String,
}

/// In the order of what people ask first.
pub fn headlines(report: &Report) -> Vec<Headline> {
    let mut told = ramps(report);
    told.extend(voices(report));
    for outcome in &report.outcomes {
        match outcome {
            Outcome::Idle(idle) => told.push(Headline {
                what: "Memory for one idle client".to_owned(),
                figure: memory_kib(idle.kib_per_client),
                under: format!("with {} signed in", whole(idle.clients)),
            }),
            Outcome::Logins(logins) if logins.name == "password" => told.push(Headline {
                what: "Logins by password".to_owned(),
                figure: format!("{}/s", short(logins.per_s)),
                under: format!("{} at a time, p99 {}", whole(logins.concurrency), time_us(logins.latency_us.p99)),
            }),
            Outcome::Chat(chat) if chat.mode == "closed" => told.push(Headline {
                what: "Chat lines delivered".to_owned(),
                figure: format!("{}/s", count(chat.deliveries_per_s)),
                under: format!("{} lines/s to a room of {}, each stored", count(chat.lines_per_s), whole(chat.members)),
            }),
            _ => {}
        }
    }
    told
}

/// What was measured beside other work is not to be read without that.
fn doubted(step: &Step, under: String) -> String {
    match (step.disturbed, step.generator_limited) {
        (true, _) => format!("disturbed by other work; {under}"),
        (_, true) => format!("the generator was at its limit; {under}"),
        _ => under,
    }
}

/// The run in the middle of several, by a figure; the lower of two.
fn middle<T>(mut runs: Vec<&T>, figure: impl Fn(&T) -> f64) -> Option<&T> {
    runs.sort_by(|one, other| figure(one).total_cmp(&figure(other)));
    runs.get(runs.len().saturating_sub(1) / 2).copied()
}

fn best(ramp: &RampOutcome) -> Option<&Step> {
    ramp.best.and_then(|best| ramp.steps.get(best))
}

/// Each ramp's most, by name and shards.
fn ramps(report: &Report) -> Vec<Headline> {
    let mut by_name: BTreeMap<(&str, u32), Vec<&RampOutcome>> = BTreeMap::new();
    for outcome in &report.outcomes {
        if let Outcome::Ramp(ramp) = outcome {
            by_name.entry((&ramp.name, ramp.shards)).or_default().push(ramp);
        }
    }
    let speakers = |ramp: &RampOutcome| best(ramp).map_or(0.0, |step| f64::from(step.speakers_total));
    by_name
        .into_values()
        .filter_map(|runs| {
            let ramp = middle(runs, speakers)?;
            let step = best(ramp)?;
            let least = at_least(ramp);
            Some(Headline {
                what: format!("Most voice carried: {}", name_of_ramp(ramp)),
                figure: format!("{}{}/s", if least { "≥ " } else { "" }, count(step.forwarded_per_s)),
                under: doubted(
                    step,
                    format!(
                        "datagrams to listeners, {} in rooms of {}, p99 {}",
                        several(step.speakers_total, "speaker"),
                        whole(ramp.load.members),
                        time_us(step.latency_us.p99)
                    ),
                ),
            })
        })
        .collect()
}

/// Latency and cost at steady load, of the workload that forwards most.
fn voices(report: &Report) -> Vec<Headline> {
    let voices = report.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Voice(voice) => Some(voice),
        _ => None,
    });
    let voices: Vec<&VoiceOutcome> = voices.collect();
    let expected = |voice: &VoiceOutcome| (voice.measured.expected as f64 / voice.measured.seconds) as u64;
    let Some(most) = voices.iter().max_by_key(|voice| expected(voice)) else { return Vec::new() };
    let runs: Vec<&VoiceOutcome> =
        voices.iter().copied().filter(|voice| voice.name == most.name && voice.shards == most.shards).collect();
    let Some(voice) = middle(runs, |voice| voice.measured.latency_us.p99) else { return Vec::new() };
    let step = &voice.measured;
    let mut told = vec![Headline {
        what: format!("Latency one way, p99: {}", name_of_voice(voice)),
        figure: time_us(step.latency_us.p99),
        under: doubted(
            step,
            format!(
                "p50 {}, {} datagrams/s, loss {}",
                time_us(step.latency_us.p50),
                count(step.forwarded_per_s),
                percent(step.loss)
            ),
        ),
    }];
    if let Some(server) = &step.server {
        told.push(Headline {
            what: format!("Server CPU for one datagram: {}", name_of_voice(voice)),
            figure: format!("{} µs", short(server.us_per_datagram)),
            under: doubted(
                step,
                if server.core_busy.is_some() {
                    "all non-idle time of its core, the kernel's network work included".to_owned()
                } else {
                    "time of the server's process".to_owned()
                },
            ),
        });
    }
    told
}
