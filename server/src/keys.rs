//! What there is to know of each setting beyond its name, its meaning and its default, which are clap's (`cli`): what
//! values it takes, in what unit, and whether a reload takes it. One row a setting.
//!
//! For the file's reader (`settings_file`), `config`, `reload`, `check`, and docs/CONFIGURATION.md, which is made of it.
//! Not here: what depends on two settings (`config`, `bounds`).

use std::ops::RangeInclusive;

use clap::CommandFactory;
use echomesh_proto::limits::{MOTD_BYTES_MAX, SHARDS_MAX};
use toml::Value;

use crate::cli::Flags;
use crate::hash::{MEMORY_KIB, PASSES};

/// Longest server name, bytes.
const SERVER_NAME_BYTES_MAX: usize = 64;

/// Longest that answering what was begun may take, seconds.
const DRAIN_SECONDS_MAX: u64 = 60;

/// More would be heard as delay for little (docs/BENCHMARKS.md), microseconds.
const VOICE_WINDOW_US_MAX: u64 = 5_000;

/// Bit rates of Opus (RFC 6716 §2.1.1), kbit/s.
const BITRATE_KBIT: RangeInclusive<u64> = 6..=510;

/// Any number that fits.
const COUNT: RangeInclusive<u64> = 0..=u32::MAX as u64;

/// The values of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A whole number.
    Number(RangeInclusive<u64>),
    /// Likewise, or 0.
    NumberOrZero(RangeInclusive<u64>),
    /// True or false.
    Bool,
    /// One of the words that clap lists.
    Word,
    /// Text of so many bytes, without control characters; or with line breaks, too.
    Text { bytes: RangeInclusive<usize>, lines: bool },
    /// Text that its own parser judges, and what it is.
    Parsed(&'static str),
}

/// A setting.
#[derive(Debug)]
pub struct Key {
    /// As in the file and, after `--`, as a flag.
    pub name: &'static str,
    /// Its values.
    pub takes: Takes,
    /// Of a number; may be empty.
    pub unit: &'static str,
    /// A value in TOML for the example file: the default, where that is a value.
    pub example: &'static str,
    /// Whether a reload takes it; else it waits for a restart.
    pub reload: bool,
}

const fn key(name: &'static str, takes: Takes, unit: &'static str, example: &'static str, reload: bool) -> Key {
    Key { name, takes, unit, example, reload }
}

const PORTS: RangeInclusive<u64> = 0..=u16::MAX as u64;

/// All, in the order of `echomesh-server --help`.
pub const KEYS: &[Key] = &[
    key("address", Takes::Parsed("an IP address"), "", "\"192.0.2.1\"", false),
    key("port", Takes::Number(PORTS), "", "8888", false),
    key("voice-port", Takes::Number(PORTS), "", "8888", false),
    key("shards", Takes::Number(1..=SHARDS_MAX as u64), "", "4", false),
    key("data-dir", Takes::Parsed("a directory"), "", "\"/var/lib/echomesh-server\"", false),
    key("database", Takes::Parsed("a postgres:// URL"), "", "\"postgres:///echomesh?host=/run/postgresql\"", false),
    key("registration", Takes::Word, "", "\"open\"", true),
    key("guests", Takes::Bool, "", "false", true),
    key("server-name", Takes::Text { bytes: 1..=SERVER_NAME_BYTES_MAX, lines: false }, "", "\"EchoMesh\"", true),
    key("motd", Takes::Text { bytes: 0..=MOTD_BYTES_MAX, lines: true }, "", "\"Be kind.\"", true),
    key("spread-after", Takes::Number(1..=u32::MAX as u64), "streams", "256", false),
    key("speakers-max", Takes::Number(COUNT), "speakers", "8", true),
    key("bitrate-kbit-max", Takes::NumberOrZero(BITRATE_KBIT), "kbit/s", "128", true),
    key("retention-days", Takes::Number(COUNT), "days", "0", true),
    key("voice-window-us", Takes::Number(0..=VOICE_WINDOW_US_MAX), "µs", "2000", false),
    key("plaintext-anywhere", Takes::Bool, "", "false", false),
    key("tls-cert", Takes::Parsed("a file"), "", "\"/etc/echomesh/cert.pem\"", true),
    key("tls-key", Takes::Parsed("a file"), "", "\"/etc/echomesh/key.pem\"", true),
    key("password-memory-kib", Takes::Number(wide(MEMORY_KIB)), "KiB", "19456", false),
    key("password-passes", Takes::Number(wide(PASSES)), "", "2", false),
    key("drain-seconds", Takes::Number(0..=DRAIN_SECONDS_MAX), "seconds", "5", false),
    key("connections-per-address", Takes::Number(COUNT), "on each shard", "256", true),
    key("connects-per-second", Takes::Number(COUNT), "a second, on each shard", "50", true),
    key("requests-per-second", Takes::Number(COUNT), "a second", "50", true),
    key("memory-mib", Takes::Number(COUNT), "MiB", "1024", true),
    key("admin", Takes::Parsed("IP:PORT, off"), "", "\"127.0.0.1:8889\"", false),
    key("admin-host", Takes::Parsed("a name"), "", "\"voice.example\"", false),
    key("no-pin", Takes::Bool, "", "false", false),
    key("log", Takes::Parsed("a filter"), "", "\"info\"", true),
    key("log-format", Takes::Word, "", "\"text\"", false),
];

const fn wide(range: RangeInclusive<u32>) -> RangeInclusive<u64> {
    *range.start() as u64..=*range.end() as u64
}

/// The setting of that name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Key {
    /// What is wrong with a value, as a sentence; nothing of what only its own parser knows.
    pub fn wrong(&self, value: &Value) -> Option<String> {
        let name = self.name;
        match (&self.takes, value) {
            (Takes::Number(range), Value::Integer(number)) => {
                let is_within = u64::try_from(*number).is_ok_and(|number| range.contains(&number));
                (!is_within).then(|| format!("{name} is {number}: it must be {}", self.values()))
            }
            (Takes::NumberOrZero(range), Value::Integer(number)) => {
                let is_within = u64::try_from(*number).is_ok_and(|number| number == 0 || range.contains(&number));
                (!is_within).then(|| format!("{name} is {number}: it must be {}", self.values()))
            }
            (Takes::Number(_) | Takes::NumberOrZero(_), _) => {
                Some(format!("{name} must be a number, {}, without quotes", self.values()))
            }
            (Takes::Bool, Value::Boolean(_)) | (Takes::Parsed(_), Value::String(_)) => None,
            (Takes::Bool, _) => Some(format!("{name} must be true or false, without quotes")),
            (Takes::Word, Value::String(word)) => {
                let words = self.words();
                (!words.contains(word)).then(|| {
                    let hint = nearest(&words, word).map(|word| format!("; did you mean \"{word}\"?"));
                    format!("{name} must be one of {}{}", self.values(), hint.unwrap_or_default())
                })
            }
            (Takes::Text { bytes, lines }, Value::String(text)) => {
                let is_odd = |letter: char| letter.is_control() && !(*lines && letter == '\n');
                let is_right = bytes.contains(&text.len()) && !text.chars().any(is_odd);
                let but = if *lines { " but line breaks" } else { "" };
                let must = format!("{name} must be {} without control characters{but}", self.values());
                (!is_right).then(|| format!("{must}; it has {} bytes", text.len()))
            }
            (Takes::Word | Takes::Text { .. } | Takes::Parsed(_), _) => {
                Some(format!("{name} must be text in quotes: {}", self.values()))
            }
        }
    }

    /// Its values with their unit, for people.
    pub fn values(&self) -> String {
        let values = self.bare_values();
        if self.unit.is_empty() { values } else { format!("{values} {}", self.unit) }
    }

    fn bare_values(&self) -> String {
        match &self.takes {
            Takes::Number(range) if *range.end() == u64::from(u32::MAX) => format!("{} or more", range.start()),
            Takes::Number(range) => format!("{} to {}", range.start(), range.end()),
            Takes::NumberOrZero(range) => format!("0, or {} to {}", range.start(), range.end()),
            Takes::Bool => "true, false".to_owned(),
            Takes::Word => self.words().join(", "),
            Takes::Text { bytes, .. } => format!("{} to {} bytes", bytes.start(), bytes.end()),
            Takes::Parsed(what) => (*what).to_owned(),
        }
    }

    /// The words it may be.
    fn words(&self) -> Vec<String> {
        let command = Flags::command();
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(self.name));
        let words = argument.map(clap::Arg::get_possible_values).unwrap_or_default();
        words.iter().map(|word| word.get_name().to_owned()).collect()
    }

    /// What clap's help says of it, and of its default.
    pub fn told(&self) -> (String, String) {
        let command = Flags::command();
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(self.name));
        let help = argument.and_then(|argument| argument.get_long_help().or(argument.get_help()));
        let help = help.map(ToString::to_string).unwrap_or_default().replace('\n', " ");
        match help.rsplit_once(" [default: ") {
            Some((meaning, default)) => (meaning.to_owned(), default.trim_end_matches(']').to_owned()),
            None => (help, "none".to_owned()),
        }
    }

    /// Its default in TOML, where that is a value and not a rule.
    pub fn default(&self) -> Option<&'static str> {
        (self.told().1 == self.example.trim_matches('"')).then_some(self.example)
    }
}

/// The names that flags and file share.
pub fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

/// What was most likely meant.
pub fn nearest<Word: AsRef<str>>(known: &[Word], word: &str) -> Option<String> {
    let near = known.iter().map(AsRef::as_ref).min_by_key(|name| distance(name, word));
    near.filter(|name| distance(name, word) <= 3).map(str::to_owned)
}

/// Edit distance (Levenshtein): how many letters to add, drop or change.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for (column, same) in other.bytes().map(|byte| byte == letter).enumerate() {
            let changed = diagonal + usize::from(!same);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no setting without a row, and no row without a setting. Method: clap's list of flags, in its order.
    #[test]
    fn every_setting_has_a_row() {
        let command = Flags::command();
        let flags = command.get_arguments().filter_map(|argument| argument.get_long());
        let flags: Vec<&str> = flags.filter(|name| !["config", "help", "version"].contains(name)).collect();
        for argument in command.get_arguments().filter(|argument| argument.get_env().is_some()) {
            let variable = format!("ECHOMESH_{}", argument.get_id().as_str().to_uppercase());
            assert_eq!(argument.get_env().unwrap().to_str(), Some(variable.as_str()));
        }
        assert_eq!(names().collect::<Vec<_>>(), flags, "server/src/keys.rs has a row for each setting of cli.rs");
    }

    /// Goal: what a default is said to be is within what the setting takes, and examples are.
    #[test]
    fn examples_and_defaults_are_right() {
        for key in KEYS {
            let value: toml::Table = format!("v = {}", key.example).parse().unwrap();
            assert_eq!(key.wrong(&value["v"]), None, "{}", key.name);
            assert!(!key.told().0.is_empty(), "{} has no meaning", key.name);
        }
        let without: Vec<&str> = KEYS.iter().filter(|key| key.default().is_none()).map(|key| key.name).collect();
        let rules = ["address", "voice-port", "shards", "data-dir", "database", "motd", "tls-cert", "tls-key"];
        assert_eq!(without, [&rules[..], &["memory-mib", "admin-host"]].concat());
    }

    /// Goal: words near a name are taken for it, others are not.
    #[test]
    fn the_nearest_name_is_found() {
        let known: Vec<&str> = names().collect();
        assert_eq!(nearest(&known, "vioce-port").as_deref(), Some("voice-port"));
        assert_eq!(nearest(&known, "colour"), None);
    }
}
