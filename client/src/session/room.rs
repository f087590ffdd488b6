//! A room as this session knows it: its roster, kept true by pages and deltas.
//!
//! The control connection is ordered and every page or delta states what is so, not what to add, so
//! applying them as they come is right. Pages of one fetch share a `fetch` number: a member that neither
//! a page nor a delta of that fetch confirmed is gone when the last page is in. Sequences may skip (the
//! server gathers deltas) but never fall; one that falls means the server's copy began anew, and the
//! roster is fetched again.
//! Bounds: `ROOMS_MAX` rooms, `MEMBERS_MAX` members in each.

use std::collections::BTreeMap;
use std::sync::Arc;

use echomesh_proto::control::{Member, Room as RoomShown, RoomDelta, RoomEventType, RoomState};
use echomesh_proto::ids::{RoomNumber, SessionId, Ssrc};

use super::event::MemberChange;
use super::follow::Follow;
use super::secret::Password;

/// Members kept of one room: twice what a server allows by default.
pub(super) const MEMBERS_MAX: usize = 10_000;

/// Rooms kept: four times what a server lets a session be in by default.
pub(super) const ROOMS_MAX: usize = 256;

#[derive(Clone, Debug)]
struct Known {
    member: Member,
    /// The fetch that confirmed it.
    fetch: u32,
}

/// A room the session is in.
#[derive(Clone, Debug)]
pub struct Room {
    name: Arc<str>,
    /// As the driver typed it when it joined; the server matches names by its own rules.
    typed: String,
    number: RoomNumber,
    members: BTreeMap<SessionId, Known>,
    sequence: u64,
    fetch: u32,
    complete: bool,
    pub(super) wants_voice: Option<super::OpenVoice>,
    pub(super) deafened: bool,
    /// It is entered with this again.
    pub(super) password: Password,
    properties: RoomShown,
    /// A leave is unanswered: not entered again after a lost connection.
    pub(super) leaving: bool,
    /// Its lines.
    pub(super) follow: Follow,
}

impl Room {
    pub(super) fn new(typed: &str, state: &RoomState) -> Self {
        let name = if state.room_id.is_empty() { typed } else { &state.room_id };
        Self {
            name: name.into(),
            typed: typed.to_owned(),
            number: RoomNumber(state.room_number),
            members: BTreeMap::new(),
            sequence: 0,
            fetch: 0,
            complete: false,
            wants_voice: None,
            deafened: false,
            password: Password::default(),
            properties: RoomShown::default(),
            leaving: false,
            follow: Follow::room(state.newest_line),
        }
    }

    /// Its name as the server writes it.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Stays when the name changes.
    #[must_use]
    pub fn number(&self) -> RoomNumber {
        self.number
    }

    /// Members known, by session, this one included.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values().map(|known| &known.member)
    }

    /// A member by its session.
    #[must_use]
    pub fn member(&self, session: SessionId) -> Option<&Member> {
        self.members.get(&session).map(|known| &known.member)
    }

    /// The member whose stream this is. Cost: a pass over the roster.
    #[must_use]
    pub fn speaker(&self, ssrc: Ssrc) -> Option<&Member> {
        self.members().find(|member| member.ssrc == ssrc.0)
    }

    /// Whether all pages of the roster have come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Sequence of the last page or delta applied.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        *self.name == *name || self.typed == name
    }

    /// What it is set to, as the server told last.
    #[must_use]
    pub fn properties(&self) -> &RoomShown {
        &self.properties
    }

    pub(super) fn set_properties(&mut self, shown: Option<RoomShown>) {
        if let Some(shown) = shown {
            self.properties = shown;
        }
    }

    /// The session is in, with this password; the first page of the roster follows.
    pub(super) fn entered(&mut self, password: Password, state: &RoomState) {
        if !password.0.is_empty() {
            self.password = password;
        }
        self.set_properties(state.rooms.first().cloned());
        self.begin_fetch();
    }

    /// A fetch of the whole roster begins.
    pub(super) fn begin_fetch(&mut self) {
        self.fetch = self.fetch.wrapping_add(1);
        self.complete = false;
    }

    /// Takes one page. Returns how many of its members were refused.
    pub(super) fn page(&mut self, state: RoomState) -> u64 {
        let mut refused = 0;
        self.sequence = state.sequence;
        let last = state.next_page.is_empty();
        for member in state.members {
            refused += u64::from(!self.insert(member));
        }
        if last {
            let fetch = self.fetch;
            self.members.retain(|_, known| known.fetch == fetch);
            self.complete = true;
        }
        refused
    }

    fn insert(&mut self, member: Member) -> bool {
        let session = SessionId(member.session_id);
        let full = self.members.len() >= MEMBERS_MAX && !self.members.contains_key(&session);
        if full || member.session_id == 0 {
            return false;
        }
        self.members.insert(session, Known { member, fetch: self.fetch });
        true
    }

    /// Whether a delta's sequence means that the roster must be fetched again.
    pub(super) fn is_behind(&self, sequence: u64) -> bool {
        sequence < self.sequence
    }

    pub(super) fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    /// Takes one delta. `None` if it makes no sense or there is no room for the member.
    pub(super) fn delta(&mut self, delta: RoomDelta) -> Option<(MemberChange, Member)> {
        let kind = delta.event_type();
        let member = delta.member?;
        let session = SessionId(member.session_id);
        match kind {
            RoomEventType::ReLeft => {
                self.members.remove(&session);
                Some((MemberChange::Left, member))
            }
            RoomEventType::ReJoined => self.insert(member.clone()).then_some((MemberChange::Joined, member)),
            RoomEventType::ReChanged => self.insert(member.clone()).then_some((MemberChange::Changed, member)),
            // Of the session itself, or of the room, and handled before.
            RoomEventType::ReRemoved | RoomEventType::ReRoom | RoomEventType::ReUnspecified => None,
        }
    }
}
