//! One simulated client: the session kernel of the real client, with its control connection and voice socket.
//!
//! Not the rules of a workload: `fleet` moves it through its stages, `talk` makes it speak.
//! In: what its sockets have. Out: events of the session, and counts of the voice it heard.
//! Bounds: those of the session; nothing is allocated for a voice packet.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use echomesh_client::session::OUTPUT_BYTES_MAX;
use echomesh_client::{Config, Drop, Event, Input, Session, VoiceFrame};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::limits::DATAGRAM_BYTES_MAX;
use echomesh_proto::rtp::{self, Kind};
use echomesh_proto::time::{MediaTime, Now, SECOND_US, Time};
use nix::sys::socket::{setsockopt, sockopt};
use rustls::ClientConfig;

use crate::connection::Connection;
use crate::heard::Heard;
use crate::streams::{Streams, Window};

/// Receive buffer of a voice socket, bytes: a second of a busy room.
const RECEIVE_BYTES: usize = 1024 * 1024;

/// Who a client is to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Account, made at the first login where the server allows it.
    pub name: String,
    /// Number and name of the room to enter; `None`: it only logs in.
    pub room: Option<(u32, Arc<str>)>,
    /// Whether it opens voice there.
    pub voice: bool,
    /// Whether what it hears is decrypted; otherwise it is counted by its clear header.
    pub opens: bool,
    /// Whether the session outlives its connection. Only where that is measured: on a server that runs on, those of one
    /// workload would still be in their rooms for the next.
    pub resumable: bool,
    /// Whether what it hears is expected; one that comes and goes hears only some.
    pub counted: bool,
    /// Device token to log in by, instead of name and password.
    pub token: Option<Arc<str>>,
}

/// Password of all accounts that this tool makes: they are on servers made for tests.
pub const PASSWORD: &str = "loadtest-only";

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// TLS is under way.
    Handshake,
    /// It waits for its turn to log in.
    Waiting,
    /// The login is sent.
    LoggingIn,
    /// The join is sent, or the roster is not complete yet.
    Entering,
    /// Voice is asked for.
    Opening,
    /// It is where it should be.
    Ready,
    /// The leave is sent.
    Leaving,
    /// It is in no room, and will be in another.
    Away,
    /// Its connection is over.
    Ended,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// The kernel; requests go here, then `flush`.
    pub session: Session,
    /// Who it is to be.
    pub wanted: Wanted,
    /// How far it has come.
    pub stage: Stage,
    /// When a packet was last opened of a client that opens none.
    sampled: Time,
    /// A device token that it was given: its number and the token.
    pub given: Option<(u64, Arc<str>)>,
    /// When its connection was begun, nanoseconds of the real-time clock.
    pub started: u64,
    /// Its stream; 0 before voice is open.
    pub ssrc: Ssrc,
    /// Copies it got of packets sent in the measured time.
    pub received: u32,
    /// Packets it sent in the measured time.
    pub sent: u32,
    /// Datagrams that the system did not take.
    pub send_failed: u64,
    /// Whether the socket is watched for room to write.
    pub(crate) watched_for_write: bool,
    connection: Option<Connection>,
    udp: Option<UdpSocket>,
    windows: Vec<Window>,
}

impl Client {
    /// Begins to connect.
    ///
    /// # Errors
    /// The system's, or TLS's.
    pub fn open(address: SocketAddr, tls: &Arc<ClientConfig>, wanted: Wanted, started: u64) -> io::Result<Self> {
        let mut config = Config::new(&wanted.name, PASSWORD);
        if !wanted.resumable {
            config.features = 0;
        }
        if let Some(token) = &wanted.token {
            config.token = token.to_string();
        }
        // Any start below 2^15 will do; keys are new each time.
        config.voice_index_seed = started as u16;
        Ok(Self {
            session: Session::new(config),
            wanted,
            sampled: Time::default(),
            stage: Stage::Handshake,
            given: None,
            started,
            ssrc: Ssrc(0),
            received: 0,
            sent: 0,
            send_failed: 0,
            watched_for_write: false,
            connection: Some(Connection::open(address, tls)?),
            udp: None,
            windows: Vec::new(),
        })
    }

    /// Connects again; the session resumes by itself once `Input::Connected` is given.
    ///
    /// # Errors
    /// The system's, or TLS's.
    pub fn open_again(&mut self, address: SocketAddr, tls: &Arc<ClientConfig>, started: u64) -> io::Result<()> {
        self.connection = Some(Connection::open(address, tls)?);
        self.watched_for_write = false;
        self.stage = Stage::Handshake;
        self.started = started;
        Ok(())
    }

    /// The control connection, to be watched.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// The voice socket, to be watched.
    pub fn udp(&self) -> Option<&UdpSocket> {
        self.udp.as_ref()
    }

    /// The voice socket, to be drained into this client; `put_udp` follows.
    pub(crate) fn take_udp(&mut self) -> Option<UdpSocket> {
        self.udp.take()
    }

    pub(crate) fn put_udp(&mut self, udp: UdpSocket) {
        self.udp = Some(udp);
    }

    /// Reads the control connection. `Err` says why it is over.
    ///
    /// # Errors
    /// The server closed it, or TLS or the system failed.
    pub fn read(&mut self, now: Now, bytes: &mut Vec<u8>, events: &mut Vec<Event>) -> io::Result<()> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        bytes.clear();
        let read = connection.read(bytes);
        if self.stage == Stage::Handshake && !connection.is_handshaking() {
            self.stage = Stage::Waiting;
        }
        if !bytes.is_empty() {
            self.session.handle(now, Input::Bytes(bytes), events);
        }
        match read {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::other("the server closed the connection")),
            Err(error) => Err(error),
        }
    }

    /// Sends what the session has to say, both ways.
    ///
    /// # Errors
    /// The control connection is over.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(connection) = &mut self.connection {
            while !self.session.output().is_empty() {
                let taken = connection.write(self.session.output())?;
                self.session.output_written(taken);
                if taken == 0 {
                    break;
                }
            }
            if connection.wants_write() {
                connection.write(&[])?;
            }
        }
        self.send_datagrams();
        Ok(())
    }

    /// Whether the session has said more than the connection takes.
    pub fn is_behind(&self) -> bool {
        self.session.output().len() > OUTPUT_BYTES_MAX / 2
    }

    fn send_datagrams(&mut self) -> bool {
        let mut sent = true;
        while let Some(datagram) = self.session.next_datagram() {
            let taken = self.udp.as_ref().is_some_and(|udp| udp.send(datagram.bytes).is_ok());
            self.send_failed += u64::from(!taken);
            sent &= taken;
        }
        sent
    }

    /// Makes the voice socket. Whether it is a new one.
    ///
    /// # Errors
    /// The system's.
    pub fn open_voice(&mut self, server: SocketAddr, ssrc: Ssrc) -> io::Result<bool> {
        self.ssrc = ssrc;
        if self.udp.is_some() {
            return Ok(false);
        }
        let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
        let udp = UdpSocket::bind(any)?;
        setsockopt(&udp, sockopt::ReceiveTimestampns, &true)?;
        // Beyond the system's limit where the tool may, else up to it: drops are counted by the system.
        if setsockopt(&udp, sockopt::RcvBufForce, &RECEIVE_BYTES).is_err() {
            setsockopt(&udp, sockopt::RcvBuf, &RECEIVE_BYTES)?;
        }
        udp.connect(server)?;
        udp.set_nonblocking(true)?;
        self.udp = Some(udp);
        Ok(true)
    }

    /// Seals a frame and sends it. Whether the system took it.
    pub fn speak(&mut self, media_time: MediaTime, marker: bool, audio_level: u8, payload: &[u8]) -> bool {
        let Some((_, room)) = &self.wanted.room else { return false };
        let frame = VoiceFrame { media_time, marker, audio_level: Some(audio_level), payload };
        self.session.send_voice(room, frame).is_ok() && self.send_datagrams()
    }

    /// Takes one datagram, stamped by the kernel.
    pub fn hear(&mut self, now: Now, datagram: &[u8], stamp: u64, streams: &Streams, heard: &mut Heard) {
        match rtp::classify(datagram) {
            Kind::Rtp => {
                let measured = self.count(datagram, stamp, streams, heard);
                if self.wanted.opens || self.is_sample(now) {
                    let opened = self.open_packet(now, datagram);
                    heard.opened += u64::from(opened && measured);
                }
            }
            Kind::Rtcp => drop(self.open_packet(now, datagram)),
            Kind::Other => heard.unknown += 1,
        }
    }

    /// Of a client that opens nothing one packet a second is opened all the same: a session that hears nothing by
    /// UDP takes it for blocked and moves its voice into the control connection.
    fn is_sample(&mut self, now: Now) -> bool {
        let due = now.time.since_us(self.sampled) >= SECOND_US;
        if due {
            self.sampled = now.time;
        }
        due
    }

    /// Counts a packet by its clear header. Whether it is one of the measured time, and new.
    fn count(&mut self, datagram: &[u8], stamp: u64, streams: &Streams, heard: &mut Heard) -> bool {
        let Some(&[_, _, _, _, t0, t1, t2, t3, s0, s1, s2, s3]) = datagram.first_chunk::<12>() else {
            heard.unknown += 1;
            return false;
        };
        let media_time = MediaTime(u32::from_be_bytes([t0, t1, t2, t3]));
        let stream = streams.find(Ssrc(u32::from_be_bytes([s0, s1, s2, s3])));
        let Some((stream, (frame, sent))) = stream.and_then(|stream| Some((stream, stream.sent_at(media_time)?)))
        else {
            heard.unknown += 1;
            return false;
        };
        heard.all += 1;
        let place = stream.place as usize;
        if place >= self.windows.len() {
            self.windows.resize(place + 1, Window::default());
        }
        let new = self.windows[place].accept(frame);
        if !self.wanted.counted || !heard.is_measured(sent) {
            return false;
        }
        if !new {
            heard.duplicates += 1;
            return false;
        }
        self.received += 1;
        heard.received += 1;
        heard.latency.record(stamp.saturating_sub(sent));
        true
    }

    fn open_packet(&mut self, now: Now, datagram: &[u8]) -> bool {
        let mut copy = [0; DATAGRAM_BYTES_MAX];
        let Some(copy) = copy.get_mut(..datagram.len()) else { return false };
        copy.copy_from_slice(datagram);
        self.session.datagram(now, copy).is_some()
    }

    /// Time passes: reports, pings, and packets that waited for their stream's announcement.
    ///
    /// # Errors
    /// The control connection is over.
    pub fn tick(&mut self, now: Now, events: &mut Vec<Event>, heard: &mut Heard) -> io::Result<()> {
        self.session.handle(now, Input::Tick, events);
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        while let Some(voice) = self.session.held_voice(now, &mut buffer) {
            heard.held += u64::from(voice.ssrc.0 != 0);
        }
        self.flush()
    }

    /// Packets that should have opened and did not, since the beginning.
    pub fn open_failures(&self) -> u64 {
        if !self.wanted.opens {
            return 0;
        }
        let reasons = [Drop::AuthFailed, Drop::UnknownSsrc, Drop::Replayed, Drop::BadPacket, Drop::NotAnnounced];
        reasons.into_iter().map(|reason| self.session.counters().dropped(reason)).sum()
    }

    /// Ends the connection; the session learns of it.
    pub fn close(&mut self, now: Now, events: &mut Vec<Event>) {
        if let Some(mut connection) = self.connection.take() {
            connection.farewell();
        }
        self.udp = None;
        self.windows.clear();
        self.stage = Stage::Ended;
        self.session.handle(now, Input::Closed, events);
    }
}
