//! The thread that gives sound to another program.
//!
//! It never waits in a write: only what a pipe takes at once is given to it.
//! Bounds: the ring; one write that was taken in part; [`ENDING_MAX`] at the end.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::PollFlags;
use rustix::fs::OFlags;

use super::{
    BYTES_AT_ONCE, FILE_RING_MS, LOOK, PIPE_RING_MS, PcmError, PcmProblem, PcmSettings, open_named_pipe, ready,
    shorten, standard,
};

/// Longest wait for the other program to take what is left, at the end.
const ENDING_MAX: Duration = Duration::from_millis(500);

/// Between two looks whether somebody reads a named pipe.
const OPEN_WAIT: Duration = Duration::from_millis(20);

/// What both ends know.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    failed: OnceLock<std::io::Error>,
}

/// The engine's end.
pub(crate) struct PcmWriter {
    settings: PcmSettings,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl PcmWriter {
    /// Opens and starts the thread; samples of one channel, at the settings' rate, go by the ring. A named pipe that
    /// nobody reads yet is no error: what is said before that is gone.
    pub(crate) fn start(settings: &PcmSettings) -> Result<(Self, Producer<i16>), PcmError> {
        let failed = |error| settings.failed(PcmProblem::Open(error));
        let target = if settings.is_standard() {
            Target::Open(standard(std::io::stdout()).map_err(failed)?)
        } else if !settings.is_named_pipe() {
            Target::Open(File::create(&settings.path).map_err(failed)?)
        } else if settings.stays_open {
            Target::Open(open_named_pipe(&settings.path, OFlags::RDWR).map_err(failed)?)
        } else {
            Target::Unread(settings.clone())
        };
        let is_file = target.is_file().map_err(failed)?;
        if let Target::Open(file) = &target {
            shorten(file);
        }
        let ring_ms = if is_file { FILE_RING_MS } else { PIPE_RING_MS };
        let (producer, consumer) = RingBuffer::new(settings.samples(ring_ms));
        let shared = Arc::new(Shared::default());
        let thread = Thread {
            target,
            channels: usize::from(settings.channels),
            ring: consumer,
            shared: shared.clone(),
            bytes: [0; BYTES_AT_ONCE],
            held: 0,
            ending: None,
        };
        let thread =
            std::thread::Builder::new().name("pcm-out".to_owned()).spawn(move || thread.run()).map_err(failed)?;
        Ok((Self { settings: settings.clone(), shared, thread }, producer))
    }

    /// The rate of the samples, Hz.
    pub(crate) fn rate(&self) -> u32 {
        self.settings.rate
    }

    /// There is something in the ring.
    pub(crate) fn wake(&self) {
        self.thread.thread().unpark();
    }

    /// Why it gives no more.
    pub(crate) fn failure(&self) -> Option<PcmError> {
        let error = self.shared.failed.get()?;
        if error.kind() == ErrorKind::BrokenPipe {
            return Some(self.settings.failed(PcmProblem::PeerGone));
        }
        // It cannot be cloned; its kind and number can.
        let copy = error.raw_os_error().map_or_else(|| error.kind().into(), std::io::Error::from_raw_os_error);
        Some(self.settings.failed(PcmProblem::Write(copy)))
    }

    /// Gives what is in the ring, as far as it is taken, and ends.
    pub(crate) fn finish(self) -> Result<(), PcmError> {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
        let failure = |writer: &Self| writer.failure().map_or(Ok(()), Err);
        if self.thread.is_finished() {
            return failure(&self);
        }
        let Self { settings, shared, thread } = self;
        // It does not panic; if it did, nothing more was given.
        let _ = thread.join();
        match shared.failed.get() {
            None => Ok(()),
            Some(error) if error.kind() == ErrorKind::BrokenPipe => Err(settings.failed(PcmProblem::PeerGone)),
            Some(error) => Err(settings.failed(PcmProblem::Write(error.kind().into()))),
        }
    }
}

/// Where bytes go.
enum Target {
    Open(File),
    /// A named pipe that nobody reads yet.
    Unread(PcmSettings),
}

impl Target {
    fn is_file(&self) -> std::io::Result<bool> {
        match self {
            Self::Open(file) => Ok(file.metadata()?.file_type().is_file()),
            Self::Unread(_) => Ok(false),
        }
    }
}

/// What the thread owns.
struct Thread {
    target: Target,
    channels: usize,
    ring: Consumer<i16>,
    shared: Arc<Shared>,
    bytes: [u8; BYTES_AT_ONCE],
    /// Of them, those that are to be written.
    held: usize,
    /// When it was told to end.
    ending: Option<Instant>,
}

impl Thread {
    fn run(mut self) {
        if let Err(error) = self.write_all() {
            // The one who sets it.
            let _ = self.shared.failed.set(error);
        }
    }

    /// Whether it is to end now, though not all is written.
    fn is_late(&mut self) -> bool {
        let stop = self.shared.stop.load(Ordering::Acquire);
        stop && self.ending.get_or_insert_with(Instant::now).elapsed() > ENDING_MAX
    }

    fn write_all(&mut self) -> std::io::Result<()> {
        loop {
            let stop = self.shared.stop.load(Ordering::Acquire);
            if self.held == 0 {
                self.take();
            }
            if self.held == 0 {
                if stop {
                    return Ok(());
                }
                std::thread::park_timeout(LOOK);
                continue;
            }
            if self.is_late() {
                return Ok(());
            }
            match &self.target {
                Target::Unread(settings) => match open_named_pipe(&settings.path, OFlags::WRONLY) {
                    Ok(file) => self.target = Target::Open(file),
                    Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                        if stop {
                            return Ok(());
                        }
                        self.held = 0;
                        std::thread::park_timeout(OPEN_WAIT);
                    }
                    Err(error) => return Err(error),
                },
                Target::Open(_) => self.write()?,
            }
        }
    }

    /// Samples of the ring, as bytes of all channels.
    fn take(&mut self) {
        let frame_bytes = 2 * self.channels;
        for frame in self.bytes.chunks_exact_mut(frame_bytes) {
            let Ok(sample) = self.ring.pop() else { return };
            for channel in frame.chunks_exact_mut(2) {
                channel.copy_from_slice(&sample.to_le_bytes());
            }
            self.held += frame_bytes;
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        let Target::Open(file) = &mut self.target else { return Ok(()) };
        if !ready(&file.as_fd(), PollFlags::OUT).intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR) {
            return Ok(());
        }
        match file.write(&self.bytes[..self.held]) {
            Ok(count) => {
                self.bytes.copy_within(count..self.held, 0);
                self.held -= count;
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
