//! What a connection is told by the server, read beside the client: a session forgives what a minimal client would not.
//!
//! Checked: a new line is told once on a connection; nobody is told of its own leaving: who leaves gets an answer, and
//! who is put out is told so; a server that ends answers what it has begun, nothing else, and then says its last word
//! (PROTOCOL M94). In: bytes. Bounds: numbers of the lines told, and of requests begun at the end.

use std::collections::BTreeSet;

use echomesh_proto::control::{Body, EchoMsg, MsgType, RoomEvent, RoomEventType, StatusCode};
use echomesh_proto::framing::FrameDecoder;
use echomesh_proto::ids::SessionId;
use prost::Message;
use prost::encoding::decode_varint;

/// A message begins with the tag of its type, and the type; then may come the tag of its request, and the number.
const TYPE_TAG: u8 = 1 << 3;
const REQUEST_TAG: u8 = 2 << 3;

/// Types whose messages are looked at.
const KINDS: [u8; 3] = [MsgType::MtChatMsg as u8, MsgType::MtRoomEvent as u8, MsgType::MtStatus as u8];

/// The request that a message answers; 0: none.
fn answered(frame: &[u8]) -> u32 {
    match frame {
        [TYPE_TAG, _, REQUEST_TAG, number @ ..] => decode_varint(&mut &*number).map_or(0, |number| number as u32),
        _ => 0,
    }
}

/// One connection's.
#[derive(Default)]
pub struct Told {
    decoder: FrameDecoder,
    /// Whether it is a direct line, and its number.
    lines: BTreeSet<(bool, u64)>,
    /// Once the server ends, the requests that are still to be answered.
    begun: Option<BTreeSet<u32>>,
    is_cut: bool,
    had_last_word: bool,
}

impl Told {
    /// A new connection's, of a server that ends or not.
    pub fn new(is_ending: bool) -> Self {
        Self { begun: is_ending.then(BTreeSet::new), ..Self::default() }
    }

    /// The server ends, and has begun these of its requests.
    pub fn drains(&mut self, begun: BTreeSet<u32>) {
        self.begun = Some(begun);
    }

    /// There is no more time for answers.
    pub fn is_cut(&mut self) {
        self.is_cut = true;
    }

    /// More bytes, for this session.
    pub fn told(&mut self, id: SessionId, bytes: &[u8]) -> Result<(), String> {
        self.decoder.push(bytes);
        while let Ok(Some(frame)) = self.decoder.next_frame() {
            if self.had_last_word {
                return Err("more after the last word".to_owned());
            }
            let request = answered(frame);
            if request > 0 && self.begun.as_mut().is_some_and(|begun| !begun.remove(&request)) {
                return Err(format!("the answer to request {request}, which was not begun when the server ended"));
            }
            let is_looked_at = KINDS.iter().any(|kind| frame.starts_with(&[TYPE_TAG, *kind]));
            if request > 0 || !is_looked_at {
                continue;
            }
            match EchoMsg::decode(frame).ok().and_then(|msg| msg.body) {
                Some(Body::ChatMsg(line)) => {
                    let is_new = line.edited_ms == 0 && !line.deleted;
                    if is_new && !self.lines.insert((!line.to.is_empty(), line.message_id)) {
                        return Err(format!("line {} twice", line.message_id));
                    }
                }
                Some(Body::RoomEvent(event)) if is_of_leaving(&event, id) => {
                    return Err(format!("that it left {}", event.room_id));
                }
                Some(Body::Status(status)) if status.status_code() == StatusCode::StatusShuttingDown => {
                    self.had_last_word = true;
                    let missing = self.begun.iter().flatten().next().filter(|_| !self.is_cut);
                    if let Some(missing) = missing {
                        return Err(format!("the last word before the answer to request {missing}"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether it says that this session itself left.
fn is_of_leaving(event: &RoomEvent, id: SessionId) -> bool {
    event.deltas.iter().any(|delta| {
        let is_own = delta.member.as_ref().is_some_and(|member| member.session_id == id.0);
        is_own && delta.event_type() == RoomEventType::ReLeft
    })
}
