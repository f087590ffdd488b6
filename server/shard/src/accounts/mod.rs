//! What an account asks about itself, and invitations to the server: who may, what is checked, what the store does,
//! and which sessions end.
//!
//! A request is decided at the asker's shard. Where the account's password is asked for, it goes to the store for the
//! hash, to the hashers, and to the store again. It takes effect, and is answered, when it is stored.
//! Not logging in, which is `login`'s; nor how bans and roles change, which is `moderation`'s.
//!
//! Layout: `jobs` (what the store does), `secrets` (tokens and codes), `password` (changing it, deleting the account,
//! hashing anew), `invitations`, `sign_out` (ending sessions everywhere), `guests`, `claim` (the first owner), `chores`
//! (what is over, and what commands on the machine did).
//! Bounds: one request a connection; `Limits::{account_tokens_max, invitations_max}`; nothing is decided while a ring
//! is congested.

mod chores;
mod claim;
mod guests;
mod invitations;
mod jobs;
mod password;
mod secrets;
mod sign_out;

use echomesh_proto::control::{Account, AccountAction as Action, AccountState, Body, EchoMsg, StatusCode};
use echomesh_proto::ids::{SessionId, UserId};
use echomesh_proto::limits::{LABEL_BYTES_MAX, PASSWORD_BYTES_MAX};
use echomesh_proto::time::Now;

pub use jobs::{AccountsJob, AccountsOutcome, OperatorAct};
pub use secrets::{hash_typed, secret_text};

pub(crate) use chores::Chores;
pub(crate) use guests::{accounts_only, guest_id, is_guest};
pub(crate) use sign_out::{Opened, SignOut};

use crate::effect::Effects;
use crate::guesses;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::mesh::{Answer, Asker, Mesh};
use crate::names;
use crate::rights::Role;
use crate::{Job, Shard};

const BUSY: &str = "the server is busy: try again in a moment";
const STORE_FAILED: &str = "the server cannot store this now (disk full or store unreachable): try again later";

/// Longest `page` that a list ever gave: a number.
const PAGE_BYTES_MAX: usize = 8;

/// A refusal: its code and its sentence.
type Refusal = (StatusCode, String);

fn refusal<T>(code: StatusCode, text: &str) -> Result<T, Refusal> {
    Err((code, text.to_owned()))
}

/// A request that the store or the hashers have.
#[derive(Debug)]
pub(crate) struct AccountJob {
    asker: Asker,
    session: SessionId,
    user: UserId,
    username: String,
    role: Role,
    msg: Account,
    /// The hash of today's password, once it is known; or the secret that the answer shows.
    kept: String,
}

impl Shard {
    /// A client's request, at its shard.
    pub(crate) fn account(&mut self, now: Now, asker: Asker, id: SessionId, msg: Account, effects: &mut Effects) {
        let session = &self.sessions[&id];
        let revokes_too_many = msg.action() == Action::AaRevokeToken && !self.may_revoke(session.user);
        if self.congested() || !self.may_sign_out() || revokes_too_many {
            return self.account_busy(asker, effects);
        }
        let job = AccountJob {
            asker,
            session: id,
            user: session.user,
            username: session.username.clone(),
            role: session.role,
            msg,
            kept: String::new(),
        };
        if let Err((code, text)) = checked(&job) {
            return self.refuse(asker, code, &text, effects);
        }
        self.begin(now, job, effects);
    }

    fn begin(&mut self, now: Now, mut job: AccountJob, effects: &mut Effects) {
        let user = job.user;
        let store = match job.msg.action() {
            Action::AaUnspecified => return self.account_busy(job.asker, effects),
            Action::AaChangePassword | Action::AaDelete => {
                let key = key_of(&job.username);
                let too_many = self.too_many_guesses(now, job.asker.connection(), guesses::account(&key));
                if let Some(too_many) = too_many {
                    return self.answer(job.asker, too_many.status(), effects);
                }
                return self.account_store(job, StoreJob::FindAccount { key }, effects);
            }
            Action::AaSignOutOthers => AccountsJob::EndSessions { user, except: job.session },
            Action::AaNewToken => {
                job.kept = self.new_token();
                AccountsJob::NewToken {
                    user,
                    hash: hash_typed(&job.kept),
                    label: job.msg.label.clone(),
                    time_ms: now.unix_ms,
                    tokens_max: self.config.limits.account_tokens_max,
                }
            }
            Action::AaListTokens => AccountsJob::ListTokens { user },
            Action::AaRevokeToken => AccountsJob::RevokeToken { user, token: job.msg.id },
            Action::AaInvite => {
                job.kept = self.new_code();
                self.invite(now, &job)
            }
            Action::AaListInvitations => invitations::list(now, &job),
            Action::AaRevokeInvitation => invitations::revoke(now, &job),
        };
        self.account_store(job, StoreJob::Accounts(Box::new(store)), effects);
    }

    fn account_busy(&mut self, asker: Asker, effects: &mut Effects) {
        self.counters.busy += 1;
        self.refuse(asker, StatusCode::StatusTryAgain, BUSY, effects);
    }

    fn account_store(&mut self, job: AccountJob, store: StoreJob, effects: &mut Effects) {
        let asker = job.asker;
        if !self.ask_store(Job::Account(Box::new(job)), store, effects) {
            self.account_busy(asker, effects);
        }
    }

    /// The store has answered.
    pub(crate) fn account_stored(&mut self, now: Now, job: AccountJob, outcome: StoreOutcome, effects: &mut Effects) {
        let outcome = match outcome {
            StoreOutcome::Account { user, password_hash, .. } if user == job.user => {
                return self.check_password(AccountJob { kept: password_hash, ..job }, effects);
            }
            StoreOutcome::Accounts(outcome) => outcome,
            StoreOutcome::NotFound | StoreOutcome::Account { .. } => {
                let text = "there is no such thing of yours (any more): list them";
                return self.refuse(job.asker, StatusCode::StatusNotFound, text, effects);
            }
            _ => return self.refuse(job.asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
        };
        match outcome {
            AccountsOutcome::Made { id } => {
                let secret = job.kept.clone();
                self.account_done(&job, AccountState { id, secret, ..AccountState::default() });
            }
            AccountsOutcome::Tokens(tokens) => {
                self.account_done(&job, AccountState { tokens, ..AccountState::default() });
            }
            AccountsOutcome::Invitations(list) => self.account_done(&job, invitations::page(list)),
            AccountsOutcome::Full => {
                let text = "there are as many as there may be: revoke one that is not needed any more";
                self.refuse(job.asker, StatusCode::StatusLimit, text, effects);
            }
            AccountsOutcome::OnlyOwner => {
                let text = "you are the only owner: make another with `echomesh-server owner NAME` on its machine";
                self.refuse(job.asker, StatusCode::StatusDenied, text, effects);
            }
            AccountsOutcome::Done => self.account_changed(now, &job),
            AccountsOutcome::Token { .. } | AccountsOutcome::OperatorActs(_) => {
                self.refuse(job.asker, StatusCode::StatusTryAgain, STORE_FAILED, effects);
            }
        }
    }

    /// It is stored: the sessions that it ends are told, then who asked.
    fn account_changed(&mut self, now: Now, job: &AccountJob) {
        let user = job.user.0;
        let sign_out = match job.msg.action() {
            Action::AaChangePassword => Some(SignOut {
                user,
                except: job.session.0,
                by_password: true,
                text: "the account's password was changed: log in with the new one".to_owned(),
                ..SignOut::default()
            }),
            Action::AaSignOutOthers => Some(SignOut {
                user,
                except: job.session.0,
                text: "signed out by another of your devices".to_owned(),
                ..SignOut::default()
            }),
            Action::AaRevokeToken => Some(SignOut {
                user,
                token: job.msg.id,
                text: "the device token was revoked: make another, or log in by password".to_owned(),
                ..SignOut::default()
            }),
            Action::AaDelete => {
                // The answer first: its session ends too.
                self.account_done(job, AccountState::default());
                let text = "the account was deleted".to_owned();
                return self.tell_sign_out(now, SignOut { user, text, ..SignOut::default() });
            }
            _ => None,
        };
        if let Some(sign_out) = sign_out {
            self.tell_sign_out(now, sign_out);
        }
        self.account_done(job, AccountState::default());
    }

    /// Through the mesh to ourselves: what all shards were told comes first.
    fn account_done(&mut self, job: &AccountJob, state: AccountState) {
        let state = AccountState { action: job.msg.action, message: "done".to_owned(), ..state };
        let msg = EchoMsg::new(0, Body::AccountState(state));
        self.tell(job.asker.shard(), Mesh::Answer(Answer { asker: job.asker, msg }));
    }
}

/// An account's key.
fn key_of(username: &str) -> String {
    names::username(username).map(|name| name.key).unwrap_or_default()
}

/// Whether the request makes sense, and who asks may.
fn checked(job: &AccountJob) -> Result<(), Refusal> {
    use StatusCode::{StatusBadCredentials, StatusBadRequest, StatusTooLong};
    let msg = &job.msg;
    if msg.page.len() > PAGE_BYTES_MAX || msg.password.len() > PASSWORD_BYTES_MAX {
        return refusal(StatusTooLong, "the page or the password is longer than any there is");
    }
    match msg.action() {
        Action::AaUnspecified => refusal(StatusBadRequest, "an Account needs an action that this server knows"),
        Action::AaChangePassword if msg.new_password.is_empty() || msg.new_password.len() > PASSWORD_BYTES_MAX => {
            Err((StatusBadCredentials, format!("the new password must have 1 to {PASSWORD_BYTES_MAX} bytes")))
        }
        Action::AaNewToken if msg.label.len() > LABEL_BYTES_MAX || msg.label.chars().any(char::is_control) => {
            Err((StatusTooLong, format!("a label is one line of at most {LABEL_BYTES_MAX} bytes")))
        }
        Action::AaInvite | Action::AaListInvitations | Action::AaRevokeInvitation => invitations::may(job),
        _ => Ok(()),
    }
}
