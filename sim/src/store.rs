//! A simulated store: accounts, rooms and chat lines in memory, with the promises of the real one.

use std::collections::BTreeMap;

use echomesh_proto::control::Role;
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::{StoreJob, StoreOutcome};

/// A line as it was stored; its id is its place from 1.
#[derive(Debug)]
pub struct Stored {
    /// Where it was said.
    pub room: RoomNumber,
    user: UserId,
    client_id: String,
    time_ms: u64,
    /// What was said.
    pub content: String,
}

/// What is on the simulated disk.
#[derive(Debug, Default)]
pub struct Store {
    accounts: BTreeMap<String, (UserId, String, Role)>,
    /// Rooms by key.
    pub rooms: BTreeMap<String, RoomNumber>,
    /// Lines, oldest first.
    pub lines: Vec<Stored>,
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
            StoreJob::AppendChat { room, user, client_id, content, time_ms } => {
                let same = |line: &Stored| !client_id.is_empty() && line.user == user && line.client_id == client_id;
                if let Some(at) = self.lines.iter().position(same) {
                    let Stored { room, content, time_ms, .. } = &self.lines[at];
                    let (message_id, content) = (at as u64 + 1, content.clone());
                    return StoreOutcome::ChatDuplicate { message_id, room: *room, content, time_ms: *time_ms };
                }
                self.lines.push(Stored { room, user, client_id, time_ms, content });
                StoreOutcome::ChatStored { message_id: self.lines.len() as u64 }
            }
            StoreJob::EndRoom { .. } | StoreJob::SweepRoom { .. } => StoreOutcome::Swept { is_done: true },
            StoreJob::SaveSessions { .. } => StoreOutcome::SessionsSaved,
            StoreJob::Claim { .. } => StoreOutcome::Denied,
            StoreJob::Moderate(_) => {
                self.acts += 1;
                StoreOutcome::Moderated { id: self.acts }
            }
            StoreJob::ReadAudit { .. } => StoreOutcome::Audit(Vec::new()),
        }
    }
}
