//! A session with its sockets: moves bytes between the kernel and the network.
//!
//! Waiting ([`Link::turn`]) loses nothing when dropped; moving ([`Link::pump`]) never waits.
//! Bounds: `DATAGRAMS_PER_PUMP` datagrams a pump; the UDP socket's own buffer before that.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use echomesh_client::{
    Answer, Done, Event, Input, Outcome, RequestError, RequestId, SentVoice, Session, Voice, VoiceError, VoiceFrame,
};
use echomesh_proto::control::StatusCode;
use echomesh_proto::ids::Ssrc;
use echomesh_proto::limits::DATAGRAM_BYTES_MAX;
use echomesh_proto::time::{MediaTime, Time};
use tokio::net::UdpSocket;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::clock;
use super::commands::printable;
use super::failure::Failure;
use super::roaming::Way;
use super::settings::Settings;
use super::tls::Tls;
use super::transport::Transport;

/// Datagrams read before the session's other work gets a turn.
const DATAGRAMS_PER_PUMP: usize = 256;

/// Longest wait for a connection that was lost, first pause and longest pause between attempts: a server that is up
/// again, or a network that is back, is found within a second while the session can be resumed.
const RECONNECT_MAX: Duration = Duration::from_secs(60);
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(800);

/// Longest pause of who never gives up, after that minute: a server that is away for hours is not asked every second.
const FOREVER_PAUSE_MAX: Duration = Duration::from_secs(15);

/// How often one page of a list or of history is asked for, and the longest wait for it.
const PAGE_TRIES: u32 = 5;
const PAGE_WAIT_MS_MAX: u32 = 2_000;

/// A voice packet that came.
#[derive(Clone, Debug)]
pub struct HeardPacket {
    /// When it was read from the socket.
    pub time: Time,
    /// The speaker's stream.
    pub ssrc: Ssrc,
    /// 48-bit index.
    pub index: u64,
    /// The speaker's clock.
    pub media_time: MediaTime,
    /// First of a talkspurt.
    pub marker: bool,
    /// How loud the speaker's client says it is (RFC 6464).
    pub audio_level: Option<u8>,
    /// Opus.
    pub payload: Vec<u8>,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A request or two: it ends with its connection.
    Requests,
    /// Being in rooms: it outlives its connection for a while.
    Stay,
    /// The same, with voice in another program's hands: no voice socket is opened.
    StayWithoutVoice,
}

/// A session and its sockets.
pub struct Link {
    /// The kernel; requests go here.
    pub session: Session,
    /// Voice that came since it was last drained.
    pub heard: Vec<HeardPacket>,
    settings: Settings,
    purpose: Use,
    /// Kept, so that a reconnect resumes; `None` is plaintext.
    tls: Option<Tls>,
    transport: Option<Transport>,
    peer: IpAddr,
    udp: Option<VoiceSocket>,
    ticks: Interval,
    received: Vec<u8>,
    fresh: Vec<Event>,
    events: VecDeque<Event>,
    /// The network's way to the server.
    way: Way,
    /// Before the next attempt to connect.
    pause: Duration,
    /// A server that does not answer is never given up.
    forever: bool,
    /// Datagrams the socket did not take.
    pub datagrams_unsent: u64,
}

/// The UDP socket, twice: tokio's knows when there is something to read, and would refuse to send before
/// it has waited once, which would lose the datagram that opens the path.
struct VoiceSocket {
    incoming: UdpSocket,
    outgoing: std::net::UdpSocket,
    target: SocketAddr,
}

/// A request that failed for a reason the program may act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the server said, or `None` if it said nothing.
    pub status: Option<StatusCode>,
    /// When it said to try again, milliseconds; 0: not.
    pub retry_after_ms: u32,
    /// How the program ends if it does not act.
    pub failure: Failure,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.failure
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        let failure = match error {
            RequestError::TooLong => Failure::Usage(error.to_string()),
            RequestError::NotLoggedIn | RequestError::Busy => Failure::Connection(error.to_string()),
        };
        Refusal { status: None, retry_after_ms: 0, failure }
    }
}

impl Link {
    /// Connects and logs in, and says so if that made the account; for a stay also the message of the day.
    ///
    /// # Errors
    /// `Failure::Connection`, `Trust` or `Credentials`.
    pub async fn log_in(settings: &Settings, purpose: Use) -> Result<Self, Failure> {
        let mut link = Self::connect(settings, purpose).await?;
        let mut notice = None;
        loop {
            match link.event().await {
                Event::LoggedIn(logged_in) => {
                    if logged_in.response.account_created {
                        eprintln!("echomesh: the account {} was made", printable(&logged_in.response.username));
                    }
                    if purpose != Use::Requests {
                        for line in logged_in.response.motd.lines() {
                            eprintln!("echomesh: the server says: {}", printable(line));
                        }
                    }
                    return Ok(link);
                }
                Event::LoginRefused { status, message, .. } => return Err(login_refused(status, &message)),
                // Turned away before the login: the server's word says more than the end of the connection.
                Event::Notice { message, .. } => notice = Some(message),
                Event::Disconnected(reason) => {
                    return Err(Failure::Connection(
                        notice.map_or_else(|| reason.to_string(), |notice| printable(&notice)),
                    ));
                }
                _ => {}
            }
        }
    }

    /// Connects and asks for the login, whose outcome comes as an event.
    ///
    /// # Errors
    /// `Failure::Connection` or `Trust`.
    pub async fn connect(settings: &Settings, purpose: Use) -> Result<Self, Failure> {
        let mut config = echomesh_client::Config::new(&settings.user, &settings.password);
        config.token.clone_from(&settings.token);
        config.invitation.clone_from(&settings.invitation);
        config.guest = settings.guest;
        if purpose == Use::Requests {
            config.features = 0;
        }
        config.direct = purpose == Use::Stay;
        config.voice_by_another = purpose == Use::StayWithoutVoice;
        config.voice_index_seed = getrandom::u32()
            .map_err(|error| Failure::Local(format!("the system gives no random bytes: {error}")))?
            as u16;
        let tls = if settings.plaintext { None } else { Some(Tls::new(&settings.host)?) };
        let transport = Transport::connect(settings, tls.as_ref()).await?;
        let transport_peer = transport.peer();
        let mut ticks = interval(Duration::from_micros(echomesh_client::session::TICK_US));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut link = Self {
            session: Session::new(config),
            heard: Vec::new(),
            settings: settings.clone(),
            purpose,
            tls,
            peer: transport_peer,
            transport: Some(transport),
            udp: None,
            ticks,
            received: Vec::new(),
            fresh: Vec::new(),
            events: VecDeque::new(),
            way: Way::to(transport_peer),
            pause: RECONNECT_PAUSE,
            forever: false,
            datagrams_unsent: 0,
        };
        link.session.handle(clock::now(), Input::Connected, &mut link.fresh);
        Ok(link)
    }

    /// A server that does not answer is looked for as long as it takes, each time that the connection is lost.
    pub fn never_give_up(&mut self) {
        self.forever = true;
    }

    /// The password of the room that is entered.
    pub fn room_password(&self) -> String {
        self.settings.room_password.clone()
    }

    /// The same, if it was an option.
    pub fn typed_room_password(&self) -> Option<String> {
        self.settings.room_password_is_typed.then(|| self.room_password())
    }

    /// The server's address; voice is at the same.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// The next thing that happens.
    pub async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.turn().await;
            self.pump();
        }
    }

    /// The next thing that has happened already.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Waits for the answer to a request; other events are kept for later.
    ///
    /// # Errors
    /// [`Refusal`] if it was refused, or not answered.
    pub async fn answer(&mut self, request: Result<RequestId, RequestError>) -> Result<Done, Refusal> {
        let wanted = request?;
        loop {
            let is_it = |event: &Event| matches!(event, Event::Answer(Answer { request, .. }) if *request == wanted);
            if let Some(at) = self.events.iter().position(is_it)
                && let Some(Event::Answer(answer)) = self.events.remove(at)
            {
                return outcome(answer.outcome);
            }
            self.turn().await;
            self.pump();
        }
    }

    /// Asks for one page of many: where the server says that it is too fast, waits and asks again.
    ///
    /// # Errors
    /// As [`Link::answer`]; after [`PAGE_TRIES`], what the server said.
    pub async fn page(
        &mut self,
        mut ask: impl FnMut(&mut Session) -> Result<RequestId, RequestError>,
    ) -> Result<Done, Refusal> {
        let mut tries = 1;
        loop {
            let request = ask(&mut self.session);
            let wait_ms = match self.answer(request).await {
                Err(Refusal { status: Some(StatusCode::StatusTryAgain), retry_after_ms, .. })
                    if tries < PAGE_TRIES && retry_after_ms <= PAGE_WAIT_MS_MAX =>
                {
                    retry_after_ms
                }
                outcome => return outcome,
            };
            tries += 1;
            tokio::time::sleep(Duration::from_millis(wait_ms.into())).await;
        }
    }

    /// Waits until a socket or the clock has something to do. Safe to drop.
    pub async fn turn(&mut self) {
        self.send();
        let Self { transport, udp, ticks, session, .. } = self;
        let control = async {
            match transport {
                Some(transport) => transport.ready(!session.output().is_empty()).await,
                None => std::future::pending().await,
            }
        };
        let voice = async {
            match udp {
                Some(udp) => udp.incoming.readable().await,
                None => std::future::pending().await,
            }
        };
        let waited = tokio::select! {
            outcome = control => outcome,
            outcome = voice => outcome,
            _ = ticks.tick() => Ok(()),
        };
        // What is wrong shows again in the read that follows.
        if let Err(error) = waited {
            tracing::debug!("waiting: {error}");
        }
    }

    /// Moves what can be moved, both ways.
    pub fn pump(&mut self) {
        self.follow_address();
        self.read_control();
        self.read_voice();
        self.read_held();
        self.session.handle(clock::now(), Input::Tick, &mut self.fresh);
        self.note_events();
        self.send();
    }

    /// With another address the connection is lost, and the server cannot say so.
    fn follow_address(&mut self) {
        if self.purpose == Use::Requests || self.transport.is_none() {
            return;
        }
        if let Some(address) = self.way.moved() {
            tracing::debug!("this machine's address is {address} now");
            self.disconnect();
        }
    }

    fn read_control(&mut self) {
        let Some(transport) = &mut self.transport else { return };
        let read = transport.read(&mut self.received);
        if !self.received.is_empty() {
            self.session.handle(clock::now(), Input::Bytes(&self.received), &mut self.fresh);
            self.received.clear();
        }
        if let Err(error) = &read {
            tracing::debug!("control connection: {error}");
        }
        if !matches!(read, Ok(true)) {
            self.session.handle(clock::now(), Input::Closed, &mut self.fresh);
        }
    }

    fn read_voice(&mut self) {
        let Some(udp) = &self.udp else { return };
        // One byte more than is allowed, so that a longer datagram shows as such.
        let mut datagram = [0; DATAGRAM_BYTES_MAX + 1];
        for _ in 0..DATAGRAMS_PER_PUMP {
            let count = match udp.incoming.try_recv(&mut datagram) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP message about an earlier datagram; the next one may get through.
                Err(error) => {
                    tracing::debug!("voice socket: {error}");
                    continue;
                }
            };
            let now = clock::now();
            let voice = self.session.datagram(now, &mut datagram[..count]);
            self.heard.extend(voice.map(|voice| HeardPacket::new(now.time, &voice)));
        }
    }

    /// Voice that came in the control connection, or before its stream was announced.
    fn read_held(&mut self) {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        let now = clock::now();
        while let Some(voice) = self.session.held_voice(now, &mut buffer) {
            self.heard.push(HeardPacket::new(now.time, &voice));
        }
    }

    fn note_events(&mut self) {
        for event in std::mem::take(&mut self.fresh) {
            match event {
                Event::VoiceOpen { udp_port, .. } if self.purpose != Use::StayWithoutVoice => self.open_voice(udp_port),
                Event::Disconnected(_) => {
                    self.transport = None;
                    self.udp = None;
                }
                _ => {}
            }
            self.events.push_back(event);
        }
    }

    fn open_voice(&mut self, udp_port: u16) {
        let target = SocketAddr::new(self.peer, udp_port);
        if self.udp.as_ref().is_some_and(|udp| udp.target == target) {
            return;
        }
        match VoiceSocket::open(target) {
            Ok(udp) => self.udp = Some(udp),
            Err(error) => tracing::warn!("no voice socket to {target}: {error}"),
        }
    }

    fn send(&mut self) {
        if let Some(transport) = &mut self.transport {
            match transport.write(self.session.output()) {
                Ok(taken) => self.session.output_written(taken),
                Err(error) => {
                    tracing::debug!("control connection: {error}");
                    self.session.handle(clock::now(), Input::Closed, &mut self.fresh);
                }
            }
        }
        while let Some(datagram) = self.session.next_datagram() {
            let sent = self.udp.as_ref().map(|udp| udp.outgoing.send(datagram.bytes));
            if let Some(Err(error)) = sent {
                tracing::debug!("voice socket: {error}");
                self.datagrams_unsent += 1;
            }
        }
    }

    /// Another UDP port of this machine for voice, as when a NAT forgets the old one. Nothing that comes to that one
    /// is read any more.
    ///
    /// # Errors
    /// The system's; the old port stays.
    pub fn move_voice(&mut self) -> io::Result<()> {
        if let Some(udp) = &mut self.udp {
            *udp = VoiceSocket::open(udp.target)?;
        }
        Ok(())
    }

    /// Seals a frame and sends it at once.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send_voice(&mut self, room: &str, frame: VoiceFrame<'_>) -> Result<SentVoice, VoiceError> {
        let sent = self.session.send_voice(room, frame)?;
        self.send();
        Ok(sent)
    }

    /// Gives the connection up; `Event::Disconnected` follows.
    pub fn disconnect(&mut self) {
        self.session.handle(clock::now(), Input::Closed, &mut self.fresh);
        self.note_events();
    }

    /// The same, for the server is busy: the next connection waits so long.
    pub fn disconnect_for(&mut self, retry_after_ms: u32) {
        self.wait_before_next(retry_after_ms);
        self.disconnect();
    }

    /// The next connection waits so long, and not as long as others that were told the same.
    pub fn wait_before_next(&mut self, retry_after_ms: u32) {
        let jitter = getrandom::u32().map_or(0, |random| u64::from(random) % u64::from(retry_after_ms.max(1)));
        self.pause = RECONNECT_PAUSE + Duration::from_millis(u64::from(retry_after_ms) + jitter);
    }

    /// Connects again after `Event::Disconnected`; the session resumes by itself.
    ///
    /// # Errors
    /// `Failure::Connection` after a minute, unless it never gives up; `Failure::Trust` at once.
    pub async fn reconnect(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut pause = std::mem::replace(&mut self.pause, RECONNECT_PAUSE);
        loop {
            tokio::time::sleep(pause).await;
            pause = longer(pause, begun.elapsed());
            match Transport::connect(&self.settings, self.tls.as_ref()).await {
                Ok(transport) => {
                    self.peer = transport.peer();
                    self.way = Way::to(self.peer);
                    self.transport = Some(transport);
                    self.session.handle(clock::now(), Input::Connected, &mut self.fresh);
                    return Ok(());
                }
                Err(failure @ Failure::Connection(_)) if !self.forever && begun.elapsed() >= RECONNECT_MAX => {
                    return Err(failure);
                }
                Err(Failure::Connection(text)) => tracing::debug!("{text}"),
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Ends the connection in order.
    pub fn close(mut self) {
        self.send();
        if let Some(transport) = self.transport.take() {
            transport.close();
        }
    }
}

impl HeardPacket {
    fn new(time: Time, voice: &Voice<'_>) -> Self {
        let Voice { ssrc, index, media_time, marker, audio_level, payload, .. } = *voice;
        Self { time, ssrc, index, media_time, marker, audio_level, payload: payload.to_vec() }
    }
}

impl VoiceSocket {
    fn open(target: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
        let outgoing = std::net::UdpSocket::bind(any)?;
        // Connected: the system drops what others send.
        outgoing.connect(target)?;
        outgoing.set_nonblocking(true)?;
        let incoming = UdpSocket::from_std(outgoing.try_clone()?)?;
        Ok(Self { incoming, outgoing, target })
    }
}

/// The pause after this one, for who has tried for so long.
pub fn longer(pause: Duration, tried: Duration) -> Duration {
    let longest = if tried < RECONNECT_MAX { RECONNECT_PAUSE_MAX } else { FOREVER_PAUSE_MAX };
    (pause * 2).min(longest)
}

/// How a refused login ends the program.
pub fn login_refused(status: StatusCode, message: &str) -> Failure {
    let message = printable(message);
    match status {
        StatusCode::StatusBadCredentials | StatusCode::StatusRegistrationClosed | StatusCode::StatusNameInvalid => {
            Failure::Credentials(format!("the server refused the login: {message}"))
        }
        _ => Failure::Refused(format!("the server refused the login: {message}")),
    }
}

fn outcome(outcome: Outcome) -> Result<Done, Refusal> {
    let (status, retry_after_ms, failure) = match outcome {
        Outcome::Done(done) => return Ok(done),
        Outcome::Refused { status, message, retry_after_ms } => {
            (Some(status), retry_after_ms, Failure::Refused(printable(&message)))
        }
        Outcome::TimedOut => (None, 0, Failure::Connection("the server did not answer: try again".to_owned())),
        Outcome::ConnectionLost => {
            (None, 0, Failure::Connection("the connection was lost before the answer: try again".to_owned()))
        }
    };
    Err(Refusal { status, retry_after_ms, failure })
}
