//! What the real server tells of voice and of TLS in its metrics, against what was done to it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use running::voice::Voice;
use running::{Client, Server};

/// Most that all may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn scrape(server: &Server) -> String {
    let url =
        server.summary.split_whitespace().find_map(|word| word.strip_prefix("http://")).expect("where metrics are");
    let mut stream = TcpStream::connect(url.split('/').next().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A series of the only shard.
fn figure(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{shard=\"0\"}} ")));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
}

/// Goal: each packet that goes on is in the histogram of forwarding once, however many hear it, with a time that can
/// be; and packets, bytes and speakers are what was sent and heard.
#[test]
fn voice_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1", "--admin", "127.0.0.1:0"]);
    let mut clients: Vec<Client> = ["ada", "bob", "eve"].map(|name| server.member(name, "hall")).into();
    let mut voices: Vec<Voice> = clients.iter_mut().map(|client| Voice::open(&server, client, "hall")).collect();
    let begun = Instant::now();
    let (mut said, mut text) = (0, String::new());
    // All three are heard of, and a tick has published what they did.
    while text.is_empty() || figure(&text, "echomesh_forwarding_seconds_count") < 20.0 {
        assert!(begun.elapsed() < PATIENCE, "{said} packets and\n{text}");
        voices.iter_mut().skip(1).for_each(Voice::report);
        voices[0].say(&[7; 60]);
        said += 1;
        text = scrape(&server);
    }
    // What is under way arrives.
    while figure(&text, "echomesh_voice_received_total") < f64::from(said) {
        assert!(begun.elapsed() < PATIENCE, "{text}");
        text = scrape(&server);
    }
    let [fanned_out, forwarded, count, sum, turns] = [
        "echomesh_voice_fanned_out_total",
        "echomesh_voice_forwarded_total",
        "echomesh_forwarding_seconds_count",
        "echomesh_forwarding_seconds_sum",
        "echomesh_turn_seconds_count",
    ]
    .map(|name| figure(&text, name));
    assert_eq!(count, fanned_out, "each packet once");
    assert!(forwarded > fanned_out, "to more than one listener");
    assert!(sum > 0.0 && sum < begun.elapsed().as_secs_f64() * count, "{sum} s for {count} packets");
    assert!(turns >= 20.0);
    let [sent, sent_bytes, received, received_bytes] = [
        "echomesh_datagrams_sent_total",
        "echomesh_udp_sent_bytes_total",
        "echomesh_datagrams_received_total",
        "echomesh_udp_received_bytes_total",
    ]
    .map(|name| figure(&text, name));
    // 60 bytes of payload and 16 of tag at least in each of voice.
    assert!(sent >= forwarded && sent_bytes > forwarded * 76.0, "{sent} datagrams, {sent_bytes} bytes");
    assert!(received >= f64::from(said) && received_bytes > f64::from(said) * 76.0);
    assert!(figure(&text, "echomesh_cpu_seconds_total") > 0.0);
    assert!(figure(&text, "echomesh_store_seconds_count") >= 4.0, "three logins, a room");
    assert!(figure(&text, "echomesh_hash_seconds_count") >= 3.0, "three passwords");
    drop(clients);
    server.stop();
}

/// Goal: a client that says hello and then nonsense is a handshake that failed, and none that was done.
#[test]
fn a_failed_handshake_shows() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1"]);
    let mut stream = server.connect().stream;
    // A handshake record of four bytes that are no ClientHello.
    stream.write_all(&[0x16, 3, 1, 0, 4, 99, 0, 0, 0]).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let totals = server.stop();
    assert!(totals.contains("\"tls_handshakes\":{\"failed\":1}"), "{totals}");
}
