//! What of a room's members is news to who is told of them.
//!
//! Not the roster itself, which the session has. In: its changes. Out: news, none twice.
//! Bounds: an entry for each member of one room, which the server bounds.

use std::collections::{BTreeMap, BTreeSet};

use echomesh_client::MemberChange;
use echomesh_proto::control::Member;

use super::failure::Failure;
use super::news::News;

/// The members as they were told, by session.
#[derive(Default)]
pub struct Roster {
    told: BTreeMap<u64, Member>,
}

/// Muted and deafened, by whomever.
fn flags(member: &Member) -> (bool, bool) {
    (member.muted || member.server_muted, member.deafened || member.server_deafened)
}

impl Roster {
    /// Another room, or a session that knows nobody any more.
    pub fn clear(&mut self) {
        self.told.clear();
    }

    /// A member changed.
    ///
    /// # Errors
    /// Those of `tell`.
    pub fn changed(
        &mut self,
        room: &str,
        change: MemberChange,
        member: &Member,
        mut tell: impl FnMut(News<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match change {
            MemberChange::Left => {
                self.told.remove(&member.session_id);
                return tell(News::Left { room, member });
            }
            MemberChange::Joined => tell(News::Joined { room, member })?,
            MemberChange::Changed => {}
        }
        let before = self.told.insert(member.session_id, member.clone());
        let was_talking = before.as_ref().is_some_and(|before| before.talking);
        if member.talking != was_talking {
            tell(News::Talking { room, member })?;
        }
        if before.is_some_and(|before| flags(&before) != flags(member)) {
            tell(News::Member { room, member })?;
        }
        Ok(())
    }

    /// All who are there: who was not told yet, and who is gone since.
    ///
    /// # Errors
    /// Those of `tell`.
    pub fn complete<'a>(
        &mut self,
        room: &str,
        members: impl Iterator<Item = &'a Member>,
        mut tell: impl FnMut(News<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut there = BTreeSet::new();
        for member in members {
            there.insert(member.session_id);
            match self.told.get(&member.session_id) {
                Some(_) => self.changed(room, MemberChange::Changed, member, &mut tell)?,
                None => {
                    tell(News::Present { room, member })?;
                    self.told.insert(member.session_id, member.clone());
                }
            }
        }
        let gone = |session: &u64| !there.contains(session);
        let left: Vec<u64> = self.told.keys().copied().filter(gone).collect();
        for member in left.iter().filter_map(|session| self.told.remove(session)) {
            tell(News::Left { room, member: &member })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(session_id: u64) -> Member {
        Member { session_id, username: session_id.to_string(), ..Member::default() }
    }

    fn text(news: &News<'_>) -> String {
        let member = match news {
            News::Present { member, .. }
            | News::Joined { member, .. }
            | News::Left { member, .. }
            | News::Member { member, .. }
            | News::Talking { member, .. } => member,
            _ => panic!("about a member"),
        };
        format!("{:?} {}", news.kind(), member.username)
    }

    /// Goal: each change is told once, and who went while the connection was lost is told when the roster is there.
    #[test]
    fn changes_are_told_once() {
        let (mut roster, mut told) = (Roster::default(), Vec::new());
        let [ann, bob, eve] = [1, 2, 3].map(member);
        let talks = Member { talking: true, ..bob.clone() };
        let muted = Member { server_muted: true, ..bob.clone() };
        let mut tell = |news: News<'_>| {
            told.push(text(&news));
            Ok(())
        };
        roster.complete("hall", [&ann, &bob].into_iter(), &mut tell).unwrap();
        roster.changed("hall", MemberChange::Changed, &talks, &mut tell).unwrap();
        roster.changed("hall", MemberChange::Changed, &talks, &mut tell).unwrap();
        roster.changed("hall", MemberChange::Changed, &muted, &mut tell).unwrap();
        roster.changed("hall", MemberChange::Joined, &eve, &mut tell).unwrap();
        roster.changed("hall", MemberChange::Left, &ann, &mut tell).unwrap();
        roster.complete("hall", [&muted].into_iter(), &mut tell).unwrap();
        let expected = ["Present 1", "Present 2", "Talking 2", "Talking 2", "Member 2", "Joined 3", "Left 1", "Left 3"];
        assert_eq!(told, expected);
    }
}
