//! What is done to the microphone's sound before it is encoded: high-pass, echo cancellation, noise
//! suppression, voice detection, automatic gain, in that order.
//!
//! Not a device and not a codec; not the choice of frames that are sent, which is `talkspurt`.
//! In: [`Processing::render`] what the loudspeaker plays, [`Processing::capture`] what the microphone gave,
//! one tick of 10 ms each. Out: the samples, changed in place, and an [`Activity`]. What is off changes no
//! bit. Delay: none for high-pass and gain; the library's band splitting and the suppressors add what
//! docs/AUDIO.md says.
//! Bounds: state of fixed size. The echo canceller allocates some fifty short lists in each tick and the voice
//! detector one, inside the library, which frees them in the same call: this belongs on the engine's thread,
//! not on a device's.

mod gain;
mod suppress;
mod voice;

use crate::level::{VOICE, level};
use crate::{SAMPLE_RATE, TICK_SAMPLES};

use gain::Gain;
use suppress::{Front, Neural};
use voice::Detector;

/// Full scale of `i16` as a float.
const FULL_SCALE: f32 = 32_768.0;

/// How noise is suppressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoiseSuppression {
    /// Not at all.
    Off,
    /// By about 12 dB: steady noise, such as fans; speech stays natural.
    #[default]
    Moderate,
    /// By about 18 dB.
    Strong,
    /// By a neural network (RNNoise), which also takes keyboards and steps; more CPU, and speech may suffer.
    Neural,
}

/// What is done to captured sound. The default is for a headset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessingSettings {
    /// Takes away what is below about 100 Hz: hum, steps, wind.
    pub high_pass: bool,
    /// Takes away what the loudspeaker plays; brings the high-pass with it. Off: a headset has no echo, and
    /// the canceller costs the most.
    pub echo: bool,
    /// Noise.
    pub noise: NoiseSuppression,
    /// Brings quiet talkers to the level of loud ones, without clipping.
    pub gain: bool,
    /// Tells voice from other sound by a neural network. Off: by loudness.
    pub detect_voice: bool,
}

impl Default for ProcessingSettings {
    fn default() -> Self {
        Self { high_pass: true, echo: false, noise: NoiseSuppression::default(), gain: true, detect_voice: true }
    }
}

impl ProcessingSettings {
    /// Nothing is changed; voice is told by loudness.
    #[must_use]
    pub fn off() -> Self {
        Self { high_pass: false, echo: false, noise: NoiseSuppression::Off, gain: false, detect_voice: false }
    }
}

/// What a tick holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Someone speaks.
    pub voice: bool,
    /// The byte of RFC 6464 of what came out, its V bit as `voice`.
    pub audio_level: u8,
}

/// A tick as the library wants it, −32768 to 32767.
type Tick = [f32; TICK_SAMPLES];

/// The chain of one microphone.
pub struct Processing {
    front: Option<Front>,
    neural: Option<Neural>,
    detector: Option<Detector>,
    gain: Option<Gain>,
    tick: Tick,
}

impl Processing {
    /// Allocates all that lasts.
    #[must_use]
    pub fn new(settings: &ProcessingSettings) -> Self {
        let detects = settings.detect_voice || settings.gain;
        Self {
            front: Front::new(settings),
            neural: (settings.noise == NoiseSuppression::Neural).then(Neural::new),
            detector: detects.then(|| Detector::new(settings.detect_voice)),
            gain: settings.gain.then(Gain::new),
            tick: [0.0; TICK_SAMPLES],
        }
    }

    /// Tells what the loudspeaker is given, tick by tick, silence too. Costs nothing while `echo` is off.
    pub fn render(&mut self, samples: &[i16; TICK_SAMPLES]) {
        if let Some(front) = &mut self.front {
            front.render(samples);
        }
    }

    /// Changes the next tick of the microphone in place and says what is in it.
    pub fn capture(&mut self, samples: &mut [i16; TICK_SAMPLES]) -> Activity {
        for (float, sample) in self.tick.iter_mut().zip(samples.iter()) {
            *float = f32::from(*sample);
        }
        if let Some(front) = &mut self.front {
            front.capture(&mut self.tick);
        }
        if let Some(neural) = &mut self.neural {
            neural.capture(&mut self.tick);
        }
        let probability = self.detector.as_mut().map(|detector| detector.probability(&self.tick));
        if let (Some(gain), Some(probability)) = (&mut self.gain, probability) {
            gain.capture(&mut self.tick, probability);
        }
        if self.front.is_some() || self.neural.is_some() || self.gain.is_some() {
            for (sample, float) in samples.iter_mut().zip(&self.tick) {
                // The cast saturates.
                *sample = float.round() as i16;
            }
        }
        let (level, loud) = level(samples);
        let voice = match (&mut self.detector, probability) {
            (Some(detector), Some(probability)) => detector.decide(probability, level).unwrap_or(loud),
            _ => loud,
        };
        Activity { voice, audio_level: if voice { level | VOICE } else { level } }
    }
}
