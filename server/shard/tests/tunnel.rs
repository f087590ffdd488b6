//! Voice in the control connection, where UDP is blocked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::rooms::{create, join_with};
use cluster::{Client, Cluster};
use echomesh_proto::control::{Body, RoomProperties, VoiceFrame};
use echomesh_shard::Drop;

fn frame(packet: Vec<u8>, ssrc: u32) -> Body {
    Body::VoiceFrame(VoiceFrame { packet: packet.into(), ssrc })
}

fn say(cluster: &mut Cluster, client: Client, body: Body) {
    cluster.send(client, 0, body);
    cluster.run();
}

fn frames(cluster: &mut Cluster, client: Client) -> usize {
    cluster.take(client).iter().filter(|body| matches!(body, Body::VoiceFrame(_))).count()
}

fn dropped(cluster: &Cluster, reason: Drop) -> u64 {
    cluster.shards.iter().map(|shard| shard.counters().dropped(reason)).sum()
}

/// Goal: a client whose UDP is blocked speaks and hears through its connection, wherever connection and
/// stream are, beside others with UDP; it is back when it says so (PROTOCOL M46).
#[test]
fn a_blocked_client_speaks_and_hears() {
    for spread_after in [1, 99] {
        let mut cluster = Cluster::with(3, |config| config.spread_after = spread_after);
        let ada = cluster.member(0, "ada", "hall");
        let bob = cluster.member(1, "bob", "hall");
        let eve = cluster.member(2, "eve", "hall");
        let mut blocked = cluster.open_voice_silently(ada, "hall");
        let mut with_udp = cluster.open_voice(bob, "hall", "127.0.0.1:5001");
        let also_blocked = cluster.open_voice_silently(eve, "hall");
        cluster.talk(&mut with_udp);
        assert_eq!((frames(&mut cluster, ada), cluster.heard.len()), (0, 0), "it has not asked for it");
        say(&mut cluster, eve, frame(also_blocked.report(1), 0));
        cluster.take(eve);
        let packet = blocked.packet();
        say(&mut cluster, ada, frame(packet.clone(), 0));
        assert_eq!(cluster.heard.len(), 1, "Bob by UDP");
        assert_eq!(cluster.heard[0].payload, b"voice");
        assert_eq!(frames(&mut cluster, eve), 1, "Eve by her connection");
        say(&mut cluster, ada, frame(packet, 0));
        assert_eq!((cluster.heard.len(), dropped(&cluster, Drop::Replayed)), (1, 1));
        cluster.talk(&mut with_udp);
        assert_eq!((frames(&mut cluster, ada), frames(&mut cluster, eve)), (1, 1));
        cluster.heard.clear();
        say(&mut cluster, ada, frame(Vec::new(), blocked.ssrc.0));
        blocked.address = "127.0.0.1:5002".parse().unwrap();
        cluster.talk(&mut blocked);
        cluster.talk(&mut with_udp);
        assert_eq!(frames(&mut cluster, ada), 0);
        assert_eq!(cluster.heard.iter().filter(|heard| heard.address == blocked.address).count(), 1);
    }
}

/// Goal: nobody speaks through another's stream, ends another's tunnel, or is sent more than it reads.
#[test]
fn a_tunnel_is_its_sessions_own() {
    // She says seconds of packets at once.
    let mut cluster = Cluster::with(2, |config| config.limits.bitrate_max = 0);
    let ada = cluster.member(0, "ada", "hall");
    let eve = cluster.member(1, "eve", "hall");
    let mut hers = cluster.open_voice_silently(ada, "hall");
    let mut eves = cluster.open_voice(eve, "hall", "127.0.0.1:5001");
    say(&mut cluster, ada, frame(hers.report(1), 0));
    say(&mut cluster, eve, frame(hers.packet(), 0));
    say(&mut cluster, eve, frame(Vec::new(), hers.ssrc.0));
    let stranger = cluster.connect(0);
    say(&mut cluster, stranger, frame(hers.packet(), 0));
    assert_eq!(dropped(&cluster, Drop::TunnelForeign), 3);
    for garbage in [vec![1, 2, 3], vec![0x80; 1_201], vec![0xFF; 40]] {
        say(&mut cluster, ada, frame(garbage, 0));
    }
    cluster.take(ada);
    cluster.talk(&mut eves);
    assert_eq!(frames(&mut cluster, ada), 1, "the tunnel stands");
    cluster.stalled.push(ada);
    for _ in 0..300 {
        cluster.talk(&mut eves);
    }
    assert!(dropped(&cluster, Drop::TunnelBehind) > 50);
    assert!(!cluster.closed.contains_key(&ada), "voice does not cost it its connection");
}

/// Goal: voice that piled up behind a request costs no turn of the shard more than some packets. Method: a join that
/// waits for the hashers, and voice behind it.
#[test]
fn voice_that_piled_up_is_bounded() {
    let mut cluster = Cluster::new(1);
    let ada = cluster.member(0, "ada", "hall");
    let bob = cluster.member(0, "bob", "hall");
    let mut hers = cluster.open_voice_silently(ada, "hall");
    cluster.open_voice(bob, "hall", "127.0.0.1:5001");
    let locked = RoomProperties { password: Some("pass".to_owned()), ..RoomProperties::default() };
    cluster.ask(bob, create("locked", locked));
    cluster.hold_hashes = true;
    cluster.send(ada, 1, join_with("locked", "pass"));
    for _ in 0..200 {
        let packet = hers.packet();
        cluster.send(ada, 0, frame(packet, 0));
    }
    cluster.run();
    assert_eq!(cluster.heard.len(), 0, "it waits for its turn");
    let held = std::mem::take(&mut cluster.held_hashes);
    cluster.release(held);
    cluster.run();
    assert_eq!((cluster.heard.len(), dropped(&cluster, Drop::TunnelBehind)), (64, 136));
    let packet = hers.packet();
    say(&mut cluster, ada, frame(packet, 0));
    assert_eq!(cluster.heard.len(), 65, "and it goes on");
}
