//! People without an account: who they are while they are here.
//!
//! A guest's number comes from the name, above every account's. So the home of that number sees to it that a name has
//! one guest at a time, on all shards; and a mute or a ban meets who comes back under the same name.

use echomesh_proto::control::Body;
use echomesh_proto::ids::UserId;

use crate::names;

/// Set in each guest's number and in no account's; it is still a positive number for the store.
const GUEST_BIT: u64 = 1 << 62;

/// Whether someone has no account.
pub(crate) fn is_guest(user: UserId) -> bool {
    user.0 & GUEST_BIT != 0
}

/// The number of the guest with this name's key. Two keys may share one: then one of them must wait.
pub(crate) fn guest_id(key: &str) -> UserId {
    UserId(names::spread(key) & (GUEST_BIT - 1) | GUEST_BIT)
}

/// What is kept under an account, and so is not for guests: chat lines, tokens, the server itself.
pub(crate) fn accounts_only(body: &Body) -> bool {
    matches!(body, Body::ChatMsg(_) | Body::ChatAction(_) | Body::Account(_) | Body::ClaimRequest(_))
}
