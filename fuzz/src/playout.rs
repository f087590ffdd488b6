//! The playout kernel: packets and pulls with any numbers at any times.
//!
//! In: a floor of the delay, then packets, pulls, steps of the clock and resets. The codec writes what the packet's first
//! byte says: any length of sound, or nothing; history and copies or none. Checked: each packet ends in one of the
//! counts; a pull asks the codec a bounded number of times, for whole steps of 2.5 ms; what waits, the delay aimed at and
//! the drift corrected are within their bounds; loudness is a finite number. Where the clock only goes on, as a real one,
//! packets wait no longer than the buffer can hold.

use arbitrary::{Arbitrary, Result, Unstructured};
use echomesh_playout::{
    Decode, FRAME_SAMPLES, FRAME_US, PACKET_SAMPLES_MAX, PAYLOAD_BYTES_MAX, Packet, Playout, Redundancy, TICK_SAMPLES,
    TICK_US,
};

/// Longest delay aimed at, microseconds (docs/AUDIO.md).
const TARGET_US_MAX: u64 = 200_000;

/// Packets that the buffer holds.
const SLOTS: u64 = 64;

/// Calls of the codec in one pull: each packet that waits, used or thrown away, and what fills a tick.
const CALLS_MAX: u32 = 2 * SLOTS as u32 + 16;

/// Samples of 2.5 ms.
const STEP: usize = 120;

/// Steps of one script.
const OPS_MAX: usize = 3_000;

/// One step of the script.
#[derive(Arbitrary)]
enum Op {
    /// The next packet, so many further in number and so long after.
    Next { skipped: u8, media_step: u8, marker: bool, kind: u8 },
    /// A packet that came so many numbers after its turn, or before.
    Near { index: i8, media_time: i16, kind: u8 },
    /// Any packet.
    Any { index: u64, media_time: u32, marker: bool, length: u16, kind: u8 },
    /// Ticks as they should come.
    Pull { ticks: u8 },
    /// The clock goes on alone.
    Wait { us: u32 },
    /// It is anything; only here it may go back.
    Clock { us: u64 },
    /// As new.
    Reset,
}

/// A codec that counts.
#[derive(Default)]
struct Codec {
    calls: u32,
    samples: i16,
}

impl Codec {
    fn fill(&mut self, out: &mut [i16]) -> usize {
        self.calls += 1;
        for sample in out.iter_mut() {
            self.samples = self.samples.wrapping_mul(31).wrapping_add(17);
            *sample = self.samples;
        }
        out.len()
    }

    fn asked(&mut self, out: &mut [i16]) -> usize {
        assert!(out.len().is_multiple_of(STEP) && !out.is_empty(), "{} samples are no steps of 2.5 ms", out.len());
        self.fill(out)
    }
}

impl Decode for Codec {
    fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> usize {
        assert!(out.len() >= PACKET_SAMPLES_MAX, "room for the longest packet");
        match packet[0] {
            0 => {
                self.calls += 1;
                0
            }
            kind if kind < 200 => self.fill(&mut out[..FRAME_SAMPLES]),
            kind => self.fill(&mut out[..usize::from(kind % 48 + 1) * STEP]),
        }
    }

    fn redundancy(&self, packet: &[u8]) -> Redundancy {
        match packet[0] % 3 {
            0 => Redundancy::None,
            1 => Redundancy::Copy,
            _ => Redundancy::History,
        }
    }

    fn recover(&mut self, next_packet: &[u8], out: &mut [i16]) -> usize {
        if next_packet[0] % 3 == 1 { self.asked(out) } else { 0 }
    }

    fn recover_deep(&mut self, later_packet: &[u8], out: &mut [i16]) -> usize {
        if later_packet[0] % 3 == 2 { self.asked(out) } else { 0 }
    }

    fn conceal(&mut self, out: &mut [i16]) -> usize {
        self.asked(out)
    }
}

/// A playout and what went into it.
struct Stage {
    playout: Playout,
    codec: Codec,
    now_us: u64,
    /// The clock never went back, nor far ahead.
    is_steady: bool,
    index: u64,
    media_time: u32,
    inserted: u64,
}

/// See the module.
pub fn playout(data: &[u8]) {
    // Where bytes run out the script is over.
    let _ = script(&mut Unstructured::new(data));
}

fn script(input: &mut Unstructured<'_>) -> Result<()> {
    let floor_us = if input.arbitrary()? { FRAME_US } else { input.arbitrary()? };
    let mut stage = Stage {
        playout: Playout::with_floor(floor_us),
        codec: Codec::default(),
        now_us: 1_000_000,
        is_steady: true,
        index: input.int_in_range(0..=1 << 20)?,
        media_time: input.arbitrary()?,
        inserted: 0,
    };
    for _ in 0..OPS_MAX {
        if input.is_empty() {
            break;
        }
        stage.op(input.arbitrary()?);
        stage.check();
    }
    Ok(())
}

impl Stage {
    fn op(&mut self, op: Op) {
        match op {
            Op::Next { skipped, media_step, marker, kind } => {
                // Mostly none is lost.
                self.index += u64::from(skipped.saturating_sub(200)) + 1;
                let step = if media_step < 200 { 960 } else { u32::from(media_step - 199) * 120 };
                self.media_time = self.media_time.wrapping_add(step);
                self.insert(self.index, self.media_time, marker, 1 + usize::from(kind), kind);
            }
            Op::Near { index, media_time, kind } => {
                let index = self.index.saturating_add_signed(index.into());
                let media_time = self.media_time.wrapping_add_signed(media_time.into());
                self.insert(index, media_time, false, 40, kind);
            }
            Op::Any { index, media_time, marker, length, kind } => {
                self.insert(index, media_time, marker, usize::from(length) % (PAYLOAD_BYTES_MAX + 2), kind);
            }
            Op::Pull { ticks } => {
                for _ in 0..=ticks % 16 {
                    self.pull();
                    self.now_us = self.now_us.saturating_add(TICK_US);
                }
            }
            Op::Wait { us } => {
                self.now_us = self.now_us.saturating_add(us.into());
                self.is_steady &= u64::from(us) <= TICK_US;
            }
            Op::Clock { us } => {
                self.now_us = us;
                self.is_steady = false;
            }
            Op::Reset => {
                let counted = self.playout.reset();
                self.inserted = 0;
                assert!(counted.target_us <= TARGET_US_MAX);
                assert_eq!(self.playout.buffered(), 0);
            }
        }
    }

    fn insert(&mut self, index: u64, media_time: u32, marker: bool, length: usize, kind: u8) {
        let payload = vec![kind; length];
        self.playout.insert(Packet { arrival_us: self.now_us, index, media_time, marker, payload: &payload });
        self.inserted += 1;
    }

    fn pull(&mut self) {
        let mut out = [0; TICK_SAMPLES];
        self.codec.calls = 0;
        self.playout.pull(self.now_us, &mut self.codec, &mut out);
        assert!(self.codec.calls <= CALLS_MAX, "{} calls of the codec in one pull", self.codec.calls);
    }

    fn check(&self) {
        let (counted, buffered) = (self.playout.statistics(), self.playout.buffered() as u64);
        assert!(buffered <= SLOTS, "{buffered} packets wait");
        let ended = counted.played
            + counted.undecodable
            + counted.late
            + counted.duplicate
            + counted.skipped
            + counted.dropped_overflow
            + counted.dropped_invalid;
        assert_eq!(self.inserted, ended + buffered, "{counted:?}");
        assert!(counted.target_us <= TARGET_US_MAX, "it aims at {} us", counted.target_us);
        assert!(counted.drift_ppm.abs() <= 1_000, "it corrects {} ppm", counted.drift_ppm);
        let loudness = self.playout.loudness();
        assert!(loudness.is_finite() && (0.0..=1.0).contains(&loudness), "a loudness of {loudness}");
    }
}
