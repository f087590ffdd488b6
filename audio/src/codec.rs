//! Opus, as voice uses it: one packet for each frame of 20 ms, and the decoder that a playout drives.
//!
//! Not the choice of bit rate by network reports: the caller sets it. Not deep PLC or DRED, which the safe
//! binding does not reach.
//! Bounds: nothing is allocated after `new`, but a short list when a lost frame is looked for in a packet.
//! Source: RFC 6716, RFC 7587.

use echomesh_playout::{Decode, FRAME_SAMPLES};
use opus::{Application, Bitrate, Channels};

use crate::SAMPLE_RATE;

/// Packets up to this many bytes need not be sent: DTX (RFC 7587 §3.1.3; `opus_encode` in libopus' `opus.h`).
const NOT_SENT_BYTES_MAX: usize = 2;

/// Configurations below this are SILK or hybrid, the modes that have in-band FEC (RFC 6716 §3.1).
const CELT_CONFIGURATION_MIN: u8 = 16;

/// Libopus refused; the setting or the buffer is the caller's fault, the rest is its own.
#[derive(Debug)]
pub struct CodecError {
    doing: &'static str,
    source: opus::Error,
}

impl std::fmt::Display for CodecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opus cannot {}: {}; check the audio settings, or report this", self.doing, self.source)
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// For `map_err`: libopus refused while doing this.
fn refused(doing: &'static str) -> impl FnOnce(opus::Error) -> CodecError {
    move |source| CodecError { doing, source }
}

/// How to encode. The mode is always 48 kHz, mono, VOIP, 20 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderSettings {
    /// Mean bit rate, bit/s, 6 000 to 128 000. 32 000: speech is near transparent, and a copy of the frame
    /// before fits in. FEC needs at least about 20 000.
    pub bits_per_second: i32,
    /// Effort, 0 to 10. 9: what libopus sets by itself.
    pub complexity: i32,
    /// Whether packets carry a coarse copy of the frame before them (in-band FEC, RFC 6716 §2.1.7).
    pub fec: bool,
    /// Loss to prepare for, percent. 10: libopus gives the copy bits by this; at 0 it leaves it out.
    pub expected_loss_percent: i32,
    /// Whether silence is not sent (RFC 7587 §3.1.3).
    pub dtx: bool,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self { bits_per_second: 32_000, complexity: 9, fec: true, expected_loss_percent: 10, dtx: true }
    }
}

/// Encoder of one voice.
#[derive(Debug)]
pub struct Encoder {
    opus: opus::Encoder,
}

impl Encoder {
    /// Allocates all it will ever need.
    ///
    /// # Errors
    /// [`CodecError`] if a setting is out of its range.
    pub fn new(settings: &EncoderSettings) -> Result<Self, CodecError> {
        let mut opus =
            opus::Encoder::new(SAMPLE_RATE, Channels::Mono, Application::Voip).map_err(refused("make an encoder"))?;
        opus.set_bitrate(Bitrate::Bits(settings.bits_per_second)).map_err(refused("set the bit rate"))?;
        opus.set_complexity(settings.complexity).map_err(refused("set the complexity"))?;
        opus.set_inband_fec(settings.fec).map_err(refused("set in-band FEC"))?;
        opus.set_packet_loss_perc(settings.expected_loss_percent).map_err(refused("set the expected loss"))?;
        opus.set_dtx(settings.dtx).map_err(refused("set DTX"))?;
        Ok(Self { opus })
    }

    /// Encodes 20 ms into `payload` and returns its length, bytes. 0: nothing is to be sent (DTX).
    ///
    /// # Errors
    /// [`CodecError`] if `payload` is too short: `PAYLOAD_BYTES_MAX` always suffices.
    pub fn encode(&mut self, samples: &[i16; FRAME_SAMPLES], payload: &mut [u8]) -> Result<usize, CodecError> {
        let length = self.opus.encode(samples, payload).map_err(refused("encode"))?;
        Ok(if length <= NOT_SENT_BYTES_MAX { 0 } else { length })
    }
}

/// Decoder of one voice. A packet it cannot decode gives 0 samples, which the playout counts.
#[derive(Debug)]
pub struct Decoder {
    opus: opus::Decoder,
}

impl Decoder {
    /// Allocates all it will ever need.
    ///
    /// # Errors
    /// [`CodecError`] if there is no memory.
    pub fn new() -> Result<Self, CodecError> {
        let opus = opus::Decoder::new(SAMPLE_RATE, Channels::Mono).map_err(refused("make a decoder"))?;
        Ok(Self { opus })
    }

    /// Forgets the voice decoded so far, for another one.
    ///
    /// # Errors
    /// [`CodecError`]; not known to happen.
    pub fn reset(&mut self) -> Result<(), CodecError> {
        self.opus.reset_state().map_err(refused("reset a decoder"))
    }
}

impl Decode for Decoder {
    fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> usize {
        // Libopus takes an empty packet for a lost one.
        if packet.is_empty() { 0 } else { self.opus.decode(packet, out, false).unwrap_or(0) }
    }

    fn recover(&mut self, next_packet: &[u8], out: &mut [i16]) -> usize {
        // Without a copy libopus would conceal, and the count would be wrong.
        if has_copy(next_packet) { self.opus.decode(next_packet, out, true).unwrap_or(0) } else { 0 }
    }

    fn conceal(&mut self, out: &mut [i16]) -> usize {
        self.opus.decode(&[], out, false).unwrap_or(0)
    }
}

/// Whether a packet carries a copy of the frame before it.
fn has_copy(packet: &[u8]) -> bool {
    let Some(toc) = packet.first() else { return false };
    if toc >> 3 >= CELT_CONFIGURATION_MIN {
        return false;
    }
    let Ok(parsed) = opus::packet::parse(packet) else { return false };
    let (Some(frame), Ok(samples)) = (
        parsed.frames.first().and_then(|frame| frame.first()),
        opus::packet::get_samples_per_frame(packet, SAMPLE_RATE),
    ) else {
        return false;
    };
    // RFC 6716 §4.2.3: a bit of voice activity for each 20 ms, then the flag of the copy (LBRR); with
    // stereo the same again for the second channel.
    let silk_frames = samples.div_ceil(FRAME_SAMPLES).max(1);
    let stereo = toc & 0b100 != 0;
    let flag = |bit: usize| *frame << bit & 0x80 != 0;
    flag(silk_frames) || (stereo && flag(2 * silk_frames + 1))
}
