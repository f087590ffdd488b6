//! Tells voice from other sound, tick by tick.
//!
//! Not the choice of what is sent: `talkspurt` adds the hangover. The probability is that of `sonora_agc2`'s
//! recurrent network (RNNoise's features, run at 24 kHz); what is made of it is ours.
//! In: ticks of 10 ms, floats of `i16` range. Out: a probability, and a decision with hysteresis.
//! Bounds: fixed state.

use sonora_agc2::vad_wrapper::VoiceActivityDetectorWrapper;
use sonora_simd::detect_backend;

use super::{SAMPLE_RATE, Tick};

/// How often the network forgets, milliseconds: practically never. WebRTC has it forget every 1.5 s, after each
/// of which it takes steady noise for voice for a while: 0.3 where it had said 0.01.
const FORGETS_MS: i32 = 3_600_000;

/// Probability at which voice begins: low, for a syllable that is cut is worse than a cough that is sent. The
/// figures here are measured: docs/AUDIO.md.
const BEGINS: f32 = 0.15;

/// Probability below which it ends.
const ENDS: f32 = 0.08;

/// A sound that stands out may be a consonant, which the network hears only once the vowel comes: with so
/// many dB over the background this probability is enough, for so many ticks.
const STANDS_OUT_DB: f32 = 6.0;
const STANDS_OUT: f32 = 0.005;
const STANDS_OUT_TICKS: u32 = 20;

/// How fast the background's level follows: this share of the way down in a tick, 3 dB a second up.
const BACKGROUND_DOWN: f32 = 0.5;
const BACKGROUND_UP_DB: f32 = 0.03;

/// Level below which there is no voice, −dBov: the network answers to the form of a sound, not its strength,
/// and 70 is the noise of a good microphone in a quiet room.
const SILENT: u8 = 70;

/// The detector of one microphone.
pub(super) struct Detector {
    network: VoiceActivityDetectorWrapper,
    /// Whether decisions are wanted, or the probability alone.
    decides: bool,
    voice: bool,
    /// Level of the background, dBov.
    background: f32,
    /// Ticks since a sound began to stand out that was not likely to be voice.
    doubtful: u32,
}

impl Detector {
    pub(super) fn new(decides: bool) -> Self {
        let network = VoiceActivityDetectorWrapper::with_reset_period(FORGETS_MS, detect_backend(), SAMPLE_RATE as i32);
        Self { network, decides, voice: false, background: 0.0, doubtful: 0 }
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
        let over = -f32::from(level) - self.background;
        self.background += if over < 0.0 { over * BACKGROUND_DOWN } else { BACKGROUND_UP_DB };
        // Digital silence is no background that everything stands out from.
        self.background = self.background.max(-f32::from(SILENT));
        let likely = probability >= if self.voice { ENDS } else { BEGINS };
        self.doubtful = if likely || over <= STANDS_OUT_DB { 0 } else { self.doubtful.saturating_add(1) };
        let stands_out = over > STANDS_OUT_DB && probability >= STANDS_OUT && self.doubtful <= STANDS_OUT_TICKS;
        self.voice = level <= SILENT && (likely || stands_out);
        Some(self.voice)
    }
}
