//! A device for some seconds: opened as a call opens it, its samples moved, and what was seen of it.
//!
//! Not the engine: nothing is encoded and the loudspeaker plays silence. On a thread of its own, which is real-time as
//! far as the system lets it. In: ALSA's name. Out: figures, or why the device cannot be used.
//! Bounds: [`LENGTH`], or what ALSA takes to open it; a device without clock is left at once.

use std::time::{Duration, Instant};

use echomesh_audio::alsa::open::{Granted, open};
use echomesh_audio::alsa::port::{AlsaPort, Fault, Port};
use echomesh_audio::alsa::{DeviceError, Direction, Problem};
use echomesh_audio::thread::{DEVICE_PRIORITY, begin_real_time};

use super::level::{Clock, Drift, Level};

/// How long a device is watched.
pub const LENGTH: Duration = Duration::from_secs(5);

/// Before its xruns and its clock count: buffers fill, and a sound server finds its pace.
const SETTLING: Duration = Duration::from_secs(1);

/// Longest wait for the next sample.
const STALLED: Duration = Duration::from_secs(2);

/// A device may be so far ahead of its rate, for its buffers; beyond, it has no clock.
const AHEAD_S: f64 = 1.0;

/// Periods asked for, microseconds, as calls ask.
const CAPTURE_PERIOD_US: u32 = 10_000;
const PLAYBACK_PERIOD_US: u32 = 5_000;

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// What the device granted.
    pub granted: Granted,
    /// Times it ran dry or over, once it had settled.
    pub xruns: u32,
    /// Its clock beside the system's.
    pub drift: Option<Drift>,
    /// Of a microphone.
    pub level: Level,
}

/// Watches a device.
///
/// # Errors
/// [`DeviceError`], with its reason.
pub fn measure(name: &str, direction: Direction) -> Result<Measured, DeviceError> {
    let failed = |problem| DeviceError { device: name.to_owned(), direction, problem };
    let period_us = match direction {
        Direction::Capture => CAPTURE_PERIOD_US,
        Direction::Playback => PLAYBACK_PERIOD_US,
    };
    let opened = open(name, direction, period_us)?;
    let mut port = AlsaPort::new(&opened).map_err(|_| failed(Problem::Gone))?;
    let granted = opened.granted;
    // What is refused is another check's.
    let _ = begin_real_time(DEVICE_PRIORITY);
    let mut watch = Watch {
        measured: Measured { granted, xruns: 0, drift: None, level: Level::default() },
        samples: vec![0; granted.period],
        lead: opened.lead,
        frames: 0,
        clock: Clock::default(),
    };
    watch.run(&mut port, direction).map_err(failed)?;
    Ok(Measured { drift: watch.clock.drift(), ..watch.measured })
}

struct Watch {
    measured: Measured,
    samples: Vec<i16>,
    lead: usize,
    frames: u64,
    clock: Clock,
}

impl Watch {
    fn run(&mut self, port: &mut impl Port, direction: Direction) -> Result<(), Problem> {
        let begun = Instant::now();
        let mut moved_at = begun;
        self.begin(port, direction).map_err(problem)?;
        while begun.elapsed() < LENGTH {
            let turn = port.wait().and_then(|_| match direction {
                Direction::Capture => self.capture(port),
                Direction::Playback => self.playback(port),
            });
            let now = Instant::now();
            match turn {
                Ok(count) if count > 0 => moved_at = now,
                Ok(_) => {}
                Err(Fault::Gone(_)) => return Err(Problem::Gone),
                Err(fault) => {
                    self.measured.xruns += u32::from(now - begun > SETTLING);
                    // Samples were lost: a line through before and after would be none.
                    self.clock = Clock::default();
                    port.recover(fault).and_then(|()| self.begin(port, direction)).map_err(problem)?;
                    continue;
                }
            }
            let (time_s, frames_s) =
                ((now - begun).as_secs_f64(), self.frames as f64 / f64::from(self.measured.granted.rate));
            if frames_s > time_s + AHEAD_S {
                return Err(Problem::NoClock);
            }
            if now - moved_at > STALLED {
                return Err(Problem::Stalled);
            }
            if now - begun > SETTLING && moved_at == now {
                self.clock.push(time_s, frames_s);
            }
        }
        Ok(())
    }

    fn begin(&mut self, port: &mut impl Port, direction: Direction) -> Result<(), Fault> {
        match direction {
            Direction::Capture => port.start(),
            Direction::Playback => {
                self.samples.fill(0);
                (0..self.lead).try_for_each(|_| port.write(&self.samples).map(drop))
            }
        }
    }

    fn capture(&mut self, port: &mut impl Port) -> Result<usize, Fault> {
        let count = port.read(&mut self.samples)?;
        self.measured.level.push(&self.samples[..count]);
        self.frames += count as u64;
        Ok(count)
    }

    fn playback(&mut self, port: &mut impl Port) -> Result<usize, Fault> {
        let Granted { period, buffer, .. } = self.measured.granted;
        let mut queued = buffer.saturating_sub(port.available()?);
        let mut moved = 0;
        while queued + period <= self.lead * period {
            let count = port.write(&self.samples[..period])?;
            moved += count;
            queued += count;
            if count < period {
                break;
            }
        }
        self.frames += moved as u64;
        Ok(moved)
    }
}

fn problem(fault: Fault) -> Problem {
    match fault {
        Fault::Gone(_) => Problem::Gone,
        Fault::Xrun | Fault::Suspended => Problem::Stalled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a device that takes and gives as fast as one likes is found out, and one that is not there. Method: ALSA's own
    /// `null`.
    #[test]
    fn devices_that_are_none_are_found_out() {
        for direction in [Direction::Capture, Direction::Playback] {
            assert_eq!(measure("null", direction).unwrap_err().problem, Problem::NoClock);
            assert_eq!(measure("nosuchdevice", direction).unwrap_err().problem, Problem::Unknown);
        }
    }
}
