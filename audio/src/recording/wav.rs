//! One speaker's WAV file: packets decoded at their places in time.
//!
//! Not a jitter buffer: packets come in order. Losses are recovered or concealed for as long as libopus does
//! that well; pauses are silence.
//! Bounds: one packet decoded at a time; a file of at most [`SAMPLES_MAX`].

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::path::Path;

use echomesh_playout::{Decode, PACKET_SAMPLES_MAX};
use hound::{SampleFormat, WavSpec, WavWriter};

use super::RecordingError;
use crate::SAMPLE_RATE;
use crate::codec::Decoder;
use crate::opus_file::{OpusFileError, OpusFileProblem, packet_samples};

/// Longest file, samples: its length in bytes is a 32-bit number; 12 hours.
const SAMPLES_MAX: u64 = (u32::MAX as u64 - 256) / 2;

/// Longest loss that is concealed, samples: 120 ms, after which libopus has faded out.
const CONCEALED_MAX: u64 = 5_760;

/// Between two updates of the header, samples: 1 s.
const HEADER_SAMPLES: u64 = SAMPLE_RATE as u64;

/// Libopus conceals in parts of 2.5 ms.
const GRID_SAMPLES: u64 = 120;

/// A file being written.
pub(super) struct WavTrack {
    wav: WavWriter<BufWriter<File>>,
    decoder: Decoder,
    decoded: Box<[i16]>,
    end: u64,
    header_end: u64,
    last_index: Option<u64>,
}

impl WavTrack {
    /// Creates a file, which must not be there.
    pub(super) fn create(path: &Path) -> Result<Self, RecordingError> {
        let system = |error| OpusFileError { path: path.to_path_buf(), problem: OpusFileProblem::System(error) };
        let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(system)?;
        let spec =
            WavSpec { channels: 1, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let failed = |error| RecordingError::Wav(path.to_path_buf(), error);
        Ok(Self {
            wav: WavWriter::new(BufWriter::new(file), spec).map_err(failed)?,
            decoder: Decoder::new().map_err(RecordingError::Codec)?,
            decoded: vec![0; PACKET_SAMPLES_MAX].into_boxed_slice(),
            end: 0,
            header_end: 0,
            last_index: None,
        })
    }

    /// Appends a packet that begins at this sample; `false` if it begins before the end or is no Opus.
    pub(super) fn packet(
        &mut self,
        path: &Path,
        begin: u64,
        index: u64,
        payload: &[u8],
    ) -> Result<bool, RecordingError> {
        if begin + GRID_SAMPLES <= self.end || packet_samples(payload) == 0 {
            return Ok(false);
        }
        let lost = self.last_index.is_some_and(|last| index > last + 1);
        self.last_index = Some(index);
        if lost {
            self.conceal(path, begin, payload)?;
        }
        self.silence(path, begin)?;
        let samples = self.decoder.decode(payload, &mut self.decoded);
        self.write(path, samples)?;
        Ok(true)
    }

    /// Fills a loss before a packet: the last frame from its copy there, those before it by a guess.
    fn conceal(&mut self, path: &Path, begin: u64, next: &[u8]) -> Result<(), RecordingError> {
        let gap = begin.saturating_sub(self.end);
        let frame = packet_samples(next);
        if gap > CONCEALED_MAX {
            return Ok(());
        }
        let guessed = gap.saturating_sub(frame) / GRID_SAMPLES * GRID_SAMPLES;
        if guessed > 0 {
            let samples = self.decoder.conceal(&mut self.decoded[..guessed as usize]);
            self.write(path, samples)?;
        }
        let last = (begin.saturating_sub(self.end) / GRID_SAMPLES * GRID_SAMPLES).min(frame) as usize;
        if last == 0 {
            return Ok(());
        }
        let mut samples = 0;
        if last as u64 == frame {
            samples = self.decoder.recover(next, &mut self.decoded[..last]);
        }
        if samples == 0 {
            samples = self.decoder.conceal(&mut self.decoded[..last]);
        }
        self.write(path, samples)
    }

    fn silence(&mut self, path: &Path, until: u64) -> Result<(), RecordingError> {
        while self.end < until {
            let samples = (until - self.end).min(PACKET_SAMPLES_MAX as u64) as usize;
            self.decoded[..samples].fill(0);
            self.write(path, samples)?;
        }
        Ok(())
    }

    /// Writes the first of `decoded`.
    fn write(&mut self, path: &Path, samples: usize) -> Result<(), RecordingError> {
        let failed = |error| RecordingError::Wav(path.to_path_buf(), error);
        if self.end + samples as u64 > SAMPLES_MAX {
            return Err(RecordingError::Long(path.to_path_buf()));
        }
        let wav = &mut self.wav;
        self.decoded[..samples].iter().try_for_each(|sample| wav.write_sample(*sample)).map_err(failed)?;
        self.end += samples as u64;
        if self.end - self.header_end >= HEADER_SAMPLES {
            self.header_end = self.end;
            self.wav.flush().map_err(failed)?;
        }
        Ok(())
    }

    /// Fills with silence up to this sample and ends the file.
    pub(super) fn finish(mut self, path: &Path, end: u64) -> Result<(), RecordingError> {
        self.silence(path, end)?;
        self.wav.finalize().map_err(|error| RecordingError::Wav(path.to_path_buf(), error))
    }
}
