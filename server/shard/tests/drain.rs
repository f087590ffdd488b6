//! The end of a server: what was begun is answered, what is new is turned away, and everybody is told.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Client, Cluster, chat, code, login};
use echomesh_proto::control::{Body, StatusCode as S};
use echomesh_shard::{CloseReason, Input, Limits};

fn drain(cluster: &mut Cluster) {
    for shard in 0..cluster.shards.len() {
        cluster.input(shard, Input::Drain);
    }
}

fn codes(cluster: &mut Cluster, client: Client) -> Vec<S> {
    cluster.take(client).iter().map(|body| if let Body::ChatMsg(_) = body { S::StatusOk } else { code(body) }).collect()
}

fn is_quiet(cluster: &Cluster) -> bool {
    cluster.shards.iter().all(echomesh_shard::Shard::is_quiet)
}

/// Goal: a line that was begun is stored, acknowledged and told before the server ends, although it crosses shards;
/// one that was not is left to the client's resend; both learn that the server stops (PROTOCOL M94).
#[test]
fn what_was_begun_is_answered() {
    let mut cluster = Cluster::new(3);
    let members: Vec<Client> = (0..3).map(|shard| cluster.member(shard, &format!("m{shard}"), "hall")).collect();
    for client in &members {
        cluster.send(*client, 5, chat("hall", "begun"));
    }
    drain(&mut cluster);
    assert!(!is_quiet(&cluster), "lines are under way");
    for client in &members {
        cluster.send(*client, 6, chat("hall", "late"));
    }
    cluster.run();
    assert!(is_quiet(&cluster));
    assert!(cluster.closed.is_empty(), "nobody is closed before all is answered");
    let stored: u64 = cluster.shards.iter().map(|shard| shard.counters().chat_stored).sum();
    assert_eq!(stored, 3);
    for shard in 0..3 {
        cluster.input(shard, Input::Shutdown);
    }
    cluster.run();
    for client in &members {
        assert_eq!(codes(&mut cluster, *client), [S::StatusOk, S::StatusOk, S::StatusOk, S::StatusShuttingDown]);
        assert_eq!(cluster.closed[client], CloseReason::Shutdown);
    }
}

/// Goal: who is not logged in, or comes now, is told at once to come back; a login under way is answered, and its
/// client told with the others (PROTOCOL M94).
#[test]
fn newcomers_are_turned_away() {
    let mut cluster = Cluster::new(1);
    cluster.hold_hashes = true;
    let (idle, begun) = (cluster.connect(0), cluster.connect(0));
    cluster.send(begun, 1, login("ann", "secret", 1));
    cluster.run();
    drain(&mut cluster);
    let late = cluster.connect(0);
    cluster.run();
    for client in [idle, late] {
        assert_eq!(codes(&mut cluster, client), [S::StatusShuttingDown]);
        assert_eq!(cluster.closed[&client], CloseReason::Shutdown);
    }
    assert!(!is_quiet(&cluster), "a login is under way");
    let held = std::mem::take(&mut cluster.held_hashes);
    for (shard, reply) in held {
        cluster.input(shard, Input::Hash(reply));
    }
    cluster.run();
    assert!(is_quiet(&cluster));
    assert_eq!(codes(&mut cluster, begun), [S::StatusOk]);
    cluster.input(0, Input::Shutdown);
    cluster.run();
    assert_eq!(codes(&mut cluster, begun), [S::StatusShuttingDown]);
}

/// Goal: who sends on while the server ends is not read further than anyone: what waits stays bounded (PROTOCOL M94).
#[test]
fn what_waits_is_bounded() {
    let mut cluster = Cluster::new(1);
    let client = cluster.member(0, "ann", "hall");
    drain(&mut cluster);
    let mut sent = 0_usize;
    while cluster.paused.is_empty() {
        assert!(sent < 4 * Limits::default().input_bytes_max, "{sent} bytes were read");
        cluster.send(client, 5, chat("hall", &"x".repeat(1_000)));
        sent += 1_000;
    }
    assert_eq!(cluster.shards[0].over_its_bound(), None);
}

/// Goal: voice goes on while requests are answered (PROTOCOL M94).
#[test]
fn voice_goes_on_meanwhile() {
    let mut cluster = Cluster::new(2);
    let (ann, bob) = (cluster.member(0, "ann", "hall"), cluster.member(1, "bob", "hall"));
    let mut speaker = cluster.open_voice(ann, "hall", "127.0.0.1:7001");
    cluster.open_voice(bob, "hall", "127.0.0.1:7002");
    drain(&mut cluster);
    cluster.heard.clear();
    cluster.talk(&mut speaker);
    cluster.run();
    assert_eq!(cluster.heard.len(), 1);
}
