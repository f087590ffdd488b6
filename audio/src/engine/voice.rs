//! The way from a tick of sound to a packet: processing, gathering of a frame, Opus.
//!
//! Not the pace and not the network. The media clock goes on with every tick, said or not, and jumps over the
//! time for which there was no microphone.
//! Out: at most one frame a tick. Bounds: one frame gathered.

use super::totals::Totals;
use super::wire::{Spoken, SpokenFrame};
use crate::codec::{CodecError, Encoder, EncoderSettings};
use crate::playout::PAYLOAD_BYTES_MAX;
use crate::processing::{Activity, Processing};
use crate::{SAMPLE_RATE, TICK_SAMPLES};

/// Ticks without voice after which nobody is talking: 300 ms bridges the gaps between words.
const TALKING_TICKS: u32 = 30;

/// Pause between two ticks that is no delay but a microphone that was away, microseconds.
const AWAY_US: u64 = 200_000;

/// Quietest level of RFC 6464, and its bit of voice.
const SILENCE: u8 = 127;
const VOICE: u8 = 0x80;

/// The speaking side.
pub(super) struct Voice {
    processing: Processing,
    encoder: Encoder,
    settings: EncoderSettings,
    /// The frame that is gathered.
    samples: Vec<i16>,
    level: u8,
    voice: bool,
    /// Of the frame that is gathered.
    media_time: u32,
    tick_us: u64,
    /// The last frame was sent.
    sent: bool,
    /// Ticks since the last one with voice, up to `TALKING_TICKS`.
    quiet: u32,
}

impl Voice {
    pub(super) fn new(settings: EncoderSettings, processing: Processing, media_time: u32) -> Result<Self, CodecError> {
        Ok(Self {
            processing,
            encoder: Encoder::new(&settings)?,
            settings,
            samples: Vec::with_capacity(settings.frame.samples()),
            level: SILENCE,
            voice: false,
            media_time,
            tick_us: 0,
            sent: false,
            quiet: TALKING_TICKS,
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

    /// What the loudspeaker was given.
    pub(super) fn render(&mut self, tick: &[i16; TICK_SAMPLES]) {
        self.processing.render(tick);
    }

    /// Time passes of which nothing is said.
    pub(super) fn skip(&mut self, ticks: u64) {
        self.samples.clear();
        self.sent = false;
        self.media_time = self.media_time.wrapping_add(ticks.wrapping_mul(TICK_SAMPLES as u64) as u32);
    }

    /// A tick of the input. `None`: there is nothing to tell the network.
    pub(super) fn tick(
        &mut self,
        now_us: u64,
        tick: &mut [i16; TICK_SAMPLES],
        muted: bool,
        totals: &mut Totals,
    ) -> Result<Option<Spoken>, CodecError> {
        let since = now_us - self.tick_us;
        if self.tick_us > 0 && since > AWAY_US {
            let ticks = since * u64::from(SAMPLE_RATE) / 1_000_000 / TICK_SAMPLES as u64;
            self.skip(ticks.saturating_sub(1));
        }
        self.tick_us = now_us;
        // Muted too: the echo canceller goes on learning.
        let Activity { voice, audio_level } = self.processing.capture(tick);
        let voice = voice && !muted;
        let was_talking = self.quiet < TALKING_TICKS;
        self.quiet = if voice { 0 } else { (self.quiet + 1).min(TALKING_TICKS) };
        let talking = self.quiet < TALKING_TICKS;
        if self.samples.is_empty() {
            self.level = SILENCE;
            self.voice = false;
        }
        self.level = self.level.min(audio_level & SILENCE);
        self.voice |= voice;
        self.samples.extend_from_slice(tick);
        let mut frame = None;
        if self.samples.len() >= self.settings.frame.samples() {
            if !muted {
                frame = self.encode(totals)?;
            }
            self.sent = frame.is_some();
            self.media_time = self.media_time.wrapping_add(self.samples.len() as u32);
            self.samples.clear();
        }
        Ok((frame.is_some() || talking != was_talking).then_some(Spoken { talking, frame }))
    }

    fn encode(&mut self, totals: &mut Totals) -> Result<Option<SpokenFrame>, CodecError> {
        let mut bytes = [0; PAYLOAD_BYTES_MAX];
        let length = self.encoder.encode(&self.samples, &mut bytes)?;
        totals.encoded += 1;
        if length == 0 {
            totals.silent += 1;
            return Ok(None);
        }
        let audio_level = self.level | if self.voice { VOICE } else { 0 };
        let marker = !self.sent;
        Ok(Some(SpokenFrame { media_time: self.media_time, marker, audio_level, length: length as u16, bytes }))
    }
}
