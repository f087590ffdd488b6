//! High-pass, echo cancellation and noise suppression: the libraries' work, tick by tick.
//!
//! Not gain: that comes behind the voice detector. `sonora` (WebRTC's APM in Rust) does the first three in
//! one pass over split bands; `nnnoiseless` (RNNoise in Rust) is the other suppressor, after it.
//! In and out: ticks of 10 ms, floats of `i16` range. Bounds: fixed state; the echo canceller
//! allocates short lists within a call.

use nnnoiseless::DenoiseState;
use sonora::config::{EchoCanceller, HighPassFilter, MaxProcessingRate, NoiseSuppressionLevel, Pipeline};
use sonora::{AudioProcessing, Config, StreamConfig};

use super::{FULL_SCALE, NoiseSuppression, ProcessingSettings, SAMPLE_RATE, TICK_SAMPLES, Tick};

/// What `sonora` does to a tick.
pub(super) struct Front {
    processing: AudioProcessing,
    /// Whether it listens to the loudspeaker.
    echo: bool,
    /// The tick as `sonora` takes it, −1 to 1.
    scaled: Tick,
    /// Where it puts what it made.
    out: Tick,
}

impl Front {
    /// `None` if it would have nothing to do.
    pub(super) fn new(settings: &ProcessingSettings) -> Option<Self> {
        let level = match settings.noise {
            NoiseSuppression::Off | NoiseSuppression::Neural => None,
            NoiseSuppression::Moderate => Some(NoiseSuppressionLevel::Moderate),
            NoiseSuppression::Strong => Some(NoiseSuppressionLevel::High),
        };
        if !settings.high_pass && !settings.echo && level.is_none() {
            return None;
        }
        let suppression = |level| sonora::config::NoiseSuppression { level, ..Default::default() };
        let config = Config {
            // By default it would work at 32 kHz and lose what is above 16 kHz.
            pipeline: Pipeline {
                maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz,
                ..Pipeline::default()
            },
            high_pass_filter: settings.high_pass.then(HighPassFilter::default),
            echo_canceller: settings.echo.then(EchoCanceller::default),
            noise_suppression: level.map(suppression),
            ..Config::default()
        };
        let stream = StreamConfig::new(SAMPLE_RATE, 1);
        let processing = AudioProcessing::builder().config(config).capture_config(stream).render_config(stream).build();
        Some(Self { processing, echo: settings.echo, scaled: [0.0; TICK_SAMPLES], out: [0.0; TICK_SAMPLES] })
    }

    /// What the loudspeaker plays.
    pub(super) fn render(&mut self, samples: &[i16; TICK_SAMPLES]) {
        if !self.echo {
            return;
        }
        for (scaled, sample) in self.scaled.iter_mut().zip(samples) {
            *scaled = f32::from(*sample) / FULL_SCALE;
        }
        let done = self.processing.process_render_f32(&[&self.scaled], &mut [&mut self.out]);
        debug_assert!(done.is_ok(), "48 kHz mono in ticks is what it was made for");
    }

    /// The next tick of the microphone.
    pub(super) fn capture(&mut self, tick: &mut Tick) {
        for (scaled, sample) in self.scaled.iter_mut().zip(tick.iter()) {
            *scaled = sample / FULL_SCALE;
        }
        let done = self.processing.process_capture_f32(&[&self.scaled], &mut [&mut self.out]);
        debug_assert!(done.is_ok(), "48 kHz mono in ticks is what it was made for");
        for (sample, out) in tick.iter_mut().zip(&self.out) {
            *sample = out * FULL_SCALE;
        }
    }
}

/// RNNoise.
pub(super) struct Neural {
    state: Box<DenoiseState<'static>>,
    out: Tick,
}

// What it takes at a time is a tick.
const _: () = assert!(DenoiseState::FRAME_SIZE == TICK_SAMPLES);

impl Neural {
    pub(super) fn new() -> Self {
        Self { state: DenoiseState::new(), out: [0.0; TICK_SAMPLES] }
    }

    /// The next tick of the microphone. Its own voice probability is not used: one detector for all settings
    /// behaves the same in all.
    pub(super) fn capture(&mut self, tick: &mut Tick) {
        self.state.process_frame(&mut self.out, tick);
        tick.copy_from_slice(&self.out);
    }
}
