//! Chat beside saying a line in a room: history, what is unread, changes of lines, direct lines, and how long all that
//! is kept.
//!
//! Not the order of a room's lines: its home has that (`home::chat`). Reads are asked for at the client's own shard, for
//! what is stored needs no order; what changes a line goes to who orders it: the room's home, or for a conversation the
//! home of the account with the smaller number.
//!
//! Layout: `jobs` (what the store is asked), `content` (what a line may say, mentions), `change` (edits, deletions),
//! `direct`, `marks` (what was seen), `retention`, `wire` (between shards).
//! In: `ChatAction`, `ChatMsg.to`. Out: `ChatState`, lines to members and conversations.
//! Bounds: `Limits::{reads_max, marks_max, direct_lines_max}`; a page of `HISTORY_LINES_MAX` lines and of the bytes that
//! the store's reader counts.

mod change;
pub(crate) mod content;
mod direct;
pub mod jobs;
mod marks;
mod retention;
pub(crate) mod wire;

use echomesh_proto::control::{Body, ChatAction, ChatActionType as Action, ChatState, StatusCode, Unread};
use echomesh_proto::ids::{RoomNumber, SessionId};
use echomesh_proto::limits::{HISTORY_LINES, HISTORY_LINES_MAX, USERNAME_BYTES_MAX};
use echomesh_proto::time::Now;

use crate::counters::Drop;
use crate::effect::Effects;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::mesh::{Ask, Asker};
use crate::mistakes::{Mistake, planted};
use crate::names;
use crate::table::told_bytes;
use crate::{Job, Shard};
pub(crate) use change::ChangeJob;
pub(crate) use direct::DirectDesk;
use jobs::{ChatOutcome, ChatRead, From, Mark, UnreadView, View};
pub(crate) use marks::Marks;
pub(crate) use retention::Retention;
use wire::{DirectAsk, DirectWhat};

pub(crate) const BUSY: &str = "the server is busy: try again in a moment";
pub(crate) const STORE_FAILED: &str =
    "the server cannot store this now (disk full or store unreachable): try again later";
const NOBODY: &str = "there is no account of that name";

/// Chat that waits for the store.
#[derive(Debug)]
pub(crate) enum Pending {
    History(Asker),
    Unread(Asker, SessionId),
    /// Who the other side of a conversation is.
    Peer(Box<DirectAsk>),
    /// A direct line is being stored.
    Direct(Box<DirectAsk>, u64),
    /// Whose line it is that is to be changed.
    Find(Box<ChangeJob>),
    /// It is being changed.
    Change(Box<ChangeJob>),
    Marks(Vec<Mark>),
    Sweep,
}

impl Pending {
    /// As [`crate::Job::told_bytes`]: of a direct line, to both sides' homes and to who said it.
    pub(crate) fn told_bytes(&self) -> usize {
        match self {
            Pending::Peer(ask) | Pending::Direct(ask, _) => match &ask.what {
                Some(DirectWhat::Say(line)) => 2 * told_bytes(&line.content),
                _ => 0,
            },
            Pending::Find(job) | Pending::Change(job) => 2 * told_bytes(&job.action.content),
            _ => 0,
        }
    }

    /// It is with the thread that only reads.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self, Pending::History(_) | Pending::Unread(..))
    }
}

pub(crate) fn done(action: Action) -> ChatState {
    ChatState { action: action as i32, message: "done".to_owned(), ..ChatState::default() }
}

impl Shard {
    /// A client's request, at its shard.
    pub(crate) fn chat_action(&mut self, asker: Asker, id: SessionId, action: ChatAction, effects: &mut Effects) {
        if action.username.len() > 4 * USERNAME_BYTES_MAX {
            let text = "the username is longer than any there is";
            return self.refuse(asker, StatusCode::StatusTooLong, text, effects);
        }
        if !action.room_id.is_empty() && !action.username.is_empty() {
            let text = "a room or a conversation: give room_id or username, not both";
            return self.refuse(asker, StatusCode::StatusBadRequest, text, effects);
        }
        match action.action() {
            Action::CaHistory => self.history(asker, id, &action, effects),
            Action::CaUnread => self.unread(asker, id, &action, effects),
            Action::CaSeen => self.seen(asker, id, &action, effects),
            Action::CaEdit | Action::CaDelete => self.change_request(asker, id, action, effects),
            Action::CaUnspecified => {
                let text = "a ChatAction needs an action that this server knows";
                self.refuse(asker, StatusCode::StatusBadRequest, text, effects);
            }
        }
    }

    /// An edit or a deletion, on its way to who orders the line's room or conversation.
    fn change_request(&mut self, asker: Asker, id: SessionId, action: ChatAction, effects: &mut Effects) {
        let is_edit = action.action() == Action::CaEdit;
        let content = if is_edit { action.content } else { String::new() };
        if let Err((code, text)) =
            content::check(&content, "").or_else(|refusal| if is_edit { Err(refusal) } else { Ok(()) })
        {
            return self.refuse(asker, code, &text, effects);
        }
        let change =
            ChatAction { action: action.action, message_id: action.message_id, content, ..ChatAction::default() };
        if !action.username.is_empty() {
            return self.direct_request(asker, id, &action.username, wire::DirectWhat::Change(change), effects);
        }
        let Some((key, room)) = self.room_of(asker, id, &action.room_id, effects) else { return };
        let request = self.of_session(asker, id, room, Ask::Change(change));
        self.tell_home(&key, request);
    }

    /// What a request is about: `Err` if it was refused. `None`: everything.
    fn view_of(
        &mut self,
        asker: Asker,
        id: SessionId,
        action: &ChatAction,
        effects: &mut Effects,
    ) -> Result<Option<View>, ()> {
        if !action.username.is_empty() {
            let Ok(name) = names::username(&action.username) else {
                self.refuse(asker, StatusCode::StatusNotFound, NOBODY, effects);
                return Err(());
            };
            return Ok(Some(View::With(name.key)));
        }
        if action.room_id.is_empty() {
            return Ok(None);
        }
        let (_, room) = self.room_of(asker, id, &action.room_id, effects).ok_or(())?;
        Ok(Some(View::Room(room)))
    }

    fn history(&mut self, asker: Asker, id: SessionId, action: &ChatAction, effects: &mut Effects) {
        let Ok(view) = self.view_of(asker, id, action, effects) else { return };
        let room_name = match view {
            Some(View::Room(room)) => self.room_name(room),
            _ => String::new(),
        };
        let user = self.sessions[&id].user;
        let count = if action.count == 0 { HISTORY_LINES } else { action.count.min(HISTORY_LINES_MAX) };
        let skipped = u64::from(planted(Mistake::HistoryOffByOne));
        let from = action.after.map_or(From::Before(action.before), |after| From::After(after + skipped));
        let read = ChatRead::History { user, view, room_name, from, count };
        self.ask_reader(Pending::History(asker), asker, read, effects);
    }

    fn unread(&mut self, asker: Asker, id: SessionId, action: &ChatAction, effects: &mut Effects) {
        let Ok(view) = self.view_of(asker, id, action, effects) else { return };
        let user = self.sessions[&id].user;
        let fresh = self.marks.of(user);
        self.ask_reader(Pending::Unread(asker, id), asker, ChatRead::Unread { user, view, fresh }, effects);
    }

    fn ask_reader(&mut self, pending: Pending, asker: Asker, read: ChatRead, effects: &mut Effects) {
        if self.jobs.reading() >= self.config.limits.reads_max {
            return self.chat_busy(asker, effects);
        }
        let token = self.jobs.insert(Job::Chatting(Box::new(pending)));
        let job = StoreJob::ReadChat(Box::new(read));
        effects.list.push(crate::Effect::Store(crate::StoreRequest { token, job }));
    }

    pub(crate) fn chat_busy(&mut self, asker: Asker, effects: &mut Effects) {
        self.counters.busy += 1;
        self.refuse(asker, StatusCode::StatusTryAgain, BUSY, effects);
    }

    /// The store's reply to something of chat.
    pub(crate) fn chat_replied(&mut self, now: Now, pending: Pending, outcome: StoreOutcome, effects: &mut Effects) {
        match pending {
            Pending::History(asker) | Pending::Unread(asker, _) if outcome == StoreOutcome::NotFound => {
                self.refuse(asker, StatusCode::StatusNotFound, NOBODY, effects);
            }
            Pending::History(asker) => match outcome {
                StoreOutcome::Chat(ChatOutcome::History { lines, more }) => {
                    let state = ChatState { lines, more, ..done(Action::CaHistory) };
                    self.answer(asker, Body::ChatState(state), effects);
                }
                _ => self.refuse(asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
            },
            Pending::Unread(asker, id) => self.unread_read(asker, id, outcome, effects),
            Pending::Peer(ask) => self.peer_found(*ask, outcome, effects),
            Pending::Direct(ask, time_ms) => self.direct_stored(*ask, time_ms, outcome, effects),
            Pending::Find(job) => self.line_found(now, *job, outcome, effects),
            Pending::Change(job) => self.line_changed(*job, &outcome, effects),
            Pending::Marks(marks) => self.marks_stored(marks, &outcome),
            Pending::Sweep => self.swept(now, &outcome),
        }
    }

    fn unread_read(&mut self, asker: Asker, id: SessionId, outcome: StoreOutcome, effects: &mut Effects) {
        let StoreOutcome::Chat(ChatOutcome::Unread { list, more }) = outcome else {
            return self.refuse(asker, StatusCode::StatusTryAgain, STORE_FAILED, effects);
        };
        // Who may not enter a room learns nothing of it any more.
        let unread = list
            .into_iter()
            .filter(|view| view.room.is_none_or(|room| self.may_know_of(id, room)))
            .filter_map(|view| self.shown(view))
            .collect();
        let state = ChatState { unread, more, ..done(Action::CaUnread) };
        self.answer(asker, Body::ChatState(state), effects);
    }

    fn shown(&self, view: UnreadView) -> Option<Unread> {
        let UnreadView { room, username, count, mentions, seen, newest } = view;
        let room_id = room.map_or(String::new(), |room: RoomNumber| self.room_name(room));
        let named = !room_id.is_empty() || !username.is_empty();
        named.then_some(Unread { room_id, username, count, mentions, seen, newest })
    }

    fn unexpected(&mut self) {
        self.counters.drop(Drop::StaleAnswer);
    }
}
