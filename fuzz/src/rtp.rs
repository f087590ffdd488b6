//! RTP headers from any bytes.
//!
//! Checked: what is read lies within the packet; what can be written is read back the same; padding comes off again.

use echomesh_proto::rtp::{
    HEADER_BYTES_MAX, Header, Kind, OutgoingHeader, classify, pad, payload_without_padding, stream_of,
};

/// See the module.
pub fn rtp(data: &[u8]) {
    let kind = classify(data);
    let stream = stream_of(data);
    let Ok(header) = Header::parse(data) else { return };
    assert!(header.bytes <= data.len() && header.payload_type < 128);
    match kind {
        Kind::Rtp => assert_eq!(stream, Some(header.ssrc)),
        Kind::Rtcp => assert!(stream.is_some()),
        Kind::Other => assert_eq!(stream, None),
    }
    let payload = &data[header.bytes..];
    if let Some(inner) = payload_without_padding(payload, header.padding) {
        assert!(payload.starts_with(inner));
    }
    let outgoing = OutgoingHeader {
        marker: header.marker,
        payload_type: header.payload_type,
        sequence: header.sequence,
        media_time: header.media_time,
        ssrc: header.ssrc,
        audio_level: header.audio_level,
    };
    let mut packet = vec![0; HEADER_BYTES_MAX + payload.len() + 255];
    let head = outgoing.write(&mut packet);
    packet[head..head + payload.len()].copy_from_slice(payload);
    let padding = data[0];
    let end = pad(&mut packet, head + payload.len(), padding);
    let again = Header::parse(&packet[..end]).expect("what was written is a header");
    assert_eq!(again, Header { padding: padding != 0, bytes: head, ..header });
    assert_eq!(payload_without_padding(&packet[head..end], again.padding), Some(payload));
}
