//! The speakers' streams, known to every listener: which stream an SSRC is, and when each of its frames was sent.
//!
//! Not a session: nothing is decrypted here. A listener reads SSRC and media time in the clear RTP header; the
//! media time is the frame's number times 960, so it finds the time of sending.
//! In: `Stream::sent` (the speaker's thread), before the datagram leaves. Out: `find`, `sent_at` (any thread).
//! Bounds: `FRAMES` times of sending a stream, 5 s; a packet that comes later is not matched. Cost: one probe, no lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::MediaTime;

/// Samples of 48 kHz in a frame of 20 ms.
pub const FRAME_SAMPLES: u32 = 960;

/// Frames whose time of sending is kept: 5 s, far more than any packet is under way.
const FRAMES: usize = 256;

/// One speaker's stream.
#[derive(Debug)]
pub struct Stream {
    /// Its room, and its number within that room: what a listener's windows are indexed by.
    pub room: u32,
    pub place: u32,
    /// Number of the next frame.
    next: AtomicU32,
    sent: Box<[AtomicU64]>,
}

impl Stream {
    fn new(room: u32, place: u32) -> Self {
        Self { room, place, next: AtomicU32::new(0), sent: (0..FRAMES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The next frame leaves at `time`. Gives its media time.
    pub fn sent(&self, time: u64) -> MediaTime {
        let frame = self.next.load(Ordering::Relaxed);
        self.sent[frame as usize % FRAMES].store(time, Ordering::Relaxed);
        // Whoever sees the number sees the time.
        self.next.store(frame.wrapping_add(1), Ordering::Release);
        MediaTime(frame.wrapping_mul(FRAME_SAMPLES))
    }

    /// A frame that is not sent: the clock goes on in silence.
    pub fn skip(&self) {
        let frame = self.next.load(Ordering::Relaxed);
        self.sent[frame as usize % FRAMES].store(0, Ordering::Relaxed);
        self.next.store(frame.wrapping_add(1), Ordering::Release);
    }

    /// Number of the frame, and when it was sent; `None` if there is no such frame, or it is too long ago.
    pub fn sent_at(&self, media_time: MediaTime) -> Option<(u32, u64)> {
        let frame = media_time.0 / FRAME_SAMPLES;
        let ago = self.next.load(Ordering::Acquire).wrapping_sub(frame);
        if ago == 0 || ago as usize >= FRAMES || !media_time.0.is_multiple_of(FRAME_SAMPLES) {
            return None;
        }
        let time = self.sent[frame as usize % FRAMES].load(Ordering::Relaxed);
        (time != 0).then_some((frame, time))
    }
}

/// All streams, by SSRC: open addressing at most a quarter full, as SSRCs are random.
#[derive(Debug, Default)]
pub struct Streams {
    table: Box<[(u32, u32)]>,
    streams: Vec<Stream>,
}

fn slot(ssrc: u32, mask: usize) -> usize {
    // The low byte names the shard; the rest is random.
    (ssrc >> 8) as usize & mask
}

impl Streams {
    /// From each stream's SSRC and room.
    #[must_use]
    pub fn new(list: impl IntoIterator<Item = (Ssrc, u32)>) -> Self {
        let list: Vec<(Ssrc, u32)> = list.into_iter().collect();
        let rooms = list.iter().map(|(_, room)| *room as usize + 1).max().unwrap_or(0);
        let mut places = vec![0; rooms];
        let size = (list.len() * 4).next_power_of_two();
        // SSRC 0 is no stream (docs/PROTOCOL.md): it marks an empty slot.
        let mut table = vec![(0, 0); size].into_boxed_slice();
        let mut streams = Vec::with_capacity(list.len());
        for (number, (ssrc, room)) in list.into_iter().enumerate() {
            let mut at = slot(ssrc.0, size - 1);
            while table[at].0 != 0 {
                at = (at + 1) & (size - 1);
            }
            table[at] = (ssrc.0, number as u32);
            streams.push(Stream::new(room, places[room as usize]));
            places[room as usize] += 1;
        }
        Self { table, streams }
    }

    /// The stream of this SSRC.
    pub fn find(&self, ssrc: Ssrc) -> Option<&Stream> {
        let mask = self.table.len().checked_sub(1)?;
        let mut at = slot(ssrc.0, mask);
        loop {
            match self.table[at] {
                (0, _) => return None,
                (found, number) if found == ssrc.0 => return Some(&self.streams[number as usize]),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// By its number, in the order given at first.
    #[must_use]
    pub fn at(&self, number: usize) -> &Stream {
        &self.streams[number]
    }
}

/// Which of a stream's latest 64 frames one listener has: tells a copy from a new packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// One above the highest frame; 0: none yet.
    next: u32,
    seen: u64,
}

impl Window {
    /// Whether this frame is new; one older than the window is taken for new, since networks delay more than
    /// they copy.
    pub fn accept(&mut self, frame: u32) -> bool {
        if frame >= self.next {
            let step = frame + 1 - self.next;
            self.seen = if step >= 64 { 0 } else { self.seen << step };
            self.seen |= 1;
            self.next = frame + 1;
            return true;
        }
        let bit = self.next - 1 - frame;
        if bit >= 64 {
            return true;
        }
        let new = self.seen & 1 << bit == 0;
        self.seen |= 1 << bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each frame is found by SSRC and media time with the time it was sent, colliding SSRCs included; what
    /// was never sent, was silent or is too old is not.
    #[test]
    fn frames_are_found_by_their_clear_header() {
        let streams = Streams::new([(Ssrc(0x1100), 0), (Ssrc(0x1101), 1), (Ssrc(0x1200), 1)]);
        assert_eq!((streams.at(2).room, streams.at(2).place, streams.at(1).place), (1, 1, 0));
        assert!(streams.find(Ssrc(0x1300)).is_none() && Streams::default().find(Ssrc(7)).is_none());
        let stream = streams.find(Ssrc(0x1101)).unwrap();
        let first = stream.sent(100);
        stream.skip();
        let third = stream.sent(300);
        assert_eq!((first.0, third.0), (0, 1_920));
        assert_eq!(streams.at(1).sent_at(third), Some((2, 300)));
        for wrong in [960, 961, 2_880] {
            assert_eq!(stream.sent_at(MediaTime(wrong)), None, "{wrong}");
        }
        (0..FRAMES as u64).for_each(|time| assert_eq!(stream.sent(time + 1).0 % FRAME_SAMPLES, 0));
        assert_eq!(stream.sent_at(first), None);
    }

    /// Goal: a copy is told from a packet that is late, at any distance.
    #[test]
    fn copies_are_told_from_late_packets() {
        let mut window = Window::default();
        assert!(window.accept(5) && window.accept(9) && window.accept(6));
        assert!(!window.accept(5) && !window.accept(9) && !window.accept(6));
        assert!(window.accept(200) && window.accept(100) && window.accept(137) && !window.accept(137));
    }
}
