//! How the server is, in a word, for load balancers and supervisors: `/healthz` and `/readyz`.
//!
//! Not the watchdog, which finds it out and ends the process if a shard will not go on: this is where the main thread
//! and the store's leave what they know. Cost: a relaxed store where something changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ending::{Ending, Phase};

/// What is known.
#[derive(Debug)]
pub struct Condition {
    serving: AtomicBool,
    stalled: AtomicBool,
    store_away: AtomicBool,
    ending: Arc<Ending>,
}

impl Condition {
    /// Of a server that starts.
    pub fn new(ending: Arc<Ending>) -> Self {
        let no = || AtomicBool::new(false);
        Self { serving: no(), stalled: no(), store_away: no(), ending }
    }

    /// The start is over.
    pub fn serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    /// Whether a shard stands still.
    pub fn shard_stands(&self, stands: bool) {
        self.stalled.store(stands, Ordering::Relaxed);
    }

    /// Whether the database is gone, or does not answer in time.
    pub fn store_away(&self, away: bool) {
        self.store_away.store(away, Ordering::Relaxed);
    }

    /// How far the end is.
    pub fn phase(&self) -> Phase {
        self.ending.phase()
    }

    /// Whether the process does its work.
    ///
    /// # Errors
    /// Why not.
    pub fn health(&self) -> Result<(), &'static str> {
        if self.stalled.load(Ordering::Relaxed) { Err("a shard stands still: see the log") } else { Ok(()) }
    }

    /// Whether people can log in.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), &'static str> {
        if self.phase() != Phase::Serving {
            return Err("stopping: no new logins");
        }
        if !self.serving.load(Ordering::Relaxed) {
            return Err("starting: not yet");
        }
        if self.store_away.load(Ordering::Relaxed) {
            return Err("the database does not answer: see the log");
        }
        self.health()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a server is ready when it has started, while its store answers and its shards go on, and until it stops.
    #[test]
    fn readiness_follows_the_server() {
        let ending = Arc::new(Ending::new(1));
        let condition = Condition::new(ending.clone());
        assert_eq!((condition.health(), condition.ready()), (Ok(()), Err("starting: not yet")));
        condition.serving();
        assert_eq!(condition.ready(), Ok(()));
        condition.store_away(true);
        assert!(condition.ready().is_err() && condition.health().is_ok());
        condition.store_away(false);
        condition.shard_stands(true);
        assert!(condition.ready().is_err() && condition.health().is_err());
        condition.shard_stands(false);
        assert_eq!(condition.ready(), Ok(()));
        ending.advance(Phase::Draining);
        assert_eq!(condition.ready(), Err("stopping: no new logins"));
    }
}
