//! Playout buffers at honest listeners: what `echomesh_playout` does with the packets that came, in virtual time.
//!
//! Not sound: the codec counts which frames it was given and fills in silence. A buffer is pulled when something comes
//! for it, as often as its device would have since; one for which nothing comes rests.
//! Checked: no packet waits longer than the longest delay, each frame is played once and in order.
//! Bounds: a buffer a stream heard; one that was silent for `FORGOTTEN_US` is dropped.

use std::collections::BTreeMap;

use echomesh_playout::{Decode, FRAME_SAMPLES, Packet, Playout, Pulled, TICK_SAMPLES, TICK_US};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::Time;

use crate::client::Said;

/// Longest wait from arrival to play, microseconds: the playout's own bound on its delay.
const DELAY_US_MAX: u64 = 200_000;

/// Silence after which a buffer is pulled no more until something comes, microseconds.
const RESTING_US: u64 = 1_000_000;

/// Silence after which it is dropped.
const FORGOTTEN_US: u64 = 30_000_000;

/// Remembers what it decoded.
#[derive(Debug, Default)]
struct Counting {
    decoded: Vec<u32>,
}

impl Decode for Counting {
    fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> usize {
        self.decoded.extend(packet.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)));
        out[..FRAME_SAMPLES].fill(0);
        FRAME_SAMPLES
    }

    fn recover(&mut self, _next_packet: &[u8], _out: &mut [i16]) -> usize {
        0
    }

    fn conceal(&mut self, out: &mut [i16]) -> usize {
        out.fill(0);
        out.len()
    }
}

/// One speaker as it is heard.
#[derive(Debug)]
struct Hearing {
    playout: Playout,
    codec: Counting,
    /// The device's time.
    pulled: Time,
    last: Time,
}

/// All that one client hears.
#[derive(Debug, Default)]
pub struct Listening {
    streams: BTreeMap<Ssrc, Hearing>,
    played: usize,
}

impl Listening {
    /// Frames played so far.
    pub fn played(&self) -> usize {
        self.played + self.streams.values().map(|hearing| hearing.codec.decoded.len()).sum::<usize>()
    }

    /// A frame came.
    pub fn heard(&mut self, now: Time, frame: u32, said: &Said) -> Result<(), String> {
        self.forget(now);
        let hearing = self.streams.entry(said.ssrc).or_insert_with(|| Hearing {
            playout: Playout::new(),
            codec: Counting::default(),
            pulled: now,
            last: now,
        });
        hearing.pull_until(now)?;
        hearing.last = now;
        hearing.playout.insert(Packet {
            arrival_us: now.0,
            index: said.index,
            media_time: said.media_time.0,
            marker: said.marker,
            payload: &frame.to_be_bytes(),
        });
        Ok(())
    }

    /// Plays what is there, and says whether these frames of one speaker were played with less delay than this.
    pub fn has_played(
        &mut self,
        now: Time,
        frames: std::ops::RangeInclusive<u32>,
        delay_us_max: u64,
    ) -> Result<(), String> {
        let mut found = Err("no frame of it was played".to_owned());
        for hearing in self.streams.values_mut() {
            hearing.pull_until(now)?;
            let played = hearing.codec.decoded.iter().filter(|frame| frames.contains(frame)).count();
            if hearing.last.0 + RESTING_US < now.0 || played == 0 {
                continue;
            }
            let delay_us = hearing.playout.statistics().delay_us;
            found = match frames.clone().count() {
                all if played != all => Err(format!("played {played} of {all} frames")),
                _ if delay_us > delay_us_max => Err(format!("its playout delay is still {delay_us} us")),
                _ => Ok(()),
            };
        }
        found
    }

    fn forget(&mut self, now: Time) {
        let is_over = |hearing: &Hearing| now.since_us(hearing.last) > FORGOTTEN_US;
        self.played += self.streams.values().filter(|it| is_over(it)).map(|it| it.codec.decoded.len()).sum::<usize>();
        self.streams.retain(|_, hearing| !is_over(hearing));
    }
}

impl Hearing {
    fn pull_until(&mut self, now: Time) -> Result<(), String> {
        let mut out = [0; TICK_SAMPLES];
        while self.pulled.0 + TICK_US <= now.0 {
            self.pulled = self.pulled.after_us(TICK_US);
            let pulled = self.playout.pull(self.pulled.0, &mut self.codec, &mut out);
            let delay_us = self.playout.statistics().delay_us;
            if delay_us > DELAY_US_MAX {
                return Err(format!("a playout delay of {delay_us} us"));
            }
            if pulled == Pulled::Silence && self.playout.buffered() == 0 && self.pulled.since_us(self.last) > RESTING_US
            {
                let whole = now.since_us(self.pulled) / TICK_US * TICK_US;
                self.pulled = self.pulled.after_us(whole);
            }
        }
        let disordered = self.codec.decoded.windows(2).find(|pair| pair[0] >= pair[1]);
        disordered.map_or(Ok(()), |pair| Err(format!("played frame {} after {}", pair[1], pair[0])))
    }
}
