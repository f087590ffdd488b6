//! A room's end: deleted by someone, or temporary and left by its last member. Its number is never used again.
//!
//! Members are told, every shard forgets it, and the store frees its name; its lines go in small parts afterwards,
//! so that the end of a large room delays nobody's chat.
//! Bounds: a part of the lines in `SWEEP_TICKS`, one at a time; rooms that ended, until the store knows.

use std::collections::VecDeque;

use echomesh_proto::ids::{RoomNumber, ShardId};
use echomesh_proto::time::{Now, SECOND_US, Time};

use crate::effect::Effects;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::mesh::{Mesh, Removal};
use crate::{Job, Shard};

/// A temporary room that nobody entered ends after so long, microseconds.
const EMPTY_US: u64 = 60 * SECOND_US;

/// Ticks between two parts of the lines of rooms that ended.
const SWEEP_TICKS: usize = 5;

/// Ticks to wait when the store failed.
const RETRY_TICKS: usize = 100;

/// Rooms on their way out.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    /// Temporary and empty, since then; oldest first.
    empty: VecDeque<(Time, RoomNumber)>,
    /// The store does not know yet that they ended.
    ended: Vec<RoomNumber>,
    /// It does; their lines are still there.
    swept: VecDeque<RoomNumber>,
    is_sweeping: bool,
    /// Nothing is asked of the store before this tick.
    wait_until: usize,
}

impl Endings {
    /// With rooms whose lines were not all deleted when the server was stopped.
    pub(crate) fn new(swept: Vec<RoomNumber>) -> Self {
        Self { swept: swept.into(), ..Self::default() }
    }
}

impl Shard {
    /// A temporary room that is empty now, and may stay so.
    pub(crate) fn watch_if_empty(&mut self, now: Now, number: RoomNumber) {
        let Some(home) = self.homes.get(&number) else { return };
        if home.properties.temporary && home.members.is_empty() {
            self.endings.empty.push_back((now.time, number));
        }
    }

    /// Someone left: a temporary room ends with its last member.
    pub(crate) fn end_if_left(&mut self, number: RoomNumber) {
        let Some(home) = self.homes.get(&number) else { return };
        if home.properties.temporary && home.members.is_empty() {
            self.end_room(number, &Removal::default());
            self.end_in_store(number);
        }
    }

    /// The store is to be told that a room ended; twice does no harm.
    pub(crate) fn end_in_store(&mut self, number: RoomNumber) {
        if !self.endings.ended.contains(&number) {
            self.endings.ended.push(number);
        }
    }

    /// The store knows, or will be told: nobody is in it any more, and no shard knows it.
    pub(crate) fn end_room(&mut self, number: RoomNumber, removal: &Removal) {
        let Some(home) = self.homes.get_mut(&number) else { return };
        home.properties.temporary = false;
        let members: Vec<_> = home.members.keys().copied().collect();
        for id in members {
            self.remove_member(number, id, removal);
        }
        let Some(home) = self.homes.remove(&number) else { return };
        // Streams that are being opened: their shards are told to close them when they say that they are.
        let interested: Vec<ShardId> = home.interested().collect();
        for shard in interested {
            self.tell(shard, Mesh::ReplicaDrop(number.0));
        }
        self.counts_changed.remove(&number);
        self.tell_all(&Mesh::RoomGone(number.0));
    }

    /// The store has taken the room's end.
    pub(crate) fn sweep_later(&mut self, number: RoomNumber) {
        self.endings.swept.push_back(number);
    }

    /// Every shard: forget a room.
    pub(crate) fn room_gone(&mut self, number: RoomNumber) {
        let Some(key) = self.room_keys.remove(&number) else { return };
        if self.directory.get(&key).is_some_and(|known| known.number == number) {
            self.directory.remove(&key);
        }
        self.bans.remove_room(number.0);
    }

    pub(crate) fn endings_tick(&mut self, now: Now, effects: &mut Effects) {
        while self.endings.empty.front().is_some_and(|(since, _)| now.time.since_us(*since) > EMPTY_US) {
            if let Some((_, number)) = self.endings.empty.pop_front() {
                self.end_if_left(number);
            }
        }
        if self.ticks < self.endings.wait_until {
            return;
        }
        self.store_endings(effects);
        if self.ticks.is_multiple_of(SWEEP_TICKS)
            && !self.endings.is_sweeping
            && let Some(room) = self.endings.swept.front().copied()
        {
            self.endings.is_sweeping = self.ask_store(Job::Sweep, StoreJob::SweepRoom { room }, effects);
        }
    }

    /// Tells the store of rooms that ended. Before a room is made too: it may have the name of one of them.
    pub(crate) fn store_endings(&mut self, effects: &mut Effects) {
        while let Some(room) = self.endings.ended.pop() {
            if !self.ask_store(Job::EndRoom(room), StoreJob::EndRoom { room }, effects) {
                return self.endings.ended.push(room);
            }
        }
    }

    pub(crate) fn ending_stored(&mut self, room: RoomNumber, outcome: &StoreOutcome) {
        match outcome {
            StoreOutcome::Swept { .. } => self.sweep_later(room),
            _ => {
                self.endings.ended.push(room);
                self.endings.wait_until = self.ticks + RETRY_TICKS;
            }
        }
    }

    pub(crate) fn room_swept(&mut self, outcome: &StoreOutcome) {
        self.endings.is_sweeping = false;
        match outcome {
            StoreOutcome::Swept { is_done: true } => drop(self.endings.swept.pop_front()),
            StoreOutcome::Swept { is_done: false } => {}
            _ => {
                self.endings.swept.rotate_left(1);
                self.endings.wait_until = self.ticks + RETRY_TICKS;
            }
        }
    }
}
