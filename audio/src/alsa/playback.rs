//! The real-time loop of a loudspeaker: a period from a ring to the device, and the engine's bell when the ring
//! cannot serve the next one.
//!
//! The device's clock thus asks for the sound: no drift to another clock builds up here. What the engine has
//! not ready in time is silence, counted, and from then on it is asked a little earlier.
//! In real time from [`run`]'s start to its end, faults included: no allocation, no lock, no system call but
//! ALSA's and one write to the bell's eventfd.
//! What runs dry again and again is to be opened anew with longer periods: its wake-ups come later than it says, as
//! those of snd-aloop do, or of a virtual machine's card.
//! Bounds: a period a turn; at most `MARGIN_MS_MAX` of sound waiting beyond what the next period needs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer};

use super::device::{Ended, Turns};
use super::port::{Fault, Port};
use super::shared::ThreadEnd;

/// Most that the engine is asked earlier than it must be, milliseconds: one of its ticks.
const MARGIN_MS_MAX: usize = 10;

/// Turns from one look at the device's delay to the next: it is only told to people, and asks a sound server.
const DELAY_TURNS: u32 = 16;

/// So many xruns within this time are no accident.
const DRY_XRUNS: u32 = 5;
const DRY_WITHIN: Duration = Duration::from_secs(2);

/// What is kept in the device.
#[derive(Clone, Copy, Debug)]
pub struct Lead {
    /// Periods.
    pub periods: usize,
    /// Whether the loop ends with [`Ended::RanDry`] where that is too little.
    pub may_grow: bool,
}

/// The rings of a loudspeaker, at its rate.
pub struct Rings<'a> {
    /// From the engine.
    pub sound: &'a mut Consumer<i16>,
    /// What was really written, back to the engine: the reference of its echo canceller.
    pub written: &'a mut Producer<i16>,
}

/// Runs until the device fails for good, or the thread is told to stop. `samples`: a period.
pub fn run(port: &mut impl Port, rings: Rings<'_>, samples: &mut [i16], lead: Lead, end: &mut ThreadEnd) -> Ended {
    let granted = port.granted();
    let margin_step = granted.rate as usize / 1_000;
    let mut dry = Dry { xruns: 0, since: Instant::now() };
    let mut playing =
        Playing { port, rings, samples, lead: lead.periods, margin: 0, margin_step, turns: 0, starving: true };
    let mut turns = Turns::new(granted);
    if let Err(fault) = playing.begin() {
        return Ended::of(fault);
    }
    loop {
        match playing.turn(end, &mut turns) {
            Ok(()) => {}
            Err(Fault::Gone(number)) => return Ended::Gone(number),
            Err(fault) => {
                turns.fault(fault, end);
                if fault == Fault::Xrun && dry.again() && lead.may_grow {
                    return Ended::RanDry;
                }
                if let Err(fault) = playing.port.recover(fault).and_then(|()| playing.begin()) {
                    return Ended::of(fault);
                }
            }
        }
        if let Some(ended) = turns.over(end) {
            return ended;
        }
    }
}

/// Xruns of late.
struct Dry {
    xruns: u32,
    since: Instant,
}

impl Dry {
    /// Whether this one is one too many.
    fn again(&mut self) -> bool {
        if self.since.elapsed() > DRY_WITHIN {
            *self = Self { xruns: 0, since: Instant::now() };
        }
        self.xruns += 1;
        self.xruns >= DRY_XRUNS
    }
}

struct Playing<'a, P> {
    port: &'a mut P,
    rings: Rings<'a>,
    samples: &'a mut [i16],
    lead: usize,
    /// Samples that must be waiting beyond the next period.
    margin: usize,
    margin_step: usize,
    turns: u32,
    /// The last period was not whole: the engine is away or has nothing yet, which one count tells.
    starving: bool,
}

impl<P: Port> Playing<'_, P> {
    /// Fills the device with silence to its lead, which starts it.
    fn begin(&mut self) -> Result<(), Fault> {
        self.samples.fill(0);
        for _ in 0..self.lead {
            self.port.write(self.samples)?;
        }
        Ok(())
    }

    fn turn(&mut self, end: &mut ThreadEnd, turns: &mut Turns) -> Result<(), Fault> {
        let ready = self.port.wait()?;
        turns.woke(ready, end);
        let granted = self.port.granted();
        let period = granted.period;
        // Asked once: what plays meanwhile is seen at the next turn.
        let mut queued = granted.buffer.saturating_sub(self.port.available()?);
        while queued + period <= self.lead * period {
            self.take(period, end);
            let count = self.port.write(&self.samples[..period])?;
            turns.moved(count, end);
            self.tell_written(count, end);
            if count < period {
                break;
            }
            queued += count;
        }
        let (waiting, wanted) = (self.rings.sound.slots(), period + self.margin);
        end.counters.wanted.store(wanted as u32, Ordering::Release);
        if waiting < wanted {
            end.bell.ring();
        }
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(DELAY_TURNS) {
            end.counters.delay.store(self.port.delay() as u32, Ordering::Relaxed);
        }
        turns.worked();
        Ok(())
    }

    /// A period from the ring; silence for what is not there.
    fn take(&mut self, period: usize, end: &mut ThreadEnd) {
        let count = self.rings.sound.slots().min(period);
        self.samples[count..].fill(0);
        if let Ok(chunk) = self.rings.sound.read_chunk(count) {
            for (sample, taken) in self.samples.iter_mut().zip(chunk) {
                *sample = taken;
            }
        }
        let starving = count < period;
        if starving && !self.starving {
            end.counters.starved.fetch_add(1, Ordering::Relaxed);
            self.margin = (self.margin + self.margin_step).min(self.margin_step * MARGIN_MS_MAX);
        }
        self.starving = starving;
    }

    fn tell_written(&mut self, count: usize, end: &mut ThreadEnd) {
        let room = self.rings.written.slots().min(count);
        if let Ok(chunk) = self.rings.written.write_chunk_uninit(room) {
            chunk.fill_from_iter(self.samples[..room].iter().copied());
        }
        end.counters.dropped.fetch_add((count - room) as u64, Ordering::Relaxed);
    }
}
