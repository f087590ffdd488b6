//! Store and hashers of the simulated world: when a job is done, when its answer comes, and what fails.
//!
//! Faults while the seed is young: jobs that are slow, fail, or fail although they were done, as when a connection
//! to a database is lost in the commit; a store that is away for seconds. A kill loses the jobs that were not done, and
//! the answers of those that were. What is read is read beside what is written, and sees what was answered.

use echomesh_shard::{HashOutcome, HashReply, HashRequest, StoreJob, StoreOutcome, StoreReply, StoreRequest};

use crate::world::{Event, World};

/// Longest absence of the store, microseconds.
const AWAY_US: u64 = 8_000_000;

/// Longest that a job takes by itself, microseconds: longer than an answer is waited for.
const LONGEST_US: u64 = 20_000_000;

/// Whether a job may be done and its failure be told: one that is given again under an id, or written anew.
fn may_fail_when_done(job: &StoreJob) -> bool {
    matches!(
        job,
        StoreJob::AppendChat { .. }
            | StoreJob::SaveSessions { .. }
            | StoreJob::CreateAccount { .. }
            | StoreJob::CreateRoom { .. }
            | StoreJob::EndRoom { .. }
            | StoreJob::Chat(_)
            | StoreJob::SweepRoom { .. }
    )
}

impl World {
    fn store_delay(&mut self) -> u64 {
        let slowness = if self.is_healed() { 1 } else { self.faults.store_slowness };
        (self.delay() * slowness).min(LONGEST_US)
    }

    /// A kernel asks the store.
    pub fn ask_store(&mut self, shard: usize, request: StoreRequest) {
        let delay = self.store_delay();
        let earliest = (self.time + delay).max(self.store_away_until);
        if matches!(request.job, StoreJob::ReadChat(_)) {
            return self.later(earliest - self.time, Event::StoreDoes(shard, request));
        }
        // It does each shard's jobs in order.
        let at = self.store_free[shard].min(self.time + LONGEST_US).max(earliest);
        self.store_free[shard] = at + 1;
        self.later(at - self.time, Event::StoreDoes(shard, request));
    }

    /// The store does a job, and answers in order.
    pub fn store_does(&mut self, shard: usize, request: StoreRequest) {
        let StoreRequest { token, job } = request;
        let fails = !self.is_healed() && self.one_in(self.faults.store_fails_one_in);
        let is_read = matches!(job, StoreJob::ReadChat(_));
        if self.is_traced() {
            let fate = if fails { "fails to do" } else { "does" };
            eprintln!("{:>10} us store {fate} for shard {shard}: {job:?}", self.time);
        }
        let outcome = match fails {
            false => self.store.carry_out(job),
            true if may_fail_when_done(&job) && self.below(2) == 0 => self.store.carry_out_and_fail(job),
            true => StoreOutcome::Failed,
        };
        let delay = self.delay();
        let mut at = self.time + delay;
        if !is_read {
            at = at.max(self.store_answers[shard]);
            self.store_answers[shard] = at + 1;
        }
        self.later(at - self.time, Event::Store(shard, StoreReply { token, outcome }));
    }

    /// The store is away for a while: what is asked meanwhile is done when it is back.
    pub fn store_goes_away(&mut self) {
        self.store_away_until = self.time + self.below(AWAY_US);
    }

    /// A kernel asks the hashers.
    pub fn ask_hasher(&mut self, shard: usize, request: HashRequest) {
        let is_busy = !self.is_healed() && self.one_in(self.faults.store_fails_one_in);
        let outcome = match request.verify {
            _ if is_busy => HashOutcome::Busy,
            Some(hash) => HashOutcome::Verified(hash == request.password),
            None => HashOutcome::Hashed(request.password),
        };
        let delay = self.store_delay();
        self.later(delay, Event::Hash(shard, HashReply { token: request.token, outcome }));
    }
}
