//! Everything a shard can ask of its driver, as plain data in buffers that are allocated once.
//!
//! The driver applies the effects of one call in order, then clears them. Byte ranges point into
//! [`Effects::bytes`], peer ranges into [`Effects::peers`], a packet's payload range into the datagram
//! or mesh record of the same call.
//! Bounds: one [`Effect::Voice`] a call with a packet, else one for each voice frame taken from connections, at most 64;
//! after start-up the voice path allocates nothing.

use std::net::SocketAddr;
use std::ops::Range;

use echomesh_proto::ids::{ConnectionId, PeerId, ShardId, ShardSet};
use echomesh_proto::srtp::MasterKey;

use crate::counters::CloseReason;
use crate::jobs::{HashRequest, StoreRequest};
use crate::voice::VoiceHeader;

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// Queue bytes for a connection and answer `Input::Drained` as they leave. The kernel bounds what
    /// waits; the driver need not.
    Send { connection: ConnectionId, bytes: Range<usize> },
    /// Give what was sent up to a second to leave, then close. The kernel has forgotten the connection.
    Close { connection: ConnectionId, reason: CloseReason },
    /// Start no read on this connection until `ResumeReading`. A read under way may still bring bytes.
    PauseReading { connection: ConnectionId },
    /// Read again.
    ResumeReading { connection: ConnectionId },
    /// Push one record to the control ring of a shard; there is room (the kernel keeps the credit).
    MeshControl { target: ShardId, record: Range<usize> },
    /// Send the packet in hand to these peers, each sealed with its key, and to the voice rings of
    /// these shards.
    Voice(Voice),
    /// Peer table: this entry's address and downlink key are now these.
    PeerSet { peer: PeerId, address: SocketAddr, key: MasterKey },
    /// Peer table: the listener moved.
    PeerMoved { peer: PeerId, address: SocketAddr },
    /// Seal the RTCP compound (in `Effects::bytes`) under this index with the peer's key and send it there.
    Report { peer: PeerId, compound: Range<usize>, index: u32 },
    /// Peer table: forget address and key.
    PeerGone { peer: PeerId },
    /// Ask the store.
    Store(StoreRequest),
    /// Ask the hashers.
    Hash(HashRequest),
}

/// A packet on its way to listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    /// What the RTP header is made of, and the 48-bit index it is sealed under.
    pub header: VoiceHeader,
    /// Decrypted Opus payload: a range of the datagram or mesh record in hand.
    pub payload: Range<usize>,
    /// It is a range of `Effects::bytes` instead: the packet came in a control connection.
    pub in_bytes: bool,
    /// Local listeners: a range of `Effects::peers`.
    pub peers: Range<usize>,
    /// Shards that have listeners: one record to each one's voice ring. Empty for a packet that came
    /// from a ring.
    pub relay: ShardSet,
}

/// The effects of one call.
#[derive(Debug, Default)]
pub struct Effects {
    /// In the order to apply them.
    pub list: Vec<Effect>,
    /// What `Send`, `MeshControl` and others point into.
    pub bytes: Vec<u8>,
    /// What `Voice::peers` points into.
    pub peers: Vec<PeerId>,
}

impl Effects {
    /// Buffers that hold a fan-out to `peers_max` listeners without growing.
    #[must_use]
    pub fn with_capacity(peers_max: usize) -> Self {
        Self {
            list: Vec::with_capacity(256),
            bytes: Vec::with_capacity(64 * 1024),
            peers: Vec::with_capacity(peers_max),
        }
    }

    /// Forgets the effects and keeps the buffers.
    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
        self.peers.clear();
    }
}
