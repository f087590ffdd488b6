//! A device's thread: opens the device, runs its real-time loop, and opens it again when it was gone.
//!
//! In real time only inside `capture::run` and `playback::run`; opening, telling and waiting are done at
//! ordinary priority, on the same thread. A call thus survives an unplugged microphone.
//! Bounds: tries again after `RETRY_MIN`, then less often, to every `RETRY_MAX`.

use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer};

use super::error::{DeviceError, Problem};
use super::open::{Granted, Opened, open};
use super::playback::{Lead, Rings};
use super::port::{AlsaPort, Fault};
use super::shared::{DeviceEvent, ThreadEnd};
use super::{capture, playback};
use crate::thread::{DEVICE_PRIORITY, Rights, begin_real_time, end_real_time};

/// First pause before a device is tried again, and the longest: sound is back within a second of its return.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// How long a running device may move nothing.
const STALLED: Duration = Duration::from_secs(2);

/// Turns without a sample after which it is stalled even if it keeps waking us.
const IDLE_TURNS_MAX: u32 = 1_000;

/// How much faster than its rate a device may go before it is no device: ALSA's `null` has no clock, and would
/// keep a core busy at real-time priority. In thousandths, beyond [`STALLED`].
const TOO_FAST_PER_MILLE: u64 = 1_500;

/// Longest period that is asked for where shorter ones run dry, microseconds: 60 ms in a loudspeaker.
const PERIOD_US_MAX: u32 = 20_000;

/// How a loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As told.
    Stopped,
    /// The device is gone: the system's error number.
    Gone(i32),
    /// It moves nothing.
    Stalled,
    /// It has no clock.
    NoClock,
    /// A loudspeaker's periods are too short for it.
    RanDry,
}

impl Ended {
    pub(super) fn of(fault: Fault) -> Self {
        match fault {
            Fault::Xrun | Fault::Suspended => Ended::Stalled,
            Fault::Gone(number) => Ended::Gone(number),
        }
    }

    fn problem(self) -> Option<Problem> {
        match self {
            Ended::Stopped | Ended::RanDry => None,
            Ended::Gone(number) => Some(match Problem::of(&::alsa::Error::new("snd_pcm_wait", number)) {
                // Whatever number it gave, it ran until now.
                Problem::Busy | Problem::Unknown => Problem::Gone,
                other => other,
            }),
            Ended::Stalled => Some(Problem::Stalled),
            Ended::NoClock => Some(Problem::NoClock),
        }
    }
}

/// What a loop keeps of its turns: lateness, work, and whether the device is alive.
pub(super) struct Turns {
    rate: u64,
    period_us: u64,
    started: Instant,
    woke: Instant,
    late_us: u32,
    work_us: u32,
    moved: u64,
    moved_at: Instant,
    idle: u32,
}

impl Turns {
    pub(super) fn new(granted: Granted) -> Self {
        let now = Instant::now();
        let rate = u64::from(granted.rate);
        let period_us = granted.period as u64 * 1_000_000 / rate;
        Self { rate, period_us, started: now, woke: now, late_us: 0, work_us: 0, moved: 0, moved_at: now, idle: 0 }
    }

    /// The wait is over: how late against one period after the last time?
    pub(super) fn woke(&mut self, ready: bool, end: &ThreadEnd) {
        let now = Instant::now();
        let since = (now - self.woke).as_micros() as u64;
        self.woke = now;
        self.idle += 1;
        if ready && self.moved > 0 {
            self.late_us = u32::try_from(since.saturating_sub(self.period_us)).unwrap_or(u32::MAX);
            end.counters.wake_late_us_max.fetch_max(self.late_us, Ordering::Relaxed);
        }
    }

    pub(super) fn moved(&mut self, frames: usize, end: &ThreadEnd) {
        if frames > 0 {
            self.idle = 0;
            self.moved += frames as u64;
            self.moved_at = self.woke;
            end.counters.frames.fetch_add(frames as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn worked(&mut self) {
        self.work_us = u32::try_from(self.woke.elapsed().as_micros()).unwrap_or(u32::MAX);
    }

    pub(super) fn fault(&mut self, fault: Fault, end: &mut ThreadEnd) {
        let since = (Instant::now() - self.woke).as_micros() as u64;
        // The wake-up that found the fault is the late one.
        let late = u32::try_from(since.saturating_sub(self.period_us)).unwrap_or(u32::MAX).max(self.late_us);
        self.idle += 1;
        if fault == Fault::Suspended {
            end.tell(DeviceEvent::Resumed);
        } else {
            end.counters.xruns.fetch_add(1, Ordering::Relaxed);
            end.tell(DeviceEvent::Xrun { wake_late_us: late, work_us: self.work_us });
        }
    }

    /// Whether, and how, the loop is to end.
    pub(super) fn over(&self, end: &ThreadEnd) -> Option<Ended> {
        if end.counters.stop.load(Ordering::Relaxed) {
            return Some(Ended::Stopped);
        }
        if self.idle > IDLE_TURNS_MAX || self.moved_at.elapsed() > STALLED {
            return Some(Ended::Stalled);
        }
        let elapsed_ms = self.started.elapsed().as_millis() as u64 + STALLED.as_millis() as u64;
        (self.moved > elapsed_ms * self.rate / 1_000 * TOO_FAST_PER_MILLE / 1_000).then_some(Ended::NoClock)
    }
}

/// The engine's samples, from or to the device.
pub enum SampleRings {
    /// Of a microphone.
    Capture(Producer<i16>),
    /// Of a loudspeaker: sound, and what was really written.
    Playback(Consumer<i16>, Producer<i16>),
}

/// A device and its thread's share of it.
pub struct Device {
    /// As ALSA knows it.
    pub name: String,
    /// Period asked for, microseconds.
    pub period_us: u32,
    /// Samples.
    pub rings: SampleRings,
    /// The rest of what is shared.
    pub end: ThreadEnd,
}

/// Milliseconds of the engine's tick, for the capture's bell.
const TICK_MS: usize = 10;

impl Device {
    /// Opens the device and starts its thread.
    ///
    /// # Errors
    /// [`DeviceError`] if it cannot be opened now.
    pub fn start(mut self) -> Result<JoinHandle<()>, DeviceError> {
        let opened = self.open()?;
        let (name, direction) = (self.name.clone(), self.end.direction);
        std::thread::Builder::new().name(format!("sound-{direction}")).spawn(move || self.thread(opened)).map_err(
            |error| DeviceError {
                device: name,
                direction,
                problem: Problem::Other("thread", error.raw_os_error().unwrap_or(0)),
            },
        )
    }

    fn open(&mut self) -> Result<Opened, DeviceError> {
        open(&self.name, self.end.direction, self.period_us)
    }

    fn thread(mut self, first: Opened) {
        let mut opened = Some(first);
        let mut pause = RETRY_MIN;
        while !self.end.counters.stop.load(Ordering::Relaxed) {
            let attempt = opened.take().map_or_else(|| self.open(), Ok);
            if let Ok(device) = attempt {
                let started = Instant::now();
                let ended = self.run(&device);
                // Closing may take a sound server's time.
                drop(device);
                if ended == Ended::RanDry {
                    self.period_us = longer(self.period_us).unwrap_or(self.period_us);
                    continue;
                }
                if let Some(problem) = ended.problem() {
                    let (device, direction) = (self.name.clone(), self.end.direction);
                    self.end.tell(DeviceEvent::Lost(DeviceError { device, direction, problem }));
                }
                if ended == Ended::NoClock {
                    // It will have none later either.
                    return;
                }
                if started.elapsed() > STALLED {
                    pause = RETRY_MIN;
                }
            }
            if !self.end.counters.stop.load(Ordering::Relaxed) {
                // Unparked when it is to stop.
                std::thread::park_timeout(pause);
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }

    /// Real time, from one opening to the next.
    fn run(&mut self, opened: &Opened) -> Ended {
        let granted = opened.granted;
        let mut port = match AlsaPort::new(opened) {
            Ok(port) => port,
            Err(fault) => return Ended::of(fault),
        };
        let mut samples = vec![0; granted.period];
        let rights = begin_real_time(DEVICE_PRIORITY);
        self.end.tell(DeviceEvent::Runs { granted, rights });
        self.end.counters.rate.store(granted.rate, Ordering::Release);
        let ended = match &mut self.rings {
            SampleRings::Capture(ring) => {
                let tick = granted.rate as usize * TICK_MS / 1_000;
                capture::run(&mut port, ring, &mut samples, tick, &mut self.end)
            }
            SampleRings::Playback(sound, written) => {
                let lead = Lead { periods: opened.lead, may_grow: longer(self.period_us).is_some() };
                playback::run(&mut port, Rings { sound, written }, &mut samples, lead, &mut self.end)
            }
        };
        self.end.counters.rate.store(0, Ordering::Release);
        if matches!(rights, Rights::Fifo(_)) {
            end_real_time();
        }
        ended
    }
}

/// The period to ask for after this one.
fn longer(period_us: u32) -> Option<u32> {
    Some(period_us * 2).filter(|longer| *longer <= PERIOD_US_MAX)
}

/// Which device a person means: `default`, or `alsa:` and ALSA's name of it. `None`: it is a file.
#[must_use]
pub fn device_name(text: &str) -> Option<&str> {
    if text == "default" { Some(text) } else { text.strip_prefix("alsa:") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: periods grow as far as a call bears, whatever they began with, and then no more.
    #[test]
    fn periods_grow_to_a_bound() {
        let grown = |first| std::iter::successors(Some(first), |period| longer(*period)).last();
        assert_eq!([5_000, 2_500].map(grown), [Some(20_000); 2]);
    }
}
