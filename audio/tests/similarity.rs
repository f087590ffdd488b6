//! The verdict "is this the same speech?": what must count as the same, and what must not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod signals;

use echomesh_audio::similarity::compare;
use signals::{sine, speech};

/// Goal: delay, volume and silence around do not matter. Method: half as loud, 700 ms later, silence after.
#[test]
fn a_delayed_copy_is_alike() {
    let said = speech(1, 3.0);
    let mut heard = vec![0; 33_600];
    heard.extend(said.iter().map(|sample| sample / 2));
    heard.resize(heard.len() + 48_000, 0);
    let similarity = compare(&said, &heard).unwrap();
    assert!(similarity.likeness > 0.99, "{similarity:?}");
    assert!((similarity.lag_ms - 700.0).abs() < 0.2, "{similarity:?}");
    let back = compare(&heard, &said).unwrap();
    assert!(back.likeness > 0.99 && (back.lag_ms + 700.0).abs() < 0.2, "{back:?}");
}

/// Goal: other speech is told apart, far below what the codec leaves. Method: every pair of four talkers.
#[test]
fn other_speech_is_not_alike() {
    let talkers: Vec<Vec<i16>> = (1..=4).map(|seed| speech(seed, 2.0)).collect();
    for (number, said) in talkers.iter().enumerate() {
        for heard in &talkers[number + 1..] {
            let similarity = compare(said, heard).unwrap();
            assert!(similarity.likeness < 0.35, "talker {number}: {similarity:?}");
        }
    }
}

/// Goal: a jitter buffer that drops or adds a frame costs little. Method: 20 ms cut out, 20 ms put in.
#[test]
fn a_moved_frame_costs_little() {
    let mut heard = speech(1, 5.0);
    let said = heard.clone();
    heard.drain(96_000..96_960);
    heard.splice(168_000..168_000, vec![0; 960]);
    let similarity = compare(&said, &heard).unwrap();
    assert!(similarity.likeness > 0.85, "{similarity:?}");
}

/// Goal: what is missing lowers it in proportion. Method: only the first half arrives.
#[test]
fn a_half_is_half_alike() {
    let said = speech(1, 4.0);
    let similarity = compare(&said, &said[..96_000]).unwrap();
    assert!((0.2..0.8).contains(&similarity.likeness), "{similarity:?}");
}

/// Goal: silence is neither alike nor unlike; a tone is not another tone.
#[test]
fn silence_and_tones() {
    let tone = sine(48_000, 1.0, 440.0, 8_000.0);
    assert_eq!(compare(&[], &tone), None);
    assert_eq!(compare(&tone, &[0; 48_000]), None);
    assert!(compare(&tone, &tone).unwrap().likeness > 0.99);
    assert!(compare(&tone, &sine(48_000, 1.0, 520.0, 8_000.0)).unwrap().likeness < 0.2);
}
