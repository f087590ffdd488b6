//! `echomesh` at the real server's limits: lines that come too fast are all said, and who is turned away learns why.
//!
//! The server is `echomesh-server` beside the program under test; cargo is asked to build it if it is missing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A process that a failing test does not leave behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn await_line(lines: &mut impl BufRead, words: &str) -> String {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it said {words:?}: {all}");
        if line.contains(words) {
            return line;
        }
        all.push_str(&line);
    }
}

fn server_program() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_echomesh")).with_file_name("echomesh-server");
    if !path.exists() {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let built = Command::new(cargo).args(["build", "-q", "-p", "echomesh-server"]).status().unwrap();
        assert!(built.success() && path.exists(), "no {}: cargo build -p echomesh-server", path.display());
    }
    path
}

fn client(home: &Path, port: &str, user: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echomesh"));
    command
        .args(arguments)
        .args(["--plaintext", "--server", &format!("127.0.0.1:{port}")])
        .env_clear()
        .env("HOME", home)
        .env("ECHOMESH_USER", user)
        .env("ECHOMESH_PASSWORD", "a long secret")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn join(home: &Path, port: &str, user: &str) -> Running {
    let mut joined = client(home, port, user, &["join", "lobby", "--create"]).spawn().map(Running).unwrap();
    let mut news = BufReader::new(joined.0.stderr.take().unwrap());
    await_line(&mut news, "in lobby");
    joined.0.stderr = Some(news.into_inner());
    joined
}

/// Goal: lines that are piped in faster than the server takes them are each said once; a connection beyond the
/// address's is told so, and the program says it (PROTOCOL M95, M96).
#[test]
fn limits_are_met_and_told() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Command::new(server_program())
        .args(["--address", "127.0.0.1", "--port", "0", "--shards", "1", "--log", "warn"])
        .args(["--password-memory-kib", "8", "--password-passes", "1"])
        .args(["--requests-per-second", "10", "--connections-per-address", "2", "--data-dir"])
        .arg(home.path().join("data"))
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    let mut output = BufReader::new(server.0.stdout.take().unwrap());
    let line = await_line(&mut output, "listening on 127.0.0.1:");
    let port: String =
        line.trim_start_matches("listening on 127.0.0.1:").chars().take_while(char::is_ascii_digit).collect();

    let mut witness = join(home.path(), &port, "witness");
    let mut speaker = join(home.path(), &port, "speaker");
    let refused = client(home.path(), &port, "third", &["rooms"]).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("too many connections from your address"), "{told}");

    let all: Vec<String> = (100..190).map(|number| format!("speaker: line {number}")).collect();
    let typed: String = (100..190).map(|number| format!("line {number}\n")).collect();
    speaker.0.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
    let mut lines = BufReader::new(witness.0.stdout.take().unwrap()).lines();
    let mut heard: Vec<String> = all.iter().map(|_| lines.next().unwrap().unwrap()).collect();
    heard.sort();
    assert_eq!(heard, all);
    let mut news = BufReader::new(speaker.0.stderr.take().unwrap());
    await_line(&mut news, "lines wait and are sent again");
}
