//! How long to hold a speaker's packets, from how unevenly they arrive and how many are lost.
//!
//! Not the delay itself: `playout` moves towards the target when it may. A packet's transit is its arrival
//! minus its media time; the fastest of the last [`WINDOW`] packets is the reference, and how far others lag
//! behind it is what the delay has to cover: all but the worst few of the window. So one spike alone changes
//! nothing, several within half a minute do at once, and half a minute later they are forgotten.
//! Losses ask for more: a copy comes one packet later, a history as many as the burst is long.
//! Bounds: the target stays between the floor and `DELAY_US_MAX`; O(`WINDOW`) every few packets, else O(1).

use crate::losses::Losses;
use crate::mistakes::never_shrinks;
use crate::{FRAME_US, Redundancy};

/// Delay aimed at before anything is known, and kept while it might be right, microseconds: that of a usual
/// wireless network.
const TARGET_US_START: i64 = 56_000;

/// Packets before the arrivals are known well enough to aim below the start: 2 s.
const KNOWN_PACKETS: usize = 100;

/// Longest delay, microseconds: conversation suffers beyond 150 to 400 ms mouth to ear (ITU-T G.114 §4).
pub(crate) const DELAY_US_MAX: i64 = 200_000;

/// Longest delay for the sake of histories, microseconds: that much recovers bursts of four packets.
const HISTORY_US_MAX: i64 = 80_000;

/// Packets judged by: 30 s of 20 ms.
const WINDOW: usize = 1_500;

/// If the last so many packets all come too late, the delay grows at once.
const LATE_IN_A_ROW: usize = 8;

/// One packet in so many may come too late: a frame concealed every two seconds costs less than the delay
/// that would save it.
const LATE_ONE_IN: usize = 100;

/// Late packets that do not yet tell that the start was too short: what they say weighs as much as that.
const LATE_BEFORE: usize = 3;

/// Packets between two looks at the window, unless one came too late.
const LOOK_EVERY: u32 = 8;

/// The target stays as it is while the need is not more above or below it than this, microseconds: every
/// change is heard a little.
const RISE_US: i64 = 5_000;
const FALL_US: i64 = 10_000;

/// Packets that arrive within this time of each other after a stall are one event, microseconds.
const BURST_US: i64 = 3_000;

/// Packets of one stall that count: one long stall alone must not fill the window.
const BURST_PACKETS_MAX: u32 = 4;

/// A packet sooner than the fastest by this, microseconds, is not the network: the sender's clock jumped, so the
/// reference is void.
const JUMP_US: i64 = 1_000_000;

/// Without a packet for this long, microseconds, the clocks may have drifted apart: what was learnt is void.
const FORGET_US: u64 = 10_000_000;

/// So many packets in a row that lag beyond the longest delay mean that the way has become longer.
const LONGER_WAY_PACKETS: u32 = 25;

/// Arrival statistics of one speaker. Its default has no room, and only holds a place.
#[derive(Debug, Default)]
pub(crate) struct Delay {
    floor_us: i64,
    target_us: i64,
    /// Transits of the last packets, microseconds, and room to sort them.
    transits: Box<[i64]>,
    sorted: Box<[i64]>,
    count: usize,
    at: usize,
    fastest_us: Option<i64>,
    arrival_us: i64,
    burst: u32,
    unseen: u32,
    /// Packets in a row that lag beyond the longest delay, and the fastest of them.
    slow: u32,
    slow_fastest_us: i64,
}

impl Delay {
    pub(crate) fn new(floor_us: i64) -> Self {
        let room = || vec![0; WINDOW].into_boxed_slice();
        Self {
            floor_us: floor_us.clamp(0, DELAY_US_MAX),
            target_us: TARGET_US_START.max(floor_us).min(DELAY_US_MAX),
            transits: room(),
            sorted: room(),
            ..Self::default()
        }
    }

    /// Makes it as new.
    pub(crate) fn reset(&mut self) {
        let (transits, sorted) = (std::mem::take(&mut self.transits), std::mem::take(&mut self.sorted));
        let target_us = TARGET_US_START.max(self.floor_us);
        *self = Self { floor_us: self.floor_us, target_us, transits, sorted, ..Self::default() };
    }

    /// The stream began anew: its times are others.
    pub(crate) fn forget(&mut self) {
        self.fastest_us = None;
    }

    pub(crate) fn target_us(&self) -> i64 {
        self.target_us
    }

    /// When the fastest packets would have arrived with this position; `None` before the first packet.
    pub(crate) fn earliest_us(&self, position_us: i64) -> Option<i64> {
        self.fastest_us.map(|fastest| fastest.saturating_add(position_us))
    }

    /// Learns from a packet that is no duplicate. `true` if what was learnt before is void.
    pub(crate) fn learn(&mut self, arrival_us: i64, position_us: i64, losses: &Losses) -> bool {
        let transit = arrival_us.saturating_sub(position_us);
        let since = arrival_us.saturating_sub(self.arrival_us);
        self.arrival_us = arrival_us;
        let lag = self.fastest_us.map(|fastest| transit.saturating_sub(fastest));
        let known = lag.filter(|lag| *lag >= -JUMP_US && since.unsigned_abs() <= FORGET_US);
        let (Some(lag), false) = (known, self.is_longer_way(transit, lag.unwrap_or(0), since)) else {
            let first = self.fastest_us.is_none();
            self.begin_anew(transit);
            return !first;
        };
        if since <= BURST_US && lag < 0 && self.count < KNOWN_PACKETS {
            // All that is known was held up by the stall that ends now.
            self.count = 0;
            self.at = 0;
        }
        self.fastest_us = self.fastest_us.map(|fastest| fastest.min(transit));
        self.burst = if since <= BURST_US && lag > self.target_us { self.burst + 1 } else { 0 };
        if self.burst < BURST_PACKETS_MAX {
            self.keep(transit);
        }
        self.unseen += 1;
        if self.unseen >= LOOK_EVERY || lag > self.target_us {
            self.look(losses);
        }
        false
    }

    fn is_longer_way(&mut self, transit: i64, lag: i64, since: i64) -> bool {
        if lag <= DELAY_US_MAX {
            self.slow = 0;
            return false;
        }
        if since <= BURST_US {
            // What a stall held up comes all at once.
            return false;
        }
        self.slow_fastest_us = if self.slow == 0 { transit } else { self.slow_fastest_us.min(transit) };
        self.slow += 1;
        self.slow >= LONGER_WAY_PACKETS
    }

    fn begin_anew(&mut self, transit: i64) {
        let fastest = if self.slow > 0 { self.slow_fastest_us.min(transit) } else { transit };
        self.count = 0;
        self.at = 0;
        self.burst = 0;
        self.slow = 0;
        self.fastest_us = Some(fastest);
        self.keep(transit);
    }

    fn keep(&mut self, transit: i64) {
        self.transits[self.at] = transit;
        self.at = (self.at + 1) % WINDOW;
        self.count = (self.count + 1).min(WINDOW);
    }

    /// Sets the reference and the target by the window.
    fn look(&mut self, losses: &Losses) {
        self.unseen = 0;
        let sorted = &mut self.sorted[..self.count];
        sorted.copy_from_slice(&self.transits[..self.count]);
        sorted.sort_unstable();
        let fastest = sorted[0];
        self.fastest_us = Some(fastest);
        let late = self.count / LATE_ONE_IN;
        let lag = |rank: usize| sorted[rank].saturating_sub(fastest);
        let lag_of = |late: usize| lag(self.count - late.clamp(1, self.count));
        // Between the two, it is not known better than before.
        let (most, least) = (lag_of(late), lag_of(late + LATE_BEFORE));
        let mut needed = if most < TARGET_US_START { most } else { least.max(TARGET_US_START) };
        needed = needed.max(self.floor_us);
        let usual = lag(self.count / 2);
        let frame = FRAME_US as i64;
        needed = needed.max(match losses.redundancy() {
            Redundancy::None => 0,
            Redundancy::Copy => usual + frame,
            Redundancy::History => usual + (losses.burst() * frame).min(HISTORY_US_MAX),
        });
        needed = needed.min(DELAY_US_MAX);
        if self.count < KNOWN_PACKETS {
            needed = needed.max(TARGET_US_START);
        }
        let known = needed.max(self.in_a_row(fastest)).min(DELAY_US_MAX);
        if known > self.target_us + RISE_US || (known < self.target_us - FALL_US && !never_shrinks()) {
            self.target_us = known;
        }
    }

    /// The least lag of the last packets.
    fn in_a_row(&self, fastest: i64) -> i64 {
        if self.count < LATE_IN_A_ROW {
            return 0;
        }
        let last = (1..=LATE_IN_A_ROW).map(|ago| self.transits[(self.at + WINDOW - ago) % WINDOW]);
        last.min().map_or(0, |transit| transit.saturating_sub(fastest))
    }
}
