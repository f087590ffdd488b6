//! The engine's thread: woken by a device's bell or the clock, it mixes what the output wants and says what the
//! input gave.
//!
//! Playback comes first: its deadline is the nearer. Not bound by the rule of the devices' threads (Opus, the
//! processing and files may allocate), but it has real-time priority below theirs.
//! Bounds: a turn takes the orders that wait, at most `ORDERS_MAX`; mixes at most 16 ticks; says at most 7.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rtrb::{Consumer, Producer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use super::cue::Cues;
use super::input::Input;
use super::output::Output;
use super::totals::Totals;
use super::voice::{Counts, Voice};
use super::wire::{Order, Spoken};
use super::{EngineError, Gauges, Switches};
use crate::TICK_SAMPLES;
use crate::alsa::shared::Bell;
use crate::receiver::Receiver;
use crate::thread::{ENGINE_PRIORITY, begin_real_time, flush_denormals};

/// Longest wait, microseconds: a device that went away without a word is seen then.
const WAIT_US_MAX: u64 = 100_000;

/// Ticks between two looks at the delay.
const GAUGE_TICKS: u64 = 10;

/// Microseconds of CLOCK_MONOTONIC, the clock of packets' arrivals.
pub(super) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

/// All that the thread owns.
pub(super) struct Run {
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) voice: Voice,
    pub(super) receiver: Receiver,
    pub(super) cues: Cues,
    pub(super) orders: Consumer<Order>,
    pub(super) spoken: Producer<Spoken>,
    pub(super) spoken_bell: Bell,
    pub(super) bell: Bell,
    pub(super) switches: Arc<Switches>,
    pub(super) gauges: Arc<Gauges>,
    /// There is a device to be in time for.
    pub(super) real_time: bool,
    pub(super) totals: Totals,
}

impl Run {
    /// Until told to stop, or a file fails.
    pub(super) fn run(mut self) -> Result<Totals, EngineError> {
        if self.real_time {
            // The devices' threads, which need it more, tell when it is refused.
            let _ = begin_real_time(ENGINE_PRIORITY);
        }
        flush_denormals();
        let outcome = self.turns();
        let bell = self.spoken_bell.clone();
        let finished = self.finish();
        // The network sees that the ring is abandoned.
        bell.ring();
        outcome.and(finished)
    }

    fn turns(&mut self) -> Result<Totals, EngineError> {
        while !self.switches.stop.load(Ordering::Acquire) {
            self.take_orders()?;
            if self.switches.begun.load(Ordering::Acquire) {
                self.play()?;
                self.say()?;
            } else {
                // What a microphone hears before the call begins is nobody's business.
                while let Input::Device(gather) = &mut self.input
                    && gather.next().is_some()
                {}
            }
            self.wait();
        }
        Ok(Totals::default())
    }

    fn wait(&mut self) {
        let begun = self.switches.begun.load(Ordering::Acquire);
        let due = [self.input.due_us(), self.output.due_us()].into_iter().flatten().min().filter(|_| begun);
        let wait_us = due.map_or(WAIT_US_MAX, |due| due.saturating_sub(now_us()).min(WAIT_US_MAX));
        let timeout = Timespec { tv_sec: 0, tv_nsec: wait_us as i64 * 1_000 };
        let mut bell = [PollFd::new(self.bell.descriptor(), PollFlags::IN)];
        // A signal ends the wait early: no harm.
        if poll(&mut bell, Some(&timeout)).is_ok_and(|ready| ready > 0) {
            self.bell.clear();
        }
    }

    fn take_orders(&mut self) -> Result<(), EngineError> {
        for _ in 0..self.orders.slots() {
            match self.orders.pop() {
                // Nobody pulls: the packet would wait for ever.
                Ok(Order::Hear(_)) if matches!(self.output, Output::Nothing) => {}
                Ok(Order::Hear(packet)) => self.receiver.insert(packet.ssrc(), packet.packet()),
                Ok(Order::Forget(ssrc)) => self.receiver.forget(ssrc),
                Ok(Order::Gain(ssrc, gain)) => self.receiver.set_gain(ssrc, gain),
                Ok(Order::Encode(settings)) => self.voice.apply(settings)?,
                // Likewise: it would sound when nobody knows what for.
                Ok(Order::Cue(_)) if matches!(self.output, Output::Nothing) => {}
                Ok(Order::Cue(cue)) => self.cues.ask(cue),
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn play(&mut self) -> Result<(), EngineError> {
        let mut tick = [0; TICK_SAMPLES];
        loop {
            let now_us = now_us();
            if !self.output.wants(now_us) {
                return Ok(());
            }
            let speakers = self.receiver.mix(now_us, &mut tick);
            if self.switches.deafened.load(Ordering::Relaxed) {
                tick.fill(0);
            }
            if self.totals.played.is_multiple_of(GAUGE_TICKS) {
                self.gauges.playout_us.store(self.receiver.delay_us(), Ordering::Relaxed);
            }
            self.totals.played += 1;
            self.totals.with_speech += u64::from(speakers > 0);
            self.totals.tap.heard(now_us, &tick);
            self.cues.mix(&mut tick);
            self.output.give(&tick)?;
        }
    }

    fn say(&mut self) -> Result<(), EngineError> {
        while let Some(written) = self.output.next_written() {
            self.voice.render(written);
        }
        let muted = self.switches.muted.load(Ordering::Relaxed);
        self.voice.send_all(self.switches.sends_all.load(Ordering::Relaxed));
        let threshold = self.switches.threshold.load(Ordering::Relaxed);
        self.voice.threshold(Some(threshold).filter(|threshold| *threshold > 0));
        let now_us = now_us();
        let skipped = self.input.skipped(now_us);
        if skipped > 0 {
            self.totals.ticks_skipped += skipped;
            self.voice.skip(skipped);
        }
        while let Some(tick) = self.input.next(now_us)? {
            self.totals.tap.said(now_us, tick);
            let (ring, dropped) = (&mut self.spoken, &mut self.totals.spoken_dropped);
            let mut counts = Counts::default();
            self.voice.tick(now_us, tick, muted, &mut counts, |spoken| {
                *dropped += u64::from(ring.push(spoken).is_err());
                self.spoken_bell.ring();
            })?;
            self.gauges.input_level.store(self.voice.level(), Ordering::Relaxed);
            self.totals.encoded += counts.encoded;
            self.totals.sent += counts.sent;
        }
        if self.input.is_over() && !self.gauges.input_is_over.swap(true, Ordering::AcqRel) {
            self.spoken_bell.ring();
        }
        Ok(())
    }

    fn finish(self) -> Result<Totals, EngineError> {
        let receiver = self.receiver.statistics();
        let output_dropped = self.output.dropped();
        self.output.finish()?;
        Ok(Totals { receiver, output_dropped, ..self.totals })
    }
}
