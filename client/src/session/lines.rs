//! Lines of rooms and direct lines: what comes is told by `follow`'s order, what was missed is asked for, and what a
//! driver may ask of chat.
//!
//! Bounds: one page of missed lines is asked for at a time, for each room and for direct lines.

use echomesh_proto::control::{Body, ChatAction, ChatActionType, ChatMsg, ChatState, StatusCode};
use echomesh_proto::time::{MILLISECOND_US, Now, Time};

use super::counters::Drop;
use super::event::{Event, RequestId};
use super::follow::Follow;
use super::requests::{Kind, RequestError};
use super::{Outcome, Session};

/// Lines of one page of what was missed.
const PAGE: u32 = 100;

/// Before a page is asked for again where the server does not say, microseconds.
const RETRY_US: u64 = 500 * MILLISECOND_US;

/// Whose lines are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    Room(String),
    Direct,
    /// Where direct lines begin.
    DirectBase,
}

impl Session {
    /// Asks about chat: history, what is unread; edits, deletes, marks as seen. `message.proto` says what each needs.
    /// Answered with [`Done::ChatState`](super::Done::ChatState).
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn chat_action(&mut self, now: Now, action: ChatAction) -> Result<RequestId, RequestError> {
        self.ask(now, Kind::ChatAction, Body::ChatAction(action))
    }

    /// Says a line to one account. `client_id` as in [`Session::chat`].
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn direct(&mut self, now: Now, to: &str, content: &str, client_id: &str) -> Result<RequestId, RequestError> {
        let (to, content, client_id) = (to.to_owned(), content.to_owned(), client_id.to_owned());
        self.ask(now, Kind::Chat, Body::ChatMsg(ChatMsg { to, content, client_id, ..ChatMsg::default() }))
    }

    /// Marks a room's line, and all before it, as seen.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn seen(&mut self, now: Now, room: &str, message_id: u64) -> Result<RequestId, RequestError> {
        let action = ChatActionType::CaSeen as i32;
        self.chat_action(now, ChatAction { action, room_id: room.to_owned(), message_id, ..ChatAction::default() })
    }

    /// A line or a change of one, unasked.
    pub(super) fn line(&mut self, line: ChatMsg, events: &mut Vec<Event>) {
        let is_direct = !line.to.is_empty();
        let follow = if is_direct {
            &mut self.direct
        } else {
            match self.room_mut(&line.room_id) {
                Some(room) => &mut room.follow,
                None => return self.not_in_room(&line.room_id),
            }
        };
        let (id, is_change) = (line.message_id, line.edited_ms != 0 || line.deleted);
        let tell = if is_change { follow.change(id) } else { follow.live(id) };
        if tell {
            events.push(match (is_change, is_direct) {
                (true, _) => Event::ChatChanged(line),
                (false, true) => Event::Direct(line),
                (false, false) => Event::Chat(line),
            });
        }
    }

    /// A line of one's own is stored.
    pub(super) fn line_acknowledged(&mut self, line: &ChatMsg) {
        if !line.to.is_empty() {
            self.direct.acknowledged(line.message_id);
        } else if let Some(room) = self.room_mut(&line.room_id) {
            room.follow.acknowledged(line.message_id);
        }
    }

    /// In a room (again), whose newest line is this.
    pub(super) fn follow_room(&mut self, now: Now, name: &str, newest: u64) {
        let fresh = !self.resumed;
        if let Some(room) = self.room_mut(name)
            && room.follow.rejoined(newest, fresh)
        {
            self.fetch_missed(now, &Missed::Room(name.to_owned()));
        }
    }

    /// Logged in (again).
    pub(super) fn follow_direct(&mut self, now: Now) {
        if !self.config.direct {
            return;
        }
        if self.direct.has_base() {
            return self.fetch_missed(now, &Missed::Direct);
        }
        self.ask_direct_base(now);
    }

    fn ask_direct_base(&mut self, now: Now) {
        let action = ChatAction { action: ChatActionType::CaHistory as i32, count: 1, ..ChatAction::default() };
        self.send_request(now, None, Kind::Missed(Missed::DirectBase), Body::ChatAction(action));
    }

    fn follow(&mut self, of: &Missed) -> Option<&mut Follow> {
        match of {
            Missed::Room(name) => self.room_mut(name).map(|room| &mut room.follow),
            Missed::Direct | Missed::DirectBase => Some(&mut self.direct),
        }
    }

    pub(super) fn fetch_missed(&mut self, now: Now, of: &Missed) {
        let Some(after) = self.follow(of).and_then(|follow| follow.next_from(now.time)) else { return };
        let room_id = if let Missed::Room(name) = of { name.clone() } else { String::new() };
        let action = ChatActionType::CaHistory as i32;
        let action = ChatAction { action, room_id, after: Some(after), count: PAGE, ..ChatAction::default() };
        self.send_request(now, None, Kind::Missed(of.clone()), Body::ChatAction(action));
    }

    /// A page of what was missed.
    pub(super) fn missed_page(&mut self, now: Now, of: &Missed, state: ChatState, events: &mut Vec<Event>) {
        let ChatState { lines, more, .. } = state;
        let Some(follow) = self.follow(of) else { return self.counters.drop(Drop::RoomGone) };
        if *of == Missed::DirectBase {
            let newest = lines.first().map_or(0, |line| line.message_id);
            return follow.set_base(newest);
        }
        let ids: Vec<u64> = lines.iter().map(|line| line.message_id).collect();
        let before = follow.last();
        let tell = follow.page(&ids, more);
        // One's own whose acknowledgement was lost is sent again, or comes in its place and never after later ones.
        let user = self.user.0;
        let late = |line: &ChatMsg| line.user_id == user && line.message_id <= before;
        let told = lines.into_iter().zip(tell).filter(|(line, tell)| *tell && !late(line)).map(|(line, _)| line);
        events.extend(told.map(|line| if *of == Missed::Direct { Event::Direct(line) } else { Event::Chat(line) }));
        self.fetch_missed(now, of);
    }

    /// A page of what was missed was refused, or not answered.
    pub(super) fn missed_refused(&mut self, now: Time, of: &Missed, outcome: &Outcome) {
        let wait_us = match outcome {
            Outcome::Refused { status: StatusCode::StatusTryAgain, retry_after_ms, .. } => {
                Some(RETRY_US.max(u64::from(*retry_after_ms) * MILLISECOND_US))
            }
            Outcome::TimedOut => Some(RETRY_US),
            // A server that knows no history, or a room that is being lost.
            _ => None,
        };
        match (self.follow(of), wait_us) {
            (Some(follow), Some(wait_us)) if *of == Missed::DirectBase => follow.ask_base_at(now.after_us(wait_us)),
            (Some(follow), Some(wait_us)) => follow.retry_at(now.after_us(wait_us)),
            (Some(follow), None) => {
                follow.give_up();
                self.counters.drop(Drop::LinesMissed);
            }
            (None, _) => {}
        }
    }

    /// Asks again for pages that were refused.
    pub(super) fn retry_missed(&mut self, now: Now) {
        let waiting = self.rooms.iter().filter(|room| room.follow.is_waiting());
        let rooms: Vec<Missed> = waiting.map(|room| Missed::Room(room.name().to_string())).collect();
        let direct = self.direct.is_waiting().then_some(Missed::Direct);
        for of in rooms.iter().chain(&direct) {
            self.fetch_missed(now, of);
        }
        if self.direct.asks_base(now.time) {
            self.ask_direct_base(now);
        }
    }
}
