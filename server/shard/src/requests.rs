//! What a client may ask, and where each request goes: answered here, or by the home of its room.
//!
//! The server believes the connection, not the `user_id` in a message. Every request is answered once.

use echomesh_proto::control::{
    Body, ChatMsg, EchoMsg, MsgType, Ping, Role, RoomAction, RoomActionType, RoomMessage, StatusCode, VoiceAnnounce,
    Who,
};
use echomesh_proto::ids::{ConnectionId, RoomNumber, SessionId};
use echomesh_proto::limits::{PASSWORD_BYTES_MAX, ROOM_MESSAGE_BYTES_MAX, USERNAME_BYTES_MAX};
use echomesh_proto::time::Now;

use crate::Shard;
use crate::accounts::{accounts_only, is_guest};
use crate::chat::content;
use crate::chat::wire::DirectWhat;
use crate::connection::{AskedKind, status};
use crate::counters::{CloseReason, LoginOutcome};
use crate::effect::Effects;
use crate::mesh::{Ask, Asker, MemberFlags, ToHome};
use crate::names;
use crate::rooms::{Join, NewRoom, Secret};

/// Letters of what a client typed that are shown back.
pub(crate) const SHOWN_CHARS_MAX: usize = 32;

/// Members in one page of a roster.
pub(crate) const ROSTER_PAGE: usize = 50;

impl Shard {
    /// One message of a client.
    pub(crate) fn request(&mut self, now: Now, id: ConnectionId, msg: EchoMsg, effects: &mut Effects) {
        if !self.may_ask(now, id, &msg, effects) {
            return;
        }
        let request_id = msg.request_id;
        let known = MsgType::try_from(msg.r#type);
        let Some(body) = msg.body else {
            return self.request_without_body(id, request_id, known.ok(), effects);
        };
        let named = body.msg_type();
        if known != Ok(named) && !(known == Ok(MsgType::MtPong) && named == MsgType::MtPing) {
            let text = "the type of the message does not name its body";
            return self.notice_and_close(id, StatusCode::StatusMalformed, text, CloseReason::Malformed, effects);
        }
        match body {
            Body::VoiceFrame(frame) => self.voice_frame(now, id, frame, effects),
            Body::Ping(ping) => self.pong(id, request_id, known == Ok(MsgType::MtPong), ping, effects),
            Body::LoginRequest(_) | Body::ResumeRequest(_) => self.request_login(now, id, request_id, body, effects),
            Body::ClaimRequest(_)
            | Body::Who(_)
            | Body::ChatMsg(_)
            | Body::RoomAction(_)
            | Body::VoiceAnnounce(_)
            | Body::RoomMessage(_)
            | Body::ChatAction(_)
            | Body::Moderation(_)
            | Body::Account(_) => {
                self.request_logged_in(now, id, request_id, body, effects);
            }
            Body::AccountState(_)
            | Body::ChatState(_)
            | Body::ModerationState(_)
            | Body::LoginResponse(_)
            | Body::Status(_)
            | Body::RoomState(_)
            | Body::RoomEvent(_) => {
                let text = "this server takes no such message from a client";
                self.send(id, &EchoMsg::new(request_id, status(StatusCode::StatusUnsupported, text)), effects);
            }
        }
    }

    /// A type from a later version of the protocol arrives without a body that we know.
    fn request_without_body(
        &mut self,
        id: ConnectionId,
        request_id: u32,
        known: Option<MsgType>,
        effects: &mut Effects,
    ) {
        let (code, text) = match known {
            Some(MsgType::MtUnspecified) | None => {
                (StatusCode::StatusUnsupported, "this server does not know that type of message")
            }
            Some(_) => (StatusCode::StatusBadRequest, "the message has no body"),
        };
        self.send(id, &EchoMsg::new(request_id, status(code, text)), effects);
    }

    fn pong(&mut self, id: ConnectionId, request_id: u32, is_pong: bool, ping: Ping, effects: &mut Effects) {
        if !is_pong {
            let pong = EchoMsg { r#type: MsgType::MtPong as i32, request_id, body: Some(Body::Ping(ping)) };
            self.send(id, &pong, effects);
        }
    }

    fn request_login(&mut self, now: Now, id: ConnectionId, request_id: u32, body: Body, effects: &mut Effects) {
        let logged_in = self.connection(id).is_some_and(|connection| connection.session.is_some());
        let Some(asker) = self.login_ask(now, id, request_id) else { return };
        match body {
            _ if logged_in => {
                let text = "this connection is logged in already: open another one for another account";
                self.answer_refused(asker, LoginOutcome::LoggedInAlready, text, effects);
            }
            Body::LoginRequest(login) => self.login_request(now, id, asker, login, effects),
            Body::ResumeRequest(resume) => self.resume_request(asker, &resume, effects),
            _ => {}
        }
    }

    fn request_logged_in(&mut self, now: Now, id: ConnectionId, request_id: u32, body: Body, effects: &mut Effects) {
        let shard = u32::from(self.config.shard.0);
        let kind = if matches!(body, Body::ChatMsg(_)) { AskedKind::Chat } else { AskedKind::Other };
        let Some(connection) = self.connection(id) else { return };
        let asker = connection.ask(now, shard, request_id, kind);
        let Some(session) = connection.session else {
            let text = "log in first: send a LoginRequest";
            return self.refuse(asker, StatusCode::StatusNotLoggedIn, text, effects);
        };
        if accounts_only(&body) && is_guest(self.sessions[&session].user) {
            let text = "a guest has no account to do that with: log in under a name of your own";
            return self.refuse(asker, StatusCode::StatusDenied, text, effects);
        }
        match body {
            Body::ClaimRequest(claim) => self.claim_request(now, asker, session, &claim, effects),
            Body::Account(account) => self.account(now, asker, session, account, effects),
            Body::Who(_) => self.who(asker, session, effects),
            Body::ChatMsg(chat) => self.chat(asker, session, chat, effects),
            Body::RoomAction(action) => self.room_action(now, asker, session, action, effects),
            Body::VoiceAnnounce(announce) => self.announce(asker, session, announce, effects),
            Body::RoomMessage(message) => self.room_message(asker, session, message, effects),
            Body::Moderation(moderation) => self.moderation(asker, session, moderation, effects),
            Body::ChatAction(action) => self.chat_action(asker, session, action, effects),
            _ => {}
        }
    }

    fn who(&mut self, asker: Asker, id: SessionId, effects: &mut Effects) {
        let session = &self.sessions[&id];
        let who = Who {
            user_id: session.user.0,
            username: session.username.clone(),
            session_id: id.0,
            owner: session.role == Role::Owner,
            rooms: session.rooms.values().map(|room| room.name.clone()).collect(),
            shard: u32::from(self.config.shard.0),
            role: session.role as i32,
        };
        self.answer(asker, Body::Who(who), effects);
    }

    /// A request to a room's home on behalf of a session.
    pub(crate) fn of_session(&self, asker: Asker, id: SessionId, room: RoomNumber, ask: Ask) -> ToHome {
        let session = &self.sessions[&id];
        ToHome {
            asker,
            room: room.0,
            session: id.0,
            user: session.user.0,
            username: session.username.clone(),
            moves: session.moves,
            role: session.role as i32,
            ask: Some(ask),
        }
    }

    /// The key and number of a room the session is in; answers the refusal itself.
    pub(crate) fn room_of(
        &mut self,
        asker: Asker,
        id: SessionId,
        typed: &str,
        effects: &mut Effects,
    ) -> Option<(String, RoomNumber)> {
        let key = names::room_name(typed).map(|name| name.key).unwrap_or_default();
        let room = self.sessions[&id].rooms.get(&key).map(|room| room.number);
        if room.is_none() {
            let text = format!("you are not in the room {:?}: join it first", shorten(typed, SHOWN_CHARS_MAX));
            self.refuse(asker, StatusCode::StatusNotInRoom, &text, effects);
        }
        room.map(|room| (key, room))
    }

    fn chat(&mut self, asker: Asker, id: SessionId, chat: ChatMsg, effects: &mut Effects) {
        if let Err((code, text)) = content::check(&chat.content, &chat.client_id) {
            return self.refuse(asker, code, &text, effects);
        }
        let ChatMsg { room_id, to, content, client_id, .. } = chat;
        // What else a client may have written goes no further: a record between shards is bounded.
        let chat = ChatMsg { content, client_id, ..ChatMsg::default() };
        if !to.is_empty() {
            let text = match (room_id.is_empty(), to.len() <= 4 * USERNAME_BYTES_MAX) {
                (true, true) => return self.direct_request(asker, id, &to, DirectWhat::Say(chat), effects),
                (true, false) => "that name is longer than any there is",
                (false, _) => "to a room or to someone: give room_id or to, not both",
            };
            return self.refuse(asker, StatusCode::StatusBadRequest, text, effects);
        }
        let Some((key, room)) = self.room_of(asker, id, &room_id, effects) else { return };
        let request = self.of_session(asker, id, room, Ask::Chat(chat));
        self.tell_home(&key, request);
    }

    fn room_message(&mut self, asker: Asker, id: SessionId, message: RoomMessage, effects: &mut Effects) {
        if message.payload.len() > ROOM_MESSAGE_BYTES_MAX {
            let text = format!("the payload has {} bytes: at most {ROOM_MESSAGE_BYTES_MAX}", message.payload.len());
            return self.refuse(asker, StatusCode::StatusTooLong, &text, effects);
        }
        let Some((key, room)) = self.room_of(asker, id, &message.room_id, effects) else { return };
        let request = self.of_session(asker, id, room, Ask::Message(message));
        self.tell_home(&key, request);
    }

    fn announce(&mut self, asker: Asker, id: SessionId, announce: VoiceAnnounce, effects: &mut Effects) {
        let Some((key, room)) = self.room_of(asker, id, &announce.room_id, effects) else { return };
        let flags = MemberFlags {
            talking: announce.talking,
            muted: announce.muted,
            deafened: announce.deafened,
            ..MemberFlags::default()
        };
        let ask = if announce.open { Ask::OpenVoice(flags) } else { Ask::Set(flags) };
        let request = self.of_session(asker, id, room, ask);
        self.tell_home(&key, request);
    }

    fn room_action(&mut self, now: Now, asker: Asker, id: SessionId, action: RoomAction, effects: &mut Effects) {
        let kind = action.action_type();
        if kind == RoomActionType::RaList {
            return self.list_rooms(asker, id, &action, effects);
        }
        if kind == RoomActionType::RaUnspecified {
            let text = "a RoomAction needs an action_type this server knows";
            return self.refuse(asker, StatusCode::StatusBadRequest, text, effects);
        }
        if matches!(kind, RoomActionType::RaLeave | RoomActionType::RaRoster) {
            let Some((key, room)) = self.room_of(asker, id, &action.room_id, effects) else { return };
            if kind == RoomActionType::RaRoster {
                return self.roster(asker, room, &action.page, effects);
            }
            let request = self.of_session(asker, id, room, Ask::Leave(true));
            return self.tell_home(&key, request);
        }
        if matches!(
            kind,
            RoomActionType::RaSet | RoomActionType::RaDelete | RoomActionType::RaInvite | RoomActionType::RaUninvite
        ) {
            return self.change_room(asker, id, action, effects);
        }
        if !action.password.is_empty()
            && kind == RoomActionType::RaJoin
            && let Some(too_many) = self.too_many_guesses(now, asker.connection(), 0)
        {
            return self.answer(asker, too_many.status(), effects);
        }
        let ask = match kind {
            RoomActionType::RaCreate => self.creation(asker, &action),
            _ => self.entrance(now, asker, id, action),
        };
        match ask {
            Ok((key, ask)) => {
                let request = self.of_session(asker, id, RoomNumber(0), ask);
                self.tell_home(&key, request);
            }
            Err((code, text)) => self.refuse(asker, code, &text, effects),
        }
    }

    /// What the home of a room to be made is asked.
    fn creation(&mut self, asker: Asker, action: &RoomAction) -> Result<(String, Ask), (StatusCode, String)> {
        let name = Self::named_room(&action.room_id)?;
        let (properties, password) = Self::first_properties(action)?;
        let secret = password.and_then(|password| self.secret(asker, password));
        let new = NewRoom { key: name.key.clone(), name: name.shown, properties, secret, ..NewRoom::default() };
        Ok((name.key, Ask::Create(new)))
    }

    /// What the home of a room to be entered is asked.
    fn entrance(
        &mut self,
        now: Now,
        asker: Asker,
        id: SessionId,
        action: RoomAction,
    ) -> Result<(String, Ask), (StatusCode, String)> {
        let key = Self::named_room(&action.room_id)?.key;
        if action.password.len() > PASSWORD_BYTES_MAX {
            return Err((StatusCode::StatusTooLong, format!("a password has at most {PASSWORD_BYTES_MAX} bytes")));
        }
        let rooms_max = self.config.limits.session_rooms_max as usize;
        let rooms = &self.sessions[&id].rooms;
        let is_in = rooms.contains_key(&key);
        if rooms.len() >= rooms_max && !is_in {
            let text = format!("you are in {rooms_max} rooms, the most there may be: leave one first");
            return Err((StatusCode::StatusLimit, text));
        }
        let number = self.directory.get(&key).map(|known| known.number);
        // Who is in, after a resume, and banned since, is put out: that is on its way.
        if let Some(ban) = number.filter(|_| !is_in).and_then(|number| self.room_ban(id, number)) {
            return Err((StatusCode::StatusBanned, ban.sentence("this room", now.unix_ms)));
        }
        let password = Some(action.password).filter(|password| !password.is_empty());
        let secret = password.and_then(|password| self.secret(asker, password));
        Ok((key.clone(), Ask::Join(Join { key, secret, ..Join::default() })))
    }

    /// A password with the address it came from.
    fn secret(&mut self, asker: Asker, password: String) -> Option<Secret> {
        let remote = self.remote_of(asker)?.to_string();
        Some(Secret { password, remote })
    }
}

/// The start of what a client typed, to show it back.
pub(crate) fn shorten(typed: &str, chars_max: usize) -> String {
    typed.chars().take(chars_max).collect()
}
