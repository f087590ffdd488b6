//! What happened in a session, counted. Whatever can be lost is counted by reason.

/// Why a message or packet went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drop {
    /// Neither RTP nor RTCP by its first bytes.
    NotRtp,
    /// Too short, too long, or a header that does not add up.
    BadPacket,
    /// No voice is open, or the SSRC is unknown and no room's key opens it.
    UnknownSsrc,
    /// The AEAD tag is wrong.
    AuthFailed,
    /// Seen before, or older than the replay window.
    Replayed,
    /// Of a stream that no roster announced in time, and that no key opened.
    NotAnnounced,
    /// A payload type other than Opus.
    PayloadType,
    /// A room has `STREAMS_MAX` streams already.
    StreamLimit,
    /// The driver does not take outgoing datagrams.
    DatagramQueueFull,
    /// Voice through the control connection that was behind, or that the driver did not take.
    TunnelBehind,
    /// An answer to a request that was given up, or was never sent.
    UnknownAnswer,
    /// About a room the session is not in.
    UnknownRoom,
    /// About a room the session was put out of while it waited for this.
    RoomGone,
    /// A member without id, or beyond `MEMBERS_MAX`.
    BadMember,
    /// One more room than `ROOMS_MAX`, or while far too many requests wait.
    RoomLimit,
    /// Lines that came while the connection was lost and cannot be had: the server refuses them.
    LinesMissed,
    /// A message this client has no use for.
    Unsupported,
}

impl Drop {
    /// All of them, in order.
    pub const ALL: [Drop; 17] = [
        Drop::NotRtp,
        Drop::BadPacket,
        Drop::UnknownSsrc,
        Drop::AuthFailed,
        Drop::Replayed,
        Drop::NotAnnounced,
        Drop::PayloadType,
        Drop::StreamLimit,
        Drop::DatagramQueueFull,
        Drop::TunnelBehind,
        Drop::UnknownAnswer,
        Drop::UnknownRoom,
        Drop::RoomGone,
        Drop::BadMember,
        Drop::RoomLimit,
        Drop::LinesMissed,
        Drop::Unsupported,
    ];

    /// Stable name for statistics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Drop::NotRtp => "not_rtp",
            Drop::BadPacket => "bad_packet",
            Drop::UnknownSsrc => "unknown_ssrc",
            Drop::AuthFailed => "auth_failed",
            Drop::Replayed => "replayed",
            Drop::NotAnnounced => "not_announced",
            Drop::PayloadType => "payload_type",
            Drop::StreamLimit => "stream_limit",
            Drop::DatagramQueueFull => "datagram_queue_full",
            Drop::TunnelBehind => "tunnel_behind",
            Drop::UnknownAnswer => "unknown_answer",
            Drop::UnknownRoom => "unknown_room",
            Drop::RoomGone => "room_gone",
            Drop::RoomLimit => "room_limit",
            Drop::BadMember => "bad_member",
            Drop::LinesMissed => "lines_missed",
            Drop::Unsupported => "unsupported",
        }
    }
}

/// A session's counters; each only grows, over all its connections.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Control messages received.
    pub messages_received: u64,
    /// Requests sent, those the session makes by itself included.
    pub requests_sent: u64,
    /// Requests that got no answer in time.
    pub requests_timed_out: u64,
    /// Voice packets sealed.
    pub voice_sent: u64,
    /// Voice packets authenticated and given to the driver.
    pub voice_received: u64,
    /// RTCP packets sealed.
    pub rtcp_sent: u64,
    /// RTCP packets authenticated.
    pub rtcp_received: u64,
    dropped: [u64; Drop::ALL.len()],
}

impl Counters {
    /// Dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.dropped[reason as usize]
    }

    pub(super) fn drop(&mut self, reason: Drop) {
        self.dropped[reason as usize] += 1;
    }
}
