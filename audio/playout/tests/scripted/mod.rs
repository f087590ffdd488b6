//! Scripted networks, a decoder that remembers what it was asked, and the virtual time they run in.
//!
//! Packets carry their number; their sound is a hum that goes on from each to the next, so that cuts are heard.
#![allow(dead_code, reason = "each test file uses its part")]

use echomesh_playout::{Decode, FRAME_SAMPLES, FRAME_US, Packet, Playout, Pulled, TICK_SAMPLES, TICK_US};

/// Samples of the hum's period: 100 Hz.
const HUM: u64 = 480;

#[derive(Default)]
pub struct Recorder {
    pub decoded: Vec<u64>,
    pub recovered: Vec<u64>,
    /// Samples concealed.
    pub concealed: usize,
}

pub fn payload(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

fn number(packet: &[u8]) -> u64 {
    u64::from_be_bytes(packet[..8].try_into().expect("payload() made it"))
}

fn hum(out: &mut [i16], start: u64) {
    for (n, sample) in (start..).zip(out) {
        *sample = (8_000.0 * ((n % HUM) as f64 / HUM as f64 * std::f64::consts::TAU).sin()) as i16;
    }
}

impl Decode for Recorder {
    fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> usize {
        self.decoded.push(number(packet));
        hum(&mut out[..FRAME_SAMPLES], number(packet) * FRAME_SAMPLES as u64);
        FRAME_SAMPLES
    }

    fn recover(&mut self, next_packet: &[u8], out: &mut [i16]) -> usize {
        self.recovered.push(number(next_packet) - 1);
        hum(out, (number(next_packet) - 1) * FRAME_SAMPLES as u64);
        out.len()
    }

    fn conceal(&mut self, out: &mut [i16]) -> usize {
        self.concealed += out.len();
        hum(out, 0);
        out.len()
    }
}

/// Packets as (arrival µs, index, media time, marker).
pub type Trace = Vec<(u64, u64, u32, bool)>;

/// A speaker who talks without pause; `delay_us` gives each packet's way through the network, or its loss.
pub fn talk(frames: u64, delay_us: impl Fn(u64) -> Option<u64>) -> Trace {
    let sent = |index: u64| Some((index * FRAME_US + delay_us(index)?, index, index as u32 * 960, index == 0));
    let mut trace: Trace = (0..frames).filter_map(sent).collect();
    trace.sort_unstable();
    trace
}

/// A tick as it was pulled.
pub struct Tick {
    pub pulled: Pulled,
    pub samples: [i16; TICK_SAMPLES],
    /// What waits then, packets, and the delay aimed at and found.
    pub buffered: usize,
    pub target_us: u64,
    pub delay_us: u64,
}

/// Plays a trace, one pull every 10 ms from time 0 until so many frames of 20 ms are pulled.
pub fn play(trace: &Trace, frames: u64) -> (Playout, Recorder, Vec<Tick>) {
    let mut playout = Playout::new();
    let mut codec = Recorder::default();
    let mut ticks = Vec::new();
    let mut waiting = trace.iter().peekable();
    for now_us in (0..frames * FRAME_US).step_by(TICK_US as usize) {
        while let Some((arrival_us, index, media_time, marker)) = waiting.next_if(|packet| packet.0 <= now_us).copied()
        {
            playout.insert(Packet { arrival_us, index, media_time, marker, payload: &payload(index) });
        }
        let mut samples = [0; TICK_SAMPLES];
        let pulled = playout.pull(now_us, &mut codec, &mut samples);
        let statistics = playout.statistics();
        let (buffered, target_us, delay_us) = (playout.buffered(), statistics.target_us, statistics.delay_us);
        ticks.push(Tick { pulled, samples, buffered, target_us, delay_us });
    }
    (playout, codec, ticks)
}

/// A number from a row that only its place decides, below `bound`.
pub fn random(place: u64, bound: u64) -> u64 {
    let mut mixed = place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ mixed >> 31) % bound
}
