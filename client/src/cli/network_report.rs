//! What the server reports of our voice, as the sender's adaptation takes it.
//!
//! Not RTCP: `session` reads that. Not a decision: `echomesh_audio::adapt` makes it.
//! In: [`VoiceStatistics`], as often as one likes. Out: a [`NetworkReport`] for each new report of the server,
//! which come every 2 s while one speaks.

use echomesh_audio::adapt::NetworkReport;
use echomesh_client::VoiceStatistics;
use echomesh_proto::rtcp::{ListenerLoss, ReportBlock};

/// Loss is told in parts of this (RFC 3550 §6.4.1).
const LOSS_WHOLE: f32 = 256.0;

/// Burst lengths are told in time, of packets of this length, milliseconds.
const PACKET_MS: f32 = 20.0;

/// Jitter's clock, ticks in a millisecond.
const TICKS_PER_MS: u64 = 48;

/// Bit rates that the network may ask for, bit/s.
pub const BITS_MIN: i32 = 16_000;
pub const BITS_MAX: i32 = 128_000;

/// Finds what is new.
#[derive(Debug, Default)]
pub struct NetworkReports {
    uplink: Option<ReportBlock>,
    listeners: Option<ListenerLoss>,
}

impl NetworkReports {
    /// The network as newly reported; `None` if nothing is new. Listeners' losses that came alone are one too.
    pub fn next(&mut self, statistics: &VoiceStatistics) -> Option<NetworkReport> {
        let VoiceStatistics { round_trip_us, uplink, listeners } = *statistics;
        if (uplink, listeners) == (self.uplink, self.listeners) {
            return None;
        }
        (self.uplink, self.listeners) = (uplink, listeners);
        let share = |part: u8| f32::from(part) / LOSS_WHOLE;
        let up = uplink.map_or(0.0, |block| share(block.fraction_lost));
        let whole = listeners.map_or(0.0, |listeners| share(listeners.loss));
        Some(NetworkReport {
            // A listener's way begins with ours, so the greater of both holds the smaller.
            loss: up.max(whole),
            burst_packets: listeners.map_or(0.0, |listeners| f32::from(listeners.burst_ms) / PACKET_MS),
            round_trip_us,
            jitter_us: uplink.map_or(0, |block| u64::from(block.jitter) * 1_000 / TICKS_PER_MS),
        })
    }
}

#[cfg(test)]
mod tests {
    use echomesh_proto::ids::Ssrc;

    use super::*;

    /// Goal: units are put right, each report is told once, and the worse loss counts.
    #[test]
    fn each_report_is_told_once() {
        let mut reports = NetworkReports::default();
        assert_eq!(reports.next(&VoiceStatistics::default()), None, "nothing was reported yet");
        let uplink = ReportBlock { ssrc: Ssrc(1), fraction_lost: 64, lost: 9, highest_sequence: 7, jitter: 480 };
        let listeners = ListenerLoss { ssrc: Ssrc(1), loss: 32, burst_ms: 50 };
        let statistics = VoiceStatistics { round_trip_us: Some(5), uplink: Some(uplink), listeners: Some(listeners) };
        let expected = NetworkReport { loss: 0.25, burst_packets: 2.5, round_trip_us: Some(5), jitter_us: 10_000 };
        assert_eq!(reports.next(&statistics), Some(expected));
        assert_eq!(reports.next(&statistics), None);
        let next = ReportBlock { highest_sequence: 8, fraction_lost: 0, ..uplink };
        let news = reports.next(&VoiceStatistics { uplink: Some(next), ..statistics });
        assert_eq!(news.map(|report| report.loss), Some(0.125));
    }
}
