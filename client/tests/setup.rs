//! The first start on a terminal: questions, what is written, and that the next start needs none.
//!
//! The terminal is a pty of util-linux's `script`; the server is `echomesh-server` beside the program under test, which
//! cargo is asked to build if it is missing. What is typed is what a person would, after the question is on the screen.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use running::{Running, server};

/// A program on a terminal of 80×24, and who sits at it.
struct Person {
    program: Running,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Person {
    fn starts(home: &Path, arguments: &str) -> Self {
        Self::runs(home, &format!("exec {} {arguments}", env!("CARGO_BIN_EXE_echomesh")))
    }

    fn runs(home: &Path, line: &str) -> Self {
        let mut started = Command::new("script")
            .args(["-qec", &format!("stty rows 24 cols 80; {line}"), "/dev/null"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8")
            .env("SHELL", "/bin/sh")
            .env("HOME", home)
            .env("USER", "ann")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map(Running)
            .unwrap();
        let (keys, screen) = (started.0.stdin.take().unwrap(), started.0.stdout.take().unwrap());
        Self { program: started, keys, screen, seen: String::new() }
    }

    /// Waits until the screen shows this, after all that was waited for before.
    fn sees(&mut self, words: &str) {
        let mut bytes = [0; 4_096];
        loop {
            if let Some(at) = self.seen.find(words) {
                self.seen.drain(..at + words.len());
                return;
            }
            let count = self.screen.read(&mut bytes).unwrap();
            assert!(count > 0, "it ended before it showed {words:?}: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    fn types(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn answers(&mut self, question: &str, answer: &str) {
        self.sees(question);
        self.types(&format!("{answer}\n"));
    }

    /// Reads to the end; how it ended.
    fn ends(mut self) -> i32 {
        let mut rest = Vec::new();
        self.screen.read_to_end(&mut rest).unwrap();
        self.program.0.wait().unwrap().code().unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Goal: who starts it for the first time is asked, gets wrong answers back, sees the key once, ends up in the interface,
/// and from then on needs neither name nor password.
#[test]
fn a_first_start_ends_in_the_interface() {
    let home = tempfile::tempdir().unwrap();
    let (_server, _output, port) = server(home.path(), 0);
    let mut person = Person::starts(home.path(), "");
    person.answers("Server, HOST or HOST:PORT [localhost]", "not a server");
    person.sees("is no server");
    person.answers("Server", &format!("127.0.0.1:{port}"));
    person.sees("SHA256:");
    person.answers("Is it the server's? (no/yes)", "yes");
    person.answers("Name [ann]", "");
    person.answers("Password (it is not shown):", "a long secret");
    person.answers("How (ask/token/password)", "token");
    person.answers("Test microphone", "no");
    person.sees("Written:");
    person.sees("\u{1b}[?1049h");
    person.sees("connected to 127.0.0.1");
    person.types("\u{11}");
    assert_eq!(person.ends(), 0);

    let folder = home.path().join(".config/echomesh");
    let config = std::fs::read_to_string(folder.join("config.toml")).unwrap();
    assert!(config.contains("token_file") && !config.contains("password"), "{config}");
    assert_eq!((mode(&folder.join("config.toml")), mode(&folder.join("token"))), (0o600, 0o600));
    let known = std::fs::read_to_string(home.path().join(".local/share/echomesh/known_servers")).unwrap();
    assert!(known.contains(&format!("127.0.0.1:{port} SHA256:")), "{known}");

    let next = Command::new(env!("CARGO_BIN_EXE_echomesh"))
        .args(["whoami"])
        .env_clear()
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&next.stdout).starts_with("ann "), "{next:?}");
}

/// Goal: who does not agree to the key is not asked for a password, and nothing is written.
#[test]
fn a_key_that_is_not_the_servers_ends_it() {
    let home = tempfile::tempdir().unwrap();
    let (_server, _output, port) = server(home.path(), 0);
    let mut person = Person::starts(home.path(), &format!("--server 127.0.0.1:{port} setup"));
    person.answers(&format!("[127.0.0.1:{port}]"), "");
    person.answers("Is it the server's? (no/yes)", "");
    person.sees("nothing was written");
    assert_eq!(person.ends(), 4);
    assert!(!home.path().join(".config").exists() && !home.path().join(".local").exists());
}

/// Goal: who is asked for a password and presses Ctrl-C has a terminal that shows what is typed.
#[test]
fn an_interrupted_question_gives_the_terminal_back() {
    let home = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_echomesh");
    let mut person = Person::runs(home.path(), &format!("{program} --user ann whoami; echo \"code $?\"; stty -a"));
    person.sees("Password of ann");
    person.types("sec\u{3}");
    person.sees("no password was typed");
    person.sees("code 2");
    person.sees("isig icanon");
    person.sees(" echo ");
    assert_eq!(person.ends(), 0);
}
