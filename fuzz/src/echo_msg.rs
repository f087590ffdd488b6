//! `EchoMsg` from any bytes.
//!
//! Checked: what decodes encodes to something that decodes equal, alone and in a frame; a type that is named anew from
//! its body stays so.

use echomesh_proto::control::EchoMsg;
use echomesh_proto::framing::FrameDecoder;
use echomesh_proto::limits::FRAME_BYTES_MAX;
use prost::Message;

/// See the module.
pub fn echo_msg(data: &[u8]) {
    let Ok(message) = EchoMsg::decode(data) else { return };
    let bytes = message.encode_to_vec();
    assert_eq!(bytes.len(), message.encoded_len());
    assert_eq!(EchoMsg::decode(&bytes[..]).as_ref(), Ok(&message));
    if let Some(body) = message.body.clone() {
        let named = EchoMsg::new(message.request_id, body);
        assert_eq!(named.body.as_ref().map(|body| body.msg_type() as i32), Some(named.r#type));
    }
    // An enum of five bytes may become one of ten, so a message may grow over the limit.
    if (1..=FRAME_BYTES_MAX).contains(&bytes.len()) {
        let mut framed = Vec::new();
        message.append_frame(&mut framed);
        let mut decoder = FrameDecoder::default();
        decoder.push(&framed);
        let frame = decoder.next_frame().expect("its own frame is right").expect("and whole");
        assert_eq!(frame, bytes);
    }
}
