//! Everything that can happen to a shard, as plain data. The driver calls `Shard::handle` with one of
//! these at a time; bytes are borrowed for the call only.

use std::net::SocketAddr;

use echomesh_proto::ids::{ConnectionId, ShardId};
use echomesh_proto::time::Time;

use crate::config::ShardSettings;
use crate::jobs::{HashReply, StoreReply};

/// One thing that happened. A call carries at most one datagram and keeps none.
#[derive(Debug)]
pub enum Input<'a> {
    /// TCP accepted; nothing read yet. The login deadline starts. Addresses are canonical (no
    /// IPv4-mapped IPv6). The driver chooses the id: a free slot below `Limits::connections_max`, and
    /// a generation never used with that slot before.
    Accepted { connection: ConnectionId, remote: SocketAddr, local: SocketAddr },
    /// The first byte told the transport, and for TLS the handshake is done. Comes before any `Bytes`.
    Opened { connection: ConnectionId, security: Security },
    /// Decrypted bytes of the control stream, in order, at most `READ_BYTES_MAX` at a time.
    Bytes { connection: ConnectionId, bytes: &'a [u8] },
    /// This many bytes of earlier `Effect::Send`s have been given to the socket.
    Drained { connection: ConnectionId, bytes: usize },
    /// The connection is over by the peer's or the network's doing; its id is not used again. Not sent
    /// after `Effect::Close`.
    Closed { connection: ConnectionId, cause: ClosedCause },
    /// A UDP datagram, to be decrypted in place, and when the system received it (or it was taken from the
    /// socket, if that is not known).
    Datagram { source: SocketAddr, received: Time, datagram: &'a mut [u8] },
    /// A record of another shard's control ring to this one.
    MeshControl { source: ShardId, record: &'a [u8] },
    /// A record of another shard's voice ring to this one: `VoiceRecord` header and payload.
    MeshVoice { source: ShardId, record: &'a [u8] },
    /// The control ring to `target` has room for this many bytes now, record prefixes included. Sent
    /// at start, and on each turn while the kernel has it in `Shard::waits_for_rings`.
    RingFree { target: ShardId, bytes: usize },
    /// The store has answered.
    Store(StoreReply),
    /// The hashers have answered.
    Hash(HashReply),
    /// Time passes: sent every `TICK_US`.
    Tick,
    /// The operator has changed settings: they hold from now on.
    Settings(Box<ShardSettings>),
    /// Begin to stop: take nothing new, go on with what was begun until `Shard::is_quiet`.
    Drain,
    /// Stop: tell clients, close.
    Shutdown,
}

/// How the bytes of a control connection are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS 1.3.
    Tls,
    /// None: allowed between loopback addresses, or anywhere if the operator says so.
    Plaintext,
}

/// Why a connection ended without the kernel asking for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedCause {
    /// The peer closed its side in order.
    PeerClosed,
    /// Reset, timed out, unreachable.
    Network,
    /// The first byte was neither a TLS record nor a frame.
    NotOurProtocol,
    /// The TLS handshake failed or a record was bad.
    TlsFailed,
}

/// Most bytes of a control connection in one `Input::Bytes`.
pub const READ_BYTES_MAX: usize = 4_096;

/// Period of `Input::Tick`, microseconds.
pub const TICK_US: u64 = 50_000;
