//! Rooms, chat and sessions across shards, as clients see them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, action, chat, code, login};
use echomesh_proto::control::{
    Body, ChatMsg, ClaimRequest, EchoMsg, ResumeRequest, RoomAction, RoomActionType, RoomEvent, RoomEventType,
    RoomMessage, StatusCode, Who,
};
use echomesh_proto::ids::{RoomNumber, ShardId};
use echomesh_shard::{CloseReason, ClosedCause, Drop, Effect, Effects, Input, RECORD_PREFIX_BYTES, Security};

fn lines(bodies: &[Body]) -> Vec<String> {
    bodies
        .iter()
        .filter_map(|body| if let Body::ChatMsg(line) = body { Some(line.content.clone()) } else { None })
        .collect()
}

fn room_events(bodies: Vec<Body>) -> Vec<RoomEvent> {
    bodies.into_iter().filter_map(|body| if let Body::RoomEvent(event) = body { Some(event) } else { None }).collect()
}

fn room_message(target_session_id: u64, payload: &'static [u8]) -> Body {
    let payload = payload.into();
    Body::RoomMessage(RoomMessage { room_id: "hall".into(), target_session_id, payload, ..RoomMessage::default() })
}

/// Goal: a line reaches every member on every shard once, in order, and nobody outside; the sender's
/// copy is the answer and carries id and time (PROTOCOL M20).
#[test]
fn chat_reaches_members_on_all_shards_once() {
    let mut cluster = Cluster::new(3);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(1, "bob", "Hall");
    let cid = cluster.member(2, "cid", "hall");
    let eve = cluster.member(1, "eve", "cellar");
    cluster.inbox.clear();
    for text in ["one", "two"] {
        let Body::ChatMsg(line) = cluster.ask(ada, chat("hall", text)) else { panic!("refused") };
        assert!(line.message_id > 0 && line.time_ms > 0 && line.username == "ada");
    }
    assert_eq!(lines(&cluster.take(bob)), ["one", "two"]);
    assert_eq!(lines(&cluster.take(cid)), ["one", "two"]);
    assert!(cluster.take(ada).is_empty(), "the sender gets its line as the answer only");
    assert!(cluster.take(eve).is_empty());
}

/// Goal: requests sent without waiting take effect in order (PROTOCOL M12). Method: a minimal client
/// that pipelines login, create, join and chat in one write, byte by byte.
#[test]
fn pipelined_requests_take_effect_in_order() {
    let mut cluster = Cluster::new(2);
    let client = cluster.connect(1);
    let mut bytes = Vec::new();
    let bodies = [
        login("ada", "pw", 0),
        action(RoomActionType::RaCreate, "x"),
        action(RoomActionType::RaJoin, "x"),
        chat("x", "hi"),
    ];
    for body in bodies {
        echomesh_proto::control::EchoMsg::new(0, body).append_frame(&mut bytes);
    }
    for byte in bytes {
        cluster.bytes(client, &[byte]);
    }
    cluster.run();
    let answers = cluster.take(client);
    assert_eq!(answers.len(), 4);
    assert!(answers.iter().all(|answer| code(answer) == StatusCode::StatusOk), "{answers:?}");
    assert_eq!(lines(&answers), ["hi"]);
}

/// Goal: a resend after a lost acknowledgement returns the stored line and tells nobody twice
/// (PROTOCOL M21).
#[test]
fn a_resent_line_is_stored_once() {
    let mut cluster = Cluster::new(2);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(1, "bob", "hall");
    cluster.inbox.clear();
    let line = |text: &str| {
        Body::ChatMsg(ChatMsg {
            room_id: "hall".into(),
            content: text.into(),
            client_id: "a-1".into(),
            ..ChatMsg::default()
        })
    };
    let Body::ChatMsg(first) = cluster.ask(ada, line("hello")) else { panic!("refused") };
    let Body::ChatMsg(second) = cluster.ask(ada, line("hello again")) else { panic!("refused") };
    assert_eq!((first.message_id, first.content), (second.message_id, second.content));
    assert_eq!(lines(&cluster.take(bob)), ["hello"]);
    // In another room it is the line of the first still, whose number is that room's.
    assert_eq!(cluster.code(ada, action(RoomActionType::RaCreate, "attic")), StatusCode::StatusOk);
    assert_eq!(cluster.code(ada, action(RoomActionType::RaJoin, "attic")), StatusCode::StatusOk);
    let again = ChatMsg { room_id: "attic".into(), content: "x".into(), client_id: "a-1".into(), ..ChatMsg::default() };
    let Body::ChatMsg(third) = cluster.ask(ada, Body::ChatMsg(again)) else { panic!("refused") };
    assert_eq!((third.room_id.as_str(), third.message_id), ("hall", second.message_id));
}

/// Goal: every refusal has its own code and leaves the connection usable (PROTOCOL M10, M11, M22).
#[test]
fn refusals_say_what_is_wrong() {
    use StatusCode as S;
    let mut cluster = Cluster::new(2);
    let stranger = cluster.connect(0);
    assert_eq!(cluster.code(stranger, chat("hall", "hi")), S::StatusNotLoggedIn);
    assert_eq!(cluster.code(stranger, login("", "pw", 0)), S::StatusNameInvalid);
    assert_eq!(cluster.code(stranger, login("ada", "", 0)), S::StatusBadCredentials);
    let ada = cluster.member(0, "ada", "hall");
    assert_eq!(cluster.code(stranger, login("ADA", "wrong", 0)), S::StatusBadCredentials);
    assert_eq!(cluster.code(ada, login("ada", "secret", 0)), S::StatusAlreadyLoggedIn);
    assert_eq!(cluster.code(ada, action(RoomActionType::RaCreate, "HALL")), S::StatusExists);
    assert_eq!(cluster.code(ada, action(RoomActionType::RaJoin, "hall")), S::StatusOk);
    assert_eq!(cluster.code(ada, action(RoomActionType::RaJoin, "nowhere")), S::StatusNotFound);
    assert_eq!(cluster.code(ada, action(RoomActionType::RaCreate, "a\nb")), S::StatusNameInvalid);
    assert_eq!(cluster.code(ada, action(RoomActionType::RaUnspecified, "x")), S::StatusBadRequest);
    assert_eq!(cluster.code(ada, chat("cellar", "hi")), S::StatusNotInRoom);
    assert_eq!(cluster.code(ada, chat("hall", "")), S::StatusEmpty);
    assert_eq!(cluster.code(ada, chat("hall", &"x".repeat(4_001))), S::StatusTooLong);
    assert_eq!(cluster.code(ada, chat("hall", &"x".repeat(4_000))), S::StatusOk);
    cluster.store_fails = true;
    assert_eq!(cluster.code(ada, chat("hall", "hi")), S::StatusTryAgain);
    assert_eq!(cluster.code(ada, action(RoomActionType::RaCreate, "new")), S::StatusTryAgain);
    cluster.store_fails = false;
    assert_eq!(cluster.code(ada, chat("hall", "hi")), S::StatusOk);
    assert!(cluster.closed.is_empty());
}

/// Goal: a full room takes no more, on whichever shard they are.
#[test]
fn a_full_room_refuses() {
    let mut cluster = Cluster::with(2, |config| config.limits.room_members_max = 2);
    cluster.member(0, "ada", "hall");
    cluster.member(1, "bob", "hall");
    let cid = cluster.connect(1);
    cluster.login(cid, "cid", 0);
    assert_eq!(cluster.code(cid, action(RoomActionType::RaJoin, "hall")), StatusCode::StatusRoomFull);
}

/// Goal: members see who joins and leaves (PROTOCOL M23); leaving and being cut are the same for a client that cannot
/// resume.
#[test]
fn joins_and_leaves_are_told_as_deltas() {
    let mut cluster = Cluster::new(2);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.connect(1);
    cluster.login(bob, "bob", 0);
    cluster.ask(bob, action(RoomActionType::RaJoin, "hall"));
    cluster.close(bob);
    let events: Vec<_> = cluster
        .take(ada)
        .into_iter()
        .filter_map(|body| if let Body::RoomEvent(event) = body { Some(event) } else { None })
        .flat_map(|event| event.deltas)
        .map(|delta| (delta.event_type(), delta.member.unwrap().username))
        .collect();
    assert_eq!(events, [(RoomEventType::ReJoined, "bob".into()), (RoomEventType::ReLeft, "bob".into())]);
}

/// Goal: a session whose connection was lost is resumed on another shard, in its rooms, without others
/// seeing it leave; the token works once the connection is gone and not with a wrong secret; after a
/// minute it is over (PROTOCOL M16).
#[test]
fn a_session_resumes_on_another_shard() {
    let mut cluster = Cluster::new(3);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.connect(1);
    let token = cluster.login(bob, "bob", 1).resume_token;
    cluster.ask(bob, action(RoomActionType::RaJoin, "hall"));
    cluster.close(bob);
    cluster.inbox.clear();
    let back = cluster.connect(2);
    let mut wrong = token.to_vec();
    wrong[20] ^= 1;
    let resume = |token: &[u8]| Body::ResumeRequest(ResumeRequest { resume_token: token.to_vec().into() });
    assert_eq!(cluster.code(back, resume(&wrong)), StatusCode::StatusSessionGone);
    let Body::LoginResponse(response) = cluster.ask(back, resume(&token)) else { panic!("no answer") };
    assert_eq!((response.status_code, response.rooms), (0, vec!["hall".to_owned()]));
    assert!(cluster.take(ada).is_empty(), "nobody sees it leave");
    cluster.ask(ada, chat("hall", "welcome back"));
    assert_eq!(lines(&cluster.take(back)), ["welcome back"]);
    cluster.close(back);
    cluster.pass(61_000_000);
    let late = cluster.connect(0);
    assert_eq!(cluster.code(late, resume(&token)), StatusCode::StatusSessionGone);
    assert!(cluster.take(ada).iter().any(|body| matches!(body, Body::RoomEvent(_))), "now it left");
}

/// Goal: a token that two connections use at once moves the session once; the other is told to try again,
/// not to log in anew (PROTOCOL M17).
#[test]
fn a_session_is_resumed_by_one_connection_at_a_time() {
    let mut cluster = Cluster::new(3);
    let bob = cluster.connect(0);
    let token = cluster.login(bob, "bob", 1).resume_token;
    cluster.member(1, "ada", "hall");
    cluster.ask(bob, action(RoomActionType::RaJoin, "hall"));
    cluster.close(bob);
    let back = [1, 2].map(|shard| cluster.connect(shard));
    for client in back {
        cluster.send(client, 1, Body::ResumeRequest(ResumeRequest { resume_token: token.clone() }));
    }
    cluster.run();
    let mut codes = back.map(|client| code(&cluster.take(client)[0]));
    codes.sort();
    assert_eq!(codes, [StatusCode::StatusOk, StatusCode::StatusTryAgain]);
}

/// Goal: who does not read is cut, with its reason counted, and others are served (PROTOCOL M07).
#[test]
fn a_client_that_does_not_read_is_cut() {
    let mut cluster = Cluster::new(2);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(1, "bob", "hall");
    cluster.stalled.push(bob);
    for _ in 0..100 {
        assert_eq!(cluster.code(ada, chat("hall", &"x".repeat(4_000))), StatusCode::StatusOk);
    }
    assert_eq!(cluster.closed.get(&bob), Some(&CloseReason::SlowReader));
    assert_eq!(cluster.shards[1].counters().closed(CloseReason::SlowReader), 1);
    assert!(!cluster.closed.contains_key(&ada));
}

/// Goal: silence before a login, and a frame that never ends, are cut in time; an idle member is not
/// (PROTOCOL M06).
#[test]
fn waits_have_an_end() {
    let mut cluster = Cluster::new(1);
    let silent = cluster.connect(0);
    let ada = cluster.member(0, "ada", "hall");
    let slow = cluster.member(0, "slow", "hall");
    cluster.bytes(slow, &[0, 0]);
    cluster.pass(12_000_000);
    assert_eq!(cluster.closed.get(&silent), Some(&CloseReason::LoginTimeout));
    cluster.pass(25_000_000);
    assert_eq!(cluster.closed.get(&slow), Some(&CloseReason::FrameTimeout));
    cluster.pass(60_000_000);
    assert!(!cluster.closed.contains_key(&ada));
}

/// Goal: bytes that are not the protocol close the connection with a notice and a reason; an unknown
/// type does not (PROTOCOL M04, M05).
#[test]
fn garbage_closes_with_a_reason() {
    let mut cluster = Cluster::new(1);
    let cases: [(&[u8], CloseReason); 4] = [
        (&[0xFF; 8], CloseReason::BadFrame),
        (&[0, 0, 0, 0], CloseReason::BadFrame),
        (&[0, 0, 0, 2, 0xFF, 0xFF], CloseReason::Malformed),
        // type = MT_CHAT_MSG (3) with a login_request body whose username is invalid UTF-8
        (&[0, 0, 0, 7, 0x08, 3, 0x1A, 3, 0x0A, 1, 0xFF], CloseReason::Malformed),
    ];
    for (bytes, reason) in cases {
        let client = cluster.connect(0);
        cluster.bytes(client, bytes);
        cluster.run();
        assert_eq!(cluster.closed.get(&client), Some(&reason));
        assert_eq!(code(&cluster.take(client)[0]), StatusCode::StatusMalformed);
    }
    // A type from the future is no reason to hang up.
    let client = cluster.connect(0);
    cluster.bytes(client, &[0, 0, 0, 3, 0x08, 0xE7, 0x07]);
    assert_eq!(code(&cluster.take(client)[0]), StatusCode::StatusUnsupported);
    assert!(!cluster.closed.contains_key(&client));
}

/// Goal: plaintext stays on the machine unless the operator says otherwise (PROTOCOL M03).
#[test]
fn plaintext_from_afar_is_refused() {
    let mut cluster = Cluster::new(1);
    let far = cluster.connect_as(0, "192.0.2.7:5000", echomesh_shard::Security::Plaintext);
    assert_eq!(cluster.closed.get(&far), Some(&CloseReason::PlaintextRefused));
    let tls = cluster.connect_as(0, "192.0.2.7:5000", echomesh_shard::Security::Tls);
    assert!(!cluster.closed.contains_key(&tls));
}

/// Goal: guessing ends the connection after a few tries (PROTOCOL M15).
#[test]
fn guessing_is_cut_off() {
    let mut cluster = Cluster::new(1);
    cluster.member(0, "ada", "hall");
    let guesser = cluster.connect(0);
    for guess in 0..5 {
        assert!(!cluster.closed.contains_key(&guesser), "guess {guess}");
        cluster.send(guesser, 1, login("ada", "nope", 0));
        cluster.run();
    }
    assert_eq!(cluster.closed.get(&guesser), Some(&CloseReason::Guessing));
}

/// Goal: what is buffered for a client that sends faster than it is served stays bounded: reading
/// pauses. Method: the store never answers, the client pipelines.
#[test]
fn pipelining_without_end_pauses_reading() {
    let mut cluster = Cluster::new(1);
    let client = cluster.connect(0);
    let mut bytes = Vec::new();
    for _ in 0..200 {
        echomesh_proto::control::EchoMsg::new(0, login("ada", &"p".repeat(500), 0)).append_frame(&mut bytes);
    }
    cluster.bytes(client, &bytes[..90_000]);
    assert!(cluster.paused.contains(&client));
    cluster.run();
    assert!(!cluster.paused.contains(&client), "and goes on once it is served");
    assert_eq!(cluster.shards[0].counters().dropped(Drop::MeshBadRecord), 0);
}

/// Goal: one account cannot hold sessions without bound.
#[test]
fn sessions_of_an_account_are_bounded() {
    let mut cluster = Cluster::with(2, |config| config.limits.account_sessions_max = 2);
    cluster.member(0, "ada", "hall");
    let second = cluster.member(1, "ada", "hall");
    let third = cluster.connect(0);
    assert_eq!(cluster.code(third, login("ada", "secret", 0)), StatusCode::StatusLimit);
    cluster.ask(second, action(RoomActionType::RaLeave, "hall"));
    cluster.close(second);
    assert_eq!(cluster.code(third, login("ada", "secret", 0)), StatusCode::StatusOk);
}

/// Goal: after the answer to a leave nothing of the room comes any more, and nobody is told of their
/// own leaving, on the room's home shard too. Found by simulator seed 199.
#[test]
fn nothing_comes_after_a_leave() {
    let mut cluster = Cluster::new(2);
    for shard in 0..2 {
        let room = format!("room {shard}");
        let ada = cluster.member(shard, &format!("ada{shard}"), &room);
        let bob = cluster.member(1 - shard, &format!("bob{shard}"), &room);
        cluster.inbox.clear();
        for client in [ada, bob] {
            cluster.ask(client, chat(&room, "bye"));
            cluster.inbox.clear();
            cluster.ask(client, action(RoomActionType::RaLeave, &room));
            assert!(cluster.take(client).is_empty());
        }
    }
}

/// Goal: each change of a room raises its sequence, so that a client can tell a snapshot it has from a
/// change it has not (PROTOCOL M23).
#[test]
fn each_change_raises_the_sequence() {
    let mut cluster = Cluster::new(2);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(1, "bob", "hall");
    let Body::RoomState(before) = cluster.ask(ada, action(RoomActionType::RaRoster, "hall")) else { panic!("refused") };
    for muted in [true, false] {
        cluster.ask(bob, cluster::announce("hall", muted, false));
    }
    cluster.ask(bob, action(RoomActionType::RaLeave, "hall"));
    cluster.ask(bob, action(RoomActionType::RaJoin, "hall"));
    let told: Vec<_> = room_events(cluster.take(ada)).iter().map(|event| event.sequence - before.sequence).collect();
    assert_eq!(told, [1, 2, 3, 4]);
}

/// Goal: the pages of a long roster name every member once.
#[test]
fn a_roster_comes_whole_in_pages() {
    let mut cluster = Cluster::new(2);
    let clients: Vec<_> = (0..120).map(|n| cluster.member(n % 2, &format!("m{n}"), "hall")).collect();
    let (mut page, mut sessions) = (Vec::new(), Vec::new());
    loop {
        let kind = RoomActionType::RaRoster as i32;
        let ask = RoomAction { action_type: kind, room_id: "hall".into(), page: page.into(), ..RoomAction::default() };
        let Body::RoomState(state) = cluster.ask(clients[0], Body::RoomAction(ask)) else { panic!("refused") };
        sessions.extend(state.members.iter().map(|member| member.session_id));
        page = state.next_page.to_vec();
        if page.is_empty() {
            break;
        }
    }
    let distinct: std::collections::BTreeSet<_> = sessions.iter().collect();
    assert_eq!((sessions.len(), distinct.len()), (120, 120));
}

/// Goal: in a large room, where changes are gathered, who came in between and has someone in its roster is
/// told when that one leaves again.
#[test]
fn a_short_visit_leaves_nobody_in_a_roster() {
    let mut cluster = Cluster::new(1);
    for n in 0..51 {
        cluster.member(0, &format!("m{n}"), "hall");
    }
    cluster.pass(200_000);
    let visitor = cluster.member(0, "visitor", "hall");
    let watcher = cluster.connect(0);
    cluster.login(watcher, "watcher", 0);
    cluster.ask(watcher, action(RoomActionType::RaJoin, "hall"));
    cluster.ask(visitor, action(RoomActionType::RaLeave, "hall"));
    cluster.pass(200_000);
    let told = room_events(cluster.take(watcher)).into_iter().flat_map(|event| event.deltas);
    let left: Vec<_> = told.filter(|delta| delta.event_type() == RoomEventType::ReLeft).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].member.as_ref().unwrap().username, "visitor");
}

/// Goal: a room takes as many as its creator said.
#[test]
fn a_room_keeps_its_own_capacity() {
    let mut cluster = Cluster::new(2);
    let [ada, bob] = ["ada", "bob"].map(|name| {
        let client = cluster.connect(0);
        cluster.login(client, name, 0);
        client
    });
    let kind = RoomActionType::RaCreate as i32;
    let ask = RoomAction { action_type: kind, room_id: "cell".into(), capacity: 1, ..RoomAction::default() };
    assert_eq!(cluster.code(ada, Body::RoomAction(ask)), StatusCode::StatusOk);
    assert_eq!(cluster.code(ada, action(RoomActionType::RaJoin, "cell")), StatusCode::StatusOk);
    assert_eq!(cluster.code(bob, action(RoomActionType::RaJoin, "cell")), StatusCode::StatusRoomFull);
}

/// Goal: a room message reaches all others in order, or the one session it names and no other; one to
/// somebody who is not in the room is refused.
#[test]
fn room_messages_reach_whom_they_name() {
    let mut cluster = Cluster::new(3);
    let [ada, bob, cid] = [(0, "ada"), (1, "bob"), (2, "cid")].map(|(shard, name)| cluster.member(shard, name, "hall"));
    let eve = cluster.member(1, "eve", "cellar");
    let [to_bob, to_eve] = [bob, eve].map(|client| {
        let Body::Who(who) = cluster.ask(client, Body::Who(Who::default())) else { panic!("refused") };
        who.session_id
    });
    cluster.inbox.clear();
    assert_eq!(cluster.code(ada, room_message(0, b"all")), StatusCode::StatusOk);
    assert_eq!(cluster.code(ada, room_message(to_bob, b"bob")), StatusCode::StatusOk);
    assert_eq!(cluster.code(ada, room_message(to_eve, b"eve")), StatusCode::StatusNotFound);
    assert_eq!(cluster.code(ada, room_message(0, b"all")), StatusCode::StatusOk);
    let mut got = |client| -> Vec<_> {
        let bodies = cluster.take(client).into_iter();
        let message = |body| if let Body::RoomMessage(message) = body { message } else { panic!("{body:?}") };
        bodies.map(message).map(|message| (message.payload.to_vec(), message.sequence)).collect()
    };
    assert_eq!(got(bob), [(b"all".to_vec(), 1), (b"bob".to_vec(), 2), (b"all".to_vec(), 3)]);
    assert_eq!(got(cid), [(b"all".to_vec(), 1), (b"all".to_vec(), 3)]);
    assert!(got(ada).is_empty() && got(eve).is_empty());
}

/// Goal: each way a connection ends is counted as itself.
#[test]
fn ends_are_counted_by_cause() {
    let mut cluster = Cluster::new(1);
    let causes = [
        (ClosedCause::PeerClosed, CloseReason::PeerClosed),
        (ClosedCause::Network, CloseReason::Network),
        (ClosedCause::NotOurProtocol, CloseReason::NotOurProtocol),
        (ClosedCause::TlsFailed, CloseReason::TlsFailed),
    ];
    for (cause, reason) in causes {
        let client = cluster.connect(0);
        cluster.input(0, Input::Closed { connection: client.id, cause });
        assert_eq!(cluster.shards[0].counters().closed(reason), 1, "{reason:?}");
    }
}

/// Goal: an answer meant for a connection that is gone never reaches the next one in its slot. Method: two
/// people with one password log in one after the other on one slot, the first hangs up in between.
#[test]
fn a_late_answer_does_not_reach_the_next_connection() {
    let mut cluster = Cluster::new(1);
    cluster.member(0, "ada", "hall");
    cluster.member(0, "bob", "hall");
    let first = cluster.connect(0);
    cluster.send(first, 1, login("ada", "secret", 0));
    cluster.input(0, Input::Closed { connection: first.id, cause: ClosedCause::Network });
    let next = cluster.accept(0, first.id.slot, "127.0.0.1:4000", Security::Plaintext);
    assert_eq!(cluster.login(next, "bob", 0).username, "bob");
    assert!(cluster.shards[0].counters().dropped(Drop::StaleAnswer) > 0);
}

/// Goal: a login whose connection is lost at any moment holds no place of its account.
#[test]
fn a_login_cut_short_holds_no_session() {
    for steps in 0..20 {
        let mut cluster = Cluster::with(3, |config| config.limits.account_sessions_max = 1);
        let cut = cluster.connect(0);
        // The home of account 1 is shard 1: its session is asked for over the mesh.
        cluster.send(cut, 1, login("ada", "secret", 0));
        for _ in 0..steps {
            cluster.step();
        }
        cluster.close(cut);
        let next = cluster.connect(2);
        assert_eq!(cluster.code(next, login("ada", "secret", 0)), StatusCode::StatusOk, "cut after {steps} steps");
    }
}

/// Goal: when the store does not answer, each request is answered in time all the same, and the connection
/// goes on (PROTOCOL M10).
#[test]
fn a_silent_store_does_not_hold_requests() {
    let mut cluster = Cluster::new(2);
    let ada = cluster.member(0, "ada", "hall");
    cluster.store_is_silent = true;
    for ask in [chat("hall", "hi"), action(RoomActionType::RaCreate, "new")] {
        cluster.send(ada, 5, ask);
        cluster.pass(10_000_000);
        assert!(cluster.take(ada).is_empty());
        cluster.pass(7_000_000);
        let answers = cluster.take(ada);
        assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), [StatusCode::StatusTryAgain]);
    }
    cluster.store_is_silent = false;
    assert_eq!(cluster.code(ada, chat("hall", "hi")), StatusCode::StatusOk);
}

/// Goal: the claim code makes its account the owner's at once, a wrong one does not.
#[test]
fn a_claim_makes_the_owner() {
    let mut cluster = Cluster::new(1);
    let ada = cluster.member(0, "ada", "hall");
    for (claim, owns) in [("wrong", false), ("right", true)] {
        cluster.ask(ada, Body::ClaimRequest(ClaimRequest { code: claim.into() }));
        let Body::Who(who) = cluster.ask(ada, Body::Who(Who::default())) else { panic!("refused") };
        assert_eq!(who.owner, owns, "{claim}");
    }
}

/// Goal: no more is put on a ring than it has room for; the rest waits, and comes in order. Method: the
/// driver's part by hand, with a ring that holds a few messages.
#[test]
fn a_ring_gets_no_more_than_it_holds() {
    let mut cluster = Cluster::new(2);
    cluster.member(0, "ada", "hall");
    let home = (0..2).find(|shard| cluster.shards[*shard].home_members(RoomNumber(1)).is_some()).unwrap();
    let target = ShardId(1 - home as u8);
    let sender = cluster.member(home, "bob", "hall");
    cluster.member(target.index(), "cid", "hall");
    let records = |cluster: &mut Cluster, input: Input<'_>| -> usize {
        let mut effects = Effects::default();
        cluster.shards[home].handle(cluster.now, input, &mut effects);
        let mut bytes = 0;
        for effect in effects.list {
            if let Effect::MeshControl { record, .. } = effect {
                bytes += record.len() + RECORD_PREFIX_BYTES;
            }
        }
        bytes
    };
    let ring = 5_000;
    records(&mut cluster, Input::RingFree { target, bytes: ring });
    let mut frames = Vec::new();
    for _ in 0..9 {
        EchoMsg::new(1, room_message(0, &[7; 1_000])).append_frame(&mut frames);
    }
    let pushed = records(&mut cluster, Input::Bytes { connection: sender.id, bytes: &frames });
    assert!((4_000..=ring).contains(&pushed), "{pushed} bytes on a ring of {ring}");
    assert!(cluster.shards[home].waits_for_rings().contains(target));
    let pushed = records(&mut cluster, Input::RingFree { target, bytes: ring });
    assert!((4_000..=ring).contains(&pushed), "{pushed} bytes on a ring of {ring}");
}
