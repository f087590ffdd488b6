//! What the tool is doing, on standard error: one line that is rewritten on a terminal, plain lines elsewhere.
//!
//! Not results: those go to standard output and to files.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Where there is no terminal, what is merely under way is told at most so often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Tells the user.
#[derive(Debug)]
pub struct Progress {
    quiet: bool,
    terminal: bool,
    told: Mutex<Option<Instant>>,
}

impl Progress {
    /// To standard error, unless `quiet`.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self { quiet, terminal: std::io::stderr().is_terminal(), told: Mutex::new(None) }
    }

    /// What is under way.
    pub fn say(&self, text: &str) {
        if self.quiet {
            return;
        }
        if self.terminal {
            return write(&format!("\r\x1b[K{text}"));
        }
        let mut told = self.told.lock().expect("nothing panics while it tells");
        if told.is_none_or(|told| told.elapsed() >= PLAIN_EVERY) {
            *told = Some(Instant::now());
            write(&format!("{text}\n"));
        }
    }

    /// What is done: stays on the screen.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let clear = if self.terminal { "\r\x1b[K" } else { "" };
            write(&format!("{clear}{text}\n"));
        }
    }

    /// Takes away what is under way.
    pub fn clear(&self) {
        if self.terminal && !self.quiet {
            write("\r\x1b[K");
        }
    }
}

fn write(text: &str) {
    // Nobody reads it any more: that is no reason to stop measuring.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
