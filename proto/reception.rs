//! How one stream is received: loss, jitter and bursts, for the report blocks of RTCP.
//!
//! In: each packet's 48-bit index, its media time and when it arrived. Out: a [`ReportBlock`] now and then.
//! Bounds: constant space, a few additions a packet.
//! Source: RFC 3550 §6.4.1 and §A.3, §A.8.

use crate::ids::Ssrc;
use crate::rtcp::ReportBlock;
use crate::time::{MediaTime, Time};

/// Length of a packet for which a burst is told, milliseconds: RFC 7587's default frame.
const PACKET_MS: u64 = 20;

/// What is known of one stream's reception.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reception {
    begun: bool,
    first: u64,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// Arrival minus media time, 48 kHz, of the packet before.
    transit: u32,
    /// In 16ths of a unit, as §A.8 keeps it.
    jitter_16ths: u32,
    /// Packets missing before the newest, and how often, since the last report.
    missing: u64,
    bursts: u64,
}

impl Reception {
    /// One packet that was authenticated and not seen before.
    pub fn packet(&mut self, index: u64, media_time: MediaTime, arrival: Time) {
        // 48 kHz ticks: 6 for each 125 µs.
        let ticks = (u128::from(arrival.0) * 6 / 125) as u32;
        let transit = ticks.wrapping_sub(media_time.0);
        if !self.begun {
            *self = Self { begun: true, first: index, highest: index, transit, ..Self::default() };
        }
        self.received += 1;
        self.first = self.first.min(index);
        if index > self.highest + 1 {
            self.missing += index - self.highest - 1;
            self.bursts += 1;
        }
        self.highest = self.highest.max(index);
        //= RFC 3550 §6.4.1
        //# J(i) = J(i-1) + (|D(i-1,i)| - J(i-1))/16
        let difference = transit.wrapping_sub(self.transit).cast_signed().unsigned_abs();
        self.transit = transit;
        self.jitter_16ths = self.jitter_16ths.saturating_add(difference) - ((self.jitter_16ths + 8) >> 4);
    }

    /// Whether anything came since the last report.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.received > self.received_before
    }

    /// What to report, and the typical length of a burst of losses since the last report, milliseconds.
    pub fn report(&mut self, ssrc: Ssrc) -> (ReportBlock, u16) {
        let expected = if self.begun { self.highest - self.first + 1 } else { 0 };
        let expected_now = expected - self.expected_before.min(expected);
        let received_now = self.received - self.received_before;
        (self.expected_before, self.received_before) = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction_lost = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8;
        let burst_ms = (self.missing * PACKET_MS).checked_div(self.bursts).unwrap_or(0).min(u64::from(u16::MAX)) as u16;
        (self.missing, self.bursts) = (0, 0);
        let lost = expected.cast_signed() - self.received.cast_signed();
        let block = ReportBlock {
            ssrc,
            fraction_lost,
            lost: lost.clamp(-0x80_0000, 0x7F_FFFF) as i32,
            highest_sequence: self.highest as u32,
            jitter: self.jitter_16ths >> 4,
        };
        (block, burst_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: loss is what is missing, duplicates aside, since the last report and in all.
    #[test]
    fn losses_are_counted_by_interval() {
        let mut reception = Reception::default();
        let packet = |reception: &mut Reception, index: u64| {
            reception.packet(index, MediaTime(index as u32 * 960), Time(index * 20_000));
        };
        for index in (100..200).filter(|index| index % 10 != 3) {
            packet(&mut reception, index);
        }
        let (block, burst_ms) = reception.report(Ssrc(1));
        assert_eq!((block.fraction_lost, block.lost, block.highest_sequence, block.jitter), (25, 10, 199, 0));
        assert_eq!(burst_ms, 20);
        for index in (200..300).filter(|index| !(250..255).contains(index)) {
            packet(&mut reception, index);
        }
        let (block, burst_ms) = reception.report(Ssrc(1));
        assert_eq!((block.fraction_lost, block.lost, burst_ms), (12, 15, 100));
        assert!(!reception.has_news());
        assert_eq!(reception.report(Ssrc(1)).0.fraction_lost, 0);
    }

    /// Goal: the jitter of RFC 3550 §A.8. Method: arrivals 10 ms early and late in turn differ by 20 ms, 960
    /// ticks, to which the average comes close.
    #[test]
    fn jitter_is_the_rfcs() {
        let mut reception = Reception::default();
        for index in 0..500_u64 {
            let arrival = 1_000_000 + index * 20_000 + if index % 2 == 0 { 0 } else { 20_000 };
            reception.packet(index, MediaTime(index as u32 * 960), Time(arrival));
        }
        let jitter = reception.report(Ssrc(1)).0.jitter;
        assert!((940..=960).contains(&jitter), "{jitter}");
    }
}
