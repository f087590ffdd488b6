//! Rings between shards and the threads beside them: requests one way, replies the other.
//!
//! The kernel bounds what is unanswered, so the rings never fill. Whoever pushes wakes the other side.

use std::sync::Arc;
use std::thread::Thread;

use echomesh_shard::{HashReply, HashRequest, Limits, StoreReply, StoreRequest};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::wake::Wake;

/// A shard's end.
pub struct JobPort {
    store: Producer<StoreRequest>,
    store_replies: Consumer<StoreReply>,
    hash: Producer<HashRequest>,
    hash_replies: Consumer<HashReply>,
}

/// The end of the thread that does the work, for one shard.
pub struct Desk<Request, Reply> {
    requests: Consumer<Request>,
    replies: Producer<Reply>,
    wake: Arc<Wake>,
}

/// The threads that do the work.
#[derive(Clone)]
pub struct Workers {
    /// Unparked after a store request.
    pub store: Thread,
    /// Unparked after a hash request.
    pub hash: Thread,
}

/// The rings of one shard, sized so that they cannot overflow.
pub fn ports(
    limits: &Limits,
    wake: &Arc<Wake>,
) -> (JobPort, Desk<StoreRequest, StoreReply>, Desk<HashRequest, HashReply>) {
    let (store, store_requests) = RingBuffer::new(limits.store_requests_max as usize);
    let (store_out, store_replies) = RingBuffer::new(limits.store_requests_max as usize);
    let (hash, hash_requests) = RingBuffer::new(limits.hash_requests_max as usize);
    let (hash_out, hash_replies) = RingBuffer::new(limits.hash_requests_max as usize);
    let port = JobPort { store, store_replies, hash, hash_replies };
    let store = Desk { requests: store_requests, replies: store_out, wake: wake.clone() };
    let hash = Desk { requests: hash_requests, replies: hash_out, wake: wake.clone() };
    (port, store, hash)
}

impl JobPort {
    /// Asks the store.
    pub fn store(&mut self, request: StoreRequest) {
        self.store.push(request).expect("the kernel bounds unanswered store requests");
    }

    /// Asks the hashers.
    pub fn hash(&mut self, request: HashRequest) {
        self.hash.push(request).expect("the kernel bounds unanswered hash requests");
    }

    /// The next reply of the store.
    pub fn store_reply(&mut self) -> Option<StoreReply> {
        self.store_replies.pop().ok()
    }

    /// The next reply of the hashers.
    pub fn hash_reply(&mut self) -> Option<HashReply> {
        self.hash_replies.pop().ok()
    }

    /// Whether a reply waits.
    pub fn has_replies(&self) -> bool {
        !self.store_replies.is_empty() || !self.hash_replies.is_empty()
    }
}

impl<Request, Reply> Desk<Request, Reply> {
    /// The next request of the shard.
    pub fn take(&mut self) -> Option<Request> {
        self.requests.pop().ok()
    }

    /// Answers; [`Self::wake`] follows a batch.
    pub fn reply(&mut self, reply: Reply) {
        assert!(self.replies.push(reply).is_ok(), "each request has one reply");
    }

    /// Wakes the shard for its replies.
    pub fn wake(&self) {
        self.wake.signal();
    }
}
