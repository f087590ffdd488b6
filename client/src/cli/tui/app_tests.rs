//! Tests of `app`.

use echomesh_proto::control::Member;

use super::*;

const NOW: u64 = 1_000;

fn app() -> App {
    let mut app = App::new("host:8888", 1, "me", Keys::default());
    app.entered("hall", NOW);
    app.take_acts();
    app
}

fn enter(app: &mut App, text: &str) -> Vec<Act> {
    app.editor.insert_all(text);
    app.enter(NOW);
    app.take_acts()
}

fn line(id: u64, user_id: u64, room: &str, to: &str) -> ChatMsg {
    ChatMsg {
        message_id: id,
        user_id,
        username: if user_id == 1 { "me".into() } else { "ann".into() },
        room_id: room.into(),
        to: to.into(),
        content: "hi".into(),
        ..ChatMsg::default()
    }
}

fn hall() -> Place {
    Place::Room("hall".into())
}

/// Goal: what is typed goes to the place that is looked at; a slash begins a command, two say one.
#[test]
fn lines_go_where_one_looks() {
    let mut app = app();
    assert_eq!(enter(&mut app, "hello"), [Act::Say(hall(), "hello".into())]);
    assert_eq!(enter(&mut app, "//shrug"), [Act::Say(hall(), "/shrug".into())]);
    assert_eq!(enter(&mut app, "   "), []);
    let ann = Place::Person("ann".into());
    let acts = enter(&mut app, "/msg ann psst");
    assert_eq!(acts, [Act::History(ann.clone(), 0), Act::Say(ann.clone(), "psst".into())]);
    assert_eq!(enter(&mut app, "more"), [Act::Say(ann, "more".into())]);
    enter(&mut app, "/close");
    app.look_at(0);
    assert_eq!(enter(&mut app, "lost"), [], "the server's place takes no lines");
    assert!(app.view().lines().any(|line| line.kind == Kind::Problem && line.text.contains("/join")));
    assert_eq!(enter(&mut app, "/kick ann"), []);
    assert_eq!(enter(&mut app, "/nonsense"), []);
    assert!(app.view().lines().any(|line| line.text.contains("no command /nonsense")));
}

/// Goal: what came elsewhere is unread until it is looked at, and a line to this person rings.
#[test]
fn what_came_elsewhere_is_unread() {
    let mut app = app();
    app.entered("den", NOW);
    app.take_acts();
    app.event(&Event::Chat(line(4, 2, "hall", "")), NOW);
    assert_eq!(app.take_acts(), [], "a line in a room is no reason to ring");
    app.event(&Event::Chat(ChatMsg { mentions: vec![1], ..line(5, 2, "hall", "") }), NOW);
    assert_eq!(app.take_acts(), [Act::Bell]);
    app.event(&Event::Direct(line(9, 2, "", "me")), NOW);
    let ann = Place::Person("ann".into());
    assert_eq!(app.take_acts(), [Act::History(ann.clone(), 0), Act::Bell]);
    app.event(&Event::Direct(line(10, 1, "", "ann")), NOW);
    assert_eq!(app.views.iter().filter(|view| view.place == ann).count(), 1, "said on another device");
    app.action(Action::Unread);
    assert_eq!(app.view().place, ann);
    app.action(Action::Unread);
    assert_eq!((app.room(), app.view().unread), (Some("hall"), 0));
    assert!(app.take_acts().contains(&Act::Seen(hall(), 5)));
}

/// Goal: what is done while there is no connection waits for one, an end does not, and what waits is bounded.
#[test]
fn what_is_done_waits_for_a_connection() {
    let mut app = app();
    for number in 0..=ACTS_MAX {
        app.editor.insert_all(&format!("line {number}"));
        app.enter(NOW);
        app.bound_acts(NOW);
    }
    assert!(app.view().lines().any(|line| line.text.contains("not taken")));
    assert!(!app.quits());
    app.action(Action::Quit);
    assert!(app.quits());
    let acts = app.take_acts();
    assert_eq!((acts.len(), acts.first()), (ACTS_MAX + 1, Some(&Act::Say(hall(), "line 0".into()))));
    let own = Own { talking: true, has_input: true, ..app.own.clone() };
    assert_eq!(own.announce("hall"), Announce { talking: true, muted: false, deafened: true });
    assert_eq!(own.announce("den"), Announce { talking: false, muted: true, deafened: true });
}

/// Goal: keys and commands switch the own voice; pushing to talk opens the microphone only while it is pushed.
#[test]
fn the_own_voice_is_switched() {
    let mut app = app();
    app.own.has_input = true;
    assert!(!app.own.is_closed());
    app.action(Action::Mute);
    assert!(app.own.is_closed() && app.take_acts() == [Act::Voice]);
    enter(&mut app, "/unmute");
    enter(&mut app, "/talk push");
    assert!(app.own.is_closed());
    app.action(Action::Talk);
    assert!(!app.own.is_closed());
    app.action(Action::Talk);
    assert!(app.own.is_closed());
    enter(&mut app, "/volume ann 50");
    enter(&mut app, "/ignore bob");
    assert_eq!(app.people.len(), 2);
    enter(&mut app, "/volume ann 100");
    assert_eq!(app.people.len(), 1, "what is usual is not kept");
}

/// Goal: being put out of a room, moved, and others' coming and going are told where they happen.
#[test]
fn what_happens_is_told_where_it_happens() {
    let mut app = app();
    app.event(
        &Event::Member {
            room: "hall".into(),
            change: MemberChange::Joined,
            member: Member { username: "ann\u{7}".into(), ..Member::default() },
        },
        NOW,
    );
    assert!(app.view().lines().any(|line| line.text.contains("came") && !line.text.contains('\u{7}')));
    app.event(&Event::Moved { room: "den".into() }, NOW);
    app.event(&Event::RoomLost { room: "hall".into(), message: "moved by eve".into() }, NOW);
    assert_eq!((app.room(), app.own.room.as_deref()), (Some("den"), Some("den")));
    app.event(&Event::RoomLost { room: "den".into(), message: "it ended".into() }, NOW);
    assert_eq!(app.own.room, None);
    app.take_acts();
    assert_eq!(enter(&mut app, "anyone?"), [], "not in there any more");
}

/// Goal: Tab completes people of the room and rooms of the server; scrolling back fetches older lines once.
#[test]
fn completing_and_scrolling() {
    let mut app = app();
    app.members = vec![Shown { name: "annabel".into(), ..Shown::default() }];
    app.rooms = vec![Room { room_id: "garden".into(), ..Room::default() }];
    app.editor.insert_all("an");
    app.complete();
    assert_eq!(app.editor.take(), "annabel ");
    app.editor.insert_all("/join g");
    app.complete();
    assert_eq!(app.editor.take(), "/join garden ");
    app.event(&Event::Chat(line(7, 2, "hall", "")), NOW);
    app.views[1].page(&[], true, 1);
    app.take_acts();
    app.action(Action::ScrollUp);
    app.action(Action::ScrollUp);
    assert_eq!(app.take_acts(), [Act::History(hall(), 7)]);
    app.action(Action::Newest);
    assert_eq!(app.view().scroll, 0);
}
