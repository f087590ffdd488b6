//! What a shard is told at start: who it is, its bounds, and the rooms there are.

use echomesh_proto::ids::{RoomNumber, ShardId, UserId};
use echomesh_proto::time::SECOND_US;

use crate::bans::Ban;
use crate::rates::Rate;
use crate::rights::{Holder, Standing};
use crate::rooms::Properties;
use crate::saving::SavedSession;

/// A shard's settings, the same on every shard but for `shard` and `seed`.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// This shard.
    pub shard: ShardId,
    /// How many shards there are, 1..=`SHARDS_MAX`.
    pub shards: u8,
    /// Entropy for session ids, resume tokens, SSRCs and voice keys: from the operating system in the
    /// server, from the simulation's seed in tests. Secret, and different on every shard and run.
    pub seed: [u8; 32],
    /// Shown to clients.
    pub server_name: String,
    /// Shown to clients.
    pub server_version: String,
    /// Told to who logs in, at most `MOTD_BYTES_MAX`; empty: nothing.
    pub motd: String,
    /// UDP port that clients are told to send voice to.
    pub voice_port: u16,
    /// Who may make accounts.
    pub registration: Registration,
    /// Let people in without an account.
    pub guests: bool,
    /// Allow plaintext between any addresses, not only on loopback.
    pub plaintext_anywhere: bool,
    /// Voice streams a room has on one shard before it spreads to the next.
    pub spread_after: u32,
    /// Speakers heard at once in a room, the loudest; 0: all.
    pub speakers_max: u32,
    /// Days that lines are kept in rooms that say nothing, and direct lines; 0: for ever.
    pub retention_days: u32,
    /// Bounds.
    pub limits: Limits,
    /// Rooms in the store at start; every shard is given all.
    pub rooms: Vec<StoredRoom>,
    /// Bans in the store at start that are not over; every shard is given all.
    pub bans: Vec<Ban>,
    /// Sessions that lived when the server ended last, of accounts that may still have them; every shard is given
    /// all.
    pub sessions: Vec<SavedSession>,
    /// Rooms that ended and whose lines are still in the store: given to one shard.
    pub ended_rooms: Vec<RoomNumber>,
}

/// What may change while a shard runs: the fields of the same names in [`ShardConfig`], the same on every shard.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// See [`ShardConfig`].
    pub server_name: String,
    /// Likewise.
    pub motd: String,
    /// Likewise; who is logging in is judged by what held when asked.
    pub registration: Registration,
    /// Likewise; guests that are there stay.
    pub guests: bool,
    /// Likewise.
    pub speakers_max: u32,
    /// Likewise.
    pub retention_days: u32,
    /// Those about an address, a connection and memory may differ from before; all others must not, for tables and
    /// rings were made for them. Who is beyond a lower bound already stays.
    pub limits: Limits,
}

/// Who may make accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The first login with an unused name makes the account.
    Open,
    /// Likewise, if it brings an invitation.
    Invitation,
    /// Only accounts that exist may log in.
    Closed,
}

/// A room as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRoom {
    /// Stays when the name changes.
    pub number: RoomNumber,
    /// Case-folded name, unique.
    pub key: String,
    /// Name as typed (NFC).
    pub name: String,
    /// What it is set to.
    pub properties: Properties,
    /// The account that made it.
    pub creator: UserId,
    /// Number of its newest line.
    pub newest_line: u64,
    /// What it says of roles and accounts.
    pub standings: Vec<(Holder, Standing)>,
}

/// Bounds of one shard unless said otherwise; of those about an address, a connection or memory, 0 is no limit. Beyond each, what is new is refused with a sentence, or
/// the connection is closed with a reason; nothing grows without one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// TCP connections.
    pub connections_max: u32,
    /// Connections of one address (IPv4, or an IPv6 /64).
    pub address_connections_max: u32,
    /// Likewise, that have not logged in.
    pub address_strangers_max: u32,
    /// Connections of one address in a time.
    pub connects: Rate,
    /// Connections that have not logged in.
    pub strangers_max: u32,
    /// Requests of one connection in a time; beyond, they are not done.
    pub requests: Rate,
    /// Bytes of one connection in a time; beyond, reading pauses.
    pub bytes: Rate,
    /// Voice frames of one control connection in a time; beyond, they are dropped.
    pub voice_frames: Rate,
    /// Bits of Opus that a stream may send in a second on average: its client is told so; 0: any number.
    pub bitrate_max: u32,
    /// Accounts that one address makes in a time, where anybody may.
    pub address_accounts: Rate,
    /// Wrong passwords, tokens and codes from one address in a time, on all shards.
    pub address_guesses: Rate,
    /// Wrong passwords of one account in a time, on all shards.
    pub account_guesses: Rate,
    /// Bytes that connections hold: over three quarters, new ones are refused; over all, those behind are closed.
    pub memory_bytes_max: usize,
    /// Voice streams owned.
    pub streams_max: u32,
    /// Sessions of one account, on all shards.
    pub account_sessions_max: u32,
    /// Rooms of the server.
    pub rooms_max: u32,
    /// Rooms one session may be in.
    pub session_rooms_max: u32,
    /// Members of a room.
    pub room_members_max: u32,
    /// Bytes queued for one connection that its peer does not read; beyond, it is closed.
    pub output_bytes_max: usize,
    /// Bytes of whole or partial frames of one connection that wait for an earlier answer; beyond,
    /// reading pauses.
    pub input_bytes_max: usize,
    /// Chat lines of one connection waiting to be stored; beyond, its next frames wait.
    pub chat_in_flight_max: u32,
    /// Unanswered requests to the store.
    pub store_requests_max: u32,
    /// Unanswered requests to the store's reader: history and what is unread.
    pub reads_max: u32,
    /// Marks of what was seen that are not stored yet.
    pub marks_max: u32,
    /// Direct lines of one account in a minute.
    pub direct_lines_max: u32,
    /// Unanswered requests to the hashers.
    pub hash_requests_max: u32,
    /// Control bytes waiting for room in the ring to one shard. Over half: new work that feeds it is
    /// refused or waits. The other half is for what the store answers then.
    pub outbox_bytes_max: usize,
    /// From accept to a login, microseconds.
    pub login_us_max: u64,
    /// From the first byte of a frame to its last, microseconds.
    pub frame_us_max: u64,
    /// A request's wait for its answer from store, hashers or another shard, microseconds.
    pub answer_us_max: u64,
    /// A session without connection, microseconds.
    pub resume_us_max: u64,
    /// Age at which voice is dropped that waits in a socket or a mesh ring, microseconds.
    pub voice_age_us_max: u64,
    /// Wrong passwords and codes on one connection in a time; after the last of them it is closed.
    pub connection_guesses: Rate,
    /// Entries of a room about roles and accounts: rights given and taken, mutes.
    pub room_standings_max: u32,
    /// Bans of the server and of all rooms.
    pub bans_max: u32,
    /// Reports of one account in an hour.
    pub reports_max: u32,
    /// Device tokens of one account.
    pub account_tokens_max: u32,
    /// Invitations to the server that count.
    pub invitations_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            address_connections_max: 256,
            address_strangers_max: 64,
            connects: Rate::per_second(50, 200),
            strangers_max: 4_096,
            requests: Rate::per_second(50, 400),
            bytes: Rate::per_second(256 * 1024, 2 * 1024 * 1024),
            voice_frames: Rate::per_second(300, 300),
            bitrate_max: 128_000,
            address_accounts: Rate::one_in(10, 100),
            address_guesses: Rate::one_in(2, 20),
            account_guesses: Rate::one_in(10, 100),
            memory_bytes_max: 1024 * 1024 * 1024,
            streams_max: 16_384,
            account_sessions_max: 16,
            rooms_max: 10_000,
            session_rooms_max: 64,
            room_members_max: 5_000,
            output_bytes_max: 256 * 1024,
            input_bytes_max: 80 * 1024,
            chat_in_flight_max: 32,
            store_requests_max: 4_096,
            reads_max: 64,
            marks_max: 4_096,
            direct_lines_max: 60,
            hash_requests_max: 256,
            outbox_bytes_max: 4 * 1024 * 1024,
            login_us_max: 10 * SECOND_US,
            frame_us_max: 30 * SECOND_US,
            answer_us_max: 15 * SECOND_US,
            resume_us_max: 60 * SECOND_US,
            voice_age_us_max: 60_000,
            connection_guesses: Rate::one_in(60, 5),
            room_standings_max: 1_000,
            bans_max: 10_000,
            reports_max: 5,
            account_tokens_max: 32,
            invitations_max: 1_000,
        }
    }
}
