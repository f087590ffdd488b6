//! Voice in the control connection, for clients whose UDP is blocked: the same SRTP packets, keys, numbers
//! and replay windows, in `VoiceFrame` messages.
//!
//! Not another voice path in the driver: it is rare, so the kernel seals these copies itself. A stream's
//! packets go to the shard that owns it, whatever shard has the connection, through the control rings.
//! A client that has heard the server by UDP again ends its tunnel with an empty frame.
//! Bounds: what finds the connection `BEHIND_BYTES_MAX` behind, or the ring congested, is dropped, counted:
//! late voice is worth nothing. So is what is more than `FRAMES_MAX` of one call.

use echomesh_proto::control::{Body, EchoMsg, VoiceFrame};
use echomesh_proto::ids::{ConnectionId, ShardId, Ssrc};
use echomesh_proto::limits::DATAGRAM_BYTES_MAX;
use echomesh_proto::rtp;
use echomesh_proto::srtp::SealKey;
use echomesh_proto::time::Now;

use super::stream::Path;
use super::{VoiceHeader, sealed_rtcp, sealed_rtp};
use crate::Shard;
use crate::counters::Drop;
use crate::effect::Effects;
use crate::mesh::{Mesh, TunnelIn, TunnelOut};

/// Unread bytes of a connection beyond which its voice is dropped: half a second of one speaker.
const BEHIND_BYTES_MAX: usize = 8 * 1024;

/// Frames taken from connections in one call: more than a read brings, less than what piles up behind a request. Each is
/// copied to a whole room, and nothing else is done meanwhile.
const FRAMES_MAX: u32 = 64;

/// Where a stream's copies go instead of to an address.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(super) shard: ShardId,
    pub(super) connection: ConnectionId,
    key: SealKey,
}

/// A copy on its way to a connection.
pub(super) struct Copy {
    shard: ShardId,
    connection: ConnectionId,
    packet: Vec<u8>,
}

impl Tunnel {
    pub(super) fn new(shard: ShardId, connection: ConnectionId, key: SealKey) -> Self {
        Self { shard, connection, key }
    }

    fn copy(&self, packet: Vec<u8>) -> Copy {
        Copy { shard: self.shard, connection: self.connection, packet }
    }

    /// This listener's copy of a packet.
    pub(super) fn seal(&self, header: &VoiceHeader, payload: &[u8]) -> Copy {
        self.copy(sealed_rtp(&self.key, header, payload))
    }

    /// This client's report.
    pub(super) fn seal_report(&self, compound: &[u8], index: u32) -> Copy {
        self.copy(sealed_rtcp(&self.key, compound, index))
    }
}

impl Shard {
    /// A frame from a connection of this shard. It is no request and has no answer.
    pub(crate) fn voice_frame(&mut self, now: Now, id: ConnectionId, frame: VoiceFrame, effects: &mut Effects) {
        let Some(session) = self.connection(id).and_then(|connection| connection.session) else {
            return self.counters.drop(Drop::TunnelForeign);
        };
        let ssrc = if frame.packet.is_empty() { Some(Ssrc(frame.ssrc)) } else { rtp::stream_of(&frame.packet) };
        let Some(ssrc) = ssrc.filter(|ssrc| ssrc.shard().0 < self.config.shards) else {
            return self.counters.drop(Drop::NotRtp);
        };
        if frame.packet.len() > DATAGRAM_BYTES_MAX {
            return self.counters.drop(Drop::BadPacket);
        }
        // That a tunnel ends is no voice.
        if !frame.packet.is_empty() {
            if self.voice_frames == FRAMES_MAX {
                return self.counters.drop(Drop::TunnelBehind);
            }
            self.voice_frames += 1;
        }
        let tunnel = TunnelIn {
            slot: id.slot,
            generation: id.generation,
            session: session.0,
            ssrc: ssrc.0,
            packet: frame.packet.to_vec(),
        };
        if ssrc.shard() == self.config.shard {
            self.tunnelled(now, self.config.shard, tunnel, effects);
        } else if self.is_congested(ssrc.shard()) {
            self.counters.drop(Drop::TunnelBehind);
        } else {
            self.tell(ssrc.shard(), Mesh::TunnelIn(tunnel));
        }
    }

    /// The stream's shard: a frame of its client, from a connection of `source`.
    pub(crate) fn tunnelled(&mut self, now: Now, source: ShardId, tunnel: TunnelIn, effects: &mut Effects) {
        let connection = ConnectionId { slot: tunnel.slot, generation: tunnel.generation };
        let stream = self.streams.get_mut(&Ssrc(tunnel.ssrc));
        let Some(stream) = stream.filter(|stream| stream.session.0 == tunnel.session) else {
            return self.counters.drop(Drop::TunnelForeign);
        };
        if tunnel.packet.is_empty() {
            stream.tunnel = None;
            let room = stream.room;
            self.audience_changed(room);
            return;
        }
        let mut packet = tunnel.packet;
        self.packet(now, Path::Tunnel(source, connection), now.time, &mut packet, effects);
    }

    /// Copies go to their connections, or to the shards that have these.
    pub(super) fn send_copies(&mut self, copies: Vec<Copy>, effects: &mut Effects) {
        for Copy { shard, connection, packet } in copies {
            let out = TunnelOut { slot: connection.slot, generation: connection.generation, packet };
            if shard == self.config.shard {
                self.tunnel_out(out, effects);
            } else if self.is_congested(shard) {
                self.counters.drop(Drop::TunnelBehind);
            } else {
                self.tell(shard, Mesh::TunnelOut(out));
                self.unsettled = true;
            }
        }
    }

    /// The connection's shard.
    pub(crate) fn tunnel_out(&mut self, out: TunnelOut, effects: &mut Effects) {
        let id = ConnectionId { slot: out.slot, generation: out.generation };
        match self.connection(id).map(|connection| connection.unread()) {
            None => self.counters.drop(Drop::StaleConnection),
            Some(unread) if unread > BEHIND_BYTES_MAX => self.counters.drop(Drop::TunnelBehind),
            Some(_) => {
                let frame = VoiceFrame { packet: out.packet.into(), ssrc: 0 };
                self.send(id, &EchoMsg::new(0, Body::VoiceFrame(frame)), effects);
            }
        }
    }
}
