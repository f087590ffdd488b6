//! The control protocol's framing: any bytes in any split.
//!
//! In: a byte of how the stream is cut, then the stream. Checked: pieces give the frames that the whole gives, up to the
//! same error; no frame is empty or too long; what is buffered is no more than what came.

use echomesh_proto::framing::{FrameDecoder, FrameError};
use echomesh_proto::limits::FRAME_BYTES_MAX;

/// See the module.
pub fn framing(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = frames(stream.chunks(stream.len().max(1)));
    let pieces = frames(stream.chunks(usize::from(cut) + 1));
    assert_eq!(whole, pieces, "the split shows");
}

fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let mut decoder = FrameDecoder::default();
    let (mut frames, mut came, mut given) = (Vec::new(), 0, 0);
    for piece in pieces {
        decoder.push(piece);
        came += piece.len();
        loop {
            match decoder.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    assert!((1..=FRAME_BYTES_MAX).contains(&frame.len()), "a frame of {} bytes", frame.len());
                    given += frame.len() + 4;
                    frames.push(frame.to_vec());
                }
                Err(error) => return (frames, Some(error)),
            }
        }
        assert_eq!(decoder.buffered(), came - given);
        decoder.shrink();
    }
    (frames, None)
}
