//! What the interface does for the person: requests to the server and to the engine, and what their answers bring.
//!
//! In: [`Act`]s, answers. Out: requests; lines, rooms and sentences to see. Bounds: a request each, `PAGES_MAX` pages of a
//! list; the session's own of requests under way.

use bytes::Bytes;
use echomesh_client::{Answer, Done, Outcome, RequestError, RequestId};
use echomesh_proto::control::{
    ChatAction, ChatActionType, ChatState, Moderation, ModerationAction, Room, RoomState, StatusCode,
};
use echomesh_proto::ids::Ssrc;

use super::app::{Act, Person, ROOMS_MAX};
use super::interface::Interface;
use super::people;
use super::view::Kind;
use crate::cli::clock;
use crate::cli::outgoing::{Fate, Place};

/// Lines of a page of history.
const PAGE_LINES: u32 = 100;

/// Lines that wait for the server to take them.
const UNSENT_MAX: usize = 256;

/// A request, and what its answer is for.
pub(super) enum Asked {
    Join {
        room: String,
        password: String,
        create: bool,
    },
    Create {
        room: String,
        password: String,
    },
    Leave(String),
    /// A page of the list, after these.
    Rooms(Vec<Room>),
    History(Place),
    Unread,
    Voice(String),
    /// Something whose refusal alone is told.
    Other,
    /// Something of which nothing is told.
    Quiet,
}

/// A request about a place.
fn about(place: &Place, kind: ChatActionType) -> ChatAction {
    let action = ChatAction { action: kind as i32, ..ChatAction::default() };
    match place {
        Place::Room(room) => ChatAction { room_id: room.clone(), ..action },
        Place::Person(name) => ChatAction { username: name.clone(), ..action },
    }
}

impl Interface {
    pub(super) fn do_acts(&mut self) {
        for act in self.app.take_acts() {
            self.is_stale = true;
            match act {
                Act::Join { room, password, create } => self.join(&room, &password, create),
                Act::Leave(room) => {
                    let request = self.link.session.leave(clock::now(), &room);
                    self.asks(request, Asked::Leave(room));
                }
                Act::Say(_, text) if self.outgoing.unsent() >= UNSENT_MAX => {
                    let text = format!("{UNSENT_MAX} lines wait for the server: this one was not taken: {text}");
                    self.tell(Kind::Problem, &text);
                }
                Act::Say(place, text) => {
                    if let Err(failure) = self.outgoing.push(place, text) {
                        self.tell(Kind::Problem, &failure.to_string());
                    }
                }
                Act::ListRooms => self.list_rooms(),
                Act::History(place, before) => self.history(place, before),
                Act::Seen(place, line) => {
                    self.to_mark.insert(place, line);
                }
                Act::Voice => self.apply_voice(),
                Act::People => self.apply_people(),
                Act::Kick { room, name, reason } => self.moderate(ModerationAction::MaKick, room, name, reason),
                Act::ServerMute { room, name, muted } => {
                    let action = if muted { ModerationAction::MaMute } else { ModerationAction::MaUnmute };
                    self.moderate(action, room, name, String::new());
                }
                Act::Change { place, line, text } => {
                    let kind = if text.is_some() { ChatActionType::CaEdit } else { ChatActionType::CaDelete };
                    let content = text.unwrap_or_default();
                    self.chat_action(ChatAction { message_id: line, content, ..about(&place, kind) }, Asked::Other);
                }
                Act::Bell => self.screen.ring(),
                Act::Redraw => self.screen.redraw(),
                Act::Quit => self.ends = true,
            }
        }
    }

    /// Notes what an answer will be for, or says why there is no request.
    fn asks(&mut self, request: Result<RequestId, RequestError>, asked: Asked) {
        match request {
            Ok(id) => {
                self.asked.insert(id, asked);
            }
            Err(_) if matches!(asked, Asked::Quiet | Asked::Unread | Asked::Rooms(_)) => {}
            Err(error) => self.tell(Kind::Problem, &error.to_string()),
        }
    }

    pub(super) fn join(&mut self, room: &str, password: &str, create: bool) {
        let typed = self.link.typed_room_password().unwrap_or_default();
        let password = if password.is_empty() { typed } else { password.to_owned() };
        let request = self.link.session.join_with_password(clock::now(), room, &password);
        self.asks(request, Asked::Join { room: room.to_owned(), password, create });
    }

    pub(super) fn list_rooms(&mut self) {
        let request = self.link.session.list_rooms(clock::now(), "", Bytes::new());
        self.asks(request, Asked::Rooms(Vec::new()));
    }

    fn history(&mut self, place: Place, before: u64) {
        if place == Place::Room(String::new()) {
            return;
        }
        let action = ChatAction { before, count: PAGE_LINES, ..about(&place, ChatActionType::CaHistory) };
        self.chat_action(action, Asked::History(place));
    }

    fn chat_action(&mut self, action: ChatAction, asked: Asked) {
        let request = self.link.session.chat_action(clock::now(), action);
        self.asks(request, asked);
    }

    pub(super) fn ask_unread(&mut self) {
        let action = ChatActionType::CaUnread as i32;
        self.chat_action(ChatAction { action, ..ChatAction::default() }, Asked::Unread);
    }

    pub(super) fn send_marks(&mut self) {
        for (place, message_id) in std::mem::take(&mut self.to_mark) {
            self.chat_action(ChatAction { message_id, ..about(&place, ChatActionType::CaSeen) }, Asked::Quiet);
        }
    }

    fn moderate(&mut self, action: ModerationAction, room_id: String, username: String, reason: String) {
        let moderation = Moderation { action: action as i32, room_id, username, reason, ..Moderation::default() };
        let request = self.link.session.moderate(clock::now(), moderation);
        self.asks(request, Asked::Other);
    }

    /// How loud people are, now and in the next run.
    fn apply_people(&mut self) {
        self.wishes.clear();
        let members: Vec<(u32, String)> = self
            .link
            .session
            .rooms()
            .flat_map(|room| room.members())
            .filter(|member| member.ssrc != 0)
            .map(|member| (member.ssrc, member.username.to_lowercase()))
            .collect();
        if let Some(speech) = &mut self.speech {
            for (ssrc, name) in members {
                let Person { percent, ignored } = self.app.people.get(&name).copied().unwrap_or_default();
                speech.set_gain(Ssrc(ssrc), if ignored { 0.0 } else { percent as f32 / 100.0 });
            }
        }
        let kept = self.people_file.as_deref().map(|path| people::write(path, &self.app.people));
        if let Some(Err(failure)) = kept {
            self.tell(Kind::Problem, &failure.to_string());
        }
    }

    /// An answer has come.
    pub(super) fn answer(&mut self, answer: &Answer) {
        match self.outgoing.answered(answer) {
            Some(Fate::Stored(place, line)) => return self.app.stored(&place, &line),
            Some(Fate::Refused(text) | Fate::Again(Some(text))) => return self.tell(Kind::Problem, &text),
            Some(Fate::Again(None)) => return,
            None => {}
        }
        let Some(asked) = self.asked.remove(&answer.request) else { return };
        match &answer.outcome {
            Outcome::Done(done) => self.done(asked, done),
            Outcome::Refused { status, message, .. } => self.refused(asked, *status, message),
            // The session opens it again by itself.
            Outcome::ConnectionLost if matches!(asked, Asked::Voice(_)) => {}
            Outcome::TimedOut | Outcome::ConnectionLost => self.unanswered(&asked),
        }
    }

    fn done(&mut self, asked: Asked, done: &Done) {
        match (asked, done) {
            (Asked::Join { room, .. }, Done::Room(state)) => {
                let name = if state.room_id.is_empty() { &room } else { &state.room_id };
                self.app.entered(name, clock::now().unix_ms);
            }
            (Asked::Create { room, password }, _) => self.join(&room, &password, false),
            (Asked::Leave(room), _) => {
                self.announced.remove(&room);
                self.app.left(&room, clock::now().unix_ms, "you have left");
            }
            (Asked::Rooms(so_far), Done::Room(state)) => self.rooms_listed(so_far, state),
            (Asked::History(place), Done::ChatState(state)) => {
                let user = self.app.user;
                if let Some(view) = self.app.views.iter_mut().find(|view| view.place == place) {
                    view.page(&state.lines, state.more, user);
                }
            }
            (Asked::Unread, Done::ChatState(state)) => self.unread(state),
            _ => {}
        }
    }

    fn rooms_listed(&mut self, mut rooms: Vec<Room>, state: &RoomState) {
        rooms.extend(state.rooms.iter().cloned());
        if state.next_page.is_empty() || rooms.len() >= ROOMS_MAX {
            rooms.truncate(ROOMS_MAX);
            self.app.rooms = rooms;
            return;
        }
        let request = self.link.session.list_rooms(clock::now(), "", state.next_page.clone());
        self.asks(request, Asked::Rooms(rooms));
    }

    /// Conversations in which something is unread are opened; rooms show it once they are entered.
    fn unread(&mut self, state: &ChatState) {
        for of in state.unread.iter().filter(|of| !of.username.is_empty() && of.count > 0) {
            let at = self.app.open(&Place::Person(of.username.clone()));
            let view = &mut self.app.views[at];
            (view.unread, view.mentions, view.unread_from) = (of.count, of.mentions, Some(of.seen + 1));
        }
    }

    fn refused(&mut self, asked: Asked, status: StatusCode, message: &str) {
        match (asked, status) {
            (Asked::Join { room, password, create: true }, StatusCode::StatusNotFound) => {
                let request = self.link.session.create(clock::now(), &room, 0);
                self.asks(request, Asked::Create { room, password });
            }
            // Somebody else was faster.
            (Asked::Create { room, password }, StatusCode::StatusExists) => self.join(&room, &password, false),
            (Asked::Join { room, .. }, StatusCode::StatusNotFound) => {
                self.tell(Kind::Problem, &format!("{message} (/create {room})"));
            }
            (Asked::Join { room, password, .. }, StatusCode::StatusBadCredentials) if password.is_empty() => {
                self.tell(Kind::Problem, &format!("{message} (/join {room} PASSWORD)"));
            }
            (Asked::History(place), _) => {
                if let Some(view) = self.app.views.iter_mut().find(|view| view.place == place) {
                    view.asked = false;
                }
            }
            (Asked::Quiet | Asked::Unread | Asked::Rooms(_), _) => {}
            (Asked::Voice(room), _) => {
                self.announced.remove(&room);
                self.tell(Kind::Problem, &format!("no voice in {room}: {message}"));
            }
            _ => self.tell(Kind::Problem, message),
        }
    }

    fn unanswered(&mut self, asked: &Asked) {
        match asked {
            Asked::History(place) => {
                if let Some(view) = self.app.views.iter_mut().find(|view| view.place == *place) {
                    view.asked = false;
                }
            }
            Asked::Quiet | Asked::Unread | Asked::Rooms(_) => {}
            Asked::Voice(room) => {
                self.announced.remove(room);
                self.tell(Kind::Problem, &format!("no voice in {room}: the server did not answer"));
            }
            _ => self.tell(Kind::Problem, "the server did not answer: try again"),
        }
    }
}
