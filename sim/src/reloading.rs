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
        let config = self.config.clone();
        ShardSettings {
            server_name: config.server_name,
            motd: format!("after {} us", self.time),
            registration: config.registration,
            guests: config.guests,
            speakers_max: config.speakers_max,
            retention_days: config.retention_days,
            limits: config.limits,
        }
    }

    /// Others are drawn.
    pub fn reload(&mut self) {
        self.config.speakers_max = self.below(3) as u32;
        self.config.registration = [Registration::Open, Registration::Closed][self.below(2) as usize];
        let usual = restart::limits(self.faults.tight_limits).memory_bytes_max;
        self.config.limits.memory_bytes_max = [usual, usual, LITTLE_MEMORY_BYTES][self.below(3) as usize];
        self.tell_settings();
    }

    /// Nothing is refused any more that the seed's clients need.
    pub fn settle_settings(&mut self) {
        self.config.registration = Registration::Open;
        self.config.limits = restart::limits(self.faults.tight_limits);
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
