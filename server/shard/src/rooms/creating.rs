//! Making a room, at the home it will have: who may, its password hashed, stored, then told to every shard.
//!
//! In: `Ask::Create`. Out: `RoomKnown` to all, `RoomState` to who asked. Bounds: `Limits::rooms_max`.

use echomesh_proto::control::{Body, EchoMsg, RoomActionType, RoomState, StatusCode};
use echomesh_proto::ids::{RoomNumber, ShardId, UserId};
use echomesh_proto::time::Now;

use super::{NewRoom, Refusal, refusal};
use crate::effect::Effects;
use crate::home::{CONGESTED, HomeRoom, STORE_FAILED};
use crate::jobs::{HashOutcome, StoreJob, StoreOutcome};
use crate::mesh::{Answer, Asker, Mesh, ToHome};
use crate::moderation::lacks;
use crate::names;
use crate::rights::{Access, Person, Right, Rights};
use crate::{Job, KnownRoom, Shard};

/// A room that waits for the hash of its password, or for the store.
#[derive(Debug)]
pub(crate) struct PendingRoom {
    asker: Asker,
    new: NewRoom,
}

impl Shard {
    pub(crate) fn create_room(&mut self, now: Now, request: &ToHome, new: &NewRoom, effects: &mut Effects) {
        let asker = request.asker;
        let person = Person { user: UserId(request.user), role: request.role() };
        if let Err((code, text)) = self.may_create(person, new) {
            return self.refuse(asker, code, &text, effects);
        }
        self.store_endings(effects);
        let mut new = NewRoom { creator: request.user, ..new.clone() };
        let secret = new.secret.take();
        let pending = Box::new(PendingRoom { asker, new });
        match secret {
            Some(secret) => {
                if !self.ask_hash(Job::RoomSecret(pending), &secret, None, effects) {
                    self.home_busy(asker, effects);
                }
            }
            None => self.store_room(now, pending, effects),
        }
    }

    fn may_create(&self, person: Person, new: &NewRoom) -> Result<(), Refusal> {
        use StatusCode::{StatusDenied, StatusExists, StatusLimit};
        match names::parent_of(&new.key) {
            Some(parent) => self.may_create_child(person, parent, new)?,
            None if !Rights::of_role(person.role).has(Right::CreateRoom) => {
                return Err((StatusDenied, lacks(Right::CreateRoom)));
            }
            None => {}
        }
        if self.directory.contains_key(&new.key) {
            return Err((StatusExists, exists(&new.name)));
        }
        if self.directory.len() >= self.config.limits.rooms_max as usize {
            return refusal(StatusLimit, "the server has as many rooms as it may have: use one that is there");
        }
        Ok(())
    }

    /// Who manages a room makes rooms in it.
    fn may_create_child(&self, person: Person, parent: &str, new: &NewRoom) -> Result<(), Refusal> {
        use StatusCode::{StatusBadRequest, StatusDenied, StatusNameInvalid, StatusNotFound};
        let parts: Vec<&str> = new.name.split('/').collect();
        if parts.len() != 2 || parts.iter().any(|part| part.is_empty() || part.trim() != *part) {
            return refusal(StatusNameInvalid, "a room in another one is named PARENT/CHILD, one level deep");
        }
        let known = self.directory.get(parent).and_then(|known| self.homes.get(&known.number));
        let Some(home) = known else {
            return Err((StatusNotFound, format!("there is no room {:?} to make one in: make it first", parts[0])));
        };
        if home.properties.temporary {
            return refusal(StatusBadRequest, "a temporary room has no rooms in it");
        }
        if !home.access.rights(person).has(Right::Manage) {
            return Err((StatusDenied, lacks(Right::Manage)));
        }
        Ok(())
    }

    pub(crate) fn room_secret_hashed(
        &mut self,
        now: Now,
        mut pending: Box<PendingRoom>,
        outcome: HashOutcome,
        effects: &mut Effects,
    ) {
        match outcome {
            HashOutcome::Hashed(hash) => {
                pending.new.properties.password_hash = hash;
                self.store_room(now, pending, effects);
            }
            _ => self.home_busy(pending.asker, effects),
        }
    }

    fn store_room(&mut self, now: Now, pending: Box<PendingRoom>, effects: &mut Effects) {
        let NewRoom { key, name, properties, creator, .. } = pending.new.clone();
        let store = StoreJob::CreateRoom { key, name, properties, creator: UserId(creator), time_ms: now.unix_ms };
        let asker = pending.asker;
        if self.congested() || !self.ask_store(Job::CreateRoom(pending), store, effects) {
            self.home_busy(asker, effects);
        }
    }

    pub(crate) fn home_busy(&mut self, asker: Asker, effects: &mut Effects) {
        self.counters.busy += 1;
        self.refuse(asker, StatusCode::StatusTryAgain, CONGESTED, effects);
    }

    pub(crate) fn room_stored(
        &mut self,
        now: Now,
        pending: PendingRoom,
        outcome: &StoreOutcome,
        effects: &mut Effects,
    ) {
        let PendingRoom { asker, new } = pending;
        match outcome {
            StoreOutcome::RoomCreated { room } => {
                let access = Access::new(UserId(new.creator), []);
                let home = HomeRoom::new(new.name, new.properties, self.config.shards, access);
                self.homes.insert(*room, home);
                self.room_keys.insert(*room, new.key);
                self.tell_known(*room);
                self.watch_if_empty(now, *room);
                let state = self.room_state(*room, RoomActionType::RaCreate);
                // Through the mesh even to ourselves, so that the asker's shard knows the room first.
                self.tell(asker.shard(), Mesh::Answer(Answer { asker, msg: EchoMsg::new(0, Body::RoomState(state)) }));
            }
            StoreOutcome::RoomExists { room } if self.room_keys.contains_key(room) => {
                self.refuse(asker, StatusCode::StatusExists, &exists(&new.name), effects);
            }
            // One that has just ended, and the store was not told yet; or one that was stored although its making
            // was told to have failed. Either goes before the next try.
            StoreOutcome::RoomExists { room } => {
                self.end_in_store(*room);
                self.home_busy(asker, effects);
            }
            _ => self.refuse(asker, StatusCode::StatusTryAgain, STORE_FAILED, effects),
        }
    }

    /// Home: a room as its own answer shows it.
    pub(crate) fn room_state(&self, number: RoomNumber, kind: RoomActionType) -> RoomState {
        let mut state = RoomState { action_type: kind as i32, room_number: number.0, ..RoomState::default() };
        if let Some(home) = self.homes.get(&number) {
            state.room_id.clone_from(&home.name);
            state.rooms.push(home.properties.shown(&home.name, number.0, home.members.len() as u32));
        }
        state
    }

    /// Home: tells every shard that the room exists, and as what.
    pub(crate) fn tell_known(&mut self, number: RoomNumber) {
        let (Some(home), Some(key)) = (self.homes.get(&number), self.room_keys.get(&number)) else { return };
        let known = NewRoom {
            number: number.0,
            key: key.clone(),
            name: home.name.clone(),
            properties: home.properties.clone(),
            creator: 0,
            managers: home.access.managers(),
            secret: None,
        };
        self.tell_all(&Mesh::RoomKnown(known));
    }

    pub(crate) fn room_known(&mut self, source: ShardId, new: NewRoom) {
        let number = RoomNumber(new.number);
        let members = self.directory.get(&new.key).map_or(0, |known| known.members);
        let NewRoom { key, name, properties, managers, .. } = new;
        self.room_keys.insert(number, key.clone());
        self.directory.insert(key, KnownRoom { number, name, home: source, properties, managers, members });
    }
}

fn exists(name: &str) -> String {
    format!("a room named {name:?} is there already: join it, or choose another name")
}
