//! Sound of EchoMesh: Opus, WAV files, and the mix of all who speak.
//!
//! Not a device and not a thread: who calls sets the pace, one frame of 20 ms at a time. Not the jitter
//! buffer either, which is the kernel `echomesh_playout`, here as [`playout`].
//! In: packets and WAV files. Out: packets and WAV files. All sound inside is 48 kHz, mono, `i16`.
//!
//! # Layout
//! [`source`] → [`processing`] → [`codec`] → [`talkspurt`] → the network → [`receiver`] → [`sink`]; [`adapt`]
//! chooses how to encode by what the network reports; [`level`] is what a packet tells about its loudness; [`wav`], [`opus_file`] and `resample` read files of any rate; [`recording`] writes one for each speaker; [`similarity`] judges what arrived.
#![forbid(unsafe_code)]

pub mod adapt;
pub mod codec;
pub mod level;
pub mod opus_file;
pub mod processing;
pub mod receiver;
pub mod recording;
mod resample;
pub mod similarity;
pub mod sink;
pub mod source;
pub mod talkspurt;
pub mod wav;

pub use echomesh_playout as playout;

/// Sample rate of all sound inside, Hz (RFC 7587 §4.1).
pub const SAMPLE_RATE: u32 = 48_000;

/// Samples of the engine's tick: 10 ms, mono.
pub const TICK_SAMPLES: usize = SAMPLE_RATE as usize / 100;
