//! Slow mode: how often an account may write in a room, by its home's clock.
//!
//! Not whether it may write at all. A line that is sent again under its id is no new line, and passes.
//! Bounds: `WRITERS_MAX` accounts remembered; the oldest is forgotten first.
//! Cost: a look-up a line, and a pass over those remembered when there are many.

use std::collections::BTreeMap;

use echomesh_proto::time::{MILLISECOND_US, SECOND_US, Time};

/// Accounts remembered in one room.
const WRITERS_MAX: usize = 5_000;

/// An account's last line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Last {
    time: Time,
    /// The client's id of it; empty: none.
    client_id: String,
}

/// A line's turn to be written: what was noted of it, and what was there before.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    noted: Option<Last>,
    before: Option<Last>,
}

/// When accounts wrote last.
#[derive(Debug, Default)]
pub(crate) struct SlowMode {
    lines: BTreeMap<u64, Last>,
}

impl SlowMode {
    /// A turn for this account's next line.
    ///
    /// # Errors
    /// How long it must wait, milliseconds.
    pub(crate) fn turn(&mut self, now: Time, user: u64, client_id: &str, seconds: u32) -> Result<Turn, u32> {
        let us = u64::from(seconds) * SECOND_US;
        if us == 0 {
            self.lines.clear();
            return Ok(Turn::default());
        }
        let before = self.lines.get(&user).cloned();
        if let Some(last) = &before {
            if !client_id.is_empty() && last.client_id == client_id {
                return Ok(Turn::default());
            }
            let passed = now.since_us(last.time);
            if passed < us {
                return Err((us - passed).div_ceil(MILLISECOND_US) as u32);
            }
        }
        if self.lines.len() >= WRITERS_MAX {
            self.forget(now, us);
        }
        let last = Last { time: now, client_id: client_id.to_owned() };
        self.lines.insert(user, last.clone());
        Ok(Turn { noted: Some(last), before })
    }

    /// There is no new line after all: it does not count.
    pub(crate) fn take_back(&mut self, user: u64, turn: Turn) {
        // Unless slow mode was ended, or there is a later line.
        if turn.noted.is_none() || self.lines.get(&user) != turn.noted.as_ref() {
            return;
        }
        match turn.before {
            Some(before) => drop(self.lines.insert(user, before)),
            None => drop(self.lines.remove(&user)),
        }
    }

    fn forget(&mut self, now: Time, us: u64) {
        self.lines.retain(|_, last| now.since_us(last.time) < us);
        while self.lines.len() >= WRITERS_MAX {
            let oldest = self.lines.iter().min_by_key(|(_, last)| last.time).map(|(user, _)| *user);
            let Some(oldest) = oldest else { return };
            self.lines.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_ms(slow: &mut SlowMode, seconds: u64, user: u64, client_id: &str) -> Option<u32> {
        slow.turn(Time(seconds * SECOND_US), user, client_id, 10).err()
    }

    /// Goal: a line within the time is refused with how long to wait, another account's is not, and what is
    /// remembered is bounded.
    #[test]
    fn lines_wait_for_their_time() {
        let mut slow = SlowMode::default();
        assert_eq!(wait_ms(&mut slow, 0, 1, ""), None);
        assert_eq!(wait_ms(&mut slow, 4, 1, ""), Some(6_000), "lines without an id are not the same");
        assert_eq!(wait_ms(&mut slow, 4, 2, ""), None);
        assert_eq!(wait_ms(&mut slow, 10, 1, ""), None);
        for user in 0..2 * WRITERS_MAX as u64 {
            wait_ms(&mut slow, 11, user, "");
        }
        assert_eq!(slow.lines.len(), WRITERS_MAX);
        assert!(slow.turn(Time(11 * SECOND_US), 1, "", 0).is_ok());
        assert_eq!(slow.lines.len(), 0);
    }

    /// Goal: a line is sent again at any time and counts once; one that is taken back leaves what was before, but for
    /// a later one (PROTOCOL M21, M76).
    #[test]
    fn turns_are_taken_back() {
        let mut slow = SlowMode::default();
        let first = slow.turn(Time(0), 1, "a", 10).unwrap();
        slow.take_back(1, first);
        assert_eq!(wait_ms(&mut slow, 1, 1, "b"), None);
        let again = slow.turn(Time(8 * SECOND_US), 1, "b", 10).unwrap();
        slow.take_back(1, again);
        assert_eq!(wait_ms(&mut slow, 8, 1, "c"), Some(3_000));
        let failed = slow.turn(Time(11 * SECOND_US), 1, "c", 10).unwrap();
        slow.take_back(1, failed);
        assert_eq!(wait_ms(&mut slow, 11, 1, "d"), None);
        let slow_store = slow.turn(Time(21 * SECOND_US), 1, "e", 10).unwrap();
        assert_eq!(wait_ms(&mut slow, 31, 1, "f"), None);
        slow.take_back(1, slow_store);
        assert_eq!(wait_ms(&mut slow, 32, 1, "g"), Some(9_000));
    }
}
