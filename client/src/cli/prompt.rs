//! Asks for a password on the terminal, without showing it.

use std::fs::File;
use std::io::{Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::failure::Failure;

/// Longest line read, bytes: far over what a server takes, and a bound if the terminal is a pipe.
const LINE_BYTES_MAX: usize = 4_096;

/// What the terminal would do itself, but for that it would end the program and leave the echo off: Ctrl-C, Ctrl-\,
/// Ctrl-D, backspace, Ctrl-U.
const INTERRUPT: u8 = 0x03;
const QUIT: u8 = 0x1C;
const END: u8 = 0x04;
const ERASE: [u8; 2] = [0x08, 0x7F];
const KILL: u8 = 0x15;

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
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    tcsetattr(&terminal, OptionalActions::Flush, &silent).map_err(|error| refuse(error.into()))?;
    let echo = Echo { terminal: &terminal, modes };
    // What is typed from here on is neither shown nor lost.
    (&terminal).write_all(question.as_bytes()).map_err(refuse)?;
    let read = read_line(&terminal);
    drop(echo);
    (&terminal).write_all(b"\n").map_err(refuse)?;
    let password = read.map_err(refuse)?;
    if password.is_empty() {
        return Err(Failure::Usage(format!("no password was typed: type one, or {other_ways}")));
    }
    Ok(password)
}

/// A line by the keys of a terminal that does nothing with them itself. Empty if it was interrupted.
///
/// # Errors
/// The system's; a line that is no UTF-8 or too long.
fn read_line(mut terminal: impl Read) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    // One by one: what comes after the line is for whoever asks next.
    while terminal.read(&mut byte)? > 0 {
        match byte[0] {
            b'\n' | b'\r' | END => break,
            INTERRUPT | QUIT => return Ok(String::new()),
            KILL => line.clear(),
            byte if ERASE.contains(&byte) => {
                // The character's first byte is the last one that continues none.
                while line.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {}
            }
            byte => line.push(byte),
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(std::io::Error::other(format!("it has over {LINE_BYTES_MAX} bytes")));
        }
    }
    String::from_utf8(line).map_err(|_| std::io::Error::other("what was typed is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a password is what was left on the line, whole characters erased; who interrupts has typed nothing.
    #[test]
    fn keys_make_a_line() {
        let line = |keys: &str| read_line(keys.as_bytes()).unwrap();
        assert_eq!(line("secret\rmore"), "secret");
        assert_eq!(line("wrong\u{15}gehx\u{7f}ïy\u{8}\u{7f}eim\n"), "geheim");
        assert_eq!(line("\u{7f}\u{7f}ok\u{4}"), "ok");
        assert_eq!(line("half\u{3}rest\n"), "");
        assert!(read_line("x".repeat(LINE_BYTES_MAX + 1).as_bytes()).is_err());
    }
}
