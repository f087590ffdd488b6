//! Voice across shards: who hears what, under which number, and what is dropped and counted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, announce, config};
use echomesh_proto::control::StatusCode;
use echomesh_proto::time::Time;
use echomesh_shard::Drop;

fn dropped(cluster: &Cluster, reason: Drop) -> u64 {
    cluster.shards.iter().map(|shard| shard.counters().dropped(reason)).sum()
}

/// Goal: in a room below `spread_after` no voice crosses the mesh, wherever the members' connections
/// are; everyone but the speaker hears each packet once.
#[test]
fn a_small_room_does_not_cross() {
    let mut cluster = Cluster::new(4);
    let mut microphones: Vec<_> = (0..8)
        .map(|n| {
            let client = cluster.member(n % 4, &format!("m{n}"), "hall");
            cluster.open_voice(client, "hall", &format!("127.0.0.1:{}", 5000 + n))
        })
        .collect();
    cluster.talk(&mut microphones[3]);
    assert_eq!((cluster.heard.len(), cluster.voice_records), (7, 0));
    let mut addresses: Vec<_> = cluster.heard.iter().map(|heard| heard.address.port()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, [5000, 5001, 5002, 5004, 5005, 5006, 5007]);
    assert!(cluster.heard.iter().all(|heard| heard.payload == b"voice"));
}

/// Goal: a packet to 50 listeners on two shards crosses the mesh once.
#[test]
fn a_packet_crosses_once_per_shard() {
    let mut cluster = Cluster::with(2, |config| config.spread_after = 25);
    let mut microphones: Vec<_> = (0..51)
        .map(|n| {
            let client = cluster.member(n % 2, &format!("m{n}"), "hall");
            cluster.open_voice(client, "hall", &format!("127.0.0.1:{}", 5000 + n))
        })
        .collect();
    let shards: std::collections::BTreeSet<_> = microphones.iter().map(|microphone| microphone.ssrc.shard()).collect();
    assert_eq!(shards.len(), 2, "the room has outgrown its home");
    cluster.talk(&mut microphones[0]);
    assert_eq!((cluster.heard.len(), cluster.voice_records), (50, 1));
}

/// Goal: mute withholds without a gap, and the first packet after it carries the marker; deafen spares
/// the listener (PROTOCOL M40, M42).
#[test]
fn mute_leaves_no_gap() {
    let mut cluster = Cluster::with(2, |config| config.spread_after = 1);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(1, "bob", "hall");
    let mut microphone = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    cluster.talk(&mut microphone);
    cluster.talk(&mut microphone);
    assert_eq!(cluster.code(ada, announce("hall", true, false)), StatusCode::StatusOk);
    for _ in 0..10 {
        cluster.talk(&mut microphone);
    }
    assert_eq!(cluster.code(ada, announce("hall", false, false)), StatusCode::StatusOk);
    cluster.talk(&mut microphone);
    let first = cluster.heard[0].header.index;
    let heard: Vec<_> = cluster.heard.iter().map(|heard| (heard.header.index - first, heard.header.marker)).collect();
    assert_eq!(heard, [(0, true), (1, false), (2, true)]);
    assert_eq!(dropped(&cluster, Drop::Muted), 10);
    assert_eq!(cluster.code(bob, announce("hall", false, true)), StatusCode::StatusOk);
    cluster.talk(&mut microphone);
    assert_eq!(cluster.heard.len(), 3);
    assert_eq!(dropped(&cluster, Drop::NoListener), 1);
}

/// Goal: who left hears nothing more, and is not heard.
#[test]
fn leaving_ends_voice_both_ways() {
    let mut cluster = Cluster::with(2, |config| config.spread_after = 1);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(1, "bob", "hall");
    let mut from_ada = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    let mut from_bob = cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    cluster.ask(bob, cluster::action(echomesh_proto::control::RoomActionType::RaLeave, "hall"));
    cluster.talk(&mut from_ada);
    cluster.talk(&mut from_bob);
    assert!(cluster.heard.is_empty());
    assert_eq!(dropped(&cluster, Drop::UnknownSsrc), 1);
    assert_eq!(cluster.peers(), 1, "the driver forgot the leaver's address and key");
}

/// Goal: nothing but an authenticated, fresh packet is forwarded or moves the return address; each
/// refusal has its counter (PROTOCOL M31, M33).
#[test]
fn hostile_datagrams_are_counted_and_change_nothing() {
    let mut cluster = Cluster::new(1);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(0, "bob", "hall");
    let mut microphone = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    let mut listener = cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    let evil = "127.0.0.1:6666".parse().unwrap();
    let good = cluster.talk(&mut microphone);
    cluster.datagram(0, evil, good.clone());
    assert_eq!(dropped(&cluster, Drop::Replayed), 1);
    let mut forged = microphone.packet();
    *forged.last_mut().unwrap() ^= 1;
    cluster.datagram(0, evil, forged);
    assert_eq!(dropped(&cluster, Drop::AuthFailed), 1);
    // Ada's key does not open Bob's SSRC.
    let mut others = microphone.packet();
    others[8..12].copy_from_slice(&listener.ssrc.0.to_be_bytes());
    cluster.datagram(0, evil, others);
    assert_eq!(dropped(&cluster, Drop::AuthFailed), 2);
    let mut unknown = microphone.packet();
    unknown[8] ^= 0x55;
    cluster.datagram(0, evil, unknown);
    assert_eq!(dropped(&cluster, Drop::UnknownSsrc), 1);
    for cut in 0..good.len() {
        cluster.datagram(0, evil, good[..cut].to_vec());
    }
    cluster.datagram(0, evil, vec![0x80; 1_201]);
    cluster.datagram(0, evil, b"GET / HTTP/1.1".to_vec());
    assert!(dropped(&cluster, Drop::BadPacket) > 0 && dropped(&cluster, Drop::NotRtp) > 0);
    assert_eq!(cluster.heard.len(), 1, "only the good packet went on");
    cluster.talk(&mut listener);
    assert_eq!(cluster.heard[1].address.port(), 5001, "the return address did not move");
}

/// Goal: a client behind a NAT that rebinds is heard and hears with its next packet; a late packet
/// from the old address does not move it back (PROTOCOL M33).
#[test]
fn a_new_address_heals_with_the_next_packet() {
    let mut cluster = Cluster::new(1);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(0, "bob", "hall");
    let mut roaming = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    let mut other = cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    cluster.talk(&mut roaming);
    let late = roaming.packet();
    roaming.address = "127.0.0.1:7001".parse().unwrap();
    cluster.talk(&mut roaming);
    cluster.datagram(0, "127.0.0.1:5001".parse().unwrap(), late);
    cluster.talk(&mut other);
    assert_eq!(cluster.heard.len(), 4);
    assert_eq!(cluster.heard[3].address.port(), 7001);
}

/// Goal: opening voice again gives new keys for the same SSRC; the numbers go on, the old key is dead
/// (PROTOCOL M41).
#[test]
fn new_keys_continue_the_stream() {
    let mut cluster = Cluster::new(2);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(1, "bob", "hall");
    cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    let mut old = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    cluster.talk(&mut old);
    let mut new = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    assert_eq!(old.ssrc, new.ssrc);
    cluster.talk(&mut old);
    cluster.talk(&mut new);
    assert_eq!(cluster.heard.len(), 2);
    assert_eq!(cluster.heard[1].header.index, cluster.heard[0].header.index + 1);
}

/// Goal: voice that waited too long on a mesh ring is dropped, counted.
#[test]
fn stale_voice_is_dropped() {
    let mut cluster = Cluster::with(2, |config| config.spread_after = 1);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(1, "bob", "hall");
    let mut microphone = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    cluster.talk(&mut microphone);
    let mut record = cluster.heard[0].header.to_record().to_vec();
    record.extend_from_slice(b"voice");
    let target = 1 - microphone.ssrc.shard().index();
    cluster.now.time = cluster.now.time.after_us(config(0, 1).limits.voice_age_us_max + 1);
    let source = microphone.ssrc.shard();
    cluster.input(target, echomesh_shard::Input::MeshVoice { source, record: &record });
    assert_eq!((dropped(&cluster, Drop::Stale), cluster.heard.len()), (1, 1));
}

/// Goal: a shard gets voice while it has listeners, and none once the last one is deaf or gone.
#[test]
fn voice_crosses_to_listeners_only() {
    let mut cluster = Cluster::with(2, |config| config.spread_after = 1);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(1, "bob", "hall");
    let mut microphone = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    for (deafened, records) in [(false, 1), (true, 1), (false, 2)] {
        cluster.ask(bob, announce("hall", false, deafened));
        cluster.talk(&mut microphone);
        assert_eq!(cluster.voice_records, records);
    }
    cluster.ask(bob, cluster::action(echomesh_proto::control::RoomActionType::RaLeave, "hall"));
    cluster.talk(&mut microphone);
    assert_eq!(cluster.voice_records, 2);
}

/// Goal: a receiver report that was recorded and sent again from elsewhere is dropped, counted, and moves
/// no return address (PROTOCOL M31, M33).
#[test]
fn a_replayed_report_moves_nothing() {
    let mut cluster = Cluster::new(1);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(0, "bob", "hall");
    let listener = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    let mut speaker = cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    cluster.datagram(0, "127.0.0.1:6666".parse().unwrap(), listener.report(1));
    assert_eq!(dropped(&cluster, Drop::Replayed), 1);
    cluster.talk(&mut speaker);
    assert_eq!(cluster.heard[0].address.port(), 5001);
}

/// Goal: new keys begin their SRTCP indices anew: the first report under them tells the address
/// (PROTOCOL M33, M41).
#[test]
fn new_keys_take_reports_from_the_first_on() {
    let mut cluster = Cluster::new(1);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(0, "bob", "hall");
    cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    cluster.open_voice(ada, "hall", "127.0.0.1:7001");
    let mut speaker = cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    cluster.talk(&mut speaker);
    assert_eq!(cluster.heard[0].address.port(), 7001);
    assert_eq!(dropped(&cluster, Drop::Replayed), 0);
}

/// Goal: the marker of a speaker's own talkspurt reaches the listeners.
#[test]
fn a_talkspurt_keeps_its_marker() {
    let mut cluster = Cluster::new(1);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(0, "bob", "hall");
    let mut microphone = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    for marker in [false, false, true, false] {
        microphone.marker = marker;
        cluster.talk(&mut microphone);
    }
    let markers: Vec<_> = cluster.heard.iter().map(|heard| heard.header.marker).collect();
    assert_eq!(markers, [true, false, true, false], "the first packet of a stream has it always");
}

/// Goal: a sender that misbehaves harms nobody: packets late by 500 and a sequence that begins anew are dropped
/// and counted, a timestamp that jumps is its listeners' affair, and the next good packet is heard with the
/// number that follows (PROTOCOL M31, M40).
#[test]
fn a_misbehaving_sender_harms_nobody() {
    // All of it comes at once.
    let mut cluster = Cluster::with(1, |config| config.limits.bitrate_max = 0);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(0, "bob", "hall");
    let mut microphone = cluster.open_voice(ada, "hall", "127.0.0.1:5001");
    cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    for _ in 0..600 {
        cluster.talk(&mut microphone);
    }
    let newest = microphone.index;
    let last = cluster.heard.last().unwrap().header.index;
    let heard = cluster.heard.len();
    for index in [newest - 500, newest - 129, newest] {
        microphone.index = index - 1;
        cluster.talk(&mut microphone);
    }
    // As after a crash of the program, which kept its keys: what it sends was sent before.
    microphone.index = 100;
    for _ in 0..50 {
        cluster.talk(&mut microphone);
    }
    assert_eq!((cluster.heard.len(), dropped(&cluster, Drop::Replayed)), (heard, 53));
    // Far ahead: as if 20,000 packets were lost; the media time jumps with it.
    microphone.index = newest + 20_000;
    cluster.talk(&mut microphone);
    assert_eq!(cluster.heard.last().unwrap().header.index, last + 20_001, "a loss stays a gap");
}

/// Goal: a shard that cannot keep up sheds the oldest voice, counted, and no report; the next packet is heard and
/// its listeners see a loss. Method: a packet that the system has had for longer than voice may age, one that
/// it has not, and a report as old as the first.
#[test]
fn overload_sheds_the_oldest_voice() {
    let mut cluster = Cluster::new(1);
    let mut microphone = {
        let ada = cluster.member(0, "ada", "hall");
        cluster.open_voice(ada, "hall", "127.0.0.1:5001")
    };
    let bob = cluster.member(0, "bob", "hall");
    cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    cluster.talk(&mut microphone);
    cluster.pass(1_000_000);
    let (address, old) = (microphone.address, Time(cluster.now.time.0 - 60_001));
    let (packet, next, report) = (microphone.packet(), microphone.packet(), microphone.report(9));
    cluster.late_datagram(0, address, old, packet);
    assert_eq!((dropped(&cluster, Drop::Overload), cluster.heard.len()), (1, 1));
    cluster.late_datagram(0, address, Time(cluster.now.time.0 - 60_000), next);
    assert_eq!((dropped(&cluster, Drop::Overload), cluster.heard.len()), (1, 2));
    assert_eq!(cluster.heard[1].header.index, cluster.heard[0].header.index + 2);
    let reports = cluster.shards[0].counters().rtcp_received;
    cluster.late_datagram(0, address, old, report);
    assert_eq!(cluster.shards[0].counters().rtcp_received, reports + 1);
}
