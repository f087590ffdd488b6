//! What a shard's driver measures beside the kernel's counters: how long things take, handshakes, wake-ups, rings.
//!
//! Not a clock: times are those that the driver has read. Everything is plain and of one thread; `totals` names it for
//! the metrics. Cost: one reading of the clock a turn, at its end; a search in a dozen bounds for each turn, each packet
//! (not each copy of it) and each answer.

use echomesh_proto::time::{SECOND_US, Time};
use echomesh_shard::Histogram;

/// Bounds of what takes a shard microseconds, as it should.
const SHORT: &[u64] = &[20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000];

/// Bounds of how late a tick is: the runtime's timers are a millisecond or two late by themselves.
const LATE: &[u64] = &[2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000];

/// Bounds of what others do for a shard: a read from memory to a store that gives up.
const ASKED: &[u64] = &[
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 3_000_000,
    10_000_000,
];

/// How long a peak is told, at least: longer than the usual time between two scrapes.
const PEAK_US: u64 = 15 * SECOND_US;

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// With the certificate.
    Full,
    /// By a ticket of an earlier one.
    Resumed,
    /// It did not.
    Failed,
}

impl Handshake {
    /// Their names, in order.
    pub const NAMES: &'static [&'static str] = &["full", "resumed", "failed"];
    /// What they mean.
    #[cfg(test)]
    pub const HELP: &'static [&'static str] = &[
        "Done, with the certificate.",
        "Done, by a ticket of an earlier one.",
        "TLS found fault with what the client sent, or the client with the certificate.",
    ];
}

/// The most that was seen in the last `PEAK_US`, and up to as long before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peak {
    current: u64,
    before: u64,
    since: Time,
}

impl Peak {
    /// So much was there.
    pub fn note(&mut self, value: u64) {
        self.current = self.current.max(value);
    }

    /// Time has passed.
    pub fn pass(&mut self, now: Time) {
        if now.since_us(self.since) >= PEAK_US {
            (self.before, self.current, self.since) = (self.current, 0, now);
        }
    }

    /// The most.
    pub fn most(&self) -> u64 {
        self.current.max(self.before)
    }
}

/// All of it; histograms in microseconds.
#[derive(Clone, Debug)]
pub struct Measures {
    /// Of each packet with listeners here: from when the system had it to when its last copy was given back to it.
    pub forwarding: Histogram,
    /// Of each turn: from its start to when its voice was given to the system.
    pub turns: Histogram,
    /// Of each tick: how long after it was due it came.
    pub ticks_late: Histogram,
    /// Of each request to the store: until its answer was taken.
    pub store: Histogram,
    /// Likewise to its reader.
    pub reads: Histogram,
    /// Likewise to the hashers.
    pub hashes: Histogram,
    handshakes: [u64; Handshake::NAMES.len()],
    /// Of control connections, TLS included.
    pub tcp_received_bytes: u64,
    /// Likewise.
    pub tcp_sent_bytes: u64,
    /// Sleeping shards that this one woke.
    pub mesh_wakeups: u64,
    /// How often this one was woken, for rings of shards, store or hashers.
    pub wakeups: u64,
    /// Of the thread, as of the last tick; microseconds.
    pub cpu_us: u64,
    /// Bytes that waited in one control ring from another shard.
    pub control_ring: Peak,
    /// Bytes that waited in one voice ring from another shard.
    pub voice_ring: Peak,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            forwarding: Histogram::new(SHORT),
            turns: Histogram::new(SHORT),
            ticks_late: Histogram::new(LATE),
            store: Histogram::new(ASKED),
            reads: Histogram::new(ASKED),
            hashes: Histogram::new(ASKED),
            handshakes: [0; Handshake::NAMES.len()],
            tcp_received_bytes: 0,
            tcp_sent_bytes: 0,
            mesh_wakeups: 0,
            wakeups: 0,
            cpu_us: 0,
            control_ring: Peak::default(),
            voice_ring: Peak::default(),
        }
    }
}

impl Measures {
    /// A handshake is over.
    pub fn handshake(&mut self, how: Handshake) {
        self.handshakes[how as usize] += 1;
    }

    /// Handshakes that ended so, by place in [`Handshake::NAMES`].
    pub fn handshakes(&self, place: usize) -> u64 {
        self.handshakes[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a peak between two scrapes is seen by the next one, and forgotten in the end.
    #[test]
    fn a_peak_outlives_a_scrape() {
        let mut peak = Peak::default();
        let seconds = |seconds: u64| Time(seconds * SECOND_US);
        peak.note(7);
        peak.note(3);
        let told: Vec<u64> = (1..=40)
            .map(|second| {
                peak.pass(seconds(second));
                peak.most()
            })
            .collect();
        assert_eq!((told[14], told[28], told[29]), (7, 7, 0));
    }
}
