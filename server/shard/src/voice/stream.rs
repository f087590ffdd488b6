//! Voice streams that live on this shard, and the path of a packet: authenticate, decide, fan out.
//!
//! Not sealing or sending: the driver does both from `Effect::Voice`. Address and numbering rules:
//! docs/PROTOCOL.md, voice. Cost per packet: a few map look-ups, one AES-GCM open, one pass over a flat list
//! of the local listeners (`audience`); no allocation.

use std::net::SocketAddr;

use echomesh_proto::control::{Body, StatusCode, VoiceAnnounce, VoiceSuite};
use echomesh_proto::ids::{ConnectionId, PeerId, RoomNumber, SessionId, ShardId, ShardSet, Ssrc};
use echomesh_proto::limits::{AUDIO_LEVEL_EXTENSION_ID, DATAGRAM_BYTES_MAX, OPUS_PAYLOAD_TYPE};
use echomesh_proto::reception::Reception;
use echomesh_proto::rtp::{self, Header};
use echomesh_proto::srtp::{MasterKey, OpenKey, ReplayWindow, SealKey, estimate_index};
use echomesh_proto::time::{Now, Time};
use rand_chacha::rand_core::RngCore;

use super::VoiceHeader;
use super::budget::Budget;
use super::loudest::{Activity, Choice, Selection};
use super::numbering::{Numbered, Numbering};
use super::report::Reports;
use super::tunnel::Tunnel;
use crate::Shard;
use crate::counters::Drop;
use crate::effect::{Effect, Effects, Voice};
use crate::home_request;
use crate::mesh::{Ask, MemberFlags, Mesh, RoomSession, StreamAt};
use crate::mistakes::{Mistake, planted};
use crate::overview::Quality;

/// SSRCs a shard can give in a run: the low 8 of 32 bits are the shard.
const SSRCS_MAX: u32 = 1 << 24;

/// How a client's packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// From this address.
    Udp(SocketAddr),
    /// In this control connection, of this shard.
    Tunnel(ShardId, ConnectionId),
}

/// A decrypted packet: where its payload is, and whether the driver lacks it.
struct Packet<'a> {
    bytes: &'a [u8],
    payload: std::ops::Range<usize>,
    in_bytes: bool,
}

/// A stream of this shard: one session's voice in one room, both directions.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) session: SessionId,
    pub(crate) room: RoomNumber,
    open_key: OpenKey,
    downlink: MasterKey,
    rtp_window: ReplayWindow,
    rtcp_window: ReplayWindow,
    budget: Budget,
    numbering: Numbering,
    /// Entry of the driver's peer table; the SSRC's is never another's while the stream lives.
    pub(crate) peer: PeerId,
    /// Where it was last heard from, authenticated.
    pub(super) address: Option<SocketAddr>,
    /// Where UDP is blocked: copies go there instead.
    pub(super) tunnel: Option<Tunnel>,
    pub(super) reception: Reception,
    pub(super) reports: Reports,
    pub(super) muted: bool,
    /// By a moderator, or for lack of the right to speak.
    pub(super) server_muted: bool,
    pub(super) activity: Activity,
    pub(super) choice: Choice,
    /// High 32 bits of the output index, as home was told.
    roc: u32,
    epoch: u32,
}

impl Shard {
    fn random_key(&mut self) -> MasterKey {
        let mut bytes = MasterKey { key: [0; 16], salt: [0; 12] };
        self.random.fill_bytes(&mut bytes.key);
        self.random.fill_bytes(&mut bytes.salt);
        bytes
    }

    /// The next SSRC of this shard: an odd multiple walks all 2^24 values once, in no obvious order.
    fn next_ssrc(&mut self) -> Option<Ssrc> {
        loop {
            if self.ssrcs_given == SSRCS_MAX {
                return None;
            }
            let value = self.ssrcs_given.wrapping_mul(0x9E_3779).wrapping_add(self.ssrc_offset) % SSRCS_MAX;
            self.ssrcs_given += 1;
            if value != 0 {
                return Some(Ssrc(value << 8 | u32::from(self.config.shard.0)));
            }
        }
    }

    /// Home asks for a session's stream here. One that is open gets new keys and goes on.
    pub(crate) fn open_stream(&mut self, source: ShardId, ask: &RoomSession, effects: &mut Effects) {
        let (room, session) = (RoomNumber(ask.room), SessionId(ask.session));
        let (uplink, mut downlink) = (self.random_key(), self.random_key());
        let found = self.session_streams.get(&(room, session)).copied();
        if let Some(stream) = found.and_then(|ssrc| self.streams.get(&ssrc)).filter(|_| planted(Mistake::KeepKey)) {
            downlink = stream.downlink.clone();
        }
        let Some(ssrc) = found.or_else(|| self.new_stream(room, session, &uplink, &downlink)) else {
            let note = home_request(room, session, 0, Ask::StreamAt(StreamAt::default()));
            self.tell(source, Mesh::ToHome(note));
            let text = "this server carries as many voice streams as it may: try again later";
            return self.refuse(ask.asker, StatusCode::StatusLimit, text, effects);
        };
        let room_id = self.room_name(room);
        self.audience_changed(room);
        let Some(stream) = self.streams.get_mut(&ssrc) else { return };
        if found.is_some() {
            stream.open_key = OpenKey::new(&uplink);
            stream.downlink = downlink.clone();
            stream.rtp_window = ReplayWindow::default();
            stream.rtcp_window = ReplayWindow::default();
            stream.numbering.new_key();
            stream.tunnel = None;
            stream.reception = Reception::default();
            if stream.address.take().is_some() {
                effects.list.push(Effect::PeerGone { peer: stream.peer });
            }
        }
        stream.epoch += 1;
        stream.budget.tell(self.config.limits.bitrate_max);
        let announce = VoiceAnnounce {
            room_id,
            open: true,
            ssrc: ssrc.0,
            udp_port: u32::from(self.config.voice_port),
            suite: VoiceSuite::VsAeadAes128Gcm as i32,
            uplink_key: uplink.key.to_vec().into(),
            uplink_salt: uplink.salt.to_vec().into(),
            downlink_key: downlink.key.to_vec().into(),
            downlink_salt: downlink.salt.to_vec().into(),
            epoch: stream.epoch,
            payload_type: u32::from(OPUS_PAYLOAD_TYPE),
            audio_level_id: u32::from(AUDIO_LEVEL_EXTENSION_ID),
            bitrate_max: self.config.limits.bitrate_max,
            ..VoiceAnnounce::default()
        };
        let at = stream.at(ssrc);
        self.tell(source, Mesh::ToHome(home_request(room, session, 0, Ask::StreamAt(at))));
        self.answer(ask.asker, Body::VoiceAnnounce(announce), effects);
    }

    fn new_stream(
        &mut self,
        room: RoomNumber,
        session: SessionId,
        uplink: &MasterKey,
        downlink: &MasterKey,
    ) -> Option<Ssrc> {
        if self.streams.len() >= self.config.limits.streams_max as usize {
            return None;
        }
        let ssrc = self.next_ssrc()?;
        let peer = self.free_peers.pop().unwrap_or(PeerId(self.streams.len() as u32));
        // RFC 3711 §3.3.1: below 2^15, so that an early loss cannot be taken for a rollover.
        let first = u64::from(self.random.next_u32() & 0x7FFF);
        // The room's replica came before this: mutes hold from the first packet.
        let member = self.replicas.get(&room).and_then(|replica| replica.members.get(&session));
        let flags = member.map(|member| member.flags).unwrap_or_default();
        let choice = self.replicas.get(&room).map_or(Choice::Heard, |replica| replica.selection.first());
        self.streams.insert(
            ssrc,
            Stream {
                session,
                room,
                open_key: OpenKey::new(uplink),
                downlink: downlink.clone(),
                rtp_window: ReplayWindow::default(),
                rtcp_window: ReplayWindow::default(),
                budget: Budget::default(),
                numbering: Numbering::new(first),
                peer,
                address: None,
                tunnel: None,
                reception: Reception::default(),
                reports: Reports::new(),
                muted: flags.muted,
                server_muted: flags.server_muted,
                activity: Activity::new(),
                choice,
                roc: 0,
                epoch: 0,
            },
        );
        self.session_streams.insert((room, session), ssrc);
        Some(ssrc)
    }

    pub(crate) fn close_stream(&mut self, ssrc: Ssrc, effects: &mut Effects) {
        let Some(stream) = self.streams.remove(&ssrc) else { return };
        self.session_streams.remove(&(stream.room, stream.session));
        if !planted(Mistake::VoiceToLeaver) {
            self.audience_changed(stream.room);
        }
        self.free_peers.push(stream.peer);
        if stream.address.is_some() {
            effects.list.push(Effect::PeerGone { peer: stream.peer });
        }
    }

    /// Tells homes of streams whose output numbers rolled over, so that who joins later can decrypt them.
    /// Once in 65,536 packets of a stream, and not on the voice path.
    pub(crate) fn tell_rollovers(&mut self) {
        for ssrc in std::mem::take(&mut self.rolled) {
            let Some(stream) = self.streams.get_mut(&ssrc) else { continue };
            let (room, session, at) = (stream.room, stream.session, stream.at(ssrc));
            if let Some(key) = self.room_keys.get(&room).cloned() {
                self.tell_home(&key, home_request(room, session, 0, Ask::StreamAt(at)));
            }
        }
    }

    /// Mute is applied where the speaker's packets arrive.
    pub(crate) fn set_muted(&mut self, ssrc: Ssrc, flags: MemberFlags) {
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            stream.muted = flags.muted;
            stream.server_muted = flags.server_muted;
        }
    }

    /// A voice packet of a client, by whichever way, which has waited here since `received`.
    pub(crate) fn packet(&mut self, now: Now, path: Path, received: Time, datagram: &mut [u8], effects: &mut Effects) {
        let outcome = match rtp::classify(datagram) {
            _ if datagram.len() > DATAGRAM_BYTES_MAX => Err(Drop::BadPacket),
            // More comes than this shard can carry: the oldest goes, before it costs anything. RTCP is little,
            // and keeps the way open.
            rtp::Kind::Rtp if now.time.since_us(received) > self.config.limits.voice_age_us_max => Err(Drop::Overload),
            rtp::Kind::Rtp => self.rtp(now, path, received, datagram, effects),
            rtp::Kind::Rtcp => self.rtcp(now, path, datagram, effects),
            rtp::Kind::Other => Err(Drop::NotRtp),
        };
        if let Err(reason) = outcome {
            self.counters.drop(reason);
        }
    }

    fn rtcp(&mut self, now: Now, path: Path, datagram: &mut [u8], effects: &mut Effects) -> Result<(), Drop> {
        let ssrc = echomesh_proto::rtcp::sender_ssrc(datagram).ok_or(Drop::BadPacket)?;
        let stream = self.streams.get_mut(&ssrc).ok_or(Drop::UnknownSsrc)?;
        let (plain, index) = stream.open_key.open_rtcp(datagram).map_err(|_| Drop::AuthFailed)?;
        let index = u64::from(index);
        if !stream.rtcp_window.check(index) {
            return Err(Drop::Replayed);
        }
        let newest = stream.rtcp_window.highest().is_none_or(|highest| index > highest);
        stream.rtcp_window.accept(index);
        self.counters.rtcp_received += 1;
        let room = stream.room;
        if stream.heard_from(path, newest, effects) {
            self.audience_changed(room);
        }
        self.take_report(now, ssrc, &datagram[..plain]);
        Ok(())
    }

    fn rtp(
        &mut self,
        now: Now,
        path: Path,
        received: Time,
        datagram: &mut [u8],
        effects: &mut Effects,
    ) -> Result<(), Drop> {
        let header = Header::parse(datagram).map_err(|_| Drop::BadPacket)?;
        let stream = self.streams.get_mut(&header.ssrc).ok_or(Drop::UnknownSsrc)?;
        // Before it costs a decryption.
        if stream.budget.is_spent(now.time, self.config.limits.bitrate_max) {
            return Err(Drop::StreamRate);
        }
        let index = estimate_index(stream.rtp_window.highest(), header.sequence);
        if !stream.rtp_window.check(index) && !planted(Mistake::SkipReplay) {
            return Err(Drop::Replayed);
        }
        let plain = stream.open_key.open_rtp(datagram, header.bytes, index).map_err(|_| Drop::AuthFailed)?;
        let newest = stream.rtp_window.highest().is_none_or(|highest| index > highest);
        stream.rtp_window.accept(index);
        stream.budget.spend(now.time, self.config.limits.bitrate_max, plain - header.bytes);
        let moved = stream.heard_from(path, newest, effects);
        stream.reception.packet(index, header.media_time, now.time);
        self.counters.voice_received += 1;
        if header.payload_type != OPUS_PAYLOAD_TYPE {
            return Err(Drop::PayloadType);
        }
        let payload =
            rtp::payload_without_padding(&datagram[header.bytes..plain], header.padding).ok_or(Drop::BadPacket)?;
        let payload = header.bytes..header.bytes + payload.len();
        let mut replica = self.replicas.get_mut(&stream.room);
        if moved && let Some(replica) = &mut replica {
            replica.audience.changed();
        }
        let relay = replica.as_ref().map_or(ShardSet::default(), |replica| replica.relay);
        let withhold = stream.withhold(now.time, header.audio_level, replica.map(|replica| &mut replica.selection));
        let (index, first) = match stream.numbering.map(index, withhold.is_some()) {
            // Late, and of a stretch that went on: a moderator's mute holds for it all the same, and leaves a gap.
            Numbered::Forward { .. } if stream.server_muted && !planted(Mistake::MutedVoicePasses) => {
                return Err(Drop::ServerMuted);
            }
            Numbered::Forward { index, first } => (index, first),
            Numbered::Withheld if planted(Mistake::DropUncounted) => return Ok(()),
            Numbered::Withheld => return Err(withhold.unwrap_or(Drop::Withheld)),
            Numbered::TooLate => return Err(Drop::TooLate),
        };
        if stream.numbering.next() >> 16 > u64::from(stream.roc) && !self.rolled.contains(&header.ssrc) {
            self.rolled.push(header.ssrc);
        }
        let header = VoiceHeader {
            received,
            ssrc: header.ssrc,
            index,
            media_time: header.media_time,
            marker: header.marker || first,
            payload_type: header.payload_type,
            audio_level: header.audio_level,
        };
        let room = stream.room;
        let in_bytes = matches!(path, Path::Tunnel(..));
        self.fan_out(room, &header, Packet { bytes: datagram, payload, in_bytes }, relay, effects)
    }

    /// A packet that another shard relayed, for the listeners here.
    pub(crate) fn mesh_voice(&mut self, now: Now, record: &[u8], effects: &mut Effects) {
        let outcome = (|| {
            let header = VoiceHeader::from_record(record).ok_or(Drop::MeshBadRecord)?;
            if now.time.since_us(header.received) > self.config.limits.voice_age_us_max {
                return Err(Drop::Stale);
            }
            let room = *self.stream_rooms.get(&header.ssrc).ok_or(Drop::MeshUnknownStream)?;
            self.counters.voice_from_mesh += 1;
            let payload = super::VOICE_RECORD_HEADER_BYTES..record.len();
            let packet = Packet { bytes: record, payload, in_bytes: false };
            self.fan_out(room, &header, packet, ShardSet::default(), effects)
        })();
        if let Err(reason) = outcome {
            self.counters.drop(reason);
        }
    }

    fn fan_out(
        &mut self,
        room: RoomNumber,
        header: &VoiceHeader,
        packet: Packet<'_>,
        relay: ShardSet,
        effects: &mut Effects,
    ) -> Result<(), Drop> {
        let replica = self.replicas.get_mut(&room).ok_or(Drop::NoListener)?;
        replica.audience.refresh(&replica.listeners, &self.streams);
        let start = effects.peers.len();
        effects.peers.extend(replica.audience.peers(header.ssrc));
        // Allocates only where someone's UDP is blocked.
        let mut copies = Vec::new();
        for ssrc in replica.audience.tunnelled(header.ssrc) {
            let tunnel = self.streams.get(&ssrc).and_then(|stream| stream.tunnel.as_ref());
            copies.extend(tunnel.map(|tunnel| tunnel.seal(header, &packet.bytes[packet.payload.clone()])));
        }
        let peers = start..effects.peers.len();
        if peers.is_empty() && relay.is_empty() && copies.is_empty() {
            return Err(Drop::NoListener);
        }
        self.counters.voice_fanned_out += 1;
        self.counters.voice_forwarded += (peers.len() + copies.len()) as u64;
        self.counters.voice_relayed += u64::from(relay.0.count_ones());
        if !peers.is_empty() || !relay.is_empty() {
            // The driver has datagrams and records in hand, but not what came in a control connection.
            let payload = if packet.in_bytes {
                let start = effects.bytes.len();
                effects.bytes.extend_from_slice(&packet.bytes[packet.payload]);
                start..effects.bytes.len()
            } else {
                packet.payload
            };
            effects.list.push(Effect::Voice(Voice {
                header: *header,
                payload,
                in_bytes: packet.in_bytes,
                peers,
                relay,
            }));
        }
        if !copies.is_empty() {
            self.send_copies(copies, effects);
        }
        Ok(())
    }
}

impl Stream {
    /// Where its numbers are; home is told.
    fn at(&mut self, ssrc: Ssrc) -> StreamAt {
        self.roc = (self.numbering.next() >> 16) as u32;
        StreamAt { ssrc: ssrc.0, roc: self.roc }
    }

    /// By its client or by the server.
    pub(super) fn is_muted(&self) -> bool {
        self.muted || self.server_muted
    }

    /// Whether sound comes from it that goes on.
    pub(crate) fn is_talking(&self, now: Time) -> bool {
        !self.is_muted() && self.choice != Choice::Withheld && self.activity.is_loud(now)
    }

    pub(crate) fn is_tunnelled(&self) -> bool {
        self.tunnel.is_some()
    }

    pub(crate) fn quality(&self) -> Quality {
        self.reports.quality
    }

    /// Why its packets are not forwarded now, if so.
    fn withhold(&mut self, now: Time, audio_level: Option<u8>, selection: Option<&mut Selection>) -> Option<Drop> {
        if self.server_muted && !planted(Mistake::MutedVoicePasses) {
            return Some(Drop::ServerMuted);
        }
        if self.muted {
            return Some(Drop::Muted);
        }
        let begins = self.activity.heard(now, audio_level);
        if let Some(selection) = selection {
            self.choice = selection.judge(now, self.choice, begins);
        }
        (self.choice == Choice::Withheld).then_some(Drop::NotSelected)
    }

    /// An authenticated packet came this way; only one newer than all before moves the return path, so
    /// that a replay or a late packet cannot. A tunnel stands until its client ends it: that UDP works one
    /// way does not say that it works the other. Whether the room's audience is to be listed anew.
    fn heard_from(&mut self, path: Path, newest: bool, effects: &mut Effects) -> bool {
        if !newest {
            return false;
        }
        match path {
            Path::Udp(source) => {
                let effect = match self.address {
                    Some(address) if address == source => return false,
                    None => Effect::PeerSet { peer: self.peer, address: source, key: self.downlink.clone() },
                    Some(_) => Effect::PeerMoved { peer: self.peer, address: source },
                };
                let first = self.address.replace(source).is_none();
                effects.list.push(effect);
                first
            }
            Path::Tunnel(shard, connection) => {
                let same = |tunnel: &Tunnel| (tunnel.shard, tunnel.connection) == (shard, connection);
                if self.tunnel.as_ref().is_some_and(same) {
                    return false;
                }
                self.tunnel = Some(Tunnel::new(shard, connection, SealKey::new(&self.downlink)));
                true
            }
        }
    }
}
