//! `echomesh loopback`: one's own voice through the whole chain but the network, and the delay of each stage.
//!
//! What the engine says is given back to it at once, as if a server had forwarded it.
//! How the delay is found: what came in is looked for in what went out, by correlation; what waits in rings and in the loudspeaker
//! is added, as the device reckons it.
//! Bounds: the first [`TAP_SECONDS`] are compared.

use std::pin::pin;
use std::time::Duration;

use echomesh_audio::SAMPLE_RATE;
use echomesh_audio::alsa::Direction;
use echomesh_audio::codec::Frame;
use echomesh_audio::engine::{DeviceTotals, EngineSettings, Totals};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::MediaTime;
use tokio::time::{MissedTickBehavior, interval};

use super::args::Loopback;
use super::clock;
use super::commands::print_line;
use super::failure::Failure;
use super::link::HeardPacket;
use super::sound::engine_settings;
use super::speech::Speech;
use super::stay;

/// Length of the recordings that are compared: 30 s are 6 MB, and a second to correlate.
const TAP_SECONDS: u32 = 30;

/// Least likeness that is one's own voice; see `echomesh_audio::similarity`.
const LIKENESS_MIN: f32 = 0.5;

/// Pause between two looks at what the devices hold.
const LOOK: Duration = Duration::from_millis(50);

/// The only stream there is.
const OWN: Ssrc = Ssrc(1);

/// What is said comes back, as if a server had forwarded it.
#[derive(Debug, Default)]
pub struct Echo {
    index: u64,
}

impl Echo {
    /// Gives the engine back what it has ready.
    pub fn give_back(&mut self, speech: &mut Speech) {
        while let Some(spoken) = speech.next_spoken() {
            let Some(frame) = spoken.frame else { continue };
            self.index += 1;
            speech.hear(&HeardPacket {
                time: clock::monotonic(),
                ssrc: OWN,
                index: self.index,
                media_time: MediaTime(frame.media_time),
                marker: frame.marker,
                audio_level: Some(frame.audio_level),
                payload: frame.payload().to_vec(),
            });
        }
    }
}

/// Mean of what a device held, milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    device: f64,
    ring: f64,
    looks: u32,
}

impl Held {
    fn look(&mut self, totals: &DeviceTotals) {
        if totals.rate == 0 {
            return;
        }
        let ms = |samples: u32| f64::from(samples) * 1_000.0 / f64::from(totals.rate);
        self.looks += 1;
        self.device += (ms(totals.delay) - self.device) / f64::from(self.looks);
        self.ring += (ms(totals.waiting) - self.ring) / f64::from(self.looks);
    }
}

/// Runs until told to stop, then says what it measured.
///
/// # Errors
/// [`Failure`] if a device or file cannot be used.
pub async fn run(loopback: &Loopback) -> Result<(), Failure> {
    let settings = EngineSettings { tap_seconds: TAP_SECONDS, ..engine_settings(&loopback.sound, false)? };
    let mut speech = Speech::open(&settings)?;
    eprintln!("echomesh: you hear yourself (use headphones); Ctrl-C ends it and shows the delay");
    speech.begin(0);
    let mut stop = pin!(stay::stop(loopback.duration)?);
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut microphone, mut loudspeaker, mut echo) = (Held::default(), Held::default(), Echo::default());
    loop {
        while let Some(sentence) = speech.next_news() {
            eprintln!("echomesh: {sentence}");
        }
        tokio::select! {
            () = stop.as_mut() => break,
            () = speech.ready() => {}
            _ = looks.tick() => {
                for device in speech.engine().device_totals() {
                    match device.direction {
                        Direction::Capture => microphone.look(&device),
                        Direction::Playback => loudspeaker.look(&device),
                    }
                }
            }
        }
        echo.give_back(&mut speech);
    }
    let totals = speech.finish()?;
    for line in report(&totals, microphone, loudspeaker, settings.encoder.frame) {
        print_line(&line)?;
    }
    eprint!("{totals}");
    Ok(())
}

/// The stages, in the order of a sample's way, and their sum.
fn report(totals: &Totals, microphone: Held, loudspeaker: Held, frame: Frame) -> Vec<String> {
    let samples_ms = |samples: usize| samples as f64 * 1_000.0 / f64::from(SAMPLE_RATE);
    let row = |name: &str, ms: f64| format!("{ms:7.1} ms  {name}");
    let mut lines = Vec::new();
    let found = totals.tap.compare().filter(|found| found.likeness >= LIKENESS_MIN);
    let Some(found) = found else {
        lines.push("your voice was not found in what was played: speak for some seconds, and try again".to_owned());
        return lines;
    };
    let engine = f64::from(found.lag_ms);
    let gathered = samples_ms(frame.samples());
    lines.push(row("microphone: waiting for a whole tick", microphone.ring));
    lines.push(row("engine: from the microphone's tick to the loudspeaker's, by correlation; of it", engine));
    lines.push(format!("            {gathered:.1} ms gathering a packet, the rest Opus and jitter buffer"));
    lines.push(row("loudspeaker: waiting for the device", loudspeaker.ring));
    lines.push(row("loudspeaker: in the device", loudspeaker.device));
    let sum = microphone.ring + engine + loudspeaker.ring + loudspeaker.device;
    lines.push(row("mouth to ear, without the network", sum));
    lines
}
