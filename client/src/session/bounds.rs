//! What a server's message may hold to be taken for one: names, tokens and texts as long as the protocol has them at most.
//!
//! The session keeps them and sends them back, so longer ones would fill its memory, and its requests would be longer
//! than a frame. In: a message's body. Out: whether it keeps to that. Cost: a pass over it.

use echomesh_proto::control::{Body, Member, Room};
use echomesh_proto::limits::{DESCRIPTION_BYTES_MAX, MOTD_BYTES_MAX, ROOM_NAME_BYTES_MAX, USERNAME_BYTES_MAX};

use super::room::ROOMS_MAX;

/// Longest resume token or page, bytes: ten times what a server gives.
const TOKEN_BYTES_MAX: usize = 1_024;

/// Whether a body keeps to the bounds, as far as something of it is kept.
pub(super) fn keeps(body: &Body) -> bool {
    match body {
        Body::LoginResponse(response) => {
            response.resume_token.len() <= TOKEN_BYTES_MAX
                && response.motd.len() <= MOTD_BYTES_MAX
                && response.rooms.len() <= ROOMS_MAX
                && response.rooms.iter().all(|room| is_room(room))
        }
        Body::RoomState(state) => {
            is_room(&state.room_id)
                && state.next_page.len() <= TOKEN_BYTES_MAX
                && state.members.iter().all(is_member)
                && state.rooms.first().is_none_or(is_shown)
        }
        Body::RoomEvent(event) => {
            let of_delta = |member: Option<&Member>, room: Option<&Room>| {
                member.is_none_or(is_member) && room.is_none_or(is_shown)
            };
            is_room(&event.room_id)
                && event.deltas.iter().all(|delta| of_delta(delta.member.as_ref(), delta.room.as_ref()))
        }
        _ => true,
    }
}

fn is_room(name: &str) -> bool {
    name.len() <= ROOM_NAME_BYTES_MAX
}

fn is_member(member: &Member) -> bool {
    member.username.len() <= USERNAME_BYTES_MAX
}

fn is_shown(room: &Room) -> bool {
    is_room(&room.room_id) && room.description.len() <= DESCRIPTION_BYTES_MAX
}
