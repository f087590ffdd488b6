//! Voice through the real server: sockets, steering, sealing and the mesh, as two clients see them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::time::{Duration, Instant};

use running::voice::Voice;
use running::{Client, Server};

/// Most that all may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Goal: members on one shard and across the mesh hear each other, each packet sealed for them, and
/// nobody hears themselves. Method: three members of a room that spreads after one stream over two
/// shards; each speaks until both others have heard it.
#[test]
fn members_hear_each_other_across_shards() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "2", "--spread-after", "1"]);
    let mut clients: Vec<Client> = ["ada", "bob", "eve"].map(|name| server.member(name, "hall")).into();
    let mut voices: Vec<Voice> = clients.iter_mut().map(|client| Voice::open(&server, client, "hall")).collect();
    let shards: std::collections::BTreeSet<_> = voices.iter().map(|voice| voice.ssrc.shard()).collect();
    assert_eq!(shards.len(), 2, "the room has spread");
    let deadline = Instant::now() + PATIENCE;
    for speaker in 0..voices.len() {
        let mut missing: Vec<usize> = (0..voices.len()).filter(|listener| *listener != speaker).collect();
        let (ssrc, payload) = (voices[speaker].ssrc, vec![speaker as u8 + 1; 80]);
        while !missing.is_empty() {
            assert!(Instant::now() < deadline, "{missing:?} do not hear {speaker}");
            for listener in &missing {
                voices[*listener].report();
            }
            voices[speaker].say(&payload);
            missing.retain(|listener| match voices[*listener].hear() {
                Some((heard, said)) if heard == ssrc => {
                    assert_eq!(said, payload);
                    false
                }
                // Late packets of an earlier speaker.
                Some((heard, _)) => {
                    assert_ne!(heard, voices[*listener].ssrc, "a member hears itself");
                    true
                }
                None => true,
            });
        }
    }
    drop(clients);
    let totals = server.stop();
    assert!(!totals.contains("\"voice_from_mesh\":0"), "{totals}");
    assert!(totals.contains("\"send_failed\":0") && !totals.contains("auth_failed"), "{totals}");
}

/// Goal: after a NAT rebinding a client is heard with its next packet, and hears what follows (PROTOCOL M33).
/// Method: its socket is another one in mid-talk; UDP on loopback loses nothing, but each step may be tried
/// again.
#[test]
fn a_rebinding_heals_with_the_next_packet() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1"]);
    let mut clients: Vec<Client> = ["ada", "bob"].map(|name| server.member(name, "hall")).into();
    let mut voices: Vec<Voice> = clients.iter_mut().map(|client| Voice::open(&server, client, "hall")).collect();
    let deadline = Instant::now() + PATIENCE;
    for turn in 0..5_u8 {
        let [ada, bob] = &mut voices[..] else { panic!("two voices") };
        bob.report();
        ada.rebind(&server);
        let payload = [turn; 40];
        // Ada's first packet from the new port reaches Bob, and makes Bob's reach Ada.
        ada.say(&payload);
        while bob.hear() != Some((ada.ssrc, payload.to_vec())) {
            assert!(Instant::now() < deadline, "Bob does not hear turn {turn}");
            ada.say(&payload);
            bob.report();
        }
        bob.say(&payload);
        while ada.hear() != Some((bob.ssrc, payload.to_vec())) {
            assert!(Instant::now() < deadline, "Ada does not hear turn {turn}");
            bob.say(&payload);
        }
    }
    drop(clients);
    server.stop();
}
