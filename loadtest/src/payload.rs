//! Sizes of the Opus packets that speakers send.
//!
//! Not encoding: what a packet holds does not matter to a server that never decodes; its bytes are a fixed pattern.

use std::fmt;
use std::str::FromStr;

use crate::opus_vbr::OPUS_VBR;

/// Longest payload, bytes: what a datagram holds beside header and tag, and far above Opus at 128 kbit/s.
pub const BYTES_MAX: usize = 1_000;

/// How long packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// All the same, bytes.
    Fixed(usize),
    /// As real speech is encoded.
    OpusVbr,
}

impl Payload {
    /// Bytes of one speaker's frame.
    #[must_use]
    pub fn bytes(self, speaker: usize, frame: usize) -> usize {
        match self {
            Payload::Fixed(bytes) => bytes,
            // Each speaker is elsewhere in the recording.
            Payload::OpusVbr => usize::from(OPUS_VBR[(speaker * 37 + frame) % OPUS_VBR.len()]),
        }
    }
}

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "opus-vbr" {
            return Ok(Payload::OpusVbr);
        }
        let bytes = text.parse().ok().filter(|bytes| (1..=BYTES_MAX).contains(bytes));
        bytes.map(Payload::Fixed).ok_or_else(|| format!("give 1 to {BYTES_MAX} bytes, or opus-vbr"))
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Fixed(bytes) => write!(f, "{bytes}"),
            Payload::OpusVbr => f.write_str("opus-vbr"),
        }
    }
}
