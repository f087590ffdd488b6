//! How a client gets where it should be: what its session says moves it from stage to stage.
//!
//! In: events of one client's session. Out: its next request, and counts. See `Stage`.

use std::net::SocketAddr;

use echomesh_client::{Answer, Done, Event, OpenVoice, Outcome, RequestError, RequestId};
use echomesh_proto::control::StatusCode;
use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::Now;

use crate::client::Stage;
use crate::clock::{self, MILLISECOND};
use crate::fleet::Fleet;
use crate::sweep::watched;

/// Wait before a login is tried again whose refusal does not say how long, nanoseconds.
const RETRY: u64 = 200 * MILLISECOND;

impl Fleet {
    /// One event of a client's session.
    pub(crate) fn happened(&mut self, at: usize, now: Now, event: Event) {
        match event {
            Event::LoggedIn(logged_in) => self.logged_in(at, now, logged_in.resumed),
            Event::LoginRefused { status, message, retry_after_ms } => {
                self.logging_in = self.logging_in.saturating_sub(1);
                if status != StatusCode::StatusTryAgain {
                    return self.end(at, &format!("login refused: {message}"));
                }
                self.set_up.busy += 1;
                self.clients[at].stage = Stage::Waiting;
                let wait = if retry_after_ms == 0 { RETRY } else { u64::from(retry_after_ms) * MILLISECOND };
                self.later.push((clock::real() + wait, at));
            }
            Event::Answer(Answer { outcome, .. }) => self.answered(at, outcome),
            Event::RosterComplete { .. } if self.clients[at].stage == Stage::Entering => self.entered(at, now),
            Event::VoiceOpen { ssrc, udp_port, .. } => self.voice_opened(at, ssrc, udp_port),
            Event::Chat(line) => self.chat.delivered(&line.content),
            Event::RoomLost { message, .. } => self.end(at, &format!("room lost: {message}")),
            Event::Expelled { message, .. } => self.end(at, &message),
            // The server says why before it closes; a login that is tried again closes nothing.
            Event::Notice { message, .. } => self.notice = Some(message),
            Event::RosterComplete { .. }
            | Event::RoomMessage(_)
            | Event::Member { .. }
            | Event::Rejoined { .. }
            | Event::Moved { .. }
            | Event::RoomChanged { .. }
            | Event::Reported(_)
            | Event::Direct(_)
            | Event::ChatChanged(_)
            | Event::Disconnected(_) => {}
        }
    }

    fn logged_in(&mut self, at: usize, now: Now, resumed: bool) {
        self.logging_in = self.logging_in.saturating_sub(1);
        self.outside = self.outside.saturating_sub(1);
        self.set_up.login.record(clock::real().saturating_sub(self.login_started[at]));
        self.set_up.resumed += u64::from(resumed);
        let client = &mut self.clients[at];
        let Some((_, room)) = client.wanted.room.clone() else { return self.is_ready(at) };
        client.stage = Stage::Entering;
        // A session that came back enters its rooms, and opens their voice, by itself.
        if client.session.rooms().next().is_none() {
            let asked = client.session.join(now, &room);
            self.must(at, asked);
        } else if client.wanted.voice {
            client.stage = Stage::Opening;
        }
    }

    fn entered(&mut self, at: usize, now: Now) {
        let client = &mut self.clients[at];
        if !client.wanted.voice {
            return self.is_ready(at);
        }
        client.stage = Stage::Opening;
        let Some((_, room)) = client.wanted.room.clone() else { return };
        let asked = client.session.open_voice(now, &room, OpenVoice::default());
        self.must(at, asked);
    }

    pub(crate) fn must(&mut self, at: usize, asked: Result<RequestId, RequestError>) {
        if let Err(error) = asked {
            self.end(at, &error.to_string());
        }
    }

    fn voice_opened(&mut self, at: usize, ssrc: Ssrc, udp_port: u16) {
        let server = SocketAddr::new(self.address.ip(), udp_port);
        let client = &mut self.clients[at];
        let opened = client.open_voice(server, ssrc).and_then(|is_new| match client.udp() {
            Some(udp) if is_new => Ok(self.poll.add(udp, watched(at))?),
            _ => Ok(()),
        });
        match opened {
            Ok(()) => self.is_ready(at),
            Err(error) => self.end(at, &format!("no voice socket: {error}; raise `ulimit -n`")),
        }
    }

    fn is_ready(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.stage != Stage::Ready {
            client.stage = Stage::Ready;
            self.arrived += 1;
            self.set_up.ready.record(clock::real().saturating_sub(client.started));
        }
    }

    fn answered(&mut self, at: usize, outcome: Outcome) {
        let client = &mut self.clients[at];
        match outcome {
            Outcome::Done(Done::Chat(line)) => self.chat.acknowledged(&line.content),
            Outcome::Done(Done::Account(state)) => client.given = Some((state.id, state.secret.into())),
            Outcome::Done(Done::Room(_)) if client.stage == Stage::Leaving => client.stage = Stage::Away,
            Outcome::Refused { status: StatusCode::StatusExists, .. } => {}
            Outcome::Refused { message, .. }
                if matches!(client.stage, Stage::Entering | Stage::Opening | Stage::Leaving) =>
            {
                self.end(at, &format!("refused: {message}"));
            }
            Outcome::Refused { .. } | Outcome::TimedOut => self.chat.refused(),
            Outcome::Done(_) | Outcome::ConnectionLost => {}
        }
    }
}
