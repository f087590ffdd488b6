//! Rings between the shards and the threads beside them: requests one way, replies the other.
//!
//! Not the work itself (`store`, `hash`) and not its rules (`echomesh_shard::jobs`).
//! In: `JobPort::store`, `JobPort::hash` on a shard's thread. Out: `JobPort::poll` there.
//! Bounds: the kernel keeps unanswered requests below `Limits::store_requests_max`, `Limits::reads_max` and
//! `Limits::hash_requests_max`, which are the capacities, so a full ring is a bug and panics.
//! Cost: a push and an unpark, which is a system call only if the worker sleeps; no lock. How long an answer took is
//! told by the caller's clock, from the turn that asked to the turn that takes it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::Thread;

use echomesh_proto::time::Time;
use echomesh_shard::{HashReply, HashRequest, JobToken, Limits, StoreJob, StoreOutcome, StoreReply, StoreRequest};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::measures::Measures;
use crate::wake::Wake;

/// A shard's end of its rings.
#[derive(Debug)]
pub struct JobPort {
    store: Producer<StoreRequest>,
    store_replies: Consumer<StoreReply>,
    read: Producer<StoreRequest>,
    read_replies: Consumer<StoreReply>,
    hash: Producer<HashRequest>,
    hash_replies: Consumer<HashReply>,
    workers: Workers,
    /// When each unanswered request was made: store and reader answer in order, the hashers do not.
    stored_at: VecDeque<Time>,
    read_at: VecDeque<Time>,
    hashed_at: Vec<(JobToken, Time)>,
    store_failed: u64,
}

/// An answer, whoever gave it.
#[derive(Debug, PartialEq)]
pub enum JobReply {
    /// The store's, or its reader's.
    Store(StoreReply),
    /// A password hasher's.
    Hash(HashReply),
}

/// The threads that do the work: they sleep parked and are unparked after a push.
#[derive(Clone, Debug)]
pub struct Workers {
    /// The store's thread.
    pub store: Thread,
    /// The store's thread that only reads.
    pub reader: Thread,
    /// The password hashers; any of them takes any request.
    pub hash: Vec<Thread>,
}

/// The worker's end of one shard's rings.
#[derive(Debug)]
pub struct Desk<Request, Reply> {
    requests: Consumer<Request>,
    replies: Producer<Reply>,
    wake: Arc<Wake>,
}

/// The store's end.
pub type StoreDesk = Desk<StoreRequest, StoreReply>;

/// The store's two ends of one shard's rings.
#[derive(Debug)]
pub struct StoreDesks {
    /// Of the thread that does everything else.
    pub writer: StoreDesk,
    /// Of the thread that only reads.
    pub reader: StoreDesk,
}

/// The hashers' end.
pub type HashDesk = Desk<HashRequest, HashReply>;

/// A shard's rings before the workers run; [`JobPort::new`] joins the two.
#[derive(Debug)]
pub struct PortRings {
    store: Producer<StoreRequest>,
    store_replies: Consumer<StoreReply>,
    read: Producer<StoreRequest>,
    read_replies: Consumer<StoreReply>,
    hash: Producer<HashRequest>,
    hash_replies: Consumer<HashReply>,
}

/// The rings of one shard, whose thread `wake` wakes.
pub fn rings(limits: &Limits, wake: &Arc<Wake>) -> (PortRings, StoreDesks, HashDesk) {
    let (store, store_requests) = RingBuffer::new(limits.store_requests_max as usize);
    let (store_out, store_replies) = RingBuffer::new(limits.store_requests_max as usize);
    let (read, read_requests) = RingBuffer::new(limits.reads_max as usize);
    let (read_out, read_replies) = RingBuffer::new(limits.reads_max as usize);
    let (hash, hash_requests) = RingBuffer::new(limits.hash_requests_max as usize);
    let (hash_out, hash_replies) = RingBuffer::new(limits.hash_requests_max as usize);
    let port = PortRings { store, store_replies, read, read_replies, hash, hash_replies };
    let store = StoreDesks {
        writer: Desk { requests: store_requests, replies: store_out, wake: wake.clone() },
        reader: Desk { requests: read_requests, replies: read_out, wake: wake.clone() },
    };
    let hash = Desk { requests: hash_requests, replies: hash_out, wake: wake.clone() };
    (port, store, hash)
}

impl JobPort {
    /// A shard's port to these workers.
    pub fn new(rings: PortRings, workers: Workers) -> Self {
        let PortRings { store, store_replies, read, read_replies, hash, hash_replies } = rings;
        let (stored_at, read_at, hashed_at, store_failed) = (VecDeque::new(), VecDeque::new(), Vec::new(), 0);
        Self {
            store,
            store_replies,
            read,
            read_replies,
            hash,
            hash_replies,
            workers,
            stored_at,
            read_at,
            hashed_at,
            store_failed,
        }
    }

    /// Requests that the store or its reader answered with a failure.
    pub fn store_failed(&self) -> u64 {
        self.store_failed
    }

    /// Asks the store, or its reader.
    ///
    /// # Panics
    /// More is unanswered than `Limits::store_requests_max`, or `Limits::reads_max`: a bug of the kernel.
    pub fn store(&mut self, now: Time, request: StoreRequest) {
        if let StoreJob::ReadChat(_) = request.job {
            self.read.push(request).expect("the kernel bounds unanswered reads");
            self.read_at.push_back(now);
            return self.workers.reader.unpark();
        }
        self.store.push(request).expect("the kernel bounds unanswered store requests");
        self.stored_at.push_back(now);
        self.workers.store.unpark();
    }

    /// Asks the hashers.
    ///
    /// # Panics
    /// More is unanswered than `Limits::hash_requests_max`: a bug of the kernel.
    pub fn hash(&mut self, now: Time, request: HashRequest) {
        self.hashed_at.push((request.token, now));
        self.hash.push(request).expect("the kernel bounds unanswered hash requests");
        self.workers.hash.iter().for_each(Thread::unpark);
    }

    /// The next answer, if one waits.
    pub fn poll(&mut self, now: Time, measures: &mut Measures) -> Option<JobReply> {
        let (reply, asked, took) = if let Ok(reply) = self.store_replies.pop() {
            (JobReply::Store(reply), self.stored_at.pop_front(), &mut measures.store)
        } else if let Ok(reply) = self.read_replies.pop() {
            (JobReply::Store(reply), self.read_at.pop_front(), &mut measures.reads)
        } else {
            let reply = self.hash_replies.pop().ok()?;
            let place = self.hashed_at.iter().position(|(token, _)| *token == reply.token);
            let asked = place.map(|place| self.hashed_at.swap_remove(place).1);
            (JobReply::Hash(reply), asked, &mut measures.hashes)
        };
        if let Some(asked) = asked {
            took.record(now.since_us(asked));
        }
        if let JobReply::Store(StoreReply { outcome: StoreOutcome::Failed, .. }) = reply {
            self.store_failed += 1;
        }
        Some(reply)
    }
}

impl<Request, Reply> Desk<Request, Reply> {
    /// The next request of the shard.
    pub fn take(&mut self) -> Option<Request> {
        self.requests.pop().ok()
    }

    /// Answers; [`Self::wake`] follows a batch.
    ///
    /// # Panics
    /// More replies than requests: a bug of the worker.
    pub fn reply(&mut self, reply: Reply) {
        assert!(self.replies.push(reply).is_ok(), "each request has one reply, and their rings are of one size");
    }

    /// Wakes the shard for its replies.
    pub fn wake(&self) {
        self.wake.signal();
    }
}
