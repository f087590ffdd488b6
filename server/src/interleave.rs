//! Turns that are measured beside turns that are not, for scripts/bench/metrics-cost: what metrics cost a shard.
//!
//! Not part of what ships: without the feature `interleaved` every turn is measured and nothing is counted here. With it,
//! of each two blocks of `BLOCK_TURNS` one is not: no clock is read at its end, nothing recorded or published. A turn's
//! cost is the thread's processor time from its begin to the next one's, sleep and wake-up included; both kinds are
//! told in the log every `TOLD_TURNS`. So what is compared was done by the same code in the same moment, and a machine
//! that is a tenth faster in this second than in the last one does not matter.
//! The sequence is that of Thue and Morse, so that nothing that comes in every n-th block is in one kind more often.

use rustix::time::{ClockId, clock_gettime};

use crate::uring::VoiceRing;

/// Long enough that what recording does to caches is paid in the same block.
const BLOCK_TURNS: u64 = 8;

/// Between two lines in the log: about a second of the smallest load. Whole pairs of blocks.
const TOLD_TURNS: u64 = 64 * BLOCK_TURNS;

/// With this in the environment all turns are measured, and counted as if half were not: a control.
const CONTROL: &str = "ECHOMESH_INTERLEAVE_CONTROL";

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    cpu_ns: u64,
    datagrams: u64,
}

/// Of one shard.
#[derive(Debug, Default)]
pub struct Interleave {
    turns: u64,
    /// When this turn began.
    begun: Sums,
    /// Not measured, measured.
    sums: [Sums; 2],
    is_control: bool,
}

impl Interleave {
    /// At a shard's start.
    pub fn new() -> Self {
        let is_control = cfg!(feature = "interleaved") && std::env::var_os(CONTROL).is_some();
        Self { is_control, ..Self::default() }
    }

    /// Whether this turn is measured.
    pub fn is_on(&self) -> bool {
        !cfg!(feature = "interleaved") || self.is_control || self.is_second_kind()
    }

    fn is_second_kind(&self) -> bool {
        (self.turns / BLOCK_TURNS).count_ones() % 2 == 1
    }

    /// A turn begins, and the one before is over.
    pub fn turn(&mut self, voice: &VoiceRing) {
        if !cfg!(feature = "interleaved") {
            return;
        }
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let now = Sums {
            cpu_ns: cpu.tv_sec as u64 * 1_000_000_000 + cpu.tv_nsec as u64,
            datagrams: voice.counters().sends.sent,
        };
        let sums = &mut self.sums[usize::from(self.is_second_kind())];
        sums.cpu_ns += now.cpu_ns - self.begun.cpu_ns;
        sums.datagrams += now.datagrams - self.begun.datagrams;
        self.begun = now;
        self.turns += 1;
        if self.turns.is_multiple_of(TOLD_TURNS) {
            let [off, on] = std::mem::take(&mut self.sums);
            tracing::info!(on.cpu_ns, on.datagrams, off.cpu_ns, off.datagrams, "interleaved");
        }
    }
}
