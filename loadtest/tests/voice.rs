//! The load tool against the real server, end to end: a small load that everything must survive.
//!
//! The server's program is another package's: the one that lies where cargo puts programs, or `ECHOMESH_SERVER`. If it
//! is not there yet, cargo is asked to build it.

use std::path::PathBuf;
use std::process::Command;

use echomesh_loadtest::bench::Bench;
use echomesh_loadtest::load::{Load, Talk, Times};
use echomesh_loadtest::payload::Payload;
use echomesh_loadtest::progress::Progress;
use echomesh_loadtest::results::{Outcome, Report};
use echomesh_loadtest::server::{Hashing, Server, Start};
use echomesh_loadtest::{chat, churn, idle, logins, run};

fn server_program() -> PathBuf {
    if let Some(path) = std::env::var_os("ECHOMESH_SERVER") {
        return path.into();
    }
    let path = PathBuf::from(env!("CARGO_BIN_EXE_echomesh-loadtest")).with_file_name("echomesh-server");
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "-q", "-p", "echomesh-server"]);
        if path.parent().is_some_and(|folder| folder.ends_with("release")) {
            build.arg("--release");
        }
        assert!(build.status().is_ok_and(|status| status.success()), "the server does not build");
    }
    path
}

fn start(shards: u32) -> Server {
    let binary = server_program();
    let arguments: &[String] = &[];
    let start = Start { binary: &binary, shards, cores: Vec::new(), hashing: Hashing::Cheap, arguments };
    Server::start(&start).expect("the server starts")
}

fn bench(threads: usize) -> Bench {
    Bench { threads, cores: Vec::new(), connections: 16, logins: 8, progress: Progress::new(true) }
}

fn load(opened: f64) -> Load {
    Load { rooms: 2, members: 4, speakers: 2, payload: Payload::OpusVbr, talk: Talk::Continuous, opened }
}

const TIMES: Times = Times { warm_s: 0.2, measured_s: 0.6, drain_s: 0.5 };

/// Goal: every copy of every packet is expected, arrives once, is authenticated, and is counted alike by server and
/// tool. Method: two rooms, two shards, two threads of the tool.
#[test]
fn every_packet_is_accounted_for() {
    let server = start(2);
    let voice = run::voice(&bench(2), &server, "test", load(1.0), TIMES).unwrap();
    let step = voice.measured;
    assert!(step.sent >= 100 && step.expected == step.sent * 3, "{step:?}");
    assert_eq!((step.received, step.duplicates, step.open_failed), (step.expected, 0, 0), "{step:?}");
    assert_eq!(step.opened, step.received, "{step:?}");
    assert_eq!(step.latency_us.count, step.received);
    assert!(step.counters.is_none_or(|counters| counters.agrees && counters.tool_received > step.received));
    assert_eq!((voice.load.clients, voice.shards), (8, 2));
}

/// Goal: who opens a part counts all the same, and speakers who pause are not taken for loss.
#[test]
fn a_part_is_opened_and_silence_is_no_loss() {
    let server = start(1);
    let talk = Talk::Spurts { speech_s: 0.1, silence_s: 0.1 };
    let load = Load { talk, payload: Payload::Fixed(100), ..load(0.5) };
    let step = run::voice(&bench(1), &server, "test", load, TIMES).unwrap().measured;
    assert_eq!((step.received, step.loss), (step.expected, 0.0), "{step:?}");
    assert!(step.sent > 10 && step.sent < 110, "{step:?}");
    assert!(step.opened > 0 && step.opened < step.received, "{step:?}");
    assert_eq!(step.open_failed, 0);
}

/// Goal: the other workloads do what they say against one server, one after another, and their results survive JSON.
#[test]
fn the_other_workloads_run() {
    let (mut server, bench) = (start(1), bench(1));
    let others = logins::others(&bench, &server, 0.02).unwrap();
    assert_eq!(
        others.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        ["handshake", "handshake_resumed", "resume", "token"]
    );
    assert!(others.iter().all(|one| one.per_s > 0.0 && one.latency_us.count > 0), "{others:?}");
    let password = logins::passwords(&bench, &server, 0.05).unwrap();
    assert_eq!((password.count, password.latency_us.count), (5, 5));
    let idle = idle::run(&bench, &server, 12, 0.2).unwrap();
    assert!(idle.rss_kib > 0 && idle.messages_received >= 24, "{idle:?}");
    let chat = chat::run(&bench, &server, 5, Some(4), 0.3).unwrap();
    assert_eq!((chat.deliveries, chat.refused), (chat.lines_sent * 4, 0), "{chat:?}");
    assert_eq!((chat.acknowledge_us.count, chat.deliver_us.count), (chat.lines_sent, chat.deliveries));
    let churn = churn::run(&bench, &server, load(1.0), 1.5).unwrap();
    assert_eq!((churn.voice.received, churn.voice.open_failed), (churn.voice.expected, 0), "{churn:?}");
    assert!(churn.leaves > 0, "{churn:?}");
    let text = serde_json::to_string(&Outcome::Churn(churn.clone())).unwrap();
    assert!(text.starts_with("{\"kind\":\"churn\","), "{text}");
    let Outcome::Churn(read) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
    assert_eq!((read.leaves, read.voice.received), (churn.leaves, churn.voice.received));
    server.stop();
}

/// Goal: a server that is not there, or is no server, ends a run with a sentence that says what to do.
#[test]
fn failures_say_what_to_do() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_echomesh-loadtest")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(
        run(&["w1", "--quiet", "--server-binary", "/nowhere"]).contains("cargo build --release -p echomesh-server")
    );
    assert!(run(&["w1", "--quiet", "--server-binary", "/bin/false"]).contains("did not start"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    assert!(run(&["w1", "--quiet", "--server", &address]).contains("is the server running"));
}

/// Goal: the smoke run passes on a server that works, and writes a report that can be read.
#[test]
fn the_smoke_run_writes_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("smoke.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_echomesh-loadtest"));
    command.args(["--smoke", "--quiet", "--json"]).arg(&file).arg("--server-binary").arg(server_program());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Report = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(report.outcomes.len(), 4);
    assert!(report.server.started_by_tool && report.machine.cores > 0);
}
