//! RTCP (RFC 3550 §6) and its extended reports (RFC 3611), as far as voice between a client and its server
//! needs them: reception, round trip, and what a speaker's listeners lose. Big-endian, nothing allocates.
//!
//! Not encryption (see `srtp`) and not the statistics themselves (`reception`).
//! In: the bytes of one compound. Out: [`Item`]s; or the other way, by [`Writer`].
//! Bounds: what does not fit is not written; a length that does not add up ends the reading.

use crate::ids::Ssrc;
use crate::time::Time;

/// RFC 3550 §12.1 packet types; RFC 3611 §2 for extended reports.
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const EXTENDED_REPORT: u8 = 207;

/// RFC 3550 §6.5 item type.
const CNAME: u8 = 1;

/// RFC 3611 §4 block types.
const REFERENCE_TIME: u8 = 4;
const DLRR: u8 = 5;
const VOIP_METRICS: u8 = 7;

/// Bytes of a report block (RFC 3550 §6.4.1), and of a sender's information in a sender report.
const BLOCK_BYTES: usize = 24;
const SENDER_BYTES: usize = 20;

/// Words of the blocks after their header (RFC 3611 §4.4, §4.5 with one entry, §4.7).
const REFERENCE_TIME_WORDS: u16 = 2;
const DLRR_WORDS: u16 = 3;
const VOIP_METRICS_WORDS: u16 = 8;

/// Report blocks in one receiver report: its count has 5 bits.
const BLOCKS_MAX: usize = 31;

/// Longest name written; a longer one is cut.
const CNAME_BYTES_MAX: usize = 64;

/// Longest compound that a [`Writer`] of this size fills, bytes: a report of 8 streams, the name, and the
/// extended blocks, well below a datagram.
pub const REPORT_BYTES_MAX: usize = 512;

/// Middle 32 bits of an NTP timestamp (RFC 3550 §4): 16.16 seconds. Any clock will do that the other side
/// only gives back.
#[must_use]
pub fn compact_ntp(time: Time) -> u32 {
    ((u128::from(time.0) << 16) / 1_000_000) as u32
}

/// Length of a compact NTP interval, microseconds.
#[must_use]
pub fn compact_ntp_us(interval: u32) -> u64 {
    (u64::from(interval) * 1_000_000) >> 16
}

/// How one stream is received (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: Ssrc,
    /// Lost since the last report, in 256ths of what was expected.
    pub fraction_lost: u8,
    /// Lost since the beginning; 24 bits with sign on the wire.
    pub lost: i32,
    /// Highest sequence number received, with its rollovers in the high 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter, in units of the 48 kHz clock.
    pub jitter: u32,
}

/// What a speaker's listeners lose, told to it as one VoIP metrics block (RFC 3611 §4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLoss {
    /// The speaker's stream.
    pub ssrc: Ssrc,
    /// Share of packets lost by most listeners, in 256ths.
    pub loss: u8,
    /// Typical length of a burst of losses, milliseconds.
    pub burst_ms: u16,
}

/// One thing that a compound says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// Reception of a stream, by the compound's sender.
    Report(ReportBlock),
    /// The sender's clock (RFC 3611 §4.4), as [`compact_ntp`] gives it.
    ReferenceTime(u32),
    /// Our clock given back (RFC 3611 §4.5): what it was, and how long the sender kept it, both compact.
    Echo {
        /// Whose clock it was.
        ssrc: Ssrc,
        /// As we sent it.
        reference: u32,
        /// Between its arrival and this packet.
        delay: u32,
    },
    /// Losses of a stream as VoIP metrics.
    Loss(ListenerLoss),
}

/// SSRC of whoever sent the compound: bytes 4 to 7, in the clear in SRTCP too (RFC 3711 §3.4).
#[must_use]
pub fn sender_ssrc(packet: &[u8]) -> Option<Ssrc> {
    Some(Ssrc(u32_at(packet, 4)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Writes one compound: a receiver report first, as RFC 3550 §6.1 wants, then whatever is added.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    length: usize,
    ssrc: Ssrc,
}

impl<'a> Writer<'a> {
    /// Begins with a receiver report (§6.4.2) of the first 31 of these blocks at most, and a CNAME (§6.5).
    ///
    /// # Panics
    /// If `out` is shorter than [`REPORT_BYTES_MAX`], or `blocks` do not fit it: the caller's bug.
    #[must_use]
    pub fn new(out: &'a mut [u8], ssrc: Ssrc, cname: &str, blocks: &[ReportBlock]) -> Self {
        let mut writer = Self { out, length: 0, ssrc };
        let blocks = &blocks[..blocks.len().min(BLOCKS_MAX)];
        let words = 1 + blocks.len() * (BLOCK_BYTES / 4);
        writer.put(&[0x80 | blocks.len() as u8, RECEIVER_REPORT, 0, words as u8]);
        writer.put(&ssrc.0.to_be_bytes());
        for block in blocks {
            writer.put(&block.ssrc.0.to_be_bytes());
            let lost = block.lost.clamp(-0x80_0000, 0x7F_FFFF).to_be_bytes();
            writer.put(&[block.fraction_lost, lost[1], lost[2], lost[3]]);
            writer.put(&block.highest_sequence.to_be_bytes());
            writer.put(&block.jitter.to_be_bytes());
            // Round trips are measured by RFC 3611: no sender reports, so no LSR and DLSR.
            writer.put(&[0; 8]);
        }
        writer.name(cname);
        writer
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn name(&mut self, cname: &str) {
        // A name is UTF-8 (§6.5), so it is cut between characters.
        let name = &cname.as_bytes()[..cname.floor_char_boundary(CNAME_BYTES_MAX)];
        // Chunk: SSRC, item, at least one zero byte up to the next word.
        let chunk = (4 + 2 + name.len() + 1).next_multiple_of(4);
        self.put(&[0x81, SOURCE_DESCRIPTION, 0, (chunk / 4) as u8]);
        self.put(&self.ssrc.0.to_be_bytes());
        self.put(&[CNAME, name.len() as u8]);
        self.put(name);
        self.put(&[0; 4][..chunk - 6 - name.len()]);
    }

    fn extended(&mut self, block: u8, words: u16) {
        self.put(&[0x80, EXTENDED_REPORT]);
        self.put(&(words + 2).to_be_bytes());
        self.put(&self.ssrc.0.to_be_bytes());
        self.put(&[block, 0]);
        self.put(&words.to_be_bytes());
    }

    /// Adds our clock, to be given back.
    #[must_use]
    pub fn reference_time(mut self, time: Time) -> Self {
        self.extended(REFERENCE_TIME, REFERENCE_TIME_WORDS);
        let seconds = (time.0 / 1_000_000) as u32;
        let fraction = (((time.0 % 1_000_000) << 32) / 1_000_000) as u32;
        self.put(&seconds.to_be_bytes());
        self.put(&fraction.to_be_bytes());
        self
    }

    /// Gives the other side's clock back.
    #[must_use]
    pub fn echo(mut self, ssrc: Ssrc, reference: u32, delay: u32) -> Self {
        self.extended(DLRR, DLRR_WORDS);
        for word in [ssrc.0, reference, delay] {
            self.put(&word.to_be_bytes());
        }
        self
    }

    /// Adds losses of a stream. What the block has beside is marked as not measured (RFC 3611 §4.7: 127 for
    /// levels and quality).
    #[must_use]
    pub fn loss(mut self, loss: ListenerLoss) -> Self {
        self.extended(VOIP_METRICS, VOIP_METRICS_WORDS);
        self.put(&loss.ssrc.0.to_be_bytes());
        self.put(&[loss.loss, 0, 0, 0]);
        self.put(&loss.burst_ms.to_be_bytes());
        self.put(&[0; 6]);
        // Levels, echo, Gmin, quality; then configuration and jitter buffer.
        self.put(&[127, 127, 127, 16, 127, 127, 127, 127]);
        self.put(&[0; 8]);
        self
    }

    /// Bytes written.
    #[must_use]
    pub fn finish(self) -> usize {
        self.length
    }
}

/// Calls `take` with everything the compound says that is known here. Returns whether it is a compound that
/// begins with a report and whose lengths add up (RFC 3550 §A.2); what came before a fault was taken.
pub fn read(compound: &[u8], mut take: impl FnMut(Item)) -> bool {
    let mut rest = compound;
    let mut first = true;
    while !rest.is_empty() {
        let (Some(&[head, kind]), Some(words)) = (rest.first_chunk(), u16_at(rest, 2)) else { return false };
        let bytes = 4 * (usize::from(words) + 1);
        let begins_right = !first || matches!(kind, SENDER_REPORT | RECEIVER_REPORT);
        if head >> 6 != 2 || bytes > rest.len() || !begins_right {
            return false;
        }
        let (packet, others) = rest.split_at(bytes);
        let complete = match kind {
            SENDER_REPORT => blocks(packet, 8 + SENDER_BYTES, head & 0x1F, &mut take),
            RECEIVER_REPORT => blocks(packet, 8, head & 0x1F, &mut take),
            EXTENDED_REPORT => extended(packet, &mut take),
            _ => Some(()),
        };
        if complete.is_none() {
            return false;
        }
        (rest, first) = (others, false);
    }
    !first
}

fn blocks(packet: &[u8], start: usize, count: u8, take: &mut impl FnMut(Item)) -> Option<()> {
    // Its sender, and what else stands before the blocks, has to be there without any, too.
    let blocks = packet.get(start..)?;
    for place in 0..usize::from(count) {
        let block = blocks.get(place * BLOCK_BYTES..)?.get(..BLOCK_BYTES)?;
        let word = u32_at(block, 4)?;
        take(Item::Report(ReportBlock {
            ssrc: Ssrc(u32_at(block, 0)?),
            fraction_lost: (word >> 24) as u8,
            // 24 bits with sign.
            lost: (word << 8).cast_signed() >> 8,
            highest_sequence: u32_at(block, 8)?,
            jitter: u32_at(block, 12)?,
        }));
    }
    Some(())
}

fn extended(packet: &[u8], take: &mut impl FnMut(Item)) -> Option<()> {
    let mut rest = packet.get(8..)?;
    while !rest.is_empty() {
        let bytes = 4 * (usize::from(u16_at(rest, 2)?) + 1);
        let block = rest.get(..bytes)?;
        match (block[0], bytes) {
            (REFERENCE_TIME, 12) => take(Item::ReferenceTime(u32_at(block, 4)? << 16 | u32_at(block, 8)? >> 16)),
            (DLRR, _) => {
                for entry in block[4..].chunks_exact(12) {
                    take(Item::Echo {
                        ssrc: Ssrc(u32_at(entry, 0)?),
                        reference: u32_at(entry, 4)?,
                        delay: u32_at(entry, 8)?,
                    });
                }
            }
            (VOIP_METRICS, 36) => take(Item::Loss(ListenerLoss {
                ssrc: Ssrc(u32_at(block, 4)?),
                loss: block[8],
                burst_ms: u16_at(block, 12)?,
            })),
            _ => {}
        }
        rest = &rest[bytes..];
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items(compound: &[u8]) -> Option<Vec<Item>> {
        let mut items = Vec::new();
        read(compound, |item| items.push(item)).then_some(items)
    }

    /// Goal: what is written is read back, and the lengths add up as any RTCP receiver walks them.
    #[test]
    fn a_compound_says_what_was_written() {
        let block = |ssrc: u32, lost: i32| ReportBlock {
            ssrc: Ssrc(ssrc),
            fraction_lost: 25,
            lost,
            highest_sequence: 0x0001_FFFE,
            jitter: 77,
        };
        let loss = ListenerLoss { ssrc: Ssrc(9), loss: 12, burst_ms: 60 };
        for name in ["", "a", "ab", "abc", "somebody@example", &"x".repeat(99), &"aé".repeat(30)] {
            let mut out = [0xFF; REPORT_BYTES_MAX];
            let writer = Writer::new(&mut out, Ssrc(0x0102_0304), name, &[block(5, -3), block(6, 70_000)]);
            let time = Time(1_500_000);
            let length = writer.reference_time(time).echo(Ssrc(7), 0x0001_8000, 0x8000).loss(loss).finish();
            assert_eq!(length % 4, 0);
            let expected = [
                Item::Report(block(5, -3)),
                Item::Report(block(6, 70_000)),
                Item::ReferenceTime(compact_ntp(time)),
                Item::Echo { ssrc: Ssrc(7), reference: 0x0001_8000, delay: 0x8000 },
                Item::Loss(loss),
            ];
            assert_eq!(items(&out[..length]), Some(expected.to_vec()), "{name}");
            assert_eq!(sender_ssrc(&out), Some(Ssrc(0x0102_0304)));
            assert_eq!(items(&out[..length - 4]), None, "cut");
        }
    }

    /// Goal: 16.16 seconds there and back (RFC 3550 §4).
    #[test]
    fn compact_times_are_seconds() {
        assert_eq!(compact_ntp(Time(1_500_000)), 0x0001_8000);
        assert_eq!(compact_ntp_us(0x0001_8000), 1_500_000);
        assert_eq!(compact_ntp(Time(u64::MAX)), compact_ntp(Time(u64::MAX)), "no overflow");
    }

    /// Goal: a compound must begin with a report (RFC 3550 §6.1), and is not empty.
    #[test]
    fn a_compound_begins_with_a_report() {
        assert_eq!(items(&[]), None);
        assert_eq!(items(&[0x81, SOURCE_DESCRIPTION, 0, 1, 0, 0, 0, 1]), None);
        assert_eq!(items(&[0x80, RECEIVER_REPORT, 0, 1, 0, 0, 0, 1]), Some(Vec::new()));
    }

    /// Goal: a report says whose it is, and a sender's what it has sent (RFC 3550 §6.4), or its lengths do not add up.
    #[test]
    fn a_report_without_blocks_is_whole() {
        assert_eq!(items(&[0x80, RECEIVER_REPORT, 0, 0]), None);
        let mut report = [0; 8 + SENDER_BYTES];
        report[..4].copy_from_slice(&[0x80, SENDER_REPORT, 0, 6]);
        assert_eq!(items(&report), Some(Vec::new()));
        report[3] = 5;
        assert_eq!(items(&report[..8 + SENDER_BYTES - 4]), None);
    }

    proptest! {
        /// Goal: hostile bytes are refused or read, never more than their length.
        #[test]
        fn hostile_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 200u8..208) {
            let mut compound = vec![0x81, kind, 0, (bytes.len() / 4) as u8];
            compound.extend_from_slice(&bytes);
            items(&compound);
            items(&bytes);
        }
    }
}
