//! `echomesh record`: a room's voice into files, one for each speaker, and the room is told.
//!
//! Not a secret: a line in the room's chat says who records before anything is written, and another says that
//! it is over. Without the first there is no recording.
//! In: arguments, packets as they come. Out: files, which `echomesh_audio::recording` writes; a list of them.
//! Bounds: those of a recording.

use std::pin::{Pin, pin};

use echomesh_audio::playout::Packet;
use echomesh_audio::recording::{Recording, Speaker, Track};
use echomesh_client::{Event, OpenVoice};

use super::args::Record;
use super::clock;
use super::commands::{enter, print_line};
use super::failure::Failure;
use super::link::{HeardPacket, Link, Use};
use super::settings::Settings;
use super::stay;

/// What the room is told.
const BEGINS: &str = "I am recording this room's voice.";
const ENDS: &str = "I no longer record this room's voice.";

/// A recording in a room.
struct Stay<'a> {
    link: Link,
    room: &'a str,
    recording: Recording,
    failed: Option<Failure>,
}

/// Records as the arguments say.
///
/// # Errors
/// [`Failure`]; the folder is made before anything is connected.
pub async fn run(settings: &Settings, record: &Record) -> Result<(), Failure> {
    let room = record.room.as_str();
    // Only the folder: what this one would hold begins before the room was told.
    Recording::begin(&record.folder, record.format.into(), room, 0).map_err(Failure::audio)?;
    let mut link = Link::log_in(settings, Use::Stay).await?;
    enter(&mut link, room, false).await?;
    let mut stop = pin!(stay::stop(record.duration)?);
    let request = link.session.chat(clock::now(), room, BEGINS, "");
    link.answer(request).await?;
    let request = link.session.open_voice(clock::now(), room, OpenVoice { muted: true, deafened: false });
    link.answer(request).await?;
    let start = clock::monotonic();
    let recording = Recording::begin(&record.folder, record.format.into(), room, start.0).map_err(Failure::audio)?;
    eprintln!("echomesh: recording {room} into {}; the room was told", record.folder.display());
    let mut stay = Stay { link, room, recording, failed: None };
    let outcome = stay.until(stop.as_mut()).await;
    outcome.and(stay.end().await)
}

impl Stay<'_> {
    async fn until(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Failure> {
        loop {
            for packet in std::mem::take(&mut self.link.heard) {
                self.packet(&packet)?;
            }
            while let Some(event) = self.link.next_event() {
                if !matches!(event, Event::Disconnected(_)) {
                    stay::event(&mut self.link, event)?;
                } else if !stay::reconnect(&mut self.link, stop.as_mut()).await? {
                    return Ok(());
                }
            }
            tokio::select! {
                () = stop.as_mut() => return Ok(()),
                () = self.link.turn() => {}
            }
            self.link.pump();
        }
    }

    fn packet(&mut self, heard: &HeardPacket) -> Result<(), Failure> {
        let HeardPacket { time, ssrc, index, media_time, marker, payload, .. } = heard;
        let member = self.link.session.room(self.room).and_then(|room| room.speaker(*ssrc));
        // Who is gone, or not announced, gets a file by the stream's number.
        let unknown = format!("{:08x}", ssrc.0);
        let speaker = Speaker {
            key: member.map_or(u64::from(ssrc.0), |member| member.session_id),
            name: member.map_or(&unknown, |member| &member.username),
            ssrc: ssrc.0,
        };
        let packet = Packet { arrival_us: time.0, index: *index, media_time: media_time.0, marker: *marker, payload };
        self.recording.packet(speaker, packet).map_err(Failure::audio)
    }

    /// Ends the files, tells the room, leaves, lists the files.
    async fn end(mut self) -> Result<(), Failure> {
        for packet in std::mem::take(&mut self.link.heard) {
            if let Err(failure) = self.packet(&packet) {
                self.failed.get_or_insert(failure);
            }
        }
        let dropped = self.recording.dropped();
        let tracks = self.recording.finish(clock::monotonic().0).map_err(Failure::audio);
        stay::in_time(leave(&mut self.link, self.room)).await;
        self.link.close();
        if dropped > 0 {
            eprintln!("echomesh: {dropped} packets of more speakers than can be recorded were left out");
        }
        let tracks = tracks?;
        if tracks.is_empty() {
            eprintln!("echomesh: nobody spoke; there are no files");
        }
        for Track { path, packets, late } in tracks {
            let late = if late > 0 { format!(", {late} came twice or too late") } else { String::new() };
            print_line(&format!("{} ({packets} packets{late})", path.display()))?;
        }
        self.failed.map_or(Ok(()), Err)
    }
}

async fn leave(link: &mut Link, room: &str) {
    if !link.session.is_connected() || link.session.room(room).is_none() {
        eprintln!("echomesh: {room} could not be told that the recording is over");
        return;
    }
    let request = link.session.chat(clock::now(), room, ENDS, "");
    if let Err(refusal) = link.answer(request).await {
        eprintln!("echomesh: {room} could not be told that the recording is over: {}", refusal.failure);
    }
    stay::leave(link, room).await;
}
