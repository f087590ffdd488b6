//! Moving members: `MA_MOVE`, from one room to another.
//!
//! The home of the room that someone is in looks at the right, the ranks and that they are there; the home of the
//! other one whether they may enter, and stores the act. Then the shard of each session has it enter the new room,
//! and only when it is in leave the old: a room that is full by then costs nobody a place.
//! Not for a session without connection, which enters its old room again when it is resumed.
//! Bounds: the sessions of one account.

use echomesh_proto::control::{Body, EchoMsg, ModerationAction as Action, RoomActionType, StatusCode};
use echomesh_proto::ids::{RoomNumber, SessionId, UserId};
use echomesh_proto::time::Now;

use super::{Join, Refusal, Relocation, refusal};
use crate::effect::Effects;
use crate::mesh::{Ask, Asker, Mesh, Order, Removal, RoomSession};
use crate::rights::{Person, Right};
use crate::{Shard, home_request, names};

impl Shard {
    /// The home of the room they are in: everything is right here, so the other home decides.
    pub(crate) fn pass_move_on(&mut self, mut order: Order, effects: &mut Effects) {
        let key = names::room_name(&order.msg.to_room_id).map(|name| name.key).unwrap_or_default();
        let Some(known) = self.directory.get(&key) else {
            let text = "there is no room of that name to move them to: list the rooms";
            return self.refuse(order.asker, StatusCode::StatusNotFound, text, effects);
        };
        if known.number.0 == order.room {
            let text = "they are in that room already";
            return self.refuse(order.asker, StatusCode::StatusBadRequest, text, effects);
        }
        let home = known.home;
        order.msg.to_room_id = known.name.clone();
        order.granted = true;
        self.tell(home, Mesh::Order(order));
    }

    /// The other room's home: may they come in?
    pub(crate) fn may_move_here(&self, now: Now, order: &Order) -> Result<(), Refusal> {
        let Some(number) = self.target_room(order) else {
            return refusal(StatusCode::StatusNotFound, "there is no room of that name any more");
        };
        let Some(home) = self.homes.get(&number) else {
            return refusal(StatusCode::StatusNotFound, "there is no room of that name any more");
        };
        let target = Person { user: UserId(order.target_user), role: order.target_role() };
        if self.bans.find(number.0, target.user, target.role, None, now.unix_ms).is_some() {
            let text = "whom you mean is banned from that room: lift the ban first";
            return refusal(StatusCode::StatusBanned, text);
        }
        let actor = Person { user: UserId(order.user), role: order.role() };
        if home.access.rights(actor).has(Right::Manage) {
            return self.has_place(number, target);
        }
        self.may_be_moved_to(number, target)
    }

    fn target_room(&self, order: &Order) -> Option<RoomNumber> {
        let key = names::room_name(&order.msg.to_room_id).ok()?.key;
        self.directory.get(&key).map(|known| known.number)
    }

    /// It is stored: every shard moves its sessions of the account.
    pub(crate) fn relocate_all(&mut self, order: &Order) {
        let Some(to) = self.target_room(order) else { return };
        let Order { target_user, room, username, msg, .. } = order;
        let why = if msg.reason.is_empty() { String::new() } else { format!(": {}", msg.reason) };
        let removal = Removal { by: username.clone(), reason: format!("moved to {}{why}", msg.to_room_id) };
        debug_assert_eq!(msg.action(), Action::MaMove);
        self.tell_all(&Mesh::Relocate(Relocation {
            user: *target_user,
            session: msg.session_id,
            from: *room,
            to: to.0,
            removal,
        }));
    }

    /// Every shard: its sessions of the account in that room enter the other.
    pub(crate) fn relocate(&mut self, note: &Relocation) {
        let (from, to) = (RoomNumber(note.from), RoomNumber(note.to));
        let Some(key) = self.room_keys.get(&to).cloned() else { return };
        let meant: Vec<SessionId> = self
            .sessions
            .values()
            .filter(|session| session.user.0 == note.user && session.connection.is_some())
            .filter(|session| note.session == 0 || session.id.0 == note.session)
            .filter(|session| session.rooms.values().any(|room| room.number == from))
            .map(|session| session.id)
            .collect();
        for id in meant {
            let join = Join { key: key.clone(), relocation: Some(note.clone()), ..Join::default() };
            let request = self.of_session(Asker::default(), id, RoomNumber(0), Ask::Join(join));
            self.tell_home(&key, request);
        }
    }

    /// The session is in the room it was moved to: it is told, and leaves the other one.
    pub(crate) fn relocated(&mut self, placed: &RoomSession, note: &Relocation, effects: &mut Effects) {
        let (number, id) = (RoomNumber(placed.room), SessionId(placed.session));
        let Some(session) = self.sessions.get(&id) else { return };
        let moves = session.moves;
        if let Some(connection) = session.connection {
            let mut state = self.roster_page(number, RoomActionType::RaJoin, SessionId(0));
            state.newest_line = placed.newest_line;
            self.send(connection, &EchoMsg::new(0, Body::RoomState(state)), effects);
        }
        let from = RoomNumber(note.from);
        if let Some(key) = self.room_keys.get(&from).cloned() {
            self.tell_home(&key, home_request(from, id, moves, Ask::Remove(note.removal.clone())));
        }
    }
}
