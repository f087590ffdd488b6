//! Entries of a list: named fields, printed as JSON for programs or as a line for people.
//!
//! Not the lists. Bounds: the entry's.

use std::fmt::Write;

use super::commands::printable;
use super::voice_format::quoted;

/// What a field holds.
pub enum Field {
    /// As it is.
    Number(u64),
    /// In JSON quoted, else made printable.
    Text(String),
    /// True is its name alone, false nothing; in JSON it is said.
    Flag(bool),
}

/// Names and values, in order.
pub type Fields = Vec<(&'static str, Field)>;

/// A text field.
pub fn owned(text: &str) -> Field {
    Field::Text(text.to_owned())
}

/// An object.
pub fn json(fields: &Fields) -> String {
    let field = |(name, field): &(&str, Field)| match field {
        Field::Number(number) => format!(r#""{name}":{number}"#),
        Field::Text(text) => format!(r#""{name}":{}"#, quoted(text)),
        Field::Flag(flag) => format!(r#""{name}":{flag}"#),
    };
    format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
}

/// Only what says something.
pub fn text(fields: &Fields) -> String {
    let mut line = String::new();
    for (name, field) in fields {
        let written = match field {
            Field::Number(0) | Field::Flag(false) => Ok(()),
            Field::Number(number) => write!(line, "{name} {number}  "),
            Field::Flag(true) => write!(line, "{name}  "),
            Field::Text(text) if text.is_empty() => Ok(()),
            Field::Text(text) => write!(line, "{name} {}  ", printable(text)),
        };
        written.expect("a String grows as needed");
    }
    line.trim_end().to_owned()
}
