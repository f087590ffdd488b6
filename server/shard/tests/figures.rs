//! What the kernel counts for its operator, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Client, Cluster, login};
use echomesh_proto::control::{Body, LoginRequest, LoginResponse, ResumeRequest};
use echomesh_proto::rtcp::{self, Item, REPORT_BYTES_MAX, ReportBlock, Writer, compact_ntp};
use echomesh_proto::time::{MILLISECOND_US, SECOND_US, Time};
use echomesh_shard::{Histogram, LoginOutcome};

/// Goal: an operator sees loss and jitter of both ways and the round trip, each once for each report. Method: a client
/// gives the server's clock back 2.5 s later, having kept it for all of that but 40 ms.
#[test]
fn clients_reports_become_figures() {
    let mut cluster = Cluster::new(1);
    let [ada, bob] = ["ada", "bob"].map(|name| cluster.member(0, name, "hall"));
    let mut speaker = cluster.open_voice(ada, "hall", "127.0.0.1:5000");
    let listener = cluster.open_voice(bob, "hall", "127.0.0.1:5001");
    for packet in 0..100 {
        if packet % 10 == 3 {
            speaker.index += 1;
        }
        cluster.talk(&mut speaker);
        cluster.pass(20_000);
    }
    assert_eq!(cluster.shards[0].occupancy().speakers, 1);
    cluster.pass(SECOND_US / 2);
    assert_eq!(cluster.shards[0].occupancy().speakers, 0, "silence");
    let report = cluster.reports.iter().rfind(|report| report.address == listener.address).unwrap();
    let (mut clock, mut asked) = (None, Vec::new());
    assert!(rtcp::read(&report.compound, |item| asked.push(item)));
    for item in &asked {
        if let Item::ReferenceTime(reference) = item {
            clock = Some(*reference);
        }
    }
    let (server, clock) = (rtcp::sender_ssrc(&report.compound).unwrap(), clock.expect("the server's clock"));
    cluster.pass(5 * SECOND_US / 2);
    let since = compact_ntp(cluster.now.time).wrapping_sub(clock);
    let kept = since - compact_ntp(Time(40 * MILLISECOND_US));
    let block = ReportBlock {
        ssrc: speaker.ssrc,
        fraction_lost: 64,
        lost: 25,
        highest_sequence: 0,
        // 10 ms of 48 kHz.
        jitter: 480,
    };
    let mut packet = [0; REPORT_BYTES_MAX + 32];
    let plain = Writer::new(&mut packet, listener.ssrc, "", &[block]).echo(server, clock, kept).finish();
    let datagram = listener.seal_report(&mut packet, plain, 9);
    cluster.datagram(0, listener.address, datagram);
    let reported = &cluster.shards[0].counters().reported;
    let one = |histogram: &Histogram| (histogram.count(), histogram.sum());
    assert_eq!(one(&reported.downlink_loss), (1, 250_000));
    assert_eq!(one(&reported.downlink_jitter), (1, 10_000));
    let (trips, us) = one(&reported.round_trip);
    assert!(trips == 1 && us.abs_diff(40_000) < 50, "{trips} trips, {us} us");
    let (reports, lost) = one(&reported.uplink_loss);
    // Of each 11 packets one is missing.
    assert!(reports >= 2 && (60_000..120_000).contains(&(lost / reports)), "{reports} reports, {lost}");
    assert_eq!(reported.uplink_jitter.count(), reports);
}

fn answer(cluster: &mut Cluster, client: Client, body: Body) -> LoginResponse {
    match cluster.ask(client, body) {
        Body::LoginResponse(response) => response,
        other => panic!("{other:?}"),
    }
}

/// Goal: each login and resume is counted once, under the outcome that its client was told, whichever shard it asked.
#[test]
fn logins_are_counted_by_outcome() {
    let mut cluster = Cluster::with(2, |config| config.guests = false);
    let guest = LoginRequest { username: "tim".into(), guest: true, ..LoginRequest::default() };
    let ask = |cluster: &mut Cluster, shard: usize, body: Body| {
        let client = cluster.connect(shard);
        answer(cluster, client, body).resume_token
    };
    let token = ask(&mut cluster, 0, login("ada", "secret", 1));
    ask(&mut cluster, 1, login("ada", "secret", 1));
    ask(&mut cluster, 1, login("ada", "wrong", 1));
    ask(&mut cluster, 0, login("", "secret", 1));
    ask(&mut cluster, 0, Body::LoginRequest(guest));
    ask(&mut cluster, 1, Body::ResumeRequest(ResumeRequest { resume_token: token.clone() }));
    let mut forged = token.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    ask(&mut cluster, 0, Body::ResumeRequest(ResumeRequest { resume_token: forged.into() }));
    let short = ResumeRequest { resume_token: token[..3].to_vec().into() };
    ask(&mut cluster, 0, Body::ResumeRequest(short));
    let counted: Vec<(&str, u64)> = LoginOutcome::ALL
        .iter()
        .map(|outcome| (*outcome, cluster.shards.iter().map(|shard| shard.counters().login_outcome(*outcome)).sum()))
        .filter(|(_, count)| *count > 0)
        .map(|(outcome, count): (LoginOutcome, u64)| (outcome.as_str(), count))
        .collect();
    let once = ["password", "new_account", "resumed", "bad_credentials", "bad_name", "bad_resume_token", "no_guests"];
    let expected: Vec<_> = once.into_iter().chain(["session_gone"]).map(|outcome| (outcome, 1)).collect();
    assert_eq!(counted, expected);
}
