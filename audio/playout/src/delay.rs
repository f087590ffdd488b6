//! How long to hold a speaker's packets, from how unevenly they arrive.
//!
//! Not the delay itself: `playout` moves towards the target when it may. A packet's transit is its arrival
//! minus its media time; the fastest of late is the reference, and how far others lag behind it is what the
//! delay has to cover. Fast up (at once), slow down (about 10 s).
//! Bounds: the target stays within `TARGET_US_MIN..=DELAY_US_MAX`; O(1) per packet.

/// Least delay aimed at, microseconds: one frame, as arrivals and pulls are not in step.
const TARGET_US_MIN: i64 = 20_000;

/// Delay aimed at before anything is known, microseconds: two frames.
const TARGET_US_START: i64 = 40_000;

/// Longest delay, microseconds: conversation suffers beyond 150 to 400 ms mouth to ear (ITU-T G.114 §4).
pub(crate) const DELAY_US_MAX: i64 = 200_000;

/// Added to the lag seen, microseconds: the next one may be a little worse.
const MARGIN_US: i64 = 5_000;

/// The target approaches what is needed by this part of the difference with each packet: with 50 packets a
/// second, a time constant of 10 s.
const SHRINK_DIVISOR: i64 = 512;

/// The fastest transit is of this and the previous span of time, microseconds each: long enough to meet
/// an undelayed packet, short enough that a clock 200 ppm off moves it by 1 ms only.
const SPAN_US: i64 = 4_000_000;

/// A lag beyond this, microseconds, is not the network: the sender's clock jumped, so the reference is void.
const JUMP_US: i64 = 1_000_000;

/// Arrival statistics of one speaker.
#[derive(Debug)]
pub(crate) struct Delay {
    target_us: i64,
    /// Fastest transit of the current and the previous span, microseconds.
    fastest: Option<[i64; 2]>,
    span_end_us: i64,
}

impl Delay {
    pub(crate) fn new() -> Self {
        Self { target_us: TARGET_US_START, fastest: None, span_end_us: 0 }
    }

    pub(crate) fn target_us(&self) -> i64 {
        self.target_us
    }

    /// When the fastest packets would have arrived with this position; `None` before the first packet.
    pub(crate) fn earliest_us(&self, position_us: i64) -> Option<i64> {
        self.fastest.map(|[current, previous]| current.min(previous).saturating_add(position_us))
    }

    /// Learns from a packet that is no duplicate.
    pub(crate) fn learn(&mut self, arrival_us: i64, position_us: i64) {
        let transit = arrival_us.saturating_sub(position_us);
        let lag = self.earliest_us(position_us).map(|earliest| arrival_us.saturating_sub(earliest));
        match (self.fastest, lag) {
            (Some([current, previous]), Some(lag)) if lag.abs() <= JUMP_US => {
                self.fastest = Some([current.min(transit), previous]);
                if arrival_us >= self.span_end_us {
                    self.fastest = Some([transit, current]);
                    self.span_end_us = arrival_us.saturating_add(SPAN_US);
                }
                self.aim(lag.max(0));
            }
            _ => {
                self.fastest = Some([transit; 2]);
                self.span_end_us = arrival_us.saturating_add(SPAN_US);
            }
        }
    }

    fn aim(&mut self, lag_us: i64) {
        let needed = (lag_us + MARGIN_US).clamp(TARGET_US_MIN, DELAY_US_MAX);
        if needed > self.target_us {
            self.target_us = needed;
        } else {
            self.target_us -= (self.target_us - needed) / SHRINK_DIVISOR;
        }
    }
}
