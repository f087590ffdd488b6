//! Where a session is in the lines of a room, or in its direct lines: each is told once, in order, and those that came
//! while it was away are fetched before those that come now.
//!
//! While lines are missing, what comes live is not told: it is stored already (PROTOCOL M20), so it comes with the pages
//! that are being fetched, in its place. Not the requests: `lines` sends those.
//! In: numbers of lines. Out: whether to tell it; where to go on fetching. Bounds: `TOLD_MAX` numbers.

use std::collections::BTreeSet;

use echomesh_proto::time::Time;

/// Numbers of direct lines remembered as told.
const TOLD_MAX: usize = 1_024;

/// Direct lines of several conversations may come in another order than that of their numbers, within some milliseconds:
/// so many numbers back it is asked again. Far below `TOLD_MAX`.
const DIRECT_SLACK: u64 = 64;

/// What is missing.
#[derive(Clone, Debug, Default)]
struct Behind {
    /// Lines are known up to this one at least.
    ahead: u64,
    /// Lines up to this one are told.
    cursor: u64,
    /// Own lines that were acknowledged meanwhile: the driver knows them.
    acknowledged: BTreeSet<u64>,
    asked: bool,
    /// When to ask again.
    retry: Option<Time>,
    /// The newest line of the room is less than one that was told: its home has not heard of that one's storing yet, or
    /// it is another database, as after a restore. Then this is its newest line; the pages tell which it is.
    doubted: Option<u64>,
}

/// A place in a sequence of lines.
#[derive(Clone, Debug)]
pub(super) struct Follow {
    /// Newest line when it began; `None`: not known yet.
    base: Option<u64>,
    /// When to ask again where it began.
    base_retry: Option<Time>,
    /// First line that came live. Not one of one's own: an old one that was sent again is acknowledged, too.
    first: Option<u64>,
    last: u64,
    is_direct: bool,
    told: BTreeSet<u64>,
    behind: Option<Behind>,
}

impl Follow {
    /// In a room whose newest line is this.
    pub(super) fn room(newest: u64) -> Self {
        Self { base: Some(newest), last: newest, is_direct: false, ..Self::direct() }
    }

    /// In direct lines, of which nothing is known yet.
    pub(super) fn direct() -> Self {
        let told = BTreeSet::new();
        Self { base: None, base_retry: None, first: None, last: 0, is_direct: true, told, behind: None }
    }

    /// Whether it is known where it began.
    pub(super) fn has_base(&self) -> bool {
        self.base.is_some()
    }

    /// The newest line is this. What came live meanwhile is not older than where it began, though it may have been
    /// stored later than lines that are still to come.
    pub(super) fn set_base(&mut self, newest: u64) {
        let first = self.first.filter(|first| first.saturating_add(DIRECT_SLACK) > newest);
        self.base.get_or_insert(first.map_or(newest, |first| newest.min(first.saturating_sub(1))));
        self.last = self.last.max(newest);
        self.behind = None;
    }

    /// Where it began was not told: ask again then.
    pub(super) fn ask_base_at(&mut self, time: Time) {
        self.base_retry = Some(time);
    }

    /// Whether to ask where it began.
    pub(super) fn asks_base(&mut self, now: Time) -> bool {
        self.base_retry.take_if(|retry| now >= *retry).is_some()
    }

    /// The connection is lost: what comes from now on must be fetched.
    pub(super) fn lost(&mut self) {
        self.base_retry = None;
        // Where it began may have stayed untold: then with the first line that came.
        let Some(base) = self.base.or_else(|| self.first.map(|id| id.saturating_sub(1))) else { return };
        self.base = Some(base);
        let before = self.behind.take();
        let cursor = if self.is_direct { self.last.saturating_sub(DIRECT_SLACK).max(base) } else { self.last };
        // What was being fetched may be older than the last: one's own lines are told by their answers.
        let (ahead, cursor) = before.map_or((0, cursor), |behind| (behind.ahead, behind.cursor.min(cursor)));
        self.behind = Some(Behind { ahead, cursor, ..Behind::default() });
    }

    /// In the room again, whose newest line is this as far as its home knows: a page may have shown more. Whether lines
    /// are missing. `fresh`: after a new login, which the server may have been restarted for.
    pub(super) fn rejoined(&mut self, newest: u64, fresh: bool) -> bool {
        let Some(behind) = &mut self.behind else { return false };
        if fresh && newest < self.last {
            behind.doubted = Some(newest);
            behind.cursor = newest;
        }
        behind.ahead = behind.ahead.max(newest);
        if behind.ahead <= self.last && behind.doubted.is_none() {
            self.behind = None;
        }
        self.behind.is_some()
    }

    /// A line came live: whether to tell it.
    pub(super) fn live(&mut self, id: u64) -> bool {
        match &mut self.behind {
            Some(behind) => {
                behind.ahead = behind.ahead.max(id);
                false
            }
            None => {
                self.first.get_or_insert(id);
                self.is_new(id)
            }
        }
    }

    /// A change of a line came: whether to tell it. One of a line that is still to be fetched is in that line.
    pub(super) fn change(&self, id: u64) -> bool {
        self.behind.is_none() || id <= self.last
    }

    /// A line of one's own is stored: the driver is told by its answer.
    pub(super) fn acknowledged(&mut self, id: u64) {
        match &mut self.behind {
            Some(behind) if !self.is_direct => {
                behind.ahead = behind.ahead.max(id);
                behind.acknowledged.insert(id);
            }
            _ => {
                self.is_new(id);
            }
        }
    }

    fn is_new(&mut self, id: u64) -> bool {
        let newer = id > self.last;
        self.last = self.last.max(id);
        if !self.is_direct {
            return newer;
        }
        let new = self.told.insert(id);
        if self.told.len() > TOLD_MAX {
            self.told.pop_first();
        }
        new
    }

    /// Where to fetch from, if it is time to.
    pub(super) fn next_from(&mut self, now: Time) -> Option<u64> {
        let behind = self.behind.as_mut().filter(|behind| !behind.asked)?;
        if behind.retry.is_some_and(|retry| now < retry) {
            return None;
        }
        (behind.asked, behind.retry) = (true, None);
        Some(behind.cursor)
    }

    /// It was refused: ask again then.
    pub(super) fn retry_at(&mut self, time: Time) {
        if let Some(behind) = &mut self.behind {
            (behind.asked, behind.retry) = (false, Some(time));
        }
    }

    /// Lines up to this one have been told, or were told by answers.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Whether it waits to ask again.
    pub(super) fn is_waiting(&self) -> bool {
        self.behind.as_ref().is_some_and(|behind| behind.retry.is_some())
    }

    /// A page of lines came, oldest first: which of them to tell. Another page may be needed then.
    pub(super) fn page(&mut self, ids: &[u64], more: bool) -> Vec<bool> {
        let Some(mut behind) = self.behind.take() else { return vec![false; ids.len()] };
        if let Some(newest) = behind.doubted {
            if ids.contains(&self.last) {
                behind.doubted = None;
            } else if !more {
                self.last = newest;
            }
        }
        let tell = ids.iter().map(|id| self.is_new(*id) && !behind.acknowledged.remove(id)).collect();
        let Some(last) = ids.last().filter(|last| **last > behind.cursor) else {
            // Nothing more is there, though something was announced: it is deleted for its age.
            self.last = self.last.max(behind.ahead);
            return tell;
        };
        behind.cursor = *last;
        behind.asked = false;
        if more || behind.ahead > behind.cursor {
            self.behind = Some(behind);
        }
        tell
    }

    /// What is missing cannot be had.
    pub(super) fn give_up(&mut self) {
        if let Some(behind) = self.behind.take() {
            self.last = self.last.max(behind.ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(follow: &mut Follow, ids: &[u64], more: bool) -> Vec<u64> {
        let tell = follow.page(ids, more);
        ids.iter().zip(tell).filter(|(_, tell)| *tell).map(|(id, _)| *id).collect()
    }

    /// Goal: after a lost connection lines are told once and in order, whatever comes live meanwhile (PROTOCOL M83).
    #[test]
    fn missed_lines_come_once_and_in_order() {
        let mut follow = Follow::room(10);
        assert!(!follow.live(10) && follow.live(11) && !follow.live(11));
        follow.lost();
        assert!(!follow.live(14), "it comes with the pages");
        assert!(follow.change(11) && !follow.change(13));
        assert!(follow.rejoined(14, false));
        assert_eq!(follow.next_from(Time(0)), Some(11));
        assert_eq!(follow.next_from(Time(0)), None, "one at a time");
        assert!(!follow.live(15));
        follow.acknowledged(13);
        assert_eq!(told(&mut follow, &[12, 13], true), [12]);
        assert_eq!(follow.next_from(Time(0)), Some(13));
        assert_eq!(told(&mut follow, &[14], false), [14]);
        assert_eq!(follow.next_from(Time(0)), Some(14), "15 was stored meanwhile");
        assert_eq!(told(&mut follow, &[15, 16], false), [15, 16]);
        assert_eq!(follow.next_from(Time(0)), None);
        assert!(!follow.live(16), "a page was faster");
        assert!(follow.live(17));
    }

    /// Goal: where nothing was missed nothing is fetched; a line that is gone for its age does not keep it fetching; a
    /// restored database with lower numbers is followed.
    #[test]
    fn nothing_is_fetched_in_vain() {
        let mut follow = Follow::room(10);
        follow.lost();
        assert!(!follow.rejoined(10, true) && follow.next_from(Time(0)).is_none() && follow.live(11));
        follow.lost();
        assert!(follow.rejoined(12, true));
        assert_eq!(follow.next_from(Time(0)), Some(11));
        assert!(told(&mut follow, &[], false).is_empty() && follow.next_from(Time(0)).is_none());
        assert!(!follow.live(12) && follow.live(13));
        follow.lost();
        assert!(!follow.rejoined(3, false) && !follow.live(4));
        follow.lost();
        assert!(follow.rejoined(3, true));
        assert_eq!(follow.next_from(Time(0)), Some(3));
        assert!(told(&mut follow, &[], false).is_empty() && follow.live(4));
    }

    /// Goal: a home that has not heard yet of a line's storing, which a page showed, is not taken for another database.
    #[test]
    fn a_line_that_its_home_does_not_know_yet_is_told_once() {
        let mut follow = Follow::room(10);
        assert!(follow.live(13));
        follow.lost();
        assert!(follow.rejoined(12, true));
        assert_eq!(follow.next_from(Time(0)), Some(12));
        assert_eq!(told(&mut follow, &[13, 14], false), [14]);
        assert!(!follow.live(13) && !follow.live(14) && follow.live(15));
    }

    /// Goal: a line that was stored after one that came live, and whose own coming a killed server never sent, is fetched.
    #[test]
    fn what_follows_the_first_live_line_is_not_lost() {
        let mut follow = Follow::direct();
        assert!(follow.live(101));
        follow.set_base(102);
        follow.lost();
        assert_eq!(follow.next_from(Time(0)), Some(100));
        assert_eq!(told(&mut follow, &[101, 102], false), [102]);
    }

    /// Goal: a line of one's own that is stored while older ones are still fetched, and the connection is lost: they are
    /// fetched from where the pages ended.
    #[test]
    fn what_was_being_fetched_is_fetched_after_another_loss() {
        let mut follow = Follow::direct();
        follow.set_base(10);
        follow.lost();
        assert_eq!(follow.next_from(Time(0)), Some(10));
        assert_eq!(told(&mut follow, &[11, 12], true), [11, 12]);
        follow.acknowledged(10 + 3 * DIRECT_SLACK);
        follow.lost();
        assert_eq!(follow.next_from(Time(0)), Some(12));
    }

    /// Goal: direct lines of several conversations may cross: none is lost by that, none told twice.
    #[test]
    fn direct_lines_may_cross() {
        let mut follow = Follow::direct();
        assert!(!follow.has_base() && follow.live(101));
        follow.set_base(100);
        assert!(follow.live(103) && follow.live(102) && !follow.live(103));
        follow.lost();
        assert_eq!(follow.next_from(Time(0)), Some(100));
        follow.retry_at(Time(5));
        assert!(follow.is_waiting() && follow.next_from(Time(4)).is_none());
        assert_eq!(follow.next_from(Time(5)), Some(100));
        assert_eq!(told(&mut follow, &[101, 102, 103, 104], false), [104]);
    }
}
