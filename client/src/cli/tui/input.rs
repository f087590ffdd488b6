//! What the terminal's keys do: actions, else typing; what its mouse does, and orders from outside.
//!
//! In: the terminal's events, orders. Out: changes of the interface's state.

use ratatui::crossterm::event::{
    Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use super::app::App;
use super::draw::Drawn;
use super::keys::Action;
use super::side::Target;
use crate::cli::clock;
use crate::cli::control::Order;

/// Rows that a turn of the mouse's wheel scrolls.
const WHEEL_ROWS: usize = 3;

/// A key, the mouse, a paste, another size. `drawn`: what is on the screen.
pub(super) fn take_input(app: &mut App, tells_release: bool, drawn: &Drawn, input: Input) {
    match input {
        Input::Mouse(mouse) => take_mouse(app, drawn, mouse),
        Input::Key(key) => take_key(app, tells_release, key),
        Input::Paste(text) => app.editor.insert_all(&text),
        _ => {}
    }
}

fn take_mouse(app: &mut App, drawn: &Drawn, mouse: MouseEvent) {
    match mouse.kind {
        MouseEventKind::ScrollUp => app.scroll_up(WHEEL_ROWS),
        MouseEventKind::ScrollDown => app.scroll_down(WHEEL_ROWS),
        MouseEventKind::Down(MouseButton::Left) => match drawn.target(mouse.column, mouse.row).cloned() {
            Some(Target::View(at)) => app.look_at(at),
            Some(Target::Person(name)) => app.talk_to(name),
            Some(Target::Room(room)) => app.enter_room(room),
            None => {}
        },
        _ => {}
    }
}

/// An order from outside.
pub(super) fn take_order(app: &mut App, order: Order) {
    match order {
        Order::Mute | Order::Unmute => app.set_muted(order == Order::Mute),
        Order::ToggleMute => app.set_muted(!app.own.muted),
        Order::Deafen | Order::Undeafen => app.set_deafened(order == Order::Deafen),
        Order::ToggleDeafen => app.set_deafened(!app.own.deafened),
        Order::Talk | Order::Quiet => app.push(order == Order::Talk),
        Order::ToggleTalk => app.push(!app.own.pushed),
        Order::Status => {}
    }
}

fn take_key(app: &mut App, tells_release: bool, key: KeyEvent) {
    if let Some(action) = app.keys.action(&key) {
        return match (action, key.kind) {
            (Action::Talk, KeyEventKind::Press) if tells_release => app.push(true),
            (Action::Talk, KeyEventKind::Release) => app.push(false),
            (Action::Talk, KeyEventKind::Repeat) if tells_release => {}
            (_, KeyEventKind::Release) => {}
            _ => app.action(action),
        };
    }
    if key.kind == KeyEventKind::Release {
        return;
    }
    let (control, alt) = (key.modifiers.contains(KeyModifiers::CONTROL), key.modifiers.contains(KeyModifiers::ALT));
    match key.code {
        KeyCode::Esc => app.shows_help = false,
        KeyCode::Char('c') if control && app.editor.is_empty() => app.action(Action::Quit),
        KeyCode::Char('c') if control => drop(app.editor.take()),
        KeyCode::Char('?') if app.editor.is_empty() => app.action(Action::Help),
        KeyCode::Char('a') if control => app.editor.home(),
        KeyCode::Char('e') if control => app.editor.end(),
        KeyCode::Char('u') if control => app.editor.delete_to_start(),
        KeyCode::Char('k') if control => app.editor.delete_to_end(),
        KeyCode::Char('w') if control => app.editor.delete_word(),
        KeyCode::Char(character) if !control && !alt => app.editor.insert(character),
        KeyCode::Enter if app.shows_help => app.shows_help = false,
        KeyCode::Enter => app.enter(clock::now().unix_ms),
        KeyCode::Tab => app.complete(),
        KeyCode::Backspace if alt => app.editor.delete_word(),
        KeyCode::Backspace => app.editor.backspace(),
        KeyCode::Delete => app.editor.delete(),
        KeyCode::Left if control => app.editor.word_left(),
        KeyCode::Right if control => app.editor.word_right(),
        KeyCode::Left => app.editor.left(),
        KeyCode::Right => app.editor.right(),
        KeyCode::Home => app.editor.home(),
        KeyCode::End => app.editor.end(),
        KeyCode::Up => app.editor.recall_earlier(),
        KeyCode::Down => app.editor.recall_later(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use echomesh_proto::control::Room;
    use echomesh_proto::time::Time;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::app::{Act, Shown};
    use super::super::draw::draw;
    use super::super::keys::Keys;
    use super::super::theme::Theme;
    use super::*;
    use crate::cli::outgoing::Place;

    fn at(screen: &str, words: &str) -> (u16, u16) {
        // Below the title.
        let row = screen.lines().skip(1).position(|row| row.contains(words)).unwrap();
        (4, row as u16 + 1)
    }

    fn mouse(kind: MouseEventKind, (column, row): (u16, u16)) -> Input {
        Input::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
    }

    /// Goal: a click does what it is on, where that was drawn: a conversation, a room; the wheel scrolls, others nothing.
    #[test]
    fn a_click_goes_to_what_is_under_it() {
        let mut app = App::new("host:8888", 1, "me", Keys::default());
        app.entered("hall", 0);
        app.members = vec![Shown { name: "bob".into(), ..Shown::default() }];
        app.rooms = vec![Room { room_id: "den".into(), ..Room::default() }];
        app.take_acts();
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let mut drawn = Drawn::default();
        let done = terminal.draw(|frame| drawn = draw(frame, &app, Theme::new(true, true), Time(0), |_| String::new()));
        let buffer = done.unwrap().buffer;
        let screen: String = (0..24)
            .map(|row| (0..80).map(|column| buffer[(column, row)].symbol()).collect::<String>() + "\n")
            .collect();
        let press = MouseEventKind::Down(MouseButton::Left);
        take_input(&mut app, false, &drawn, mouse(press, at(&screen, " bob ")));
        assert_eq!(app.view().place, Place::Person("bob".into()));
        take_input(&mut app, false, &drawn, mouse(press, at(&screen, "●hall")));
        assert_eq!(app.room(), Some("hall"));
        app.take_acts();
        take_input(&mut app, false, &drawn, mouse(press, at(&screen, " den ")));
        let join = Act::Join { room: "den".into(), password: String::new(), create: false };
        assert_eq!(app.take_acts(), [join]);
        for nothing in [(60, 10), (4, 23), (4, 0), (200, 200)] {
            take_input(&mut app, false, &drawn, mouse(press, nothing));
        }
        assert_eq!(app.take_acts(), []);
        take_input(&mut app, false, &drawn, mouse(MouseEventKind::ScrollUp, (60, 10)));
        assert_eq!(app.view().scroll, WHEEL_ROWS);
    }
}
