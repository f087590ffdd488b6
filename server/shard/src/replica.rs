//! What a shard knows of a room it has members or streams of: a copy of its home's truth, by sequence,
//! and who of it is here.
//!
//! Fan-out of chat, deltas and voice reads replicas only, never the home. Deltas to clients go out at
//! once in small rooms; in rooms over `SMALL_ROOM` members, and for talking alone, they are gathered.
//! Bounds: one pending delta a member.

use std::collections::{BTreeMap, BTreeSet};

use echomesh_proto::control::{
    Body, EchoMsg, Member, RoomActionType, RoomDelta, RoomEvent, RoomEventType, RoomState, StatusCode,
};
use echomesh_proto::ids::{RoomNumber, SessionId, ShardId, ShardSet, Ssrc};
use echomesh_proto::time::{MILLISECOND_US, Now, Time};

use crate::counters::Drop;
use crate::effect::Effects;
use crate::mesh::{Ask, Asker, Line, MemberView, ReplicaDelta, RoomSession};
use crate::mistakes::{Mistake, planted};
use crate::requests::ROSTER_PAGE;
use crate::session::InRoom;
use crate::voice::{Audience, Selection};
use crate::{Shard, home_request};

/// Members up to which joins and leaves are told at once.
const SMALL_ROOM: usize = 50;

/// How long deltas of a large room are gathered, microseconds.
const GATHER_US: u64 = 100 * MILLISECOND_US;

/// How long changes of talking alone are gathered: at most 5 a second per room to a listener.
const TALKING_US: u64 = 200 * MILLISECOND_US;

/// Deltas in one RoomEvent: 200 members of at most about 160 bytes stay below a frame.
const EVENT_DELTAS_MAX: usize = 200;

/// A room as this shard knows it.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    pub(crate) sequence: u64,
    /// Number of the newest line.
    pub(crate) newest_line: u64,
    pub(crate) members: BTreeMap<SessionId, MemberView>,
    /// Sessions here that are told what happens.
    pub(crate) locals: BTreeSet<SessionId>,
    /// Deltas that clients have not been told yet.
    pending: BTreeMap<SessionId, RoomDelta>,
    pending_since: Time,
    /// Some pending delta is more than talking.
    urgent: bool,
    /// The room's properties changed, and clients have not been told yet.
    properties_changed: bool,
    /// Streams of this shard that hear the room.
    pub(crate) listeners: Vec<Ssrc>,
    /// The same for the voice path.
    pub(crate) audience: Audience,
    /// For each shard: streams there that hear the room.
    pub(crate) remote_listeners: Vec<u32>,
    /// Other shards with listeners.
    pub(crate) relay: ShardSet,
    /// Whose voice is forwarded.
    pub(crate) selection: Selection,
}

impl Replica {
    fn has_pending(&self) -> bool {
        self.properties_changed || !self.pending.is_empty()
    }

    /// Adds (or takes away) a member's stream among those that hear the room.
    fn count_listener(&mut self, own: ShardId, view: &MemberView, present: bool) {
        if view.ssrc == 0 || !view.flags.hears() {
            return;
        }
        let ssrc = Ssrc(view.ssrc);
        if ssrc.shard() == own {
            if present || !planted(Mistake::VoiceToLeaver) {
                self.audience.changed();
            }
            if present {
                self.listeners.push(ssrc);
            } else if let Some(at) = self.listeners.iter().position(|listener| *listener == ssrc) {
                self.listeners.swap_remove(at);
            }
            return;
        }
        let count = &mut self.remote_listeners[ssrc.shard().index()];
        *count = if present { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.relay.remove(ssrc.shard());
        } else {
            self.relay.insert(ssrc.shard());
        }
    }
}

pub(crate) fn member(view: &MemberView) -> Member {
    Member {
        session_id: view.session,
        user_id: view.user,
        username: view.username.clone(),
        muted: view.flags.muted,
        deafened: view.flags.deafened,
        talking: view.flags.talking,
        ssrc: view.ssrc,
        roc: view.roc,
        server_muted: view.flags.server_muted,
        server_deafened: view.flags.server_deafened,
        role: view.role,
    }
}

/// Whether two views of a member differ in nothing but talking.
fn only_talking(old: &MemberView, new: &MemberView) -> bool {
    let mut quiet = new.clone();
    quiet.flags.talking = old.flags.talking;
    quiet == *old
}

impl Shard {
    pub(crate) fn replica_delta(&mut self, now: Now, delta: ReplicaDelta, effects: &mut Effects) {
        let number = RoomNumber(delta.room);
        if delta.reset {
            let shards = usize::from(self.config.shards);
            let locals = self.drop_replica(number);
            let replica =
                Replica { sequence: delta.sequence, locals, remote_listeners: vec![0; shards], ..Replica::default() };
            self.replicas.insert(number, replica);
            return;
        }
        if !self.replicas.contains_key(&number) {
            return self.counters.drop(Drop::StaleAnswer);
        }
        for view in delta.members {
            self.member_view(now, number, view);
        }
        if let Some(replica) = self.replicas.get_mut(&number) {
            replica.sequence = delta.sequence;
            if delta.properties && !replica.locals.is_empty() {
                if replica.pending.is_empty() {
                    replica.pending_since = now.time;
                }
                replica.urgent = true;
                replica.properties_changed = true;
            }
        }
        self.flush_if_due(now, number, effects);
    }

    /// Who of this shard hears a room, or where, is another now.
    pub(crate) fn audience_changed(&mut self, room: RoomNumber) {
        if let Some(replica) = self.replicas.get_mut(&room) {
            replica.audience.changed();
        }
    }

    fn member_view(&mut self, now: Now, number: RoomNumber, view: MemberView) {
        let own = self.config.shard;
        let Some(replica) = self.replicas.get_mut(&number) else { return };
        let id = SessionId(view.session);
        let old = if view.gone { replica.members.remove(&id) } else { replica.members.insert(id, view.clone()) };
        if let Some(old) = &old {
            replica.count_listener(own, old, false);
        }
        if !view.gone {
            replica.count_listener(own, &view, true);
        }
        let old_ssrc = old.as_ref().map_or(0, |old| old.ssrc);
        let event_type = match &old {
            Some(old) if *old == view => None,
            Some(_) if view.gone => Some(RoomEventType::ReLeft),
            None if view.gone => None,
            Some(_) => Some(RoomEventType::ReChanged),
            None => Some(RoomEventType::ReJoined),
        };
        // Nobody here to tell: a snapshot, or streams only.
        if let Some(event_type) = event_type.filter(|_| !replica.locals.is_empty()) {
            if replica.pending.is_empty() {
                replica.pending_since = now.time;
            }
            replica.urgent |= !old.as_ref().is_some_and(|old| only_talking(old, &view));
            // A change of someone whose joining was not told yet is still a joining.
            let joined = RoomEventType::ReJoined as i32;
            let untold = replica.pending.get(&id).is_some_and(|delta| delta.event_type == joined);
            let event_type = if untold && !view.gone { RoomEventType::ReJoined } else { event_type };
            // A leaving is told even so: a roster fetched in between may name who left.
            let delta =
                RoomDelta { event_type: event_type as i32, member: Some(member(&view)), ..RoomDelta::default() };
            replica.pending.insert(id, delta);
        }
        if old_ssrc != 0 && (view.gone || old_ssrc != view.ssrc) {
            self.stream_rooms.remove(&Ssrc(old_ssrc));
        }
        if !view.gone && view.ssrc != 0 {
            self.stream_rooms.insert(Ssrc(view.ssrc), number);
            self.set_muted(Ssrc(view.ssrc), view.flags);
        }
    }

    pub(crate) fn flush_if_due(&mut self, now: Now, number: RoomNumber, effects: &mut Effects) {
        let Some(replica) = self.replicas.get_mut(&number).filter(|replica| replica.has_pending()) else { return };
        let waited = now.time.since_us(replica.pending_since);
        let wait = match (replica.urgent, replica.members.len() > SMALL_ROOM) {
            (false, _) => TALKING_US,
            (true, true) => GATHER_US,
            (true, false) => 0,
        };
        if waited < wait {
            return;
        }
        replica.urgent = false;
        let mut deltas: Vec<RoomDelta> = std::mem::take(&mut replica.pending).into_values().collect();
        let sequence = replica.sequence;
        if std::mem::take(&mut replica.properties_changed) {
            let event_type = RoomEventType::ReRoom as i32;
            deltas.push(RoomDelta { event_type, room: self.known_room(number), ..RoomDelta::default() });
        }
        let room_id = self.room_name(number);
        for part in deltas.chunks(EVENT_DELTAS_MAX) {
            let event = RoomEvent { room_id: room_id.clone(), sequence, deltas: part.to_vec() };
            self.send_locals(number, &EchoMsg::new(0, Body::RoomEvent(event)), |_| true, effects);
        }
    }

    pub(crate) fn flush_all(&mut self, now: Now, effects: &mut Effects) {
        let due: Vec<RoomNumber> =
            self.replicas.iter().filter(|(_, replica)| replica.has_pending()).map(|(number, _)| *number).collect();
        for number in due {
            self.flush_if_due(now, number, effects);
        }
    }

    pub(crate) fn room_name(&self, number: RoomNumber) -> String {
        let known = self.room_keys.get(&number).and_then(|key| self.directory.get(key));
        known.map(|known| known.name.clone()).unwrap_or_default()
    }

    /// Encodes once, sends to the local members that `to` takes. Returns how many.
    fn send_locals(
        &mut self,
        number: RoomNumber,
        msg: &EchoMsg,
        to: impl Fn(SessionId) -> bool,
        effects: &mut Effects,
    ) -> u64 {
        let Some(replica) = self.replicas.get(&number) else { return 0 };
        let connections: Vec<_> = replica
            .locals
            .iter()
            .filter(|id| to(**id))
            .filter_map(|id| self.sessions.get(id).and_then(|session| session.connection))
            .collect();
        if connections.is_empty() {
            return 0;
        }
        let start = effects.bytes.len();
        msg.append_frame(&mut effects.bytes);
        let bytes = start..effects.bytes.len();
        for connection in &connections {
            self.send_range(*connection, bytes.clone(), effects);
        }
        connections.len() as u64
    }

    pub(crate) fn line(&mut self, line: &Line, effects: &mut Effects) {
        let to = |id: SessionId| id.0 != line.except && (line.only == 0 || line.only == id.0);
        let sent = self.send_locals(RoomNumber(line.room), &line.msg, to, effects);
        if let Some(Body::ChatMsg(chat)) = &line.msg.body {
            self.counters.chat_delivered += sent;
            self.line_is_there(RoomNumber(line.room), chat.message_id);
        }
    }

    fn line_is_there(&mut self, number: RoomNumber, message_id: u64) {
        if let Some(replica) = self.replicas.get_mut(&number) {
            replica.newest_line = replica.newest_line.max(message_id);
        }
    }

    /// Home says: this session is a member now, and the replica is as its joining left it.
    pub(crate) fn placed(&mut self, placed: &RoomSession, effects: &mut Effects) {
        let (number, id) = (RoomNumber(placed.room), SessionId(placed.session));
        let Some(key) = self.room_keys.get(&number).cloned() else { return self.counters.drop(Drop::MeshBadRecord) };
        let name = self.room_name(number);
        let found = self.sessions.get_mut(&id).filter(|session| session.moves == placed.moves);
        let Some(session) = found else {
            // It ended, or moved, before it was in: take it out again, unless it has come in anew since.
            self.counters.drop(Drop::StaleSession);
            // One that was restored has been told where it is: it moved, or has left.
            if placed.restored {
                return;
            }
            return self.tell_home(&key, home_request(number, id, placed.moves, Ask::Leave(false)));
        };
        let is_new = session.rooms.insert(key, InRoom { number, name }).is_none();
        self.line_is_there(number, placed.newest_line);
        if let Some(replica) = self.replicas.get_mut(&number) {
            replica.locals.insert(id);
        }
        if placed.asker != Asker::default() {
            let mut state = self.roster_page(number, RoomActionType::RaJoin, SessionId(0));
            state.newest_line = placed.newest_line;
            self.answer(placed.asker, Body::RoomState(state), effects);
        }
        if is_new {
            self.save_later(id);
        }
        if let Some(relocation) = &placed.relocation {
            self.relocated(placed, relocation, effects);
        }
        self.check_arrival(id, number, placed.role());
    }

    pub(crate) fn displaced(&mut self, note: &RoomSession, effects: &mut Effects) {
        let (number, id) = (RoomNumber(note.room), SessionId(note.session));
        if let Some(removal) = &note.removal {
            self.tell_removed(id, number, removal, effects);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.rooms.retain(|_, room| room.number != number);
        }
        self.save_later(id);
        if let Some(replica) = self.replicas.get_mut(&number).filter(|_| !planted(Mistake::DeliverToLeaver)) {
            replica.locals.remove(&id);
        }
    }

    pub(crate) fn roster(&mut self, asker: Asker, number: RoomNumber, page: &[u8], effects: &mut Effects) {
        if !self.replicas.contains_key(&number) {
            // A session that has just moved here: its rooms are on their way.
            let text = "your session is still on its way to this connection: ask again in a moment";
            return self.refuse(asker, StatusCode::StatusTryAgain, text, effects);
        }
        let after = page.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let state = self.roster_page(number, RoomActionType::RaRoster, SessionId(after));
        self.answer(asker, Body::RoomState(state), effects);
    }

    pub(crate) fn roster_page(&self, number: RoomNumber, kind: RoomActionType, after: SessionId) -> RoomState {
        let mut state = RoomState {
            action_type: kind as i32,
            room_id: self.room_name(number),
            room_number: number.0,
            ..RoomState::default()
        };
        if kind == RoomActionType::RaJoin {
            state.rooms.extend(self.known_room(number));
        }
        let Some(replica) = self.replicas.get(&number) else { return state };
        state.sequence = replica.sequence;
        state.member_count = replica.members.len() as u32;
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let mut page = replica.members.range(range);
        state.members = page.by_ref().take(ROSTER_PAGE).map(|(_, view)| member(view)).collect();
        if planted(Mistake::ShortRoster) {
            state.members.pop();
        }
        if page.next().is_some()
            && let Some(last) = state.members.last()
        {
            state.next_page = last.session_id.to_be_bytes().to_vec().into();
        }
        state
    }

    /// Forgets a room's replica; gives back who was told about it here.
    pub(crate) fn drop_replica(&mut self, number: RoomNumber) -> BTreeSet<SessionId> {
        let Some(replica) = self.replicas.remove(&number) else { return BTreeSet::new() };
        for view in replica.members.values().filter(|view| view.ssrc != 0) {
            self.stream_rooms.remove(&Ssrc(view.ssrc));
        }
        replica.locals
    }
}
