//! How long lines are kept: one shard has the store delete what is too old, a little at a time.
//!
//! Not which lines: rooms and the server's default say that, and the store looks it up. Bounds: one step at a time, of at
//! most some hundred lines, `STEP_US` after the last; a round every `ROUND_US`.

use echomesh_proto::time::{Now, SECOND_US, Time};

use super::Pending;
use super::jobs::{ChatOutcome, ChatWrite, Sweep};
use crate::effect::Effects;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::moderation::STAFF_SHARD;
use crate::{Job, Shard};

/// Between rounds, microseconds: days are what is counted.
const ROUND_US: u64 = 3_600 * SECOND_US;

/// The first round after a start, microseconds: when everyone is back.
const FIRST_US: u64 = 60 * SECOND_US;

/// Between steps, microseconds: chat has the store for itself most of the time.
const STEP_US: u64 = SECOND_US / 10;

/// Where the round is.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    due: Time,
    position: u64,
    asked: bool,
}

impl Shard {
    pub(crate) fn retention_tick(&mut self, now: Now, effects: &mut Effects) {
        if self.config.shard != STAFF_SHARD || self.retention.asked {
            return;
        }
        if self.retention.due == Time(0) {
            self.retention.due = now.time.after_us(FIRST_US);
        }
        if now.time < self.retention.due {
            return;
        }
        let default_days = self.config.retention_days;
        let sweep = Sweep { position: self.retention.position, default_days, now_ms: now.unix_ms };
        let store = StoreJob::Chat(Box::new(ChatWrite::Sweep(sweep)));
        self.retention.asked = self.ask_store(Job::Chatting(Box::new(Pending::Sweep)), store, effects);
    }

    pub(super) fn swept(&mut self, now: Now, outcome: &StoreOutcome) {
        let (deleted, position) = match outcome {
            StoreOutcome::Chat(ChatOutcome::Swept { deleted, position }) => (*deleted, *position),
            // The store is not there: the next round is soon enough.
            _ => (0, 0),
        };
        self.counters.chat_expired += deleted;
        let wait = if position == 0 { ROUND_US } else { STEP_US };
        self.retention = Retention { due: now.time.after_us(wait), position, asked: false };
    }
}
