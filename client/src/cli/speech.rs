//! The audio engine as the network's task uses it: frames to send when they are ready, packets to play, and
//! what happened to the devices.
//!
//! Not the engine: its threads, rings and clocks are `echomesh_audio`'s. Here an eventfd becomes something to
//! await.
//! Bounds: the engine's.

use std::os::fd::OwnedFd;

use echomesh_audio::adapt::Adaptation;
use echomesh_audio::engine::wire::{Spoken, SpokenFrame};
use echomesh_audio::engine::{Cue, Engine, EngineSettings, Totals};
use echomesh_audio::playout::Packet;
use echomesh_client::{VoiceFrame, VoiceStatistics};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::{MediaTime, Time};
use tokio::io::unix::AsyncFd;

use super::descriptor::readable;
use super::failure::Failure;
use super::link::HeardPacket;
use super::network_report::{BITS_MAX, BITS_MIN, NetworkReports};
use super::sound::{DeviceNews, failure};
use super::threshold::Threshold;

/// An engine that runs.
pub struct Speech {
    engine: Engine,
    ready: AsyncFd<OwnedFd>,
    news: DeviceNews,
    adaptation: Adaptation,
    reports: NetworkReports,
}

/// Waits until [`Speech::next_spoken`] has something; for ever, where there is no sound. Safe to drop.
pub async fn spoken(speech: Option<&Speech>) {
    match speech {
        Some(speech) => speech.ready().await,
        None => std::future::pending().await,
    }
}

/// A frame as it is sent.
pub fn voice_frame(frame: &SpokenFrame) -> VoiceFrame<'_> {
    VoiceFrame {
        media_time: MediaTime(frame.media_time),
        marker: frame.marker,
        audio_level: Some(frame.audio_level),
        payload: frame.payload(),
    }
}

impl Speech {
    /// Opens input and output and starts the engine, which waits for [`Speech::begin`].
    ///
    /// # Errors
    /// `Failure::Audio` if a device or a file cannot be used.
    pub fn open(settings: &EngineSettings) -> Result<Self, Failure> {
        let engine = Engine::open(settings).map_err(failure)?;
        let system = |error| Failure::Local(format!("cannot wait for sound: {error}"));
        let descriptor = engine.spoken_descriptor().try_clone().map_err(system)?;
        let ready = readable(descriptor).map_err(system)?;
        let adaptation = Adaptation::new(BITS_MIN, BITS_MAX, settings.encoder.frame);
        Ok(Self { engine, ready, news: DeviceNews::default(), adaptation, reports: NetworkReports::default() })
    }

    /// Start saying, at no more than so many bit/s (0: any), and playing.
    pub fn begin(&mut self, bitrate_max: u32) {
        self.adaptation.allow(bitrate_max);
        self.engine.encode(self.adaptation.settings());
        self.engine.begin();
    }

    /// Whether nothing more is said: another program's sound is over, or the engine has ended.
    pub fn is_over(&self) -> bool {
        self.engine.input_is_over() || self.engine.has_ended()
    }

    /// Waits until [`Speech::next_spoken`] has something. Safe to drop.
    pub async fn ready(&self) {
        match self.ready.readable().await {
            Ok(mut guard) => {
                guard.clear_ready();
                self.engine.clear_spoken();
            }
            Err(error) => {
                tracing::debug!("waiting for sound: {error}");
                std::future::pending().await
            }
        }
    }

    /// The next frame to send, or change of talking to tell.
    pub fn next_spoken(&mut self) -> Option<Spoken> {
        self.engine.next_spoken()
    }

    /// A packet that was heard.
    pub fn hear(&mut self, packet: &HeardPacket) {
        let HeardPacket { time, ssrc, index, media_time, marker, payload, .. } = packet;
        let packet = Packet { arrival_us: time.0, index: *index, media_time: media_time.0, marker: *marker, payload };
        self.engine.hear(&packet, ssrc.0);
    }

    /// A stream is gone.
    pub fn forget(&mut self, ssrc: Ssrc) {
        self.engine.forget(ssrc.0);
    }

    /// What the server reported of the way: if that is news, how to encode may change.
    pub fn adapt(&mut self, now: Time, statistics: &VoiceStatistics) {
        if let Some(report) = self.reports.next(statistics) {
            self.adaptation.report(now.0, report);
            self.engine.encode(self.adaptation.settings());
        }
    }

    /// Says nothing from now on, or says it again.
    pub fn mute(&self, muted: bool) {
        self.engine.mute(muted);
    }

    /// Plays nothing from now on, or plays it again.
    pub fn deafen(&self, deafened: bool) {
        self.engine.deafen(deafened);
    }

    /// Sends what the microphone gives though nobody speaks, or only speech.
    pub fn send_all(&self, sends_all: bool) {
        self.engine.send_all(sends_all);
    }

    /// Takes nothing softer for voice.
    pub fn threshold(&self, threshold: Threshold) {
        self.engine.threshold(threshold.below_full_scale());
    }

    /// Tells this person something by a sound.
    pub fn cue(&mut self, cue: Cue) {
        self.engine.cue(cue);
    }

    /// How loud a speaker is played: 1.0 as it came. Of one who was not heard yet it is forgotten.
    pub fn set_gain(&mut self, ssrc: Ssrc, gain: f32) {
        self.engine.set_gain(ssrc.0, gain);
    }

    /// The longest delay of those who are heard, milliseconds.
    pub fn playout_ms(&self) -> Option<f32> {
        self.engine.playout_us().map(|us| us as f32 / 1_000.0)
    }

    /// How the own voice is encoded now, bit/s.
    pub fn bits_per_second(&self) -> i32 {
        self.adaptation.settings().bits_per_second
    }

    /// The next sentence about the devices, if there is one.
    pub fn next_news(&mut self) -> Option<String> {
        loop {
            let (direction, event) = self.engine.next_event()?;
            if let Some(sentence) = self.news.tell(direction, &event) {
                return Some(sentence);
            }
        }
    }

    /// The engine itself.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Ends the threads and the output file.
    ///
    /// # Errors
    /// `Failure::Audio` if a file failed.
    pub fn finish(self) -> Result<Totals, Failure> {
        self.engine.finish().map_err(failure)
    }
}
