//! How much of real speech a chain's voice detector and talkspurts leave out, and where; and what a tick costs.
//!
//! `voice_onsets SPEECH.wav [NOISE.wav]...`: speech with quiet pauses, and noises to mix in. For each noise,
//! at several strengths, and each pre-roll: frames that hold speech and are not sent, in all and within the
//! first 200 ms of a spurt of speech; frames sent without speech. Then the processor time of each setting.
//! What holds speech is known from the clean file alone. Not a test: the recordings are not in the repository (docs/AUDIO.md says which they were).
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use echomesh_audio::TICK_SAMPLES;
use echomesh_audio::codec::Frame;
use echomesh_audio::processing::{NoiseSuppression, Processing, ProcessingSettings};
use echomesh_audio::talkspurt::{TalkspurtSettings, Talkspurts};
use echomesh_audio::wav::load;

const FRAME: usize = 2 * TICK_SAMPLES;

/// Frames of an onset, and of a pause that comes before one: 200 ms.
const ONSET: usize = 10;

/// Rounds of the cost's measurement; the median tells.
const ROUNDS: usize = 9;

fn rms(samples: &[i16]) -> f64 {
    (samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}

/// Which frames hold speech: those within 20 dB of the loud ones, and those within 30 dB that are at most
/// 60 ms from one. What is alone and weak is breath.
fn truth(speech: &[i16]) -> Vec<bool> {
    let levels: Vec<f64> = speech.chunks_exact(FRAME).map(rms).collect();
    let mut sorted = levels.clone();
    sorted.sort_by(f64::total_cmp);
    let loud = sorted[sorted.len() * 95 / 100];
    let strong = |at: usize| levels[at] > loud / 10.0;
    let near = |at: usize| (at.saturating_sub(3)..(at + 4).min(levels.len())).any(strong);
    (0..levels.len()).map(|at| levels[at] > loud / 31.6 && near(at)).collect()
}

/// Frames of the first 200 ms after a pause.
fn onsets(truth: &[bool]) -> Vec<bool> {
    let mut onset = vec![false; truth.len()];
    let mut quiet = ONSET;
    for at in 0..truth.len() {
        if truth[at] && quiet >= ONSET {
            let end = (at + ONSET).min(truth.len());
            onset[at..end].copy_from_slice(&truth[at..end]);
        }
        quiet = if truth[at] { 0 } else { quiet + 1 };
    }
    onset
}

/// Which frames are sent.
fn sent(noisy: &[i16], pre_roll: usize) -> Vec<bool> {
    let mut processing = Processing::new(&ProcessingSettings::default());
    let mut talkspurts = Talkspurts::new(TalkspurtSettings { pre_roll, ..Default::default() }, Frame::Ms20);
    let mut sent = vec![false; noisy.len() / FRAME];
    for (at, frame) in (0..).zip(noisy.chunks_exact(FRAME)) {
        let activity = [0, 1].map(|half| {
            let mut tick = [0; TICK_SAMPLES];
            tick.copy_from_slice(&frame[half * TICK_SAMPLES..(half + 1) * TICK_SAMPLES]);
            processing.capture(&mut tick)
        });
        talkspurts.push(at * FRAME as u32, &activity, &[1]);
        while let Some(outgoing) = talkspurts.next_outgoing() {
            sent[outgoing.media_time as usize / FRAME] = true;
        }
    }
    sent
}

fn losses(speech: &[i16], cases: Vec<(String, Vec<i16>)>) {
    let truth = truth(speech);
    let onsets = onsets(&truth);
    println!(
        "| noise, speech over it | pre-roll | speech lost | at onsets | sent without speech |\n|---|---|---|---|---|"
    );
    for (label, noisy) in cases {
        for pre_roll in [0, 1, 2, 3] {
            let sent = sent(&noisy, pre_roll);
            let share = |of: &dyn Fn(usize) -> bool, when: bool| {
                let all = (0..sent.len()).filter(|at| of(*at)).count();
                let those = (0..sent.len()).filter(|at| of(*at) && sent[*at] == when).count();
                100.0 * those as f64 / all.max(1) as f64
            };
            println!(
                "| {label} | {} ms | {:.1} % | {:.1} % | {:.0} % |",
                pre_roll * 20,
                share(&|at| truth[at], false),
                share(&|at| onsets[at], false),
                share(&|at| !truth[at], true)
            );
        }
    }
}

/// Microseconds of a tick, the loudspeaker's side included: median of rounds over 10 s of speech.
fn cost(settings: ProcessingSettings, speech: &[i16]) -> f64 {
    let mut processing = Processing::new(&settings);
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            let mut ticks = 0;
            for samples in speech.chunks_exact(TICK_SAMPLES).take(1_000) {
                let mut tick = [0; TICK_SAMPLES];
                tick.copy_from_slice(samples);
                processing.render(&tick);
                processing.capture(&mut tick);
                ticks += 1;
            }
            begun.elapsed().as_secs_f64() * 1e6 / f64::from(ticks)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn costs(speech: &[i16]) {
    let off = ProcessingSettings::off();
    let cases = [
        ("nothing (level alone)", off),
        ("high-pass", ProcessingSettings { high_pass: true, ..off }),
        ("echo and high-pass", ProcessingSettings { high_pass: true, echo: true, ..off }),
        ("noise, moderate", ProcessingSettings { noise: NoiseSuppression::Moderate, ..off }),
        ("noise, neural", ProcessingSettings { noise: NoiseSuppression::Neural, ..off }),
        ("voice detection", ProcessingSettings { detect_voice: true, ..off }),
        ("voice detection and gain", ProcessingSettings { detect_voice: true, gain: true, ..off }),
        ("the default", ProcessingSettings::default()),
        ("the default with echo", ProcessingSettings { echo: true, ..ProcessingSettings::default() }),
    ];
    println!("\n| on | µs a tick | of a core |\n|---|---|---|");
    for (name, settings) in cases {
        let cost = cost(settings, speech);
        println!("| {name} | {cost:.0} | {:.2} % |", cost / 100.0);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut files = std::env::args().skip(1);
    let speech = load(Path::new(&files.next().ok_or("give a WAV file of speech, then files of noise")?))?;
    let speech_rms = rms(&speech);
    let mut cases = vec![("clean".to_owned(), speech.clone())];
    for name in files {
        let noise = load(Path::new(&name))?;
        for ratio_db in [20.0, 10.0, 5.0] {
            let scale = speech_rms / rms(&noise) / 10_f64.powf(ratio_db / 20.0);
            let mix = |(speech, noise): (&i16, &i16)| (f64::from(*speech) + scale * f64::from(*noise)) as i16;
            let label = format!("{} {ratio_db} dB", name.rsplit('/').next().unwrap_or(&name));
            cases.push((label, speech.iter().zip(noise.iter().cycle()).map(mix).collect()));
        }
    }
    losses(&speech, cases);
    costs(&speech);
    Ok(())
}
