//! Who is heard: late joiners at once, the loudest of many, without a gap in anyone's numbers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use std::collections::{BTreeMap, BTreeSet};

use cluster::{Client, Cluster, Microphone, action, announce};
use echomesh_proto::control::{Body, RoomActionType, RoomState, StatusCode};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::MILLISECOND_US;
use echomesh_shard::Drop;

const FRAME_US: u64 = 20 * MILLISECOND_US;

fn roster(cluster: &mut Cluster, client: Client, kind: RoomActionType) -> RoomState {
    match cluster.ask(client, action(kind, "hall")) {
        Body::RoomState(state) => state,
        other => panic!("{other:?}"),
    }
}

fn roc(state: &RoomState, ssrc: Ssrc) -> u64 {
    u64::from(state.members.iter().find(|member| member.ssrc == ssrc.0).unwrap().roc)
}

/// Goal: who joins after a speaker's numbers passed 65,536, and who undeafens after 40,000 packets more, is
/// told the rollover counter under which the next packet opens (PROTOCOL M43). Method: three shards, so that
/// speaker, joiner and home differ.
#[test]
fn late_joiners_get_the_rollover_counter() {
    // Half an hour of packets comes at once.
    let mut cluster = Cluster::with(3, |config| (config.spread_after, config.limits.bitrate_max) = (1, 0));
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(1, "bob", "hall");
    let mut microphone = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    cluster.code(bob, announce("hall", false, true));
    let talk = |cluster: &mut Cluster, microphone: &mut Microphone, packets: u32| {
        for _ in 0..packets {
            cluster.talk(microphone);
        }
        cluster.pass(100 * MILLISECOND_US);
        cluster.heard.clear();
    };
    talk(&mut cluster, &mut microphone, 66_000);
    let late = cluster.connect(2);
    cluster.login(late, "late", 1);
    let state = roster(&mut cluster, late, RoomActionType::RaJoin);
    cluster.open_voice(late, "hall", "127.0.0.1:5003");
    cluster.talk(&mut microphone);
    let index = cluster.heard.pop().unwrap().header.index;
    assert_eq!((roc(&state, microphone.ssrc), index >> 16), (1, 1));
    talk(&mut cluster, &mut microphone, 66_000);
    assert_eq!(cluster.code(bob, announce("hall", false, false)), StatusCode::StatusOk);
    let state = roster(&mut cluster, bob, RoomActionType::RaRoster);
    cluster.talk(&mut microphone);
    assert_eq!(roc(&state, microphone.ssrc), cluster.heard.pop().unwrap().header.index >> 16);
}

/// A room of speakers over two shards, at most three of them heard at once, and a listener.
fn crowd(speakers: usize) -> (Cluster, Vec<Microphone>) {
    let mut cluster = Cluster::with(2, |config| (config.spread_after, config.speakers_max) = (4, 3));
    let listener = cluster.member(0, "listener", "hall");
    cluster.open_voice(listener, "hall", "127.0.0.1:4999");
    let microphones = (0..speakers).map(|n| {
        let client = cluster.member(n % 2, &format!("m{n}"), "hall");
        cluster.open_voice(client, "hall", &format!("127.0.0.1:{}", 5000 + n))
    });
    let microphones = microphones.collect();
    (cluster, microphones)
}

/// Everyone given speaks for so many frames. Returns what the listener heard in each frame.
fn speak(cluster: &mut Cluster, microphones: &mut [Microphone], frames: usize) -> Vec<Vec<(Ssrc, u64, bool)>> {
    let mut heard = Vec::new();
    for _ in 0..frames {
        cluster.heard.clear();
        for microphone in microphones.iter_mut() {
            cluster.talk(microphone);
        }
        let listener = cluster.heard.iter().filter(|heard| heard.address.port() == 4999);
        heard.push(listener.map(|heard| (heard.header.ssrc, heard.header.index, heard.header.marker)).collect());
        cluster.pass(FRAME_US);
    }
    heard
}

/// Goal: of ten speakers the three loudest are heard, and two more a shard until judged; the others are
/// counted, and their voice does not cross the mesh (PROTOCOL M44).
#[test]
fn the_loudest_are_heard() {
    let (mut cluster, mut microphones) = crowd(10);
    assert!(microphones.iter().map(|microphone| microphone.ssrc.shard()).collect::<BTreeSet<_>>().len() > 1);
    for (place, microphone) in microphones.iter_mut().enumerate() {
        microphone.level = if [2, 5, 9].contains(&place) { 25 } else { 60 };
    }
    speak(&mut cluster, &mut microphones, 25);
    cluster.voice_records = 0;
    let heard = speak(&mut cluster, &mut microphones, 50);
    let expected: BTreeSet<Ssrc> = [2, 5, 9].map(|place| microphones[place].ssrc).into();
    for frame in &heard {
        assert_eq!(frame.iter().map(|(ssrc, ..)| *ssrc).collect::<BTreeSet<_>>(), expected);
    }
    assert!(cluster.voice_records <= 3 * 50, "{} records for three speakers", cluster.voice_records);
    let not_selected: u64 = cluster.shards.iter().map(|shard| shard.counters().dropped(Drop::NotSelected)).sum();
    assert!(not_selected >= 7 * 50);
    // One that was silent begins, loudly: heard from its first packet on, and chosen soon.
    let mut newcomer = microphones.remove(0);
    newcomer.level = 21;
    cluster.pass(400 * MILLISECOND_US);
    let first = speak(&mut cluster, std::slice::from_mut(&mut newcomer), 1);
    assert_eq!(first[0][0].0, newcomer.ssrc);
    microphones.push(newcomer);
    let later = speak(&mut cluster, &mut microphones, 30);
    assert!(later.iter().all(|frame| frame.len() <= 3 + 2 * 2), "two a shard are heard before they are judged");
    let last = later.last().unwrap();
    assert!(last.len() == 3 && last.iter().any(|(ssrc, ..)| *ssrc == microphones[9].ssrc), "{last:?}");
}

/// Goal: being chosen or not leaves no gap in anyone's numbers, and the first packet after a pause of it has
/// the marker (PROTOCOL M40, M42).
#[test]
fn the_choice_leaves_no_gap() {
    let (mut cluster, mut microphones) = crowd(6);
    let mut heard: BTreeMap<Ssrc, Vec<(u64, bool)>> = BTreeMap::new();
    for turn in 0..4 {
        for (place, microphone) in microphones.iter_mut().enumerate() {
            microphone.level = if place % 2 == turn % 2 { 25 } else { 70 };
        }
        for (ssrc, index, marker) in speak(&mut cluster, &mut microphones, 60).into_iter().flatten() {
            heard.entry(ssrc).or_default().push((index, marker));
        }
    }
    assert_eq!(heard.len(), 6);
    for packets in heard.values() {
        assert!(packets.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "{packets:?}");
        assert!(packets.iter().filter(|(_, marker)| *marker).count() >= 2);
    }
    let sent: usize = 4 * 60 * 6;
    assert!(heard.values().map(Vec::len).sum::<usize>() < sent * 7 / 10, "half of them are withheld");
}
