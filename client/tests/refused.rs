//! `echomesh` at the real server's limits: lines that come too fast are all said, and who is turned away learns why.
//!
//! The server is `echomesh-server` beside the program under test; cargo is asked to build it if it is missing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use running::{Running, await_line, await_port, client, server_program};

fn join(home: &Path, port: u16, user: &str) -> Running {
    let mut join = client(home, port, user, &["join", "lobby", "--create"]);
    let mut joined = join.stdin(Stdio::piped()).spawn().map(Running).unwrap();
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
    let port = await_port(&mut output);

    let mut witness = join(home.path(), port, "witness");
    let mut speaker = join(home.path(), port, "speaker");
    let refused = client(home.path(), port, "third", &["rooms"]).output().unwrap();
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
