//! Rooms on the real server: what they are set to is hashed, stored and there again after a kill.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use echomesh_proto::control::{
    Body, Moderation, ModerationAction, RoomAction, RoomActionType as Kind, RoomProperties, RoomState, StatusCode,
};
use running::{Client, Server, action, login};

/// Little work a password: what is tested is the way to the hashers and back.
const ARGUMENTS: [&str; 8] = ["--port", "0", "--shards", "2", "--password-memory-kib", "8", "--password-passes", "1"];

fn user(server: &Server, name: &str) -> Client {
    let mut client = server.connect();
    client.send(login(name, "secret"));
    assert_eq!(code(&answer(&mut client)), StatusCode::StatusOk);
    client
}

/// The next message that is no delta.
fn answer(client: &mut Client) -> Body {
    loop {
        match client.next().expect("an answer") {
            Body::RoomEvent(_) => {}
            other => return other,
        }
    }
}

fn code(body: &Body) -> StatusCode {
    match body {
        Body::Status(status) => status.status_code(),
        Body::LoginResponse(response) => response.status_code(),
        Body::RoomState(_) | Body::ModerationState(_) => StatusCode::StatusOk,
        other => panic!("no answer: {other:?}"),
    }
}

fn ask(client: &mut Client, body: Body) -> StatusCode {
    client.send(body);
    code(&answer(client))
}

fn set(kind: Kind, room: &str, properties: RoomProperties) -> Body {
    let (action_type, properties) = (kind as i32, Some(properties));
    Body::RoomAction(RoomAction { action_type, room_id: room.into(), properties, ..RoomAction::default() })
}

fn join(room: &str, password: &str) -> Body {
    let (action_type, password) = (Kind::RaJoin as i32, password.into());
    Body::RoomAction(RoomAction { action_type, room_id: room.into(), password, ..RoomAction::default() })
}

fn list(client: &mut Client) -> RoomState {
    client.send(action(Kind::RaList, ""));
    match answer(client) {
        Body::RoomState(state) => state,
        other => panic!("{other:?}"),
    }
}

/// Goal: a password lets in who has it, before and after a kill of the server; what a room is set to and who is
/// invited survive it, a temporary room does not (PROTOCOL M70, M71, M72, M74).
#[test]
fn rooms_are_as_they_were_set() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path(), &ARGUMENTS);
    let mut ann = user(&server, "ann");
    user(&server, "tim");
    let safe = RoomProperties {
        password: Some("sesame".into()),
        description: Some("mind the step".into()),
        slow_mode_seconds: Some(30),
        ..RoomProperties::default()
    };
    let temporary = RoomProperties { temporary: Some(true), ..RoomProperties::default() };
    let closed = RoomProperties { invite_only: Some(true), ..RoomProperties::default() };
    assert_eq!(ask(&mut ann, set(Kind::RaCreate, "safe", safe)), StatusCode::StatusOk);
    assert_eq!(ask(&mut ann, set(Kind::RaCreate, "tent", temporary)), StatusCode::StatusOk);
    assert_eq!(ask(&mut ann, set(Kind::RaCreate, "club", RoomProperties::default())), StatusCode::StatusOk);
    assert_eq!(ask(&mut ann, set(Kind::RaSet, "club", closed)), StatusCode::StatusOk);
    let invitation = RoomAction {
        action_type: Kind::RaInvite as i32,
        room_id: "club".into(),
        username: "tim".into(),
        ..RoomAction::default()
    };
    assert_eq!(ask(&mut ann, Body::RoomAction(invitation)), StatusCode::StatusOk);
    for room in ["tent", "club"] {
        assert_eq!(ask(&mut ann, join(room, "")), StatusCode::StatusOk);
    }
    for killed in [false, true] {
        if killed {
            server.kill();
            server = Server::start(directory.path(), &ARGUMENTS);
        }
        let mut tim = user(&server, "tim");
        assert_eq!(ask(&mut tim, join("safe", "")), StatusCode::StatusBadCredentials);
        assert_eq!(ask(&mut tim, join("safe", "guess")), StatusCode::StatusBadCredentials);
        assert_eq!(ask(&mut tim, join("safe", "sesame")), StatusCode::StatusOk);
        assert_eq!(ask(&mut tim, join("club", "")), StatusCode::StatusOk);
        let mut eve = user(&server, "eve");
        assert_eq!(ask(&mut eve, join("club", "")), StatusCode::StatusDenied);
        let rooms = list(&mut eve).rooms;
        let names: Vec<&str> = rooms.iter().map(|room| room.room_id.as_str()).collect();
        assert_eq!(names, if killed { vec!["club", "safe"] } else { vec!["club", "safe", "tent"] });
        let safe = rooms.iter().find(|room| room.room_id == "safe").unwrap();
        assert_eq!((safe.description.as_str(), safe.slow_mode_seconds), ("mind the step", 30));
        assert!(safe.password_needed);
    }
    server.stop();
}

/// Goal: the owner moves someone to another room, whose client is told so, and ends a room with someone in it
/// (PROTOCOL M75, M78).
#[test]
fn an_owner_moves_and_deletes() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &ARGUMENTS);
    let mut ann = server.member("ann", "hall");
    let claim = server.summary.split("echomesh claim ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    let claim = echomesh_proto::control::ClaimRequest { code: claim };
    assert_eq!(ask(&mut ann, Body::ClaimRequest(claim)), StatusCode::StatusOk);
    assert_eq!(ask(&mut ann, action(Kind::RaCreate, "hall/left")), StatusCode::StatusOk);
    let mut tim = server.member("tim", "hall");
    let order = Moderation {
        action: ModerationAction::MaMove as i32,
        room_id: "hall".into(),
        to_room_id: "hall/left".into(),
        username: "tim".into(),
        ..Moderation::default()
    };
    assert_eq!(ask(&mut ann, Body::Moderation(order)), StatusCode::StatusOk);
    let Body::RoomState(state) = answer(&mut tim) else { panic!("not moved") };
    assert_eq!((state.action_type(), state.room_id.as_str()), (Kind::RaJoin, "hall/left"));
    assert_eq!(ask(&mut ann, action(Kind::RaDelete, "hall/left")), StatusCode::StatusOk);
    assert_eq!(ask(&mut tim, join("hall/left", "")), StatusCode::StatusNotFound);
    assert_eq!(ask(&mut tim, join("hall", "")), StatusCode::StatusOk, "he was put out, not off");
    server.stop();
}
