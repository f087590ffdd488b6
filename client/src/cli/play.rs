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
use echomesh_proto::control::StatusCode;
use echomesh_proto::time::MediaTime;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::args::Play;
use super::clock;
use super::commands::{enter, printable};
use super::failure::Failure;
use super::join::{ENDING_MAX, stop};
use super::link::{Link, Use, login_refused};
use super::network_report::NetworkReports;
use super::settings::Settings;

/// Of a packet.
const FRAME: Frame = Frame::Ms20;
const FRAME_MS: u64 = 20;

/// RFC 6464: the bit of the level's byte that means voice.
const VOICE: u8 = 0x80;

/// Bit rates that the network may ask for, bit/s.
const BITS_MIN: i32 = 16_000;
const BITS_MAX: i32 = 128_000;

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

fn audio(error: impl std::fmt::Display) -> Failure {
    Failure::Audio(error.to_string())
}

/// Says the file.
///
/// # Errors
/// [`Failure`]; the file is opened before anything is connected.
pub async fn run(settings: &Settings, play: &Play) -> Result<(), Failure> {
    let mut source = Source::open(&play.file).map_err(audio)?;
    // What is wrong with the first samples is told now, too; and a file may have none.
    let mut first = [0; FRAME.samples()];
    if !source.frame(&mut first).map_err(audio)? {
        return Err(Failure::Audio(format!("{}: holds no sound; give a file that does", play.file)));
    }
    let source = Source::open(&play.file).map_err(audio)?;
    let adaptation = Adaptation::new(BITS_MIN, BITS_MAX, FRAME);
    let encoder = Encoder::new(&adaptation.settings()).map_err(audio)?;
    // RFC 3550 §5.1: the first timestamp is random.
    let start =
        getrandom::u32().map_err(|error| Failure::Local(format!("the system gives no random bytes: {error}")))?;
    let (mut link, logged_in) = Link::log_in(settings, Use::Stay).await?;
    if logged_in.response.account_created {
        eprintln!("echomesh: the account {} was made", printable(&logged_in.response.username));
    }
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
    let outcome = player.until(pin!(stop(play.duration)?)).await;
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
                        eprintln!("echomesh: the connection was lost; trying again");
                        tokio::select! {
                            () = stop.as_mut() => return Ok(()),
                            outcome = self.link.reconnect() => outcome?,
                        }
                        turns.reset();
                    }
                    Event::Rejoined { .. } => self.announce(true),
                    event => self.event(event)?,
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
        if !self.source.frame(&mut samples).map_err(audio)? {
            return Ok(false);
        }
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        let length = self.encoder.encode(&samples, &mut payload).map_err(audio)?;
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
        self.encoder.apply(&settings).map_err(audio)
    }

    fn announce(&mut self, talking: bool) {
        let announce = Announce { talking, muted: false, deafened: true };
        // It is a sign for people to see; voice goes without it.
        if let Err(error) = self.link.session.announce(clock::now(), self.room, announce) {
            tracing::debug!("not announced: {error}");
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::RoomLost { room, message } => {
                Err(Failure::Refused(format!("cannot enter {} again: {message}", printable(&room))))
            }
            // After a restart everyone comes back at once: wait for one's turn.
            Event::LoginRefused { status: StatusCode::StatusTryAgain, .. } => {
                self.link.disconnect();
                Ok(())
            }
            Event::LoginRefused { status, message, .. } => Err(login_refused(status, message)),
            Event::Expelled { message, .. } => Err(Failure::Refused(message)),
            Event::Notice { message, .. } => {
                eprintln!("echomesh: the server says: {}", printable(&message));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Leaves in order and says how it went.
    async fn end(mut self) {
        self.announce(false);
        if self.link.session.is_connected() {
            let request = self.link.session.leave(clock::now(), self.room);
            match tokio::time::timeout(ENDING_MAX, self.link.answer(request)).await {
                Ok(Ok(_)) => {}
                Ok(Err(refusal)) => eprintln!("echomesh: leaving: {}", refusal.failure),
                Err(_) => eprintln!("echomesh: the server did not answer the leave"),
            }
        }
        self.link.close();
        let seconds = (self.frames * FRAME_MS) as f64 / 1_000.0;
        eprintln!("echomesh: said {seconds:.1} s");
        if self.unsent > 0 {
            eprintln!("echomesh: {} frames were not sent while there was no connection", self.unsent);
        }
    }
}
