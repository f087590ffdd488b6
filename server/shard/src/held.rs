//! What a shard holds at this moment, by number: for those who check that it lets go and keeps its bounds.
//!
//! Not counters, which only grow (`counters`). Cost: a pass over rooms and accounts; not for the voice path.

use crate::Shard;

/// How many of each there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Open connections.
    pub connections: usize,
    /// Sessions that live here.
    pub sessions: usize,
    /// Sessions of accounts whose home this is.
    pub places: usize,
    /// Members of rooms whose home this is, those that left while their stream was being opened included.
    pub members: usize,
    /// Rooms with members or streams here.
    pub replicas: usize,
    /// Voice streams.
    pub streams: usize,
    /// Other entries that name one of them.
    pub stream_entries: usize,
    /// Unanswered requests to store and hashers.
    pub jobs: usize,
    /// Bytes of mesh records that wait for room in a ring.
    pub outbox_bytes: usize,
    /// Sessions whose state or end the store does not have.
    pub unsaved: usize,
}

impl Shard {
    /// What it holds now.
    #[must_use]
    pub fn held(&self) -> Held {
        Held {
            connections: self.connections.iter().flatten().count(),
            sessions: self.sessions.len(),
            places: self.accounts.values().map(std::collections::BTreeMap::len).sum(),
            members: self.homes.values().map(crate::home::HomeRoom::held).sum(),
            replicas: self.replicas.len(),
            streams: self.streams.len(),
            stream_entries: self.session_streams.len() + self.stream_rooms.len(),
            jobs: (self.jobs.storing() + self.jobs.reading() + self.jobs.hashing()) as usize,
            outbox_bytes: self.outboxes.iter().map(crate::mesh::Outbox::bytes).sum(),
            unsaved: self.saving.unsaved(),
        }
    }
}
