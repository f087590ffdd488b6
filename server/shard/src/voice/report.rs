//! RTCP ends here on each leg: a speaker is told how the server receives it, what its listeners lose, and
//! gets its clock back to measure the round trip; the server sends its own for the same.
//!
//! Not forwarded: reports of listeners are taken in and summed up (RFC 3550 §7 lets a mixer or translator do
//! so; an SFU is neither in full). In: authenticated compounds. Out: `Effect::Report`, sealed by the driver, and the
//! figures of `counters::Reported`.
//! Bounds: one report each `REPORT_TICKS` a stream with an address; the latest `SAMPLES` listeners' losses.
//! Source: RFC 3550 §6.4, RFC 3611 §4.4, §4.5, §4.7.

use std::collections::BTreeMap;

use echomesh_proto::ids::{ShardId, Ssrc};
use echomesh_proto::rtcp::{self, Item, ListenerLoss, REPORT_BYTES_MAX, ReportBlock, Writer};
use echomesh_proto::time::{Now, SECOND_US, Time};

use crate::Shard;
use crate::counters::{Drop, Reported};
use crate::effect::{Effect, Effects};
use crate::histogram::Histogram;
use crate::mesh::{Losses, Mesh};
use crate::overview::Quality;

/// Ticks between two reports to a client: 2 s.
const REPORT_TICKS: usize = 40;

/// Listeners' losses kept of a stream between two reports; beyond, the oldest are overwritten.
const SAMPLES: usize = 32;

/// Listeners' losses kept for other shards until the next tick.
const LOSSES_MAX: usize = 1_024;

/// SRTCP indices have 31 bits (RFC 3711 §3.4): at one report each 2 s for 136 years.
const INDEX_MAX: u32 = (1 << 31) - 1;

/// Streams of one compound that are taken as heard by its sender.
const ITEMS_MAX: usize = 31;

/// A round trip that a client cannot mean: its echo is of a clock that was not sent, or turned back.
const ROUND_TRIP_US_MAX: u64 = 60 * SECOND_US;

/// Compact NTP units of 15 µs that a round trip may be below nothing: each of three stamps is cut to one.
const ROUNDING: u32 = 3;

/// Units of jitter in a second: the media clock's (RFC 7587 §4.1).
const JITTER_HZ: u64 = 48_000;

/// A stream's RTCP.
#[derive(Debug)]
pub(crate) struct Reports {
    /// Of the next report to its client; never used again under one key.
    next_index: u32,
    /// The client's clock and when it came.
    clock: Option<(u32, Time)>,
    losses: [(u8, u16); SAMPLES],
    count: usize,
    /// As reported last, for who looks.
    pub(super) quality: Quality,
}

impl Reports {
    pub(crate) fn new() -> Self {
        Self { next_index: 0, clock: None, losses: [(0, 0); SAMPLES], count: 0, quality: Quality::default() }
    }

    fn loss(&mut self, loss: u8, burst_ms: u16) {
        self.losses[self.count % SAMPLES] = (loss, burst_ms);
        self.count += 1;
    }

    /// 75th percentile of loss and of burst length, since the last time.
    fn summary(&mut self, ssrc: Ssrc) -> Option<ListenerLoss> {
        let known = self.count.min(SAMPLES);
        let place = (known * 3).div_ceil(4).checked_sub(1)?;
        self.count = 0;
        let mut losses = self.losses.map(|(loss, _)| loss);
        let mut bursts = self.losses.map(|(_, burst_ms)| burst_ms);
        losses[..known].sort_unstable();
        bursts[..known].sort_unstable();
        Some(ListenerLoss { ssrc, loss: losses[place], burst_ms: bursts[place] })
    }
}

/// A share of 256 in millionths.
fn share_millionths(share: u8) -> u64 {
    u64::from(share) * 1_000_000 / 256
}

fn jitter_us(block: &ReportBlock) -> u64 {
    u64::from(block.jitter) * SECOND_US / JITTER_HZ
}

/// A block's loss and jitter: to the clients, or from them.
fn record(loss: &mut Histogram, jitter: &mut Histogram, block: &ReportBlock) {
    loss.record(share_millionths(block.fraction_lost));
    jitter.record(jitter_us(block));
}

/// How long our clock was on its way and back (RFC 3611 §4.5), microseconds; `None` if it cannot be that.
fn round_trip_us(now: Time, reference: u32, delay: u32) -> Option<u64> {
    let round_trip = rtcp::compact_ntp(now).wrapping_sub(reference).wrapping_sub(delay);
    // Some units backwards are rounding, at either end.
    let round_trip = if round_trip.wrapping_neg() <= ROUNDING { 0 } else { round_trip };
    Some(rtcp::compact_ntp_us(round_trip)).filter(|us| *us <= ROUND_TRIP_US_MAX)
}

/// The SSRC that this shard's reports come from: its number alone, which no stream has.
pub(crate) fn own_ssrc(shard: ShardId) -> Ssrc {
    Ssrc(u32::from(shard.0))
}

impl Shard {
    /// What an authenticated compound of this stream's client says.
    pub(crate) fn take_report(&mut self, now: Now, ssrc: Ssrc, compound: &[u8]) {
        let Some(stream) = self.streams.get_mut(&ssrc) else { return };
        let (room, own) = (stream.room, own_ssrc(self.config.shard));
        let mut told = [(Ssrc(0), 0, 0); ITEMS_MAX];
        let mut count = 0;
        let reports = &mut stream.reports;
        let Reported { downlink_loss, downlink_jitter, round_trip, .. } = &mut self.counters.reported;
        let whole = rtcp::read(compound, |item| match item {
            Item::ReferenceTime(clock) => reports.clock = Some((clock, now.time)),
            Item::Report(block) if count < ITEMS_MAX => {
                record(downlink_loss, downlink_jitter, &block);
                told[count] = (block.ssrc, block.fraction_lost, 0);
                count += 1;
            }
            // Says the same as the report block, and the bursts.
            Item::Loss(loss) => {
                if let Some(known) = told[..count].iter_mut().find(|(heard, ..)| *heard == loss.ssrc) {
                    *known = (loss.ssrc, loss.loss, loss.burst_ms);
                }
            }
            Item::Echo { ssrc, reference, delay } if ssrc == own => {
                if let Some(us) = round_trip_us(now.time, reference, delay) {
                    round_trip.record(us);
                    reports.quality.round_trip_us = Some(us);
                }
            }
            Item::Report(_) | Item::Echo { .. } => {}
        });
        if count > 0 {
            reports.quality.downlink_loss = told[..count].iter().map(|(_, loss, _)| *loss).max();
        }
        if !whole {
            self.counters.drop(Drop::BadReport);
        }
        for (heard, loss, burst_ms) in &told[..count] {
            // Of the room it is in, and of others than itself.
            if self.stream_rooms.get(heard) == Some(&room) && *heard != ssrc {
                self.listener_lost(*heard, *loss, *burst_ms);
            }
        }
    }

    fn listener_lost(&mut self, heard: Ssrc, loss: u8, burst_ms: u16) {
        if let Some(stream) = self.streams.get_mut(&heard) {
            stream.reports.loss(loss, burst_ms);
        } else if heard.shard() != self.config.shard && self.losses.len() < LOSSES_MAX {
            self.losses.push((heard, loss, burst_ms));
        }
    }

    /// From another shard: what listeners there lose of streams here.
    pub(crate) fn listeners_lost(&mut self, losses: &Losses) {
        for ((ssrc, loss), burst_ms) in losses.ssrcs.iter().zip(&losses.losses).zip(&losses.bursts_ms) {
            if let Some(stream) = self.streams.get_mut(&Ssrc(*ssrc)) {
                stream.reports.loss((*loss).min(255) as u8, (*burst_ms).min(u32::from(u16::MAX)) as u16);
            }
        }
    }

    /// Every tick: losses for other shards, and the reports that are due.
    pub(crate) fn report_tick(&mut self, now: Now, effects: &mut Effects) {
        let mut of_shards: BTreeMap<ShardId, Losses> = BTreeMap::new();
        for (ssrc, loss, burst_ms) in std::mem::take(&mut self.losses) {
            let losses = of_shards.entry(ssrc.shard()).or_default();
            losses.ssrcs.push(ssrc.0);
            losses.losses.push(u32::from(loss));
            losses.bursts_ms.push(u32::from(burst_ms));
        }
        for (shard, losses) in of_shards {
            self.tell(shard, Mesh::Losses(losses));
        }
        let mut copies = Vec::new();
        let (own, due) = (own_ssrc(self.config.shard), self.ticks % REPORT_TICKS);
        self.speakers = 0;
        for (ssrc, stream) in &mut self.streams {
            self.speakers += u64::from(stream.activity.is_active(now.time));
            // Spread over the ticks by the part of the SSRC that is not the shard.
            let turn = (ssrc.0 >> 8) as usize % REPORT_TICKS;
            let reachable = stream.address.is_some() || stream.tunnel.is_some();
            if turn != due || !reachable || stream.reports.next_index >= INDEX_MAX - 1 {
                continue;
            }
            let mut out = [0; REPORT_BYTES_MAX];
            let block = stream.reception.has_news().then(|| stream.reception.report(*ssrc).0);
            if let Some(block) = &block {
                let Reported { uplink_loss, uplink_jitter, .. } = &mut self.counters.reported;
                record(uplink_loss, uplink_jitter, block);
                stream.reports.quality.uplink = Some((block.fraction_lost, jitter_us(block)));
            }
            let writer = Writer::new(&mut out, own, &self.config.server_name, block.as_slice());
            let mut writer = writer.reference_time(now.time);
            if let Some((clock, since)) = stream.reports.clock.take() {
                writer = writer.echo(*ssrc, clock, rtcp::compact_ntp(Time(now.time.since_us(since))));
            }
            if let Some(summary) = stream.reports.summary(*ssrc) {
                writer = writer.loss(summary);
            }
            let length = writer.finish();
            if let Some(tunnel) = &stream.tunnel {
                copies.push(tunnel.seal_report(&out[..length], stream.reports.next_index));
                stream.reports.next_index += 1;
                self.counters.rtcp_sent += 1;
            }
            // To its address too, so that it learns when UDP works again.
            if stream.address.is_some() {
                let start = effects.bytes.len();
                effects.bytes.extend_from_slice(&out[..length]);
                let compound = start..effects.bytes.len();
                effects.list.push(Effect::Report { peer: stream.peer, compound, index: stream.reports.next_index });
                stream.reports.next_index += 1;
                self.counters.rtcp_sent += 1;
            }
        }
        self.send_copies(copies, effects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a round trip is what neither side kept the clock, over the wrap of 16 bits of seconds too; a clock that was
    /// never sent, or an answer before the question, is none.
    #[test]
    fn round_trips_are_told_from_nonsense() {
        let sent = Time(65_535 * SECOND_US);
        let back = Time(sent.0 + 3_040_000);
        let kept = rtcp::compact_ntp(Time(3 * SECOND_US));
        let us = round_trip_us(back, rtcp::compact_ntp(sent), kept).unwrap();
        assert!(us.abs_diff(40_000) < 50, "{us}");
        assert_eq!(round_trip_us(sent, rtcp::compact_ntp(sent), 1), Some(0), "rounding");
        assert_eq!(round_trip_us(sent, rtcp::compact_ntp(back), 0), None);
        assert_eq!(round_trip_us(sent, rtcp::compact_ntp(Time(sent.0 - 61 * SECOND_US)), 0), None);
    }

    /// Goal: the summary is what three quarters of the listeners are below, of the latest ones.
    #[test]
    fn the_summary_is_the_75th_percentile() {
        let mut reports = Reports::new();
        assert_eq!(reports.summary(Ssrc(1)), None);
        for loss in 0..100_u8 {
            reports.loss(loss, u16::from(loss) * 10);
        }
        let expected = ListenerLoss { ssrc: Ssrc(1), loss: 91, burst_ms: 910 };
        assert_eq!(reports.summary(Ssrc(1)), Some(expected));
        assert_eq!(reports.summary(Ssrc(1)), None);
        reports.loss(7, 20);
        assert_eq!(reports.summary(Ssrc(1)).map(|summary| summary.loss), Some(7));
    }
}
