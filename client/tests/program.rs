//! The program from outside: exit codes and trust, against servers of a few lines on free ports.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::JoinHandle;

use echomesh_proto::control::{
    Body, ChatActionType, ChatMsg, ChatState, EchoMsg, LoginResponse, RoomActionType, RoomState, Status, StatusCode,
};
use echomesh_proto::framing::FrameDecoder;
use prost::Message;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

/// Runs `echomesh` with a home of its own, no terminal and no settings from outside.
fn echomesh(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_echomesh"))
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("ECHOMESH_USER", "ann")
        .env("ECHOMESH_PASSWORD", "secret")
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Answers what comes on one connection, until the client hangs up, or there are no answers, which hangs up too.
fn answer(mut stream: impl Read + Write, mut answers: impl FnMut(Body) -> Vec<(bool, Body)>) {
    let (mut decoder, mut bytes) = (FrameDecoder::default(), [0; 4096]);
    while let Ok(count) = stream.read(&mut bytes)
        && count > 0
    {
        decoder.push(&bytes[..count]);
        let mut out = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            let asked = EchoMsg::decode(frame).unwrap();
            let bodies = answers(asked.body.unwrap());
            if bodies.is_empty() {
                return;
            }
            for (is_answer, body) in bodies {
                EchoMsg::new(if is_answer { asked.request_id } else { 0 }, body).append_frame(&mut out);
            }
        }
        if stream.write_all(&out).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

/// Takes one connection and answers its login with this.
fn answer_login(stream: impl Read + Write, response: LoginResponse) {
    answer(stream, |_| vec![(true, Body::LoginResponse(response.clone()))]);
}

fn refusal(status: StatusCode) -> LoginResponse {
    LoginResponse { status_code: status as i32, message: "because".to_owned(), ..LoginResponse::default() }
}

/// Ends a stay.
fn kick() -> Body {
    Body::Status(Status { status_code: StatusCode::StatusKicked as i32, ..Status::default() })
}

/// A server of TLS 1.3 with a certificate of its own, for one connection; a failed handshake ends it.
fn tls_server(listener: &TcpListener) -> JoinHandle<()> {
    let listener = listener.try_clone().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let certificates = vec![CertificateDer::from(made.cert.der().to_vec())];
    std::thread::spawn(move || {
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
        if tls.complete_io(&mut socket).is_ok() {
            answer_login(Stream::new(&mut tls, &mut socket), refusal(StatusCode::StatusLimit));
        }
    })
}

/// For a server of the test's own, and what clients call it.
fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap().to_string();
    (listener, server)
}

/// Goal: mistakes that need no server end at once with code 2 and a sentence.
#[test]
fn wrong_arguments_end_with_2() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        &["join"][..],
        &["rooms", "--server", "host:0"],
        &["rooms", "--fingerprint", "12"],
        &["rooms", "--plaintext", "--server", "192.0.2.1"],
        &["rooms", "--config", "/nonexistent/config.toml"],
    ] {
        let output = echomesh(home.path(), arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", text(&output));
    }
}

/// Goal: an input that is not there is told before anything is connected.
#[test]
fn a_missing_audio_file_ends_with_6() {
    let home = tempfile::tempdir().unwrap();
    let output = echomesh(home.path(), &["join", "lobby", "--input", "/nonexistent.wav"]);
    assert_eq!(code(&output), 6, "{}", text(&output));
    assert!(text(&output).contains("/nonexistent.wav"), "{}", text(&output));
}

/// Goal: nobody listening, and a peer that is no EchoMesh server, are connection failures. Method: a port
/// that was free a moment ago, and a server that says nonsense.
#[test]
fn no_server_ends_with_3() {
    let home = tempfile::tempdir().unwrap();
    let (listener, server) = listen();
    let nonsense = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let output = echomesh(home.path(), &["rooms", "--server", &server]);
    assert_eq!(code(&output), 3, "{}", text(&output));
    nonsense.join().unwrap();
    let output = echomesh(home.path(), &["rooms", "--server", &server]);
    assert_eq!(code(&output), 3, "{}", text(&output));
}

/// Goal: a refused login ends with 5 if the account is at fault and 1 otherwise, with the server's words.
#[test]
fn refused_logins_are_told_apart() {
    let home = tempfile::tempdir().unwrap();
    for (status, expected) in [(StatusCode::StatusBadCredentials, 5), (StatusCode::StatusLimit, 1)] {
        let (listener, server) = listen();
        let answering = std::thread::spawn(move || {
            let stream: TcpStream = listener.accept().unwrap().0;
            answer_login(stream, refusal(status));
        });
        let output = echomesh(home.path(), &["rooms", "--plaintext", "--server", &server]);
        assert_eq!(code(&output), expected, "{}", text(&output));
        assert!(text(&output).contains("because"), "{}", text(&output));
        answering.join().unwrap();
    }
}

/// Goal: what a server says cannot drive the terminal, however the program ends.
#[test]
fn a_refusal_is_made_printable() {
    let home = tempfile::tempdir().unwrap();
    let odd = || "be\u{1b}[2J\ncause".to_owned();
    for (logs_in, arguments) in [(false, &["rooms"][..]), (true, &["rooms"]), (true, &["join", "hall"])] {
        let (listener, server) = listen();
        let answering = std::thread::spawn(move || {
            let refused =
                move || Status { status_code: StatusCode::StatusDenied as i32, message: odd(), ..Status::default() };
            answer(listener.accept().unwrap().0, |asked| match asked {
                Body::LoginRequest(_) if !logs_in => {
                    let response = LoginResponse { message: odd(), ..refusal(StatusCode::StatusLimit) };
                    vec![(true, Body::LoginResponse(response))]
                }
                Body::LoginRequest(_) => vec![(true, Body::LoginResponse(LoginResponse::default()))],
                Body::RoomAction(action) if action.action_type() == RoomActionType::RaJoin => {
                    let banned = Status { status_code: StatusCode::StatusBanned as i32, ..refused() };
                    vec![(true, Body::RoomState(RoomState::default())), (false, Body::Status(banned))]
                }
                _ => vec![(true, Body::Status(refused()))],
            });
        });
        let output = echomesh(home.path(), &[arguments, &["--plaintext", "--server", &server]].concat());
        assert_eq!(code(&output), 1, "{}", text(&output));
        assert!(text(&output).contains("cause") && !text(&output).contains('\u{1b}'), "{}", text(&output));
        answering.join().unwrap();
    }
}

/// Goal: who comes to stay reads the message of the day, line by line, and it cannot drive the terminal (PROTOCOL M18);
/// a request or two is not bothered with it.
#[test]
fn the_message_of_the_day_is_shown() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, is_shown) in [(&["rooms"][..], false), (&["join", "hall"], true)] {
        let (listener, server) = listen();
        let answering = std::thread::spawn(move || {
            let motd = "Welcome\u{1b}[2J\nMaintenance on Sunday".to_owned();
            answer(listener.accept().unwrap().0, |asked| match asked {
                Body::LoginRequest(_) => {
                    vec![(true, Body::LoginResponse(LoginResponse { motd: motd.clone(), ..LoginResponse::default() }))]
                }
                _ => vec![(true, Body::Status(Status::default())), (false, kick())],
            });
        });
        let output = echomesh(home.path(), &[arguments, &["--plaintext", "--server", &server]].concat());
        let told = text(&output);
        let (first, second) = ("the server says: Welcome\u{FFFD}[2J\n", "the server says: Maintenance on Sunday\n");
        assert_eq!(told.contains(first) && told.contains(second), is_shown, "{told}");
        assert!(!told.contains('\u{1b}'), "{told}");
        answering.join().unwrap();
    }
}

/// A line of bob's in the hall.
fn line(message_id: u64) -> ChatMsg {
    ChatMsg {
        room_id: "hall".into(),
        username: "bob".into(),
        content: format!("line {message_id}"),
        message_id,
        ..ChatMsg::default()
    }
}

/// Goal: a line that came live and is in the history too is shown once, also where the server is too busy to say what is
/// unread.
#[test]
fn a_line_of_the_history_is_shown_once() {
    let home = tempfile::tempdir().unwrap();
    let (listener, server) = listen();
    let answering = std::thread::spawn(move || {
        let busy =
            Status { status_code: StatusCode::StatusTryAgain as i32, message: "busy".into(), ..Status::default() };
        answer(listener.accept().unwrap().0, |asked| match asked {
            Body::LoginRequest(_) => vec![(true, Body::LoginResponse(LoginResponse::default()))],
            Body::RoomAction(action) => {
                let state = RoomState {
                    action_type: action.action_type,
                    room_id: "hall".into(),
                    newest_line: 6,
                    ..RoomState::default()
                };
                vec![(true, Body::RoomState(state)), (false, Body::ChatMsg(line(7)))]
            }
            Body::ChatAction(action) if action.room_id == "hall" => {
                let lines = vec![line(7), line(6)];
                vec![
                    (true, Body::ChatState(ChatState { lines, ..ChatState::default() })),
                    (false, Body::ChatMsg(line(8))),
                ]
            }
            Body::ChatAction(action) if action.action() == ChatActionType::CaUnread => {
                vec![(true, Body::Status(busy.clone())), (false, kick())]
            }
            _ => vec![(true, Body::Status(busy.clone()))],
        });
    });
    let output = echomesh(home.path(), &["join", "hall", "--for", "60", "--plaintext", "--server", &server]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(shown.lines().collect::<Vec<_>>(), ["bob: line 6", "bob: line 7", "bob: line 8"], "{}", text(&output));
    answering.join().unwrap();
}

/// Goal: a database that was restored numbers its lines anew: they are shown.
#[test]
fn lines_of_a_restored_database_are_shown() {
    let home = tempfile::tempdir().unwrap();
    let (listener, server) = listen();
    let answering = std::thread::spawn(move || {
        for (newest_line, lines, then) in [(60, vec![line(60)], None), (2, Vec::new(), Some(line(3)))] {
            answer(listener.accept().unwrap().0, |asked| match asked {
                Body::LoginRequest(_) => vec![(true, Body::LoginResponse(LoginResponse::default()))],
                Body::RoomAction(action) => {
                    let (action_type, room_id) = (action.action_type, "hall".into());
                    let state = RoomState { action_type, room_id, newest_line, ..RoomState::default() };
                    vec![(true, Body::RoomState(state))]
                }
                Body::ChatAction(action)
                    if action.room_id == "hall" && action.action() == ChatActionType::CaHistory =>
                {
                    let lines = lines.clone();
                    let mut out = vec![(true, Body::ChatState(ChatState { lines, ..ChatState::default() }))];
                    if let Some(line) = then.clone() {
                        out.extend([(false, Body::ChatMsg(line)), (false, kick())]);
                    }
                    out
                }
                // What is unread is told, and where direct lines begin.
                Body::ChatAction(action) if then.is_some() || action.action() != ChatActionType::CaSeen => {
                    vec![(true, Body::ChatState(ChatState::default()))]
                }
                // The first connection ends with the mark that the history was seen.
                _ => Vec::new(),
            });
        }
    });
    let output = echomesh(home.path(), &["join", "hall", "--for", "60", "--plaintext", "--server", &server]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(shown.lines().collect::<Vec<_>>(), ["bob: line 60", "bob: line 3"], "{}", text(&output));
    answering.join().unwrap();
}

/// Goal: the certificate of first use is pinned, holds, and a changed one is refused before the password
/// is sent. Method: two certificates in turn on one port.
#[test]
fn a_changed_certificate_ends_with_4() {
    let home = tempfile::tempdir().unwrap();
    let (listener, server) = listen();
    let first = tls_server(&listener);
    let output = echomesh(home.path(), &["rooms", "--server", &server]);
    assert_eq!(code(&output), 1, "the login is refused, the server trusted: {}", text(&output));
    first.join().unwrap();
    let known = home.path().join(".local/share/echomesh/known_servers");
    assert!(std::fs::read_to_string(&known).unwrap().contains(&server));
    let changed = tls_server(&listener);
    let output = echomesh(home.path(), &["rooms", "--server", &server]);
    assert_eq!(code(&output), 4, "{}", text(&output));
    assert!(text(&output).contains(known.to_str().unwrap()), "says what to edit: {}", text(&output));
    changed.join().unwrap();
}

/// Goal: `--fingerprint` refuses any other certificate, first use or not, and pins nothing.
#[test]
fn another_fingerprint_ends_with_4() {
    let home = tempfile::tempdir().unwrap();
    let (listener, server) = listen();
    let serving = tls_server(&listener);
    let output = echomesh(home.path(), &["rooms", "--server", &server, "--fingerprint", &"00".repeat(32)]);
    assert_eq!(code(&output), 4, "{}", text(&output));
    serving.join().unwrap();
    assert!(!home.path().join(".local").exists());
}
