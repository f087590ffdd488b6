//! The least that a sound program can do: a period from a microphone, the same period to a loudspeaker.
//!
//! What our devices' threads are measured against: the same ALSA calls at the same priority, and nothing else.
//! In: `bare_loop MICROPHONE LOUDSPEAKER SECONDS [PERIOD_US]`, names as ALSA knows them. Out: frames and xruns.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use echomesh_audio::alsa::Direction;
use echomesh_audio::alsa::open::open;
use echomesh_audio::alsa::port::{AlsaPort, Fault, Port};
use echomesh_audio::thread::{DEVICE_PRIORITY, begin_real_time, lock_memory};

/// Period asked for if none is given, microseconds.
const PERIOD_US: u32 = 5_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(microphone), Some(loudspeaker), Some(seconds)) =
        (arguments.first(), arguments.get(1), arguments.get(2).and_then(|text| text.parse().ok()))
    else {
        eprintln!("bare_loop MICROPHONE LOUDSPEAKER SECONDS [PERIOD_US]");
        return ExitCode::from(2);
    };
    let period_us = arguments.get(3).and_then(|text| text.parse().ok()).unwrap_or(PERIOD_US);
    match run(microphone, loudspeaker, Duration::from_secs(seconds), period_us) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bare_loop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(microphone: &str, loudspeaker: &str, length: Duration, period_us: u32) -> Result<String, String> {
    let opened = |name, direction| open(name, direction, period_us).map_err(|error| error.to_string());
    let (from, to) = (opened(microphone, Direction::Capture)?, opened(loudspeaker, Direction::Playback)?);
    let gone = |fault: Fault| format!("the device fails: {fault:?}");
    let (mut input, mut output) = (AlsaPort::new(&from).map_err(gone)?, AlsaPort::new(&to).map_err(gone)?);
    let mut period = vec![0; from.granted.period];
    let locked = lock_memory().is_ok();
    let rights = begin_real_time(DEVICE_PRIORITY);
    let (mut frames, mut xruns, end) = (0, [0; 2], Instant::now() + length);
    fill(&mut output, to.granted.period, to.lead).map_err(gone)?;
    input.start().map_err(gone)?;
    while Instant::now() < end {
        match input.wait().and_then(|_| input.read(&mut period)) {
            Ok(count) => {
                frames += count;
                if let Err(fault) = output.write(&period[..count]) {
                    xruns[1] += 1;
                    output.recover(fault).map_err(gone)?;
                    fill(&mut output, to.granted.period, to.lead).map_err(gone)?;
                }
            }
            Err(fault) => {
                xruns[0] += 1;
                input.recover(fault).and_then(|()| input.start()).map_err(gone)?;
            }
        }
    }
    Ok(format!(
        "bare loop: {frames} frames, {} capture xruns, {} playback xruns; {}, {rights:?}, memory locked: {locked}",
        xruns[0], xruns[1], from.granted
    ))
}

/// Silence up to the lead, which starts the loudspeaker.
fn fill(output: &mut impl Port, period: usize, lead: usize) -> Result<(), Fault> {
    let silence = vec![0; period];
    (0..lead).try_for_each(|_| output.write(&silence).map(drop))
}
