//! From the command line to an engine: which input and output, how it encodes, and what becomes of its sound.
//!
//! Not the engine, which is `echomesh_audio`'s, and not its threads.
//! In: arguments. Out: [`EngineSettings`], and sentences about devices for a person.

use echomesh_audio::alsa::shared::DeviceEvent;
use echomesh_audio::alsa::{Direction, Problem};
use echomesh_audio::codec::{EncoderSettings, Frame};
use echomesh_audio::engine::{Endpoint, EngineError, EngineSettings};
use echomesh_audio::pcm::{PcmError, PcmProblem};
use echomesh_audio::processing::ProcessingSettings;
use echomesh_audio::talkspurt::TalkspurtSettings;

use super::args::SoundArgs;
use super::failure::Failure;

/// Period asked of a loudspeaker, microseconds: 15 ms in the device, as a machine without real-time rights may be
/// 10 ms late.
const PLAYBACK_PERIOD_US: u32 = 5_000;

/// Of a microphone: the engine takes 10 ms at a time, so shorter ones would only wake more often.
const CAPTURE_PERIOD_US: u32 = 10_000;

/// Of both for low delay: 7.5 ms in a loudspeaker, and it may be 5 ms late.
const PERIOD_US_LOW_DELAY: u32 = 2_500;

/// Least delay of a jitter buffer, microseconds: a tick of the engine. At half of it devices that move several
/// periods at once were heard to miss packets.
const PLAYOUT_US: u64 = 10_000;

/// As the arguments say. `looped`: a file is said again and again.
///
/// # Errors
/// `Failure::Local` if the system gives no random bytes.
pub fn engine_settings(sound: &SoundArgs, looped: bool) -> Result<EngineSettings, Failure> {
    // RFC 3550 §5.1: the first timestamp is random.
    let media_time =
        getrandom::u32().map_err(|error| Failure::Local(format!("the system gives no random bytes: {error}")))?;
    let input = Endpoint::parse(&sound.input);
    // A file is said as it is.
    let (processing, talkspurts) = match input {
        Endpoint::Device(_) => (sound.processing.processing(), sound.processing.talkspurts()),
        Endpoint::File(_) | Endpoint::Pcm(_) | Endpoint::Nothing => (
            ProcessingSettings::off(),
            TalkspurtSettings { voice_only: false, by_level: true, ..TalkspurtSettings::default() },
        ),
    };
    let frame = if sound.low_delay { Frame::Ms10LowDelay } else { Frame::Ms20 };
    Ok(EngineSettings {
        input,
        looped,
        output: Endpoint::parse(&sound.output),
        encoder: EncoderSettings { frame, ..EncoderSettings::default() },
        processing,
        talkspurts,
        media_time,
        capture_period_us: if sound.low_delay { PERIOD_US_LOW_DELAY } else { CAPTURE_PERIOD_US },
        playback_period_us: if sound.low_delay { PERIOD_US_LOW_DELAY } else { PLAYBACK_PERIOD_US },
        playout_floor_us: PLAYOUT_US,
        tap_seconds: 0,
    })
}

/// How an engine's error ends the program.
pub fn failure(error: EngineError) -> Failure {
    match error {
        EngineError::Pcm(PcmError { problem: PcmProblem::PeerGone, .. }) => Failure::PeerEnded(error.to_string()),
        EngineError::System(_) | EngineError::Panicked => Failure::Local(error.to_string()),
        _ => Failure::Audio(error.to_string()),
    }
}

/// What a person was told of the devices so far, so that each thing is said once.
#[derive(Debug, Default)]
pub struct DeviceNews {
    warned: bool,
    lost: [bool; 2],
}

fn part(direction: Direction) -> (usize, &'static str) {
    match direction {
        Direction::Capture => (0, "microphone"),
        Direction::Playback => (1, "loudspeaker"),
    }
}

impl DeviceNews {
    /// The sentence to say about this, if it is news. Xruns go to the log.
    pub fn tell(&mut self, direction: Direction, event: &DeviceEvent) -> Option<String> {
        let (at, part) = part(direction);
        match event {
            DeviceEvent::Runs { granted, rights } => {
                tracing::debug!("{part}: {granted}, {rights:?}");
                let warning = rights.warning().filter(|_| !std::mem::replace(&mut self.warned, true));
                let back = std::mem::take(&mut self.lost[at]).then(|| format!("the {part} works again"));
                back.or(warning)
            }
            DeviceEvent::Xrun { wake_late_us, work_us } => {
                let (late, work) = (f64::from(*wake_late_us) / 1_000.0, f64::from(*work_us) / 1_000.0);
                tracing::debug!("{part}: xrun; its thread woke {late:.1} ms late, and had worked for {work:.2} ms");
                None
            }
            DeviceEvent::Resumed => {
                tracing::debug!("{part}: goes on after the machine slept");
                None
            }
            DeviceEvent::Lost(error) if error.problem == Problem::NoClock => Some(error.to_string()),
            DeviceEvent::Lost(error) => (!std::mem::replace(&mut self.lost[at], true))
                .then(|| format!("{error}; the call goes on, and the {part} is tried again and again")),
        }
    }
}

#[cfg(test)]
mod tests {
    use echomesh_audio::alsa::DeviceError;
    use echomesh_audio::thread::Rights;

    use super::*;

    /// Goal: a microphone that comes and goes is told once each time, and the missing rights once in all.
    #[test]
    fn each_thing_is_said_once() {
        let granted = echomesh_audio::alsa::open::Granted {
            rate: 48_000,
            channels: 1,
            period: 240,
            buffer: 720,
            format: echomesh_audio::alsa::open::SampleFormat::S16,
        };
        let runs = DeviceEvent::Runs { granted, rights: Rights::Ordinary };
        let gone = DeviceError { device: "hw:1".to_owned(), direction: Direction::Capture, problem: Problem::Gone };
        let lost = DeviceEvent::Lost(gone);
        let mut news = DeviceNews::default();
        assert!(news.tell(Direction::Capture, &runs).is_some_and(|text| text.contains("limits.d")));
        assert_eq!(news.tell(Direction::Playback, &runs), None);
        assert!(news.tell(Direction::Capture, &lost).is_some_and(|text| text.contains("hw:1 is gone")));
        assert_eq!(news.tell(Direction::Capture, &lost), None);
        assert_eq!(news.tell(Direction::Capture, &runs), Some("the microphone works again".to_owned()));
    }
}
