//! Backups, as an operator makes and restores them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use echomesh_proto::control::{Body, ResumeRequest, StatusCode};
use running::{Client, Server, chat, command};

const QUICK: [&str; 6] = ["--port", "0", "--shards", "1", "--password-memory-kib", "8"];

/// Exit code and all that was said.
fn run(data_dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(data_dir, arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code(), text)
}

/// Stores a line, or finds it stored; its number and what it says.
fn line(client: &mut Client, id: &str, content: &str) -> (u64, String) {
    client.send(chat("hall", content, id));
    let Some(Body::ChatMsg(line)) = client.next() else { panic!("line {id} is refused") };
    (line.message_id, line.content)
}

/// Goal: a backup made while the server runs has all that was acknowledged before, and starts a server elsewhere;
/// an older backup under its name is replaced, others may not read it.
#[test]
fn a_backup_of_a_running_server_starts_another() {
    let (first, second, backups) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = backups.path().join("copy.sqlite3");
    let name = file.to_str().unwrap();
    std::fs::write(&file, "yesterday's").unwrap();
    let server = Server::start(first.path(), &QUICK);
    let mut client = server.member("ada", "hall");
    let numbers: Vec<_> = (0..100).map(|at| line(&mut client, &at.to_string(), &format!("text {at}")).0).collect();
    let (code, told) = run(first.path(), &["backup", name]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("1 accounts, 1 rooms, 100 chat lines"), "{told}");
    assert_eq!(std::fs::read_dir(backups.path()).unwrap().count(), 1, "nothing is left beside it");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0);
    line(&mut client, "later", "after the backup");
    server.stop();

    let (code, told) = run(second.path(), &["restore", name]);
    assert_eq!(code, Some(0), "{told}");
    let server = Server::start(second.path(), &QUICK);
    let mut client = server.member("ada", "hall");
    for (at, number) in numbers.into_iter().enumerate() {
        assert_eq!(line(&mut client, &at.to_string(), "again"), (number, format!("text {at}")));
    }
    assert_eq!(line(&mut client, "later", "a new line").1, "a new line");
    server.stop();
}

/// Goal: sessions of the backup's time are not resumed after a restore: they may have been ended since.
#[test]
fn a_restore_brings_no_session_back() {
    let (directory, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = backups.path().join("copy.sqlite3");
    let server = Server::start(directory.path(), &QUICK);
    let (client, token) = server.resumable("ada", "hall");
    // At its end all that is in rooms is in the database.
    server.stop();
    drop(client);
    assert_eq!(run(directory.path(), &["backup", file.to_str().unwrap()]).0, Some(0));
    let resumed = |server: &Server| {
        let mut client = server.connect();
        client.send(Body::ResumeRequest(ResumeRequest { resume_token: token.clone().into() }));
        let Some(Body::LoginResponse(response)) = client.next() else { panic!("no answer") };
        response.status_code()
    };
    let server = Server::start(directory.path(), &QUICK);
    assert_eq!(resumed(&server), StatusCode::StatusOk);
    server.stop();
    assert_eq!(run(directory.path(), &["restore", file.to_str().unwrap()]).0, Some(0));
    let server = Server::start(directory.path(), &QUICK);
    assert_eq!(resumed(&server), StatusCode::StatusSessionGone);
    server.stop();
}

/// Goal: a restore keeps the database it replaces, whose last lines may be only in its write-ahead log, and that one
/// can be put back.
#[test]
fn a_restore_keeps_the_old_database() {
    let (directory, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = backups.path().join("copy.sqlite3");
    let server = Server::start(directory.path(), &QUICK);
    let mut client = server.member("ada", "hall");
    line(&mut client, "a", "first");
    assert_eq!(run(directory.path(), &["backup", file.to_str().unwrap()]).0, Some(0));
    line(&mut client, "b", "second");
    server.kill();
    let (code, told) = run(directory.path(), &["restore", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("1 chat lines"), "{told}");
    let kept = directory.path().join("echomesh.sqlite3.before-restore-1");
    assert!(told.contains(kept.to_str().unwrap()), "{told}");
    let (code, told) = run(directory.path(), &["restore", kept.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("2 chat lines") && told.contains("before-restore-2"), "{told}");
    let server = Server::start(directory.path(), &QUICK);
    let mut client = server.member("ada", "hall");
    assert_eq!(line(&mut client, "b", "again").1, "second");
    server.stop();
}

/// Goal: a backup never replaces the database that it is of; nothing is restored over a running server, nor from a file that is no healthy backup; each refusal says
/// what to do, and the database stays as it is.
#[test]
fn what_would_lose_data_is_refused() {
    let (directory, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = |name: &str| backups.path().join(name);
    let good = place("good");
    let server = Server::start(directory.path(), &QUICK);
    server.member("ada", "hall");
    assert_eq!(run(directory.path(), &["backup", good.to_str().unwrap()]).0, Some(0));
    for part in ["echomesh.sqlite3", "echomesh.sqlite3-wal"] {
        let (code, told) = run(directory.path(), &["backup", directory.path().join(part).to_str().unwrap()]);
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains("the database itself"), "{told}");
    }
    let (code, told) = run(directory.path(), &["restore", good.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("another echomesh-server uses the data directory"), "{told}");
    server.stop();
    let database = directory.path().join("echomesh.sqlite3");
    let before = std::fs::read(&database).unwrap();

    let mut bytes = std::fs::read(&good).unwrap();
    // SQLite's header has the user version at byte 60, big-endian.
    bytes[60..64].copy_from_slice(&1_000_u32.to_be_bytes());
    std::fs::write(place("newer"), &bytes).unwrap();
    bytes[4_096..].fill(0x55);
    std::fs::write(place("damaged"), &bytes).unwrap();
    std::fs::write(place("garbage"), [0x55; 8_192]).unwrap();
    std::fs::write(place("empty"), "").unwrap();
    std::fs::copy(&good, place("half")).unwrap();
    std::fs::write(place("half-wal"), "log").unwrap();
    for (name, part) in [
        ("newer", "newer echomesh-server"),
        ("damaged", "choose another backup"),
        ("garbage", "choose another backup"),
        ("empty", "choose another backup"),
        ("half", "echomesh-server backup FILE"),
        ("missing", "No such file"),
    ] {
        let (code, told) = run(directory.path(), &["restore", place(name).to_str().unwrap()]);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(part), "{told}");
        assert_eq!(std::fs::read(&database).unwrap(), before, "{name}");
    }
    let names = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("restor")), "nothing is left");
}

/// Goal: a backup of what is not there is refused; PostgreSQL is its own programs' business, and the refusal is the
/// command to give.
#[test]
fn backups_elsewhere_are_told_how() {
    let directory = tempfile::tempdir().unwrap();
    let (code, told) = run(directory.path(), &["backup", "/tmp/never"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("there is no database") && told.contains("--data-dir"), "{told}");
    let database = ["--database", "postgres://ada:tops3cret@db/chat"];
    for (what, program) in [("backup", "pg_dump"), ("restore", "pg_restore")] {
        let arguments: Vec<&str> = database.iter().chain(&[what, "FILE"]).copied().collect();
        let (code, told) = run(directory.path(), &arguments);
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains(program) && told.contains("'postgres://ada@db:5432/chat'"), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}
