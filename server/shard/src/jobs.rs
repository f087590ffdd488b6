//! What a shard asks of the threads beside it, the store and the password hashers, and their answers.
//!
//! Each request is answered exactly once, failures included; requests of one shard to the store are
//! carried out and answered in order, those that only read chat excepted. Bounds: a shard has at most `Limits::store_requests_max`, `Limits::reads_max` and
//! `Limits::hash_requests_max` unanswered, so rings of that size never overflow.

use std::net::IpAddr;

use echomesh_proto::control::{AuditEntry, Role};
use echomesh_proto::ids::{RoomNumber, SessionId, UserId};

use crate::accounts::{AccountsJob, AccountsOutcome};
use crate::bans::Ban;
use crate::chat::jobs::{ChatOutcome, ChatRead, ChatWrite};
use crate::rights::{Holder, Rights};
use crate::rooms::Properties;
use crate::saving::SavedSession;

/// Ties an answer to its request: a slot of the shard's request table and which use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobToken {
    /// Place in the table.
    pub slot: u32,
    /// Grows each time the slot is used again.
    pub generation: u32,
}

/// A request to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRequest {
    /// Comes back in the reply.
    pub token: JobToken,
    /// What to do.
    pub job: StoreJob,
}

/// What the store can do. Keys are case-folded names and unique; names are as typed (NFC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreJob {
    /// Look an account up: `Account` or `NotFound`.
    FindAccount { key: String },
    /// Make an account: `AccountCreated`, or `Exists` if the key is taken. If `invitation` is not empty, one use of
    /// the invitation with this hash is taken in the same transaction, or it is `Denied` and there is no account.
    CreateAccount { key: String, name: String, password_hash: String, time_ms: u64, invitation: String },
    /// Make the account the owner if the code is the unused one, and add the entry to the audit log: `Claimed` or
    /// `Denied`.
    Claim { user: UserId, code: String, entry: Box<AuditEntry> },
    /// About accounts, their tokens and invitations: `Accounts`, or `NotFound` if what it is about is gone.
    Accounts(Box<AccountsJob>),
    /// Make a room: `RoomCreated`, or `RoomExists` if the key is taken.
    CreateRoom { key: String, name: String, properties: Properties, creator: UserId, time_ms: u64 },
    /// A temporary room ended: frees its name, and what is said of roles and accounts there goes. `Swept`.
    EndRoom { room: RoomNumber },
    /// Deletes a part of the lines of a room that ended, in the end the room: `Swept`.
    SweepRoom { room: RoomNumber },
    /// Sessions to keep for the next start, and those that ended: `SessionsSaved`.
    SaveSessions { sessions: Vec<SavedSession>, gone: Vec<SessionId> },
    /// Append a chat line: `ChatStored` once it is on disk. If `client_id` is not empty and this user
    /// stored a line with it in the last 24 h: `ChatDuplicate` with that line.
    AppendChat {
        room: RoomNumber,
        user: UserId,
        client_id: String,
        content: String,
        /// Accounts.
        mentions: Vec<u64>,
        time_ms: u64,
    },
    /// What else is done with chat: `Chat`, or `NotFound`.
    Chat(Box<ChatWrite>),
    /// Reads of chat, by a thread of their own and in no order with other jobs: `Chat`, or `NotFound`.
    ReadChat(Box<ChatRead>),
    /// A moderator's act and the entry of the audit log that tells of it, in one transaction: `Moderated`, or
    /// `NotFound` if what it is about is gone.
    Moderate(Box<LoggedAct>),
    /// Entries of the audit log before this one (0: all), newest first: `Audit`.
    ReadAudit { before: u64, count: u32 },
}

/// A moderator's act, and what the log says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedAct {
    /// What changes.
    pub act: Act,
    /// Who does it.
    pub actor: UserId,
    /// To whom; 0: to no account.
    pub target: UserId,
    /// The entry; the store gives it its id.
    pub entry: AuditEntry,
}

/// What a moderator's act changes in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing but the log: kicks and reports.
    Note,
    /// The account's role.
    SetRole { user: UserId, role: Role },
    /// Mute or deafen an account in a room, or take it back; `None` stays as it was.
    Restrain { room: RoomNumber, user: UserId, muted: Option<bool>, deafened: Option<bool> },
    /// What a room gives and takes of a holder's rights.
    SetRights { room: RoomNumber, holder: Holder, allow: Rights, deny: Rights },
    /// A ban; the store gives it its id.
    Ban(Ban),
    /// The line's content is gone; a time is when.
    DeleteLine { room: RoomNumber, message_id: u64, time_ms: u64 },
    /// The ban is lifted.
    Unban { ban: u64 },
    /// A room lets an account in by name, or no more.
    Invite { room: RoomNumber, user: UserId, invited: bool },
    /// What a room is set to.
    SetRoom { room: RoomNumber, properties: Properties },
    /// A room ends, as `StoreJob::EndRoom`.
    DeleteRoom { room: RoomNumber },
}

/// The store's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreReply {
    /// From the request.
    pub token: JobToken,
    /// What came of it.
    pub outcome: StoreOutcome,
}

/// What came of a store job. Anything but `Failed` is on disk (synchronous commit) before it is said.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreOutcome {
    /// `FindAccount` found it.
    Account { user: UserId, name: String, password_hash: String, role: Role },
    /// `FindAccount` found nothing, or the ban to lift is gone.
    NotFound,
    /// `CreateAccount` made it.
    AccountCreated { user: UserId },
    /// The key is taken.
    Exists,
    /// `Claim` took the code.
    Claimed,
    /// `Claim`: wrong or used code; `CreateAccount`: an invitation that does not count (any more).
    Denied,
    /// `Accounts`.
    Accounts(AccountsOutcome),
    /// `CreateRoom` made it.
    RoomCreated { room: RoomNumber },
    /// `CreateRoom`: the key is this room's.
    RoomExists { room: RoomNumber },
    /// `AppendChat` stored it.
    ChatStored { message_id: u64 },
    /// `AppendChat` had stored it before; the line as it is now.
    ChatDuplicate {
        message_id: u64,
        room: RoomNumber,
        content: String,
        mentions: Vec<u64>,
        time_ms: u64,
        edited_ms: u64,
        deleted: bool,
    },
    /// `Chat` or `ReadChat`.
    Chat(ChatOutcome),
    /// `Moderate` did it; the id of a new ban, else of the entry in the log.
    Moderated { id: u64 },
    /// `EndRoom`, `SweepRoom`; whether nothing of the room is left.
    Swept { is_done: bool },
    /// `SaveSessions`.
    SessionsSaved,
    /// `ReadAudit`.
    Audit(Vec<AuditEntry>),
    /// Not done: disk full, database locked or damaged, read-only. Nothing was acknowledged; the
    /// store has logged why.
    Failed,
}

/// A request to the password hashers (Argon2id).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashRequest {
    /// Comes back in the reply.
    pub token: JobToken,
    /// Who asks: the hashers' queue is fair by address prefix.
    pub remote: IpAddr,
    /// The password as the client sent it.
    pub password: String,
    /// To verify against this PHC string; `None` makes a new hash.
    pub verify: Option<String>,
}

/// The hashers' answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashReply {
    /// From the request.
    pub token: JobToken,
    /// What came of it.
    pub outcome: HashOutcome,
}

/// What came of a hash request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOutcome {
    /// The PHC string of a new password.
    Hashed(String),
    /// The password is the one that was hashed, or not.
    Verified(bool),
    /// It is, and was hashed at another cost than new ones are.
    Outdated,
    /// The queue is full, or this address prefix has its share in it already.
    Busy,
}
