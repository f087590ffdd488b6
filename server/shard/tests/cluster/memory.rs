//! Chat as the store keeps it, in memory: lines, direct lines, what was seen.

use std::collections::BTreeMap;

use echomesh_proto::control::{ChatMsg, Role};
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::StoreOutcome;
use echomesh_shard::chat_jobs::{
    ChatOutcome, ChatRead, ChatWrite, FoundLine, From, Mark, Place, Sweep, UnreadView, View,
};

/// Key to number, name, password and role.
pub type Accounts = BTreeMap<String, (u64, String, String, Role)>;

/// A line; its number is its place from 1, in rooms and in conversations each.
#[derive(Clone, Debug)]
pub struct Stored {
    pub place: Place,
    pub user: u64,
    pub client_id: String,
    pub content: String,
    pub mentions: Vec<u64>,
    pub time_ms: u64,
    pub edited_ms: u64,
    pub deleted: bool,
}

#[derive(Debug, Default)]
pub struct Memory {
    pub lines: Vec<Stored>,
    pub direct: Vec<Stored>,
    pub seen: BTreeMap<(u64, View), u64>,
    /// Jobs of marks, and how many marks each had.
    pub mark_jobs: Vec<usize>,
    pub sweeps: Vec<Sweep>,
}

fn name_of(accounts: &Accounts, user: u64) -> String {
    accounts.values().find(|account| account.0 == user).map(|account| account.1.clone()).unwrap_or_default()
}

impl Memory {
    pub fn append(
        &mut self,
        room: RoomNumber,
        user: UserId,
        client_id: String,
        content: String,
        mentions: Vec<u64>,
        time_ms: u64,
    ) -> StoreOutcome {
        let same = |line: &Stored| !client_id.is_empty() && line.user == user.0 && line.client_id == client_id;
        if let Some(at) = self.lines.iter().position(same) {
            let Stored { place, content, mentions, time_ms, edited_ms, deleted, .. } = self.lines[at].clone();
            let Place::Room(room) = place else { panic!("a line of a room") };
            let message_id = at as u64 + 1;
            return StoreOutcome::ChatDuplicate { message_id, room, content, mentions, time_ms, edited_ms, deleted };
        }
        let (user, place) = (user.0, Place::Room(room));
        self.lines.push(Stored { place, user, client_id, content, mentions, time_ms, edited_ms: 0, deleted: false });
        StoreOutcome::ChatStored { message_id: self.lines.len() as u64 }
    }

    fn line(&mut self, place: Place, message_id: u64) -> Option<&mut Stored> {
        let lines = if let Place::Room(_) = place { &mut self.lines } else { &mut self.direct };
        lines.get_mut((message_id as usize).checked_sub(1)?).filter(|line| line.place == place)
    }

    pub fn delete(&mut self, place: Place, message_id: u64, time_ms: u64) -> bool {
        let Some(line) = self.line(place, message_id).filter(|line| !line.deleted) else { return false };
        (line.deleted, line.edited_ms) = (true, time_ms);
        line.content.clear();
        line.mentions.clear();
        true
    }

    pub fn write(&mut self, accounts: &Accounts, write: ChatWrite) -> StoreOutcome {
        StoreOutcome::Chat(match write {
            ChatWrite::AppendDirect { from, to, client_id, content, time_ms } => {
                let same = |line: &Stored| !client_id.is_empty() && line.user == from.0 && line.client_id == client_id;
                if let Some(at) = self.direct.iter().position(same) {
                    let line = self.shown(accounts, &self.direct[at], at, from, "");
                    return StoreOutcome::Chat(ChatOutcome::DirectDuplicate(Box::new(line)));
                }
                let (user, place) = (from.0, Place::conversation(from, to));
                let (mentions, edited_ms, deleted) = (Vec::new(), 0, false);
                self.direct.push(Stored { place, user, client_id, content, mentions, time_ms, edited_ms, deleted });
                let from = View::With(name_of(accounts, from.0).to_lowercase());
                self.seen.entry((to.0, from)).or_insert(0);
                ChatOutcome::DirectStored { message_id: self.direct.len() as u64 }
            }
            ChatWrite::FindLine { place, message_id } => {
                let Some(line) = self.line(place, message_id) else { return StoreOutcome::NotFound };
                let (user, time_ms, deleted) = (line.user, line.time_ms, line.deleted);
                let role = accounts.values().find(|account| account.0 == user).map_or(Role::Guest, |of| of.3);
                let username = name_of(accounts, user);
                ChatOutcome::Line(FoundLine { user: UserId(user), username, role, time_ms, deleted })
            }
            ChatWrite::ChangeLine { place, message_id, content: None, time_ms, .. } => {
                if !self.delete(place, message_id, time_ms) {
                    return StoreOutcome::NotFound;
                }
                ChatOutcome::Changed
            }
            ChatWrite::ChangeLine { place, message_id, content: Some(content), mentions, time_ms } => {
                match self.line(place, message_id).filter(|line| !line.deleted) {
                    Some(line) => (line.content, line.mentions, line.edited_ms) = (content, mentions, time_ms),
                    None => return StoreOutcome::NotFound,
                }
                ChatOutcome::Changed
            }
            ChatWrite::Mark(marks) => {
                self.mark_jobs.push(marks.len());
                for Mark { user, view, seen } in marks {
                    let stored = self.seen.entry((user.0, view)).or_default();
                    *stored = seen.max(*stored);
                }
                ChatOutcome::Marked
            }
            ChatWrite::Sweep(sweep) => {
                self.sweeps.push(sweep);
                // As if there were three steps.
                ChatOutcome::Swept { deleted: 2, position: (sweep.position + 1) % 3 }
            }
        })
    }

    fn shown(&self, accounts: &Accounts, line: &Stored, at: usize, user: UserId, room: &str) -> ChatMsg {
        let line = line.clone();
        let to = match line.place {
            Place::Direct(low, high) => name_of(accounts, low.0 + high.0 - line.user),
            Place::Room(_) => String::new(),
        };
        ChatMsg {
            user_id: line.user,
            username: name_of(accounts, line.user),
            room_id: room.to_owned(),
            client_id: if line.user == user.0 { line.client_id } else { String::new() },
            content: line.content,
            message_id: at as u64 + 1,
            time_ms: line.time_ms,
            edited_ms: line.edited_ms,
            deleted: line.deleted,
            mentions: line.mentions,
            to,
        }
    }

    pub fn read(&self, accounts: &Accounts, read: ChatRead) -> StoreOutcome {
        match read {
            ChatRead::History { user, view, room_name, from, count } => {
                let place = match &view {
                    Some(View::Room(room)) => Some(Place::Room(*room)),
                    Some(View::With(key)) => match accounts.get(key) {
                        Some(account) => Some(Place::conversation(user, UserId(account.0))),
                        None => return StoreOutcome::NotFound,
                    },
                    None => None,
                };
                let lines = if matches!(place, Some(Place::Room(_))) { &self.lines } else { &self.direct };
                let is_it = |line: &Stored| match (place, line.place) {
                    (Some(place), of) => place == of,
                    (None, Place::Direct(low, high)) => user == low || user == high,
                    (None, Place::Room(_)) => false,
                };
                let mut all: Vec<ChatMsg> = lines
                    .iter()
                    .enumerate()
                    .filter(|(_, line)| is_it(line))
                    .map(|(at, line)| self.shown(accounts, line, at, user, &room_name))
                    .collect();
                match from {
                    From::Before(id) => {
                        all.retain(|line| id == 0 || line.message_id < id);
                        all.reverse();
                    }
                    From::After(id) => all.retain(|line| line.message_id > id),
                }
                let more = all.len() > count as usize;
                all.truncate(count as usize);
                StoreOutcome::Chat(ChatOutcome::History { lines: all, more })
            }
            ChatRead::Unread { user, view, fresh } => {
                let mut seen: BTreeMap<View, u64> = self
                    .seen
                    .iter()
                    .filter(|((of, _), _)| *of == user.0)
                    .map(|((_, view), id)| (view.clone(), *id))
                    .collect();
                for mark in fresh {
                    let stored = seen.entry(mark.view).or_default();
                    *stored = mark.seen.max(*stored);
                }
                let views: Vec<(View, u64)> = match view {
                    Some(view) => vec![(view.clone(), seen.get(&view).copied().unwrap_or(0))],
                    None => seen.into_iter().collect(),
                };
                let list =
                    views.into_iter().filter_map(|(view, seen)| self.count(accounts, user, &view, seen)).collect();
                StoreOutcome::Chat(ChatOutcome::Unread { list, more: false })
            }
        }
    }

    fn count(&self, accounts: &Accounts, user: UserId, view: &View, seen: u64) -> Option<UnreadView> {
        let (place, room, username) = match view {
            View::Room(room) => (Place::Room(*room), Some(*room), String::new()),
            View::With(key) => {
                let account = accounts.get(key)?;
                (Place::conversation(user, UserId(account.0)), None, account.1.clone())
            }
        };
        let lines = if room.is_some() { &self.lines } else { &self.direct };
        let all = || lines.iter().zip(1_u64..).filter(|(line, _)| line.place == place);
        let newer = || all().filter(|(line, id)| *id > seen && line.user != user.0 && !line.deleted);
        Some(UnreadView {
            room,
            username,
            count: newer().count() as u32,
            mentions: newer().filter(|(line, _)| line.mentions.contains(&user.0)).count() as u32,
            seen,
            newest: all().map(|(_, id)| id).max().unwrap_or(0),
        })
    }
}
