//! Good days, bad days and a long one: what a listener hears of networks that change, stall and lie.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scripted;

use echomesh_playout::{FRAME_US, Packet, Playout, Pulled, TICK_SAMPLES};
use scripted::{Recorder, Tick, Trace, payload, play, random, talk};

/// Ticks of a second.
const SECOND: usize = 100;

fn concealed(ticks: &[Tick]) -> usize {
    ticks.iter().filter(|tick| tick.pulled >= Pulled::Concealed).count()
}

/// Goal: what is played depends on what has arrived, not on what is to come. Method: jitter, losses and stalls;
/// cut the trace at several times and compare every sample before.
#[test]
fn nothing_is_known_before_it_arrives() {
    let network = |index: u64| {
        let stall = if index % 150 < 5 { (5 - index % 150) * FRAME_US } else { 0 };
        (random(index, 12) != 0).then(|| random(index + 7_000, 25_000) + stall)
    };
    let trace = talk(1_000, network);
    let (_, _, whole) = play(&trace, 1_000);
    for cut_us in [1_234_567, 5_000_000, 9_870_001, 17_000_000] {
        let before: Trace = trace.iter().copied().filter(|packet| packet.0 < cut_us).collect();
        let (_, _, ticks) = play(&before, 1_000);
        let until = cut_us.div_ceil(10_000) as usize;
        for (at, (whole, cut)) in whole.iter().zip(&ticks).take(until).enumerate() {
            assert_eq!(whole.samples, cut.samples, "tick {at} of {until}");
        }
    }
}

/// Goal: half an hour of talk by a clock 200 ppm fast or slow, with spikes of all kinds, stays near its floor:
/// ten seconds after each spike the delay is what it was, and hardly anything is concealed but the spikes.
/// Method: 30 minutes of virtual time; every 30 s a stall of 100 to 2,000 ms.
#[test]
fn half_an_hour_stays_near_the_floor() {
    for ppm in [200_i64, -200] {
        let frames = 90_000;
        let stall_us = |index: u64| {
            let into = index % 1_500;
            let length = 5 + random(index / 1_500, 96);
            if index >= 1_500 && into < length { (length - into) * FRAME_US } else { 0 }
        };
        let sent_us = |index: u64| (index * FRAME_US).saturating_add_signed(-(index as i64) * 20_000 * ppm / 1_000_000);
        let trace: Trace = (0..frames)
            .map(|index| {
                let arrival_us = 30_000 + sent_us(index) + stall_us(index) + random(index, 2_000);
                (arrival_us, index, index as u32 * 960, index == 0)
            })
            .collect();
        let (playout, _, ticks) = play(&trace, frames);
        let statistics = playout.statistics();
        assert!((statistics.drift_ppm - ppm).abs() <= 20, "{ppm}: {statistics:?}");
        for spike in 1..59 {
            let calm = &ticks[(spike * 30 + 12) * SECOND..(spike * 30 + 29) * SECOND];
            let most = calm.iter().map(|tick| tick.delay_us).max().unwrap();
            assert!(most <= 60_000, "{ppm}, spike {spike}: {most} µs");
            assert_eq!(concealed(calm), 0, "{ppm}, spike {spike}");
        }
        assert!(statistics.concealed < 60 * 20, "{statistics:?}");
    }
}

/// Goal: sound is back within a second after the cause ends, and the delay is near what it was. Method: stalls
/// of 2 s, losses of 10 s, pauses of 5 s with and without a marker.
#[test]
fn sound_is_back_within_a_second() {
    let stall = |index: u64| Some(if (500..600).contains(&index) { (600 - index) * FRAME_US } else { 1_000 });
    let loss = |index: u64| (!(500..1_000).contains(&index)).then_some(1_000);
    let pause = |marker: bool| -> Trace {
        let late = |index: u64| if index >= 500 { 250 } else { 0 };
        let packet = |index: u64| {
            let sent = index + late(index);
            (sent * FRAME_US + 1_000, index, sent as u32 * 960, marker && (index == 0 || index == 500))
        };
        (0..1_500).map(packet).collect()
    };
    let cases = [
        ("a stall", talk(1_500, stall), 1_200),
        ("losses", talk(1_500, loss), 2_000),
        ("a pause", pause(true), 1_500),
        ("a pause without a marker", pause(false), 1_500),
    ];
    for (name, trace, end) in cases {
        let (playout, _, ticks) = play(&trace, 1_500);
        assert!(concealed(&ticks[10..990]) <= 1, "{name}: fine before");
        let after = &ticks[end + SECOND..2_900];
        assert!(concealed(after) <= 3, "{name}: {} of {}, {:?}", concealed(after), after.len(), playout.statistics());
        assert!(after.iter().all(|tick| tick.delay_us <= 80_000), "{name}");
        assert!(ticks[1_020..end].iter().all(|tick| tick.pulled != Pulled::Decoded) || end < 1_300, "{name}");
    }
}

/// Goal: a handover to a slower network and back costs a moment each, and not the delay ever after. Method: the
/// way takes 20 ms, then 120, then 20.
#[test]
fn a_handover_is_followed() {
    let way = |index: u64| Some(if (1_000..2_000).contains(&index) { 120_000 } else { 20_000 });
    let (playout, _, ticks) = play(&talk(3_000, way), 3_000);
    let statistics = playout.statistics();
    let slower = &ticks[20 * SECOND..40 * SECOND];
    assert!(concealed(slower) <= 40, "400 ms: {} {statistics:?}", concealed(slower));
    assert!(concealed(&slower[SECOND..]) <= 2, "{statistics:?}");
    let faster = &ticks[41 * SECOND..59 * SECOND];
    assert!(concealed(faster) <= 2, "{} {statistics:?}", concealed(faster));
    assert!(ticks[50 * SECOND..59 * SECOND].iter().all(|tick| tick.buffered <= 8));
}

/// Goal: a stream begins within its first packets' delay, whatever their order, and settles near the floor.
/// Method: the first packets overtake each other; then a good network.
#[test]
fn a_start_is_quick() {
    let (_, codec, ticks) =
        play(&talk(1_000, |index| Some(if index < 3 { 2 * (3 - index) * FRAME_US } else { 0 })), 1_000);
    let first = ticks.iter().position(|tick| tick.pulled == Pulled::Decoded).unwrap();
    assert!(first <= 18, "{first}");
    assert!(codec.decoded.len() >= 990, "{}", codec.decoded.len());
    assert!(ticks[SECOND * 15..1_990].iter().all(|tick| tick.delay_us <= 45_000));
}

/// Goal: impossible timestamps do no lasting harm. Method: a sender whose media clock jumps by minutes, by half
/// a second back, and once runs backwards; after each jump, a second later, all is heard again.
#[test]
fn impossible_timestamps_pass() {
    let jump = |index: u64| -> u32 {
        let time = index as u32 * 960;
        match index {
            0..500 => time,
            500..1_000 => time.wrapping_add(48_000 * 240),
            1_000..1_500 => time.wrapping_add(48_000 * 240 - 24_000),
            1_500..1_520 => time.wrapping_sub((index as u32 - 1_490) * 1_920),
            _ => time,
        }
    };
    let trace: Trace = (0..2_000).map(|index| (index * FRAME_US + 1_000, index, jump(index), false)).collect();
    let (playout, codec, ticks) = play(&trace, 2_000);
    for second in [11, 21, 31] {
        let after = &ticks[second * SECOND + 10..(second + 8) * SECOND];
        assert!(concealed(after) <= 3, "{second} s: {} {:?}", concealed(after), playout.statistics());
        assert!(after.iter().all(|tick| tick.buffered <= 12), "{second} s");
    }
    assert!(codec.decoded.windows(2).all(|pair| pair[0] < pair[1]));
}

/// Goal: talkspurts are heard whole, pauses are silent, and none begins later for the one before. Method: DTX, as
/// libopus does it: 1 s of talk, 0.7 s of pause, with a refresh packet in it; 5 ms of jitter.
#[test]
fn talkspurts_are_heard_whole() {
    let mut trace = Trace::new();
    let mut index = 0;
    for spurt in 0..60_u64 {
        for frame in (0..50).chain([65]) {
            let sent = spurt * 85 + frame;
            trace.push((sent * FRAME_US + random(sent, 5_000), index, sent as u32 * 960, frame == 0 || frame == 65));
            index += 1;
        }
    }
    trace.sort_unstable();
    let (playout, codec, _) = play(&trace, 60 * 85);
    let statistics = playout.statistics();
    let missed: Vec<u64> = (0..index).filter(|index| !codec.decoded.contains(index)).collect();
    assert!(missed.is_empty(), "{missed:?} {statistics:?}");
    assert_eq!((statistics.missing, statistics.skipped, statistics.late), (0, 0, 0), "{statistics:?}");
    assert_eq!(statistics.talkspurts, 120, "{statistics:?}");
    assert!(statistics.delay_us <= 60_000, "{statistics:?}");
}

/// Goal: time that stands still, jumps or runs backwards between pulls does no harm. Method: three pulls at each.
#[test]
fn clocks_may_do_anything() {
    let mut playout = Playout::new();
    let mut codec = Recorder::default();
    for now_us in [0, u64::MAX, 5, 1 << 62, 1_000, 0] {
        for index in 0..3 {
            let index = index + now_us % 977;
            playout.insert(Packet {
                arrival_us: now_us,
                index,
                media_time: (now_us as u32).wrapping_mul(77),
                marker: false,
                payload: &payload(index),
            });
            playout.pull(now_us, &mut codec, &mut [0; TICK_SAMPLES]);
        }
    }
    assert!(playout.buffered() <= 64);
}
