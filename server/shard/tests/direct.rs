//! Direct lines between accounts whose sessions are on several shards, come, go and move.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Client, Cluster, code};
use echomesh_proto::control::{
    Body, ChatAction, ChatActionType as Action, ChatMsg, ResumeRequest, Role, StatusCode, Unread,
};

fn direct(to: &str, content: &str, client_id: &str) -> Body {
    let (to, content, client_id) = (to.into(), content.into(), client_id.into());
    Body::ChatMsg(ChatMsg { to, content, client_id, ..ChatMsg::default() })
}

fn with(action: Action, username: &str, message_id: u64) -> Body {
    let content = if action == Action::CaEdit { "better".to_owned() } else { String::new() };
    let username = username.to_owned();
    Body::ChatAction(ChatAction { action: action as i32, username, message_id, content, ..ChatAction::default() })
}

fn heard(cluster: &mut Cluster, client: Client) -> Vec<ChatMsg> {
    let bodies = cluster.take(client).into_iter();
    bodies.filter_map(|body| if let Body::ChatMsg(line) = body { Some(line) } else { None }).collect()
}

fn contents(lines: &[ChatMsg]) -> Vec<&str> {
    lines.iter().map(|line| line.content.as_str()).collect()
}

fn say(cluster: &mut Cluster, client: Client, to: &str, content: &str, client_id: &str) -> ChatMsg {
    match cluster.ask(client, direct(to, content, client_id)) {
        Body::ChatMsg(line) => line,
        other => panic!("{other:?}"),
    }
}

/// A logged-in client in no room.
fn user(cluster: &mut Cluster, shard: usize, name: &str) -> Client {
    let client = cluster.connect(shard);
    assert_eq!(cluster.login(client, name, 1).status_code, 0);
    client
}

/// Goal: a direct line is stored, comes to each session of both sides on whatever shard, once, and to nobody else; a
/// resend is the stored line (PROTOCOL M85).
#[test]
fn a_direct_line_comes_to_every_session_of_both() {
    for shards in 1..=3 {
        let mut cluster = Cluster::new(shards);
        let at = |shard: usize| shard % usize::from(shards);
        let ann = user(&mut cluster, at(0), "ann");
        let others =
            [(1, "ann"), (1, "Bob"), (2, "Bob"), (2, "eve")].map(|(shard, name)| user(&mut cluster, at(shard), name));
        cluster.inbox.clear();
        let line = say(&mut cluster, ann, "BOB", "psst", "id");
        assert_eq!([&line.to, &line.username, &line.client_id], ["Bob", "ann", "id"]);
        assert!(line.message_id != 0 && line.time_ms != 0 && line.room_id.is_empty());
        let again = say(&mut cluster, ann, "bob", "other", "id");
        assert_eq!((again.message_id, again.content.as_str()), (line.message_id, "psst"));
        for (client, expected) in others.into_iter().zip([1, 1, 1, 0]) {
            let lines = heard(&mut cluster, client);
            assert_eq!(lines.len(), expected);
            assert!(lines.iter().all(|told| told.to == "Bob" && told.client_id.is_empty() && told.user_id == 1));
        }
        assert!(heard(&mut cluster, ann).is_empty());
        let stored: u64 = cluster.shards.iter().map(|shard| shard.counters().direct_stored).sum();
        assert_eq!(stored, 1);
    }
}

/// Goal: who was offline finds what came as unread and in the history; a third reads nothing (PROTOCOL M85, M87).
#[test]
fn who_was_offline_finds_it_later() {
    let mut cluster = Cluster::new(2);
    let ann = user(&mut cluster, 0, "ann");
    let bob = user(&mut cluster, 1, "bob");
    cluster.close(bob);
    for content in ["one", "two"] {
        say(&mut cluster, ann, "bob", content, "");
    }
    let bob = user(&mut cluster, 0, "bob");
    let of = |cluster: &mut Cluster, client, name: &str| -> Vec<Unread> {
        let Body::ChatState(state) = cluster.ask(client, with(Action::CaUnread, name, 0)) else { panic!("no state") };
        state.unread
    };
    let [unread] = &of(&mut cluster, bob, "")[..] else { panic!("one conversation") };
    assert_eq!((unread.username.as_str(), unread.count, unread.newest), ("ann", 2, 2));
    for (client, name, expected) in
        [(bob, "ann", &["two", "one"][..]), (bob, "", &["two", "one"]), (ann, "bob", &["two", "one"])]
    {
        let Body::ChatState(state) = cluster.ask(client, with(Action::CaHistory, name, 0)) else { panic!("no state") };
        assert_eq!(contents(&state.lines), expected);
    }
    assert_eq!(cluster.code(bob, with(Action::CaSeen, "ann", 2)), StatusCode::StatusOk);
    assert_eq!(of(&mut cluster, bob, "ann")[0].count, 0);
    let eve = user(&mut cluster, 1, "eve");
    let Body::ChatState(state) = cluster.ask(eve, with(Action::CaHistory, "ann", 0)) else { panic!("no state") };
    assert!(state.lines.is_empty());
}

/// Goal: its author alone edits and deletes a direct line; both sides are told (PROTOCOL M84).
#[test]
fn a_direct_line_is_changed_by_its_author() {
    let mut cluster = Cluster::new(3);
    let ann = user(&mut cluster, 0, "ann");
    let bob = user(&mut cluster, 1, "bob");
    let id = say(&mut cluster, ann, "bob", "hello", "").message_id;
    cluster.inbox.clear();
    assert_eq!(cluster.code(bob, with(Action::CaEdit, "ann", id)), StatusCode::StatusDenied);
    assert_eq!(cluster.code(bob, with(Action::CaDelete, "ann", id)), StatusCode::StatusDenied);
    assert_eq!(cluster.code(ann, with(Action::CaEdit, "bob", id)), StatusCode::StatusOk);
    assert_eq!(cluster.code(ann, with(Action::CaDelete, "bob", id)), StatusCode::StatusOk);
    let lines = heard(&mut cluster, bob);
    assert_eq!(contents(&lines), ["better", ""]);
    assert!(lines.iter().all(|line| line.message_id == id && line.to == "bob") && lines[1].deleted);
    assert_eq!(cluster.code(ann, with(Action::CaEdit, "eve", id)), StatusCode::StatusNotFound);
}

/// Goal: guests, oneself, strangers, floods and a store that fails are refused with their own codes (PROTOCOL M85).
#[test]
fn direct_lines_have_their_refusals() {
    use StatusCode as S;
    let mut cluster = Cluster::with(2, |config| config.limits.direct_lines_max = 3);
    cluster.member(0, "olga", "hall");
    let ann = user(&mut cluster, 0, "ann");
    let tim = cluster.person(1, "tim", "hall", Role::Guest);
    let both = ChatMsg { room_id: "hall".into(), to: "ann".into(), content: "x".into(), ..ChatMsg::default() };
    let cases = [
        (tim, direct("ann", "x", ""), S::StatusDenied),
        (ann, direct("ann", "x", ""), S::StatusBadRequest),
        (ann, direct("nobody", "x", ""), S::StatusNotFound),
        (ann, direct(" x", "x", ""), S::StatusNotFound),
        (ann, direct(&"x".repeat(60_000), "x", ""), S::StatusBadRequest),
        (ann, Body::ChatMsg(both), S::StatusBadRequest),
        (ann, direct("tim", "", ""), S::StatusEmpty),
    ];
    for (client, body, expected) in cases {
        assert_eq!(cluster.code(client, body.clone()), expected, "{body:?}");
    }
    cluster.store_fails = true;
    assert_eq!(cluster.code(ann, direct("tim", "x", "")), S::StatusTryAgain);
    cluster.store_fails = false;
    for expected in [S::StatusOk, S::StatusOk, S::StatusOk, S::StatusLimit] {
        assert_eq!(code(&cluster.ask(ann, direct("tim", "x", ""))), expected);
    }
    cluster.pass(61_000_000);
    assert_eq!(cluster.code(ann, direct("tim", "x", "")), S::StatusOk);
}

/// Goal: a session that moves to another shard misses no direct line that is stored meanwhile. Method: the line is
/// stored at each step of the move; what the session is told and what it reads then are all lines (PROTOCOL M85).
#[test]
fn a_moving_session_misses_nothing() {
    for steps in 0..12 {
        let mut cluster = Cluster::new(3);
        let ann = user(&mut cluster, 0, "ann");
        let bob = cluster.member(1, "bob", "hall");
        let other = cluster.connect(1);
        let token = cluster.login(other, "bob", 1).resume_token;
        cluster.ask(other, cluster::action(echomesh_proto::control::RoomActionType::RaJoin, "hall"));
        cluster.close(other);
        let back = cluster.connect(2);
        cluster.send(back, 9, Body::ResumeRequest(ResumeRequest { resume_token: token }));
        for _ in 0..steps {
            cluster.step();
        }
        cluster.send(ann, 8, direct("bob", "psst", ""));
        cluster.run();
        let stored_late = cluster.memory.direct.len();
        assert_eq!(stored_late, 1);
        let told = heard(&mut cluster, back);
        let Body::ChatState(state) = cluster.ask(back, with(Action::CaHistory, "ann", 0)) else { panic!("no state") };
        assert!(told.len() <= 1 && contents(&state.lines) == ["psst"], "after {steps} steps");
        assert_eq!(contents(&heard(&mut cluster, bob)), ["psst"]);
        // As soon as it is there, lines come by themselves.
        say(&mut cluster, ann, "bob", "more", "");
        assert_eq!(contents(&heard(&mut cluster, back)), ["more"]);
    }
}
