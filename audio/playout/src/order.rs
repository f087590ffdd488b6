//! The order of a stream's packets: which index is next, and what a packet that comes in is to it.
//!
//! Not the packets: `slots` has them, within [`SLOTS`] of the next one.
//! Bounds: O(1); remembers what became of the last 64 indices, to tell duplicates from late ones.

use crate::slots::SLOTS;

/// Packets in a row from far behind that mean that the stream began anew, not that one was lost for long.
const BEHIND_MAX: u32 = 3;

/// What a packet is to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is to be played, now or later.
    Wanted,
    /// It was played.
    Played,
    /// Its turn is over.
    Late,
    /// Its turn is over by far; the stream may have begun anew.
    FarBehind,
    /// The stream began anew with it.
    Restart,
}

/// Indices of one stream.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Index to play next; `None` before the first packet.
    next: Option<u64>,
    /// Highest index wanted since the stream began.
    newest: u64,
    /// Bit `n` is set if index `next - 1 - n` was played.
    history: u64,
    /// Packets in a row from far behind.
    behind: u32,
    /// Any turn is over: nothing can be put before `next` any more.
    started: bool,
}

impl Order {
    pub(crate) fn next(&self) -> u64 {
        self.next.unwrap_or(0)
    }

    /// Finds the place of a packet of this index, which is not buffered; a wanted one is from then on expected
    /// to be.
    pub(crate) fn place(&mut self, index: u64) -> Place {
        let next = *self.next.get_or_insert(index);
        if self.was_played(index) {
            return Place::Played;
        }
        if index >= next.saturating_add(SLOTS) {
            return Place::Restart;
        }
        if index < next {
            let before_start = !self.started && self.newest.saturating_sub(index) < SLOTS;
            if !before_start {
                return self.too_late(next - index);
            }
            self.next = Some(index);
        }
        self.behind = 0;
        self.newest = self.newest.max(index);
        Place::Wanted
    }

    fn too_late(&mut self, behind: u64) -> Place {
        if behind <= SLOTS {
            self.behind = 0;
            return Place::Late;
        }
        self.behind += 1;
        if self.behind < BEHIND_MAX { Place::FarBehind } else { Place::Restart }
    }

    /// The stream begins anew with this index.
    pub(crate) fn restart(&mut self, index: u64) {
        *self = Self { next: Some(index), newest: index, ..Self::default() };
    }

    /// The turn of all before `index` is over; none of them is here. Returns how many they are.
    pub(crate) fn pass_over_until(&mut self, index: u64) -> u64 {
        let missing = index.saturating_sub(self.next());
        self.history = if missing < u64::from(u64::BITS) { self.history << missing } else { 0 };
        self.next = Some(index);
        self.started = true;
        missing
    }

    /// The next one is used.
    pub(crate) fn used(&mut self) {
        self.history = self.history << 1 | 1;
        self.next = Some(self.next() + 1);
        self.started = true;
    }

    fn was_played(&self, index: u64) -> bool {
        let ago = self.next().saturating_sub(index);
        (1..=u64::from(u64::BITS)).contains(&ago) && self.history >> (ago - 1) & 1 == 1
    }
}
