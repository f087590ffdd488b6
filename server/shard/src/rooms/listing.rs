//! What clients are shown of rooms: lists in pages, from the directory, and how many are in each.
//!
//! In: `RA_LIST` at the asker's shard; counts from the homes, about once a second. Out: `RoomState`.
//! Bounds: `ROOMS_PAGE` rooms of the longest names and descriptions stay below a frame; a list looks at each room once.

use std::ops::Bound;

use echomesh_proto::control::{Body, Role, Room, RoomAction, RoomActionType, RoomState};
use echomesh_proto::ids::{RoomNumber, SessionId};

use super::Counts;
use super::messages::COUNTS_MAX;
use crate::effect::Effects;
use crate::mesh::{Asker, Mesh};
use crate::names;
use crate::session::Session;
use crate::{KnownRoom, Shard};

/// Rooms in one page: of at most 620 bytes each.
const ROOMS_PAGE: usize = 100;

/// Ticks between two tellings of how many are in rooms.
const COUNT_TICKS: usize = 20;

impl KnownRoom {
    fn shown(&self) -> Room {
        self.properties.shown(&self.name, self.number.0, self.members)
    }

    fn is_managed_by(&self, session: &Session) -> bool {
        session.role >= Role::Admin || self.managers.binary_search(&session.user.0).is_ok()
    }
}

impl Shard {
    pub(crate) fn list_rooms(&mut self, asker: Asker, id: SessionId, action: &RoomAction, effects: &mut Effects) {
        let prefix = names::fold(&crate::requests::shorten(&action.prefix, names::PREFIX_CHARS_MAX));
        let after = String::from_utf8_lossy(&action.page).into_owned();
        let from = if after.is_empty() { Bound::Included(prefix.clone()) } else { Bound::Excluded(after) };
        let all = self.directory.range::<String, _>((from, Bound::Unbounded));
        let begins = all.take_while(|(key, _)| key.starts_with(&prefix));
        let mut page = begins.filter(|(key, known)| self.is_listed(id, key, known));
        let mut state = RoomState { action_type: RoomActionType::RaList as i32, ..RoomState::default() };
        let mut last = "";
        for (key, known) in page.by_ref().take(ROOMS_PAGE) {
            state.rooms.push(known.shown());
            last = key;
        }
        if page.next().is_some() {
            state.next_page = last.as_bytes().to_vec().into();
        }
        self.answer(asker, Body::RoomState(state), effects);
    }

    /// A hidden room, and what is in one, is listed for its members, and for who manages it.
    fn is_listed(&self, id: SessionId, key: &str, known: &KnownRoom) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        let knows = |key: &str, known: &KnownRoom| {
            !known.properties.hidden || session.rooms.contains_key(key) || known.is_managed_by(session)
        };
        let parent = names::parent_of(key).and_then(|parent| self.directory.get_key_value(parent));
        session.rooms.contains_key(key) || (knows(key, known) && parent.is_none_or(|(key, parent)| knows(key, parent)))
    }

    /// Whether someone who is perhaps not in a room any more may be told what goes on in it: as far as every shard knows,
    /// it is listed, and not for those alone who are invited.
    pub(crate) fn may_know_of(&self, id: SessionId, number: RoomNumber) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        let Some((key, known)) = self.room_keys.get(&number).and_then(|key| self.directory.get_key_value(key)) else {
            return false;
        };
        let enters = session.rooms.contains_key(key) || !known.properties.invite_only || known.is_managed_by(session);
        enters && self.is_listed(id, key, known) && self.room_ban(id, number).is_none()
    }

    /// A room as the directory has it.
    pub(crate) fn known_room(&self, number: RoomNumber) -> Option<Room> {
        let known = self.directory.get(self.room_keys.get(&number)?)?;
        Some(known.shown())
    }

    pub(crate) fn counts_tick(&mut self) {
        if !self.ticks.is_multiple_of(COUNT_TICKS) || self.congested() {
            return;
        }
        let changed: Vec<RoomNumber> = self.counts_changed.iter().copied().take(COUNTS_MAX).collect();
        let mut counts = Counts::default();
        for number in changed {
            self.counts_changed.remove(&number);
            counts.rooms.push(number.0);
            counts.members.push(self.homes.get(&number).map_or(0, |home| home.members.len() as u32));
        }
        if !counts.rooms.is_empty() {
            self.tell_all(&Mesh::RoomCounts(counts));
        }
    }

    pub(crate) fn room_counts(&mut self, counts: &Counts) {
        for (number, members) in counts.rooms.iter().zip(&counts.members) {
            let known = self.room_keys.get(&RoomNumber(*number)).and_then(|key| self.directory.get_mut(key));
            if let Some(known) = known {
                known.members = *members;
            }
        }
    }
}
