//! What an operator sees when the server cannot start: a sentence that says what to do, and the exit
//! code of docs/OPERATIONS.md.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::path::Path;
use std::process::Command;

use running::{Server, command};

/// The exit code and standard error of a server that must refuse to start.
fn refusal(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Goal: a damaged database is refused, not served and not replaced.
#[test]
fn a_damaged_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    Server::start(directory.path(), &["--port", "0", "--shards", "1"]).stop();
    let database = directory.path().join("echomesh.sqlite3");
    let mut bytes = std::fs::read(&database).unwrap();
    // All pages but the first, which names the tables.
    bytes[4_096..].fill(0x55);
    std::fs::write(&database, &bytes).unwrap();
    let (code, error) = refusal(command(directory.path(), &["--port", "0"]));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains(database.to_str().unwrap()) && error.contains("restore a backup"), "{error}");
    assert_eq!(std::fs::read(&database).unwrap(), bytes, "the file is left as it is, for recovery");
}

/// Goal: a data directory that cannot be written is named, with what to do. Method: a place where not
/// even root may make files.
#[test]
fn a_read_only_data_directory_is_refused() {
    let (code, error) = refusal(command(Path::new("/sys/echomesh"), &["--port", "0"]));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("/sys/echomesh") && error.contains("write access"), "{error}");
}

/// Goal: wrong settings end with exit code 2 and name what was most likely meant.
#[test]
fn wrong_settings_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (code, error) = refusal(command(directory.path(), &["--prot", "1"]));
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("--port"), "{error}");
    std::fs::write(directory.path().join("server.toml"), "spread_after = 3\n").unwrap();
    let (code, error) = refusal(command(directory.path(), &["--port", "0"]));
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("server.toml") && error.contains("did you mean `spread-after`?"), "{error}");
}

/// Goal: a first start that is refused for another reason does not swallow the claim code.
#[test]
fn the_claim_code_waits_for_a_good_start() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = Server::start(other.path(), &["--port", "0", "--shards", "1"]);
    let (code, error) = refusal(command(directory.path(), &["--port", &running.port.to_string()]));
    assert_eq!(code, Some(1), "{error}");
    let second = Server::start(directory.path(), &["--port", "0", "--shards", "1"]);
    assert!(second.summary.contains("claim code"), "{}", second.summary);
    second.stop();
    running.stop();
}
