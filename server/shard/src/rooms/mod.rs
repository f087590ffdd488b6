//! Rooms themselves: made, set, listed, entered, and their end; who is moved from one to another.
//!
//! Not what happens in them (`home`, `replica`) and not who may moderate (`moderation`, `rights`).
//! A room is decided about at its home. A child (`parent/child`) has the home of its parent, so that what one asks
//! of the other needs no message. Every shard keeps the directory of all rooms, told by the homes.
//!
//! # Layout
//! - `properties`: what a room can be set to. `messages`: what shards say about rooms.
//! - `creating`, `settings`, `ending`: a room's life. `entering`: who is let in, passwords. `moving`: of members.
//! - `listing`: what clients are shown. `slow_mode`: how often a member may write.
//!
//! Bounds: `Limits::rooms_max` rooms; one change of a room at a time.

mod creating;
mod ending;
mod entering;
mod listing;
mod messages;
mod moving;
mod properties;
mod settings;
mod slow_mode;

pub(crate) use creating::PendingRoom;
pub(crate) use ending::Endings;
pub(crate) use entering::PendingJoin;
pub(crate) use messages::{Counts, Join, NewRoom, Relocation, Secret};
pub use properties::Properties;
pub(crate) use settings::is_of_rooms;
pub(crate) use slow_mode::{SlowMode, Turn};

use echomesh_proto::control::StatusCode;

/// A refusal: its code and its sentence.
type Refusal = (StatusCode, String);

fn refusal<T>(code: StatusCode, text: &str) -> Result<T, Refusal> {
    Err((code, text.to_owned()))
}
