//! RTP (RFC 3550 §5.1) as views over the caller's bytes: tell it apart, read a header, write one.
//!
//! Not encryption (`srtp`) and not rules. Of header extensions only the audio level (RFC 6464) in the
//! one-byte form (RFC 8285 §4.2) is known; others are skipped. All fields big-endian. Nothing
//! allocates; any bytes are safe to parse.

use crate::ids::Ssrc;
use crate::limits::AUDIO_LEVEL_EXTENSION_ID;
use crate::time::MediaTime;

/// Bytes of the fixed header, RFC 3550 §5.1.
const FIXED_BYTES: usize = 12;

/// P, in the first byte: the payload ends in padding.
const PADDING_BIT: u8 = 0x20;

/// RFC 8285 §4.2: profile of the one-byte extension form.
const ONE_BYTE_PROFILE: u16 = 0xBEDE;

/// Longest header that [`OutgoingHeader::write`] writes: fixed part, extension head, one word.
pub const HEADER_BYTES_MAX: usize = FIXED_BYTES + 8;

/// What a datagram on the voice port is, by its first two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP, RFC 5761 §4.
    Rtcp,
    /// Neither, RFC 7983 §7.
    Other,
}

/// Tells RTP from RTCP and from what is not ours.
#[must_use]
pub fn classify(datagram: &[u8]) -> Kind {
    match datagram {
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, _, ..] => Kind::Rtp,
        _ => Kind::Other,
    }
}

/// The stream a voice packet belongs to, by its first bytes alone: what steers it to its shard. `None` if it is
/// neither RTP nor RTCP, or too short.
#[must_use]
pub fn stream_of(packet: &[u8]) -> Option<Ssrc> {
    match classify(packet) {
        Kind::Rtp => Some(Ssrc(u32::from_be_bytes(*packet.get(8..)?.first_chunk()?))),
        Kind::Rtcp => crate::rtcp::sender_ssrc(packet),
        Kind::Other => None,
    }
}

/// Why bytes are not an RTP packet. The sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtpError {
    /// The version is not 2.
    Version,
    /// The header says it is longer than the packet.
    Truncated,
}

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// For audio: first packet of a talkspurt (RFC 3551 §4.1).
    pub marker: bool,
    /// Below 128.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp, 48 kHz for Opus.
    pub media_time: MediaTime,
    /// Stream.
    pub ssrc: Ssrc,
    /// RFC 6464 byte: bit 7 voice activity, bits 0–6 level in -dBov.
    pub audio_level: Option<u8>,
    /// The payload ends in padding.
    pub padding: bool,
    /// Length on the wire, bytes: fixed part, CSRCs, extension.
    pub bytes: usize,
}

impl Header {
    /// Reads the header of a packet.
    ///
    /// # Errors
    /// [`RtpError`] if the bytes do not add up.
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let fixed: &[u8; FIXED_BYTES] = packet.first_chunk().ok_or(RtpError::Truncated)?;
        if fixed[0] >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let mut bytes = FIXED_BYTES + 4 * usize::from(fixed[0] & 0x0F);
        let mut audio_level = None;
        if fixed[0] & 0x10 != 0 {
            let head = packet.get(bytes..bytes + 4).ok_or(RtpError::Truncated)?;
            let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let body = packet.get(bytes + 4..bytes + 4 + 4 * words).ok_or(RtpError::Truncated)?;
            if u16::from_be_bytes([head[0], head[1]]) == ONE_BYTE_PROFILE {
                audio_level = find_audio_level(body);
            }
            bytes += 4 + 4 * words;
        }
        if packet.len() < bytes {
            return Err(RtpError::Truncated);
        }
        Ok(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7F,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            media_time: MediaTime(u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]])),
            ssrc: Ssrc(u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]])),
            audio_level,
            padding: fixed[0] & PADDING_BIT != 0,
            bytes,
        })
    }
}

/// Walks one-byte elements (RFC 8285 §4.2): id in the high nibble, length - 1 in the low one; 0 is
/// padding, id 15 ends, and so does id 0 with a length.
fn find_audio_level(mut body: &[u8]) -> Option<u8> {
    while let Some((&head, rest)) = body.split_first() {
        if head == 0 {
            body = rest;
            continue;
        }
        let (id, length) = (head >> 4, usize::from(head & 0x0F) + 1);
        if id == 0 || id == 15 {
            return None;
        }
        if id == AUDIO_LEVEL_EXTENSION_ID {
            return rest.first().copied();
        }
        body = rest.get(length..)?;
    }
    None
}

/// A header to write: no CSRCs, no padding, no extension but the audio level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutgoingHeader {
    /// As in [`Header`].
    pub marker: bool,
    /// Below 128.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub media_time: MediaTime,
    /// Stream.
    pub ssrc: Ssrc,
    /// RFC 6464 byte, if any.
    pub audio_level: Option<u8>,
}

impl OutgoingHeader {
    /// Writes at the start of `out` and returns the length, at most [`HEADER_BYTES_MAX`].
    ///
    /// # Panics
    /// If `out` is shorter than that: the caller's bug.
    pub fn write(&self, out: &mut [u8]) -> usize {
        debug_assert!(self.payload_type < 128, "a payload type has 7 bits");
        out[0] = 0x80 | u8::from(self.audio_level.is_some()) << 4;
        out[1] = self.payload_type | u8::from(self.marker) << 7;
        out[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        out[4..8].copy_from_slice(&self.media_time.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.0.to_be_bytes());
        let Some(level) = self.audio_level else { return FIXED_BYTES };
        out[12..14].copy_from_slice(&ONE_BYTE_PROFILE.to_be_bytes());
        out[14..20].copy_from_slice(&[0, 1, AUDIO_LEVEL_EXTENSION_ID << 4, level, 0, 0]);
        HEADER_BYTES_MAX
    }
}

/// Lengthens a plain packet by `padding` bytes (RFC 3550 §5.1: the last one counts them, and the header says so).
/// Returns the new length.
///
/// # Panics
/// If `packet` has no room for them: the caller's bug.
pub fn pad(packet: &mut [u8], plain_bytes: usize, padding: u8) -> usize {
    if padding == 0 {
        return plain_bytes;
    }
    let end = plain_bytes + usize::from(padding);
    packet[0] |= PADDING_BIT;
    packet[plain_bytes..end].fill(0);
    packet[end - 1] = padding;
    end
}

/// The payload without its padding (RFC 3550 §5.1: the last byte counts it, itself included). `None`
/// if the count is impossible.
#[must_use]
pub fn payload_without_padding(payload: &[u8], padding: bool) -> Option<&[u8]> {
    if !padding {
        return Some(payload);
    }
    let count = usize::from(*payload.last()?);
    if count == 0 { None } else { payload.get(..payload.len().checked_sub(count)?) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: no bytes make the parser panic or claim a header longer than the packet.
        #[test]
        fn any_bytes_parse_safely(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert!(header.bytes <= bytes.len());
            }
            let _ = payload_without_padding(&bytes, true);
        }

        /// Goal: no extension makes the walk leave it. Method: a sound header before any elements.
        #[test]
        fn any_extension_parses_safely(body in prop::collection::vec(any::<[u8; 4]>(), 0..20)) {
            let mut packet = vec![0x90, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xBE, 0xDE, 0, body.len() as u8];
            packet.extend_from_slice(body.as_flattened());
            prop_assert_eq!(Header::parse(&packet).map(|header| header.bytes), Ok(packet.len()));
        }

        /// Goal: what is written is what is read.
        #[test]
        fn headers_round_trip(marker: bool, payload_type in 0u8..128, sequence: u16, time: u32, ssrc: u32, level: Option<u8>) {
            let sent = OutgoingHeader {
                marker, payload_type, sequence, media_time: MediaTime(time), ssrc: Ssrc(ssrc), audio_level: level,
            };
            let mut out = [0; HEADER_BYTES_MAX];
            let length = sent.write(&mut out);
            let got = Header::parse(&out[..length]).unwrap();
            prop_assert_eq!(got, Header {
                marker, payload_type, sequence, media_time: MediaTime(time), ssrc: Ssrc(ssrc), audio_level: level,
                padding: false, bytes: length,
            });
        }
    }

    /// Goal: CSRCs and foreign extension elements are stepped over (RFC 3550 §5.1, RFC 8285 §4.2).
    #[test]
    fn csrcs_and_other_extensions_are_skipped() {
        let mut packet = vec![0x92, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend_from_slice(&[9; 8]);
        packet.extend_from_slice(&[0xBE, 0xDE, 0, 2, 0x31, 7, 7, 0, AUDIO_LEVEL_EXTENSION_ID << 4, 0xAA, 0, 0]);
        let header = Header::parse(&packet).unwrap();
        assert_eq!((header.bytes, header.audio_level), (packet.len(), Some(0xAA)));
    }

    /// Goal: the walk ends where RFC 8285 §4.2 says: at id 15, and at id 0 with a length.
    #[test]
    fn reserved_extension_ids_end_the_walk() {
        let level = AUDIO_LEVEL_EXTENSION_ID << 4;
        assert_eq!(find_audio_level(&[0, 0, level, 0xAA]), Some(0xAA), "single zeros are padding");
        assert_eq!(find_audio_level(&[0x01, 7, 7, level, 0xAA]), None);
        assert_eq!(find_audio_level(&[0xF0, 7, level, 0xAA]), None);
        assert_eq!(find_audio_level(&[0x37, level, 0xAA]), None, "an element longer than the extension");
        assert_eq!(find_audio_level(&[level]), None, "cut before its value");
    }

    /// Goal: a header that says more than the packet holds is refused, whatever part says it.
    #[test]
    fn truncated_headers_are_refused() {
        let whole = [0x91, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 9, 9, 0xBE, 0xDE, 0, 1, 0x10, 5, 0, 0];
        assert_eq!(Header::parse(&whole).map(|header| header.bytes), Ok(whole.len()));
        for length in 0..whole.len() {
            assert_eq!(Header::parse(&whole[..length]), Err(RtpError::Truncated), "{length} bytes");
        }
        assert_eq!(Header::parse(&[0x40; 24]), Err(RtpError::Version));
    }

    /// Goal: RTCP packet types 192 to 223 share the port (RFC 5761 §4).
    #[test]
    fn rtcp_is_told_from_rtp() {
        assert_eq!(classify(&[0x80, 201]), Kind::Rtcp);
        assert_eq!(classify(&[0x80, 111]), Kind::Rtp);
        assert_eq!(classify(&[0x80, 0x80 | 111]), Kind::Rtp);
        assert_eq!(classify(&[0x16, 3]), Kind::Other);
        assert_eq!(classify(&[0x80]), Kind::Other);
    }

    /// Goal: what was padded is what is read without its padding, at every length of it.
    #[test]
    fn padding_comes_off_again() {
        let header = OutgoingHeader {
            marker: false,
            payload_type: 111,
            sequence: 7,
            media_time: MediaTime(9),
            ssrc: Ssrc(1),
            audio_level: Some(3),
        };
        for padding in [0, 1, 2, 255] {
            let mut packet = [0xFF; 400];
            let head = header.write(&mut packet);
            packet[head..head + 3].copy_from_slice(&[1, 2, 3]);
            let end = pad(&mut packet, head + 3, padding);
            assert_eq!(end, head + 3 + usize::from(padding));
            let read = Header::parse(&packet[..end]).unwrap();
            assert_eq!(payload_without_padding(&packet[read.bytes..end], read.padding), Some(&[1, 2, 3][..]));
        }
    }

    /// Goal: padding that cannot be is refused.
    #[test]
    fn padding_is_checked() {
        assert_eq!(payload_without_padding(&[1, 2, 0, 2], true), Some(&[1, 2][..]));
        assert_eq!(payload_without_padding(&[1, 9], true), None);
        assert_eq!(payload_without_padding(&[1, 0], true), None);
        assert_eq!(payload_without_padding(&[], true), None);
    }
}
