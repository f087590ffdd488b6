//! Ending an account's sessions on every shard at once, those on their way included.
//!
//! The shard that decides says when it did, on the clock that all shards share; whatever session asked for its login
//! before that is meant. A later one has seen what the store holds now. So each shard remembers it for as long as a
//! login or a resume may be under way, and looks when one arrives.
//! Bounds: `REMEMBERED_MAX` at once, beyond which nothing more is decided; one pass over the sessions for each.

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
            && self.except != opened.session.0
            && (self.token == 0 || self.token == opened.token)
            && !(self.by_password && opened.token != 0)
            && opened.since.0 <= self.until_us
    }

    fn replaces(&self, other: &Self) -> bool {
        (self.user, self.except, self.token, self.by_password)
            == (other.user, other.except, other.token, other.by_password)
    }
}

impl Shard {
    /// Whether one more may be decided.
    pub(crate) fn may_sign_out(&self) -> bool {
        self.sign_outs.len() < REMEMBERED_MAX
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
        self.sign_outs.retain(|(_, older)| !sign_out.replaces(older));
        self.sign_outs.push_back((now.time, sign_out));
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
