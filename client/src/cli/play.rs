//! `echomesh play`: says a file in a room, and ends.
//!
//! Not a stay: nothing is heard and no line is read. The file is encoded anew at a rate that the network
//! bears, whatever it was: [`Adaptation`] hears the server's reports.
//! In: a WAV or Ogg Opus file. Out: voice packets, one each 20 ms. Bounds: one frame at a time; a machine that
//! slept goes on where the file was.

use std::pin::{Pin, pin};
use std::time::Duration;

use echomesh_audio::adapt::Adaptation;
use echomesh_audio::codec::{Encoder, Frame};
use echomesh_audio::level::audio_level;
use echomesh_audio::playout::PAYLOAD_BYTES_MAX;
use echomesh_audio::processing::Activity;
use echomesh_audio::source::Source;
use echomesh_audio::talkspurt::{TalkspurtSettings, Talkspurts};
use echomesh_client::{Announce, Event, OpenVoice, VoiceFrame};
use echomesh_proto::time::MediaTime;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::args::Play;
use super::clock;
use super::commands::enter;
use super::failure::Failure;
use super::link::{Link, Use};
use super::network_report::{BITS_MAX, BITS_MIN, NetworkReports};
use super::settings::Settings;
use super::stay;

/// Of a packet.
const FRAME: Frame = Frame::Ms20;
const FRAME_MS: u64 = 20;

/// RFC 6464: the bit of the level's byte that means voice.
const VOICE: u8 = 0x80;

/// A file and what encodes it.
struct Player<'a> {
    link: Link,
    room: &'a str,
    source: Source,
    encoder: Encoder,
    adaptation: Adaptation,
    reports: NetworkReports,
    talkspurts: Talkspurts,
    media_time: MediaTime,
    frames: u64,
    unsent: u64,
}

/// Says the file.
///
/// # Errors
/// [`Failure`]; the file is opened before anything is connected.
pub async fn run(settings: &Settings, play: &Play) -> Result<(), Failure> {
    let mut source = Source::open(&play.file).map_err(Failure::audio)?;
    // What is wrong with the first samples is told now, too; and a file may have none.
    let mut first = [0; FRAME.samples()];
    if !source.frame(&mut first).map_err(Failure::audio)? {
        return Err(Failure::Audio(format!("{}: holds no sound; give a file that does", play.file)));
    }
    let source = Source::open(&play.file).map_err(Failure::audio)?;
    let adaptation = Adaptation::new(BITS_MIN, BITS_MAX, FRAME);
    let encoder = Encoder::new(&adaptation.settings()).map_err(Failure::audio)?;
    // RFC 3550 §5.1: the first timestamp is random.
    let start =
        getrandom::u32().map_err(|error| Failure::Local(format!("the system gives no random bytes: {error}")))?;
    let mut link = Link::log_in(settings, Use::Stay).await?;
    enter(&mut link, &play.room, play.create).await?;
    let request = link.session.open_voice(clock::now(), &play.room, OpenVoice { muted: false, deafened: true });
    link.answer(request).await?;
    let talkspurts = TalkspurtSettings { voice_only: false, pre_roll: 0, ..TalkspurtSettings::default() };
    let mut player = Player {
        link,
        room: &play.room,
        source,
        encoder,
        adaptation,
        reports: NetworkReports::default(),
        talkspurts: Talkspurts::new(talkspurts, FRAME),
        media_time: MediaTime(start),
        frames: 0,
        unsent: 0,
    };
    player.announce(true);
    let outcome = player.until(pin!(stay::stop(play.duration)?)).await;
    player.end().await;
    outcome
}

impl Player<'_> {
    async fn until(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Failure> {
        let mut turns: Interval = interval(Duration::from_millis(FRAME_MS));
        // Late turns are not made up for: listeners have played on, and a burst helps nobody.
        turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            while let Some(event) = self.link.next_event() {
                match event {
                    Event::Disconnected(_) => {
                        if !stay::reconnect(&mut self.link, stop.as_mut()).await? {
                            return Ok(());
                        }
                        turns.reset();
                    }
                    Event::Rejoined { .. } => self.announce(true),
                    Event::VoiceOpen { bitrate_max, .. } => self.allow(bitrate_max)?,
                    event => stay::event(&mut self.link, event)?,
                }
            }
            self.link.heard.clear();
            let is_open = self.link.session.voice_statistics(self.room).is_some();
            tokio::select! {
                () = stop.as_mut() => return Ok(()),
                () = self.link.turn() => {}
                _ = turns.tick(), if is_open => {
                    if !self.say()? {
                        return Ok(());
                    }
                }
            }
            self.link.pump();
            self.adapt()?;
        }
    }

    /// Sends the next frame; `false` if there is none.
    fn say(&mut self) -> Result<bool, Failure> {
        let mut samples = [0; FRAME.samples()];
        if !self.source.frame(&mut samples).map_err(Failure::audio)? {
            return Ok(false);
        }
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        let length = self.encoder.encode(&samples, &mut payload).map_err(Failure::audio)?;
        let audio_level = audio_level(&samples);
        let activity = Activity { voice: audio_level & VOICE != 0, audio_level };
        self.talkspurts.push(self.media_time.0, &[activity], &payload[..length]);
        while let Some(frame) = self.talkspurts.next_outgoing() {
            let outgoing = VoiceFrame {
                media_time: MediaTime(frame.media_time),
                marker: frame.marker,
                audio_level: Some(frame.audio_level),
                payload: frame.payload,
            };
            self.unsent += u64::from(self.link.send_voice(self.room, outgoing).is_err());
        }
        self.media_time = MediaTime(self.media_time.0.wrapping_add(FRAME.samples() as u32));
        self.frames += 1;
        Ok(true)
    }

    /// The server lets the stream have so many bit/s.
    fn allow(&mut self, bitrate_max: u32) -> Result<(), Failure> {
        self.adaptation.allow(bitrate_max);
        self.encoder.apply(&self.adaptation.settings()).map_err(Failure::audio)
    }

    fn adapt(&mut self) -> Result<(), Failure> {
        let Some(statistics) = self.link.session.voice_statistics(self.room) else { return Ok(()) };
        let Some(report) = self.reports.next(&statistics) else { return Ok(()) };
        let before = self.adaptation.settings();
        self.adaptation.report(clock::monotonic().0, report);
        let settings = self.adaptation.settings();
        if settings == before {
            return Ok(());
        }
        tracing::debug!("the network reports {report:?}: encoding with {settings:?}");
        self.encoder.apply(&settings).map_err(Failure::audio)
    }

    fn announce(&mut self, talking: bool) {
        let announce = Announce { talking, muted: false, deafened: true };
        // It is a sign for people to see; voice goes without it.
        if let Err(error) = self.link.session.announce(clock::now(), self.room, announce) {
            tracing::debug!("not announced: {error}");
        }
    }

    /// Leaves in order and says how it went.
    async fn end(mut self) {
        self.announce(false);
        if self.link.session.is_connected() {
            stay::in_time(stay::leave(&mut self.link, self.room)).await;
        }
        self.link.close();
        let seconds = (self.frames * FRAME_MS) as f64 / 1_000.0;
        eprintln!("echomesh: said {seconds:.1} s");
        if self.unsent > 0 {
            eprintln!("echomesh: {} frames were not sent while there was no connection", self.unsent);
        }
    }
}
