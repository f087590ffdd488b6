//! Puts an engine together: devices and files are opened first, so that what is wrong is told before a call.
//!
//! Bounds: at most three threads: engine, microphone, loudspeaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtrb::RingBuffer;

use super::cue::Cues;
use super::input::{Gather, Input, Spoken};
use super::output::{Loudspeaker, Output, Pace};
use super::piped::{PipedInput, PipedOutput};
use super::run::Run;
use super::totals::{Tap, Totals};
use super::voice::Voice;
use super::wire::{ORDERS_MAX, SPOKEN_MAX};
use super::{DeviceThread, Endpoint, Engine, EngineError, EngineSettings, Gauges, Switches};
use crate::alsa::Direction;
use crate::alsa::device::{Device, SampleRings};
use crate::alsa::shared::{Bell, RING_SAMPLES, ends};
use crate::processing::Processing;
use crate::receiver::{Receiver, SPEAKERS_MAX};
use crate::sink::Sink;
use crate::thread::lock_memory;

/// As [`Engine::open`].
pub(super) fn open(settings: &EngineSettings) -> Result<Engine, EngineError> {
    // All that may fail but the devices comes before them: nothing is left running.
    let (bell, spoken_bell) = (Bell::new()?, Bell::new()?);
    let processing = Processing::new(&settings.processing);
    let voice = Voice::new(settings.encoder, processing, settings.talkspurts, settings.media_time)?;
    let receiver = Receiver::with_floor(SPEAKERS_MAX, settings.playout_floor_us)?;
    let mut devices = Vec::new();
    let opened = open_both(settings, &bell, &mut devices);
    let (input, output) = match opened {
        Ok(both) => both,
        Err(error) => {
            close(devices);
            return Err(error);
        }
    };
    if !devices.is_empty()
        && let Err(error) = lock_memory()
    {
        // Not worth a warning of its own: who may not have real time is told so.
        for device in &devices {
            device.reports.counters.memory_unlocked.store(error.raw_os_error().unwrap_or(-1), Ordering::Relaxed);
        }
    }
    let (orders, inbox) = RingBuffer::new(ORDERS_MAX);
    let (outbox, spoken) = RingBuffer::new(SPOKEN_MAX);
    let sends_all = AtomicBool::new(!settings.talkspurts.voice_only);
    let switches = Arc::new(Switches { sends_all, ..Switches::default() });
    let gauges = Arc::new(Gauges::default());
    let run = Run {
        input,
        output,
        voice,
        receiver,
        cues: Cues::default(),
        orders: inbox,
        spoken: outbox,
        spoken_bell: spoken_bell.clone(),
        bell: bell.clone(),
        switches: switches.clone(),
        gauges: gauges.clone(),
        real_time: !devices.is_empty(),
        totals: Totals { tap: Tap::new(settings.tap_seconds), ..Totals::default() },
    };
    let thread = match std::thread::Builder::new().name("sound-engine".to_owned()).spawn(move || run.run()) {
        Ok(thread) => thread,
        Err(error) => {
            close(devices);
            return Err(error.into());
        }
    };
    Ok(Engine { orders, spoken, spoken_bell, bell, switches, gauges, devices, thread, orders_dropped: 0 })
}

fn open_both(
    settings: &EngineSettings,
    bell: &Bell,
    devices: &mut Vec<DeviceThread>,
) -> Result<(Input, Output), EngineError> {
    let input = match &settings.input {
        Endpoint::Nothing => Input::Nothing,
        Endpoint::File(name) => Input::File(Box::new(Spoken::open(name, settings.looped)?)),
        Endpoint::Pcm(pcm) => Input::Piped(Box::new(PipedInput::open(pcm, bell)?)),
        Endpoint::Device(name) => {
            let (producer, consumer) = RingBuffer::new(RING_SAMPLES);
            let (end, reports) = ends(Direction::Capture, bell);
            let gather = Gather::new(consumer, reports.counters.clone());
            let rings = SampleRings::Capture(producer);
            let thread = Device { name: name.clone(), period_us: settings.capture_period_us, rings, end }.start()?;
            devices.push(DeviceThread { thread, reports });
            Input::Device(Box::new(gather))
        }
    };
    let output = match &settings.output {
        Endpoint::Nothing => Output::Nothing,
        Endpoint::File(name) => Output::File(Box::new(Sink::open(name).map_err(EngineError::Sink)?), Pace::default()),
        Endpoint::Pcm(pcm) => Output::Piped(Box::new(PipedOutput::open(pcm)?)),
        Endpoint::Device(name) => {
            let (producer, consumer) = RingBuffer::new(RING_SAMPLES);
            let (written, written_consumer) = RingBuffer::new(RING_SAMPLES);
            let (end, reports) = ends(Direction::Playback, bell);
            let counters = reports.counters.clone();
            let rings = SampleRings::Playback(consumer, written);
            let thread = Device { name: name.clone(), period_us: settings.playback_period_us, rings, end }.start()?;
            devices.push(DeviceThread { thread, reports });
            let written = Gather::new(written_consumer, counters.clone());
            Output::Device(Box::new(Loudspeaker::new(producer, written, counters)))
        }
    };
    Ok((input, output))
}

fn close(devices: Vec<DeviceThread>) {
    for device in devices {
        device.reports.counters.stop.store(true, Ordering::Relaxed);
        device.thread.thread().unpark();
        // It has nothing to tell: the other direction's failure is told.
        drop(device.thread.join());
    }
}
