//! Rooms themselves, as a session asks for them and is told of them.

use echomesh_proto::control::{Account, AccountAction, Room as Shown, RoomAction, RoomProperties};

use super::room::ROOMS_MAX;
use super::*;

fn asked(stage: &mut Stage) -> RoomAction {
    match stage.sent().remove(0).body {
        Some(Body::RoomAction(action)) => action,
        other => panic!("{other:?}"),
    }
}

/// Goal: each request becomes the action that it says, and is answered with the room's state.
#[test]
fn requests_about_rooms_are_sent_and_answered() {
    let mut stage = Stage::logged_in();
    let now = stage.now;
    let properties = RoomProperties { hidden: Some(true), ..RoomProperties::default() };
    stage.session.create_with(now, "hall", properties.clone()).unwrap();
    let action = asked(&mut stage);
    assert_eq!((action.action_type(), action.properties), (RoomActionType::RaCreate, Some(properties.clone())));
    stage.session.set_room(now, "hall", properties.clone()).unwrap();
    assert_eq!(asked(&mut stage).properties, Some(properties));
    stage.session.invite(now, "hall", "tim", true).unwrap();
    let action = asked(&mut stage);
    assert_eq!((action.action_type(), action.username.as_str()), (RoomActionType::RaInvite, "tim"));
    stage.session.invite(now, "hall", "tim", false).unwrap();
    assert_eq!(asked(&mut stage).action_type(), RoomActionType::RaUninvite);
    stage.session.list_rooms(now, "hall/", bytes::Bytes::new()).unwrap();
    assert_eq!(asked(&mut stage).prefix, "hall/");
    let id = stage.session.delete_room(now, "hall").unwrap();
    let deleted = stage.sent();
    stage.reply(deleted[0].request_id, Body::RoomState(RoomState::default()));
    let done = Outcome::Done(Done::Room(RoomState::default()));
    assert_eq!(stage.events.pop(), Some(Event::Answer(Answer { request: id, outcome: done })));
}

/// Goal: a room's password is kept while the session is there, for entering it again, and is never printed
/// (PROTOCOL M71).
#[test]
fn a_room_is_entered_again_with_its_password() {
    let mut stage = Stage::logged_in();
    stage.session.join_with_password(stage.now, "lobby", "sesame").unwrap();
    let join = stage.sent();
    assert!(matches!(&join[0].body, Some(Body::RoomAction(action)) if action.password == "sesame"));
    stage.reply(join[0].request_id, roster(RoomActionType::RaJoin, 1, &[member(1, 0)], b""));
    assert!(!format!("{:?}", stage.session).contains("sesame"));
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
    let resume = stage.sent();
    stage.reply(resume[0].request_id, refusal(StatusCode::StatusSessionGone));
    let login = stage.sent();
    stage.reply(login[0].request_id, welcome());
    assert_eq!(asked(&mut stage).password, "sesame");
}

/// Goal: a session that is moved is in the new room, with its roster, and then out of the old one (PROTOCOL M78).
#[test]
fn a_session_follows_where_it_is_moved() {
    let mut stage = Stage::with_voice();
    let Body::RoomState(state) = roster(RoomActionType::RaJoin, 4, &[member(1, 0), member(8, 0)], b"") else {
        panic!("a roster")
    };
    let state = RoomState { room_id: "Den".into(), room_number: 9, ..state };
    stage.receive(&EchoMsg::new(0, Body::RoomState(state)));
    assert_eq!(stage.events[0], Event::Moved { room: "Den".into() });
    assert_eq!(stage.session.room("Den").unwrap().members().count(), 2);
    stage.receive(&delta(6, RoomEventType::ReRemoved, member(1, 0)));
    assert!(matches!(stage.events.last(), Some(Event::RoomLost { .. })));
    assert!(stage.session.room("lobby").is_none() && stage.session.room("Den").is_some());
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
    let resume = stage.sent();
    stage.reply(resume[0].request_id, welcome());
    assert_eq!(asked(&mut stage).room_id, "Den");
}

/// Goal: what a room is set to is known from the answer to the join, and kept true by deltas (PROTOCOL M70).
#[test]
fn properties_of_a_room_follow_its_deltas() {
    let mut stage = Stage::logged_in();
    stage.session.join(stage.now, "lobby").unwrap();
    let join = stage.sent();
    let Body::RoomState(state) = roster(RoomActionType::RaJoin, 1, &[member(1, 0)], b"") else { panic!("a roster") };
    let shown = |capacity| Shown { room_id: "Lobby".into(), capacity, ..Shown::default() };
    stage.reply(join[0].request_id, Body::RoomState(RoomState { rooms: vec![shown(5)], ..state }));
    assert_eq!(stage.room().properties().capacity, 5);
    let event_type = RoomEventType::ReRoom as i32;
    let deltas = vec![RoomDelta { event_type, room: Some(shown(6)), ..RoomDelta::default() }];
    let event = RoomEvent { room_id: "Lobby".into(), sequence: 2, deltas };
    stage.receive(&EchoMsg::new(0, Body::RoomEvent(event)));
    assert_eq!(stage.events.pop(), Some(Event::RoomChanged { room: "Lobby".into() }));
    assert_eq!(stage.room().properties().capacity, 6);
}

/// Goal: a server that moves a session on and on does not fill its memory: what is beyond any session's rooms, or any
/// number of requests, is counted.
#[test]
fn moves_are_bounded() {
    let mut stage = Stage::in_room();
    let moved = |name: String, next_page: &'static [u8]| {
        let Body::RoomState(state) = roster(RoomActionType::RaJoin, 1, &[member(1, 0)], next_page) else {
            unreachable!()
        };
        EchoMsg::new(0, Body::RoomState(RoomState { room_id: name, ..state }))
    };
    // It is in one already.
    for number in 0..ROOMS_MAX + 9 {
        stage.receive(&moved(format!("room {number}"), b""));
    }
    assert_eq!(stage.session.rooms().count(), ROOMS_MAX);
    assert_eq!(stage.session.counters().dropped(Drop::RoomLimit), 10);
    stage.receive(&moved("Lobby".to_owned(), b""));
    assert_eq!(stage.session.counters().dropped(Drop::RoomLimit), 10, "it is in that one");
    for _ in 0..10_000 {
        stage.receive(&moved("Lobby".to_owned(), b"more"));
    }
    assert!(stage.session.unanswered() < 1_000, "{}", stage.session.unanswered());
}

/// Goal: what shows a session, as a log does, shows no password and no token.
#[test]
fn secrets_are_not_shown() {
    let mut stage = Stage::in_room();
    stage.session.join_with_password(stage.now, "den", "tr0ub4dor").unwrap();
    let action = AccountAction::AaChangePassword as i32;
    let account = Account { action, new_password: "c0rrect".into(), ..Account::default() };
    stage.session.account(stage.now, account).unwrap();
    stage.sent();
    let shown = format!("{:?}", stage.session);
    for secret in ["secret", "tr0ub4dor", "c0rrect", "token\""] {
        assert!(!shown.contains(secret), "{secret}");
    }
}
