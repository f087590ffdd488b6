//! Sound of EchoMesh: devices, Opus, WAV files, and the mix of all who speak.
//!
//! Not the network, and not the jitter buffer, which is the kernel `echomesh_playout`, here as [`playout`].
//! In: packets, files, pipes, microphones. Out: packets, files, pipes, loudspeakers. All sound inside is 48 kHz,
//! mono, `i16`.
//!
//! # Layout
//! [`source`] or [`alsa`] → [`processing`] → [`codec`] → [`talkspurt`] → the network → [`receiver`] → [`alsa`] or
//! [`sink`], kept going by [`engine`]; [`pcm`] is raw sound from and to other programs. [`adapt`] chooses how to encode by what the network reports; [`level`] is
//! what a packet tells about its loudness; [`wav`], [`opus_file`] and `resample` read files of any rate;
//! [`recording`] writes one for each speaker; [`similarity`] judges what arrived; [`thread`](mod@thread) is what a
//! thread asks of the system to be in time, and the one file with `unsafe`.
#![deny(unsafe_code)]

pub mod adapt;
pub mod alsa;
pub mod codec;
pub mod engine;
pub mod level;
pub mod opus_file;
pub mod pcm;
pub mod processing;
pub mod receiver;
pub mod recording;
mod resample;
pub mod similarity;
pub mod sink;
pub mod source;
pub mod talkspurt;
pub mod thread;
pub mod wav;

pub use echomesh_playout as playout;

/// Sample rate of all sound inside, Hz (RFC 7587 §4.1).
pub const SAMPLE_RATE: u32 = 48_000;

pub use echomesh_playout::TICK_SAMPLES;
