//! Ending an account's sessions on every shard at once, those on their way included.
//!
//! The shard that decides says when it did, on the clock that all shards share; whatever session asked for its login
//! before that is meant. A later one has seen what the store holds now. So each shard remembers it for as long as a
//! login or a resume may be under way, and looks when one arrives.
//! Bounds: `REMEMBERED_MAX` at once, beyond which nothing more is decided, and `ACCOUNT_TOKENS_MAX` revoked tokens of one
//! account; one pass over the sessions for each.

use echomesh_proto::control::StatusCode;
use echomesh_proto::ids::{SessionId, UserId};
use echomesh_proto::time::{Now, SECOND_US, Time};
use prost::Message;

use crate::Shard;
use crate::counters::CloseReason;
use crate::effect::Effects;
use crate::mesh::Mesh;

/// Longer than any login or resume is under way.
const REMEMBERED_US: u64 = 60 * SECOND_US;

/// Sign-outs of one minute that are remembered.
const REMEMBERED_MAX: usize = 4_096;

/// Tokens of one account that were revoked in that time and are remembered: twice as many as it has. What else it does is
/// joined to one sign-out.
const ACCOUNT_TOKENS_MAX: usize = 64;

/// Sessions of an account are to end.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SignOut {
    #[prost(uint64, tag = "1")]
    pub(crate) user: u64,
    /// But for this one.
    #[prost(uint64, tag = "2")]
    pub(crate) except: u64,
    /// Only those that logged in by this token; 0: all.
    #[prost(uint64, tag = "3")]
    pub(crate) token: u64,
    /// Only those that logged in by password.
    #[prost(bool, tag = "4")]
    pub(crate) by_password: bool,
    /// Those that asked for their login no later than this.
    #[prost(uint64, tag = "5")]
    pub(crate) until_us: u64,
    /// What they are told.
    #[prost(string, tag = "6")]
    pub(crate) text: String,
    /// Nobody is spared who asked earlier than this: this is also the memory of an earlier sign-out that spared another,
    /// or nobody.
    #[prost(uint64, tag = "7")]
    pub(crate) all_before_us: u64,
}

/// What says whether a session is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    pub(crate) session: SessionId,
    pub(crate) user: UserId,
    /// The token it logged in by; 0: by password, or as a guest.
    pub(crate) token: u64,
    /// When it asked for its login.
    pub(crate) since: Time,
}

impl SignOut {
    fn means(&self, opened: Opened) -> bool {
        self.user == opened.user.0
            && (self.except != opened.session.0 || opened.since.0 < self.all_before_us)
            && (self.token == 0 || self.token == opened.token)
            && !(self.by_password && opened.token != 0)
            && opened.since.0 <= self.until_us
    }

    /// Whether both are about the same sessions, but for when they came and who is spared.
    fn is_like(&self, other: &Self) -> bool {
        (self.user, self.token, self.by_password) == (other.user, other.token, other.by_password)
    }

    /// One that means whom either of them means, so that devices that sign each other out all the time do not fill the
    /// memory.
    fn joined(self, other: Self) -> Self {
        let (earlier, later) = if self.until_us < other.until_us { (self, other) } else { (other, self) };
        let all_before_us = if earlier.except == later.except { earlier.all_before_us } else { earlier.until_us + 1 };
        Self { all_before_us: all_before_us.max(later.all_before_us), ..later }
    }
}

impl Shard {
    /// Whether one more may be decided.
    pub(crate) fn may_sign_out(&self) -> bool {
        self.sign_outs.len() < REMEMBERED_MAX
    }

    /// Whether an account may revoke one more token.
    pub(crate) fn may_revoke(&self, user: UserId) -> bool {
        let is_own = |sign_out: &SignOut| sign_out.user == user.0 && sign_out.token != 0;
        self.sign_outs.iter().filter(|(_, sign_out)| is_own(sign_out)).count() < ACCOUNT_TOKENS_MAX
    }

    /// Tells every shard, this one included.
    pub(crate) fn tell_sign_out(&mut self, now: Now, sign_out: SignOut) {
        self.tell_all(&Mesh::SignOut(SignOut { until_us: now.time.0, ..sign_out }));
    }

    pub(crate) fn signed_out(&mut self, now: Now, sign_out: SignOut, effects: &mut Effects) {
        let meant: Vec<SessionId> = self
            .sessions
            .values()
            .filter(|session| sign_out.means(session.opened()))
            .map(|session| session.id)
            .collect();
        for id in meant {
            self.expel_session(id, StatusCode::StatusKicked, &sign_out.text, CloseReason::SignedOut, effects);
        }
        let like = self.sign_outs.iter().position(|(_, other)| sign_out.is_like(other));
        let other = like.and_then(|at| self.sign_outs.remove(at)).map(|(_, other)| other);
        let joined = if let Some(other) = other { sign_out.joined(other) } else { sign_out };
        self.sign_outs.push_back((now.time, joined));
    }

    /// What ended a session that was on its way here.
    pub(crate) fn ended_by(&self, opened: Opened) -> Option<String> {
        let found = self.sign_outs.iter().find(|(_, sign_out)| sign_out.means(opened));
        found.map(|(_, sign_out)| sign_out.text.clone())
    }

    pub(crate) fn forget_sign_outs(&mut self, now: Now) {
        while self.sign_outs.front().is_some_and(|(time, _)| now.time.since_us(*time) > REMEMBERED_US) {
            self.sign_outs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: sign-outs that are joined, in whatever order they come, mean whom one of them means and nobody else
    /// (PROTOCOL M65). Method: all triples of few sessions, times and exceptions.
    #[test]
    fn joined_sign_outs_mean_whom_one_of_them_means() {
        let all: Vec<SignOut> = (0..9)
            .map(|case| SignOut { user: 1, except: case % 3, until_us: 2 * (case / 3), ..SignOut::default() })
            .collect();
        let opened = (0..24).map(|case| Opened {
            session: SessionId(1 + case % 3),
            user: UserId(1),
            token: 0,
            since: Time(case / 3),
        });
        let opened: Vec<Opened> = opened.collect();
        for (first, second, third) in (0..729).map(|case: usize| (&all[case % 9], &all[case / 9 % 9], &all[case / 81]))
        {
            let joined = first.clone().joined(second.clone().joined(third.clone()));
            let other_way = third.clone().joined(second.clone()).joined(first.clone());
            for opened in &opened {
                let expected = [first, second, third].iter().any(|one| one.means(*opened));
                assert_eq!(joined.means(*opened), expected, "{first:?} {second:?} {third:?} {opened:?}");
                assert_eq!(other_way.means(*opened), expected, "{first:?} {second:?} {third:?} {opened:?}");
            }
        }
    }
}
