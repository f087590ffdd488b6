//! The engine: everything between the sound of a place and the packets of the network, on a thread of its own.
//!
//! Not the network and not the session: [`Engine`] is their end of it, which never waits. Not a device: those
//! have threads of their own ([`crate::alsa`]), and so have pipes ([`crate::pcm`]); files and the tone are read and
//! written here, at the clock's pace.
//!
//! # Layout
//! `run` is the thread's loop. `input` and `output` are where sound comes from and goes to, `piped` if that is another
//! program; `voice` is the way
//! from a tick to a packet, `cue` what the person is told by sounds. [`wire`] is what crosses between the engine and the network.
//! Bounds: [`wire::ORDERS_MAX`] packets and orders in, [`wire::SPOKEN_MAX`] frames out; what finds a ring full
//! is dropped and counted, for late speech is worth nothing.

mod cue;
mod input;
mod open;
mod output;
mod piped;
mod run;
mod totals;
mod voice;
pub mod wire;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::thread::JoinHandle;

use rtrb::{Consumer, Producer};

use crate::alsa::shared::{Bell, DeviceEvent, ReportEnd};
use crate::alsa::{DeviceError, Direction};
use crate::codec::{CodecError, EncoderSettings};
use crate::pcm::{PcmError, PcmSettings};
use crate::processing::ProcessingSettings;
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::talkspurt::TalkspurtSettings;

pub use cue::Cue;
pub use totals::{DeviceTotals, Tap, Totals};
use wire::{Order, PacketOrder, Spoken};

/// Where sound comes from, or goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Nowhere.
    Nothing,
    /// A device, as ALSA names it.
    Device(String),
    /// A WAV file, or the tone.
    File(String),
    /// Raw PCM of another program, or a file of it.
    Pcm(PcmSettings),
}

impl Endpoint {
    /// As `--input` and `--output` take it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match crate::alsa::device::device_name(text) {
            Some(name) => Self::Device(name.to_owned()),
            None if text == "none" => Self::Nothing,
            None => Self::File(text.to_owned()),
        }
    }
}

/// What an engine is to do.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// What is said.
    pub input: Endpoint,
    /// A file is said again and again.
    pub looped: bool,
    /// Where what is heard goes.
    pub output: Endpoint,
    /// How to encode at first.
    pub encoder: EncoderSettings,
    /// What is done to the input before.
    pub processing: ProcessingSettings,
    /// Which frames are sent.
    pub talkspurts: TalkspurtSettings,
    /// Media time of the first tick: random (RFC 3550 §5.1).
    pub media_time: u32,
    /// Periods asked of the microphone and the loudspeaker, microseconds; see [`crate::alsa::open::open`].
    pub capture_period_us: u32,
    /// Likewise.
    pub playback_period_us: u32,
    /// Least delay of the jitter buffers, microseconds; see [`crate::receiver::Receiver::with_floor`].
    pub playout_floor_us: u64,
    /// Keeps what was said and heard, for so many seconds, to be compared at the end.
    pub tap_seconds: u32,
}

/// Why an engine cannot start, or ended.
#[derive(Debug)]
pub enum EngineError {
    /// A device.
    Device(DeviceError),
    /// A file that is read.
    Source(SourceError),
    /// A file that is written.
    Sink(SinkError),
    /// Another program.
    Pcm(PcmError),
    /// Opus.
    Codec(CodecError),
    /// The system.
    System(std::io::Error),
    /// A bug.
    Panicked,
}

impl std::fmt::Display for EngineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device(error) => error.fmt(f),
            Self::Source(error) => error.fmt(f),
            Self::Sink(error) => error.fmt(f),
            Self::Pcm(error) => error.fmt(f),
            Self::Codec(error) => error.fmt(f),
            Self::System(error) => write!(f, "sound cannot start: {error}; close other programs and try again"),
            Self::Panicked => f.write_str("the sound thread panicked: this is a bug, please report it"),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<DeviceError> for EngineError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl From<PcmError> for EngineError {
    fn from(error: PcmError) -> Self {
        Self::Pcm(error)
    }
}

impl From<CodecError> for EngineError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl From<std::io::Error> for EngineError {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

/// Switches that work at once.
#[derive(Debug, Default)]
struct Switches {
    /// Nothing is said or heard before.
    begun: AtomicBool,
    muted: AtomicBool,
    deafened: AtomicBool,
    /// Silence is sent, too.
    sends_all: AtomicBool,
    /// Decibels below full scale under which nothing is voice; 0: the detector alone decides.
    threshold: AtomicU8,
    stop: AtomicBool,
}

/// What a person may look at while it runs: of the last tick each.
#[derive(Debug, Default)]
struct Gauges {
    /// RFC 6464 byte of what the input gave.
    input_level: AtomicU8,
    /// Longest delay of those who are heard, microseconds; 0: nobody is.
    playout_us: AtomicU32,
    /// All that another program gave was said.
    input_is_over: AtomicBool,
}

/// A device's thread, and its reports.
struct DeviceThread {
    thread: JoinHandle<()>,
    reports: ReportEnd,
}

/// The network's end of the engine.
pub struct Engine {
    orders: Producer<Order>,
    spoken: Consumer<Spoken>,
    /// Wakes the network.
    spoken_bell: Bell,
    /// Wakes the engine.
    bell: Bell,
    switches: Arc<Switches>,
    gauges: Arc<Gauges>,
    devices: Vec<DeviceThread>,
    thread: JoinHandle<Result<Totals, EngineError>>,
    orders_dropped: u64,
}

impl Engine {
    /// Opens input and output and starts the threads, which wait for [`Engine::begin`].
    ///
    /// # Errors
    /// [`EngineError`] if a device or a file cannot be used; nothing is left running.
    pub fn open(settings: &EngineSettings) -> Result<Self, EngineError> {
        open::open(settings)
    }

    /// Voice is open: start saying and playing.
    pub fn begin(&mut self) {
        if !self.switches.begun.swap(true, Ordering::Release) {
            self.bell.ring();
        }
    }

    /// Readable when [`Engine::next_spoken`] has something, after [`Engine::clear_spoken`].
    #[must_use]
    pub fn spoken_descriptor(&self) -> &OwnedFd {
        self.spoken_bell.descriptor()
    }

    /// Before the frames are taken.
    pub fn clear_spoken(&self) {
        self.spoken_bell.clear();
    }

    /// The next frame to send, or change of talking to tell.
    pub fn next_spoken(&mut self) -> Option<Spoken> {
        self.spoken.pop().ok()
    }

    /// Whether the engine has ended by itself; [`Engine::finish`] says why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.spoken.is_abandoned()
    }

    /// Whether another program's sound is over, and all of it on its way to the network.
    #[must_use]
    pub fn input_is_over(&self) -> bool {
        self.gauges.input_is_over.load(Ordering::Acquire)
    }

    /// A packet that was heard. Not longer than `PAYLOAD_BYTES_MAX`, else it is dropped and counted.
    pub fn hear(&mut self, packet: &crate::playout::Packet<'_>, ssrc: u32) {
        match PacketOrder::new(packet, ssrc) {
            Some(packet) => self.order(Order::Hear(packet)),
            None => self.orders_dropped += 1,
        }
    }

    /// A speaker is gone. Lost only when packets are lost too; the place is then free a little later.
    pub fn forget(&mut self, ssrc: u32) {
        self.order(Order::Forget(ssrc));
    }

    /// How loud a speaker is played: 1.0 as it came.
    pub fn set_gain(&mut self, ssrc: u32, gain: f32) {
        self.order(Order::Gain(ssrc, gain));
    }

    /// How to encode from the next frame on.
    pub fn encode(&mut self, settings: EncoderSettings) {
        self.order(Order::Encode(settings));
    }

    /// Sounds a cue in the output, though others be silenced. One that waits for another is replaced by a newer.
    pub fn cue(&mut self, cue: Cue) {
        self.order(Order::Cue(cue));
    }

    fn order(&mut self, order: Order) {
        self.orders_dropped += u64::from(self.orders.push(order).is_err());
    }

    /// Says nothing from now on; the microphone goes on, so that it is there at once again.
    pub fn mute(&self, muted: bool) {
        self.switches.muted.store(muted, Ordering::Relaxed);
    }

    /// Plays nothing from now on.
    pub fn deafen(&self, deafened: bool) {
        self.switches.deafened.store(deafened, Ordering::Relaxed);
    }

    /// Sends what the input gives though nobody speaks, or only speech; at first as the settings have it.
    pub fn send_all(&self, sends_all: bool) {
        self.switches.sends_all.store(sends_all, Ordering::Relaxed);
    }

    /// Takes nothing for voice that is more than so many decibels below full scale, of the level that
    /// [`Engine::input_level`] tells; `None`, or 0: the detector alone decides, as at first.
    pub fn threshold(&self, threshold: Option<u8>) {
        self.switches.threshold.store(threshold.unwrap_or(0), Ordering::Relaxed);
    }

    /// RFC 6464 byte of what the input gave last, sent or not.
    #[must_use]
    pub fn input_level(&self) -> u8 {
        self.gauges.input_level.load(Ordering::Relaxed)
    }

    /// The longest delay of the jitter buffers of those who are heard now, microseconds; `None`: nobody is.
    #[must_use]
    pub fn playout_us(&self) -> Option<u32> {
        Some(self.gauges.playout_us.load(Ordering::Relaxed)).filter(|us| *us > 0)
    }

    /// The next thing that happened to a device.
    pub fn next_event(&mut self) -> Option<(Direction, DeviceEvent)> {
        self.devices.iter_mut().find_map(|device| {
            let event = device.reports.events.pop().ok()?;
            Some((device.reports.direction, event))
        })
    }

    /// What the devices' threads counted so far.
    #[must_use]
    pub fn device_totals(&self) -> Vec<DeviceTotals> {
        self.devices.iter().map(|device| DeviceTotals::of(&device.reports)).collect()
    }

    /// Ends the threads and the output file.
    ///
    /// # Errors
    /// [`EngineError`] if a file failed.
    pub fn finish(self) -> Result<Totals, EngineError> {
        self.switches.stop.store(true, Ordering::Release);
        self.bell.ring();
        let outcome = self.thread.join().map_err(|_| EngineError::Panicked)?;
        let mut devices = Vec::new();
        for device in self.devices {
            device.reports.counters.stop.store(true, Ordering::Relaxed);
            device.thread.thread().unpark();
            device.thread.join().map_err(|_| EngineError::Panicked)?;
            devices.push(DeviceTotals::of(&device.reports));
        }
        Ok(Totals { devices, orders_dropped: self.orders_dropped, ..outcome? })
    }
}
