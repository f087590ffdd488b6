//! A room's voice in the hands of another program: what it needs to seal and open in this session's place.
//!
//! Not the program: the session keeps connection and room, says nothing itself
//! ([`Config::voice_by_another`](super::Config::voice_by_another)), and hands over its keys.
//! In: a room with voice. Out: [`VoiceKeys`]. Bounds: one for each room with voice.

use echomesh_proto::control::VoiceAnnounce;
use echomesh_proto::ids::Ssrc;
use echomesh_proto::srtp::MasterKey;

use super::Session;

/// Keys and numbers of one room's voice. Whoever seals with them counts on from `first_index`, and never
/// begins anew: an SSRC and index used twice under one key give both plaintexts away (RFC 7714 §8.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceKeys {
    /// The session's stream.
    pub ssrc: Ssrc,
    /// At the address of the control connection.
    pub udp_port: u16,
    /// Grows with each set of keys.
    pub epoch: u32,
    /// Client to server.
    pub uplink: MasterKey,
    /// Server to client: every SSRC that is heard.
    pub downlink: MasterKey,
    /// Bit rate of Opus that it may have on average, bit/s; 0: any.
    pub bitrate_max: u32,
    /// First SRTP index of the uplink, below 2^15: ROC 0. SRTCP begins where the program likes.
    pub first_index: u64,
}

impl VoiceKeys {
    pub(super) fn new(announce: &VoiceAnnounce, keys: (MasterKey, MasterKey), udp_port: u16, first_index: u64) -> Self {
        let (uplink, downlink) = keys;
        Self {
            ssrc: Ssrc(announce.ssrc),
            udp_port,
            epoch: announce.epoch,
            uplink,
            downlink,
            bitrate_max: announce.bitrate_max,
            first_index,
        }
    }
}

impl Session {
    /// The keys of a room's voice for another program. `None` unless `Config::voice_by_another` is set
    /// and voice is open there.
    #[must_use]
    pub fn voice_keys(&self, room: &str) -> Option<&VoiceKeys> {
        let name = self.room(room)?.name();
        self.voice.iter().find(|voice| voice.room == *name)?.handed_over.as_ref()
    }
}
