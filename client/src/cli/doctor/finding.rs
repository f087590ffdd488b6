//! What a check found, and how it is told: to people in a few lines, to programs as an object on each line.
//!
//! Not the checks. In: findings, in the order they are made. Out: standard output, at once; at the end a sum, and how
//! the program ends.
//! Bounds: the findings are counted, and the faults' names kept.

use std::io::Write;

use crate::cli::commands::printable;
use crate::cli::failure::Failure;
use crate::cli::fields::{Field, Fields, json, owned};

/// Width of the column of verdicts, and of checks.
const VERDICT_LETTERS: usize = 8;
const CHECK_LETTERS: usize = 19;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Not looked at: something before it went wrong, or it was not wanted.
    Skipped,
    /// It works, but not as well as it could.
    Warning,
    /// It does not work.
    Fault,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// How the program ends, with a sentence.
type End = fn(String) -> Failure;

/// What a check found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Stable name of the check.
    pub check: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was seen.
    pub found: String,
    /// What follows from it; empty: nothing.
    pub means: String,
    /// One thing to do; empty: none.
    pub remedy: String,
    /// How the program ends for it.
    end: End,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, found: impl Into<String>) -> Self {
        let (found, means, remedy) = (found.into(), String::new(), String::new());
        Self { check, verdict, found, means, remedy, end: Failure::Local }
    }

    /// As it should be.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, found)
    }

    /// Not looked at, and why.
    pub fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, Verdict::Skipped, why)
    }

    /// It could be better.
    pub fn warning(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warning, found)
    }

    /// It does not work, and the program ends so.
    pub fn fault(check: &'static str, end: End, found: impl Into<String>) -> Self {
        Self { end, ..Self::new(check, Verdict::Fault, found) }
    }

    /// What follows from it.
    pub fn means(self, means: impl Into<String>) -> Self {
        Self { means: means.into(), ..self }
    }

    /// What to do.
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    fn json(&self) -> String {
        let mut fields: Fields =
            vec![("check", owned(self.check)), ("result", owned(self.verdict.as_str())), ("found", owned(&self.found))];
        let more = [("means", &self.means), ("remedy", &self.remedy)];
        fields.extend(more.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name, owned(text))));
        json(&fields)
    }

    fn lines(&self) -> Vec<String> {
        let verdict = match self.verdict {
            Verdict::Fault => "FAULT",
            other => other.as_str(),
        };
        let indent = " ".repeat(VERDICT_LETTERS + CHECK_LETTERS);
        let mut lines =
            vec![format!("{verdict:VERDICT_LETTERS$}{:CHECK_LETTERS$}{}", self.check, printable(&self.found))];
        for (title, text) in [("means:", &self.means), ("to do:", &self.remedy)] {
            if !text.is_empty() {
                lines.push(format!("{indent}{title} {}", printable(text)));
            }
        }
        lines
    }
}

/// Tells findings as they are made.
pub struct Report {
    as_json: bool,
    counts: [u64; 4],
    faults: Vec<(&'static str, End)>,
}

impl Report {
    /// With nothing found yet.
    pub fn new(as_json: bool) -> Self {
        Self { as_json, counts: [0; 4], faults: Vec::new() }
    }

    /// Tells one.
    pub fn tell(&mut self, finding: Finding) {
        self.counts[finding.verdict as usize] += 1;
        let lines = if self.as_json { vec![finding.json()] } else { finding.lines() };
        print(&lines);
        if finding.verdict == Verdict::Fault {
            self.faults.push((finding.check, finding.end));
        }
    }

    /// Sums up.
    ///
    /// # Errors
    /// The first fault decides how the program ends; without one it ends well.
    pub fn end(self) -> Result<(), Failure> {
        let [ok, skipped, warnings, faults] = self.counts;
        if self.as_json {
            let fields = [("ok", ok), ("skipped", skipped), ("warnings", warnings), ("faults", faults)];
            print(&[json(&fields.map(|(name, count)| (name, Field::Number(count))).into())]);
        } else {
            print(&[format!("{ok} ok, {skipped} skipped, {}, {}", many(warnings, "warning"), many(faults, "fault"))]);
        }
        let Some((_, end)) = self.faults.first() else { return Ok(()) };
        let names: Vec<&str> = self.faults.iter().map(|(check, _)| *check).collect();
        Err(end(format!("{}: {}; what to do is said above", many(faults, "fault"), names.join(", "))))
    }
}

/// Who does not read on sees no more, but the exit code is right.
fn print(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
}

fn many(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: people and programs are told the same; the first fault decides how the program ends, warnings do not.
    #[test]
    fn findings_are_told_and_counted() {
        let fault = Finding::fault("login", Failure::Credentials, "the server says no").means("no").remedy("do");
        assert_eq!(
            fault.json(),
            r#"{"check":"login","result":"fault","found":"the server says no","means":"no","remedy":"do"}"#
        );
        let indent = " ".repeat(27);
        let login = "FAULT   login              the server says no".to_owned();
        assert_eq!(fault.lines(), [login, format!("{indent}means: no"), format!("{indent}to do: do")]);
        let mut report = Report::new(true);
        report.tell(Finding::warning("terminal", "small"));
        report.tell(Finding::ok("name", "found"));
        assert!(Report { faults: Vec::new(), ..report }.end().is_ok());
        let mut report = Report::new(false);
        report.tell(fault);
        report.tell(Finding::fault("microphone", Failure::Audio, "none"));
        let ended = report.end().unwrap_err();
        assert_eq!((ended.exit_code(), ended.to_string().contains("2 faults: login, microphone")), (5, true));
    }

    /// Goal: what a server or a file says cannot drive the terminal.
    #[test]
    fn what_was_found_is_made_printable() {
        let finding = Finding::ok("login", "a\u{1b}[2Jb\nc");
        assert!(finding.lines().iter().chain([&finding.json()]).all(|line| !line.contains(['\u{1b}', '\n'])));
    }
}
