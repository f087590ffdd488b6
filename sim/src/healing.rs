//! After the last fault: all come back, meet in one room, and hear each other's last lines and words.
//!
//! In: a world that ran. Out: what was not as it must be. Bounds: each step has its virtual time.

use echomesh_proto::control::{Moderation, ModerationAction, RoomActionType};
use echomesh_proto::ids::SessionId;

use crate::checks;
use crate::world::{ACTIONS, HEALING_US, World};

/// Frames each client says at the end, and the one whose listeners' delays must have come down.
const LAST_FRAMES: u32 = 10;
const LONG_FRAMES: u32 = 200;

/// What of them is looked at: by then two seconds of arrivals are known.
const LONG_TAIL: u32 = 50;

/// Most playout delay on a network without jitter, microseconds: two frames, and what is not worth shortening.
const SMALL_DELAY_US: u64 = 60_000;

/// From the first frame of some to when all must be heard.
const WORDS_US: u64 = 500_000;

/// Until what UDP can do is found out: longer than the longest pause between two probes.
const UDP_US: u64 = 15_000_000;

/// Longest time that anything lives on by itself: a session without connection.
const FORGOTTEN_US: u64 = 66_000_000;

/// One seed in so many ends with a restart in order.
const LAST_RESTART_ONE_IN: u64 = 4;

/// How late a note of a move is, microseconds.
const LATE_US: u64 = 80_000;

/// Looks at whether everything is at rest, and the time between them, microseconds.
const LOOKS: u32 = 40;
const LOOK_US: u64 = 7_300;

impl World {
    /// No more faults: all come back, say what had no answer, meet in one room, and each says a last
    /// line there.
    pub fn heal(&mut self) -> Result<(), String> {
        self.healed = true;
        let healed_at = self.time;
        self.attackers_leave();
        if self.faults.reload_one_in > 0 {
            self.settle_settings();
        }
        self.store_away_until = 0;
        for client in &mut self.clients {
            client.udp_blocked = false;
            client.cut_until = 0;
        }
        self.wait(HEALING_US)?;
        self.come_back()?;
        // Twice, for a room that is stored and that nobody knows has to go first.
        for kind in [RoomActionType::RaCreate, RoomActionType::RaCreate, RoomActionType::RaJoin] {
            self.forgive("hall")?;
            for client in 0..self.clients.len() {
                let now = self.now();
                self.clients[client].act_on(now, kind, "hall");
                self.transmit(client);
            }
            self.rest()?;
        }
        if self.below(LAST_RESTART_ONE_IN) == 0 {
            self.last_restart()?;
        }
        self.last_roaming()?;
        self.last_lines()?;
        self.last_whispers()?;
        self.last_words()?;
        self.last_key()?;
        self.last_mute()?;
        self.last_leave()?;
        let lived = self.time - healed_at;
        self.wait(FORGOTTEN_US.saturating_sub(lived))?;
        for _ in 0..LOOKS {
            if checks::at_rest(self).is_ok() {
                break;
            }
            self.wait(LOOK_US)?;
        }
        Ok(())
    }

    /// Everyone is connected and logged in, and has said what had no answer.
    fn come_back(&mut self) -> Result<(), String> {
        // A login may be refused until lost sessions have ended; many lines to say again may cut a slow reader.
        for _ in 0..ACTIONS {
            for client in 0..self.clients.len() {
                if let Some((shard, connection)) =
                    self.clients[client].connection.filter(|_| !self.clients[client].is_ready())
                {
                    self.reset(client, shard, connection);
                }
            }
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
            let is_back = |client: &crate::client::Client| {
                client.unsent.is_empty() && client.connection.is_some() && client.is_ready()
            };
            if self.clients.iter().all(is_back) {
                return Ok(());
            }
        }
        Err("after healing not everyone came back".to_owned())
    }

    /// The server stops in order and starts again: every session is resumed, in its room.
    fn last_restart(&mut self) -> Result<(), String> {
        let before: Vec<SessionId> = self.clients.iter().map(|client| client.id()).collect();
        self.drain();
        self.rest()?;
        while let Some(client) = self.clients.iter().position(|client| client.connection.is_none()) {
            self.connect(client);
        }
        self.rest()?;
        for (client, id) in self.clients.iter().zip(before) {
            if client.id() != id || !client.is_ready() || !client.rooms().any(|room| &**room.name() == "hall") {
                return Err(format!("{} was not resumed after a restart in order", client.name));
            }
        }
        Ok(())
    }

    /// One moves twice in a row, and the note of the first move to the room's home is late: the second overtakes it.
    fn last_roaming(&mut self) -> Result<(), String> {
        let client = self.below(self.clients.len() as u64) as usize;
        let number = self.store.rooms.get("hall").map(|room| room.number);
        let home = number.and_then(|number| self.shards.iter().position(|shard| shard.home_members(number).is_some()));
        for late in [true, false] {
            if let Some((shard, connection)) = self.clients[client].connection {
                self.reset(client, shard, connection);
            }
            self.connect(client);
            let at = self.clients[client].connection.map(|(shard, _)| shard);
            if let Some(ring) = at.zip(home).and_then(|way| self.rings.get_mut(&way)).filter(|_| late) {
                ring.hold_until(self.time + LATE_US);
            }
            self.wait(LATE_US / 8)?;
        }
        self.wait(LATE_US)?;
        // Where the late note is the account's too, the second resume is told to try again.
        self.come_back()
    }

    fn last_lines(&mut self) -> Result<(), String> {
        let mut last = Vec::new();
        for client in 0..self.clients.len() {
            let now = self.now();
            let line = self.clients[client].new_line("hall", 0);
            last.push(line.content.clone());
            self.clients[client].say(now, line);
            self.transmit(client);
        }
        self.rest()?;
        checks::all_heard(&self.clients, &last)
    }

    /// Each writes to the next account, all of whose devices hear it.
    fn last_whispers(&mut self) -> Result<(), String> {
        let accounts: Vec<String> = self.clients.iter().map(|client| client.account.clone()).collect();
        let next = |client: usize| {
            let after = accounts.iter().cycle().skip(client + 1);
            after.into_iter().find(|other| **other != accounts[client]).cloned().unwrap_or_default()
        };
        for client in 0..accounts.len() {
            let now = self.now();
            self.clients[client].whisper(now, next(client));
            self.transmit(client);
        }
        self.rest()?;
        for (client, account) in accounts.iter().enumerate() {
            let said = self.clients[client].direct_acknowledged.last().map_or(0, |(_, id)| *id);
            for other in self.clients.iter().filter(|other| other.account == next(client)) {
                if !other.direct_heard.get(account).is_some_and(|ids| ids.contains(&said)) {
                    return Err(format!("after healing {} did not hear {account} directly", other.name));
                }
            }
        }
        Ok(())
    }

    /// One says some frames; the first and the last of them.
    fn say_frames(&mut self, client: usize, frames: u32) -> Result<std::ops::RangeInclusive<u32>, String> {
        let before = self.clients[client].frames;
        self.clients[client].speaks_in = Some("hall".to_owned());
        self.talk(client, frames - 1);
        self.wait(u64::from(frames) * crate::voice::FRAME_US + WORDS_US)?;
        Ok(before + 1..=before + frames)
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
            let frames = self.say_frames(client, LAST_FRAMES)?;
            checks::voice_heard(&self.clients, client, frames)?;
        }
        if self.plays {
            self.long_words()?;
        }
        self.wait(UDP_US)?;
        checks::reported(&self.clients)?;
        self.without_udp()
    }

    /// One speaks for longer: whatever delays its listeners had learnt, they come down, and all is played.
    fn long_words(&mut self) -> Result<(), String> {
        let speaker = self.below(self.clients.len() as u64) as usize;
        let frames = self.say_frames(speaker, LONG_FRAMES)?;
        let tail = frames.end() - LONG_TAIL..=*frames.end();
        let now = self.now();
        for listener in (0..self.clients.len()).filter(|listener| *listener != speaker) {
            if let Err(broken) = self.clients[listener].has_played(now, tail.clone(), SMALL_DELAY_US) {
                let (listener, speaker) = (&self.clients[listener].name, &self.clients[speaker].name);
                return Err(format!("{listener} listened to {speaker}: {broken}"));
            }
        }
        Ok(())
    }

    /// One client's UDP is blocked: it is heard and hears all the same, and goes back when it works.
    fn without_udp(&mut self) -> Result<(), String> {
        self.clients[0].udp_blocked = true;
        self.wait(UDP_US)?;
        for speaker in [0, 1] {
            let frames = self.say_frames(speaker, LAST_FRAMES)?;
            checks::voice_heard(&self.clients, speaker, frames)?;
        }
        let fell_back = self.clients[0].is_tunnelled("hall");
        self.clients[0].udp_blocked = false;
        self.wait(UDP_US)?;
        if !fell_back || self.clients.iter().any(|client| client.is_tunnelled("hall")) {
            return Err("blocked UDP was not noticed, or not that it works again".to_owned());
        }
        Ok(())
    }

    /// A moderator mutes one who goes on speaking: nobody hears it, and after it there is no gap.
    fn last_mute(&mut self) -> Result<(), String> {
        let speaker = self.below(self.clients.len() as u64) as usize;
        let heard = self.say_frames(speaker, LAST_FRAMES)?;
        self.all_moderate(ModerationAction::MaMute, speaker)?;
        let id = self.clients[speaker].id();
        let member = self.clients[speaker].rooms().find(|room| &**room.name() == "hall");
        if !member.and_then(|room| room.member(id)).is_some_and(|member| member.server_muted) {
            // Who made the room is above the others, and mutes itself by other means.
            return Ok(());
        }
        let muted = self.say_frames(speaker, LAST_FRAMES)?;
        self.all_moderate(ModerationAction::MaUnmute, speaker)?;
        let after = self.say_frames(speaker, LAST_FRAMES)?;
        let name = self.clients[speaker].name.clone();
        for listener in self.clients.iter().filter(|listener| listener.name != name) {
            let index = |frame: u32| listener.heard_frames.get(&(name.clone(), frame)).map(|(index, _)| *index);
            if muted.clone().any(|frame| index(frame).is_some()) {
                return Err(format!("{} heard {name}, who is muted", listener.name));
            }
            let (Some(last), Some(next)) = (index(*heard.end()), index(*after.start())) else {
                return Err(format!("{} did not hear {name} before or after a mute", listener.name));
            };
            if next != last + 1 {
                return Err(format!("{}: a mute of {name} left a gap from {last} to {next}", listener.name));
            }
        }
        Ok(())
    }

    /// One gets new keys while all is well: the numbers go on, and everyone is heard.
    fn last_key(&mut self) -> Result<(), String> {
        let speaker = self.below(self.clients.len() as u64) as usize;
        let now = self.now();
        self.clients[speaker].open_voice(now, "hall");
        self.transmit(speaker);
        self.rest()?;
        let frames = self.say_frames(speaker, LAST_FRAMES)?;
        checks::voice_heard(&self.clients, speaker, frames)
    }

    /// One leaves while another speaks, and comes back: it hears nothing between, and all else goes on.
    fn last_leave(&mut self) -> Result<(), String> {
        let leaver = self.below(self.clients.len() as u64) as usize;
        let speaker = (leaver + 1) % self.clients.len();
        self.talk(speaker, LAST_FRAMES);
        self.wait(WORDS_US / 10)?;
        for kind in [RoomActionType::RaLeave, RoomActionType::RaJoin] {
            let now = self.now();
            self.clients[leaver].act_on(now, kind, "hall");
            self.transmit(leaver);
            self.rest()?;
        }
        let now = self.now();
        self.clients[leaver].open_voice(now, "hall");
        self.transmit(leaver);
        self.rest()?;
        for speaker in [speaker, leaver] {
            let frames = self.say_frames(speaker, LAST_FRAMES)?;
            checks::voice_heard(&self.clients, speaker, frames)?;
        }
        Ok(())
    }

    /// All ask for it; who made the room may.
    fn all_moderate(&mut self, action: ModerationAction, target: usize) -> Result<(), String> {
        let username = self.clients[target].account.clone();
        let act = Moderation { action: action as i32, room_id: "hall".to_owned(), username, ..Moderation::default() };
        for client in 0..self.clients.len() {
            let now = self.now();
            self.clients[client].moderate(now, act.clone());
            self.transmit(client);
        }
        self.rest()
    }
}
