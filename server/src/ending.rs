//! How the shards' threads end together.
//!
//! Not the rules of the end, which are the kernel's: this says how far it is. Requests cross shards, so each shard
//! stays until all are quiet, or until there is no more time.
//! Cost: a relaxed load a tick.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Not begun.
    Serving,
    /// Nothing new is begun; what was begun is answered.
    Draining,
    /// No more time.
    Stopping,
}

/// The end, shared by the main thread and the shards'.
#[derive(Debug)]
pub struct Ending {
    phase: AtomicU8,
    busy: AtomicUsize,
}

impl Ending {
    /// None yet, for so many shards.
    pub fn new(shards: u8) -> Self {
        Self { phase: AtomicU8::new(Phase::Serving as u8), busy: AtomicUsize::new(usize::from(shards)) }
    }

    /// Goes on to `phase`, and never back.
    pub fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    /// One more shard has answered all that was begun. The last one ends the draining.
    pub fn shard_is_quiet(&self) {
        if self.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.advance(Phase::Stopping);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: shards stop when the last of them is quiet or at once when told, and never serve again.
    #[test]
    fn the_last_quiet_shard_ends_the_draining() {
        let ending = Ending::new(2);
        ending.advance(Phase::Draining);
        ending.shard_is_quiet();
        assert_eq!(ending.phase(), Phase::Draining);
        ending.shard_is_quiet();
        assert_eq!(ending.phase(), Phase::Stopping);
        ending.advance(Phase::Draining);
        assert_eq!(ending.phase(), Phase::Stopping);
    }
}
