//! One session: a logged-in device, from its first login through lost connections to its end.
//!
//! In: [`Session::handle`] (connected, bytes, closed, tick), [`Session::datagram`], requests. Out:
//! [`Event`]s into the caller's buffer, [`Session::output`], [`Session::next_datagram`].
//! Bounds: see `requests`, `room` and `voice`; one `Input::Bytes` adds at most one event per message in
//! it, and one per unanswered request. Every map is ordered: the same calls give the same bytes.
//!
//! # Layout
//! - `config`, `event`, `counters`: the boundary. `requests`, `room_requests`: what may be asked. `answers`: what comes; `bounds`: of that.
//! - `lines`, `follow`: chat, and what was missed of it. `room`: a room's roster. `voice`: keys, numbering, packets.
//!   `report`: RTCP. `handover`: voice by another program. `secret`: what is not printed.

mod answers;
mod bounds;
mod config;
mod counters;
mod event;
mod follow;
mod handover;
mod lines;
mod report;
mod requests;
mod room;
mod room_requests;
mod secret;
#[cfg(test)]
mod tests;
mod tunnel;
mod voice;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use echomesh_proto::control::{Body, EchoMsg, LoginRequest, Ping, ResumeRequest};
use echomesh_proto::framing::FrameDecoder;
use echomesh_proto::ids::{SessionId, UserId};
use echomesh_proto::limits::{DATAGRAM_BYTES_MAX, OPUS_PAYLOAD_TYPE};
use echomesh_proto::rtp::{self, Header};
use echomesh_proto::time::{Now, SECOND_US, Time};
use prost::Message;

pub use config::Config;
pub use counters::{Counters, Drop};
pub use event::{Answer, DisconnectReason, Done, Event, LoggedIn, MemberChange, Outcome, RequestId};
pub use handover::VoiceKeys;
pub use report::VoiceStatistics;
pub use requests::{Announce, OUTPUT_BYTES_MAX, OpenVoice, REQUEST_US_MAX, REQUESTS_MAX, RequestError};
pub use room::Room;
pub use voice::{Datagram, SentVoice, Voice, VoiceError, VoiceFrame};

use follow::Follow;
use requests::{Kind, Pending, answer};
use secret::ResumeToken;
use tunnel::Way;
use voice::{DatagramQueue, VoiceRoom};

/// Silence of the server after which it is pinged, microseconds.
const PING_US: u64 = 15 * SECOND_US;

/// Packets kept of streams that are not announced yet, and how long, microseconds: the roster's delta is
/// on its way, over TCP.
const HELD_MAX: usize = 16;
const HELD_US: u64 = SECOND_US / 5;

/// How often `Input::Tick` should come, microseconds: the pace of the reports that open a voice path.
pub const TICK_US: u64 = SECOND_US / 10;

/// Something that happened to the control connection, or to time.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection is made (TLS done). The session logs in, or resumes if it can.
    Connected,
    /// Decrypted bytes of it, in order, in any split.
    Bytes(&'a [u8]),
    /// It is over.
    Closed,
    /// Time passes; every [`TICK_US`] or so.
    Tick,
}

/// A session. See the crate's example.
#[derive(Debug)]
pub struct Session {
    config: Config,
    counters: Counters,
    connected: bool,
    logged_in: bool,
    /// This connection brought the session back.
    resumed: bool,
    user: UserId,
    id: SessionId,
    resume_token: ResumeToken,
    decoder: FrameDecoder,
    output: Vec<u8>,
    pending: VecDeque<Pending>,
    next_request: u32,
    last_received: Time,
    rooms: Vec<Room>,
    direct: Follow,
    voice: Vec<VoiceRoom>,
    datagrams: DatagramQueue,
    /// Packets of streams that were not announced yet, oldest first.
    held: VecDeque<(Time, Vec<u8>)>,
    /// Voice packets from the control connection, and for it.
    tunnelled_in: VecDeque<Vec<u8>>,
    tunnelled_out: DatagramQueue,
}

/// A packet that was opened.
struct Opened {
    room: Arc<str>,
    header: Header,
    index: u64,
    payload: Range<usize>,
}

impl Opened {
    fn voice(self, packet: &[u8]) -> Voice<'_> {
        Voice {
            room: self.room,
            ssrc: self.header.ssrc,
            index: self.index,
            media_time: self.header.media_time,
            marker: self.header.marker,
            audio_level: self.header.audio_level,
            payload: &packet[self.payload],
        }
    }
}

impl Session {
    /// A session that has not connected yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            counters: Counters::default(),
            connected: false,
            logged_in: false,
            resumed: false,
            user: UserId(0),
            id: SessionId(0),
            resume_token: ResumeToken::default(),
            decoder: FrameDecoder::default(),
            output: Vec::new(),
            pending: VecDeque::new(),
            next_request: 1,
            last_received: Time::default(),
            rooms: Vec::new(),
            direct: Follow::direct(),
            voice: Vec::new(),
            datagrams: DatagramQueue::default(),
            held: VecDeque::new(),
            tunnelled_in: VecDeque::new(),
            tunnelled_out: DatagramQueue::default(),
        }
    }

    /// Takes one input and appends what it means.
    pub fn handle(&mut self, now: Now, input: Input<'_>, events: &mut Vec<Event>) {
        match input {
            Input::Connected => self.reconnected(now, events),
            Input::Bytes(bytes) => self.bytes(now, bytes, events),
            Input::Closed => self.disconnect(DisconnectReason::Closed, events),
            Input::Tick => self.tick(now, events),
        }
    }

    /// Bytes to write to the control connection.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// The first `count` bytes of [`Session::output`] are written.
    ///
    /// # Panics
    /// If that is more than there is: the caller's bug.
    pub fn output_written(&mut self, count: usize) {
        self.output.drain(..count);
    }

    /// The next datagram to send, oldest first.
    pub fn next_datagram(&mut self) -> Option<Datagram<'_>> {
        self.datagrams.next()
    }

    /// Opens a datagram from the server in place. `None` if it is no voice or is dropped, counted by
    /// reason. Call it at any time: a room's voice needs nothing but its keys.
    pub fn datagram<'a>(&mut self, now: Now, datagram: &'a mut [u8]) -> Option<Voice<'a>> {
        let opened = self.open(now, datagram, Way::Udp)?;
        Some(opened.voice(datagram))
    }

    /// Voice that is not from a datagram of this moment, opened in `buffer`: packets that came in the
    /// control connection, or before their stream was announced. Ask after events until there is none.
    pub fn held_voice<'a>(&mut self, now: Now, buffer: &'a mut [u8; DATAGRAM_BYTES_MAX]) -> Option<Voice<'a>> {
        let (opened, length) = loop {
            let packet = self.tunnelled_in.pop_front().or_else(|| self.next_held(now))?;
            let length = packet.len().min(buffer.len());
            buffer[..length].copy_from_slice(&packet[..length]);
            if let Some(opened) = self.open(now, &mut buffer[..length], Way::Tunnel) {
                break (opened, length);
            }
        };
        Some(opened.voice(&buffer[..length]))
    }

    fn open(&mut self, now: Now, packet: &mut [u8], way: Way) -> Option<Opened> {
        let opened = match rtp::classify(packet) {
            _ if packet.len() > DATAGRAM_BYTES_MAX => Err(Drop::BadPacket),
            rtp::Kind::Rtp => self.open_rtp(now, packet),
            rtp::Kind::Rtcp => {
                self.open_rtcp(now, packet, way);
                return None;
            }
            rtp::Kind::Other => Err(Drop::NotRtp),
        };
        match opened {
            Ok(opened) => {
                self.counters.voice_received += 1;
                if way == Way::Udp {
                    self.udp_works(now, &opened.room);
                }
                Some(opened)
            }
            Err(Drop::AuthFailed) if self.hold(now, packet) => None,
            Err(reason) => {
                self.counters.drop(reason);
                None
            }
        }
    }

    /// Keeps a packet of a stream nobody announced yet, for voice may outrun the roster that tells its
    /// rollover counter. Whether it is kept.
    fn hold(&mut self, now: Now, datagram: &[u8]) -> bool {
        let Ok(header) = Header::parse(datagram) else { return false };
        let announced = self.rooms.iter().any(|room| room.speaker(header.ssrc).is_some());
        if announced || self.voice.iter().any(|voice| voice.has_heard(header.ssrc)) {
            return false;
        }
        if self.held.len() == HELD_MAX {
            self.held.pop_front();
            self.counters.drop(Drop::NotAnnounced);
        }
        self.held.push_back((now.time, datagram.to_vec()));
        true
    }

    /// The next datagram that was kept and whose stream is announced now.
    fn next_held(&mut self, now: Now) -> Option<Vec<u8>> {
        while self.held.front().is_some_and(|(since, _)| now.time.since_us(*since) > HELD_US) {
            self.held.pop_front();
            self.counters.drop(Drop::NotAnnounced);
        }
        let announced = |(_, datagram): &(Time, Vec<u8>)| {
            Header::parse(datagram)
                .is_ok_and(|header| self.rooms.iter().any(|room| room.speaker(header.ssrc).is_some()))
        };
        let at = self.held.iter().position(announced)?;
        self.held.remove(at).map(|(_, datagram)| datagram)
    }

    fn open_rtp(&mut self, now: Now, datagram: &mut [u8]) -> Result<Opened, Drop> {
        let header = Header::parse(datagram).map_err(|_| Drop::BadPacket)?;
        if header.payload_type != OPUS_PAYLOAD_TYPE {
            return Err(Drop::PayloadType);
        }
        // A stream is in one room. One that was not heard yet is in the room whose key opens it: voice
        // may outrun the roster, and only the server has the key.
        let known = self.voice.iter().position(|voice| voice.has_heard(header.ssrc));
        let candidates = known.map_or(0..self.voice.len(), |at| at..at + 1);
        let mut copy = [0; DATAGRAM_BYTES_MAX];
        let copy = &mut copy[..datagram.len()];
        let mut failure = Drop::UnknownSsrc;
        for at in candidates {
            let voice = &mut self.voice[at];
            let room = self.rooms.iter().find(|room| *room.name() == voice.room);
            let wanted = voice.wants_roc(now.time, header.ssrc);
            let speaker = room.filter(|_| wanted).and_then(|room| room.speaker(header.ssrc));
            let roc = speaker.map(|member| member.roc);
            copy.copy_from_slice(datagram);
            match voice.open_rtp(now.time, copy, &header, roc) {
                Ok((index, payload)) => {
                    datagram.copy_from_slice(copy);
                    return Ok(Opened { room: voice.room.clone(), header, index, payload });
                }
                Err(reason) => failure = reason,
            }
        }
        Err(failure)
    }

    fn open_rtcp(&mut self, now: Now, packet: &mut [u8], way: Way) {
        let mut copy = [0; DATAGRAM_BYTES_MAX];
        let copy = &mut copy[..packet.len()];
        let opened = self.voice.iter_mut().find_map(|voice| {
            copy.copy_from_slice(packet);
            voice.open_rtcp(now.time, copy).then(|| voice.room.clone())
        });
        let Some(room) = opened else { return self.counters.drop(Drop::AuthFailed) };
        self.counters.rtcp_received += 1;
        if way == Way::Udp {
            self.udp_works(now, &room);
        }
    }

    /// What the server reports of a room's voice; `None` while it is not open.
    #[must_use]
    pub fn voice_statistics(&self, room: &str) -> Option<VoiceStatistics> {
        let name = self.room(room)?.name();
        self.voice.iter().find(|voice| voice.room == *name).map(VoiceRoom::statistics)
    }

    /// Seals one frame for a room and queues its datagram.
    ///
    /// # Errors
    /// [`VoiceError`]; nothing was queued.
    pub fn send_voice(&mut self, room: &str, frame: VoiceFrame<'_>) -> Result<SentVoice, VoiceError> {
        let name = self.room(room).ok_or(VoiceError::NotOpen)?.name().clone();
        let voice = self.voice.iter_mut().find(|voice| voice.room == name).ok_or(VoiceError::NotOpen)?;
        let queue = if voice.is_tunnelled() { &mut self.tunnelled_out } else { &mut self.datagrams };
        let sent = voice.send(frame, queue);
        self.flush_tunnel();
        match sent {
            Ok(_) => self.counters.voice_sent += 1,
            Err(VoiceError::QueueFull) => self.counters.drop(Drop::DatagramQueueFull),
            Err(_) => {}
        }
        sent
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether the server knows who we are on this connection.
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    /// Whether there is a connection: requests may be sent.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// This session's id; 0 before the first login.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The account's id; 0 before the first login.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.user
    }

    /// Requests without an answer yet, the session's own included.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// The rooms the session is in.
    pub fn rooms(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter()
    }

    /// A room by its name, as the server writes it or as it was typed to join.
    #[must_use]
    pub fn room(&self, name: &str) -> Option<&Room> {
        self.rooms.iter().find(|room| room.is_named(name))
    }

    fn room_mut(&mut self, name: &str) -> Option<&mut Room> {
        self.rooms.iter_mut().find(|room| room.is_named(name))
    }

    fn reconnected(&mut self, now: Now, events: &mut Vec<Event>) {
        if self.connected {
            self.disconnect(DisconnectReason::Closed, events);
        }
        self.connected = true;
        self.last_received = now.time;
        if self.resume_token.0.is_empty() {
            return self.log_in(now);
        }
        let resume = ResumeRequest { resume_token: self.resume_token.0.clone() };
        self.send_request(now, None, Kind::Resume, Body::ResumeRequest(resume));
    }

    fn log_in(&mut self, now: Now) {
        let Config { username, password, token, invitation, guest, .. } = self.config.clone();
        let by_password = token.is_empty() && !guest;
        let login = LoginRequest {
            username: if token.is_empty() { username } else { String::new() },
            password: if by_password { password } else { String::new() },
            protocol_version: self.config.protocol_version,
            features: self.config.features,
            invitation,
            token,
            guest,
            existing: false,
        };
        self.send_request(now, None, Kind::Login, Body::LoginRequest(login));
    }

    fn bytes(&mut self, now: Now, bytes: &[u8], events: &mut Vec<Event>) {
        if !self.connected {
            return;
        }
        self.last_received = now.time;
        self.decoder.push(bytes);
        while self.connected {
            let message = match self.decoder.next_frame() {
                Ok(Some(frame)) => EchoMsg::decode(frame),
                Ok(None) => break,
                Err(_) => return self.disconnect(DisconnectReason::BadFrame, events),
            };
            self.counters.messages_received += 1;
            let outcome = match message {
                Ok(message) => self.message(now, message, events),
                Err(_) => Err(DisconnectReason::Malformed),
            };
            if let Err(reason) = outcome {
                return self.disconnect(reason, events);
            }
        }
        self.decoder.shrink();
    }

    fn disconnect(&mut self, reason: DisconnectReason, events: &mut Vec<Event>) {
        if !self.connected {
            return;
        }
        self.connected = false;
        self.logged_in = false;
        self.decoder = FrameDecoder::default();
        self.output.clear();
        self.rooms.iter_mut().for_each(|room| room.follow.lost());
        if self.config.direct {
            self.direct.lost();
        }
        self.voice.clear();
        self.datagrams.clear();
        self.held.clear();
        self.tunnelled_in.clear();
        self.tunnelled_out.clear();
        for pending in std::mem::take(&mut self.pending) {
            answer(pending.public, Outcome::ConnectionLost, events);
        }
        events.push(Event::Disconnected(reason));
    }

    fn tick(&mut self, now: Now, events: &mut Vec<Event>) {
        if !self.connected {
            return;
        }
        if self.time_out(now, events) {
            return self.disconnect(DisconnectReason::TimedOut, events);
        }
        let silent = now.time.since_us(self.last_received) >= PING_US;
        let asked = self.pending.iter().any(|pending| pending.kind == Kind::Ping);
        if silent && !asked && self.logged_in {
            self.send_request(now, None, Kind::Ping, Body::Ping(Ping { nonce: now.time.0 }));
        }
        self.retry_missed(now);
        self.report_voice(now);
    }

    fn report_voice(&mut self, now: Now) {
        for voice in &mut self.voice {
            voice.find_way(now.time);
            let room = self.rooms.iter().find(|room| *room.name() == voice.room);
            let mut others = room.into_iter().flat_map(Room::members).filter(|member| member.ssrc != voice.ssrc.0);
            if voice.is_silent(now.time) && others.any(|member| member.talking && !member.muted) {
                voice.probe(now.time);
            }
            let queues = [&mut self.tunnelled_out, &mut self.datagrams];
            self.counters.rtcp_sent += voice.report(now.time, &self.config.username, queues);
        }
        self.flush_tunnel();
    }
}
