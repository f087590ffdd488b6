//! What happened, counted. Whatever can be lost is counted by reason; nothing here is a rule.

use crate::histogram::Histogram;

/// Declares an enum of reasons with a stable name each, for metrics and logs.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $help:literal])+ $variant:ident => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $help])+ $variant,)+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// Their stable names, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($text,)+];

            /// What they mean, for who reads the metrics; a blank before each line.
            pub const HELP: &'static [&'static str] = &[$(concat!($($help,)+),)+];

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
        /// So far beyond one of `connection_limit`, `address_limit`, `connect_rate` and `strangers_limit` that it was closed
        /// without words.
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
        /// A stream sends over half as much again as the bit rate it was told, or over 400 packets a second.
        StreamRate => "stream_rate",
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
        /// Over 60 ms old when taken from the socket: the shard cannot keep up.
        Overload => "overload",
        /// Over 60 ms old when taken from a mesh ring.
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

reasons! {
    /// How a login or a resume was answered.
    LoginOutcome {
        /// By name and password.
        Password => "password",
        /// A new account was made.
        NewAccount => "new_account",
        /// By device token.
        Token => "token",
        /// As a guest.
        Guest => "guest",
        /// A session was resumed.
        Resumed => "resumed",
        /// Wrong name, password or token, or nobody may register.
        BadCredentials => "bad_credentials",
        /// The invitation does not count.
        BadInvitation => "bad_invitation",
        /// A name that cannot be.
        BadName => "bad_name",
        /// Not a resume token.
        BadResumeToken => "bad_resume_token",
        /// Too many wrong secrets came before: it was not looked at.
        TooManyGuesses => "too_many_guesses",
        /// The address made as many new accounts as it may for now.
        TooManyAccounts => "too_many_accounts",
        /// Guests are not let in.
        NoGuests => "no_guests",
        /// The name is another's.
        NameTaken => "name_taken",
        /// The account has as many sessions as it may.
        TooManySessions => "too_many_sessions",
        /// The account or the address is banned.
        Banned => "banned",
        /// The account's sessions were ended meanwhile.
        SignedOut => "signed_out",
        /// The session to resume is over, or its secret wrong.
        SessionGone => "session_gone",
        /// The connection is logged in already.
        LoggedInAlready => "logged_in_already",
        /// Too much waits for the store or the hashers, or the session is on its way elsewhere.
        Busy => "busy",
        /// The store failed.
        StoreFailed => "store_failed",
        /// More requests than a connection may make.
        TooFast => "too_fast",
        /// There was no answer in time.
        TimedOut => "timed_out",
    }
}

/// How much there is of what a shard holds, now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Sessions, with or without connection.
    pub sessions: u64,
    /// Of these, without connection: they wait to be resumed.
    pub detached: u64,
    /// Voice streams.
    pub streams: u64,
    /// Of these, whose client spoke within the last 300 ms, at the last tick.
    pub speakers: u64,
    /// Rooms whose home this is.
    pub rooms: u64,
    /// Unanswered requests to the store.
    pub storing: u64,
    /// Unanswered requests to the store's reader.
    pub reading: u64,
    /// Unanswered requests to the hashers.
    pub hashing: u64,
    /// Bytes of control records that wait for room in a ring.
    pub outbox_bytes: u64,
    /// Bytes that connections hold.
    pub memory_bytes: u64,
    /// `Limits::memory_bytes_max`, against which they count; 0: none.
    pub memory_bytes_max: u64,
}

/// Bounds of shares lost, in millionths.
const LOSS_BOUNDS: &[u64] = &[0, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000];

/// Bounds of jitter, microseconds.
const JITTER_BOUNDS: &[u64] = &[1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000];

/// Bounds of round trips, microseconds: from a local network to a satellite and beyond.
const ROUND_TRIP_BOUNDS: &[u64] =
    &[1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000];

/// What RTCP told of the ways between clients and here.
#[derive(Clone, Debug)]
pub struct Reported {
    /// Shares lost of a stream on the way to a client, by its report; millionths.
    pub downlink_loss: Histogram,
    /// Jitter of a stream on the way to a client, by its report; microseconds.
    pub downlink_jitter: Histogram,
    /// Shares lost of a client's stream on the way here; millionths.
    pub uplink_loss: Histogram,
    /// Jitter of a client's stream on the way here; microseconds.
    pub uplink_jitter: Histogram,
    /// To a client and back; microseconds.
    pub round_trip: Histogram,
}

impl Default for Reported {
    fn default() -> Self {
        Self {
            downlink_loss: Histogram::new(LOSS_BOUNDS),
            downlink_jitter: Histogram::new(JITTER_BOUNDS),
            uplink_loss: Histogram::new(LOSS_BOUNDS),
            uplink_jitter: Histogram::new(JITTER_BOUNDS),
            round_trip: Histogram::new(ROUND_TRIP_BOUNDS),
        }
    }
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
    /// What RTCP told.
    pub reported: Reported,
    login_outcomes: [u64; LoginOutcome::ALL.len()],
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
            reported: Reported::default(),
            login_outcomes: [0; LoginOutcome::ALL.len()],
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

    /// Logins and resumes answered so.
    #[must_use]
    pub fn login_outcome(&self, outcome: LoginOutcome) -> u64 {
        self.login_outcomes[outcome as usize]
    }

    pub(crate) fn login(&mut self, outcome: LoginOutcome) {
        self.login_outcomes[outcome as usize] += 1;
    }

    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }

    pub(crate) fn drop(&mut self, reason: Drop) {
        self.dropped[reason as usize] += 1;
    }
}
