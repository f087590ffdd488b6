//! Decoded sound that waits to be pulled, in order.
//!
//! Bounds: less than a frame is left over when a packet is decoded behind it, so one frame and the longest
//! packet always fit.

use crate::{FRAME_SAMPLES, PACKET_SAMPLES_MAX};

/// A first-in, first-out buffer of 48 kHz mono samples. Its default has no room, and only holds a place.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    buffer: Box<[i16]>,
    start: usize,
    end: usize,
}

impl Samples {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; FRAME_SAMPLES + PACKET_SAMPLES_MAX].into_boxed_slice(), start: 0, end: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Lets `write` fill up to `samples_max` behind what is there, and keeps as many as it says.
    pub(crate) fn append(&mut self, samples_max: usize, write: impl FnOnce(&mut [i16]) -> usize) -> usize {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = &mut self.buffer[self.end..];
        let room_samples = samples_max.min(room.len());
        let written = write(&mut room[..room_samples]).min(room_samples);
        self.end += written;
        written
    }

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Takes the last of what was appended back.
    pub(crate) fn retract(&mut self, samples: usize) {
        self.end = self.end.saturating_sub(samples).max(self.start);
    }

    /// Moves as much as there is into `out`, at most all of it, and fills the rest with silence.
    pub(crate) fn take(&mut self, out: &mut [i16; FRAME_SAMPLES]) {
        let taken = self.len().min(FRAME_SAMPLES);
        out[..taken].copy_from_slice(&self.buffer[self.start..self.start + taken]);
        out[taken..].fill(0);
        self.start += taken;
    }
}
