//! A bot on the client library: in a room it answers `!ping` and `!time`.
//!
//! Not a whole client: plaintext, which a server takes from its own machine alone, and no voice. It shows the loop that
//! the session needs, which does no I/O itself: bytes in, bytes out, a tick now and then, events.
//! In: `bot HOST:PORT NAME PASSWORD ROOM`. Out: lines in the room. Bounds: one line under way for each that it heard.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use echomesh_client::{Answer, Config, DisconnectReason, Event, Input, Outcome, RequestId, Session};
use echomesh_proto::time::{Now, Time};

/// Between ticks: the session's timers need one now and then.
const TICK: Duration = Duration::from_millis(100);

/// After a lost connection; the session is kept for a minute, so the others notice nothing.
const PAUSE: Duration = Duration::from_secs(1);

#[allow(dead_code, reason = "the test that runs this file calls `run`")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, name, password, room] = &arguments[..] else {
        eprintln!("usage: bot HOST:PORT NAME PASSWORD ROOM");
        return ExitCode::from(2);
    };
    eprintln!("bot: {}", run(server, name, password, room));
    ExitCode::FAILURE
}

/// Stays in the room until the server refuses something. Gives what it said.
pub fn run(server: &str, name: &str, password: &str, room: &str) -> String {
    let (session, origin) = (Session::new(Config::new(name, password)), Instant::now());
    let mut bot = Bot { session, origin, room: room.to_owned(), joining: None };
    loop {
        match TcpStream::connect(server).map(|stream| bot.serve(stream)) {
            Ok(Some(refusal)) => return refusal,
            Ok(None) => eprintln!("bot: the connection was lost"),
            Err(error) => eprintln!("bot: {server}: {error}"),
        }
        std::thread::sleep(PAUSE);
    }
}

struct Bot {
    session: Session,
    /// The session's clock counts from here.
    origin: Instant,
    room: String,
    joining: Option<RequestId>,
}

impl Bot {
    fn now(&self) -> Now {
        let time = Time(self.origin.elapsed().as_micros() as u64);
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Now { time, unix_ms }
    }

    /// One connection, until it is over. Gives why there is to be no other.
    fn serve(&mut self, mut stream: TcpStream) -> Option<String> {
        let (mut bytes, mut events) = ([0; 16 * 1024], Vec::new());
        let mut is_open = stream.set_read_timeout(Some(TICK)).is_ok();
        self.session.handle(self.now(), Input::Connected, &mut events);
        loop {
            // What happened may ask for something, which is in the output then.
            for event in events.drain(..) {
                match event {
                    Event::Disconnected(DisconnectReason::Closed | DisconnectReason::TimedOut) => return None,
                    Event::Disconnected(reason) => return Some(reason.to_string()),
                    event => {
                        if let Some(refusal) = self.event(event) {
                            return Some(refusal);
                        }
                    }
                }
            }
            is_open &= stream.write_all(self.session.output()).is_ok();
            self.session.output_written(self.session.output().len());
            let now = self.now();
            let input = match stream.read(&mut bytes) {
                _ if !is_open => Input::Closed,
                Ok(0) => Input::Closed,
                Ok(count) => Input::Bytes(&bytes[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Input::Tick,
                Err(_) => Input::Closed,
            };
            self.session.handle(now, input, &mut events);
            if !matches!(events.last(), Some(Event::Disconnected(_))) {
                self.session.handle(self.now(), Input::Tick, &mut events);
            }
        }
    }

    /// Reacts. Gives what the server refused for good.
    fn event(&mut self, event: Event) -> Option<String> {
        match event {
            // A session that was resumed is still in its room.
            Event::LoggedIn(logged_in) if !logged_in.resumed => {
                self.joining = self.session.join(self.now(), &self.room).ok();
            }
            Event::Answer(Answer { request, outcome: Outcome::Refused { message, .. } }) => {
                if self.joining == Some(request) {
                    return Some(message);
                }
                eprintln!("bot: {message}");
            }
            Event::Chat(line) if line.user_id != self.session.user().0 && line.room_id == self.room => {
                if let Some(text) = self.answer(&line.username, &line.content) {
                    // Not logged in any more, or too much under way: people ask again.
                    let _ = self.session.chat(self.now(), &self.room, &text, "");
                }
            }
            Event::LoginRefused { message, .. } | Event::RoomLost { message, .. } | Event::Expelled { message, .. } => {
                return Some(message);
            }
            _ => {}
        }
        None
    }

    fn answer(&self, user: &str, line: &str) -> Option<String> {
        let seconds = self.now().unix_ms / 1_000;
        match line.trim() {
            "!ping" => Some(format!("{user}: pong")),
            "!time" => {
                let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
                Some(format!("{user}: it is {hours:02}:{minutes:02}:{:02} UTC", seconds % 60))
            }
            _ => None,
        }
    }
}
