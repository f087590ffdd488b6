//! What a connection is told by the server, read beside the client: a session forgives what a minimal client would not.
//!
//! Checked: a new line is told once on a connection. In: bytes. Bounds: numbers of the lines told.

use std::collections::BTreeSet;

use echomesh_proto::control::{Body, EchoMsg, MsgType};
use echomesh_proto::framing::FrameDecoder;
use prost::Message;

/// One connection's.
#[derive(Default)]
pub struct Told {
    decoder: FrameDecoder,
    /// Whether it is a direct line, and its number.
    lines: BTreeSet<(bool, u64)>,
}

impl Told {
    /// More bytes.
    pub fn told(&mut self, bytes: &[u8]) -> Result<(), String> {
        /// A message begins with the tag of its type, and the type.
        const LINE: [u8; 2] = [1 << 3, MsgType::MtChatMsg as u8];
        self.decoder.push(bytes);
        while let Ok(Some(frame)) = self.decoder.next_frame() {
            if !frame.starts_with(&LINE) {
                continue;
            }
            let Ok(EchoMsg { request_id: 0, body: Some(Body::ChatMsg(line)), .. }) = EchoMsg::decode(frame) else {
                continue;
            };
            let is_new = line.edited_ms == 0 && !line.deleted;
            if is_new && !self.lines.insert((!line.to.is_empty(), line.message_id)) {
                return Err(format!("line {} twice", line.message_id));
            }
        }
        Ok(())
    }
}
