//! Decoded sound that waits to be pulled, in order, and the end of what was.
//!
//! Bounds: [`HISTORY_SAMPLES`] of what was pulled are kept, for what repeats them; what does not fit is not
//! taken.

/// Samples kept behind the next one to be pulled: the longest that is repeated, 20 ms.
pub(crate) const HISTORY_SAMPLES: usize = 960;

/// Samples of the buffer: history, the longest gap filled at once, the longest packet, and some before it.
const CAPACITY: usize = 20_480;

/// A first-in, first-out buffer of 48 kHz mono samples. Its default has no room, and only holds a place.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    buffer: Box<[i16]>,
    start: usize,
    end: usize,
}

impl Samples {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; CAPACITY].into_boxed_slice(), start: HISTORY_SAMPLES, end: HISTORY_SAMPLES }
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// What was pulled last, and what waits.
    pub(crate) fn parts(&self) -> (&[i16], &[i16]) {
        (&self.buffer[self.start - HISTORY_SAMPLES..self.start], &self.buffer[self.start..self.end])
    }

    /// Both in one, from [`HISTORY_SAMPLES`] before the next sample on.
    pub(crate) fn all(&self) -> &[i16] {
        &self.buffer[self.start - HISTORY_SAMPLES..self.end]
    }

    /// Lets `write` fill up to `samples_max` behind what is there, and keeps as many as it says.
    pub(crate) fn append(&mut self, samples_max: usize, write: impl FnOnce(&mut [i16]) -> usize) -> usize {
        if self.buffer.len() - self.end < samples_max {
            self.compact();
        }
        let room = &mut self.buffer[self.end..];
        let room_samples = samples_max.min(room.len());
        let written = write(&mut room[..room_samples]).min(room_samples);
        self.end += written;
        written
    }

    fn compact(&mut self) {
        let from = self.start - HISTORY_SAMPLES;
        self.buffer.copy_within(from..self.end, 0);
        self.end -= from;
        self.start = HISTORY_SAMPLES;
    }

    pub(crate) fn clear(&mut self) {
        self.buffer.fill(0);
        self.start = HISTORY_SAMPLES;
        self.end = HISTORY_SAMPLES;
    }

    /// Takes the last of what was appended back.
    pub(crate) fn retract(&mut self, samples: usize) {
        self.end = self.end.saturating_sub(samples).max(self.start);
    }

    /// Of the last `tail` samples, keeps all but the `dropped` after the first `overlap`, over which it fades
    /// from those that were there to those that follow what is dropped.
    pub(crate) fn join(&mut self, tail: usize, overlap: usize, dropped: usize) {
        let at = self.end.saturating_sub(tail).max(self.start);
        let overlap = overlap.min((self.end - at).saturating_sub(dropped));
        for n in 0..overlap {
            self.buffer[at + n] = fade(self.buffer[at + n], self.buffer[at + dropped + n], n, overlap);
        }
        self.buffer.copy_within(at + dropped + overlap..self.end, at + overlap);
        self.end -= dropped;
    }

    /// Leaves out what is between the next `overlap` samples and those that look like them `skipped` later.
    pub(crate) fn compress(&mut self, skipped: usize, overlap: usize) {
        assert!(self.len() >= skipped + overlap, "the caller looked for the place within what waits");
        let to = self.start + skipped;
        for n in 0..overlap {
            self.buffer[to + n] = fade(self.buffer[self.start + n], self.buffer[to + n], n, overlap);
        }
        // The history has to reach up to the next sample.
        let history = self.start - HISTORY_SAMPLES;
        self.buffer.copy_within(history..self.start, history + skipped);
        self.start = to;
    }

    /// Plays the last `repeated` samples again, after it faded into them over the next `overlap`.
    pub(crate) fn stretch(&mut self, repeated: usize, overlap: usize) {
        assert!(repeated <= HISTORY_SAMPLES && overlap <= self.len().min(repeated), "the caller looked there");
        if self.buffer.len() - self.end < repeated {
            self.compact();
        }
        let start = self.start;
        self.buffer.copy_within(start..self.end, start + repeated);
        self.end += repeated;
        // In place of the next ones: those, fading into the ones played before them, and the rest of these.
        for n in 0..repeated {
            let before = self.buffer[start - repeated + n];
            self.buffer[start + n] =
                if n < overlap { fade(self.buffer[start + repeated + n], before, n, overlap) } else { before };
        }
    }

    /// The next `samples` are pulled.
    pub(crate) fn advance(&mut self, samples: usize) {
        self.start += samples.min(self.len());
    }
}

/// From one sample to another: the `n`th of `length` steps, with a raised cosine's slope of power 1 or so.
fn fade(from: i16, to: i16, n: usize, length: usize) -> i16 {
    let along = (n as f32 + 0.5) / length as f32;
    let part = along * along * (3.0 - 2.0 * along);
    (f32::from(from) + (f32::from(to) - f32::from(from)) * part).round() as i16
}
