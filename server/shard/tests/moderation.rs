//! Rights, roles, mutes, kicks and the log of them, as clients on several shards see them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Client, Cluster, action, announce, chat, code, login, moderation};
use echomesh_proto::control::{
    Body, ClaimRequest, LoginRequest, Moderation, ModerationAction as Action, ModerationState, ResumeRequest, Right,
    Role, RoomActionType, RoomDelta, RoomEventType, RoomMessage, StatusCode, Who,
};
use echomesh_shard::rights::Rights;
use echomesh_shard::{CloseReason, Drop, Security};

const ROLES: [Role; 5] = [Role::Guest, Role::Member, Role::Moderator, Role::Admin, Role::Owner];

fn about(action: Action, room: &str, username: &str) -> Body {
    Body::Moderation(moderation(action, room, username))
}

fn role(username: &str, role: Role) -> Body {
    Body::Moderation(Moderation { role: role as i32, ..moderation(Action::MaSetRole, "", username) })
}

fn rights(username: &str, of: Role, allow: &[Right], deny: &[Right]) -> Body {
    let (allow, deny) = (Rights::of(allow).0, Rights::of(deny).0);
    Body::Moderation(Moderation { role: of as i32, allow, deny, ..moderation(Action::MaSetRights, "hall", username) })
}

fn state(body: Body) -> ModerationState {
    match body {
        Body::ModerationState(state) => state,
        other => panic!("{other:?}"),
    }
}

fn deltas(bodies: Vec<Body>) -> Vec<RoomDelta> {
    bodies
        .into_iter()
        .filter_map(|body| if let Body::RoomEvent(event) = body { Some(event.deltas) } else { None })
        .flatten()
        .collect()
}

/// Hall made by an owner; in it the actor, and tim, a guest, on another shard.
fn hall(actor: Role) -> (Cluster, Client, Client) {
    let mut cluster = Cluster::new(3);
    cluster.person(0, "olga", "hall", Role::Owner);
    let actor = cluster.person(1, "ann", "hall", actor);
    let tim = cluster.person(2, "tim", "hall", Role::Guest);
    cluster.inbox.clear();
    (cluster, actor, tim)
}

/// Goal: each right is demanded, of every role, and by nothing but the table (PROTOCOL M50).
#[test]
fn each_right_is_demanded_of_each_role() {
    let ban_address = Moderation { address: "192.0.2.0/24".into(), ..moderation(Action::MaBan, "", "") };
    let cases: [(Option<Right>, Body); 19] = [
        (Some(Right::Enter), action(RoomActionType::RaJoin, "hall")),
        (Some(Right::Speak), announce("hall", false, false)),
        (Some(Right::Write), chat("hall", "hi")),
        (Some(Right::CreateRoom), action(RoomActionType::RaCreate, "new")),
        (Some(Right::Mute), about(Action::MaMute, "hall", "tim")),
        (Some(Right::Mute), about(Action::MaUnmute, "hall", "tim")),
        (Some(Right::Mute), about(Action::MaDeafen, "hall", "tim")),
        (Some(Right::Mute), about(Action::MaUndeafen, "hall", "tim")),
        (Some(Right::Kick), about(Action::MaKick, "hall", "tim")),
        (Some(Right::Kick), about(Action::MaKick, "", "tim")),
        (Some(Right::Ban), about(Action::MaBan, "hall", "tim")),
        (Some(Right::Ban), about(Action::MaBan, "", "tim")),
        (Some(Right::Ban), about(Action::MaListBans, "hall", "")),
        (Some(Right::Audit), Body::Moderation(ban_address)),
        (Some(Right::Roles), role("tim", Role::Guest)),
        (Some(Right::Manage), rights("tim", Role::Guest, &[], &[Right::Speak])),
        (Some(Right::Manage), about(Action::MaListRights, "hall", "")),
        (Some(Right::Audit), about(Action::MaListAudit, "", "")),
        (None, about(Action::MaReport, "hall", "tim")),
    ];
    for actor in ROLES {
        for (right, body) in &cases {
            let (mut cluster, ann, _) = hall(actor);
            let has = right.is_none_or(|right| Rights::of_role(actor).has(right));
            let expected = if has { StatusCode::StatusOk } else { StatusCode::StatusDenied };
            assert_eq!(cluster.code(ann, body.clone()), expected, "{actor:?} {body:?}");
        }
    }
}

/// Goal: nobody acts on someone of an equal or higher role, in a room and on the server, and nobody gives a
/// role at or above the own (PROTOCOL M54).
#[test]
fn equals_and_superiors_are_left_alone() {
    for actor in [Role::Moderator, Role::Admin, Role::Owner] {
        for target in ROLES {
            let bodies = [
                about(Action::MaMute, "hall", "bob"),
                about(Action::MaKick, "hall", "bob"),
                about(Action::MaBan, "hall", "bob"),
                about(Action::MaBan, "", "bob"),
                about(Action::MaKick, "", "bob"),
            ];
            for body in bodies {
                let (mut cluster, ann, _) = hall(actor);
                cluster.person(0, "bob", "hall", target);
                let allowed = actor == Role::Owner || actor > target;
                let expected = if allowed { StatusCode::StatusOk } else { StatusCode::StatusDenied };
                assert_eq!(cluster.code(ann, body.clone()), expected, "{actor:?} {target:?} {body:?}");
            }
        }
    }
    let (mut cluster, ann, _) = hall(Role::Admin);
    assert_eq!(cluster.code(ann, role("tim", Role::Moderator)), StatusCode::StatusOk);
    assert_eq!(cluster.code(ann, role("tim", Role::Admin)), StatusCode::StatusDenied);
    assert_eq!(cluster.code(ann, role("ann", Role::Guest)), StatusCode::StatusDenied);
    assert_eq!(cluster.code(ann, role("olga", Role::Guest)), StatusCode::StatusDenied);
    let (mut cluster, ann, _) = hall(Role::Owner);
    assert_eq!(cluster.code(ann, role("tim", Role::Admin)), StatusCode::StatusOk);
    assert_eq!(cluster.code(ann, role("tim", Role::Owner)), StatusCode::StatusDenied);
    assert_eq!(cluster.code(ann, role("ann", Role::Member)), StatusCode::StatusDenied, "a server keeps its owner");
}

/// Goal: requests that make no sense are refused with their own codes and change nothing (PROTOCOL M10).
#[test]
fn nonsense_is_refused() {
    use StatusCode as S;
    let (mut cluster, ann, _) = hall(Role::Owner);
    let long = Moderation { reason: "x".repeat(501), ..moderation(Action::MaKick, "hall", "tim") };
    let lines = Moderation { reason: "a\nb".into(), ..moderation(Action::MaKick, "hall", "tim") };
    let of_address =
        |address: &str| Body::Moderation(Moderation { address: address.into(), ..moderation(Action::MaBan, "", "") });
    let nobody = Moderation { session_id: 12, ..moderation(Action::MaKick, "hall", "") };
    let unban = Moderation { ban_id: 9, ..moderation(Action::MaUnban, "", "") };
    let cases = [
        (about(Action::MaUnspecified, "hall", "tim"), S::StatusBadRequest),
        (about(Action::MaMute, "", "tim"), S::StatusBadRequest),
        (about(Action::MaMute, "nowhere", "tim"), S::StatusNotFound),
        (about(Action::MaMute, "hall", "nobody"), S::StatusNotFound),
        (about(Action::MaKick, "hall", ""), S::StatusBadRequest),
        (Body::Moderation(long), S::StatusTooLong),
        (Body::Moderation(lines), S::StatusBadRequest),
        (Body::Moderation(nobody), S::StatusNotFound),
        (Body::Moderation(unban), S::StatusNotFound),
        (of_address("10.0.0.0/7"), S::StatusBadRequest),
        (of_address("127.0.0.0/8"), S::StatusBadRequest),
        (rights("tim", Role::Guest, &[Right::Audit], &[]), S::StatusBadRequest),
        (rights("", Role::Admin, &[], &[Right::Write]), S::StatusDenied),
    ];
    let huge = "x".repeat(60_000);
    let huge_page = Moderation { page: vec![1; 60_000].into(), ..moderation(Action::MaListBans, "hall", "") };
    let huge_address = Moderation { address: huge.clone(), ..moderation(Action::MaMute, "hall", "tim") };
    let cases = cases.into_iter().chain([
        (about(Action::MaKick, "", &huge), S::StatusTooLong),
        (about(Action::MaKick, &huge, "tim"), S::StatusNotFound),
        (Body::Moderation(huge_page), S::StatusTooLong),
        (of_address(&huge), S::StatusBadRequest),
    ]);
    for (body, expected) in cases {
        assert_eq!(cluster.code(ann, body.clone()), expected, "{body:?}");
    }
    assert!(cluster.audit.is_empty());
    assert_eq!(cluster.code(ann, Body::Moderation(huge_address)), S::StatusOk, "what an act does not need is cut off");
    assert_eq!(cluster.code(ann, about(Action::MaReport, &huge, "tim")), S::StatusOk);
}

/// Goal: what a room gives and takes holds at once, for those inside and those who come (PROTOCOL M53).
#[test]
fn rights_of_a_room_hold_at_once() {
    let (mut cluster, ann, tim) = hall(Role::Admin);
    let eve = cluster.person(0, "eve", "hall", Role::Member);
    let message = || Body::RoomMessage(RoomMessage { room_id: "hall".into(), ..RoomMessage::default() });
    assert_eq!(cluster.code(ann, rights("", Role::Member, &[], &[Right::Write])), StatusCode::StatusOk);
    assert_eq!(cluster.code(eve, chat("hall", "hi")), StatusCode::StatusDenied);
    assert_eq!(cluster.code(eve, message()), StatusCode::StatusDenied);
    assert_eq!(cluster.code(tim, chat("hall", "hi")), StatusCode::StatusOk);
    assert_eq!(cluster.code(ann, rights("eve", Role::Guest, &[Right::Write, Right::Mute], &[])), StatusCode::StatusOk);
    assert_eq!(cluster.code(eve, chat("hall", "hi")), StatusCode::StatusOk);
    assert_eq!(cluster.code(eve, about(Action::MaMute, "hall", "tim")), StatusCode::StatusOk);
    assert_eq!(cluster.code(eve, about(Action::MaKick, "hall", "tim")), StatusCode::StatusDenied);
    cluster.inbox.clear();
    assert_eq!(cluster.code(ann, rights("", Role::Guest, &[], &[Right::Enter])), StatusCode::StatusOk);
    let told = deltas(cluster.take(tim));
    assert_eq!(told.last().unwrap().event_type(), RoomEventType::ReRemoved);
    assert_eq!(cluster.code(tim, chat("hall", "hi")), StatusCode::StatusNotInRoom);
    assert_eq!(cluster.code(tim, action(RoomActionType::RaJoin, "hall")), StatusCode::StatusDenied);
    let listed = state(cluster.ask(ann, about(Action::MaListRights, "hall", "")));
    assert_eq!(listed.rights.len(), 4, "guests, members, eve, tim's mute: {listed:?}");
    assert_eq!(cluster.code(ann, rights("", Role::Guest, &[], &[])), StatusCode::StatusOk);
    assert_eq!(cluster.code(tim, action(RoomActionType::RaJoin, "hall")), StatusCode::StatusOk);
}

/// Goal: who makes a room rules over members in it, gives no more than it has there, and has nothing to say
/// elsewhere or over moderators (PROTOCOL M53, M54).
#[test]
fn who_makes_a_room_moderates_it() {
    let mut cluster = Cluster::new(2);
    let ann = cluster.person(0, "ann", "den", Role::Member);
    cluster.person(1, "bob", "den", Role::Member);
    cluster.person(1, "max", "den", Role::Moderator);
    cluster.person(1, "olga", "hall", Role::Owner);
    assert_eq!(cluster.code(ann, about(Action::MaMute, "den", "bob")), StatusCode::StatusOk);
    assert_eq!(cluster.code(ann, about(Action::MaMute, "den", "max")), StatusCode::StatusDenied);
    assert_eq!(cluster.code(ann, about(Action::MaKick, "", "bob")), StatusCode::StatusDenied);
    assert_eq!(cluster.code(ann, about(Action::MaListRights, "hall", "")), StatusCode::StatusDenied);
    let give = |right| Moderation { allow: Rights::of(&[right]).0, ..moderation(Action::MaSetRights, "den", "bob") };
    assert_eq!(cluster.code(ann, Body::Moderation(give(Right::Kick))), StatusCode::StatusOk);
    let take = Moderation { deny: Rights::of(&[Right::Write]).0, role: Role::Moderator as i32, ..give(Right::Enter) };
    let take = Moderation { username: String::new(), allow: 0, ..take };
    assert_eq!(cluster.code(ann, Body::Moderation(take)), StatusCode::StatusDenied);
    assert_eq!(cluster.code(ann, about(Action::MaBan, "den", "bob")), StatusCode::StatusOk);
    let bob = cluster.connect(0);
    cluster.login(bob, "bob", 0);
    assert_eq!(cluster.code(bob, action(RoomActionType::RaJoin, "den")), StatusCode::StatusBanned);
    let listed = state(cluster.ask(ann, about(Action::MaListBans, "den", "")));
    let unban = Moderation { ban_id: listed.bans[0].ban_id, ..moderation(Action::MaUnban, "den", "") };
    assert_eq!(cluster.code(ann, Body::Moderation(unban)), StatusCode::StatusOk);
    assert_eq!(cluster.code(bob, action(RoomActionType::RaJoin, "den")), StatusCode::StatusOk);
}

/// Goal: a moderator's mute stops voice at its shard at once, is counted by its own reason, survives leaving and
/// new voice, and cannot be taken back by its target; a deafened listener is sent nothing (PROTOCOL M51).
/// Method: speaker and listener have their streams on different shards.
#[test]
fn a_mute_holds_on_all_shards() {
    let mut cluster = Cluster::with(2, |config| config.spread_after = 1);
    let olga = cluster.person(0, "olga", "hall", Role::Owner);
    let tim = cluster.person(1, "tim", "hall", Role::Member);
    let bob = cluster.person(0, "bob", "hall", Role::Member);
    let mut voice = cluster.open_voice(tim, "hall", "127.0.0.1:5001");
    let other = cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    assert_ne!(voice.ssrc.shard(), other.ssrc.shard());
    let said = |cluster: &mut Cluster, voice: &mut cluster::Microphone| {
        cluster.heard.clear();
        cluster.talk(voice);
        cluster.heard.len()
    };
    assert_eq!(said(&mut cluster, &mut voice), 1);
    cluster.inbox.clear();
    assert_eq!(cluster.code(olga, about(Action::MaMute, "hall", "tim")), StatusCode::StatusOk);
    assert!(deltas(cluster.take(bob)).iter().any(|delta| delta.member.as_ref().unwrap().server_muted));
    assert_eq!(said(&mut cluster, &mut voice), 0);
    assert_eq!(cluster.code(tim, announce("hall", false, false)), StatusCode::StatusOk);
    assert_eq!(said(&mut cluster, &mut voice), 0);
    assert_eq!(cluster.shards[voice.ssrc.shard().index()].counters().dropped(Drop::ServerMuted), 2);
    cluster.ask(tim, action(RoomActionType::RaLeave, "hall"));
    cluster.ask(tim, action(RoomActionType::RaJoin, "hall"));
    let mut voice = cluster.open_voice(tim, "hall", "127.0.0.1:5003");
    assert_eq!(said(&mut cluster, &mut voice), 0);
    assert_eq!(cluster.code(tim, about(Action::MaUnmute, "hall", "tim")), StatusCode::StatusDenied);
    assert_eq!(cluster.code(olga, about(Action::MaUnmute, "hall", "tim")), StatusCode::StatusOk);
    assert_eq!(said(&mut cluster, &mut voice), 1);
    assert_eq!(cluster.code(olga, about(Action::MaDeafen, "hall", "bob")), StatusCode::StatusOk);
    assert_eq!(said(&mut cluster, &mut voice), 0);
    assert_eq!(cluster.code(olga, about(Action::MaUndeafen, "hall", "bob")), StatusCode::StatusOk);
    assert_eq!(said(&mut cluster, &mut voice), 1);
    assert_eq!(cluster.code(olga, rights("", Role::Member, &[], &[Right::Speak])), StatusCode::StatusOk);
    assert_eq!(said(&mut cluster, &mut voice), 0, "without the right to speak nobody is heard");
}

/// Goal: a muted speaker's first packet is stopped too, before its room's home has heard of the new stream
/// (PROTOCOL M51). Method: the packet comes as soon as the keys are given, before anything else goes on.
#[test]
fn a_mute_holds_from_the_first_packet() {
    let mut cluster = Cluster::with(2, |config| config.spread_after = 1);
    let olga = cluster.person(0, "olga", "hall", Role::Owner);
    let tim = cluster.person(1, "tim", "hall", Role::Member);
    cluster.open_voice(olga, "hall", "127.0.0.1:5002");
    assert_eq!(cluster.code(olga, about(Action::MaMute, "hall", "tim")), StatusCode::StatusOk);
    cluster.inbox.clear();
    cluster.send(tim, 5, Body::VoiceAnnounce(cluster::open("hall")));
    let mut voice = loop {
        assert!(cluster.step(), "keys are given");
        if let Some(voice) = cluster.given_voice(tim) {
            break voice;
        }
    };
    cluster.heard.clear();
    cluster.talk(&mut voice);
    assert!(cluster.heard.is_empty());
    assert_eq!(cluster.shards[voice.ssrc.shard().index()].counters().dropped(Drop::ServerMuted), 1);
}

/// Goal: who is kicked from a room is told by whom and why, as the last it hears of the room; others see it
/// leave; it may come back (PROTOCOL M52).
#[test]
fn a_kick_is_told_to_its_target() {
    let (mut cluster, ann, tim) = hall(Role::Moderator);
    let kick = Moderation { reason: "noise".into(), ..moderation(Action::MaKick, "hall", "Tim") };
    assert_eq!(cluster.code(ann, Body::Moderation(kick)), StatusCode::StatusOk);
    let told = deltas(cluster.take(tim));
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].event_type(), told[0].by.as_str(), told[0].reason.as_str()),
        (RoomEventType::ReRemoved, "ann", "noise")
    );
    let seen = deltas(cluster.take(ann));
    assert_eq!(seen.last().unwrap().event_type(), RoomEventType::ReLeft);
    assert_eq!(cluster.code(tim, chat("hall", "hi")), StatusCode::StatusNotInRoom);
    assert_eq!(cluster.code(ann, about(Action::MaKick, "hall", "tim")), StatusCode::StatusNotFound);
    assert_eq!(cluster.code(tim, action(RoomActionType::RaJoin, "hall")), StatusCode::StatusOk);
}

/// Goal: a kick from the server ends all sessions of the account on all shards with a reason; none resumes
/// (PROTOCOL M52).
#[test]
fn a_kick_from_the_server_ends_all_sessions() {
    let (mut cluster, ann, tim) = hall(Role::Moderator);
    let other = cluster.connect(0);
    let token = cluster.login(other, "tim", 1).resume_token;
    cluster.ask(other, action(RoomActionType::RaJoin, "hall"));
    cluster.close(other);
    cluster.inbox.clear();
    assert_eq!(cluster.code(ann, about(Action::MaKick, "", "tim")), StatusCode::StatusOk);
    assert_eq!(cluster.closed.get(&tim), Some(&CloseReason::Kicked));
    assert_eq!(code(cluster.take(tim).last().unwrap()), StatusCode::StatusKicked);
    let gone = deltas(cluster.take(ann)).iter().filter(|delta| delta.event_type() == RoomEventType::ReLeft).count();
    assert_eq!(gone, 2);
    let back = cluster.connect(1);
    let resume = Body::ResumeRequest(ResumeRequest { resume_token: token });
    assert_eq!(cluster.code(back, resume), StatusCode::StatusSessionGone);
    assert_eq!(cluster.code(back, login("tim", "secret", 0)), StatusCode::StatusOk);
}

/// Goal: a role holds at once on all shards, for sessions in rooms and on their way (PROTOCOL M55).
#[test]
fn a_role_holds_at_once() {
    let (mut cluster, olga, tim) = hall(Role::Owner);
    assert_eq!(cluster.code(tim, action(RoomActionType::RaCreate, "new")), StatusCode::StatusDenied);
    assert_eq!(cluster.code(olga, role("tim", Role::Moderator)), StatusCode::StatusOk);
    assert_eq!(cluster.code(tim, action(RoomActionType::RaCreate, "new")), StatusCode::StatusOk);
    cluster.person(0, "bob", "hall", Role::Member);
    assert_eq!(cluster.code(tim, about(Action::MaMute, "hall", "bob")), StatusCode::StatusOk);
    let Body::Who(who) = cluster.ask(tim, Body::Who(Who::default())) else { panic!("no answer") };
    assert_eq!((who.role(), who.owner), (Role::Moderator, false));
    assert_eq!(cluster.code(olga, rights("", Role::Guest, &[], &[Right::Enter])), StatusCode::StatusOk);
    cluster.inbox.clear();
    assert_eq!(cluster.code(olga, role("tim", Role::Guest)), StatusCode::StatusOk);
    assert_eq!(deltas(cluster.take(tim)).last().unwrap().event_type(), RoomEventType::ReRemoved);
}

/// Goal: as above, whenever it comes between a resume's steps, a login's or a join's (PROTOCOL M55). Method: the
/// change begins after each number of steps; in the end the room has the role as stored.
#[test]
fn a_role_reaches_sessions_on_their_way() {
    for steps in 0..24 {
        let (mut cluster, olga, tim) = hall(Role::Owner);
        let other = cluster.connect(1);
        let token = cluster.login(other, "tim", 1).resume_token;
        cluster.ask(other, action(RoomActionType::RaJoin, "hall"));
        cluster.close(other);
        let (back, fresh) = (cluster.connect(0), cluster.connect(1));
        cluster.send(back, 1, Body::ResumeRequest(ResumeRequest { resume_token: token }));
        cluster.send(fresh, 1, login("tim", "secret", 0));
        cluster.send(fresh, 2, action(RoomActionType::RaJoin, "hall"));
        for _ in 0..steps {
            cluster.step();
        }
        assert_eq!(cluster.code(olga, role("tim", Role::Moderator)), StatusCode::StatusOk);
        let Body::RoomState(roster) = cluster.ask(olga, action(RoomActionType::RaRoster, "hall")) else {
            panic!("no roster")
        };
        let of_tim: Vec<Role> =
            roster.members.iter().filter(|member| member.username == "tim").map(|member| member.role()).collect();
        assert_eq!(of_tim, [Role::Moderator; 3], "after {steps} steps");
        for client in [tim, back, fresh] {
            let Body::Who(who) = cluster.ask(client, Body::Who(Who::default())) else { panic!("no answer") };
            assert_eq!(who.role(), Role::Moderator, "after {steps} steps");
        }
    }
}

/// Goal: the claim code makes an owner, who has all rights with the answer (PROTOCOL M50).
#[test]
fn a_claim_makes_the_owner() {
    let mut cluster = Cluster::new(3);
    let ann = cluster.member(1, "ann", "hall");
    cluster.person(0, "tim", "hall", Role::Admin);
    assert_eq!(cluster.code(ann, role("tim", Role::Member)), StatusCode::StatusDenied);
    assert_eq!(cluster.code(ann, Body::ClaimRequest(ClaimRequest { code: "right".into() })), StatusCode::StatusOk);
    let Body::Who(who) = cluster.ask(ann, Body::Who(Who::default())) else { panic!("no answer") };
    assert_eq!((who.role(), who.owner), (Role::Owner, true));
    assert_eq!(cluster.code(ann, role("tim", Role::Member)), StatusCode::StatusOk);
}

/// Goal: every act is in the log with who, what, whom, where, why and when, newest first, in pages; a store
/// that fails means that nothing was done (PROTOCOL M57).
#[test]
fn acts_are_logged_or_not_done() {
    let (mut cluster, ann, tim) = hall(Role::Admin);
    cluster.store_fails = true;
    assert_eq!(cluster.code(ann, about(Action::MaListAudit, "", "")), StatusCode::StatusTryAgain);
    let kick = Moderation { reason: "why".into(), session_id: 1, ..moderation(Action::MaKick, "hall", "") };
    let Body::RoomState(roster) = cluster.ask(ann, action(RoomActionType::RaRoster, "hall")) else { panic!("no") };
    let session_id = roster.members.iter().find(|member| member.username == "tim").unwrap().session_id;
    let kick = Body::Moderation(Moderation { session_id, ..kick });
    assert_eq!(cluster.code(ann, kick.clone()), StatusCode::StatusTryAgain);
    cluster.store_fails = false;
    assert_eq!(cluster.code(tim, chat("hall", "still here")), StatusCode::StatusOk);
    for _ in 0..20 {
        assert_eq!(cluster.code(ann, about(Action::MaMute, "hall", "tim")), StatusCode::StatusOk);
        assert_eq!(cluster.code(ann, about(Action::MaUnmute, "hall", "tim")), StatusCode::StatusOk);
    }
    assert_eq!(cluster.code(ann, kick), StatusCode::StatusOk);
    let first = state(cluster.ask(ann, about(Action::MaListAudit, "", "")));
    let newest = &first.audit[0];
    assert_eq!(newest.action(), Action::MaKick);
    let words = [&newest.by, &newest.target, &newest.room_id, &newest.reason];
    assert_eq!(words, ["ann", "tim", "hall", "why"]);
    assert!(newest.time_ms > 0);
    let next = Moderation { page: first.next_page.clone(), ..moderation(Action::MaListAudit, "", "") };
    let second = state(cluster.ask(ann, Body::Moderation(next)));
    let ids: Vec<u64> = first.audit.iter().chain(&second.audit).map(|entry| entry.entry_id).collect();
    assert_eq!(ids, (1..=41).rev().collect::<Vec<u64>>());
    assert!(second.next_page.is_empty());
}

/// Goal: a report is stored and told to those who moderate, on all shards, and to nobody else; nobody floods
/// them (PROTOCOL M58).
#[test]
fn reports_reach_those_who_moderate() {
    let (mut cluster, ann, tim) = hall(Role::Moderator);
    let bob = cluster.person(0, "bob", "hall", Role::Member);
    cluster.inbox.clear();
    let report = Moderation { reason: "rude".into(), ..moderation(Action::MaReport, "hall", "bob") };
    assert_eq!(cluster.code(tim, Body::Moderation(report.clone())), StatusCode::StatusOk);
    let told = cluster.take(ann);
    let entry = &state(told[0].clone()).audit[0];
    assert_eq!([&entry.by, &entry.target, &entry.reason, &entry.room_id], ["tim", "bob", "rude", "hall"]);
    assert!(cluster.take(bob).is_empty());
    for _ in 1..5 {
        assert_eq!(cluster.code(tim, Body::Moderation(report.clone())), StatusCode::StatusOk);
    }
    assert_eq!(cluster.code(tim, Body::Moderation(report.clone())), StatusCode::StatusLimit);
    cluster.pass(3_601_000_000);
    assert_eq!(cluster.code(tim, Body::Moderation(report)), StatusCode::StatusOk);
}

/// Goal: guests, who come under another name at will, report by their address, and all of them together leave place for
/// those who have an account (PROTOCOL M58).
#[test]
fn guests_report_by_address() {
    let mut cluster = Cluster::with(2, |config| config.guests = true);
    let tim = cluster.member(0, "tim", "hall");
    let report = || about(Action::MaReport, "hall", "tim");
    let mut names = 0;
    let mut guest = |cluster: &mut Cluster, address: &str| {
        names += 1;
        let client = cluster.connect_as(names % 2, &format!("{address}:4000"), Security::Tls);
        let login = LoginRequest { username: format!("g{names}"), guest: true, ..LoginRequest::default() };
        assert_eq!(cluster.code(client, Body::LoginRequest(login)), StatusCode::StatusOk);
        let answer = cluster.code(client, report());
        cluster.close(client);
        answer
    };
    for _ in 0..5 {
        assert_eq!(guest(&mut cluster, "192.0.2.7"), StatusCode::StatusOk);
        assert_eq!(guest(&mut cluster, "[2001:db8::7]"), StatusCode::StatusOk);
    }
    assert_eq!(guest(&mut cluster, "192.0.2.7"), StatusCode::StatusLimit);
    assert_eq!(guest(&mut cluster, "[2001:db8::8]"), StatusCode::StatusLimit, "of one line to the Internet");
    assert_eq!(cluster.code(tim, report()), StatusCode::StatusOk);
    let mut taken = 10;
    for address in 0..=255 {
        for _ in 0..5 {
            taken += usize::from(guest(&mut cluster, &format!("198.51.100.{address}")) == StatusCode::StatusOk);
        }
    }
    assert_eq!(taken, 1_024);
    assert_eq!(cluster.code(tim, report()), StatusCode::StatusOk);
    cluster.pass(3_601_000_000);
    assert_eq!(guest(&mut cluster, "192.0.2.7"), StatusCode::StatusOk);
}

/// Goal: packets that arrive late, after newer ones that were withheld, are no way around a mute (PROTOCOL M51).
#[test]
fn a_mute_holds_for_late_packets() {
    let mut cluster = Cluster::new(1);
    let olga = cluster.person(0, "olga", "hall", Role::Owner);
    let tim = cluster.person(0, "tim", "hall", Role::Member);
    cluster.open_voice(olga, "hall", "127.0.0.1:5002");
    let mut voice = cluster.open_voice(tim, "hall", "127.0.0.1:5001");
    cluster.talk(&mut voice);
    assert_eq!(cluster.code(olga, about(Action::MaMute, "hall", "tim")), StatusCode::StatusOk);
    cluster.heard.clear();
    let (late, newer) = (voice.packet(), voice.packet());
    for packet in [newer, late] {
        cluster.datagram(0, voice.address, packet);
    }
    assert!(cluster.heard.is_empty());
    assert_eq!(cluster.shards[0].counters().dropped(Drop::ServerMuted), 2);
}
