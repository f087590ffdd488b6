//! Automatic gain: brings a quiet talker to the level of a loud one, slowly, and keeps peaks below full scale.
//!
//! Not the microphone's own volume: that is the person's, and what is loud is not made quieter. The parts are `sonora_agc2`'s (WebRTC's AGC2), put
//! together here so that one voice detector serves the gain and the talkspurts.
//! In and out: ticks of 10 ms, floats of `i16` range, with the probability that they hold speech.
//! Bounds: fixed state, no allocation.

use sonora_agc2::adaptive_digital_gain_controller::{AdaptiveDigitalGainController, FrameInfo};
use sonora_agc2::common::{
    ADJACENT_SPEECH_FRAMES_THRESHOLD, SATURATION_PROTECTOR_INITIAL_HEADROOM_DB, float_s16_to_dbfs,
};
use sonora_agc2::limiter::Limiter;
use sonora_agc2::noise_level_estimator::NoiseLevelEstimator;
use sonora_agc2::saturation_protector::SaturationProtector;
use sonora_agc2::speech_level_estimator::{AdaptiveDigitalConfig, SpeechLevelEstimator};

use super::{TICK_SAMPLES, Tick};

/// The gain's course. Peaks of speech go to `headroom_db` below full scale; the gain moves by at most 6 dB a
/// second, never above 30 dB, and never so far that noise passes −50 dBFS. It begins at 6 dB, a headset's
/// usual want: WebRTC's 15 dB would have a loud talker in the limiter for the first seconds.
const CONFIG: AdaptiveDigitalConfig = AdaptiveDigitalConfig {
    headroom_db: 5.0,
    max_gain_db: 30.0,
    initial_gain_db: 6.0,
    max_gain_change_db_per_second: 6.0,
    max_output_noise_level_dbfs: -50.0,
};

/// The gain of one talker.
pub(super) struct Gain {
    noise: NoiseLevelEstimator,
    speech: SpeechLevelEstimator,
    saturation: SaturationProtector,
    controller: AdaptiveDigitalGainController,
    limiter: Limiter,
}

impl Gain {
    pub(super) fn new() -> Self {
        Self {
            noise: NoiseLevelEstimator::default(),
            speech: SpeechLevelEstimator::new(&CONFIG, ADJACENT_SPEECH_FRAMES_THRESHOLD),
            saturation: SaturationProtector::new(
                SATURATION_PROTECTOR_INITIAL_HEADROOM_DB,
                ADJACENT_SPEECH_FRAMES_THRESHOLD,
            ),
            controller: AdaptiveDigitalGainController::new(CONFIG, ADJACENT_SPEECH_FRAMES_THRESHOLD),
            limiter: Limiter::new(TICK_SAMPLES),
        }
    }

    /// Amplifies the next tick.
    pub(super) fn capture(&mut self, tick: &mut Tick, speech_probability: f32) {
        let peak = tick.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        let mean_square = tick.iter().map(|sample| sample * sample).sum::<f32>() / TICK_SAMPLES as f32;
        let noise_rms_dbfs = self.noise.analyze(&[tick]);
        self.speech.update(float_s16_to_dbfs(mean_square.sqrt()), speech_probability);
        let speech_level_dbfs = self.speech.level_dbfs();
        self.saturation.analyze(speech_probability, float_s16_to_dbfs(peak), speech_level_dbfs);
        let info = FrameInfo {
            speech_probability,
            speech_level_dbfs,
            speech_level_reliable: self.speech.is_confident(),
            noise_rms_dbfs,
            headroom_db: self.saturation.headroom_db(),
            limiter_envelope_dbfs: float_s16_to_dbfs(self.limiter.last_audio_level()),
        };
        self.controller.process(&info, &mut [tick]);
        self.limiter.process(&mut [tick]);
    }
}
