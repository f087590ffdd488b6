//! What an Opus packet carries of the sound before it.
//!
//! Not its decoding: libopus does that. In: a packet. Out: whether it has a copy of the frame before it
//! (in-band FEC), or a history (DRED).
//! Bounds: one pass over the packet's head and padding.

use echomesh_playout::FRAME_SAMPLES;

use crate::SAMPLE_RATE;

/// Configurations below this are SILK or hybrid, the modes that have in-band FEC (RFC 6716 §3.1).
const CELT_CONFIGURATION_MIN: u8 = 16;

/// Extension of the padding that holds the history, and the bytes it begins with: a mark and the version that
/// libopus 1.6 speaks (`DRED_EXTENSION_ID`, `DRED_EXPERIMENTAL_VERSION`).
const HISTORY_EXTENSION: u8 = 126;
const HISTORY_VERSION: [u8; 2] = [b'D', 12];

/// Whether a packet carries a copy of the frame before it.
pub(super) fn has_copy(packet: &[u8]) -> bool {
    let Some(toc) = packet.first() else { return false };
    if toc >> 3 >= CELT_CONFIGURATION_MIN {
        return false;
    }
    let Ok(parsed) = opus::packet::parse(packet) else { return false };
    let (Some(frame), Ok(samples)) = (
        parsed.frames.first().and_then(|frame| frame.first()),
        opus::packet::get_samples_per_frame(packet, SAMPLE_RATE),
    ) else {
        return false;
    };
    // RFC 6716 §4.2.3: a bit of voice activity for each 20 ms, then the flag of the copy (LBRR); with
    // stereo the same again for the second channel.
    let silk_frames = samples.div_ceil(FRAME_SAMPLES).max(1);
    let stereo = toc & 0b100 != 0;
    let flag = |bit: usize| *frame << bit & 0x80 != 0;
    flag(silk_frames) || (stereo && flag(2 * silk_frames + 1))
}

/// Whether a packet carries a history of the sound before it.
pub(super) fn has_history(packet: &[u8]) -> bool {
    let Some(mut rest) = padding(packet) else { return false };
    while let [head, after @ ..] = rest {
        let (id, long) = (head >> 1, head & 1 == 1);
        let Some((payload, next)) = extension(id, long, after) else { return false };
        if id == HISTORY_EXTENSION {
            return payload.len() > HISTORY_VERSION.len() && payload.starts_with(&HISTORY_VERSION);
        }
        rest = next;
    }
    false
}

/// Payload of an extension whose first byte is read, and what follows it (draft-ietf-mlcodec-opus-extension
/// §3): one byte of padding or one that repeats others has none, a short one up to one byte, a long one the
/// rest, or as many as the bytes before it add up to.
fn extension(id: u8, long: bool, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match (id, long) {
        (0, true) | (2, _) => Some((&[], bytes)),
        (1..32, _) => bytes.split_at_checked(usize::from(long)),
        (_, false) => Some((bytes, &[])),
        (_, true) => {
            let lengths = bytes.iter().position(|length| *length < u8::MAX)? + 1;
            let length = bytes[..lengths].iter().map(|length| usize::from(*length)).sum();
            bytes[lengths..].split_at_checked(length)
        }
    }
}

/// A packet's padding (RFC 6716 §3.2.5): only packets of code 3 have any, at their end.
fn padding(packet: &[u8]) -> Option<&[u8]> {
    let [toc, count, rest @ ..] = packet else { return None };
    if toc & 0b11 != 0b11 || count & 0b0100_0000 == 0 {
        return None;
    }
    let lengths = rest.iter().position(|length| *length < u8::MAX)? + 1;
    // 255 stands for 254 bytes and another length.
    let length: usize = rest[..lengths].iter().map(|length| usize::from((*length).min(u8::MAX - 1))).sum();
    rest[lengths..].len().checked_sub(length).map(|start| &rest[lengths..][start..])
}
