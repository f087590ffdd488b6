//! Where what is said comes from: a WAV file, or a tone.
//!
//! Not a microphone, and not the pace: the caller asks for a frame when it wants one.
//! Out: 48 kHz mono, as many samples as are asked for. Bounds: nothing is read ahead but the file's buffer.

use std::path::Path;

use crate::SAMPLE_RATE;
use crate::wav::{Reader, WavError};

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
    File(Box<Reader>),
}

impl Source {
    /// Opens [`TONE`], or the WAV file of that path (`./tone` is a file).
    ///
    /// # Errors
    /// [`WavError`] if the file cannot be read.
    pub fn open(input: &str) -> Result<Self, WavError> {
        if input == TONE {
            return Ok(Self { kind: Kind::Tone(0) });
        }
        Ok(Self { kind: Kind::File(Box::new(Reader::open(Path::new(input))?)) })
    }

    /// Fills `samples` with what comes next, the last of a file with silence behind it. `false`: it is over,
    /// and `samples` is silence.
    ///
    /// # Errors
    /// [`WavError`] if the file ends too early or the system fails.
    pub fn frame(&mut self, samples: &mut [i16]) -> Result<bool, WavError> {
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
            Kind::File(reader) => {
                for (filled, sample) in samples.iter_mut().enumerate() {
                    match reader.next()? {
                        Some(next) => *sample = next,
                        None => return Ok(filled > 0),
                    }
                }
                Ok(true)
            }
        }
    }
}
