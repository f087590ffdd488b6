//! Rings between the shards and the threads beside them: requests one way, replies the other.
//!
//! Not the work itself (`store`, `hash`) and not its rules (`echomesh_shard::jobs`).
//! In: `JobPort::store`, `JobPort::hash` on a shard's thread. Out: `JobPort::poll` there.
//! Bounds: the kernel keeps unanswered requests below `Limits::store_requests_max`, `Limits::reads_max` and
//! `Limits::hash_requests_max`, which are the capacities, so a full ring is a bug and panics.
//! Cost: a push and an unpark, which is a system call only if the worker sleeps; no lock.

use std::sync::Arc;
use std::thread::Thread;

use echomesh_shard::{HashReply, HashRequest, Limits, StoreJob, StoreReply, StoreRequest};
use rtrb::{Consumer, Producer, RingBuffer};

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
        Self { store, store_replies, read, read_replies, hash, hash_replies, workers }
    }

    /// Asks the store, or its reader.
    ///
    /// # Panics
    /// More is unanswered than `Limits::store_requests_max`, or `Limits::reads_max`: a bug of the kernel.
    pub fn store(&mut self, request: StoreRequest) {
        if let StoreJob::ReadChat(_) = request.job {
            self.read.push(request).expect("the kernel bounds unanswered reads");
            return self.workers.reader.unpark();
        }
        self.store.push(request).expect("the kernel bounds unanswered store requests");
        self.workers.store.unpark();
    }

    /// Asks the hashers.
    ///
    /// # Panics
    /// More is unanswered than `Limits::hash_requests_max`: a bug of the kernel.
    pub fn hash(&mut self, request: HashRequest) {
        self.hash.push(request).expect("the kernel bounds unanswered hash requests");
        self.workers.hash.iter().for_each(Thread::unpark);
    }

    /// The next answer, if one waits.
    pub fn poll(&mut self) -> Option<JobReply> {
        let store = self.store_replies.pop().or_else(|_| self.read_replies.pop()).ok().map(JobReply::Store);
        store.or_else(|| self.hash_replies.pop().ok().map(JobReply::Hash))
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
