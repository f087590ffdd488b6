//! What accounts have seen: marks that only grow, gathered for a second and stored together.
//!
//! Not stored before they are answered: a mark that is lost with the process is set again by the next one. So a room of
//! twenty that marks each line costs the store twenty rows a second and no commit of their own while people chat.
//! Names are not looked up, the store passes over those that are nobody's.
//! Bounds: `Limits::marks_max` marks that wait, `ACCOUNT_MARKS_MAX` of an account; a job of `JOB_MARKS`.

use std::collections::BTreeMap;

use echomesh_proto::control::{Body, ChatAction, ChatActionType, StatusCode};
use echomesh_proto::ids::{RoomNumber, SessionId, UserId};
use echomesh_proto::time::{Now, SECOND_US, Time};

use super::jobs::{ChatWrite, Mark, View};
use super::{Pending, done};
use crate::accounts::is_guest;
use crate::effect::Effects;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::mesh::Asker;
use crate::{Job, Shard};

/// How long marks are gathered, microseconds.
const GATHER_US: u64 = SECOND_US;

/// Marks of one job: a statement or two.
const JOB_MARKS: usize = 256;

/// Rooms and conversations that an account marks before they are stored: those it is in, and as many conversations.
const ACCOUNT_MARKS_MAX: usize = 128;

/// Marks that are not stored yet.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    waiting: BTreeMap<(UserId, View), u64>,
    since: Time,
}

impl Marks {
    fn note(&mut self, now: Time, mark: Mark) {
        if self.waiting.is_empty() {
            self.since = now;
        }
        let seen = self.waiting.entry((mark.user, mark.view)).or_default();
        *seen = mark.seen.max(*seen);
    }

    /// Those of an account.
    pub(super) fn of(&self, user: UserId) -> Vec<Mark> {
        self.own(user).map(|((user, view), seen)| Mark { user: *user, view: view.clone(), seen: *seen }).collect()
    }

    fn own(&self, user: UserId) -> impl Iterator<Item = (&(UserId, View), &u64)> {
        let own = self.waiting.range((user, View::Room(RoomNumber(0)))..);
        own.take_while(move |((other, _), _)| *other == user)
    }

    /// Whether an account's mark may wait beside its others.
    fn takes(&self, user: UserId, view: &View) -> bool {
        self.own(user).count() < ACCOUNT_MARKS_MAX || self.own(user).any(|((_, other), _)| other == view)
    }

    fn take(&mut self) -> Vec<Mark> {
        let mut marks = Vec::with_capacity(self.waiting.len().min(JOB_MARKS));
        while marks.len() < JOB_MARKS
            && let Some(((user, view), seen)) = self.waiting.pop_first()
        {
            marks.push(Mark { user, view, seen });
        }
        marks
    }
}

impl Shard {
    pub(super) fn seen(&mut self, asker: Asker, id: SessionId, action: &ChatAction, effects: &mut Effects) {
        let Ok(view) = self.view_of(asker, id, action, effects) else { return };
        let (Some(view), true) = (view, action.message_id != 0) else {
            let text = "say what was seen: room_id or username, and the message_id of a line";
            return self.refuse(asker, StatusCode::StatusBadRequest, text, effects);
        };
        let mut seen = action.message_id;
        if let View::Room(room) = view {
            let Some(replica) = self.replicas.get(&room) else {
                let text = "your session is still on its way to this connection: ask again in a moment";
                return self.refuse(asker, StatusCode::StatusTryAgain, text, effects);
            };
            // What is not there yet is not seen. Of conversations the store knows that.
            seen = seen.min(replica.newest_line);
        }
        if self.marks.waiting.len() >= self.config.limits.marks_max as usize {
            return self.chat_busy(asker, effects);
        }
        let now = self.now.time;
        let user = self.sessions[&id].user;
        if !self.marks.takes(user, &view) {
            self.counters.busy += 1;
            let text = "you marked very much as seen at once: mark this again in a second";
            return self.refuse(asker, StatusCode::StatusTryAgain, text, effects);
        }
        // Nothing is kept under a guest's name (M63).
        if seen > 0 && !is_guest(user) {
            self.marks.note(now, Mark { user, view, seen });
        }
        self.answer(asker, Body::ChatState(done(ChatActionType::CaSeen)), effects);
    }

    /// Stores what has waited long enough.
    pub(crate) fn marks_tick(&mut self, now: Now, effects: &mut Effects) {
        if !self.marks.waiting.is_empty() && now.time.since_us(self.marks.since) >= GATHER_US {
            self.marks.since = now.time;
            self.store_marks(effects);
        }
    }

    pub(crate) fn store_marks(&mut self, effects: &mut Effects) {
        while !self.marks.waiting.is_empty() && self.store_has_room() {
            let marks = self.marks.take();
            let store = StoreJob::Chat(Box::new(ChatWrite::Mark(marks.clone())));
            self.send_to_store(Job::Chatting(Box::new(Pending::Marks(marks))), store, effects);
        }
    }

    pub(super) fn marks_stored(&mut self, marks: Vec<Mark>, outcome: &StoreOutcome) {
        if *outcome != StoreOutcome::Failed {
            return;
        }
        // Kept for the next second, if there is room.
        let now = self.now.time;
        for mark in marks {
            if self.marks.waiting.len() < self.config.limits.marks_max as usize {
                self.marks.note(now, mark);
            } else {
                self.counters.drop(crate::counters::Drop::MarkLost);
            }
        }
    }

    pub(super) fn bad_request(&mut self, asker: Asker, text: &str, effects: &mut Effects) {
        self.refuse(asker, StatusCode::StatusBadRequest, text, effects);
    }
}
