//! Tells voice from other sound, tick by tick.
//!
//! Not the choice of what is sent: `talkspurt` adds the hangover. The probability is that of `sonora_agc2`'s
//! recurrent network (RNNoise's features, run at 24 kHz); what is made of it is ours.
//! In: ticks of 10 ms, floats of `i16` range. Out: a probability, and a decision with hysteresis.
//! Bounds: fixed state.

use sonora_agc2::common::VAD_RESET_PERIOD_MS;
use sonora_agc2::vad_wrapper::VoiceActivityDetectorWrapper;
use sonora_simd::detect_backend;

use super::{SAMPLE_RATE, Tick};

/// Probability at which voice begins: low, for a syllable that is cut is worse than a cough that is sent.
const BEGINS: f32 = 0.5;

/// Probability below which it ends.
const ENDS: f32 = 0.3;

/// Level below which there is no voice, −dBov: the network answers to the form of a sound, not its strength,
/// and 70 is the noise of a good microphone in a quiet room.
const SILENT: u8 = 70;

/// The detector of one microphone.
pub(super) struct Detector {
    network: VoiceActivityDetectorWrapper,
    /// Whether decisions are wanted, or the probability alone.
    decides: bool,
    voice: bool,
}

impl Detector {
    pub(super) fn new(decides: bool) -> Self {
        let network =
            VoiceActivityDetectorWrapper::with_reset_period(VAD_RESET_PERIOD_MS, detect_backend(), SAMPLE_RATE as i32);
        Self { network, decides, voice: false }
    }

    /// How likely the next tick holds speech, 0 to 1.
    pub(super) fn probability(&mut self, tick: &Tick) -> f32 {
        self.network.analyze(tick)
    }

    /// Whether that tick, of this level in −dBov, is voice; `None` if decisions are not wanted.
    pub(super) fn decide(&mut self, probability: f32, level: u8) -> Option<bool> {
        if !self.decides {
            return None;
        }
        self.voice = level <= SILENT && probability >= if self.voice { ENDS } else { BEGINS };
        Some(self.voice)
    }
}
