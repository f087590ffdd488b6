//! How much later than the mouth the ear hears it: of a recording of both at once, or of one each, by correlation.
//!
//! In: `mouth_to_ear RECORDING`, raw `i16`, 48 kHz, two channels: left what was said, right what was heard. Or
//! `mouth_to_ear SAID.wav HEARD.wav`, whose lag is of the second file's beginning.
//! Out: one line, `LAG_MS LIKENESS`. Exit code 1 if there is no sound on one of them.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use echomesh_audio::similarity::compare;
use echomesh_audio::wav;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let loaded = match &arguments[..] {
        [recording] => channels(recording),
        [said, heard] => load(said).and_then(|said| Ok((said, load(heard)?))),
        _ => {
            eprintln!("mouth_to_ear RECORDING, or SAID.wav HEARD.wav");
            return ExitCode::from(2);
        }
    };
    let found = loaded.and_then(|(said, heard)| {
        compare(&said, &heard).ok_or_else(|| format!("{}: one of the two is silent", arguments.join(", ")))
    });
    match found {
        Ok(found) => {
            println!("{:.1} {:.3}", found.lag_ms, found.likeness);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mouth_to_ear: {error}");
            ExitCode::FAILURE
        }
    }
}

fn load(path: &str) -> Result<Vec<i16>, String> {
    wav::load(Path::new(path)).map_err(|error| error.to_string())
}

/// Both channels of a raw recording.
fn channels(path: &str) -> Result<(Vec<i16>, Vec<i16>), String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let channel =
        |at: usize| bytes.chunks_exact(4).map(|frame| i16::from_le_bytes([frame[at], frame[at + 1]])).collect();
    Ok((channel(0), channel(2)))
}
