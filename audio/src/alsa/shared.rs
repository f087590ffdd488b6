//! What a device's thread shares with the engine and with who reports: sample rings, counters, events.
//!
//! Not a lock in sight: rings of one writer and one reader, and atomics that are only counted up or replaced.
//! Bounds: [`RING_SAMPLES`] samples a ring, [`EVENTS_MAX`] events; what finds a ring full is dropped and counted.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};

use super::Direction;
use super::error::DeviceError;
use super::open::Granted;
use crate::thread::Rights;

/// Samples of a ring: 0.68 s at 48 kHz, 0.17 s at 192 kHz.
pub const RING_SAMPLES: usize = 32_768;

/// Events told and not yet read: a device that fails ten times a second for six seconds.
pub const EVENTS_MAX: usize = 64;

/// An eventfd: wakes the engine. Written once a period at most, whatever waits.
#[derive(Clone, Debug)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    /// Makes one.
    ///
    /// # Errors
    /// The system's, if it has no descriptors left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
    }

    /// Wakes who waits, or who will.
    pub fn ring(&self) {
        // Full at 2^64 - 2 unread rings: it wakes anyway.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }

    /// Takes all rings so far.
    pub fn clear(&self) {
        // Nothing to read: nobody rang.
        let _ = rustix::io::read(&*self.0, &mut [0_u8; 8]);
    }

    /// For `poll`.
    #[must_use]
    pub fn descriptor(&self) -> &OwnedFd {
        &self.0
    }
}

/// Something that happened to a device, for people.
#[derive(Clone, Debug)]
pub enum DeviceEvent {
    /// It runs; again, if it was gone before.
    Runs {
        /// What it granted.
        granted: Granted,
        /// How its thread is scheduled.
        rights: Rights,
    },
    /// It ran dry or over. Both times in microseconds: how much later than due its thread woke before it, and how
    /// long that thread worked then.
    Xrun {
        /// Later than due.
        wake_late_us: u32,
        /// At work.
        work_us: u32,
    },
    /// The machine slept.
    Resumed,
    /// It is gone, and looked for again.
    Lost(DeviceError),
}

/// Counters of a device's thread.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rate granted, Hz; 0 while there is no device.
    pub rate: AtomicU32,
    /// Frames moved.
    pub frames: AtomicU64,
    /// Xruns.
    pub xruns: AtomicU64,
    /// Samples that found their ring full.
    pub dropped: AtomicU64,
    /// Times the engine had no sound ready to play; a silence that lasts is one.
    pub starved: AtomicU64,
    /// Playback: samples below which the ring wants more.
    pub wanted: AtomicU32,
    /// The system's number if memory could not be locked.
    pub memory_unlocked: AtomicI32,
    /// Playback: frames between the program and the air, as it was a moment ago. Of a microphone nothing waits after
    /// each turn, and what a sound server says of its own share was found to be wrong by far.
    pub delay: AtomicU32,
    /// Samples waiting in the ring a moment ago: of a microphone as the engine was woken for them, of a loudspeaker
    /// before the engine added to them.
    pub waiting: AtomicU32,
    /// Latest wake-up so far, microseconds after it was due.
    pub wake_late_us_max: AtomicU32,
    /// Events that nobody read in time.
    pub events_dropped: AtomicU64,
    /// The thread is to end.
    pub stop: AtomicBool,
}

impl Counters {
    /// Whether the device runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.rate.load(Ordering::Acquire) != 0
    }
}

/// A device's thread's end of all that is shared.
pub struct ThreadEnd {
    /// Counters.
    pub counters: Arc<Counters>,
    /// Events; the other end reports.
    pub events: Producer<DeviceEvent>,
    /// Wakes the engine.
    pub bell: Bell,
    /// Which way.
    pub direction: Direction,
}

/// The reporter's end.
pub struct ReportEnd {
    /// Counters.
    pub counters: Arc<Counters>,
    /// Events.
    pub events: Consumer<DeviceEvent>,
    /// Which way.
    pub direction: Direction,
}

/// Both ends.
#[must_use]
pub fn ends(direction: Direction, bell: &Bell) -> (ThreadEnd, ReportEnd) {
    let counters = Arc::new(Counters::default());
    let (events, read_events) = RingBuffer::new(EVENTS_MAX);
    let thread = ThreadEnd { counters: counters.clone(), events, bell: bell.clone(), direction };
    (thread, ReportEnd { counters, events: read_events, direction })
}

impl ThreadEnd {
    /// Tells what happened. In real time if the event holds no text.
    pub fn tell(&mut self, event: DeviceEvent) {
        if self.events.push(event).is_err() {
            self.counters.events_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
