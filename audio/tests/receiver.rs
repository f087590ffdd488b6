//! Several speakers at once: what is mixed, who is heard, and that nothing is lost without being counted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod signals;

use echomesh_audio::codec::{Encoder, EncoderSettings};
use echomesh_audio::playout::{FRAME_SAMPLES, FRAME_US, PAYLOAD_BYTES_MAX, Packet, TICK_SAMPLES, TICK_US};
use echomesh_audio::receiver::{IDLE_TICKS, Receiver, SPEAKERS_MAX};
use echomesh_audio::similarity::compare;
use signals::{energy, frames, sine, speech};

/// Packets of one voice.
struct Talker {
    ssrc: u32,
    packets: Vec<Vec<u8>>,
}

impl Talker {
    fn new(ssrc: u32, samples: &[i16]) -> Self {
        let settings = EncoderSettings { dtx: false, bits_per_second: 64_000, ..EncoderSettings::default() };
        let mut encoder = Encoder::new(&settings).unwrap();
        let mut packet = |frame: &[i16; FRAME_SAMPLES]| {
            let mut payload = vec![0; PAYLOAD_BYTES_MAX];
            let length = encoder.encode(frame, &mut payload).unwrap();
            payload.truncate(length);
            payload
        };
        Self { ssrc, packets: frames(samples).map(|frame| packet(&frame)).collect() }
    }

    /// Lets the receiver have packet `index`, which arrives when it is said.
    fn send(&self, receiver: &mut Receiver, index: u64) {
        let Some(payload) = self.packets.get(index as usize) else { return };
        let (arrival_us, media_time) = (index * FRAME_US, index as u32 * 960);
        receiver.insert(self.ssrc, Packet { arrival_us, index, media_time, marker: index == 0, payload });
    }
}

/// Two ticks, a packet's time.
fn mix(receiver: &mut Receiver, now_us: u64, frame: &mut [i16; FRAME_SAMPLES]) -> usize {
    let ticks = frame.as_chunks_mut::<TICK_SAMPLES>().0.iter_mut();
    (0..).zip(ticks).map(|(at, tick)| receiver.mix(now_us + at * TICK_US, tick)).max().unwrap()
}

/// Plays all talkers through; returns the mix and the most heard at once.
fn listen(receiver: &mut Receiver, talkers: &[Talker], pulls: u64) -> (Vec<i16>, usize) {
    let mut heard = Vec::new();
    let mut most = 0;
    for index in 0..pulls {
        talkers.iter().for_each(|talker| talker.send(receiver, index));
        let mut frame = [0; FRAME_SAMPLES];
        most = most.max(mix(receiver, index * FRAME_US, &mut frame));
        heard.extend(frame);
    }
    (heard, most)
}

/// Goal: the way from speech to speech keeps it recognizable, at a steady delay. Method: 4 s, 1 talker.
#[test]
fn speech_arrives() {
    let said = speech(1, 4.0);
    let mut receiver = Receiver::new(SPEAKERS_MAX).unwrap();
    let (heard, most) = listen(&mut receiver, &[Talker::new(7, &said)], 220);
    let similarity = compare(&said, &heard).unwrap();
    assert!(similarity.likeness > 0.9, "{similarity:?}");
    assert!((20.0..80.0).contains(&similarity.lag_ms), "{similarity:?}");
    assert_eq!(most, 1);
    let totals = receiver.statistics().totals;
    assert_eq!(totals.played + totals.skipped, 200, "{totals:?}");
    assert!(totals.skipped <= 1, "to bring the delay down: {totals:?}");
}

/// Goal: loud speakers together do not wrap around, and quiet ones are simply added. Method: three sines
/// near full scale; two of a quarter.
#[test]
fn speakers_are_added_without_wrapping() {
    let sines = |amplitude: f64, hertz: &[f64]| -> Vec<Talker> {
        (1..).zip(hertz).map(|(ssrc, hertz)| Talker::new(ssrc, &sine(48_000, 1.0, *hertz, amplitude))).collect()
    };
    let (loud, most) = listen(&mut Receiver::new(3).unwrap(), &sines(30_000.0, &[200.0, 201.0, 202.0]), 50);
    assert_eq!(most, 3);
    assert!(loud.iter().any(|sample| *sample > 25_000));
    let steepest = loud.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
    assert!(steepest < 12_000, "a wrap-around jumps by 65 536, or 0 at best: {steepest}");
    let (quiet, _) = listen(&mut Receiver::new(2).unwrap(), &sines(8_000.0, &[300.0, 700.0]), 50);
    let power = |samples: &[i16]| energy(samples) / samples.len() as f64;
    let expected = 2.0 * power(&sine(48_000, 1.0, 300.0, 8_000.0));
    let ratio = power(&quiet[9_600..]) / expected;
    assert!((0.9..1.1).contains(&ratio), "two equal powers: {ratio}");
}

/// Goal: who is forgotten is silent, keeps its counts, and frees its place. Method: one place, two talkers.
#[test]
fn a_forgotten_speaker_frees_its_place() {
    let (first, second) = (Talker::new(1, &speech(1, 1.0)), Talker::new(2, &speech(2, 1.0)));
    let mut receiver = Receiver::new(1).unwrap();
    for index in 0..20 {
        first.send(&mut receiver, index);
        second.send(&mut receiver, index);
        mix(&mut receiver, index * FRAME_US, &mut [0; FRAME_SAMPLES]);
    }
    let statistics = receiver.statistics();
    assert_eq!((statistics.speakers, statistics.dropped_speaker_limit), (1, 20));
    receiver.forget(1);
    receiver.forget(99);
    let mut frame = [1; FRAME_SAMPLES];
    assert_eq!(mix(&mut receiver, 20 * FRAME_US, &mut frame), 0);
    assert_eq!(frame, [0; FRAME_SAMPLES]);
    assert_eq!(receiver.statistics().totals.played, statistics.totals.played);
    for index in 21..40 {
        second.send(&mut receiver, index);
        mix(&mut receiver, index * FRAME_US, &mut frame);
    }
    let after = receiver.statistics();
    assert_eq!((after.speakers, after.dropped_speaker_limit), (1, 20));
    let totals = after.totals;
    let ended = totals.played + totals.late + totals.duplicate + totals.skipped + totals.dropped_overflow;
    assert!((39 - 5..=39).contains(&ended), "all but what is still buffered: {after:?}");
}

/// Goal: one who fell silent makes room for another, one who speaks does not. Method: one place.
#[test]
fn a_silent_speaker_makes_room() {
    let (first, second) = (Talker::new(1, &speech(1, 0.2)), Talker::new(2, &speech(2, 1.0)));
    let mut receiver = Receiver::new(1).unwrap();
    let mut now = 0;
    let mut ticks = |receiver: &mut Receiver, count: u64| {
        for _ in 0..count {
            receiver.mix(now, &mut [0; TICK_SAMPLES]);
            now += TICK_US;
        }
    };
    (0..10).for_each(|index| first.send(&mut receiver, index));
    ticks(&mut receiver, 60);
    second.send(&mut receiver, 0);
    assert_eq!(receiver.statistics().dropped_speaker_limit, 1, "silent for less than a second");
    ticks(&mut receiver, u64::from(IDLE_TICKS));
    second.send(&mut receiver, 1);
    let statistics = receiver.statistics();
    assert_eq!((statistics.speakers, statistics.dropped_speaker_limit), (1, 1));
}

/// Goal: where nothing is lost the delay is as low as allowed; once packets go missing, it is a packet at least, so
/// that they can be recovered. Method: 6 s of speech, whole, and without every tenth packet.
#[test]
fn the_delay_is_low_until_packets_go_missing() {
    let talker = Talker::new(7, &speech(1, 6.0));
    for (loses, targets) in [(false, 10_000..20_000), (true, 20_000..60_000)] {
        let mut receiver = Receiver::with_floor(1, 10_000).unwrap();
        for index in 0..300 {
            if !(loses && index % 10 == 5) {
                talker.send(&mut receiver, index);
            }
            mix(&mut receiver, index * FRAME_US, &mut [0; FRAME_SAMPLES]);
        }
        let totals = receiver.statistics().totals;
        assert!(targets.contains(&totals.target_us), "{totals:?}");
    }
}
