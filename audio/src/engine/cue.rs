//! Cues: short soft sounds that tell a person what happened, made of two tones each.
//!
//! Not when they sound, which is the caller's. They come after the others' voices, and after these were silenced for who
//! wants to hear nothing: what is told is that person's own. In: which cue. Out: samples added to ticks.
//! Bounds: one sounds and one waits, the newest. Cost: two sines a sample while one sounds; nothing is allocated.

use std::f32::consts::TAU;

use crate::{SAMPLE_RATE, TICK_SAMPLES};

/// Samples of a tone: 80 ms, so a cue takes 160.
const TONE_SAMPLES: usize = SAMPLE_RATE as usize * 80 / 1_000;

/// Its greatest amplitude: 30 dB below full scale.
const PEAK: f32 = 1_036.0;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    /// Somebody came into the room.
    Joined,
    /// Somebody left it.
    Left,
    /// The own microphone is open again.
    Unmuted,
    /// It is closed.
    Muted,
    /// The others are heard again.
    Undeafened,
    /// They are not.
    Deafened,
}

impl Cue {
    /// Its two tones, Hz: what begins rises, what ends falls.
    fn tones(self) -> [f32; 2] {
        match self {
            Self::Joined => [523.3, 659.3],
            Self::Left => [659.3, 523.3],
            Self::Unmuted => [784.0, 987.8],
            Self::Muted => [987.8, 784.0],
            Self::Undeafened => [329.6, 440.0],
            Self::Deafened => [440.0, 329.6],
        }
    }

    /// A sample of it; `None` after its end. Each tone swells and fades (a Hann window): no click.
    fn sample(self, at: usize) -> Option<f32> {
        let hz = *self.tones().get(at / TONE_SAMPLES)?;
        let at = (at % TONE_SAMPLES) as f32;
        let swell = 0.5 - 0.5 * (TAU * at / TONE_SAMPLES as f32).cos();
        Some(PEAK * swell * (TAU * hz * at / SAMPLE_RATE as f32).sin())
    }
}

/// What sounds now.
#[derive(Debug, Default)]
pub(super) struct Cues {
    /// And how much of it has.
    now: Option<(Cue, usize)>,
    next: Option<Cue>,
}

impl Cues {
    /// Sounds it, after the one that sounds.
    pub(super) fn ask(&mut self, cue: Cue) {
        if self.now.is_none() {
            self.now = Some((cue, 0));
        } else {
            self.next = Some(cue);
        }
    }

    /// Adds what sounds to a tick.
    pub(super) fn mix(&mut self, tick: &mut [i16; TICK_SAMPLES]) {
        for sample in tick {
            let Some((cue, at)) = &mut self.now else { return };
            match cue.sample(*at) {
                Some(more) => {
                    // The cast saturates.
                    *sample = (f32::from(*sample) + more).round() as i16;
                    *at += 1;
                }
                None => self.now = self.next.take().map(|cue| (cue, 0)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::codec::{Encoder, EncoderSettings};
    use crate::engine::run::now_us;
    use crate::engine::{Endpoint, Engine, EngineSettings};
    use crate::playout::Packet;
    use crate::processing::ProcessingSettings;
    use crate::talkspurt::TalkspurtSettings;

    const ALL: [Cue; 6] = [Cue::Joined, Cue::Left, Cue::Unmuted, Cue::Muted, Cue::Undeafened, Cue::Deafened];

    fn sounds(cues: &mut Cues) -> Vec<i16> {
        let mut all = Vec::new();
        for _ in 0..40 {
            let mut tick = [0; TICK_SAMPLES];
            cues.mix(&mut tick);
            all.extend(tick);
        }
        all
    }

    /// Goal: a cue is soft, over in a fifth of a second, without clicks, and unlike each other.
    #[test]
    fn cues_are_soft_and_short() {
        let mut heard = Vec::new();
        for cue in ALL {
            let mut cues = Cues::default();
            cues.ask(cue);
            let all = sounds(&mut cues);
            let last = all.iter().rposition(|sample| *sample != 0).unwrap();
            assert!(last < SAMPLE_RATE as usize / 5, "{cue:?} ends at {last}");
            let peak = all.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
            assert!((900..=1_036).contains(&peak), "{cue:?}: {peak}");
            // A sine of 1 kHz and this height moves by 136 a sample; a click would move by the height.
            assert!(all.windows(2).all(|pair| pair[0].abs_diff(pair[1]) < 140), "{cue:?} clicks");
            assert!(!heard.contains(&all), "{cue:?} is another's sound");
            heard.push(all);
        }
    }

    /// Goal: of what is asked for while one sounds the newest sounds after it; voices stay, and too loud ones do not wrap.
    #[test]
    fn one_sounds_and_one_waits() {
        let mut cues = Cues::default();
        [Cue::Joined, Cue::Left, Cue::Muted].into_iter().for_each(|cue| cues.ask(cue));
        let both = sounds(&mut cues);
        let alone = |cue| {
            let mut cues = Cues::default();
            cues.ask(cue);
            sounds(&mut cues)
        };
        let (first, second) = (2 * TONE_SAMPLES, 4 * TONE_SAMPLES);
        assert_eq!(both[..first], alone(Cue::Joined)[..first]);
        assert_eq!(both[first + 1..second], alone(Cue::Muted)[..first - 1]);
        assert!(both[second + 1..].iter().all(|sample| *sample == 0));
        cues.ask(Cue::Joined);
        let mut tick = [i16::MAX; TICK_SAMPLES];
        cues.mix(&mut tick);
        assert!(tick.iter().all(|sample| *sample > 30_000));
    }

    /// Somebody's voice for 0.6 s: a tone.
    fn speak(engine: &mut Engine) {
        let settings = EncoderSettings::default();
        let mut encoder = Encoder::new(&settings).unwrap();
        let length = settings.frame.samples();
        let first_us = now_us();
        for index in 0..30_u32 {
            let media_time = index * length as u32;
            let tone = |at: u32| (8_000.0 * (TAU * 440.0 * at as f32 / SAMPLE_RATE as f32).sin()) as i16;
            let samples: Vec<i16> = (media_time..media_time + length as u32).map(tone).collect();
            let mut bytes = [0; crate::playout::PAYLOAD_BYTES_MAX];
            let bytes_count = encoder.encode(&samples, &mut bytes).unwrap();
            let packet = Packet {
                arrival_us: first_us + u64::from(media_time) * 1_000_000 / u64::from(SAMPLE_RATE),
                index: index.into(),
                media_time,
                marker: index == 0,
                payload: &bytes[..bytes_count],
            };
            engine.hear(&packet, 7);
        }
    }

    /// What an engine wrote while somebody spoke, deafened or not, that was asked for a cue or not.
    fn written(deafened: bool, cue: Option<Cue>) -> Vec<i16> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.wav");
        let settings = EngineSettings {
            input: Endpoint::Nothing,
            looped: false,
            output: Endpoint::File(path.to_str().unwrap().to_owned()),
            encoder: EncoderSettings::default(),
            processing: ProcessingSettings::off(),
            talkspurts: TalkspurtSettings::default(),
            media_time: 0,
            capture_period_us: 10_000,
            playback_period_us: 5_000,
            playout_floor_us: 0,
            tap_seconds: 0,
        };
        let mut engine = Engine::open(&settings).unwrap();
        engine.deafen(deafened);
        speak(&mut engine);
        if let Some(cue) = cue {
            engine.cue(cue);
        }
        engine.begin();
        let deadline = Instant::now() + Duration::from_secs(20);
        // The clock paces a file: 0.26 s of it are more than the cue.
        while std::fs::metadata(&path).unwrap().len() < 24 * 1_024 {
            assert!(Instant::now() < deadline, "the engine does not play");
            std::thread::yield_now();
        }
        engine.finish().unwrap();
        crate::wav::load(&path).unwrap()
    }

    /// Goal: the cue is in what is played though nobody else is heard, and nothing is there without one.
    #[test]
    fn deafened_ears_hear_the_cue() {
        let heard = written(true, Some(Cue::Deafened));
        let expected = (0..2 * TONE_SAMPLES).map(|at| Cue::Deafened.sample(at).unwrap());
        assert!(heard.len() > 2 * TONE_SAMPLES);
        assert!(expected.zip(&heard).all(|(expected, heard)| (expected - f32::from(*heard)).abs() <= 0.5));
        assert!(heard[2 * TONE_SAMPLES..].iter().all(|sample| *sample == 0));
        assert!(written(true, None).iter().all(|sample| *sample == 0));
        // The voice is there to be heard.
        assert!(written(false, None).iter().any(|sample| *sample > 3_000));
    }
}
