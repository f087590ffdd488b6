//! What shards say to each other about rooms themselves: that they exist, who wants in, who is moved.
//!
//! Not membership, which is `mesh`'s. Bounds: names, passwords and reasons have theirs where they come in;
//! `COUNTS_MAX` rooms in one `Counts`.

use prost::Message;

use super::Properties;
use crate::mesh::Removal;

/// Rooms in one `Counts`: a record stays below its bound.
pub(super) const COUNTS_MAX: usize = 1_000;

/// A room to be made, or one that exists.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NewRoom {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(string, tag = "2")]
    pub(crate) key: String,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(message, required, tag = "4")]
    pub(crate) properties: Properties,
    /// The account that makes it.
    #[prost(uint64, tag = "5")]
    pub(crate) creator: u64,
    /// `RoomKnown`: accounts that manage it by their own name.
    #[prost(uint64, repeated, tag = "6")]
    pub(crate) managers: Vec<u64>,
    /// To be made with this password.
    #[prost(message, optional, tag = "7")]
    pub(crate) secret: Option<Secret>,
}

/// A password on its way to be hashed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Secret {
    #[prost(string, tag = "1")]
    pub(crate) password: String,
    /// The address it comes from: the hashers' queue is fair by address.
    #[prost(string, tag = "2")]
    pub(crate) remote: String,
}

/// A session wants into a room.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Join {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) secret: Option<Secret>,
    /// A moderator moves it here, and the room's home has agreed.
    #[prost(message, optional, tag = "3")]
    pub(crate) relocation: Option<Relocation>,
}

/// Who is moved from where to where.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Relocation {
    #[prost(uint64, tag = "1")]
    pub(crate) user: u64,
    /// 0: all of the account's sessions in the room.
    #[prost(uint64, tag = "2")]
    pub(crate) session: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) from: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) to: u64,
    /// What it is told when it is put out of the room it was in.
    #[prost(message, required, tag = "5")]
    pub(crate) removal: Removal,
}

/// How many members rooms have.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Counts {
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) rooms: Vec<u64>,
    /// In the order of `rooms`.
    #[prost(uint32, repeated, tag = "2")]
    pub(crate) members: Vec<u32>,
}
