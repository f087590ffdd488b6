//! A device played by a script: each wait is a step of it.
//!
//! Not a clock: nothing waits. Allocates nothing once it is made, so that what is counted is the loop's.

use echomesh_audio::alsa::open::{Granted, SampleFormat};
use echomesh_audio::alsa::port::{Fault, Port};

/// Frames of a period.
pub const PERIOD: usize = 240;

/// How a script ends: a number that no device gives.
pub const OVER: Fault = Fault::Gone(0);

/// What a wait brings.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A period can be moved.
    Period,
    /// It wakes, but there is nothing to move.
    Empty,
    /// Nothing within the time.
    Nothing,
    /// It fails.
    Fault(Fault),
    /// A period can be moved, and this is done first.
    Planted(fn()),
}

/// A device.
pub struct Script {
    steps: Vec<Step>,
    at: usize,
    /// Frames that may be moved now.
    ready: usize,
    /// Frames moved: what is captured counts up from 1.
    moved: usize,
}

impl Script {
    /// Runs these steps, then fails with [`OVER`].
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps, at: 0, ready: 0, moved: 0 }
    }

    /// What so many periods capture.
    pub fn captured(periods: usize) -> Vec<i16> {
        (1..=periods * PERIOD).map(|sample| sample as i16).collect()
    }
}

impl Port for Script {
    fn granted(&self) -> Granted {
        Granted { rate: 48_000, channels: 1, period: PERIOD, buffer: 3 * PERIOD, format: SampleFormat::S16 }
    }

    fn start(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn wait(&mut self) -> Result<bool, Fault> {
        let step = self.steps.get(self.at).ok_or(OVER)?;
        self.at += 1;
        self.ready = PERIOD;
        match step {
            Step::Period => Ok(true),
            Step::Planted(planted) => {
                planted();
                Ok(true)
            }
            Step::Empty => {
                self.ready = 0;
                Ok(true)
            }
            Step::Nothing => {
                self.ready = 0;
                Ok(false)
            }
            Step::Fault(fault) => {
                self.ready = 0;
                Err(*fault)
            }
        }
    }

    fn available(&mut self) -> Result<usize, Fault> {
        Ok(self.ready)
    }

    fn read(&mut self, out: &mut [i16]) -> Result<usize, Fault> {
        let count = out.len().min(self.ready);
        for sample in &mut out[..count] {
            self.moved += 1;
            *sample = self.moved as i16;
        }
        self.ready -= count;
        Ok(count)
    }

    fn write(&mut self, samples: &[i16]) -> Result<usize, Fault> {
        self.ready = self.ready.saturating_sub(samples.len());
        Ok(samples.len())
    }

    fn recover(&mut self, _fault: Fault) -> Result<(), Fault> {
        Ok(())
    }

    fn delay(&mut self) -> usize {
        0
    }
}
