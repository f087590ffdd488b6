//! What a simulated client asks for, and what it remembers of that for the answer.
//!
//! Not when: `acts` and `healing` say. In: rooms, names, lines. Out: requests of the session.

use echomesh_client::{Announce, OpenVoice, VoiceFrame};
use echomesh_proto::control::{ChatAction, ChatActionType, Moderation, RoomActionType, RoomProperties};
use echomesh_proto::time::{MediaTime, Now};

use super::{Asked, Client, Line};

/// Lines of a burst and their length: 57 KiB, where a ring holds 32 to 36 KiB.
const BURST_LINES: usize = 15;
const BURST_PADDING: usize = 3_900;

impl Client {
    /// Creates, enters or leaves a room.
    pub fn act_on(&mut self, now: Now, kind: RoomActionType, room: &str) {
        let (request, asked) = match kind {
            RoomActionType::RaJoin => (self.session.join(self.at(now), room), Asked::Join(room.to_owned())),
            RoomActionType::RaLeave => (self.session.leave(self.at(now), room), Asked::Leave(room.to_owned())),
            _ => (self.session.create(self.at(now), room, 0), Asked::Create),
        };
        if let Ok(id) = request {
            if let Asked::Join(room) = &asked {
                self.may_hear.insert(room.clone());
            }
            self.asked.insert(id, asked);
        }
    }

    /// Sets a room.
    pub fn set_room(&mut self, now: Now, room: &str, properties: RoomProperties) {
        if let Ok(id) = self.session.set_room(self.at(now), room, properties) {
            self.asked.insert(id, Asked::Plain);
        }
    }

    /// Invites someone, or takes it back.
    pub fn invite(&mut self, now: Now, room: &str, user: &str, invited: bool) {
        if let Ok(id) = self.session.invite(self.at(now), room, user, invited) {
            self.asked.insert(id, Asked::Plain);
        }
    }

    /// Ends a room.
    pub fn delete(&mut self, now: Now, room: &str) {
        if let Ok(id) = self.session.delete_room(self.at(now), room) {
            self.asked.insert(id, Asked::Plain);
        }
    }

    /// Lists the rooms.
    pub fn list(&mut self, now: Now) {
        if let Ok(id) = self.session.list_rooms(self.at(now), "", bytes::Bytes::new()) {
            self.asked.insert(id, Asked::Plain);
        }
    }

    /// A line nobody said before, longer by so many bytes.
    pub fn new_line(&mut self, room: &str, padding: usize) -> Line {
        self.lines += 1;
        let content = format!("{} {}{}", self.name, self.lines, "x".repeat(padding));
        let client_id = format!("{}-{}", self.name, self.lines);
        Line { room: room.to_owned(), client_id, content, to: None }
    }

    /// Long lines at once, more than a ring holds.
    pub fn burst(&mut self, now: Now, room: &str) {
        for _ in 0..BURST_LINES {
            let line = self.new_line(room, BURST_PADDING);
            self.say(now, line);
        }
    }

    /// Says a line, or keeps it for later.
    pub fn say(&mut self, now: Now, line: Line) {
        let Line { room, content, client_id, .. } = &line;
        let said = match &line.to {
            Some(to) => self.session.direct(self.at(now), to, content, client_id),
            None => self.session.chat(self.at(now), room, content, client_id),
        };
        match said {
            Ok(id) => drop(self.asked.insert(id, Asked::Chat(line))),
            Err(_) => self.unsent.push_back(line),
        }
    }

    /// Opens voice in a room, or gives it new keys.
    pub fn open_voice(&mut self, now: Now, room: &str) {
        if self.session.room(room).is_some()
            && let Ok(id) = self.session.open_voice(self.at(now), room, OpenVoice::default())
        {
            self.asked.insert(id, Asked::Plain);
        }
    }

    /// Mutes (bit 0) and deafens (bit 1).
    pub fn announce(&mut self, now: Now, room: &str, flags: u64) {
        let announce = Announce { talking: false, muted: flags & 1 != 0, deafened: flags & 2 != 0 };
        if let Ok(id) = self.session.announce(self.at(now), room, announce) {
            self.asked.insert(id, Asked::Plain);
        }
    }

    /// Asks for what moderators do. Who made the room may; others are refused.
    pub fn moderate(&mut self, now: Now, moderation: Moderation) {
        if let Ok(id) = self.session.moderate(self.at(now), moderation) {
            self.asked.insert(id, Asked::Plain);
        }
    }

    /// Says one frame that tells where, who and which.
    pub fn talk(&mut self, now: Now) {
        let rooms: Vec<String> = self.session.rooms().map(|room| room.name().to_string()).collect();
        let media_time = MediaTime((self.at(now).time.0 / 1_000 * 48) as u32);
        for room in self.speaks_in.clone().into_iter().chain(rooms) {
            let payload = format!("{room} {} {}", self.name, self.frames + 1);
            let frame =
                VoiceFrame { media_time, marker: false, audio_level: Some(0x80 | 30), payload: payload.as_bytes() };
            if self.session.send_voice(&room, frame).is_ok() {
                self.frames += 1;
                self.said.push(now.time);
                return;
            }
        }
    }

    /// A line to someone.
    pub fn whisper(&mut self, now: Now, to: String) {
        let line = self.new_line("", 0);
        self.say(now, Line { to: Some(to), ..line });
    }

    /// A page of history, a mark, an edit or a deletion of a line of its own.
    pub fn chat_action(&mut self, now: Now, room: &str, choice: u64) {
        use ChatActionType::{CaDelete, CaEdit, CaHistory, CaSeen, CaUnread};
        let kind = [CaHistory, CaSeen, CaUnread, CaEdit, CaDelete][choice as usize % 5];
        let own = self.acknowledged.iter().rev().find(|(_, line)| line.room == room);
        let action = ChatAction {
            action: kind as i32,
            room_id: room.to_owned(),
            message_id: own.map_or(1, |(id, _)| *id),
            content: "edited".to_owned(),
            ..ChatAction::default()
        };
        if let Ok(id) = self.session.chat_action(self.at(now), action) {
            self.asked.insert(id, Asked::Plain);
        }
    }
}
