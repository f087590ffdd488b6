//! Voice rules: who hears a packet, under which number and key.

mod header;

pub use header::{VOICE_RECORD_HEADER_BYTES, VoiceHeader};
