//! The operator changes settings while the server runs, as its driver does at SIGHUP: each shard takes the new ones at a
//! tick of its own, so for a while they differ. A restart starts with the newest.
//!
//! Not what a setting does, which is the kernel's. Only those are changed that may. Bounds: one change under way.

use echomesh_shard::{Input, Registration, ShardSettings, TICK_US};

use crate::restart;
use crate::world::{Event, World};

/// So little that newcomers are refused and those furthest behind are closed.
const LITTLE_MEMORY_BYTES: usize = 256 * 1024;

impl World {
    /// The server's settings as they are now.
    fn settings(&self) -> ShardSettings {
        let started = restart::config(self.speakers_max, &self.limits);
        ShardSettings {
            server_name: started.server_name,
            motd: format!("after {} us", self.time),
            registration: self.registration,
            guests: started.guests,
            speakers_max: self.speakers_max,
            retention_days: started.retention_days,
            limits: self.limits.clone(),
        }
    }

    /// Others are drawn.
    pub fn reload(&mut self) {
        self.speakers_max = self.below(3) as u32;
        self.registration = [Registration::Open, Registration::Closed][self.below(2) as usize];
        let usual = restart::limits(self.faults.tight_limits).memory_bytes_max;
        self.limits.memory_bytes_max = [usual, usual, LITTLE_MEMORY_BYTES][self.below(3) as usize];
        self.tell_settings();
    }

    /// Nothing is refused any more that the seed's clients need.
    pub fn settle_settings(&mut self) {
        self.registration = Registration::Open;
        self.limits = restart::limits(self.faults.tight_limits);
        self.tell_settings();
    }

    fn tell_settings(&mut self) {
        for shard in 0..self.shards.len() {
            let us = self.below(TICK_US);
            self.later(us, Event::Reloads(shard));
        }
    }

    /// A shard takes what holds now.
    pub fn reloads(&mut self, shard: usize) {
        let settings = Box::new(self.settings());
        self.input(shard, Input::Settings(settings));
    }
}
