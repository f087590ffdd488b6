//! A simulated store: accounts, rooms and chat lines in memory, with the promises of the real one.

use std::collections::{BTreeMap, BTreeSet};

use echomesh_proto::control::{ChatMsg, Role};
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::accounts::{AccountsJob, AccountsOutcome, OperatorAct};
use echomesh_shard::chat_jobs::{ChatOutcome, ChatRead, ChatWrite, FoundLine, From, Place, View};
use echomesh_shard::rights::{Holder, Standing};
use echomesh_shard::{Act, SavedSession, StoreJob, StoreOutcome, StoredRoom};

/// Lines of a page at most.
const PAGE: usize = 5;

/// A line as it was stored; its id is its place from 1.
#[derive(Debug)]
pub struct Stored {
    /// Where it was said.
    pub place: Place,
    pub user: UserId,
    client_id: String,
    time_ms: u64,
    /// What was said.
    pub content: String,
    edited_ms: u64,
    deleted: bool,
    /// It was told that it could not be stored: so nobody was told it when it was.
    pub is_doubtful: bool,
}

impl Stored {
    fn new(place: Place, user: UserId, client_id: String, content: String, time_ms: u64) -> Self {
        Self { place, user, client_id, time_ms, content, edited_ms: 0, deleted: false, is_doubtful: false }
    }
}

/// What is on the simulated disk.
#[derive(Debug, Default)]
pub struct Store {
    accounts: BTreeMap<String, (UserId, String, Role)>,
    /// Rooms by key.
    pub rooms: BTreeMap<String, StoredRoom>,
    numbers: u64,
    /// Rooms that nobody knows: it was told that they could not be stored.
    pub unknown: BTreeSet<RoomNumber>,
    /// Rooms that ended and whose lines are not deleted. Lines are kept here all the same, to be checked.
    ended: Vec<RoomNumber>,
    /// With the epoch that its account had when it was first written.
    sessions: BTreeMap<u64, (u64, SavedSession)>,
    /// How often each account's sessions were ended by a command.
    epochs: BTreeMap<UserId, u64>,
    /// Lines, oldest first.
    pub lines: Vec<Stored>,
    /// Direct lines, likewise.
    pub direct: Vec<Stored>,
    /// How many there were when an account's client asked last where they begin for it: those are its history.
    begun: BTreeMap<UserId, u64>,
    /// Acts of moderators; what they change is the kernel's to remember.
    acts: u64,
    /// What commands on the machine did since the server started, oldest first, and how many before that.
    operator_acts: Vec<OperatorAct>,
    acts_before: u64,
}

impl Store {
    /// Does one job, and says that it failed.
    pub fn carry_out_and_fail(&mut self, job: StoreJob) -> StoreOutcome {
        let (lines, direct) = (self.lines.len(), self.direct.len());
        if let StoreOutcome::RoomCreated { room } = self.carry_out(job) {
            self.unknown.insert(room);
        }
        for line in self.lines[lines..].iter_mut().chain(&mut self.direct[direct..]) {
            line.is_doubtful = true;
        }
        StoreOutcome::Failed
    }

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
                // The first client moves others, once it has logged in again.
                let role = if key == "c0" { Role::Moderator } else { Role::Member };
                self.accounts.insert(key, (user, password_hash, role));
                StoreOutcome::AccountCreated { user }
            }
            StoreJob::CreateRoom { key, name, properties, creator, .. } => {
                if let Some(taken) = self.rooms.get(&key) {
                    return StoreOutcome::RoomExists { room: taken.number };
                }
                self.numbers += 1;
                let number = RoomNumber(self.numbers);
                let standings = Vec::new();
                self.rooms.insert(
                    key.clone(),
                    StoredRoom { number, key, name, properties, creator, newest_line: 0, standings },
                );
                StoreOutcome::RoomCreated { room: number }
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
                self.lines.push(Stored::new(place, user, client_id, content, time_ms));
                StoreOutcome::ChatStored { message_id: self.lines.len() as u64 }
            }
            StoreJob::EndRoom { room } => {
                self.end(room);
                StoreOutcome::Swept { is_done: false }
            }
            StoreJob::SweepRoom { room } => {
                self.ended.retain(|ended| *ended != room);
                StoreOutcome::Swept { is_done: true }
            }
            StoreJob::SaveSessions { sessions, gone } => {
                for session in sessions {
                    let epoch = self.epochs.get(&session.user).copied().unwrap_or_default();
                    let epoch = self.sessions.get(&session.id.0).map_or(epoch, |(first, _)| *first);
                    self.sessions.insert(session.id.0, (epoch, session));
                }
                self.sessions.retain(|id, _| !gone.iter().any(|gone| gone.0 == *id));
                StoreOutcome::SessionsSaved
            }
            StoreJob::Claim { .. } => StoreOutcome::Denied,
            StoreJob::Moderate(logged) => {
                self.act(&logged.act);
                self.acts += 1;
                StoreOutcome::Moderated { id: self.acts }
            }
            StoreJob::Chat(write) => self.write(*write),
            StoreJob::ReadChat(read) => self.read(*read),
            StoreJob::ReadAudit { .. } => StoreOutcome::Audit(Vec::new()),
            StoreJob::Accounts(job) => self.accounts_job(*job),
        }
    }

    fn act(&mut self, act: &Act) {
        let (room, holder, change): (_, _, &dyn Fn(Standing) -> Standing) = match act {
            Act::SetRoom { room, properties } => {
                if let Some(stored) = self.rooms.values_mut().find(|stored| stored.number == *room) {
                    stored.properties.clone_from(properties);
                }
                return;
            }
            Act::DeleteRoom { room } => return self.end(*room),
            Act::SetRights { room, holder, allow, deny } => {
                (room, *holder, &|old| Standing { allow: *allow, deny: *deny, ..old })
            }
            Act::Restrain { room, user, muted, deafened } => (room, Holder::Account(*user), &|old| Standing {
                muted: muted.unwrap_or(old.muted),
                deafened: deafened.unwrap_or(old.deafened),
                ..old
            }),
            Act::Invite { room, user, invited } => (room, Holder::Account(*user), &|old| old.invited(*invited)),
            Act::DeleteLine { room, message_id, .. } => {
                if let Some(line) = self.line(Place::Room(*room), *message_id) {
                    line.deleted = true;
                }
                return;
            }
            Act::Note | Act::SetRole { .. } | Act::Ban(_) | Act::Unban { .. } => return,
        };
        let Some(stored) = self.rooms.values_mut().find(|stored| stored.number == *room) else { return };
        match stored.standings.iter_mut().find(|(other, _)| *other == holder) {
            Some((_, standing)) => *standing = change(*standing),
            None => stored.standings.push((holder, change(Standing::default()))),
        }
    }

    fn end(&mut self, room: RoomNumber) {
        self.rooms.retain(|_, stored| stored.number != room);
        self.ended.push(room);
    }

    /// A start: temporary rooms end. Gives those whose lines are still there.
    pub fn begin(&mut self) -> Vec<RoomNumber> {
        let temporary = self.rooms.values().filter(|room| room.properties.temporary).map(|room| room.number);
        for room in temporary.collect::<Vec<_>>() {
            self.end(room);
        }
        self.unknown.clear();
        self.acts_before += self.operator_acts.len() as u64;
        self.operator_acts.clear();
        self.ended.clone()
    }

    /// A command ends an account's sessions.
    pub fn sign_out(&mut self, user: UserId) {
        *self.epochs.entry(user).or_default() += 1;
        self.operator_acts.push(OperatorAct::SignOut { user });
    }

    /// All rooms, in order.
    pub fn rooms(&self) -> Vec<StoredRoom> {
        let newest = |room: &StoredRoom| {
            let of_it = |line: &Stored| line.place == Place::Room(room.number);
            self.lines.iter().rposition(of_it).map_or(0, |at| at as u64 + 1)
        };
        let loaded = |room: &StoredRoom| StoredRoom { newest_line: newest(room), ..room.clone() };
        let mut rooms: Vec<StoredRoom> = self.rooms.values().map(loaded).collect();
        rooms.sort_by_key(|room| room.number);
        rooms
    }

    /// Sessions that may be resumed, with what their accounts are now.
    pub fn sessions(&self) -> Vec<SavedSession> {
        let role = |user| self.accounts.values().find(|account| account.0 == user).map(|account| account.2);
        let is_current = |(epoch, session): &&(u64, SavedSession)| {
            self.epochs.get(&session.user).copied().unwrap_or_default() == *epoch
        };
        let saved = |session: &SavedSession| Some(SavedSession { role: role(session.user)?, ..session.clone() });
        self.sessions.values().filter(is_current).filter_map(|(_, session)| saved(session)).collect()
    }

    /// Clients here have neither tokens nor invitations.
    fn accounts_job(&self, job: AccountsJob) -> StoreOutcome {
        match job {
            AccountsJob::OperatorActs { after, count } => {
                let acts = (self.acts_before + 1..).zip(&self.operator_acts).filter(|(id, _)| *id > after);
                let acts = acts.take(count as usize).map(|(id, act)| (id, act.clone())).collect();
                StoreOutcome::Accounts(AccountsOutcome::OperatorActs(acts))
            }
            _ => StoreOutcome::NotFound,
        }
    }

    /// The last direct line that a client need not be told live, because it was stored before the client came: one whose
    /// announcement died with the server is in the history, and unread (PROTOCOL M85).
    pub fn direct_history(&self, account: &str) -> u64 {
        self.user(account).and_then(|user| self.begun.get(&user)).copied().unwrap_or(0)
    }

    /// The account of a name, if it is there.
    pub fn user(&self, name: &str) -> Option<UserId> {
        self.accounts.get(name).map(|(user, ..)| *user)
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
                self.direct.push(Stored::new(place, user, client_id, content, time_ms));
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
    fn read(&mut self, read: ChatRead) -> StoreOutcome {
        let ChatRead::History { user, view, room_name, from, count } = read else {
            return StoreOutcome::Chat(ChatOutcome::Unread { list: Vec::new(), more: false });
        };
        if view.is_none() && from == From::Before(0) {
            self.begun.insert(user, self.direct.len() as u64);
        }
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
