//! The own microphone in the status line: what it does, in words that nobody can mistake, and how loud it is.
//!
//! In: the interface's state, and now. Out: the beginning of the status line.

use echomesh_proto::time::Time;
use ratatui::text::Span;

use super::app::{App, Own};
use super::meters::{OWN, share_of};
use super::side;
use super::theme::Theme;
use crate::cli::hotkey_names::Hotkey;
use crate::cli::talk_mode::TalkMode;
use crate::cli::threshold::Threshold;

/// Signs of the bar with a threshold.
const BAR: usize = 10;

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
        let threshold = own.threshold.below_full_scale().filter(|_| own.mode == TalkMode::Voice);
        spans.push(match threshold {
            Some(threshold) => bar_with(threshold, app.meters.db(OWN, now), theme),
            None => side::bar(app.meters.share(OWN, now), theme),
        });
    }
    spans
}

/// How loud, with a mark where the threshold is, and the threshold in figures: `>`, one is louder, `<`, one is not. The bar
/// passes the mark when one is, although it has few signs.
fn bar_with(threshold: u8, level: Option<u8>, theme: Theme) -> Span<'static> {
    let on_bar = |db| (share_of(db) * BAR as f32).round() as usize;
    let mark = on_bar(threshold);
    let is_over = level.is_some_and(|db| db <= threshold);
    let full = level.map_or(0, on_bar);
    let full = if is_over { full.max(mark + 1) } else { full.min(mark) }.min(BAR);
    let signs = theme.signs;
    let sign = |at| if at < full { signs.bar } else { signs.no_bar };
    let (below, above): (String, String) = ((0..mark).map(sign).collect(), (mark..BAR).map(sign).collect());
    let relation = if is_over { '>' } else { '<' };
    let text = format!("{below}{}{above} {relation} -{threshold} dB", signs.threshold);
    Span::styled(text, if is_over { theme.talking() } else { theme.quiet() })
}

/// What a threshold that was set does.
pub fn threshold_text(own: &Own) -> String {
    let what = match own.threshold {
        Threshold::Auto => "a detector tells voice from noise, however soft".to_owned(),
        Threshold::Below(_) => format!("nothing softer than {} is sent", own.threshold),
    };
    match own.mode {
        TalkMode::Voice => what,
        mode => format!("{what}, once you talk by voice (/talk voice; now it is {})", mode.name()),
    }
}

/// Why a hotkey does nothing now.
pub fn hotkey_text(own: &Own, key: &Hotkey) -> Option<String> {
    let has_key = matches!(own.mode, TalkMode::Push | TalkMode::Mute);
    let name = own.mode.name();
    (!has_key)
        .then(|| format!("the hotkey {key} does nothing while the talk mode is {name}: /talk push, or /talk mute"))
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
        let key = "f9".parse().unwrap();
        assert!(hotkey_text(&app.own, &key).is_some_and(|text| text.contains("f9 does nothing while")));
        app.set_mode(TalkMode::Mute);
        assert_eq!(hotkey_text(&app.own, &key), None);
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

    /// Goal: a threshold that is set reaches the engine, is on the meter where it is, and the line says whether one is
    /// over it, without colours and without Unicode; other talk modes have none; the figures beside it stay whole.
    #[test]
    fn the_threshold_is_seen_on_the_meter() {
        let mut app = app();
        app.editor.insert_all("/threshold -45");
        app.enter(0);
        assert_eq!(app.take_acts(), [Act::Voice]);
        assert!(app.view().lines().any(|line| line.text == "nothing softer than -45 dB is sent"));
        let mut seen = |level: Option<u8>, threshold| {
            app.own.threshold = threshold;
            app.meters.note(OWN, Time(0), level);
            spans(&app, Theme::new(false, false), Time(0)).pop().unwrap().content.into_owned()
        };
        assert_eq!(seen(Some(0x80 | 20), Threshold::Below(45)), "###|#####.. > -45 dB");
        assert_eq!(seen(Some(45), Threshold::Below(45)), "###|#...... > -45 dB");
        assert_eq!(seen(Some(46), Threshold::Below(45)), "###|....... < -45 dB");
        assert_eq!(seen(Some(127), Threshold::Below(45)), "...|....... < -45 dB");
        assert_eq!(seen(Some(10), Threshold::Below(10)), "##########| > -10 dB");
        assert_eq!(seen(Some(70), Threshold::Below(80)), "|#......... > -80 dB");
        assert_eq!(seen(Some(20), Threshold::Auto), "####");
        app.own.threshold = Threshold::Below(45);
        app.set_mode(TalkMode::Push);
        assert_eq!(spans(&app, Theme::new(true, true), Time(0)).pop().unwrap().content, "▮▮▮▮");
        assert!(threshold_text(&app.own).contains("/talk voice; now it is push"));
    }
}
