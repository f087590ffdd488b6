//! The end of a server in order (PROTOCOL M94), as its driver does it: every shard drains, each until all are quiet or
//! until its time is over, and stops; when what it stored and told has had its while, another server starts.
//!
//! Not the rules, which are the kernel's. Shards learn of each step at a tick of their own, so they are never together.
//! Checked: what was begun is answered before the last word, unless there was no more time; nothing else is answered
//! (`told`); who is quiet stays so. Bounds: one end at a time.

use std::collections::{BTreeMap, BTreeSet};

use echomesh_proto::ids::ConnectionId;
use echomesh_shard::{Input, Shard, TICK_US};

use crate::world::{Event, World};

/// How long what was begun may be answered, microseconds: one of these.
const LONGEST_US: [u64; 5] = [0, 20_000, 500_000, 3_000_000, 10_000_000];

/// Time that a server has from its last stop to its end at least, and at most as much and this, microseconds.
const STOP_US: u64 = 500_000;
const STOP_MORE_US: u64 = 2_000_000;

/// How far a shard is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It does not know yet.
    Serving,
    Draining,
    /// It has said that all it had begun is answered.
    Quiet,
    Stopped,
}

/// The end that is under way.
pub struct Ending {
    longest_us: u64,
    phases: Vec<Phase>,
}

impl Ending {
    fn all_have(&self, phase: Phase) -> bool {
        self.phases.iter().all(|other| *other == phase)
    }
}

impl World {
    /// The server is told to stop.
    pub fn drain(&mut self) {
        if self.ending.is_some() {
            return;
        }
        let longest_us = LONGEST_US[self.below(LONGEST_US.len() as u64) as usize];
        self.ending = Some(Ending { longest_us, phases: vec![Phase::Serving; self.shards.len()] });
        self.at_their_ticks(Event::Drains);
    }

    /// Whether a shard was told that the server ends.
    pub fn is_ending(&self, shard: usize) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.phases[shard] != Phase::Serving)
    }

    fn at_their_ticks(&mut self, event: fn(usize) -> Event) {
        for shard in 0..self.shards.len() {
            let us = self.below(TICK_US);
            self.later(us, event(shard));
        }
    }

    /// A shard begins to drain, at the latest until its time is over.
    pub fn drains(&mut self, shard: usize) {
        let Some(ending) = &mut self.ending else { return };
        ending.phases[shard] = Phase::Draining;
        let longest_us = ending.longest_us;
        let mut begun: BTreeMap<ConnectionId, BTreeSet<u32>> = BTreeMap::new();
        for (connection, request) in self.shards[shard].begun_requests() {
            begun.entry(connection).or_default().insert(request);
        }
        for (at, connection) in self.connections.keys().filter(|(at, _)| *at == shard) {
            let told = self.told.entry((*at, *connection)).or_default();
            told.drains(begun.remove(connection).unwrap_or_default());
        }
        self.input(shard, Input::Drain);
        self.later(longest_us, Event::Stops(shard));
        self.look_at_end(shard);
    }

    /// After each tick: whether a shard is quiet, and whether it was the last one.
    pub fn look_at_end(&mut self, shard: usize) {
        let is_quiet = self.shards.get(shard).is_some_and(Shard::is_quiet);
        let Some(ending) = &mut self.ending else { return };
        match ending.phases[shard] {
            Phase::Draining if is_quiet => ending.phases[shard] = Phase::Quiet,
            Phase::Quiet if !is_quiet => return self.break_with(format!("shard {shard} was quiet and is so no more")),
            _ => return,
        }
        if ending.all_have(Phase::Quiet) {
            self.at_their_ticks(Event::Stops);
        }
    }

    /// A shard stops: all are quiet, or there is no more time.
    pub fn stops(&mut self, shard: usize) {
        let Some(ending) = self.ending.as_mut().filter(|ending| ending.phases[shard] != Phase::Stopped) else { return };
        let is_cut = ending.phases[shard] == Phase::Draining;
        ending.phases[shard] = Phase::Stopped;
        let is_last = ending.all_have(Phase::Stopped);
        if is_cut {
            let here = self.told.iter_mut().filter(|((at, _), _)| *at == shard);
            here.for_each(|(_, told)| told.is_cut());
        }
        self.input(shard, Input::Shutdown);
        if is_last {
            let more_us = self.below(STOP_MORE_US);
            self.later(STOP_US + more_us, Event::Restart);
        }
    }
}
