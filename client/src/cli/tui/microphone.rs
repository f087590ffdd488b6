//! The own microphone in the status line: what it does, in words that nobody can mistake, and how loud it is.
//!
//! In: the interface's state, and now. Out: the beginning of the status line.

use echomesh_proto::time::Time;
use ratatui::text::Span;

use super::app::{App, Own};
use super::meters::OWN;
use super::side;
use super::slash::TalkMode;
use super::theme::Theme;

/// What it does, and whether nothing is sent, whatever is said.
fn words(own: &Own) -> (&'static str, bool) {
    match () {
        () if !own.has_input => (" NO MICROPHONE ", true),
        () if own.muted => (" MUTED ", true),
        () if own.room.is_none() => (" NO ROOM ", true),
        () if own.mode == TalkMode::Push && !own.pushed => (" PUSH TO TALK ", true),
        () if own.mode == TalkMode::Mute && own.pushed => (" MUTED BY KEY ", true),
        () if own.talking => (" TALKING ", false),
        () if own.mode == TalkMode::Push => (" OPEN ", false),
        () if own.mode == TalkMode::Mute => (" OPEN, KEY MUTES ", false),
        () => (" LISTENING ", false),
    }
}

/// The microphone, and whether the person hears.
pub fn spans(app: &App, theme: Theme, now: Time) -> Vec<Span<'static>> {
    let own = &app.own;
    let (text, closed) = words(own);
    let waits = !own.talking && matches!(own.mode, TalkMode::Voice | TalkMode::Always);
    let style = match () {
        () if closed => theme.closed(),
        () if waits => theme.strong(),
        () => theme.open(),
    };
    let mut spans = vec![Span::styled(text, style)];
    if own.deafened || !own.has_output {
        spans.push(Span::raw(" "));
        spans.push(Span::styled(if own.deafened { " DEAFENED " } else { " NO SOUND " }, theme.closed()));
    }
    if own.has_input {
        spans.push(Span::raw(" "));
        spans.push(side::bar(app.meters.share(OWN, now), theme));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::super::app::Act;
    use super::super::input::take_order;
    use super::super::keys::{Action, Keys};
    use super::*;
    use crate::cli::control::Order;

    fn app() -> App {
        let mut app = App::new("host:8888", 1, "me", Keys::default());
        app.entered("hall", 0);
        (app.own.has_input, app.own.has_output) = (true, true);
        app.take_acts();
        app
    }

    /// Goal: with push to mute the microphone is open but while the key is held, whoever holds it: the terminal's key
    /// or another program; the line says so, and a mute stays above.
    #[test]
    fn push_to_mute_is_open_but_for_the_key() {
        let mut app = app();
        let seen = |app: &App| spans(app, Theme::new(false, false), Time(0))[0].content.clone();
        app.set_mode(TalkMode::Mute);
        assert_eq!((app.own.is_closed(), &*seen(&app)), (false, " OPEN, KEY MUTES "));
        assert!(!app.own.announce("hall").muted);
        app.take_acts();
        take_order(&mut app, Order::Talk);
        assert_eq!((app.own.is_closed(), &*seen(&app)), (true, " MUTED BY KEY "));
        assert!(app.own.announce("hall").muted, "the others see it");
        assert_eq!(app.take_acts(), [Act::Voice], "and the engine is told");
        assert_eq!(app.own.sentence(), "microphone closed (push to mute, the key is held)");
        take_order(&mut app, Order::Quiet);
        assert_eq!(app.own.sentence(), "microphone open (push to mute)");
        app.action(Action::Talk);
        assert!(app.own.is_closed());
        take_order(&mut app, Order::ToggleTalk);
        assert!(!app.own.is_closed());
        app.set_muted(true);
        take_order(&mut app, Order::Quiet);
        assert_eq!((app.own.is_closed(), &*seen(&app)), (true, " MUTED "));
    }

    /// Goal: the key of the talk modes goes through all of them, and a key that was held for one is not held for the next.
    #[test]
    fn the_talk_mode_key_goes_through_all() {
        let mut app = app();
        let mut gone_through = Vec::new();
        for _ in TalkMode::ALL {
            app.action(Action::Talk);
            app.action(Action::TalkMode);
            assert!(!app.own.pushed);
            gone_through.push(app.own.mode);
        }
        assert_eq!(gone_through, [TalkMode::Push, TalkMode::Mute, TalkMode::Always, TalkMode::Voice]);
    }
}
