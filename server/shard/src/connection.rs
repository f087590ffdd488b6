//! Control connections of a shard: the table, what each waits for, and the bounds on both directions.
//!
//! Not the meaning of messages: `requests.rs` and `login.rs` hold that. Requests of one connection take
//! effect in the order sent: while one that changes the session waits for its answer, later frames
//! wait in the decoder, and reading pauses before that grows past `Limits::input_bytes_max`.
//! Bounds: O(1) per input; an idle connection holds no buffer.

use std::net::IpAddr;

use echomesh_proto::control::{Body, EchoMsg, Status, StatusCode};
use echomesh_proto::framing::FrameDecoder;
use echomesh_proto::ids::{ConnectionId, SessionId};
use echomesh_proto::time::{Now, Time};
use prost::Message;

use crate::Shard;
use crate::admission::Place;
use crate::bans::Network;
use crate::counters::{CloseReason, Drop};
use crate::effect::{Effect, Effects};
use crate::input::{ClosedCause, READ_BYTES_MAX, Security};
use crate::login::LoginUnderWay;
use crate::mesh::Asker;
use crate::mistakes::{Mistake, planted};
use crate::rates::Bucket;
use crate::throttle::Throttle;

/// What an unanswered request is, for the sentence when its answer does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskedKind {
    Login,
    /// Later frames of the connection need not wait for it.
    Chat,
    Other,
}

/// A request without its answer yet.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) serial: u32,
    pub(crate) request_id: u32,
    pub(crate) kind: AskedKind,
    since: Time,
}

/// One control connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) remote: IpAddr,
    pub(crate) place: Place,
    pub(crate) throttle: Throttle,
    local_loopback: bool,
    opened: bool,
    accepted: Time,
    decoder: FrameDecoder,
    /// Since when an incomplete frame waits.
    frame_since: Option<Time>,
    pub(crate) session: Option<SessionId>,
    pub(crate) login: Option<LoginUnderWay>,
    pub(crate) guesses: Bucket,
    asked: Vec<Asked>,
    serial: u32,
    output_bytes: usize,
    /// Bytes in `decoder`, as `Shard::memory` has them.
    input_bytes: usize,
    paused: bool,
}

impl Connection {
    /// Bytes sent that it has not read.
    pub(crate) fn unread(&self) -> usize {
        self.output_bytes
    }

    /// Nothing of it is under way: no request without its answer, no bytes unread, no frame begun.
    pub(crate) fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.output_bytes == 0 && self.decoder.is_empty() && !self.paused
    }

    /// Bytes that wait to be taken as frames.
    pub(crate) fn waiting(&self) -> usize {
        self.decoder.buffered()
    }

    /// Later frames must wait: something but chat is unanswered, or chat to its bound is.
    fn waits(&self, chats_max: u32) -> bool {
        let chats = self.asked.iter().filter(|asked| asked.kind == AskedKind::Chat).count();
        chats < self.asked.len() || chats >= chats_max as usize
    }

    /// Something was begun and is not answered.
    pub(crate) fn has_unanswered(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Ids of what was begun and is not answered.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = u32> {
        self.asked.iter().map(|asked| asked.request_id)
    }

    /// Its id, if it may be told something and nobody is logged in or on the way.
    pub(crate) fn stranger(&self) -> Option<ConnectionId> {
        (self.opened && self.session.is_none() && self.asked.is_empty()).then_some(self.id)
    }

    /// Notes a request that will be answered later.
    pub(crate) fn ask(&mut self, now: Now, shard: u32, request_id: u32, kind: AskedKind) -> Asker {
        self.serial = self.serial.wrapping_add(1);
        self.asked.push(Asked { serial: self.serial, request_id, kind, since: now.time });
        Asker { shard, slot: self.id.slot, generation: self.id.generation, serial: self.serial }
    }

    fn take_asked(&mut self, serial: u32) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.serial == serial)?;
        Some(self.asked.remove(at))
    }
}

impl Shard {
    pub(crate) fn accepted(
        &mut self,
        now: Now,
        id: ConnectionId,
        remote: IpAddr,
        local: IpAddr,
        effects: &mut Effects,
    ) {
        self.counters.accepted += 1;
        let slot = id.slot as usize;
        if slot >= self.config.limits.connections_max as usize || self.is_stopping() {
            let reason = if self.is_stopping() { CloseReason::Shutdown } else { CloseReason::ConnectionLimit };
            self.counters.close(reason);
            effects.list.push(Effect::Close { connection: id, reason });
            return;
        }
        let limits = &self.config.limits;
        let Some(place) = self.admission.admit(now.time, Network::of(remote), limits, &self.memory) else {
            self.counters.close(CloseReason::Flood);
            return effects.list.push(Effect::Close { connection: id, reason: CloseReason::Flood });
        };
        self.memory.connections += 1;
        if self.connections.len() <= slot {
            self.connections.resize_with(slot + 1, || None);
        }
        self.connections[slot] = Some(Box::new(Connection {
            id,
            remote,
            place,
            throttle: Throttle::default(),
            local_loopback: local.is_loopback() && remote.is_loopback(),
            opened: false,
            accepted: now.time,
            decoder: FrameDecoder::default(),
            frame_since: None,
            session: None,
            login: None,
            guesses: Bucket::default(),
            asked: Vec::new(),
            serial: 0,
            output_bytes: 0,
            input_bytes: 0,
            paused: false,
        }));
    }

    /// The connection, if it is still the one meant.
    pub(crate) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.slot as usize)?.as_deref_mut().filter(|connection| connection.id == id)
    }

    pub(crate) fn opened(&mut self, id: ConnectionId, security: Security, effects: &mut Effects) {
        let anywhere = self.config.plaintext_anywhere;
        let Some(connection) = self.connection(id) else { return self.counters.drop(Drop::StaleConnection) };
        connection.opened = true;
        if security == Security::Plaintext && !connection.local_loopback && !anywhere {
            let text = "this server takes plaintext only on its own machine: connect with TLS";
            return self.notice_and_close(
                id,
                StatusCode::StatusTlsRequired,
                text,
                CloseReason::PlaintextRefused,
                effects,
            );
        }
        let (remote, place, now_ms) = (connection.remote, connection.place, self.now.unix_ms);
        if self.is_ending() {
            return self.turn_away(id, effects);
        }
        if let Some(text) = self.bans.of_address(remote, now_ms).map(|ban| ban.sentence("this server", now_ms)) {
            return self.notice_and_close(id, StatusCode::StatusBanned, &text, CloseReason::Banned, effects);
        }
        if let Place::Refused(refusal) = place {
            self.tell_refused(id, refusal, effects);
        }
    }

    pub(crate) fn received(&mut self, now: Now, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connection(id) else { return self.counters.drop(Drop::StaleConnection) };
        debug_assert!(connection.opened, "the driver says Opened before Bytes");
        connection.decoder.push(bytes);
        if connection.frame_since.is_none() {
            connection.frame_since = Some(now.time);
        }
        self.charge_bytes(now, id, bytes.len() as u32);
        self.count_input(id);
        self.ready.push_back(id);
    }

    /// Keeps the sum of what waits in all decoders.
    fn count_input(&mut self, id: ConnectionId) {
        let Some(connection) = self.connection(id) else { return };
        let held = connection.decoder.buffered();
        let before = std::mem::replace(&mut connection.input_bytes, held);
        self.memory.buffered = self.memory.buffered + held - before;
    }

    /// Takes as many frames as may take effect now.
    pub(crate) fn serve(&mut self, now: Now, id: ConnectionId, effects: &mut Effects) {
        loop {
            // What was not begun waits for the next server; but a login that was refused has nobody who waits.
            if self.is_ending() && !planted(Mistake::BeginAtTheEnd) {
                if self.connection(id).is_some_and(|connection| connection.stranger().is_some()) {
                    self.turn_away(id, effects);
                }
                break;
            }
            if self.congested() {
                self.held_back.push(id);
                break;
            }
            let chats_max = self.config.limits.chat_in_flight_max;
            let Some(connection) = self.connection(id) else { return };
            if connection.waits(chats_max) || connection.throttle.is_slowed() {
                break;
            }
            let msg = match connection.decoder.next_frame() {
                Ok(None) => {
                    if connection.decoder.is_empty() {
                        connection.frame_since = None;
                        connection.decoder.shrink();
                    }
                    break;
                }
                Ok(Some(frame)) => EchoMsg::decode(frame),
                Err(error) => {
                    let text = error.to_string();
                    self.notice_and_close(id, StatusCode::StatusMalformed, &text, CloseReason::BadFrame, effects);
                    return;
                }
            };
            connection.frame_since = Some(now.time);
            match msg {
                Ok(msg) => self.request(now, id, msg, effects),
                Err(_) => {
                    let text = "the frame is not an EchoMsg (see docs/PROTOCOL.md)";
                    self.notice_and_close(id, StatusCode::StatusMalformed, text, CloseReason::Malformed, effects);
                    return;
                }
            }
        }
        self.set_reading(id, effects);
    }

    fn set_reading(&mut self, id: ConnectionId, effects: &mut Effects) {
        self.count_input(id);
        let full = self.config.limits.input_bytes_max - READ_BYTES_MAX;
        let Some(connection) = self.connection(id) else { return };
        let pause = connection.decoder.buffered() >= full || connection.throttle.is_slowed();
        if pause != connection.paused {
            connection.paused = pause;
            effects.list.push(if pause {
                Effect::PauseReading { connection: id }
            } else {
                Effect::ResumeReading { connection: id }
            });
        }
    }

    pub(crate) fn drained(&mut self, id: ConnectionId, bytes: usize) {
        let Some(connection) = self.connection(id) else { return self.counters.drop(Drop::StaleConnection) };
        debug_assert!(bytes <= connection.output_bytes, "only what was sent can drain");
        let bytes = if planted(Mistake::ForgetCredit) { bytes / 2 } else { bytes };
        connection.output_bytes = connection.output_bytes.saturating_sub(bytes);
        self.memory.queued = self.memory.queued.saturating_sub(bytes);
    }

    pub(crate) fn closed(&mut self, now: Now, id: ConnectionId, cause: ClosedCause) {
        if self.connection(id).is_none() {
            return self.counters.drop(Drop::StaleConnection);
        }
        self.counters.close(match cause {
            ClosedCause::PeerClosed => CloseReason::PeerClosed,
            ClosedCause::Network => CloseReason::Network,
            ClosedCause::NotOurProtocol => CloseReason::NotOurProtocol,
            ClosedCause::TlsFailed => CloseReason::TlsFailed,
        });
        self.forget(now, id);
    }

    /// Takes the connection out of the table; its session waits to be resumed, or ends.
    fn forget(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id.slot as usize).and_then(Option::take) else { return };
        self.admission.leave(Network::of(connection.remote), connection.place);
        self.memory.connections -= 1;
        self.memory.queued -= connection.output_bytes;
        self.memory.buffered -= connection.input_bytes;
        if let Some(session) = connection.session {
            self.detach(now, session);
        }
    }

    pub(crate) fn close(&mut self, now: Now, id: ConnectionId, reason: CloseReason, effects: &mut Effects) {
        self.counters.close(reason);
        effects.list.push(Effect::Close { connection: id, reason });
        self.forget(now, id);
    }

    pub(crate) fn notice_and_close(
        &mut self,
        id: ConnectionId,
        code: StatusCode,
        text: &str,
        reason: CloseReason,
        effects: &mut Effects,
    ) {
        self.send(id, &EchoMsg::new(0, status(code, text)), effects);
        let now = self.now;
        if self.connection(id).is_some() {
            self.close(now, id, reason, effects);
        }
    }

    /// Sends one message to one connection.
    pub(crate) fn send(&mut self, id: ConnectionId, msg: &EchoMsg, effects: &mut Effects) {
        let start = effects.bytes.len();
        msg.append_frame(&mut effects.bytes);
        self.send_range(id, start..effects.bytes.len(), effects);
    }

    /// Sends bytes that are in `effects` already: one encoding serves a whole room. A connection that
    /// does not read is closed rather than given a stream with holes; its session can be resumed.
    pub(crate) fn send_range(&mut self, id: ConnectionId, bytes: std::ops::Range<usize>, effects: &mut Effects) {
        let bytes_max = self.config.limits.output_bytes_max;
        let Some(connection) = self.connection(id) else { return };
        if connection.output_bytes + bytes.len() > bytes_max {
            let now = self.now;
            return self.close(now, id, CloseReason::SlowReader, effects);
        }
        connection.output_bytes += bytes.len();
        let unread = connection.output_bytes;
        self.memory.queued += bytes.len();
        if self.memory.cuts(&self.config.limits, unread) {
            let now = self.now;
            return self.close(now, id, CloseReason::MemoryFull, effects);
        }
        effects.list.push(Effect::Send { connection: id, bytes });
    }

    /// Gives a request its answer, here or on the shard that asked.
    pub(crate) fn answer(&mut self, asker: Asker, body: Body, effects: &mut Effects) {
        if asker.shard() != self.config.shard {
            return self.tell(
                asker.shard(),
                crate::mesh::Mesh::Answer(crate::mesh::Answer { asker, msg: EchoMsg::new(0, body) }),
            );
        }
        let id = asker.connection();
        let Some(asked) = self.connection(id).and_then(|connection| connection.take_asked(asker.serial)) else {
            return self.counters.drop(Drop::StaleAnswer);
        };
        self.send(id, &EchoMsg::new(asked.request_id, body), effects);
        self.ready.push_back(id);
    }

    pub(crate) fn refuse(&mut self, asker: Asker, code: StatusCode, text: &str, effects: &mut Effects) {
        self.answer(asker, status(code, text), effects);
    }

    /// Whether the request still waits: its asker may be gone or have been given up.
    pub(crate) fn is_waiting(&mut self, asker: Asker) -> bool {
        self.connection(asker.connection())
            .is_some_and(|connection| connection.asked.iter().any(|asked| asked.serial == asker.serial))
    }

    /// Deadlines of one connection; called for each about once a second.
    pub(crate) fn check_deadlines(&mut self, now: Now, slot: usize, effects: &mut Effects) {
        let (login_us, frame_us, answer_us) = {
            let limits = &self.config.limits;
            (limits.login_us_max, limits.frame_us_max, limits.answer_us_max)
        };
        let shard = u32::from(self.config.shard.0);
        // Then whole frames wait, too.
        let is_ending = self.is_ending();
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        let id = connection.id;
        let overdue: Vec<Asker> = connection
            .asked
            .iter()
            .filter(|asked| now.time.since_us(asked.since) > answer_us)
            .map(|asked| Asker { shard, slot: id.slot, generation: id.generation, serial: asked.serial })
            .collect();
        let silent = connection.session.is_none() && now.time.since_us(connection.accepted) > login_us;
        let idle = connection.asked.is_empty() && !connection.paused && !is_ending;
        let stuck = idle && connection.frame_since.is_some_and(|since| now.time.since_us(since) > frame_us);
        for asker in overdue {
            self.give_up(asker, effects);
        }
        if silent {
            let text = "no login in time: send a LoginRequest right after connecting";
            self.notice_and_close(id, StatusCode::StatusTooSlow, text, CloseReason::LoginTimeout, effects);
        } else if stuck {
            let text = "a frame was begun and not finished in time";
            self.notice_and_close(id, StatusCode::StatusTooSlow, text, CloseReason::FrameTimeout, effects);
        }
    }

    fn give_up(&mut self, asker: Asker, effects: &mut Effects) {
        self.counters.busy += 1;
        let id = asker.connection();
        let Some(connection) = self.connection(id) else { return };
        let Some(asked) = connection.asked.iter().find(|asked| asked.serial == asker.serial) else { return };
        let body = match asked.kind {
            AskedKind::Login => {
                connection.login = None;
                crate::login::refusal(
                    StatusCode::StatusTryAgain,
                    "the server is too busy to log you in: try again in a moment",
                )
            }
            AskedKind::Chat => status(
                StatusCode::StatusTryAgain,
                "it is not known whether the line was stored: send it again with the same client_id",
            ),
            AskedKind::Other => {
                status(StatusCode::StatusTryAgain, "no answer in time: look whether it took effect, and try again")
            }
        };
        self.answer(asker, body, effects);
    }
}

/// A `Status` body.
pub(crate) fn status(code: StatusCode, text: &str) -> Body {
    let retry_after_ms = if code == StatusCode::StatusTryAgain { RETRY_AFTER_MS } else { 0 };
    Body::Status(Status { status_code: code as i32, message: text.to_owned(), retry_after_ms })
}

/// A `Status` body: `STATUS_TRY_AGAIN`, and when.
pub(crate) fn try_again(text: &str, retry_after_ms: u32) -> Body {
    let status_code = StatusCode::StatusTryAgain as i32;
    Body::Status(Status { status_code, message: text.to_owned(), retry_after_ms })
}

/// When a client that was told to try again should: long enough for a queue to empty.
pub(crate) const RETRY_AFTER_MS: u32 = 1_000;
