//! Reads an Ogg Opus file as 48 kHz mono.
//!
//! Not for streams of more than two channels, nor for several streams in turn: the first is played.
//! In: a path. Out: samples one by one. A file is read through once when it is opened, so that what is wrong
//! with it is told before half of it was said.
//! Bounds: one page and one packet at a time.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

use echomesh_playout::{Decode, PACKET_SAMPLES_MAX};
use ogg::{OggReadError, PacketReader};

use super::{HEAD_MAGIC, OpusFileError, OpusFileProblem, TAGS_MAGIC};
use crate::codec::Decoder;

/// What an Ogg file begins with.
const OGG_MAGIC: &[u8; 4] = b"OggS";

/// Channels of mapping family 0 (RFC 7845 §5.1.1.1).
const CHANNELS: std::ops::RangeInclusive<u8> = 1..=2;

/// An open file.
pub(crate) struct Reader {
    path: PathBuf,
    ogg: PacketReader<BufReader<File>>,
    serial: u32,
    decoder: Decoder,
    /// What the header asks to multiply by.
    gain: f32,
    /// Samples to leave out at the beginning, and left until the end.
    skip: usize,
    left: u64,
    decoded: Vec<i16>,
    /// The next of `decoded`.
    at: usize,
}

/// What the header packets and the last page say.
struct Header {
    serial: u32,
    pre_skip: u16,
    gain: f32,
    /// Samples of the stream, `pre_skip` included.
    samples: u64,
}

/// Whether a file begins like an Ogg file.
pub(crate) fn is_ogg(path: &Path) -> bool {
    let mut magic = [0; OGG_MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *OGG_MAGIC
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, OpusFileError> {
        let failed = |problem| OpusFileError::new(path, problem);
        let mut file = BufReader::new(File::open(path).map_err(|error| failed(OpusFileProblem::System(error)))?);
        let header = read_through(&mut PacketReader::new(&mut file)).map_err(failed)?;
        file.rewind().map_err(|error| failed(OpusFileProblem::System(error)))?;
        let decoder = Decoder::new().map_err(|error| failed(OpusFileProblem::Codec(error)))?;
        Ok(Self {
            path: path.to_path_buf(),
            ogg: PacketReader::new(file),
            serial: header.serial,
            decoder,
            gain: header.gain,
            skip: usize::from(header.pre_skip),
            left: header.samples.saturating_sub(u64::from(header.pre_skip)),
            decoded: Vec::with_capacity(PACKET_SAMPLES_MAX),
            at: 0,
        })
    }

    /// The next sample; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<i16>, OpusFileError> {
        if self.left == 0 {
            return Ok(None);
        }
        while self.at >= self.decoded.len() {
            if !self.decode()? {
                return Ok(None);
            }
        }
        let sample = self.decoded[self.at];
        self.at += 1;
        self.left -= 1;
        // The cast saturates.
        Ok(Some(if self.gain == 1.0 { sample } else { (f32::from(sample) * self.gain).round() as i16 }))
    }

    /// Decodes the next packet; `false` if there is none.
    fn decode(&mut self) -> Result<bool, OpusFileError> {
        let packet = loop {
            let packet = self.ogg.read_packet().map_err(|error| OpusFileError::new(&self.path, error.into()))?;
            let Some(packet) = packet else { return Ok(false) };
            let is_header = packet.data.starts_with(HEAD_MAGIC) || packet.data.starts_with(TAGS_MAGIC);
            if packet.stream_serial() == self.serial && !is_header {
                break packet;
            }
        };
        self.decoded.resize(PACKET_SAMPLES_MAX, 0);
        let samples = self.decoder.decode(&packet.data, &mut self.decoded);
        self.decoded.truncate(samples);
        self.at = self.skip.min(samples);
        self.skip -= self.at;
        Ok(true)
    }
}

/// Reads a whole file: its headers, and whether all pages are whole.
fn read_through<R: Read + Seek>(ogg: &mut PacketReader<R>) -> Result<Header, OpusFileProblem> {
    let first = ogg.read_packet()?.ok_or(OpusFileProblem::NotOpus)?;
    let (pre_skip, gain) = head(&first.data)?;
    let serial = first.stream_serial();
    let mut samples = 0;
    while let Some(packet) = ogg.read_packet()? {
        if packet.stream_serial() == serial {
            samples = packet.absgp_page();
        }
    }
    if samples == 0 {
        return Err(OpusFileProblem::Empty);
    }
    Ok(Header { serial, pre_skip, gain, samples })
}

/// Pre-skip and gain of a header packet (RFC 7845 §5.1).
fn head(packet: &[u8]) -> Result<(u16, f32), OpusFileProblem> {
    let Some(rest) = packet.strip_prefix(HEAD_MAGIC) else { return Err(OpusFileProblem::NotOpus) };
    let [version, channels, skip_low, skip_high, _, _, _, _, gain_low, gain_high, ..] = *rest else {
        return Err(OpusFileProblem::NotOpus);
    };
    // The high four bits are the incompatible version.
    if version >> 4 != 0 {
        return Err(OpusFileProblem::NotOpus);
    }
    if !CHANNELS.contains(&channels) {
        return Err(OpusFileProblem::Channels(channels));
    }
    // Q7.8 in dB.
    let gain_db = f32::from(i16::from_le_bytes([gain_low, gain_high])) / 256.0;
    Ok((u16::from_le_bytes([skip_low, skip_high]), 10_f32.powf(gain_db / 20.0)))
}

impl From<OggReadError> for OpusFileProblem {
    fn from(error: OggReadError) -> Self {
        match error {
            OggReadError::ReadError(error) if error.kind() == ErrorKind::UnexpectedEof => Self::Truncated,
            OggReadError::ReadError(error) => Self::System(error),
            OggReadError::NoCapturePatternFound => Self::NotOpus,
            other => Self::Damaged(other.to_string()),
        }
    }
}
