//! The store that the shards ask: in memory, keeping what the real one promises.
//!
//! Not failures, which are the script's. Chat is kept by the kernel's tests' own memory. Jobs about what is gone are
//! answered `NotFound`, as the real one does.

use std::collections::BTreeMap;

use echomesh_proto::control::{AuditEntry, DeviceToken, Invitation, Role};
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_shard::accounts::{AccountsJob, AccountsOutcome, OperatorAct};
use echomesh_shard::chat_jobs::Place;
use echomesh_shard::{Act, LoggedAct, SavedSession, StoreJob, StoreOutcome};

use super::memory::{Accounts, Memory};

/// What is stored.
#[derive(Default)]
pub struct Store {
    accounts: Accounts,
    users: u64,
    given: u64,
    tokens: BTreeMap<String, (UserId, DeviceToken)>,
    invitations: BTreeMap<String, Invitation>,
    /// By key.
    rooms: BTreeMap<String, RoomNumber>,
    room_numbers: u64,
    sessions: BTreeMap<u64, SavedSession>,
    bans: BTreeMap<u64, ()>,
    audit: Vec<AuditEntry>,
    chat: Memory,
    /// What commands on the machine did, oldest first.
    pub operator_acts: Vec<OperatorAct>,
}

impl Store {
    /// Sessions that would be there after a start.
    pub fn saved_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Does one job.
    pub fn carry_out(&mut self, job: StoreJob) -> StoreOutcome {
        match job {
            StoreJob::FindAccount { key } => {
                self.accounts.get(&key).cloned().map_or(StoreOutcome::NotFound, |(user, name, password_hash, role)| {
                    StoreOutcome::Account { user: UserId(user), name, password_hash, role }
                })
            }
            StoreJob::CreateAccount { key, name, password_hash, invitation, time_ms } => {
                self.create_account(key, name, password_hash, &invitation, time_ms)
            }
            StoreJob::Accounts(job) => self.about_accounts(*job).map_or(StoreOutcome::NotFound, StoreOutcome::Accounts),
            StoreJob::Claim { user, code, entry } if code == "right" && self.set_role(user, Role::Owner) => {
                self.audit.push(*entry);
                StoreOutcome::Claimed
            }
            StoreJob::Claim { .. } => StoreOutcome::Denied,
            StoreJob::CreateRoom { key, .. } => {
                if let Some(room) = self.rooms.get(&key).copied() {
                    return StoreOutcome::RoomExists { room };
                }
                self.room_numbers += 1;
                self.rooms.insert(key, RoomNumber(self.room_numbers));
                StoreOutcome::RoomCreated { room: RoomNumber(self.room_numbers) }
            }
            StoreJob::EndRoom { room } => {
                self.rooms.retain(|_, number| *number != room);
                StoreOutcome::Swept { is_done: false }
            }
            StoreJob::SweepRoom { .. } => StoreOutcome::Swept { is_done: true },
            StoreJob::SaveSessions { sessions, gone } => {
                self.sessions.extend(sessions.into_iter().map(|session| (session.id.0, session)));
                self.sessions.retain(|id, _| !gone.iter().any(|gone| gone.0 == *id));
                StoreOutcome::SessionsSaved
            }
            StoreJob::AppendChat { room, user, client_id, content, mentions, time_ms } => {
                self.chat.append(room, user, client_id, content, mentions, time_ms)
            }
            StoreJob::Chat(write) => self.chat.write(&self.accounts, *write),
            StoreJob::ReadChat(read) => self.chat.read(&self.accounts, *read),
            StoreJob::Moderate(logged) => self.moderate(*logged),
            StoreJob::ReadAudit { before, count } => {
                let older = self.audit.iter().rev().filter(|entry| before == 0 || entry.entry_id < before);
                StoreOutcome::Audit(older.take(count as usize).cloned().collect())
            }
        }
    }

    fn create_account(
        &mut self,
        key: String,
        name: String,
        hash: String,
        invitation: &str,
        time_ms: u64,
    ) -> StoreOutcome {
        if self.accounts.contains_key(&key) {
            return StoreOutcome::Exists;
        }
        if !invitation.is_empty() {
            let live = |one: &&mut Invitation| one.uses_left > 0 && one.expires_ms > time_ms;
            let Some(one) = self.invitations.get_mut(invitation).filter(live) else { return StoreOutcome::Denied };
            one.uses_left -= 1;
        }
        self.users += 1;
        self.accounts.insert(key, (self.users, name, hash, Role::Member));
        StoreOutcome::AccountCreated { user: UserId(self.users) }
    }

    fn set_role(&mut self, user: UserId, role: Role) -> bool {
        let account = self.accounts.values_mut().find(|account| account.0 == user.0);
        account.map(|account| account.3 = role).is_some()
    }

    fn number(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    fn moderate(&mut self, logged: LoggedAct) -> StoreOutcome {
        let LoggedAct { act, mut entry, .. } = logged;
        let id = self.number();
        let done = match act {
            Act::SetRole { user, role } => self.set_role(user, role),
            Act::DeleteLine { room, message_id, time_ms } => self.chat.delete(Place::Room(room), message_id, time_ms),
            Act::Ban(_) => self.bans.insert(id, ()).is_none(),
            Act::Unban { ban } => self.bans.remove(&ban).is_some(),
            Act::SetRoom { room, .. } | Act::SetRights { room, .. } | Act::Restrain { room, .. } => self.has(room),
            Act::Invite { room, .. } => self.has(room),
            Act::DeleteRoom { room } => {
                let before = self.rooms.len();
                self.rooms.retain(|_, number| *number != room);
                self.rooms.len() < before
            }
            Act::Note => true,
        };
        if !done {
            return StoreOutcome::NotFound;
        }
        entry.entry_id = id;
        self.audit.push(entry);
        StoreOutcome::Moderated { id }
    }

    fn has(&self, room: RoomNumber) -> bool {
        self.rooms.values().any(|number| *number == room)
    }

    fn about_accounts(&mut self, job: AccountsJob) -> Option<AccountsOutcome> {
        let done = |done: bool| done.then_some(AccountsOutcome::Done);
        match job {
            AccountsJob::FindToken { hash } => {
                let (user, token) = self.tokens.get(&hash)?;
                let (_, name, _, role) = self.accounts.values().find(|account| account.0 == user.0)?.clone();
                let (token, last_used_ms) = (token.token_id, token.last_used_ms);
                Some(AccountsOutcome::Token { token, last_used_ms, user: *user, name, role })
            }
            AccountsJob::TouchToken { token, .. } => done(self.tokens.values().any(|(_, one)| one.token_id == token)),
            AccountsJob::NewToken { user, hash, label, time_ms, tokens_max } => {
                let count = self.tokens.values().filter(|(owner, _)| *owner == user).count();
                if count >= tokens_max as usize {
                    return Some(AccountsOutcome::Full);
                }
                let id = self.number();
                let token = DeviceToken { token_id: id, label, created_ms: time_ms, last_used_ms: 0 };
                self.tokens.insert(hash, (user, token));
                Some(AccountsOutcome::Made { id })
            }
            AccountsJob::ListTokens { user } => {
                let own = self.tokens.values().filter(|(owner, _)| *owner == user);
                Some(AccountsOutcome::Tokens(own.map(|(_, token)| token.clone()).collect()))
            }
            AccountsJob::RevokeToken { user, token } => {
                let before = self.tokens.len();
                self.tokens.retain(|_, (owner, kept)| *owner != user || kept.token_id != token);
                done(self.tokens.len() < before)
            }
            AccountsJob::SetPassword { user, old, new, changed_by } => {
                let account = self.accounts.values_mut().find(|account| account.0 == user.0 && account.2 == old);
                let is_set = account.map(|account| account.2 = new).is_some();
                if let Some(kept) = changed_by.filter(|_| is_set) {
                    self.sessions.retain(|_, one| one.user != user || one.id == kept || one.token != 0);
                }
                done(is_set)
            }
            AccountsJob::EndSessions { user, except } => {
                self.sessions.retain(|_, one| one.user != user || one.id == except);
                done(self.accounts.values().any(|account| account.0 == user.0))
            }
            AccountsJob::Delete { user, entry, .. } => {
                let role = self.accounts.values().find(|account| account.0 == user.0)?.3;
                if role == Role::Owner && self.accounts.values().filter(|account| account.3 == role).count() == 1 {
                    return Some(AccountsOutcome::OnlyOwner);
                }
                self.accounts.retain(|_, account| account.0 != user.0);
                self.tokens.retain(|_, (owner, _)| *owner != user);
                // As the real one's foreign keys do.
                self.sessions.retain(|_, session| session.user != user);
                self.audit.push(entry);
                done(true)
            }
            AccountsJob::Invite { hash, invitation, invitations_max, entry, .. } => {
                if self.invitations.len() >= invitations_max as usize {
                    return Some(AccountsOutcome::Full);
                }
                let id = self.number();
                self.invitations.insert(hash, Invitation { invitation_id: id, ..invitation });
                self.audit.push(entry);
                Some(AccountsOutcome::Made { id })
            }
            AccountsJob::ListInvitations { after, count, now_ms } => {
                let mut list: Vec<Invitation> = self.invitations.values().cloned().collect();
                list.retain(|one| one.invitation_id > after && one.uses_left > 0 && one.expires_ms > now_ms);
                list.sort_by_key(|one| one.invitation_id);
                list.truncate(count as usize);
                Some(AccountsOutcome::Invitations(list))
            }
            AccountsJob::RevokeInvitation { id, entry } => {
                let before = self.invitations.len();
                self.invitations.retain(|_, one| one.invitation_id != id);
                self.audit.push(entry);
                done(self.invitations.len() < before)
            }
            AccountsJob::ForgetExpired { .. } => done(true),
            AccountsJob::OperatorActs { after, count } => {
                let acts = (1..).zip(&self.operator_acts).skip(after as usize).take(count as usize);
                Some(AccountsOutcome::OperatorActs(acts.map(|(id, act)| (id, act.clone())).collect()))
            }
        }
    }
}
