//! Rooms set, invited to, left by moves and deleted in the simulated world: at random while the seed is young, and
//! open to all when it heals.
//!
//! Whoever made a room may set it; others are refused: both are wanted. The first client is a moderator, who moves.

use echomesh_proto::control::{Moderation, ModerationAction, RoomProperties};

use crate::world::World;

/// What every room is set to when the seed heals.
pub fn open_to_all() -> RoomProperties {
    RoomProperties {
        capacity: Some(0),
        password: Some(String::new()),
        invite_only: Some(false),
        hidden: Some(false),
        temporary: Some(false),
        slow_mode_seconds: Some(0),
        ..RoomProperties::default()
    }
}

impl World {
    /// One random thing about a room.
    pub fn act_on_rooms(&mut self, client: usize, room: &str, other: &str) {
        let (now, choice) = (self.now(), self.below(12));
        let target = self.below(self.clients.len() as u64) as usize;
        let target = self.clients[target].account.clone();
        let flag = self.below(2) == 0;
        let small = self.below(4) as u32;
        let none = RoomProperties::default();
        let set = match choice {
            0 => RoomProperties { temporary: Some(flag), ..none },
            1 => RoomProperties { invite_only: Some(flag), ..none },
            2 => RoomProperties { hidden: Some(flag), speakers: Some(small), ..none },
            3 => RoomProperties { password: Some(if flag { "sesame" } else { "" }.to_owned()), ..none },
            4 => RoomProperties { capacity: Some(small), description: Some("x".repeat(300)), ..none },
            5 => RoomProperties { slow_mode_seconds: Some(small), ..none },
            6 | 7 => return self.clients[client].invite(now, room, &target, flag),
            8 => return self.clients[client].delete(now, room),
            9 => return self.clients[client].list(now),
            _ => {
                let moderation = Moderation {
                    action: ModerationAction::MaMove as i32,
                    room_id: room.to_owned(),
                    to_room_id: other.to_owned(),
                    username: target,
                    ..Moderation::default()
                };
                return self.clients[0].moderate(now, moderation);
            }
        };
        self.clients[client].set_room(now, room, set);
    }
}
