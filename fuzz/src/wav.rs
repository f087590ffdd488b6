//! WAV files.
//!
//! Checked: any bytes are taken or refused with a sentence; no more sound comes out than the bytes can hold.

use std::path::Path;

use echomesh_audio::wav::decode;

/// Lowest and highest rates read, Hz, as docs/AUDIO.md has them: the lowest makes the most of a byte.
const UPSAMPLED_MAX: usize = 48_000 / 8_000;

/// See the module.
pub fn wav(data: &[u8]) {
    match decode(Path::new("fuzzed"), data.to_vec()) {
        // A byte is a sample at most.
        Ok(samples) => assert!(samples.len() <= (data.len() + 1) * UPSAMPLED_MAX),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
