//! Rooms as clients on several shards make, set, list, enter and end them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::rooms::{about, create, join_with, set};
use cluster::{Client, Cluster, action, chat, code, moderation, open};
use echomesh_proto::control::{
    Body, ChatMsg, ModerationAction as Action, Role, RoomAction, RoomActionType as Kind, RoomDelta, RoomEventType,
    RoomProperties, StatusCode as S,
};
use echomesh_proto::ids::RoomNumber;
use echomesh_shard::{CloseReason, StoredRoom};

fn deltas(bodies: Vec<Body>) -> Vec<RoomDelta> {
    let of = |body| if let Body::RoomEvent(event) = body { Some(event.deltas) } else { None };
    bodies.into_iter().filter_map(of).flatten().collect()
}

fn password(password: &str) -> RoomProperties {
    RoomProperties { password: Some(password.into()), ..RoomProperties::default() }
}

fn temporary() -> RoomProperties {
    RoomProperties { temporary: Some(true), ..RoomProperties::default() }
}

fn hidden() -> RoomProperties {
    RoomProperties { hidden: Some(true), ..RoomProperties::default() }
}

fn invite_only() -> RoomProperties {
    RoomProperties { invite_only: Some(true), ..RoomProperties::default() }
}

/// Goal: a room is what it was made as and set to, on every shard and in the store; what is not named stays; members
/// are told (PROTOCOL M70).
#[test]
fn properties_are_set_and_told() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let other = usize::from(shards) - 1;
        let ann = cluster.member(0, "ann", "attic");
        let made = RoomProperties {
            description: Some("upstairs".into()),
            slow_mode_seconds: Some(5),
            retention_days: Some(30),
            ..RoomProperties::default()
        };
        let state = cluster.room_state(ann, create("hall", made));
        assert_eq!((state.rooms[0].description.as_str(), state.room_id.as_str()), ("upstairs", "hall"));
        let tim = cluster.member(other, "tim", "hall");
        let change = RoomProperties {
            capacity: Some(7),
            description: Some("the hall".into()),
            speakers: Some(2),
            ..RoomProperties::default()
        };
        let state = cluster.room_state(ann, set("HALL", change));
        assert_eq!((state.rooms[0].capacity, state.rooms[0].slow_mode_seconds), (7, 5));
        let told = deltas(cluster.take(tim));
        assert_eq!(told.last().unwrap().event_type(), RoomEventType::ReRoom);
        assert_eq!(told.last().unwrap().room.as_ref().unwrap().description, "the hall");
        let listed = cluster.listed(tim, "hal");
        assert_eq!((listed.len(), listed[0].speakers, listed[0].retention_days), (1, 2, 30));
        assert_eq!(cluster.stored.properties("hall").description, "the hall");
        let entry = cluster.audit.last().unwrap();
        assert_eq!((entry.action(), entry.by.as_str()), (Action::MaSetRoom, "ann"));
        assert_eq!(entry.detail, "capacity 7, description, speakers 2");
    }
}

/// Goal: who does not manage a room changes nothing of it, and values out of their bounds are refused (PROTOCOL M70).
#[test]
fn changes_need_the_right_and_sense() {
    let mut cluster = Cluster::new(2);
    let ann = cluster.member(0, "ann", "hall");
    let tim = cluster.person(1, "tim", "hall", Role::Moderator);
    let olga = cluster.person(1, "olga", "hall", Role::Admin);
    assert_eq!(cluster.code(tim, set("hall", invite_only())), S::StatusDenied);
    assert_eq!(cluster.code(tim, about(Kind::RaDelete, "hall", "")), S::StatusDenied);
    assert_eq!(cluster.code(olga, set("hall", hidden())), S::StatusOk);
    assert_eq!(cluster.code(ann, set("nowhere", hidden())), S::StatusNotFound);
    assert_eq!(cluster.code(ann, action(Kind::RaSet, "hall")), S::StatusBadRequest, "nothing to set");
    let description = |text: String| RoomProperties { description: Some(text), ..RoomProperties::default() };
    let cases = [
        (description("x".repeat(501)), S::StatusTooLong),
        (description("a\nb".into()), S::StatusBadRequest),
        (password(&"x".repeat(513)), S::StatusTooLong),
        (RoomProperties { slow_mode_seconds: Some(21_601), ..RoomProperties::default() }, S::StatusBadRequest),
        (RoomProperties { retention_days: Some(36_501), ..RoomProperties::default() }, S::StatusBadRequest),
    ];
    for (properties, expected) in cases {
        assert_eq!(cluster.code(ann, set("hall", properties.clone())), expected, "{properties:?}");
        assert_eq!(cluster.code(ann, create("den", properties.clone())), expected, "{properties:?}");
    }
    for kept in [Action::MaInvite, Action::MaUninvite, Action::MaSetRoom, Action::MaDeleteRoom] {
        let body = Body::Moderation(moderation(kept, "hall", "tim"));
        assert_eq!(cluster.code(ann, body), S::StatusBadRequest, "a RoomAction does that");
    }
    cluster.store_fails = true;
    assert_eq!(cluster.code(ann, set("hall", invite_only())), S::StatusTryAgain);
    cluster.store_fails = false;
    assert_eq!(cluster.code(ann, set("hall", invite_only())), S::StatusOk, "a change that failed is over");
    assert!(cluster.listed(ann, "hall")[0].invite_only);
    // Two at once: the second is told to try again, and neither is lost half-way.
    cluster.hold_hashes = true;
    cluster.send(ann, 1, set("hall", password("one")));
    cluster.run();
    assert_eq!(cluster.code(olga, set("hall", description("two".into()))), S::StatusTryAgain);
    assert_eq!(cluster.code(olga, about(Kind::RaDelete, "hall", "")), S::StatusTryAgain);
    let held = std::mem::take(&mut cluster.held_hashes);
    cluster.release(held);
    cluster.run();
    assert!(cluster.listed(olga, "hall")[0].password_needed);
    assert_eq!(cluster.code(olga, set("hall", description("two".into()))), S::StatusOk);
}

/// Goal: a room with a password lets in who knows it, who manages it and who is invited; wrong ones are counted as
/// those of a login (PROTOCOL M71).
#[test]
fn a_password_is_asked_for() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let other = usize::from(shards) - 1;
        let ann = cluster.member(0, "ann", "attic");
        assert_eq!(cluster.code(ann, create("hall", password("sesame"))), S::StatusOk);
        assert_eq!(cluster.code(ann, action(Kind::RaJoin, "hall")), S::StatusOk, "who made it");
        let tim = cluster.member(other, "tim", "attic");
        assert!(cluster.listed(tim, "hall")[0].password_needed);
        assert_eq!(cluster.code(tim, action(Kind::RaJoin, "hall")), S::StatusBadCredentials);
        assert_eq!(cluster.code(tim, join_with("hall", "guess")), S::StatusBadCredentials);
        assert_eq!(cluster.code(tim, join_with("hall", &"x".repeat(513))), S::StatusTooLong);
        assert_eq!(cluster.code(tim, join_with("hall", "sesame")), S::StatusOk);
        assert_eq!(cluster.code(tim, action(Kind::RaJoin, "hall")), S::StatusOk, "who is in is not asked again");
        let eve = cluster.member(other, "eve", "attic");
        for guess in 0..5 {
            assert!(!cluster.closed.contains_key(&eve), "after {guess}");
            assert_eq!(cluster.code(eve, join_with("hall", "guess")), S::StatusBadCredentials);
        }
        assert_eq!(cluster.closed.get(&eve), Some(&CloseReason::Guessing));
        let bob = cluster.member(other, "bob", "attic");
        assert_eq!(cluster.code(tim, about(Kind::RaInvite, "hall", "bob")), S::StatusOk);
        assert_eq!(cluster.code(bob, action(Kind::RaJoin, "hall")), S::StatusOk, "who is invited");
        let olga = cluster.person(other, "olga", "attic", Role::Admin);
        assert_eq!(cluster.code(olga, action(Kind::RaJoin, "hall")), S::StatusOk, "who manages all rooms");
        assert_eq!(cluster.code(ann, set("hall", password("new"))), S::StatusOk);
        let kim = cluster.member(other, "kim", "attic");
        assert_eq!(cluster.code(kim, join_with("hall", "sesame")), S::StatusBadCredentials);
        assert_eq!(cluster.code(ann, set("hall", password(""))), S::StatusOk);
        assert_eq!(cluster.code(kim, action(Kind::RaJoin, "hall")), S::StatusOk, "it has none any more");
    }
}

/// Goal: a password that was hashed at a cost that is not wanted any more lets in as any other (PROTOCOL M71).
#[test]
fn a_password_hashed_at_another_cost_counts() {
    let mut cluster = Cluster::new(2);
    let ann = cluster.member(0, "ann", "attic");
    assert_eq!(cluster.code(ann, create("hall", password("sesame"))), S::StatusOk);
    cluster.stored.rooms.get_mut("hall").unwrap().properties.password_hash = "old sesame".into();
    cluster.restart(|_| {});
    let tim = cluster.member(1, "tim", "attic");
    assert_eq!(cluster.code(tim, join_with("hall", "guess")), S::StatusBadCredentials);
    assert_eq!(cluster.code(tim, join_with("hall", "sesame")), S::StatusOk);
}

/// Goal: a room by invitation lets in whom someone in it invited, until that is taken back; nobody invites
/// themselves, or over the head of who keeps them out (PROTOCOL M72).
#[test]
fn invitations_let_in() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let at = |shard: usize| shard % usize::from(shards);
        let ann = cluster.member(0, "ann", "hall");
        let bob = cluster.member(at(1), "bob", "attic");
        let tim = cluster.member(at(2), "tim", "attic");
        assert_eq!(cluster.code(ann, set("hall", invite_only())), S::StatusOk);
        assert_eq!(cluster.code(tim, action(Kind::RaJoin, "hall")), S::StatusDenied);
        assert_eq!(cluster.code(tim, about(Kind::RaInvite, "hall", "tim")), S::StatusDenied, "nobody invites himself");
        assert_eq!(cluster.code(ann, about(Kind::RaInvite, "hall", "nobody")), S::StatusNotFound);
        assert_eq!(cluster.code(ann, about(Kind::RaInvite, "hall", "bob")), S::StatusOk);
        assert_eq!(cluster.code(bob, about(Kind::RaInvite, "hall", "tim")), S::StatusOk, "invited, so he may");
        assert_eq!(cluster.code(tim, action(Kind::RaJoin, "hall")), S::StatusOk);
        assert_eq!(cluster.code(tim, about(Kind::RaUninvite, "hall", "bob")), S::StatusDenied, "an equal");
        cluster.take(tim);
        assert_eq!(cluster.code(ann, about(Kind::RaUninvite, "hall", "tim")), S::StatusOk);
        assert_eq!(deltas(cluster.take(tim)).last().unwrap().event_type(), RoomEventType::ReRemoved);
        assert_eq!(cluster.code(tim, action(Kind::RaJoin, "hall")), S::StatusDenied);
        let deny = echomesh_proto::control::Moderation { deny: 1, ..moderation(Action::MaSetRights, "hall", "tim") };
        assert_eq!(cluster.code(ann, Body::Moderation(deny)), S::StatusOk);
        assert_eq!(cluster.code(bob, about(Kind::RaInvite, "hall", "tim")), S::StatusDenied, "kept out by a manager");
        assert_eq!(cluster.code(ann, about(Kind::RaInvite, "hall", "tim")), S::StatusOk);
        assert_eq!(cluster.code(tim, action(Kind::RaJoin, "hall")), S::StatusOk);
        let acts: Vec<_> = cluster.audit.iter().map(echomesh_proto::control::AuditEntry::action).collect();
        assert!(acts.contains(&Action::MaInvite) && acts.contains(&Action::MaUninvite));
        let guest = cluster.person(at(1), "gus", "attic", Role::Guest);
        assert_eq!(cluster.code(guest, about(Kind::RaInvite, "attic", "tim")), S::StatusDenied, "the right is asked");
    }
}

/// Goal: a hidden room is listed for who is in it or manages it, and entered by its name; so are rooms in it
/// (PROTOCOL M73).
#[test]
fn hidden_rooms_are_not_listed() {
    let mut cluster = Cluster::new(2);
    let ann = cluster.member(0, "ann", "attic");
    assert_eq!(cluster.code(ann, create("den", hidden())), S::StatusOk);
    assert_eq!(cluster.code(ann, action(Kind::RaCreate, "den/back")), S::StatusOk);
    let tim = cluster.member(1, "tim", "attic");
    let olga = cluster.person(1, "olga", "attic", Role::Admin);
    assert_eq!(cluster.names(ann, ""), ["attic", "den", "den/back"]);
    assert_eq!(cluster.names(olga, "de"), ["den", "den/back"]);
    assert_eq!(cluster.names(tim, ""), ["attic"]);
    assert_eq!(cluster.code(tim, action(Kind::RaJoin, "den/back")), S::StatusOk);
    assert_eq!(cluster.names(tim, ""), ["attic", "den/back"]);
    assert_eq!(cluster.code(tim, action(Kind::RaJoin, "den")), S::StatusOk);
    assert_eq!(cluster.names(tim, ""), ["attic", "den", "den/back"]);
    let manage = echomesh_proto::control::Moderation { allow: 128, ..moderation(Action::MaSetRights, "den", "eve") };
    let eve = cluster.member(0, "eve", "attic");
    assert_eq!(cluster.names(eve, "den"), Vec::<String>::new());
    assert_eq!(cluster.code(ann, Body::Moderation(manage)), S::StatusOk);
    assert_eq!(cluster.names(eve, "den"), ["den", "den/back"], "who was given the right to manage it");
}

/// Goal: a temporary room ends when its last member leaves, on whatever shard, or when nobody comes; its name is free
/// at once, and its number is not used again (PROTOCOL M74).
#[test]
fn temporary_rooms_end_when_left() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let other = usize::from(shards) - 1;
        let ann = cluster.member(0, "ann", "attic");
        let tim = cluster.member(other, "tim", "attic");
        assert_eq!(cluster.code(ann, create("tent", temporary())), S::StatusOk);
        for client in [ann, tim] {
            assert_eq!(cluster.code(client, action(Kind::RaJoin, "tent")), S::StatusOk);
        }
        assert_eq!(cluster.code(ann, action(Kind::RaCreate, "tent/in")), S::StatusBadRequest);
        cluster.open_voice(tim, "tent", "127.0.0.1:7001");
        assert_eq!(cluster.code(ann, action(Kind::RaLeave, "tent")), S::StatusOk);
        assert_eq!(cluster.names(ann, "tent"), ["tent"], "tim is in");
        cluster.close(tim);
        cluster.pass(50_000_000);
        assert_eq!(cluster.names(ann, "tent"), ["tent"], "tim may come back");
        cluster.pass(15_000_000);
        assert_eq!(cluster.names(ann, "tent"), Vec::<String>::new());
        assert_eq!(cluster.peers(), 0, "his stream is closed");
        let state = cluster.room_state(ann, create("tent", temporary()));
        assert_eq!(state.room_number, 3);
        cluster.pass(61_000_000);
        assert_eq!(cluster.names(ann, "tent"), Vec::<String>::new(), "nobody came");
        assert!(cluster.stored.rooms.len() == 1 && cluster.stored.ended.is_empty(), "and the lines are swept");
        assert_eq!(cluster.code(ann, set("attic", temporary())), S::StatusOk);
        assert_eq!(cluster.code(ann, action(Kind::RaLeave, "attic")), S::StatusOk);
        assert_eq!(cluster.names(ann, ""), Vec::<String>::new(), "a room that became temporary");
    }
}

/// Goal: while the store is away a temporary room's end is not forgotten, and its name is refused as for a moment
/// only (PROTOCOL M74).
#[test]
fn an_end_is_stored_in_the_end() {
    let mut cluster = Cluster::new(2);
    let ann = cluster.member(0, "ann", "attic");
    assert_eq!(cluster.code(ann, create("tent", temporary())), S::StatusOk);
    assert_eq!(cluster.code(ann, action(Kind::RaJoin, "tent")), S::StatusOk);
    cluster.store_fails = true;
    assert_eq!(cluster.code(ann, action(Kind::RaLeave, "tent")), S::StatusOk);
    cluster.pass(1_000_000);
    assert_eq!(cluster.code(ann, action(Kind::RaCreate, "tent")), S::StatusTryAgain);
    cluster.store_fails = false;
    cluster.pass(11_000_000);
    assert_eq!(cluster.code(ann, action(Kind::RaCreate, "tent")), S::StatusOk);
    assert!(cluster.stored.rooms.contains_key("tent"));
}

/// Goal: a room that the store has although it said that it failed, for the answer to the commit was lost, does not keep
/// its name for ever: it goes, and the room is made.
#[test]
fn a_room_that_nobody_was_told_of_goes() {
    let mut cluster = Cluster::new(2);
    let ann = cluster.member(0, "ann", "attic");
    let stray = StoredRoom { number: RoomNumber(900), key: "hall".into(), ..cluster.stored.rooms["attic"].clone() };
    cluster.stored.rooms.insert("hall".into(), stray);
    assert_eq!(cluster.code(ann, action(Kind::RaCreate, "hall")), S::StatusTryAgain);
    assert_eq!(cluster.code(ann, action(Kind::RaCreate, "hall")), S::StatusOk);
    assert_ne!(cluster.stored.rooms["hall"].number, RoomNumber(900));
    cluster.pass(1_000_000);
    assert!(cluster.stored.ended.is_empty(), "nothing is left of it");
    assert_eq!(cluster.code(ann, action(Kind::RaCreate, "hall")), S::StatusExists);
}

/// Goal: a room that is deleted puts its members out, with by whom; it is gone on every shard, and so is what was
/// said of it; a room of its name is another one (PROTOCOL M75).
#[test]
fn a_deleted_room_is_gone() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let at = |shard: usize| shard % usize::from(shards);
        let ann = cluster.member(0, "ann", "hall");
        let members: Vec<Client> = ["tim", "eve"]
            .iter()
            .enumerate()
            .map(|(shard, name)| cluster.member(at(shard + 1), name, "hall"))
            .collect();
        cluster.open_voice(members[0], "hall", "127.0.0.1:7001");
        // One whose stream is being opened as the room ends.
        cluster.send(members[1], 9, Body::VoiceAnnounce(open("hall")));
        assert_eq!(cluster.code(ann, action(Kind::RaCreate, "hall/left")), S::StatusOk);
        assert_eq!(cluster.code(ann, about(Kind::RaDelete, "hall", "")), S::StatusBadRequest, "it has a room in it");
        assert_eq!(cluster.code(ann, set("hall", temporary())), S::StatusBadRequest);
        assert_eq!(cluster.code(ann, about(Kind::RaDelete, "hall/left", "")), S::StatusOk);
        assert_eq!(cluster.code(ann, about(Kind::RaDelete, "hall", "")), S::StatusOk);
        for client in members {
            let told = deltas(cluster.take(client));
            let last = told.last().unwrap();
            assert_eq!((last.event_type(), last.by.as_str()), (RoomEventType::ReRemoved, "ann"));
            assert_eq!(cluster.code(client, chat("hall", "hi")), S::StatusNotInRoom);
            assert_eq!(cluster.code(client, action(Kind::RaJoin, "hall")), S::StatusNotFound);
        }
        assert_eq!(cluster.peers(), 0);
        for shard in &cluster.shards {
            assert!(shard.home_members(RoomNumber(1)).is_none() && shard.replica_members(RoomNumber(1)).is_none());
        }
        cluster.pass(1_000_000);
        assert!(cluster.stored.ended.is_empty(), "its lines are swept");
        let state = cluster.room_state(ann, action(Kind::RaCreate, "hall"));
        assert_eq!(state.room_number, 3);
        assert_eq!(cluster.audit.last().unwrap().action(), Action::MaDeleteRoom);
    }
}

/// Goal: in slow mode a member's next line waits, with how long; who moderates writes as they like, and a line that
/// was not stored does not count (PROTOCOL M76).
#[test]
fn slow_mode_slows_chat() {
    let mut cluster = Cluster::new(2);
    let ann = cluster.member(0, "ann", "hall");
    let tim = cluster.member(1, "tim", "hall");
    let slow = RoomProperties { slow_mode_seconds: Some(10), ..RoomProperties::default() };
    assert_eq!(cluster.code(ann, set("hall", slow)), S::StatusOk);
    cluster.store_fails = true;
    assert_eq!(cluster.code(tim, chat("hall", "lost")), S::StatusTryAgain);
    cluster.store_fails = false;
    assert_eq!(cluster.code(tim, chat("hall", "one")), S::StatusOk);
    cluster.pass(4_000_000);
    let Body::Status(status) = cluster.ask(tim, chat("hall", "two")) else { panic!("stored") };
    assert_eq!((status.status_code(), status.retry_after_ms), (S::StatusTryAgain, 6_000));
    assert_eq!(cluster.code(ann, chat("hall", "three")), S::StatusOk);
    assert_eq!(cluster.code(ann, chat("hall", "four")), S::StatusOk);
    assert_eq!(cluster.code(tim, action(Kind::RaLeave, "hall")), S::StatusOk);
    assert_eq!(cluster.code(tim, action(Kind::RaJoin, "hall")), S::StatusOk);
    assert_eq!(cluster.code(tim, chat("hall", "five")), S::StatusTryAgain, "leaving does not help");
    cluster.pass(6_000_000);
    assert_eq!(cluster.code(tim, chat("hall", "six")), S::StatusOk);
}

/// Goal: slow mode does not stand against a line that is sent again under its id, which is no new line and makes nobody
/// wait; nor does one count that the store's queue had no room for (PROTOCOL M21, M76).
#[test]
fn slow_mode_lets_a_line_be_resent() {
    let said = |room: &str, content: &str, client_id: &str| {
        let (room_id, content, client_id) = (room.to_owned(), content.to_owned(), client_id.to_owned());
        Body::ChatMsg(ChatMsg { room_id, content, client_id, ..ChatMsg::default() })
    };
    let mut cluster = Cluster::with(1, |config| config.limits.store_requests_max = 1);
    let ann = cluster.member(0, "ann", "hall");
    let tim = cluster.member(0, "tim", "hall");
    cluster.ask(ann, action(Kind::RaCreate, "attic"));
    for client in [ann, tim] {
        assert_eq!(cluster.code(client, action(Kind::RaJoin, "attic")), S::StatusOk);
    }
    let slow = RoomProperties { slow_mode_seconds: Some(10), ..RoomProperties::default() };
    assert_eq!(cluster.code(ann, set("hall", slow)), S::StatusOk);
    // The store's queue is full.
    cluster.inbox.clear();
    cluster.send(ann, 1, chat("attic", "first"));
    cluster.send(tim, 2, chat("hall", "too many"));
    cluster.run();
    assert_eq!(code(&cluster.take(tim)[0]), S::StatusTryAgain);
    let Body::ChatMsg(first) = cluster.ask(tim, said("hall", "one", "t-1")) else { panic!("a wait for nothing") };
    for _ in 0..2 {
        let Body::ChatMsg(again) = cluster.ask(tim, said("hall", "one", "t-1")) else { panic!("not resent") };
        assert_eq!(again.message_id, first.message_id);
        cluster.pass(2_000_000);
    }
    let Body::Status(status) = cluster.ask(tim, said("hall", "two", "t-2")) else { panic!("stored") };
    assert_eq!((status.status_code(), status.retry_after_ms), (S::StatusTryAgain, 6_000));
    cluster.pass(6_000_000);
    assert_eq!(cluster.code(tim, said("hall", "one", "t-1")), S::StatusOk);
    assert_eq!(cluster.code(tim, said("hall", "two", "t-2")), S::StatusOk, "a line of before is no line of now");
    // One of before that slow mode has forgotten, or never knew.
    cluster.pass(10_000_000);
    assert_eq!(cluster.code(tim, said("attic", "three", "t-3")), S::StatusOk);
    assert_eq!(cluster.code(tim, said("hall", "three", "t-3")), S::StatusOk);
    assert_eq!(cluster.code(tim, said("hall", "two", "t-2")), S::StatusOk);
    assert_eq!(cluster.code(tim, said("hall", "four", "t-4")), S::StatusOk);
}

/// Goal: what members invite leaves place for what those who moderate say of accounts (PROTOCOL M72).
#[test]
fn invitations_leave_place_for_moderators() {
    let mut cluster = Cluster::with(2, |config| config.limits.room_standings_max = 8);
    let ann = cluster.member(0, "ann", "hall");
    let tim = cluster.member(1, "tim", "hall");
    let mia = cluster.person(1, "mia", "hall", Role::Moderator);
    for number in 0..8 {
        cluster.make_account(&format!("p{number}"), "secret", Role::Member);
    }
    let invite = |name: &str| about(Kind::RaInvite, "hall", name);
    for number in 0..6 {
        assert_eq!(cluster.code(tim, invite(&format!("p{number}"))), S::StatusOk);
    }
    assert_eq!(cluster.code(tim, invite("p6")), S::StatusLimit);
    assert_eq!(cluster.code(mia, invite("p6")), S::StatusLimit, "nor does a moderator, who does not manage the room");
    assert_eq!(cluster.code(tim, invite("p5")), S::StatusOk, "who is invited already takes no place");
    assert_eq!(cluster.code(mia, Body::Moderation(moderation(Action::MaMute, "hall", "tim"))), S::StatusOk);
    assert_eq!(cluster.code(ann, invite("p6")), S::StatusOk, "who manages the room has all of it");
    assert_eq!(cluster.code(ann, invite("p7")), S::StatusLimit);
}

/// Goal: a room in a room is made by who manages that one, one level deep; lists go by prefix, in pages
/// (PROTOCOL M77).
#[test]
fn rooms_are_in_rooms() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let ann = cluster.member(0, "ann", "Hall");
        let tim = cluster.member(usize::from(shards) - 1, "tim", "hall");
        let cases = [
            (ann, "hall/left", S::StatusOk),
            (ann, "Hall/Right", S::StatusOk),
            (ann, "hall/left", S::StatusExists),
            (tim, "hall/mine", S::StatusDenied),
            (ann, "nowhere/left", S::StatusNotFound),
            (ann, "hall/left/deep", S::StatusNameInvalid),
            (ann, "hall/", S::StatusNameInvalid),
            (ann, "/left", S::StatusNameInvalid),
            (ann, "hall/ left", S::StatusNameInvalid),
            (tim, "hallway", S::StatusOk),
        ];
        for (client, name, expected) in cases {
            assert_eq!(cluster.code(client, action(Kind::RaCreate, name)), expected, "{name}");
        }
        assert_eq!(cluster.names(tim, "HALL/"), ["hall/left", "Hall/Right"]);
        assert_eq!(cluster.names(tim, "hall"), ["Hall", "hall/left", "Hall/Right", "hallway"]);
        assert_eq!(cluster.names(tim, "x"), Vec::<String>::new());
        assert_eq!(cluster.code(tim, action(Kind::RaJoin, "hall/LEFT")), S::StatusOk);
        for number in 0..150 {
            assert_eq!(cluster.code(ann, action(Kind::RaCreate, &format!("hall/{number:03}"))), S::StatusOk);
        }
        assert_eq!(cluster.names(tim, "hall/").len(), 152, "over pages");
    }
}

/// Goal: a list tells how many are in each room, at most about a second late, and a room's own number of speakers
/// goes before the server's (PROTOCOL M79).
#[test]
fn lists_count_and_speakers_are_the_rooms_own() {
    let mut cluster = Cluster::with(2, |config| config.speakers_max = 1);
    let ann = cluster.member(0, "ann", "hall");
    let tim = cluster.member(1, "tim", "hall");
    cluster.pass(1_100_000);
    assert_eq!(cluster.listed(tim, "hall")[0].member_count, 2);
    let mut microphones = Vec::new();
    for (client, address) in [(ann, "127.0.0.1:7001"), (tim, "127.0.0.1:7002")] {
        microphones.push(cluster.open_voice(client, "hall", address));
    }
    let eve = cluster.member(0, "eve", "hall");
    microphones.push(cluster.open_voice(eve, "hall", "127.0.0.1:7003"));
    let speak = |cluster: &mut Cluster, microphones: &mut Vec<cluster::Microphone>| {
        for _ in 0..50 {
            for microphone in microphones.iter_mut() {
                cluster.talk(microphone);
            }
            cluster.pass(50_000);
        }
        cluster.heard.clear();
        for microphone in microphones.iter_mut() {
            cluster.talk(microphone);
        }
        let speakers: std::collections::BTreeSet<_> = cluster.heard.iter().map(|heard| heard.header.ssrc).collect();
        speakers.len()
    };
    assert_eq!(speak(&mut cluster, &mut microphones), 1, "as the server has it");
    let speakers = |speakers| RoomProperties { speakers: Some(speakers), ..RoomProperties::default() };
    assert_eq!(cluster.code(ann, set("hall", speakers(2))), S::StatusOk);
    assert_eq!(speak(&mut cluster, &mut microphones), 2);
    assert_eq!(cluster.code(ann, set("hall", speakers(3))), S::StatusOk);
    assert_eq!(speak(&mut cluster, &mut microphones), 3, "there are no more to choose from");
    assert_eq!(cluster.code(ann, set("hall", speakers(0))), S::StatusOk);
    assert_eq!(speak(&mut cluster, &mut microphones), 1);
    for client in [tim, eve] {
        assert_eq!(cluster.code(client, action(Kind::RaLeave, "hall")), S::StatusOk);
    }
    cluster.pass(1_100_000);
    assert_eq!(cluster.listed(tim, "hall")[0].member_count, 1);
}

/// Goal: one that is let in while it waits for the hashers finds the room as it is then (PROTOCOL M71).
#[test]
fn a_room_may_change_while_a_password_is_looked_at() {
    let mut cluster = Cluster::new(2);
    let ann = cluster.member(0, "ann", "attic");
    let tim = cluster.member(1, "tim", "attic");
    assert_eq!(cluster.code(ann, create("hall", password("old"))), S::StatusOk);
    for change in [password("new"), invite_only()] {
        cluster.hold_hashes = true;
        cluster.send(tim, 5, join_with("hall", "old"));
        cluster.run();
        // The change waits for no hasher in this test: only the join is held.
        cluster.hold_hashes = false;
        let hold = std::mem::take(&mut cluster.held_hashes);
        assert_eq!(cluster.code(ann, set("hall", change)), S::StatusOk);
        cluster.release(hold);
        cluster.run();
        let answer = cluster.take(tim).into_iter().find(|body| matches!(body, Body::Status(_))).unwrap();
        assert_ne!(code(&answer), S::StatusOk);
        assert_eq!(cluster.code(ann, set("hall", password("old"))), S::StatusOk);
    }
    let gone = Body::RoomAction(RoomAction { room_id: "hall".into(), ..RoomAction::default() });
    assert_eq!(cluster.code(tim, gone), S::StatusBadRequest);
}
