//! Settings that change while the server runs: they hold for what comes next, and nobody who is there is sent away.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use std::collections::BTreeSet;

use cluster::{Client, Cluster, Microphone};
use echomesh_proto::control::{Body, LoginRequest, ResumeRequest, StatusCode};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::MILLISECOND_US;
use echomesh_shard::{Drop, Input, Limits, Rate, Registration, Security, ShardSettings};

const FRAME_US: u64 = 20 * MILLISECOND_US;

/// What the cluster's shards began with.
fn settings() -> ShardSettings {
    ShardSettings {
        server_name: "test".to_owned(),
        motd: String::new(),
        registration: Registration::Open,
        guests: false,
        speakers_max: 0,
        retention_days: 0,
        limits: Limits::default(),
    }
}

fn change(cluster: &mut Cluster, settings: &ShardSettings) {
    for shard in 0..cluster.shards.len() {
        cluster.input(shard, Input::Settings(Box::new(settings.clone())));
        cluster.run();
    }
}

fn connect(cluster: &mut Cluster, address: &str) -> Client {
    cluster.connect_as(0, &format!("{address}:4000"), Security::Tls)
}

/// Goal: name, message of the day and who may come are as last told, and a resume is no login (PROTOCOL M18).
#[test]
fn who_comes_next_meets_the_new_settings() {
    let mut cluster = Cluster::with(2, |config| config.motd = "be kind".to_owned());
    let ada = cluster.connect(0);
    let first = cluster.login(ada, "ada", 1);
    assert_eq!((first.motd.as_str(), first.server_name.as_str()), ("be kind", "test"));
    let guest =
        || Body::LoginRequest(LoginRequest { username: "visitor".into(), guest: true, ..LoginRequest::default() });
    let closed = ShardSettings {
        server_name: "Club".to_owned(),
        motd: "closed\nuntil spring".to_owned(),
        registration: Registration::Closed,
        guests: true,
        ..settings()
    };
    let early = cluster.connect(1);
    assert_eq!(cluster.code(early, guest()), StatusCode::StatusDenied);
    change(&mut cluster, &closed);
    for shard in 0..2 {
        let client = cluster.connect(shard);
        let again = cluster.login(client, "ada", 1);
        assert_eq!((again.motd.as_str(), again.server_name.as_str()), ("closed\nuntil spring", "Club"));
        let stranger = cluster.connect(shard);
        let request =
            LoginRequest { username: format!("new{shard}"), password: "pw".into(), ..LoginRequest::default() };
        assert_ne!(cluster.code(stranger, Body::LoginRequest(request)), StatusCode::StatusOk);
    }
    let visitor = cluster.connect(1);
    assert_eq!(cluster.code(visitor, guest()), StatusCode::StatusOk);
    let back = cluster.connect(1);
    match cluster.ask(back, Body::ResumeRequest(ResumeRequest { resume_token: first.resume_token })) {
        Body::LoginResponse(resumed) => assert_eq!((resumed.motd.as_str(), resumed.server_name.as_str()), ("", "Club")),
        other => panic!("{other:?}"),
    }
}

/// Goal: lower limits hold for who comes next, who is beyond them stays and is served, and lifted ones are gone.
#[test]
fn limits_change_under_connections() {
    let mut cluster = Cluster::new(1);
    let inside: Vec<Client> = (0..3).map(|_| connect(&mut cluster, "192.0.2.1")).collect();
    let few = Limits { address_connections_max: 2, connects: Rate::per_second(1, 1), ..Limits::default() };
    change(&mut cluster, &ShardSettings { limits: few, ..settings() });
    for (client, name) in inside.iter().zip(["ada", "bob", "eve"]) {
        cluster.login(*client, name, 0);
    }
    let beyond = connect(&mut cluster, "192.0.2.1");
    assert!(cluster.closed.contains_key(&beyond));
    connect(&mut cluster, "192.0.2.2");
    let fast = connect(&mut cluster, "192.0.2.2");
    assert!(cluster.closed.contains_key(&fast));
    let none = Limits { address_connections_max: 0, connects: Rate::NONE, ..Limits::default() };
    change(&mut cluster, &ShardSettings { limits: none, ..settings() });
    let welcome = ["192.0.2.1", "192.0.2.2"].map(|address| connect(&mut cluster, address));
    assert!(welcome.iter().all(|client| !cluster.closed.contains_key(client)));
}

/// What the listener hears of everybody speaking for so long.
fn heard(cluster: &mut Cluster, microphones: &mut [Microphone], frames: usize) -> BTreeSet<Ssrc> {
    cluster.heard.clear();
    for _ in 0..frames {
        for microphone in microphones.iter_mut() {
            cluster.talk(microphone);
        }
        cluster.pass(FRAME_US);
    }
    let listener = cluster.heard.iter().filter(|heard| heard.address.port() == 4999);
    listener.map(|heard| heard.header.ssrc).collect()
}

/// Goal: with fewer speakers at once the loudest are heard within a second though nobody comes or goes, and with no
/// bound everybody is again. Method: two shards, so that the choice crosses them.
#[test]
fn speakers_are_chosen_from_now_on() {
    let mut cluster = Cluster::with(2, |config| config.spread_after = 2);
    let listener = cluster.member(0, "listener", "hall");
    cluster.open_voice(listener, "hall", "127.0.0.1:4999");
    let speaker = |n: usize| {
        let client = cluster.member(n % 2, &format!("m{n}"), "hall");
        cluster.open_voice(client, "hall", &format!("127.0.0.1:{}", 5000 + n))
    };
    let mut microphones: Vec<Microphone> = (0..5).map(speaker).collect();
    for (place, microphone) in microphones.iter_mut().enumerate() {
        microphone.level = if place < 2 { 25 } else { 60 };
    }
    assert_eq!(heard(&mut cluster, &mut microphones, 25).len(), 5);
    change(&mut cluster, &ShardSettings { speakers_max: 2, ..settings() });
    heard(&mut cluster, &mut microphones, 50);
    let loudest: BTreeSet<Ssrc> = microphones[..2].iter().map(|microphone| microphone.ssrc).collect();
    assert_eq!(heard(&mut cluster, &mut microphones, 25), loudest);
    assert!(cluster.shards.iter().any(|shard| shard.counters().dropped(Drop::NotSelected) > 0));
    change(&mut cluster, &settings());
    assert_eq!(heard(&mut cluster, &mut microphones, 25).len(), 5);
}
