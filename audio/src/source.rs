//! Where what is said comes from: a WAV or Ogg Opus file, or a tone.
//!
//! Not a microphone, and not the pace: the caller asks for a frame when it wants one.
//! Out: 48 kHz mono, as many samples as are asked for. Bounds: nothing is read ahead but the file's buffer.

use std::path::Path;

use crate::SAMPLE_RATE;
use crate::opus_file::{self, OpusFileError, is_ogg};
use crate::wav::{self, WavError};

/// The input that is no file.
pub const TONE: &str = "tone";

/// Pitch of the tone, Hz (ISO 16). A whole number of periods fits a second, so it has no seam.
const TONE_HZ: u32 = 440;

/// Its amplitude: 12 dB below full scale.
const TONE_AMPLITUDE: f64 = 8_192.0;

/// An input in use.
pub struct Source {
    kind: Kind,
}

enum Kind {
    /// Samples since the last whole second.
    Tone(u32),
    /// Boxed: a reader is much the larger.
    Wav(Box<wav::Reader>),
    Opus(Box<opus_file::Reader>),
}

/// A file that cannot be read.
#[derive(Debug)]
pub enum SourceError {
    /// As a WAV file.
    Wav(WavError),
    /// As an Ogg Opus file, which it begins like.
    Opus(OpusFileError),
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wav(error) => error.fmt(f),
            Self::Opus(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Wav(error) => error.source(),
            Self::Opus(error) => error.source(),
        }
    }
}

impl From<WavError> for SourceError {
    fn from(error: WavError) -> Self {
        Self::Wav(error)
    }
}

impl From<OpusFileError> for SourceError {
    fn from(error: OpusFileError) -> Self {
        Self::Opus(error)
    }
}

impl Source {
    /// Opens [`TONE`], or the WAV or Ogg Opus file of that path (`./tone` is a file).
    ///
    /// # Errors
    /// [`SourceError`] if the file cannot be read.
    pub fn open(input: &str) -> Result<Self, SourceError> {
        if input == TONE {
            return Ok(Self { kind: Kind::Tone(0) });
        }
        let path = Path::new(input);
        if is_ogg(path) {
            return Ok(Self { kind: Kind::Opus(Box::new(opus_file::Reader::open(path)?)) });
        }
        Ok(Self { kind: Kind::Wav(Box::new(wav::Reader::open(path)?)) })
    }

    /// Fills `samples` with what comes next, the last of a file with silence behind it. `false`: it is over,
    /// and `samples` is silence.
    ///
    /// # Errors
    /// [`SourceError`] if the file ends too early or the system fails.
    pub fn frame(&mut self, samples: &mut [i16]) -> Result<bool, SourceError> {
        samples.fill(0);
        match &mut self.kind {
            Kind::Tone(at) => {
                for sample in samples {
                    let turns = f64::from(*at) * f64::from(TONE_HZ) / f64::from(SAMPLE_RATE);
                    *sample = (TONE_AMPLITUDE * (turns * std::f64::consts::TAU).sin()).round() as i16;
                    *at = (*at + 1) % SAMPLE_RATE;
                }
                Ok(true)
            }
            Kind::Wav(reader) => fill(samples, || Ok(reader.next()?)),
            Kind::Opus(reader) => fill(samples, || Ok(reader.next()?)),
        }
    }
}

/// Whether anything was left to fill `samples` with.
fn fill(samples: &mut [i16], mut next: impl FnMut() -> Result<Option<i16>, SourceError>) -> Result<bool, SourceError> {
    for (filled, sample) in samples.iter_mut().enumerate() {
        match next()? {
            Some(next) => *sample = next,
            None => return Ok(filled > 0),
        }
    }
    Ok(true)
}
