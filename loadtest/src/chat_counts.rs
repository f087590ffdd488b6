//! Chat as it arrives: a line carries when it was said, and everyone who gets it counts.
//!
//! Lines of another epoch than the current one (an earlier measurement's) are not counted.

use std::fmt::Write;

use crate::clock;
use crate::histogram::Histogram;

/// Counts of one measurement.
#[derive(Debug, Default)]
pub struct ChatCounts {
    /// Told apart by it; 0: none.
    pub epoch: u64,
    /// Copies that others got.
    pub deliveries: u64,
    /// Lines the server acknowledged.
    pub stored: u64,
    /// Requests it refused or did not answer.
    pub refusals: u64,
    /// Said to got.
    pub deliver: Histogram,
    /// Said to acknowledged.
    pub acknowledge: Histogram,
}

/// Writes a line of this epoch, said at `time`, of about `length` bytes.
pub fn line(epoch: u64, time: u64, length: usize, out: &mut String) {
    out.clear();
    write!(out, "{epoch} {time} ").expect("a String takes all");
    while out.len() < length {
        out.push('x');
    }
}

fn said(content: &str) -> Option<(u64, u64)> {
    let mut words = content.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

impl ChatCounts {
    /// When this line was said, if it counts.
    fn time(&self, content: &str) -> Option<u64> {
        said(content).filter(|(epoch, _)| *epoch == self.epoch && *epoch != 0).map(|(_, time)| time)
    }

    /// Someone else's line came.
    pub fn delivered(&mut self, content: &str) {
        if let Some(time) = self.time(content) {
            self.deliveries += 1;
            self.deliver.record(clock::real().saturating_sub(time));
        }
    }

    /// The server has stored a line.
    pub fn acknowledged(&mut self, content: &str) {
        if let Some(time) = self.time(content) {
            self.stored += 1;
            self.acknowledge.record(clock::real().saturating_sub(time));
        }
    }

    /// A line will not be stored.
    pub fn refused(&mut self) {
        self.refusals += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a line is counted where it belongs, and what is none of ours is not.
    #[test]
    fn lines_are_counted_in_their_epoch() {
        let mut counts = ChatCounts { epoch: 7, ..ChatCounts::default() };
        let mut text = String::new();
        line(7, clock::real(), 60, &mut text);
        assert_eq!(text.len(), 60);
        counts.delivered(&text);
        counts.acknowledged(&text);
        for other in ["6 12 x", "hello", "", "7"] {
            counts.delivered(other);
        }
        assert_eq!((counts.deliveries, counts.stored, counts.deliver.percentiles_us().count), (1, 1, 1));
    }
}
