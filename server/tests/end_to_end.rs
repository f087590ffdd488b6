//! The real server over real sockets: what its users and its operator see.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::io::Write;

use echomesh_proto::control::{Body, RoomActionType, StatusCode, Who};
use running::{Client, Server, action, chat, command, login};

fn code(body: Option<Body>) -> StatusCode {
    let code = match body.expect("an answer") {
        Body::Status(status) => status.status_code,
        Body::LoginResponse(response) => response.status_code,
        Body::RoomState(state) => state.status_code,
        Body::ChatMsg(_) => 0,
        other => panic!("{other:?}"),
    };
    StatusCode::try_from(code).unwrap()
}

/// Goal: the Python example, a third party's client from the protocol file alone, chats over the real
/// server with all requests sent at once, and others hear it.
#[test]
fn the_python_example_chats() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "2"]);
    let mut listener = server.member("listener", "hall");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let generated = tempfile::tempdir().unwrap();
    let protoc = std::process::Command::new("protoc")
        .arg("-I")
        .arg(root.join("proto"))
        .arg(format!("--python_out={}", generated.path().display()))
        .arg(root.join("proto/message.proto"))
        .status();
    assert!(protoc.is_ok_and(|status| status.success()), "install protobuf-compiler (scripts/test does)");
    let output = std::process::Command::new("/usr/bin/python3")
        .env("PYTHONPATH", generated.path())
        .arg(root.join("docs/examples/python_client.py"))
        .args([&server.port.to_string(), "snake", "secret", "den", "one", "two"])
        .output()
        .expect("install python3 and python3-protobuf (scripts/test does)");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("MT_LOGIN_RESPONSE") && text.contains("\"one\"") && text.contains("\"two\""), "{text}");
    let hall = std::process::Command::new("/usr/bin/python3")
        .env("PYTHONPATH", generated.path())
        .arg(root.join("docs/examples/python_client.py"))
        .args([&server.port.to_string(), "snake", "secret", "hall", "hi all"])
        .output()
        .unwrap();
    assert!(hall.status.success());
    loop {
        if let Body::ChatMsg(line) = listener.next().expect("the line") {
            assert_eq!((line.username.as_str(), line.content.as_str()), ("snake", "hi all"));
            break;
        }
    }
    let totals = server.stop();
    assert!(totals.contains("\"chat_stored\":3"), "{totals}");
}

/// Goal: members whose connections are on different shards see each other's lines, each once and in the
/// order of the acknowledgements. Method: members are added until both shards have one.
#[test]
fn members_on_different_shards_chat() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "2"]);
    let mut members: [Option<Client>; 2] = [None, None];
    for number in 0..64 {
        let mut client = server.member(&format!("member{number}"), "hall");
        client.send(Body::Who(Who::default()));
        let shard = loop {
            if let Body::Who(who) = client.next().expect("an answer") {
                break who.shard;
            }
        };
        members[shard as usize] = Some(client);
        if members.iter().all(Option::is_some) {
            break;
        }
    }
    let [Some(mut one), Some(mut other)] = members else { panic!("64 connections on one of two shards") };
    for line in 0..20 {
        for client in [&mut one, &mut other] {
            client.send(chat("hall", &format!("line {line}"), ""));
        }
    }
    let heard = [&mut one, &mut other].map(|client| {
        let mut ids = Vec::new();
        while ids.len() < 40 {
            if let Body::ChatMsg(line) = client.next().expect("40 lines") {
                ids.push(line.message_id);
            }
        }
        ids
    });
    assert_eq!(heard[0], (1..=40).collect::<Vec<_>>());
    assert_eq!(heard[1], heard[0]);
    let totals = server.stop();
    assert!(totals.contains("\"chat_stored\":40"), "{totals}");
}

/// Goal: one server a data directory and a port; each refusal says what to do, with exit code 1.
#[test]
fn a_second_server_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1"]);
    let same_directory = command(directory.path(), &["--port", "0"]).output().unwrap();
    assert_eq!(same_directory.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&same_directory.stderr).contains("another echomesh-server uses the data directory")
    );
    let same_port = command(other.path(), &["--port", &server.port.to_string()]).output().unwrap();
    assert_eq!(same_port.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&same_port.stderr).contains("in use"));
    server.stop();
}

/// Goal: the first start prints a claim code, the second does not; the fingerprint stays.
#[test]
fn the_summary_shows_the_claim_code_once() {
    let directory = tempfile::tempdir().unwrap();
    let first = Server::start(directory.path(), &["--port", "0", "--shards", "1"]);
    let fingerprint = |summary: &str| summary.lines().find(|line| line.contains("SHA256:")).map(str::to_owned);
    let summary = first.summary.clone();
    assert!(summary.contains("claim code"));
    first.stop();
    let second = Server::start(directory.path(), &["--port", "0", "--shards", "1"]);
    assert!(!second.summary.contains("claim code"));
    assert_eq!(fingerprint(&summary), fingerprint(&second.summary));
    second.stop();
}

/// Goal: garbage, half a TLS hello and a thousand silent connections disturb nobody in a room
/// (PROTOCOL M02).
#[test]
fn hostile_connections_disturb_nobody() {
    let directory = tempfile::tempdir().unwrap();
    // All come from one address, which would not be let in a thousand times.
    let unlimited = ["--connections-per-address", "0", "--connects-per-second", "0"];
    let server = Server::start(directory.path(), &[&["--port", "0", "--shards", "2"][..], &unlimited].concat());
    let mut ada = server.member("ada", "hall");
    let silent: Vec<_> = (0..1_000).map(|_| server.connect()).collect();
    let mut garbage = server.connect();
    garbage.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(garbage.next().is_none());
    let mut hello = server.connect();
    hello.stream.write_all(&[0x16, 3, 1, 0, 200, 1, 0]).unwrap();
    let mut bad_tls = server.connect();
    bad_tls.stream.write_all(&[0x16, 0xFF, 0xFF, 0, 5, 1, 2, 3, 4, 5]).unwrap();
    let mut oversized = server.connect();
    oversized.stream.write_all(&[0, 1, 0, 1]).unwrap();
    assert_eq!(code(oversized.next()), StatusCode::StatusMalformed);
    assert!(oversized.next().is_none());
    ada.send(chat("hall", "still here", ""));
    assert!(matches!(ada.next(), Some(Body::ChatMsg(line)) if line.content == "still here"));
    drop((silent, hello, bad_tls));
    let totals = server.stop();
    for reason in ["not_our_protocol", "bad_frame"] {
        assert!(totals.contains(reason), "{totals}");
    }
}

/// Goal: with registration closed an unknown name is refused like a wrong password.
#[test]
fn closed_registration_makes_no_accounts() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1", "--registration", "closed"]);
    let mut client = server.connect();
    client.send(login("nobody", "secret"));
    assert_eq!(code(client.next()), StatusCode::StatusBadCredentials);
    client.send(action(RoomActionType::RaCreate, "x"));
    assert_eq!(code(client.next()), StatusCode::StatusNotLoggedIn);
    server.stop();
}
