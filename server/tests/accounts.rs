//! Accounts over the real server: the operator's commands beside it, an invitation, a device token, a restart.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::path::Path;

use echomesh_proto::control::{Account, AccountAction, Body, LoginRequest, LoginResponse, Role, StatusCode, Who};
use running::{Client, Server, command, login};

/// With any number of requests: a test asks again until it sees what it waits for.
const QUICK: [&str; 10] = [
    "--port",
    "0",
    "--shards",
    "2",
    "--password-memory-kib",
    "8",
    "--registration",
    "invitation",
    "--requests-per-second",
    "0",
];

/// What a command prints, as it is done.
fn run(data_dir: &Path, arguments: &[&str]) -> String {
    let output = command(data_dir, arguments).output().unwrap();
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

/// The value of a name in an object.
fn value<'a>(json: &'a str, name: &str) -> &'a str {
    let (_, rest) = json.split_once(&format!("\"{name}\":")).unwrap();
    rest.split(['"', ',', '}']).find(|part| !part.is_empty()).unwrap()
}

fn log_in(server: &Server, body: Body) -> (Client, LoginResponse) {
    let mut client = server.connect();
    client.send(body);
    match client.next().unwrap() {
        Body::LoginResponse(response) => (client, response),
        other => panic!("{other:?}"),
    }
}

fn invited(name: &str, code: &str) -> Body {
    Body::LoginRequest(LoginRequest {
        username: name.into(),
        password: "secret".into(),
        invitation: code.into(),
        ..LoginRequest::default()
    })
}

fn by_token(token: &str) -> Body {
    Body::LoginRequest(LoginRequest { token: token.into(), ..LoginRequest::default() })
}

/// Goal: an operator makes the owner and an invitation while the server runs; the code makes one account and no more;
/// a token logs in, also after the server was killed; a password set on the machine ends sessions, a ban too
/// (PROTOCOL M61, M62, M68).
#[test]
fn the_operator_and_a_running_server() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Server::start(data, &QUICK);
    let ada = run(data, &["user", "create", "ada", "--json"]);
    let password = value(&ada, "password").to_owned();
    let (mut owner, welcome) = log_in(&server, login("ada", &password));
    assert_eq!(welcome.status_code(), StatusCode::StatusOk, "{}", welcome.message);
    run(data, &["owner", "ADA"]);
    loop {
        owner.send(Body::Who(Who::default()));
        let Some(Body::Who(who)) = owner.next() else { panic!("who") };
        if who.role() == Role::Owner {
            break;
        }
        std::thread::yield_now();
    }
    let code = run(data, &["invite", "create", "--json"]);
    let code = value(&code, "code");
    assert!(log_in(&server, invited("tim", code)).1.account_created);
    assert_eq!(log_in(&server, invited("eve", code)).1.status_code(), StatusCode::StatusRegistrationClosed);
    let users = run(data, &["user", "list", "--json"]);
    assert!(users.contains("\"name\":\"ada\",\"role\":\"owner\"") && users.contains("\"name\":\"tim\""), "{users}");
    owner.send(Body::Account(Account { action: AccountAction::AaNewToken as i32, ..Account::default() }));
    let Some(Body::AccountState(made)) = owner.next() else { panic!("no token") };
    server.kill();

    let server = Server::start(data, &QUICK);
    let (mut device, welcome) = log_in(&server, by_token(&made.secret));
    assert_eq!((welcome.status_code(), welcome.username.as_str()), (StatusCode::StatusOk, "ada"));
    run(data, &["user", "password", "ada", "--json"]);
    assert!(matches!(device.next(), Some(Body::Status(status)) if status.status_code() == StatusCode::StatusKicked));
    assert!(device.next().is_none(), "the connection is closed");
    let (mut tim, _) = log_in(&server, login("tim", "secret"));
    run(data, &["ban", "add", "tim", "--reason", "spam"]);
    assert!(matches!(tim.next(), Some(Body::Status(status)) if status.message.contains("spam")));
    assert!(run(data, &["ban", "list", "--json"]).contains("\"user\":\"tim\""));
    run(data, &["ban", "remove", "1"]);
    server.stop();
}

/// Goal: a command that cannot be done says why and what to do, and ends with its exit code.
#[test]
fn refusals_of_commands() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str]| {
        let output = command(directory.path(), arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = refused(&["user", "list"]);
    assert!(code == Some(1) && text.contains("--data-dir"), "{text}");
    Server::start(directory.path(), &QUICK).stop();
    run(directory.path(), &["user", "create", "ada", "--role", "owner"]);
    for (arguments, code, told) in [
        (&["user", "show", "tim"][..], 1, "user list"),
        (&["user", "create", "ada"], 1, "already"),
        (&["user", "create", " "], 2, "space"),
        (&["user", "role", "ada", "member"], 1, "only owner"),
        (&["user", "delete", "ada"], 1, "only owner"),
        (&["ban", "add", "ada"], 2, "owner"),
        (&["ban", "add", "--address", "127.0.0.1"], 2, "own machine"),
        (&["ban", "remove", "9"], 1, "list"),
        (&["invite", "revoke", "9"], 1, "list"),
        (&["invite", "create", "--uses", "0"], 2, "1..=1000"),
    ] {
        let (found, text) = refused(arguments);
        assert!(found == Some(code) && text.contains(told), "{arguments:?}: {found:?} {text}");
    }
}
