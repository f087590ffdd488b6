//! When a cue sounds: somebody comes or goes where the own voice is, the own switches change.
//!
//! Not how it sounds, which is the engine's. In: members' changes, the own switches, time. Out: at most one cue for each.
//! Bounds: one for comings and goings each `APART_US`, so that a crowd is one.

use echomesh_audio::engine::Cue;
use echomesh_client::MemberChange;
use echomesh_proto::time::{SECOND_US, Time};

use super::app::Own;

/// Least time between two cues of comings and goings, microseconds.
const APART_US: u64 = SECOND_US;

/// Who comes back so soon after oneself is no news: all lost the same server, microseconds.
const BACK_US: u64 = 5 * SECOND_US;

/// The rules, and what they need to know.
pub struct Cues {
    is_on: bool,
    last: Option<Time>,
    connected: Option<Time>,
    muted: bool,
    deafened: bool,
}

impl Cues {
    /// None sound if they are off. `own`: how it begins.
    pub fn new(is_on: bool, own: &Own) -> Self {
        Self { is_on, last: None, connected: None, muted: own.muted, deafened: own.deafened }
    }

    /// There is a connection again.
    pub fn connected_again(&mut self, now: Time) {
        self.connected = Some(now);
    }

    /// Somebody else came, went, or changed, where the own voice is.
    pub fn of_member(&mut self, now: Time, change: MemberChange) -> Option<Cue> {
        let cue = match change {
            MemberChange::Joined => Cue::Joined,
            MemberChange::Left => Cue::Left,
            MemberChange::Changed => return None,
        };
        // Who wants to hear nothing does not.
        let is_past = |since: Option<Time>, us| since.is_none_or(|since| now.since_us(since) >= us);
        let may = self.is_on && !self.deafened && is_past(self.last, APART_US) && is_past(self.connected, BACK_US);
        may.then(|| {
            self.last = Some(now);
            cue
        })
    }

    /// The own switches may have changed. Keys that are held for a word have no cue.
    pub fn of_own(&mut self, own: &Own) -> Option<Cue> {
        let was_muted = std::mem::replace(&mut self.muted, own.muted);
        let was_deafened = std::mem::replace(&mut self.deafened, own.deafened);
        let cue = match (own.deafened, own.muted) {
            (true, _) if !was_deafened => Cue::Deafened,
            (false, _) if was_deafened => Cue::Undeafened,
            (_, true) if !was_muted => Cue::Muted,
            (_, false) if was_muted => Cue::Unmuted,
            _ => return None,
        };
        self.is_on.then_some(cue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each change has its cue, a crowd has one a second, and who is deafened or wants none hears none.
    #[test]
    fn cues_tell_what_changed() {
        let mut own = Own::default();
        let mut cues = Cues::new(true, &own);
        assert_eq!(cues.of_member(Time(0), MemberChange::Joined), Some(Cue::Joined));
        for at in 1..10 {
            assert_eq!(cues.of_member(Time(at * 100_000), MemberChange::Left), None, "{at}");
        }
        assert_eq!(cues.of_member(Time(APART_US), MemberChange::Changed), None);
        assert_eq!(cues.of_member(Time(APART_US), MemberChange::Left), Some(Cue::Left));
        assert_eq!(cues.of_own(&own), None);
        own.pushed = true;
        assert_eq!(cues.of_own(&own), None, "a key that is held");
        own.muted = true;
        assert_eq!((cues.of_own(&own), cues.of_own(&own)), (Some(Cue::Muted), None));
        own.deafened = true;
        assert_eq!(cues.of_own(&own), Some(Cue::Deafened));
        assert_eq!(cues.of_member(Time(9 * APART_US), MemberChange::Joined), None, "deafened");
        (own.muted, own.deafened) = (false, false);
        assert_eq!((cues.of_own(&own), cues.of_own(&own)), (Some(Cue::Undeafened), None));
        cues.connected_again(Time(20 * APART_US));
        assert_eq!(cues.of_member(Time(20 * APART_US + BACK_US - 1), MemberChange::Joined), None, "back with oneself");
        assert_eq!(cues.of_member(Time(20 * APART_US + BACK_US), MemberChange::Joined), Some(Cue::Joined));
        let mut silent = Cues::new(false, &own);
        own.muted = true;
        assert_eq!((silent.of_own(&own), silent.of_member(Time(0), MemberChange::Joined)), (None, None));
    }
}
