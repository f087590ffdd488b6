//! Keys: what each does, and how a person says it in the configuration file.
//!
//! Not typing, which is the editor's. In: `[keys]` of the file, keys of the terminal. Out: actions.

use std::collections::BTreeMap;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Help,
    Mute,
    Deafen,
    Talk,
    TalkMode,
    Next,
    Previous,
    Unread,
    ScrollUp,
    ScrollDown,
    Newest,
    Redraw,
    Quit,
}

/// Names, keys of old, and what each does; in the order of the help.
pub const ACTIONS: [(Action, &str, &[&str], &str); 13] = [
    (Action::Help, "help", &["f1"], "this help; ? on an empty line, too"),
    (Action::Mute, "mute", &["f2", "alt-m"], "say nothing, or something again"),
    (Action::Deafen, "deafen", &["f3", "alt-d"], "hear nothing, or something again"),
    (Action::Talk, "talk", &["f4"], "push to talk or to mute: held, or pressed twice if need be"),
    (Action::TalkMode, "talk-mode", &["f5"], "microphone by voice, by key, but for the key, always"),
    (Action::Next, "next", &["ctrl-n", "alt-down"], "the next room or conversation"),
    (Action::Previous, "previous", &["ctrl-p", "alt-up"], "the one before"),
    (Action::Unread, "unread", &["alt-a"], "the next one with something unread"),
    (Action::ScrollUp, "scroll-up", &["pageup"], "older lines"),
    (Action::ScrollDown, "scroll-down", &["pagedown"], "newer lines"),
    (Action::Newest, "newest", &["alt-end"], "the newest line"),
    (Action::Redraw, "redraw", &["ctrl-l"], "draw the screen anew"),
    (Action::Quit, "quit", &["ctrl-q"], "leave and end; Ctrl-C on an empty line, too"),
];

/// A key as people write it.
type Key = (KeyCode, KeyModifiers);

/// Which key does what.
#[derive(Clone, Debug)]
pub struct Keys {
    /// In the order in which they are shown.
    keys: Vec<(String, Action)>,
}

impl Default for Keys {
    fn default() -> Self {
        let usual = |(action, _, keys, _): &(Action, &str, &'static [&'static str], &str)| {
            let action = *action;
            keys.iter().map(move |key| ((*key).to_owned(), action))
        };
        Self { keys: ACTIONS.iter().flat_map(usual).collect() }
    }
}

impl Keys {
    /// The usual ones, with what the configuration says instead: `mute = "f9"`, or `["f9", "alt-x"]`.
    ///
    /// # Errors
    /// A sentence: no such action, no such key, or one key twice.
    pub fn configured(given: &BTreeMap<String, Vec<String>>) -> Result<Self, String> {
        let mut keys = Self::default();
        for (name, new) in given {
            let Some((action, ..)) = ACTIONS.iter().find(|(_, known, ..)| known == name) else {
                let known: Vec<&str> = ACTIONS.iter().map(|(_, name, ..)| *name).collect();
                return Err(format!("[keys]: there is no action {name:?}; there are: {}", known.join(", ")));
            };
            keys.keys.retain(|(_, other)| other != action);
            for key in new {
                let written = spelt(parse(key)?);
                if let Some((_, other)) = keys.keys.iter().find(|(key, _)| *key == written) {
                    let other = ACTIONS.iter().find(|(action, ..)| action == other).map_or("", |(_, name, ..)| name);
                    return Err(format!("[keys]: {key} is the key of {other}: give that one another, too"));
                }
                keys.keys.push((written, *action));
            }
        }
        Ok(keys)
    }

    /// What a key does, if it is not for typing.
    pub fn action(&self, key: &KeyEvent) -> Option<Action> {
        let pressed = spelt((key.code, key.modifiers));
        self.keys.iter().find(|(key, _)| *key == pressed).map(|(_, action)| *action)
    }

    /// The keys of an action.
    pub fn of(&self, action: Action) -> String {
        let keys: Vec<&str> = self.keys.iter().filter(|(_, of)| *of == action).map(|(key, _)| &**key).collect();
        keys.join(", ")
    }
}

/// `f2`, `ctrl-n`, `alt-up`, `alt-m`.
fn parse(text: &str) -> Result<Key, String> {
    let wrong = || format!("[keys]: {text:?} is no key: write such as f2, ctrl-n, alt-m, pageup");
    let lower = text.to_lowercase();
    let mut modifiers = KeyModifiers::NONE;
    let mut rest = lower.as_str();
    while let Some((modifier, after)) = rest.split_once('-').filter(|(_, after)| !after.is_empty()) {
        modifiers |= match modifier {
            "ctrl" => KeyModifiers::CONTROL,
            "alt" => KeyModifiers::ALT,
            "shift" => KeyModifiers::SHIFT,
            _ => return Err(wrong()),
        };
        rest = after;
    }
    let number = rest.strip_prefix('f').and_then(|number| number.parse::<u8>().ok()).filter(|of| (1..=24).contains(of));
    let code = match (rest, number) {
        (_, Some(number)) => KeyCode::F(number),
        ("up", _) => KeyCode::Up,
        ("down", _) => KeyCode::Down,
        ("left", _) => KeyCode::Left,
        ("right", _) => KeyCode::Right,
        ("home", _) => KeyCode::Home,
        ("end", _) => KeyCode::End,
        ("pageup", _) => KeyCode::PageUp,
        ("pagedown", _) => KeyCode::PageDown,
        ("insert", _) => KeyCode::Insert,
        _ => match rest.chars().collect::<Vec<_>>()[..] {
            // Without a modifier it would be for typing.
            [one] if modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => KeyCode::Char(one),
            _ => return Err(wrong()),
        },
    };
    Ok((code, modifiers))
}

fn spelt((code, modifiers): Key) -> String {
    let mut text = String::new();
    for (modifier, name) in
        [(KeyModifiers::CONTROL, "ctrl-"), (KeyModifiers::ALT, "alt-"), (KeyModifiers::SHIFT, "shift-")]
    {
        if modifiers.contains(modifier) {
            text.push_str(name);
        }
    }
    match code {
        KeyCode::Char(character) => text.extend(character.to_lowercase()),
        KeyCode::F(number) => text.push_str(&format!("f{number}")),
        other => text.push_str(&format!("{other:?}").to_lowercase()),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: keys of old are valid and of one action each; configured ones take their place; mistakes are told.
    #[test]
    fn keys_can_be_chosen() {
        let usual: usize = ACTIONS.iter().map(|(_, _, keys, _)| keys.len()).sum();
        assert_eq!(Keys::default().keys.len(), usual);
        for (action, _, written, _) in ACTIONS {
            for key in written {
                let (code, modifiers) = parse(key).unwrap();
                assert_eq!(Keys::default().action(&KeyEvent::new(code, modifiers)), Some(action), "{key}");
            }
        }
        let given = |name: &str, key: &str| BTreeMap::from([(name.to_owned(), vec![key.to_owned()])]);
        let keys = Keys::configured(&given("mute", "F9")).unwrap();
        assert_eq!(keys.action(&KeyEvent::new(KeyCode::F(9), KeyModifiers::NONE)), Some(Action::Mute));
        assert_eq!(keys.action(&KeyEvent::new(KeyCode::F(2), KeyModifiers::NONE)), None);
        assert_eq!(keys.of(Action::Mute), "f9");
        for (name, key, said) in [
            ("mtue", "f9", "there are: help, mute"),
            ("mute", "m", "is no key"),
            ("mute", "hyper-m", "is no key"),
            ("mute", "f3", "is the key of deafen"),
        ] {
            assert!(Keys::configured(&given(name, key)).is_err_and(|text| text.contains(said)), "{name} {key}");
        }
    }
}
