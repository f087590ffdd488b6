//! What the terminal's keys do: actions, else typing.
//!
//! In: the terminal's events. Out: changes of the interface's state.

use ratatui::crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::app::App;
use super::keys::Action;
use crate::cli::clock;

/// A key, a paste, another size.
pub(super) fn take_input(app: &mut App, tells_release: bool, input: Input) {
    match input {
        Input::Key(key) => take_key(app, tells_release, key),
        Input::Paste(text) => app.editor.insert_all(&text),
        _ => {}
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
