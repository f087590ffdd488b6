//! Writes one Ogg Opus stream from packets and their places in time.
//!
//! In: packets, each with the sample at which it begins; gaps are filled by packets without content, which a
//! decoder fills as it does a loss or a pause (RFC 7845 §4.1). Out: a file that can be played up to the last
//! whole second at any time.
//! Bounds: one packet is held back, one page buffered; a gap costs 3 bytes for each 120 ms.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ogg::{PacketWriteEndInfo, PacketWriter};

use super::{HEAD_MAGIC, OpusFileError, OpusFileProblem, PRE_SKIP, TAGS_MAGIC};
use crate::SAMPLE_RATE;

/// Longest time of one packet, samples (RFC 6716 §3.2.5): 120 ms.
const PACKET_SAMPLES_MAX: u64 = 5_760;

/// Grid of packet lengths, samples: 2.5 ms, and the configuration of such a packet (CELT, full band).
const GRID_SAMPLES: u64 = 120;
const GRID_TOC: u8 = 28 << 3;

/// Time on a page: 1 s, after which it goes to the system.
const PAGE_SAMPLES: u64 = SAMPLE_RATE as u64;

/// A file being written.
pub struct Writer {
    path: PathBuf,
    ogg: PacketWriter<'static, BufWriter<File>>,
    serial: u32,
    /// The last packet: only when the next comes, or none does, is known how to write it.
    held: Option<Vec<u8>>,
    /// End of what was given, samples from the start of the file's time; and of the last page.
    end: u64,
    page_end: u64,
    /// First byte of the last packet with content: what fills gaps looks like it.
    toc: u8,
}

impl Writer {
    /// Creates a file, which must not be there. `title` tells players what it is.
    ///
    /// # Errors
    /// [`OpusFileError`] if it cannot be created, with `AlreadyExists` if it is there.
    pub fn create(path: &Path, serial: u32, title: &str) -> Result<Self, OpusFileError> {
        let failed = |error| OpusFileError::new(path, OpusFileProblem::System(error));
        let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        let mut writer = Self {
            path: path.to_path_buf(),
            ogg: PacketWriter::new(BufWriter::new(file)),
            serial,
            held: None,
            end: 0,
            page_end: 0,
            toc: GRID_TOC,
        };
        // Each header ends a page of its own (RFC 7845 §3).
        writer.write(head(), PacketWriteEndInfo::EndPage, 0)?;
        writer.write(tags(title), PacketWriteEndInfo::EndPage, 0)?;
        Ok(writer)
    }

    /// Samples written, from the start of the file's time.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Appends a packet that begins at this sample. One that begins before the end, or is no Opus, is not
    /// written: `false`.
    ///
    /// # Errors
    /// [`OpusFileError`], such as a full disk.
    pub fn packet(&mut self, begin: u64, payload: &[u8]) -> Result<bool, OpusFileError> {
        let samples = packet_samples(payload);
        let (Some(toc), true) = (payload.first(), samples > 0 && begin + GRID_SAMPLES > self.end) else {
            return Ok(false);
        };
        // What fills the time before the first packet looks like it.
        if self.end == 0 {
            self.toc = *toc;
        }
        self.fill(begin)?;
        self.toc = *toc;
        self.append(payload.to_vec(), samples)?;
        Ok(true)
    }

    /// Fills the time up to this sample, to within 2.5 ms.
    ///
    /// # Errors
    /// [`OpusFileError`], such as a full disk.
    pub fn fill(&mut self, until: u64) -> Result<(), OpusFileError> {
        for toc in [self.toc, GRID_TOC] {
            let frame = frame_samples(toc);
            while until.saturating_sub(self.end) >= frame {
                let frames = ((until - self.end) / frame).min(PACKET_SAMPLES_MAX / frame);
                // RFC 6716 §3.2.5: code 3, constant bit rate, no padding; frames of no bytes.
                let packet = vec![toc & !0b11 | 0b11, frames as u8];
                self.append(packet, frames * frame)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, packet: Vec<u8>, samples: u64) -> Result<(), OpusFileError> {
        if let Some(before) = self.held.replace(packet) {
            let page_is_full = self.end - self.page_end >= PAGE_SAMPLES;
            let ending = if page_is_full { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            self.write(before, ending, self.end)?;
            if page_is_full {
                self.page_end = self.end;
                self.flush()?;
            }
        }
        self.end += samples;
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`OpusFileError`], such as a full disk.
    pub fn finish(mut self) -> Result<(), OpusFileError> {
        // A stream has at least one packet; a file without voice gets one that holds nothing.
        let last = self.held.take().unwrap_or_else(|| vec![GRID_TOC]);
        self.write(last, PacketWriteEndInfo::EndStream, self.end.max(GRID_SAMPLES))?;
        self.flush()
    }

    /// `end` is where its sound ends, in the file's time.
    fn write(&mut self, packet: Vec<u8>, ending: PacketWriteEndInfo, end: u64) -> Result<(), OpusFileError> {
        let failed = |error| OpusFileError::new(&self.path, OpusFileProblem::System(error));
        self.ogg.write_packet(packet, self.serial, ending, end).map_err(failed)
    }

    fn flush(&mut self) -> Result<(), OpusFileError> {
        let failed = |error| OpusFileError::new(&self.path, OpusFileProblem::System(error));
        self.ogg.inner_mut().flush().map_err(failed)
    }
}

/// RFC 7845 §5.1, one channel.
fn head() -> Vec<u8> {
    let mut head = HEAD_MAGIC.to_vec();
    head.extend([1, 1]);
    head.extend(PRE_SKIP.to_le_bytes());
    head.extend(SAMPLE_RATE.to_le_bytes());
    // No output gain, channel mapping family 0.
    head.extend([0, 0, 0]);
    head
}

/// RFC 7845 §5.2.
fn tags(title: &str) -> Vec<u8> {
    let mut tags = TAGS_MAGIC.to_vec();
    let mut text = |text: &str| {
        tags.extend((text.len() as u32).to_le_bytes());
        tags.extend(text.bytes());
    };
    text(concat!("echomesh ", env!("CARGO_PKG_VERSION")));
    let title = format!("TITLE={title}");
    let mut list = 1_u32.to_le_bytes().to_vec();
    list.extend((title.len() as u32).to_le_bytes());
    list.extend(title.bytes());
    tags.extend(list);
    tags
}

/// Samples of a frame with this first byte (RFC 6716 §3.1, table 2).
fn frame_samples(toc: u8) -> u64 {
    let configuration = toc >> 3;
    let place = usize::from(configuration & 3);
    match configuration {
        0..12 => [480, 960, 1_920, 2_880][place],
        12..16 => [480, 960][place & 1],
        _ => [120, 240, 480, 960][place],
    }
}

/// Samples of a packet; 0 if it is none.
pub(crate) fn packet_samples(packet: &[u8]) -> u64 {
    let frames = match packet {
        [] => 0,
        [toc, ..] if toc & 3 == 0 => 1,
        [toc, ..] if toc & 3 < 3 => 2,
        [_, count, ..] => u64::from(count & 0x3F),
        _ => 0,
    };
    let samples = packet.first().map_or(0, |toc| frames * frame_samples(*toc));
    if samples > PACKET_SAMPLES_MAX { 0 } else { samples }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: lengths are those of RFC 6716. Method: the ends of each row of its table.
    #[test]
    fn packets_have_the_length_of_their_first_bytes() {
        for (packet, samples) in [
            (&[0 << 3][..], 480),
            (&[3 << 3], 2_880),
            (&[13 << 3], 960),
            (&[(15 << 3) | 1, 0, 0], 1_920),
            (&[31 << 3], 960),
            (&[(28 << 3) | 3, 48], 5_760),
            (&[(31 << 3) | 3, 48], 0),
            (&[3], 0),
            (&[], 0),
        ] {
            assert_eq!(packet_samples(packet), samples, "{packet:?}");
        }
    }
}
