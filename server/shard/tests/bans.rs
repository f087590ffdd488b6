//! Bans, as those who are banned meet them, on several shards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Client, Cluster, action, chat, code, login, moderation};
use echomesh_proto::control::{
    Body, Moderation, ModerationAction as Action, ModerationState, ResumeRequest, Role, RoomActionType, RoomEventType,
    StatusCode,
};
use echomesh_shard::{Ban, CloseReason, Network, Security};

fn ban(room: &str, username: &str) -> Moderation {
    Moderation { reason: "spam".into(), ..moderation(Action::MaBan, room, username) }
}

fn ban_address(address: &str) -> Moderation {
    Moderation { address: address.into(), ..ban("", "") }
}

fn unban(ban_id: u64) -> Body {
    Body::Moderation(Moderation { ban_id, ..moderation(Action::MaUnban, "", "") })
}

fn done(cluster: &mut Cluster, client: Client, moderation: Moderation) -> ModerationState {
    match cluster.ask(client, Body::Moderation(moderation)) {
        Body::ModerationState(state) => state,
        other => panic!("{other:?}"),
    }
}

/// An admin in the hall on shard 0.
fn with_admin(shards: u8) -> (Cluster, Client) {
    let mut cluster = Cluster::new(shards);
    let ann = cluster.person(0, "ann", "hall", Role::Admin);
    (cluster, ann)
}

/// Goal: a ban of an account ends its sessions on all shards with the reason, keeps logins and resumes out, and
/// is over with its time or when it is lifted (PROTOCOL M56).
#[test]
fn a_banned_account_is_out_everywhere() {
    let (mut cluster, ann) = with_admin(3);
    let tim = cluster.member(1, "tim", "hall");
    let lost = cluster.connect(2);
    let token = cluster.login(lost, "tim", 1).resume_token;
    cluster.ask(lost, action(RoomActionType::RaJoin, "hall"));
    cluster.close(lost);
    let state = done(&mut cluster, ann, Moderation { seconds: 60, ..ban("", "Tim") });
    assert!(state.ban_id > 0);
    assert_eq!(cluster.closed.get(&tim), Some(&CloseReason::Banned));
    let last = cluster.take(tim).pop().unwrap();
    assert_eq!(code(&last), StatusCode::StatusBanned);
    assert!(matches!(&last, Body::Status(status) if status.message.contains("ann") && status.message.contains("spam")));
    for shard in 0..3 {
        let back = cluster.connect(shard);
        let resume = Body::ResumeRequest(ResumeRequest { resume_token: token.clone() });
        assert_eq!(cluster.code(back, resume), StatusCode::StatusSessionGone);
        assert_eq!(cluster.code(back, login("TIM", "secret", 0)), StatusCode::StatusBanned);
    }
    cluster.pass(60_000_000);
    let back = cluster.connect(1);
    assert_eq!(cluster.code(back, login("tim", "secret", 0)), StatusCode::StatusOk);
    let state = done(&mut cluster, ann, ban("", "tim"));
    assert_eq!(cluster.code(ann, unban(state.ban_id)), StatusCode::StatusOk);
    assert_eq!(cluster.code(ann, unban(state.ban_id)), StatusCode::StatusNotFound);
    let back = cluster.connect(1);
    assert_eq!(cluster.code(back, login("tim", "secret", 0)), StatusCode::StatusOk);
}

/// Goal: a ban finds a session wherever it is on its way: in a login, a resume from shard to shard, a join
/// (PROTOCOL M56). Method: the ban begins after each number of steps of all three.
#[test]
fn a_ban_finds_sessions_on_their_way() {
    for room in ["", "hall"] {
        for steps in 0..28 {
            let (mut cluster, ann) = with_admin(3);
            cluster.member(0, "tim", "hall");
            let lost = cluster.connect(1);
            let token = cluster.login(lost, "tim", 1).resume_token;
            cluster.ask(lost, action(RoomActionType::RaJoin, "hall"));
            cluster.close(lost);
            let (back, fresh) = (cluster.connect(2), cluster.connect(1));
            cluster.send(back, 1, Body::ResumeRequest(ResumeRequest { resume_token: token }));
            cluster.send(fresh, 1, login("tim", "secret", 0));
            cluster.send(fresh, 2, action(RoomActionType::RaJoin, "hall"));
            for _ in 0..steps {
                cluster.step();
            }
            done(&mut cluster, ann, ban(room, "tim"));
            let Body::RoomState(roster) = cluster.ask(ann, action(RoomActionType::RaRoster, "hall")) else {
                panic!("no roster")
            };
            let names: Vec<&str> = roster.members.iter().map(|member| member.username.as_str()).collect();
            assert_eq!(names, ["ann"], "{room:?} after {steps} steps");
            for client in
                [back, fresh].into_iter().filter(|client| !cluster.closed.contains_key(client)).collect::<Vec<_>>()
            {
                let said = cluster.code(client, chat("hall", "hi"));
                let expected =
                    if room.is_empty() { StatusCode::StatusNotLoggedIn } else { StatusCode::StatusNotInRoom };
                assert_eq!(said, expected, "{room:?} after {steps} steps");
            }
        }
    }
}

/// Goal: an address ban closes new connections with a sentence, ends sessions from there, spares those of the
/// maker's role, and nobody bans the address they sit behind (PROTOCOL M56).
#[test]
fn a_banned_address_is_out() {
    let (mut cluster, ann) = with_admin(2);
    let (near, far) = ("192.0.2.7:5000", "192.0.3.7:5000");
    cluster.member(0, "tim", "hall");
    cluster.person(0, "abe", "hall", Role::Admin);
    let tim = cluster.connect_as(1, near, Security::Tls);
    let abe = cluster.connect_as(1, near, Security::Tls);
    let other = cluster.connect_as(1, far, Security::Tls);
    cluster.login(tim, "tim", 0);
    cluster.login(abe, "abe", 0);
    cluster.login(other, "tim", 0);
    let own = Moderation { address: "192.0.2.0/25".into(), ..ban("", "") };
    assert_eq!(cluster.code(abe, Body::Moderation(own)), StatusCode::StatusBadRequest);
    let state = done(&mut cluster, ann, ban_address("192.0.2.0/24"));
    assert_eq!(cluster.closed.get(&tim), Some(&CloseReason::Banned));
    assert!(!cluster.closed.contains_key(&other) && !cluster.closed.contains_key(&abe));
    for shard in 0..2 {
        let next = cluster.connect_as(shard, near, Security::Tls);
        assert_eq!(cluster.closed.get(&next), Some(&CloseReason::Banned));
        assert_eq!(code(&cluster.take(next)[0]), StatusCode::StatusBanned);
    }
    assert_eq!(cluster.code(ann, unban(state.ban_id)), StatusCode::StatusOk);
    let next = cluster.connect_as(1, near, Security::Tls);
    assert!(!cluster.closed.contains_key(&next));
}

/// Goal: a ban from a room puts its target out on all shards, and keeps it out of that room alone (PROTOCOL M56).
#[test]
fn a_ban_from_a_room_is_for_the_room() {
    let (mut cluster, ann) = with_admin(3);
    let tim = cluster.member(1, "tim", "hall");
    cluster.ask(tim, action(RoomActionType::RaCreate, "den"));
    cluster.inbox.clear();
    done(&mut cluster, ann, ban("hall", "tim"));
    let Some(Body::RoomEvent(event)) = cluster.take(tim).pop() else { panic!("not told") };
    assert_eq!(event.deltas[0].event_type(), RoomEventType::ReRemoved);
    assert_eq!((event.deltas[0].by.as_str(), event.deltas[0].reason.as_str()), ("ann", "banned: spam"));
    assert_eq!(cluster.code(tim, action(RoomActionType::RaJoin, "hall")), StatusCode::StatusBanned);
    assert_eq!(cluster.code(tim, action(RoomActionType::RaJoin, "den")), StatusCode::StatusOk);
    let listed = done(&mut cluster, ann, moderation(Action::MaListBans, "hall", ""));
    assert_eq!((listed.bans[0].username.as_str(), listed.bans[0].room_id.as_str()), ("tim", "hall"));
    assert!(done(&mut cluster, ann, moderation(Action::MaListBans, "", "")).bans.is_empty());
    assert_eq!(cluster.code(ann, unban(listed.bans[0].ban_id)), StatusCode::StatusNotFound, "not of the server");
}

/// Goal: a moderator does not lift what an admin banned; the list comes in pages; the number of bans is bounded
/// (PROTOCOL M56).
#[test]
fn bans_are_listed_lifted_by_rank_and_bounded() {
    let mut cluster = Cluster::with(2, |config| config.limits.bans_max = 32);
    let ann = cluster.person(0, "ann", "hall", Role::Admin);
    let max = cluster.person(1, "max", "hall", Role::Moderator);
    for host in 1..=32 {
        done(&mut cluster, ann, ban_address(&format!("192.0.2.{host}")));
    }
    let beyond = Body::Moderation(ban_address("192.0.2.33"));
    assert_eq!(cluster.code(ann, beyond), StatusCode::StatusLimit);
    let first = done(&mut cluster, max, moderation(Action::MaListBans, "", ""));
    let page = Moderation { page: first.next_page.clone(), ..moderation(Action::MaListBans, "", "") };
    let second = done(&mut cluster, max, page);
    let addresses: Vec<&str> = first.bans.iter().chain(&second.bans).map(|ban| ban.address.as_str()).collect();
    assert_eq!((addresses.len(), addresses[0], addresses[31]), (32, "192.0.2.1/32", "192.0.2.32/32"));
    assert!(second.next_page.is_empty());
    assert_eq!(cluster.code(max, unban(first.bans[0].ban_id)), StatusCode::StatusDenied);
    assert_eq!(cluster.code(ann, unban(first.bans[0].ban_id)), StatusCode::StatusOk);
}

/// Goal: bans in the store hold from the start on every shard (PROTOCOL M56).
#[test]
fn stored_bans_hold_from_the_start() {
    let network = Network::parse("2001:db8::/32").ok();
    let stored = Ban { id: 1, network, by: "ann".into(), by_role: Role::Admin as i32, ..Ban::default() };
    let mut cluster = Cluster::with(2, |config| config.bans = vec![stored.clone()]);
    for shard in 0..2 {
        let client = cluster.connect_as(shard, "[2001:db8::7]:5000", Security::Tls);
        assert_eq!(cluster.closed.get(&client), Some(&CloseReason::Banned));
    }
}
