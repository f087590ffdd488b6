//! Direct lines: from one account to another, stored first, delivered to all their sessions.
//!
//! The way of one: the author's shard looks the recipient up, the author's home counts it, the conversation's home (that
//! of the account with the smaller number) has it stored, so that all lines of a conversation come in the order of their
//! numbers to everyone, and tells both accounts' homes, which know where their sessions are. Who is offline finds it in
//! the history, and counted as unread.
//! A line for a session that is on its way to another shard waits at the account's home until it is there.
//! Bounds: `Limits::direct_lines_max` lines of one account in a minute; `HELD_MAX` lines wait for a session; homes refuse while a ring is congested.

use std::collections::BTreeMap;

use echomesh_proto::control::{Body, ChatMsg, EchoMsg, Role, StatusCode};
use echomesh_proto::ids::{SessionId, ShardId, UserId};
use echomesh_proto::time::{Now, SECOND_US, Time};

use super::jobs::{ChatOutcome, ChatWrite, Place};
use super::wire::{DirectAsk, DirectLine, DirectWhat};
use super::{NOBODY, Pending, STORE_FAILED};
use crate::counters::Drop;
use crate::effect::Effects;
use crate::jobs::{StoreJob, StoreOutcome};
use crate::mesh::{Answer, Asker, Mesh};
use crate::mistakes::{Mistake, planted};
use crate::names;
use crate::{Job, Shard};

/// How long a line counts against its author, microseconds.
const RATE_US: u64 = 60 * SECOND_US;

/// Lines that wait for a session that is moving. What is over it is in the history.
const HELD_MAX: usize = 64;

/// What an account's home knows of direct lines.
#[derive(Debug, Default)]
pub(crate) struct DirectDesk {
    /// By author: when the minute began, and lines since.
    counts: BTreeMap<UserId, (Time, u32)>,
    looked: Time,
    /// Lines for sessions that are moving.
    held: BTreeMap<SessionId, Vec<EchoMsg>>,
}

impl DirectDesk {
    fn takes(&mut self, now: Time, user: UserId, lines_max: u32) -> bool {
        if now.since_us(self.looked) >= RATE_US {
            self.counts.retain(|_, (began, _)| now.since_us(*began) < RATE_US);
            self.looked = now;
        }
        let (began, lines) = self.counts.entry(user).or_insert((now, 0));
        if now.since_us(*began) >= RATE_US {
            (*began, *lines) = (now, 0);
        }
        *lines += 1;
        *lines <= lines_max
    }

    /// Sessions that lines wait for.
    pub(crate) fn waits_for(&self) -> usize {
        self.held.len()
    }

    /// The session is over.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.held.remove(&session);
    }
}

impl Shard {
    /// A direct line, or a change of one, at its author's shard. What it says is checked.
    pub(crate) fn direct_request(
        &mut self,
        asker: Asker,
        id: SessionId,
        typed: &str,
        what: DirectWhat,
        effects: &mut Effects,
    ) {
        let session = &self.sessions[&id];
        if session.role == Role::Guest {
            let text = "guests write in rooms only: make an account to write to someone directly";
            return self.refuse(asker, StatusCode::StatusDenied, text, effects);
        }
        let ask = DirectAsk {
            asker,
            session: id.0,
            user: session.user.0,
            username: session.username.clone(),
            role: session.role as i32,
            what: Some(what),
            ..DirectAsk::default()
        };
        let Ok(name) = names::username(typed) else {
            return self.refuse(asker, StatusCode::StatusNotFound, NOBODY, effects);
        };
        let job = Job::Chatting(Box::new(Pending::Peer(Box::new(ask))));
        if !self.ask_store(job, StoreJob::FindAccount { key: name.key }, effects) {
            self.chat_busy(asker, effects);
        }
    }

    pub(super) fn peer_found(&mut self, ask: DirectAsk, outcome: StoreOutcome, effects: &mut Effects) {
        match outcome {
            StoreOutcome::Account { user, .. } if user.0 == ask.user => {
                self.bad_request(ask.asker, "that is yourself: write to somebody else", effects);
            }
            StoreOutcome::Account { user, name, .. } => {
                let home = self.account_home(UserId(ask.user));
                self.tell(home, Mesh::Direct(DirectAsk { peer: user.0, peer_name: name, ..ask }));
            }
            StoreOutcome::NotFound => self.refuse(ask.asker, StatusCode::StatusNotFound, NOBODY, effects),
            _ => self.refuse(ask.asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
        }
    }

    /// At the author's home, then at the conversation's.
    pub(crate) fn direct(&mut self, now: Now, ask: DirectAsk, effects: &mut Effects) {
        if self.congested() {
            return self.chat_busy(ask.asker, effects);
        }
        let Some(what) = ask.what.clone() else { return self.unexpected() };
        if !ask.granted {
            let lines_max = self.config.limits.direct_lines_max;
            if !self.direct_desk.takes(now.time, UserId(ask.user), lines_max) {
                let text = "you wrote to people directly very often: wait a minute";
                return self.refuse(ask.asker, StatusCode::StatusLimit, text, effects);
            }
            let home = self.conversation_home(ask.place());
            return self.tell(home, Mesh::Direct(DirectAsk { granted: true, ..ask }));
        }
        match what {
            DirectWhat::Say(ChatMsg { content, client_id, .. }) => {
                let (from, to, time_ms) = (UserId(ask.user), UserId(ask.peer), now.unix_ms);
                let asker = ask.asker;
                let store = ChatWrite::AppendDirect { from, to, client_id, content, time_ms };
                let job = Job::Chatting(Box::new(Pending::Direct(Box::new(ask), time_ms)));
                if !self.ask_store(job, StoreJob::Chat(Box::new(store)), effects) {
                    self.chat_busy(asker, effects);
                }
            }
            DirectWhat::Change(action) => self.change_direct(ask, action, effects),
        }
    }

    fn conversation_home(&self, place: Place) -> ShardId {
        let Place::Direct(low, _) = place else { return self.config.shard };
        self.account_home(low)
    }

    pub(super) fn direct_stored(&mut self, ask: DirectAsk, time_ms: u64, outcome: StoreOutcome, effects: &mut Effects) {
        let Some(DirectWhat::Say(said)) = &ask.what else { return self.unexpected() };
        let line = match outcome {
            StoreOutcome::Chat(ChatOutcome::DirectStored { message_id }) => {
                let line = ChatMsg {
                    user_id: ask.user,
                    username: ask.username.clone(),
                    to: ask.peer_name.clone(),
                    content: said.content.clone(),
                    message_id,
                    time_ms,
                    ..ChatMsg::default()
                };
                self.counters.direct_stored += 1;
                self.deliver_direct(ask.place(), SessionId(ask.session), &line);
                line
            }
            StoreOutcome::Chat(ChatOutcome::DirectDuplicate(line)) => *line,
            _ => return self.refuse(ask.asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
        };
        let line = ChatMsg { client_id: said.client_id.clone(), ..line };
        self.answer_chat(ask.asker, Body::ChatMsg(line));
    }

    /// Tells both sides, but the session that is answered.
    pub(super) fn deliver_direct(&mut self, place: Place, except: SessionId, line: &ChatMsg) {
        let Place::Direct(low, high) = place else { return };
        let msg = EchoMsg::new(0, Body::ChatMsg(line.clone()));
        for user in [low, high] {
            let sessions = Vec::new();
            let note = DirectLine { user: user.0, except: except.0, sessions, msg: msg.clone() };
            self.tell(self.account_home(user), Mesh::DirectLine(note));
        }
    }

    /// An answer through the mesh even to ourselves: lines that were told before come before it.
    pub(super) fn answer_chat(&mut self, asker: Asker, body: Body) {
        self.tell(asker.shard(), Mesh::Answer(Answer { asker, msg: EchoMsg::new(0, body) }));
    }

    /// At the account's home, then at each shard with sessions of it.
    pub(crate) fn direct_line(&mut self, line: DirectLine, effects: &mut Effects) {
        if line.sessions.is_empty() {
            let mut shards: BTreeMap<ShardId, Vec<u64>> = BTreeMap::new();
            for (session, place) in self.accounts.get(&UserId(line.user)).into_iter().flatten() {
                if session.0 == line.except || (planted(Mistake::DirectToOneDevice) && !shards.is_empty()) {
                    continue;
                }
                if !place.moving {
                    shards.entry(place.shard).or_default().push(session.0);
                    continue;
                }
                let held = self.direct_desk.held.entry(*session).or_default();
                if held.len() < HELD_MAX {
                    held.push(line.msg.clone());
                } else {
                    self.counters.drop(Drop::DirectMissed);
                }
            }
            for (shard, sessions) in shards {
                self.tell(shard, Mesh::DirectLine(DirectLine { sessions, ..line.clone() }));
            }
            return;
        }
        for session in line.sessions {
            let connection = self.sessions.get(&SessionId(session)).and_then(|session| session.connection);
            if let Some(connection) = connection {
                self.send(connection, &line.msg, effects);
                self.counters.chat_delivered += 1;
            }
        }
    }

    /// Account home: the session is where it is to be, or stayed where it was.
    pub(crate) fn release_direct(&mut self, user: UserId, session: SessionId) {
        let Some(held) = self.direct_desk.held.remove(&session) else { return };
        let place = self.accounts.get(&user).and_then(|sessions| sessions.get(&session));
        let Some(shard) = place.map(|place| place.shard) else { return };
        for msg in held {
            let note = DirectLine { user: user.0, except: 0, sessions: vec![session.0], msg };
            if planted(Mistake::DirectToldTwice) {
                self.tell(shard, Mesh::DirectLine(note.clone()));
            }
            self.tell(shard, Mesh::DirectLine(note));
        }
    }
}
