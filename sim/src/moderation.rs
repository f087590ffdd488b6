//! Moderators in the simulated world: at random while the seed is young, and forgiven when it heals.
//!
//! Whoever made a room may do it there, all others are refused: both are wanted.

use echomesh_proto::control::{Moderation, ModerationAction, Right, Role};

use crate::rooms::open_to_all;
use crate::world::World;

impl World {
    /// A mute, a kick, a short ban or a right taken or given back.
    pub fn random_moderation(&mut self, room: &str) -> Moderation {
        let target = self.below(self.clients.len() as u64) as usize;
        let target = self.clients[target].account.clone();
        let action = match self.below(8) {
            0 | 1 => ModerationAction::MaMute,
            2 => ModerationAction::MaUnmute,
            3 => ModerationAction::MaDeafen,
            4 | 5 => ModerationAction::MaKick,
            6 => ModerationAction::MaBan,
            _ => return self.random_rights(room),
        };
        let moderation = moderation(action, room, target);
        Moderation { seconds: 1 + self.below(3), ..moderation }
    }

    /// The operator ends someone's sessions by a command on the machine: a new login follows.
    pub fn sign_out(&mut self, client: usize) {
        if let Some(user) = self.store.user(&self.clients[client].account) {
            self.store.sign_out(user);
        }
    }

    /// What members may do in a room.
    fn random_rights(&mut self, room: &str) -> Moderation {
        let rights = [Right::None, Right::None, Right::Enter, Right::Speak, Right::Write];
        let deny = rights[self.below(rights.len() as u64) as usize] as u32;
        let role = Role::Member as i32;
        Moderation { deny, role, ..moderation(ModerationAction::MaSetRights, room, String::new()) }
    }

    /// What is not over by itself is taken back: who made the room can, and is never restrained.
    pub fn forgive(&mut self, room: &str) -> Result<(), String> {
        let names: Vec<String> = self.clients.iter().map(|client| client.account.clone()).collect();
        let role = Role::Member as i32;
        let mut acts = vec![Moderation { role, ..moderation(ModerationAction::MaSetRights, room, String::new()) }];
        for action in [ModerationAction::MaUnmute, ModerationAction::MaUndeafen] {
            acts.extend(names.iter().map(|name| moderation(action, room, name.clone())));
        }
        for client in 0..self.clients.len() {
            let now = self.now();
            self.clients[client].set_room(now, room, open_to_all());
            self.transmit(client);
        }
        self.rest()?;
        for act in acts {
            for client in 0..self.clients.len() {
                let now = self.now();
                self.clients[client].moderate(now, act.clone());
                self.transmit(client);
            }
            self.rest()?;
        }
        Ok(())
    }
}

fn moderation(action: ModerationAction, room: &str, username: String) -> Moderation {
    Moderation { action: action as i32, room_id: room.to_owned(), username, ..Moderation::default() }
}
