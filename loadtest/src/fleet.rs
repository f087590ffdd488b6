//! Many clients on one thread: their sockets in one epoll, each client moved to where it should be.
//!
//! Not a workload: `talk`, `chat` and the others say what the clients do once they are there.
//! Pace: while voice is measured the thread sleeps a short while and then reads all that came, so that the
//! server's core need not wake it for each datagram, as it need not for receivers on other machines. Arrival is the
//! kernel's stamp, so this adds nothing to latency.
//! Bounds: `Concurrency`; `EVENTS` sockets a turn; each wait ends when nothing has moved for `STALL`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use echomesh_client::{Event, Input};
use echomesh_proto::time::Now;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use rustls::ClientConfig;

use crate::chat_counts::ChatCounts;
use crate::churn::Churn;
use crate::client::{Client, Stage, Wanted};
use crate::clock::{self, MICROSECOND, MILLISECOND, SECOND};
use crate::failure::{Failure, Outcome};
use crate::heard::Heard;
use crate::histogram::Histogram;
use crate::interrupt;
use crate::receive;
use crate::streams::Streams;

/// Sockets served a turn.
const EVENTS: usize = 256;

/// Between two ticks of a session with voice, and without, nanoseconds.
const TICK_VOICE: u64 = 100 * MILLISECOND;
const TICK_IDLE: u64 = SECOND;

/// Longest sleep of a turn while voice is measured, nanoseconds.
const BATCH: u64 = 250 * MICROSECOND;

/// Longest wait for a socket in one turn otherwise, nanoseconds.
const WAIT: u64 = 20 * MILLISECOND;

/// Connections without a login yet, for each login that may be under way: a server closes those that wait long.
const OUTSIDE: usize = 2;

/// A setup in which nothing has happened for so long has failed, nanoseconds.
const STALL: u64 = 30 * SECOND;

/// How a turn waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// For the next socket that has something.
    Wait,
    /// A short while, whatever comes.
    Batch,
}

/// How much at a time.
#[derive(Clone, Copy, Debug)]
pub struct Concurrency {
    /// Clients on their way.
    pub connections: usize,
    /// Logins of them: a server hashes only so many passwords of one address at a time.
    pub logins: usize,
}

/// What happened while clients were set up.
#[derive(Debug, Default)]
pub struct SetUp {
    /// From connecting to where it should be.
    pub ready: Histogram,
    /// From the login's sending to its answer.
    pub login: Histogram,
    /// Logins answered "busy", and sent again.
    pub busy: u64,
    /// Sessions that came back with their rooms.
    pub resumed: u64,
}

/// Clients of one thread.
pub struct Fleet {
    /// They keep their places.
    pub clients: Vec<Client>,
    /// Voice counts of the step.
    pub heard: Heard,
    /// Chat counts.
    pub chat: ChatCounts,
    /// Of connecting.
    pub set_up: SetUp,
    /// Clients that come and go meanwhile.
    pub churn: Option<Churn>,
    /// The speakers of all threads.
    pub streams: Arc<Streams>,
    pub(crate) address: SocketAddr,
    tls: Arc<ClientConfig>,
    pub(crate) poll: Epoll,
    ready: Vec<EpollEvent>,
    full: bool,
    events: Vec<Event>,
    bytes: Vec<u8>,
    /// Clients that wait to log in, and those that were told to try again later, with the time.
    waiting: VecDeque<usize>,
    pub(crate) later: Vec<(u64, usize)>,
    pub(crate) logging_in: usize,
    /// Times a client got where it should be.
    pub(crate) arrived: usize,
    /// Connected, or about to be, and not logged in.
    pub(crate) outside: usize,
    pub(crate) login_started: Vec<u64>,
    ticked: u64,
    /// While a step is measured: when all voice sockets are read next. They are not in `poll` then.
    pub(crate) sweep_at: Option<u64>,
    tick_next: usize,
    has_voice: bool,
    /// Why a client ended that should not have.
    ended: Option<String>,
    /// What the server said unasked, last.
    pub(crate) notice: Option<String>,
}

impl Fleet {
    /// Without clients.
    ///
    /// # Errors
    /// The system gives no epoll.
    pub fn new(address: SocketAddr, tls: Arc<ClientConfig>) -> Outcome<Self> {
        let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|error| Failure::because("the system gives no epoll; raise `ulimit -n`", error))?;
        Ok(Self {
            clients: Vec::new(),
            heard: Heard::default(),
            chat: ChatCounts::default(),
            set_up: SetUp::default(),
            churn: None,
            streams: Arc::default(),
            address,
            tls,
            poll,
            ready: vec![EpollEvent::empty(); EVENTS],
            full: false,
            events: Vec::new(),
            bytes: Vec::new(),
            waiting: VecDeque::new(),
            later: Vec::new(),
            logging_in: 0,
            outside: 0,
            arrived: 0,
            login_started: Vec::new(),
            ticked: clock::real(),
            sweep_at: None,
            tick_next: 0,
            has_voice: false,
            ended: None,
            notice: None,
        })
    }

    /// Opens all of these and waits until they are where they should be. `done` counts them.
    ///
    /// # Errors
    /// A login or join was refused, a connection ended, or nothing happened for long.
    pub fn connect(&mut self, wanted: &[Wanted], limits: Concurrency, done: &AtomicUsize) -> Outcome<()> {
        let first = self.arrived;
        let mut counted = 0;
        let mut moved = clock::real();
        let mut opened = 0;
        while counted < wanted.len() {
            while opened < wanted.len()
                && opened < counted + limits.connections
                && self.outside < limits.logins * OUTSIDE
            {
                self.open(wanted[opened].clone())?;
                opened += 1;
            }
            self.serve_until(clock::real() + WAIT, limits)?;
            let there = self.arrived - first;
            if there != counted {
                done.fetch_add(there - counted, Ordering::Relaxed);
                (counted, moved) = (there, clock::real());
            } else if clock::real() > moved + STALL {
                return Err(Failure(format!(
                    "{there} of {} clients were ready, then nothing happened for 30 s: see the server's log",
                    wanted.len()
                )));
            }
        }
        Ok(())
    }

    /// One turn while clients are being set up.
    ///
    /// # Errors
    /// As for `connect`.
    pub fn serve_until(&mut self, until: u64, limits: Concurrency) -> Outcome<()> {
        self.start_logins(limits);
        self.turn(until, Pace::Wait)
    }

    /// Turns until `until`.
    ///
    /// # Errors
    /// As for `turn`.
    pub fn run_until(&mut self, until: u64, pace: Pace) -> Outcome<()> {
        while clock::real() < until {
            self.turn(until, pace)?;
        }
        Ok(())
    }

    /// Begins one client's connection.
    ///
    /// # Errors
    /// The system's, with what to do.
    pub fn open(&mut self, wanted: Wanted) -> Outcome<usize> {
        let at = self.clients.len();
        self.has_voice |= wanted.voice;
        let client = Client::open(self.address, &self.tls, wanted, clock::real())
            .map_err(|error| connecting(self.address, &error))?;
        self.clients.push(client);
        self.login_started.push(0);
        self.begin(at)?;
        Ok(at)
    }

    /// Connects a client again whose connection was closed; its session resumes if it can.
    ///
    /// # Errors
    /// As for `open`.
    pub fn open_again(&mut self, at: usize) -> Outcome<()> {
        self.clients[at]
            .open_again(self.address, &self.tls, clock::real())
            .map_err(|error| connecting(self.address, &error))?;
        self.begin(at)
    }

    fn begin(&mut self, at: usize) -> Outcome<()> {
        self.outside += 1;
        let connection = self.clients[at].connection().expect("it was opened just now");
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token(at, false));
        self.poll.add(connection, event).map_err(|error| Failure::because("epoll takes no more sockets", error))?;
        self.flush(at);
        Ok(())
    }

    /// Closes a client's connection on purpose.
    pub fn close(&mut self, at: usize) {
        let mut events = std::mem::take(&mut self.events);
        self.clients[at].close(clock::now(), &mut events);
        events.clear();
        self.events = events;
    }

    pub(crate) fn start_logins(&mut self, limits: Concurrency) {
        let now = clock::real();
        let due: Vec<usize> = self.later.iter().filter(|(time, _)| *time <= now).map(|(_, at)| *at).collect();
        self.later.retain(|(time, _)| *time > now);
        self.waiting.extend(due);
        while self.logging_in < limits.logins {
            let Some(at) = self.waiting.pop_front() else { break };
            let client = &mut self.clients[at];
            if client.stage != Stage::Waiting {
                continue;
            }
            client.stage = Stage::LoggingIn;
            self.login_started[at] = now;
            self.logging_in += 1;
            self.handle(at, clock::now(), |client, now, events| client.session.handle(now, Input::Connected, events));
        }
    }

    /// Waits until `until` at most, and serves what came.
    ///
    /// # Errors
    /// A client ended that should not have, or the user wants to stop.
    pub fn turn(&mut self, until: u64, pace: Pace) -> Outcome<()> {
        let real = clock::real();
        self.tick(real);
        self.churn(real)?;
        let rest = until.saturating_sub(real);
        let timeout = match pace {
            Pace::Batch => {
                if rest > 0 && !self.full {
                    std::thread::sleep(Duration::from_nanos(rest.min(BATCH)));
                }
                0
            }
            Pace::Wait if self.full => 0,
            Pace::Wait => (rest.min(WAIT)).div_ceil(MILLISECOND) as u16,
        };
        let mut ready = std::mem::take(&mut self.ready);
        // Interrupted by a signal: as if nothing had come.
        let count = self.poll.wait(&mut ready, timeout).unwrap_or(0);
        self.full = count == ready.len();
        let now = clock::now();
        for event in &ready[..count] {
            let at = (event.data() >> 1) as usize;
            if event.data() & 1 == 1 {
                self.read_voice(at, now);
            } else {
                self.read_control(at, now);
            }
        }
        self.ready = ready;
        self.sweep(real, now);
        if interrupt::is_wanted() {
            return Err(Failure("stopped".to_owned()));
        }
        match &self.ended {
            Some(text) => Err(Failure(text.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn read_voice(&mut self, at: usize, now: Now) {
        let Self { clients, streams, heard, .. } = self;
        let client = &mut clients[at];
        let Some(udp) = client.take_udp() else { return };
        receive::drain(&udp, |datagram, stamp| client.hear(now, datagram, stamp, streams, heard));
        client.put_udp(udp);
    }

    fn read_control(&mut self, at: usize, now: Now) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut failed = None;
        let was = self.clients[at].stage;
        self.handle(at, now, |client, now, events| {
            failed = client.read(now, &mut bytes, events).err();
        });
        self.bytes = bytes;
        if was == Stage::Handshake && self.clients[at].stage == Stage::Waiting {
            self.waiting.push_back(at);
        }
        if let Some(error) = failed {
            self.end(at, &error.to_string());
        }
    }

    /// Lets `act` work on a client, then takes what its session says of it.
    pub fn handle<T>(&mut self, at: usize, now: Now, act: impl FnOnce(&mut Client, Now, &mut Vec<Event>) -> T) -> T {
        let mut events = std::mem::take(&mut self.events);
        let given = act(&mut self.clients[at], now, &mut events);
        for event in events.drain(..) {
            self.happened(at, now, event);
        }
        self.events = events;
        self.flush(at);
        given
    }

    fn flush(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if let Err(error) = client.flush() {
            return self.end(at, &error.to_string());
        }
        let Some(connection) = client.connection() else { return };
        let wants = connection.wants_write();
        if wants != client.watched_for_write {
            let flags = if wants { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            let mut event = EpollEvent::new(flags, token(at, false));
            match self.poll.modify(connection, &mut event) {
                Ok(()) => client.watched_for_write = wants,
                Err(error) => self.end(at, &error.to_string()),
            }
        }
    }

    /// A client's connection is over, unasked.
    pub(crate) fn end(&mut self, at: usize, why: &str) {
        if self.clients[at].stage == Stage::Ended {
            return;
        }
        let client = &self.clients[at];
        let text = if client.stage == Stage::Handshake {
            let why = why.trim_start_matches("unexpected error: ");
            format!("no TLS connection to {}: {why}", self.address)
        } else {
            let why = self.notice.as_deref().unwrap_or(why);
            format!(
                "client {} was cut off ({why}): the server's log says more; a lower load may hold",
                client.wanted.name
            )
        };
        self.ended.get_or_insert(text);
        self.close(at);
    }

    fn tick(&mut self, real: u64) {
        let count = self.clients.len() as u64;
        let every = if self.has_voice { TICK_VOICE } else { TICK_IDLE };
        let Some(each) = every.checked_div(count) else { return };
        if real.saturating_sub(self.ticked) > every {
            self.ticked = real - every;
        }
        if self.ticked + each > real {
            return;
        }
        let now = clock::now();
        let mut events = std::mem::take(&mut self.events);
        while self.ticked + each <= real {
            self.ticked += each;
            let at = self.tick_next % self.clients.len();
            self.tick_next = at + 1;
            if matches!(self.clients[at].stage, Stage::Handshake | Stage::Waiting | Stage::Ended) {
                continue;
            }
            let ticked = self.clients[at].tick(now, &mut events, &mut self.heard);
            for event in events.drain(..) {
                self.happened(at, now, event);
            }
            match ticked {
                Ok(()) => self.flush(at),
                Err(error) => self.end(at, &error.to_string()),
            }
        }
        self.events = events;
    }
}

/// What epoll gives back: the client, and which of its sockets.
pub(crate) fn token(at: usize, is_voice: bool) -> u64 {
    (at as u64) << 1 | u64::from(is_voice)
}

fn connecting(address: SocketAddr, error: &std::io::Error) -> Failure {
    let advice = match error.raw_os_error() {
        Some(code) if code == nix::libc::EMFILE || code == nix::libc::ENFILE => {
            "the limit of open files is too low: raise `ulimit -n` to twice the number of clients"
        }
        _ => "is the server running, and its port open?",
    };
    Failure(format!("cannot connect to {address}: {error}; {advice}"))
}
