//! What one thread's clients heard and said in one step of voice, counted.
//!
//! Merged over the threads at the end of the step. Times are nanoseconds of the real-time clock.

use std::ops::Range;

use crate::histogram::Histogram;

/// Counts of one step.
#[derive(Debug, Default)]
pub struct Heard {
    /// Packets sent in it are measured; others are warm-up.
    pub measured: Range<u64>,
    /// Packets sent in the measured time, and in all.
    pub sent: u64,
    pub all_sent: u64,
    /// New copies of packets of the measured time, and of those how many before its end.
    pub received: u64,
    pub received_in_time: u64,
    /// All copies, whenever sent, those that came again included.
    pub all: u64,
    /// Copies of the measured time that came again.
    pub duplicates: u64,
    /// Copies of the measured time that were authenticated.
    pub opened: u64,
    /// Copies authenticated late, because their stream was announced late.
    pub held: u64,
    /// Datagrams that are of no known stream or frame.
    pub unknown: u64,
    /// Packets that the system or the session did not take.
    pub unsent: u64,
    /// Send to receive stamp.
    pub latency: Histogram,
    /// Due to send.
    pub late: Histogram,
}

impl Heard {
    /// Whether a packet that was sent then counts.
    pub fn is_measured(&self, sent: u64) -> bool {
        self.measured.contains(&sent)
    }

    /// A step begins: nothing is measured until `measured` is set.
    pub fn reset(&mut self) {
        let (mut latency, mut late) = (std::mem::take(&mut self.latency), std::mem::take(&mut self.late));
        latency.reset();
        late.reset();
        *self = Self { measured: 0..0, latency, late, ..Self::default() };
    }

    /// Takes in another thread's counts.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.all_sent += other.all_sent;
        self.received += other.received;
        self.received_in_time += other.received_in_time;
        self.all += other.all;
        self.duplicates += other.duplicates;
        self.opened += other.opened;
        self.held += other.held;
        self.unknown += other.unknown;
        self.unsent += other.unsent;
        self.latency.add(&other.latency);
        self.late.add(&other.late);
    }
}
