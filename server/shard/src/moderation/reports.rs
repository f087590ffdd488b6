//! Who may report whom to those who moderate, and how often.
//!
//! Not what becomes of a report: that is an entry of the audit log, and told as one. In: a report, at the staff shard.
//! Bounds: `Limits::reports_max` of an account, or of the guests of one address, in an hour; `REPORTS_MAX` of all, of
//! which `GUEST_REPORTS_MAX` are guests'. Cost: a pass over those of the last hour.

use std::collections::VecDeque;

use echomesh_proto::control::StatusCode;
use echomesh_proto::ids::UserId;
use echomesh_proto::time::{SECOND_US, Time};

use super::{Refusal, refusal};
use crate::accounts::is_guest;
use crate::bans::Network;
use crate::mesh::Order;

/// How long a report counts against who sent it, microseconds.
const REPORT_US: u64 = 3_600 * SECOND_US;

/// Reports remembered at once: beyond, nobody may report until the oldest is over.
const REPORTS_MAX: usize = 4_096;

/// Likewise, of guests: the rest is for those who have an account.
const GUEST_REPORTS_MAX: usize = 1_024;

/// Whose report counts with whose. A guest comes under another name at will, but not from another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reporter {
    Account(u64),
    Guest(Network),
}

impl Reporter {
    fn of(order: &Order) -> Self {
        match order.remote.parse() {
            Ok(remote) if is_guest(UserId(order.user)) => Reporter::Guest(Network::of(remote)),
            _ => Reporter::Account(order.user),
        }
    }
}

/// Reports of the last hour, oldest first.
#[derive(Debug, Default)]
pub(super) struct Reports {
    list: VecDeque<(Time, Reporter)>,
}

impl Reports {
    /// Notes a report, or refuses it.
    pub(super) fn take(&mut self, now: Time, order: &Order, reports_max: u32) -> Result<(), Refusal> {
        while self.list.front().is_some_and(|(time, _)| now.since_us(*time) > REPORT_US) {
            self.list.pop_front();
        }
        let reporter = Reporter::of(order);
        let own = self.list.iter().filter(|(_, other)| *other == reporter).count();
        let guests = self.list.iter().filter(|(_, other)| matches!(other, Reporter::Guest(_))).count();
        let too_often = own >= reports_max as usize || self.list.len() >= REPORTS_MAX;
        match reporter {
            Reporter::Account(_) if too_often => {
                refusal(StatusCode::StatusLimit, "you reported often in the last hour: wait, or ask an admin")
            }
            Reporter::Guest(_) if too_often || guests >= GUEST_REPORTS_MAX => {
                let text =
                    "guests reported often in the last hour, from your address or in all: wait, or make an account";
                refusal(StatusCode::StatusLimit, text)
            }
            _ => {
                self.list.push_back((now, reporter));
                Ok(())
            }
        }
    }
}
