//! Requests to store and hashers that wait for their reply, by token. A token of an earlier use of a
//! slot finds nothing. Bounds: callers ask before they insert.

use echomesh_proto::control::ChatMsg;
use echomesh_proto::ids::{RoomNumber, SessionId, UserId};

use crate::accounts::AccountJob;
use crate::chat::Pending;
use crate::jobs::{Act, JobToken};
use crate::mesh::{Asker, Order};
use crate::rooms::{PendingJoin, PendingRoom, Turn};

/// What to go on with when the reply comes.
#[derive(Debug)]
pub(crate) enum Job {
    Login(Asker),
    Hash(Asker),
    Claim(Asker, UserId),
    /// A request about an account, at the store.
    Account(Box<AccountJob>),
    /// Likewise, at the hashers.
    AccountHash(Box<AccountJob>),
    /// A right password is hashed anew: whose, and the hash that it replaces.
    Rehash(UserId, String),
    /// What commands on the machine did.
    OperatorActs,
    /// Nobody waits for the answer.
    Aside,
    CreateRoom(Box<PendingRoom>),
    /// The password of a room to be made, of one that is changed, of one that someone wants into.
    RoomSecret(Box<PendingRoom>),
    OrderSecret(Box<Order>),
    RoomPassword(Box<PendingJoin>),
    EndRoom(RoomNumber),
    Sweep,
    /// Sessions that are written as they are, and those that ended.
    Save(Vec<(SessionId, UserId)>, Vec<SessionId>),
    Chat(Box<ChatJob>),
    /// Whom an order is about.
    Target(Box<Order>),
    /// An order that is being stored.
    Order(Box<(Order, Act)>),
    Audit(Asker),
    Chatting(Box<Pending>),
}

/// A chat line on its way to the store.
#[derive(Debug)]
pub(crate) struct ChatJob {
    pub(crate) asker: Asker,
    pub(crate) room: RoomNumber,
    pub(crate) session: SessionId,
    pub(crate) line: ChatMsg,
    pub(crate) turn: Turn,
}

/// More than a told line's names, ids and mentions take.
const LINE_BYTES: usize = 1_024;

/// Most that a line puts into one ring once it is stored: itself, and the acknowledgement.
pub(crate) fn told_bytes(content: &str) -> usize {
    2 * (content.len() + LINE_BYTES)
}

impl Job {
    /// Most that the store's answer makes this shard put into one ring.
    pub(crate) fn told_bytes(&self) -> usize {
        match self {
            Job::Chat(job) => told_bytes(&job.line.content),
            Job::Chatting(pending) => pending.told_bytes(),
            _ => 0,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Jobs {
    slots: Vec<(u32, Option<Job>)>,
    free: Vec<u32>,
    storing: u32,
    reading: u32,
    hashing: u32,
    /// Most bytes that what waits may put into one ring.
    telling: usize,
}

impl Jobs {
    pub(crate) fn insert(&mut self, job: Job) -> JobToken {
        *self.count(&job) += 1;
        self.telling += job.told_bytes();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let entry = &mut self.slots[slot as usize];
        entry.1 = Some(job);
        JobToken { slot, generation: entry.0 }
    }

    pub(crate) fn take(&mut self, token: JobToken) -> Option<Job> {
        let entry = self.slots.get_mut(token.slot as usize).filter(|entry| entry.0 == token.generation)?;
        let job = entry.1.take()?;
        entry.0 = entry.0.wrapping_add(1);
        self.free.push(token.slot);
        *self.count(&job) -= 1;
        self.telling -= job.told_bytes();
        Some(job)
    }

    fn count(&mut self, job: &Job) -> &mut u32 {
        match job {
            Job::Hash(_)
            | Job::AccountHash(_)
            | Job::Rehash(..)
            | Job::RoomSecret(_)
            | Job::OrderSecret(_)
            | Job::RoomPassword(_) => &mut self.hashing,
            Job::Chatting(pending) if pending.is_read() => &mut self.reading,
            _ => &mut self.storing,
        }
    }

    /// Unanswered requests to the store.
    pub(crate) fn storing(&self) -> u32 {
        self.storing
    }

    /// Most bytes that the answers may put into one ring.
    pub(crate) fn telling(&self) -> usize {
        self.telling
    }

    /// Unanswered requests to the store's reader.
    pub(crate) fn reading(&self) -> u32 {
        self.reading
    }

    /// Unanswered requests to the hashers.
    pub(crate) fn hashing(&self) -> u32 {
        self.hashing
    }
}
