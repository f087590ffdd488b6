//! Voice of one room: seals what this session says, opens what it hears.
//!
//! Not a codec and not a jitter buffer: payloads are Opus packets, in the order they arrived.
//! In: keys from `VoiceAnnounce`, frames to send, datagrams. Out: sealed datagrams, [`Voice`].
//! Bounds: `STREAMS_MAX` streams heard in a room; `DATAGRAMS_MAX` datagrams waiting for the driver.
//! Cost: one AEAD per packet; nothing allocates once the queue has grown.
//! Source: RFC 3550, RFC 3711 §3.3, RFC 7714; docs/PROTOCOL.md, voice.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use echomesh_proto::control::{VoiceAnnounce, VoiceSuite};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::limits::{DATAGRAM_BYTES_MAX, OPUS_PAYLOAD_TYPE};
use echomesh_proto::reception::Reception;
use echomesh_proto::rtcp::REPORT_BYTES_MAX;
use echomesh_proto::rtp::{self, HEADER_BYTES_MAX, Header, OutgoingHeader};
use echomesh_proto::srtp::{MasterKey, OpenKey, RTCP_INDEX_BYTES, ReplayWindow, SealKey, TAG_BYTES, estimate_index};
use echomesh_proto::time::{MILLISECOND_US, MediaTime, SECOND_US, Time};

use super::config::Config;
use super::counters::Drop;
use super::handover::VoiceKeys;
use super::report::{Reports, VoiceStatistics};
use super::tunnel::{BLOCKED_US, Way};

/// Streams heard in one room: more than a server selects, and a bound on what it can make us keep.
const STREAMS_MAX: usize = 1_024;

/// Outgoing datagrams the driver has not taken yet: over a second of voice.
const DATAGRAMS_MAX: usize = 64;

/// Longest Opus payload that fits a datagram.
pub(super) const PAYLOAD_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - HEADER_BYTES_MAX - TAG_BYTES;

/// While someone is announced talking and no voice comes for so long, the server is told where we are.
const MISSED_US: u64 = 400 * MILLISECOND_US;

/// A stream silent for so long may have rolled over unheard: neighbours of its ROC are tried too.
const PAUSE_US: u64 = 2 * SECOND_US;

/// A frame to send.
#[derive(Clone, Copy, Debug)]
pub struct VoiceFrame<'a> {
    /// 48 kHz clock of the first sample.
    pub media_time: MediaTime,
    /// First frame of a talkspurt (RFC 3551 §4.1).
    pub marker: bool,
    /// RFC 6464 byte: bit 7 voice activity, bits 0–6 level in -dBov.
    pub audio_level: Option<u8>,
    /// Opus packet.
    pub payload: &'a [u8],
}

/// A frame that was sealed and queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentVoice {
    /// This session's stream.
    pub ssrc: Ssrc,
    /// 48-bit uplink index; not the one listeners see.
    pub index: u64,
}

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoiceError {
    /// Voice is not open in this room: `open_voice`, then wait for `Event::VoiceOpen`.
    NotOpen,
    /// The payload does not fit a datagram; lower the bitrate.
    TooLong,
    /// The driver does not take datagrams; the frame was dropped and counted.
    QueueFull,
    /// Another program has the keys: `Config::voice_by_another`.
    ByAnother,
}

/// A packet that was heard. The payload is a part of the datagram it came in.
#[derive(Clone, Debug)]
pub struct Voice<'a> {
    /// The room it was said in.
    pub room: Arc<str>,
    /// The speaker's stream; `Room::speaker` names it once it is announced.
    pub ssrc: Ssrc,
    /// 48-bit index as the server numbers it: a gap is a loss.
    pub index: u64,
    /// The speaker's 48 kHz clock.
    pub media_time: MediaTime,
    /// First packet of a talkspurt.
    pub marker: bool,
    /// As in [`VoiceFrame`].
    pub audio_level: Option<u8>,
    /// Opus packet.
    pub payload: &'a [u8],
}

/// A datagram to send to the server's voice port.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// At the address of the control connection.
    pub udp_port: u16,
    /// At most `DATAGRAM_BYTES_MAX`.
    pub bytes: &'a [u8],
}

/// Datagrams for the driver, oldest first, in one buffer that is used again when all are taken.
#[derive(Debug, Default)]
pub(super) struct DatagramQueue {
    bytes: Vec<u8>,
    list: VecDeque<(u16, Range<usize>)>,
}

impl DatagramQueue {
    fn is_full(&self) -> bool {
        self.list.len() >= DATAGRAMS_MAX
    }

    fn push(&mut self, udp_port: u16, datagram: &[u8]) {
        if self.list.is_empty() {
            self.bytes.clear();
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.list.push_back((udp_port, start..self.bytes.len()));
    }

    pub(super) fn next(&mut self) -> Option<Datagram<'_>> {
        let (udp_port, range) = self.list.pop_front()?;
        Some(Datagram { udp_port, bytes: &self.bytes[range] })
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }
}

/// What is known of one stream that is heard.
#[derive(Debug)]
struct Heard {
    window: ReplayWindow,
    reception: Reception,
    last: Time,
    /// Its member left, or has another stream.
    is_gone: bool,
}

/// One room's keys and streams. New keys make a new one: streams continue under indices that the
/// roster's `roc` finds again, and nothing sealed with the old key opens any more.
#[derive(Debug)]
pub(super) struct VoiceRoom {
    pub(super) room: Arc<str>,
    pub(super) ssrc: Ssrc,
    pub(super) udp_port: u16,
    /// Another program seals under the uplink key: this session must not.
    pub(super) handed_over: Option<VoiceKeys>,
    seal: SealKey,
    open: OpenKey,
    next_index: u64,
    reports: Reports,
    heard_any: bool,
    way: Way,
    /// When the last datagram came, or voice was opened.
    last_udp: Time,
    /// When the last voice came, and the last probe for want of it went.
    last_voice: Time,
    last_probe: Time,
    heard: BTreeMap<Ssrc, Heard>,
}

fn master_key(key: &[u8], salt: &[u8]) -> Option<MasterKey> {
    Some(MasterKey { key: key.try_into().ok()?, salt: salt.try_into().ok()? })
}

impl VoiceRoom {
    /// `None` if the server's parameters make no sense.
    pub(super) fn new(now: Time, room: Arc<str>, announce: &VoiceAnnounce, config: &Config) -> Option<Self> {
        let uplink = master_key(&announce.uplink_key, &announce.uplink_salt)?;
        let downlink = master_key(&announce.downlink_key, &announce.downlink_salt)?;
        let udp_port = u16::try_from(announce.udp_port).ok().filter(|port| *port != 0)?;
        if announce.suite() != VoiceSuite::VsAeadAes128Gcm || announce.ssrc == 0 {
            return None;
        }
        let first_index = u64::from(config.voice_index_seed & 0x7FFF);
        let (seal, open) = (SealKey::new(&uplink), OpenKey::new(&downlink));
        let handed_over = VoiceKeys::new(announce, (uplink, downlink), udp_port, first_index);
        Some(Self {
            room,
            ssrc: Ssrc(announce.ssrc),
            udp_port,
            handed_over: config.voice_by_another.then_some(handed_over),
            seal,
            open,
            next_index: first_index,
            reports: Reports::new(now),
            heard_any: false,
            way: Way::Udp,
            last_udp: now,
            last_voice: now,
            last_probe: now,
            heard: BTreeMap::new(),
        })
    }

    pub(super) fn has_heard(&self, ssrc: Ssrc) -> bool {
        self.heard.contains_key(&ssrc)
    }

    /// A stream is gone. Its replay window stays while there is room, for copies of its packets may still
    /// come, and the key is the same (RFC 3711 §3.3.2).
    pub(super) fn forget(&mut self, ssrc: Ssrc) {
        if let Some(heard) = self.heard.get_mut(&ssrc) {
            heard.is_gone = true;
        }
    }

    /// Makes room for one more stream among those that are gone; `false` if none is.
    fn make_room(&mut self) -> bool {
        if self.heard.len() < STREAMS_MAX {
            return true;
        }
        let oldest = self.heard.iter().filter(|(_, heard)| heard.is_gone).min_by_key(|(_, heard)| heard.last);
        let Some(ssrc) = oldest.map(|(ssrc, _)| *ssrc) else { return false };
        self.heard.remove(&ssrc).is_some()
    }

    /// Seals one frame into the queue.
    pub(super) fn send(&mut self, frame: VoiceFrame<'_>, queue: &mut DatagramQueue) -> Result<SentVoice, VoiceError> {
        if self.handed_over.is_some() {
            return Err(VoiceError::ByAnother);
        }
        if frame.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(VoiceError::TooLong);
        }
        if queue.is_full() {
            return Err(VoiceError::QueueFull);
        }
        let index = self.next_index;
        self.next_index += 1;
        let header = OutgoingHeader {
            marker: frame.marker,
            payload_type: OPUS_PAYLOAD_TYPE,
            sequence: index as u16,
            media_time: frame.media_time,
            ssrc: self.ssrc,
            audio_level: frame.audio_level,
        };
        let mut packet = [0; DATAGRAM_BYTES_MAX];
        let header_bytes = header.write(&mut packet);
        let plain = header_bytes + frame.payload.len();
        packet[header_bytes..plain].copy_from_slice(frame.payload);
        let sealed = self.seal.seal_rtp(&mut packet, header_bytes, plain, index);
        queue.push(self.udp_port, &packet[..sealed]);
        self.reports.busy = true;
        Ok(SentVoice { ssrc: self.ssrc, index })
    }

    /// Whether its packets go through the control connection.
    pub(super) fn is_tunnelled(&self) -> bool {
        self.way == Way::Tunnel
    }

    /// A datagram came. Returns whether that ends a tunnel.
    pub(super) fn heard_by_udp(&mut self, now: Time) -> bool {
        self.last_udp = now;
        std::mem::replace(&mut self.way, Way::Udp) == Way::Tunnel
    }

    /// UDP that is silent for too long is blocked.
    pub(super) fn find_way(&mut self, now: Time) {
        let blocked = now.since_us(self.last_udp) > BLOCKED_US;
        if blocked && self.way == Way::Udp && self.handed_over.is_none() {
            self.way = Way::Tunnel;
            self.reports.hurry(now);
        }
    }

    /// Nothing came for a while, and no probe went: is there someone who speaks?
    pub(super) fn is_silent(&self, now: Time) -> bool {
        now.since_us(self.last_voice) >= MISSED_US && now.since_us(self.last_probe) >= MISSED_US
    }

    /// Someone speaks and nothing comes: the server may not know our address any more.
    pub(super) fn probe(&mut self, now: Time) {
        self.last_probe = now;
        self.reports.hurry(now);
    }

    /// Sends a receiver report if one is due: it opens the path and keeps it. While tunnelled the one by UDP is
    /// a probe. Returns how many were sent.
    pub(super) fn report(&mut self, now: Time, name: &str, [tunnel, udp]: [&mut DatagramQueue; 2]) -> u64 {
        if self.handed_over.is_some() || !self.reports.is_due(now) {
            return 0;
        }
        let mut sent = 0;
        if self.is_tunnelled() {
            sent += self.seal_report(now, name, tunnel);
        }
        sent + self.seal_report(now, name, udp)
    }

    fn seal_report(&mut self, now: Time, name: &str, queue: &mut DatagramQueue) -> u64 {
        if queue.is_full() {
            return 0;
        }
        // A tunnel is kept, and UDP tried, as often as voice would be reported.
        self.reports.busy |= self.is_tunnelled();
        let mut packet = [0; REPORT_BYTES_MAX + TAG_BYTES + RTCP_INDEX_BYTES];
        let heard = self.heard.iter_mut().map(|(ssrc, heard)| (*ssrc, &mut heard.reception));
        let sealed = self.reports.seal(now, (self.ssrc, name), heard, self.heard_any, &self.seal, &mut packet);
        queue.push(self.udp_port, &packet[..sealed]);
        1
    }

    /// Opens an SRTCP packet and takes what the server reports.
    pub(super) fn open_rtcp(&mut self, now: Time, packet: &mut [u8]) -> bool {
        let Ok((plain, index)) = self.open.open_rtcp(packet) else { return false };
        self.heard_any = true;
        self.reports.take(now, self.ssrc, index, &packet[..plain])
    }

    /// What the server reported.
    pub(super) fn statistics(&self) -> VoiceStatistics {
        self.reports.statistics
    }

    /// Whether the roster's rollover counter of a stream is of use: it was not heard, or not lately.
    pub(super) fn wants_roc(&self, now: Time, ssrc: Ssrc) -> bool {
        self.heard.get(&ssrc).is_none_or(|heard| now.since_us(heard.last) > PAUSE_US)
    }

    /// Opens a packet whose header was parsed. `roc` is the roster's, where it is of use and known.
    pub(super) fn open_rtp(
        &mut self,
        now: Time,
        packet: &mut [u8],
        header: &Header,
        roc: Option<u32>,
    ) -> Result<(u64, Range<usize>), Drop> {
        if !self.heard.contains_key(&header.ssrc) && !self.make_room() {
            return Err(Drop::StreamLimit);
        }
        let known = self.heard.get(&header.ssrc);
        let highest = known.and_then(|heard| heard.window.highest());
        let paused = self.wants_roc(now, header.ssrc);
        let told = u64::from(roc.unwrap_or(0)) << 16 | u64::from(header.sequence);
        let likely = highest.map_or(told, |_| estimate_index(highest, header.sequence));
        if known.is_some_and(|heard| !heard.window.check(likely)) && !paused {
            return Err(Drop::Replayed);
        }
        let (index, plain) =
            self.try_indices(packet, header.bytes, likely, paused.then_some(told)).ok_or(Drop::AuthFailed)?;
        let heard = self.heard.entry(header.ssrc).or_insert(Heard {
            window: ReplayWindow::default(),
            reception: Reception::default(),
            last: now,
            is_gone: false,
        });
        if !heard.window.check(index) {
            return Err(Drop::Replayed);
        }
        heard.window.accept(index);
        heard.last = now;
        heard.reception.packet(index, header.media_time, now);
        self.heard_any = true;
        self.last_voice = now;
        self.reports.busy = true;
        let payload = &packet[header.bytes..plain];
        let payload = rtp::payload_without_padding(payload, header.padding).ok_or(Drop::BadPacket)?;
        Ok((index, header.bytes..header.bytes + payload.len()))
    }

    /// Opens under the likely index; after a pause also under the one the roster tells, and one rollover on
    /// either side of both. A failure spoils the bytes, so after a pause the tries are on a copy.
    fn try_indices(
        &self,
        packet: &mut [u8],
        header_bytes: usize,
        likely: u64,
        told: Option<u64>,
    ) -> Option<(u64, usize)> {
        let Some(told) = told else {
            return self.open.open_rtp(packet, header_bytes, likely).ok().map(|plain| (likely, plain));
        };
        let mut copy = [0; DATAGRAM_BYTES_MAX];
        let around = |index: u64| [Some(index), index.checked_add(1 << 16), index.checked_sub(1 << 16)];
        let again = if told == likely { [None; 3] } else { around(told) };
        for index in around(likely).into_iter().chain(again).flatten() {
            let copy = copy.get_mut(..packet.len())?;
            copy.copy_from_slice(packet);
            if let Ok(plain) = self.open.open_rtp(copy, header_bytes, index) {
                packet.copy_from_slice(copy);
                return Some((index, plain));
            }
        }
        None
    }
}
