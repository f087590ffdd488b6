//! Says a file into a microphone's far end and records what a loudspeaker plays, on one clock: what `mouth_to_ear`
//! compares. For sound devices that lead back to the machine, such as the kernel's snd-aloop.
//!
//! In: `mouth_and_ear MOUTH EAR SPEECH RECORDING`: devices as ALSA knows them, a WAV, and the file to write. The speech
//! is said twice: once so that jitter buffers settle, and once for the recording.
//! Out: raw `i16`, 48 kHz, two channels: left what was said, right what was heard meanwhile; and a line about xruns.
//! Bounds: two seconds more than twice the speech, which is five minutes at most. An xrun of its own moves what comes after
//! to where the clock says, so it costs a hole and no delay.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use echomesh_audio::SAMPLE_RATE;
use echomesh_audio::alsa::Direction;
use echomesh_audio::alsa::open::{Opened, open};
use echomesh_audio::alsa::port::{AlsaPort, Fault, Port};
use echomesh_audio::thread::{DEVICE_PRIORITY, begin_real_time};
use echomesh_audio::wav;

/// Period asked for, microseconds: long, as nobody waits for this program but its recording.
const PERIOD_US: u32 = 80_000;

/// Silence between the two and after the second, samples: more than any delay that is told.
const PAUSE: usize = SAMPLE_RATE as usize;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mouth, ear, speech, recording] = &arguments[..] else {
        eprintln!("mouth_and_ear MOUTH EAR SPEECH RECORDING");
        return ExitCode::from(2);
    };
    match run(mouth, ear, Path::new(speech), Path::new(recording)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mouth_and_ear: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mouth: &str, ear: &str, speech: &Path, recording: &Path) -> Result<String, String> {
    let opened = |name, direction| {
        let opened = open(name, direction, PERIOD_US).map_err(|error| error.to_string())?;
        let rate = opened.granted.rate;
        if rate == SAMPLE_RATE { Ok(opened) } else { Err(format!("{name} runs at {rate} Hz, not at {SAMPLE_RATE}")) }
    };
    let speech = wav::load(speech).map_err(|error| error.to_string())?;
    let (mouth, ear) = (opened(mouth, Direction::Playback)?, opened(ear, Direction::Capture)?);
    let pause = [0; PAUSE];
    let said = [&speech[..], &pause, &speech, &pause].concat();
    let tracks = Tracks::record(&mouth, &ear, &said).map_err(|fault| format!("a device fails: {fault:?}"))?;
    let from = tracks.began + speech.len() + PAUSE;
    let bytes: Vec<u8> = (from..tracks.said.len())
        .flat_map(|at| [tracks.said[at], tracks.heard.get(at).copied().unwrap_or(0)])
        .flat_map(i16::to_le_bytes)
        .collect();
    std::fs::write(recording, bytes).map_err(|error| format!("{}: {error}", recording.display()))?;
    Ok(format!("said and recorded with {} and {} xruns of its own", tracks.xruns[0], tracks.xruns[1]))
}

/// What was said and heard, both from the moment the recording began.
struct Tracks {
    said: Vec<i16>,
    heard: Vec<i16>,
    /// Where in them the first saying begins.
    began: usize,
    xruns: [u32; 2],
}

impl Tracks {
    fn record(mouth: &Opened, ear: &Opened, speech: &[i16]) -> Result<Self, Fault> {
        let (mut output, mut input) = (AlsaPort::new(mouth)?, AlsaPort::new(ear)?);
        let lead = vec![0; mouth.granted.period * mouth.lead];
        let mut period = vec![0; ear.granted.period];
        // An error means ordinary priority, which xruns will tell of.
        let _ = begin_real_time(DEVICE_PRIORITY);
        let mut tracks = Self { said: Vec::new(), heard: Vec::new(), began: 0, xruns: [0; 2] };
        input.start()?;
        let begin = Instant::now();
        write(&mut output, &lead)?;
        pad(&mut tracks.said, begin.elapsed());
        tracks.said.extend_from_slice(&lead);
        tracks.began = tracks.said.len();
        let mut rest = speech;
        while !rest.is_empty() {
            match input.wait().and_then(|_| input.read(&mut period)) {
                Ok(count) => tracks.heard.extend_from_slice(&period[..count]),
                Err(fault) => {
                    tracks.xruns[1] += 1;
                    input.recover(fault)?;
                    input.start()?;
                    pad(&mut tracks.heard, begin.elapsed());
                }
            }
            match write(&mut output, rest) {
                Ok(count) => {
                    tracks.said.extend_from_slice(&rest[..count]);
                    rest = &rest[count..];
                }
                Err(fault) => {
                    tracks.xruns[0] += 1;
                    output.recover(fault)?;
                    write(&mut output, &lead)?;
                    pad(&mut tracks.said, begin.elapsed());
                    tracks.said.extend_from_slice(&lead);
                }
            }
        }
        Ok(tracks)
    }
}

/// As much as the device takes now.
fn write(output: &mut impl Port, samples: &[i16]) -> Result<usize, Fault> {
    let period = output.granted().period;
    let mut done = 0;
    for part in samples.chunks(period) {
        let count = output.write(part)?;
        done += count;
        if count < part.len() {
            break;
        }
    }
    Ok(done)
}

/// Silence up to now.
fn pad(track: &mut Vec<i16>, now: Duration) {
    let samples = now.as_micros() as usize * SAMPLE_RATE as usize / 1_000_000;
    track.resize(samples.max(track.len()), 0);
}
