//! The shared vocabulary of EchoMesh: what travels on its wires, and the types that name things.
//!
//! Not a protocol engine: no rules of rooms, sessions or playout live here, and no I/O.
//!
//! # Layout
//! - [`control`] and [`framing`]: the control protocol, `EchoMsg` behind a 4-byte length.
//! - [`rtp`], [`rtcp`], [`srtp`]: voice on the wire (RFC 3550, 3711, 7714), as views and transforms
//!   over the caller's buffers; nothing allocates.
//! - [`reception`]: loss and jitter of a stream, for reports.
//! - [`ids`], [`limits`], [`time`]: ids, bounds and clocks. [`text`]: which characters a line may have.
//!
//! # Features
//! `control` (prost, bytes) and `srtp` (ring, aes) are on by default; the rest needs neither.
#![forbid(unsafe_code)]

#[cfg(feature = "control")]
pub mod control;
pub mod framing;
pub mod ids;
pub mod limits;
pub mod reception;
pub mod rtcp;
pub mod rtp;
#[cfg(feature = "srtp")]
pub mod srtp;
pub mod text;
pub mod time;
