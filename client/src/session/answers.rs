//! What the server sends: answers matched to requests by their id, and what it says unasked.
//!
//! A message that makes no sense ends the connection; one that is merely of no use is counted.

use echomesh_proto::control::{
    Body, EchoMsg, LoginResponse, MsgType, RoomAction, RoomActionType, RoomDelta, RoomEvent, RoomEventType,
    RoomMessage, RoomState, Status, StatusCode, VoiceAnnounce,
};
use echomesh_proto::ids::{SessionId, Ssrc, UserId};
use echomesh_proto::time::Now;

use super::counters::Drop;
use super::event::{DisconnectReason, Done, Event, LoggedIn, MemberChange, Outcome, RequestId};
use super::requests::{Kind, Pending, REQUESTS_MAX, action, answer, open_voice};
use super::room::{ROOMS_MAX, Room};
use super::secret::{Password, ResumeToken};
use super::voice::VoiceRoom;
use super::{Session, bounds};

/// Whether the connection may go on.
type Checked = Result<(), DisconnectReason>;

fn refused(status: StatusCode, message: String, retry_after_ms: u32) -> Outcome {
    Outcome::Refused { status, message, retry_after_ms }
}

impl Session {
    /// One message of the server.
    pub(super) fn message(&mut self, now: Now, msg: EchoMsg, events: &mut Vec<Event>) -> Checked {
        let known = MsgType::try_from(msg.r#type);
        let Some(body) = msg.body else {
            // A type of a later protocol version, or one without a body.
            self.counters.drop(Drop::Unsupported);
            return Ok(());
        };
        let named = body.msg_type();
        let is_named = known == Ok(named) || (known == Ok(MsgType::MtPong) && named == MsgType::MtPing);
        if !is_named || !bounds::keeps(&body) {
            return Err(DisconnectReason::Malformed);
        }
        if msg.request_id == 0 {
            self.unasked(now, body, events);
            return Ok(());
        }
        let found = self.pending.iter().position(|pending| pending.wire == msg.request_id);
        let Some(pending) = found.and_then(|at| self.pending.remove(at)) else {
            self.counters.drop(Drop::UnknownAnswer);
            return Ok(());
        };
        self.answered(now, pending, body, events)
    }

    fn unasked(&mut self, now: Now, body: Body, events: &mut Vec<Event>) {
        match body {
            Body::ChatMsg(line) => self.line(line, events),
            Body::RoomMessage(message) if self.is_in(&message.room_id) => events.push(Event::RoomMessage(message)),
            Body::RoomMessage(RoomMessage { room_id, .. }) => self.not_in_room(&room_id),
            Body::RoomEvent(event) => self.room_event(now, event, events),
            Body::RoomState(state) if state.action_type() == RoomActionType::RaJoin => {
                self.moved(now, state, events);
            }
            Body::VoiceFrame(frame) => self.tunnelled(frame.packet.to_vec()),
            Body::ModerationState(state) => events.extend(state.audit.into_iter().map(Event::Reported)),
            Body::Status(status)
                if matches!(status.status_code(), StatusCode::StatusKicked | StatusCode::StatusBanned) =>
            {
                self.expelled(status, events);
            }
            Body::Status(status) => {
                let (code, retry_after_ms) = (status.status_code(), status.retry_after_ms);
                events.push(Event::Notice { status: code, message: status.message, retry_after_ms });
            }
            _ => self.counters.drop(Drop::Unsupported),
        }
    }

    fn answered(&mut self, now: Now, pending: Pending, body: Body, events: &mut Vec<Event>) -> Checked {
        let Pending { public, kind, .. } = pending;
        match (kind, body) {
            (kind @ (Kind::Login | Kind::Resume), Body::LoginResponse(response)) => {
                self.login_answer(now, kind == Kind::Resume, response, events);
            }
            (Kind::Login | Kind::Resume, Body::Status(status)) if status.status_code() != StatusCode::StatusOk => {
                let Status { message, retry_after_ms, .. } = status.clone();
                events.push(Event::LoginRefused { status: status.status_code(), message, retry_after_ms });
            }
            (kind, Body::Status(status)) if status.status_code() != StatusCode::StatusOk => {
                let code = status.status_code();
                let outcome = refused(code, status.message, status.retry_after_ms);
                self.request_refused(now, public, &kind, outcome, events);
            }
            (kind, Body::RoomState(state)) if state.status_code() != StatusCode::StatusOk => {
                let code = state.status_code();
                self.request_refused(now, public, &kind, refused(code, state.message, 0), events);
            }
            (Kind::Ping, Body::Ping(_)) => {}
            (Kind::Room, Body::RoomState(state)) => {
                answer(public, Outcome::Done(Done::Room(state)), events);
            }
            (Kind::Join { room, again, password }, Body::RoomState(state)) => {
                self.joined(now, public, (&room, password), again, state, events);
            }
            (Kind::Leave { room }, Body::RoomState(state)) => {
                self.left(&room);
                answer(public, Outcome::Done(Done::Room(state)), events);
            }
            (Kind::Roster { room }, Body::RoomState(state)) => self.roster_page(now, public, &room, state, events),
            (Kind::Chat, Body::ChatMsg(line)) => {
                self.line_acknowledged(&line);
                answer(public, Outcome::Done(Done::Chat(line)), events);
            }
            (Kind::ChatAction, Body::ChatState(state)) => {
                answer(public, Outcome::Done(Done::ChatState(state)), events);
            }
            (Kind::Missed(of), Body::ChatState(state)) => self.missed_page(now, &of, state, events),
            (Kind::Who, Body::Who(who)) => answer(public, Outcome::Done(Done::Who(who)), events),
            (Kind::Moderate, Body::ModerationState(state)) => {
                answer(public, Outcome::Done(Done::Moderation(state)), events);
            }
            (Kind::Account { new_password }, Body::AccountState(state)) => {
                if let Some(Password(password)) = new_password {
                    self.config.password = password;
                }
                answer(public, Outcome::Done(Done::Account(state)), events);
            }
            (Kind::OpenVoice { room }, Body::VoiceAnnounce(announce)) => {
                let opened = self.voice_opened(now, &room, &announce, events);
                let outcome = if opened.is_ok() { Outcome::Done(Done::Voice) } else { Outcome::ConnectionLost };
                answer(public, outcome, events);
                opened?;
            }
            (Kind::Plain, Body::Status(status)) => {
                answer(public, Outcome::Done(Done::Status { message: status.message }), events);
            }
            _ => {
                answer(public, Outcome::ConnectionLost, events);
                return Err(DisconnectReason::WrongAnswer);
            }
        }
        Ok(())
    }

    fn request_refused(
        &mut self,
        now: Now,
        public: Option<RequestId>,
        kind: &Kind,
        outcome: Outcome,
        events: &mut Vec<Event>,
    ) {
        let Outcome::Refused { status, message: text, .. } = &outcome else { return };
        let not_in_room = *status == StatusCode::StatusNotInRoom;
        match kind {
            Kind::Join { room, again: true, .. } => self.lose_room(room, text, events),
            Kind::Leave { room } if not_in_room => self.left(room),
            Kind::Leave { room } => self.set_leaving(room, false),
            Kind::Missed(of) => self.missed_refused(now.time, of, &outcome),
            _ => {}
        }
        answer(public, outcome, events);
    }

    fn login_answer(&mut self, now: Now, resuming: bool, mut response: LoginResponse, events: &mut Vec<Event>) {
        let status = response.status_code();
        if status != StatusCode::StatusOk {
            // The session is gone, or this server never knew it: the rooms can be entered again.
            if resuming && status != StatusCode::StatusTryAgain {
                self.resume_token = ResumeToken::default();
                return self.log_in(now);
            }
            let LoginResponse { message, retry_after_ms, .. } = response;
            return events.push(Event::LoginRefused { status, message, retry_after_ms });
        }
        self.logged_in = true;
        self.resumed = resuming;
        self.user = UserId(response.user_id);
        self.id = SessionId(response.session_id);
        let token = std::mem::take(&mut response.resume_token);
        if !token.is_empty() || !resuming {
            self.resume_token = ResumeToken(token);
        }
        let there = std::mem::take(&mut response.rooms);
        events.push(Event::LoggedIn(LoggedIn { resumed: resuming, response }));
        self.enter_again(now);
        self.follow_direct(now);
        // The answer to a join was lost, and the driver was told so: it did not happen.
        for room in there {
            if self.room(&room).is_none() {
                let leave = Body::RoomAction(action(RoomActionType::RaLeave, &room));
                self.send_request(now, None, Kind::Leave { room }, leave);
            }
        }
    }

    fn is_in(&self, room: &str) -> bool {
        self.room(room).is_some()
    }

    /// Something about a room this session is not in: expected only while it is being left unasked.
    pub(super) fn not_in_room(&mut self, room: &str) {
        let leaving = |pending: &Pending| matches!(&pending.kind, Kind::Leave { room: left } if left == room);
        if !self.pending.iter().any(leaving) {
            self.counters.drop(Drop::UnknownRoom);
        }
    }

    /// Back in the rooms of before. Joining twice is allowed and brings the roster, so a resumed session
    /// does the same as a new one.
    fn enter_again(&mut self, now: Now) {
        let rooms: Vec<(String, bool, Password)> =
            self.rooms.iter().map(|room| (room.name().to_string(), room.leaving, room.password.clone())).collect();
        for (room, leaving, password) in rooms {
            let (kind, asked) = if leaving {
                (RoomActionType::RaLeave, Kind::Leave { room: room.clone() })
            } else {
                let password = password.clone();
                (RoomActionType::RaJoin, Kind::Join { room: room.clone(), again: true, password })
            };
            let action = RoomAction { password: password.0, ..action(kind, &room) };
            self.send_request(now, None, asked, Body::RoomAction(action));
        }
    }

    fn joined(
        &mut self,
        now: Now,
        public: Option<RequestId>,
        (typed, password): (&str, Password),
        again: bool,
        state: RoomState,
        events: &mut Vec<Event>,
    ) {
        let fresh = Room::new(typed, &state);
        let name = fresh.name().clone();
        if self.room(&name).is_none() {
            if self.rooms.len() >= ROOMS_MAX {
                return self.leave_again(now, public, &name, events);
            }
            self.rooms.push(fresh);
        }
        if let Some(room) = self.room_mut(&name) {
            room.entered(password, &state);
        }
        answer(public, Outcome::Done(Done::Room(state.clone())), events);
        if again {
            events.push(Event::Rejoined { room: name.clone() });
        }
        self.follow_room(now, &name, state.newest_line);
        self.roster_page(now, None, &name, state, events);
        let wants_voice = self.room(&name).and_then(|room| room.wants_voice).filter(|_| again);
        if let Some(flags) = wants_voice {
            self.send_request(now, None, Kind::OpenVoice { room: name.to_string() }, open_voice(&name, flags));
        }
    }

    /// One room too many.
    fn leave_again(&mut self, now: Now, public: Option<RequestId>, name: &str, events: &mut Vec<Event>) {
        self.counters.drop(Drop::RoomLimit);
        let leave = Body::RoomAction(action(RoomActionType::RaLeave, name));
        self.send_request(now, None, Kind::Leave { room: name.to_owned() }, leave);
        let text = format!("this client is in {ROOMS_MAX} rooms, which is as many as it keeps: leave one");
        answer(public, refused(StatusCode::StatusLimit, text, 0), events);
    }

    /// One page of a roster. Asks for the next; the driver's answer comes with the last.
    fn roster_page(
        &mut self,
        now: Now,
        public: Option<RequestId>,
        name: &str,
        state: RoomState,
        events: &mut Vec<Event>,
    ) {
        let next = state.next_page.clone();
        let done = Done::Room(RoomState { members: Vec::new(), ..state.clone() });
        let Some(room) = self.room_mut(name) else {
            self.counters.drop(Drop::RoomGone);
            return answer(public, Outcome::Done(done), events);
        };
        let refused = room.page(state);
        let name = room.name().clone();
        if room.is_complete() {
            events.push(Event::RosterComplete { room: name });
            answer(public, Outcome::Done(done), events);
        } else {
            let action = RoomAction { page: next, ..action(RoomActionType::RaRoster, &name) };
            self.send_request(now, public, Kind::Roster { room: name.to_string() }, Body::RoomAction(action));
        }
        for _ in 0..refused {
            self.counters.drop(Drop::BadMember);
        }
    }

    fn room_event(&mut self, now: Now, event: RoomEvent, events: &mut Vec<Event>) {
        let RoomEvent { room_id, sequence, deltas } = event;
        let Some(at) = self.rooms.iter().position(|room| room.is_named(&room_id)) else {
            // Put out of a room that it could not enter again after a lost connection, and has given up.
            if deltas.iter().any(|delta| delta.event_type() == RoomEventType::ReRemoved) {
                return self.counters.drop(Drop::RoomGone);
            }
            return self.not_in_room(&room_id);
        };
        let room = &mut self.rooms[at];
        let behind = room.is_complete() && room.is_behind(sequence);
        room.set_sequence(sequence);
        let name = room.name().clone();
        for delta in deltas {
            match delta.event_type() {
                RoomEventType::ReRemoved => return self.removed(&name, &delta, events),
                RoomEventType::ReRoom => {
                    room.set_properties(delta.room);
                    events.push(Event::RoomChanged { room: name.clone() });
                    continue;
                }
                _ => {}
            }
            let session = delta.member.as_ref().map_or(SessionId(0), |member| SessionId(member.session_id));
            let heard_as = room.member(session).map_or(0, |member| member.ssrc);
            let Some((change, member)) = room.delta(delta) else {
                self.counters.drop(Drop::BadMember);
                continue;
            };
            let stream_gone = change == MemberChange::Left || member.ssrc != heard_as;
            if let Some(voice) = self.voice.iter_mut().find(|voice| voice.room == name).filter(|_| stream_gone) {
                voice.forget(Ssrc(heard_as));
            }
            events.push(Event::Member { room: name.clone(), change, member });
        }
        if behind {
            self.fetch_roster(now, &name);
        }
    }

    /// Someone moved this session into a room: it is in, and not out of the other one yet.
    fn moved(&mut self, now: Now, state: RoomState, events: &mut Vec<Event>) {
        let name = Room::new(&state.room_id, &state).name().clone();
        // The driver's own are fewer than half of these.
        if self.pending.len() >= 2 * REQUESTS_MAX {
            return self.counters.drop(Drop::RoomLimit);
        }
        if self.rooms.len() < ROOMS_MAX || self.is_in(&name) {
            events.push(Event::Moved { room: name.clone() });
        }
        self.joined(now, None, (&name, Password::default()), false, state, events);
    }

    /// Put out of a room: nothing of it comes after this.
    fn removed(&mut self, name: &str, delta: &RoomDelta, events: &mut Vec<Event>) {
        let by = if delta.by.is_empty() { "the server" } else { &delta.by };
        let reason = if delta.reason.is_empty() { "no reason was given" } else { &delta.reason };
        self.lose_room(name, &format!("{by} put you out: {reason}"), events);
    }

    /// The session is over for good; the connection ends with this.
    fn expelled(&mut self, status: Status, events: &mut Vec<Event>) {
        self.resume_token = ResumeToken::default();
        self.rooms.clear();
        self.voice.clear();
        events.push(Event::Expelled { status: status.status_code(), message: status.message });
    }

    fn voice_opened(&mut self, now: Now, room: &str, announce: &VoiceAnnounce, events: &mut Vec<Event>) -> Checked {
        // Left, or put out, in the meantime: the server closes the stream.
        let Some(room) = self.room(room).map(|room| room.name().clone()) else {
            self.counters.drop(Drop::RoomGone);
            return Ok(());
        };
        let voice = VoiceRoom::new(now.time, room.clone(), announce, &self.config);
        let voice = voice.ok_or(DisconnectReason::Malformed)?;
        let (ssrc, udp_port) = (voice.ssrc, voice.udp_port);
        self.voice.retain(|old| old.room != room);
        self.voice.push(voice);
        self.report_voice(now);
        events.push(Event::VoiceOpen {
            room,
            ssrc,
            udp_port,
            epoch: announce.epoch,
            bitrate_max: announce.bitrate_max,
        });
        Ok(())
    }

    fn left(&mut self, name: &str) {
        let Some(room) = self.room(name).map(|room| room.name().clone()) else { return };
        self.rooms.retain(|other| *other.name() != room);
        self.voice.retain(|voice| voice.room != room);
    }

    pub(super) fn set_leaving(&mut self, name: &str, leaving: bool) {
        if let Some(room) = self.room_mut(name) {
            room.leaving = leaving;
        }
    }

    pub(super) fn lose_room(&mut self, name: &str, message: &str, events: &mut Vec<Event>) {
        if let Some(room) = self.room(name).map(|room| room.name().clone()) {
            self.left(name);
            events.push(Event::RoomLost { room, message: message.to_owned() });
        }
    }
}
