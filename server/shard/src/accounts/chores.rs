//! What the staff shard does now and then: it has the store forget what is over, and looks for what commands on the
//! machine did.
//!
//! Such a command changes the store alone, so that it works whether a server runs or not; this is how a running one
//! learns of it. Bounds: one of each at a time; `ACTS_MAX` acts a look. Cost: one short statement a second.

use echomesh_proto::time::{Now, SECOND_US, Time};

use super::{AccountsJob, AccountsOutcome, OperatorAct, SignOut};
use crate::effect::Effects;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::mesh::Mesh;
use crate::moderation::STAFF_SHARD;
use crate::{Job, Shard};

/// Between two looks for acts, and between two times of forgetting, microseconds.
const LOOK_US: u64 = SECOND_US;
const FORGET_US: u64 = 3_600 * SECOND_US;

/// Acts taken at a time.
const ACTS_MAX: u32 = 100;

/// When each was done last.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    looked: Time,
    is_looking: bool,
    forgot: Time,
    /// The latest act that was taken.
    after: u64,
}

impl Shard {
    pub(crate) fn do_chores(&mut self, now: Now, effects: &mut Effects) {
        if self.config.shard != STAFF_SHARD || self.is_stopping() || self.congested() {
            return;
        }
        if now.time.since_us(self.chores.forgot) >= FORGET_US {
            self.chores.forgot = now.time;
            let forget = AccountsJob::ForgetExpired { now_ms: now.unix_ms };
            // Without room in the store's queue, it waits for the next hour.
            self.ask_store(Job::Aside, StoreJob::Accounts(Box::new(forget)), effects);
        }
        if !self.chores.is_looking && now.time.since_us(self.chores.looked) >= LOOK_US {
            self.chores.looked = now.time;
            let look = AccountsJob::OperatorActs { after: self.chores.after, count: ACTS_MAX };
            self.chores.is_looking = self.ask_store(Job::OperatorActs, StoreJob::Accounts(Box::new(look)), effects);
        }
    }

    pub(crate) fn operator_acted(&mut self, now: Now, outcome: StoreOutcome) {
        self.chores.is_looking = false;
        // While the store fails there is nothing to learn; the next look comes in a second.
        let StoreOutcome::Accounts(AccountsOutcome::OperatorActs(acts)) = outcome else { return };
        for (id, act) in acts {
            self.chores.after = id;
            match act {
                OperatorAct::Role { user, role } => self.tell_role(user, role),
                OperatorAct::Ban(ban) => self.tell_all(&Mesh::Banned(ban)),
                OperatorAct::Unban { ban } => self.tell_all(&Mesh::Unbanned(ban)),
                OperatorAct::SignOut { user } => {
                    let text = "the server's operator changed or deleted the account: log in again".to_owned();
                    self.tell_sign_out(now, SignOut { user: user.0, text, ..SignOut::default() });
                }
            }
        }
    }
}
