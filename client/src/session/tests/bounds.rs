//! What a server can make a session keep or send.

use echomesh_proto::control::ChatState;

use super::super::room::ROOMS_MAX;
use super::*;

/// A name that no server gives: with it, the request for the rest of a roster would be longer than a frame.
fn long_name() -> String {
    "x".repeat(65_000)
}

/// Goal: a server that sends what no server has cannot make the session send what no server takes.
#[test]
fn names_and_tokens_over_their_limits_end_the_connection() {
    let state =
        RoomState { action_type: RoomActionType::RaJoin as i32, room_id: "Lobby".to_owned(), ..RoomState::default() };
    let who = Member { username: long_name(), ..member(5, 0) };
    for wrong in [
        RoomState { room_id: long_name(), ..state.clone() },
        RoomState { next_page: vec![1; 65_000].into(), ..state.clone() },
        RoomState { members: vec![who.clone()], ..state },
    ] {
        let mut stage = Stage::in_room();
        stage.receive(&EchoMsg::new(0, Body::RoomState(wrong)));
        assert_eq!(stage.events.last(), Some(&Event::Disconnected(DisconnectReason::Malformed)));
    }
    let mut stage = Stage::in_room();
    stage.receive(&delta(2, RoomEventType::ReJoined, who));
    assert_eq!(stage.events.last(), Some(&Event::Disconnected(DisconnectReason::Malformed)));
    let mut stage = Stage::new();
    stage.handle(Input::Connected);
    let login = stage.sent();
    let token = LoginResponse { resume_token: vec![1; 65_000].into(), ..LoginResponse::default() };
    stage.reply(login[0].request_id, Body::LoginResponse(token));
    assert_eq!(stage.events.last(), Some(&Event::Disconnected(DisconnectReason::Malformed)));
}

/// Goal: a server that moves the session into room after room fills no memory; one too many is left again.
#[test]
fn rooms_are_bounded() {
    let mut stage = Stage::logged_in();
    for number in 0..=ROOMS_MAX {
        let state = RoomState {
            action_type: RoomActionType::RaJoin as i32,
            room_id: number.to_string(),
            ..RoomState::default()
        };
        stage.receive(&EchoMsg::new(0, Body::RoomState(state)));
    }
    assert_eq!(stage.session.rooms().count(), ROOMS_MAX);
    assert_eq!(stage.session.counters().dropped(Drop::RoomLimit), 1);
    let last = stage.sent().pop().unwrap();
    let Some(Body::RoomAction(leave)) = last.body else { panic!("a leave") };
    assert_eq!((leave.action_type(), leave.room_id), (RoomActionType::RaLeave, ROOMS_MAX.to_string()));
}

/// Goal: numbers of lines at the end of their range are numbers.
#[test]
fn the_last_number_of_a_line_is_survived() {
    let mut stage = Stage::new();
    stage.session.config.direct = true;
    stage.handle(Input::Connected);
    let login = stage.sent();
    stage.reply(login[0].request_id, welcome());
    let asked = stage.sent();
    let line = ChatMsg { message_id: u64::MAX, to: "ann".to_owned(), ..ChatMsg::default() };
    stage.receive(&EchoMsg::new(0, Body::ChatMsg(line.clone())));
    let page = ChatState { lines: vec![line], ..ChatState::default() };
    stage.reply(asked[0].request_id, Body::ChatState(page));
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
}
