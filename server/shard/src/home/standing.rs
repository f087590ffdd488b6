//! A room's home, and what it says of roles and accounts: members' rights follow at once when a role, an entry
//! or a mute changes, and who may not be here is put out.
//!
//! Not who may change it: `moderation` decides that. Bounds: a pass over the members for each change; deltas
//! of at most `DELTA_MEMBERS_MAX` members.

use echomesh_proto::control::Role;
use echomesh_proto::ids::{RoomNumber, SessionId, UserId};

use super::{HomeMember, HomeRoom};
use crate::Shard;
use crate::counters::Drop;
use crate::mesh::{DELTA_MEMBERS_MAX, MemberFlags, MemberView, Mesh, Removal, ReplicaDelta};
use crate::rights::{Access, Holder, Person, Right, Rights};

impl HomeMember {
    pub(crate) fn person(&self) -> Person {
        Person { user: UserId(self.user), role: self.role }
    }
}

/// A member's flags with what the room imposes.
pub(crate) fn imposed(access: &Access, person: Person, flags: MemberFlags) -> MemberFlags {
    let standing = access.standing(Holder::Account(person.user));
    MemberFlags {
        server_muted: standing.muted || !access.rights(person).has(Right::Speak),
        server_deafened: standing.deafened,
        ..flags
    }
}

impl HomeRoom {
    /// Whether a member has a right.
    pub(super) fn may(&self, id: SessionId, right: Right) -> bool {
        self.members.get(&id).is_some_and(|member| self.access.rights(member.person()).has(right))
    }
}

impl Shard {
    /// A member of a room that lives here.
    pub(crate) fn member(&self, room: u64, id: SessionId) -> Option<(UserId, String, Role)> {
        let member = self.homes.get(&RoomNumber(room))?.members.get(&id)?;
        Some((UserId(member.user), member.username.clone(), member.role))
    }

    /// Whether an account is in a room that lives here.
    pub(crate) fn is_in_room(&self, number: RoomNumber, user: UserId) -> bool {
        let home = self.homes.get(&number);
        home.is_some_and(|home| home.members.values().any(|member| member.user == user.0))
    }

    /// Mutes or deafens an account here, or takes it back.
    pub(crate) fn restrain(&mut self, number: RoomNumber, user: UserId, muted: Option<bool>, deafened: Option<bool>) {
        let Some(home) = self.homes.get_mut(&number) else { return };
        let holder = Holder::Account(user);
        let mut standing = home.access.standing(holder);
        standing.muted = muted.unwrap_or(standing.muted);
        standing.deafened = deafened.unwrap_or(standing.deafened);
        home.access.set(holder, standing);
        self.refresh_members(number, |person| person.user == user);
    }

    /// Sets what the room gives and takes of a holder's rights.
    pub(crate) fn set_rights(&mut self, number: RoomNumber, holder: Holder, allow: Rights, deny: Rights) {
        let Some(home) = self.homes.get_mut(&number) else { return };
        let standing = home.access.standing(holder);
        let managers = home.access.managers();
        home.access.set(holder, crate::rights::Standing { allow, deny, ..standing });
        if home.access.managers() != managers {
            self.tell_known(number);
        }
        self.refresh_members(number, |person| match holder {
            Holder::Role(role) => person.role == role,
            Holder::Account(user) => person.user == user,
        });
    }

    /// The session's account has another role.
    pub(super) fn member_role(&mut self, number: RoomNumber, id: SessionId, moves: u32, role: Role) {
        let member = self.homes.get_mut(&number).and_then(|home| home.members.get_mut(&id));
        let Some(member) = member.filter(|member| member.moves == moves) else {
            return self.counters.drop(Drop::StaleSession);
        };
        member.role = role;
        let user = member.person().user;
        self.refresh_members(number, |person| person.user == user);
    }

    /// Applies to these members what the room says of them now.
    fn refresh_members(&mut self, number: RoomNumber, of: impl Fn(Person) -> bool) {
        let Some(home) = self.homes.get_mut(&number) else { return };
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for (id, member) in home.members.iter_mut().filter(|(_, member)| of(member.person())) {
            let person = member.person();
            if home.access.rights(person).has(Right::Enter) {
                member.flags = imposed(&home.access, person, member.flags);
                changed.push(*id);
            } else {
                gone.push(*id);
            }
        }
        self.members_changed(number, &changed);
        let reason = "you have no right to be in this room any more".to_owned();
        let removal = Removal { by: String::new(), reason };
        for id in gone {
            self.remove_member(number, id, &removal);
        }
    }

    /// Tells all replicas what these members are now.
    fn members_changed(&mut self, number: RoomNumber, ids: &[SessionId]) {
        for part in ids.chunks(DELTA_MEMBERS_MAX) {
            let Some(home) = self.homes.get_mut(&number) else { return };
            home.sequence += 1;
            let members: Vec<MemberView> = part.iter().filter_map(|id| home.view(*id)).collect();
            let delta = ReplicaDelta { room: number.0, sequence: home.sequence, members, ..ReplicaDelta::default() };
            self.broadcast(number, None, &Mesh::Replica(delta));
        }
    }

    /// Puts an account out; of its sessions only this one, unless it is 0.
    pub(crate) fn kick_members(&mut self, number: RoomNumber, user: UserId, only: SessionId, removal: &Removal) {
        let Some(home) = self.homes.get(&number) else { return };
        let meant =
            |id: &SessionId, member: &HomeMember| member.user == user.0 && (only == SessionId(0) || only == *id);
        let ids: Vec<SessionId> =
            home.members.iter().filter(|(id, member)| meant(id, member)).map(|(id, _)| *id).collect();
        for id in ids {
            self.remove_member(number, id, removal);
        }
    }

    pub(crate) fn remove_member(&mut self, number: RoomNumber, id: SessionId, removal: &Removal) {
        let member = self.homes.get(&number).and_then(|home| home.members.get(&id));
        let Some((shard, moves)) = member.map(|member| (member.shard, member.moves)) else { return };
        self.leave_room(shard, number, id, moves, Some(removal.clone()));
    }

    /// The session's shard puts it out.
    pub(super) fn remove_by_shard(&mut self, number: RoomNumber, id: SessionId, moves: u32, removal: &Removal) {
        let member = self.homes.get(&number).and_then(|home| home.members.get(&id));
        if member.is_some_and(|member| member.moves == moves) {
            self.remove_member(number, id, removal);
        } else {
            self.counters.drop(Drop::StaleSession);
        }
    }
}
