//! What shards say to each other about direct lines: bounded by what `direct` and `change` put in.

use echomesh_proto::control::{ChatAction, ChatMsg, EchoMsg, Role};
use echomesh_proto::ids::UserId;
use prost::Message;

use super::jobs::Place;
use crate::mesh::Asker;

/// A direct line, or a change of one, on its way to the shard that orders the conversation.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DirectAsk {
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
    #[prost(uint64, tag = "6")]
    pub(crate) peer: u64,
    #[prost(string, tag = "7")]
    pub(crate) peer_name: String,
    /// The author's home has said yes.
    #[prost(bool, tag = "8")]
    pub(crate) granted: bool,
    #[prost(oneof = "DirectWhat", tags = "9, 10")]
    pub(crate) what: Option<DirectWhat>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum DirectWhat {
    #[prost(message, tag = "9")]
    Say(ChatMsg),
    #[prost(message, tag = "10")]
    Change(ChatAction),
}

impl DirectAsk {
    pub(crate) fn place(&self) -> Place {
        Place::conversation(UserId(self.user), UserId(self.peer))
    }
}

/// A direct line for an account: to its home, and from there to the shards with its sessions.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DirectLine {
    #[prost(uint64, tag = "1")]
    pub(crate) user: u64,
    /// Not to this session: it gets the answer.
    #[prost(uint64, tag = "2")]
    pub(crate) except: u64,
    /// To these of the receiving shard; none: this is for the account's home.
    #[prost(uint64, repeated, tag = "3")]
    pub(crate) sessions: Vec<u64>,
    #[prost(message, required, tag = "4")]
    pub(crate) msg: EchoMsg,
}
