//! The end of a shard: draining, then stopping.
//!
//! Draining, nothing new is begun and everything begun is answered: connections without a session are told to come
//! back, frames of the others wait, voice goes on. Requests cross shards, so the driver stops no shard before all are
//! quiet, or before the operator's deadline. Stopping, what is not stored yet goes to the store and everybody is told.
//! Bounds: the driver's deadline. Cost: one pass over the connections each.

use echomesh_proto::control::{EchoMsg, StatusCode};
use echomesh_proto::ids::ConnectionId;
use echomesh_proto::time::Now;

use crate::Shard;
use crate::connection::status;
use crate::counters::CloseReason;
use crate::effect::Effects;
use crate::mistakes::{Mistake, planted};

/// Told to everybody whom the server leaves, and to who comes while it ends.
const STOPPING: &str = "the server is stopping or starting anew: connect again in a moment";

/// How far the end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// Not begun.
    #[default]
    Serving,
    /// Nothing new is begun.
    Draining,
    /// Everything is closed.
    Stopped,
}

impl Shard {
    pub(crate) fn is_stopping(&self) -> bool {
        self.ending == Ending::Stopped
    }

    /// Nothing new is begun any more.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending > Ending::Serving
    }

    /// Draining, and all that was begun is answered: nobody here waits for the store, the hashers or another shard.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let mut connections = self.connections.iter().flatten();
        self.is_ending() && (planted(Mistake::QuietTooSoon) || connections.all(|it| !it.has_unanswered()))
    }

    pub(crate) fn drain(&mut self, effects: &mut Effects) {
        self.ending = self.ending.max(Ending::Draining);
        let strangers: Vec<ConnectionId> = self.connections.iter().flatten().filter_map(|it| it.stranger()).collect();
        for id in strangers {
            self.turn_away(id, effects);
        }
    }

    /// Tells a connection that it came at the wrong time.
    pub(crate) fn turn_away(&mut self, id: ConnectionId, effects: &mut Effects) {
        self.notice_and_close(id, StatusCode::StatusShuttingDown, STOPPING, CloseReason::Shutdown, effects);
    }

    pub(crate) fn shutdown(&mut self, now: Now, effects: &mut Effects) {
        self.ending = Ending::Stopped;
        self.save_all(effects);
        self.store_marks(effects);
        let open: Vec<ConnectionId> = self.connections.iter().flatten().map(|connection| connection.id).collect();
        for id in open {
            self.send(id, &EchoMsg::new(0, status(StatusCode::StatusShuttingDown, STOPPING)), effects);
            if self.connection(id).is_some() {
                self.close(now, id, CloseReason::Shutdown, effects);
            }
        }
    }
}
