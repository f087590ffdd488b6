//! The way from a tick of sound to a packet: processing, gathering of a frame, Opus, talkspurts.
//!
//! Not the pace and not the network. The media clock goes on with every tick, said or not, and jumps over the
//! time for which there was no microphone.
//! Out: the frames to send, at most one and the talkspurt's pre-roll a tick. Bounds: one frame gathered.

use super::wire::{Spoken, SpokenFrame};
use crate::codec::{CodecError, Encoder, EncoderSettings, Frame};
use crate::playout::PAYLOAD_BYTES_MAX;
use crate::processing::{Activity, Processing};
use crate::talkspurt::{TalkspurtSettings, Talkspurts};
use crate::{SAMPLE_RATE, TICK_SAMPLES};

/// Pause between two ticks that is no delay but a microphone that was away, microseconds.
const AWAY_US: u64 = 200_000;

/// Ticks of the longest frame.
const TICKS_MAX: usize = Frame::Ms20.samples() / TICK_SAMPLES;

/// What a tick holds of which nobody is to know.
const NOTHING: Activity = Activity { voice: false, audio_level: 127 };

/// Frames encoded, and sent.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) encoded: u64,
    pub(super) sent: u64,
}

/// The speaking side.
pub(super) struct Voice {
    processing: Processing,
    encoder: Encoder,
    settings: EncoderSettings,
    talkspurts: Talkspurts,
    /// The frame that is gathered, and what its ticks hold.
    samples: Vec<i16>,
    activities: [Activity; TICKS_MAX],
    /// Of the frame that is gathered.
    media_time: u32,
    tick_us: u64,
    talking: bool,
    level: u8,
}

impl Voice {
    pub(super) fn new(
        settings: EncoderSettings,
        processing: Processing,
        talkspurts: TalkspurtSettings,
        media_time: u32,
    ) -> Result<Self, CodecError> {
        Ok(Self {
            processing,
            encoder: Encoder::new(&settings)?,
            settings,
            talkspurts: Talkspurts::new(talkspurts, settings.frame),
            samples: Vec::with_capacity(settings.frame.samples()),
            activities: [NOTHING; TICKS_MAX],
            media_time,
            tick_us: 0,
            talking: false,
            level: NOTHING.audio_level,
        })
    }

    /// Encodes so from the next frame on. The frame's length stays.
    pub(super) fn apply(&mut self, settings: EncoderSettings) -> Result<(), CodecError> {
        let settings = EncoderSettings { frame: self.settings.frame, ..settings };
        if settings != self.settings {
            self.encoder.apply(&settings)?;
            self.settings = settings;
        }
        Ok(())
    }

    /// Whether silence is sent, too.
    pub(super) fn send_all(&mut self, sends_all: bool) {
        self.talkspurts.set_voice_only(!sends_all);
    }

    /// Under how many decibels below full scale nothing is voice.
    pub(super) fn threshold(&mut self, threshold: Option<u8>) {
        self.talkspurts.set_threshold(threshold);
    }

    /// RFC 6464 byte of the last tick.
    pub(super) fn level(&self) -> u8 {
        self.level
    }

    /// What the loudspeaker was given.
    pub(super) fn render(&mut self, tick: &[i16; TICK_SAMPLES]) {
        self.processing.render(tick);
    }

    /// Time passes of which nothing is said.
    pub(super) fn skip(&mut self, ticks: u64) {
        self.samples.clear();
        self.media_time = self.media_time.wrapping_add(ticks.wrapping_mul(TICK_SAMPLES as u64) as u32);
    }

    /// A tick of the input; `send` is given what the network is to know of it.
    pub(super) fn tick(
        &mut self,
        now_us: u64,
        tick: &mut [i16; TICK_SAMPLES],
        muted: bool,
        counts: &mut Counts,
        mut send: impl FnMut(Spoken),
    ) -> Result<(), CodecError> {
        let since = now_us - self.tick_us;
        if self.tick_us > 0 && since > AWAY_US {
            let ticks = since * u64::from(SAMPLE_RATE) / 1_000_000 / TICK_SAMPLES as u64;
            self.skip(ticks.saturating_sub(1));
        }
        self.tick_us = now_us;
        // Muted too: the echo canceller goes on learning.
        let activity = self.processing.capture(tick);
        self.level = activity.audio_level;
        self.activities[self.samples.len() / TICK_SAMPLES] = if muted { NOTHING } else { activity };
        self.samples.extend_from_slice(tick);
        if self.samples.len() < self.settings.frame.samples() {
            return Ok(());
        }
        let mut bytes = [0; PAYLOAD_BYTES_MAX];
        let length = if muted { 0 } else { self.encoder.encode(&self.samples, &mut bytes)? };
        counts.encoded += u64::from(!muted);
        let ticks = self.samples.len() / TICK_SAMPLES;
        self.talkspurts.push(self.media_time, &self.activities[..ticks], &bytes[..length]);
        self.media_time = self.media_time.wrapping_add(self.samples.len() as u32);
        self.samples.clear();
        let talking = self.talkspurts.is_talking() && !muted;
        let mut news = std::mem::replace(&mut self.talking, talking) != talking;
        while let Some(outgoing) = self.talkspurts.next_outgoing() {
            counts.sent += 1;
            news = false;
            send(Spoken { talking, frame: SpokenFrame::new(&outgoing) });
        }
        if news {
            send(Spoken { talking, frame: None });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::EncoderSettings;
    use crate::processing::ProcessingSettings;

    /// Goal: a threshold that is set while somebody speaks closes after the hangover and opens at once, and the clock and
    /// the frames before and after go on: nothing else is lost. Method: a tone 33 dB below full scale, 300 ms each.
    #[test]
    fn a_threshold_is_set_while_one_speaks() {
        let talkspurts = TalkspurtSettings { hangover_ms: 40, by_level: true, ..TalkspurtSettings::default() };
        let processing = Processing::new(&ProcessingSettings::off());
        let mut voice = Voice::new(EncoderSettings::default(), processing, talkspurts, 0).unwrap();
        let mut sent = Vec::new();
        for (at, threshold) in [None, Some(20), Some(40)].into_iter().enumerate() {
            voice.threshold(threshold);
            for tick in 0..30 {
                let now_us = 1 + (at as u64 * 30 + tick) * 10_000;
                let wave = |n: usize| (1_036.0 * (n as f64 * 440.0 * std::f64::consts::TAU / 48_000.0).sin()) as i16;
                let mut samples = std::array::from_fn(|n| wave(n + tick as usize * TICK_SAMPLES));
                let send =
                    |spoken: Spoken| sent.extend(spoken.frame.map(|frame| (frame.media_time / 960, frame.marker)));
                voice.tick(now_us, &mut samples, false, &mut Counts::default(), send).unwrap();
            }
        }
        // 15 frames each: all; two of the hangover; all, and the one of the pre-roll.
        let expected: Vec<(u32, bool)> = (0..17).chain(29..45).map(|at| (at, at == 0 || at == 29)).collect();
        assert_eq!(sent, expected);
    }
}
