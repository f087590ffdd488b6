//! What a tick of the microphone's chain allocates: nothing of ours, and what the libraries do is known.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../server/shard/tests/allocations/alloc.rs"]
mod alloc;
mod signals;

use echomesh_audio::TICK_SAMPLES;
use echomesh_audio::adapt::{Adaptation, NetworkReport};
use echomesh_audio::codec::Frame;
use echomesh_audio::processing::{NoiseSuppression, Processing, ProcessingSettings};
use echomesh_audio::talkspurt::{TalkspurtSettings, Talkspurts};

/// Allocations of each tick, the most of them, after a second of it.
fn most_of_a_tick(settings: ProcessingSettings) -> u64 {
    let said = signals::speech(1, 3.0);
    let mut processing = Processing::new(&settings);
    let mut talkspurts = Talkspurts::new(TalkspurtSettings::default(), Frame::Ms10LowDelay);
    let mut adaptation = Adaptation::new(16_000, 128_000, Frame::Ms20);
    let mut most = 0;
    for (at, samples) in (0_u32..).zip(said.chunks_exact(TICK_SAMPLES)) {
        let mut tick: [i16; TICK_SAMPLES] = samples.try_into().unwrap();
        let before = alloc::count();
        processing.render(&tick);
        let activity = processing.capture(&mut tick);
        talkspurts.push(at * 480, &[activity], &[1, 2, 3]);
        while talkspurts.next_outgoing().is_some() {}
        let report = NetworkReport { loss: 0.1, burst_packets: 3.0, round_trip_us: Some(9), jitter_us: 9 };
        adaptation.report(u64::from(at), report);
        if at >= 100 {
            most = most.max(alloc::count() - before);
        }
    }
    most
}

/// Goal: high-pass, suppressors, gain, talkspurts and adaptation allocate nothing; the voice detector and the
/// echo canceller no more than their library is known to, which all is freed within the tick.
#[test]
fn a_tick_allocates_what_is_known() {
    let off = ProcessingSettings::off();
    let cases = [
        ("high-pass", 0, ProcessingSettings { high_pass: true, ..off }),
        ("gain and voice detection", 1, ProcessingSettings { gain: true, detect_voice: true, ..off }),
        ("noise", 0, ProcessingSettings { noise: NoiseSuppression::Moderate, ..off }),
        ("neural", 0, ProcessingSettings { noise: NoiseSuppression::Neural, ..off }),
        ("default", 1, ProcessingSettings::default()),
        ("echo", 64, ProcessingSettings { echo: true, ..off }),
    ];
    let counts = cases.map(|(name, known, settings)| (name, known, most_of_a_tick(settings)));
    println!("{counts:?}");
    for (name, known, most) in counts {
        assert!(most <= known, "{name}: {most} allocations in a tick, {known} known");
    }
}
