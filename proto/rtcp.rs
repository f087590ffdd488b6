//! RTCP (RFC 3550 §6), the little that opening and keeping a voice path needs: a receiver report
//! without blocks and the sender's name. Big-endian, nothing allocates.

use crate::ids::Ssrc;

/// RFC 3550 §12.1 packet types.
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;

/// RFC 3550 §6.5 item type.
const CNAME: u8 = 1;

/// Longest compound that [`write_receiver_report`] writes, bytes: report, description, name, end.
pub const REPORT_BYTES_MAX: usize = 8 + 8 + 2 + CNAME_BYTES_MAX + 4;

/// Longest name written; a longer one is cut.
const CNAME_BYTES_MAX: usize = 64;

/// Writes an empty receiver report (§6.4.2) and a CNAME (§6.5) as one compound. Returns its length.
///
/// # Panics
/// If `out` is shorter than [`REPORT_BYTES_MAX`]: the caller's bug.
pub fn write_receiver_report(out: &mut [u8], ssrc: Ssrc, cname: &str) -> usize {
    // A name is UTF-8 (§6.5), so it is cut between characters.
    let name = &cname.as_bytes()[..cname.floor_char_boundary(CNAME_BYTES_MAX)];
    out[..4].copy_from_slice(&[0x80, RECEIVER_REPORT, 0, 1]);
    out[4..8].copy_from_slice(&ssrc.0.to_be_bytes());
    // Chunk: SSRC, item, at least one zero byte up to the next word.
    let chunk = (4 + 2 + name.len() + 1).next_multiple_of(4);
    let description = &mut out[8..12 + chunk];
    description.fill(0);
    description[..4].copy_from_slice(&[0x81, SOURCE_DESCRIPTION, 0, (chunk / 4) as u8]);
    description[4..8].copy_from_slice(&ssrc.0.to_be_bytes());
    description[8..10].copy_from_slice(&[CNAME, name.len() as u8]);
    description[10..10 + name.len()].copy_from_slice(name);
    12 + chunk
}

/// SSRC of whoever sent the compound: bytes 4 to 7, in the clear in SRTCP too (RFC 3711 §3.4).
#[must_use]
pub fn sender_ssrc(packet: &[u8]) -> Option<Ssrc> {
    let bytes = packet.get(4..8)?.first_chunk()?;
    Some(Ssrc(u32::from_be_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a compound that adds up by the lengths in its headers, as any RTCP receiver walks it.
    #[test]
    fn the_report_is_a_valid_compound() {
        for name in ["", "a", "ab", "abc", "somebody@example", &"x".repeat(99), &"aé".repeat(30)] {
            let mut out = [0xFF; REPORT_BYTES_MAX];
            let length = write_receiver_report(&mut out, Ssrc(0x0102_0304), name);
            let mut at = 0;
            let mut types = Vec::new();
            while at < length {
                assert_eq!(out[at] >> 6, 2);
                types.push(out[at + 1]);
                at += 4 * (usize::from(u16::from_be_bytes([out[at + 2], out[at + 3]])) + 1);
            }
            assert_eq!((at, types), (length, vec![201, 202]));
            let item = &out[18..18 + usize::from(out[17])];
            assert!(std::str::from_utf8(item).is_ok_and(|item| name.starts_with(item)), "the name, whole or cut");
            assert_eq!(out[length - 1], 0, "the item list ends with a zero byte");
            assert_eq!(sender_ssrc(&out), Some(Ssrc(0x0102_0304)));
        }
        assert_eq!(sender_ssrc(&[0x80; 7]), None);
    }
}
