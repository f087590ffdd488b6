//! Voice in the control connection while UDP is blocked, and the way back.
//!
//! The server reports by UDP every 2 s once it knows an address, so UDP that stays silent for `BLOCKED_US`
//! is blocked one way or the other. Then the same packets go in `VoiceFrame` messages, probes go on by UDP,
//! and the first datagram that comes ends it.
//! Bounds: `PACKETS_MAX` packets not taken by the driver; nothing is added to an output that is behind.

use echomesh_proto::control::{Body, EchoMsg, VoiceFrame};
use echomesh_proto::time::{MILLISECOND_US, Now};

use super::Session;
use super::counters::Drop;

/// Silence of UDP that means that it is blocked: one report may be lost, and it is noticed within 4 s.
pub(super) const BLOCKED_US: u64 = 3_500 * MILLISECOND_US;

/// Packets from the connection that the driver has not taken: a second of one speaker.
const PACKETS_MAX: usize = 64;

/// Unwritten bytes of the connection beyond which voice is dropped: it would come too late.
const BEHIND_BYTES_MAX: usize = 8 * 1024;

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Udp,
    Tunnel,
}

impl Session {
    /// Whether a room's voice goes through the control connection, because UDP is blocked.
    #[must_use]
    pub fn voice_is_tunnelled(&self, room: &str) -> bool {
        let Some(name) = self.room(room).map(super::Room::name) else { return false };
        self.voice.iter().any(|voice| voice.room == *name && voice.is_tunnelled())
    }

    /// A datagram of this room's voice came.
    pub(super) fn udp_works(&mut self, now: Now, room: &str) {
        let Some(voice) = self.voice.iter_mut().find(|voice| *voice.room == *room) else { return };
        if voice.heard_by_udp(now.time) {
            let end = VoiceFrame { ssrc: voice.ssrc.0, ..VoiceFrame::default() };
            EchoMsg::new(0, Body::VoiceFrame(end)).append_frame(&mut self.output);
        }
    }

    /// A packet from the control connection.
    pub(super) fn tunnelled(&mut self, packet: Vec<u8>) {
        if self.tunnelled_in.len() == PACKETS_MAX {
            self.tunnelled_in.pop_front();
            self.counters.drop(Drop::TunnelBehind);
        }
        self.tunnelled_in.push_back(packet);
    }

    /// Packets for the control connection become messages.
    pub(super) fn flush_tunnel(&mut self) {
        while let Some(packet) = self.tunnelled_out.next() {
            if self.output.len() > BEHIND_BYTES_MAX {
                self.counters.drop(Drop::TunnelBehind);
                continue;
            }
            let frame = VoiceFrame { packet: packet.bytes.to_vec().into(), ssrc: 0 };
            EchoMsg::new(0, Body::VoiceFrame(frame)).append_frame(&mut self.output);
        }
    }
}
