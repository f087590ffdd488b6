//! Sender adaptation: each rule, and that it neither wavers nor runs away.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use echomesh_audio::adapt::{Adaptation, NetworkReport};
use echomesh_audio::codec::{DRED_MS_MAX, EncoderSettings, Frame};
use proptest::prelude::*;

const GOOD: NetworkReport =
    NetworkReport { loss: 0.0, burst_packets: 0.0, round_trip_us: Some(20_000), jitter_us: 2_000 };

const BITS: (i32, i32) = (16_000, 128_000);

/// An adaptation and its clock.
struct Call {
    adaptation: Adaptation,
    now_us: u64,
}

impl Call {
    fn new(frame: Frame) -> Self {
        Self { adaptation: Adaptation::new(BITS.0, BITS.1, frame), now_us: 0 }
    }

    /// The same report every 2 s; the settings after each.
    fn hear(&mut self, seconds: u64, report: NetworkReport) -> Vec<EncoderSettings> {
        let once = |_| {
            self.now_us += 2_000_000;
            self.adaptation.report(self.now_us, report);
            self.adaptation.settings()
        };
        (0..seconds / 2).map(once).collect()
    }

    fn after(&mut self, seconds: u64, report: NetworkReport) -> EncoderSettings {
        *self.hear(seconds, report).last().unwrap()
    }
}

/// Goal: before any report it is what the codec has by default, within the range; a range that is none is put
/// right.
#[test]
fn it_begins_with_the_default() {
    assert_eq!(Adaptation::new(BITS.0, BITS.1, Frame::Ms20).settings(), EncoderSettings::default());
    assert_eq!(Adaptation::new(64_000, 1, Frame::Ms20).settings().bits_per_second, 64_000);
    assert_eq!(Adaptation::new(i32::MIN, 20_000, Frame::Ms20).settings().bits_per_second, 20_000);
}

/// Goal: a good network gets speech alone at the highest rate, slowly.
#[test]
fn a_good_network_gets_the_best() {
    let mut call = Call::new(Frame::Ms20);
    assert!(call.after(60, GOOD).bits_per_second < 64_000, "not at once");
    let settings = call.after(400, GOOD);
    assert_eq!((settings.bits_per_second, settings.fec, settings.dred_ms), (128_000, false, 0));
}

/// Goal: what the server allows is kept at once and for good, whatever the network bears or redundancy would like, and
/// taking it back lets the rate rise again.
#[test]
fn what_the_server_allows_is_kept() {
    let mut call = Call::new(Frame::Ms20);
    call.after(400, GOOD);
    call.adaptation.allow(64_000);
    assert_eq!(call.adaptation.settings().bits_per_second, 64_000);
    assert_eq!(call.after(400, GOOD).bits_per_second, 64_000);
    let lossy = NetworkReport { loss: 0.08, burst_packets: 4.0, ..GOOD };
    assert!(call.after(60, lossy).dred_ms > 0);
    call.adaptation.allow(8_000);
    let settings = call.adaptation.settings();
    assert!(settings.bits_per_second == 8_000 && settings.dred_ms == 0 && settings.fec, "no room: {settings:?}");
    assert!(call.hear(120, lossy).iter().all(|settings| settings.bits_per_second == 8_000 && settings.dred_ms == 0));
    call.adaptation.allow(0);
    assert_eq!(call.after(1_000, GOOD).bits_per_second, 128_000);
    call.adaptation.allow(1);
    assert_eq!(call.adaptation.settings().bits_per_second, 6_000, "the least there is");
}

/// Goal: single losses get FEC, bursts get DRED without FEC, at rates that have room for it.
#[test]
fn losses_choose_the_redundancy() {
    let mut call = Call::new(Frame::Ms20);
    let single = NetworkReport { loss: 0.05, burst_packets: 1.1, ..GOOD };
    let settings = call.after(20, single);
    assert!(settings.fec && settings.dred_ms == 0 && settings.expected_loss_percent >= 5, "{settings:?}");
    let bursts = NetworkReport { loss: 0.10, burst_packets: 5.0, ..GOOD };
    let settings = call.after(20, bursts);
    assert!(!settings.fec && settings.dred_ms >= 200 && settings.bits_per_second >= 24_000, "{settings:?}");
    assert!((10..=15).contains(&settings.expected_loss_percent), "{settings:?}");
    let settings = call.after(60, single);
    assert!(settings.fec && settings.dred_ms == 0, "{settings:?}");
    let settings = call.after(60, GOOD);
    assert!(!settings.fec && settings.dred_ms == 0, "{settings:?}");
}

/// Goal: loss, jitter and a queue bring the rate down within 20 s, and it comes back later than it went.
#[test]
fn congestion_brings_the_rate_down() {
    for bad in [
        NetworkReport { loss: 0.2, burst_packets: 1.5, ..GOOD },
        NetworkReport { jitter_us: 90_000, ..GOOD },
        NetworkReport { round_trip_us: Some(500_000), ..GOOD },
    ] {
        let mut call = Call::new(Frame::Ms20);
        let before = call.after(120, GOOD).bits_per_second;
        let down = call.after(20, bad).bits_per_second;
        assert!(down <= before / 2, "{before} to {down} by {bad:?}");
        let up = call.after(20, GOOD).bits_per_second;
        assert!(up < before * 3 / 4, "{down} to {up} in 20 s");
        assert!(call.after(900, GOOD).bits_per_second > before, "{bad:?}");
    }
}

/// Goal: a route that became longer is not taken for a queue for ever.
#[test]
fn a_longer_route_is_forgiven() {
    let mut call = Call::new(Frame::Ms20);
    let before = call.after(120, GOOD).bits_per_second;
    let longer = NetworkReport { round_trip_us: Some(400_000), ..GOOD };
    assert!(call.after(20, longer).bits_per_second < before);
    assert!(call.after(900, longer).bits_per_second > before);
}

/// Goal: a link that bears a rate and no more is tried ever more seldom. Method: loss whenever the rate is
/// over 60 kbit/s; rises over it are counted.
#[test]
fn a_full_link_is_not_tried_again_and_again() {
    let mut call = Call::new(Frame::Ms20);
    let mut tries = Vec::new();
    for second in (0..1_800).step_by(2) {
        let over = call.adaptation.settings().bits_per_second > 60_000;
        let bad = NetworkReport { loss: 0.3, burst_packets: 1.2, ..GOOD };
        let before = call.adaptation.settings().bits_per_second;
        if call.after(2, if over { bad } else { GOOD }).bits_per_second > 60_000 && before <= 60_000 {
            tries.push(second);
        }
    }
    println!("tried at {tries:?} s");
    assert!(!tries.is_empty() && tries.len() <= 12, "tried at {tries:?} s");
}

/// Goal: low delay has neither FEC nor DRED.
#[test]
fn low_delay_changes_rate_and_loss_alone() {
    let mut call = Call::new(Frame::Ms10LowDelay);
    for settings in call.hear(60, NetworkReport { loss: 0.2, burst_packets: 6.0, ..GOOD }) {
        assert!(!settings.fec && settings.dred_ms == 0 && settings.frame == Frame::Ms10LowDelay, "{settings:?}");
    }
    assert!(call.adaptation.settings().expected_loss_percent >= 20);
    assert!(call.adaptation.settings().bits_per_second < 32_000);
}

fn reports() -> impl Strategy<Value = NetworkReport> {
    let loss = prop_oneof![Just(0.0_f32), 0.0..0.05_f32, 0.0..1.0_f32, Just(f32::NAN), Just(-1.0)];
    let burst = prop_oneof![Just(0.0_f32), 1.0..3.0_f32, 0.0..1e9_f32, Just(f32::INFINITY)];
    let round_trip = prop_oneof![Just(None), (0..500_000_u64).prop_map(Some), any::<u64>().prop_map(Some)];
    let jitter = prop_oneof![0..100_000_u64, any::<u64>()];
    (loss, burst, round_trip, jitter).prop_map(|(loss, burst_packets, round_trip_us, jitter_us)| NetworkReport {
        loss,
        burst_packets,
        round_trip_us,
        jitter_us,
    })
}

/// How often a row of values turned round.
fn turns(values: impl Iterator<Item = i64>) -> usize {
    let values: Vec<i64> = values.collect();
    let mut signs: Vec<i64> =
        values.windows(2).map(|pair| (pair[1] - pair[0]).signum()).filter(|sign| *sign != 0).collect();
    signs.dedup();
    signs.len().saturating_sub(1)
}

proptest! {
    /// Goal: whatever is reported at whatever time, the settings are ones that the encoder takes.
    #[test]
    fn settings_are_always_possible(
        history in prop::collection::vec((any::<u32>(), reports(), prop::option::of(0_u32..200_000)), 0..200),
        low_delay: bool,
    ) {
        let frame = if low_delay { Frame::Ms10LowDelay } else { Frame::Ms20 };
        let mut adaptation = Adaptation::new(BITS.0, BITS.1, frame);
        let mut most = BITS.1;
        for (now_us, report, allowed) in history {
            adaptation.report(u64::from(now_us), report);
            if let Some(allowed) = allowed {
                adaptation.allow(allowed);
                most = if allowed == 0 { BITS.1 } else { (allowed as i32).clamp(6_000, BITS.1) };
            }
            let settings = adaptation.settings();
            prop_assert!((BITS.0.min(most)..=most).contains(&settings.bits_per_second));
            prop_assert!(settings.dred_ms == 0 || most >= 24_000, "no room for a history");
            prop_assert!((0..=30).contains(&settings.expected_loss_percent));
            prop_assert!(settings.dred_ms <= DRED_MS_MAX / 2);
            prop_assert!(!(settings.fec && settings.dred_ms > 0), "one starves the other");
        }
    }

    /// Goal: after any past, constant reports lead to constant settings without going to and fro: the
    /// redundancy changes at most twice (none, FEC, DRED are passed in order), the rate turns at most once
    /// (what the past left in the smoothing may still bring it down first; a longer route once more), and
    /// after 20 minutes nothing moves.
    #[test]
    fn constant_reports_bring_rest(history in prop::collection::vec(reports(), 0..60), report in reports()) {
        let mut call = Call::new(Frame::Ms20);
        for past in history {
            call.hear(2, past);
        }
        let settings = call.hear(6_000, report);
        let redundancy = |settings: &EncoderSettings| i64::from(settings.fec) + 2 * i64::from(settings.dred_ms > 0);
        let changes = settings.windows(2).filter(|pair| redundancy(&pair[0]) != redundancy(&pair[1])).count();
        prop_assert!(changes <= 2, "{changes} changes of redundancy");
        let rate = turns(settings.iter().map(|settings| i64::from(settings.bits_per_second)));
        prop_assert!(rate <= 2, "the rate turned {rate} times");
        let last = &settings[2_000..];
        prop_assert!(last.iter().all(|settings| settings == &last[0]), "{:?} to {:?}", last[0], last.last());
    }
}
