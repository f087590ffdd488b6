//! What the microphone's chain does to sound: hum, noise, echo and quiet talkers, all computed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod signals;

use echomesh_audio::TICK_SAMPLES;
use echomesh_audio::processing::{Activity, NoiseSuppression, Processing, ProcessingSettings};
use echomesh_audio::similarity::compare;
use signals::{energy, noise, sine, speech};

const SECOND: usize = 48_000;

/// Runs a microphone's sound through the chain, with a loudspeaker beside it.
fn run(settings: ProcessingSettings, render: &[i16], capture: &[i16]) -> (Vec<i16>, Vec<Activity>) {
    let mut processing = Processing::new(&settings);
    let mut out = Vec::with_capacity(capture.len());
    let mut activities = Vec::new();
    let mut rendered = render.chunks_exact(TICK_SAMPLES);
    for tick in capture.chunks_exact(TICK_SAMPLES) {
        if let Some(render) = rendered.next() {
            processing.render(render.try_into().unwrap());
        }
        let mut tick: [i16; TICK_SAMPLES] = tick.try_into().unwrap();
        activities.push(processing.capture(&mut tick));
        out.extend_from_slice(&tick);
    }
    (out, activities)
}

fn only(change: impl FnOnce(&mut ProcessingSettings)) -> ProcessingSettings {
    let mut settings = ProcessingSettings::off();
    change(&mut settings);
    settings
}

/// Level in dB against another's.
fn decibels(samples: &[i16], reference: &[i16]) -> f64 {
    let mean = |samples: &[i16]| energy(samples) / samples.len() as f64;
    10.0 * (mean(samples).max(1e-9) / mean(reference).max(1e-9)).log10()
}

fn mixed(left: &[i16], right: &[i16]) -> Vec<i16> {
    left.iter().zip(right).map(|(left, right)| left.saturating_add(*right)).collect()
}

fn scaled(samples: &[i16], factor: f64) -> Vec<i16> {
    samples.iter().map(|sample| (f64::from(*sample) * factor).round() as i16).collect()
}

/// Noise as of a fan: little above 2 kHz. RNNoise does not know white noise, which no room has.
fn fan(seed: u32, seconds: f64, rms: f64) -> Vec<i16> {
    let mut low = 0.0;
    let pass = |sample: i16| {
        low = 0.8 * low + 0.6 * f64::from(sample);
        low.round() as i16
    };
    noise(seed, seconds, rms).into_iter().map(pass).collect()
}

/// Goal: what is off changes no bit, and voice detection alone neither.
#[test]
fn off_is_bit_identical() {
    let said = mixed(&speech(1, 3.0), &noise(1, 3.0, 300.0));
    for settings in [ProcessingSettings::off(), only(|settings| settings.detect_voice = true)] {
        assert_eq!(run(settings, &[], &said).0, said, "{settings:?}");
    }
}

/// Goal: the high-pass takes mains hum and leaves speech. Method: 50 Hz alone, and a sine of 300 Hz.
#[test]
fn hum_is_removed() {
    let settings = only(|settings| settings.high_pass = true);
    for (hertz, least, most) in [(50.0, -200.0, -12.0), (300.0, -0.5, 0.5)] {
        let said = sine(48_000, 2.0, hertz, 5_000.0);
        let change = decibels(&run(settings, &[], &said).0[SECOND..], &said[SECOND..]);
        assert!((least..=most).contains(&change), "{hertz} Hz changed by {change:.1} dB");
    }
}

/// Goal: steady noise falls by 10 dB or more, and speech in it stays the same speech.
#[test]
fn noise_falls_and_speech_stays() {
    let clean: Vec<i16> = [vec![0; 2 * SECOND], speech(3, 6.0)].concat();
    let noisy = mixed(&clean, &fan(7, 8.0, 200.0));
    for (suppression, least) in
        [(NoiseSuppression::Moderate, 10.0), (NoiseSuppression::Strong, 14.0), (NoiseSuppression::Neural, 20.0)]
    {
        let (out, _) = run(only(|settings| settings.noise = suppression), &[], &noisy);
        let fall = -decibels(&out[SECOND..2 * SECOND], &noisy[SECOND..2 * SECOND]);
        let likeness = compare(&clean[2 * SECOND..], &out[2 * SECOND..]).unwrap().likeness;
        println!("{suppression:?}: noise falls by {fall:.1} dB, likeness of speech {likeness:.3}");
        assert!(fall >= least, "{suppression:?}: noise falls by {fall:.1} dB only");
        assert!(likeness >= 0.9, "{suppression:?}: likeness of speech {likeness:.3}");
    }
}

/// Goal: the chain's delay is what docs/AUDIO.md says: none for high-pass and gain, little for the bands of the
/// library's suppressor, a tick for RNNoise.
#[test]
fn the_delay_is_known() {
    let said = speech(6, 3.0);
    let lag_ms = |settings| compare(&said, &run(settings, &[], &said).0).unwrap().lag_ms;
    let high_pass = lag_ms(only(|settings| settings.high_pass = true));
    let gain = lag_ms(only(|settings| settings.gain = true));
    let noise = lag_ms(only(|settings| settings.noise = NoiseSuppression::Moderate));
    let echo = lag_ms(only(|settings| settings.echo = true));
    let neural = lag_ms(only(|settings| settings.noise = NoiseSuppression::Neural));
    let default = lag_ms(ProcessingSettings::default());
    println!("high-pass {high_pass}, gain {gain}, noise {noise}, echo {echo}, neural {neural}, default {default} ms");
    assert!(high_pass.abs() < 1.0 && gain.abs() < 0.1, "{high_pass} and {gain} ms");
    assert!(noise < 10.0 && echo < 10.0 && (9.0..=11.0).contains(&neural), "{noise}, {echo}, {neural} ms");
}

/// Goal: an echo falls by 20 dB or more once the canceller has heard 5 s of it, at any delay of a common
/// device, and who speaks at this end then is kept. Method: the loudspeaker's speech comes back 14 dB weaker;
/// then another talker joins in.
#[test]
fn an_echo_falls() {
    let settings = only(|settings| settings.echo = true);
    let far = speech(11, 14.0);
    for delay_ms in [20, 80, 200] {
        let delay = delay_ms * 48;
        let echo = scaled(&[vec![0; delay], far[..far.len() - delay].to_vec()].concat(), 0.2);
        let near: Vec<i16> = [vec![0; 10 * SECOND], speech(12, 4.0)].concat();
        let microphone = mixed(&mixed(&echo, &near), &noise(5, 14.0, 5.0));
        let (out, _) = run(settings, &far, &microphone);
        let fall = -decibels(&out[5 * SECOND..10 * SECOND], &microphone[5 * SECOND..10 * SECOND]);
        let likeness = compare(&near[10 * SECOND..], &out[10 * SECOND..]).unwrap().likeness;
        println!("{delay_ms} ms: the echo falls by {fall:.1} dB, likeness of who speaks then {likeness:.3}");
        assert!(fall >= 20.0, "{delay_ms} ms: the echo falls by {fall:.1} dB only");
        assert!(likeness >= 0.6, "{delay_ms} ms: likeness of who speaks over it {likeness:.3}");
    }
}

/// Goal: talkers of very different strength come out alike, and nobody clips. Method: one talker at three
/// volumes, 26 dB apart, compared after 10 s.
#[test]
fn gain_brings_talkers_together() {
    let settings = only(|settings| settings.gain = true);
    let said = speech(2, 15.0);
    let level = |factor: f64| {
        let said = scaled(&said, factor);
        let (out, _) = run(settings, &[], &said);
        assert!(out.iter().all(|sample| sample.unsigned_abs() < 32_700), "factor {factor}: clipped");
        let full_scale = [i16::MAX; 1];
        let level = decibels(&out[10 * SECOND..], &full_scale);
        println!("factor {factor}: {:.1} dBFS in, {level:.1} dBFS out", decibels(&said[10 * SECOND..], &full_scale));
        level
    };
    let levels = [0.05, 0.3, 1.0].map(level);
    for level in levels {
        assert!((level - levels[1]).abs() <= 6.0, "{levels:?} dBFS");
    }
}

/// Goal: the detector hears speech and not noise or silence, and says so in both fields. Method: speech
/// between silence and steady noise; the network takes a second to let go of speech that noise replaces.
#[test]
fn voice_is_told_from_noise() {
    let parts = [vec![0; SECOND], speech(4, 4.0), fan(3, 5.0, 800.0)];
    let (_, activities) = run(ProcessingSettings::default(), &[], &parts.concat());
    let share = |ticks: &[Activity]| ticks.iter().filter(|tick| tick.voice).count() as f64 / ticks.len() as f64;
    let (silence, voice, noise) = (share(&activities[..100]), share(&activities[100..500]), share(&activities[650..]));
    println!("voice in silence {silence:.2}, in speech {voice:.2}, in noise {noise:.2}");
    assert!(silence == 0.0 && voice > 0.6 && noise < 0.1, "{silence} {voice} {noise}");
    assert!(activities.iter().all(|tick| (tick.audio_level & 0x80 != 0) == tick.voice));
}
