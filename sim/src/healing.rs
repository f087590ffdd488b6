//! After the last fault: all come back, meet in one room, and hear each other's last lines and words.
//!
//! In: a world that ran. Out: what was not as it must be. Bounds: each step has `HEALING_US` of virtual time.

use echomesh_proto::control::RoomActionType;

use crate::checks;
use crate::world::{ACTIONS, World};

/// Frames each client says at the end.
const LAST_FRAMES: u32 = 10;

impl World {
    /// No more faults: all come back, say what had no answer, meet in one room, and each says a last
    /// line there.
    pub fn heal(&mut self) -> Result<(), String> {
        self.healed = true;
        for client in &mut self.clients {
            client.udp_blocked = false;
        }
        self.rest()?;
        for client in 0..self.clients.len() {
            if let Some((shard, connection)) =
                self.clients[client].connection.filter(|_| !self.clients[client].is_ready())
            {
                self.reset(client, shard, connection);
            }
        }
        self.rest()?;
        // Many lines to say again may cut a slow reader once more.
        for _ in 0..ACTIONS {
            while let Some(client) = self.clients.iter().position(|client| client.connection.is_none()) {
                self.connect(client);
            }
            self.rest()?;
            for client in 0..self.clients.len() {
                let now = self.now();
                for line in std::mem::take(&mut self.clients[client].unsent) {
                    self.clients[client].say(now, line);
                }
                self.transmit(client);
            }
            self.rest()?;
            if self.clients.iter().all(|client| client.unsent.is_empty() && client.connection.is_some()) {
                break;
            }
        }
        for kind in [RoomActionType::RaCreate, RoomActionType::RaJoin] {
            self.forgive("hall")?;
            for client in 0..self.clients.len() {
                let now = self.now();
                self.clients[client].act_on(now, kind, "hall");
                self.transmit(client);
            }
            self.rest()?;
        }
        let mut last = Vec::new();
        for client in 0..self.clients.len() {
            let now = self.now();
            let line = self.clients[client].new_line("hall", 0);
            last.push(line.content.clone());
            self.clients[client].say(now, line);
            self.transmit(client);
        }
        self.rest()?;
        checks::all_heard(&self.clients, &last)?;
        self.last_whispers()?;
        self.last_words()
    }

    /// Each writes to the next, who hears it.
    fn last_whispers(&mut self) -> Result<(), String> {
        let names: Vec<String> = self.clients.iter().map(|client| client.name.clone()).collect();
        for client in 0..names.len() {
            let now = self.now();
            self.clients[client].whisper(now, names[(client + 1) % names.len()].clone());
            self.transmit(client);
        }
        self.rest()?;
        for (client, name) in names.iter().enumerate() {
            let next = &self.clients[(client + 1) % names.len()];
            let said = self.clients[client].direct_acknowledged.last().map_or(0, |(_, id)| *id);
            if next.direct_heard.get(name).and_then(|ids| ids.last()) != Some(&said) {
                return Err(format!("after healing {} did not hear {name} directly", next.name));
            }
        }
        Ok(())
    }

    /// Each in turn speaks in the one room, and is heard by all from the first frame on.
    fn last_words(&mut self) -> Result<(), String> {
        for client in 0..self.clients.len() {
            let now = self.now();
            self.clients[client].open_voice(now, "hall");
            self.transmit(client);
        }
        self.rest()?;
        for client in 0..self.clients.len() {
            let now = self.now();
            self.clients[client].announce(now, "hall", 0);
            self.transmit(client);
        }
        self.rest()?;
        for client in 0..self.clients.len() {
            let before = self.clients[client].frames;
            self.clients[client].speaks_in = Some("hall".to_owned());
            self.talk(client, LAST_FRAMES - 1);
            self.rest()?;
            checks::voice_heard(&self.clients, client, before + 1..=before + LAST_FRAMES)?;
        }
        checks::reported(&self.clients)?;
        self.without_udp()
    }

    /// One client's UDP is blocked: it is heard and hears all the same, and goes back when it works.
    fn without_udp(&mut self) -> Result<(), String> {
        self.clients[0].udp_blocked = true;
        self.rest()?;
        for speaker in [0, 1] {
            let before = self.clients[speaker].frames;
            self.clients[speaker].speaks_in = Some("hall".to_owned());
            self.talk(speaker, LAST_FRAMES - 1);
            self.rest()?;
            checks::voice_heard(&self.clients, speaker, before + 1..=before + LAST_FRAMES)?;
        }
        let fell_back = self.clients[0].is_tunnelled("hall");
        self.clients[0].udp_blocked = false;
        self.rest()?;
        if !fell_back || self.clients.iter().any(|client| client.is_tunnelled("hall")) {
            return Err("blocked UDP was not noticed, or not that it works again".to_owned());
        }
        Ok(())
    }
}
