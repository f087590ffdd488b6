//! What is shown of one place, a room or a person: its lines, what is unread, how far back one looks.
//!
//! Not how it is drawn. In: lines and notices as they come. Out: lines in order.
//! Bounds: `LINES_MAX` lines; older ones are forgotten and can be fetched again.

use std::collections::VecDeque;

use echomesh_proto::control::ChatMsg;

use crate::cli::commands::printable;
use crate::cli::outgoing::Place;

/// Lines kept of a place.
const LINES_MAX: usize = 2_000;

/// Lines in which one that comes is looked for: a page and what came after it.
const PAGE_LINES_MAX: usize = 200;

/// Lines between the lowest fetched one and the first kept, so that what is fetched is not forgotten at once.
const FETCH_AT_MOST: usize = LINES_MAX - 200;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Someone said it.
    Said,
    /// This account did.
    Own,
    /// Said by someone, and it names this account.
    Mention,
    /// Of this program or the server, to this person.
    Notice,
    /// Likewise, and something went wrong.
    Problem,
}

/// A line as it is shown: all of it printable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its number; 0: a notice.
    pub id: u64,
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Empty for a notice.
    pub author: String,
    pub text: String,
    pub kind: Kind,
}

/// A place.
#[derive(Debug)]
pub struct View {
    pub place: Place,
    lines: VecDeque<Shown>,
    /// Lines by others that came while it was not looked at, and those that name this account.
    pub unread: u32,
    pub mentions: u32,
    /// The first of them: a mark is drawn before it.
    pub unread_from: Option<u64>,
    /// Rows that the person has scrolled back.
    pub scroll: usize,
    /// A room that this session is in.
    pub is_joined: bool,
    /// Nothing older is there; a page was asked for.
    pub has_start: bool,
    pub asked: bool,
}

impl View {
    pub fn new(place: Place) -> Self {
        Self {
            place,
            lines: VecDeque::new(),
            unread: 0,
            mentions: 0,
            unread_from: None,
            scroll: 0,
            is_joined: false,
            has_start: false,
            asked: false,
        }
    }

    /// As people call it.
    pub fn name(&self) -> String {
        match &self.place {
            Place::Room(name) if name.is_empty() => "server".to_owned(),
            Place::Room(name) => printable(name),
            Place::Person(name) => format!("@{}", printable(name)),
        }
    }

    /// Oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &Shown> {
        self.lines.iter()
    }

    /// Number of the newest line; 0: none.
    pub fn newest(&self) -> u64 {
        self.lines.iter().rev().find(|line| line.id > 0).map_or(0, |line| line.id)
    }

    /// Where a page of older lines ends, if one is to be had.
    pub fn fetch_before(&self) -> Option<u64> {
        let may = !self.asked && !self.has_start && self.lines.len() < FETCH_AT_MOST;
        may.then(|| self.lines.iter().find(|line| line.id > 0).map_or(0, |line| line.id))
    }

    /// A new line, behind all others. `looked_at`: the person sees it.
    pub fn add(&mut self, line: &ChatMsg, user: u64, looked_at: bool) {
        let shown = shown(line, user);
        // One that was fetched came live, too. Numbers may begin anew: another database, so they are not compared.
        if self.lines.iter().rev().take(PAGE_LINES_MAX).any(|other| other.id == shown.id) {
            return;
        }
        if matches!(shown.kind, Kind::Said | Kind::Mention) && !looked_at {
            self.unread += 1;
            self.mentions += u32::from(shown.kind == Kind::Mention);
            self.unread_from.get_or_insert(shown.id);
        }
        self.push(shown);
    }

    /// Something to tell the person, now.
    pub fn tell(&mut self, kind: Kind, time_ms: u64, text: &str) {
        self.push(Shown { id: 0, time_ms, author: String::new(), text: printable(text), kind });
    }

    fn push(&mut self, line: Shown) {
        self.lines.push_back(line);
        if self.lines.len() > LINES_MAX {
            self.lines.pop_front();
            self.has_start = false;
        }
    }

    /// A page of older lines, newest first.
    pub fn page(&mut self, lines: &[ChatMsg], more: bool, user: u64) {
        self.asked = false;
        self.has_start = !more;
        let oldest = self.lines.iter().find(|line| line.id > 0).map_or(u64::MAX, |line| line.id);
        for line in lines.iter().filter(|line| line.message_id < oldest) {
            self.lines.push_front(shown(line, user));
        }
    }

    /// A line that is another now.
    pub fn change(&mut self, line: &ChatMsg, user: u64) {
        if let Some(old) = self.lines.iter_mut().find(|old| old.id == line.message_id && old.id > 0) {
            *old = shown(line, user);
        }
    }

    /// The person looks at it.
    pub fn look(&mut self) {
        (self.unread, self.mentions) = (0, 0);
    }

    /// The person has looked at another place: what comes from now on is new.
    pub fn look_away(&mut self) {
        self.unread_from = None;
        self.scroll = 0;
    }

    /// The room is entered: lines are followed, with other numbers if the server has another database.
    pub fn entered(&mut self) {
        self.is_joined = true;
    }
}

/// A line for the screen.
fn shown(line: &ChatMsg, user: u64) -> Shown {
    let is_own = line.user_id == user && user != 0;
    let kind = match () {
        () if is_own => Kind::Own,
        () if line.mentions.contains(&user) => Kind::Mention,
        () => Kind::Said,
    };
    let author = if line.username.is_empty() { "(deleted account)".to_owned() } else { printable(&line.username) };
    let edited = if line.edited_ms > 0 && !line.deleted { " (edited)" } else { "" };
    let text = if line.deleted { "(deleted)".to_owned() } else { format!("{}{edited}", printable(&line.content)) };
    Shown { id: line.message_id, time_ms: line.time_ms, author, text, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u64, user_id: u64, mentions: &[u64]) -> ChatMsg {
        ChatMsg {
            message_id: id,
            user_id,
            username: format!("u{user_id}"),
            content: format!("line {id}"),
            mentions: mentions.to_vec(),
            ..ChatMsg::default()
        }
    }

    fn ids(view: &View) -> Vec<u64> {
        view.lines().map(|line| line.id).collect()
    }

    /// Goal: lines stand in their order whether they came live or by pages, once each; what is unread is others' alone.
    #[test]
    fn lines_stand_in_order_and_count_once() {
        let mut view = View::new(Place::Room("hall".into()));
        assert_eq!(view.fetch_before(), Some(0));
        view.add(&line(5, 2, &[]), 1, false);
        view.add(&line(6, 1, &[]), 1, false);
        view.tell(Kind::Notice, 0, "ann\u{1b}[2J joined");
        view.add(&line(7, 2, &[1]), 1, false);
        view.add(&line(7, 2, &[1]), 1, false);
        assert_eq!((view.unread, view.mentions, view.unread_from), (2, 1, Some(5)));
        assert!(view.lines().all(|line| !line.text.contains('\u{1b}')), "no escape sequence reaches the screen");
        assert_eq!(view.fetch_before(), Some(5));
        view.page(&[line(5, 2, &[]), line(4, 2, &[]), line(3, 2, &[])], true, 1);
        assert_eq!(ids(&view), [3, 4, 5, 6, 0, 7]);
        view.page(&[line(2, 2, &[])], false, 1);
        assert_eq!((view.fetch_before(), view.newest()), (None, 7));
        view.change(&ChatMsg { deleted: true, ..line(4, 2, &[]) }, 1);
        assert!(view.lines().any(|line| line.id == 4 && line.text == "(deleted)"));
        view.look();
        assert_eq!((view.unread, view.unread_from), (0, Some(5)), "the mark stays until one looks away");
        view.look_away();
        view.add(&line(8, 2, &[]), 1, true);
        assert_eq!((view.unread, view.unread_from), (0, None));
    }

    /// Goal: a place holds so many lines; what is forgotten can be fetched again.
    #[test]
    fn a_place_has_a_bound() {
        let mut view = View::new(Place::Room("hall".into()));
        view.page(&[], false, 1);
        for id in 1..=LINES_MAX as u64 + 5 {
            view.add(&line(id, 2, &[]), 1, true);
        }
        assert_eq!(view.lines().count(), LINES_MAX);
        assert!(!view.has_start);
    }
}
