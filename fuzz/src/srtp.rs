//! SRTP and SRTCP: strangers' packets, our own changed on their way, and which numbers are new.
//!
//! In: bytes that choose one of three checks. A packet that was not sealed with the key does not open, and opening one
//! reads within it. What is sealed opens to the same; with any byte changed it does not. The replay window and the
//! index estimate say what a set of all indices seen says.

use std::collections::BTreeSet;

use arbitrary::{Result, Unstructured};
use echomesh_proto::limits::DATAGRAM_BYTES_MAX;
use echomesh_proto::rtp::Header;
use echomesh_proto::srtp::{MasterKey, OpenKey, RTCP_INDEX_BYTES, ReplayWindow, SealKey, TAG_BYTES, estimate_index};

/// RFC 3711 §3.3.2: how far back the window remembers.
const WINDOW: u64 = 128;

/// Indices have 48 bits.
const INDEX_END: u64 = 1 << 48;

/// See the module.
pub fn srtp(data: &[u8]) {
    let mut input = Unstructured::new(data);
    // Where bytes run out the script is over.
    let _ = match input.int_in_range(0..=2).unwrap_or(0) {
        0 => stranger(&mut input),
        1 => sealed(&mut input),
        _ => numbers(&mut input),
    };
}

fn master() -> MasterKey {
    MasterKey { key: [7; 16], salt: [9; 12] }
}

fn stranger(input: &mut Unstructured<'_>) -> Result<()> {
    let index = input.int_in_range(0..=INDEX_END - 1)?;
    let key = OpenKey::new(&master());
    let bytes = input.peek_bytes(input.len()).unwrap_or_default();
    if let Ok(header) = Header::parse(bytes) {
        let mut packet = bytes.to_vec();
        assert!(key.open_rtp(&mut packet, header.bytes, index).is_err(), "nobody else has the key");
    }
    let mut packet = bytes.to_vec();
    assert!(key.open_rtcp(&mut packet).is_err(), "nobody else has the key");
    Ok(())
}

fn sealed(input: &mut Unstructured<'_>) -> Result<()> {
    let (seal, open) = (SealKey::new(&master()), OpenKey::new(&master()));
    let index = input.int_in_range(0..=INDEX_END - 1)?;
    let (at, change): (u16, u8) = (input.arbitrary()?, input.arbitrary()?);
    let is_rtcp: bool = input.arbitrary()?;
    let bytes = input.bytes(input.len().min(DATAGRAM_BYTES_MAX))?;
    let header_bytes = match Header::parse(bytes) {
        _ if is_rtcp && bytes.len() >= 8 => 8,
        Ok(header) if !is_rtcp => header.bytes,
        _ => return Ok(()),
    };
    let mut packet = bytes.to_vec();
    packet.resize(bytes.len() + TAG_BYTES + RTCP_INDEX_BYTES, 0);
    let rtcp_index = (index & 0x7FFF_FFFF) as u32;
    let length = if is_rtcp {
        seal.seal_rtcp(&mut packet, bytes.len(), rtcp_index)
    } else {
        seal.seal_rtp(&mut packet, header_bytes, bytes.len(), index)
    };
    packet.truncate(length);
    let opens = |mut packet: Vec<u8>| {
        let plain = if is_rtcp {
            let (plain, found) = open.open_rtcp(&mut packet).ok()?;
            assert_eq!(found, rtcp_index);
            plain
        } else {
            open.open_rtp(&mut packet, header_bytes, index).ok()?
        };
        packet.truncate(plain);
        Some(packet)
    };
    assert_eq!(opens(packet.clone()).as_deref(), Some(bytes));
    if change != 0 {
        let at = usize::from(at) % packet.len();
        packet[at] ^= change;
        assert_eq!(opens(packet), None, "byte {at} was changed by {change:#x}");
    }
    Ok(())
}

/// Whether an index is new, by all that were.
fn is_new(seen: &BTreeSet<u64>, index: u64) -> bool {
    let highest = seen.last().copied().unwrap_or(0);
    !seen.contains(&index) && (seen.is_empty() || index.saturating_add(WINDOW) > highest)
}

fn numbers(input: &mut Unstructured<'_>) -> Result<()> {
    let (mut window, mut seen) = (ReplayWindow::default(), BTreeSet::new());
    while !input.is_empty() {
        let highest = window.highest();
        assert_eq!(highest, seen.last().copied());
        let index = match input.int_in_range(0..=2)? {
            0 => input.int_in_range(0..=INDEX_END - 1)?,
            1 => {
                let near: i16 = input.arbitrary()?;
                highest.unwrap_or(0).saturating_add_signed(near.into()).min(INDEX_END - 1)
            }
            _ => {
                let sequence = input.arbitrary()?;
                let index = estimate_index(highest, sequence);
                nearest(highest, sequence, index);
                index
            }
        };
        assert_eq!(window.check(index), is_new(&seen, index), "index {index}, highest {highest:?}");
        if window.check(index) {
            window.accept(index);
            seen.insert(index);
        }
    }
    Ok(())
}

/// RFC 3711 §3.3.1: no index with this number is nearer to the highest, unless it were negative.
fn nearest(highest: Option<u64>, sequence: u16, index: u64) {
    assert_eq!(index as u16, sequence);
    let Some(highest) = highest else { return assert!(index < 1 << 16) };
    let distance = index.abs_diff(highest);
    let is_first_roc = index < 1 << 16;
    assert!(distance <= 1 << 15 || is_first_roc, "index {index} for {sequence} after {highest}");
}
