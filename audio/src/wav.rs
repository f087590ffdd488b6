//! WAV files of any sample rate and channel count, read as 48 kHz mono.
//!
//! Not a writer: that is `sink`. Integer samples of 8, 16, 24 and 32 bits and floats of 32.
//! In: a path, or bytes. Out: samples one by one, or all at once.
//! Bounds: a file is read as it is played; [`load`] takes up to [`LOADED_SECONDS_MAX`].

use std::fs::File;
use std::io::{BufReader, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader, WavSpec};

use crate::SAMPLE_RATE;
use crate::resample::Resampler;

/// Longest file that [`load`] takes, seconds: 29 MB of samples.
pub const LOADED_SECONDS_MAX: usize = 300;

/// Sample rates read, Hz: from telephone to the highest of studio devices.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=384_000;

/// A WAV file that cannot be read.
#[derive(Debug)]
pub struct WavError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: WavProblem,
}

/// Why a WAV file cannot be read.
#[derive(Debug)]
pub enum WavProblem {
    /// The system does not give it.
    System(std::io::Error),
    /// It is empty, or not a WAV file; the text is the reader's.
    NotWav(String),
    /// It is a WAV file of a kind not read here.
    Kind(WavSpec),
    /// It ends before its header says.
    Truncated,
    /// It is longer than [`LOADED_SECONDS_MAX`].
    Long,
}

impl std::fmt::Display for WavError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.problem {
            WavProblem::System(error) => write!(f, "cannot be read: {error}; check the path and its permissions"),
            WavProblem::NotWav(text) => {
                write!(f, "is not a WAV file that can be read ({text}); give a PCM WAV file, such as ffmpeg makes")
            }
            WavProblem::Kind(spec) => write!(
                f,
                "has {} channels of {} bits at {} Hz; give a PCM WAV file of 8 to 32 bits at {} to {} Hz",
                spec.channels,
                spec.bits_per_sample,
                spec.sample_rate,
                RATES.start(),
                RATES.end()
            ),
            WavProblem::Truncated => write!(f, "ends before its header says; copy or record it again"),
            WavProblem::Long => write!(f, "is longer than {LOADED_SECONDS_MAX} s; give a shorter part of it"),
        }
    }
}

impl std::error::Error for WavError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            WavProblem::System(error) => Some(error),
            _ => None,
        }
    }
}

impl From<hound::Error> for WavProblem {
    fn from(error: hound::Error) -> Self {
        match error {
            // Hound reads whole headers and samples, and says in its own words that too few bytes came.
            hound::Error::IoError(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::Other) => {
                Self::Truncated
            }
            hound::Error::IoError(error) => Self::System(error),
            other => Self::NotWav(other.to_string()),
        }
    }
}

/// Where a file's bytes come from.
type Input = Box<dyn Read + Send>;

/// An open file, read sample by sample.
pub(crate) struct Reader {
    path: PathBuf,
    channels: Channels,
    /// `None` if the file is of 48 kHz.
    resampler: Option<Resampler>,
}

/// The file as it is: its rate, its channels mixed to one.
struct Channels {
    wav: WavReader<BufReader<Input>>,
    spec: WavSpec,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, WavError> {
        let failed = |problem| WavError { path: path.to_path_buf(), problem };
        let file = File::open(path).map_err(|error| failed(WavProblem::System(error)))?;
        let length = file.metadata().map_err(|error| failed(WavProblem::System(error)))?;
        // A pipe's is not known.
        let length = length.is_file().then_some(length.len());
        Self::over(path, Box::new(file), length)
    }

    /// `path` is for errors.
    fn over(path: &Path, input: Input, length: Option<u64>) -> Result<Self, WavError> {
        let failed = |problem| WavError { path: path.to_path_buf(), problem };
        if length == Some(0) {
            return Err(failed(WavProblem::NotWav("it is empty".to_owned())));
        }
        let wav = WavReader::new(BufReader::new(input)).map_err(|error| failed(error.into()))?;
        let spec = wav.spec();
        if !RATES.contains(&spec.sample_rate) || spec.channels == 0 || !(8..=32).contains(&spec.bits_per_sample) {
            return Err(failed(WavProblem::Kind(spec)));
        }
        // Told now, and not when most of it was said.
        let sound_bytes = u64::from(wav.len()) * u64::from(spec.bits_per_sample / 8);
        if length.is_some_and(|length| sound_bytes > length) {
            return Err(failed(WavProblem::Truncated));
        }
        let resampler = (spec.sample_rate != SAMPLE_RATE).then(|| Resampler::new(spec.sample_rate, SAMPLE_RATE));
        Ok(Self { path: path.to_path_buf(), channels: Channels { wav, spec }, resampler })
    }

    /// The next sample, 48 kHz; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<i16>, WavError> {
        let Self { path, channels, resampler } = self;
        let sample = match resampler {
            None => channels.next(),
            Some(resampler) => resampler.next(|| channels.next()),
        };
        // The cast saturates.
        let scaled = |sample: f32| (sample * 32_768.0).round() as i16;
        sample.map(|sample| sample.map(scaled)).map_err(|problem| WavError { path: path.clone(), problem })
    }
}

impl Channels {
    /// The next sample in −1..=1: the mean of the channels.
    fn next(&mut self) -> Result<Option<f32>, WavProblem> {
        let mut sum = 0.0;
        for channel in 0..self.spec.channels {
            let Some(sample) = self.next_of_channel()? else {
                return if channel == 0 { Ok(None) } else { Err(WavProblem::Truncated) };
            };
            sum += sample;
        }
        Ok(Some(sum / f32::from(self.spec.channels)))
    }

    fn next_of_channel(&mut self) -> Result<Option<f32>, WavProblem> {
        if self.spec.sample_format == SampleFormat::Float {
            let sample = self.wav.samples::<f32>().next().transpose()?;
            // Floats may be anything; what is no number is silence.
            return Ok(sample.map(|sample| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }));
        }
        let full_scale = (1_u64 << (self.spec.bits_per_sample - 1)) as f32;
        Ok(self.wav.samples::<i32>().next().transpose()?.map(|sample| sample as f32 / full_scale))
    }
}

/// The whole file: 48 kHz, mono.
///
/// # Errors
/// [`WavError`] if it cannot be read, or is longer than [`LOADED_SECONDS_MAX`].
pub fn load(path: &Path) -> Result<Vec<i16>, WavError> {
    all(Reader::open(path)?)
}

/// [`load`] of a file whose bytes are here; `path` is for errors.
///
/// # Errors
/// As [`load`].
pub fn decode(path: &Path, bytes: Vec<u8>) -> Result<Vec<i16>, WavError> {
    let length = Some(bytes.len() as u64);
    all(Reader::over(path, Box::new(Cursor::new(bytes)), length)?)
}

fn all(mut reader: Reader) -> Result<Vec<i16>, WavError> {
    let mut samples = Vec::new();
    while let Some(sample) = reader.next()? {
        if samples.len() >= LOADED_SECONDS_MAX * SAMPLE_RATE as usize {
            return Err(WavError { path: reader.path, problem: WavProblem::Long });
        }
        samples.push(sample);
    }
    Ok(samples)
}
