//! Questions on a terminal: one at a time, asked again until the answer makes sense.
//!
//! Not what is asked, and no secrets: those are typed unseen (`prompt`). In: lines. Out: answers.
//! Bounds: `TRIES` for each question, `LINE_BYTES_MAX` a line.

use std::io::{BufRead, Read, Write};

use crate::cli::failure::Failure;

/// How often a question is asked.
const TRIES: u32 = 5;

/// Longest line that is read, bytes.
const LINE_BYTES_MAX: u64 = 4_096;

/// Who is asked, and how.
pub struct Dialog<R, W> {
    pub input: R,
    pub output: W,
}

impl<R: BufRead, W: Write> Dialog<R, W> {
    /// Says something.
    ///
    /// # Errors
    /// `Failure::Local`: nobody reads.
    pub fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.write(&format!("{text}\n"))
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
        written.map_err(|error| Failure::Local(format!("cannot write to the terminal: {error}")))
    }

    /// Asks until `read` takes the answer; an empty one is `default`.
    ///
    /// # Errors
    /// `Failure::Usage`: the input is over, or no answer would do.
    pub fn ask<T>(
        &mut self,
        question: &str,
        default: &str,
        mut read: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let hint = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        for _ in 0..TRIES {
            self.write(&format!("{question}{hint}: "))?;
            let mut line = String::new();
            let count = (&mut self.input).take(LINE_BYTES_MAX).read_line(&mut line);
            if count.map_err(|error| Failure::Local(format!("cannot read from the terminal: {error}")))? == 0 {
                return Err(Failure::Usage("the answers ended: nothing was written".to_owned()));
            }
            let answer = if line.trim().is_empty() { default } else { line.trim() };
            match read(answer) {
                Ok(value) => return Ok(value),
                Err(complaint) => self.say(&complaint)?,
            }
        }
        Err(Failure::Usage("no answer would do: nothing was written".to_owned()))
    }

    /// Asks for one of these, by its first letter or as a whole; the first is the default.
    ///
    /// # Errors
    /// As [`Dialog::ask`].
    pub fn choose<T: Copy>(&mut self, question: &str, choices: &[(&str, T)]) -> Result<T, Failure> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let default = names.first().copied().unwrap_or_default();
        self.ask(&format!("{question} ({})", names.join("/")), default, |answer| {
            let answer = answer.to_lowercase();
            let found = choices.iter().find(|(name, _)| name.starts_with(&answer));
            found.map(|(_, value)| *value).ok_or_else(|| format!("Answer one of: {}.", names.join(", ")))
        })
    }

    /// Asks for one of a numbered list.
    ///
    /// # Errors
    /// As [`Dialog::ask`].
    pub fn pick(&mut self, question: &str, list: &[String]) -> Result<usize, Failure> {
        for (entry, number) in list.iter().zip(1..) {
            self.say(&format!("  {number}  {entry}"))?;
        }
        self.ask(question, "1", |answer| {
            let number = answer.parse::<usize>().ok().filter(|number| (1..=list.len()).contains(number));
            number.map(|number| number - 1).ok_or_else(|| format!("Give a number from 1 to {}.", list.len()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialog(typed: &str) -> Dialog<&[u8], Vec<u8>> {
        Dialog { input: typed.as_bytes(), output: Vec::new() }
    }

    /// Goal: an empty answer is the default, a wrong one is asked again with what is wrong, an end ends it.
    #[test]
    fn questions_are_asked_until_the_answer_makes_sense() {
        let number = |text: &str| text.parse::<u32>().map_err(|_| "a number, please".to_owned());
        assert_eq!(dialog("\n").ask("How many", "7", number), Ok(7));
        let mut twice = dialog("many\n 5 \n");
        assert_eq!(twice.ask("How many", "7", number), Ok(5));
        assert_eq!(String::from_utf8(twice.output).unwrap(), "How many [7]: a number, please\nHow many [7]: ");
        assert!(matches!(dialog("").ask("How many", "7", number), Err(Failure::Usage(_))));
        assert!(matches!(dialog(&"x\n".repeat(9)).ask("How many", "", number), Err(Failure::Usage(_))));
    }

    /// Goal: choices are taken by letter or whole, in any case; the first is the default; lists by number.
    #[test]
    fn choices_are_taken_by_their_first_letters() {
        let choices = [("yes", true), ("no", false)];
        for (typed, expected) in [("\n", true), ("N\n", false), ("no\n", false), ("maybe\ny\n", true)] {
            assert_eq!(dialog(typed).choose("Well", &choices), Ok(expected), "{typed:?}");
        }
        let list = ["one".to_owned(), "two".to_owned()];
        for (typed, expected) in [("\n", 0), ("2\n", 1), ("0\n3\n2\n", 1)] {
            assert_eq!(dialog(typed).pick("Which", &list), Ok(expected), "{typed:?}");
        }
    }
}
