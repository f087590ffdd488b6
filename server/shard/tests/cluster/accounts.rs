//! The in-memory store's tokens, invitations and acts of the operator.

use std::collections::BTreeMap;

use echomesh_proto::control::{DeviceToken, Invitation, Role};
use echomesh_proto::ids::UserId;
use echomesh_shard::accounts::{AccountsJob, AccountsOutcome, OperatorAct};
use echomesh_shard::{SavedSession, StoreOutcome};

use super::Cluster;

/// What the store keeps beside accounts.
#[derive(Default)]
pub struct Kept {
    /// Accounts made so far, also those that are gone.
    pub users: u64,
    /// By hash: whose, and the token.
    pub tokens: BTreeMap<String, (UserId, DeviceToken)>,
    /// By hash.
    pub invitations: BTreeMap<String, Invitation>,
    /// Not taken by the kernel yet, or taken: all, in order.
    pub acts: Vec<OperatorAct>,
    /// How often the store was told to forget what is over.
    pub forgettings: usize,
    /// How often a use of a token was noted.
    pub touches: usize,
    given: u64,
}

impl Kept {
    pub fn take_use(&mut self, hash: &str, now_ms: u64) -> bool {
        let live = |invitation: &&mut Invitation| invitation.uses_left > 0 && invitation.expires_ms > now_ms;
        let found = self.invitations.get_mut(hash).filter(live);
        found.map(|invitation| invitation.uses_left -= 1).is_some()
    }

    fn number(&mut self) -> u64 {
        self.given += 1;
        self.given
    }
}

impl Cluster {
    /// An account that was there before.
    pub fn make_account(&mut self, name: &str, hash: &str, role: Role) -> UserId {
        self.kept.users += 1;
        let user = self.kept.users;
        self.accounts.insert(name.to_lowercase(), (user, name.to_owned(), hash.to_owned(), role));
        UserId(user)
    }

    /// An account's number.
    pub fn user(&self, key: &str) -> UserId {
        UserId(self.accounts[key].0)
    }

    /// What the store has as an account's hash.
    pub fn password_hash(&mut self, key: &str) -> &mut String {
        &mut self.accounts.get_mut(key).expect("an account").2
    }

    pub(super) fn accounts_job(&mut self, job: AccountsJob) -> StoreOutcome {
        let done = |done: bool| if done { Some(AccountsOutcome::Done) } else { None };
        let outcome = match job {
            AccountsJob::FindToken { hash } => self.find_token(&hash),
            AccountsJob::TouchToken { token, time_ms } => {
                self.kept.touches += 1;
                let found = self.kept.tokens.values_mut().find(|(_, found)| found.token_id == token);
                done(found.map(|(_, found)| found.last_used_ms = time_ms).is_some())
            }
            AccountsJob::NewToken { user, hash, label, time_ms, tokens_max } => {
                let count = self.kept.tokens.values().filter(|(owner, _)| *owner == user).count();
                if count >= tokens_max as usize {
                    return StoreOutcome::Accounts(AccountsOutcome::Full);
                }
                let id = self.kept.number();
                let token = DeviceToken { token_id: id, label, created_ms: time_ms, last_used_ms: 0 };
                self.kept.tokens.insert(hash, (user, token));
                Some(AccountsOutcome::Made { id })
            }
            AccountsJob::ListTokens { user } => {
                let own = self.kept.tokens.values().filter(|(owner, _)| *owner == user);
                Some(AccountsOutcome::Tokens(own.map(|(_, token)| token.clone()).collect()))
            }
            AccountsJob::RevokeToken { user, token } => {
                let before = self.kept.tokens.len();
                self.kept.tokens.retain(|_, (owner, kept)| *owner != user || kept.token_id != token);
                done(self.kept.tokens.len() < before)
            }
            AccountsJob::SetPassword { user, old, new, changed_by } => {
                let account = self.accounts.values_mut().find(|account| account.0 == user.0 && account.2 == old);
                let is_set = account.map(|account| account.2 = new).is_some();
                if let Some(id) = changed_by.filter(|_| is_set) {
                    let stays = |session: &SavedSession| session.id == id || session.token != 0;
                    self.stored.sessions.retain(|_, session| session.user != user || stays(session));
                }
                done(is_set)
            }
            AccountsJob::EndSessions { user, except } => {
                self.stored.sessions.retain(|_, session| session.user != user || session.id == except);
                done(self.accounts.values().any(|account| account.0 == user.0))
            }
            AccountsJob::Delete { user, entry, .. } => {
                let role = self.accounts.values().find(|account| account.0 == user.0).map(|account| account.3);
                let owners = self.accounts.values().filter(|account| account.3 == Role::Owner).count();
                if role == Some(Role::Owner) && owners == 1 {
                    return StoreOutcome::Accounts(AccountsOutcome::OnlyOwner);
                }
                self.accounts.retain(|_, account| account.0 != user.0);
                self.kept.tokens.retain(|_, (owner, _)| *owner != user);
                self.audit.push(entry);
                done(role.is_some())
            }
            AccountsJob::Invite { hash, invitation, invitations_max, entry, .. } => {
                if self.kept.invitations.len() >= invitations_max as usize {
                    return StoreOutcome::Accounts(AccountsOutcome::Full);
                }
                let id = self.kept.number();
                self.kept.invitations.insert(hash, Invitation { invitation_id: id, ..invitation });
                self.audit.push(entry);
                Some(AccountsOutcome::Made { id })
            }
            AccountsJob::ListInvitations { after, count, now_ms } => {
                let mut list: Vec<Invitation> = self.kept.invitations.values().cloned().collect();
                list.retain(|one| one.invitation_id > after && one.uses_left > 0 && one.expires_ms > now_ms);
                list.sort_by_key(|one| one.invitation_id);
                list.truncate(count as usize);
                Some(AccountsOutcome::Invitations(list))
            }
            AccountsJob::RevokeInvitation { id, entry } => {
                let before = self.kept.invitations.len();
                self.kept.invitations.retain(|_, one| one.invitation_id != id);
                self.audit.push(entry);
                done(self.kept.invitations.len() < before)
            }
            AccountsJob::ForgetExpired { .. } => {
                self.kept.forgettings += 1;
                done(true)
            }
            AccountsJob::OperatorActs { after, count } => {
                let acts = (1..).zip(&self.kept.acts).skip(after as usize).take(count as usize);
                Some(AccountsOutcome::OperatorActs(acts.map(|(id, act)| (id, act.clone())).collect()))
            }
        };
        outcome.map_or(StoreOutcome::NotFound, StoreOutcome::Accounts)
    }

    fn find_token(&self, hash: &str) -> Option<AccountsOutcome> {
        let (user, token) = self.kept.tokens.get(hash)?;
        let (_, name, _, role) = self.accounts.values().find(|account| account.0 == user.0)?;
        let (token, last_used_ms) = (token.token_id, token.last_used_ms);
        Some(AccountsOutcome::Token { token, last_used_ms, user: *user, name: name.clone(), role: *role })
    }
}
