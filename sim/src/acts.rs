//! What clients do while a seed is young: one random thing at a time, and now and then one of the faults that is an act.
//!
//! In: the seed's faults and its random numbers. Out: requests of sessions, resets, kills. Bounds: `ACTIONS` in all.

use echomesh_proto::control::RoomActionType;

use crate::world::{Event, ROOMS, World};

/// Longest stall of a shard, microseconds.
const STALL_US: u64 = 500_000;

/// Longest time until an address changes again, microseconds.
const ROAM_US: u64 = 60_000;

/// How often everyone enters and leaves in a storm.
const STORM_ROUNDS: u64 = 4;

impl World {
    /// One random client does one random thing.
    pub fn act(&mut self) {
        let client = self.below(self.clients.len() as u64) as usize;
        if self.fault_acts(client) {
            return;
        }
        let Some((shard, connection)) = self.clients[client].connection else { return self.connect(client) };
        if self.below(25) == 0 || self.clients[client].is_refused() {
            return self.reset(client, shard, connection);
        }
        if self.below(100) == 0 {
            return self.sign_out(client);
        }
        let now = self.now();
        let room = ROOMS[self.below(ROOMS.len() as u64) as usize];
        let other = ROOMS[self.below(ROOMS.len() as u64) as usize];
        let choice = self.below(24);
        let whom = self.below(self.clients.len() as u64) as usize;
        let whom = self.clients[whom].account.clone();
        let kind = self.below(5);
        let moderation = self.random_moderation(room);
        let random_flags = self.below(4);
        let subject = &mut self.clients[client];
        match choice {
            0 => subject.act_on(now, RoomActionType::RaCreate, room),
            1 | 2 => subject.act_on(now, RoomActionType::RaJoin, room),
            3 => subject.act_on(now, RoomActionType::RaLeave, room),
            4 => subject.burst(now, room),
            10 => subject.open_voice(now, room),
            11 => return self.talk(client, 5),
            12 => subject.announce(now, room, random_flags),
            13 => subject.moves += 1,
            14 => subject.udp_blocked = !subject.udp_blocked,
            15 | 16 => subject.moderate(now, moderation),
            17..=19 => {
                self.act_on_rooms(client, room, other);
                self.transmit(0);
            }
            20 | 21 => subject.whisper(now, whom),
            22 | 23 => subject.chat_action(now, room, kind),
            _ => {
                let line = subject.unsent.pop_front().unwrap_or_else(|| subject.new_line(room, 0));
                subject.say(now, line);
            }
        }
        self.transmit(client);
    }

    /// A fault that is an act, if it is its turn.
    fn fault_acts(&mut self, client: usize) -> bool {
        let faults = self.faults;
        if self.one_in(faults.attack_one_in) {
            self.attack();
        }
        if self.one_in(faults.stall_one_in) {
            let shard = self.below(self.shards.len() as u64) as usize;
            let us = self.below(STALL_US);
            self.stall(shard, us);
        }
        if self.one_in(faults.reload_one_in) {
            self.reload();
        }
        if self.one_in(faults.store_away_one_in) {
            self.store_goes_away();
        }
        if self.one_in(faults.partition_one_in) {
            self.partition(client);
        }
        if self.one_in(faults.kill_one_in) {
            self.restart();
        } else if self.one_in(faults.drain_one_in) {
            self.drain();
        } else if self.one_in(faults.storm_one_in) {
            self.storm();
        } else if self.one_in(faults.flood_one_in) {
            self.flood();
        } else if self.one_in(faults.roam_one_in) {
            self.roam(client);
        } else {
            return false;
        }
        true
    }

    /// A shard takes nothing for so long. A stall does not end another: what waits for its end would be overtaken.
    fn stall(&mut self, shard: usize, us: u64) {
        self.stalled_until[shard] = self.stalled_until[shard].max(self.time + us);
    }

    /// Everyone enters a room and leaves it, again and again, and opens voice between.
    fn storm(&mut self) {
        let room = ROOMS[self.below(ROOMS.len() as u64) as usize];
        let now = self.now();
        for client in 0..self.clients.len() {
            for _ in 0..1 + self.below(STORM_ROUNDS) {
                self.clients[client].act_on(now, RoomActionType::RaJoin, room);
                self.clients[client].open_voice(now, room);
                self.clients[client].act_on(now, RoomActionType::RaLeave, room);
            }
            if self.below(2) == 0 {
                self.clients[client].act_on(now, RoomActionType::RaJoin, room);
            }
            self.transmit(client);
        }
    }

    /// Everyone says more than a ring holds, and a shard takes nothing of it for a while.
    fn flood(&mut self) {
        let room = ROOMS[self.below(ROOMS.len() as u64) as usize];
        let shard = self.below(self.shards.len() as u64) as usize;
        self.stall(shard, STALL_US);
        let now = self.now();
        for client in 0..self.clients.len() {
            self.clients[client].burst(now, room);
            self.transmit(client);
        }
    }

    /// Another address in the middle of a word: datagrams come from elsewhere, and the connection hangs while a new
    /// one resumes. Meanwhile others write to it. Maybe again a moment later.
    pub fn roam(&mut self, client: usize) {
        self.talk(client, 10);
        self.clients[client].moves += 1;
        let Some((shard, connection)) = self.clients[client].connection.filter(|_| self.below(2) == 0) else { return };
        self.reset(client, shard, connection);
        self.connect(client);
        let (now, account) = (self.now(), self.clients[client].account.clone());
        for other in 0..self.clients.len() {
            if self.clients[other].account != account && self.below(2) == 0 {
                self.clients[other].whisper(now, account.clone());
                self.transmit(other);
            }
        }
        let soon = self.below(ROAM_US);
        self.later(soon, Event::Roams(client));
    }
}
