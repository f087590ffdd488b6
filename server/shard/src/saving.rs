//! Sessions that outlive the server: what of them is kept in the store, and how they are there again at its start.
//!
//! Kept are resumable sessions that are in rooms: whose, the hash of the secret, where. They are written behind, some
//! at a time, so that no login and no join waits for the disk; what was not written yet when the server was killed
//! is gone, and its client logs in. At the start each of them is a session without connection, in its rooms, with
//! `Limits::resume_us_max` to be resumed: members that come back see each other as before.
//! Not voice: keys and streams are always new. Not the checks of the account, which the store makes as it loads.
//! Bounds: `SAVE_MAX` sessions a request and one request at a time; `GONE_MAX` that ended and are still stored.

use std::collections::BTreeSet;

use echomesh_proto::control::Role;
use echomesh_proto::ids::{RoomNumber, SessionId, ShardId, UserId};
use echomesh_proto::time::{Now, Time};

use crate::accounts::{Opened, is_guest};
use crate::counters::Drop;
use crate::effect::Effects;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::mesh::{Mesh, SessionNote};
use crate::rights::{Person, Right};
use crate::rooms::Join;
use crate::session::{InRoom, Session, SessionPlace};
use crate::{Job, Shard};

/// Ticks between two requests: what a crash may lose is a quarter of a second old.
const SAVE_TICKS: usize = 5;

/// Sessions in one request.
const SAVE_MAX: usize = 256;

/// Sessions that ended and whose end is not stored: more are dropped, and are there again for a minute after a crash.
const GONE_MAX: usize = 16_384;

/// A session as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSession {
    /// Its id.
    pub id: SessionId,
    /// Its account.
    pub user: UserId,
    /// The account's name; the store reads it from the account.
    pub username: String,
    /// Likewise.
    pub role: Role,
    /// SHA-256 of the secret that resumes it.
    pub secret_hash: Vec<u8>,
    /// The device token it logged in by; 0: none.
    pub token: u64,
    /// Where it is.
    pub rooms: Vec<RoomNumber>,
}

/// What is to be written, and what was read.
#[derive(Debug, Default)]
pub(crate) struct Saving {
    /// Sessions here that the store does not have as they are.
    dirty: BTreeSet<SessionId>,
    /// Sessions that ended and that the store has.
    gone: BTreeSet<SessionId>,
    is_saving: bool,
    /// Read at the start.
    read: Vec<SavedSession>,
    /// Rooms with members from that, which their shards were not told of yet.
    unannounced: BTreeSet<RoomNumber>,
}

impl Saving {
    pub(crate) fn new(read: Vec<SavedSession>) -> Self {
        Self { read, ..Self::default() }
    }

    /// Sessions that the store does not have as they are.
    pub(crate) fn unsaved(&self) -> usize {
        self.dirty.len() + self.gone.len()
    }
}

impl Shard {
    /// A session is another than the store knows.
    pub(crate) fn save_later(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let is_kept = !session.secret_hash.is_empty() && !session.rooms.is_empty() && !is_guest(session.user);
        if is_kept || (session.is_saved && !is_guest(session.user)) {
            session.is_current = false;
            self.saving.dirty.insert(id);
        }
    }

    /// A session lives here no more. What has ended is forgotten by the store too; what moved is its new shard's.
    pub(crate) fn unsave(&mut self, session: &Session, has_ended: bool) {
        self.saving.dirty.remove(&session.id);
        if has_ended && session.is_saved && !self.is_stopping() {
            self.forget_saved(session.id);
        }
    }

    /// The store is to have it no more.
    pub(crate) fn forget_saved(&mut self, id: SessionId) {
        if self.saving.gone.len() < GONE_MAX {
            self.saving.gone.insert(id);
        } else {
            self.counters.drop(Drop::EndNotSaved);
        }
    }

    pub(crate) fn saving_tick(&mut self, effects: &mut Effects) {
        if self.ticks.is_multiple_of(SAVE_TICKS) {
            self.save(effects);
        }
        self.announce_restored();
    }

    /// The server stops: all that changed goes to the store now, so that who is here can come back.
    pub(crate) fn save_all(&mut self, effects: &mut Effects) {
        for _ in 0..=self.saving.dirty.len().max(self.saving.gone.len()) / SAVE_MAX {
            self.saving.is_saving = false;
            self.save(effects);
        }
    }

    /// Writes what changed.
    fn save(&mut self, effects: &mut Effects) {
        if self.saving.is_saving || (self.saving.dirty.is_empty() && self.saving.gone.is_empty()) {
            return;
        }
        if !self.store_has_room() {
            return;
        }
        let ended: Vec<SessionId> = self.saving.gone.iter().copied().take(SAVE_MAX).collect();
        let ids: Vec<SessionId> = self.saving.dirty.iter().copied().take(SAVE_MAX).collect();
        let mut gone = ended.clone();
        let mut sessions = Vec::with_capacity(ids.len());
        let mut asked = Vec::with_capacity(ids.len());
        for id in &ids {
            self.saving.dirty.remove(id);
            let Some(session) = self.sessions.get_mut(id) else { continue };
            asked.push((*id, session.user));
            // From here on the store may have it, whatever it answers, so its end is to be stored too.
            session.is_saved = true;
            if session.rooms.is_empty() {
                gone.push(*id);
            } else {
                sessions.push(session.saved());
            }
        }
        for id in &ended {
            self.saving.gone.remove(id);
        }
        self.saving.is_saving = true;
        self.send_to_store(Job::Save(asked, ended), StoreJob::SaveSessions { sessions, gone }, effects);
    }

    pub(crate) fn sessions_saved(
        &mut self,
        asked: Vec<(SessionId, UserId)>,
        ended: Vec<SessionId>,
        outcome: &StoreOutcome,
    ) {
        self.saving.is_saving = false;
        let is_saved = *outcome == StoreOutcome::SessionsSaved;
        if !is_saved {
            self.saving.gone.extend(ended);
        }
        let is_stopping = self.is_stopping();
        for (id, user) in asked {
            match self.sessions.get_mut(&id) {
                Some(session) if is_saved => session.is_current |= !self.saving.dirty.contains(&id),
                Some(_) => self.save_later(id),
                // Who is here at a stop in order is written as it is, and comes back.
                None if is_stopping => {}
                // It was given away meanwhile, or has ended; a job that failed may be done all the same.
                None => {
                    let note = SessionNote { session: id.0, user: user.0, ..SessionNote::default() };
                    self.tell(self.account_home(user), Mesh::SaveAgain(note));
                }
            }
        }
    }

    /// At the first input: the sessions of the last run are here, and wait to be resumed; they are members of the
    /// rooms that live here. Every shard reads the same list, so nobody comes back before another is there.
    pub(crate) fn restore_sessions(&mut self, now: Now) {
        for saved in std::mem::take(&mut self.saving.read) {
            let shard = self.account_home(saved.user);
            for number in &saved.rooms {
                self.restore_member(*number, shard, &saved);
            }
            if shard == self.config.shard {
                self.restore_session(now, saved);
            }
        }
        self.announce_restored();
    }

    fn restore_session(&mut self, now: Now, saved: SavedSession) {
        let SavedSession { id, user, username, role, secret_hash, token, rooms } = saved;
        // Whatever ends its account's sessions from now on means it.
        let opened = Opened { session: id, user, token, since: Time(0) };
        let mut session = Session::new(opened, username, role, secret_hash);
        for number in rooms {
            let Some(key) = self.room_keys.get(&number) else { continue };
            let name = self.room_name(number);
            session.rooms.insert(key.clone(), InRoom { number, name });
        }
        session.is_saved = true;
        session.is_current = true;
        let place = SessionPlace::at(self.config.shard);
        self.accounts.entry(user).or_default().insert(id, place);
        self.sessions.insert(id, session);
        self.detach(now, id);
    }

    /// Home: a session of the last run is in, without being asked for a password, if it may still enter.
    fn restore_member(&mut self, number: RoomNumber, shard: ShardId, saved: &SavedSession) {
        let most = self.config.limits.room_members_max as usize;
        let Some(home) = self.homes.get_mut(&number) else { return };
        let person = Person { user: saved.user, role: saved.role };
        if home.members.len() >= most || !home.access.rights(person).has(Right::Enter) {
            return;
        }
        home.restore(saved, person, shard);
        self.counts_changed.insert(number);
        self.saving.unannounced.insert(number);
    }

    /// Home: tells the shards of restored members of their rooms, as far as the rings have room.
    pub(crate) fn announce_restored(&mut self) {
        while !self.congested() {
            let Some(number) = self.saving.unannounced.first().copied() else { return };
            self.announce_room(number);
        }
    }

    /// Home: before anything else is said of a room, its restored members are told of.
    pub(crate) fn announce_before(&mut self, room: u64, join: Option<&Join>) {
        if self.saving.unannounced.is_empty() {
            return;
        }
        let joined = join.and_then(|join| self.directory.get(&join.key)).map(|known| known.number);
        self.announce_room(joined.unwrap_or(RoomNumber(room)));
    }

    fn announce_room(&mut self, number: RoomNumber) {
        if self.saving.unannounced.remove(&number) {
            self.announce_members(number);
        }
    }

    /// Whether sessions were read and are not here yet.
    pub(crate) fn has_sessions_to_restore(&self) -> bool {
        !self.saving.read.is_empty()
    }
}
