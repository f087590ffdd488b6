//! What a connection is told by the server, read beside the client: a session forgives what a minimal client would not.
//!
//! Checked: a new line is told once on a connection, and nobody is told of its own leaving: who leaves gets an answer,
//! and who is put out is told so. In: bytes. Bounds: numbers of the lines told.

use std::collections::BTreeSet;

use echomesh_proto::control::{Body, EchoMsg, MsgType, RoomEventType};
use echomesh_proto::framing::FrameDecoder;
use echomesh_proto::ids::SessionId;
use prost::Message;

/// One connection's.
#[derive(Default)]
pub struct Told {
    decoder: FrameDecoder,
    /// Whether it is a direct line, and its number.
    lines: BTreeSet<(bool, u64)>,
}

impl Told {
    /// More bytes, for this session.
    pub fn told(&mut self, id: SessionId, bytes: &[u8]) -> Result<(), String> {
        /// A message begins with the tag of its type, and the type.
        const KINDS: [[u8; 2]; 2] = [[1 << 3, MsgType::MtChatMsg as u8], [1 << 3, MsgType::MtRoomEvent as u8]];
        self.decoder.push(bytes);
        while let Ok(Some(frame)) = self.decoder.next_frame() {
            if !KINDS.iter().any(|kind| frame.starts_with(kind)) {
                continue;
            }
            let Ok(EchoMsg { request_id: 0, body: Some(body), .. }) = EchoMsg::decode(frame) else { continue };
            match body {
                Body::ChatMsg(line) => {
                    let is_new = line.edited_ms == 0 && !line.deleted;
                    if is_new && !self.lines.insert((!line.to.is_empty(), line.message_id)) {
                        return Err(format!("line {} twice", line.message_id));
                    }
                }
                Body::RoomEvent(event) => {
                    let of_itself = event.deltas.iter().any(|delta| {
                        let is_own = delta.member.as_ref().is_some_and(|member| member.session_id == id.0);
                        is_own && delta.event_type() == RoomEventType::ReLeft
                    });
                    if of_itself {
                        return Err(format!("that it left {}", event.room_id));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
