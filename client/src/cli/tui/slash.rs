//! What is typed with a slash before it: commands, their arguments, and the words that complete them.
//!
//! Not what they do. In: a line. Out: a command, or what is wrong with it.

use crate::cli::talk_mode::TalkMode;
use crate::cli::threshold::Threshold;

/// Names, arguments and what each does; in the order of the help.
pub const COMMANDS: [(&str, &str, &str); 22] = [
    ("join", "ROOM [PASSWORD]", "enter a room, and talk there"),
    ("create", "ROOM", "make a room and enter it"),
    ("leave", "[ROOM]", "leave a room"),
    ("rooms", "", "list the rooms anew"),
    ("msg", "NAME TEXT", "say something to one person"),
    ("close", "", "close a conversation"),
    ("mute", "", "say nothing"),
    ("unmute", "", "say something again"),
    ("deafen", "", "hear nothing"),
    ("undeafen", "", "hear something again"),
    ("talk", "voice|push|mute|always", "when the microphone is open"),
    ("threshold", "DB|auto", "how loud you must be at least, such as -45"),
    ("volume", "NAME PERCENT", "how loud somebody is for you, 0 to 400; kept"),
    ("ignore", "NAME", "hear nobody of that name; kept"),
    ("unignore", "NAME", "hear them again"),
    ("kick", "NAME [REASON]", "put somebody out of the room"),
    ("servermute", "NAME", "nobody hears them in the room"),
    ("serverunmute", "NAME", "everybody hears them again"),
    ("edit", "TEXT", "change your last line here"),
    ("delete", "", "delete your last line here"),
    ("help", "", "show keys and commands"),
    ("quit", "", "leave and end"),
];

/// A command.
#[derive(Clone, Debug, PartialEq)]
pub enum Slash {
    Join { room: String, password: String },
    Create(String),
    Leave(Option<String>),
    Rooms,
    Message { name: String, text: String },
    Close,
    Mute(bool),
    Deafen(bool),
    Talk(TalkMode),
    Threshold(Threshold),
    Volume { name: String, percent: u32 },
    Ignore { name: String, ignored: bool },
    Kick { name: String, reason: String },
    ServerMute { name: String, muted: bool },
    Edit(String),
    Delete,
    Help,
    Quit,
}

/// Most that somebody is made louder, percent: the engine's 12 dB.
const PERCENT_MAX: u32 = 400;

/// A word and the rest.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

/// Room names may have blanks: in quotation marks, else the first word.
fn name(text: &str) -> (&str, &str) {
    match text.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some((name, rest)) => (name, rest.trim_start()),
        None => split(text),
    }
}

/// What a line that begins with a slash says; without the slash.
///
/// # Errors
/// A sentence: no such command, with the nearest one, or how it is used.
pub fn parse(line: &str) -> Result<Slash, String> {
    let (command, rest) = split(line);
    let usage = || {
        let found = COMMANDS.iter().find(|(name, ..)| *name == command);
        found.map_or_else(String::new, |(name, arguments, _)| format!("write /{name} {arguments}"))
    };
    let one = |text: &str| {
        let (word, _) = name(text);
        if word.is_empty() { Err(usage()) } else { Ok(word.trim_start_matches('@').to_owned()) }
    };
    Ok(match command {
        "join" => {
            let (_, password) = name(rest);
            Slash::Join { room: one(rest)?, password: password.to_owned() }
        }
        "create" => Slash::Create(one(rest)?),
        "leave" => Slash::Leave(one(rest).ok()),
        "rooms" => Slash::Rooms,
        "msg" => match split(rest) {
            (_, "") => return Err(usage()),
            (to, text) => Slash::Message { name: to.trim_start_matches('@').to_owned(), text: text.to_owned() },
        },
        "close" => Slash::Close,
        "mute" | "unmute" => Slash::Mute(command == "mute"),
        "deafen" | "undeafen" => Slash::Deafen(command == "deafen"),
        "talk" => Slash::Talk(TalkMode::parse(rest).ok_or_else(usage)?),
        "threshold" if rest.is_empty() => return Err(usage()),
        "threshold" => Slash::Threshold(rest.parse()?),
        "volume" => {
            let (_, percent) = split(rest);
            let percent = percent.trim_end_matches('%').parse().ok().filter(|percent| *percent <= PERCENT_MAX);
            Slash::Volume { name: one(rest)?, percent: percent.ok_or_else(usage)? }
        }
        "ignore" | "unignore" => Slash::Ignore { name: one(rest)?, ignored: command == "ignore" },
        "kick" => Slash::Kick { name: one(rest)?, reason: split(rest).1.to_owned() },
        "servermute" | "serverunmute" => Slash::ServerMute { name: one(rest)?, muted: command == "servermute" },
        "edit" if !rest.is_empty() => Slash::Edit(rest.to_owned()),
        "delete" => Slash::Delete,
        "help" => Slash::Help,
        "quit" | "exit" => Slash::Quit,
        _ => {
            let usage = usage();
            let near = COMMANDS.iter().find(|(name, ..)| !command.is_empty() && name.starts_with(&command[..1]));
            return Err(match near {
                _ if !usage.is_empty() => usage,
                Some((near, ..)) => format!("there is no command /{command}: /{near}? F1 shows all of them"),
                None => format!("there is no command /{command}: F1 shows all of them"),
            });
        }
    })
}

/// Words that complete the one that is typed, after what is before it.
pub fn completions(before: &str, typed: &str, rooms: &[String], people: &[String]) -> Vec<String> {
    if let Some(prefix) = typed.strip_prefix('/').filter(|_| before.is_empty()) {
        let names = COMMANDS.iter().map(|(name, ..)| *name).filter(|name| name.starts_with(prefix));
        return names.map(|name| format!("/{name}")).collect();
    }
    let command = before.trim_end().strip_prefix('/');
    let (mark, prefix) = if let Some(prefix) = typed.strip_prefix('@') { ("@", prefix) } else { ("", typed) };
    let modes = TalkMode::ALL.map(|mode| mode.name().to_owned());
    let automatic = [Threshold::Auto.to_string()];
    let words = match command {
        Some("talk") => &modes[..],
        Some("threshold") => &automatic[..],
        Some("join" | "leave" | "create") => rooms,
        _ => people,
    };
    let prefix = prefix.to_lowercase();
    let fits = |word: &&String| !prefix.is_empty() && word.to_lowercase().starts_with(&prefix);
    let quoted = |word: &String| if word.contains(' ') { format!("\"{word}\"") } else { format!("{mark}{word}") };
    words.iter().filter(fits).map(quoted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every command of the help is understood, and a wrong one is told how it is used.
    #[test]
    fn commands_are_understood() {
        let join = Slash::Join { room: "big hall".into(), password: "x y".into() };
        assert_eq!(parse("join \"big hall\" x y"), Ok(join));
        assert_eq!(parse("msg @ann hi  there"), Ok(Slash::Message { name: "ann".into(), text: "hi  there".into() }));
        assert_eq!(parse("volume ann 150%"), Ok(Slash::Volume { name: "ann".into(), percent: 150 }));
        assert_eq!(parse("talk push"), Ok(Slash::Talk(TalkMode::Push)));
        assert_eq!(parse("kick bob too loud"), Ok(Slash::Kick { name: "bob".into(), reason: "too loud".into() }));
        assert_eq!(parse("leave"), Ok(Slash::Leave(None)));
        for (wrong, said) in [
            ("join", "write /join ROOM"),
            ("volume ann 401", "write /volume NAME PERCENT"),
            ("threshold", "write /threshold DB|auto"),
            ("threshold loud", "from -80 to -10"),
            ("talk loud", "write /talk voice|push|mute|always"),
            ("msg ann", "write /msg"),
            ("jion hall", "/join?"),
            ("", "F1"),
        ] {
            assert!(parse(wrong).is_err_and(|text| text.contains(said)), "{wrong}");
        }
        for (name, arguments, _) in COMMANDS {
            let arguments =
                arguments.replace("voice|push|mute|always", "push").replace("PERCENT", "50").replace("DB|auto", "-45");
            assert!(parse(&format!("{name} {arguments}")).is_ok(), "{name}");
        }
    }

    /// Goal: commands, rooms and people are completed where each makes sense.
    #[test]
    fn words_are_completed_where_they_fit() {
        let (rooms, people) = (["hall".to_owned(), "big hall".to_owned()], ["Ann".to_owned(), "hans".to_owned()]);
        let of = |before: &str, typed: &str| completions(before, typed, &rooms, &people);
        assert_eq!(of("", "/un"), ["/unmute", "/undeafen", "/unignore"]);
        assert_eq!(of("/join ", "b"), ["\"big hall\""]);
        assert_eq!(of("/talk ", "p"), ["push"]);
        assert_eq!(of("", "a"), ["Ann"]);
        assert_eq!(of("hello ", "@h"), ["@hans"]);
        assert!(of("hello ", "").is_empty());
    }
}
