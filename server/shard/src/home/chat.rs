//! Lines of a room, at its home: stored in order, then told to all its members, then acknowledged.
//!
//! Bounds: those of the store's requests, and half of `Limits::outbox_bytes_max` of lines that wait for it, which it may
//! answer all at once; nothing is taken while a ring it would feed is congested.

use echomesh_proto::control::{Body, ChatMsg, EchoMsg, RoomMessage, StatusCode};
use echomesh_proto::ids::{RoomNumber, SessionId, UserId};
use echomesh_proto::time::Now;

use super::{CONGESTED, STORE_FAILED};
use crate::connection::status;
use crate::counters::Drop;
use crate::effect::Effects;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::mesh::{Answer, Asker, Line, Mesh};
use crate::mistakes::{Mistake, planted};
use crate::table::told_bytes;
use crate::{ChatJob, Job, Shard};

impl Shard {
    /// A member says a line.
    pub(super) fn append_line(
        &mut self,
        now: Now,
        asker: Asker,
        room: RoomNumber,
        id: SessionId,
        chat: ChatMsg,
        effects: &mut Effects,
    ) {
        // First, so that a line that is refused for it takes no turn.
        if !self.store_has_room() || !self.rings_have_room(told_bytes(&chat.content)) {
            self.counters.busy += 1;
            return self.refuse(asker, StatusCode::StatusTryAgain, CONGESTED, effects);
        }
        let Some(home) = self.homes.get_mut(&room) else { return };
        let turn = match home.slow_mode_turn(now, id, &chat.client_id) {
            Ok(turn) => turn,
            Err(wait_ms) => return self.slow_down(asker, wait_ms, effects),
        };
        let Some(member) = home.members.get(&id) else { return };
        let (user, username) = (member.user, member.username.clone());
        let client_id = chat.client_id.clone();
        let content = chat.content.clone();
        let mentions = if content.contains('@') { home.names.mentioned(&content) } else { Vec::new() };
        let line = ChatMsg {
            user_id: user,
            username,
            room_id: home.name.clone(),
            time_ms: now.unix_ms,
            mentions: mentions.clone(),
            ..chat
        };
        let user = UserId(user);
        let store = StoreJob::AppendChat { room, user, client_id, content, mentions, time_ms: now.unix_ms };
        let job = Job::Chat(Box::new(ChatJob { asker, room, session: id, line, turn }));
        self.send_to_store(job, store, effects);
    }

    pub(crate) fn chat_stored(&mut self, job: ChatJob, outcome: StoreOutcome, effects: &mut Effects) {
        let mut line = job.line;
        if !matches!(outcome, StoreOutcome::ChatStored { .. })
            && let Some(home) = self.homes.get_mut(&job.room)
        {
            home.slow_mode.take_back(line.user_id, job.turn);
        }
        match outcome {
            StoreOutcome::ChatStored { message_id } => {
                self.counters.chat_stored += 1;
                line.message_id = message_id;
                if let Some(home) = self.homes.get_mut(&job.room) {
                    home.newest_line = home.newest_line.max(message_id);
                }
                // The client's own id is between it and the server.
                let others = ChatMsg { client_id: String::new(), ..line.clone() };
                let msg = EchoMsg::new(0, Body::ChatMsg(others));
                let line = Line { room: job.room.0, except: job.session.0, only: 0, msg };
                self.broadcast(job.room, None, &Mesh::Line(line));
            }
            StoreOutcome::ChatDuplicate { message_id, room, content, mentions, time_ms, edited_ms, deleted } => {
                // Its number is of the room that it was said in, which may be another.
                let room_id = if room == job.room { line.room_id } else { self.room_name(room) };
                line = ChatMsg { room_id, message_id, content, mentions, time_ms, edited_ms, deleted, ..line };
            }
            _ if planted(Mistake::AcknowledgeUnstored) => {
                let newest = self.homes.get(&job.room).map_or(0, |home| home.newest_line);
                line.message_id = newest + 1;
            }
            _ => return self.refuse(job.asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
        }
        let msg = EchoMsg::new(0, Body::ChatMsg(line));
        self.tell(job.asker.shard(), Mesh::Answer(Answer { asker: job.asker, msg }));
    }

    pub(super) fn pass_message(
        &mut self,
        asker: Asker,
        number: RoomNumber,
        id: SessionId,
        message: RoomMessage,
        effects: &mut Effects,
    ) {
        let Some(home) = self.homes.get_mut(&number) else { return };
        let target = message.target_session_id;
        if target != 0 && !home.members.contains_key(&SessionId(target)) {
            self.counters.drop(Drop::NoTarget);
            return self.refuse(asker, StatusCode::StatusNotFound, "that session is not in the room", effects);
        }
        home.message_sequence += 1;
        let message =
            RoomMessage { session_id: id.0, room_id: home.name.clone(), sequence: home.message_sequence, ..message };
        let msg = EchoMsg::new(0, Body::RoomMessage(message));
        self.broadcast(number, None, &Mesh::Line(Line { room: number.0, except: id.0, only: target, msg }));
        self.answer(asker, status(StatusCode::StatusOk, "sent"), effects);
    }
}
