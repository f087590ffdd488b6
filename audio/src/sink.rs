//! Where what is heard goes: a WAV file, 48 kHz, mono, 16 bits.
//!
//! Not a loudspeaker. The header is brought up to date each second, so that what was written before a crash
//! can be played.
//! In: samples, any number at a time. Bounds: [`SAMPLES_MAX`], as a WAV file's length is a 32-bit number.

use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::SAMPLE_RATE;

/// Samples between two updates of the header: 1 s.
const HEADER_SAMPLES: u64 = SAMPLE_RATE as u64;

/// Bytes of WAV header, more than enough.
const HEADER_BYTES: u64 = 256;

/// Longest output: 12 hours.
pub const SAMPLES_MAX: u64 = (u32::MAX as u64 - HEADER_BYTES) / 2;

/// A file that cannot be written.
#[derive(Debug)]
pub struct SinkError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: SinkProblem,
}

/// Why a file cannot be written.
#[derive(Debug)]
pub enum SinkProblem {
    /// It cannot be created.
    Create(std::io::Error),
    /// No room is left for it.
    Full,
    /// It cannot be written any more.
    Write(hound::Error),
    /// It has [`SAMPLES_MAX`].
    Long,
}

impl std::fmt::Display for SinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.problem {
            SinkProblem::Create(error) => {
                write!(f, "cannot be created: {error}; check that its folder exists and that you may write there")
            }
            SinkProblem::Full => {
                write!(
                    f,
                    "no room is left on the disk; make some, or write to another one (what was heard until about a second ago is in the file)"
                )
            }
            SinkProblem::Write(error) => {
                write!(f, "cannot be written: {error}; check the disk, or write to another one")
            }
            SinkProblem::Long => {
                write!(
                    f,
                    "is as long as a WAV file can be, {} hours; start again with another file",
                    SAMPLES_MAX / (3_600 * u64::from(SAMPLE_RATE))
                )
            }
        }
    }
}

impl std::error::Error for SinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            SinkProblem::Create(error) => Some(error),
            SinkProblem::Write(error) => Some(error),
            SinkProblem::Full | SinkProblem::Long => None,
        }
    }
}

impl From<hound::Error> for SinkProblem {
    fn from(error: hound::Error) -> Self {
        match error {
            hound::Error::IoError(error)
                if matches!(
                    error.kind(),
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
                ) =>
            {
                Self::Full
            }
            other => Self::Write(other),
        }
    }
}

/// An output in use.
pub struct Sink {
    path: PathBuf,
    wav: WavWriter<BufWriter<File>>,
    samples: u64,
}

impl Sink {
    /// Creates the file; one that is there is written over.
    ///
    /// # Errors
    /// [`SinkError`] if it cannot be created, or not even its header written.
    pub fn open(path: &str) -> Result<Self, SinkError> {
        let path = Path::new(path).to_path_buf();
        let file = match File::create(&path) {
            Ok(file) => BufWriter::new(file),
            Err(error) => return Err(SinkError { path, problem: SinkProblem::Create(error) }),
        };
        let spec =
            WavSpec { channels: 1, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
        match WavWriter::new(file, spec) {
            Ok(wav) => Ok(Self { path, wav, samples: 0 }),
            Err(error) => Err(SinkError { path, problem: error.into() }),
        }
    }

    /// Appends samples.
    ///
    /// # Errors
    /// [`SinkError`], such as a full disk.
    pub fn write(&mut self, samples: &[i16]) -> Result<(), SinkError> {
        let before = self.samples;
        self.samples += samples.len() as u64;
        if self.samples > SAMPLES_MAX {
            return Err(self.failed(SinkProblem::Long));
        }
        let header_due = self.samples / HEADER_SAMPLES != before / HEADER_SAMPLES;
        let Self { wav, .. } = self;
        let written = samples.iter().try_for_each(|sample| wav.write_sample(*sample));
        let updated = written.and_then(|()| if header_due { wav.flush() } else { Ok(()) });
        updated.map_err(|error| self.failed(error.into()))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`SinkError`], such as a full disk.
    pub fn finish(self) -> Result<(), SinkError> {
        let Self { path, wav, .. } = self;
        wav.finalize().map_err(|error| SinkError { path, problem: error.into() })
    }

    fn failed(&self, problem: SinkProblem) -> SinkError {
        SinkError { path: self.path.clone(), problem }
    }
}
