//! The decoder of one voice, as a playout drives it.
//!
//! Not the choice of what to decode: `echomesh_playout` makes it.
//! Bounds: nothing is allocated after `new`, but a short list when a lost frame is looked for in a packet.
//! Cost: 20 ms take about 50 µs to decode; the first concealed frame after good ones 0.4 to 0.9 ms, as the
//! network that guesses first listens to what was before.

use echomesh_playout::{Decode, PACKET_SAMPLES_MAX, Redundancy};
use opusic_c::dred::{DRED_PACKET_SIZE, Dred, dred_packet_size};
use opusic_c::{Channels, ErrorCode, SampleRate};

use super::{CodecError, redundancy, refused};

/// Decoder effort: from 5 libopus conceals with its neural network, from 6 it also enhances what is decoded
/// (LACE), which is 0.03 PESQ at 32 kbit/s. In all 0.33 % of a core for one voice, 0.25 % with 5; 7 takes
/// 0.65 % and is no better here.
const DEEP_COMPLEXITY: u8 = 6;

/// Decoder effort with which concealment costs no more than decoding.
const PLAIN_COMPLEXITY: u8 = 0;

/// Decoder of one voice. A packet it cannot decode gives 0 samples, which the playout counts.
pub struct Decoder {
    opus: Dred,
    deep: bool,
    /// What the binding wrote: the bits of `i16` in `u16`.
    output: Box<[u16]>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("deep", &self.deep).finish_non_exhaustive()
    }
}

impl Decoder {
    /// Allocates all it will ever need.
    ///
    /// # Errors
    /// [`CodecError`] if there is no memory.
    pub fn new() -> Result<Self, CodecError> {
        assert!(dred_packet_size() <= DRED_PACKET_SIZE, "the binding gives libopus less room than it writes to");
        let doing = "make a decoder";
        let decoder = opusic_c::Decoder::new(Channels::Mono, SampleRate::Hz48000).map_err(refused(doing))?;
        let opus = Dred::new(decoder).map_err(refused(doing))?;
        let mut decoder = Self { opus, deep: false, output: vec![0; PACKET_SAMPLES_MAX].into_boxed_slice() };
        decoder.set_deep(true);
        Ok(decoder)
    }

    /// Whether to conceal well, at the price of up to a millisecond, or cheaply. Well, unless told otherwise.
    pub fn set_deep(&mut self, deep: bool) {
        if self.deep == deep {
            return;
        }
        let complexity = if deep { DEEP_COMPLEXITY } else { PLAIN_COMPLEXITY };
        let set = self.opus.decoder_mut().set_complexity(complexity);
        debug_assert!(set.is_ok(), "both are in range");
        self.deep = deep;
    }

    /// Forgets the voice decoded so far, for another one.
    ///
    /// # Errors
    /// [`CodecError`]; not known to happen.
    pub fn reset(&mut self) -> Result<(), CodecError> {
        // The state of deep redundancy is made anew from each packet: the decoder's is all there is.
        self.opus.decoder_mut().reset().map_err(refused("reset a decoder"))
    }

    /// Lets libopus write up to `out.len()` samples, and says how many they are.
    fn write(
        &mut self,
        out: &mut [i16],
        decode: impl FnOnce(&mut Dred, &mut [u16]) -> Result<usize, ErrorCode>,
    ) -> usize {
        let room = out.len().min(self.output.len());
        let written = decode(&mut self.opus, &mut self.output[..room]).unwrap_or(0).min(room);
        for (to, from) in out.iter_mut().zip(&self.output[..written]) {
            *to = from.cast_signed();
        }
        written
    }
}

impl Decode for Decoder {
    fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> usize {
        if packet.is_empty() {
            // Libopus takes an empty packet for a lost one.
            return 0;
        }
        self.write(out, |opus, out| opus.decoder_mut().decode_to_slice(packet, out, false))
    }

    fn redundancy(&self, packet: &[u8]) -> Redundancy {
        if redundancy::has_history(packet) {
            Redundancy::History
        } else if redundancy::has_copy(packet) {
            Redundancy::Copy
        } else {
            Redundancy::None
        }
    }

    fn recover(&mut self, next_packet: &[u8], out: &mut [i16]) -> usize {
        // Without a copy libopus would conceal, and the count would be wrong.
        if !redundancy::has_copy(next_packet) {
            return 0;
        }
        self.write(out, |opus, out| opus.decoder_mut().decode_to_slice(next_packet, out, true))
    }

    fn recover_deep(&mut self, later_packet: &[u8], out: &mut [i16]) -> usize {
        if !redundancy::has_history(later_packet) {
            return 0;
        }
        // The binding takes the history from as far back as `out` is long.
        self.write(out, |opus, out| opus.decode_to_slice(later_packet, out))
    }

    fn conceal(&mut self, out: &mut [i16]) -> usize {
        self.write(out, |opus, out| opus.decoder_mut().decode_to_slice(&[], out, false))
    }
}
