//! What a session tells its driver, as plain data.

use std::sync::Arc;

use echomesh_proto::control::{
    AccountState, AuditEntry, ChatMsg, ChatState, LoginResponse, Member, ModerationState, RoomMessage, RoomState,
    StatusCode, Who,
};
use echomesh_proto::ids::Ssrc;

/// One request and its one answer; never 0 on the wire, not used again before 2^32 others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The session is logged in, or back after a lost connection.
    LoggedIn(LoggedIn),
    /// The server refused the login; the connection stays open, but nothing else will be answered.
    LoginRefused {
        /// Why.
        status: StatusCode,
        /// The server's sentence.
        message: String,
        /// When to try again, milliseconds; 0: not said.
        retry_after_ms: u32,
    },
    /// The one answer to a request.
    Answer(Answer),
    /// A line someone else said, or this account on another device. Lines of a room come once each, in the order of
    /// their numbers, those that came while the connection was lost included. Among those may be ones that are
    /// `deleted` by now, and one's own, with its `client_id`, whose acknowledgement was lost: it need not be sent again.
    Chat(ChatMsg),
    /// Likewise a direct line: `to` this account, or from it on another device. Of one conversation they come in
    /// order, but for one that was stored while this client logged in: it may come behind newer ones.
    Direct(ChatMsg),
    /// A line that was there before is another now: its content and `edited_ms`, or it is `deleted`.
    ChatChanged(ChatMsg),
    /// An application's message.
    RoomMessage(RoomMessage),
    /// Someone's place in a room changed.
    Member {
        /// The room.
        room: Arc<str>,
        /// What changed.
        change: MemberChange,
        /// The member as it is now, or was when it left.
        member: Member,
    },
    /// All pages of a room's roster are here: [`Session::room`](super::Session::room) is complete.
    RosterComplete {
        /// The room.
        room: Arc<str>,
    },
    /// A room the session was in before the connection was lost is entered again.
    Rejoined {
        /// The room.
        room: Arc<str>,
    },
    /// A moderator moved the session into this room: it is in. `RoomLost` of the room it was in follows.
    Moved {
        /// The new room.
        room: Arc<str>,
    },
    /// A room is set to something else: [`Room::properties`](super::Room::properties).
    RoomChanged {
        /// The room.
        room: Arc<str>,
    },
    /// The session is not in a room any more: it was put out, or could not enter again after a lost connection.
    RoomLost {
        /// The room.
        room: Arc<str>,
        /// Why.
        message: String,
    },
    /// A moderator ended the session, or its account or address is banned. It knows no room any more, and a new
    /// connection would be a new login: do not make one unasked.
    Expelled {
        /// `STATUS_KICKED` or `STATUS_BANNED`.
        status: StatusCode,
        /// The server's sentence: by whom, and why.
        message: String,
    },
    /// Someone was reported; only those who moderate are told.
    Reported(AuditEntry),
    /// Voice may be sent and heard in a room, with new keys.
    VoiceOpen {
        /// The room.
        room: Arc<str>,
        /// The session's own stream there.
        ssrc: Ssrc,
        /// At the address of the control connection.
        udp_port: u16,
        /// Grows with each set of keys.
        epoch: u32,
        /// Bit rate of Opus that the server lets the stream have on average, bit/s; 0: any. It drops what is far beyond.
        bitrate_max: u32,
    },
    /// A sentence from the server that answers no request, such as why it is about to close.
    Notice {
        /// What it is about.
        status: StatusCode,
        /// The sentence.
        message: String,
        /// When to try again, milliseconds; 0: not said.
        retry_after_ms: u32,
    },
    /// The connection is over: close the socket. `Input::Connected` on a new one resumes.
    Disconnected(DisconnectReason),
}

/// What the server said at login.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedIn {
    /// The session lived on: rooms are kept and others did not see it leave.
    pub resumed: bool,
    /// Ids, names, version; its resume token is taken out.
    pub response: LoginResponse,
}

/// The one answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// As the request's method returned it.
    pub request: RequestId,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was done.
    Done(Done),
    /// The server refused.
    Refused {
        /// Why.
        status: StatusCode,
        /// A sentence a person can act on.
        message: String,
        /// When to try again, milliseconds; 0: not said.
        retry_after_ms: u32,
    },
    /// No answer in `REQUEST_US_MAX`. It may have been done.
    TimedOut,
    /// The connection was lost before the answer. It may have been done: chat may be sent again with
    /// the same `client_id`, and a room that was entered is left when the session resumes.
    ConnectionLost,
}

/// What a request that was done brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// Nothing but the outcome.
    Status {
        /// The server's sentence.
        message: String,
    },
    /// Create, set, delete, invite, join (first page of the roster), leave, list, roster (last page).
    Room(RoomState),
    /// The stored line.
    Chat(ChatMsg),
    /// Who this session is.
    Who(Who),
    /// Lines, counts, or nothing but that it was done.
    ChatState(ChatState),
    /// A moderator's request; lists are in it.
    Moderation(ModerationState),
    /// A request about the account; lists are in it, and a secret that is shown only this once.
    Account(AccountState),
    /// Voice is open; `Event::VoiceOpen` says how.
    Voice,
}

/// What changed about a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// It is new in the room.
    Joined,
    /// It is gone.
    Left,
    /// Mute, deafen, talking, its role or its stream.
    Changed,
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The driver said `Input::Closed`.
    Closed,
    /// The server sent a frame length that cannot be.
    BadFrame,
    /// The server sent something that is not an `EchoMsg`, whose type and body differ, or with a name
    /// or token longer than the protocol has them.
    Malformed,
    /// The server's answer does not fit the request.
    WrongAnswer,
    /// The server does not answer pings or logins.
    TimedOut,
}

impl std::fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DisconnectReason::Closed => "the server closed the connection",
            DisconnectReason::BadFrame => "the server sent a frame of impossible length: is it an EchoMesh server?",
            DisconnectReason::Malformed => "the server sent bytes that are no message: is it an EchoMesh server?",
            DisconnectReason::WrongAnswer => "the server's answer does not fit the request: update client or server",
            DisconnectReason::TimedOut => "the server does not answer: check the network, then connect again",
        })
    }
}
