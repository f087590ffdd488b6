//! Which characters a line of chat may have: text that shows as what it is, on a terminal too.
//!
//! Not markup and not a filter of words. In: a character. Out: whether it is refused by a server, and shown as unknown
//! by a client. Source: Unicode 15.1 §23.1 and §23.9 (controls, bidirectional ordering), UAX #9.

/// Whether a character may drive what shows a text instead of being shown: a control character other than newline
/// and tab, a separator of lines or paragraphs, or one that turns the direction of what follows.
///
/// The marks that Hebrew and Arabic need (U+200E, U+200F, U+061C) are allowed.
#[must_use]
pub fn is_forbidden(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => true,
        _ => letter.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what could drive a terminal or turn a text around is told from what people write.
    #[test]
    fn what_drives_is_told_from_what_shows() {
        for letter in "\0\u{7}\u{8}\r\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
            assert!(is_forbidden(letter), "{letter:?}");
        }
        for letter in "a\n\t \u{e9}\u{5d0}\u{200e}\u{200f}\u{61c}\u{200d}\u{1f600}".chars() {
            assert!(!is_forbidden(letter), "{letter:?}");
        }
    }
}
