//! RTCP: what speakers are told, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, Microphone};
use echomesh_proto::rtcp::{
    self, Item, ListenerLoss, REPORT_BYTES_MAX, ReportBlock, Writer, compact_ntp, compact_ntp_us,
};
use echomesh_proto::time::{SECOND_US, Time};
use echomesh_shard::Drop;

/// What the latest report to this client says.
fn latest(cluster: &Cluster, port: u16) -> Vec<Item> {
    let report = cluster.reports.iter().rev().find(|report| report.address.port() == port).expect("a report");
    let mut items = Vec::new();
    assert!(rtcp::read(&report.compound, |item| items.push(item)));
    items
}

/// A client's compound, sealed, to the shard of its stream.
fn send(
    cluster: &mut Cluster,
    from: &Microphone,
    index: u32,
    write: impl FnOnce(Writer<'_>) -> usize,
    blocks: &[ReportBlock],
) {
    let mut packet = [0; REPORT_BYTES_MAX + 32];
    let plain = write(Writer::new(&mut packet, from.ssrc, "", blocks));
    let datagram = from.seal_report(&mut packet, plain, index);
    cluster.datagram(from.ssrc.shard().index(), from.address, datagram);
}

/// Goal: every 2 s a speaker learns how the server receives it, what most of its listeners lose, wherever
/// their streams are, and gets its clock back (PROTOCOL M45). Listeners outside the room are not believed.
#[test]
fn a_speaker_is_told_of_its_uplink_and_listeners() {
    let mut cluster = Cluster::with(3, |config| config.spread_after = 1);
    let ada = cluster.member(0, "ada", "hall");
    let mut speaker = cluster.open_voice(ada, "hall", "127.0.0.1:5000");
    for packet in 0..50 {
        if packet % 10 == 3 {
            speaker.index += 1;
        }
        cluster.talk(&mut speaker);
        cluster.pass(20_000);
    }
    let asked = cluster.now.time;
    send(&mut cluster, &speaker, 2, |writer| writer.reference_time(asked).finish(), &[]);
    let lost = |loss: u8, burst_ms: u16| ListenerLoss { ssrc: speaker.ssrc, loss, burst_ms };
    let block =
        |loss: u8| ReportBlock { ssrc: speaker.ssrc, fraction_lost: loss, lost: 0, highest_sequence: 0, jitter: 0 };
    for (place, loss) in [10_u8, 20, 30, 40].into_iter().enumerate() {
        let client = cluster.member(place % 3, &format!("l{place}"), "hall");
        let listener = cluster.open_voice(client, "hall", &format!("127.0.0.1:{}", 5001 + place));
        let told = lost(loss, u16::from(loss) * 4);
        send(&mut cluster, &listener, 2, |writer| writer.loss(told).finish(), &[block(loss)]);
    }
    let eve = cluster.member(1, "eve", "elsewhere");
    let liar = cluster.open_voice(eve, "elsewhere", "127.0.0.1:5999");
    send(&mut cluster, &liar, 2, |writer| writer.loss(lost(255, 9_999)).finish(), &[block(255)]);
    cluster.reports.clear();
    cluster.pass(2 * SECOND_US);
    let items = latest(&cluster, 5000);
    let Item::Report(uplink) = items[0] else { panic!("{items:?}") };
    assert_eq!((uplink.ssrc, uplink.lost), (speaker.ssrc, 5));
    // Of the part of the speech since the report before.
    assert!((10..=50).contains(&uplink.fraction_lost), "{}", uplink.fraction_lost);
    assert!(items.contains(&Item::Loss(lost(30, 120))), "{items:?}");
    let echo = items.iter().find_map(|item| match item {
        Item::Echo { ssrc, reference, delay } if *ssrc == speaker.ssrc => Some((*reference, *delay)),
        _ => None,
    });
    let (reference, delay) = echo.unwrap();
    assert_eq!(reference, compact_ntp(asked));
    assert!(compact_ntp_us(delay) <= 2 * SECOND_US);
    let to_speaker = cluster.reports.iter().filter(|report| report.address.port() == 5000).count();
    assert_eq!(to_speaker, 1, "one each 2 s");
    let indices: Vec<u32> = {
        cluster.pass(6 * SECOND_US);
        cluster.reports.iter().filter(|report| report.address.port() == 5000).map(|report| report.index).collect()
    };
    assert!(indices.windows(2).all(|pair| pair[1] == pair[0] + 1), "no SRTCP index twice: {indices:?}");
}

/// Goal: hostile reports are counted and change nothing: cut, replayed, of an unknown stream; and who was
/// never heard authenticated is told nothing (PROTOCOL M31).
#[test]
fn hostile_reports_are_counted() {
    let mut cluster = Cluster::new(1);
    let ada = cluster.member(0, "ada", "hall");
    let speaker = cluster.open_voice(ada, "hall", "127.0.0.1:5000");
    send(&mut cluster, &speaker, 2, |writer| writer.reference_time(Time(5)).finish() - 4, &[]);
    assert_eq!(cluster.shards[0].counters().dropped(Drop::BadReport), 1);
    send(&mut cluster, &speaker, 2, |writer| writer.finish(), &[]);
    assert_eq!(cluster.shards[0].counters().dropped(Drop::Replayed), 1);
    let block = ReportBlock {
        ssrc: echomesh_proto::ids::Ssrc(0x7700),
        fraction_lost: 9,
        lost: 9,
        highest_sequence: 9,
        jitter: 9,
    };
    send(&mut cluster, &speaker, 3, |writer| writer.finish(), &[block]);
    let bob = cluster.member(0, "bob", "hall");
    cluster.open_voice_silently(bob, "hall");
    cluster.pass(3 * SECOND_US);
    assert!(cluster.reports.iter().all(|report| report.address == speaker.address));
}
