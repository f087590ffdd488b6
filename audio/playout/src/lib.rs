//! Playout kernel: turns the packets of one speaker, in whatever order they arrive, into a steady row of
//! 10 ms ticks.
//!
//! Not a decoder (the caller lends one through [`Decode`]) and not a clock (time comes in as numbers).
//!
//! ```
//! use echomesh_playout::{Decode, FRAME_SAMPLES, Packet, Playout, Pulled, TICK_SAMPLES};
//!
//! /// Every packet is 20 ms of its first byte.
//! struct Fake;
//! impl Decode for Fake {
//!     fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> usize {
//!         out[..FRAME_SAMPLES].fill(i16::from(packet[0]));
//!         FRAME_SAMPLES
//!     }
//!     fn recover(&mut self, _next_packet: &[u8], _out: &mut [i16]) -> usize {
//!         0
//!     }
//!     fn conceal(&mut self, out: &mut [i16]) -> usize {
//!         out.fill(0);
//!         out.len()
//!     }
//! }
//!
//! let mut playout = Playout::new();
//! playout.insert(Packet { arrival_us: 0, index: 0, media_time: 0, marker: true, payload: &[7] });
//! let mut tick = [0; TICK_SAMPLES];
//! assert_eq!(playout.pull(0, &mut Fake, &mut tick), Pulled::Silence, "it waits for the target delay");
//! assert_eq!(playout.pull(60_000, &mut Fake, &mut tick), Pulled::Decoded);
//! assert_eq!(tick[0], 7);
//! ```
//!
//! # Layout
//! [`playout`](Playout) decides; `order` knows which packet is next and `slots` keeps them; `position` unrolls
//! media times; `delay`, `losses` and `drift` learn from arrivals how long to wait and how fast the speaker's
//! clock is; `samples` holds what was decoded and not yet pulled, `splice` finds where it may be cut,
//! `reader` reads it at the speaker's pace, and `comfort` fills pauses with the speaker's background.
//! Bounds: a fixed number of slots of [`PAYLOAD_BYTES_MAX`] bytes; nothing is allocated after
//! [`Playout::new`]; a call costs at most one pass over the slots and one sort of 500 numbers, and a pull as
//! many decodes as fill a tick, plus, after a burst, those of the packets that came too late.
#![forbid(unsafe_code)]

mod comfort;
mod delay;
mod drift;
mod losses;
#[cfg(feature = "mistakes")]
pub mod mistakes;
#[cfg(not(feature = "mistakes"))]
mod mistakes;
mod order;
mod playout;
mod position;
mod reader;
mod samples;
mod slots;
mod splice;
mod statistics;

pub use playout::Playout;
pub use statistics::Statistics;

/// Samples of a tick, what a pull gives: 10 ms at 48 kHz, mono.
pub const TICK_SAMPLES: usize = 480;

/// A tick's length, microseconds.
pub const TICK_US: u64 = 10_000;

/// Samples of a frame, what most packets hold: 20 ms at 48 kHz, mono.
pub const FRAME_SAMPLES: usize = 960;

/// A frame's length, microseconds.
pub const FRAME_US: u64 = 20_000;

/// Longest Opus frame, bytes (RFC 6716 §3.4, R2); with one frame a packet, also the longest payload.
pub const PAYLOAD_BYTES_MAX: usize = 1_275;

/// Samples of the longest Opus packet: 120 ms at 48 kHz (RFC 6716 §3.4, R5).
pub const PACKET_SAMPLES_MAX: usize = 5_760;

/// A voice packet as it came from the network.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it arrived: microseconds on the clock that `pull` is given too.
    pub arrival_us: u64,
    /// 48-bit packet number: consecutive numbers mean that nothing was lost between them, whatever their
    /// media times say.
    pub index: u64,
    /// Media time of the first sample: 48 kHz, wrapping (RFC 7587 §4.1).
    pub media_time: u32,
    /// First packet of a talkspurt (RFC 3551 §4.1).
    pub marker: bool,
    /// Opus packet, 1 to [`PAYLOAD_BYTES_MAX`] bytes; copied.
    pub payload: &'a [u8],
}

/// What a packet carries of the sound before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redundancy {
    /// Nothing.
    None,
    /// A copy of the packet before it (in-band FEC, RFC 6716 §2.1.7).
    Copy,
    /// A history of up to a second (DRED).
    History,
}

/// The decoder a playout drives. All sound is 48 kHz mono; every call returns the samples written, which
/// are at most `out.len()`, and 0 if it cannot.
pub trait Decode {
    /// Decodes the next packet in order. `out` has room for [`PACKET_SAMPLES_MAX`].
    fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> usize;

    /// What this packet carries beside its own sound.
    fn redundancy(&self, _packet: &[u8]) -> Redundancy {
        Redundancy::Copy
    }

    /// Fills `out` with the lost sound just before `next_packet`, from the copy that packet carries (in-band
    /// FEC, RFC 6716 §2.1.7). 0 if it carries none.
    fn recover(&mut self, next_packet: &[u8], out: &mut [i16]) -> usize;

    /// Fills `out` with the sound just before `later_packet`, all of it lost, from the history that packet
    /// carries (DRED). 0 if it carries none. `out` is a multiple of 2.5 ms.
    fn recover_deep(&mut self, _later_packet: &[u8], _out: &mut [i16]) -> usize {
        0
    }

    /// Fills `out` with a guess at what was lost (RFC 6716 §4.4). `out` is a multiple of 2.5 ms.
    fn conceal(&mut self, out: &mut [i16]) -> usize;
}

/// Where the sound of a tick came from. If it is made of parts, the worst of them: later is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pulled {
    /// Packets that arrived.
    Decoded,
    /// What a later packet carries of a lost one.
    Recovered,
    /// The decoder's guess.
    Concealed,
    /// Nothing to play: between talkspurts, or before the first.
    Silence,
}
