//! Raw PCM from and to other programs: standard input and output, named pipes, files. Signed 16 bits, little-endian,
//! channels interleaved.
//!
//! Not a device and not the pace: the engine takes and gives samples when it wants, a thread for each direction waits
//! for the other program. Not WAV: there is no header, so rate and channels are told by who asks for it.
//! In: bytes of any rate and channel count, mixed to one. Out: the same, one channel copied to all.
//! Bounds: rings of [`PIPE_RING_MS`] for a pipe, [`FILE_RING_MS`] for a file that is written, and pipes of
//! [`PIPE_BYTES`] where the system lets us; who writes faster waits, for who reads slower sound is dropped and counted.

mod read;
mod write;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) use read::PcmReader;
pub(crate) use write::PcmWriter;

/// Rates, Hz, as of WAV files.
pub const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;

/// Channels.
pub const CHANNELS: std::ops::RangeInclusive<u16> = 1..=8;

/// Sound between the engine and a pipe's thread, milliseconds: delay that lasts, so as short as threads are punctual.
pub const PIPE_RING_MS: u32 = 60;

/// The same for a file that is written, which a busy disk may delay.
pub const FILE_RING_MS: u32 = 2_000;

/// Asked of the system for a pipe, whose default of 64 KiB is 0.7 s of sound at 48 kHz; this is 85 ms.
pub const PIPE_BYTES: usize = 8_192;

/// Bytes moved at once. A pipe that can be written takes as many without waiting (pipe(7): `PIPE_BUF`).
const BYTES_AT_ONCE: usize = 4_096;

/// Longest wait before a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// The name that means standard input or output.
const STANDARD: &str = "-";

/// One direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcmSettings {
    /// `-`, or a path: a named pipe, or a file, which is written over.
    pub path: PathBuf,
    /// In [`RATES`], Hz.
    pub rate: u32,
    /// In [`CHANNELS`].
    pub channels: u16,
    /// A named pipe outlives who is at its other end: the next one goes on with it.
    pub stays_open: bool,
}

/// Why sound of another program stopped.
#[derive(Debug)]
pub struct PcmError {
    /// Of which path.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: PcmProblem,
}

/// The same, without the path.
#[derive(Debug)]
pub enum PcmProblem {
    /// It cannot be opened.
    Open(std::io::Error),
    /// It cannot be read any more.
    Read(std::io::Error),
    /// It cannot be written any more.
    Write(std::io::Error),
    /// Nobody reads it any more.
    PeerGone,
}

impl std::fmt::Display for PcmError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.to_str() {
            Some(STANDARD) => match self.problem {
                PcmProblem::Open(_) | PcmProblem::Read(_) => f.write_str("standard input: ")?,
                PcmProblem::Write(_) | PcmProblem::PeerGone => f.write_str("standard output: ")?,
            },
            _ => write!(f, "{}: ", self.path.display())?,
        }
        match &self.problem {
            PcmProblem::Open(error) => write!(f, "cannot be opened: {error}; check the path and its permissions"),
            PcmProblem::Read(error) => write!(f, "cannot be read: {error}; check the other program, or the disk"),
            PcmProblem::Write(error) => write!(f, "cannot be written: {error}; check the other program, or the disk"),
            PcmProblem::PeerGone => f.write_str("the program that read it has ended; start it again, and this too"),
        }
    }
}

impl std::error::Error for PcmError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            PcmProblem::Open(error) | PcmProblem::Read(error) | PcmProblem::Write(error) => Some(error),
            PcmProblem::PeerGone => None,
        }
    }
}

impl PcmSettings {
    fn is_standard(&self) -> bool {
        self.path == Path::new(STANDARD)
    }

    fn is_named_pipe(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.file_type().is_fifo())
    }

    fn failed(&self, problem: PcmProblem) -> PcmError {
        PcmError { path: self.path.clone(), problem }
    }

    /// Samples of one channel in so many milliseconds.
    fn samples(&self, milliseconds: u32) -> usize {
        (u64::from(self.rate) * u64::from(milliseconds) / 1_000) as usize
    }
}

/// A copy of a standard descriptor, which others may go on using.
fn standard(descriptor: impl AsFd) -> std::io::Result<File> {
    Ok(File::from(descriptor.as_fd().try_clone_to_owned()?))
}

/// Makes a pipe short.
fn shorten(pipe: &File) {
    // What is no pipe, or holds more already, stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
}

/// Waits until the descriptor can be read or written, or for [`LOOK`]. Gives what it is ready for.
fn ready(descriptor: &impl AsFd, flags: PollFlags) -> PollFlags {
    let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK.as_nanos() as i64 };
    let mut polled = [PollFd::new(descriptor, flags)];
    // A signal ends the wait early: no harm.
    let _ = poll(&mut polled, Some(&timeout));
    polled[0].revents()
}

/// Opens a named pipe without waiting for the other end.
fn open_named_pipe(path: &Path, flags: rustix::fs::OFlags) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let descriptor: OwnedFd = rustix::fs::open(path, flags, Mode::empty())?;
    let file = File::from(descriptor);
    shorten(&file);
    Ok(file)
}
