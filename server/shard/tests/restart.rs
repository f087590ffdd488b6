//! Sessions across a start of the server: who comes back, as what, and what others see of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::rooms::{create, join_with};
use cluster::{Client, Cluster, action, chat, moderation};
use echomesh_proto::control::{
    Account, AccountAction, Body, LoginRequest, LoginResponse, ModerationAction as Action, ResumeRequest, Role,
    RoomActionType as Kind, RoomDelta, RoomEventType, RoomProperties, StatusCode as S,
};
use echomesh_proto::ids::{RoomNumber, SessionId, UserId};
use echomesh_shard::{Ban, ClosedCause, Input, Properties, SavedSession, StoredRoom};

/// Long enough for what changed to be stored.
const WRITTEN_US: u64 = 500_000;

/// A member and the token that resumes it.
fn member(cluster: &mut Cluster, shard: usize, name: &str, room: &str) -> (Client, Vec<u8>) {
    let client = cluster.connect(shard);
    let token = cluster.login(client, name, 1).resume_token.to_vec();
    cluster.ask(client, action(Kind::RaCreate, room));
    assert_eq!(cluster.code(client, action(Kind::RaJoin, room)), S::StatusOk);
    (client, token)
}

fn resume(cluster: &mut Cluster, shard: usize, token: &[u8]) -> (Client, LoginResponse) {
    let client = cluster.connect(shard);
    let request = ResumeRequest { resume_token: token.to_vec().into() };
    match cluster.ask(client, Body::ResumeRequest(request)) {
        Body::LoginResponse(response) => (client, response),
        other => panic!("{other:?}"),
    }
}

fn roster(cluster: &mut Cluster, client: Client, room: &str) -> Vec<String> {
    let state = cluster.room_state(client, action(Kind::RaJoin, room));
    state.members.into_iter().map(|member| member.username).collect()
}

fn deltas(bodies: Vec<Body>) -> Vec<RoomDelta> {
    let of = |body| if let Body::RoomEvent(event) = body { Some(event.deltas) } else { None };
    bodies.into_iter().filter_map(of).flatten().collect()
}

/// Goal: after a kill and a start, or a stop and a start, sessions come back with their tokens, on any shard, in their
/// rooms and with their ids; who comes back first has the others in its roster and sees none of them leave or join
/// (PROTOCOL M90, M91).
#[test]
fn members_come_back_to_each_other() {
    for (shards, in_order) in [(1, false), (3, false), (3, true)] {
        let mut cluster = Cluster::new(shards);
        let at = |shard: usize| shard % usize::from(shards);
        let people: Vec<(Client, Vec<u8>)> =
            (0..5).map(|number| member(&mut cluster, at(number), &format!("m{number}"), "hall")).collect();
        assert_eq!(cluster.code(people[0].0, action(Kind::RaCreate, "attic")), S::StatusOk);
        let ids: Vec<u64> = people.iter().map(|(client, _)| cluster.who(*client).session_id).collect();
        cluster.pass(WRITTEN_US);
        assert_eq!(cluster.code(people[0].0, action(Kind::RaJoin, "attic")), S::StatusOk);
        if in_order {
            for shard in 0..usize::from(shards) {
                cluster.input(shard, Input::Shutdown);
                cluster.run();
            }
            for (client, _) in &people {
                let told = deltas(cluster.take(*client));
                assert!(told.iter().all(|delta| delta.event_type() != RoomEventType::ReLeft), "{told:?}");
            }
        } else {
            cluster.pass(WRITTEN_US);
        }
        cluster.restart(|_| {});
        let mut back: Vec<Client> = Vec::new();
        for (number, (_, token)) in people.iter().enumerate() {
            let (client, response) = resume(&mut cluster, at(number + 1), token);
            assert_eq!((response.status_code(), response.session_id), (S::StatusOk, ids[number]), "{response:?}");
            assert_eq!(response.username, format!("m{number}"));
            let expected: &[&str] = if number == 0 { &["attic", "hall"] } else { &["hall"] };
            assert_eq!(response.rooms, expected);
            assert_eq!(roster(&mut cluster, client, "hall").len(), 5, "those who are not back yet too");
            back.push(client);
        }
        for client in &back {
            let seen: Vec<RoomDelta> = deltas(cluster.take(*client))
                .into_iter()
                .filter(|delta| matches!(delta.event_type(), RoomEventType::ReJoined | RoomEventType::ReLeft))
                .collect();
            assert!(seen.is_empty(), "{seen:?}");
        }
        assert_eq!(cluster.code(back[4], chat("hall", "here again")), S::StatusOk);
        cluster.open_voice(back[4], "hall", "127.0.0.1:7001");
        // And once more: a session that came back outlives the next server too.
        cluster.pass(WRITTEN_US);
        cluster.restart(|_| {});
        let (client, response) = resume(&mut cluster, at(2), &people[1].1);
        assert_eq!(response.status_code(), S::StatusOk);
        assert_eq!(roster(&mut cluster, client, "hall").len(), 5);
        cluster.take(client);
        cluster.pass(61_000_000);
        let left = deltas(cluster.take(client));
        assert_eq!(left.iter().filter(|delta| delta.event_type() == RoomEventType::ReLeft).count(), 4);
        cluster.pass(WRITTEN_US);
        assert_eq!(cluster.stored.sessions.len(), 1, "who did not come back is forgotten");
    }
}

/// Goal: what ended does not come back: sessions that were ended, left all rooms, ran out, or never were; nor what a
/// client that cannot resume had; a wrong secret is of no use (PROTOCOL M90, M92).
#[test]
fn what_ended_does_not_come_back() {
    let mut cluster = Cluster::new(2);
    let olga = cluster.person(0, "olga", "hall", Role::Owner);
    let (_, kicked) = member(&mut cluster, 1, "kim", "hall");
    let (leaver, left) = member(&mut cluster, 0, "lea", "hall");
    let (lost, expired) = member(&mut cluster, 1, "eve", "hall");
    let (_, kept) = member(&mut cluster, 1, "tim", "hall");
    let plain = cluster.connect(1);
    cluster.login(plain, "pia", 0);
    assert_eq!(cluster.code(plain, action(Kind::RaJoin, "hall")), S::StatusOk);
    cluster.pass(WRITTEN_US);
    assert_eq!(cluster.stored.sessions.len(), 5);
    cluster.close(lost);
    assert_eq!(cluster.code(olga, Body::Moderation(moderation(Action::MaKick, "", "kim"))), S::StatusOk);
    assert_eq!(cluster.code(leaver, action(Kind::RaLeave, "hall")), S::StatusOk);
    cluster.pass(61_000_000);
    let (_, late) = member(&mut cluster, 0, "max", "hall");
    cluster.restart(|_| {});
    let mut wrong = kept.clone();
    *wrong.last_mut().unwrap() ^= 1;
    for token in [&kicked, &left, &expired, &late, &wrong] {
        assert_eq!(resume(&mut cluster, 1, token).1.status_code(), S::StatusSessionGone);
    }
    let (client, response) = resume(&mut cluster, 0, &kept);
    assert_eq!(response.status_code(), S::StatusOk);
    let mut names = roster(&mut cluster, client, "hall");
    names.sort();
    assert_eq!(names, ["olga", "tim"]);
}

/// Goal: an account that was banned meanwhile is told so; of one that lost its role the session has the new one; a
/// room that is gone is not come back to; a password or an invitation is not asked for again (PROTOCOL M90, M92).
#[test]
fn the_account_and_the_rooms_are_looked_at() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let other = usize::from(shards) - 1;
        let (ann, _) = member(&mut cluster, 0, "ann", "hall");
        let closed = RoomProperties { password: Some("x".into()), ..RoomProperties::default() };
        assert_eq!(cluster.code(ann, create("safe", closed)), S::StatusOk);
        let tent = RoomProperties { temporary: Some(true), ..RoomProperties::default() };
        assert_eq!(cluster.code(ann, create("tent", tent)), S::StatusOk);
        let (tim, token) = member(&mut cluster, other, "tim", "hall");
        assert_eq!(cluster.code(tim, join_with("safe", "x")), S::StatusOk);
        assert_eq!(cluster.code(tim, action(Kind::RaJoin, "tent")), S::StatusOk);
        let (_, banned) = member(&mut cluster, other, "bad", "hall");
        cluster.pass(WRITTEN_US);
        let ban = Ban { id: 1, user: cluster.user("bad").0, by: "ann".into(), ..Ban::default() };
        cluster.restart(|config| {
            config.bans.push(ban.clone());
            for session in config.sessions.iter_mut().filter(|session| session.username == "tim") {
                session.role = Role::Moderator;
            }
        });
        let (client, response) = resume(&mut cluster, 0, &token);
        assert_eq!((response.status_code(), response.rooms), (S::StatusOk, vec!["hall".into(), "safe".into()]));
        assert_eq!(cluster.who(client).role(), Role::Moderator);
        assert_eq!(roster(&mut cluster, client, "safe"), ["tim"]);
        assert_eq!(cluster.code(client, action(Kind::RaJoin, "tent")), S::StatusNotFound);
        assert_eq!(resume(&mut cluster, other, &banned).1.status_code(), S::StatusBanned);
        assert_eq!(cluster.user("tim"), UserId(2));
    }
}

/// Goal: while the store is away sessions are written later, and a login waits for none of it (PROTOCOL M90).
#[test]
fn sessions_are_written_behind() {
    let mut cluster = Cluster::new(2);
    let (_, token) = member(&mut cluster, 1, "ann", "hall");
    cluster.store_fails = true;
    cluster.pass(WRITTEN_US);
    assert!(cluster.stored.sessions.is_empty());
    cluster.store_fails = false;
    cluster.pass(WRITTEN_US);
    assert_eq!(cluster.stored.sessions.values().next().unwrap().rooms, [RoomNumber(1)]);
    // It moves to another shard, which knows that it is written already.
    let (client, _) = resume(&mut cluster, 0, &token);
    cluster.stored.sessions.clear();
    cluster.pass(WRITTEN_US);
    assert!(cluster.stored.sessions.is_empty());
    assert_eq!(cluster.code(client, action(Kind::RaCreate, "attic")), S::StatusOk);
    assert_eq!(cluster.code(client, action(Kind::RaJoin, "attic")), S::StatusOk);
    cluster.pass(WRITTEN_US);
    assert_eq!(cluster.stored.sessions.len(), 1);
    cluster.restart(|_| {});
    assert_eq!(resume(&mut cluster, 1, &token).1.status_code(), S::StatusOk);
}

/// Goal: a password that is only hashed anew ends no session over a restart; after it was changed, who changed it and
/// whom a token let in come back, and the others do not, though the server was killed at once (PROTOCOL M64, M67, M92).
#[test]
fn a_password_ends_the_sessions_that_it_is_to_end() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let at = |shard: usize| shard % usize::from(shards);
        cluster.make_account("ann", "old secret", Role::Member);
        let (ann, own) = member(&mut cluster, at(0), "ann", "hall");
        cluster.pass(WRITTEN_US);
        "old secret".clone_into(cluster.password_hash("ann"));
        let (_, other) = member(&mut cluster, at(1), "ann", "hall");
        assert_eq!(cluster.password_hash("ann").as_str(), "secret");
        let new_token = Account { action: AccountAction::AaNewToken as i32, ..Account::default() };
        let Body::AccountState(made) = cluster.ask(ann, Body::Account(new_token)) else { panic!("no token") };
        let device = cluster.connect(at(2));
        let login = LoginRequest { token: made.secret, features: 1, ..LoginRequest::default() };
        let Body::LoginResponse(response) = cluster.ask(device, Body::LoginRequest(login)) else { panic!("no login") };
        let by_token = response.resume_token.to_vec();
        assert_eq!(cluster.code(device, action(Kind::RaJoin, "hall")), S::StatusOk);
        cluster.pass(WRITTEN_US);
        cluster.restart(|_| {});
        let (ann, response) = resume(&mut cluster, at(1), &own);
        assert_eq!(response.status_code(), S::StatusOk, "a rehash ends nothing");
        cluster.pass(WRITTEN_US);
        let change = Account {
            action: AccountAction::AaChangePassword as i32,
            password: "secret".into(),
            new_password: "new".into(),
            ..Account::default()
        };
        assert_eq!(cluster.code(ann, Body::Account(change)), S::StatusOk);
        cluster.restart(|_| {});
        for (token, expected) in [(&own, S::StatusOk), (&by_token, S::StatusOk), (&other, S::StatusSessionGone)] {
            assert_eq!(resume(&mut cluster, at(2), token).1.status_code(), expected);
        }
    }
}

/// Goal: sessions that another device signed out do not come back, though the server was killed as soon as it had
/// answered (PROTOCOL M65, M67, M92).
#[test]
fn signed_out_is_signed_out() {
    let mut cluster = Cluster::new(3);
    let (ann, own) = member(&mut cluster, 0, "ann", "hall");
    let (_, other) = member(&mut cluster, 1, "ann", "hall");
    let (_, bob) = member(&mut cluster, 2, "bob", "hall");
    cluster.pass(WRITTEN_US);
    let sign_out = Account { action: AccountAction::AaSignOutOthers as i32, ..Account::default() };
    assert_eq!(cluster.code(ann, Body::Account(sign_out)), S::StatusOk);
    cluster.restart(|_| {});
    for (token, expected) in [(&own, S::StatusOk), (&other, S::StatusSessionGone), (&bob, S::StatusOk)] {
        assert_eq!(resume(&mut cluster, 0, token).1.status_code(), expected);
    }
}

/// Goal: a session that left its rooms and ended while the store's queue was full is forgotten when there is room again;
/// one that left them while the store failed, and came back to one, is not (PROTOCOL M90, M92).
#[test]
fn an_end_is_stored_when_there_is_room() {
    let mut cluster = Cluster::with(1, |config| config.limits.store_requests_max = 1);
    let (ann, _) = member(&mut cluster, 0, "ann", "hall");
    let (tim, token) = member(&mut cluster, 0, "tim", "hall");
    cluster.pass(WRITTEN_US);
    assert_eq!(cluster.stored.sessions.len(), 2);
    let full = cluster.connect(0);
    cluster.send(full, 1, cluster::login("eve", "secret", 0));
    cluster.send(ann, 2, action(Kind::RaLeave, "hall"));
    for _ in 0..10 {
        cluster.input(0, Input::Tick);
    }
    cluster.input(0, Input::Closed { connection: ann.id, cause: ClosedCause::PeerClosed });
    cluster.pass(WRITTEN_US);
    assert_eq!(cluster.stored.sessions.len(), 1);
    cluster.store_fails = true;
    assert_eq!(cluster.code(tim, action(Kind::RaLeave, "hall")), S::StatusOk);
    cluster.pass(WRITTEN_US);
    cluster.store_fails = false;
    assert_eq!(cluster.code(tim, action(Kind::RaJoin, "hall")), S::StatusOk);
    cluster.pass(2 * WRITTEN_US);
    cluster.restart(|_| {});
    assert_eq!(resume(&mut cluster, 0, &token).1.status_code(), S::StatusOk);
}

/// Goal: a server whose store is behind, with as many requests as it may have, still gives it the sessions of who is there
/// when it stops (PROTOCOL M90).
#[test]
fn a_stop_finds_room_in_a_full_queue() {
    let mut cluster = Cluster::with(1, |config| config.limits.store_requests_max = 8);
    let (_, token) = member(&mut cluster, 0, "ann", "hall");
    cluster.store_is_silent = true;
    for number in 0..9 {
        let stranger = cluster.connect(0);
        cluster.send(stranger, 1, cluster::login(&format!("m{number}"), "secret", 0));
    }
    cluster.store_is_silent = false;
    cluster.input(0, Input::Shutdown);
    cluster.run();
    cluster.restart(|_| {});
    assert_eq!(resume(&mut cluster, 0, &token).1.status_code(), S::StatusOk);
}

/// Goal: what a shard had the store write of a session, which moved on and is written by another shard first, does not
/// stay: neither old rooms, nor a session that has ended (PROTOCOL M90, M92).
#[test]
fn the_store_ends_up_with_what_is_so() {
    for ends in [false, true] {
        let mut cluster = Cluster::new(3);
        member(&mut cluster, 0, "eve", "attic");
        cluster.stored.slow_for = Some(0);
        let (_, token) = member(&mut cluster, 0, "ann", "hall");
        cluster.pass(WRITTEN_US);
        assert_eq!(cluster.stored.held.len(), 1);
        let (ann, _) = resume(&mut cluster, 1, &token);
        assert_eq!(cluster.code(ann, action(Kind::RaJoin, "attic")), S::StatusOk);
        cluster.pass(WRITTEN_US);
        if ends {
            for room in ["attic", "hall"] {
                assert_eq!(cluster.code(ann, action(Kind::RaLeave, room)), S::StatusOk);
            }
            cluster.close(ann);
            cluster.pass(WRITTEN_US);
        }
        cluster.release_sessions();
        cluster.pass(WRITTEN_US);
        cluster.restart(|_| {});
        let (_, response) = resume(&mut cluster, 2, &token);
        let (code, rooms): (S, &[&str]) =
            if ends { (S::StatusSessionGone, &[]) } else { (S::StatusOk, &["attic", "hall"]) };
        assert_eq!(response.status_code(), code);
        assert_eq!(response.rooms, rooms);
    }
}

/// Goal: thousands of sessions of before that nobody comes back to end without a ring being given more than it may
/// wait for, and all of them end (PROTOCOL M91).
#[test]
fn many_sessions_end_a_part_at_a_time() {
    let rooms: Vec<StoredRoom> = (1..=60)
        .map(|number| StoredRoom {
            number: RoomNumber(number),
            key: format!("room {number}"),
            name: format!("room {number}"),
            properties: Properties::default(),
            creator: UserId(1),
            newest_line: 0,
            standings: Vec::new(),
        })
        .collect();
    let session = |id: u64| SavedSession {
        id: SessionId(id),
        user: UserId(id),
        username: format!("m{id}"),
        role: Role::Member,
        secret_hash: vec![1; 32],
        token: 0,
        rooms: rooms.iter().map(|room| room.number).collect(),
    };
    let mut cluster = Cluster::new(3);
    cluster.stored.rooms = rooms.iter().map(|room| (room.key.clone(), room.clone())).collect();
    cluster.stored.sessions = (1..=500).map(|id| (id, session(id))).collect();
    cluster.restart(|config| {
        config.limits.outbox_bytes_max = 32 * 1_024;
        config.limits.resume_us_max = 1_000_000;
    });
    let members = |cluster: &Cluster| -> usize {
        let shards = cluster.shards.iter();
        shards
            .flat_map(|shard| (1..=60).filter_map(|number| shard.home_members(RoomNumber(number))))
            .map(|of| of.len())
            .sum()
    };
    cluster.pass(900_000);
    assert_eq!(members(&cluster), 60 * 500);
    cluster.pass(5_000_000);
    assert_eq!(members(&cluster), 0);
}
