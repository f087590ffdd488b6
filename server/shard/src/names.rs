//! Rules for user and room names: NFC, a case-folded key that is unique, no control characters, stated
//! lengths. In: what a client typed. Out: the name to show and the key to compare.

use echomesh_proto::limits::{ROOM_NAME_BYTES_MAX, USERNAME_BYTES_MAX};
use unicode_normalization::UnicodeNormalization;

/// A checked name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// As typed, NFC.
    pub shown: String,
    /// Lower-cased and NFC again: two names with one key are the same name.
    pub key: String,
}

/// Checks a user name.
///
/// # Errors
/// A sentence for its owner.
pub fn username(typed: &str) -> Result<Name, String> {
    check("user name", typed, USERNAME_BYTES_MAX)
}

/// Checks a room name; the error is a sentence for its owner.
pub(crate) fn room_name(typed: &str) -> Result<Name, String> {
    check("room name", typed, ROOM_NAME_BYTES_MAX)
}

fn check(what: &str, typed: &str, bytes_max: usize) -> Result<Name, String> {
    if typed.len() > bytes_max * 4 {
        return Err(format!("the {what} is too long: at most {bytes_max} bytes"));
    }
    let shown: String = typed.nfc().collect();
    if shown.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    if shown.len() > bytes_max {
        return Err(format!("the {what} is {} bytes long: at most {bytes_max}", shown.len()));
    }
    if shown.trim() != shown || shown.chars().any(char::is_control) {
        return Err(format!("the {what} must have no control characters and no space at its ends"));
    }
    let key = fold(&shown);
    Ok(Name { shown, key })
}

/// Letters of a prefix that a list is asked for: more begin no name.
pub(crate) const PREFIX_CHARS_MAX: usize = ROOM_NAME_BYTES_MAX;

/// What was typed as keys are compared: NFC and lower case.
pub(crate) fn fold(typed: &str) -> String {
    let shown: String = typed.nfc().collect();
    shown.to_lowercase().nfc().collect()
}

/// The key of the room that a room is in, if its name says so: `parent/child`.
pub(crate) fn parent_of(key: &str) -> Option<&str> {
    key.split_once('/').map(|(parent, _)| parent)
}

/// FNV-1a, 64 bit: spreads room keys over shards the same way in every process and run.
pub(crate) fn spread(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: names that a person takes for the same are the same (PROTOCOL M14): composed and
    /// decomposed accents, upper and lower case.
    #[test]
    fn names_that_look_alike_share_a_key() {
        let composed = username("Zo\u{eb}").unwrap();
        let decomposed = username("ZOE\u{308}").unwrap();
        assert_eq!(composed.key, decomposed.key);
        assert_eq!(composed.shown, "Zo\u{eb}");
    }

    /// Goal: a room in a room is known by its name.
    #[test]
    fn a_name_tells_the_parent() {
        assert_eq!(parent_of("hall/left/deep"), Some("hall"));
        assert_eq!(parent_of("hall"), None);
    }

    /// Goal: what cannot be a name is refused with its reason.
    #[test]
    fn bad_names_are_refused() {
        for bad in ["", " a", "a\n", "a\u{0}b", &"x".repeat(65), &"x".repeat(100_000)] {
            assert!(room_name(bad).is_err(), "{bad:?}");
        }
        assert!(room_name(&"x".repeat(64)).is_ok());
    }
}
