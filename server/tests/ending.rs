//! How the server ends, and how it sees that it does not live any more.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use echomesh_proto::control::{Body, EchoMsg, ResumeRequest, StatusCode, Who};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use running::postgres::Postgres;
use running::{Server, chat, command};

/// The next thing the service manager is told.
fn told(manager: &UnixDatagram) -> String {
    let mut told = [0; 256];
    let length = manager.recv(&mut told).unwrap();
    String::from_utf8_lossy(&told[..length]).trim().to_owned()
}

/// More lines than any server stores before its end comes.
const LINES: usize = 1_000_000;

/// Goal: at SIGTERM every line that was begun is acknowledged, none is stored that is not, and the last word is that
/// the server stops (PROTOCOL M94).
#[test]
fn sigterm_answers_what_was_begun() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--port", "0", "--shards", "2"];
    let mut stored = 0;
    for round in 0..4 {
        let server = Server::start(directory.path(), &arguments);
        let mut client = server.member("ada", "hall");
        let mut writer = client.stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            let mut frame = Vec::new();
            for line in 0..LINES {
                frame.clear();
                EchoMsg::new(0, chat("hall", &format!("{round}-{line}"), "")).append_frame(&mut frame);
                // It ends in mid-write.
                if writer.write_all(&frame).is_err() {
                    break;
                }
            }
        });
        let mut last = None;
        let mut told = 0;
        while let Some(body) = client.next() {
            if let Body::ChatMsg(line) = &body {
                stored += 1;
                told += 1;
                assert_eq!(line.message_id, stored, "a line was stored and not acknowledged");
                if told == 20 * (round + 1) {
                    server.terminate();
                }
            }
            last = Some(body);
        }
        sender.join().unwrap();
        let Some(Body::Status(status)) = last else { panic!("{last:?}") };
        assert_eq!(status.status_code(), StatusCode::StatusShuttingDown, "{status:?}");
        server.ended();
    }
}

/// Goal: a second signal ends the draining although an answer is missing, here of a database whose tables another
/// program holds: its client is told of the end, and not first that there was no answer in time (PROTOCOL M94).
#[test]
fn a_second_signal_does_not_wait() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let database = ["--port", "0", "--shards", "1", "--database", &url, "--drain-seconds", "60"];
    let server = Server::start_with(command(directory.path(), &database).env("NOTIFY_SOCKET", &path));
    let mut client = server.member("ada", "hall");
    let held = postgres.hold_lines(&url);
    client.send(chat("hall", "not stored", ""));
    client.send(Body::Who(Who::default()));
    assert!(matches!(client.next(), Some(Body::Who(_))), "the line is under way");
    server.terminate();
    while told(&manager) != "STOPPING=1" {}
    server.terminate();
    let Some(Body::Status(status)) = client.next() else { panic!("no last word") };
    assert_eq!(status.status_code(), StatusCode::StatusShuttingDown, "{status:?}");
    drop(held);
    server.ended();
}

/// Goal: a shard that stands still is seen and logged, so is that it goes on.
/// Method: its thread is stopped by ptrace, and let go again.
#[test]
fn a_stalled_shard_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = command(directory.path(), &["--port", "0", "--shards", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(output.any(|line| line.unwrap().starts_with("listening on")));
    let tasks = format!("/proc/{}/task", child.id());
    // It names itself when it begins.
    let thread = loop {
        let mut threads = std::fs::read_dir(&tasks).unwrap().map(|entry| entry.unwrap().path());
        let named = |path: &std::path::PathBuf| std::fs::read_to_string(path.join("comm")).unwrap().trim() == "shard-1";
        if let Some(thread) = threads.find(named) {
            break thread;
        }
        std::thread::yield_now();
    };
    let thread = Pid::from_raw(thread.file_name().unwrap().to_str().unwrap().parse().unwrap());
    ptrace::seize(thread, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(thread).unwrap();
    waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let seen = log.find(|line| line.contains("the shard stands still")).unwrap();
    assert!(seen.contains("shard=1"), "{seen}");
    ptrace::detach(thread, None).unwrap();
    assert!(log.any(|line| line.contains("the shard goes on")));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Goal: the service manager is told that the server is ready, alive and stopping.
#[test]
fn the_service_manager_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut child = command(directory.path(), &["--port", "0", "--shards", "1"])
        .env("NOTIFY_SOCKET", &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(told(&manager), "READY=1");
    assert_eq!(told(&manager), "WATCHDOG=1");
    nix::sys::signal::kill(Pid::from_raw(child.id().cast_signed()), nix::sys::signal::Signal::SIGTERM).unwrap();
    while told(&manager) != "STOPPING=1" {}
    assert!(child.wait().unwrap().success());
}

/// Goal: a session is back in its room at the restarted server (PROTOCOL M90).
#[test]
fn sessions_come_back_after_a_restart_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--port", "0", "--shards", "2"];
    let server = Server::start(directory.path(), &arguments);
    let (_client, token) = server.resumable("ada", "hall");
    server.stop();
    let server = Server::start(directory.path(), &arguments);
    let mut client = server.connect();
    client.send(Body::ResumeRequest(ResumeRequest { resume_token: token.into() }));
    let Some(Body::LoginResponse(back)) = client.next() else { panic!("no answer") };
    assert_eq!((back.status_code(), back.rooms), (StatusCode::StatusOk, vec!["hall".to_owned()]));
    server.stop();
}
