//! A simulated client: acts at random, remembers what it may see, and checks what it gets.

use std::collections::{BTreeMap, BTreeSet};

use echomesh_proto::control::{Body, ChatMsg, EchoMsg, LoginRequest, RoomAction, RoomActionType, StatusCode};
use echomesh_proto::framing::FrameDecoder;
use echomesh_proto::ids::ConnectionId;
use prost::Message;

/// What a request was, for its answer.
#[derive(Clone, Debug)]
enum Asked {
    Login,
    Create,
    Join(String),
    Leave(String),
    Chat(String),
}

/// One client; its connection comes and goes.
#[derive(Default)]
pub struct Client {
    pub name: String,
    pub connection: Option<(usize, ConnectionId)>,
    pub slow: bool,
    /// Bytes on their way to the server, so that a part never overtakes another.
    pub arrives: u64,
    decoder: FrameDecoder,
    asked: BTreeMap<u32, Asked>,
    request: u32,
    logged_in: bool,
    /// Rooms it may hear: from the request to join to the answer to the leave.
    may_hear: BTreeSet<String>,
    /// Rooms it surely is in.
    pub rooms: BTreeSet<String>,
    last_seen: BTreeMap<String, u64>,
    pub heard: BTreeSet<String>,
    /// Lines acknowledged: id and content.
    pub acknowledged: Vec<(u64, String)>,
    lines: u32,
}

impl Client {
    pub fn new(name: String, slow: bool) -> Self {
        Self { name, slow, ..Self::default() }
    }

    /// A new connection: nothing of the old one holds.
    pub fn connected(&mut self, shard: usize, id: ConnectionId) {
        let kept = std::mem::take(self);
        *self = Self {
            name: kept.name,
            connection: Some((shard, id)),
            slow: kept.slow,
            arrives: kept.arrives,
            heard: kept.heard,
            acknowledged: kept.acknowledged,
            lines: kept.lines,
            ..Self::default()
        };
    }

    pub fn waits(&self) -> bool {
        !self.asked.is_empty()
    }

    pub fn asked(&self) -> String {
        format!("{:?}", self.asked)
    }

    fn joins(&self, room: &str) -> bool {
        self.asked.values().any(|asked| matches!(asked, Asked::Join(other) if other == room))
    }

    pub fn is_ready(&self) -> bool {
        self.logged_in
    }

    fn request(&mut self, asked: Asked, body: Body) -> Vec<u8> {
        self.request += 1;
        self.asked.insert(self.request, asked);
        let mut frame = Vec::new();
        EchoMsg::new(self.request, body).append_frame(&mut frame);
        frame
    }

    pub fn login(&mut self) -> Vec<u8> {
        let login =
            LoginRequest { username: self.name.clone(), password: "secret".to_owned(), ..LoginRequest::default() };
        self.request(Asked::Login, Body::LoginRequest(login))
    }

    pub fn act_on(&mut self, kind: RoomActionType, room: &str) -> Vec<u8> {
        let asked = match kind {
            RoomActionType::RaJoin => {
                self.may_hear.insert(room.to_owned());
                Asked::Join(room.to_owned())
            }
            RoomActionType::RaLeave => Asked::Leave(room.to_owned()),
            _ => Asked::Create,
        };
        let action = RoomAction { action_type: kind as i32, room_id: room.to_owned(), ..RoomAction::default() };
        self.request(asked, Body::RoomAction(action))
    }

    pub fn chat(&mut self, room: &str) -> (String, Vec<u8>) {
        self.lines += 1;
        let content = format!("{} {}", self.name, self.lines);
        let client_id = content.replace(' ', "-");
        let chat = ChatMsg { room_id: room.to_owned(), content: content.clone(), client_id, ..ChatMsg::default() };
        let frame = self.request(Asked::Chat(content.clone()), Body::ChatMsg(chat));
        (content, frame)
    }

    /// Bytes from the server; the error says which promise is broken.
    pub fn received(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.decoder.push(bytes);
        loop {
            let msg = match self.decoder.next_frame() {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => {
                    EchoMsg::decode(frame).map_err(|error| format!("the server sent garbage: {error}"))?
                }
                Err(error) => return Err(format!("the server sent a bad frame: {error}")),
            };
            self.message(msg).map_err(|error| format!("{}: {error}", self.name))?;
        }
    }

    fn message(&mut self, msg: EchoMsg) -> Result<(), String> {
        let Some(body) = msg.body else { return Err("a message without a body".to_owned()) };
        if let Body::ChatMsg(line) = &body {
            self.line(line, msg.request_id != 0)?;
        }
        if let Body::RoomEvent(event) = &body
            && !self.may_hear.contains(&event.room_id)
        {
            return Err(format!("an event of {}, where it is not", event.room_id));
        }
        if msg.request_id == 0 {
            return Ok(());
        }
        let Some(asked) = self.asked.remove(&msg.request_id) else {
            return Err(format!("a second answer to request {}", msg.request_id));
        };
        let ok = match &body {
            Body::Status(status) => status.status_code == StatusCode::StatusOk as i32,
            Body::LoginResponse(response) => response.status_code == StatusCode::StatusOk as i32,
            _ => true,
        };
        match asked {
            Asked::Login => self.logged_in = ok,
            Asked::Join(room) if ok => {
                self.rooms.insert(room);
            }
            Asked::Leave(room) if ok => {
                self.rooms.remove(&room);
                // A join sent after this leave makes it a room it may hear again.
                if !self.joins(&room) {
                    self.may_hear.remove(&room);
                }
            }
            Asked::Chat(content) => {
                if let Body::ChatMsg(line) = body {
                    if line.content != content {
                        return Err(format!("sent {content:?}, acknowledged {:?}", line.content));
                    }
                    self.acknowledged.push((line.message_id, content));
                }
            }
            Asked::Create | Asked::Join(_) | Asked::Leave(_) => {}
        }
        Ok(())
    }

    fn line(&mut self, line: &ChatMsg, own: bool) -> Result<(), String> {
        if !own && !self.may_hear.contains(&line.room_id) {
            return Err(format!("heard {:?} of {}, where it is not", line.content, line.room_id));
        }
        let last = self.last_seen.insert(line.room_id.clone(), line.message_id).unwrap_or(0);
        if line.message_id <= last {
            return Err(format!("line {} after line {last}", line.message_id));
        }
        self.heard.insert(line.content.clone());
        Ok(())
    }
}
