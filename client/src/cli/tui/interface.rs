//! The task of the interface: session, sound, keys and picture, each when it has something.
//!
//! Not what follows from them, which is `app`'s, nor how requests are made, which is `acts`'s.
//! Bounds: a picture each `FRAME_US` at most, and none while the terminal has not taken the one before.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::time::Duration;

use echomesh_client::{Announce, Event, MemberChange, OpenVoice, RequestId};
use echomesh_proto::control::Member;
use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::{SECOND_US, Time};
use ratatui::crossterm::event::Event as Input;

use super::acts::Asked;
use super::app::{App, Person};
use super::cues::Cues;
use super::draw::{self, Drawn};
use super::input::take_input;
use super::keys::Keys;
use super::meters::OWN;
use super::microphone;
use super::outside::{self, Outside};
use super::people;
use super::status;
use super::terminal::Screen;
use super::theme::Theme;
use super::view::Kind;
use crate::cli::args::{SoundArgs, Ui};
use crate::cli::clock;
use crate::cli::failure::Failure;
use crate::cli::link::{Link, Use};
use crate::cli::outgoing::{Outgoing, Place};
use crate::cli::settings::Settings;
use crate::cli::sound::engine_settings;
use crate::cli::speech::{Speech, spoken, voice_frame};
use crate::cli::stay;
use crate::cli::talk_mode::TalkMode;

/// Least time between two pictures, microseconds: 20 a second move a meter well enough.
const FRAME_US: u64 = 50_000;

/// Between two lists of the server's rooms, microseconds.
const LIST_US: u64 = 20 * SECOND_US;

/// Between marks of what was seen, microseconds.
const SEEN_US: u64 = SECOND_US;

/// Loudness of packets whose sender says nothing of it, and of silence (RFC 6464).
const SILENCE: u8 = 127;

/// All that the task has.
pub(super) struct Interface {
    pub(super) app: App,
    pub(super) link: Link,
    pub(super) speech: Option<Speech>,
    pub(super) outgoing: Outgoing,
    pub(super) asked: BTreeMap<RequestId, Asked>,
    pub(super) screen: Screen,
    /// What is on it.
    drawn: Drawn,
    theme: Theme,
    cues: Cues,
    /// What is to be marked as seen, and when the last mark was made.
    pub(super) to_mark: BTreeMap<Place, u64>,
    marked: Time,
    pub(super) listed: Option<Time>,
    /// Rooms whose voice is open, and what they were told of the own.
    pub(super) announced: BTreeMap<String, Announce>,
    pub(super) people_file: Option<PathBuf>,
    /// What this person wants of whose stream, as looked up since the last event.
    pub(super) wishes: BTreeMap<u32, Option<Person>>,
    /// The picture is not what there is to see; when it may be made anew.
    pub(super) is_stale: bool,
    next_frame: Time,
    pub(super) ends: bool,
    outside: Outside,
}

/// Logs in, takes the terminal, and stays until told to end.
///
/// # Errors
/// [`Failure`]; the terminal is as it was by then.
pub async fn run(settings: &Settings, ui: &Ui) -> Result<(), Failure> {
    let keys = Keys::configured(&settings.keys).map_err(Failure::Usage)?;
    let sound = ui.sound(settings);
    // What was asked for by name must work; what was set once may be unplugged today.
    let must_work = [&ui.input, &ui.output].into_iter().flatten().any(|name| name != "default");
    let (speech, no_sound) = open_sound(&sound, must_work)?;
    let link = Link::log_in(settings, Use::Stay).await?;
    let state = |name: &str| settings.state.as_ref().map(|directory| directory.join(name));
    let hotkey = ui.hotkey.as_ref().or(settings.hotkey.as_ref());
    let (outside, no_control) = Outside::open(hotkey.cloned())?;
    let screen = Screen::take(state("ui.log"), ui.mouse || settings.mouse)?;
    let mut app = App::new(&settings.server(), link.session.user().0, &settings.user, keys);
    app.own.muted = ui.muted;
    app.own.mode = ui.talk;
    app.own.threshold = ui.threshold.unwrap_or(settings.threshold);
    app.own.has_input = speech.is_some() && sound.input != "none";
    app.own.has_output = speech.is_some() && sound.output != "none";
    let cues = Cues::new(settings.cues && !ui.no_cues, &app.own);
    let mut interface = Interface {
        app,
        link,
        speech,
        outgoing: Outgoing::default(),
        asked: BTreeMap::new(),
        screen,
        drawn: Drawn::default(),
        cues,
        theme: Theme::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()), has_unicode()),
        to_mark: BTreeMap::new(),
        marked: Time(0),
        listed: None,
        announced: BTreeMap::new(),
        people_file: state("people.toml"),
        wishes: BTreeMap::new(),
        is_stale: true,
        next_frame: Time(0),
        ends: false,
        outside,
    };
    if let Some(text) = no_control {
        interface.tell(Kind::Notice, &text);
    }
    if let Some(text) = hotkey.and_then(|key| microphone::hotkey_text(&interface.app.own, key)) {
        interface.tell(Kind::Notice, &text);
    }
    interface.greet(ui, no_sound);
    let outcome = interface.until(pin!(stay::stop(None)?)).await;
    interface.end().await;
    outcome
}

/// Sound, or why there is none: a person can write all the same.
fn open_sound(sound: &SoundArgs, must_work: bool) -> Result<(Option<Speech>, Option<String>), Failure> {
    if sound.input == "none" && sound.output == "none" {
        return Ok((None, None));
    }
    match engine_settings(sound, false).and_then(|settings| Speech::open(&settings)) {
        Ok(speech) => Ok((Some(speech), None)),
        Err(failure) if must_work => Err(failure),
        Err(failure) => Ok((None, Some(failure.to_string()))),
    }
}

/// Whether the locale has UTF-8, by the variables in the order of setlocale(3).
fn has_unicode() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
    set.is_some_and(|locale| locale.to_lowercase().replace('-', "").contains("utf8"))
}

/// Hours and minutes here.
fn clock_text(time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    time.map_or_else(String::new, |time| time.with_timezone(&chrono::Local).format("%H:%M").to_string())
}

impl Interface {
    pub(super) fn tell(&mut self, kind: Kind, text: &str) {
        self.app.tell(kind, clock::now().unix_ms, text);
        self.is_stale = true;
    }

    fn greet(&mut self, ui: &Ui, no_sound: Option<String>) {
        let greeting = format!("connected to {}; F1 shows keys and commands", self.app.server);
        self.tell(Kind::Notice, &greeting);
        if let Some(text) = no_sound {
            self.tell(Kind::Problem, &format!("no sound: {text}. You can read and write"));
        }
        match self.people_file.as_deref().map(people::read) {
            Some(Ok(people)) => self.app.people = people,
            Some(Err(text)) => self.tell(Kind::Problem, &text),
            None => {}
        }
        if let Some(room) = &ui.room {
            self.join(room, "", ui.create);
        }
        self.ask_unread();
        self.apply_voice();
    }

    async fn until(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Failure> {
        loop {
            self.heard();
            self.follow_sound();
            while let Some(event) = self.link.next_event() {
                if matches!(event, Event::Disconnected(_)) {
                    self.tell(Kind::Problem, "the connection was lost; trying again");
                    if !self.reconnect(stop.as_mut()).await? {
                        return Ok(());
                    }
                } else {
                    self.event(event)?;
                }
            }
            if self.ends || self.app.quits() {
                return Ok(());
            }
            // What is wished for before a login is done after it.
            if self.link.session.is_logged_in() {
                self.do_acts();
            } else {
                self.app.bound_acts(clock::now().unix_ms);
            }
            self.say_lines();
            self.mark_seen();
            self.list_rooms_now_and_then();
            self.draw()?;
            let draw_in = self.draw_in();
            tokio::select! {
                () = stop.as_mut() => return Ok(()),
                () = self.link.turn() => {}
                () = spoken(self.speech.as_ref()) => self.spoken(),
                input = self.screen.events.recv() => self.input(input),
                came = self.outside.next() => {
                    outside::take(&mut self.app, came);
                    self.is_stale = true;
                }
                () = tokio::time::sleep(draw_in) => {}
            }
            self.link.pump();
        }
    }

    /// A connection again, for as long as it takes; keys work meanwhile. False: the person ends.
    async fn reconnect(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<bool, Failure> {
        loop {
            self.refresh();
            let outcome = {
                let Self { link, app, screen, drawn, outside, .. } = self;
                let mut again = pin!(link.reconnect());
                loop {
                    if screen.is_ready() {
                        let (theme, now) = (self.theme, clock::monotonic());
                        screen.draw(|frame| *drawn = draw::draw(frame, app, theme, now, clock_text))?;
                    }
                    tokio::select! {
                        outcome = again.as_mut() => break outcome,
                        () = stop.as_mut() => return Ok(false),
                        input = screen.events.recv() => {
                            let Some(input) = input else { return Ok(false) };
                            take_input(app, screen.tells_release, drawn, input);
                        }
                        came = outside.next() => outside::take(app, came),
                        // The frame before may have been in the way.
                        () = tokio::time::sleep(Duration::from_micros(SECOND_US / 4)) => {}
                    }
                    if app.quits() {
                        return Ok(false);
                    }
                    app.bound_acts(clock::now().unix_ms);
                }
            };
            match outcome {
                Ok(()) => return Ok(true),
                // A minute was not enough: a laptop's lid may be closed for a night.
                Err(Failure::Connection(text)) => self.tell(Kind::Problem, &text),
                Err(failure) => return Err(failure),
            }
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        self.is_stale = true;
        self.wishes.clear();
        stay::obey(&mut self.link, &event)?;
        match &event {
            Event::Answer(answer) => self.answer(answer),
            Event::LoggedIn(_) => {
                self.tell(Kind::Notice, "connected again");
                self.cues.connected_again(clock::monotonic());
                self.listed = None;
            }
            Event::VoiceOpen { room, bitrate_max, .. } => {
                if let Some(speech) = &mut self.speech {
                    speech.begin(*bitrate_max);
                }
                // A stream begins silent, also one that the session opened again by itself.
                if let Some(announced) = self.announced.get_mut(&**room) {
                    announced.talking = false;
                }
            }
            Event::RoomLost { room, .. } => drop(self.announced.remove(&**room)),
            Event::Member { room, change, member } => self.member(room, *change, member),
            Event::Chat(line) | Event::Direct(line) if self.outgoing.own_came(line) => {}
            _ => {}
        }
        self.app.event(&event, clock::now().unix_ms);
        Ok(())
    }

    /// A member of a room came, went, or changed.
    fn member(&mut self, room: &str, change: MemberChange, member: &Member) {
        let Some(speech) = &mut self.speech else { return };
        if change == MemberChange::Left {
            speech.forget(Ssrc(member.ssrc));
        }
        let is_here = self.app.own.room.as_deref() == Some(room);
        if is_here && member.session_id != self.link.session.id().0 {
            let cue = self.cues.of_member(clock::monotonic(), change);
            cue.into_iter().for_each(|cue| speech.cue(cue));
        }
    }

    /// What came of others' voice: to the engine, and to the meters.
    fn heard(&mut self) {
        for packet in std::mem::take(&mut self.link.heard) {
            let first = !self.app.meters.is_talking(packet.ssrc.0, packet.time);
            let person = self.person(packet.ssrc);
            self.app.meters.note(packet.ssrc.0, packet.time, packet.audio_level);
            if person.is_some_and(|person| person.ignored) {
                continue;
            }
            if let Some(speech) = &mut self.speech {
                speech.hear(&packet);
                // A speaker's place may have been another's, which begins as it came.
                if let Some(person) = person.filter(|_| first) {
                    speech.set_gain(packet.ssrc, person.percent as f32 / 100.0);
                }
            }
        }
    }

    /// What this person wants of who has that stream.
    fn person(&mut self, ssrc: Ssrc) -> Option<Person> {
        let Self { app, link, wishes, .. } = self;
        if app.people.is_empty() {
            return None;
        }
        let look_up = || {
            let member = link.session.rooms().find_map(|room| room.speaker(ssrc))?;
            app.people.get(&member.username.to_lowercase()).copied()
        };
        *wishes.entry(ssrc.0).or_insert_with(look_up)
    }

    fn follow_sound(&mut self) {
        let Some(speech) = &mut self.speech else { return };
        let (now, own) = (clock::monotonic(), &self.app.own);
        if own.has_input {
            let level = if own.is_closed() { SILENCE } else { speech.engine().input_level() };
            self.app.meters.note(OWN, now, Some(level));
        }
        let statistics = own.room.as_deref().and_then(|room| self.link.session.voice_statistics(room));
        if let Some(statistics) = statistics {
            speech.adapt(now, &statistics);
        }
        let news: Vec<String> = std::iter::from_fn(|| speech.next_news()).collect();
        for sentence in news {
            self.tell(Kind::Problem, &sentence);
        }
    }

    /// Sends what the engine has said.
    fn spoken(&mut self) {
        while let Some(spoken) = self.speech.as_mut().and_then(Speech::next_spoken) {
            let Some(room) = self.app.own.room.clone() else { continue };
            if let Some(frame) = spoken.frame {
                // Not open while a connection is made again: speech does not wait.
                let _ = self.link.send_voice(&room, voice_frame(&frame));
            }
            self.is_stale |= std::mem::replace(&mut self.app.own.talking, spoken.talking) != spoken.talking;
            self.tell_announce();
        }
    }

    /// Tells the rooms of changes of the own voice; with the next one if it cannot be told now.
    pub(super) fn tell_announce(&mut self) {
        for (room, announced) in &mut self.announced {
            let announce = self.app.own.announce(room);
            if announce != *announced && self.link.session.announce(clock::now(), room, announce).is_ok() {
                *announced = announce;
            }
        }
    }

    /// The engine does as the state says; voice is open where it is to be heard.
    pub(super) fn apply_voice(&mut self) {
        let own = &self.app.own;
        let cue = self.cues.of_own(own);
        if let Some(speech) = &mut self.speech {
            cue.into_iter().for_each(|cue| speech.cue(cue));
            speech.mute(own.is_closed());
            speech.deafen(own.deafened);
            speech.send_all(own.mode != TalkMode::Voice);
            speech.threshold(own.threshold);
        }
        let closed = own.room.clone().filter(|room| self.speech.is_some() && !self.announced.contains_key(room));
        if let Some(room) = closed {
            let Announce { muted, deafened, .. } = own.announce(&room);
            let flags = OpenVoice { muted, deafened };
            if let Ok(request) = self.link.session.open_voice(clock::now(), &room, flags) {
                self.announced.insert(room.clone(), Announce { talking: false, muted, deafened });
                self.asked.insert(request, Asked::Voice(room));
            }
        }
        self.tell_announce();
    }

    fn say_lines(&mut self) {
        if self.outgoing.say(&mut self.link) {
            self.tell(Kind::Problem, "the line is too long and was not sent");
        }
    }

    fn mark_seen(&mut self) {
        let now = clock::monotonic();
        if !self.to_mark.is_empty() && now.since_us(self.marked) >= SEEN_US {
            self.marked = now;
            self.send_marks();
        }
    }

    fn list_rooms_now_and_then(&mut self) {
        let now = clock::monotonic();
        if self.listed.is_none_or(|listed| now.since_us(listed) >= LIST_US) && self.link.session.is_logged_in() {
            self.listed = Some(now);
            self.list_rooms();
        }
    }

    fn input(&mut self, input: Option<Input>) {
        match input {
            Some(input) => {
                self.is_stale = true;
                take_input(&mut self.app, self.screen.tells_release, &self.drawn, input);
            }
            // The terminal is gone.
            None => self.ends = true,
        }
    }

    fn refresh(&mut self) {
        status::refresh(&mut self.app, &self.link.session, self.speech.as_ref());
    }

    /// How long until a picture is due.
    fn draw_in(&self) -> Duration {
        let now = clock::monotonic();
        let moves = self.is_stale || self.app.meters.is_moving(now);
        let wait_us = if moves { Time(self.next_frame.0).since_us(now).max(1_000) } else { SECOND_US };
        Duration::from_micros(wait_us)
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let now = clock::monotonic();
        let moves = self.is_stale || self.app.meters.is_moving(now) || now.since_us(self.next_frame) >= SECOND_US;
        if !moves || now < self.next_frame || !self.screen.is_ready() {
            return Ok(());
        }
        if self.is_stale {
            self.refresh();
        } else {
            status::refresh_figures(&mut self.app, &self.link.session, self.speech.as_ref());
        }
        let (app, theme) = (&self.app, self.theme);
        let drawn = &mut self.drawn;
        self.screen.draw(|frame| *drawn = draw::draw(frame, app, theme, now, clock_text))?;
        let current = self.app.current;
        let scroll = &mut self.app.views[current].scroll;
        *scroll = (*scroll).min(self.drawn.scroll_max);
        self.is_stale = false;
        self.next_frame = now.after_us(FRAME_US);
        Ok(())
    }

    /// Leaves in order.
    async fn end(self) {
        let Self { mut link, speech, screen, .. } = self;
        // The terminal first: what may be wrong is told on it.
        drop(screen);
        let rooms: Vec<String> = link.session.rooms().map(|room| room.name().to_string()).collect();
        if link.session.is_connected() {
            stay::in_time(async {
                for room in rooms {
                    stay::leave(&mut link, &room).await;
                }
            })
            .await;
        }
        link.close();
        match speech.map(Speech::finish) {
            Some(Err(failure)) => eprintln!("echomesh: {failure}"),
            Some(Ok(totals)) if tracing::enabled!(tracing::Level::DEBUG) => eprint!("{totals}"),
            _ => {}
        }
    }
}
