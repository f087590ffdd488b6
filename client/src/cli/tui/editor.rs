//! The line that is being typed: editing, the lines before it, completion of the word at the cursor.
//!
//! Not keys, which are `keys`'s, and not what words there are. In: characters and movements. Out: a line.
//! Bounds: `CHAT_BYTES_MAX` bytes; `PAST_MAX` earlier lines.

use std::collections::VecDeque;

use echomesh_proto::limits::CHAT_BYTES_MAX;

/// Earlier lines that can be had again.
const PAST_MAX: usize = 100;

/// What was completed last, so that the next Tab gives the next word.
#[derive(Clone, Debug)]
struct Completing {
    /// Where the word begins, and how it is spelt as typed.
    start: usize,
    typed: String,
    /// Which of the words stands there.
    chosen: usize,
    /// The line as completed: another is not this one any more.
    line: String,
}

/// The line.
#[derive(Debug, Default)]
pub struct Editor {
    text: String,
    /// Byte of the text, on a boundary.
    cursor: usize,
    past: VecDeque<String>,
    /// Which of them is shown; what was typed before is kept.
    recalled: Option<usize>,
    draft: String,
    completing: Option<Completing>,
}

impl Editor {
    /// As it stands.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is before the cursor.
    pub fn before_cursor(&self) -> &str {
        &self.text[..self.cursor]
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Types a character, if there is room.
    pub fn insert(&mut self, character: char) {
        if self.text.len() + character.len_utf8() <= CHAT_BYTES_MAX {
            self.text.insert(self.cursor, character);
            self.cursor += character.len_utf8();
        }
    }

    /// What was pasted; line ends become blanks.
    pub fn insert_all(&mut self, text: &str) {
        for character in text.chars() {
            self.insert(if character.is_control() { ' ' } else { character });
        }
    }

    fn previous(&self) -> usize {
        self.before_cursor().char_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn next(&self) -> usize {
        self.text[self.cursor..].chars().next().map_or(self.cursor, |next| self.cursor + next.len_utf8())
    }

    /// Where the word before the cursor begins.
    fn word(&self) -> usize {
        let before = self.before_cursor().trim_end();
        before.rfind(char::is_whitespace).map_or(0, |at| at + before[at..].chars().next().map_or(0, char::len_utf8))
    }

    pub fn left(&mut self) {
        self.cursor = self.previous();
    }

    pub fn right(&mut self) {
        self.cursor = self.next();
    }

    pub fn word_left(&mut self) {
        self.cursor = self.word();
    }

    pub fn word_right(&mut self) {
        let rest = &self.text[self.cursor..];
        let begins = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
        let ends = rest[begins..].find(char::is_whitespace).unwrap_or(rest.len() - begins);
        self.cursor += begins + ends;
    }

    pub fn home(&mut self) {
        self.cursor = 0;
    }

    pub fn end(&mut self) {
        self.cursor = self.text.len();
    }

    pub fn backspace(&mut self) {
        let start = self.previous();
        self.text.drain(start..self.cursor);
        self.cursor = start;
    }

    pub fn delete(&mut self) {
        let end = self.next();
        self.text.drain(self.cursor..end);
    }

    pub fn delete_word(&mut self) {
        let start = self.word();
        self.text.drain(start..self.cursor);
        self.cursor = start;
    }

    pub fn delete_to_start(&mut self) {
        self.text.drain(..self.cursor);
        self.cursor = 0;
    }

    pub fn delete_to_end(&mut self) {
        self.text.truncate(self.cursor);
    }

    /// Takes the line, which begins anew.
    pub fn take(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        (self.cursor, self.recalled, self.completing) = (0, None, None);
        if !text.is_empty() && self.past.back() != Some(&text) {
            self.past.push_back(text.clone());
            if self.past.len() > PAST_MAX {
                self.past.pop_front();
            }
        }
        text
    }

    /// The line before.
    pub fn recall_earlier(&mut self) {
        let at = match self.recalled {
            None => self.past.len(),
            Some(at) => at,
        };
        if at == 0 {
            return;
        }
        if self.recalled.is_none() {
            self.draft.clone_from(&self.text);
        }
        self.show(Some(at - 1));
    }

    /// The line after it, or what was being typed.
    pub fn recall_later(&mut self) {
        if let Some(at) = self.recalled {
            self.show(Some(at + 1).filter(|at| *at < self.past.len()));
        }
    }

    fn show(&mut self, recalled: Option<usize>) {
        self.recalled = recalled;
        self.text = recalled.and_then(|at| self.past.get(at)).unwrap_or(&self.draft).clone();
        self.cursor = self.text.len();
    }

    /// The word that Tab would complete: what it is after, and the word as typed.
    pub fn to_complete(&self) -> (&str, &str) {
        let (start, typed) = match &self.completing {
            Some(completing) if completing.line == self.text => (completing.start, completing.typed.as_str()),
            _ => {
                let start = self.before_cursor().rfind(char::is_whitespace).map_or(0, |at| at + 1);
                (start, &self.text[start..self.cursor])
            }
        };
        (&self.text[..start], typed)
    }

    /// Puts the next of these words, which begin as the one at the cursor does, in its place.
    pub fn complete(&mut self, words: &[String]) {
        let (before, typed) = self.to_complete();
        let (start, typed) = (before.len(), typed.to_owned());
        let chosen = match &self.completing {
            Some(completing) if completing.line == self.text => completing.chosen + 1,
            _ => 0,
        };
        let Some(word) = words.get(chosen % words.len().max(1)) else { return };
        let rest = self.text.split_off(self.cursor);
        self.text.truncate(start);
        self.text.push_str(word);
        self.text.push(' ');
        self.cursor = self.text.len();
        self.text.push_str(rest.trim_start());
        let line = self.text.clone();
        self.completing = Some(Completing { start, typed, chosen: chosen % words.len(), line });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Editor {
        let mut editor = Editor::default();
        editor.insert_all(text);
        editor
    }

    /// Goal: a line is edited by characters and words of any script, at its ends too.
    #[test]
    fn a_line_is_edited() {
        let mut editor = typed("grüße an 世界");
        editor.backspace();
        editor.word_left();
        editor.insert('X');
        assert_eq!(editor.text(), "grüße an X世");
        editor.home();
        editor.left();
        editor.backspace();
        editor.right();
        editor.right();
        editor.delete();
        assert_eq!((editor.text(), editor.before_cursor()), ("grße an X世", "gr"));
        editor.word_right();
        editor.word_right();
        assert_eq!(editor.before_cursor(), "grße an");
        editor.delete_word();
        assert_eq!(editor.text(), "grße  X世");
        editor.delete_to_start();
        editor.end();
        editor.right();
        editor.delete();
        assert_eq!(editor.text(), " X世");
        editor.home();
        editor.delete_to_end();
        assert!(editor.is_empty());
    }

    /// Goal: a line holds what a server takes, and no line end.
    #[test]
    fn a_line_has_a_bound() {
        let mut editor = typed("a\nb\u{1b}c");
        assert_eq!(editor.text(), "a b c");
        editor.insert_all(&"x".repeat(2 * CHAT_BYTES_MAX));
        assert_eq!(editor.text().len(), CHAT_BYTES_MAX);
    }

    /// Goal: earlier lines come back, and so does what was being typed.
    #[test]
    fn earlier_lines_come_back() {
        let mut editor = typed("one");
        assert_eq!(editor.take(), "one");
        editor.insert_all("two");
        editor.take();
        editor.insert_all("dra");
        editor.recall_earlier();
        editor.recall_earlier();
        editor.recall_earlier();
        assert_eq!(editor.text(), "one");
        editor.recall_later();
        assert_eq!(editor.text(), "two");
        editor.recall_later();
        editor.recall_later();
        assert_eq!(editor.text(), "dra");
    }

    /// Goal: Tab gives one word after the other, and begins anew when something is typed.
    #[test]
    fn words_are_completed_in_turn() {
        let words = ["ann".to_owned(), "anton".to_owned()];
        let mut editor = typed("hi an");
        assert_eq!(editor.to_complete(), ("hi ", "an"));
        editor.complete(&words);
        assert_eq!(editor.text(), "hi ann ");
        editor.complete(&words);
        assert_eq!((editor.text(), editor.to_complete().1), ("hi anton ", "an"));
        editor.complete(&words);
        assert_eq!(editor.text(), "hi ann ");
        editor.insert('x');
        assert_eq!(editor.to_complete(), ("hi ann ", "x"));
        editor.complete(&[]);
        assert_eq!(editor.text(), "hi ann x");
    }
}
