//! History, direct lines and what is unread from the real server, on SQLite and on PostgreSQL, over a kill.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::time::{Duration, Instant};

use echomesh_proto::control::{Body, ChatAction, ChatActionType as Action, ChatMsg, ChatState, StatusCode};
use running::postgres::Postgres;
use running::{Client, Server, chat};

/// Most that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks; gives the answer, past lines of others.
fn ask(client: &mut Client, action: ChatAction) -> Result<ChatState, StatusCode> {
    client.send(Body::ChatAction(action));
    loop {
        match client.next().expect("an answer") {
            Body::ChatState(state) => return Ok(state),
            Body::Status(status) => return Err(status.status_code()),
            _ => {}
        }
    }
}

fn history(room: &str, username: &str) -> ChatAction {
    let (room_id, username) = (room.to_owned(), username.to_owned());
    ChatAction { action: Action::CaHistory as i32, room_id, username, after: Some(0), ..ChatAction::default() }
}

fn contents(state: &ChatState) -> Vec<&str> {
    state.lines.iter().map(|line| line.content.as_str()).collect()
}

fn say(client: &mut Client, body: Body) -> ChatMsg {
    client.send(body);
    loop {
        match client.next().expect("an answer") {
            Body::ChatMsg(line) => return line,
            Body::Status(status) => panic!("{status:?}"),
            _ => {}
        }
    }
}

fn remembers(database: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let arguments: Vec<&str> = ["--port", "0", "--shards", "2"].iter().chain(database).copied().collect();
    let server = Server::start(directory.path(), &arguments);
    let mut ada = server.member("ada", "hall");
    // It is there for a moment, so that it has an account.
    drop(server.member("bob", "hall"));
    for content in ["one", "two", "three"] {
        say(&mut ada, chat("hall", content, ""));
    }
    let direct = ChatMsg { to: "bob".into(), content: "psst".into(), ..ChatMsg::default() };
    say(&mut ada, Body::ChatMsg(direct));
    let all = ask(&mut ada, history("hall", "")).unwrap();
    assert_eq!(contents(&all), ["one", "two", "three"]);
    let of_line = |action: Action, message_id: u64, content: &str| ChatAction {
        message_id,
        content: content.to_owned(),
        action: action as i32,
        ..history("hall", "")
    };
    ask(&mut ada, of_line(Action::CaEdit, all.lines[1].message_id, "two!")).unwrap();
    ask(&mut ada, of_line(Action::CaDelete, all.lines[2].message_id, "")).unwrap();
    ask(&mut ada, of_line(Action::CaSeen, all.lines[0].message_id, "")).unwrap();
    server.kill();

    let server = Server::start(directory.path(), &arguments);
    let mut bob = server.member("bob", "hall");
    let unread = ask(&mut bob, ChatAction { action: Action::CaUnread as i32, ..ChatAction::default() }).unwrap().unread;
    let [of] = &unread[..] else { panic!("{unread:?}") };
    assert_eq!((of.username.as_str(), of.count), ("ada", 1));
    assert_eq!(contents(&ask(&mut bob, history("", "ada")).unwrap()), ["psst"]);
    let all = ask(&mut bob, history("hall", "")).unwrap();
    assert_eq!(contents(&all), ["one", "two!", ""]);
    assert!(all.lines[2].deleted && all.lines[1].edited_ms > 0);
    server.stop();
}

/// Goal: what was said, changed and sent to someone is there after a kill.
#[test]
fn chat_is_remembered() {
    remembers(&[]);
}

/// Goal: the same with PostgreSQL.
#[test]
fn chat_is_remembered_by_postgres() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    remembers(&["--database", &url]);
}

/// Goal: while PostgreSQL is away reads are answered with "try again", and come back by themselves.
#[test]
fn reads_survive_an_outage_of_postgres() {
    let postgres = Postgres::start_new();
    let url = postgres.database();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1", "--database", &url]);
    let mut ada = server.member("ada", "hall");
    say(&mut ada, chat("hall", "one", ""));
    assert_eq!(contents(&ask(&mut ada, history("hall", "")).unwrap()), ["one"]);
    postgres.stop();
    assert_eq!(ask(&mut ada, history("hall", "")).unwrap_err(), StatusCode::StatusTryAgain);
    postgres.start();
    let back = Instant::now();
    while ask(&mut ada, history("hall", "")).is_err() {
        assert!(back.elapsed() < PATIENCE, "reads do not come back");
    }
    server.stop();
}
