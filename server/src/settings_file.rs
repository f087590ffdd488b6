//! The configuration file's text: settings, and the line of each.
//!
//! Not where the file is, nor what depends on other settings (`config`). In: text. Out: [`Written`], or all that is
//! wrong, with lines and what was most likely meant. What may be a password is never quoted.

use std::collections::BTreeMap;

use toml::de::DeTable;

use crate::cli::Settings;
use crate::keys;

/// What a file says.
#[derive(Debug, Default)]
pub struct Written {
    /// The settings.
    pub settings: Settings,
    /// The line of each that is set, counted from 1.
    pub lines: BTreeMap<&'static str, usize>,
}

/// Reads the text of a configuration file.
///
/// # Errors
/// No TOML, unknown keys, or values that the settings do not take; all of them, but for values that only their own
/// parser knows.
pub fn parse(text: &str) -> Result<Written, String> {
    let table: toml::Table = text.parse().map_err(|error| told(&error, text))?;
    let spans = DeTable::parse(text).map_err(|error| told(&error, text))?;
    let mut complaints = Vec::new();
    let mut lines = BTreeMap::new();
    for key in spans.get_ref().keys() {
        let (name, line) = (key.get_ref().as_ref(), line_of(text, key.span().start));
        match (keys::find(name), table.get(name)) {
            (Some(known), Some(value)) => {
                lines.insert(known.name, line);
                complaints.extend(known.wrong(value).map(|wrong| (line, format!("line {line}: {wrong}"))));
            }
            (_, value) => {
                let is_table = value.is_some_and(toml::Value::is_table);
                complaints.push((line, unknown(name, line, is_table)));
            }
        }
    }
    if !complaints.is_empty() {
        complaints.sort();
        let all: Vec<String> = complaints.into_iter().map(|(_, complaint)| complaint).collect();
        return Err(all.join("; and "));
    }
    let settings = toml::from_str(text).map_err(|error| told(&error, text))?;
    Ok(Written { settings, lines })
}

fn unknown(name: &str, line: usize, is_table: bool) -> String {
    let known: Vec<&str> = keys::names().collect();
    let shown = if name.contains('@') { "that may hold a password".to_owned() } else { format!("`{name}`") };
    let hint = match keys::nearest(&known, name) {
        _ if is_table => "settings stand at the top of the file, under no [table]".to_owned(),
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", known.join(", ")),
    };
    format!("unknown key {shown}, line {line}; {hint}")
}

fn line_of(text: &str, position: usize) -> usize {
    text.get(..position).unwrap_or_default().matches('\n').count() + 1
}

/// The error with the line it is about, unless that may hold a password.
fn told(error: &toml::de::Error, text: &str) -> String {
    let shown = error.to_string();
    if shown.lines().any(may_hold_secret) {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        // It may quote the value.
        let message = error.message();
        let message = if may_hold_secret(message) { "this cannot stand there" } else { message };
        return format!("line {line}: {message}");
    }
    shown
}

/// Whether it may be of the database's URL, or the end of one that goes over several lines.
fn may_hold_secret(text: &str) -> bool {
    ["database", "postgres", "@"].iter().any(|sign| text.contains(sign))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Flags;

    fn error(text: &str) -> String {
        parse(text).unwrap_err()
    }

    /// Goal: a misspelt key is refused with its line and the right one named.
    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        assert_eq!(error("\n\nvioce-port = 1"), "unknown key `vioce-port`, line 3; did you mean `voice-port`?");
        assert!(error("voice_prot = 1").contains("did you mean `voice-port`?"), "{}", error("voice_prot = 1"));
        assert!(!error("colour = 1").contains("did you mean"), "{}", error("colour = 1"));
        assert!(error("colour = 1").contains("spread-after"));
        assert!(error("[server]\nport = 1").contains("no [table]"), "{}", error("[server]\nport = 1"));
    }

    /// Goal: a wrong value is refused with its line and what would be right; all such at once.
    #[test]
    fn wrong_values_are_refused_with_their_line() {
        for (text, sentence) in [
            ("port = 1\nshards = 65", "line 2: shards is 65: it must be 1 to 64"),
            ("bitrate-kbit-max = 5", "line 1: bitrate-kbit-max is 5: it must be 0, or 6 to 510 kbit/s"),
            ("bitrate-kbit-max = 511", "line 1: bitrate-kbit-max is 511"),
            ("port = -1", "line 1: port is -1: it must be 0 to 65535"),
            ("port = \"8888\"", "line 1: port must be a number, 0 to 65535, without quotes"),
            ("guests = \"yes\"", "line 1: guests must be true or false, without quotes"),
            ("log = 1", "line 1: log must be text in quotes: a filter"),
            ("\nregistration = \"opne\"", "line 2: registration must be one of open, invitation, closed; did you mean"),
            ("server-name = \"\"", "line 1: server-name must be 1 to 64 bytes"),
            ("server-name = \"a\\nb\"", "line 1: server-name must be 1 to 64 bytes without control characters"),
            ("address = \"localhost\"", "line 1"),
            ("port = 1\nport = 2", "line 2"),
            ("port = ", "line 1"),
        ] {
            assert!(error(text).contains(sentence), "{text}: {}", error(text));
        }
        assert!(parse("motd = \"two\\nlines\"").is_ok());
        let two = error("shards = 0\nprot = 1");
        assert!(two.contains("line 1: shards") && two.contains("; and unknown key `prot`, line 2"), "{two}");
    }

    /// Goal: no complaint shows a password.
    #[test]
    fn secrets_are_not_quoted() {
        let secret = error("port = 1\ndatabase = \"postgres://ada:tops3cret@db/chat\nshards = 1");
        assert!(secret.contains("line 2") && !secret.contains("s3cret"), "{secret}");
        // Over several lines, as a key, and as another setting's value.
        for text in [
            "database = \"\"\"\npostgres://\\\nada:tops3cret@db\"\"\" x",
            "\"postgres://ada:tops3cret@db\" = 1",
            "port = \"postgres://ada:tops3cret@db\"",
            "registration = \"postgres://ada:tops3cret@db\"",
            "address = \"postgres://ada:tops3cret@db\"",
        ] {
            assert!(!error(text).contains("s3cret"), "{}", error(text));
        }
    }

    /// Goal: every setting can be written in the file under its flag's name, and its line is known.
    #[test]
    fn flags_and_file_have_the_same_names() {
        for key in keys::KEYS {
            let written = parse(&format!("\n{} = {}\n", key.name, key.example)).unwrap();
            assert_eq!(written.lines.get(key.name), Some(&2), "{}", key.name);
        }
        Flags::command().debug_assert();
    }
}
