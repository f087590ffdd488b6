//! Edits and deletions: whose line it is is looked up first, then it is changed in the store, then it is told.
//!
//! In: `CA_EDIT` and `CA_DELETE`, where the line's room or conversation is ordered. Out: the line as it is now, to all
//! who see it, under its old number. A moderator's deletion is an act in the audit log.
//! Bounds: one change a connection at a time; two jobs of the store each.

use echomesh_proto::control::{
    AuditEntry, Body, ChatAction, ChatActionType, ChatMsg, ChatState, EchoMsg, ModerationAction, StatusCode,
};
use echomesh_proto::ids::{RoomNumber, SessionId, UserId};
use echomesh_proto::time::Now;

use super::jobs::{ChatOutcome, ChatWrite, FoundLine, Place};
use super::wire::DirectAsk;
use super::{BUSY, Pending, STORE_FAILED, done};
use crate::effect::Effects;
use crate::jobs::{Act, LoggedAct, StoreJob, StoreOutcome};
use crate::mesh::{Asker, Line, Mesh};
use crate::moderation::lacks;
use crate::rights::{Person, Right, role_name};
use crate::{Job, Shard};

const NO_SUCH_LINE: &str = "there is no such line here, or it is deleted";

/// A change under way.
#[derive(Clone, Debug)]
pub(crate) struct ChangeJob {
    pub(crate) asker: Asker,
    pub(crate) session: SessionId,
    pub(crate) who: Person,
    pub(crate) username: String,
    pub(crate) place: Place,
    /// Of a conversation: the other side's name.
    pub(crate) peer_name: String,
    pub(crate) action: ChatAction,
    /// As it will be told.
    pub(crate) line: ChatMsg,
}

impl ChangeJob {
    fn is_edit(&self) -> bool {
        self.action.action() == ChatActionType::CaEdit
    }
}

impl Shard {
    /// A member of a room that lives here asks.
    pub(crate) fn change_in_room(
        &mut self,
        asker: Asker,
        room: RoomNumber,
        id: SessionId,
        action: ChatAction,
        effects: &mut Effects,
    ) {
        let Some((user, username, role)) = self.member(room.0, id) else { return self.unexpected() };
        let job = ChangeJob {
            asker,
            session: id,
            who: Person { user, role },
            username,
            place: Place::Room(room),
            peer_name: String::new(),
            action,
            line: ChatMsg::default(),
        };
        self.find_line(job, effects);
    }

    pub(super) fn change_direct(&mut self, ask: DirectAsk, action: ChatAction, effects: &mut Effects) {
        let job = ChangeJob {
            asker: ask.asker,
            session: SessionId(ask.session),
            who: Person { user: UserId(ask.user), role: ask.role() },
            place: ask.place(),
            username: ask.username,
            peer_name: ask.peer_name,
            action,
            line: ChatMsg::default(),
        };
        self.find_line(job, effects);
    }

    fn find_line(&mut self, job: ChangeJob, effects: &mut Effects) {
        let store = ChatWrite::FindLine { place: job.place, message_id: job.action.message_id };
        self.change_store(job, StoreJob::Chat(Box::new(store)), Pending::Find, effects);
    }

    fn change_store(
        &mut self,
        job: ChangeJob,
        store: StoreJob,
        pending: fn(Box<ChangeJob>) -> Pending,
        effects: &mut Effects,
    ) {
        let asker = job.asker;
        if !self.ask_store(Job::Chatting(Box::new(pending(Box::new(job)))), store, effects) {
            self.chat_busy(asker, effects);
        }
    }

    pub(super) fn line_found(&mut self, now: Now, job: ChangeJob, outcome: StoreOutcome, effects: &mut Effects) {
        let found = match outcome {
            StoreOutcome::Chat(ChatOutcome::Line(found)) if !found.deleted => found,
            StoreOutcome::Chat(ChatOutcome::Line(_)) | StoreOutcome::NotFound => {
                return self.refuse(job.asker, StatusCode::StatusNotFound, NO_SUCH_LINE, effects);
            }
            _ => return self.refuse(job.asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
        };
        let by_author = found.user == job.who.user;
        if let Err(text) = self.may_change(&job, &found) {
            return self.refuse(job.asker, StatusCode::StatusDenied, &text, effects);
        }
        let (is_edit, message_id) = (job.is_edit(), job.action.message_id);
        let (room_id, mentions) = match job.place {
            Place::Room(room) => {
                let home = self.homes.get(&room).filter(|_| is_edit);
                let mentions = home.map(|home| home.names.mentioned(&job.action.content)).unwrap_or_default();
                (self.room_name(room), mentions)
            }
            Place::Direct(..) => (String::new(), Vec::new()),
        };
        let line = ChatMsg {
            user_id: found.user.0,
            username: found.username.clone(),
            room_id,
            to: job.peer_name.clone(),
            content: job.action.content.clone(),
            message_id,
            time_ms: found.time_ms,
            edited_ms: now.unix_ms,
            deleted: !is_edit,
            mentions: mentions.clone(),
            ..ChatMsg::default()
        };
        let (place, time_ms) = (job.place, now.unix_ms);
        let store = if by_author {
            let content = is_edit.then(|| line.content.clone());
            StoreJob::Chat(Box::new(ChatWrite::ChangeLine { place, message_id, content, mentions, time_ms }))
        } else {
            self.moderators_deletion(now, &job, &found, &line.room_id)
        };
        self.change_store(ChangeJob { line, ..job }, store, Pending::Change, effects);
    }

    /// Its author may; a moderator of the room may delete it.
    fn may_change(&self, job: &ChangeJob, found: &FoundLine) -> Result<(), String> {
        if found.user == job.who.user {
            return Ok(());
        }
        let Place::Room(room) = job.place else { return Err("only its author changes a direct line".to_owned()) };
        if job.is_edit() {
            return Err("only its author edits a line".to_owned());
        }
        let Some(home) = self.homes.get(&room) else { return Err(BUSY.to_owned()) };
        if !home.access.rights(job.who).has(Right::Kick) {
            return Err(lacks(Right::Kick));
        }
        let author = Person { user: found.user, role: found.role };
        if !home.access.may_act_on(job.who, author) {
            let (name, role) = (&found.username, role_name(found.role));
            return Err(format!("{name} is {role} here and you do not stand above that: ask someone of a higher role"));
        }
        Ok(())
    }

    fn moderators_deletion(&self, now: Now, job: &ChangeJob, found: &FoundLine, room_id: &str) -> StoreJob {
        let Place::Room(room) = job.place else { unreachable!("only lines of rooms are moderated") };
        let message_id = job.action.message_id;
        let entry = AuditEntry {
            entry_id: 0,
            time_ms: now.unix_ms,
            action: ModerationAction::MaDeleteLine as i32,
            by: job.username.clone(),
            target: found.username.clone(),
            room_id: room_id.to_owned(),
            detail: format!("line {message_id}"),
            reason: String::new(),
        };
        let act = Act::DeleteLine { room, message_id, time_ms: now.unix_ms };
        StoreJob::Moderate(Box::new(LoggedAct { act, actor: job.who.user, target: found.user, entry }))
    }

    pub(super) fn line_changed(&mut self, job: ChangeJob, outcome: &StoreOutcome, effects: &mut Effects) {
        match outcome {
            StoreOutcome::Chat(ChatOutcome::Changed) | StoreOutcome::Moderated { .. } => {}
            StoreOutcome::NotFound => {
                return self.refuse(job.asker, StatusCode::StatusNotFound, NO_SUCH_LINE, effects);
            }
            _ => return self.refuse(job.asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
        }
        match job.place {
            Place::Room(room) => {
                let msg = EchoMsg::new(0, Body::ChatMsg(job.line.clone()));
                let line = Line { room: room.0, except: job.session.0, only: 0, msg };
                self.broadcast(room, None, &Mesh::Line(line));
            }
            Place::Direct(..) => self.deliver_direct(job.place, job.session, &job.line),
        }
        self.counters.chat_changed += 1;
        let state = ChatState { lines: vec![job.line], ..done(job.action.action()) };
        self.answer_chat(job.asker, Body::ChatState(state));
    }
}
