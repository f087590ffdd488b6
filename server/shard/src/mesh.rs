//! What shards say to each other on the control rings, and the bounded outbox in front of each ring.
//!
//! Not the voice rings: their records are a `VoiceHeader` and a payload. Messages are protobuf inside
//! the process only, so fields may change freely. Order between two shards is kept.
//! Bounds: a record is at most `RECORD_BYTES_MAX`; an outbox is checked against `Limits::outbox_bytes_max`.

use std::collections::VecDeque;

use echomesh_proto::control::{
    ChatAction, ChatMsg, EchoMsg, Moderation, ModerationState, Role, RoomMessage, RoomProperties,
};
use echomesh_proto::ids::{ConnectionId, ShardId};
use prost::Message;

use crate::accounts::SignOut;
use crate::bans::{Ban, Network};
use crate::chat::wire::{DirectAsk, DirectLine};
use crate::guesses::Guess;
use crate::mistakes::{Mistake, planted};
use crate::rooms::{Counts, Join, NewRoom, Relocation};

/// Bytes the driver's ring adds to each record.
pub const RECORD_PREFIX_BYTES: usize = 4;

/// Longest record: the largest room message and its envelope, with room to spare. A control ring must
/// be larger than this.
pub const RECORD_BYTES_MAX: usize = 32 * 1024;

/// Members in one `ReplicaDelta`, so that a record stays below its bound.
pub(crate) const DELTA_MEMBERS_MAX: usize = 100;

/// Who waits for an answer: a connection of a shard, and which of its requests.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Asker {
    #[prost(uint32, tag = "1")]
    pub(crate) shard: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) slot: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) generation: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) serial: u32,
}

impl Asker {
    pub(crate) fn shard(&self) -> ShardId {
        ShardId(self.shard as u8)
    }

    pub(crate) fn connection(&self) -> ConnectionId {
        ConnectionId { slot: self.slot, generation: self.generation }
    }
}

/// A request to a room's home. Membership requests name the session and how often it had moved when
/// they were sent: requests of its shards may overtake each other, and the later shard is believed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ToHome {
    #[prost(message, required, tag = "1")]
    pub(crate) asker: Asker,
    /// 0 where only the key is known.
    #[prost(uint64, tag = "2")]
    pub(crate) room: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) session: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) user: u64,
    #[prost(string, tag = "5")]
    pub(crate) username: String,
    #[prost(uint32, tag = "15")]
    pub(crate) moves: u32,
    /// Of the account, as the session knows it.
    #[prost(enumeration = "Role", tag = "16")]
    pub(crate) role: i32,
    #[prost(oneof = "Ask", tags = "6, 7, 8, 9, 10, 11, 12, 13, 14, 17, 18, 40")]
    pub(crate) ask: Option<Ask>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Ask {
    #[prost(message, tag = "6")]
    Create(NewRoom),
    #[prost(message, tag = "7")]
    Join(Join),
    /// True: a person asked and waits for an answer.
    #[prost(bool, tag = "8")]
    Leave(bool),
    #[prost(message, tag = "9")]
    Chat(ChatMsg),
    #[prost(message, tag = "10")]
    Message(RoomMessage),
    #[prost(message, tag = "11")]
    Set(MemberFlags),
    #[prost(message, tag = "12")]
    OpenVoice(MemberFlags),
    /// The session lives on the source shard now.
    #[prost(bool, tag = "13")]
    Moved(bool),
    /// The stream is open, or its numbers have rolled over.
    #[prost(message, tag = "14")]
    StreamAt(StreamAt),
    /// The session's role is now the request's.
    #[prost(bool, tag = "17")]
    Role(bool),
    /// The session's shard puts it out.
    #[prost(message, tag = "18")]
    Remove(Removal),
    /// An edit or a deletion.
    #[prost(message, tag = "40")]
    Change(ChatAction),
}

/// Why a member was put out of a room.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Removal {
    /// Empty: the server.
    #[prost(string, tag = "1")]
    pub(crate) by: String,
    #[prost(string, tag = "2")]
    pub(crate) reason: String,
}

/// A moderator's request, where it is decided: at the room's home, or at the staff shard.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Order {
    #[prost(message, required, tag = "1")]
    pub(crate) asker: Asker,
    #[prost(uint64, tag = "2")]
    pub(crate) user: u64,
    #[prost(string, tag = "3")]
    pub(crate) username: String,
    #[prost(enumeration = "Role", tag = "4")]
    pub(crate) role: i32,
    /// 0: the server.
    #[prost(uint64, tag = "5")]
    pub(crate) room: u64,
    #[prost(message, required, tag = "6")]
    pub(crate) msg: Moderation,
    /// Whom it is about, once that is known; 0: nobody yet, or an address or a role.
    #[prost(uint64, tag = "7")]
    pub(crate) target_user: u64,
    #[prost(string, tag = "8")]
    pub(crate) target_name: String,
    #[prost(enumeration = "Role", tag = "9")]
    pub(crate) target_role: i32,
    #[prost(message, optional, tag = "10")]
    pub(crate) network: Option<Network>,
    /// The room's home has said yes: the staff shard does it, or the home of the room that someone is moved to.
    #[prost(bool, tag = "11")]
    pub(crate) granted: bool,
    /// What a room is to be set to; its password is in here until it is hashed.
    #[prost(message, optional, tag = "12")]
    pub(crate) properties: Option<RoomProperties>,
    /// The address that asks: whose turn it is to have a password hashed, or who reports.
    #[prost(string, tag = "13")]
    pub(crate) remote: String,
    #[prost(string, optional, tag = "14")]
    pub(crate) password_hash: Option<String>,
}

/// An account's role is another now, or its sessions are to end.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AccountNote {
    #[prost(uint64, tag = "1")]
    pub(crate) user: u64,
    #[prost(enumeration = "Role", tag = "2")]
    pub(crate) role: i32,
    /// What the sessions that end are told.
    #[prost(string, tag = "3")]
    pub(crate) text: String,
}

/// Where a stream's numbers are.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct StreamAt {
    /// 0: it could not be opened.
    #[prost(uint32, tag = "1")]
    pub(crate) ssrc: u32,
    /// High 32 bits of its next output index.
    #[prost(uint32, tag = "2")]
    pub(crate) roc: u32,
}

/// How loud a shard's active speakers of a room are.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Levels {
    #[prost(uint64, tag = "1")]
    pub(crate) room: u64,
    #[prost(uint32, repeated, tag = "2")]
    pub(crate) ssrcs: Vec<u32>,
    /// In the order of `ssrcs`, as `loudest` counts.
    #[prost(sint32, repeated, tag = "3")]
    pub(crate) scores: Vec<i32>,
}

/// A voice packet from a client's connection.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TunnelIn {
    #[prost(uint32, tag = "1")]
    pub(crate) slot: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) generation: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) session: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) ssrc: u32,
    /// SRTP or SRTCP; empty: the tunnel ends.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) packet: Vec<u8>,
}

/// A voice packet for a client's connection.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TunnelOut {
    #[prost(uint32, tag = "1")]
    pub(crate) slot: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) generation: u32,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) packet: Vec<u8>,
}

/// What listeners lose of streams, each list in the order of `ssrcs`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Losses {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) ssrcs: Vec<u32>,
    /// In 256ths.
    #[prost(uint32, repeated, tag = "2")]
    pub(crate) losses: Vec<u32>,
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) bursts_ms: Vec<u32>,
}

/// Whose voice is forwarded in a room.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Selected {
    #[prost(uint64, tag = "1")]
    pub(crate) room: u64,
    /// False: everyone's.
    #[prost(bool, tag = "2")]
    pub(crate) is_on: bool,
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) ssrcs: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct MemberFlags {
    #[prost(bool, tag = "1")]
    pub(crate) talking: bool,
    #[prost(bool, tag = "2")]
    pub(crate) muted: bool,
    #[prost(bool, tag = "3")]
    pub(crate) deafened: bool,
    /// By a moderator, or for lack of the right to speak.
    #[prost(bool, tag = "4")]
    pub(crate) server_muted: bool,
    #[prost(bool, tag = "5")]
    pub(crate) server_deafened: bool,
}

impl MemberFlags {
    /// It is sent voice.
    pub(crate) fn hears(self) -> bool {
        !self.deafened && !self.server_deafened
    }
}

/// A member as replicas know it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MemberView {
    #[prost(uint64, tag = "1")]
    pub(crate) session: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) user: u64,
    #[prost(string, tag = "3")]
    pub(crate) username: String,
    #[prost(message, required, tag = "4")]
    pub(crate) flags: MemberFlags,
    /// 0: no voice.
    #[prost(uint32, tag = "5")]
    pub(crate) ssrc: u32,
    /// True: the member is gone.
    #[prost(bool, tag = "6")]
    pub(crate) gone: bool,
    /// Rollover counter of the stream's output.
    #[prost(uint32, tag = "7")]
    pub(crate) roc: u32,
    #[prost(enumeration = "Role", tag = "8")]
    pub(crate) role: i32,
}

/// Changes of a room for a shard that keeps a replica of it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReplicaDelta {
    #[prost(uint64, tag = "1")]
    pub(crate) room: u64,
    /// Sequence of the room after these changes.
    #[prost(uint64, tag = "2")]
    pub(crate) sequence: u64,
    #[prost(message, repeated, tag = "3")]
    pub(crate) members: Vec<MemberView>,
    /// Begin anew: what was known of the room is void.
    #[prost(bool, tag = "4")]
    pub(crate) reset: bool,
    /// The room's properties changed; the directory has them.
    #[prost(bool, tag = "5")]
    pub(crate) properties: bool,
}

/// A chat line or room message for the members on a shard.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Line {
    #[prost(uint64, tag = "1")]
    pub(crate) room: u64,
    /// Not to this session: it gets the answer.
    #[prost(uint64, tag = "2")]
    pub(crate) except: u64,
    /// 0: to all; else only to this session.
    #[prost(uint64, tag = "3")]
    pub(crate) only: u64,
    #[prost(message, required, tag = "4")]
    pub(crate) msg: EchoMsg,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Answer {
    #[prost(message, required, tag = "1")]
    pub(crate) asker: Asker,
    #[prost(message, required, tag = "2")]
    pub(crate) msg: EchoMsg,
}

/// A session of a room: what is placed, or a stream to open or close.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RoomSession {
    #[prost(message, required, tag = "1")]
    pub(crate) asker: Asker,
    #[prost(uint64, tag = "2")]
    pub(crate) room: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) session: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) ssrc: u32,
    /// `Placed`: how often the session had moved.
    #[prost(uint32, tag = "5")]
    pub(crate) moves: u32,
    /// `Placed`: its role as the room has it.
    #[prost(enumeration = "Role", tag = "6")]
    pub(crate) role: i32,
    /// `Displaced`: it was put out.
    #[prost(message, optional, tag = "7")]
    pub(crate) removal: Option<Removal>,
    /// `Placed`: it was moved here by someone, out of another room.
    #[prost(message, optional, tag = "8")]
    pub(crate) relocation: Option<Relocation>,
    /// `Placed`: it is in since before the server was started.
    #[prost(bool, tag = "9")]
    pub(crate) restored: bool,
    /// `Placed`: number of the room's newest line.
    #[prost(uint64, tag = "10")]
    pub(crate) newest_line: u64,
}

/// About a session, between its shard and its account's home.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SessionNote {
    #[prost(message, required, tag = "1")]
    pub(crate) asker: Asker,
    #[prost(uint64, tag = "2")]
    pub(crate) user: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) session: u64,
    /// `Take`, `TakeFromHome`: the secret half of the resume token. Else empty.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) secret: Vec<u8>,
    /// `Opened`: within the limit of sessions.
    #[prost(bool, tag = "5")]
    pub(crate) granted: bool,
}

/// A session on its way to the shard where it is resumed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SessionRecord {
    #[prost(message, required, tag = "1")]
    pub(crate) asker: Asker,
    #[prost(uint64, tag = "2")]
    pub(crate) session: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) user: u64,
    #[prost(string, tag = "4")]
    pub(crate) username: String,
    #[prost(enumeration = "Role", tag = "5")]
    pub(crate) role: i32,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) secret_hash: Vec<u8>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) rooms: Vec<NewRoom>,
    /// How often it moved before.
    #[prost(uint32, tag = "8")]
    pub(crate) moves: u32,
    /// When it asked for its login, and the token that it did by; 0: none.
    #[prost(uint64, tag = "9")]
    pub(crate) since_us: u64,
    #[prost(uint64, tag = "10")]
    pub(crate) token: u64,
    /// The store has it as it is.
    #[prost(bool, tag = "11")]
    pub(crate) is_saved: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MeshMsg {
    #[prost(
        oneof = "Mesh",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, \
                29, 30, 40, 50, 51, 52, 53, 60, 61, 70"
    )]
    pub(crate) body: Option<Mesh>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Mesh {
    #[prost(message, tag = "1")]
    ToHome(ToHome),
    #[prost(message, tag = "2")]
    Answer(Answer),
    /// To every shard: a room exists; its home is the source.
    #[prost(message, tag = "3")]
    RoomKnown(NewRoom),
    #[prost(message, tag = "4")]
    Replica(ReplicaDelta),
    #[prost(uint64, tag = "5")]
    ReplicaDrop(u64),
    #[prost(message, tag = "6")]
    Line(Line),
    /// Home to the session's shard: it is a member, and the replica is there.
    #[prost(message, tag = "7")]
    Placed(RoomSession),
    /// Home to the session's shard: it is no member (any more).
    #[prost(message, tag = "8")]
    Displaced(RoomSession),
    #[prost(message, tag = "9")]
    OpenStream(RoomSession),
    #[prost(message, tag = "10")]
    CloseStream(RoomSession),
    #[prost(message, tag = "11")]
    SessionOpen(SessionNote),
    #[prost(message, tag = "12")]
    SessionOpened(SessionNote),
    #[prost(message, tag = "13")]
    SessionClosed(SessionNote),
    /// To the account's home: bring this session to the asker.
    #[prost(message, tag = "14")]
    TakeFromHome(SessionNote),
    /// To the session's shard: likewise.
    #[prost(message, tag = "15")]
    Take(SessionNote),
    #[prost(message, tag = "16")]
    SessionRecord(SessionRecord),
    /// The session's new shard, to the account's home.
    #[prost(message, tag = "17")]
    SessionMoved(SessionNote),
    /// The session's shard, to the account's home: it was not given away.
    #[prost(message, tag = "18")]
    SessionStays(SessionNote),
    /// To the account's home, and from there to the session's shard: what the store has of it may be old.
    #[prost(message, tag = "30")]
    SaveAgain(SessionNote),
    /// To a room's home.
    #[prost(message, tag = "19")]
    Levels(Levels),
    /// From a room's home.
    #[prost(message, tag = "20")]
    Selected(Selected),
    /// To the shard of the streams.
    #[prost(message, tag = "21")]
    Losses(Losses),
    /// To the stream's shard.
    #[prost(message, tag = "22")]
    TunnelIn(TunnelIn),
    /// To the connection's shard.
    #[prost(message, tag = "23")]
    TunnelOut(TunnelOut),
    #[prost(message, tag = "24")]
    Order(Order),
    /// From the staff shard to every shard, as those that follow.
    #[prost(message, tag = "25")]
    Banned(Ban),
    #[prost(uint64, tag = "26")]
    Unbanned(u64),
    #[prost(message, tag = "27")]
    RoleSet(AccountNote),
    /// End the account's sessions.
    #[prost(message, tag = "28")]
    Expel(AccountNote),
    /// Someone was reported: for those who moderate.
    #[prost(message, tag = "29")]
    Reported(ModerationState),
    /// To every shard.
    #[prost(message, tag = "40")]
    SignOut(SignOut),
    /// From a room's home to every shard: the room is no more.
    #[prost(uint64, tag = "50")]
    RoomGone(u64),
    /// Likewise: how many are in its rooms.
    #[prost(message, tag = "51")]
    RoomCounts(Counts),
    /// A refusal for a wrong password of a room.
    #[prost(message, tag = "52")]
    Guessed(Answer),
    /// Something wrong was tried: to the other shards.
    #[prost(message, tag = "70")]
    Guess(Guess),
    /// To every shard: take an account's sessions from one room to another.
    #[prost(message, tag = "53")]
    Relocate(Relocation),
    #[prost(message, tag = "60")]
    Direct(DirectAsk),
    #[prost(message, tag = "61")]
    DirectLine(DirectLine),
}

/// Records that wait for room in the ring to one shard, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Bytes the ring is known to have free.
    credit: usize,
}

impl Outbox {
    /// Queues a message; `bytes_max` is the bound that callers keep by asking [`Self::is_congested`].
    pub(crate) fn push(&mut self, msg: &MeshMsg, bytes_max: usize) {
        let record = msg.encode_to_vec();
        assert!(record.len() <= RECORD_BYTES_MAX, "a mesh record of {} bytes", record.len());
        self.bytes += record.len() + RECORD_PREFIX_BYTES;
        self.waiting.push_back(record);
        assert!(self.bytes <= 2 * bytes_max, "mesh outbox of {} bytes: a shard has stalled", self.bytes);
    }

    /// The next record if the ring has room for it.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let needed = self.waiting.front()?.len() + RECORD_PREFIX_BYTES;
        if needed > self.credit {
            return None;
        }
        self.credit -= needed;
        self.bytes -= needed;
        self.waiting.pop_front()
    }

    pub(crate) fn set_credit(&mut self, bytes: usize) {
        self.credit = bytes;
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Over half full: what feeds it must wait or be refused.
    pub(crate) fn is_congested(&self, bytes_max: usize) -> bool {
        self.bytes > bytes_max / 2 && !planted(Mistake::UnboundOutbox)
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
