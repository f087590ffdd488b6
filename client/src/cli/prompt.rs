//! Asks for a password on the terminal, without showing it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::failure::Failure;

/// Longest line read, bytes: far over what a server takes, and a bound if the terminal is a pipe.
const LINE_BYTES_MAX: u64 = 4_096;

/// Shows typed characters again, however the reading ends.
struct Echo<'a> {
    terminal: &'a File,
    modes: Termios,
}

impl Drop for Echo<'_> {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(self.terminal, OptionalActions::Now, &self.modes) {
            tracing::warn!("the terminal may not show what is typed: run `stty echo` ({error})");
        }
    }
}

/// How else the account's password is given.
pub const ACCOUNT: &str = "give --password-file FILE, or set ECHOMESH_PASSWORD";

/// How else a new one is.
pub const NEW: &str = "give --new-password-file FILE";

/// Asks on the controlling terminal, whatever standard input and output are.
///
/// # Errors
/// `Failure::Usage` if there is no terminal or nothing was typed: says how else to give the password.
pub fn password(question: &str, other_ways: &str) -> Result<String, Failure> {
    let refuse = |error: std::io::Error| Failure::Usage(format!("cannot ask for the password ({error}): {other_ways}"));
    let terminal = File::options().read(true).write(true).open("/dev/tty").map_err(refuse)?;
    let modes = tcgetattr(&terminal).map_err(|error| refuse(error.into()))?;
    let mut silent = modes.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &silent).map_err(|error| refuse(error.into()))?;
    let echo = Echo { terminal: &terminal, modes };
    // What is typed from here on is neither shown nor lost.
    (&terminal).write_all(question.as_bytes()).map_err(refuse)?;
    let mut line = String::new();
    let read = BufReader::new((&terminal).take(LINE_BYTES_MAX)).read_line(&mut line);
    drop(echo);
    (&terminal).write_all(b"\n").map_err(refuse)?;
    read.map_err(refuse)?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::Usage(format!("no password was typed: type one, or {other_ways}")));
    }
    Ok(password.to_owned())
}
