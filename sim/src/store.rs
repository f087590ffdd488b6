//! A simulated store: accounts, rooms and chat lines in memory, with the promises of the real one.

use std::collections::BTreeMap;

use echomesh_proto::control::{ChatMsg, Role};
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::chat_jobs::{ChatOutcome, ChatRead, ChatWrite, FoundLine, From, Place, View};
use echomesh_shard::{StoreJob, StoreOutcome};

/// Lines of a page at most.
const PAGE: usize = 5;

/// A line as it was stored; its id is its place from 1.
#[derive(Debug)]
pub struct Stored {
    /// Where it was said.
    pub place: Place,
    user: UserId,
    client_id: String,
    time_ms: u64,
    /// What was said.
    pub content: String,
    edited_ms: u64,
    deleted: bool,
}

/// What is on the simulated disk.
#[derive(Debug, Default)]
pub struct Store {
    accounts: BTreeMap<String, (UserId, String, Role)>,
    /// Rooms by key.
    pub rooms: BTreeMap<String, RoomNumber>,
    /// Lines, oldest first.
    pub lines: Vec<Stored>,
    /// Direct lines, likewise.
    pub direct: Vec<Stored>,
    /// Acts of moderators; what they change is the kernel's to remember.
    acts: u64,
}

impl Store {
    /// Does one job; failures are the world's.
    pub fn carry_out(&mut self, job: StoreJob) -> StoreOutcome {
        match job {
            StoreJob::FindAccount { key } => match self.accounts.get(&key) {
                Some((user, hash, role)) => {
                    StoreOutcome::Account { user: *user, name: key, password_hash: hash.clone(), role: *role }
                }
                None => StoreOutcome::NotFound,
            },
            StoreJob::CreateAccount { key, password_hash, .. } => {
                if self.accounts.contains_key(&key) {
                    return StoreOutcome::Exists;
                }
                let user = UserId(self.accounts.len() as u64 + 1);
                self.accounts.insert(key, (user, password_hash, Role::Member));
                StoreOutcome::AccountCreated { user }
            }
            StoreJob::CreateRoom { key, .. } => {
                if self.rooms.contains_key(&key) {
                    return StoreOutcome::Exists;
                }
                let room = RoomNumber(self.rooms.len() as u64 + 1);
                self.rooms.insert(key, room);
                StoreOutcome::RoomCreated { room }
            }
            StoreJob::AppendChat { room, user, client_id, content, time_ms, .. } => {
                let same = |line: &Stored| !client_id.is_empty() && line.user == user && line.client_id == client_id;
                if let Some(at) = self.lines.iter().position(same) {
                    let Stored { content, time_ms, edited_ms, deleted, .. } = &self.lines[at];
                    let (message_id, content, mentions) = (at as u64 + 1, content.clone(), Vec::new());
                    let (time_ms, edited_ms, deleted) = (*time_ms, *edited_ms, *deleted);
                    return StoreOutcome::ChatDuplicate {
                        message_id,
                        room,
                        content,
                        mentions,
                        time_ms,
                        edited_ms,
                        deleted,
                    };
                }
                let place = Place::Room(room);
                self.lines.push(Stored { place, user, client_id, time_ms, content, edited_ms: 0, deleted: false });
                StoreOutcome::ChatStored { message_id: self.lines.len() as u64 }
            }
            StoreJob::Claim { .. } => StoreOutcome::Denied,
            StoreJob::Moderate(_) => {
                self.acts += 1;
                StoreOutcome::Moderated { id: self.acts }
            }
            StoreJob::Chat(write) => self.write(*write),
            StoreJob::ReadChat(read) => self.read(*read),
            StoreJob::ReadAudit { .. } => StoreOutcome::Audit(Vec::new()),
        }
    }

    fn write(&mut self, write: ChatWrite) -> StoreOutcome {
        StoreOutcome::Chat(match write {
            ChatWrite::AppendDirect { from, to, client_id, content, time_ms } => {
                let same = |line: &Stored| !client_id.is_empty() && line.user == from && line.client_id == client_id;
                if let Some(at) = self.direct.iter().position(same) {
                    let line = self.shown(&self.direct[at], at, from, "");
                    return StoreOutcome::Chat(ChatOutcome::DirectDuplicate(Box::new(line)));
                }
                let (place, user) = (Place::conversation(from, to), from);
                self.direct.push(Stored { place, user, client_id, time_ms, content, edited_ms: 0, deleted: false });
                ChatOutcome::DirectStored { message_id: self.direct.len() as u64 }
            }
            ChatWrite::FindLine { place, message_id } => match self.line(place, message_id) {
                Some(line) => {
                    let (user, time_ms, deleted) = (line.user, line.time_ms, line.deleted);
                    let (username, role) = (self.name(user), Role::Member);
                    ChatOutcome::Line(FoundLine { user, username, role, time_ms, deleted })
                }
                None => return StoreOutcome::NotFound,
            },
            // Its content stays for the checks.
            ChatWrite::ChangeLine { place, message_id, content, time_ms, .. } => {
                match self.line(place, message_id).filter(|line| !line.deleted) {
                    Some(line) => (line.edited_ms, line.deleted) = (time_ms, content.is_none()),
                    None => return StoreOutcome::NotFound,
                }
                ChatOutcome::Changed
            }
            ChatWrite::Mark(_) => ChatOutcome::Marked,
            ChatWrite::Sweep(_) => ChatOutcome::Swept { deleted: 0, position: 0 },
        })
    }

    fn line(&mut self, place: Place, message_id: u64) -> Option<&mut Stored> {
        let lines = if let Place::Room(_) = place { &mut self.lines } else { &mut self.direct };
        lines.get_mut((message_id as usize).checked_sub(1)?).filter(|line| line.place == place)
    }

    fn name(&self, user: UserId) -> String {
        let account = self.accounts.iter().find(|(_, account)| account.0 == user);
        account.map(|(key, _)| key.clone()).unwrap_or_default()
    }

    fn shown(&self, line: &Stored, at: usize, reader: UserId, room: &str) -> ChatMsg {
        ChatMsg {
            user_id: line.user.0,
            username: self.name(line.user),
            room_id: room.to_owned(),
            to: match line.place {
                Place::Direct(low, high) => self.name(UserId(low.0 + high.0 - line.user.0)),
                Place::Room(_) => String::new(),
            },
            client_id: if line.user == reader { line.client_id.clone() } else { String::new() },
            content: line.content.clone(),
            message_id: at as u64 + 1,
            time_ms: line.time_ms,
            edited_ms: line.edited_ms,
            deleted: line.deleted,
            mentions: Vec::new(),
        }
    }

    /// Pages are shorter than the real ones, so that several follow each other.
    fn read(&self, read: ChatRead) -> StoreOutcome {
        let ChatRead::History { user, view, room_name, from, count } = read else {
            return StoreOutcome::Chat(ChatOutcome::Unread { list: Vec::new(), more: false });
        };
        let lines = if let Some(View::Room(_)) = view { &self.lines } else { &self.direct };
        let is_it = |line: &Stored| match (&view, line.place) {
            (Some(View::Room(room)), place) => place == Place::Room(*room),
            (_, Place::Direct(low, high)) => low == user || high == user,
            (_, Place::Room(_)) => false,
        };
        let all = lines.iter().enumerate().filter(|(_, line)| is_it(line));
        let all = all.map(|(at, line)| self.shown(line, at, user, &room_name));
        let mut page: Vec<ChatMsg> = match from {
            From::After(id) => all.filter(|line| line.message_id > id).collect(),
            From::Before(id) => {
                let mut older: Vec<ChatMsg> = all.filter(|line| id == 0 || line.message_id < id).collect();
                older.reverse();
                older
            }
        };
        let count = (count as usize).min(PAGE);
        let more = page.len() > count;
        page.truncate(count);
        StoreOutcome::Chat(ChatOutcome::History { lines: page, more })
    }
}
