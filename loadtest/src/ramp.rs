//! More and more speakers until loss or latency fails, then closer and closer to where it did.
//!
//! The rules are a pure function over what steps gave: a step that other work disturbed is done again, up to
//! `AGAIN_MAX` times; a failure counts when it happens twice in a row; from then on the search halves the distance
//! between the most speakers that held and the fewest that failed.
//! Bounds: a time limit, checked between steps.

use crate::bench::Bench;
use crate::clock::{self, MILLISECOND, seconds};
use crate::crowd::Crowd;
use crate::failure::Outcome;
use crate::load::{Load, Times};
use crate::results::{RampOutcome, Step, Stop};
use crate::server::Server;
use crate::step::LOSS_MAX;

/// Most times a disturbed step is done again.
const AGAIN_MAX: u32 = 3;

/// While nothing has failed, each step has so many times the speakers of the one before.
const GROWTH: f64 = 1.3;

/// Without load: after a disturbed step, after a failure seen once, and after one that counts, nanoseconds.
const REST_DISTURBED: u64 = 500 * MILLISECOND;
const REST_FAILED: u64 = 700 * MILLISECOND;
const REST_COUNTED: u64 = 1_000 * MILLISECOND;

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Speakers of the first step.
    pub from: usize,
    /// It ends when the fewest that failed are at most this share above the most that held.
    pub fine: f64,
    /// No step begins later than so long after the first, seconds.
    pub limit_s: f64,
    /// Parts of each step.
    pub times: Times,
}

/// What the search needs of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// See `Step`.
    pub held: bool,
    pub disturbed: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A step with so many speakers, after a rest of so many nanoseconds.
    Run(usize, u64),
    /// Where it failed is known well enough.
    Found,
    /// All speak, and it held.
    Exhausted,
}

/// The search's state.
#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    all: usize,
    fine: f64,
    at: usize,
    best: usize,
    failed: Option<usize>,
    again: u32,
    failed_once: bool,
}

impl Ramp {
    /// Of at most `all` speakers.
    #[must_use]
    pub fn new(from: usize, all: usize, fine: f64) -> Self {
        let at = from.clamp(1, all.max(1));
        Self { all, fine, at, best: 0, failed: None, again: 0, failed_once: false }
    }

    /// Speakers of the first step.
    #[must_use]
    pub fn first(&self) -> usize {
        self.at
    }

    /// What follows from the step that `first` or `Next::Run` asked for.
    pub fn next(&mut self, seen: Seen) -> Next {
        if seen.disturbed && self.again < AGAIN_MAX {
            self.again += 1;
            return Next::Run(self.at, REST_DISTURBED);
        }
        self.again = 0;
        if !seen.held && !self.failed_once {
            self.failed_once = true;
            return Next::Run(self.at, REST_FAILED);
        }
        self.failed_once = false;
        let rest = if seen.held { 0 } else { REST_COUNTED };
        if seen.held {
            self.best = self.best.max(self.at);
        } else {
            self.failed = Some(self.failed.map_or(self.at, |failed| failed.min(self.at)));
        }
        let Some(failed) = self.failed else {
            if self.at == self.all {
                return Next::Exhausted;
            }
            self.at = ((self.at as f64 * GROWTH) as usize).max(self.at + 1).min(self.all);
            return Next::Run(self.at, rest);
        };
        let near = self.best > 0 && failed as f64 <= self.best as f64 * (1.0 + self.fine);
        let middle = usize::midpoint(self.best, failed);
        if near || middle == self.best {
            return Next::Found;
        }
        self.at = middle;
        Next::Run(self.at, rest)
    }
}

/// Index of the step with the most speakers that held, and of the one with the fewest that failed and was not
/// contradicted by holding when done again.
fn best_and_failed(steps: &[Step]) -> (Option<usize>, Option<usize>) {
    let numbered = || steps.iter().enumerate();
    let best = numbered().filter(|(_, step)| step.held).max_by_key(|(_, step)| step.speakers_total);
    let above = best.map_or(0, |(_, step)| step.speakers_total);
    let failed = numbered().filter(|(_, step)| !step.held && step.speakers_total > above);
    // Of the tries with as few, the last: it is the one that counted.
    let failed = failed.min_by_key(|(at, step)| (step.speakers_total, std::cmp::Reverse(*at)));
    (best.map(|(at, _)| at), failed.map(|(at, _)| at))
}

/// Why the ramp ended, from the step that failed.
fn reason(failed: Option<&Step>, exhausted: bool) -> Stop {
    match failed {
        Some(step) if step.generator_limited => Stop::Generator,
        Some(step) if step.loss > LOSS_MAX => Stop::Loss,
        Some(_) => Stop::Latency,
        None if exhausted => Stop::Exhausted,
        None => Stop::Time,
    }
}

/// Runs a ramp.
///
/// # Errors
/// As for `Crowd::gather` and `Crowd::step`.
pub fn run(bench: &Bench, server: &Server, name: &str, load: Load, search: &Search) -> Outcome<RampOutcome> {
    let mut crowd = Crowd::gather(bench, server, load)?;
    let mut ramp = Ramp::new(search.from, load.clients(), search.fine);
    let end = clock::real() + seconds(search.limit_s);
    let (mut next, mut steps) = (Next::Run(ramp.first(), 0), Vec::new());
    while let Next::Run(speakers, rest) = next {
        if rest > 0 {
            crowd.rest(rest)?;
        }
        if clock::real() >= end {
            break;
        }
        bench.progress.say(&format!("{name}: {speakers} speakers"));
        let step = crowd.step(speakers, search.times)?;
        bench.progress.note(&described(name, &step));
        next = ramp.next(Seen { held: step.held, disturbed: step.disturbed });
        steps.push(step);
    }
    let (best, first_failed) = best_and_failed(&steps);
    let stopped_by = reason(first_failed.map(|at| &steps[at]), next == Next::Exhausted);
    let speakers = search.from.div_ceil(load.rooms as usize) as u32;
    let load = crowd.described(speakers);
    Ok(RampOutcome { name: name.to_owned(), shards: server.shards, load, steps, best, first_failed, stopped_by })
}

fn described(name: &str, step: &Step) -> String {
    let held = match (step.held, step.generator_limited, step.disturbed) {
        (_, _, true) => "disturbed by other work",
        (true, ..) => "held",
        (false, true, _) => "failed, but the generator was the bottleneck",
        (false, false, _) => "failed",
    };
    format!(
        "{name}: {} speakers, {:.0} copies/s, loss {:.3} %, p99 {:.2} ms: {held}",
        step.speakers_total,
        step.forwarded_per_s,
        step.loss * 100.0,
        step.latency_us.p99 / 1e3
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Seen = Seen { held: true, disturbed: false };
    const BAD: Seen = Seen { held: false, disturbed: false };
    const NOISE: Seen = Seen { held: false, disturbed: true };

    /// Plays a server that carries so many speakers; gives the steps and how it ended.
    fn play(mut ramp: Ramp, carries: usize) -> (Vec<usize>, Next) {
        let mut asked = Vec::new();
        let mut next = Next::Run(ramp.first(), 0);
        while let Next::Run(speakers, _) = next {
            asked.push(speakers);
            assert!(asked.len() < 100, "{asked:?}");
            next = ramp.next(if speakers <= carries { OK } else { BAD });
        }
        (asked, next)
    }

    /// Goal: the search ends within its resolution of what a server carries, wherever that is.
    #[test]
    fn the_search_finds_what_a_server_carries() {
        for carries in 1..900 {
            let ramp = Ramp::new(110, 1_000, 0.04);
            let (asked, end) = play(ramp, carries);
            assert_eq!(end, Next::Found);
            let best = asked.iter().filter(|speakers| **speakers <= carries).max();
            let failed = asked.iter().filter(|speakers| **speakers > carries).min().unwrap();
            match best {
                Some(best) => {
                    assert!(*failed as f64 <= *best as f64 * 1.04 || failed - best == 1, "{carries}: {asked:?}")
                }
                None => assert_eq!(*failed, 1, "{asked:?}"),
            }
        }
    }

    /// Goal: a server that carries everyone exhausts the members; one that carries nobody ends it too.
    #[test]
    fn the_search_ends_at_both_ends() {
        assert_eq!(play(Ramp::new(110, 400, 0.04), 400).1, Next::Exhausted);
        assert_eq!(play(Ramp::new(500, 400, 0.04), 400), (vec![400], Next::Exhausted));
        assert_eq!(play(Ramp::new(4, 400, 0.04), 0), (vec![4, 4, 2, 2, 1, 1], Next::Found));
    }

    /// Goal: one failure is done again before it counts, a disturbed step at most three times.
    #[test]
    fn failures_and_disturbances_are_done_again() {
        let mut ramp = Ramp::new(100, 1_000, 0.04);
        assert_eq!(ramp.next(BAD), Next::Run(100, REST_FAILED));
        assert_eq!(ramp.next(OK), Next::Run(130, 0));
        for _ in 0..AGAIN_MAX {
            assert_eq!(ramp.next(NOISE), Next::Run(130, REST_DISTURBED));
        }
        assert_eq!(ramp.next(NOISE), Next::Run(130, REST_FAILED));
        assert_eq!(ramp.next(OK), Next::Run(169, 0));
    }

    /// Goal: the reason is that of the step that failed, and a generator that was the bottleneck makes no claim.
    #[test]
    fn the_reason_is_that_of_the_failed_step() {
        let step = |speakers_total, held, loss, generator_limited| {
            let measured = crate::step::Measured {
                speakers: speakers_total,
                seconds: 1.0,
                heard: crate::heard::Heard::default(),
                expected: 0,
                worst_listener_loss: 0.0,
                open_failed: 0,
                busiest: 0.0,
            };
            let step = crate::step::assemble(&measured, &Default::default(), Vec::new(), &[], &[]);
            Step { held, loss, generator_limited, ..step }
        };
        let steps = [step(100, true, 0.0, false), step(130, false, 0.1, false), step(130, false, 0.0, false)];
        assert_eq!(best_and_failed(&steps), (Some(0), Some(2)));
        assert_eq!(reason(Some(&steps[1]), false), Stop::Loss);
        assert_eq!(reason(Some(&steps[2]), false), Stop::Latency);
        assert_eq!(reason(Some(&step(9, false, 0.1, true)), false), Stop::Generator);
        assert_eq!((reason(None, true), reason(None, false)), (Stop::Exhausted, Stop::Time));
        let again = [step(100, false, 0.1, false), step(100, true, 0.0, false)];
        assert_eq!(best_and_failed(&again), (Some(1), None));
    }
}
