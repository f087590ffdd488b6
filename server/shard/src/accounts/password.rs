//! What today's password is asked for: changing it, deleting the account; and hashing a right one anew.
//!
//! Not hashing: that is the hashers'. A new hash replaces only the one that was checked, so two changes at a time, or
//! a change and a login, cannot undo each other.

use echomesh_proto::control::{AccountAction as Action, AuditEntry, ModerationAction, StatusCode};
use echomesh_proto::ids::UserId;

use super::{AccountJob, AccountsJob, BUSY, key_of};
use crate::effect::{Effect, Effects};
use crate::guesses;
use crate::jobs::{HashOutcome, HashRequest, StoreJob};
use crate::mesh::Asker;
use crate::{Job, Shard};

impl Shard {
    /// The stored hash is known: is the password right?
    pub(super) fn check_password(&mut self, job: AccountJob, effects: &mut Effects) {
        let (password, verify) = (job.msg.password.clone(), Some(job.kept.clone()));
        self.account_hash(job, password, verify, effects);
    }

    fn account_hash(&mut self, job: AccountJob, password: String, verify: Option<String>, effects: &mut Effects) {
        let Some(remote) = self.remote_of(job.asker) else { return };
        if self.jobs.hashing() >= self.config.limits.hash_requests_max {
            return self.account_busy(job.asker, effects);
        }
        let account = guesses::account(&key_of(&job.username));
        let token = self.jobs.insert(Job::AccountHash(Box::new(job)));
        self.guess_is_hashed(token, remote, account);
        effects.list.push(Effect::Hash(HashRequest { token, remote, password, verify }));
    }

    /// The hashers have answered.
    pub(crate) fn account_hashed(&mut self, job: AccountJob, outcome: HashOutcome, effects: &mut Effects) {
        let asker = job.asker;
        match outcome {
            HashOutcome::Verified(true) | HashOutcome::Outdated => self.password_right(job, effects),
            HashOutcome::Verified(false) => {
                let text = "that is not the account's password: check it and try again";
                self.refuse(asker, StatusCode::StatusBadCredentials, text, effects);
                self.count_guess_here(self.now, asker.connection(), effects);
            }
            HashOutcome::Hashed(new) => {
                let (user, old, changed_by) = (job.user, job.kept.clone(), Some(job.session));
                let store = AccountsJob::SetPassword { user, old, new, changed_by };
                self.account_store(job, StoreJob::Accounts(Box::new(store)), effects);
            }
            HashOutcome::Busy => {
                self.counters.busy += 1;
                self.refuse(asker, StatusCode::StatusTryAgain, BUSY, effects);
            }
        }
    }

    fn password_right(&mut self, job: AccountJob, effects: &mut Effects) {
        if job.msg.action() == Action::AaChangePassword {
            let new = job.msg.new_password.clone();
            return self.account_hash(job, new, None, effects);
        }
        let entry = AuditEntry {
            time_ms: self.now.unix_ms,
            action: ModerationAction::MaAccount as i32,
            by: job.username.clone(),
            target: job.username.clone(),
            detail: "account deleted by its user".to_owned(),
            ..AuditEntry::default()
        };
        let store = AccountsJob::Delete { user: job.user, time_ms: self.now.unix_ms, entry };
        self.account_store(job, StoreJob::Accounts(Box::new(store)), effects);
    }

    /// A right password, hashed at a cost that the operator has changed: it is hashed at today's. Nobody waits for
    /// that, and where it fails the next login tries again.
    pub(crate) fn rehash(&mut self, asker: Asker, user: UserId, password: String, old: String, effects: &mut Effects) {
        let Some(remote) = self.remote_of(asker) else { return };
        if self.jobs.hashing() < self.config.limits.hash_requests_max {
            let token = self.jobs.insert(Job::Rehash(user, old));
            effects.list.push(Effect::Hash(HashRequest { token, remote, password, verify: None }));
        }
    }

    pub(crate) fn rehashed(&mut self, user: UserId, old: String, outcome: HashOutcome, effects: &mut Effects) {
        if let HashOutcome::Hashed(new) = outcome {
            let store = AccountsJob::SetPassword { user, old, new, changed_by: None };
            self.ask_store(Job::Aside, StoreJob::Accounts(Box::new(store)), effects);
        }
    }
}
