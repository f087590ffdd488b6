//! History, changes of lines, mentions, marks, direct lines and retention, as clients on several shards see them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Client, Cluster, action, chat, code, rooms};
use echomesh_proto::control::{
    Body, ChatAction, ChatActionType as Action, ChatMsg, ChatState, ModerationAction, Role, RoomActionType,
    RoomProperties, StatusCode, Unread,
};
use echomesh_proto::ids::ShardId;
use echomesh_shard::{Input, Rate};

const MINUTE_US: u64 = 60_000_000;

fn about(action: Action, room: &str) -> ChatAction {
    ChatAction { action: action as i32, room_id: room.into(), ..ChatAction::default() }
}

fn with(action: Action, username: &str) -> ChatAction {
    ChatAction { action: action as i32, username: username.into(), ..ChatAction::default() }
}

fn of_line(action: Action, message_id: u64, content: &str) -> ChatAction {
    ChatAction { message_id, content: content.into(), ..about(action, "hall") }
}

fn direct(to: &str, content: &str) -> Body {
    Body::ChatMsg(ChatMsg { to: to.into(), content: content.into(), ..ChatMsg::default() })
}

fn ask(cluster: &mut Cluster, client: Client, action: ChatAction) -> ChatState {
    match cluster.ask(client, Body::ChatAction(action)) {
        Body::ChatState(state) => state,
        other => panic!("{other:?}"),
    }
}

fn refused(cluster: &mut Cluster, client: Client, action: ChatAction) -> StatusCode {
    cluster.code(client, Body::ChatAction(action))
}

fn say(cluster: &mut Cluster, client: Client, body: Body) -> ChatMsg {
    match cluster.ask(client, body) {
        Body::ChatMsg(line) => line,
        other => panic!("{other:?}"),
    }
}

/// Lines in a client's inbox.
fn heard(cluster: &mut Cluster, client: Client) -> Vec<ChatMsg> {
    let bodies = cluster.take(client).into_iter();
    bodies.filter_map(|body| if let Body::ChatMsg(line) = body { Some(line) } else { None }).collect()
}

fn contents(lines: &[ChatMsg]) -> Vec<&str> {
    lines.iter().map(|line| line.content.as_str()).collect()
}

/// Hall with ann, bob and the moderator max, each on a shard of their own.
fn hall() -> (Cluster, [Client; 3]) {
    let mut cluster = Cluster::new(3);
    let ann = cluster.person(0, "ann", "hall", Role::Member);
    let bob = cluster.person(1, "Bob", "hall", Role::Member);
    let max = cluster.person(2, "max", "hall", Role::Moderator);
    cluster.inbox.clear();
    (cluster, [ann, bob, max])
}

/// Goal: members read a room's lines in pages from either end; who is not in it reads nothing (PROTOCOL M80).
#[test]
fn members_read_a_rooms_history() {
    let (mut cluster, [ann, bob, _]) = hall();
    for line in 1..=120 {
        say(&mut cluster, if line % 2 == 0 { ann } else { bob }, chat("hall", &format!("l{line}")));
    }
    let newest = ask(&mut cluster, bob, about(Action::CaHistory, "hall"));
    assert_eq!((newest.lines.len(), newest.more, newest.lines[0].content.as_str()), (50, true, "l120"));
    assert_eq!((newest.lines[0].username.as_str(), newest.lines[0].room_id.as_str()), ("ann", "hall"));
    let before = ChatAction { before: 3, count: 9, ..about(Action::CaHistory, "hall") };
    let oldest = ask(&mut cluster, bob, before);
    assert_eq!((contents(&oldest.lines), oldest.more), (vec!["l2", "l1"], false));
    let after = ChatAction { after: Some(0), count: 500, ..about(Action::CaHistory, "hall") };
    let first = ask(&mut cluster, bob, after);
    assert_eq!((first.lines.len(), first.more, first.lines[0].message_id), (100, true, 1));
    let eve = cluster.member(0, "eve", "attic");
    assert_eq!(refused(&mut cluster, eve, about(Action::CaHistory, "hall")), StatusCode::StatusNotInRoom);
    assert_eq!(refused(&mut cluster, eve, with(Action::CaHistory, "nobody")), StatusCode::StatusNotFound);
    let both = ChatAction { username: "ann".into(), ..about(Action::CaHistory, "attic") };
    assert_eq!(refused(&mut cluster, eve, both), StatusCode::StatusBadRequest);
    assert_eq!(refused(&mut cluster, eve, about(Action::CaUnspecified, "attic")), StatusCode::StatusBadRequest);
    assert_eq!(refused(&mut cluster, eve, with(Action::CaHistory, &"x".repeat(60_000))), StatusCode::StatusTooLong);
}

/// Goal: reads under way are bounded, beyond it is "try again", and a store that fails is no end of it (PROTOCOL M81).
#[test]
fn reads_under_way_are_bounded() {
    let mut cluster = Cluster::with(1, |config| config.limits.reads_max = 2);
    let members: Vec<Client> = ["ann", "bob", "eve"].map(|name| cluster.member(0, name, "hall")).into();
    cluster.store_is_silent = true;
    for (member, client) in members.iter().enumerate() {
        cluster.send(*client, 5, Body::ChatAction(about(Action::CaHistory, "hall")));
        cluster.run();
        let answers = cluster.take(*client);
        assert_eq!(answers.first().map(code), (member == 2).then_some(StatusCode::StatusTryAgain));
    }
    let mut cluster = Cluster::new(1);
    let ann = cluster.member(0, "ann", "hall");
    cluster.store_fails = true;
    for kind in [Action::CaHistory, Action::CaUnread] {
        assert_eq!(refused(&mut cluster, ann, about(kind, "hall")), StatusCode::StatusTryAgain);
    }
}

/// Goal: a join tells the newest line, and each one after that comes by itself, once (PROTOCOL M82).
#[test]
fn a_join_tells_where_live_lines_begin() {
    let (mut cluster, [ann, ..]) = hall();
    for line in 1..=3 {
        say(&mut cluster, ann, chat("hall", &format!("l{line}")));
    }
    let eve = cluster.connect(1);
    cluster.login(eve, "eve", 0);
    let Body::RoomState(state) = cluster.ask(eve, action(RoomActionType::RaJoin, "hall")) else { panic!("no state") };
    assert_eq!(state.newest_line, 3);
    say(&mut cluster, ann, chat("hall", "l4"));
    assert_eq!(contents(&heard(&mut cluster, eve)), ["l4"]);
}

/// Goal: a line is changed by its author alone, and told to all members with its number (PROTOCOL M84).
#[test]
fn authors_edit_and_delete_their_lines() {
    let (mut cluster, [ann, bob, max]) = hall();
    let line = say(&mut cluster, ann, chat("hall", "hello"));
    cluster.inbox.clear();
    let id = line.message_id;
    let state = ask(&mut cluster, ann, of_line(Action::CaEdit, id, "hi @bob"));
    assert_eq!((state.lines[0].content.as_str(), state.lines[0].mentions.len()), ("hi @bob", 1));
    for other in [bob, max] {
        let [told] = &heard(&mut cluster, other)[..] else { panic!("one line") };
        assert_eq!((told.message_id, told.content.as_str(), told.username.as_str()), (id, "hi @bob", "ann"));
        assert!(told.edited_ms != 0 && !told.deleted && told.time_ms == line.time_ms);
    }
    assert!(heard(&mut cluster, ann).is_empty(), "who asked has the answer");
    assert_eq!(refused(&mut cluster, bob, of_line(Action::CaEdit, id, "no")), StatusCode::StatusDenied);
    assert_eq!(refused(&mut cluster, max, of_line(Action::CaEdit, id, "no")), StatusCode::StatusDenied);
    assert_eq!(refused(&mut cluster, bob, of_line(Action::CaDelete, id, "")), StatusCode::StatusDenied);
    assert_eq!(refused(&mut cluster, ann, of_line(Action::CaEdit, id, "")), StatusCode::StatusEmpty);
    assert_eq!(refused(&mut cluster, ann, of_line(Action::CaEdit, id, "a\u{1b}")), StatusCode::StatusBadRequest);
    assert_eq!(refused(&mut cluster, ann, of_line(Action::CaEdit, 99, "x")), StatusCode::StatusNotFound);
    assert!(heard(&mut cluster, bob).is_empty());
    ask(&mut cluster, ann, of_line(Action::CaDelete, id, "ignored"));
    let [told] = &heard(&mut cluster, bob)[..] else { panic!("one line") };
    assert!(told.deleted && told.content.is_empty() && told.message_id == id);
    assert_eq!(cluster.memory.lines[0].content, "", "gone from the store");
    assert_eq!(refused(&mut cluster, ann, of_line(Action::CaDelete, id, "")), StatusCode::StatusNotFound);
    assert_eq!(refused(&mut cluster, ann, of_line(Action::CaEdit, id, "x")), StatusCode::StatusNotFound);
    assert!(cluster.audit.is_empty(), "one's own needs no log");
}

/// Goal: a moderator deletes lines of those below, with an entry in the log; who may not write edits nothing
/// (PROTOCOL M84).
#[test]
fn moderators_delete_lines_of_those_below() {
    let (mut cluster, [ann, bob, max]) = hall();
    let line = say(&mut cluster, bob, chat("hall", "spam")).message_id;
    let own = say(&mut cluster, max, chat("hall", "order!")).message_id;
    // Who made the room may, over members.
    assert_eq!(refused(&mut cluster, ann, of_line(Action::CaDelete, own, "")), StatusCode::StatusDenied);
    cluster.inbox.clear();
    ask(&mut cluster, max, of_line(Action::CaDelete, line, ""));
    let [told] = &heard(&mut cluster, bob)[..] else { panic!("one line") };
    assert!(told.deleted && told.message_id == line && told.username == "Bob");
    let [entry] = &cluster.audit[..] else { panic!("one entry") };
    assert_eq!(entry.action(), ModerationAction::MaDeleteLine);
    assert_eq!([&entry.by, &entry.target, &entry.room_id, &entry.detail], ["max", "Bob", "hall", "line 1"]);
    let by_hand = cluster::moderation(ModerationAction::MaDeleteLine, "hall", "Bob");
    assert_eq!(cluster.code(max, Body::Moderation(by_hand)), StatusCode::StatusBadRequest);
    let line = say(&mut cluster, bob, chat("hall", "again")).message_id;
    ask(&mut cluster, ann, of_line(Action::CaDelete, line, ""));
    let deny = echomesh_proto::control::Right::Write as u32;
    let role = Role::Member as i32;
    let silence = cluster::moderation(ModerationAction::MaSetRights, "hall", "");
    let silence = echomesh_proto::control::Moderation { deny, role, ..silence };
    let line = say(&mut cluster, bob, chat("hall", "last words")).message_id;
    assert_eq!(cluster.code(ann, Body::Moderation(silence)), StatusCode::StatusOk);
    assert_eq!(refused(&mut cluster, bob, of_line(Action::CaEdit, line, "more")), StatusCode::StatusDenied);
    ask(&mut cluster, bob, of_line(Action::CaDelete, line, ""));
}

/// Goal: nothing is told of a change that is not stored (PROTOCOL M84).
#[test]
fn a_change_is_stored_before_it_is_told() {
    let (mut cluster, [ann, bob, _]) = hall();
    let line = say(&mut cluster, ann, chat("hall", "hello")).message_id;
    cluster.inbox.clear();
    cluster.store_fails = true;
    assert_eq!(refused(&mut cluster, ann, of_line(Action::CaEdit, line, "x")), StatusCode::StatusTryAgain);
    assert!(heard(&mut cluster, bob).is_empty());
}

/// Goal: a line is text: control characters and characters that turn it around are refused, and what a client writes
/// into fields that are not its own goes nowhere, however long (PROTOCOL M22).
#[test]
fn lines_are_text() {
    let (mut cluster, [ann, bob, _]) = hall();
    for bad in ["a\u{1b}[2J", "a\rb", "a\0", "\u{202e}a", "a\u{2028}b"] {
        assert_eq!(cluster.code(ann, chat("hall", bad)), StatusCode::StatusBadRequest, "{bad:?}");
        assert_eq!(cluster.code(ann, direct("bob", bad)), StatusCode::StatusBadRequest, "{bad:?}");
    }
    let (username, deleted) = ("x".repeat(60_000), true);
    let line = ChatMsg { room_id: "hall".into(), content: "a\n\tb".into(), username, deleted, ..ChatMsg::default() };
    say(&mut cluster, ann, Body::ChatMsg(line));
    let [told] = &heard(&mut cluster, bob)[..] else { panic!("one line") };
    assert_eq!((told.content.as_str(), told.username.as_str(), told.deleted), ("a\n\tb", "ann", false));
}

/// Goal: `@name` of someone who is in the room or was is in the line for all (PROTOCOL M86).
#[test]
fn lines_mention_members_of_the_room() {
    let (mut cluster, [ann, bob, max]) = hall();
    cluster.member(0, "eve", "attic");
    cluster.ask(max, action(RoomActionType::RaLeave, "hall"));
    cluster.inbox.clear();
    let line = say(&mut cluster, ann, chat("hall", "@BOB, @max: is @eve here? not@ann"));
    assert_eq!(line.mentions, [2, 3]);
    assert_eq!(heard(&mut cluster, bob)[0].mentions, [2, 3]);
}

fn unread(cluster: &mut Cluster, client: Client) -> Vec<Unread> {
    let all = ask(cluster, client, about(Action::CaUnread, "")).unread;
    all.into_iter().filter(|unread| unread.count > 0).collect()
}

/// Goal: what came since one saw it last is counted, mentions too; marks only grow and hold at once, though many are
/// stored together a second later (PROTOCOL M87).
#[test]
fn unread_counts_from_what_was_seen() {
    let (mut cluster, [ann, bob, _]) = hall();
    let seen = |id| ChatAction { message_id: id, ..about(Action::CaSeen, "hall") };
    for line in ["one", "two @bob", "three"] {
        say(&mut cluster, ann, chat("hall", line));
    }
    say(&mut cluster, bob, chat("hall", "own"));
    ask(&mut cluster, bob, seen(1));
    let [of] = &unread(&mut cluster, bob)[..] else { panic!("one room") };
    assert_eq!((of.room_id.as_str(), of.count, of.mentions, of.seen, of.newest), ("hall", 2, 1, 1, 4));
    for id in [2, 1, 3, 2] {
        ask(&mut cluster, bob, seen(id));
        ask(&mut cluster, ann, seen(id));
    }
    assert!(unread(&mut cluster, bob).is_empty());
    assert_eq!(ask(&mut cluster, bob, about(Action::CaUnread, "hall")).unread[0].seen, 3);
    assert!(cluster.memory.mark_jobs.is_empty());
    cluster.pass(1_100_000);
    assert_eq!(cluster.memory.mark_jobs, [1, 1], "one job a shard");
    ask(&mut cluster, bob, seen(2));
    cluster.pass(1_100_000);
    assert_eq!(ask(&mut cluster, bob, about(Action::CaUnread, "hall")).unread[0].seen, 3);
    ask(&mut cluster, bob, seen(u64::MAX));
    assert_eq!(
        ask(&mut cluster, bob, about(Action::CaUnread, "hall")).unread[0].seen,
        4,
        "no further than there are lines"
    );
    assert_eq!(refused(&mut cluster, bob, seen(0)), StatusCode::StatusBadRequest);
    assert_eq!(refused(&mut cluster, bob, about(Action::CaSeen, "")), StatusCode::StatusBadRequest);
}

/// Goal: marks outlive a store that fails for a while, and a stop (PROTOCOL M87).
#[test]
fn marks_wait_for_the_store() {
    let (mut cluster, [ann, bob, _]) = hall();
    say(&mut cluster, ann, chat("hall", "one"));
    let mark = ChatAction { message_id: 1, ..about(Action::CaSeen, "hall") };
    cluster.store_fails = true;
    ask(&mut cluster, bob, mark.clone());
    cluster.pass(2_000_000);
    cluster.store_fails = false;
    cluster.pass(1_200_000);
    assert_eq!(cluster.memory.seen.len(), 1);
    ask(&mut cluster, ann, mark);
    cluster.input(0, echomesh_shard::Input::Shutdown);
    cluster.run();
    assert_eq!(cluster.memory.seen.len(), 2);
    let mut cluster = Cluster::with(1, |config| config.limits.marks_max = 0);
    let ann = cluster.member(0, "ann", "hall");
    let full = ChatAction { message_id: 1, ..about(Action::CaSeen, "hall") };
    assert_eq!(refused(&mut cluster, ann, full), StatusCode::StatusTryAgain);
}

/// Goal: one account's marks, whatever names it makes up, leave place for those of others (PROTOCOL M87).
#[test]
fn an_account_has_so_many_marks_at_a_time() {
    let mut cluster = Cluster::new(1);
    let [ann, bob] = ["ann", "bob"].map(|name| cluster.member(0, name, "hall"));
    say(&mut cluster, ann, chat("hall", "one"));
    let seen = |name: &str, id| ChatAction { message_id: id, ..with(Action::CaSeen, name) };
    for number in 0..128 {
        ask(&mut cluster, ann, seen(&format!("n{number}"), 1));
    }
    assert_eq!(refused(&mut cluster, ann, seen("one more", 1)), StatusCode::StatusTryAgain);
    ask(&mut cluster, ann, seen("n5", 2));
    ask(&mut cluster, bob, ChatAction { message_id: 1, ..about(Action::CaSeen, "hall") });
    cluster.pass(1_100_000);
    ask(&mut cluster, ann, seen("one more", 1));
}

/// Goal: who is not in a room any more, and is not shown it or let in, is not told what is unread there (PROTOCOL M87).
#[test]
fn unread_tells_nothing_of_closed_rooms() {
    let mut cluster = Cluster::new(2);
    let ann = cluster.member(0, "ann", "hall");
    let bob = cluster.member(1, "bob", "hall");
    for room in ["den", "vault", "cellar"] {
        assert_eq!(cluster.code(ann, action(RoomActionType::RaCreate, room)), StatusCode::StatusOk);
        for client in [ann, bob] {
            assert_eq!(cluster.code(client, action(RoomActionType::RaJoin, room)), StatusCode::StatusOk);
        }
        say(&mut cluster, ann, chat(room, "one"));
        let mark = cluster.memory.lines.len() as u64;
        ask(&mut cluster, bob, ChatAction { message_id: mark, ..about(Action::CaSeen, room) });
        say(&mut cluster, ann, chat(room, "two"));
    }
    let hidden = RoomProperties { hidden: Some(true), ..RoomProperties::default() };
    let invite_only = RoomProperties { invite_only: Some(true), ..RoomProperties::default() };
    assert_eq!(cluster.code(ann, rooms::set("den", hidden)), StatusCode::StatusOk);
    assert_eq!(cluster.code(ann, rooms::set("vault", invite_only)), StatusCode::StatusOk);
    let names = |cluster: &mut Cluster, client| -> Vec<String> {
        let mut names: Vec<String> = unread(cluster, client).into_iter().map(|unread| unread.room_id).collect();
        names.sort();
        names
    };
    assert_eq!(names(&mut cluster, bob), ["cellar", "den", "vault"], "members of all");
    for room in ["den", "vault", "cellar"] {
        assert_eq!(cluster.code(bob, action(RoomActionType::RaLeave, room)), StatusCode::StatusOk);
    }
    assert_eq!(names(&mut cluster, bob), ["cellar"]);
    // Who manages them sees them from outside.
    for room in ["den", "vault"] {
        ask(&mut cluster, ann, ChatAction { message_id: 1, ..about(Action::CaSeen, room) });
        assert_eq!(cluster.code(ann, action(RoomActionType::RaLeave, room)), StatusCode::StatusOk);
    }
    let all = ask(&mut cluster, ann, about(Action::CaUnread, "")).unread;
    assert_eq!(all.len(), 2, "{all:?}");
}

/// Goal: one shard has old lines deleted, a step at a time, and rests between rounds (PROTOCOL M88).
#[test]
fn old_lines_are_swept_a_little_at_a_time() {
    let mut cluster = Cluster::with(2, |config| config.retention_days = 30);
    cluster.pass(MINUTE_US - 1_000_000);
    assert!(cluster.memory.sweeps.is_empty());
    cluster.pass(5_000_000);
    let positions: Vec<u64> = cluster.memory.sweeps.iter().map(|sweep| sweep.position).collect();
    assert_eq!(positions, [0, 1, 2]);
    assert!(cluster.memory.sweeps.iter().all(|sweep| sweep.default_days == 30));
    assert_eq!(cluster.shards[0].counters().chat_expired, 6);
    cluster.pass(50 * MINUTE_US);
    assert_eq!(cluster.memory.sweeps.len(), 3);
    cluster.pass(12 * MINUTE_US);
    assert_eq!(cluster.memory.sweeps.len(), 6);
}

/// A room whose home is shard 0.
fn room_on_first_shard(cluster: &mut Cluster) -> &'static str {
    let room = ["hall", "attic", "cellar", "yard"].into_iter().find(|room| {
        let ann = cluster.member(0, &format!("ann{room}"), room);
        cluster.code(ann, chat(room, "here?"));
        cluster.shards[0].counters().chat_stored > 0
    });
    room.expect("one of four rooms lives on shard 0")
}

/// Goal: however many long lines the store has when it answers them all at once, what waits for a ring stays bounded:
/// beyond that, lines are refused for a moment and none is lost.
#[test]
fn answers_that_come_all_at_once_are_bounded() {
    let mut cluster = Cluster::with(2, |config| {
        config.limits.chat_in_flight_max = 1_200;
        config.limits.requests = Rate::NONE;
        config.limits.bytes = Rate::NONE;
    });
    let room = room_on_first_shard(&mut cluster);
    let others: Vec<Client> = (0..4).map(|number| cluster.member(0, &format!("m{number}"), room)).collect();
    cluster.member(1, "far", room);
    let line = "x".repeat(4_000);
    for client in &others {
        for _ in 0..1_200 {
            cluster.send(*client, 9, chat(room, &line));
        }
    }
    cluster.run();
    let answers = |cluster: &mut Cluster, client: &Client, code: StatusCode| {
        let inbox = cluster.inbox.get(client).map(|inbox| inbox.iter().filter(|msg| msg.request_id == 9).cloned());
        let answers = inbox.into_iter().flatten().filter_map(|msg| msg.body);
        answers
            .filter(|body| {
                if let Body::ChatMsg(_) = body { code == StatusCode::StatusOk } else { cluster::code(body) == code }
            })
            .count()
    };
    let of = |cluster: &mut Cluster, code| others.iter().map(|client| answers(cluster, client, code)).sum::<usize>();
    let (stored, refused) = (of(&mut cluster, StatusCode::StatusOk), of(&mut cluster, StatusCode::StatusTryAgain));
    assert_eq!(stored + refused, 4 * 1_200);
    assert!(stored > 150 && refused > 300, "{stored} stored, {refused} refused");
}

/// Goal: what waits for a ring keeps to its bound when it is half full already and the store then answers all at once.
/// Method: the lines come from the shard that takes nothing, so that the acknowledgements wait there, too.
#[test]
fn answers_behind_a_half_full_outbox_are_bounded() {
    let mut cluster = Cluster::with(2, |config| {
        config.limits.outbox_bytes_max = 128 * 1_024;
        config.limits.requests = Rate::NONE;
        config.limits.bytes = Rate::NONE;
    });
    let room = room_on_first_shard(&mut cluster);
    let far = cluster.member(1, "far", room);
    let before = cluster.shards[0].counters().chat_stored;
    cluster.input(0, Input::RingFree { target: ShardId(1), bytes: 0 });
    for (lines, sum) in [(6, 6), (12, 18)] {
        for _ in 0..lines {
            cluster.send(far, 9, chat(room, &"x".repeat(4_000)));
        }
        while cluster.shards[0].counters().chat_stored < before + sum && cluster.step() {
            assert_eq!(cluster.shards[0].over_its_bound(), None);
        }
    }
    cluster.run();
    assert_eq!(cluster.take(far).len(), 18);
}
