//! Changing a room: its properties, who is invited, its end. These are orders as moderators' acts are, so that the
//! rights are asked, ranks compared and the audit log written in one way.
//!
//! In: `RA_SET`, `RA_DELETE`, `RA_INVITE`, `RA_UNINVITE`. Out: an `Order` to the room's home, a `RoomState`.
//! Bounds: one change of a room's properties at a time, its end included; a second is told to try again.

use echomesh_proto::control::{
    Body, Moderation, ModerationAction as Action, RoomAction, RoomActionType, RoomProperties, RoomState, StatusCode,
};
use echomesh_proto::ids::{RoomNumber, SessionId, UserId};
use echomesh_proto::time::Now;

use super::{Properties, Refusal, Secret, properties, refusal};
use crate::effect::Effects;
use crate::jobs::{Act, HashOutcome};
use crate::mesh::{Asker, Mesh, Order, Removal, ReplicaDelta};
use crate::names;
use crate::rights::{Holder, Right};
use crate::{Job, Shard};

/// Acts of the audit log that a `RoomAction` does, not a `Moderation`.
pub(crate) fn is_of_rooms(action: Action) -> bool {
    matches!(action, Action::MaInvite | Action::MaUninvite | Action::MaSetRoom | Action::MaDeleteRoom)
}

/// What the answer to such an act says it was.
fn kind_of(action: Action) -> RoomActionType {
    match action {
        Action::MaInvite => RoomActionType::RaInvite,
        Action::MaUninvite => RoomActionType::RaUninvite,
        Action::MaDeleteRoom => RoomActionType::RaDelete,
        _ => RoomActionType::RaSet,
    }
}

impl Shard {
    /// A client's request, at its shard.
    pub(crate) fn change_room(&mut self, asker: Asker, id: SessionId, action: RoomAction, effects: &mut Effects) {
        let act = match action.action_type() {
            RoomActionType::RaInvite => Action::MaInvite,
            RoomActionType::RaUninvite => Action::MaUninvite,
            RoomActionType::RaDelete => Action::MaDeleteRoom,
            _ => Action::MaSetRoom,
        };
        let RoomAction { room_id, username, properties, .. } = action;
        let properties = properties.filter(|_| act == Action::MaSetRoom);
        let remote = self.remote_of(asker).map(|remote| remote.to_string()).unwrap_or_default();
        let checked = match &properties {
            Some(properties) => properties::check(properties),
            None if act == Action::MaSetRoom => {
                refusal(StatusCode::StatusBadRequest, "nothing is to be set: give properties")
            }
            None => Ok(()),
        };
        let msg = Moderation { action: act as i32, room_id, username, ..Moderation::default() };
        match checked.and_then(|()| self.draft(asker, id, msg)) {
            Ok((order, home)) => self.tell(home, Mesh::Order(Order { properties, remote, ..order })),
            Err((code, text)) => self.refuse(asker, code, &text, effects),
        }
    }

    /// Home: what speaks against an order about a room itself.
    pub(crate) fn may_change_room(&self, order: &Order) -> Result<(), Refusal> {
        use StatusCode::{StatusBadRequest, StatusDenied, StatusNotFound};
        let number = RoomNumber(order.room);
        let Some(home) = self.homes.get(&number) else {
            return refusal(StatusNotFound, "there is no such room any more");
        };
        let ends = order.properties.as_ref().is_some_and(|properties| properties.temporary == Some(true));
        match order.msg.action() {
            Action::MaInvite => {
                let actor = order.actor();
                if !self.is_in_room(number, actor.user) && !home.access.is_invited(actor) {
                    return refusal(StatusDenied, "only who is in the room, or invited to it, invites others");
                }
                let denied = home.access.standing(Holder::Account(UserId(order.target_user))).deny.has(Right::Enter);
                if denied && !home.access.rights(actor).has(Right::Manage) {
                    return refusal(StatusDenied, "someone who manages the room keeps them out: ask there");
                }
                Ok(())
            }
            Action::MaDeleteRoom if self.has_children(number) => {
                refusal(StatusBadRequest, "there are rooms in this room: delete them first")
            }
            Action::MaSetRoom if ends && self.has_children(number) => {
                refusal(StatusBadRequest, "there are rooms in this room: it cannot be temporary")
            }
            _ => Ok(()),
        }
    }

    fn has_children(&self, number: RoomNumber) -> bool {
        let Some(key) = self.room_keys.get(&number) else { return false };
        let prefix = format!("{key}/");
        self.directory.range(prefix.clone()..).next().is_some_and(|(key, _)| key.starts_with(&prefix))
    }

    /// Home: the order is right. One change of a room at a time goes on from here.
    pub(crate) fn begin_change(&mut self, now: Now, order: Order, effects: &mut Effects) {
        let Some(home) = self.homes.get_mut(&RoomNumber(order.room)) else {
            return self.refuse(order.asker, StatusCode::StatusNotFound, "there is no such room any more", effects);
        };
        if std::mem::replace(&mut home.is_changing, true) {
            return self.home_busy(order.asker, effects);
        }
        let password = order.properties.as_ref().and_then(|properties| properties.password.clone());
        let Some(password) = password.filter(|password| !password.is_empty()) else {
            return self.store_order(now, order, effects);
        };
        let secret = Secret { password, remote: order.remote.clone() };
        let (asker, room) = (order.asker, order.room);
        if !self.ask_hash(Job::OrderSecret(Box::new(order)), &secret, None, effects) {
            self.end_change(room);
            self.home_busy(asker, effects);
        }
    }

    pub(crate) fn order_secret_hashed(
        &mut self,
        now: Now,
        mut order: Order,
        outcome: HashOutcome,
        effects: &mut Effects,
    ) {
        match outcome {
            HashOutcome::Hashed(hash) => {
                order.password_hash = Some(hash);
                self.store_order(now, order, effects);
            }
            _ => {
                self.end_change(order.room);
                self.home_busy(order.asker, effects);
            }
        }
    }

    /// The room may be changed again.
    pub(crate) fn end_change(&mut self, room: u64) {
        if let Some(home) = self.homes.get_mut(&RoomNumber(room)) {
            home.is_changing = false;
        }
    }

    /// What the store is to do for such an order.
    pub(crate) fn room_act(&self, order: &Order) -> Act {
        let (room, user) = (RoomNumber(order.room), UserId(order.target_user));
        match order.msg.action() {
            Action::MaInvite => Act::Invite { room, user, invited: true },
            Action::MaUninvite => Act::Invite { room, user, invited: false },
            Action::MaDeleteRoom => Act::DeleteRoom { room },
            _ => {
                let before = self.homes.get(&room).map(|home| home.properties.clone()).unwrap_or_default();
                let change = order.properties.clone().unwrap_or_default();
                Act::SetRoom { room, properties: before.changed(&change, order.password_hash.as_deref()) }
            }
        }
    }

    /// What the audit log says of such an order.
    pub(crate) fn room_detail(order: &Order) -> String {
        order.properties.as_ref().map(properties::named).unwrap_or_default()
    }

    /// It is stored: it takes effect, and this is the answer.
    pub(crate) fn room_changed(&mut self, now: Now, order: &Order, act: Act) -> Body {
        let number = RoomNumber(order.room);
        let kind = kind_of(order.msg.action());
        let mut state = RoomState { room_id: self.room_name(number), ..self.room_state(number, kind) };
        state.message = "done".to_owned();
        match act {
            Act::SetRoom { properties, .. } => {
                self.set_room(now, number, properties);
                state.rooms = self.room_state(number, kind).rooms;
            }
            Act::DeleteRoom { .. } => {
                state.rooms.clear();
                let removal = Removal { by: order.username.clone(), reason: "the room was deleted".to_owned() };
                self.end_room(number, &removal);
                self.sweep_later(number);
            }
            Act::Invite { user, invited, .. } => {
                state.rooms.clear();
                self.let_in(number, user, invited, &order.username);
            }
            _ => {}
        }
        Body::RoomState(state)
    }

    fn set_room(&mut self, now: Now, number: RoomNumber, properties: Properties) {
        let Some(home) = self.homes.get_mut(&number) else { return };
        home.is_changing = false;
        if home.properties == properties {
            return;
        }
        home.properties = properties;
        home.sequence += 1;
        let sequence = home.sequence;
        self.tell_known(number);
        let delta = ReplicaDelta { room: number.0, sequence, properties: true, ..ReplicaDelta::default() };
        self.broadcast(number, None, &Mesh::Replica(delta));
        self.count_speakers(number);
        self.watch_if_empty(now, number);
    }

    fn let_in(&mut self, number: RoomNumber, user: UserId, invited: bool, by: &str) {
        let Some(home) = self.homes.get_mut(&number) else { return };
        let holder = Holder::Account(user);
        let standing = home.access.standing(holder);
        home.access.set(holder, standing.invited(invited));
        let closed = home.properties.invite_only;
        if closed && !invited {
            let reason = "you are not invited to this room any more".to_owned();
            let removal = Removal { by: by.to_owned(), reason };
            let persons = home.members.values().map(crate::home::HomeMember::person);
            let still = persons.filter(|person| person.user == user).any(|person| home.access.is_invited(person));
            if !still {
                self.kick_members(number, user, SessionId(0), &removal);
            }
        }
    }

    /// A room's typed properties at its making: `capacity` of the action counts if they have none.
    pub(crate) fn first_properties(action: &RoomAction) -> Result<(Properties, Option<String>), Refusal> {
        let change: RoomProperties = action.properties.clone().unwrap_or_default();
        properties::check(&change)?;
        let properties = Properties { capacity: action.capacity, ..Properties::default() }.changed(&change, None);
        Ok((properties, change.password.filter(|password| !password.is_empty())))
    }

    /// Whether a name may be one of a room, for a client that types it.
    pub(crate) fn named_room(typed: &str) -> Result<names::Name, Refusal> {
        names::room_name(typed).map_err(|text| (StatusCode::StatusNameInvalid, text))
    }
}
