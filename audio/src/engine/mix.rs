//! All who are heard, in ticks of 10 ms, where the receiver mixes 20 ms at a time.

use crate::TICK_SAMPLES;
use crate::playout::{FRAME_SAMPLES, Packet};
use crate::receiver::{Receiver, ReceiverStatistics};

/// The receiver, and the second half of the frame it mixed last.
pub(super) struct Mix {
    receiver: Receiver,
    frame: [i16; FRAME_SAMPLES],
    heard: usize,
    half: bool,
}

impl Mix {
    pub(super) fn new(receiver: Receiver) -> Self {
        Self { receiver, frame: [0; FRAME_SAMPLES], heard: 0, half: false }
    }
    pub(super) fn insert(&mut self, ssrc: u32, packet: Packet<'_>) {
        self.receiver.insert(ssrc, packet);
    }
    pub(super) fn forget(&mut self, ssrc: u32) {
        self.receiver.forget(ssrc);
    }
    pub(super) fn set_gain(&mut self, _ssrc: u32, _gain: f32) {}
    pub(super) fn statistics(&self) -> ReceiverStatistics {
        self.receiver.statistics()
    }
    pub(super) fn mix(&mut self, now_us: u64, out: &mut [i16; TICK_SAMPLES]) -> usize {
        if !self.half {
            self.heard = self.receiver.mix(now_us, &mut self.frame);
        }
        let start = if self.half { TICK_SAMPLES } else { 0 };
        out.copy_from_slice(&self.frame[start..start + TICK_SAMPLES]);
        self.half = !self.half;
        self.heard
    }
}
