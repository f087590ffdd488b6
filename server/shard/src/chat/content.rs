//! What a line may say, and whom it mentions.
//!
//! In: what a client typed. Out: a refusal, or accounts that `@name` names.
//! Bounds: `MENTIONS_MAX` accounts a line, `AT_SIGNS_MAX` looks; a room remembers `NAMES_MAX` who left.

use std::collections::{BTreeMap, BTreeSet};

use echomesh_proto::control::StatusCode;
use echomesh_proto::ids::UserId;
use echomesh_proto::limits::{CHAT_BYTES_MAX, CLIENT_ID_BYTES_MAX, MENTIONS_MAX, USERNAME_BYTES_MAX};
use echomesh_proto::text::is_forbidden;

use crate::names;

/// `@` of one line that are looked at.
const AT_SIGNS_MAX: usize = 64;

/// Names a room remembers of those who are not in it any more.
const NAMES_MAX: usize = 256;

/// What may follow a name in a sentence.
const AFTER_NAME: &[char] = &['.', ',', ';', ':', '!', '?', ')', ']', '}', '\'', '"', '>', '…'];

/// Refuses what is no line.
pub(crate) fn check(content: &str, client_id: &str) -> Result<(), (StatusCode, String)> {
    if content.is_empty() {
        return Err((StatusCode::StatusEmpty, "an empty line says nothing: it was not sent".to_owned()));
    }
    if content.len() > CHAT_BYTES_MAX {
        let text = format!("the line has {} bytes: at most {CHAT_BYTES_MAX}, so send it in parts", content.len());
        return Err((StatusCode::StatusTooLong, text));
    }
    if client_id.len() > CLIENT_ID_BYTES_MAX {
        return Err((StatusCode::StatusTooLong, format!("client_id has at most {CLIENT_ID_BYTES_MAX} bytes")));
    }
    match content.chars().find(|letter| is_forbidden(*letter)) {
        Some(letter) => {
            let code = u32::from(letter);
            let text = format!("the line has the control character U+{code:04X}: only newline and tab may be in it");
            Err((StatusCode::StatusBadRequest, text))
        }
        None => Ok(()),
    }
}

/// Names that lines of a room may mention: of its members, and of some who were.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<String, UserId>);

impl Names {
    /// Someone comes in. `members` are those who are in.
    pub(crate) fn note(&mut self, username: &str, user: UserId, members: impl Iterator<Item = u64> + Clone) {
        if let Ok(name) = names::username(username) {
            self.0.insert(name.key, user);
        }
        if self.0.len() > NAMES_MAX && self.0.len() > NAMES_MAX + members.clone().count() {
            let here: BTreeSet<u64> = members.chain([user.0]).collect();
            self.0.retain(|_, user| here.contains(&user.0));
        }
    }

    /// Accounts that a line mentions: each once, in its order.
    pub(crate) fn mentioned(&self, content: &str) -> Vec<u64> {
        let mut mentions = Vec::new();
        for (at, _) in content.match_indices('@').take(AT_SIGNS_MAX) {
            let begins = content[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric());
            let typed = content[at + 1..].split(char::is_whitespace).next().unwrap_or_default();
            if begins && let Some(user) = self.find(typed).filter(|user| !mentions.contains(&user.0)) {
                mentions.push(user.0);
                if mentions.len() == MENTIONS_MAX {
                    break;
                }
            }
        }
        mentions
    }

    /// As typed, or without what ends a sentence.
    fn find(&self, typed: &str) -> Option<UserId> {
        if typed.len() > 2 * USERNAME_BYTES_MAX {
            return None;
        }
        let known = |typed: &str| self.0.get(&names::username(typed).ok()?.key).copied();
        known(typed).or_else(|| known(typed.trim_end_matches(AFTER_NAME)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what a line may not have is refused with its own code (PROTOCOL M22).
    #[test]
    fn bad_lines_are_refused() {
        use StatusCode as S;
        let long = "x".repeat(CHAT_BYTES_MAX + 1);
        let cases = [
            ("", "", S::StatusEmpty),
            (&long, "", S::StatusTooLong),
            ("a", "1234567890123456789012345678901234567", S::StatusTooLong),
            ("a\u{1b}[2J", "", S::StatusBadRequest),
            ("a\r", "", S::StatusBadRequest),
            ("a\0", "", S::StatusBadRequest),
            ("\u{202e}a", "", S::StatusBadRequest),
        ];
        for (content, id, expected) in cases {
            assert_eq!(check(content, id).unwrap_err().0, expected, "{content:?}");
        }
        assert!(check("a\n\tb \u{5d0}\u{200f}", "id").is_ok());
    }

    /// Goal: `@name` is found as people write it, each account once and at most so many (PROTOCOL M86).
    #[test]
    fn mentions_are_found_as_people_write_them() {
        let mut names = Names::default();
        for (user, name) in (1..).zip(["Ann", "Zo\u{eb}", "a.b.", "ann2"]) {
            names.note(name, UserId(user), 1..=user);
        }
        for (content, expected) in [
            ("@ann", &[1][..]),
            ("hi @ANN, and (@zoe\u{308})!", &[1, 2]),
            ("@a.b. @a.b", &[3]),
            ("mail me at x@ann", &[]),
            ("@ann2 @ann @ann", &[4, 1]),
            ("@nobody @ @@ann", &[1]),
        ] {
            assert_eq!(names.mentioned(content), expected, "{content:?}");
        }
        for user in 10..50 {
            names.note(&format!("u{user}"), UserId(user), 1..=50);
        }
        let all: String = (10..50).map(|user| format!("@u{user} ")).collect();
        assert_eq!(names.mentioned(&all).len(), MENTIONS_MAX);
    }

    /// Goal: what a room remembers of who left is bounded, and who is in it is never forgotten.
    #[test]
    fn names_are_bounded() {
        let mut names = Names::default();
        for user in 1..=2_000 {
            names.note(&format!("u{user}"), UserId(user), [1, user].into_iter());
        }
        assert!(names.0.len() <= NAMES_MAX + 3, "{}", names.0.len());
        assert_eq!(names.mentioned("@u1 @u2000"), [1, 2000]);
    }
}
