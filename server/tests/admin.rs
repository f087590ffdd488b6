//! The admin page of the real server, as a browser and those who mean ill use it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use echomesh_proto::control::{Body, Who};
use running::page::{Page, person};
use running::postgres::Postgres;
use running::voice::Voice;
use running::{Server, chat, command, login};
use tempfile::TempDir;

const SETTINGS: [&str; 8] =
    ["--port", "0", "--admin", "127.0.0.1:0", "--password-memory-kib", "8", "--password-passes", "1"];

fn start(directory: &Path, more: &[&str]) -> Server {
    Server::start(directory, &[&SETTINGS[..], more].concat())
}

fn data(directory: &TempDir) -> [&str; 2] {
    ["--data-dir", directory.path().to_str().unwrap()]
}

/// Accounts are made by their first login; then the commands on the machine give the role.
fn account(store: &[&str], server: &Server, name: &str, role: &str) {
    let mut client = server.connect();
    client.send(login(name, "secret"));
    assert!(matches!(client.next(), Some(Body::LoginResponse(response)) if response.status_code == 0));
    drop(client);
    let command_of = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echomesh-server"));
        command.args(store).args(arguments).output().unwrap()
    };
    let output = match role {
        "member" => return,
        "owner" => command_of(&["owner", name]),
        _ => command_of(&["user", "role", name, role]),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Goal: nothing but owners and admins gets in, by a cookie that scripts and other sites cannot use; without it nothing
/// is told; a wrong name makes no account.
#[test]
fn owners_and_admins_get_in_and_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &["--shards", "2", "--server-name", "Harbour"]);
    for (name, role) in [("olga", "owner"), ("ann", "admin"), ("mo", "moderator")] {
        account(&data(&directory), &server, name, role);
    }
    let mut page = Page::of(&server);
    assert_eq!(page.get("/").status, 200);
    assert!(!page.get("/").body.contains("Harbour"), "nothing is told before a login");
    for path in ["/api/state", "/api/state?filter=olga"] {
        let answer = page.get(path);
        assert_eq!((answer.status, answer.message().as_str()), (401, "log in first"));
    }
    let wrong = page.log_in("olga", "guess");
    let unknown = page.log_in("nobody", "secret");
    for answer in [&wrong, &unknown] {
        assert_eq!((answer.status, answer.message().as_str()), (401, "wrong name or password"));
        assert_eq!(answer.header("set-cookie"), "");
    }
    let moderator = page.log_in("mo", "secret");
    assert_eq!(moderator.status, 403);
    assert!(moderator.message().contains("only admins and owners"), "{}", moderator.body);
    let answer = page.log_in("ann", "secret");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let cookie = answer.header("set-cookie");
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "plain HTTP on loopback: {cookie}");
    assert_eq!((page.cookie.len(), page.token.len()), (64, 64));
    let state = page.state();
    assert_eq!(state["server"]["name"], "Harbour");
    assert_eq!((state["you"]["role"].as_str(), state["you"]["may_drain"].as_bool()), (Some("admin"), Some(false)));
    assert!(state["sessions"].as_array().unwrap().iter().all(|session| session["name"] != "nobody"));
    let answer = page.post("/api/logout", "{}");
    assert!(answer.header("set-cookie").contains("Max-Age=0"), "{:?}", answer.headers);
    assert_eq!(page.get("/api/state").status, 401);
    // The name that was refused is still free.
    let mut client = server.connect();
    client.send(login("nobody", "other"));
    assert!(matches!(client.next(), Some(Body::LoginResponse(response)) if response.account_created));
    server.stop();
}

/// Goal: another site in the same browser reaches nothing: not by forms, not by another origin, not by a name that it
/// points here; a cookie without the page's token opens nothing, nor a token without the cookie.
#[test]
fn other_sites_reach_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &["--shards", "1"]);
    account(&data(&directory), &server, "olga", "owner");
    let page = Page::open(&server, "olga");
    let (json, drain) = ("Content-Type: application/json\r\n", "/api/drain");
    let foreign = [
        "Content-Type: text/plain\r\n".to_owned(),
        "Content-Type: application/x-www-form-urlencoded\r\n".to_owned(),
        String::new(),
        format!("{json}Origin: http://evil.example\r\n"),
        format!("{json}Origin: null\r\n"),
        format!("{json}Sec-Fetch-Site: cross-site\r\n"),
        format!("{json}Sec-Fetch-Site: same-site\r\n"),
    ];
    for headers in &foreign {
        assert_eq!(page.post_with(drain, "{}", headers).status, 403, "{headers}");
    }
    for half in [Page { token: String::new(), ..page.clone() }, Page { cookie: "0".repeat(64), ..page.clone() }] {
        assert_eq!(half.post(drain, "{}").status, 401);
        assert_eq!(half.get("/api/state").status, 401);
    }
    let host = |name: &str, path: &str| page.raw(&format!("GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n"));
    for path in ["/", "/app.js", "/api/state"] {
        assert_eq!(host("evil.example:8889", path).status, 421, "{path}");
    }
    assert_eq!(host("evil.example", "/healthz").status, 200, "a probe may use any name");
    assert_eq!(host("localhost:9000", "/").status, 200, "a tunnel has another port");
    for path in ["/", "/app.js", "/style.css", "/icon.svg", "/api/state"] {
        let answer = page.get(path);
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), if path.starts_with("/api") { "no-store" } else { "no-cache" });
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    // Nothing of it has stopped the server.
    assert_eq!(page.state()["server"]["stopping"], false);
    server.stop();
}

/// Goal: who guesses is slowed down and told for how long; a right password does not help before that; so much for what
/// is too long or makes no sense.
#[test]
fn guesses_and_nonsense_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &["--shards", "1"]);
    account(&data(&directory), &server, "olga", "owner");
    let mut page = Page::of(&server);
    for _ in 0..5 {
        assert_eq!(page.log_in("olga", "guess").status, 401);
    }
    let answer = page.log_in("olga", "secret");
    assert_eq!(answer.status, 429, "{}", answer.body);
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    assert!(answer.message().contains("try again in"), "{}", answer.body);
    for (body, status) in [("{", 400), (r#"{"name":"olga"}"#, 400), ("[]", 400), ("", 400)] {
        assert_eq!(page.post("/api/login", body).status, status, "{body}");
    }
    let long = format!(r#"{{"name":"olga","password":"{}"}}"#, "x".repeat(9_000));
    assert_eq!(page.post("/api/login", &long).status, 413);
    // One that promises a body and sends none, and one that says nothing, keep nobody else waiting.
    let mut halves: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(&page.address).unwrap()).collect();
    halves[0].write_all(b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n").unwrap();
    assert_eq!(page.get("/readyz").body, "ok\n");
    // It is answered in the end, or closed.
    let _ = halves[0].read(&mut [0; 16]);
    server.stop();
}

/// Goal: who speaks shows as speaking and who listens does not, on whichever shard; a kick puts the member out, a mute
/// holds, both as the kernel has it, and in its audit log; ranks hold: an admin does not act on an owner.
#[test]
fn speakers_show_and_acts_are_the_kernels() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &["--shards", "2", "--spread-after", "1"]);
    for (name, role) in [("olga", "owner"), ("ann", "admin")] {
        account(&data(&directory), &server, name, role);
    }
    let mut clients = ["ada", "bob", "olga"].map(|name| server.member(name, "hall"));
    let [mut ada, mut bob, _] = clients.each_mut().map(|client| Voice::open(&server, client, "hall"));
    bob.report();
    let page = Page::open(&server, "ann");
    let state = page.state_with("ada speaks", |state| {
        ada.say(&[7; 80]);
        person(state, "hall", "ada").is_some_and(|ada| ada["talking"] == true)
    });
    assert_eq!(person(&state, "hall", "bob").unwrap()["talking"], false);
    assert_eq!(state["shards"].as_array().unwrap().len(), 2);
    let act = |what: &str, name: &str| {
        let session = person(&state, "hall", name).unwrap()["session"].as_str().unwrap();
        page.post("/api/act", &format!(r#"{{"act":"{what}","room":"hall","session":"{session}","reason":"a test"}}"#))
    };
    assert_eq!(act("mute", "ada").status, 200);
    page.state_with("ada is muted", |state| {
        ada.say(&[7; 80]);
        let ada = person(state, "hall", "ada").unwrap();
        ada["server_muted"] == true && ada["talking"] == false
    });
    let refused = act("kick", "olga");
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert_eq!(act("kick", "bob").status, 200);
    page.state_with("bob is out", |state| person(state, "hall", "bob").is_none());
    let removed = std::iter::from_fn(|| clients[1].next()).find_map(|body| match body {
        Body::RoomEvent(event) => event.deltas.into_iter().find(|delta| delta.reason == "a test"),
        _ => None,
    });
    assert_eq!(removed.expect("bob is told").by, "ann");
    let ban = page.post("/api/act", r#"{"act":"ban","name":"bob","seconds":3600}"#);
    assert_eq!(ban.status, 200, "{}", ban.body);
    assert!(std::iter::from_fn(|| clients[1].next()).count() < 100, "his connection ends");
    assert_eq!(page.post("/api/act", r#"{"act":"kick","name":"nobody"}"#).status, 404);
    assert_eq!(page.post("/api/drain", "{}").status, 403, "admins do not stop the server");
    let filtered = page.get("/api/state?filter=ADA").json();
    let names: Vec<&str> =
        filtered["sessions"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["ada"]);
    server.stop();
}

/// Goal: who is no admin any more is out within seconds, though the page stays open; who is kicked by another, too.
#[test]
fn a_lost_role_ends_the_session() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &["--shards", "1"]);
    for (name, role) in [("ann", "admin"), ("abe", "admin"), ("olga", "owner")] {
        account(&data(&directory), &server, name, role);
    }
    let (ann, abe, olga) = (Page::open(&server, "ann"), Page::open(&server, "abe"), Page::open(&server, "olga"));
    let kick = olga.post("/api/act", r#"{"act":"kick","name":"abe"}"#);
    assert_eq!(kick.status, 200, "{}", kick.body);
    account(&data(&directory), &server, "ann", "moderator");
    for page in [ann, abe] {
        let ended = (0..100_000).map(|_| page.get("/api/state")).find(|answer| answer.status != 200);
        assert_eq!(ended.expect("it ends").status, 401);
    }
    assert_eq!(olga.get("/api/state").status, 200);
    server.stop();
}

/// Goal: health and readiness tell programs how it is; an owner stops the server from the page, and it is not ready from
/// then on. Method: a line of chat waits for a table that another program holds, so that the end takes a while.
#[test]
fn an_owner_stops_the_server() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &["--shards", "1", "--drain-seconds", "60", "--database", &url]);
    account(&["--database", &url], &server, "olga", "owner");
    let page = Page::open(&server, "olga");
    for path in ["/healthz", "/readyz"] {
        let answer = page.get(path);
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{path}");
    }
    assert_eq!(page.state()["you"]["may_drain"], true);
    let mut client = server.member("ada", "hall");
    let held = postgres.hold_lines(&url);
    client.send(chat("hall", "under way", ""));
    client.send(Body::Who(Who::default()));
    assert!(matches!(client.next(), Some(Body::Who(_))), "the line is under way");
    let answer = page.post("/api/drain", "{}");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let stopping = (0..100_000).map(|_| page.get("/readyz")).find(|answer| answer.status != 200).expect("it stops");
    assert_eq!((stopping.status, stopping.body.as_str()), (503, "stopping: no new logins\n"));
    assert_eq!(page.get("/healthz").status, 200, "it lives, and answers what was begun");
    assert_eq!(page.state()["server"]["stopping"], true);
    drop(held);
    assert!(std::iter::from_fn(|| client.next()).any(|body| matches!(body, Body::ChatMsg(_))), "it was answered");
    let totals = server.ended();
    assert!(totals.contains("\"totals\""), "{totals}");
}

/// Goal: while the database is away the server lives and is not ready; once it is back, it is.
#[test]
fn readiness_follows_the_database() {
    let postgres = Postgres::start_new();
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &["--shards", "1", "--database", &postgres.database()]);
    let page = Page::of(&server);
    let until = |status: u16| {
        let answers = (0..1_000_000).map(|_| page.get("/readyz"));
        answers.into_iter().find(|answer| answer.status == status).expect("it comes to that").body
    };
    assert_eq!(until(200), "ok\n");
    postgres.stop();
    assert_eq!(until(503), "the database does not answer: see the log\n");
    assert_eq!(page.get("/healthz").status, 200);
    postgres.start();
    assert_eq!(until(200), "ok\n");
    server.stop();
}

/// Goal: on an address that others can reach the page is HTTPS: what speaks plain HTTP there gets nothing.
#[test]
fn elsewhere_the_page_is_https() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1", "--admin", "0.0.0.0:0"]);
    let line = server.summary.lines().find(|line| line.trim().starts_with("admin page")).unwrap();
    let port = line.trim_end_matches('/').rsplit(':').next().unwrap();
    assert!(line.contains("https://0.0.0.0:"), "{line}");
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    server.stop();
}

/// Goal: a default address that is taken costs the page, not the start, and the log says what to do.
#[test]
fn a_taken_default_is_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    // Whoever has it, it is taken.
    let _holder = std::net::TcpListener::bind("127.0.0.1:8889");
    let mut command = command(directory.path(), &["--port", "0", "--shards", "1"]);
    let log = directory.path().join("log");
    command.env_remove("ECHOMESH_ADMIN").stderr(std::fs::File::create(&log).unwrap());
    let server = Server::start_with(&mut command);
    assert!(!server.summary.contains("admin page"), "{}", server.summary);
    server.stop();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("no admin page") && log.contains("--admin off"), "{log}");
}
