//! The metrics of the real server, read over a real socket as Prometheus reads them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use running::{Server, command};

/// Scrapes until a figure shows, each at least a round trip: far more than a tick of 50 ms.
const SCRAPES_MAX: usize = 100_000;

fn address(server: &Server) -> String {
    let line = server.summary.lines().find_map(|line| line.strip_prefix("  metrics      http://"));
    line.expect("a line of the summary").strip_suffix("/metrics").unwrap().to_owned()
}

/// The answer to a request, head and body.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn scrape(address: &str) -> String {
    let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("version=0.0.4"), "{answer}");
    answer
}

fn figure(text: &str, series: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
}

/// Goal: what happens shows, under the label of the shard where it does, on both shards. Method: members
/// join and stay until each shard has accepted one; scrapes until the figures have come to that.
#[test]
fn counters_of_every_shard_appear() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(
        directory.path(),
        &["--port", "0", "--shards", "2", "--admin", "127.0.0.1:0", "--password-memory-kib", "8"],
    );
    let address = address(&server);
    let logins = |text: &str| [0, 1].map(|shard| figure(text, &format!("echomesh_logins_total{{shard=\"{shard}\"}}")));
    let open = |text: &str| {
        [0, 1].map(|shard| figure(text, &format!("echomesh_connections{{shard=\"{shard}\"}}"))).iter().sum::<u64>()
    };
    let mut members = Vec::new();
    let mut text = scrape(&address);
    while logins(&text).contains(&0) {
        assert!(members.len() < 64, "64 connections on one of two shards");
        members.push(server.member(&format!("member{}", members.len()), "hall"));
        let wanted = members.len() as u64;
        text = (0..SCRAPES_MAX)
            .map(|_| scrape(&address))
            // Cells are not all of one tick.
            .find(|text| logins(text).iter().sum::<u64>() == wanted && open(text) == wanted)
            .expect("the logins show, and the connections");
    }
    assert!(text.contains("# HELP echomesh_voice_received_total "), "{text}");
    members.clear();
    let text = (0..SCRAPES_MAX).map(|_| scrape(&address)).find(|text| open(text) == 0).expect("they leave");
    assert!(text.contains("echomesh_connections_closed_total{shard=\"0\",reason=\"peer_closed\"}"), "{text}");
    server.stop();
}

/// Goal: nothing but what there is is served, and half a request, or one that is too long, harms nobody.
#[test]
fn other_requests_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1", "--admin", "127.0.0.1:0"]);
    let address = address(&server);
    let mut half = TcpStream::connect(&address).unwrap();
    half.write_all(b"GET /metr").unwrap();
    for request in ["GET /metric", "POST /metrics", "GET /../metrics", "GET /app.js.map", "DELETE /api/state"] {
        let answer = ask(&address, &format!("{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("/metrics"), "{answer}");
    }
    // Its bound and no end: nothing is left unread, which would turn the answer into a reset.
    let head = "GET /metrics HTTP/1.1\r\nX: ";
    let long = format!("{head}{}", "x".repeat(8 * 1024 - head.len()));
    assert!(ask(&address, &long).starts_with("HTTP/1.1 431 "), "too long");
    scrape(&address);
    server.stop();
}

/// Goal: an address that is taken is refused at start with what to do, and with `--admin off` nothing is served.
#[test]
fn a_taken_address_is_refused() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1", "--admin", "127.0.0.1:0"]);
    let output = command(other.path(), &["--port", "0", "--admin", &address(&server)]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("Choose a free port"), "{error}");
    server.stop();
    let silent = Server::start(other.path(), &["--port", "0", "--shards", "1", "--admin", "off"]);
    assert!(!silent.summary.contains("http"), "{}", silent.summary);
    silent.stop();
}
