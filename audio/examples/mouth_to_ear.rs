//! How much later than the mouth the ear hears it: of a recording of both at once, by correlation.
//!
//! In: `mouth_to_ear RECORDING`, raw `i16`, 48 kHz, two channels: left what was said, right what was heard.
//! Out: one line, `LAG_MS LIKENESS`. Exit code 1 if there is no sound on one of them.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use echomesh_audio::similarity::compare;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("mouth_to_ear RECORDING");
        return ExitCode::from(2);
    };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("mouth_to_ear: {path}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let channel = |at: usize| -> Vec<i16> {
        bytes.chunks_exact(4).map(|frame| i16::from_le_bytes([frame[at], frame[at + 1]])).collect()
    };
    let Some(found) = compare(&channel(0), &channel(2)) else {
        eprintln!("mouth_to_ear: {path}: one of its channels is silent");
        return ExitCode::FAILURE;
    };
    println!("{:.1} {:.3}", found.lag_ms, found.likeness);
    ExitCode::SUCCESS
}
