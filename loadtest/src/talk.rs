//! One thread's part of a step: its speakers send at their due times, and all its clients are served.
//!
//! Speakers of all threads are spread evenly over the 20 ms of a frame, so that no more than one is due at a time.
//! In: who speaks, and when the step begins. Out: counts in `Fleet::heard` and each client's `received` and `sent`.
//! Bounds: `BURST` packets before sockets are served again. Cost of a packet sent: a clock reading, an AEAD, a
//! system call.

use std::sync::Arc;

use crate::clock::{self, MILLISECOND, seconds};
use crate::failure::Outcome;
use crate::fleet::{Fleet, Pace};
use crate::load::{Talk, Times};
use crate::payload::{BYTES_MAX, Payload};

/// Between two packets of a speaker, nanoseconds.
pub const FRAME: u64 = 20 * MILLISECOND;

/// Packets sent before sockets are served again.
const BURST: u32 = 64;

/// RFC 6464: voice activity, 30 dB below the loudest.
const AUDIO_LEVEL: u8 = 0x80 | 30;

/// One speaker of this thread.
#[derive(Clone, Debug)]
pub struct Speaker {
    /// Its client.
    pub client: usize,
    /// Its stream's number among those of all threads.
    pub stream: usize,
    /// When in each frame's 20 ms it is due, nanoseconds.
    pub phase: u64,
    /// Where in its talk it is.
    pub spurts: Spurts,
}

/// A step's plan, the same for all threads.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// When it begins, nanoseconds of the real-time clock.
    pub start: u64,
    /// Its parts.
    pub times: Times,
    /// What is sent.
    pub payload: Payload,
    /// Number of rooms.
    pub rooms: u32,
}

impl Plan {
    /// When measuring begins and ends.
    #[must_use]
    pub fn measured(&self) -> std::ops::Range<u64> {
        let from = self.start + seconds(self.times.warm_s);
        from..from + seconds(self.times.measured_s)
    }

    /// When the drain ends.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.measured().end + seconds(self.times.drain_s)
    }
}

/// Talkspurts and silences of one speaker, drawn from its own seed: the same in every run.
#[derive(Clone, Debug)]
pub struct Spurts {
    talk: Talk,
    random: u64,
    talking: bool,
    /// Frames until it changes.
    left: u32,
    /// The next packet is a talkspurt's first.
    marker: bool,
}

impl Spurts {
    /// Of the `number`th speaker.
    #[must_use]
    pub fn new(talk: Talk, number: usize) -> Self {
        let random = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut spurts = Self { talk, random, talking: true, left: u32::MAX, marker: true };
        if let Talk::Spurts { speech_s, silence_s } = talk {
            // In the middle of speech or silence, as likely as each is long.
            spurts.talking = spurts.draw() < speech_s / (speech_s + silence_s);
            spurts.left = 0;
            spurts.turn();
            spurts.left = (f64::from(spurts.left) * spurts.draw()) as u32;
        }
        spurts
    }

    /// Uniform in 0..1 (xorshift64).
    fn draw(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Sets how long it goes on as it is.
    fn turn(&mut self) {
        let Talk::Spurts { speech_s, silence_s } = self.talk else { return };
        let mean_s = if self.talking { speech_s } else { silence_s };
        self.left = ((mean_s * (0.5 + self.draw()) * 50.0) as u32).max(1);
    }

    /// The next frame: `None` in silence, else whether it is a talkspurt's first.
    pub fn next_frame(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.talking = !self.talking;
            self.marker |= self.talking;
            self.turn();
        }
        if self.talk != Talk::Continuous {
            self.left -= 1;
        }
        self.talking.then(|| std::mem::take(&mut self.marker))
    }
}

impl Fleet {
    /// Plays this thread's part of a step. Gives what was said in each room by its speakers.
    ///
    /// # Errors
    /// As for `turn`.
    pub fn talk(&mut self, plan: &Plan, speakers: &mut [Speaker]) -> Outcome<Vec<u64>> {
        let measured = plan.measured();
        let mut said = vec![0; plan.rooms as usize];
        self.heard.reset();
        self.heard.measured = measured.clone();
        for client in &mut self.clients {
            (client.received, client.sent) = (0, 0);
        }
        speakers.sort_by_key(|speaker| speaker.phase);
        self.run_until(plan.start, Pace::Wait)?;
        self.begin_sweeping()?;
        let payload = payload_bytes();
        let streams = Arc::clone(&self.streams);
        let (mut next, mut frame) = (0, 0);
        loop {
            let mut due = measured.end;
            for _ in 0..BURST {
                let Some(speaker) = speakers.get_mut(next) else { break };
                due = plan.start + frame * FRAME + speaker.phase;
                let now = clock::real();
                if due > now || due >= measured.end {
                    break;
                }
                let stream = streams.at(speaker.stream);
                match speaker.spurts.next_frame() {
                    None => stream.skip(),
                    Some(marker) => {
                        let bytes = plan.payload.bytes(speaker.stream, frame as usize);
                        let media_time = stream.sent(now);
                        let taken =
                            self.clients[speaker.client].speak(media_time, marker, AUDIO_LEVEL, &payload[..bytes]);
                        let room = stream.room as usize;
                        said[room] += u64::from(self.note_sent(speaker.client, now, due, taken));
                    }
                }
                next += 1;
                if next == speakers.len() {
                    (next, frame) = (0, frame + 1);
                }
            }
            if clock::real() >= measured.end {
                break;
            }
            self.turn(due.min(measured.end), Pace::Batch)?;
        }
        self.heard.received_in_time = self.heard.received;
        self.run_until(plan.end(), Pace::Batch)?;
        self.end_sweeping()?;
        Ok(said)
    }

    /// Counts one packet; whether it is one of the measured time.
    fn note_sent(&mut self, client: usize, now: u64, due: u64, taken: bool) -> bool {
        if !taken {
            self.heard.unsent += 1;
            return false;
        }
        self.heard.all_sent += 1;
        let measured = self.heard.is_measured(now);
        if measured {
            self.heard.sent += 1;
            self.clients[client].sent += 1;
            self.heard.late.record(now - due);
        }
        measured
    }
}

/// What all packets hold.
fn payload_bytes() -> [u8; BYTES_MAX] {
    std::array::from_fn(|at| (at as u8).wrapping_mul(37) ^ 0x5A)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: continuous talk never pauses and has one first packet.
    #[test]
    fn continuous_talk_has_no_silence() {
        let mut spurts = Spurts::new(Talk::Continuous, 3);
        assert_eq!(spurts.next_frame(), Some(true));
        assert!((0..1_000).all(|_| spurts.next_frame() == Some(false)));
    }

    /// Goal: talkspurts have the share of time asked for, each begins with a marker, and speakers differ.
    #[test]
    fn talkspurts_keep_their_share() {
        let talk = Talk::Spurts { speech_s: 1.0, silence_s: 3.0 };
        let mut talking = 0;
        for number in 0..20 {
            let mut spurts = Spurts::new(talk, number);
            let mut before = None;
            for _ in 0..5_000 {
                let frame = spurts.next_frame();
                if before.is_some() && frame.is_some() {
                    assert_eq!(before.is_none(), frame == Some(true));
                }
                talking += u32::from(frame.is_some());
                before = frame;
            }
        }
        let share = f64::from(talking) / 100_000.0;
        assert!((0.22..0.28).contains(&share), "{share}");
        let starts: Vec<bool> = (0..40).map(|number| Spurts::new(talk, number).talking).collect();
        assert!(starts.contains(&true) && starts.contains(&false));
    }
}
