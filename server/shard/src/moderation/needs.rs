//! What each action of a moderator needs: a right, a place, a target. A table, and nothing else.

use echomesh_proto::control::{ModerationAction as Action, Right};

/// What an action is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Room,
    Server,
    /// The room if one is named.
    Either,
}

/// Whom it must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Nobody,
    Person,
    PersonOrAddress,
    PersonOrRole,
}

/// What an action needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// `None`: anyone may.
    pub(crate) right: Option<Right>,
    pub(crate) place: Place,
    pub(crate) whom: Whom,
    /// It adds to what the room says of roles and accounts.
    pub(crate) is_standing: bool,
}

/// The table; `None` for what is no action.
pub(crate) fn needs(action: Action) -> Option<Needs> {
    let (right, place, whom) = match action {
        Action::MaUnspecified | Action::MaAccount | Action::MaDeleteLine => return None,
        Action::MaMute | Action::MaUnmute | Action::MaDeafen | Action::MaUndeafen => {
            (Some(Right::Mute), Place::Room, Whom::Person)
        }
        Action::MaKick => (Some(Right::Kick), Place::Either, Whom::Person),
        Action::MaBan => (Some(Right::Ban), Place::Either, Whom::PersonOrAddress),
        Action::MaUnban | Action::MaListBans => (Some(Right::Ban), Place::Either, Whom::Nobody),
        Action::MaSetRole => (Some(Right::Roles), Place::Server, Whom::Person),
        Action::MaSetRights => (Some(Right::Manage), Place::Room, Whom::PersonOrRole),
        Action::MaListRights => (Some(Right::Manage), Place::Room, Whom::Nobody),
        Action::MaListAudit => (Some(Right::Audit), Place::Server, Whom::Nobody),
        Action::MaMove => (Some(Right::Move), Place::Room, Whom::Person),
        Action::MaInvite | Action::MaUninvite => (Some(Right::Invite), Place::Room, Whom::Person),
        Action::MaSetRoom | Action::MaDeleteRoom => (Some(Right::Manage), Place::Room, Whom::Nobody),
        Action::MaReport => (None, Place::Server, Whom::Person),
    };
    let is_standing = matches!(right, Some(Right::Mute | Right::Manage | Right::Invite)) && whom != Whom::Nobody;
    Some(Needs { right, place, whom, is_standing })
}
