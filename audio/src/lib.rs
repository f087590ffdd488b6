//! Sound of EchoMesh: Opus, WAV files, and the mix of all who speak.
//!
//! Not a device and not a thread: who calls sets the pace, one frame of 20 ms at a time. Not the jitter
//! buffer either, which is the kernel `echomesh_playout`, here as [`playout`].
//! In: packets and WAV files. Out: packets and WAV files. All sound inside is 48 kHz, mono, `i16`.
//!
//! # Layout
//! [`source`] → [`codec`] → the network → [`receiver`] → [`sink`]; [`level`] is what a packet tells about
//! its loudness; [`wav`] and `resample` read files of any rate; [`similarity`] judges what arrived.
#![deny(unsafe_code)]

pub mod alsa;
pub mod codec;
pub mod level;
pub mod receiver;
mod resample;
pub mod similarity;
pub mod sink;
pub mod source;
pub mod thread;
pub mod wav;

pub use echomesh_playout as playout;

/// Sample rate of all sound inside, Hz (RFC 7587 §4.1).
pub const SAMPLE_RATE: u32 = 48_000;
