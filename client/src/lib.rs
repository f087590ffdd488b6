//! The EchoMesh client as a library: the session kernel, which knows the protocol and does no I/O.
//!
//! [`Session`] is one logged-in device. Its driver gives it what happened ([`Input`], datagrams,
//! requests) with a clock reading, writes [`Session::output`] to the control connection, sends what
//! [`Session::next_datagram`] gives, and reacts to the [`Event`]s. The same calls give the same bytes:
//! there is no clock, socket, randomness or logging in here.
//!
//! # Layout
//! - [`session`]: login, resume, requests and their answers, rooms and their rosters, voice packets.
//! - The program `echomesh` (feature `cli`) is one driver; the load tool and the simulator are others.
//!
//! # Example
//! A plaintext client on the server's machine that joins a room and prints what is said there.
//! ```no_run
//! use std::io::{Read, Write};
//! use std::time::{Instant, SystemTime, UNIX_EPOCH};
//!
//! use echomesh_client::{Config, Event, Input, Session};
//! use echomesh_proto::time::{Now, Time};
//!
//! fn main() -> std::io::Result<()> {
//!     let origin = Instant::now();
//!     let now = || Now {
//!         time: Time(origin.elapsed().as_micros() as u64),
//!         unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
//!     };
//!     let mut connection = std::net::TcpStream::connect("localhost:8888")?;
//!     connection.set_read_timeout(Some(std::time::Duration::from_millis(100)))?;
//!     let (mut session, mut events) = (Session::new(Config::new("ann", "secret")), Vec::new());
//!     session.handle(now(), Input::Connected, &mut events);
//!     let mut bytes = [0; 4096];
//!     loop {
//!         connection.write_all(session.output())?;
//!         session.output_written(session.output().len());
//!         match connection.read(&mut bytes) {
//!             Ok(0) => session.handle(now(), Input::Closed, &mut events),
//!             Ok(count) => session.handle(now(), Input::Bytes(&bytes[..count]), &mut events),
//!             Err(_) => session.handle(now(), Input::Tick, &mut events),
//!         }
//!         for event in events.drain(..) {
//!             match event {
//!                 Event::LoggedIn(_) => drop(session.join(now(), "lobby")),
//!                 Event::Chat(line) => println!("{}: {}", line.username, line.content),
//!                 Event::Disconnected(reason) => return Err(std::io::Error::other(reason.to_string())),
//!                 _ => {}
//!             }
//!         }
//!     }
//! }
//! ```
#![forbid(unsafe_code)]

pub mod session;

pub use session::{
    Announce, Answer, Config, Counters, Datagram, DisconnectReason, Done, Drop, Event, Input, LoggedIn, MemberChange,
    OpenVoice, Outcome, RequestError, RequestId, Room, SentVoice, Session, Voice, VoiceError, VoiceFrame, VoiceKeys,
    VoiceStatistics,
};
