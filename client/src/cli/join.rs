//! `echomesh join`: being in a room until told to stop.
//!
//! One task moves everything but audio: control connection, voice socket, lines of standard input, and
//! frames to and from the audio engine. Standard input also takes `/mute`, `/unmute`, `/deafen` and `/undeafen`.
//! Bounds: `LINES_MAX` lines read ahead; no line is read while an earlier one cannot be sent.

use std::io::{BufRead, BufReader, Read};
use std::pin::{Pin, pin};

use echomesh_client::{
    Announce, Answer, Done, Event, LoggedIn, MemberChange, OpenVoice, Outcome, RequestId, VoiceFrame,
};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::limits::CHAT_BYTES_MAX;
use echomesh_proto::time::{MediaTime, SECOND_US, Time};
use tokio::sync::mpsc;

use super::args::Join;
use super::chat;
use super::clock;
use super::commands::{enter, print_line, printable};
use super::failure::Failure;
use super::link::{Link, Use};
use super::outgoing::{Fate, Outgoing, Place};
use super::packet_log::PacketLog;
use super::settings::Settings;
use super::sound::engine_settings;
use super::speech::Speech;
use super::statistics::Statistics;
use super::stay;

/// Lines read from standard input and not yet sent.
const LINES_MAX: usize = 16;

/// Between marks of what was seen, microseconds.
const MARK_US: u64 = SECOND_US;

/// A stay in a room.
struct Stay<'a> {
    link: Link,
    join: &'a Join,
    /// Where this stay is: another room, if someone moved it.
    room: String,
    speech: Option<Speech>,
    log: Option<PacketLog>,
    statistics: Statistics,
    lines: mpsc::Receiver<String>,
    lines_ended: bool,
    outgoing: Outgoing,
    /// What the others see of this voice, and what they were told.
    announce: Announce,
    announced: Announce,
    /// UDP is blocked, as the person was told.
    tunnelled: bool,
    /// Newest line of those that were shown at first, until one after it is told: then none of them comes any more.
    before: u64,
    /// The line that was shown last, and the one marked as seen, when, by which request.
    shown: u64,
    seen: u64,
    marked: Time,
    mark: Option<RequestId>,
}

/// Stays in a room as the arguments say.
///
/// # Errors
/// [`Failure`]; files are opened before anything is connected.
pub async fn run(settings: &Settings, join: &Join) -> Result<(), Failure> {
    let speech =
        if join.wants_voice() { Some(Speech::open(&engine_settings(&join.sound, join.looped)?)?) } else { None };
    let log = join.packet_log.as_deref().map(PacketLog::create).transpose()?;
    let mut link = Link::log_in(settings, Use::Stay).await?;
    enter(&mut link, &join.room, join.create).await?;
    let others = link.session.room(&join.room).map_or(0, |room| room.members().count().saturating_sub(1));
    eprintln!("echomesh: in {}; {others} others are there", join.room);
    if tracing::enabled!(tracing::Level::DEBUG) {
        let request = link.session.who(clock::now());
        if let Done::Who(who) = link.answer(request).await? {
            tracing::debug!("session {:016x} on shard {}", who.session_id, who.shard);
        }
    }
    let mut stop = pin!(stay::stop(join.duration)?);
    let shown = show_before(&mut link, join).await?;
    let announce =
        Announce { talking: false, muted: join.sound.input == "none", deafened: join.sound.output == "none" };
    if speech.is_some() {
        let flags = OpenVoice { muted: announce.muted, deafened: announce.deafened };
        let request = link.session.open_voice(clock::now(), &join.room, flags);
        link.answer(request).await?;
    }
    let mut stay = Stay {
        link,
        join,
        room: join.room.clone(),
        speech,
        log,
        statistics: Statistics::default(),
        lines: read_lines(),
        lines_ended: false,
        outgoing: Outgoing::default(),
        announce,
        announced: announce,
        tunnelled: false,
        before: shown,
        shown,
        seen: 0,
        marked: Time(0),
        mark: None,
    };
    let outcome = stay.until(stop.as_mut()).await;
    let ended = stay.end().await;
    outcome.and(ended)
}

/// Shows what was said before, and where else something is unread. Gives the number of the newest line. That a server
/// does not tell is no reason not to stay.
async fn show_before(link: &mut Link, join: &Join) -> Result<u64, Failure> {
    let mut shown = 0;
    match show_history(link, join, &mut shown).await {
        Err(Failure::Refused(text)) => eprintln!("echomesh: what was said before: {text}"),
        outcome => outcome?,
    }
    Ok(shown)
}

async fn show_history(link: &mut Link, join: &Join, shown: &mut u64) -> Result<(), Failure> {
    if join.history > 0 {
        for line in chat::last_lines(link, &join.room, join.history).await? {
            *shown = line.message_id;
            print_line(&chat::shown(&line))?;
        }
    }
    for of in chat::unread(link).await?.iter().filter(|of| !of.username.is_empty()) {
        let name = printable(&of.username);
        eprintln!("echomesh: {} from {name}: echomesh history '@{name}'", of.count);
    }
    Ok(())
}

/// Reads standard input on a thread of its own: a read of a terminal cannot be cancelled, only left
/// behind when the process ends.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        let mut input = BufReader::new(std::io::stdin());
        loop {
            // A longer line comes in parts, which the server refuses with a sentence; it is not held whole.
            let mut bytes = Vec::new();
            let read = (&mut input).take(CHAT_BYTES_MAX as u64 + 2).read_until(b'\n', &mut bytes);
            if !matches!(read, Ok(count) if count > 0) {
                return;
            }
            let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
            if !line.is_empty() && sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits for the engine's next frame.
async fn spoken(speech: Option<&Speech>) {
    match speech {
        Some(speech) => speech.ready().await,
        None => std::future::pending().await,
    }
}

impl Stay<'_> {
    async fn until(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Failure> {
        // The events of joining and opening voice are waiting.
        loop {
            self.heard()?;
            self.tell_way();
            self.follow_sound();
            while let Some(event) = self.link.next_event() {
                if !matches!(event, Event::Disconnected(_)) {
                    self.event(event)?;
                    continue;
                }
                self.statistics.reconnects += 1;
                if !stay::reconnect(&mut self.link, stop.as_mut()).await? {
                    return Ok(());
                }
            }
            self.say_lines();
            self.mark_seen();
            let takes_lines = !self.lines_ended && self.outgoing.takes_more();
            tokio::select! {
                () = stop.as_mut() => return Ok(()),
                () = self.link.turn() => {}
                line = self.lines.recv(), if takes_lines => self.line(line)?,
                () = spoken(self.speech.as_ref()) => self.spoken()?,
            }
            self.link.pump();
        }
    }

    /// Says when voice leaves UDP, and when it is back.
    fn tell_way(&mut self) {
        // Between connections there is no way at all.
        if self.link.session.voice_statistics(&self.room).is_none() {
            return;
        }
        let tunnelled = self.link.session.voice_is_tunnelled(&self.room);
        if tunnelled != std::mem::replace(&mut self.tunnelled, tunnelled) {
            eprintln!(
                "echomesh: {}",
                if tunnelled {
                    "nothing comes by UDP: voice goes through the control connection (is the server's UDP port open?)"
                } else {
                    "voice goes by UDP again"
                }
            );
        }
    }

    /// Says what happened to the devices, and follows what the network reports.
    fn follow_sound(&mut self) {
        let Some(speech) = &mut self.speech else { return };
        if let Some(statistics) = self.link.session.voice_statistics(&self.room) {
            speech.adapt(clock::monotonic(), &statistics);
        }
        while let Some(sentence) = speech.next_news() {
            eprintln!("echomesh: {sentence}");
        }
    }

    fn line(&mut self, line: Option<String>) -> Result<(), Failure> {
        match line {
            Some(text) if self.switched(&text) => {}
            Some(text) => self.outgoing.push(Place::Room(self.room.clone()), text)?,
            None => self.lines_ended = true,
        }
        Ok(())
    }

    /// Whether the line is one of the switches of the own voice, and not for the room.
    fn switched(&mut self, text: &str) -> bool {
        let Some(speech) = &self.speech else { return false };
        let Announce { muted, deafened, .. } = &mut self.announce;
        match text {
            "/mute" => *muted = true,
            // Who says nothing at all stays so.
            "/unmute" => *muted = self.join.sound.input == "none",
            "/deafen" => *deafened = true,
            "/undeafen" => *deafened = self.join.sound.output == "none",
            _ => return false,
        }
        speech.mute(*muted);
        speech.deafen(*deafened);
        self.tell_announce();
        true
    }

    /// Tells the room of changes of the own voice; with the next one if it cannot be told now.
    fn tell_announce(&mut self) {
        if self.announce != self.announced
            && self.link.session.announce(clock::now(), &self.room, self.announce).is_ok()
        {
            self.announced = self.announce;
        }
    }

    fn say_lines(&mut self) {
        if self.outgoing.say(&mut self.link) {
            eprintln!("echomesh: the line is too long and was not sent");
        }
    }

    /// Sends what the engine has said. Why it ended, if it did, is told when the stay ends.
    fn spoken(&mut self) -> Result<(), Failure> {
        while let Some(spoken) = self.speech.as_mut().and_then(Speech::next_spoken) {
            if let Some(frame) = spoken.frame {
                let media_time = MediaTime(frame.media_time);
                let outgoing = VoiceFrame {
                    media_time,
                    marker: frame.marker,
                    audio_level: Some(frame.audio_level),
                    payload: frame.payload(),
                };
                // Not open while a connection is made again: speech does not wait.
                if let Ok(sent) = self.link.send_voice(&self.room, outgoing)
                    && let Some(log) = &mut self.log
                {
                    log.note("sent", clock::monotonic(), sent.ssrc, sent.index, media_time)?;
                }
            }
            self.announce.talking = spoken.talking;
            self.tell_announce();
        }
        Ok(())
    }

    fn heard(&mut self) -> Result<(), Failure> {
        for packet in std::mem::take(&mut self.link.heard) {
            self.statistics.heard(&packet);
            if let Some(log) = &mut self.log {
                log.note("received", packet.time, packet.ssrc, packet.index, packet.media_time)?;
            }
            if let Some(speech) = &mut self.speech {
                speech.hear(&packet);
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Chat(line) => {
                if line.message_id <= self.before {
                    return Ok(());
                }
                self.before = 0;
                if self.outgoing.own_came(&line) {
                    self.statistics.lines_stored += 1;
                } else {
                    self.statistics.lines_heard += 1;
                    print_line(&chat::shown(&line))?;
                }
                self.shown = line.message_id;
            }
            // The database may be another one, which numbers its lines anew.
            Event::LoggedIn(LoggedIn { resumed: false, .. }) => self.before = 0,
            Event::Direct(line) | Event::ChatChanged(line) => print_line(&chat::shown(&line))?,
            Event::Answer(answer) => self.answer(answer),
            Event::Member { change, member, .. } => {
                let name = printable(&member.username);
                match change {
                    MemberChange::Joined => eprintln!("echomesh: {name} joined"),
                    MemberChange::Left => {
                        eprintln!("echomesh: {name} left");
                        if let Some(speech) = &mut self.speech {
                            speech.forget(Ssrc(member.ssrc));
                        }
                    }
                    MemberChange::Changed => {}
                }
            }
            Event::VoiceOpen { ssrc, udp_port, .. } => {
                tracing::debug!("voice is open: stream {:08x}, port {udp_port}", ssrc.0);
                if let Some(speech) = &mut self.speech {
                    speech.begin();
                }
            }
            Event::Rejoined { room } => eprintln!("echomesh: in {} again", printable(&room)),
            Event::Moved { room } => self.moved(&room),
            Event::RoomLost { room, message } if *room != *self.room => {
                eprintln!("echomesh: not in {} any more: {}", printable(&room), printable(&message));
            }
            Event::Reported(report) => {
                let (by, target, reason) = (&report.by, &report.target, &report.reason);
                let text = format!("{by} reports {target}: {reason}");
                eprintln!("echomesh: {}", printable(&text));
            }
            event => return stay::event(&mut self.link, event),
        }
        Ok(())
    }

    /// Someone moved this session: the stay goes on where it is now, with the voice as it was.
    fn moved(&mut self, room: &str) {
        eprintln!("echomesh: moved to {}", printable(room));
        self.outgoing.follow(&self.room, room);
        self.room = room.to_owned();
        // Lines have their numbers by room.
        (self.before, self.shown, self.seen) = (0, 0, 0);
        if self.speech.is_some() {
            let flags = OpenVoice { muted: self.announce.muted, deafened: self.announce.deafened };
            if let Err(error) = self.link.session.open_voice(clock::now(), room, flags) {
                eprintln!("echomesh: no voice there: {error}");
            }
        }
    }

    /// Marks what was shown as seen, now and then.
    fn mark_seen(&mut self) {
        let now = clock::monotonic();
        if self.join.keep_unread || self.shown == self.seen || now.since_us(self.marked) < MARK_US {
            return;
        }
        if let Ok(id) = self.link.session.seen(clock::now(), &self.room, self.shown) {
            (self.seen, self.marked, self.mark) = (self.shown, now, Some(id));
        }
    }

    fn answer(&mut self, answer: Answer) {
        // A mark that was refused is made with the next line.
        if self.mark == Some(answer.request) {
            return;
        }
        match (self.outgoing.answered(&answer), answer.outcome) {
            (Some(Fate::Stored(..)), _) => self.statistics.lines_stored += 1,
            (Some(Fate::Again(Some(text)) | Fate::Refused(text)), _) => eprintln!("echomesh: {}", printable(&text)),
            (Some(Fate::Again(None)), _) => {}
            (None, Outcome::Refused { message, .. }) => eprintln!("echomesh: {}", printable(&message)),
            _ => {}
        }
    }

    /// Leaves in order, closes the files, says what happened.
    async fn end(mut self) -> Result<(), Failure> {
        let voice = self.link.session.voice_statistics(&self.room).unwrap_or_default();
        stay::in_time(self.leave()).await;
        if self.outgoing.unsent() > 0 {
            eprintln!("echomesh: {} lines were not sent", self.outgoing.unsent());
        }
        self.heard()?;
        let counters = self.link.session.counters().clone();
        let datagrams_unsent = self.link.datagrams_unsent;
        self.link.close();
        let speech = self.speech.map(Speech::finish).transpose()?;
        self.log.map(PacketLog::finish).transpose()?;
        eprint!("{}", self.statistics.summary(&counters, datagrams_unsent, voice, speech.as_ref()));
        Ok(())
    }

    async fn leave(&mut self) {
        while self.outgoing.is_awaiting() && self.link.session.is_connected() {
            if let Event::Answer(answer) = self.link.event().await {
                self.answer(answer);
            }
        }
        if self.link.session.room(&self.room).is_none() || !self.link.session.is_connected() {
            return;
        }
        stay::leave(&mut self.link, &self.room).await;
    }
}
