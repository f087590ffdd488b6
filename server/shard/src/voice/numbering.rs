//! Output numbers of one stream: a listener's key never sees the same SSRC and index twice, whatever
//! the sender does, and withheld packets leave no gap.
//!
//! Output index = uplink index − packets withheld before it, decided by uplink index, so that a late
//! packet gets the number its neighbours imply. Real loss stays a gap. The map is kept as a few
//! segments; what is older than the oldest is too late. A new uplink key continues the numbers.
//! Bounds: `SEGMENTS` segments, O(`SEGMENTS`) per packet, no allocation.

use crate::mistakes::{Mistake, planted};

/// Boundaries remembered: mute toggles within one replay window (128 packets, 2.5 s) are far fewer.
const SEGMENTS: usize = 8;

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbered {
    /// Forward under this 48-bit index; `first` after withheld packets or a new key.
    Forward { index: u64, first: bool },
    /// It falls into a withheld stretch.
    Withheld,
    /// It comes from before the oldest remembered boundary.
    TooLate,
}

#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    /// First uplink index.
    start: u64,
    /// Output index of `start`, or of the next forwarded packet if withheld.
    output: u64,
    withheld: bool,
}

/// The map of one stream.
#[derive(Debug)]
pub(crate) struct Numbering {
    segments: [Segment; SEGMENTS],
    count: usize,
    /// Next output index never given out.
    next: u64,
    /// Highest uplink index seen under this key.
    highest: u64,
}

impl Numbering {
    /// Numbers from `first` on. RFC 3711 wants a random start below 2^15 for the first sequence number.
    pub(crate) fn new(first: u64) -> Self {
        Self { segments: [Segment::default(); SEGMENTS], count: 0, next: first, highest: 0 }
    }

    /// The next index never given out.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The uplink has a new key: its indices begin anew, ours go on.
    pub(crate) fn new_key(&mut self) {
        self.count = 0;
        if planted(Mistake::ReuseIndex) {
            self.next = self.next.saturating_sub(3);
        }
    }

    /// Maps one authenticated packet that was never seen before. `withhold` is the rule as it is now; it
    /// takes effect with the first packet newer than all seen.
    pub(crate) fn map(&mut self, uplink: u64, withhold: bool) -> Numbered {
        let newer = self.count == 0 || uplink > self.highest;
        let last_withheld = self.count > 0 && self.segments[self.count - 1].withheld;
        let opens = self.count == 0 || (newer && withhold != last_withheld);
        if opens {
            self.open(uplink, withhold);
        }
        if newer {
            self.highest = uplink;
        }
        let Some(segment) = self.segments[..self.count].iter().rev().find(|segment| segment.start <= uplink) else {
            return Numbered::TooLate;
        };
        if segment.withheld {
            return Numbered::Withheld;
        }
        let index = segment.output + (uplink - segment.start);
        self.next = self.next.max(index + 1);
        Numbered::Forward { index, first: opens }
    }

    fn open(&mut self, start: u64, withheld: bool) {
        if self.count == SEGMENTS {
            self.segments.copy_within(1.., 0);
            self.count -= 1;
        }
        // A withheld stretch begins where forwarding would have gone on: packets lost just before it
        // keep their numbers. After it, numbers go on from there.
        let output = match self.count.checked_sub(1).map(|last| self.segments[last]) {
            Some(last) if !last.withheld => last.output + (start - last.start),
            Some(last) => last.output + u64::from(planted(Mistake::MuteOffByOne)),
            None => self.next,
        };
        self.segments[self.count] = Segment { start, output, withheld };
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forward(index: u64) -> Numbered {
        Numbered::Forward { index, first: false }
    }

    /// Goal: mute leaves no gap, loss does, late packets on either side keep their number.
    #[test]
    fn withheld_packets_leave_no_gap() {
        let mut numbering = Numbering::new(100);
        assert_eq!(numbering.map(1000, false), Numbered::Forward { index: 100, first: true });
        assert_eq!(numbering.map(1003, false), forward(103));
        assert_eq!(numbering.map(1004, true), Numbered::Withheld);
        assert_eq!(numbering.map(1009, true), Numbered::Withheld);
        assert_eq!(numbering.map(1010, false), Numbered::Forward { index: 104, first: true });
        assert_eq!(numbering.map(1002, false), forward(102));
        assert_eq!(numbering.map(1006, false), Numbered::Withheld);
        assert_eq!(numbering.map(1012, false), forward(106));
        assert_eq!(numbering.map(999, false), Numbered::TooLate);
    }

    /// Goal: a new uplink key goes on with fresh numbers only.
    #[test]
    fn a_new_key_continues_the_numbers() {
        let mut numbering = Numbering::new(0);
        numbering.map(10, false);
        numbering.map(15, false);
        numbering.new_key();
        assert_eq!(numbering.map(3, false), Numbered::Forward { index: 6, first: true });
        assert_eq!(numbering.map(2, false), Numbered::TooLate);
    }

    proptest! {
        /// Goal: no output index is ever given twice. Method: random packets in random order, each
        /// uplink index once per key, with mute toggled and keys renewed at random.
        #[test]
        fn no_index_is_given_twice(steps in prop::collection::vec((0u64..300, any::<bool>(), 0u8..60), 1..400)) {
            let mut numbering = Numbering::new(7);
            let mut seen = std::collections::HashSet::new();
            let mut given = std::collections::HashSet::new();
            for (uplink, withhold, roll) in steps {
                if roll == 0 {
                    numbering.new_key();
                    seen.clear();
                }
                if !seen.insert(uplink) {
                    continue;
                }
                if let Numbered::Forward { index, .. } = numbering.map(uplink, withhold) {
                    prop_assert!(given.insert(index), "index {index} twice");
                }
            }
        }
    }
}
