//! The thread that waits for another program's sound.
//!
//! It reads only what the engine's ring has room for: who writes faster waits, as at any pipe.
//! Bounds: the ring; a frame of all channels that is not complete.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::PollFlags;
use rustix::fs::OFlags;

use super::{
    BYTES_AT_ONCE, PIPE_RING_MS, PcmError, PcmProblem, PcmSettings, open_named_pipe, ready, shorten, standard,
};
use crate::alsa::shared::Bell;

/// A look at a full ring: less than it holds.
const FULL_WAIT: Duration = Duration::from_millis(5);

/// What both ends know.
#[derive(Debug, Default)]
struct Shared {
    /// The end was read; what is in the ring is the last.
    over: AtomicBool,
    stop: AtomicBool,
    failed: OnceLock<std::io::Error>,
}

/// The engine's end.
pub(crate) struct PcmReader {
    settings: PcmSettings,
    shared: Arc<Shared>,
    is_file: bool,
}

impl PcmReader {
    /// Opens and starts the thread; samples of one channel, at the settings' rate, come by the ring.
    pub(crate) fn start(settings: &PcmSettings, bell: &Bell) -> Result<(Self, Consumer<i16>), PcmError> {
        let opened = if settings.is_standard() {
            standard(std::io::stdin())
        } else if settings.is_named_pipe() {
            // Who holds the other end, too, never sees its end.
            open_named_pipe(&settings.path, if settings.stays_open { OFlags::RDWR } else { OFlags::RDONLY })
        } else {
            File::open(&settings.path)
        };
        let failed = |error| settings.failed(PcmProblem::Open(error));
        let file = opened.map_err(failed)?;
        let kind = file.metadata().map_err(failed)?.file_type();
        if kind.is_dir() {
            return Err(failed(ErrorKind::IsADirectory.into()));
        }
        shorten(&file);
        let (producer, consumer) = RingBuffer::new(settings.samples(PIPE_RING_MS));
        let shared = Arc::new(Shared::default());
        let thread = Thread {
            file,
            channels: usize::from(settings.channels),
            tick: settings.samples(10),
            ring: producer,
            shared: shared.clone(),
            bell: bell.clone(),
        };
        // Not joined: a read may wait for ever if another program takes the bytes that were there.
        std::thread::Builder::new().name("pcm-in".to_owned()).spawn(move || thread.run()).map_err(failed)?;
        Ok((Self { settings: settings.clone(), shared, is_file: kind.is_file() }, consumer))
    }

    /// Whether it is a file, which has no clock of its own.
    pub(crate) fn is_file(&self) -> bool {
        self.is_file
    }

    /// The rate of the samples, Hz.
    pub(crate) fn rate(&self) -> u32 {
        self.settings.rate
    }

    /// Whether no more samples come than are in the ring.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Acquire)
    }

    /// Why it is over, if that is no end in order.
    pub(crate) fn failure(&self) -> Option<PcmError> {
        // It cannot be cloned; its kind and number can.
        let error = self.shared.failed.get()?;
        let copy = error.raw_os_error().map_or_else(|| error.kind().into(), std::io::Error::from_raw_os_error);
        Some(self.settings.failed(PcmProblem::Read(copy)))
    }
}

impl Drop for PcmReader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// What the thread owns.
struct Thread {
    file: File,
    channels: usize,
    /// Samples worth waking the engine for.
    tick: usize,
    ring: Producer<i16>,
    shared: Arc<Shared>,
    bell: Bell,
}

impl Thread {
    fn run(mut self) {
        if let Err(error) = self.read_all() {
            // The one who sets it.
            let _ = self.shared.failed.set(error);
        }
        self.shared.over.store(true, Ordering::Release);
        self.bell.ring();
    }

    fn read_all(&mut self) -> std::io::Result<()> {
        let frame_bytes = 2 * self.channels;
        let (mut bytes, mut held) = ([0; BYTES_AT_ONCE], 0);
        while !self.shared.stop.load(Ordering::Relaxed) {
            let room = (self.ring.slots() * frame_bytes).min(BYTES_AT_ONCE);
            if room == 0 {
                std::thread::park_timeout(FULL_WAIT);
                continue;
            }
            if !ready(&self.file.as_fd(), PollFlags::IN).intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                continue;
            }
            match self.file.read(&mut bytes[held..room]) {
                Ok(0) => return Ok(()),
                Ok(count) => held += count,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
            let whole = held / frame_bytes * frame_bytes;
            for frame in bytes[..whole].chunks_exact(frame_bytes) {
                // There is room: it was asked for above.
                let _ = self.ring.push(mixed(frame));
            }
            bytes.copy_within(whole..held, 0);
            held -= whole;
            if self.ring.buffer().capacity() - self.ring.slots() >= self.tick {
                self.bell.ring();
            }
        }
        Ok(())
    }
}

/// The mean of the channels.
fn mixed(frame: &[u8]) -> i16 {
    let samples = frame.chunks_exact(2).map(|bytes| i32::from(i16::from_le_bytes([bytes[0], bytes[1]])));
    let (mut sum, mut count) = (0, 0);
    for sample in samples {
        (sum, count) = (sum + sample, count + 1);
    }
    (sum / count.max(1)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: channels become one without overflow; the byte order is little-endian.
    #[test]
    fn channels_are_mixed_to_one() {
        assert_eq!(mixed(&[0x34, 0x12]), 0x1234);
        assert_eq!(mixed(&[0xFF, 0x7F, 0xFF, 0x7F]), i16::MAX);
        assert_eq!(mixed(&[0x00, 0x80, 0x00, 0x80]), i16::MIN);
        assert_eq!(mixed(&[0x00, 0x01, 0x00, 0xFF]), 0);
    }
}
