//! The shard kernel: every rule of the EchoMesh server, and no I/O.
#![forbid(unsafe_code)]

pub mod config;
pub mod counters;
pub mod effect;
pub mod input;
pub mod jobs;
pub mod voice;

pub use config::{Limits, Registration, ShardConfig, StoredRoom};
pub use counters::{CloseReason, Counters, Drop};
pub use effect::{Effect, Effects, MasterKeyBytes, Voice};
pub use input::{ClosedCause, Input, READ_BYTES_MAX, Security, TICK_US};
pub use jobs::{HashOutcome, HashReply, HashRequest, JobToken, StoreJob, StoreOutcome, StoreReply, StoreRequest};

use echomesh_proto::ids::{ShardId, ShardSet};
use echomesh_proto::time::Now;

/// One shard's rules and state.
pub struct Shard {}

impl Shard {
    /// A shard at start.
    #[must_use]
    pub fn new(_config: ShardConfig) -> Self {
        Self {}
    }

    /// Takes one input and appends what is to be done to `effects`.
    pub fn handle(&mut self, _now: Now, _input: Input<'_>, _effects: &mut Effects) {}

    /// Shards whose control ring has waiting records: tell `Input::RingFree` when it has room.
    #[must_use]
    pub fn waits_for_rings(&self) -> ShardSet {
        ShardSet::default()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
}
