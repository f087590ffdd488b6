//! What every shard does when the staff shard tells it of a ban, a role, a kick or a report: its own sessions
//! follow at once, and what is on its way here is checked when it arrives.
//!
//! Bounds: one pass over the sessions for each of them; roles are remembered for `ROLE_US`.

use std::net::IpAddr;

use echomesh_proto::control::{
    Body, EchoMsg, Member, ModerationAction as Action, ModerationState, Role, RoomDelta, RoomEvent, RoomEventType,
    StatusCode,
};
use echomesh_proto::ids::{RoomNumber, SessionId, UserId};
use echomesh_proto::time::{Now, SECOND_US, Time};

use crate::bans::Ban;
use crate::counters::CloseReason;
use crate::effect::Effects;
use crate::mesh::{AccountNote, Ask, Mesh, Order, Removal, ToHome};
use crate::mistakes::{Mistake, planted};
use crate::{Shard, home_request};

/// A role that was changed is remembered so long, for logins and sessions that are on their way: longer than
/// any of them may take.
const ROLE_US: u64 = 60 * SECOND_US;

/// What a change of role was: when, whose, to what.
pub(crate) type RoleChange = (Time, UserId, Role);

impl Shard {
    /// Home or staff shard: put someone out of the room, or of the server.
    pub(super) fn kick(&mut self, order: &Order) {
        if order.msg.action() != Action::MaKick {
            return;
        }
        let removal = Removal { by: order.username.clone(), reason: order.msg.reason.clone() };
        if order.room != 0 {
            let user = UserId(order.target_user);
            return self.kick_members(RoomNumber(order.room), user, SessionId(order.msg.session_id), &removal);
        }
        let reason = if removal.reason.is_empty() { "no reason was given" } else { &removal.reason };
        let text = format!("{} ended your session: {reason}", removal.by);
        self.tell_all(&Mesh::Expel(AccountNote { user: order.target_user, role: 0, text }));
    }

    pub(crate) fn expel(&mut self, note: &AccountNote, effects: &mut Effects) {
        for id in self.sessions_of(UserId(note.user)) {
            self.expel_session(id, StatusCode::StatusKicked, &note.text, CloseReason::Kicked, effects);
        }
    }

    fn sessions_of(&self, user: UserId) -> Vec<SessionId> {
        self.sessions.values().filter(|session| session.user == user).map(|session| session.id).collect()
    }

    /// Ends a session for good: it cannot be resumed.
    pub(crate) fn expel_session(
        &mut self,
        id: SessionId,
        code: StatusCode,
        text: &str,
        reason: CloseReason,
        effects: &mut Effects,
    ) {
        let connection = self.sessions.get(&id).and_then(|session| session.connection);
        self.end_session(id);
        if let Some(connection) = connection {
            if let Some(connection) = self.connection(connection) {
                connection.session = None;
            }
            self.notice_and_close(connection, code, text, reason, effects);
        }
    }

    pub(crate) fn banned(&mut self, now: Now, ban: Ban, effects: &mut Effects) {
        if planted(Mistake::BanSkipsShard) && self.config.shard.0 + 1 == self.config.shards {
            return;
        }
        let hit: Vec<SessionId> = self
            .sessions
            .values()
            .filter(|session| ban.hits(session.user, session.role, session.remote))
            .map(|session| session.id)
            .collect();
        if ban.room == 0 {
            let text = ban.sentence("this server", now.unix_ms);
            for id in hit {
                self.expel_session(id, StatusCode::StatusBanned, &text, CloseReason::Banned, effects);
            }
        } else {
            for id in hit {
                self.leave_if_banned(&ban, id);
            }
        }
        self.bans.insert(ban, now.unix_ms);
    }

    fn leave_if_banned(&mut self, ban: &Ban, id: SessionId) {
        let number = RoomNumber(ban.room);
        let Some(key) = self.room_keys.get(&number).cloned() else { return };
        let Some(session) = self.sessions.get(&id).filter(|session| session.rooms.contains_key(&key)) else { return };
        let removal = Removal { by: ban.by.clone(), reason: format!("banned: {}", ban.reason) };
        let request = home_request(number, id, session.moves, Ask::Remove(removal));
        self.tell_home(&key, request);
    }

    /// What keeps a session out of the server, as a sentence.
    pub(crate) fn kept_out(&self, user: UserId, role: Role, remote: Option<IpAddr>) -> Option<String> {
        let ban = self.bans.find(0, user, role, remote, self.now.unix_ms)?;
        Some(ban.sentence("this server", self.now.unix_ms))
    }

    /// What keeps a session out of a room.
    pub(crate) fn room_ban(&self, id: SessionId, number: RoomNumber) -> Option<&Ban> {
        let session = self.sessions.get(&id)?;
        self.bans.find(number.0, session.user, session.role, session.remote, self.now.unix_ms)
    }

    /// The session has just come into a room: what changed while it was on its way there is made good.
    pub(crate) fn check_arrival(&mut self, id: SessionId, number: RoomNumber, role_there: Role) {
        if let Some(ban) = self.room_ban(id, number).cloned() {
            self.leave_if_banned(&ban, id);
        }
        let Some(session) = self.sessions.get(&id).filter(|session| session.role != role_there) else { return };
        let note = ToHome { role: session.role as i32, ..home_request(number, id, session.moves, Ask::Role(true)) };
        if let Some(key) = self.room_keys.get(&number).cloned() {
            self.tell_home(&key, note);
        }
    }

    /// Tells every shard of a role that is stored.
    pub(crate) fn tell_role(&mut self, user: UserId, role: Role) {
        self.tell_all(&Mesh::RoleSet(AccountNote { user: user.0, role: role as i32, text: String::new() }));
    }

    pub(crate) fn role_set(&mut self, now: Now, note: &AccountNote) {
        let (user, role) = (UserId(note.user), note.role());
        self.role_changes.push_back((now.time, user, role));
        for id in self.sessions_of(user) {
            self.set_session_role(id, role);
        }
    }

    /// The role of an account whose login or session was on its way while it changed.
    pub(crate) fn latest_role(&self, user: UserId, role: Role) -> Role {
        self.role_changes.iter().rev().find(|(_, changed, _)| *changed == user).map_or(role, |(_, _, role)| *role)
    }

    pub(crate) fn set_session_role(&mut self, id: SessionId, role: Role) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.role != role) else { return };
        session.role = role;
        let moves = session.moves;
        let rooms: Vec<_> = session.rooms.iter().map(|(key, room)| (key.clone(), room.number)).collect();
        for (key, number) in rooms {
            let note = ToHome { role: role as i32, ..home_request(number, id, moves, Ask::Role(true)) };
            self.tell_home(&key, note);
        }
    }

    pub(crate) fn forget_role_changes(&mut self, now: Now) {
        while self.role_changes.front().is_some_and(|(time, ..)| now.time.since_us(*time) > ROLE_US) {
            self.role_changes.pop_front();
        }
    }

    /// Tells those who moderate.
    pub(crate) fn reported(&mut self, state: ModerationState, effects: &mut Effects) {
        let moderators: Vec<_> = self
            .sessions
            .values()
            .filter(|session| session.role >= Role::Moderator)
            .filter_map(|session| session.connection)
            .collect();
        let msg = EchoMsg::new(0, Body::ModerationState(state));
        for connection in moderators {
            self.send(connection, &msg, effects);
        }
    }

    /// Tells a session that it was put out of a room: the last that it hears of it.
    pub(crate) fn tell_removed(&mut self, id: SessionId, number: RoomNumber, removal: &Removal, effects: &mut Effects) {
        let Some(session) = self.sessions.get(&id) else { return };
        let Some(connection) = session.connection else { return };
        let member = Member {
            session_id: id.0,
            user_id: session.user.0,
            username: session.username.clone(),
            role: session.role as i32,
            ..Member::default()
        };
        let delta = RoomDelta {
            event_type: RoomEventType::ReRemoved as i32,
            member: Some(member),
            by: removal.by.clone(),
            reason: removal.reason.clone(),
            room: None,
        };
        let sequence = self.replicas.get(&number).map_or(0, |replica| replica.sequence);
        let event = RoomEvent { room_id: self.room_name(number), sequence, deltas: vec![delta] };
        self.send(connection, &EchoMsg::new(0, Body::RoomEvent(event)), effects);
    }
}
