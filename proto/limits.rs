//! Bounds that both sides of a wire must agree on. What only the server decides is in
//! `echomesh_shard::Limits`.

/// Most shards of a server: one bit each in a `ShardSet`, and within the low byte of an SSRC.
pub const SHARDS_MAX: usize = 64;

/// Longest control frame, bytes, without its length prefix.
pub const FRAME_BYTES_MAX: usize = 65_536;

/// Longest user name, bytes of UTF-8 after NFC.
pub const USERNAME_BYTES_MAX: usize = 64;

/// Longest room name, bytes of UTF-8 after NFC.
pub const ROOM_NAME_BYTES_MAX: usize = 64;

/// Longest password, bytes: Argon2 would take more, an attacker's megabytes are not hashed.
pub const PASSWORD_BYTES_MAX: usize = 512;

/// Longest chat line, bytes of UTF-8.
pub const CHAT_BYTES_MAX: usize = 4_000;

/// Accounts that one line mentions, at most.
pub const MENTIONS_MAX: usize = 16;

/// Lines of one page of history: at most, and where the request does not say.
pub const HISTORY_LINES_MAX: u32 = 100;
/// Likewise.
pub const HISTORY_LINES: u32 = 50;

/// Unread lines that are counted of one room or conversation.
pub const UNREAD_MAX: u32 = 1_000;

/// Longest `ChatMsg.client_id`, bytes: a UUID in text.
pub const CLIENT_ID_BYTES_MAX: usize = 36;

/// Longest `RoomMessage.payload`, bytes.
pub const ROOM_MESSAGE_BYTES_MAX: usize = 16_384;

/// Longest description of a room, bytes of UTF-8.
pub const DESCRIPTION_BYTES_MAX: usize = 500;

/// Longest reason of a moderator's act or a report, bytes of UTF-8.
pub const REASON_BYTES_MAX: usize = 500;

/// Longest message of the day, bytes of UTF-8.
pub const MOTD_BYTES_MAX: usize = 1_024;

/// Longest label of a device token, bytes of UTF-8.
pub const LABEL_BYTES_MAX: usize = 64;

/// Longest device token or invitation's code that is looked at, bytes: twice what the server gives.
pub const SECRET_BYTES_MAX: usize = 128;

/// Longest voice datagram, bytes: fits every path MTU in use with room for tunnels.
pub const DATAGRAM_BYTES_MAX: usize = 1_200;

/// RTP payload type of Opus in EchoMesh: the first dynamic number that SDP examples use (RFC 7587).
pub const OPUS_PAYLOAD_TYPE: u8 = 111;

/// RFC 6464 audio level: id of the one-byte header extension (RFC 8285).
pub const AUDIO_LEVEL_EXTENSION_ID: u8 = 1;
