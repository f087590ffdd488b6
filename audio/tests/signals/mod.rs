//! Sounds for tests: sines, chirps and two kinds of talkers, all computed, and measures of them.
//!
//! Not recordings: a talker is a row of vowels (a pulse train through three formants), hisses and pauses,
//! with its own pitch, rhythm and order.
#![allow(dead_code, reason = "each test file uses its part")]

use std::f64::consts::TAU;

use echomesh_audio::playout::FRAME_SAMPLES;

/// Cuts into whole frames; a rest is left out.
pub fn frames(samples: &[i16]) -> impl Iterator<Item = [i16; FRAME_SAMPLES]> {
    samples.chunks_exact(FRAME_SAMPLES).map(|frame| frame.try_into().unwrap())
}

pub fn energy(samples: &[i16]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}

pub fn sine(rate: u32, seconds: f64, hertz: f64, amplitude: f64) -> Vec<i16> {
    let samples = (seconds * f64::from(rate)) as u32;
    (0..samples).map(|n| (amplitude * (f64::from(n) * hertz * TAU / f64::from(rate)).sin()).round() as i16).collect()
}

/// White noise of this root mean square, each seed another.
pub fn noise(seed: u32, seconds: f64, rms: f64) -> Vec<i16> {
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut even = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1_u32 << 24) - 0.5
    };
    // Four even numbers make a bell that will do; their variance is 4 / 12.
    let scale = rms * 3.0_f64.sqrt();
    let sample = |_| (scale * (0..4).map(|_| even()).sum::<f64>()).round() as i16;
    (0..(seconds * 48_000.0) as usize).map(sample).collect()
}

/// A pitch that rises evenly.
pub fn chirp(rate: u32, seconds: f64, from_hertz: f64, to_hertz: f64) -> Vec<i16> {
    let sample = |n: u32| {
        let at = f64::from(n) / f64::from(rate);
        let turns = from_hertz * at + (to_hertz - from_hertz) * at * at / (2.0 * seconds);
        (8_000.0 * (turns * TAU).sin()) as i16
    };
    (0..(seconds * f64::from(rate)) as u32).map(sample).collect()
}

/// Formants of five vowels, Hz.
const VOWELS: [[f64; 3]; 5] = [
    [730.0, 1_090.0, 2_440.0],
    [270.0, 2_290.0, 3_010.0],
    [300.0, 870.0, 2_240.0],
    [530.0, 1_840.0, 2_480.0],
    [570.0, 840.0, 2_410.0],
];

/// A talker at 48 kHz; each seed has its own voice and text.
pub fn speech(seed: u32, seconds: f64) -> Vec<i16> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1_u32 << 24)
    };
    let samples = (seconds * 48_000.0) as usize;
    let pitch = 95.0 + 110.0 * random();
    let mut out: Vec<i16> = Vec::with_capacity(samples + 48_000);
    while out.len() < samples {
        let formants = VOWELS[(random() * 5.0) as usize % 5];
        let length = (48_000.0 * (0.08 + 0.17 * random())) as usize;
        let (start, end) = (pitch * (0.8 + 0.4 * random()), pitch * (0.8 + 0.4 * random()));
        let hisses = random() < 0.2;
        let mut memory = [[0.0; 2]; 3];
        let mut turn = 0.0;
        for n in 0..length {
            let along = n as f64 / length as f64;
            turn += (start + (end - start) * along) / 48_000.0;
            let pulse = if turn >= 1.0 { 1.0 } else { 0.0 };
            turn -= turn.floor();
            let breath = 0.02 * (random() - 0.5);
            let voice = if hisses { random() - 0.5 } else { pulse + breath };
            let mut sum = 0.0;
            for (formant, state) in formants.iter().zip(&mut memory) {
                // A resonance of 90 Hz width.
                let radius = (-TAU / 2.0 * 90.0 / 48_000.0_f64).exp();
                let next =
                    voice + 2.0 * radius * (TAU * formant / 48_000.0).cos() * state[0] - radius * radius * state[1];
                *state = [next, state[0]];
                sum += next * (TAU * formant / 48_000.0).sin();
            }
            let sound = if hisses { voice * 0.3 } else { sum };
            out.push((6_000.0 * sound * (along * TAU / 2.0).sin()).clamp(-30_000.0, 30_000.0) as i16);
        }
        out.resize(out.len() + (48_000.0 * 0.06 * random()) as usize, 0);
    }
    out.truncate(samples);
    out
}
