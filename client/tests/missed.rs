//! The session kernel against the real server: what is said while it is away comes once and in order, over a resume, a
//! server that was killed, and what is said meanwhile.
//!
//! The server is `echomesh-server` beside the program under test; cargo is asked to build it if it is missing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use echomesh_client::{Config, Event, Input, RequestError, Session};
use echomesh_proto::time::{Now, Time};
use running::{Running, await_port, server_program};

/// Most that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A wait for bytes.
const TURN: Duration = Duration::from_millis(2);

/// A server, killed when it goes out of use.
struct Server {
    _process: Running,
    port: u16,
}

impl Server {
    fn start(data_dir: &Path) -> Self {
        let mut child = Command::new(server_program())
            .args(["--port", "0", "--shards", "2", "--address", "127.0.0.1", "--password-memory-kib", "8"])
            // It says more in a moment than people do.
            .args(["--requests-per-second", "0", "--password-passes", "1", "--data-dir"])
            .arg(data_dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let port = await_port(&mut lines);
        // Its last words may go nowhere.
        Self { _process: Running(child), port }
    }
}

/// A session and its connection.
struct Person {
    session: Session,
    stream: Option<TcpStream>,
    origin: Instant,
    events: Vec<Event>,
    /// Contents of lines of the room and of direct ones, as they came.
    heard: Vec<String>,
    direct: Vec<String>,
    answers: usize,
}

impl Person {
    fn new(name: &str) -> Self {
        let config = Config { direct: true, ..Config::new(name, "secret") };
        let (session, origin) = (Session::new(config), Instant::now());
        let (heard, direct) = (Vec::new(), Vec::new());
        Self { session, stream: None, origin, events: Vec::new(), heard, direct, answers: 0 }
    }

    fn now(&self) -> Now {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        Now { time: Time(self.origin.elapsed().as_micros() as u64), unix_ms }
    }

    fn connect(&mut self, server: &Server) {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(TURN)).unwrap();
        self.stream = Some(stream);
        let now = self.now();
        self.session.handle(now, Input::Connected, &mut self.events);
    }

    fn lose_connection(&mut self) {
        self.stream = None;
        let now = self.now();
        self.session.handle(now, Input::Closed, &mut self.events);
        self.take_events();
    }

    fn turn(&mut self) {
        let now = self.now();
        let Some(stream) = &mut self.stream else { return };
        stream.write_all(self.session.output()).unwrap();
        self.session.output_written(self.session.output().len());
        let mut bytes = [0; 16 * 1024];
        match stream.read(&mut bytes) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(count) => self.session.handle(now, Input::Bytes(&bytes[..count]), &mut self.events),
            Err(_) => self.session.handle(now, Input::Tick, &mut self.events),
        }
        self.take_events();
    }

    fn take_events(&mut self) {
        for event in self.events.drain(..) {
            match event {
                Event::Chat(line) => self.heard.push(line.content),
                Event::Direct(line) => self.direct.push(line.content),
                Event::Answer(_) => self.answers += 1,
                Event::RoomLost { message, .. } | Event::LoginRefused { message, .. } => panic!("{message}"),
                _ => {}
            }
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE, "waited in vain: {what}; heard {:?}", self.heard.last());
            self.turn();
        }
    }

    /// Asks and waits for the answer.
    fn ask(&mut self, ask: impl FnOnce(&mut Session, Now) -> Result<echomesh_client::RequestId, RequestError>) {
        let answers = self.answers;
        let now = self.now();
        ask(&mut self.session, now).unwrap();
        self.until("an answer", |person| person.answers > answers);
    }

    fn enter(&mut self, server: &Server) {
        self.connect(server);
        self.until("a login", |person| person.session.is_logged_in());
        self.ask(|session, now| session.create(now, "hall", 0));
        self.ask(|session, now| session.join(now, "hall"));
        assert!(self.session.room("hall").is_some());
    }

    fn say(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.ask(|session, now| session.chat(now, "hall", &format!("line {number}"), ""));
        }
    }

    fn whisper(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.ask(|session, now| session.direct(now, "bob", &format!("psst {number}"), ""));
        }
    }
}

fn lines(word: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("{word} {number}")).collect()
}

/// Goal: over a resume, and over a server that was killed and started again, every line comes once and in order, those
/// of rooms and direct ones, though more is said while they are fetched (PROTOCOL M82, M83, M85).
#[test]
fn what_was_missed_comes_once_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let [mut ann, mut bob] = ["ann", "bob"].map(Person::new);
    ann.enter(&server);
    ann.say(0..5);
    bob.enter(&server);
    ann.say(5..10);
    ann.whisper(0..3);
    bob.until("lines as they are said", |bob| bob.heard.len() == 5 && bob.direct.len() == 3);

    bob.lose_connection();
    ann.say(10..260);
    ann.whisper(3..6);
    bob.connect(&server);
    // While it comes back and fetches, more is said.
    for number in 260..300 {
        ann.say(number..number + 1);
        bob.turn();
    }
    bob.until("what was missed", |bob| bob.heard.len() >= 295 && bob.direct.len() >= 6);

    bob.lose_connection();
    ann.say(300..310);
    ann.whisper(6..8);
    drop(server);
    ann.lose_connection();
    let server = Server::start(directory.path());
    ann.connect(&server);
    ann.until("the way back", |ann| ann.session.is_logged_in());
    ann.ask(|session, now| session.join(now, "hall"));
    ann.say(310..320);
    bob.connect(&server);
    bob.until("what was missed over a restart", |bob| bob.heard.len() >= 315 && bob.direct.len() >= 8);
    ann.say(320..321);
    bob.until("a line as it is said", |bob| bob.heard.len() >= 316);
    assert_eq!(bob.heard, lines("line", 5..321));
    assert_eq!(bob.direct, lines("psst", 0..8));
}
