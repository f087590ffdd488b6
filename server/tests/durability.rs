//! What was acknowledged stays, whatever ends: our process, or the database's. On SQLite and on PostgreSQL.
//!
//! `ECHOMESH_KILLS` sets how often the server is killed, `ECHOMESH_OUTAGE_S` how long PostgreSQL is stopped, for
//! longer trials by hand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};

use echomesh_proto::control::{Body, EchoMsg, StatusCode};
use running::postgres::Postgres;
use running::voice::Voice;
use running::{Client, Server, chat, command};

/// Most that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines a round, sent at once.
const LINES: usize = 60;

/// A number from the environment, for trials by hand.
fn asked_for(name: &str) -> Option<u32> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Kills the server in the middle of chat, again and again on one database. Each acknowledged line must be there,
/// once and as it was: a resend with its client_id returns it.
fn kill_in_mid_chat(rounds: u32, database: &[&str]) {
    let rounds = asked_for("ECHOMESH_KILLS").unwrap_or(rounds);
    let directory = tempfile::tempdir().unwrap();
    // Lines come as fast as they can be written.
    let quick = ["--port", "0", "--shards", "2", "--requests-per-second", "0"];
    let arguments: Vec<&str> = quick.iter().chain(database).copied().collect();
    let mut acknowledged: Vec<(String, u64)> = Vec::new();
    for round in 0..=rounds {
        let server = Server::start(directory.path(), &arguments);
        let mut client = server.member("ada", "hall");
        for (id, message_id) in &acknowledged {
            client.send(chat("hall", "resent", id));
            let Some(Body::ChatMsg(line)) = client.next() else { panic!("line {id} is refused") };
            assert_eq!((line.message_id, line.content), (*message_id, format!("text {id}")), "round {round}");
        }
        if round == rounds {
            // The last look.
            break;
        }
        let mut writer = client.stream.try_clone().unwrap();
        for line in 0..LINES {
            let id = format!("{round}-{line}");
            let mut frame = Vec::new();
            EchoMsg::new(0, chat("hall", &format!("text {id}"), &id)).append_frame(&mut frame);
            writer.write_all(&frame).unwrap();
        }
        let wanted = 5 * round as usize % LINES + 1;
        for _ in 0..wanted {
            let Some(Body::ChatMsg(line)) = client.next() else { panic!("no acknowledgement") };
            acknowledged.push((line.client_id, line.message_id));
        }
        server.kill();
        // What was acknowledged before the connection broke counts too.
        while let Some(Body::ChatMsg(line)) = client.next() {
            acknowledged.push((line.client_id, line.message_id));
        }
    }
    let mut numbers: Vec<u64> = acknowledged.iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    assert!(numbers.is_sorted_by(|one, next| one < next), "a number was given twice");
    println!("{rounds} kills, {} acknowledged lines, all there", numbers.len());
}

/// Goal: no acknowledged line is lost by SIGKILL in the middle of chat, and none is stored twice.
#[test]
fn sigkill_loses_no_acknowledged_line() {
    kill_in_mid_chat(10, &[]);
}

/// Goal: the same with PostgreSQL, whose sessions outlive our process for a moment; the next start waits for
/// the lock.
#[test]
fn sigkill_loses_no_acknowledged_line_on_postgres() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    kill_in_mid_chat(4, &["--database", &url]);
    let twice = "SELECT count(*) FROM (SELECT 1 FROM chat_lines GROUP BY content HAVING count(*) > 1) AS twice";
    assert_eq!(postgres.sql(&url, twice), "0");
}

/// Who chats while PostgreSQL comes and goes.
struct Chatter {
    client: Client,
    sent: u32,
    acknowledged: Vec<(String, u64)>,
    refused: u32,
}

impl Chatter {
    /// One line, and the answer to it: whether it is stored.
    fn chat(&mut self) -> bool {
        let id = format!("line {}", self.sent);
        self.sent += 1;
        self.client.send(chat("hall", &format!("text {id}"), &id));
        loop {
            match self.client.next().expect("an answer") {
                Body::ChatMsg(line) if line.client_id == id => {
                    self.acknowledged.push((id, line.message_id));
                    return true;
                }
                Body::Status(status) => {
                    assert_eq!(status.status_code, StatusCode::StatusTryAgain as i32, "{status:?}");
                    self.refused += 1;
                    return false;
                }
                _ => {}
            }
        }
    }
}

/// Two who talk: each packet must arrive, and in order.
struct Talk {
    speaker: Voice,
    listener: Voice,
    /// Said and not heard yet.
    under_way: VecDeque<Vec<u8>>,
    heard: u32,
}

impl Talk {
    fn start(server: &Server, clients: &mut [Client; 2]) -> Self {
        let [mut speaker, mut listener] = clients.each_mut().map(|client| Voice::open(server, client, "hall"));
        let start = Instant::now();
        // Until the way is known, packets may be lost.
        loop {
            assert!(start.elapsed() < PATIENCE, "no voice");
            listener.report();
            speaker.say(b"hello");
            if listener.hear().is_some() {
                break;
            }
        }
        while listener.hear().is_some() {}
        Self { speaker, listener, under_way: VecDeque::new(), heard: 0 }
    }

    /// One packet, and waits until it is there.
    fn exchange(&mut self, start: Instant) {
        let said = format!("packet {}", self.heard).into_bytes();
        self.speaker.say(&said);
        self.under_way.push_back(said);
        while let Some(expected) = self.under_way.front() {
            assert!(start.elapsed() < PATIENCE + outage(), "packet {} is lost", self.heard);
            if let Some((_, payload)) = self.listener.hear() {
                assert_eq!(&payload, expected, "a packet is lost");
                self.under_way.pop_front();
                self.heard += 1;
            }
        }
    }
}

/// How long PostgreSQL is stopped at least.
fn outage() -> Duration {
    Duration::from_secs(asked_for("ECHOMESH_OUTAGE_S").unwrap_or(1).into())
}

/// Goal: while PostgreSQL is stopped, chat answers "try again" at once and voice goes on without a packet lost;
/// when it is back, chat is stored again within moments, and each acknowledged line is there once.
/// Method: two talk and a third chats, each as fast as answers come.
#[test]
fn stopping_postgres_loses_no_voice_and_no_acknowledged_line() {
    let postgres = Postgres::start_new();
    let url = postgres.database();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "2", "--database", &url]);
    let mut clients = ["ada", "bob"].map(|name| server.member(name, "hall"));
    let mut talk = Talk::start(&server, &mut clients);
    let client = server.member("eve", "hall");
    let mut chatter = Chatter { client, sent: 0, acknowledged: Vec::new(), refused: 0 };
    let start = Instant::now();
    for _ in 0..50 {
        assert!(chatter.chat());
        talk.exchange(start);
    }
    postgres.stop();
    let stopped = Instant::now();
    let mut slowest = Duration::ZERO;
    while chatter.refused < 50 || stopped.elapsed() < outage() {
        let asked = Instant::now();
        assert!(!chatter.chat(), "nobody can have stored that");
        slowest = slowest.max(asked.elapsed());
        talk.exchange(start);
    }
    let heard = talk.heard;
    postgres.start();
    let back = Instant::now();
    while !chatter.chat() {
        assert!(back.elapsed() < PATIENCE, "chat does not come back");
        talk.exchange(start);
    }
    let returned = back.elapsed();
    for _ in 0..50 {
        assert!(chatter.chat());
        talk.exchange(start);
    }
    for (id, message_id) in std::mem::take(&mut chatter.acknowledged) {
        chatter.client.send(chat("hall", "resent", &id));
        let line = loop {
            if let Some(Body::ChatMsg(line)) = chatter.client.next() {
                break line;
            }
        };
        assert_eq!((line.message_id, line.content), (message_id, format!("text {id}")));
    }
    println!(
        "away {:?}: {} lines refused, the slowest after {slowest:?}; {heard} voice packets heard by then, none lost;          chat stored {returned:?} after the return",
        back.duration_since(stopped),
        chatter.refused
    );
    assert_eq!(postgres.sql(&url, "SELECT count(*) = count(DISTINCT content) FROM chat_lines"), "t");
    server.stop();
}

/// Goal: an operator sees where the data is, and never the password: in the summary, in --help, or in a refusal.
#[test]
fn the_password_is_shown_nowhere() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1", "--database", &url]);
    assert!(server.summary.contains("  database     postgres:///test"), "{}", server.summary);
    assert!(!server.summary.contains("s3cret"), "{}", server.summary);
    for (arguments, part) in [(&["--help"][..], "ECHOMESH_DATABASE"), (&["--port", "0"], "another echomesh-server")] {
        let other = tempfile::tempdir().unwrap();
        let output = command(other.path(), arguments).env("ECHOMESH_DATABASE", &url).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(text.contains(part) && !text.contains("s3cret"), "{text}");
    }
    server.stop();
}
