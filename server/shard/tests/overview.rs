//! What an operator is shown of a shard: who is where, who is heard now, how streams fare, and no more than the bounds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, action, announce, code, login};
use echomesh_proto::control::{Body, ModerationAction, Role, RoomActionType, RoomProperties, StatusCode};
use echomesh_proto::rtcp::{REPORT_BYTES_MAX, ReportBlock, Writer};
use echomesh_proto::time::{MILLISECOND_US, SECOND_US};
use echomesh_shard::overview::{Overview, StreamOverview};

fn overviews(cluster: &Cluster) -> Vec<Overview> {
    cluster.shards.iter().map(|shard| shard.overview(cluster.now)).collect()
}

fn talking(cluster: &Cluster) -> Vec<u32> {
    let streams: Vec<StreamOverview> = overviews(cluster).into_iter().flat_map(|overview| overview.streams).collect();
    streams.iter().filter(|stream| stream.is_talking).map(|stream| stream.ssrc.0).collect()
}

/// Goal: rooms are told once, by their home, with their members; sessions and streams by the shard where they live.
#[test]
fn everything_is_told_once() {
    let mut cluster = Cluster::with(3, |config| config.spread_after = 1);
    let ann = cluster.person(0, "ann", "hall", Role::Admin);
    let bob = cluster.member(1, "bob", "hall");
    cluster.member(2, "eve", "attic");
    for client in [ann, bob] {
        cluster.open_voice(client, "hall", "127.0.0.1:5001");
    }
    cluster.code(bob, announce("hall", true, false));
    let mute = cluster::moderation(ModerationAction::MaMute, "hall", "bob");
    assert_eq!(cluster.code(ann, Body::Moderation(mute)), StatusCode::StatusOk);
    cluster.pass(SECOND_US);
    let overviews = overviews(&cluster);
    let rooms: Vec<_> = overviews.iter().flat_map(|overview| &overview.rooms).collect();
    let mut names: Vec<(&str, usize)> = rooms.iter().map(|room| (room.name.as_str(), room.member_count)).collect();
    names.sort_unstable();
    assert_eq!(names, [("attic", 1), ("hall", 2)]);
    let hall = rooms.iter().find(|room| room.name == "hall").unwrap();
    let member = |name: &str| hall.members.iter().find(|member| member.username == name).unwrap();
    assert!(member("bob").is_muted && member("bob").is_server_muted && !member("ann").is_server_muted);
    assert_eq!(member("ann").role, Role::Admin);
    for (shard, name) in ["ann", "bob", "eve"].iter().enumerate() {
        let names: Vec<&str> = overviews[shard].sessions.iter().map(|session| session.username.as_str()).collect();
        assert_eq!(names, [*name], "on shard {shard}");
        let session = &overviews[shard].sessions[0];
        assert!(session.is_connected && session.age_us >= SECOND_US, "{session:?}");
        assert_eq!(session.remote, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(session.rooms, [if *name == "eve" { "attic" } else { "hall" }]);
    }
    let streams: Vec<_> = overviews.iter().flat_map(|overview| &overview.streams).collect();
    assert_eq!(streams.len(), 2);
    assert!(streams.iter().all(|stream| stream.room == hall.number && !stream.is_tunnelled));
    cluster.close(bob);
    let detached = &cluster.shards[1].overview(cluster.now).sessions[0];
    assert!(!detached.is_connected, "it waits to be resumed");
}

/// Goal: who is heard now shows, and nobody else: not who is muted, not a microphone that sends the silence of its
/// room, and nobody a second after the last word.
#[test]
fn who_is_heard_shows_as_talking() {
    let mut cluster = Cluster::new(2);
    let ann = cluster.member(0, "ann", "hall");
    let bob = cluster.member(1, "bob", "hall");
    let mut loud = cluster.open_voice(ann, "hall", "127.0.0.1:5001");
    let mut soft = cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    soft.level = 90;
    assert_eq!(talking(&cluster), []);
    for _ in 0..5 {
        cluster.talk(&mut loud);
        cluster.talk(&mut soft);
        cluster.pass(20 * MILLISECOND_US);
    }
    assert_eq!(talking(&cluster), [loud.ssrc.0]);
    cluster.code(ann, announce("hall", true, false));
    cluster.talk(&mut loud);
    assert_eq!(talking(&cluster), [], "muted");
    cluster.code(ann, announce("hall", false, false));
    cluster.talk(&mut loud);
    assert_eq!(talking(&cluster), [loud.ssrc.0]);
    cluster.pass(900 * MILLISECOND_US);
    assert_eq!(talking(&cluster), [loud.ssrc.0], "who looks once a second has not looked yet");
    cluster.pass(200 * MILLISECOND_US);
    assert_eq!(talking(&cluster), [], "silent");
}

/// Goal: what RTCP says of a stream shows: what the server misses of it, and what its client misses of others.
#[test]
fn losses_of_both_directions_show() {
    let mut cluster = Cluster::new(1);
    let ann = cluster.member(0, "ann", "hall");
    let bob = cluster.member(0, "bob", "hall");
    let mut microphone = cluster.open_voice(ann, "hall", "127.0.0.1:5001");
    let listener = cluster.open_voice(bob, "hall", "127.0.0.1:5002");
    for _ in 0..50 {
        cluster.talk(&mut microphone);
        // Every second one is lost on its way.
        microphone.packet();
        cluster.pass(40 * MILLISECOND_US);
    }
    cluster.pass(3 * SECOND_US);
    let heard = ReportBlock { ssrc: microphone.ssrc, fraction_lost: 64, lost: 9, highest_sequence: 9, jitter: 0 };
    let mut compound = [0; REPORT_BYTES_MAX + 32];
    let plain = Writer::new(&mut compound, listener.ssrc, "", &[heard]).finish();
    let report = listener.seal_report(&mut compound, plain, 2);
    cluster.datagram(0, listener.address, report);
    let overview = cluster.shards[0].overview(cluster.now);
    let of = |ssrc| overview.streams.iter().find(|stream| stream.ssrc == ssrc).unwrap().quality;
    let (loss, jitter_us) = of(microphone.ssrc).uplink.unwrap();
    assert!((100..=140).contains(&loss), "about a half of 256: {loss}");
    assert!(jitter_us > 0);
    assert_eq!(of(listener.ssrc).downlink_loss, Some(64));
    assert_eq!(of(microphone.ssrc).downlink_loss, None, "it has reported nothing");
}

/// Goal: however much there is, an overview is bounded and says what it leaves out; the fullest rooms are in it.
#[test]
fn an_overview_is_bounded() {
    let mut cluster = Cluster::with(1, |config| {
        config.limits.address_connections_max = 0;
        config.limits.connects = echomesh_shard::Rate::NONE;
        config.limits.requests = echomesh_shard::Rate::NONE;
        config.limits.account_sessions_max = 2_000;
    });
    let first = cluster.member(0, "ann", "full");
    for room in 0..300 {
        let name = format!("room{room}");
        assert_eq!(cluster.code(first, action(RoomActionType::RaCreate, &name)), StatusCode::StatusOk);
        let alone = cluster.connect(0);
        let answer = cluster.ask(alone, login("ann", "secret", 1));
        assert_eq!(code(&answer), StatusCode::StatusOk);
        assert_eq!(cluster.code(alone, action(RoomActionType::RaJoin, &name)), StatusCode::StatusOk);
    }
    for _ in 0..800 {
        let client = cluster.connect(0);
        cluster.ask(client, login("ann", "secret", 1));
        assert_eq!(cluster.code(client, action(RoomActionType::RaJoin, "full")), StatusCode::StatusOk);
    }
    let overview = cluster.shards[0].overview(cluster.now);
    assert_eq!((overview.rooms.len(), overview.rooms_left_out), (256, 45));
    assert_eq!((overview.sessions.len(), overview.sessions_left_out), (1_024, 77));
    assert!(overview.rooms.iter().any(|room| room.name == "full" && room.member_count == 801));
    let members: usize = overview.rooms.iter().map(|room| room.members.len()).sum();
    assert!(members <= 1_024, "{members}");
    assert_eq!(overview.connections, 1_101);
    let hidden = RoomProperties { hidden: Some(true), ..RoomProperties::default() };
    let set = echomesh_proto::control::RoomAction {
        properties: Some(hidden),
        room_id: "full".into(),
        action_type: RoomActionType::RaSet as i32,
        ..Default::default()
    };
    cluster.ask(first, Body::RoomAction(set));
    let rooms = cluster.shards[0].overview(cluster.now).rooms;
    assert!(rooms.iter().any(|room| room.name == "full" && room.is_hidden && !room.is_closed));
}
