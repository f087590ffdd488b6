//! Sound devices as ALSA knows them: what there is, opening one, and moving samples with it.
//!
//! Not a thread: who calls `capture` or `playback` lends its own. Not the resampler: samples have the rate
//! that the device granted, one channel, 16 bits.
//!
//! # Layout
//! [`list`] tells what there is and what each can do; [`open`] opens one; `error` says what is wrong and what
//! to do about it. `port` moves samples and nothing else; [`capture`] and [`playback`] are the loops of the
//! real-time threads over it, and [`device`] is such a thread with all that is not real time: opening, saying
//! so, and trying again. [`shared`] is what the others may see of it.
//!
//! # Readi and writei, not mmap
//! A period is 480 bytes: the copy that mmap saves is 30 ns of the 5 ms. Plugins (`pulse`, `pipewire`,
//! `dsnoop`) offer mmap by a copy of their own, and some not at all.

pub mod capture;
pub mod device;
mod error;
pub mod list;
pub mod open;
pub mod playback;
pub mod port;
pub mod shared;

pub use error::{DeviceError, Problem};

/// Which way samples go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a microphone.
    Capture,
    /// To a loudspeaker.
    Playback,
}

impl Direction {
    fn alsa(self) -> ::alsa::Direction {
        match self {
            Direction::Capture => ::alsa::Direction::Capture,
            Direction::Playback => ::alsa::Direction::Playback,
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Direction::Capture => "capture",
            Direction::Playback => "playback",
        })
    }
}
