//! Framing of the control protocol: a 4-byte big-endian length, then that many bytes.
//!
//! Not a message decoder: it knows lengths only. [`FrameDecoder`] takes any split of the byte stream,
//! down to single bytes, and gives whole frames.
//! Bounds: a frame is at most `FRAME_BYTES_MAX` bytes; the buffer holds what the caller pushed and has
//! not taken. Cost: each byte is copied once in; taken frames are reclaimed when the buffer is next
//! pushed to.

use crate::limits::FRAME_BYTES_MAX;

/// Bytes of the length prefix.
pub const LENGTH_BYTES: usize = 4;

/// What makes a stream of frames unusable. The stream cannot be followed further: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length prefix says more than `FRAME_BYTES_MAX`. The peer's fault.
    TooLong(u32),
    /// A frame of no bytes, which carries no message. The peer's fault.
    Empty,
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::TooLong(length) => {
                write!(
                    f,
                    "a frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}; is this an EchoMesh client?"
                )
            }
            FrameError::Empty => write!(f, "a frame of 0 bytes carries no message"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Appends the prefix for a frame of `length` bytes.
pub fn append_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u32).to_be_bytes());
}

/// Takes a byte stream in any split and gives its frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already given out.
    taken: usize,
}

impl FrameDecoder {
    /// Adds received bytes. The caller bounds the total by looking at [`Self::buffered`].
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame without its prefix, or `None` until more bytes come.
    ///
    /// # Errors
    /// [`FrameError`] as soon as a prefix is seen to be wrong, whatever follows it.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let rest = &self.buffer[self.taken..];
        let Some((prefix, body)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix);
        if length == 0 {
            return Err(FrameError::Empty);
        }
        if length as usize > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        if body.len() < length as usize {
            return Ok(None);
        }
        let start = self.taken + LENGTH_BYTES;
        self.taken = start + length as usize;
        Ok(Some(&self.buffer[start..self.taken]))
    }

    /// Bytes received and not yet given out as frames.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.taken
    }

    /// True when an incomplete frame, or a whole one not yet taken, waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffered() == 0
    }

    /// Gives memory back when nothing waits: an idle connection costs none.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.buffer = Vec::new();
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for frame in frames {
            append_length(&mut out, frame.len());
            out.extend_from_slice(frame);
        }
        out
    }

    proptest! {
        /// Goal: any split of the bytes gives the same frames. Method: random frames, random cuts.
        #[test]
        fn any_split_gives_the_same_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
            cuts in prop::collection::vec(1usize..64, 1..200),
        ) {
            let bytes = stream(&frames);
            let mut decoder = FrameDecoder::default();
            let mut got = Vec::new();
            let (mut at, mut cut) = (0, cuts.iter().cycle());
            while at < bytes.len() {
                let end = (at + cut.next().unwrap()).min(bytes.len());
                decoder.push(&bytes[at..end]);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    got.push(frame.to_vec());
                }
                at = end;
            }
            prop_assert_eq!(got, frames);
            prop_assert!(decoder.is_empty());
        }
    }

    /// Goal: a wrong length is refused from the prefix alone, before the peer makes us wait for or
    /// hold the body; the largest allowed frame passes (PROTOCOL M01).
    #[test]
    fn wrong_lengths_are_refused_at_once() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes());
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLong(FRAME_BYTES_MAX as u32 + 1)));
        let mut decoder = FrameDecoder::default();
        decoder.push(&[0, 0, 0, 0]);
        assert_eq!(decoder.next_frame(), Err(FrameError::Empty));
        let mut decoder = FrameDecoder::default();
        decoder.push(&stream(&[vec![1; FRAME_BYTES_MAX]]));
        assert_eq!(decoder.next_frame().unwrap().unwrap().len(), FRAME_BYTES_MAX);
    }
}
