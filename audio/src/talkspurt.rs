//! Talkspurts: which encoded frames are sent.
//!
//! Not a voice detector: that is `processing`, whose judgement comes in with each frame. Not an encoder: all
//! frames are encoded, sent or not, so that the first one sent continues what the encoder knows.
//! In: each frame as it was encoded, with its ticks' [`Activity`]. Out: the frames to send, in order.
//! - A frame with voice is sent, and before the first of a talkspurt the [`TalkspurtSettings::pre_roll`]
//!   frames that came before it: a detector needs a moment, and the first consonant is over by then.
//! - Where a person has set a threshold ([`Talkspurts::set_threshold`]), voice below it is none; where nothing but
//!   loudness tells voice, what is above it is voice. It counts only while voice alone is sent.
//! - After the last voice, frames are sent for [`TalkspurtSettings::hangover_ms`]: gaps between words are
//!   sent, and what the listener's comfort noise is made of.
//! - What the encoder itself leaves out (DTX) is never sent. Its refreshes are sent within a talkspurt, and
//!   between talkspurts nothing is.
//! - The marker is on each frame before which none was sent (RFC 3551 §4.1).
//!
//! Bounds: `PRE_ROLL_MAX` frames kept; no allocation after `new`; O(1) copies a frame.

use echomesh_playout::PAYLOAD_BYTES_MAX;

use crate::codec::Frame;
use crate::processing::Activity;

/// Frames kept at most: what is sent late delays the talkspurt at the listener.
pub const PRE_ROLL_MAX: usize = 4;

/// When frames are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TalkspurtSettings {
    /// Whether only voice is sent; else all that the encoder gives.
    pub voice_only: bool,
    /// How long frames are sent after the last voice, milliseconds.
    pub hangover_ms: u32,
    /// Frames sent from before the first voice, at most [`PRE_ROLL_MAX`]. They come at once, so a listener
    /// plays a talkspurt later by as much until its buffer has caught up.
    pub pre_roll: usize,
    /// No detector judges: voice is what is loud, so a threshold decides alone.
    pub by_level: bool,
}

impl Default for TalkspurtSettings {
    /// 300 ms bridges the stops within words and the gaps between them. The pre-roll is one frame:
    /// docs/AUDIO.md has what more would win.
    fn default() -> Self {
        Self { voice_only: true, hangover_ms: 300, pre_roll: 1, by_level: false }
    }
}

/// A frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// 48 kHz clock of its first sample.
    pub media_time: u32,
    /// None was sent before it.
    pub marker: bool,
    /// RFC 6464 byte.
    pub audio_level: u8,
    /// Opus packet, never empty.
    pub payload: &'a [u8],
}

/// A frame that is kept.
struct Kept {
    media_time: u32,
    audio_level: u8,
    bytes: usize,
    payload: [u8; PAYLOAD_BYTES_MAX],
}

/// The talkspurts of one microphone.
pub struct Talkspurts {
    settings: TalkspurtSettings,
    /// The current frame and those before it, newest last; used as a ring from `next` on.
    kept: Vec<Kept>,
    /// Frames of `kept`, from the newest back, not yet sent or passed by.
    waiting: usize,
    /// Place of `kept` that the next frame takes.
    next: usize,
    /// Frames of the hangover, and those left of it; the frame with voice itself is one more.
    hangover_frames: u32,
    left_frames: u32,
    /// Of `waiting`, those that are to be sent now.
    to_send: usize,
    /// Media time that follows the last frame sent.
    sent_until: Option<u32>,
    frame_samples: u32,
    /// Decibels below full scale; what is softer is no voice.
    threshold: Option<u8>,
}

impl Talkspurts {
    /// Allocates all it will ever need.
    #[must_use]
    pub fn new(settings: TalkspurtSettings, frame: Frame) -> Self {
        let frame_samples = frame.samples() as u32;
        let pre_roll = settings.pre_roll.min(PRE_ROLL_MAX);
        let empty = || Kept { media_time: 0, audio_level: 0, bytes: 0, payload: [0; PAYLOAD_BYTES_MAX] };
        Self {
            settings: TalkspurtSettings { pre_roll, ..settings },
            kept: std::iter::repeat_with(empty).take(pre_roll + 1).collect(),
            waiting: 0,
            next: 0,
            hangover_frames: (settings.hangover_ms * 48).div_ceil(frame_samples),
            left_frames: 0,
            to_send: 0,
            sent_until: None,
            frame_samples,
            threshold: None,
        }
    }

    /// From now on only voice is sent, or all that the encoder gives.
    pub fn set_voice_only(&mut self, voice_only: bool) {
        self.settings.voice_only = voice_only;
    }

    /// How many decibels below full scale voice may be, from now on; `None`: as the detector has it.
    pub fn set_threshold(&mut self, threshold: Option<u8>) {
        self.threshold = threshold;
    }

    fn is_voice(&self, tick: &Activity) -> bool {
        match self.threshold.filter(|_| self.settings.voice_only) {
            Some(threshold) => tick.audio_level & 0x7F <= threshold && (tick.voice || self.settings.by_level),
            None => tick.voice,
        }
    }

    /// Whether someone speaks, or did just now: what the room is told.
    #[must_use]
    pub fn is_talking(&self) -> bool {
        self.left_frames > 0
    }

    /// Takes the next frame. `payload` is empty if the encoder left it out. Then [`Talkspurts::next_outgoing`]
    /// gives what is to be sent until it gives `None`; what was not taken by then is passed by.
    pub fn push(&mut self, media_time: u32, ticks: &[Activity], payload: &[u8]) {
        let voice = ticks.iter().any(|tick| self.is_voice(tick));
        self.left_frames = if voice { self.hangover_frames + 1 } else { self.left_frames.saturating_sub(1) };
        let sends = self.left_frames > 0 || !self.settings.voice_only;
        let kept = &mut self.kept[self.next];
        // Longer than a packet can be is nobody's frame.
        let bytes = if payload.len() > PAYLOAD_BYTES_MAX { 0 } else { payload.len() };
        *kept = Kept { media_time, audio_level: loudest(ticks), bytes, payload: kept.payload };
        kept.payload[..bytes].copy_from_slice(&payload[..bytes]);
        self.next = (self.next + 1) % self.kept.len();
        // What was to be sent before and not taken is late by now.
        self.waiting -= self.to_send;
        self.waiting = (self.waiting + 1).min(self.kept.len());
        self.to_send = if sends { self.waiting } else { 0 };
    }

    /// The next frame to send.
    pub fn next_outgoing(&mut self) -> Option<Outgoing<'_>> {
        while self.to_send > 0 {
            let at = (self.next + self.kept.len() - self.to_send) % self.kept.len();
            self.to_send -= 1;
            self.waiting -= 1;
            let Kept { media_time, audio_level, bytes, .. } = self.kept[at];
            if bytes == 0 {
                continue;
            }
            let marker = self.sent_until != Some(media_time);
            self.sent_until = Some(media_time.wrapping_add(self.frame_samples));
            let payload = &self.kept[at].payload[..bytes];
            return Some(Outgoing { media_time, marker, audio_level, payload });
        }
        None
    }
}

/// The byte of a frame: the level of its loudest tick, and voice if one of them has it.
fn loudest(ticks: &[Activity]) -> u8 {
    let level = ticks.iter().map(|tick| tick.audio_level & 0x7F).min().unwrap_or(0x7F);
    ticks.iter().fold(level, |byte, tick| byte | tick.audio_level & 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Activity = Activity { voice: false, audio_level: 70 };
    const VOICE: Activity = Activity { voice: true, audio_level: 0x80 | 30 };

    /// What is sent for a row of frames; `v` voice, `.` none, `d` left out by the encoder. Sent frames are
    /// numbered by their place, with `!` for the marker.
    fn sent(settings: TalkspurtSettings, frames: &str) -> String {
        let mut talkspurts = Talkspurts::new(settings, Frame::Ms20);
        let mut out = Vec::new();
        for (at, kind) in (0_u32..).zip(frames.chars()) {
            let ticks = if kind == 'v' { [QUIET, VOICE] } else { [QUIET, QUIET] };
            // The clock wraps on the way.
            let clock = |at: u32| (u32::MAX - 2_000).wrapping_add(at * 960);
            talkspurts.push(clock(at), &ticks, if kind == 'd' { &[] } else { &[1, 2] });
            while let Some(outgoing) = talkspurts.next_outgoing() {
                let place = (0..).find(|place| clock(*place) == outgoing.media_time).unwrap();
                out.push(format!("{place}{}", if outgoing.marker { "!" } else { "" }));
            }
        }
        out.join(" ")
    }

    const SETTINGS: TalkspurtSettings =
        TalkspurtSettings { voice_only: true, hangover_ms: 40, pre_roll: 2, by_level: false };

    /// Goal: silence sends nothing; a talkspurt begins early with a marker and ends late.
    #[test]
    fn talkspurts_have_pre_roll_and_hangover() {
        assert_eq!(sent(SETTINGS, "........"), "");
        assert_eq!(sent(SETTINGS, "....v....."), "2! 3 4 5 6");
        assert_eq!(sent(SETTINGS, "v..v.....v"), "0! 1 2 3 4 5 7! 8 9");
        assert_eq!(sent(TalkspurtSettings { pre_roll: 0, hangover_ms: 0, ..SETTINGS }, "..vv..v"), "2! 3 6!");
    }

    /// Goal: no frame is sent twice, and a pre-roll that reaches into the last talkspurt's hangover is no new
    /// talkspurt.
    #[test]
    fn pre_roll_joins_what_was_sent() {
        assert_eq!(sent(SETTINGS, "v...v..."), "0! 1 2 3 4 5 6");
        assert_eq!(sent(SETTINGS, "v....v"), "0! 1 2 3 4 5");
    }

    /// Goal: what the encoder leaves out is not sent, and what follows has a marker.
    #[test]
    fn the_encoders_silence_is_kept() {
        assert_eq!(sent(SETTINGS, "vdv..."), "0! 2! 3 4");
        assert_eq!(sent(TalkspurtSettings { voice_only: false, ..SETTINGS }, "..dd.v"), "0! 1 4! 5");
    }

    /// How many of these frames are sent, with a threshold.
    fn sent_over(threshold: Option<u8>, settings: TalkspurtSettings, frames: &[Activity]) -> usize {
        let mut talkspurts = Talkspurts::new(settings, Frame::Ms20);
        talkspurts.set_threshold(threshold);
        let push = |at: usize| {
            talkspurts.push(at as u32 * 960, &[frames[at]], &[1]);
            std::iter::from_fn(|| talkspurts.next_outgoing().map(drop)).count()
        };
        (0..frames.len()).map(push).sum()
    }

    /// Goal: under a person's threshold nothing is voice, above it what the detector takes for it, or, without one, all;
    /// what sends all asks for no threshold.
    #[test]
    fn a_threshold_closes() {
        let alone = TalkspurtSettings { hangover_ms: 0, pre_roll: 0, ..SETTINGS };
        // 30 and 70 dB below full scale.
        let frames = [VOICE, QUIET, VOICE, QUIET];
        assert_eq!(sent_over(None, alone, &frames), 2);
        assert_eq!(sent_over(Some(30), alone, &frames), 2, "at the threshold is over it");
        assert_eq!(sent_over(Some(29), alone, &frames), 0);
        assert_eq!(sent_over(Some(80), alone, &frames), 2, "it makes no voice of noise");
        assert_eq!(sent_over(Some(80), TalkspurtSettings { by_level: true, ..alone }, &frames), 4);
        assert_eq!(sent_over(Some(40), TalkspurtSettings { by_level: true, ..alone }, &frames), 2);
        assert_eq!(sent_over(Some(29), TalkspurtSettings { voice_only: false, ..alone }, &frames), 4);
    }

    /// Goal: a frame has the level of its louder tick and the V bit of either.
    #[test]
    fn the_level_is_that_of_the_louder_tick() {
        assert_eq!(loudest(&[QUIET, VOICE]), 0x80 | 30);
        assert_eq!(loudest(&[Activity { voice: false, audio_level: 20 }, VOICE]), 0x80 | 20);
        assert_eq!(loudest(&[]), 0x7F);
    }

    /// Goal: what nobody takes does not pile up, nor is it sent late.
    #[test]
    fn frames_not_taken_are_passed_by() {
        let mut talkspurts = Talkspurts::new(SETTINGS, Frame::Ms20);
        for at in 0..1_000 {
            talkspurts.push(at * 960, &[VOICE], &[1]);
        }
        assert_eq!(talkspurts.next_outgoing().map(|outgoing| outgoing.media_time), Some(999 * 960));
        assert_eq!(talkspurts.next_outgoing(), None);
        assert!(talkspurts.is_talking());
    }
}
