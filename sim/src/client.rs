//! A simulated client: the real session kernel, driven at random, and what it was promised.
//!
//! Not a second protocol implementation: `echomesh_client::Session` logs in, resumes, enters its rooms
//! again and keeps rosters; this drives it, remembers what it may hear, and checks what it is told.
//! Out: the first broken promise, as a sentence. `asks` has what it may ask for.

mod asks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use echomesh_client::{Answer, Config, Done, Drop, Event, Input, Outcome, RequestId, Session, Voice, VoiceStatistics};
use echomesh_proto::control::{ChatMsg, StatusCode};
use echomesh_proto::ids::{ConnectionId, SessionId, Ssrc, UserId};
use echomesh_proto::limits::DATAGRAM_BYTES_MAX;
use echomesh_proto::time::{MediaTime, Now, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

use crate::faults::Faults;
use crate::listening::Listening;

/// A chat line; sent again under the same id while nobody answers it.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where.
    pub room: String,
    /// What.
    pub content: String,
    /// Unique for the account.
    pub client_id: String,
    /// To someone instead of a room.
    pub to: Option<String>,
}

/// What a request was, for its answer.
#[derive(Clone, Debug)]
enum Asked {
    Create,
    Join(String),
    Leave(String),
    Chat(Line),
    Plain,
}

/// A frame as it was heard: where, what and under which number.
pub struct Said {
    room: String,
    text: String,
    pub ssrc: Ssrc,
    pub index: u64,
    pub media_time: MediaTime,
    pub marker: bool,
}

fn said(voice: &Voice<'_>) -> Said {
    Said {
        room: voice.room.to_string(),
        text: String::from_utf8_lossy(voice.payload).into_owned(),
        ssrc: voice.ssrc,
        index: voice.index,
        media_time: voice.media_time,
        marker: voice.marker,
    }
}

/// How a client's clock goes.
#[derive(Clone, Copy, Debug)]
struct Clock {
    ahead_us: u64,
    /// Parts per million; more than a million is fast.
    pace: u64,
}

/// One client; its connection comes and goes, its session resumes.
#[derive(Debug)]
pub struct Client {
    /// Its own, which begins what it says.
    pub name: String,
    /// The account's: a person may have two devices.
    pub account: String,
    clock: Clock,
    /// Nothing goes to it or comes from it until then.
    pub cut_until: u64,
    /// Its playout buffers, if it has some.
    ears: Option<Listening>,
    /// Where it is connected, as far as it knows.
    pub connection: Option<(usize, ConnectionId)>,
    /// Reads late.
    pub slow: bool,
    /// When the last bytes to the server, and from it, arrive: a part never overtakes another.
    pub arrives: u64,
    pub departs: u64,
    session: Session,
    events: Vec<Event>,
    asked: BTreeMap<RequestId, Asked>,
    /// Rooms it may hear: from the request to join to the answer to the leave.
    may_hear: BTreeSet<String>,
    /// Rooms the server may have put it into though the answer was lost.
    unsure: BTreeSet<String>,
    /// Ids of the lines heard in each room, one list for each time of being there without a gap.
    pub heard: Vec<(String, Vec<u64>)>,
    listening: BTreeMap<String, usize>,
    /// Direct lines heard, by the other side, and those of its own that are acknowledged.
    pub direct_heard: BTreeMap<String, Vec<u64>>,
    pub direct_acknowledged: Vec<(String, u64)>,
    /// Lines that others changed.
    pub changes: u64,
    /// Every content heard or acknowledged.
    pub contents: BTreeSet<String>,
    /// Lines acknowledged: id and line.
    pub acknowledged: Vec<(u64, Line)>,
    /// Lines without an answer, to be sent again.
    pub unsent: VecDeque<Line>,
    lines: u32,
    /// How often its UDP address changed.
    pub moves: u16,
    /// Its datagrams go nowhere, and none comes.
    pub udp_blocked: bool,
    /// Where it speaks; else in the first room whose voice is open.
    pub speaks_in: Option<String>,
    /// Frames said so far.
    pub frames: u32,
    /// Number of each frame heard and when, by speaker and frame.
    pub heard_frames: BTreeMap<(String, u32), (u64, Time)>,
    /// When it said each of its own.
    pub said: Vec<Time>,
    /// Sessions that came back after a lost connection.
    pub resumed: usize,
    refused: bool,
}

impl Client {
    /// The clients of a seed, three to eight; the last may be another device of the second.
    pub fn some(random: &mut ChaCha8Rng, faults: &Faults, plays: bool) -> Vec<Self> {
        let count = 3 + random.next_u32() % 6;
        let has_twin = random.next_u32().is_multiple_of(2);
        (0..count)
            .map(|number| {
                let account = format!("c{}", if has_twin && number + 1 == count { 1 } else { number });
                let slow = faults.slow_one_in > 0 && random.next_u64().is_multiple_of(faults.slow_one_in);
                let drift = random.next_u64() % (2 * faults.drift_ppm + 1);
                let pace = 1_000_000 + drift - faults.drift_ppm;
                let clock = Clock { ahead_us: random.next_u64() % 1_000_000_000, pace };
                Self::new(format!("c{number}"), account, slow, clock, plays)
            })
            .collect()
    }

    fn new(name: String, account: String, slow: bool, clock: Clock, plays: bool) -> Self {
        Self {
            session: Session::new(Config { direct: true, ..Config::new(account.clone(), "secret") }),
            name,
            account,
            clock,
            cut_until: 0,
            ears: plays.then(Listening::default),
            connection: None,
            slow,
            arrives: 0,
            departs: 0,
            events: Vec::new(),
            asked: BTreeMap::new(),
            may_hear: BTreeSet::new(),
            unsure: BTreeSet::new(),
            heard: Vec::new(),
            listening: BTreeMap::new(),
            direct_heard: BTreeMap::new(),
            direct_acknowledged: Vec::new(),
            changes: 0,
            contents: BTreeSet::new(),
            acknowledged: Vec::new(),
            unsent: VecDeque::new(),
            lines: 0,
            moves: 0,
            udp_blocked: false,
            speaks_in: None,
            frames: 0,
            heard_frames: BTreeMap::new(),
            said: Vec::new(),
            resumed: 0,
            refused: false,
        }
    }

    /// Whether requests are answered by now.
    pub fn is_ready(&self) -> bool {
        self.session.is_logged_in()
    }

    /// Whether the server refused the login: a new connection tries again.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// What its clock shows.
    fn at(&self, now: Now) -> Now {
        let us = (u128::from(now.time.0) * u128::from(self.clock.pace) / 1_000_000) as u64 + self.clock.ahead_us;
        Now { time: Time(us), unix_ms: now.unix_ms + self.clock.ahead_us / 1_000 }
    }

    /// The connection that its session does not want any more, if there is one.
    pub fn given_up(&self) -> Option<(usize, ConnectionId)> {
        self.connection.filter(|_| !self.session.is_connected())
    }

    /// Frames that its playout buffers have played.
    pub fn played(&self) -> usize {
        self.ears.as_ref().map_or(0, Listening::played)
    }

    /// Whether its playout buffers have played these frames of one speaker, with little delay.
    pub fn has_played(
        &mut self,
        now: Now,
        frames: std::ops::RangeInclusive<u32>,
        delay_us_max: u64,
    ) -> Result<(), String> {
        let now = self.at(now).time;
        self.ears.as_mut().map_or(Ok(()), |ears| ears.has_played(now, frames, delay_us_max))
    }

    /// The account's id.
    pub fn user(&self) -> UserId {
        self.session.user()
    }

    /// Requests nobody has answered.
    pub fn unanswered(&self) -> usize {
        self.session.unanswered()
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.session.id()
    }

    /// The rooms it is in, with its rosters.
    pub fn rooms(&self) -> impl Iterator<Item = &echomesh_client::Room> {
        self.session.rooms()
    }

    /// Whether the server may have it in this room without its knowing.
    pub fn may_be_in(&self, room: &str) -> bool {
        self.unsure.contains(room)
    }

    /// Bytes for the server.
    pub fn take_output(&mut self) -> Vec<u8> {
        let bytes = self.session.output().to_vec();
        self.session.output_written(bytes.len());
        bytes
    }

    /// Gives the session one input; the error says which promise is broken.
    pub fn handle(&mut self, now: Now, input: Input<'_>) -> Result<(), String> {
        let mut events = std::mem::take(&mut self.events);
        self.session.handle(self.at(now), input, &mut events);
        let outcome = events.drain(..).try_for_each(|event| self.event(event));
        self.events = events;
        let outcome = outcome.and_then(|()| self.held_voice(now)).and_then(|()| self.counted_nothing_odd());
        outcome.map_err(|broken| format!("{}: {broken}", self.name))
    }

    /// What a correct server never makes a session count.
    fn counted_nothing_odd(&self) -> Result<(), String> {
        for reason in [Drop::BadMember, Drop::Unsupported, Drop::UnknownRoom, Drop::UnknownAnswer] {
            // An answer that came too late may be that it is in a room.
            let of_late_answers = matches!(reason, Drop::UnknownAnswer | Drop::UnknownRoom);
            let timed_out = of_late_answers && self.session.counters().requests_timed_out > 0;
            if self.session.counters().dropped(reason) > 0 && !timed_out {
                return Err(format!("the session dropped a message: {}", reason.as_str()));
            }
        }
        Ok(())
    }

    /// Whether its voice in a room goes through the control connection.
    pub fn is_tunnelled(&self, room: &str) -> bool {
        self.session.voice_is_tunnelled(room)
    }

    /// What the server reports of a room's voice.
    pub fn voice_statistics(&self, room: &str) -> Option<VoiceStatistics> {
        self.session.voice_statistics(room)
    }

    /// Datagrams for the server.
    pub fn take_datagrams(&mut self) -> Vec<Vec<u8>> {
        let mut list = Vec::new();
        while let Some(datagram) = self.session.next_datagram() {
            list.push(datagram.bytes.to_vec());
        }
        list
    }

    /// A datagram from the server.
    pub fn datagram(&mut self, now: Now, datagram: &mut [u8]) -> Result<(), String> {
        let heard = self.session.datagram(self.at(now), datagram).map(|voice| said(&voice));
        heard.map_or(Ok(()), |heard| self.frame(now, heard)).map_err(|broken| format!("{}: {broken}", self.name))
    }

    /// Voice that came in the control connection, or before its stream was announced.
    fn held_voice(&mut self, now: Now) -> Result<(), String> {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        while let Some(heard) = self.session.held_voice(self.at(now), &mut buffer).map(|voice| said(&voice)) {
            self.frame(now, heard)?;
        }
        Ok(())
    }

    fn frame(&mut self, now: Now, heard: Said) -> Result<(), String> {
        let own_time = self.at(now).time;
        let Said { room, text, index, .. } = &heard;
        let mut words = text.split(' ');
        let (said_in, speaker) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
        let frame = words.next().and_then(|number| number.parse().ok()).ok_or("voice that nobody said")?;
        if said_in != room || !self.may_hear.contains(room) || speaker == self.name {
            return Err(format!("heard {text:?} in {room}"));
        }
        if self.heard_frames.insert((speaker, frame), (*index, now.time)).is_some() {
            return Err(format!("heard {text:?} twice"));
        }
        self.ears.as_mut().map_or(Ok(()), |ears| ears.heard(own_time, frame, &heard))
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::LoggedIn(logged_in) => {
                self.refused = false;
                self.resumed += usize::from(logged_in.resumed);
                if !logged_in.resumed {
                    self.unsure.clear();
                    // The new session is heard of only where it enters again, or was asked to.
                    let joins = self.asked.values().filter_map(|asked| match asked {
                        Asked::Join(room) => Some(room.clone()),
                        _ => None,
                    });
                    self.may_hear = self.session.rooms().map(|room| room.name().to_string()).chain(joins).collect();
                }
            }
            Event::LoginRefused { .. } => self.refused = true,
            Event::Answer(Answer { request, outcome }) => {
                let Some(asked) = self.asked.remove(&request) else {
                    return Err(format!("a second answer to request {}", request.0));
                };
                return self.answered(asked, outcome);
            }
            Event::Chat(line) => return self.line(&line),
            Event::Member { room, .. } if !self.may_hear.contains(&*room) => {
                return Err(format!("an event of {room}, where it is not"));
            }
            Event::Disconnected(_) => {}
            Event::Direct(line) => return self.direct_line(&line),
            // Of a line that was told before, or that was said before it was in.
            Event::ChatChanged(line) => self.changes += u64::from(!line.content.is_empty() || line.deleted),
            Event::RoomLost { room, .. } => {
                self.listening.remove(&*room);
                self.unsure.insert(room.to_string());
            }
            Event::Rejoined { room } => self.listen(&room),
            Event::Moved { room } => {
                self.may_hear.insert(room.to_string());
                self.listen(&room);
            }
            // Its rooms are left with it.
            Event::Expelled { .. } => self.listening.clear(),
            Event::RoomChanged { .. }
            | Event::Reported(_)
            | Event::RoomMessage(_)
            | Event::Member { .. }
            | Event::RosterComplete { .. }
            | Event::VoiceOpen { .. }
            | Event::Notice { .. } => {}
        }
        Ok(())
    }

    fn answered(&mut self, asked: Asked, outcome: Outcome) -> Result<(), String> {
        let unanswered = matches!(outcome, Outcome::ConnectionLost | Outcome::TimedOut);
        match (asked, outcome) {
            (Asked::Create | Asked::Plain, _) => {}
            (Asked::Join(room), Outcome::Done(_)) => {
                self.unsure.remove(&room);
                self.listen(&room);
            }
            (Asked::Join(room), _) if unanswered => drop(self.unsure.insert(room)),
            (Asked::Join(room), _) => {
                if self.session.room(&room).is_none() && !self.unsure.contains(&room) && !self.joins(&room) {
                    self.may_hear.remove(&room);
                }
            }
            // The session leaves once more when it is back.
            (Asked::Leave(room), _) if unanswered => drop(self.listening.remove(&room)),
            (Asked::Leave(room), outcome) => {
                let not_in_room = matches!(outcome, Outcome::Refused { status: StatusCode::StatusNotInRoom, .. });
                if matches!(outcome, Outcome::Done(_)) || not_in_room {
                    self.listening.remove(&room);
                    self.unsure.remove(&room);
                    // A join sent after this leave makes it a room it may hear again.
                    if !self.joins(&room) {
                        self.may_hear.remove(&room);
                    }
                }
            }
            (Asked::Chat(line), Outcome::Done(Done::Chat(stored))) => {
                if stored.content != line.content {
                    return Err(format!("sent {:?}, acknowledged {:?}", line.content, stored.content));
                }
                self.contents.insert(stored.content.clone());
                if let Some(to) = &line.to {
                    self.direct_acknowledged.push((to.clone(), stored.message_id));
                } else {
                    self.acknowledged.push((stored.message_id, line));
                }
            }
            (Asked::Chat(line), _) if unanswered => self.unsent.push_back(line),
            (Asked::Chat(_), Outcome::Done(other)) => return Err(format!("a chat line was answered with {other:?}")),
            (Asked::Chat(_), _) => {}
        }
        Ok(())
    }

    fn joins(&self, room: &str) -> bool {
        self.asked.values().any(|asked| matches!(asked, Asked::Join(other) if other == room))
    }

    fn line(&mut self, line: &ChatMsg) -> Result<(), String> {
        if !self.may_hear.contains(&line.room_id) {
            return Err(format!("heard {:?} of {}, where it is not", line.content, line.room_id));
        }
        self.contents.insert(line.content.clone());
        self.own_came(line);
        self.note(&line.room_id, line.message_id)
    }

    /// One of its own whose acknowledgement was lost need not be sent again.
    fn own_came(&mut self, line: &ChatMsg) {
        self.unsent.retain(|unsent| line.client_id.is_empty() || unsent.client_id != line.client_id);
    }

    fn direct_line(&mut self, line: &ChatMsg) -> Result<(), String> {
        let other = match (line.username == self.account, line.to == self.account) {
            (true, false) => &line.to,
            (false, true) => &line.username,
            _ => return Err(format!("heard {:?} from {} to {}", line.content, line.username, line.to)),
        };
        self.own_came(line);
        self.contents.insert(line.content.clone());
        let ids = self.direct_heard.entry(other.clone()).or_default();
        // One that was stored before the login and is announced long after may come behind newer ones.
        match ids.binary_search(&line.message_id) {
            Ok(_) => Err(format!("direct line {} with {other} twice", line.message_id)),
            Err(at) => {
                ids.insert(at, line.message_id);
                Ok(())
            }
        }
    }

    /// It is in: from now on nothing may be missing.
    fn listen(&mut self, room: &str) {
        let heard = &mut self.heard;
        self.listening.entry(room.to_owned()).or_insert_with(|| {
            heard.push((room.to_owned(), Vec::new()));
            heard.len() - 1
        });
    }

    fn note(&mut self, room: &str, id: u64) -> Result<(), String> {
        let Some(at) = self.listening.get(room).copied() else { return Ok(()) };
        let ids = &mut self.heard[at].1;
        if let Some(last) = ids.last().filter(|last| **last >= id) {
            return Err(format!("line {id} of {room} after line {last}"));
        }
        ids.push(id);
        Ok(())
    }
}
