//! How to encode, by what the network reports: a kernel without I/O or clock.
//!
//! Not congestion control of many streams: one voice gives way when its packets are lost or queue up.
//! In: [`Adaptation::report`], about every 2 s. Out: [`Adaptation::settings`], for the encoder.
//!
//! # Rules
//! Loss is smoothed over reports: up in two, down in about ten. Each rule that names two figures changes at
//! the first and changes back at the second, so that no steady report makes it go to and fro.
//!
//! | what | when | then |
//! |---|---|---|
//! | expected loss | always | smoothed loss, rounded up to 5 %, at most 30 % |
//! | redundancy: none → FEC | loss ≥ 1 % (back below 0.3 %) | a copy of each frame in the next packet |
//! | FEC → DRED | loss ≥ 3 % in runs of ≥ 2.0 packets (back below 1.4) | FEC off, history in each packet |
//! | length of DRED | in DRED | twice the mean run and 40 ms, 100 to 500 ms |
//! | bit rate falls by a fifth | loss ≥ 10 %, or jitter ≥ 60 ms, or round trip ≥ its least of minutes + 250 ms | at most each 4 s |
//! | bit rate rises by 4 kbit/s | loss < 4 %, jitter < 30 ms, round trip < least + 120 ms, for 10 s | each 10 s |
//! | least bit rate | FEC, DRED | 20 and 24 kbit/s, where the range allows: below, libopus has no room for them |
//!
//! What the server allows ([`Adaptation::allow`]) is over all of these.
//!
//! With 10 ms low-delay frames there is no FEC (CELT has none), and no DRED: only rate and loss change.
//! It begins with FEC at 10 % loss: better than to learn in the first 2 s that it was wanted. A rate that
//! had to fall within 30 s of a rise is tried again after 60 s, then 120, up to 480, so that a link that bears
//! a rate and no more is not tried again and again; when it has held for 30 s, this is forgotten.
//! Bounds: a few numbers. Same reports, same settings.

use crate::codec::{EncoderSettings, Frame};

/// Bit rate at the start, bit/s.
const BITS_START: i32 = 32_000;

/// Least and greatest bit rate there can be, bit/s.
const BITS: std::ops::RangeInclusive<i32> = 6_000..=128_000;

/// Least bit rate with in-band FEC and with DRED, bit/s.
const BITS_FEC: i32 = 20_000;
const BITS_DRED: i32 = 24_000;

/// A rise, bit/s; a fall is to `FALL_NUMERATOR / FALL_DENOMINATOR`.
const RISE_BITS: i32 = 4_000;
const FALL_NUMERATOR: i32 = 4;
const FALL_DENOMINATOR: i32 = 5;

/// Between two falls, microseconds: a report of what the last one did must have come.
const FALL_US: u64 = 4_000_000;

/// Between two rises, or a fall and a rise, microseconds.
const RISE_US: u64 = 10_000_000;

/// From a fall until the rate that caused it is tried again, microseconds: at first, and what it grows to.
const TRY_US: u64 = 60_000_000;
const TRY_US_MAX: u64 = 480_000_000;

/// A fall so soon after a rise was caused by it, microseconds.
const BLAME_US: u64 = 30_000_000;

/// Share of a new report in the smoothed loss: when it is worse, when it is better.
const WORSE: f32 = 0.6;
const BETTER: f32 = 0.2;

/// Loss from which FEC is on, and below which it goes off.
const FEC_ON: f32 = 0.01;
const FEC_OFF: f32 = 0.003;

/// Loss, and mean run of lost packets, from which DRED is on; run below which FEC is back.
const DRED_LOSS: f32 = 0.03;
const DRED_ON: f32 = 2.0;
const DRED_OFF: f32 = 1.4;

/// Longest run believed, packets: 1 s, beyond what any redundancy covers.
const BURST_MAX: f32 = 50.0;

/// History sent, milliseconds.
const DRED_MS: std::ops::RangeInclusive<u32> = 100..=500;

/// Steps of the history's length, milliseconds: small changes of the mean run change nothing.
const DRED_STEP_MS: u32 = 20;

/// Loss, jitter and round trip over its least at which the rate falls.
const FALL_LOSS: f32 = 0.10;
const FALL_JITTER_US: u64 = 60_000;
const FALL_QUEUE_US: u64 = 250_000;

/// The same, below which it rises.
const RISE_LOSS: f32 = 0.04;
const RISE_JITTER_US: u64 = 30_000;
const RISE_QUEUE_US: u64 = 120_000;

/// Reports in which the least round trip comes to most of a longer one: a minute.
const ROUTE_REPORTS: u64 = 32;

/// Loss told to the encoder: in steps, and at most so much. Beyond, copies take too much from the speech.
const LOSS_STEP_PERCENT: i32 = 5;
const LOSS_PERCENT_MAX: i32 = 30;

/// What the network did with our packets lately.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkReport {
    /// Share of packets lost, 0 to 1: of the worse of the way to the server and most listeners' whole way.
    pub loss: f32,
    /// Mean length of a run of lost packets; 1 if losses come alone, 0 if not known.
    pub burst_packets: f32,
    /// To the server and back, microseconds.
    pub round_trip_us: Option<u64>,
    /// Interarrival jitter, microseconds.
    pub jitter_us: u64,
}

/// What lost packets are made up for with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redundancy {
    None,
    Fec,
    Dred,
}

/// The adaptation of one voice.
#[derive(Clone, Debug)]
pub struct Adaptation {
    frame: Frame,
    /// Least and greatest bit rate that the owner wants, and those that the server allows of them.
    wanted: (i32, i32),
    bits_min: i32,
    bits_max: i32,
    bits: i32,
    loss: f32,
    burst_packets: f32,
    redundancy: Redundancy,
    dred_ms: u32,
    loss_percent: i32,
    round_trip_min_us: Option<u64>,
    last_rise_us: Option<u64>,
    last_fall_us: Option<u64>,
    /// Since when nothing speaks against a rise.
    calm_since_us: Option<u64>,
    /// The most that the network bore, and how long after the last fall more is tried again.
    ceiling: Option<i32>,
    try_us: u64,
}

impl Adaptation {
    /// The range of bit rates, bit/s, is put right if it is none.
    #[must_use]
    pub fn new(bits_min: i32, bits_max: i32, frame: Frame) -> Self {
        let bits_min = bits_min.clamp(*BITS.start(), *BITS.end());
        let bits_max = bits_max.clamp(bits_min, *BITS.end());
        Self {
            frame,
            wanted: (bits_min, bits_max),
            bits_min,
            bits_max,
            bits: BITS_START.clamp(bits_min, bits_max),
            loss: 0.05,
            burst_packets: 0.0,
            redundancy: if frame == Frame::Ms20 { Redundancy::Fec } else { Redundancy::None },
            dred_ms: *DRED_MS.start(),
            loss_percent: 10,
            round_trip_min_us: None,
            last_rise_us: None,
            last_fall_us: None,
            calm_since_us: None,
            ceiling: None,
            try_us: TRY_US,
        }
    }

    /// The server allows so many bit/s from now on; 0: any number. Below the range, the range is this one rate.
    pub fn allow(&mut self, bitrate_max: u32) {
        let allowed = match bitrate_max {
            0 => *BITS.end(),
            bits => i32::try_from(bits).unwrap_or(i32::MAX).max(*BITS.start()),
        };
        (self.bits_min, self.bits_max) = (self.wanted.0.min(allowed), self.wanted.1.min(allowed));
        if self.redundancy == Redundancy::Dred && !self.has_room_for_dred() {
            self.redundancy = Redundancy::Fec;
        }
        self.bits = self.bits.clamp(self.least_bits(), self.bits_max);
    }

    /// How to encode now.
    #[must_use]
    pub fn settings(&self) -> EncoderSettings {
        EncoderSettings {
            bits_per_second: self.bits,
            fec: self.redundancy == Redundancy::Fec,
            dred_ms: if self.redundancy == Redundancy::Dred { self.dred_ms } else { 0 },
            expected_loss_percent: self.loss_percent,
            frame: self.frame,
            ..EncoderSettings::default()
        }
    }

    /// Takes a report. Impossible figures count as the nearest possible ones.
    pub fn report(&mut self, now_us: u64, report: NetworkReport) {
        let loss = if report.loss.is_nan() { 0.0 } else { report.loss.clamp(0.0, 1.0) };
        self.loss += (loss - self.loss) * if loss > self.loss { WORSE } else { BETTER };
        // Without loss there are no runs to be told of, and the last ones are the best guess.
        if loss > 0.0 && report.burst_packets >= 1.0 {
            let burst = report.burst_packets.min(BURST_MAX);
            self.burst_packets +=
                (burst - self.burst_packets) * if burst > self.burst_packets { WORSE } else { BETTER };
        }
        self.choose_redundancy();
        self.choose_loss();
        self.choose_rate(now_us, loss, &report);
        self.bits = self.bits.clamp(self.least_bits(), self.bits_max);
    }

    fn has_room_for_dred(&self) -> bool {
        self.bits_max >= BITS_DRED
    }

    fn choose_redundancy(&mut self) {
        if self.frame != Frame::Ms20 {
            return;
        }
        let bursts = self.loss >= DRED_LOSS && self.burst_packets >= DRED_ON && self.has_room_for_dred();
        self.redundancy = match self.redundancy {
            Redundancy::None if self.loss < FEC_ON => Redundancy::None,
            _ if self.loss < FEC_OFF => Redundancy::None,
            Redundancy::Dred if self.burst_packets >= DRED_OFF && self.has_room_for_dred() => Redundancy::Dred,
            _ if bursts => Redundancy::Dred,
            _ => Redundancy::Fec,
        };
        // A frame is 20 ms; twice the mean run covers most of them.
        let wanted = (self.burst_packets * 2.0 * 20.0) as u32 + 40;
        let wanted = wanted.clamp(*DRED_MS.start(), *DRED_MS.end()).next_multiple_of(DRED_STEP_MS);
        if wanted.abs_diff(self.dred_ms) > DRED_STEP_MS || wanted == *DRED_MS.end() {
            self.dred_ms = wanted;
        }
    }

    fn choose_loss(&mut self) {
        let percent = self.loss * 100.0;
        let step = LOSS_STEP_PERCENT as f32;
        let wanted = ((percent / step).ceil() as i32 * LOSS_STEP_PERCENT).clamp(LOSS_STEP_PERCENT, LOSS_PERCENT_MAX);
        // Down only when the loss is clearly within the lower step.
        if wanted > self.loss_percent || percent < (self.loss_percent - LOSS_STEP_PERCENT) as f32 - 1.0 {
            self.loss_percent = wanted;
        }
    }

    /// Least bit rate for what is sent beside the speech.
    fn least_bits(&self) -> i32 {
        let wanted = match self.redundancy {
            Redundancy::None => self.bits_min,
            Redundancy::Fec => BITS_FEC,
            Redundancy::Dred => BITS_DRED,
        };
        wanted.clamp(self.bits_min, self.bits_max)
    }

    /// How much longer the round trip is than the least seen. The least rises slowly towards what is measured:
    /// a route that became longer is no queue for ever.
    fn queue_us(&mut self, round_trip_us: Option<u64>) -> u64 {
        let Some(now) = round_trip_us else { return 0 };
        let least = self.round_trip_min_us.map_or(now, |least| least + now.saturating_sub(least) / ROUTE_REPORTS);
        let least = least.min(now);
        self.round_trip_min_us = Some(least);
        now - least
    }

    fn choose_rate(&mut self, now_us: u64, loss: f32, report: &NetworkReport) {
        let queue_us = self.queue_us(report.round_trip_us);
        let (loss_now, loss) = (loss, self.loss);
        let bad = (loss >= FALL_LOSS && loss_now >= FALL_LOSS)
            || report.jitter_us >= FALL_JITTER_US
            || queue_us >= FALL_QUEUE_US;
        let calm = loss < RISE_LOSS && report.jitter_us < RISE_JITTER_US && queue_us < RISE_QUEUE_US;
        let since = |then: Option<u64>| then.map_or(u64::MAX, |then| now_us.saturating_sub(then));
        if bad {
            self.calm_since_us = None;
            if since(self.last_fall_us) >= FALL_US {
                self.fall(now_us, since(self.last_rise_us));
            }
        } else if calm {
            let calm_since = *self.calm_since_us.get_or_insert(now_us);
            let waited = now_us.saturating_sub(calm_since).min(since(self.last_rise_us)).min(since(self.last_fall_us));
            if waited >= RISE_US {
                self.rise(now_us, since(self.last_rise_us), since(self.last_fall_us));
            }
        } else {
            self.calm_since_us = None;
        }
    }

    fn fall(&mut self, now_us: u64, since_rise_us: u64) {
        if since_rise_us < BLAME_US {
            // The same rate as before, or thereabouts: it is tried more seldom.
            if self.ceiling.is_some() {
                self.try_us = (2 * self.try_us).min(TRY_US_MAX);
            }
            self.ceiling = Some(self.bits - RISE_BITS);
            // Further falls of this congestion are not the rise's fault.
            self.last_rise_us = None;
        }
        self.last_fall_us = Some(now_us);
        self.bits = self.bits * FALL_NUMERATOR / FALL_DENOMINATOR;
    }

    fn rise(&mut self, now_us: u64, since_rise_us: u64, since_fall_us: u64) {
        if self.ceiling.is_some_and(|ceiling| self.bits > ceiling) && since_rise_us >= BLAME_US {
            (self.ceiling, self.try_us) = (None, TRY_US);
        }
        let risen = self.bits + RISE_BITS;
        let barred = self.ceiling.is_some_and(|ceiling| {
            // What was just tried has to hold before more is.
            risen > ceiling && (since_fall_us < self.try_us || self.bits > ceiling)
        });
        if self.bits < self.bits_max && !barred {
            self.last_rise_us = Some(now_us);
            self.bits = risen;
        }
    }
}
