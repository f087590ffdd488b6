//! The flags of what is done to a microphone's sound, and which of it is sent.
//!
//! Not for files, which are said as they are. In: flags, whose defaults suit a headset. Out: settings of
//! `echomesh_audio`.

use clap::{Args, ValueEnum};
use echomesh_audio::processing::{NoiseSuppression, ProcessingSettings};
use echomesh_audio::talkspurt::TalkspurtSettings;

/// What is done to a microphone's sound.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Microphone")]
pub struct ProcessingArgs {
    /// Take away what the loudspeaker plays: for a loudspeaker in the room, not for a headset
    #[arg(long)]
    pub echo_cancellation: bool,
    /// How much noise to take away
    #[arg(long, value_enum, default_value_t)]
    pub noise_suppression: Noise,
    /// Leave quiet talkers quiet
    #[arg(long)]
    pub no_automatic_gain: bool,
    /// Leave hum and rumble below 100 Hz
    #[arg(long)]
    pub no_high_pass: bool,
    /// Send all that is heard, not voice alone
    #[arg(long)]
    pub no_voice_detection: bool,
}

/// How much noise to take away.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Noise {
    /// None
    Off,
    /// 12 dB of steady noise
    #[default]
    Moderate,
    /// 18 dB of steady noise
    Strong,
    /// As much as a neural network (RNNoise) can tell from speech
    Neural,
}

impl ProcessingArgs {
    /// What is done to each tick.
    pub fn processing(&self) -> ProcessingSettings {
        ProcessingSettings {
            high_pass: !self.no_high_pass,
            echo: self.echo_cancellation,
            noise: match self.noise_suppression {
                Noise::Off => NoiseSuppression::Off,
                Noise::Moderate => NoiseSuppression::Moderate,
                Noise::Strong => NoiseSuppression::Strong,
                Noise::Neural => NoiseSuppression::Neural,
            },
            gain: !self.no_automatic_gain,
            detect_voice: !self.no_voice_detection,
        }
    }

    /// Which frames are sent.
    pub fn talkspurts(&self) -> TalkspurtSettings {
        let by_level = self.no_voice_detection;
        TalkspurtSettings { voice_only: !by_level, by_level, ..TalkspurtSettings::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: without flags the settings are the library's defaults, for a headset.
    #[test]
    fn the_defaults_are_the_librarys() {
        assert_eq!(ProcessingArgs::default().processing(), ProcessingSettings::default());
        assert_eq!(ProcessingArgs::default().talkspurts(), TalkspurtSettings::default());
    }
}
