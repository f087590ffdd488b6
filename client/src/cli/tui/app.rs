//! The interface as it is: places, what is typed, the own voice; and what follows from events and keys.
//!
//! Not drawing, not the network, not sound: what is to be done about those goes out as [`Act`]s, which `run` does.
//! In: events of the session, keys, answers. Out: acts, and a state to draw. Bounds: `PLACES_MAX` places; those of
//! `view` and `editor`; rooms as the server lists them, `ROOMS_MAX`.

use std::collections::BTreeMap;

use echomesh_client::{Announce, Event, MemberChange};
use echomesh_proto::control::{ChatMsg, Room};

use super::keys::{Action, Keys};
use super::meters::Meters;
use super::microphone;
use super::slash::Slash;
use super::view::{Kind, View};
use super::{editor::Editor, slash};
use crate::cli::commands::printable;
use crate::cli::outgoing::Place;
use crate::cli::talk_mode::TalkMode;
use crate::cli::threshold::Threshold;

/// Rooms and conversations that are open.
const PLACES_MAX: usize = 256;

/// Rooms of the server that are listed.
pub const ROOMS_MAX: usize = 1_000;

/// What waits for a connection to be done.
const ACTS_MAX: usize = 512;

/// Members up to which a room says who comes and goes.
const TELL_MEMBERS_MAX: usize = 30;

/// Rows that a key scrolls.
const SCROLL_ROWS: usize = 10;

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Join {
        room: String,
        password: String,
        create: bool,
    },
    Leave(String),
    Say(Place, String),
    ListRooms,
    /// Older lines of a place, before this one; 0: the newest.
    History(Place, u64),
    /// It was looked at up to this line.
    Seen(Place, u64),
    /// Microphone, loudspeaker or talk mode changed: [`Own`] has them.
    Voice,
    /// How loud somebody is, or not heard: [`App::people`] has it.
    People,
    Kick {
        room: String,
        name: String,
        reason: String,
    },
    ServerMute {
        room: String,
        name: String,
        muted: bool,
    },
    Change {
        place: Place,
        line: u64,
        text: Option<String>,
    },
    Bell,
    Redraw,
    Quit,
}

/// The own voice.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Where it is heard.
    pub room: Option<String>,
    pub muted: bool,
    pub deafened: bool,
    pub mode: TalkMode,
    /// Of the mode `voice`.
    pub threshold: Threshold,
    /// The key is held: to talk, or to say nothing.
    pub pushed: bool,
    pub talking: bool,
    /// There is something to say with, and to hear with.
    pub has_input: bool,
    pub has_output: bool,
}

impl Own {
    /// How it is, for other programs.
    pub fn sentence(&self) -> String {
        let (muted, deafened) =
            (if self.is_closed() { "closed" } else { "open" }, if self.deafened { ", deafened" } else { "" });
        let why = match () {
            () if !self.has_input => " (no microphone)",
            () if self.muted => " (muted)",
            () if self.mode == TalkMode::Push => " (push to talk)",
            () if self.mode == TalkMode::Mute && self.pushed => " (push to mute, the key is held)",
            () if self.mode == TalkMode::Mute => " (push to mute)",
            () => "",
        };
        format!("microphone {muted}{why}{deafened}")
    }

    /// What the others see of it in a room.
    pub fn announce(&self, room: &str) -> Announce {
        let is_here = self.room.as_deref() == Some(room);
        Announce {
            talking: self.talking && is_here,
            muted: self.is_closed() || !is_here,
            deafened: self.deafened || !self.has_output,
        }
    }

    /// Whether nothing is sent, whatever is said.
    pub fn is_closed(&self) -> bool {
        self.muted || !self.has_input || self.mode.is_closed(self.pushed)
    }
}

/// What a person wants of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    pub percent: u32,
    pub ignored: bool,
}

impl Default for Person {
    fn default() -> Self {
        Self { percent: 100, ignored: false }
    }
}

/// A member of the room that is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub name: String,
    pub ssrc: u32,
    pub is_me: bool,
    pub muted: bool,
    pub deafened: bool,
    pub talking: bool,
    /// Not heard, by this person's wish.
    pub ignored: bool,
}

/// Figures of the call, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub connected: bool,
    pub tunnelled: bool,
    pub round_trip_us: Option<u64>,
    pub loss_percent: Option<f32>,
    pub jitter_ms: Option<f32>,
    pub playout_ms: Option<f32>,
    pub kbit_s: Option<u32>,
    pub xruns: Option<u64>,
}

/// All of it.
pub struct App {
    pub server: String,
    pub user: u64,
    pub name: String,
    pub views: Vec<View>,
    pub current: usize,
    pub rooms: Vec<Room>,
    pub members: Vec<Shown>,
    pub own: Own,
    pub people: BTreeMap<String, Person>,
    pub meters: Meters,
    pub status: Status,
    pub editor: Editor,
    pub keys: Keys,
    pub shows_help: bool,
    pub help_scroll: u16,
    acts: Vec<Act>,
}

impl App {
    /// Nothing is entered yet: the place of the program's and the server's own sentences.
    pub fn new(server: &str, user: u64, name: &str, keys: Keys) -> Self {
        Self {
            server: server.to_owned(),
            user,
            name: printable(name),
            views: vec![View::new(Place::Room(String::new()))],
            current: 0,
            rooms: Vec::new(),
            members: Vec::new(),
            own: Own::default(),
            people: BTreeMap::new(),
            meters: Meters::default(),
            status: Status::default(),
            editor: Editor::default(),
            keys,
            shows_help: false,
            help_scroll: 0,
            acts: Vec::new(),
        }
    }

    /// What is to be done now.
    pub fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// Whether the person ends.
    pub fn quits(&self) -> bool {
        self.acts.contains(&Act::Quit)
    }

    /// While nothing can be done: what is more than that is not taken, and told.
    pub fn bound_acts(&mut self, now_ms: u64) {
        if self.acts.len() > ACTS_MAX {
            self.acts.truncate(ACTS_MAX);
            self.tell(Kind::Problem, now_ms, "too much waits for the connection: the last of it was not taken");
        }
    }

    pub fn view(&self) -> &View {
        &self.views[self.current]
    }

    fn view_mut(&mut self) -> &mut View {
        &mut self.views[self.current]
    }

    /// The room that is looked at.
    pub fn room(&self) -> Option<&str> {
        match &self.view().place {
            Place::Room(room) if !room.is_empty() => Some(room),
            _ => None,
        }
    }

    fn find(&mut self, place: &Place) -> Option<&mut View> {
        self.views.iter_mut().find(|view| view.place == *place)
    }

    /// The place's view; a new one if there is none, unless there are too many.
    pub fn open(&mut self, place: &Place) -> usize {
        if let Some(at) = self.views.iter().position(|view| view.place == *place) {
            return at;
        }
        if self.views.len() == PLACES_MAX {
            return 0;
        }
        let mut view = View::new(place.clone());
        view.asked = true;
        self.views.push(view);
        self.acts.push(Act::History(place.clone(), 0));
        self.views.len() - 1
    }

    /// Looks at a place.
    pub fn look_at(&mut self, at: usize) {
        if at != self.current {
            self.view_mut().look_away();
        }
        self.current = at.min(self.views.len() - 1);
        self.view_mut().look();
        self.mark_seen();
    }

    fn mark_seen(&mut self) {
        let view = self.view();
        let (place, newest) = (view.place.clone(), view.newest());
        if newest > 0 && view.scroll == 0 {
            self.acts.push(Act::Seen(place, newest));
        }
    }

    /// Tells the person something where it looks.
    pub fn tell(&mut self, kind: Kind, now_ms: u64, text: &str) {
        self.view_mut().tell(kind, now_ms, text);
    }

    /// The session is in a room.
    pub fn entered(&mut self, room: &str, now_ms: u64) {
        let place = Place::Room(room.to_owned());
        let at = self.open(&place);
        self.views[at].entered();
        self.own.room = Some(room.to_owned());
        self.acts.push(Act::Voice);
        self.look_at(at);
        self.tell(Kind::Notice, now_ms, &format!("you are in {room}"));
    }

    /// It is not in it any more.
    pub fn left(&mut self, room: &str, now_ms: u64, text: &str) {
        let place = Place::Room(room.to_owned());
        if let Some(view) = self.find(&place) {
            view.is_joined = false;
            view.tell(Kind::Notice, now_ms, text);
        }
        if self.own.room.as_deref() == Some(room) {
            // Voice goes to another room that the session is in, or nowhere.
            let other = self.views.iter().find(|view| view.is_joined);
            self.own.room = other.and_then(|view| match &view.place {
                Place::Room(room) => Some(room.clone()),
                Place::Person(_) => None,
            });
            self.acts.push(Act::Voice);
        }
    }

    /// Something happened.
    pub fn event(&mut self, event: &Event, now_ms: u64) {
        match event {
            Event::Chat(line) => self.line(&Place::Room(line.room_id.clone()), line),
            Event::Direct(line) => {
                let other = if line.user_id == self.user { &line.to } else { &line.username };
                self.line(&Place::Person(other.clone()), line);
            }
            Event::ChatChanged(line) => {
                let user = self.user;
                for view in &mut self.views {
                    let is_it = match &view.place {
                        Place::Room(room) => *room == line.room_id && line.to.is_empty(),
                        Place::Person(name) => *name == line.to || *name == line.username,
                    };
                    if is_it {
                        view.change(line, user);
                    }
                }
            }
            Event::Member { room, change, member } => self.member(room, *change, &member.username, now_ms),
            Event::Rejoined { room } => {
                self.own.room.get_or_insert_with(|| room.to_string());
                self.acts.push(Act::Voice);
            }
            Event::Moved { room } => {
                self.entered(room, now_ms);
                self.tell(Kind::Notice, now_ms, &format!("you were moved to {room}"));
            }
            Event::RoomLost { room, message } => self.left(room, now_ms, message),
            Event::Reported(report) => {
                let text = format!("{} reports {}: {}", report.by, report.target, report.reason);
                self.tell(Kind::Problem, now_ms, &text);
                self.acts.push(Act::Bell);
            }
            Event::Notice { message, .. } => self.tell(Kind::Notice, now_ms, &format!("the server says: {message}")),
            _ => {}
        }
    }

    fn member(&mut self, room: &str, change: MemberChange, name: &str, now_ms: u64) {
        let verb = match change {
            MemberChange::Joined => "came",
            MemberChange::Left => "left",
            MemberChange::Changed => return,
        };
        let is_small = self.members.len() <= TELL_MEMBERS_MAX;
        if let Some(view) = self.find(&Place::Room(room.to_owned())).filter(|_| is_small) {
            view.tell(Kind::Notice, now_ms, &format!("{name} {verb}"));
        }
    }

    fn line(&mut self, place: &Place, line: &ChatMsg) {
        let at = self.open(place);
        let looked_at = at == self.current && self.views[at].scroll == 0;
        let before = self.views[at].mentions;
        let user = self.user;
        self.views[at].add(line, user, looked_at);
        let is_for_me = self.views[at].mentions > before || matches!(place, Place::Person(_));
        if is_for_me && line.user_id != user && !looked_at {
            self.acts.push(Act::Bell);
        }
        if looked_at {
            self.mark_seen();
        }
    }

    /// A line that this person said is stored.
    pub fn stored(&mut self, place: &Place, line: &ChatMsg) {
        let user = self.user;
        let at = self.open(place);
        self.views[at].add(line, user, true);
    }

    /// Words that complete the one at the cursor.
    fn completions(&self) -> Vec<String> {
        let (before, typed) = self.editor.to_complete();
        let rooms: Vec<String> = self.rooms.iter().map(|room| room.room_id.clone()).collect();
        let mut people: Vec<String> = self.members.iter().map(|member| member.name.clone()).collect();
        people.dedup();
        slash::completions(before, typed, &rooms, &people)
    }

    pub fn complete(&mut self) {
        let words = self.completions();
        self.editor.complete(&words);
    }

    /// A key that is for an action.
    pub fn action(&mut self, action: Action) {
        match action {
            Action::Help => (self.shows_help, self.help_scroll) = (!self.shows_help, 0),
            Action::Mute => self.set_muted(!self.own.muted),
            Action::Deafen => self.set_deafened(!self.own.deafened),
            // Where the release is told `run` says so; else it is pressed again.
            Action::Talk => self.push(!self.own.pushed),
            Action::TalkMode => self.set_mode(self.own.mode.next()),
            Action::Next => self.look_at((self.current + 1) % self.views.len()),
            Action::Previous => self.look_at((self.current + self.views.len() - 1) % self.views.len()),
            Action::Unread => {
                let count = self.views.len();
                let after = (1..count).map(|step| (self.current + step) % count);
                if let Some(at) = after.into_iter().find(|at| self.views[*at].unread > 0) {
                    self.look_at(at);
                }
            }
            Action::ScrollUp if self.shows_help => self.help_scroll += SCROLL_ROWS as u16 / 2,
            Action::ScrollDown if self.shows_help => {
                self.help_scroll = self.help_scroll.saturating_sub(SCROLL_ROWS as u16 / 2);
            }
            Action::ScrollUp => self.scroll_up(SCROLL_ROWS),
            Action::ScrollDown => self.scroll_down(SCROLL_ROWS),
            Action::Newest => {
                self.view_mut().scroll = 0;
                self.look_at(self.current);
            }
            Action::Redraw => self.acts.push(Act::Redraw),
            Action::Quit => self.acts.push(Act::Quit),
        }
    }

    /// Scrolls back, and fetches older lines in time. Drawing bounds it by the lines there are.
    pub fn scroll_up(&mut self, rows: usize) {
        let view = self.view_mut();
        view.scroll += rows;
        if let Some(before) = view.fetch_before() {
            view.asked = true;
            let place = view.place.clone();
            self.acts.push(Act::History(place, before));
        }
    }

    pub fn scroll_down(&mut self, rows: usize) {
        self.view_mut().scroll = self.view().scroll.saturating_sub(rows);
        self.look_at(self.current);
    }

    /// Looks at the conversation with somebody.
    pub fn talk_to(&mut self, name: String) {
        let at = self.open(&Place::Person(name));
        self.look_at(at);
    }

    /// Goes to a room that is there.
    pub fn enter_room(&mut self, room: String) {
        self.acts.push(Act::Join { room, password: String::new(), create: false });
    }

    pub fn set_muted(&mut self, muted: bool) {
        self.own.muted = muted;
        self.acts.push(Act::Voice);
    }

    pub fn set_deafened(&mut self, deafened: bool) {
        self.own.deafened = deafened;
        self.acts.push(Act::Voice);
    }

    /// The key to talk is pressed or let go.
    pub fn push(&mut self, pushed: bool) {
        self.own.pushed = pushed;
        self.acts.push(Act::Voice);
    }

    pub fn set_mode(&mut self, mode: TalkMode) {
        (self.own.mode, self.own.pushed) = (mode, false);
        self.acts.push(Act::Voice);
    }

    /// The line is complete.
    pub fn enter(&mut self, now_ms: u64) {
        let text = self.editor.take();
        if let Some(command) = text.strip_prefix('/').filter(|command| !command.starts_with('/')) {
            match slash::parse(command) {
                Ok(command) => self.slash(command, now_ms),
                Err(wrong) => self.tell(Kind::Problem, now_ms, &wrong),
            }
            return;
        }
        // Two slashes are one.
        let text = text.strip_prefix('/').unwrap_or(&text).to_owned();
        if text.trim().is_empty() {
            return;
        }
        let view = self.view();
        match &view.place {
            Place::Room(_) if !view.is_joined => {
                let text = "you are in no room here: /join ROOM (Tab completes it; the rooms are on the left)";
                self.tell(Kind::Problem, now_ms, text);
            }
            place => self.acts.push(Act::Say(place.clone(), text)),
        }
        self.view_mut().scroll = 0;
    }

    fn slash(&mut self, command: Slash, now_ms: u64) {
        match command {
            Slash::Join { room, password } => self.acts.push(Act::Join { room, password, create: false }),
            Slash::Create(room) => self.acts.push(Act::Join { room, password: String::new(), create: true }),
            Slash::Leave(room) => match room.or_else(|| self.room().map(str::to_owned)) {
                Some(room) => self.acts.push(Act::Leave(room)),
                None => self.tell(Kind::Problem, now_ms, "which room? /leave ROOM"),
            },
            Slash::Rooms => self.acts.push(Act::ListRooms),
            Slash::Message { name, text } => {
                self.talk_to(name.clone());
                self.acts.push(Act::Say(Place::Person(name), text));
            }
            Slash::Close => {
                if matches!(self.view().place, Place::Person(_)) {
                    self.views.remove(self.current);
                    self.current = 0;
                    self.look_at(self.views.len() - 1);
                } else {
                    self.tell(Kind::Problem, now_ms, "this is no conversation: /leave leaves a room");
                }
            }
            Slash::Mute(muted) => self.set_muted(muted),
            Slash::Deafen(deafened) => self.set_deafened(deafened),
            Slash::Talk(mode) => self.set_mode(mode),
            Slash::Threshold(threshold) => {
                self.own.threshold = threshold;
                self.acts.push(Act::Voice);
                self.tell(Kind::Notice, now_ms, &microphone::threshold_text(&self.own));
            }
            Slash::Volume { name, percent } => self.want(&name, now_ms, |person| person.percent = percent),
            Slash::Ignore { name, ignored } => self.want(&name, now_ms, |person| person.ignored = ignored),
            Slash::Kick { name, reason } => self.in_room(now_ms, |room| Act::Kick { room, name, reason }),
            Slash::ServerMute { name, muted } => self.in_room(now_ms, |room| Act::ServerMute { room, name, muted }),
            Slash::Edit(text) => self.change_last(Some(text), now_ms),
            Slash::Delete => self.change_last(None, now_ms),
            Slash::Help => self.shows_help = true,
            Slash::Quit => self.acts.push(Act::Quit),
        }
    }

    /// What this person wants of somebody, by name.
    fn want(&mut self, name: &str, now_ms: u64, change: impl FnOnce(&mut Person)) {
        let person = self.people.entry(name.to_lowercase()).or_default();
        change(person);
        let now = *person;
        if now == Person::default() {
            self.people.remove(&name.to_lowercase());
        }
        let heard = if now.ignored { "is not heard".to_owned() } else { format!("is heard at {} %", now.percent) };
        self.tell(Kind::Notice, now_ms, &format!("{name} {heard}"));
        self.acts.push(Act::People);
    }

    fn in_room(&mut self, now_ms: u64, act: impl FnOnce(String) -> Act) {
        match self.room().map(str::to_owned) {
            Some(room) => self.acts.push(act(room)),
            None => self.tell(Kind::Problem, now_ms, "look at a room first: this is about somebody in it"),
        }
    }

    fn change_last(&mut self, text: Option<String>, now_ms: u64) {
        let view = self.view();
        let own = view.lines().rev().find(|line| line.kind == Kind::Own).map(|line| line.id);
        match own {
            Some(line) => self.acts.push(Act::Change { place: view.place.clone(), line, text }),
            None => self.tell(Kind::Problem, now_ms, "there is no line of yours here"),
        }
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
