//! Slow mode: how often an account may write in a room, by its home's clock.
//!
//! Not whether it may write at all. Bounds: `WRITERS_MAX` accounts remembered; the oldest is forgotten first.
//! Cost: a look-up a line, and a pass over those remembered when there are many.

use std::collections::BTreeMap;

use echomesh_proto::time::{MILLISECOND_US, SECOND_US, Time};

/// Accounts remembered in one room.
const WRITERS_MAX: usize = 5_000;

/// When accounts wrote last.
#[derive(Debug, Default)]
pub(crate) struct SlowMode {
    lines: BTreeMap<u64, Time>,
}

impl SlowMode {
    /// How long this account must wait before its next line, milliseconds; `None`: it writes now.
    pub(crate) fn wait_ms(&mut self, now: Time, user: u64, seconds: u32) -> Option<u32> {
        let us = u64::from(seconds) * SECOND_US;
        if us == 0 {
            self.lines.clear();
            return None;
        }
        let passed = self.lines.get(&user).map(|last| now.since_us(*last));
        if let Some(passed) = passed.filter(|passed| *passed < us) {
            return Some((us - passed).div_ceil(MILLISECOND_US) as u32);
        }
        if self.lines.len() >= WRITERS_MAX {
            self.forget(now, us);
        }
        self.lines.insert(user, now);
        None
    }

    /// The line was not stored: it does not count.
    pub(crate) fn take_back(&mut self, user: u64) {
        self.lines.remove(&user);
    }

    fn forget(&mut self, now: Time, us: u64) {
        self.lines.retain(|_, last| now.since_us(*last) < us);
        while self.lines.len() >= WRITERS_MAX {
            let oldest = self.lines.iter().min_by_key(|(_, last)| **last).map(|(user, _)| *user);
            let Some(oldest) = oldest else { return };
            self.lines.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a line within the time is refused with how long to wait, another account's is not, and what is
    /// remembered is bounded.
    #[test]
    fn lines_wait_for_their_time() {
        let mut slow = SlowMode::default();
        assert_eq!(slow.wait_ms(Time(0), 1, 10), None);
        assert_eq!(slow.wait_ms(Time(4 * SECOND_US), 1, 10), Some(6_000));
        assert_eq!(slow.wait_ms(Time(4 * SECOND_US), 2, 10), None);
        assert_eq!(slow.wait_ms(Time(10 * SECOND_US), 1, 10), None);
        slow.take_back(1);
        assert_eq!(slow.wait_ms(Time(10 * SECOND_US), 1, 10), None);
        for user in 0..2 * WRITERS_MAX as u64 {
            slow.wait_ms(Time(11 * SECOND_US), user, 10);
        }
        assert_eq!(slow.lines.len(), WRITERS_MAX);
        assert_eq!(slow.wait_ms(Time(11 * SECOND_US), 1, 0), None);
    }
}
