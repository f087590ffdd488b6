//! Who may do what: the table of roles and rights, and what a room changes of it.
//!
//! Not the acts themselves: `moderation` carries those out, and asks here.
//! In: a role, an account, a room's [`Access`]. Out: a set of [`Rights`], a rank.
//! Bounds: `Limits::room_standings_max` entries a room. Cost: two map look-ups.
//!
//! In a room the role's entry is applied to the role's rights, then the account's: `(have & !deny) | allow`.
//! Admins and owners have every right everywhere. Who made a room has [`CREATOR_RIGHTS`] in it by that alone.

use std::collections::BTreeMap;

pub use echomesh_proto::control::{Right, Role};
use echomesh_proto::ids::UserId;

/// Each right, the lowest role that has it, and what it allows. docs/OPERATIONS.md shows this table.
pub const TABLE: [(Right, Role, &str); 12] = [
    (Right::Enter, Role::Guest, "enter rooms"),
    (Right::Speak, Role::Guest, "speak"),
    (Right::Write, Role::Guest, "write lines and send messages"),
    (Right::Invite, Role::Member, "invite others"),
    (Right::Mute, Role::Moderator, "mute and deafen others"),
    (Right::Kick, Role::Moderator, "kick others, delete their lines"),
    (Right::Ban, Role::Moderator, "ban others, see and lift bans"),
    (Right::Manage, Role::Admin, "change a room and the rights in it"),
    (Right::CreateRoom, Role::Member, "make rooms"),
    (Right::Move, Role::Moderator, "move others to another room"),
    (Right::Roles, Role::Admin, "give roles below one's own"),
    (Right::Audit, Role::Admin, "read what was done by whom, and ban addresses"),
];

/// Rights that a room may give or take; the others hold for the server.
pub const ROOM_RIGHTS: Rights = Rights::of(&[
    Right::Enter,
    Right::Speak,
    Right::Write,
    Right::Invite,
    Right::Mute,
    Right::Kick,
    Right::Ban,
    Right::Manage,
]);

/// What the account that made a room has in it, unless the room says otherwise of that account.
pub const CREATOR_RIGHTS: Rights =
    Rights::of(&[Right::Enter, Right::Invite, Right::Mute, Right::Kick, Right::Ban, Right::Manage]);

/// A set of rights: bits of [`Right`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(pub u32);

impl Rights {
    /// These rights.
    #[must_use]
    pub const fn of(rights: &[Right]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < rights.len() {
            bits |= rights[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    /// What a role has where no room says otherwise.
    #[must_use]
    pub fn of_role(role: Role) -> Self {
        let has = TABLE.iter().filter(|(_, lowest, _)| role >= *lowest);
        Self(has.fold(0, |bits, (right, ..)| bits | *right as u32))
    }

    /// Whether the right is among them.
    #[must_use]
    pub fn has(self, right: Right) -> bool {
        self.0 & right as u32 != 0
    }

    /// Whether all of `others` are among them.
    #[must_use]
    pub fn has_all(self, others: Rights) -> bool {
        others.0 & !self.0 == 0
    }

    fn changed(self, standing: Standing) -> Self {
        Self((self.0 & !standing.deny.0) | standing.allow.0)
    }
}

/// Whom a room's entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// Everyone of this role.
    Role(Role),
    /// One account.
    Account(UserId),
}

/// What a room says of a holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Rights given.
    pub allow: Rights,
    /// Rights taken.
    pub deny: Rights,
    /// Muted by a moderator; of accounts only.
    pub muted: bool,
    /// Deafened by a moderator; of accounts only.
    pub deafened: bool,
}

impl Standing {
    /// With an invitation, or without one.
    #[must_use]
    pub fn invited(self, invited: bool) -> Self {
        let enter = Right::Enter as u32;
        if invited {
            Self { allow: Rights(self.allow.0 | enter), deny: Rights(self.deny.0 & !enter), ..self }
        } else {
            Self { allow: Rights(self.allow.0 & !enter), ..self }
        }
    }
}

/// Whose rights are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// The account.
    pub user: UserId,
    /// Its role.
    pub role: Role,
}

/// What a room says of roles and accounts. The default is the server itself, which says nothing.
#[derive(Clone, Debug, Default)]
pub struct Access {
    creator: Option<UserId>,
    standings: BTreeMap<Holder, Standing>,
}

impl Access {
    /// The server's, which says nothing.
    #[must_use]
    pub const fn server() -> Self {
        Self { creator: None, standings: BTreeMap::new() }
    }

    /// A room's, as stored.
    #[must_use]
    pub fn new(creator: UserId, standings: impl IntoIterator<Item = (Holder, Standing)>) -> Self {
        Self { creator: Some(creator), standings: standings.into_iter().collect() }
    }

    /// What the room says of a holder; what is not said is nothing.
    #[must_use]
    pub fn standing(&self, holder: Holder) -> Standing {
        self.standings.get(&holder).copied().unwrap_or_default()
    }

    /// Everything it says, in order.
    pub fn standings(&self) -> impl Iterator<Item = (Holder, Standing)> {
        self.standings.iter().map(|(holder, standing)| (*holder, *standing))
    }

    /// Whether one more entry, or this one changed, stays below the bound.
    #[must_use]
    pub fn has_room(&self, holder: Holder, standings_max: u32) -> bool {
        self.standings.contains_key(&holder) || self.standings.len() < standings_max as usize
    }

    /// Sets what the room says of a holder. An empty standing is forgotten.
    pub fn set(&mut self, holder: Holder, standing: Standing) {
        if standing == Standing::default() {
            self.standings.remove(&holder);
        } else {
            self.standings.insert(holder, standing);
        }
    }

    /// Whether the room lets someone in by name: invited, or one who manages it or made it.
    #[must_use]
    pub fn is_invited(&self, person: Person) -> bool {
        let rights = self.rights(person);
        let named = self.standing(Holder::Account(person.user)).allow.has(Right::Enter);
        rights.has(Right::Enter) && (named || rights.has(Right::Manage) || self.creator == Some(person.user))
    }

    /// Accounts that manage the room by their own name, in order.
    #[must_use]
    pub fn managers(&self) -> Vec<u64> {
        let named = self.standings.iter().filter_map(|(holder, standing)| match holder {
            Holder::Account(user) if standing.allow.has(Right::Manage) => Some(*user),
            _ => None,
        });
        let kept = |user: &UserId| !self.standing(Holder::Account(*user)).deny.has(Right::Manage);
        let mut managers: Vec<u64> = named.chain(self.creator.filter(kept)).map(|user| user.0).collect();
        managers.sort_unstable();
        managers.dedup();
        managers
    }

    /// What someone may do here.
    #[must_use]
    pub fn rights(&self, person: Person) -> Rights {
        let base = Rights::of_role(person.role);
        if person.role >= Role::Admin {
            return base;
        }
        let by_role = base.changed(self.standing(Holder::Role(person.role)));
        let created = if self.creator == Some(person.user) { CREATOR_RIGHTS } else { Rights::default() };
        Rights(by_role.0 | created.0).changed(self.standing(Holder::Account(person.user)))
    }

    /// Where someone stands here: the role, and half a step more for an account that manages the room by
    /// its own name, so that a member rules over members in a room of its own, and never over moderators.
    #[must_use]
    pub fn rank(&self, person: Person) -> u32 {
        let own =
            self.creator == Some(person.user) || self.standing(Holder::Account(person.user)).allow.has(Right::Manage);
        let manages = own && self.rights(person).has(Right::Manage);
        role_rank(person.role) + u32::from(manages && person.role < Role::Admin)
    }

    /// Nobody acts on someone of an equal or higher rank; owners do.
    #[must_use]
    pub fn may_act_on(&self, actor: Person, target: Person) -> bool {
        actor.role == Role::Owner || self.rank(actor) > self.rank(target)
    }
}

/// The rank of a role alone.
#[must_use]
pub fn role_rank(role: Role) -> u32 {
    2 * role as u32
}

/// A role's name for a sentence.
#[must_use]
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Guest => "guest",
        Role::Member => "member",
        Role::Moderator => "moderator",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 5] = [Role::Guest, Role::Member, Role::Moderator, Role::Admin, Role::Owner];

    fn person(user: u64, role: Role) -> Person {
        Person { user: UserId(user), role }
    }

    /// The table as docs/OPERATIONS.md must have it.
    fn as_document() -> String {
        let mut text = String::from("| right | guest | member | moderator | admin | owner | what it allows |\n");
        text.push_str("|---|---|---|---|---|---|---|\n");
        for (right, _, what) in TABLE {
            let cells: String =
                ROLES.iter().map(|role| if Rights::of_role(*role).has(right) { " yes |" } else { " – |" }).collect();
            text.push_str(&format!("| {} |{cells} {what} |\n", right.as_str_name()));
        }
        text
    }

    /// Goal: the operator's document shows the rights that the code gives.
    #[test]
    fn the_document_has_the_table() {
        let document = include_str!("../../../docs/OPERATIONS.md");
        assert!(document.contains(&as_document()), "docs/OPERATIONS.md must hold this table:\n{}", as_document());
    }

    /// Goal: each right stands once in the table, and a higher role has what a lower has.
    #[test]
    fn every_right_is_in_the_table_once() {
        let bits: Vec<u32> = TABLE.iter().map(|(right, ..)| *right as u32).collect();
        assert_eq!(bits, (0..12).map(|bit| 1 << bit).collect::<Vec<u32>>());
        for pair in ROLES.windows(2) {
            assert!(Rights::of_role(pair[1]).has_all(Rights::of_role(pair[0])));
        }
    }

    /// Goal: a room's entries give and take, the account's after the role's, and nothing of admins
    /// (PROTOCOL M53).
    #[test]
    fn a_room_gives_and_takes_rights() {
        use Right::{Enter, Mute, Speak, Write};
        let take = |right| Standing { deny: Rights::of(&[right]), ..Standing::default() };
        let give = |right| Standing { allow: Rights::of(&[right]), ..Standing::default() };
        let mut access = Access::new(UserId(9), []);
        access.set(Holder::Role(Role::Member), take(Speak));
        access.set(Holder::Account(UserId(2)), give(Speak));
        access.set(Holder::Account(UserId(3)), take(Enter));
        access.set(Holder::Account(UserId(4)), give(Mute));
        access.set(Holder::Role(Role::Admin), take(Write));
        let cases = [
            (person(1, Role::Member), Speak, false),
            (person(1, Role::Guest), Speak, true),
            (person(2, Role::Member), Speak, true),
            (person(3, Role::Member), Enter, false),
            (person(4, Role::Member), Mute, true),
            (person(4, Role::Member), Speak, false),
            (person(3, Role::Admin), Enter, true),
            (person(1, Role::Admin), Write, true),
            (person(9, Role::Member), Right::Manage, true),
            (person(9, Role::Member), Speak, false),
        ];
        for (person, right, expected) in cases {
            assert_eq!(access.rights(person).has(right), expected, "{person:?} {right:?}");
        }
    }

    /// Goal: who may act on whom: every pair of roles, and those who manage a room (PROTOCOL M54).
    #[test]
    fn nobody_acts_on_an_equal() {
        let server = Access::default();
        for actor in ROLES {
            for target in ROLES {
                let expected = actor == Role::Owner || actor > target;
                assert_eq!(server.may_act_on(person(1, actor), person(2, target)), expected, "{actor:?} {target:?}");
            }
        }
        let room = Access::new(UserId(1), []);
        assert!(room.may_act_on(person(1, Role::Member), person(2, Role::Member)));
        assert!(!room.may_act_on(person(2, Role::Member), person(1, Role::Member)));
        assert!(!room.may_act_on(person(1, Role::Member), person(2, Role::Moderator)));
        assert!(room.may_act_on(person(2, Role::Moderator), person(1, Role::Member)));
        assert!(!room.may_act_on(person(1, Role::Member), person(1, Role::Member)));
    }
}
