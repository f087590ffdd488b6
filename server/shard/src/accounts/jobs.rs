//! What the store does for accounts, and its answers: plain data, beside the jobs of `crate::jobs`.
//!
//! Secrets come as the SHA-256 of them, in hexadecimal; whoever reads the database cannot log in with it.
//! Bounds: `Limits::{account_tokens_max, invitations_max}`, which the job carries, and pages.

use echomesh_proto::control::{AuditEntry, DeviceToken, Invitation, Role};
use echomesh_proto::ids::{SessionId, UserId};

use crate::bans::Ban;

/// What the store can do for accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountsJob {
    /// The token with this hash, and its account: `Token` or `NotFound`.
    FindToken { hash: String },
    /// The token was used: `Done`.
    TouchToken { token: u64, time_ms: u64 },
    /// A new token: `Made`, or `Full` if the account has `tokens_max`.
    NewToken { user: UserId, hash: String, label: String, time_ms: u64, tokens_max: u32 },
    /// All tokens of an account: `Tokens`.
    ListTokens { user: UserId },
    /// The account's token is gone: `Done` or `NotFound`.
    RevokeToken { user: UserId, token: u64 },
    /// Another hash, if the stored one is still `old`: `Done` or `NotFound`. With `changed_by` it is another password:
    /// of the account's stored sessions only that one and those of tokens are there after the next start. Without, it
    /// is the same password hashed anew.
    SetPassword { user: UserId, old: String, new: String, changed_by: Option<SessionId> },
    /// Of the account's stored sessions only this one is there after the next start: `Done` or `NotFound`.
    EndSessions { user: UserId, except: SessionId },
    /// The account is gone with its tokens and invitations, its name is free, its lines stay: `Done`, `NotFound`, or
    /// `OnlyOwner`. The entry goes to the audit log.
    Delete { user: UserId, time_ms: u64, entry: AuditEntry },
    /// A new invitation: `Made`, or `Full` if there are `invitations_max` that count.
    Invite { hash: String, creator: UserId, invitation: Invitation, invitations_max: u32, entry: AuditEntry },
    /// Invitations that count, after this one: `Invitations`.
    ListInvitations { after: u64, count: u32, now_ms: u64 },
    /// The invitation is gone: `Done` or `NotFound`.
    RevokeInvitation { id: u64, entry: AuditEntry },
    /// Bans and invitations that are over are gone: `Done`.
    ForgetExpired { now_ms: u64 },
    /// What commands on the machine did after this one: `OperatorActs`, oldest first.
    OperatorActs { after: u64, count: u32 },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountsOutcome {
    /// It is done.
    Done,
    /// There are as many as there may be.
    Full,
    /// The account is the only owner.
    OnlyOwner,
    /// It has this number.
    Made { id: u64 },
    /// `FindToken` found it.
    Token { token: u64, last_used_ms: u64, user: UserId, name: String, role: Role },
    /// `ListTokens`.
    Tokens(Vec<DeviceToken>),
    /// `ListInvitations`.
    Invitations(Vec<Invitation>),
    /// `OperatorActs`, each with its number.
    OperatorActs(Vec<(u64, OperatorAct)>),
}

/// What a command on the machine changed in the store, and a running server makes its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorAct {
    /// An account has this role now.
    Role { user: UserId, role: Role },
    /// A new ban.
    Ban(Ban),
    /// A ban is lifted.
    Unban { ban: u64 },
    /// The account's sessions are to end: it has another password, or is gone.
    SignOut { user: UserId },
}
