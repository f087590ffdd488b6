//! Ogg Opus files (RFC 7845), written from packets as they came and read as 48 kHz mono.
//!
//! Not an encoder: what is written was encoded by who spoke. Pages and checksums are the crate `ogg`'s; the
//! headers and granule positions are here.
//! Bounds: a file is written and read page by page.

mod read;
mod write;

use std::path::{Path, PathBuf};

pub(crate) use read::{Reader, is_ogg};
pub use write::Writer;
pub(crate) use write::packet_samples;

/// First packet's mark (RFC 7845 §5.1), and that of the second (§5.2).
const HEAD_MAGIC: &[u8; 8] = b"OpusHead";
const TAGS_MAGIC: &[u8; 8] = b"OpusTags";

/// Samples that a decoder gives before those that went into the encoder: libopus' look-ahead at 48 kHz in
/// the mode used here, 6.5 ms.
const PRE_SKIP: u16 = 312;

/// An Ogg Opus file that cannot be read or written.
#[derive(Debug)]
pub struct OpusFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: OpusFileProblem,
}

/// Why an Ogg Opus file cannot be read or written.
#[derive(Debug)]
pub enum OpusFileProblem {
    /// The system does not give or take it.
    System(std::io::Error),
    /// It is no Ogg, or its stream is no Opus.
    NotOpus,
    /// It ends within a page.
    Truncated,
    /// A page's checksum or structure is wrong; the reader's words.
    Damaged(String),
    /// So many channels, or a mapping of them, that is not read here.
    Channels(u8),
    /// It has headers and no sound.
    Empty,
    /// A decoder could not be made.
    Codec(crate::codec::CodecError),
}

impl OpusFileError {
    fn new(path: &Path, problem: OpusFileProblem) -> Self {
        Self { path: path.to_path_buf(), problem }
    }
}

impl std::fmt::Display for OpusFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.problem {
            OpusFileProblem::System(error) => {
                write!(f, "cannot be read or written: {error}; check the path, its permissions and the disk")
            }
            OpusFileProblem::NotOpus => {
                write!(f, "is not an Ogg Opus file; give one, such as `ffmpeg -i IN OUT.opus` makes, or a WAV file")
            }
            OpusFileProblem::Truncated => write!(f, "ends in the middle of a page; copy or record it again"),
            OpusFileProblem::Damaged(text) => write!(f, "is damaged ({text}); copy or record it again"),
            OpusFileProblem::Channels(channels) => {
                write!(f, "has {channels} channels; give an Ogg Opus file with one or two, or a WAV file")
            }
            OpusFileProblem::Empty => write!(f, "holds no sound; give one that does"),
            OpusFileProblem::Codec(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for OpusFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            OpusFileProblem::System(error) => Some(error),
            OpusFileProblem::Codec(error) => Some(error),
            _ => None,
        }
    }
}
