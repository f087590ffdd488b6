//! What the store does with chat beside appending lines to rooms, and what comes of it.
//!
//! Not the rules: they are decided before a job is made. Reads have a thread of their own, so that a page of history
//! never waits for a commit, nor a commit for it; they see what was answered as stored before they were asked.

use echomesh_proto::control::{ChatMsg, Role};
use echomesh_proto::ids::{RoomNumber, UserId};

/// Where a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a room.
    Room(RoomNumber),
    /// In the conversation of two accounts, the smaller number first.
    Direct(UserId, UserId),
}

impl Place {
    /// The conversation of these two.
    #[must_use]
    pub fn conversation(one: UserId, other: UserId) -> Self {
        Self::Direct(one.min(other), one.max(other))
    }
}

/// What an account has seen, or asks about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// Of a room.
    Room(RoomNumber),
    /// Of its conversation with the account of this key.
    With(String),
}

/// A job of the store's own thread, in order with all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatWrite {
    /// Append a direct line: `DirectStored`, or `DirectDuplicate` as with lines of rooms. The recipient's conversation
    /// is unread then.
    AppendDirect {
        /// The author.
        from: UserId,
        /// The recipient.
        to: UserId,
        /// The author's own id for it, or empty.
        client_id: String,
        /// What is said.
        content: String,
        /// When.
        time_ms: u64,
    },
    /// Whose line that is: `Line`, or `NotFound`.
    FindLine {
        /// Where.
        place: Place,
        /// Which.
        message_id: u64,
    },
    /// Change a line that is not deleted: `Changed`, or `NotFound`.
    ChangeLine {
        /// Where.
        place: Place,
        /// Which.
        message_id: u64,
        /// Its new content; `None` deletes it, and of its content nothing stays.
        content: Option<String>,
        /// Whom it mentions then.
        mentions: Vec<u64>,
        /// When.
        time_ms: u64,
    },
    /// What accounts have seen; an earlier line than before changes nothing: `Marked`.
    Mark(Vec<Mark>),
    /// Delete some of the lines that are too old: `Swept`.
    Sweep(Sweep),
}

/// An account has seen a room or conversation up to a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose.
    pub user: UserId,
    /// What of.
    pub view: View,
    /// The line.
    pub seen: u64,
}

/// One step of deleting what is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Where the step before left off; 0 at first.
    pub position: u64,
    /// For rooms that say nothing, and for direct lines; 0: for ever.
    pub default_days: u32,
    /// Now.
    pub now_ms: u64,
}

/// A job of the thread that only reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatRead {
    /// A page of lines: `History`, or `NotFound` if there is no such account.
    History {
        /// Who asks.
        user: UserId,
        /// Of what; `None`: of all its conversations.
        view: Option<View>,
        /// The room's name, to be written into its lines.
        room_name: String,
        /// From where.
        from: From,
        /// At most so many.
        count: u32,
    },
    /// What came since it was seen: `Unread`, or `NotFound` if there is no such account.
    Unread {
        /// Who asks.
        user: UserId,
        /// Of this alone, whether anything came or not; `None`: of everything where something came.
        view: Option<View>,
        /// Marks that are not stored yet.
        fresh: Vec<Mark>,
    },
}

/// Where a page of lines begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Before this line, newest first; 0: the newest.
    Before(u64),
    /// After this line, oldest first.
    After(u64),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatOutcome {
    /// `AppendDirect` stored it.
    DirectStored {
        /// The line's number.
        message_id: u64,
    },
    /// `AppendDirect` had stored it before, perhaps for somebody else.
    DirectDuplicate(Box<ChatMsg>),
    /// `FindLine`.
    Line(FoundLine),
    /// `ChangeLine` did it.
    Changed,
    /// `Mark` did it.
    Marked,
    /// `Sweep` deleted so many lines.
    Swept {
        /// Lines that are gone.
        deleted: u64,
        /// For the next step; 0: nothing is left to do.
        position: u64,
    },
    /// A page of lines.
    History {
        /// The lines, in the order that was asked for.
        lines: Vec<ChatMsg>,
        /// There are more in this direction.
        more: bool,
    },
    /// Counts.
    Unread {
        /// Conversations first.
        list: Vec<UnreadView>,
        /// Not all were looked at.
        more: bool,
    },
}

/// A line's author and state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLine {
    /// The author.
    pub user: UserId,
    /// Their name.
    pub username: String,
    /// Their role.
    pub role: Role,
    /// When it was said.
    pub time_ms: u64,
    /// Its content is gone.
    pub deleted: bool,
}

/// What came to a room or conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadView {
    /// The room, or
    pub room: Option<RoomNumber>,
    /// the other account's name.
    pub username: String,
    /// Lines of others, at most `UNREAD_MAX`.
    pub count: u32,
    /// Of these, how many mention the account.
    pub mentions: u32,
    /// Line seen last.
    pub seen: u64,
    /// Newest line.
    pub newest: u64,
}
