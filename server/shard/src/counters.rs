//! What happened, counted. Whatever can be lost is counted by reason; nothing here is a rule.

/// Declares an enum of reasons with a stable name each, for metrics and logs.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// Stable name for metrics and logs.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }
    };
}

reasons! {
    /// Why a connection ended.
    CloseReason {
        /// The peer closed in order.
        PeerClosed => "peer_closed",
        /// Reset, unreachable or timed out.
        Network => "network",
        /// Neither TLS nor a frame.
        NotOurProtocol => "not_our_protocol",
        /// TLS failed.
        TlsFailed => "tls_failed",
        /// Plaintext from or to a non-loopback address.
        PlaintextRefused => "plaintext_refused",
        /// No login in time.
        LoginTimeout => "login_timeout",
        /// A frame begun and not finished in time.
        FrameTimeout => "frame_timeout",
        /// A frame length that cannot be.
        BadFrame => "bad_frame",
        /// A frame that is not an `EchoMsg`, or whose body and type differ.
        Malformed => "malformed",
        /// The peer does not read what it is sent.
        SlowReader => "slow_reader",
        /// Too many wrong passwords or codes.
        Guessing => "guessing",
        /// The shard's connection table is full.
        ConnectionLimit => "connection_limit",
        /// The address has as many connections, or ones not logged in, as it may.
        AddressLimit => "address_limit",
        /// The address connects too fast.
        ConnectRate => "connect_rate",
        /// Too many connections are not logged in.
        StrangersLimit => "strangers_limit",
        /// Connections hold three quarters of the memory they may.
        MemoryShort => "memory_short",
        /// So far beyond one of these four that it was closed without words.
        Flood => "flood",
        /// Connections hold all the memory they may, and the peer is behind.
        MemoryFull => "memory_full",
        /// The session was resumed by another connection.
        Replaced => "replaced",
        /// A moderator ended the session.
        Kicked => "kicked",
        /// The account or the address is banned.
        Banned => "banned",
        /// The account ended its sessions, or is gone.
        SignedOut => "signed_out",
        /// The server is stopping.
        Shutdown => "shutdown",
    }
}

reasons! {
    /// Why a voice packet or another input went no further.
    Drop {
        /// Neither RTP nor RTCP by its first bytes.
        NotRtp => "not_rtp",
        /// Too short, too long, or a header that does not add up.
        BadPacket => "bad_packet",
        /// No stream with this SSRC here.
        UnknownSsrc => "unknown_ssrc",
        /// The AEAD tag is wrong.
        AuthFailed => "auth_failed",
        /// Seen before, or older than the replay window.
        Replayed => "replayed",
        /// A payload type other than Opus.
        PayloadType => "payload_type",
        /// The speaker is muted.
        Muted => "muted",
        /// The speaker is muted by a moderator, or has no right to speak.
        ServerMuted => "server_muted",
        /// Voice for or from a control connection that is behind, or through a ring that is; or that piled up behind a
        /// request.
        TunnelBehind => "tunnel_behind",
        /// Voice frames of a control connection beyond their rate.
        TunnelRate => "tunnel_rate",
        /// A voice frame before the login, or for a stream that is not of its session.
        TunnelForeign => "tunnel_foreign",
        /// An authenticated RTCP compound whose lengths do not add up.
        BadReport => "bad_report",
        /// Others are louder.
        NotSelected => "not_selected",
        /// Late, from a time when the speaker was muted or not selected.
        Withheld => "withheld",
        /// Late across a boundary that is forgotten: its output index cannot be told any more.
        TooLate => "too_late",
        /// Nobody is in the room to hear it.
        NoListener => "no_listener",
        /// Older than `Limits::voice_age_us_max` when taken from the socket: the shard cannot keep up.
        Overload => "overload",
        /// Older than `Limits::voice_age_us_max` when taken from a mesh ring.
        Stale => "stale",
        /// A mesh record about a stream this shard does not know (any more, or yet).
        MeshUnknownStream => "mesh_unknown_stream",
        /// A mesh record that does not parse: a bug.
        MeshBadRecord => "mesh_bad_record",
        /// About a connection that is gone.
        StaleConnection => "stale_connection",
        /// An answer to a request that was given up or whose asker is gone.
        StaleAnswer => "stale_answer",
        /// About a session or member that is gone.
        StaleSession => "stale_session",
        /// What an account has seen: the store was away for long, and too much waited for it.
        MarkLost => "mark_lost",
        /// A direct line for a session that was moving: it finds it in the history.
        DirectMissed => "direct_missed",
        /// The end of a session that the store has: too many wait for it.
        EndNotSaved => "end_not_saved",
        /// A room message whose target is not in the room.
        NoTarget => "no_target",
    }
}

/// How many there are of what a shard holds, now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Sessions, with or without connection.
    pub sessions: u64,
    /// Of these, without connection: they wait to be resumed.
    pub detached: u64,
    /// Voice streams.
    pub streams: u64,
    /// Rooms whose home this is.
    pub rooms: u64,
}

/// A shard's counters; each only grows.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Logins that succeeded.
    pub logins: u64,
    /// Logins refused.
    pub logins_refused: u64,
    /// Sessions resumed here.
    pub resumes: u64,
    /// Chat lines acknowledged (as home of their room).
    pub chat_stored: u64,
    /// Direct lines acknowledged (as home of their conversation).
    pub direct_stored: u64,
    /// Lines edited or deleted (where they are ordered).
    pub chat_changed: u64,
    /// Lines deleted for their age.
    pub chat_expired: u64,
    /// Chat lines delivered to connections.
    pub chat_delivered: u64,
    /// RTP packets accepted from speakers.
    pub voice_received: u64,
    /// Copies handed to the driver for local listeners.
    pub voice_forwarded: u64,
    /// Records handed to the driver for other shards' voice rings.
    pub voice_relayed: u64,
    /// Records taken from voice rings.
    pub voice_from_mesh: u64,
    /// RTCP packets authenticated.
    pub rtcp_received: u64,
    /// Packets, of speakers here or from the mesh, that went on to a listener or a shard; every other accepted
    /// one is counted by the reason why not.
    pub voice_fanned_out: u64,
    /// RTCP compounds made for clients.
    pub rtcp_sent: u64,
    /// Requests answered with `STATUS_TRY_AGAIN`.
    pub busy: u64,
    /// Requests beyond their connection's rate, not done.
    pub too_fast: u64,
    /// How often a connection was not read from since it sent more bytes than its rate.
    pub slowed: u64,
    /// Passwords, tokens and codes that were not looked at: too many were wrong.
    pub guesses_refused: u64,
    closed: [u64; CloseReason::ALL.len()],
    dropped: [u64; Drop::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            accepted: 0,
            logins: 0,
            logins_refused: 0,
            resumes: 0,
            chat_stored: 0,
            direct_stored: 0,
            chat_changed: 0,
            chat_expired: 0,
            chat_delivered: 0,
            voice_received: 0,
            voice_forwarded: 0,
            voice_relayed: 0,
            voice_from_mesh: 0,
            rtcp_received: 0,
            voice_fanned_out: 0,
            rtcp_sent: 0,
            busy: 0,
            too_fast: 0,
            slowed: 0,
            guesses_refused: 0,
            closed: [0; CloseReason::ALL.len()],
            dropped: [0; Drop::ALL.len()],
        }
    }
}

impl Counters {
    /// Connections closed for this reason.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }

    /// Inputs dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.dropped[reason as usize]
    }

    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }

    pub(crate) fn drop(&mut self, reason: Drop) {
        self.dropped[reason as usize] += 1;
    }
}
