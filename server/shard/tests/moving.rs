//! Members moved to another room by a moderator, over shards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::rooms::{about, create, set};
use cluster::{Client, Cluster, action, chat, moderation};
use echomesh_proto::control::{
    Body, Moderation, ModerationAction as Action, ResumeRequest, Role, RoomActionType as Kind, RoomEventType,
    RoomProperties, StatusCode as S,
};

fn to(from: &str, room: &str, username: &str) -> Body {
    let to_room_id = room.into();
    Body::Moderation(Moderation { to_room_id, ..moderation(Action::MaMove, from, username) })
}

/// Hall with a moderator and tim, and den, which olga made.
fn rooms(shards: u8) -> (Cluster, Client, Client) {
    let mut cluster = Cluster::new(shards);
    let at = |shard: usize| shard % usize::from(shards);
    let olga = cluster.person(0, "olga", "hall", Role::Owner);
    assert_eq!(cluster.code(olga, action(Kind::RaCreate, "den")), S::StatusOk);
    let max = cluster.person(at(1), "max", "hall", Role::Moderator);
    let tim = cluster.member(at(2), "tim", "hall");
    (cluster, max, tim)
}

/// Goal: who is moved is told that it is in the new room, and then that it was put out of the old one, by whom and
/// why; it can write and speak there at once, and the others see it come and go (PROTOCOL M78).
#[test]
fn a_member_is_moved() {
    for shards in [1, 3] {
        let (mut cluster, max, tim) = rooms(shards);
        cluster.open_voice(tim, "hall", "127.0.0.1:7001");
        cluster.inbox.clear();
        let reason = Moderation {
            to_room_id: "DEN".into(),
            reason: "off topic".into(),
            ..moderation(Action::MaMove, "hall", "tim")
        };
        assert_eq!(cluster.code(max, Body::Moderation(reason)), S::StatusOk);
        let told = cluster.take(tim);
        let entered = told.iter().position(|body| matches!(body, Body::RoomState(_))).unwrap();
        let Body::RoomState(state) = &told[entered] else { panic!("it was one") };
        assert_eq!((state.action_type(), state.room_id.as_str(), state.members.len()), (Kind::RaJoin, "den", 1));
        let removed = told.iter().position(|body| match body {
            Body::RoomEvent(event) => event.deltas.iter().any(|delta| {
                delta.event_type() == RoomEventType::ReRemoved
                    && (delta.by.as_str(), delta.reason.as_str()) == ("max", "moved to den: off topic")
            }),
            _ => false,
        });
        assert!(entered < removed.unwrap(), "{told:?}");
        assert_eq!(cluster.code(tim, chat("den", "hi")), S::StatusOk);
        assert_eq!(cluster.code(tim, chat("hall", "hi")), S::StatusNotInRoom);
        cluster.open_voice(tim, "den", "127.0.0.1:7001");
        assert_eq!(cluster.peers(), 1);
        let entry = cluster.audit.last().unwrap();
        assert_eq!((entry.action(), entry.target.as_str(), entry.detail.as_str()), (Action::MaMove, "tim", "to den"));
    }
}

/// Goal: the right and the ranks are asked in the room they are in, entry in the other, unless who moves manages that
/// one; nobody is lost by a refusal (PROTOCOL M78).
#[test]
fn moves_are_refused() {
    for shards in [1, 3] {
        let (mut cluster, max, tim) = rooms(shards);
        let olga = cluster.person(0, "ada", "hall", Role::Admin);
        let eve = cluster.member(0, "eve", "hall");
        let tight = RoomProperties {
            capacity: Some(1),
            invite_only: Some(true),
            password: Some("x".into()),
            ..RoomProperties::default()
        };
        assert_eq!(cluster.code(olga, create("cell", tight)), S::StatusOk);
        let only_password = RoomProperties { password: Some("x".into()), ..RoomProperties::default() };
        assert_eq!(cluster.code(olga, create("safe", only_password)), S::StatusOk);
        let ban = Body::Moderation(moderation(Action::MaBan, "den", "eve"));
        assert_eq!(cluster.code(olga, ban), S::StatusOk);
        let cases = [
            (eve, to("hall", "den", "tim"), S::StatusDenied, "no right"),
            (max, to("hall", "den", "ada"), S::StatusDenied, "of a higher role"),
            (max, to("hall", "nowhere", "tim"), S::StatusNotFound, "no such room"),
            (max, to("nowhere", "den", "tim"), S::StatusNotFound, "no such room"),
            (max, to("den", "hall", "tim"), S::StatusNotFound, "not there"),
            (max, to("hall", "hall", "tim"), S::StatusBadRequest, "there already"),
            (max, to("hall", &"x".repeat(300), "tim"), S::StatusTooLong, "no name"),
            (max, to("hall", "den", "eve"), S::StatusBanned, "banned there"),
            (olga, to("hall", "den", "eve"), S::StatusBanned, "banned there"),
            (max, to("hall", "cell", "tim"), S::StatusDenied, "not invited"),
            (max, to("hall", "safe", "tim"), S::StatusDenied, "does not know the password"),
            (olga, to("hall", "cell", "tim"), S::StatusOk, "an admin manages it"),
            (olga, to("hall", "cell", "eve"), S::StatusRoomFull, "no place"),
        ];
        for (client, body, expected, why) in cases {
            assert_eq!(cluster.code(client, body), expected, "{why}");
        }
        assert_eq!(cluster.code(tim, chat("cell", "hi")), S::StatusOk);
        assert_eq!(cluster.code(eve, chat("hall", "hi")), S::StatusOk);
        let deny = Moderation { deny: 1, role: Role::Member as i32, ..moderation(Action::MaSetRights, "safe", "") };
        assert_eq!(cluster.code(olga, Body::Moderation(deny)), S::StatusOk);
        assert_eq!(
            cluster
                .code(olga, set("safe", RoomProperties { password: Some(String::new()), ..RoomProperties::default() })),
            S::StatusOk
        );
        assert_eq!(cluster.code(max, to("hall", "safe", "eve")), S::StatusDenied, "no right to enter");
    }
}

/// Goal: all of an account's devices in the room move, or the one that is named; one without connection stays, and
/// so does one that is not in the room (PROTOCOL M78).
#[test]
fn devices_move_together_or_alone() {
    let (mut cluster, max, first) = rooms(3);
    let second = cluster.member(0, "tim", "hall");
    let lost = cluster.member(1, "tim", "hall");
    let elsewhere = cluster.member(1, "tim", "attic");
    cluster.close(lost);
    let id = cluster.who(second).session_id;
    let one = Moderation { to_room_id: "den".into(), session_id: id, ..moderation(Action::MaMove, "hall", "") };
    assert_eq!(cluster.code(max, Body::Moderation(one)), S::StatusOk);
    assert_eq!([cluster.who(first).rooms, cluster.who(second).rooms], [["hall"], ["den"]]);
    assert_eq!(cluster.code(max, to("hall", "den", "tim")), S::StatusOk);
    assert_eq!([cluster.who(first).rooms, cluster.who(elsewhere).rooms], [["den"], ["attic"]]);
    assert_eq!(cluster.code(max, about(Kind::RaRoster, "hall", "")), S::StatusOk);
    // A temporary room that is left so ends.
    let temporary = RoomProperties { temporary: Some(true), ..RoomProperties::default() };
    assert_eq!(cluster.code(first, create("tent", temporary)), S::StatusOk);
    assert_eq!(cluster.code(first, action(Kind::RaJoin, "tent")), S::StatusOk);
    assert_eq!(cluster.code(max, to("tent", "hall", "tim")), S::StatusOk);
    assert_eq!(cluster.names(first, "tent"), Vec::<String>::new());
    assert_eq!(cluster.who(first).rooms, ["den", "hall"]);
}

/// Goal: who was moved to a room that it may not enter by itself is in there, also when its connection was lost: after a
/// resume it is told of the room as of its others (PROTOCOL M78, M93).
#[test]
fn who_was_moved_stays_over_a_resume() {
    for shards in [1, 3] {
        let (mut cluster, _, _) = rooms(shards);
        let at = |shard: usize| shard % usize::from(shards);
        let ada = cluster.person(0, "ada", "den", Role::Admin);
        let tia = cluster.connect(at(1));
        let resume_token = cluster.login(tia, "tia", 1).resume_token;
        assert_eq!(cluster.code(tia, action(Kind::RaJoin, "hall")), S::StatusOk);
        let deny = Moderation { deny: 1, role: Role::Member as i32, ..moderation(Action::MaSetRights, "den", "") };
        assert_eq!(cluster.code(ada, Body::Moderation(deny)), S::StatusOk);
        assert_eq!(cluster.code(ada, to("hall", "den", "tia")), S::StatusOk);
        cluster.close(tia);
        let again = cluster.connect(at(2));
        assert_eq!(cluster.code(again, Body::ResumeRequest(ResumeRequest { resume_token })), S::StatusOk);
        assert_eq!(cluster.code(again, action(Kind::RaJoin, "den")), S::StatusOk);
        assert_eq!(cluster.code(again, chat("den", "still here")), S::StatusOk);
    }
}
