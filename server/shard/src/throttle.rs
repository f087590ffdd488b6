//! How much one connection may ask: requests, bytes, and voice frames where UDP is blocked.
//!
//! A request beyond its rate is answered "try again" and not done. Bytes beyond theirs wait with the peer: reading pauses
//! until they are paid for. By connection and not by session: who comes back for a new burst pays a handshake for it,
//! and `admission` bounds those.
//! The next page of a roster is no request of its own: a client that comes back to large rooms wants many of them.
//! Bounds: that, and a refusal, costs as many bytes as `EXTRA_BYTES`, so tiny requests are slowed down too. Cost: O(1) a request;
//! at a tick a look at each connection that is slowed down.

use echomesh_proto::control::{Body, EchoMsg, MsgType, RoomActionType, StatusCode};
use echomesh_proto::ids::ConnectionId;
use echomesh_proto::time::Now;

use crate::connection::try_again;
use crate::counters::{Drop, LoginOutcome};
use crate::effect::Effects;
use crate::rates::Bucket;
use crate::{Shard, retry_ms};

/// Bytes that a refusal or the next page of a roster costs: beyond their burst, a connection gets 256 of them a second at the default rate.
const EXTRA_BYTES: u32 = 1_024;

/// What a connection may still ask.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    requests: Bucket,
    bytes: Bucket,
    voice: Bucket,
    slowed: bool,
}

impl Throttle {
    /// Its bytes are to be paid for first.
    pub(crate) fn is_slowed(&self) -> bool {
        self.slowed
    }
}

impl Shard {
    /// Counts received bytes, or what an answer cost, against the connection.
    pub(crate) fn charge_bytes(&mut self, now: Now, id: ConnectionId, bytes: u32) {
        let rate = self.config.limits.bytes;
        let Some(connection) = self.connection(id) else { return };
        let throttle = &mut connection.throttle;
        throttle.bytes.charge(now.time, rate, bytes);
        if !throttle.slowed && throttle.bytes.wait_us(now.time, rate, 0) > 0 {
            throttle.slowed = true;
            self.counters.slowed += 1;
            self.slowed.push(id);
        }
    }

    /// Reads again from those that have paid.
    pub(crate) fn slowed_tick(&mut self, now: Now) {
        let rate = self.config.limits.bytes;
        for id in std::mem::take(&mut self.slowed) {
            let Some(connection) = self.connection(id) else { continue };
            if connection.throttle.bytes.wait_us(now.time, rate, 0) > 0 {
                self.slowed.push(id);
            } else {
                connection.throttle.slowed = false;
                self.ready.push_back(id);
            }
        }
    }

    /// Whether a message is within the connection's rate; answers the refusal itself.
    pub(crate) fn may_ask(&mut self, now: Now, id: ConnectionId, msg: &EchoMsg, effects: &mut Effects) -> bool {
        let (requests, voice) = (self.config.limits.requests, self.config.limits.voice_frames);
        let Some(connection) = self.connection(id) else { return false };
        let throttle = &mut connection.throttle;
        if let Some(Body::VoiceFrame(_)) = msg.body {
            let within = throttle.voice.take(now.time, voice, 1).is_ok();
            if !within {
                self.counters.drop(Drop::TunnelRate);
            }
            return within;
        }
        if is_next_page(msg) {
            self.charge_bytes(now, id, EXTRA_BYTES);
            return true;
        }
        let Err(wait_us) = throttle.requests.take(now.time, requests, 1) else { return true };
        self.counters.too_fast += 1;
        self.charge_bytes(now, id, EXTRA_BYTES);
        // A pong asks nothing.
        if msg.r#type != MsgType::MtPong as i32 {
            self.counters.busy += 1;
            let (text, wait_ms) = ("too many requests: wait, then send this one again", retry_ms(wait_us));
            let body = match msg.body {
                Some(Body::LoginRequest(_) | Body::ResumeRequest(_)) => {
                    self.counters.login(LoginOutcome::TooFast);
                    crate::login::refusal_until(StatusCode::StatusTryAgain, text, wait_ms)
                }
                _ => try_again(text, wait_ms),
            };
            self.send(id, &EchoMsg::new(msg.request_id, body), effects);
        }
        false
    }
}

fn is_next_page(msg: &EchoMsg) -> bool {
    match &msg.body {
        Some(Body::RoomAction(action)) => action.action_type() == RoomActionType::RaRoster && !action.page.is_empty(),
        _ => false,
    }
}
