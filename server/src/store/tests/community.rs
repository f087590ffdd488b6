//! Acts of moderators, on both databases.

use echomesh_proto::control::{AuditEntry, ModerationAction as Action, Right, Role};
use echomesh_shard::rights::{Holder, Rights, Standing};
use echomesh_shard::{Act, Ban, LoggedAct, Network};

use super::*;

fn act(act: Act) -> StoreJob {
    let entry = AuditEntry {
        action: Action::MaKick as i32,
        by: "Ann".into(),
        target: "Tim".into(),
        reason: "why".into(),
        time_ms: 5,
        ..AuditEntry::default()
    };
    StoreJob::Moderate(Box::new(LoggedAct { act, actor: UserId(1), target: UserId(2), entry }))
}

fn ban(expires_ms: u64) -> Ban {
    let network = Network::parse("192.0.2.0/24").ok();
    Ban { network, reason: "spam".into(), by: "Ann".into(), by_role: 3, time_ms: 7, expires_ms, ..Ban::default() }
}

/// Goal: roles, rights, mutes and bans are as they were after the database is opened again; what is over or
/// lifted is not; each act has its entry in the log.
#[test]
fn acts_survive_reopening() {
    on_both(|place| {
        let (mut store, _) = open(place);
        for key in ["ann", "tim"] {
            let (name, password_hash) = (key.to_owned(), "h".to_owned());
            let invitation = String::new();
            one(&mut store, &StoreJob::CreateAccount { key: key.into(), name, password_hash, time_ms: 1, invitation });
        }
        let (creator, time_ms) = (UserId(1), 1);
        one(
            &mut store,
            &StoreJob::CreateRoom {
                key: "hall".into(),
                name: "Hall".into(),
                properties: Properties::default(),
                creator,
                time_ms,
            },
        );
        let (room, user) = (RoomNumber(1), UserId(2));
        let restrain = |muted, deafened| act(Act::Restrain { room, user, muted, deafened });
        let rights = |holder, deny| act(Act::SetRights { room, holder, allow: Rights::default(), deny });
        let deny = Rights::of(&[Right::Speak]);
        let jobs = [
            act(Act::SetRole { user, role: Role::Moderator }),
            restrain(Some(true), None),
            restrain(None, Some(true)),
            restrain(Some(false), None),
            rights(Holder::Account(user), deny),
            rights(Holder::Role(Role::Guest), deny),
            rights(Holder::Role(Role::Member), deny),
            rights(Holder::Role(Role::Member), Rights::default()),
            act(Act::Ban(ban(0))),
            act(Act::Ban(ban(1))),
            act(Act::Ban(ban(u64::MAX >> 1))),
            act(Act::Unban { ban: 3 }),
            act(Act::Note),
        ];
        let outcomes = store.carry_out(jobs.into());
        let ids = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 12, 13].map(|id| StoreOutcome::Moderated { id });
        assert_eq!(outcomes, ids);
        assert_eq!(one(&mut store, &act(Act::Unban { ban: 3 })), StoreOutcome::NotFound);
        close(store);
        let (mut store, loaded) = open(place);
        let tim = Standing { deny, deafened: true, ..Standing::default() };
        let guests = Standing { deny, ..Standing::default() };
        let hall = &loaded.rooms[0];
        let mut standings = hall.standings.clone();
        standings.sort_by_key(|(holder, _)| *holder);
        assert_eq!(
            (hall.creator, standings),
            (UserId(1), vec![(Holder::Role(Role::Guest), guests), (Holder::Account(user), tim)])
        );
        assert_eq!(loaded.bans, [Ban { id: 1, ..ban(0) }]);
        let found = one(&mut store, &StoreJob::FindAccount { key: "tim".into() });
        assert!(matches!(found, StoreOutcome::Account { role: Role::Moderator, .. }), "{found:?}");
        let StoreOutcome::Audit(page) = one(&mut store, &StoreJob::ReadAudit { before: 13, count: 2 }) else {
            panic!("no log")
        };
        assert_eq!(page.iter().map(|entry| entry.entry_id).collect::<Vec<_>>(), [12, 11]);
        assert_eq!((page[0].by.as_str(), page[0].target.as_str(), page[0].time_ms), ("Ann", "Tim", 5));
    });
}
