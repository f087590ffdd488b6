//! A room's voice as files: one for each speaker, all beginning at one moment.
//!
//! Not a mix, and no re-encoding: an Ogg Opus file holds the very packets that came. A WAV file holds them
//! decoded, which costs a decode for each packet and 96 kB a second.
//! In: packets as they arrive, with who sent them. Out: files in one folder, never over files that are there.
//! Bounds: [`TRACKS_MAX`] speakers; beyond, packets are dropped and counted. What waits to be put in order is
//! bounded in `timeline`. Cost: file writes on the caller's thread, about one a second and speaker.

mod timeline;
mod wav;

use std::path::{Path, PathBuf};

use echomesh_playout::Packet;

use crate::codec::CodecError;
use crate::opus_file::{OpusFileError, OpusFileProblem, Writer};

use timeline::{Placed, Timeline};
use wav::WavTrack;

/// Speakers recorded: an open file each.
pub const TRACKS_MAX: usize = 128;

/// Tries for a name that no file has yet.
const NAMES_MAX: usize = 1_000;

/// Longest part of a speaker's name in a file's, bytes.
const NAME_BYTES_MAX: usize = 64;

/// Kind of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Ogg Opus (RFC 7845), the packets as they came.
    #[default]
    Opus,
    /// WAV, 48 kHz, mono, 16 bits.
    Wav,
}

/// Who sent a packet.
#[derive(Clone, Copy, Debug)]
pub struct Speaker<'a> {
    /// Stays the same though the stream changes: the session.
    pub key: u64,
    /// For the file's name.
    pub name: &'a str,
    /// The stream.
    pub ssrc: u32,
}

/// A recording that cannot go on.
#[derive(Debug)]
pub enum RecordingError {
    /// The folder cannot be made.
    Folder(PathBuf, std::io::Error),
    /// Every name tried is taken.
    Names(PathBuf),
    /// A WAV file cannot be written.
    Wav(PathBuf, hound::Error),
    /// A WAV file is as long as it can be.
    Long(PathBuf),
    /// An Ogg Opus file cannot be written.
    Opus(OpusFileError),
    /// A decoder could not be made.
    Codec(CodecError),
}

impl std::fmt::Display for RecordingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path, error) => {
                write!(f, "{}: cannot be made a folder: {error}; give a place where you may write", path.display())
            }
            Self::Names(path) => {
                write!(f, "{}: this and {NAMES_MAX} names like it are taken; record to another folder", path.display())
            }
            Self::Wav(path, error) => {
                write!(f, "{}: cannot be written: {error}; check the disk, or record to another one", path.display())
            }
            Self::Long(path) => {
                write!(f, "{}: is as long as a WAV file can be; record again, or as Ogg Opus", path.display())
            }
            Self::Opus(error) => error.fmt(f),
            Self::Codec(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RecordingError {}

impl From<OpusFileError> for RecordingError {
    fn from(error: OpusFileError) -> Self {
        Self::Opus(error)
    }
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Where it is.
    pub path: PathBuf,
    /// Packets in it.
    pub packets: u64,
    /// Packets that came twice, or too late to be put in order.
    pub late: u64,
}

/// A file being written.
struct Open {
    key: u64,
    timeline: Timeline,
    output: Output,
    track: Track,
}

enum Output {
    Opus(Box<Writer>),
    Wav(Box<WavTrack>),
}

/// A recording under way.
pub struct Recording {
    folder: PathBuf,
    format: Format,
    title: String,
    start_us: u64,
    tracks: Vec<Open>,
    /// Packets of speakers beyond [`TRACKS_MAX`].
    dropped: u64,
}

impl Recording {
    /// Makes the folder. `title` is what is recorded; `start_us` is when all files begin, on the clock of the
    /// packets' arrivals.
    ///
    /// # Errors
    /// [`RecordingError`] if there can be no such folder.
    pub fn begin(folder: &Path, format: Format, title: &str, start_us: u64) -> Result<Self, RecordingError> {
        std::fs::create_dir_all(folder).map_err(|error| RecordingError::Folder(folder.to_path_buf(), error))?;
        let (folder, title) = (folder.to_path_buf(), title.to_owned());
        Ok(Self { folder, format, title, start_us, tracks: Vec::new(), dropped: 0 })
    }

    /// Takes a packet. A new speaker gets a file.
    ///
    /// # Errors
    /// [`RecordingError`], such as a full disk.
    pub fn packet(&mut self, speaker: Speaker<'_>, packet: Packet<'_>) -> Result<(), RecordingError> {
        let Some(at) = self.track(speaker)? else {
            self.dropped += 1;
            return Ok(());
        };
        let open = &mut self.tracks[at];
        if open.timeline.ssrc() != Some(speaker.ssrc) {
            open.write(None)?;
            open.timeline = Timeline::new(speaker.ssrc, self.start_us);
        }
        if !open.timeline.insert(packet) {
            open.track.late += 1;
        }
        open.write(Some(packet.arrival_us))
    }

    /// Packets of speakers for whom there was no file.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Ends all files at this moment, so that they are of one length.
    ///
    /// # Errors
    /// [`RecordingError`], such as a full disk; the other files are ended all the same.
    pub fn finish(self, now_us: u64) -> Result<Vec<Track>, RecordingError> {
        let end = samples(now_us.saturating_sub(self.start_us));
        let mut tracks = Vec::new();
        let mut outcome = Ok(());
        for open in self.tracks {
            match open.finish(end) {
                Ok(track) => tracks.push(track),
                Err(error) => outcome = Err(error),
            }
        }
        outcome.map(|()| tracks)
    }

    /// The place of a speaker's file, which is made if it is not there; `None` if there are too many.
    fn track(&mut self, speaker: Speaker<'_>) -> Result<Option<usize>, RecordingError> {
        if let Some(at) = self.tracks.iter().position(|open| open.key == speaker.key) {
            return Ok(Some(at));
        }
        if self.tracks.len() >= TRACKS_MAX {
            return Ok(None);
        }
        let (path, output) = self.create(speaker)?;
        let timeline = Timeline::new(speaker.ssrc, self.start_us);
        let track = Track { path, packets: 0, late: 0 };
        self.tracks.push(Open { key: speaker.key, timeline, output, track });
        Ok(Some(self.tracks.len() - 1))
    }

    fn create(&self, speaker: Speaker<'_>) -> Result<(PathBuf, Output), RecordingError> {
        let name = file_name(speaker.name);
        let title = format!("{}: {}", self.title, speaker.name);
        let mut path = PathBuf::new();
        for count in 1..=NAMES_MAX {
            let suffix = if count == 1 { String::new() } else { format!("-{count}") };
            let extension = if self.format == Format::Opus { "opus" } else { "wav" };
            path = self.folder.join(format!("{name}{suffix}.{extension}"));
            let output = match self.format {
                Format::Opus => {
                    Writer::create(&path, speaker.ssrc, &title).map(|writer| Output::Opus(Box::new(writer)))
                }
                Format::Wav => match WavTrack::create(&path) {
                    Ok(wav) => return Ok((path, Output::Wav(Box::new(wav)))),
                    Err(RecordingError::Opus(error)) => Err(error),
                    Err(error) => return Err(error),
                },
            };
            match output {
                Ok(output) => return Ok((path, output)),
                Err(OpusFileError { problem: OpusFileProblem::System(error), .. })
                    if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RecordingError::Names(path))
    }
}

impl Open {
    /// Writes what is in order by now, or all.
    fn write(&mut self, now_us: Option<u64>) -> Result<(), RecordingError> {
        while let Some(Placed { begin, index, payload, .. }) = self.timeline.next(now_us) {
            let written = match &mut self.output {
                Output::Opus(writer) => writer.packet(begin, &payload)?,
                Output::Wav(wav) => wav.packet(&self.track.path, begin, index, &payload)?,
            };
            self.track.packets += u64::from(written);
            self.track.late += u64::from(!written);
        }
        Ok(())
    }

    fn finish(mut self, end: u64) -> Result<Track, RecordingError> {
        self.write(None)?;
        match self.output {
            Output::Opus(mut writer) => {
                writer.fill(end)?;
                writer.finish()?;
            }
            Output::Wav(wav) => wav.finish(&self.track.path, end)?,
        }
        Ok(self.track)
    }
}

/// Samples of so many microseconds.
fn samples(us: u64) -> u64 {
    us * 48 / 1_000
}

/// A speaker's name as part of a file's: letters, digits and a few signs, no path and nothing hidden.
fn file_name(speaker: &str) -> String {
    let keep = |letter: char| if letter.is_alphanumeric() || "-_.".contains(letter) { letter } else { '_' };
    let mut name: String = speaker.chars().map(keep).collect();
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name.truncate(end);
    if name.is_empty() || name.starts_with(['.', '-']) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what others call themselves leads to no other folder and no hidden file.
    #[test]
    fn names_are_made_safe() {
        assert_eq!(file_name("ann"), "ann");
        assert_eq!(file_name("../../etc/passwd"), "_.._.._etc_passwd");
        assert_eq!(file_name("Zoë\n\u{1b}[2J"), "Zoë___2J");
        assert_eq!(file_name(""), "_");
        assert_eq!(file_name("-rf"), "_-rf");
        assert_eq!(file_name(&"é".repeat(100)).len(), NAME_BYTES_MAX);
    }
}
