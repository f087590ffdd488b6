//! What arrives of speech over bad networks, judged by likeness: a quick subset of docs/AUDIO.md's measurements.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod signals;

use echomesh_audio::codec::{Decoder, Encoder, EncoderSettings};
use echomesh_audio::playout::{FRAME_US, PAYLOAD_BYTES_MAX, Packet, Playout, Statistics, TICK_SAMPLES, TICK_US};
use echomesh_audio::similarity::{Similarity, compare};
use signals::{frames, speech};

/// Sends 6 s of speech; `way_us` gives each packet's way, or its loss.
fn call(way_us: impl Fn(u64) -> Option<u64>) -> (Similarity, Statistics) {
    let said = speech(1, 6.0);
    let mut encoder = Encoder::new(&EncoderSettings { dtx: false, ..EncoderSettings::default() }).unwrap();
    let mut arrivals = Vec::new();
    for (index, frame) in (0_u64..).zip(frames(&said)) {
        let mut payload = vec![0; PAYLOAD_BYTES_MAX];
        let length = encoder.encode(&frame, &mut payload).unwrap();
        payload.truncate(length);
        if let Some(way_us) = way_us(index) {
            arrivals.push((index * FRAME_US + way_us, index, payload));
        }
    }
    arrivals.sort();
    let (mut playout, mut decoder) = (Playout::new(), Decoder::new().unwrap());
    let mut waiting = arrivals.iter().peekable();
    let mut heard = Vec::new();
    for now_us in (0..6_500_000).step_by(TICK_US as usize) {
        while let Some((arrival_us, index, payload)) = waiting.next_if(|packet| packet.0 <= now_us) {
            let (arrival_us, media_time) = (*arrival_us, *index as u32 * 960);
            playout.insert(Packet { arrival_us, index: *index, media_time, marker: *index == 0, payload });
        }
        let mut tick = [0; TICK_SAMPLES];
        playout.pull(now_us, &mut decoder, &mut tick);
        heard.extend(tick);
    }
    (compare(&said, &heard).unwrap(), playout.statistics())
}

/// Goal: losses and jitter cost little of what is recognized, and no delay. Method: one packet in 20 lost; a
/// stall of 100 ms each second; both against a good network.
#[test]
fn bad_networks_are_heard_through() {
    let (good, _) = call(|_| Some(20_000));
    let (lossy, losses) = call(|index| (index % 20 != 7).then_some(20_000));
    let (stalled, stalls) = call(|index| Some(5_000 + (100_000_u64).saturating_sub(index % 50 * FRAME_US)));
    assert!(good.likeness > 0.9, "{good:?}");
    assert!(lossy.likeness > good.likeness - 0.05, "{lossy:?} of {good:?}, {losses:?}");
    assert!(stalled.likeness > good.likeness - 0.2, "{stalled:?} of {good:?}, {stalls:?}");
    assert!(lossy.lag_ms < good.lag_ms + 10.0, "{lossy:?} of {good:?}");
    assert!(losses.recovered >= 12, "{losses:?}");
}
