//! `echomesh join`: being in a room until told to stop; and the stay that `listen` and `bridge` are, too.
//!
//! One task moves everything but audio: control connection, voice socket, lines of standard input, and
//! frames to and from the audio engine. Standard input also takes `/mute`, `/unmute`, `/deafen` and `/undeafen`.
//! What happens is told by `news`. Bounds: no line is read while an earlier one cannot be sent; `roster` has as many
//! as the server lets into a room.

use std::path::Path;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use echomesh_client::{Announce, Answer, Done, Event, LoggedIn, MemberChange, OpenVoice, Outcome, RequestId};
use echomesh_proto::control::{ChatMsg, Member};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::{MediaTime, SECOND_US, Time};
use tokio::sync::mpsc;

use super::args::Join;
use super::chat;
use super::clock;
use super::commands::enter;
use super::failure::Failure;
use super::lines::{no_lines, read_lines};
use super::link::{Link, RECONNECT_PAUSE, Use, longer};
use super::news::{News, Teller};
use super::outgoing::{Fate, Outgoing, Place};
use super::packet_log::PacketLog;
use super::roster::Roster;
use super::settings::Settings;
use super::sound::engine_settings;
use super::speech::{Speech, spoken, voice_frame};
use super::statistics::Statistics;
use super::stay;

/// Between marks of what was seen, microseconds.
const MARK_US: u64 = SECOND_US;

/// What a stay is to be.
pub struct Plan<'a> {
    /// Where.
    pub room: &'a str,
    /// The room is made if it is not there.
    pub create: bool,
    /// So many of the last lines are told first.
    pub history: u32,
    /// What is told is not marked as seen.
    pub keep_unread: bool,
    /// Its sound, if there is any.
    pub speech: Option<Speech>,
    /// Muted and deafened, if nothing is ever said or heard.
    pub announce: Announce,
    /// A line for each voice packet.
    pub packet_log: Option<&'a Path>,
    /// It ends then.
    pub duration: Option<Duration>,
    /// A server that does not answer is tried for ever.
    pub forever: bool,
    /// Lines of standard input are said.
    pub reads_lines: bool,
    /// It ends when the input is over.
    pub ends_with_sound: bool,
}

/// A stay in a room.
struct Stay {
    link: Link,
    /// Where this stay is: another room, if someone moved it.
    room: String,
    speech: Option<Speech>,
    ends_with_sound: bool,
    log: Option<PacketLog>,
    statistics: Statistics,
    teller: Teller,
    roster: Roster,
    lines: mpsc::Receiver<String>,
    lines_ended: bool,
    outgoing: Outgoing,
    /// What is so whatever lines say.
    fixed: Announce,
    /// What the others see of this voice, and what they were told.
    announce: Announce,
    announced: Announce,
    voice_is_open: bool,
    /// UDP is blocked, as was told.
    tunnelled: bool,
    /// Newest line of those that were told at first, until one after it is told: then none of them comes any more.
    before: u64,
    keep_unread: bool,
    /// The line that was told last, and the one marked as seen, when, by which request.
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
    let (muted, deafened) = (join.sound.input == "none", join.sound.output == "none");
    let plan = Plan {
        room: &join.room,
        create: join.create,
        history: join.history,
        keep_unread: join.keep_unread,
        speech,
        announce: Announce { talking: false, muted, deafened },
        packet_log: join.packet_log.as_deref(),
        duration: join.duration,
        forever: join.forever,
        reads_lines: true,
        ends_with_sound: false,
    };
    stay(settings, plan, if join.json { Teller::Script } else { Teller::Person }).await
}

/// Stays in a room.
///
/// # Errors
/// [`Failure`].
pub async fn stay(settings: &Settings, plan: Plan<'_>, mut teller: Teller) -> Result<(), Failure> {
    let log = plan.packet_log.map(PacketLog::create).transpose()?;
    // A server that is not there is waited for, and a signal ends that; both hear of it from here on.
    let early = plan.forever.then(|| Ok::<_, Failure>((stay::stop(None)?, stay::stop(plan.duration)?))).transpose()?;
    let begin = begin(settings, &plan, &mut teller);
    let ((link, shown), stop) = match early {
        None => (begin.await?, stay::stop(plan.duration)?),
        Some((early, stop)) => tokio::select! {
            biased;
            () = early => return Ok(()),
            begun = begin => (begun?, stop),
        },
    };
    let Plan { room, speech, announce, keep_unread, ends_with_sound, reads_lines, .. } = plan;
    let mut stop = pin!(stop);
    let mut stay = Stay {
        link,
        room: room.to_owned(),
        speech,
        ends_with_sound,
        log,
        statistics: Statistics::default(),
        teller,
        roster: Roster::default(),
        lines: if reads_lines { read_lines() } else { no_lines() },
        lines_ended: !reads_lines,
        outgoing: Outgoing::default(),
        fixed: announce,
        announce,
        announced: announce,
        voice_is_open: false,
        tunnelled: false,
        before: shown,
        keep_unread,
        shown,
        seen: 0,
        marked: Time(0),
        mark: None,
    };
    let outcome = stay.until(stop.as_mut()).await;
    let ended = stay.end().await;
    outcome.and(ended)
}

/// Begins; who never gives up tries again and again until there is a server, and tells at first why there is none.
async fn begin(settings: &Settings, plan: &Plan<'_>, teller: &mut Teller) -> Result<(Link, u64), Failure> {
    let (begun, mut pause, mut told) = (Instant::now(), RECONNECT_PAUSE, false);
    loop {
        match begin_once(settings, plan, teller).await {
            Err(Failure::Connection(text)) if plan.forever => {
                if !std::mem::replace(&mut told, true) {
                    teller.tell(&News::Waiting(&text))?;
                }
                tokio::time::sleep(pause).await;
                pause = longer(pause, begun.elapsed());
            }
            outcome => return outcome,
        }
    }
}

/// Logs in, enters, tells what was said before, opens voice. Gives the number of the newest line told.
async fn begin_once(settings: &Settings, plan: &Plan<'_>, teller: &mut Teller) -> Result<(Link, u64), Failure> {
    let mut link = Link::log_in(settings, Use::Stay).await?;
    if plan.forever {
        link.never_give_up();
    }
    enter(&mut link, plan.room, plan.create).await?;
    if plan.speech.is_some() {
        let flags = OpenVoice { muted: plan.announce.muted, deafened: plan.announce.deafened };
        let request = link.session.open_voice(clock::now(), plan.room, flags);
        link.answer(request).await?;
    }
    // From here on a lost connection is one of the stay, which makes it again.
    let others = link.session.room(plan.room).map_or(0, |room| room.members().count().saturating_sub(1));
    teller.tell(&News::In { room: plan.room, others, again: false })?;
    if tracing::enabled!(tracing::Level::DEBUG) {
        let request = link.session.who(clock::now());
        if let Ok(Done::Who(who)) = link.answer(request).await {
            tracing::debug!("session {:016x} on shard {}", who.session_id, who.shard);
        }
    }
    let shown = tell_before(&mut link, plan, teller).await?;
    Ok((link, shown))
}

/// Tells what was said before, and where else something is unread. Gives the number of the newest line. That a server
/// does not tell is no reason not to stay.
async fn tell_before(link: &mut Link, plan: &Plan<'_>, teller: &mut Teller) -> Result<u64, Failure> {
    let mut shown = 0;
    match tell_history(link, plan, teller, &mut shown).await {
        Err(Failure::Refused(text) | Failure::Connection(text)) => {
            teller.tell(&News::Refused(&format!("what was said before: {text}")))?;
        }
        outcome => outcome?,
    }
    Ok(shown)
}

async fn tell_history(link: &mut Link, plan: &Plan<'_>, teller: &mut Teller, shown: &mut u64) -> Result<(), Failure> {
    let user = link.session.user().0;
    if plan.history > 0 {
        for line in chat::last_lines(link, plan.room, plan.history).await? {
            *shown = line.message_id;
            teller.tell(&News::Line { line: &line, own: line.user_id == user, old: true })?;
        }
    }
    for of in chat::unread(link).await?.iter().filter(|of| !of.username.is_empty()) {
        teller.tell(&News::Unread(of))?;
    }
    Ok(())
}

impl Stay {
    async fn until(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Failure> {
        // The events of joining and opening voice are waiting.
        loop {
            self.heard()?;
            self.tell_way()?;
            self.follow_sound()?;
            while let Some(event) = self.link.next_event() {
                if !matches!(event, Event::Disconnected(_)) {
                    self.event(event)?;
                    continue;
                }
                self.lost()?;
                tokio::select! {
                    () = stop.as_mut() => return Ok(()),
                    outcome = self.link.reconnect() => outcome?,
                }
            }
            self.say_lines()?;
            self.mark_seen();
            self.teller.failure()?;
            let takes_lines = !self.lines_ended && self.outgoing.takes_more();
            tokio::select! {
                () = stop.as_mut() => return Ok(()),
                () = self.link.turn() => {}
                line = self.lines.recv(), if takes_lines => self.line(line)?,
                () = self.teller.ready() => {}
                () = spoken(self.speech.as_ref()) => {
                    // Looked at first: what came before the end is taken below.
                    let is_over = self.ends_with_sound && self.speech.as_ref().is_some_and(Speech::is_over);
                    self.spoken()?;
                    if is_over {
                        return Ok(());
                    }
                }
            }
            self.link.pump();
        }
    }

    /// The connection is gone.
    fn lost(&mut self) -> Result<(), Failure> {
        self.statistics.reconnects += 1;
        self.voice_opened(false)?;
        self.teller.tell(&News::ConnectionLost)
    }

    /// Says that voice can be sent and heard, or not any more.
    fn voice_opened(&mut self, open: bool) -> Result<(), Failure> {
        if open == std::mem::replace(&mut self.voice_is_open, open) {
            return Ok(());
        }
        self.teller.tell(&News::Voice { room: &self.room, open })
    }

    /// Says when voice leaves UDP, and when it is back.
    fn tell_way(&mut self) -> Result<(), Failure> {
        // Between connections there is no way at all.
        if self.link.session.voice_statistics(&self.room).is_none() {
            return Ok(());
        }
        let tunnelled = self.link.session.voice_is_tunnelled(&self.room);
        if tunnelled == std::mem::replace(&mut self.tunnelled, tunnelled) {
            return Ok(());
        }
        self.teller.tell(&News::VoiceWay { room: &self.room, udp: !tunnelled })
    }

    /// Says what happened to the devices, and follows what the network reports.
    fn follow_sound(&mut self) -> Result<(), Failure> {
        let Some(speech) = &mut self.speech else { return Ok(()) };
        if let Some(statistics) = self.link.session.voice_statistics(&self.room) {
            speech.adapt(clock::monotonic(), &statistics);
        }
        while let Some(sentence) = speech.next_news() {
            self.teller.tell(&News::Device(&sentence))?;
        }
        Ok(())
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
            "/unmute" => *muted = self.fixed.muted,
            "/deafen" => *deafened = true,
            "/undeafen" => *deafened = self.fixed.deafened,
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

    fn say_lines(&mut self) -> Result<(), Failure> {
        if self.outgoing.say(&mut self.link) {
            self.teller.tell(&News::Refused("the line is too long and was not sent"))?;
        }
        Ok(())
    }

    /// Sends what the engine has said. Why it ended, if it did, is told when the stay ends.
    fn spoken(&mut self) -> Result<(), Failure> {
        while let Some(spoken) = self.speech.as_mut().and_then(Speech::next_spoken) {
            if let Some(frame) = spoken.frame {
                let outgoing = voice_frame(&frame);
                // Not open while a connection is made again: speech does not wait.
                if let Ok(sent) = self.link.send_voice(&self.room, outgoing)
                    && let Some(log) = &mut self.log
                {
                    log.note("sent", clock::monotonic(), sent.ssrc, sent.index, MediaTime(frame.media_time))?;
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
            Event::Chat(line) => self.chat_line(&line)?,
            Event::LoggedIn(LoggedIn { resumed, .. }) => {
                if !resumed {
                    // The database may be another one, which numbers its lines anew.
                    self.before = 0;
                    self.roster.clear();
                }
                self.teller.tell(&News::ConnectionBack { resumed })?;
            }
            Event::Direct(line) => self.teller.tell(&News::Direct { line: &line, own: self.is_own(&line) })?,
            Event::ChatChanged(line) => self.teller.tell(&News::Changed { line: &line, own: self.is_own(&line) })?,
            Event::Answer(answer) => self.answer(answer)?,
            Event::Member { room, change, member } => self.member(&room, change, &member)?,
            Event::RosterComplete { room } if *room == *self.room => self.roster_is_complete()?,
            Event::VoiceOpen { ssrc, udp_port, bitrate_max, .. } => {
                tracing::debug!("voice is open: stream {:08x}, port {udp_port}, at most {bitrate_max} bit/s", ssrc.0);
                if let Some(speech) = &mut self.speech {
                    speech.begin(bitrate_max);
                }
                self.voice_opened(true)?;
            }
            Event::Rejoined { room } => {
                let others = self.others();
                self.teller.tell(&News::In { room: &room, others, again: true })?;
            }
            Event::Moved { room } => self.moved(&room)?,
            Event::RoomLost { room, message } if *room != *self.room => {
                self.teller.tell(&News::RoomLost { room: &room, message: &message })?;
            }
            Event::RoomLost { room, message } => {
                if matches!(self.teller, Teller::Script) {
                    self.teller.tell(&News::RoomLost { room: &room, message: &message })?;
                }
                return stay::event(&mut self.link, Event::RoomLost { room, message });
            }
            Event::Notice { ref message, .. } => {
                self.teller.tell(&News::Notice(message))?;
                stay::obey(&mut self.link, &event)?;
            }
            Event::Reported(report) => self.teller.tell(&News::Reported(&report))?,
            event => return stay::event(&mut self.link, event),
        }
        Ok(())
    }

    fn is_own(&self, line: &ChatMsg) -> bool {
        line.user_id == self.link.session.user().0
    }

    fn others(&self) -> usize {
        self.link.session.room(&self.room).map_or(0, |room| room.members().count().saturating_sub(1))
    }

    fn chat_line(&mut self, line: &ChatMsg) -> Result<(), Failure> {
        if line.message_id <= self.before {
            return Ok(());
        }
        self.before = 0;
        if self.outgoing.own_came(line) {
            self.statistics.lines_stored += 1;
            self.teller.tell(&News::Said(line))?;
        } else {
            self.statistics.lines_heard += 1;
            self.teller.tell(&News::Line { line, own: self.is_own(line), old: false })?;
        }
        self.shown = line.message_id;
        Ok(())
    }

    fn member(&mut self, room: &str, change: MemberChange, member: &Member) -> Result<(), Failure> {
        let is_self = member.session_id == self.link.session.id().0;
        if *room != *self.room || is_self {
            return Ok(());
        }
        if change == MemberChange::Left
            && let Some(speech) = &mut self.speech
        {
            speech.forget(Ssrc(member.ssrc));
        }
        self.roster.changed(room, change, member, |news| self.teller.tell(&news))
    }

    /// Who is there, and who went while the connection was lost.
    fn roster_is_complete(&mut self) -> Result<(), Failure> {
        let own = self.link.session.id().0;
        let Some(room) = self.link.session.room(&self.room) else { return Ok(()) };
        let members = room.members().filter(|member| member.session_id != own);
        self.roster.complete(&self.room, members, |news| self.teller.tell(&news))
    }

    /// Someone moved this session: the stay goes on where it is now, with the voice as it was.
    fn moved(&mut self, room: &str) -> Result<(), Failure> {
        self.voice_opened(false)?;
        self.teller.tell(&News::Moved { room })?;
        self.outgoing.follow(&self.room, room);
        self.room = room.to_owned();
        // Lines have their numbers by room.
        (self.before, self.shown, self.seen) = (0, 0, 0);
        self.roster.clear();
        if self.link.session.room(room).is_some_and(echomesh_client::Room::is_complete) {
            self.roster_is_complete()?;
        }
        if self.speech.is_some() {
            let flags = OpenVoice { muted: self.announce.muted, deafened: self.announce.deafened };
            if let Err(error) = self.link.session.open_voice(clock::now(), room, flags) {
                self.teller.tell(&News::Refused(&format!("no voice there: {error}")))?;
            }
        }
        Ok(())
    }

    /// Marks what was shown as seen, now and then.
    fn mark_seen(&mut self) {
        let now = clock::monotonic();
        if self.keep_unread || self.shown == self.seen || now.since_us(self.marked) < MARK_US {
            return;
        }
        if let Ok(id) = self.link.session.seen(clock::now(), &self.room, self.shown) {
            (self.seen, self.marked, self.mark) = (self.shown, now, Some(id));
        }
    }

    fn answer(&mut self, answer: Answer) -> Result<(), Failure> {
        // A mark that was refused is made with the next line.
        if self.mark == Some(answer.request) {
            return Ok(());
        }
        match (self.outgoing.answered(&answer), answer.outcome) {
            (Some(Fate::Stored(_, line)), _) => {
                self.statistics.lines_stored += 1;
                self.teller.tell(&News::Said(&line))
            }
            (Some(Fate::Again(Some(text)) | Fate::Refused(text)), _) => self.teller.tell(&News::Refused(&text)),
            (None, Outcome::Refused { message, .. }) => self.teller.tell(&News::Refused(&message)),
            _ => Ok(()),
        }
    }

    /// Leaves in order, closes the files, says what happened.
    async fn end(mut self) -> Result<(), Failure> {
        let voice = self.link.session.voice_statistics(&self.room).unwrap_or_default();
        stay::in_time(self.leave()).await;
        if self.outgoing.unsent() > 0 {
            let text = format!("{} lines were not sent", self.outgoing.unsent());
            self.teller.tell(&News::Refused(&text))?;
        }
        self.voice_opened(false)?;
        self.teller.tell(&News::End)?;
        self.heard()?;
        self.teller.finish().await;
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
            if let Event::Answer(answer) = self.link.event().await
                && self.answer(answer).is_err()
            {
                return;
            }
        }
        if self.link.session.room(&self.room).is_none() || !self.link.session.is_connected() {
            return;
        }
        stay::leave(&mut self.link, &self.room).await;
    }
}
