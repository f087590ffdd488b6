//! RTCP of one room's voice, on this side: what we receive is told to the server, and what it tells us is
//! kept for whoever asks.
//!
//! Not congestion control: a driver reads [`VoiceStatistics`] and decides. One report every 2 s while voice
//! comes or goes, else every 15 s, which keeps NAT bindings (RFC 4787 REQ-5 asks 2 min, some live 30 s).
//! Bounds: `BLOCKS_MAX` streams that have news are reported, the lowest SSRCs first. Source: RFC 3550 §6.4, RFC 3611.

use echomesh_proto::ids::Ssrc;
use echomesh_proto::reception::Reception;
use echomesh_proto::rtcp::{self, Item, ListenerLoss, REPORT_BYTES_MAX, ReportBlock, Writer};
use echomesh_proto::srtp::{RTCP_INDEX_BYTES, ReplayWindow, SealKey, TAG_BYTES};
use echomesh_proto::time::{MILLISECOND_US, SECOND_US, Time};

/// Streams in one report: a compound of so many stays below `REPORT_BYTES_MAX`.
const BLOCKS_MAX: usize = 4;

/// Between reports while nothing was heard from the server: it may not know our address yet.
const OPENING_REPORT_US: u64 = 200 * MILLISECOND_US;

/// Reports at that pace; alone in a room there is nothing to hear.
const OPENING_REPORTS: u32 = 5;

/// Between reports while there is something to report, and otherwise.
const BUSY_REPORT_US: u64 = 2 * SECOND_US;
const IDLE_REPORT_US: u64 = 15 * SECOND_US;

/// What the server's reports say of a room's voice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoiceStatistics {
    /// To the server and back, microseconds, as last measured.
    pub round_trip_us: Option<u64>,
    /// How the server receives us: its last report.
    pub uplink: Option<ReportBlock>,
    /// What most of our listeners lose of us.
    pub listeners: Option<ListenerLoss>,
}

/// When to report, and what was reported to us.
#[derive(Debug)]
pub(super) struct Reports {
    next_index: u32,
    sent: u32,
    due: Time,
    /// Something was sent or heard since the last report.
    pub(super) busy: bool,
    window: ReplayWindow,
    /// The server's clock, from whom, and when it came: given back in the next report, once.
    clock: Option<(Ssrc, u32, Time)>,
    pub(super) statistics: VoiceStatistics,
}

impl Reports {
    pub(super) fn new(now: Time) -> Self {
        let statistics = VoiceStatistics::default();
        Self { next_index: 0, sent: 0, due: now, busy: false, window: ReplayWindow::default(), clock: None, statistics }
    }

    pub(super) fn is_due(&mut self, now: Time) -> bool {
        // What begins while idle is reported soon.
        if self.busy {
            self.due = self.due.min(now.after_us(BUSY_REPORT_US));
        }
        now >= self.due
    }

    /// The next report is due at once.
    pub(super) fn hurry(&mut self, now: Time) {
        self.due = now;
    }

    /// Seals a report on these streams; `heard_any`: the server knows our address.
    pub(super) fn seal<'a>(
        &mut self,
        now: Time,
        own: (Ssrc, &str),
        heard: impl Iterator<Item = (Ssrc, &'a mut Reception)>,
        heard_any: bool,
        key: &SealKey,
        out: &mut [u8; REPORT_BYTES_MAX + TAG_BYTES + RTCP_INDEX_BYTES],
    ) -> usize {
        let mut blocks = Vec::with_capacity(BLOCKS_MAX);
        for (ssrc, reception) in heard.filter(|(_, reception)| reception.has_news()).take(BLOCKS_MAX) {
            blocks.push(reception.report(ssrc));
        }
        let list: Vec<ReportBlock> = blocks.iter().map(|(block, _)| *block).collect();
        let mut writer = Writer::new(out, own.0, own.1, &list).reference_time(now);
        if let Some((server, clock, since)) = self.clock.take() {
            writer = writer.echo(server, clock, rtcp::compact_ntp(Time(now.since_us(since))));
        }
        for (block, burst_ms) in blocks {
            let loss = ListenerLoss { ssrc: block.ssrc, loss: block.fraction_lost, burst_ms };
            writer = writer.loss(loss);
        }
        let plain = writer.finish();
        let sealed = key.seal_rtcp(out, plain, self.next_index);
        self.next_index += 1;
        self.sent += 1;
        let opening = !heard_any && self.sent < OPENING_REPORTS;
        let wait = match (opening, self.busy) {
            (true, _) => OPENING_REPORT_US,
            (false, true) => BUSY_REPORT_US,
            (false, false) => IDLE_REPORT_US,
        };
        self.busy = false;
        self.due = now.after_us(wait);
        sealed
    }

    /// An authenticated compound of the server. `false` if it was seen before.
    pub(super) fn take(&mut self, now: Time, own: Ssrc, index: u32, compound: &[u8]) -> bool {
        if !self.window.check(u64::from(index)) {
            return false;
        }
        self.window.accept(u64::from(index));
        let (statistics, clock) = (&mut self.statistics, &mut self.clock);
        rtcp::read(compound, |item| match item {
            Item::Report(block) if block.ssrc == own => statistics.uplink = Some(block),
            Item::Loss(loss) if loss.ssrc == own => statistics.listeners = Some(loss),
            Item::Echo { ssrc, reference, delay } if ssrc == own => {
                //= RFC 3611 §4.5
                //# the round-trip time is A - DLRR - LRR, in compact NTP time
                let round_trip = rtcp::compact_ntp(now).wrapping_sub(reference).wrapping_sub(delay);
                // A clock that seems to run backwards is rounding.
                let round_trip = if round_trip.cast_signed() < 0 { 0 } else { round_trip };
                statistics.round_trip_us = Some(rtcp::compact_ntp_us(round_trip));
            }
            Item::ReferenceTime(reference) => {
                *clock = rtcp::sender_ssrc(compound).map(|server| (server, reference, now));
            }
            Item::Report(_) | Item::Loss(_) | Item::Echo { .. } => {}
        });
        true
    }
}
