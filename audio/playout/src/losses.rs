//! How many packets of a speaker are lost in a row, and what the others carry against it.
//!
//! Bounds: O(1); a run counts as at most [`RUN_MAX`].

use crate::Redundancy;

/// Longest run told apart, packets.
const RUN_MAX: usize = 8;

/// A packet's weight in what is remembered: 1/500, 10 s.
const FORGET: f32 = 1.0 / 500.0;

/// Lost packets of all, below which losses ask for no delay: one in two hundred.
const LOSS_MIN: f32 = 0.005;

/// Part of the lost packets that shall be within what is asked for.
const COVERED: f32 = 0.9;

/// Losses of late.
#[derive(Debug)]
pub(crate) struct Losses {
    redundancy: Redundancy,
    /// Part of the packets that were lost in runs of each length.
    runs: [f32; RUN_MAX],
}

impl Default for Losses {
    fn default() -> Self {
        Self { redundancy: Redundancy::None, runs: [0.0; RUN_MAX] }
    }
}

impl Losses {
    /// A packet was played.
    pub(crate) fn played(&mut self, redundancy: Redundancy) {
        self.forget(1.0);
        // Not every packet of a stream with copies carries one: silence has none.
        if redundancy != Redundancy::None {
            self.redundancy = redundancy;
        }
    }

    /// So many packets in a row had not arrived when their turn was over.
    pub(crate) fn lost(&mut self, packets: u64) {
        if packets == 0 {
            return;
        }
        let run = packets.min(RUN_MAX as u64) as usize;
        self.forget(run as f32);
        self.runs[run - 1] += run as f32 * FORGET;
    }

    fn forget(&mut self, packets: f32) {
        for weight in &mut self.runs {
            *weight *= 1.0 - packets * FORGET;
        }
    }

    /// What is carried against losses; nothing while there are hardly any.
    pub(crate) fn redundancy(&self) -> Redundancy {
        if self.runs.iter().sum::<f32>() < LOSS_MIN { Redundancy::None } else { self.redundancy }
    }

    /// The length of run within which most lost packets are.
    pub(crate) fn burst(&self) -> i64 {
        let all: f32 = self.runs.iter().sum();
        let mut covered = 0.0;
        for (run, weight) in (1..).zip(&self.runs) {
            covered += weight;
            if covered >= COVERED * all {
                return run;
            }
        }
        RUN_MAX as i64
    }
}
