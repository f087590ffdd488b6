//! What a listener hears: playout driven in virtual time by scripted networks and a decoder that remembers
//! what it was asked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use echomesh_playout::{Decode, FRAME_SAMPLES, FRAME_US, Packet, Playout, Pulled};
use proptest::prelude::*;

/// Packets carry their number; every third one of kind "without FEC" is told by its ninth byte.
#[derive(Default)]
struct Recorder {
    decoded: Vec<u64>,
    recovered: Vec<u64>,
}

fn payload(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

fn number(packet: &[u8]) -> u64 {
    u64::from_be_bytes(packet[..8].try_into().unwrap())
}

impl Decode for Recorder {
    fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> usize {
        self.decoded.push(number(packet));
        out[..FRAME_SAMPLES].fill(number(packet) as i16);
        FRAME_SAMPLES
    }

    fn recover(&mut self, next_packet: &[u8], out: &mut [i16]) -> usize {
        self.recovered.push(number(next_packet) - 1);
        out.len()
    }

    fn conceal(&mut self, out: &mut [i16]) -> usize {
        out.len()
    }
}

/// Packets as (arrival µs, index, media time, marker).
type Trace = Vec<(u64, u64, u32, bool)>;

/// A speaker who talks without pause; `delay_us` gives each packet's way through the network, or its loss.
fn talk(frames: u64, delay_us: impl Fn(u64) -> Option<u64>) -> Trace {
    let sent = |index: u64| Some((index * FRAME_US + delay_us(index)?, index, index as u32 * 960, index == 0));
    let mut trace: Trace = (0..frames).filter_map(sent).collect();
    trace.sort_unstable();
    trace
}

/// Plays a trace, one pull every 20 ms from time 0 until `pulls` are done.
fn play(trace: &Trace, pulls: u64) -> (Playout, Recorder, Vec<Pulled>) {
    let mut playout = Playout::new();
    let mut codec = Recorder::default();
    let mut pulled = Vec::new();
    let mut waiting = trace.iter().peekable();
    for now_us in (0..pulls).map(|pull| pull * FRAME_US) {
        while let Some((arrival_us, index, media_time, marker)) = waiting.next_if(|packet| packet.0 <= now_us).copied()
        {
            playout.insert(Packet { arrival_us, index, media_time, marker, payload: &payload(index) });
        }
        let mut out = [0; FRAME_SAMPLES];
        pulled.push(playout.pull(now_us, &mut codec, &mut out));
    }
    (playout, codec, pulled)
}

/// Goal: a good network is played whole, in order, with a delay near the least. Method: 10 s, no jitter.
#[test]
fn a_good_network_is_played_whole() {
    let (playout, codec, pulled) = play(&talk(500, |_| Some(5_000)), 510);
    assert_eq!(codec.decoded.len(), 500, "those thrown away to bring the delay down are decoded too");
    assert!(codec.decoded.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(playout.statistics().delay_us <= 60_000, "{:?}", playout.statistics());
    let first = pulled.iter().position(|kind| *kind == Pulled::Decoded).unwrap();
    assert!(first <= 3, "speech starts within 60 ms of its arrival, not at pull {first}");
    assert!(pulled[first..490].iter().all(|kind| *kind == Pulled::Decoded));
}

/// Goal: single losses are healed from the next packet's copy, pairs by one guess and one copy, and the time
/// of what follows does not move. Method: drop packets 50, 100 and 101 of an even stream.
#[test]
fn losses_are_recovered_or_concealed_in_place() {
    let lost = [50, 100, 101];
    let (playout, codec, pulled) = play(&talk(150, |index| (!lost.contains(&index)).then_some(1_000)), 150);
    assert_eq!(codec.recovered, [50, 101]);
    let start = pulled.iter().position(|kind| *kind == Pulled::Decoded).unwrap();
    let skipped = playout.statistics().skipped as usize;
    assert_eq!(pulled[start + 50], Pulled::Recovered);
    assert_eq!(pulled[start + 100 - skipped..][..2], [Pulled::Concealed, Pulled::Recovered]);
    assert_eq!(playout.statistics().missing, 3);
}

/// Goal: a packet overtaken by others is played in its place. Method: delays of 0 or 25 ms by turns.
#[test]
fn reordered_packets_are_played_in_order() {
    let (playout, codec, _) = play(&talk(200, |index| Some(if index % 4 == 1 { 25_000 } else { 0 })), 220);
    assert!(codec.decoded.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(playout.statistics().late <= 1, "the first may come too late: {:?}", playout.statistics());
}

/// Goal: a stall of the network costs a pause, not the speech in it, and the delay stays under 200 ms ever
/// after. Method: packets 100 to 110 all arrive when 110 does; later 300 to 340.
#[test]
fn the_delay_grows_with_stalls_and_is_bounded() {
    let held = |index: u64| match index {
        100..=110 => (110 - index) * FRAME_US,
        300..=340 => (340 - index) * FRAME_US,
        _ => 0,
    };
    let (playout, codec, pulled) = play(&talk(1_000, |index| Some(held(index))), 1_000);
    let statistics = playout.statistics();
    assert!(codec.decoded.iter().filter(|index| (100..=110).contains(*index)).count() >= 10);
    assert!(playout.buffered() <= 10, "200 ms: {statistics:?}");
    assert!(statistics.skipped >= 30, "the longer stall was not replayed whole: {statistics:?}");
    assert!(pulled[400..].iter().all(|kind| *kind == Pulled::Decoded));
}

/// Goal: a pause (DTX, mute) is silence and no loss, and the delay is set anew after it. Method: two
/// talkspurts with consecutive indices and 1 s between in media time, the second on a network 10 ms slower.
#[test]
fn a_pause_is_no_loss() {
    let mut trace = talk(50, |_| Some(0));
    trace.extend(
        (50..100).map(|index| ((index + 50) * FRAME_US + 10_000, index, (index as u32 + 50) * 960, index == 50)),
    );
    let (playout, codec, pulled) = play(&trace, 160);
    assert_eq!(codec.decoded, (0..100).collect::<Vec<u64>>());
    let statistics = playout.statistics();
    assert_eq!((statistics.missing, statistics.recovered, statistics.talkspurts), (0, 0, 2));
    assert!(pulled[60..98].iter().all(|kind| *kind == Pulled::Silence), "silent between");
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
    let mut frame = [0; FRAME_SAMPLES];
    let send = |playout: &mut Playout, index: u64, now_us: u64| {
        let media_time = index as u32 * 960;
        playout.insert(Packet { arrival_us: now_us, index, media_time, marker: false, payload: &payload(index) });
    };
    (1_000..1_010).for_each(|index| send(&mut playout, index, 0));
    playout.pull(100_000, &mut codec, &mut frame);
    let counted = playout.reset();
    assert_eq!((counted.played, counted.dropped_overflow), (1, 9));
    assert_eq!((playout.buffered(), playout.statistics().played), (0, 0));
    assert_eq!(playout.pull(120_000, &mut codec, &mut frame), Pulled::Silence);
    assert_eq!(frame, [0; FRAME_SAMPLES]);
    send(&mut playout, 5, 200_000);
    assert_eq!(playout.pull(240_000, &mut codec, &mut frame), Pulled::Decoded);
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
        let mut frame = [0; FRAME_SAMPLES];
        let mut heard = 0;
        let mut index = 0;
        for now_us in (0..100).map(|pull| pull * FRAME_US) {
            while index * samples * 125 / 6 <= now_us {
                let (arrival_us, media_time) = (index * samples * 125 / 6, (index * samples) as u32);
                playout.insert(Packet { arrival_us, index, media_time, marker: index == 0, payload: &[1] });
                index += 1;
            }
            playout.pull(now_us, &mut Length(samples as usize), &mut frame);
            heard += frame.iter().filter(|sample| **sample == 1).count();
        }
        assert!(heard >= 90 * FRAME_SAMPLES, "{samples}: {heard} {:?}", playout.statistics());
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
        let (playout, codec, _) = play(&trace, fates.len() as u64 + 80);
        let statistics = playout.statistics();
        prop_assert_eq!(statistics.restarts, 0);
        prop_assert!(codec.decoded.windows(2).all(|pair| pair[0] < pair[1]), "in order, once");
        prop_assert!(codec.decoded.iter().all(|index| trace.iter().any(|packet| packet.1 == *index)));
        prop_assert_eq!(codec.decoded.len() as u64, statistics.played + statistics.skipped);
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
            playout.pull(arrival_us, &mut codec, &mut [0; FRAME_SAMPLES]);
        }
        let statistics = playout.statistics();
        let ended = statistics.played + statistics.undecodable + statistics.late + statistics.duplicate
            + statistics.skipped + statistics.dropped_overflow + statistics.dropped_invalid;
        prop_assert_eq!(ended + playout.buffered() as u64, inserted);
    }
}
