//! What a listener hears: playout driven in virtual time by scripted networks and a decoder that remembers
//! what it was asked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scripted;

use echomesh_playout::{Decode, FRAME_SAMPLES, FRAME_US, Packet, Playout, Pulled, Redundancy, TICK_SAMPLES, TICK_US};
use proptest::prelude::*;
use scripted::{Recorder, Trace, payload, play, talk};

fn kinds(ticks: &[scripted::Tick]) -> Vec<Pulled> {
    ticks.iter().map(|tick| tick.pulled).collect()
}

/// Goal: a good network is played whole, in order, with a delay near the least. Method: 20 s, no jitter.
#[test]
fn a_good_network_is_played_whole() {
    let (playout, codec, ticks) = play(&talk(1_000, |_| Some(5_000)), 1_010);
    assert_eq!(codec.decoded, (0..1_000).collect::<Vec<u64>>());
    let statistics = playout.statistics();
    assert!(statistics.delay_us <= 40_000, "{statistics:?}");
    assert_eq!((statistics.skipped, statistics.concealed), (0, 6), "guesses after the last one: {statistics:?}");
    let first = ticks.iter().position(|tick| tick.pulled == Pulled::Decoded).unwrap();
    assert!(first <= 7, "speech starts within 70 ms of its arrival, not at tick {first}");
    assert!(ticks[first..2_000].iter().all(|tick| tick.pulled == Pulled::Decoded));
    // The hum goes on from packet to packet, and where some of it was left out to bring the delay down.
    let sound: Vec<i16> = ticks[first..1_990].iter().flat_map(|tick| tick.samples).collect();
    let steepest = sound.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
    assert!(steepest <= 130, "a hum of 100 Hz rises by 105 a sample, not {steepest}");
    assert!(statistics.compressed >= 480, "{statistics:?}");
}

/// Goal: single losses are healed from the next packet's copy, pairs by one guess and one copy, and the time
/// of what follows does not move. Method: drop packets 50, 70 and 71 of an even stream.
#[test]
fn losses_are_recovered_or_concealed_in_place() {
    let lost = [50, 70, 71];
    let (playout, codec, ticks) = play(&talk(90, |index| (!lost.contains(&index)).then_some(1_000)), 90);
    assert_eq!(codec.recovered, [50, 71]);
    assert_eq!(codec.concealed, FRAME_SAMPLES);
    let start = ticks.iter().position(|tick| tick.pulled == Pulled::Decoded).unwrap();
    let kinds = kinds(&ticks[start..]);
    assert_eq!(kinds[98..104], [[Pulled::Decoded; 2], [Pulled::Recovered; 2], [Pulled::Decoded; 2]].concat());
    let pair = [[Pulled::Decoded; 2], [Pulled::Concealed; 2], [Pulled::Recovered; 2], [Pulled::Decoded; 2]].concat();
    assert_eq!(kinds[138..146], pair);
    assert_eq!(playout.statistics().missing, 3);
}

/// Goal: each sample is what was said at its time, or a copy of it. Method: even stream with single losses; where
/// nothing is guessed the hum never breaks.
#[test]
fn every_sample_is_explained() {
    let (_, _, ticks) = play(&talk(90, |index| (index % 7 != 3).then_some(index % 3 * 4_000)), 90);
    let start = ticks.iter().position(|tick| tick.pulled == Pulled::Decoded).unwrap();
    for (n, tick) in ticks[start..170].iter().enumerate() {
        let (index, half) = (n as u64 / 2, n % 2);
        let mut said = [0; FRAME_SAMPLES];
        Recorder::default().decode(&payload(index), &mut said);
        assert_eq!(tick.samples, said[half * TICK_SAMPLES..][..TICK_SAMPLES], "tick {n}");
        assert_eq!(tick.pulled == Pulled::Recovered, index % 7 == 3, "tick {n}");
    }
}

/// Goal: a history heals a burst of losses in one go. Method: packets 50 to 53 lost, each carries a history.
#[test]
fn a_burst_is_recovered_from_a_history() {
    #[derive(Default)]
    struct Historian(Recorder, Vec<(u64, usize)>);
    impl Decode for Historian {
        fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> usize {
            self.0.decode(packet, out)
        }
        fn redundancy(&self, _packet: &[u8]) -> Redundancy {
            Redundancy::History
        }
        fn recover(&mut self, _next_packet: &[u8], _out: &mut [i16]) -> usize {
            0
        }
        fn recover_deep(&mut self, later_packet: &[u8], out: &mut [i16]) -> usize {
            self.1.push((u64::from_be_bytes(later_packet.try_into().unwrap()), out.len()));
            out.len()
        }
        fn conceal(&mut self, out: &mut [i16]) -> usize {
            self.0.conceal(out)
        }
    }
    let mut playout = Playout::with_floor(100_000);
    let mut codec = Historian::default();
    for now_us in (0..4_000_000).step_by(TICK_US as usize) {
        let index = now_us / FRAME_US;
        if now_us % FRAME_US == 0 && !(50..54).contains(&index) {
            let media_time = index as u32 * 960;
            playout.insert(Packet { arrival_us: now_us, index, media_time, marker: false, payload: &payload(index) });
        }
        playout.pull(now_us, &mut codec, &mut [0; TICK_SAMPLES]);
    }
    assert_eq!(codec.1, [(54, 4 * FRAME_SAMPLES)]);
    assert_eq!(codec.0.concealed, 0);
    assert_eq!(playout.statistics().recovered_deep, 4);
}

/// Goal: a packet overtaken by others is played in its place. Method: delays of 0 or 25 ms by turns.
#[test]
fn reordered_packets_are_played_in_order() {
    let (playout, codec, _) = play(&talk(200, |index| Some(if index % 4 == 1 { 25_000 } else { 0 })), 220);
    assert_eq!(codec.decoded, (0..200).collect::<Vec<u64>>(), "{:?}", playout.statistics());
}

/// Goal: of speech that a stall held up, what no longer fits is left out and the rest is heard, so the delay
/// stays within its bound. Method: packets 100 to 110 all arrive when 110 does; later 300 to 340.
#[test]
fn stalls_do_not_lengthen_the_delay_without_bound() {
    let held = |index: u64| match index {
        100..=110 => (110 - index) * FRAME_US,
        300..=340 => (340 - index) * FRAME_US,
        _ => 0,
    };
    let (playout, codec, ticks) = play(&talk(1_000, |index| Some(held(index))), 1_000);
    let statistics = playout.statistics();
    assert!(ticks.iter().all(|tick| tick.delay_us <= 200_000), "{statistics:?}");
    assert!(playout.buffered() <= 10 && statistics.target_us <= 200_000, "{statistics:?}");
    assert!(statistics.skipped >= 30, "the longer stall was not replayed: {statistics:?}");
    assert!(codec.decoded.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(ticks[800..1_990].iter().all(|tick| tick.pulled == Pulled::Decoded));
    assert!(ticks[240..590].iter().all(|tick| tick.pulled == Pulled::Decoded));
}

/// Goal: a packet that comes while its time is guessed is heard from there on. Method: one packet late by 50 ms
/// more than the others, so that half of it is left.
#[test]
fn the_rest_of_a_late_packet_is_heard() {
    let (playout, codec, ticks) = play(&talk(60, |index| Some(if index == 40 { 66_000 } else { 0 })), 60);
    let statistics = playout.statistics();
    assert_eq!(codec.recovered, [40], "the next one is there and has a copy: {statistics:?}");
    let (playout, codec, late) = play(
        &talk(60, |index| Some(if index >= 40 { (66_000_u64).saturating_sub((index - 40) * FRAME_US) } else { 0 })),
        60,
    );
    assert_eq!(codec.decoded, (0..codec.decoded.len() as u64).collect::<Vec<u64>>());
    let guessed = late[7..116].iter().filter(|tick| tick.pulled == Pulled::Concealed).count();
    assert_eq!(guessed, 2, "a guess of 20 ms, whose second tick fades into it: {:?}", playout.statistics());
    for (tick, other) in late.iter().zip(&ticks).skip(100).take(16) {
        assert_eq!(tick.samples, other.samples, "time has not moved");
    }
}

/// Goal: a pause (DTX, mute) is silence and no loss, and the delay is set anew after it. Method: two
/// talkspurts with consecutive indices and 1 s between in media time, the second on a network 10 ms slower.
#[test]
fn a_pause_is_no_loss() {
    let mut trace = talk(50, |_| Some(0));
    trace.extend(
        (50..100).map(|index| ((index + 50) * FRAME_US + 10_000, index, (index as u32 + 50) * 960, index == 50)),
    );
    let (playout, codec, ticks) = play(&trace, 160);
    assert_eq!(codec.decoded, (0..100).collect::<Vec<u64>>());
    let statistics = playout.statistics();
    assert_eq!((statistics.missing, statistics.recovered, statistics.talkspurts), (0, 0, 2));
    assert!(ticks[120..196].iter().all(|tick| tick.pulled == Pulled::Silence), "silent between");
}

/// Goal: a stream that begins anew is heard again soon. Method: indices fall back by far; then jump ahead.
#[test]
fn a_restarted_stream_is_heard_again() {
    let mut trace: Trace = (0..50).map(|n| (n * FRAME_US, 90_000 + n, n as u32 * 960, n == 0)).collect();
    trace.extend((50..100).map(|n| (n * FRAME_US, n, (n as u32).wrapping_mul(960).wrapping_add(1 << 31), false)));
    trace.extend((100..150).map(|n| (n * FRAME_US, 5_000 + n, n as u32 * 960, false)));
    let (playout, codec, _) = play(&trace, 160);
    assert_eq!(playout.statistics().restarts, 2);
    assert!(codec.decoded.iter().filter(|index| **index < 100).count() >= 40, "{:?}", playout.statistics());
    assert!(codec.decoded.contains(&5_149));
}

/// Goal: packets that cannot be are counted and never reach the decoder. Method: empty, long, 49-bit index.
#[test]
fn impossible_packets_are_counted() {
    let mut playout = Playout::new();
    let packet = Packet { arrival_us: 0, index: 0, media_time: 0, marker: false, payload: &[] };
    playout.insert(packet);
    playout.insert(Packet { payload: &[0; 1_276], ..packet });
    playout.insert(Packet { index: 1 << 48, payload: &[0; 8], ..packet });
    assert_eq!(playout.statistics().dropped_invalid, 3);
    assert_eq!(playout.buffered(), 0);
}

/// Goal: one that is reset is as a new one, for another speaker. Method: leave it in mid-talkspurt with
/// packets buffered, and play another stream, whose numbers are lower.
#[test]
fn a_reset_one_is_as_new() {
    let (mut playout, mut codec) = (Playout::new(), Recorder::default());
    let mut frame = [0; TICK_SAMPLES];
    let send = |playout: &mut Playout, index: u64, now_us: u64| {
        let media_time = index as u32 * 960;
        playout.insert(Packet { arrival_us: now_us, index, media_time, marker: false, payload: &payload(index) });
    };
    (1_000..1_010).for_each(|index| send(&mut playout, index, (index - 1_000) * FRAME_US));
    playout.pull(60_000, &mut codec, &mut frame);
    let counted = playout.reset();
    assert_eq!((counted.played, counted.dropped_overflow), (1, 9));
    assert_eq!((playout.buffered(), playout.statistics().played), (0, 0));
    assert_eq!(playout.pull(120_000, &mut codec, &mut frame), Pulled::Silence);
    assert_eq!(frame, [0; TICK_SAMPLES]);
    send(&mut playout, 5, 200_000);
    assert_eq!(playout.pull(260_000, &mut codec, &mut frame), Pulled::Decoded);
    assert_eq!(codec.decoded, [1_000, 5]);
    assert_eq!(playout.statistics().restarts, 0);
}

/// Goal: packets of other lengths than 20 ms play without gaps. Method: a decoder of 10 ms and one of 60 ms.
#[test]
fn packets_of_any_length_are_played_evenly() {
    struct Length(usize);
    impl Decode for Length {
        fn decode(&mut self, _packet: &[u8], out: &mut [i16]) -> usize {
            out[..self.0].fill(1);
            self.0
        }
        fn recover(&mut self, _next_packet: &[u8], _out: &mut [i16]) -> usize {
            0
        }
        fn conceal(&mut self, _out: &mut [i16]) -> usize {
            0
        }
    }
    for samples in [480_u64, 2_880] {
        let mut playout = Playout::new();
        let mut frame = [0; TICK_SAMPLES];
        let mut heard = 0;
        let mut index = 0;
        for now_us in (0..200).map(|pull| pull * TICK_US) {
            while index * samples * 125 / 6 <= now_us {
                let (arrival_us, media_time) = (index * samples * 125 / 6, (index * samples) as u32);
                playout.insert(Packet { arrival_us, index, media_time, marker: index == 0, payload: &[1] });
                index += 1;
            }
            playout.pull(now_us, &mut Length(samples as usize), &mut frame);
            heard += frame.iter().filter(|sample| **sample == 1).count();
        }
        assert!(heard >= 180 * TICK_SAMPLES, "{samples}: {heard} {:?}", playout.statistics());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Goal: whatever the network does, each packet is played at most once, in order, and ends in exactly one
    /// counter. Method: losses, jitter up to 300 ms, duplicates; a naive oracle keeps what was inserted.
    #[test]
    fn any_network_plays_in_order_and_once(
        fates in prop::collection::vec((0_u64..300_000, 0_u8..10), 1..300),
        pause_at in 0_u64..300,
    ) {
        let mut trace = Trace::new();
        for (index, (delay_us, fate)) in (0_u64..).zip(&fates) {
            let shift = if index >= pause_at { 40 } else { 0 };
            let packet = ((index + shift) * FRAME_US + delay_us, index, (index + shift) as u32 * 960, index == pause_at);
            if *fate > 0 {
                trace.push(packet);
            }
            if *fate == 9 {
                trace.push((packet.0 + 30_000, packet.1, packet.2, packet.3));
            }
        }
        trace.sort_unstable();
        let (playout, codec, ticks) = play(&trace, fates.len() as u64 + 80);
        let statistics = playout.statistics();
        prop_assert_eq!(statistics.restarts, 0);
        prop_assert!(codec.decoded.windows(2).all(|pair| pair[0] < pair[1]), "in order, once");
        prop_assert!(codec.decoded.iter().all(|index| trace.iter().any(|packet| packet.1 == *index)));
        prop_assert!(codec.decoded.len() as u64 >= statistics.played);
        prop_assert!(codec.decoded.len() as u64 <= statistics.played + statistics.skipped);
        prop_assert!(ticks.iter().all(|tick| tick.target_us <= 200_000));
        prop_assert_eq!(playout.buffered(), 0, "all is played in the end");
        let ended = statistics.played + statistics.late + statistics.duplicate + statistics.skipped;
        prop_assert_eq!(ended, trace.len() as u64);
    }

    /// Goal: on a network whose jitter the delay covers, what is heard is what a naive oracle says: decoded if
    /// it arrived, else recovered if the next arrived, else concealed. Method: losses without long bursts.
    #[test]
    fn covered_jitter_sounds_as_the_oracle_says(
        fates in prop::collection::vec((0_u64..15_000, prop::bool::weighted(0.1)), 60..300),
    ) {
        let lost = |index: u64| {
            let lost = |index: u64| fates.get(index as usize).is_none_or(|fate| fate.1);
            index > 0 && lost(index) && !(index > 1 && lost(index - 1))
        };
        let trace = talk(fates.len() as u64, |index| (!lost(index)).then(|| fates[index as usize].0));
        let (playout, codec, _) = play(&trace, fates.len() as u64 + 20);
        let arrived: Vec<u64> = trace.iter().map(|packet| packet.1).collect();
        let newest = *arrived.iter().max().unwrap();
        let mut expected: Vec<u64> = arrived.clone();
        expected.sort_unstable();
        prop_assert_eq!(&codec.decoded, &expected);
        let gaps: Vec<u64> = (0..newest).filter(|index| lost(*index)).collect();
        prop_assert_eq!(&codec.recovered, &gaps, "{:?}", playout.statistics());
    }

    /// Goal: nothing in a packet or a clock makes it panic or miscount. Method: arbitrary everything.
    #[test]
    fn arbitrary_input_is_survived(
        calls in prop::collection::vec((any::<u64>(), any::<u64>(), 0_u8..8, any::<u32>(), any::<bool>(), 0_usize..1_300), 1..200),
    ) {
        let mut playout = Playout::new();
        let mut inserted = 0;
        struct Odd(usize);
        impl Decode for Odd {
            fn decode(&mut self, packet: &[u8], _out: &mut [i16]) -> usize { self.0 += 1; packet.len() * self.0 % 7_000 }
            fn recover(&mut self, packet: &[u8], _out: &mut [i16]) -> usize { packet.len() % 3 * 480 }
            fn conceal(&mut self, out: &mut [i16]) -> usize { out.len() * 2 }
        }
        let mut codec = Odd(0);
        let bytes = [1; 1_300];
        for (time_us, index, kind, media_time, marker, length) in calls {
            // Most indices are near each other, or nothing would ever wait for anything.
            let index = if kind < 6 { index % 100 } else { index };
            let arrival_us = if kind % 2 == 0 { time_us % 10_000_000 } else { time_us };
            playout.insert(Packet { arrival_us, index, media_time, marker, payload: &bytes[..length] });
            inserted += 1;
            playout.pull(arrival_us, &mut codec, &mut [0; TICK_SAMPLES]);
        }
        let statistics = playout.statistics();
        let ended = statistics.played + statistics.undecodable + statistics.late + statistics.duplicate
            + statistics.skipped + statistics.dropped_overflow + statistics.dropped_invalid;
        prop_assert_eq!(ended + playout.buffered() as u64, inserted);
    }
}

/// Decodes every packet to the same faint rustle.
struct Rustle;

impl Decode for Rustle {
    fn decode(&mut self, _packet: &[u8], out: &mut [i16]) -> usize {
        out[..FRAME_SAMPLES].iter_mut().enumerate().for_each(|(n, sample)| *sample = [40, -35, 10, -20][n * n % 7 % 4]);
        FRAME_SAMPLES
    }

    fn recover(&mut self, _next_packet: &[u8], _out: &mut [i16]) -> usize {
        0
    }

    fn conceal(&mut self, out: &mut [i16]) -> usize {
        out.fill(0);
        out.len()
    }
}

/// Goal: the line does not go dead between two talkspurts, nor rustle before the first. Method: a second of
/// background, a pause of two, and another speaker's stream in its place after `reset`.
#[test]
fn a_pause_is_filled_with_the_background() {
    let mut playout = Playout::new();
    let mut tick = [0; TICK_SAMPLES];
    let mut loud = Vec::new();
    for n in 0..300_u64 {
        if n % 2 == 0 && n < 100 {
            let (index, media_time) = (n / 2, n as u32 / 2 * FRAME_SAMPLES as u32);
            let packet = Packet { arrival_us: n * TICK_US, index, media_time, marker: n == 0, payload: &[1] };
            playout.insert(packet);
        }
        let pulled = playout.pull(n * TICK_US, &mut Rustle, &mut tick);
        loud.push((pulled, tick.iter().any(|sample| sample.abs() > 10)));
    }
    assert_eq!(loud[0], (Pulled::Silence, false), "nothing was heard yet");
    assert!(loud[130..].iter().all(|heard| *heard == (Pulled::Silence, true)), "{:?}", &loud[130..140]);
    playout.reset();
    playout.pull(4_000_000, &mut Rustle, &mut tick);
    assert_eq!(tick, [0; TICK_SAMPLES]);
}
