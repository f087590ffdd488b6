//! Lines: what a lost connection misses, what comes live meanwhile, direct lines, and what a driver asks.

use echomesh_proto::control::{ChatAction, ChatActionType as Action, ChatState};

use super::*;

fn line(id: u64) -> ChatMsg {
    ChatMsg { room_id: "Lobby".into(), content: format!("l{id}"), message_id: id, user_id: 9, ..ChatMsg::default() }
}

fn direct(id: u64) -> ChatMsg {
    ChatMsg { to: "ann".into(), username: "bob".into(), room_id: String::new(), ..line(id) }
}

fn live(stage: &mut Stage, line: ChatMsg) {
    stage.receive(&EchoMsg::new(0, Body::ChatMsg(line)));
}

fn page(lines: Vec<ChatMsg>, more: bool) -> Body {
    Body::ChatState(ChatState { action: Action::CaHistory as i32, lines, more, ..ChatState::default() })
}

fn newest(newest_line: u64) -> Body {
    let Body::RoomState(state) = roster(RoomActionType::RaJoin, 1, &[member(1, 0)], b"") else { unreachable!() };
    Body::RoomState(RoomState { newest_line, ..state })
}

/// Numbers of the lines told since last asked.
fn told(stage: &mut Stage) -> Vec<u64> {
    let events = std::mem::take(&mut stage.events).into_iter();
    events
        .filter_map(|event| match event {
            Event::Chat(line) | Event::Direct(line) => Some(line.message_id),
            _ => None,
        })
        .collect()
}

/// The one request of chat sent since last asked: where it fetches from, and its number.
fn fetched(stage: &mut Stage) -> (Option<u64>, u32) {
    let sent = stage.sent();
    let mut actions = sent.iter().filter_map(|msg| match &msg.body {
        Some(Body::ChatAction(action)) => Some((action.after, msg.request_id)),
        _ => None,
    });
    let action = actions.next().expect("a request for lines");
    assert!(actions.next().is_none());
    action
}

/// Loses the connection and comes back with a resume; gives the number of the join.
fn comes_back(stage: &mut Stage) -> u32 {
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
    let resume = stage.sent();
    stage.reply(resume[0].request_id, welcome());
    let sent = stage.sent();
    stage.events.clear();
    sent.iter().find(|msg| matches!(&msg.body, Some(Body::RoomAction(_)))).expect("a join").request_id
}

/// Goal: what was said while the connection was lost is told once and in order, with what comes live meanwhile in its
/// place; nothing is asked for where nothing was missed (PROTOCOL M83).
#[test]
fn missed_lines_are_fetched_and_told_in_order() {
    let mut stage = Stage::in_room();
    live(&mut stage, line(3));
    assert_eq!(told(&mut stage), [3]);
    let join = comes_back(&mut stage);
    live(&mut stage, line(6));
    stage.reply(join, newest(6));
    let (after, request) = fetched(&mut stage);
    assert_eq!(after, Some(3));
    live(&mut stage, line(7));
    stage.reply(request, page(vec![line(4), line(5)], true));
    assert_eq!(told(&mut stage), [4, 5]);
    let (after, request) = fetched(&mut stage);
    assert_eq!(after, Some(5));
    stage.reply(request, page(vec![line(6), line(7)], false));
    live(&mut stage, line(7));
    live(&mut stage, line(8));
    assert_eq!(told(&mut stage), [6, 7, 8]);
    assert!(stage.sent().is_empty());
    let join = comes_back(&mut stage);
    stage.reply(join, newest(8));
    assert!(stage.sent().is_empty(), "nothing was missed");
    live(&mut stage, line(9));
    assert_eq!(told(&mut stage), [9]);
}

/// Goal: a page that is refused for now is asked for again, a server without history is not asked for ever, and a
/// connection lost while fetching goes on where it was (PROTOCOL M81, M83).
#[test]
fn fetching_survives_refusals_and_losses() {
    let mut stage = Stage::in_room();
    live(&mut stage, line(1));
    let join = comes_back(&mut stage);
    stage.reply(join, newest(5));
    let (_, request) = fetched(&mut stage);
    let status = |code: StatusCode| {
        Body::Status(Status { status_code: code as i32, retry_after_ms: 1_000, ..Status::default() })
    };
    stage.reply(request, status(StatusCode::StatusTryAgain));
    stage.after(SECOND_US / 2);
    assert!(stage.sent().is_empty());
    stage.after(SECOND_US);
    let (after, request) = fetched(&mut stage);
    assert_eq!(after, Some(1));
    stage.reply(request, page(vec![line(2)], true));
    let join = comes_back(&mut stage);
    stage.reply(join, newest(5));
    let (after, request) = fetched(&mut stage);
    assert_eq!(after, Some(2));
    stage.reply(request, status(StatusCode::StatusUnsupported));
    live(&mut stage, line(6));
    assert_eq!(told(&mut stage), [6]);
    assert_eq!(stage.session.counters().dropped(Drop::LinesMissed), 1);
}

/// Goal: a line that is changed is told as a change; of a line that is still to be fetched it is not told apart; what
/// was acknowledged meanwhile is not told again (PROTOCOL M83, M84).
#[test]
fn changes_and_acknowledgements_find_their_place() {
    let mut stage = Stage::in_room();
    live(&mut stage, line(1));
    let edited = |id| ChatMsg { content: "new".into(), edited_ms: 5, ..line(id) };
    live(&mut stage, edited(1));
    assert!(matches!(&stage.events[..], [Event::Chat(_), Event::ChatChanged(line)] if line.content == "new"));
    let join = comes_back(&mut stage);
    stage.session.chat(stage.now, "lobby", "mine", "id").unwrap();
    let chat = stage.sent()[0].request_id;
    stage.reply(chat, Body::ChatMsg(ChatMsg { user_id: 7, ..line(3) }));
    live(&mut stage, edited(2));
    live(&mut stage, ChatMsg { deleted: true, ..line(1) });
    let changes = stage.events.iter().filter(|event| matches!(event, Event::ChatChanged(_))).count();
    assert_eq!(changes, 1, "of line 1 alone");
    stage.reply(join, newest(3));
    let (_, request) = fetched(&mut stage);
    stage.reply(request, page(vec![edited(2), ChatMsg { user_id: 7, ..line(3) }], false));
    assert_eq!(told(&mut stage), [2]);
}

/// Goal: a session made anew enters its rooms and fetches from where the old one was (PROTOCOL M83).
#[test]
fn a_new_session_goes_on_where_the_old_one_was() {
    let mut stage = Stage::in_room();
    live(&mut stage, line(4));
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
    let resume = stage.sent();
    stage.reply(resume[0].request_id, refusal(StatusCode::StatusSessionGone));
    let login = stage.sent();
    stage.reply(login[0].request_id, welcome());
    let join = stage.sent();
    stage.events.clear();
    stage.reply(join[0].request_id, newest(6));
    let (after, request) = fetched(&mut stage);
    assert_eq!(after, Some(4));
    stage.reply(request, page(vec![line(5), line(6)], false));
    assert_eq!(told(&mut stage), [5, 6]);
}

/// Goal: direct lines come by themselves, and those that were missed are fetched if the driver wants them (PROTOCOL
/// M83, M85).
#[test]
fn direct_lines_are_followed_if_wanted() {
    let mut stage = Stage::logged_in();
    live(&mut stage, direct(1));
    assert_eq!(told(&mut stage), [1]);
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
    let resume = stage.sent();
    stage.reply(resume[0].request_id, welcome());
    assert!(stage.sent().is_empty());
    live(&mut stage, direct(3));
    assert_eq!(told(&mut stage), [3]);

    let mut stage = Stage::new();
    stage.session = Session::new(Config { direct: true, ..Config::new("ann", "secret") });
    stage.handle(Input::Connected);
    let login = stage.sent();
    stage.reply(login[0].request_id, welcome());
    let (after, request) = fetched(&mut stage);
    assert_eq!(after, None);
    stage.reply(request, page(vec![direct(10)], true));
    assert!(told(&mut stage).is_empty(), "what was there before is history");
    live(&mut stage, direct(11));
    stage.handle(Input::Closed);
    stage.handle(Input::Connected);
    let resume = stage.sent();
    stage.reply(resume[0].request_id, welcome());
    let (after, request) = fetched(&mut stage);
    assert_eq!(after, Some(10));
    let own = ChatMsg { user_id: 7, ..direct(9) };
    stage.reply(request, page(vec![own, direct(11), direct(12)], false));
    assert_eq!(told(&mut stage), [11, 12]);
}

/// A session that follows direct lines, with its question where they begin unanswered: its number.
fn follows_direct() -> (Stage, u32) {
    let mut stage = Stage::new();
    stage.session = Session::new(Config { direct: true, ..Config::new("ann", "secret") });
    stage.handle(Input::Connected);
    let login = stage.sent();
    stage.reply(login[0].request_id, welcome());
    let (after, request) = fetched(&mut stage);
    assert_eq!(after, None);
    stage.events.clear();
    (stage, request)
}

/// Goal: a server that is busy at the login, or does not answer, is asked again where direct lines begin: else those of
/// the first lost connection would never be told (PROTOCOL M83).
#[test]
fn where_direct_lines_begin_is_asked_again() {
    let busy = Status { status_code: StatusCode::StatusTryAgain as i32, retry_after_ms: 900, ..Status::default() };
    for refusal in [Some(Body::Status(busy)), None] {
        let (mut stage, request) = follows_direct();
        match refusal {
            Some(refusal) => {
                stage.reply(request, refusal);
                stage.after(SECOND_US / 2);
                assert!(stage.sent().is_empty(), "not before it may");
            }
            None => stage.after(REQUEST_US_MAX),
        }
        stage.after(SECOND_US / 2);
        let (after, request) = fetched(&mut stage);
        assert_eq!(after, None);
        stage.reply(request, page(vec![direct(10)], true));
        stage.after(SECOND_US);
        assert!(stage.sent().is_empty());
        stage.handle(Input::Closed);
        stage.handle(Input::Connected);
        let resume = stage.sent();
        stage.reply(resume[0].request_id, welcome());
        let (after, request) = fetched(&mut stage);
        assert_eq!(after, Some(10));
        stage.reply(request, page(vec![direct(11)], false));
        assert_eq!(told(&mut stage), [11]);
    }
}

/// Goal: numbers of lines that no server gives do no harm.
#[test]
fn impossible_numbers_are_only_numbers() {
    for (first, newest) in [(u64::MAX, 5), (0, u64::MAX), (u64::MAX, u64::MAX), (0, 0)] {
        let (mut stage, request) = follows_direct();
        live(&mut stage, direct(first));
        stage.reply(request, page(vec![direct(newest)], true));
        stage.handle(Input::Closed);
        stage.handle(Input::Connected);
        let resume = stage.sent();
        stage.reply(resume[0].request_id, welcome());
        let (_, request) = fetched(&mut stage);
        stage.reply(request, page(vec![direct(u64::MAX), direct(0)], true));
        live(&mut stage, direct(u64::MAX));
    }
}

/// Goal: what a driver asks of chat is answered with what came, and a line to someone by the stored line.
#[test]
fn a_driver_asks_about_chat() {
    let mut stage = Stage::in_room();
    let now = stage.now;
    let asked = stage.session.chat_action(now, ChatAction::default()).unwrap();
    let seen = stage.session.seen(now, "lobby", 5).unwrap();
    let said = stage.session.direct(now, "bob", "hi", "id").unwrap();
    let sent = stage.sent();
    assert!(matches!(&sent[1].body, Some(Body::ChatAction(action)) if action.message_id == 5));
    assert!(matches!(&sent[2].body, Some(Body::ChatMsg(line)) if line.to == "bob" && line.client_id == "id"));
    stage.reply(sent[0].request_id, page(vec![line(1)], false));
    stage.reply(sent[1].request_id, page(Vec::new(), false));
    stage.reply(sent[2].request_id, Body::ChatMsg(direct(1)));
    let done: Vec<RequestId> = stage
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Answer(Answer { request, outcome: Outcome::Done(Done::ChatState(_) | Done::Chat(_)) }) => {
                Some(*request)
            }
            _ => None,
        })
        .collect();
    assert_eq!(done, [asked, seen, said]);
    live(&mut stage, direct(1));
    assert_eq!(told(&mut stage), [0; 0], "it was answered");
}
