//! Opus, as voice uses it: an encoder of one voice, and the decoder that a playout drives.
//!
//! Not the choice of settings by network reports: `adapt` makes it, here they are applied.
//! Two bindings of one libopus: `opusic-c` reaches what deep concealment and deep redundancy (DRED) need,
//! `opus` parses packets and clips the mix.
//! Bounds: nothing is allocated after `new`, but a short list when a lost frame is looked for in a packet.
//! Source: RFC 6716, RFC 7587; DRED is draft-ietf-mlcodec-opus-dred.

mod decoder;
mod redundancy;

pub use decoder::Decoder;

use opusic_c::{Application, Bitrate, Channels, ErrorCode, InbandFec, SampleRate};

/// Packets up to this many bytes need not be sent: DTX (RFC 7587 §3.1.3; `opus_encode` in libopus' `opus.h`).
const NOT_SENT_BYTES_MAX: usize = 2;

/// Longest history that libopus puts into a packet, milliseconds: 104 frames of 10 ms.
pub const DRED_MS_MAX: u32 = 1_040;

/// Libopus refused; the setting or the buffer is the caller's fault, the rest is its own.
#[derive(Debug, PartialEq, Eq)]
pub struct CodecError {
    doing: &'static str,
    code: ErrorCode,
}

impl std::fmt::Display for CodecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opus cannot {}: {}; check the audio settings, or report this", self.doing, self.code.message())
    }
}

impl std::error::Error for CodecError {}

/// For `map_err`: libopus refused while doing this.
fn refused(doing: &'static str) -> impl FnOnce(ErrorCode) -> CodecError {
    move |code| CodecError { doing, code }
}

/// Length of a packet's sound, and with it the mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frame {
    /// 20 ms, VOIP: SILK, hybrid or CELT as libopus sees fit, with in-band FEC. 6.5 ms of look-ahead.
    #[default]
    Ms20,
    /// 10 ms, restricted low delay: CELT only, 2.5 ms of look-ahead; no in-band FEC.
    Ms10LowDelay,
}

impl Frame {
    /// Samples of a frame at 48 kHz.
    #[must_use]
    pub const fn samples(self) -> usize {
        match self {
            Self::Ms20 => 960,
            Self::Ms10LowDelay => 480,
        }
    }

    fn application(self) -> Application {
        match self {
            Self::Ms20 => Application::Voip,
            Self::Ms10LowDelay => Application::LowDelay,
        }
    }
}

/// How to encode. The mode is always 48 kHz, mono.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderSettings {
    /// Mean bit rate, bit/s, 6 000 to 128 000. 32 000: speech is near transparent, and a copy of the frame
    /// before fits in. FEC needs at least about 20 000.
    pub bits_per_second: i32,
    /// Effort, 0 to 10. 9: what libopus sets by itself.
    pub complexity: i32,
    /// Whether packets carry a coarse copy of the frame before them (in-band FEC, RFC 6716 §2.1.7).
    pub fec: bool,
    /// Loss to prepare for, percent. 10: libopus gives copies and history their bits by this; at 0 it leaves
    /// them out.
    pub expected_loss_percent: i32,
    /// Whether silence is not sent (RFC 7587 §3.1.3).
    pub dtx: bool,
    /// Longest history of speech in each packet (DRED), milliseconds, up to [`DRED_MS_MAX`]; 0: none. Libopus
    /// puts in less if the bit rate is low, and little beside in-band FEC.
    pub dred_ms: u32,
    /// Length of a packet's sound; fixed for the life of an encoder.
    pub frame: Frame,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self {
            bits_per_second: 32_000,
            complexity: 9,
            fec: true,
            expected_loss_percent: 10,
            dtx: true,
            dred_ms: 0,
            frame: Frame::Ms20,
        }
    }
}

/// Encoder of one voice.
pub struct Encoder {
    opus: opusic_c::Encoder,
    frame: Frame,
    /// A frame as the binding wants it: the bits of `i16` in `u16`.
    input: Box<[u16]>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("frame", &self.frame).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Allocates all it will ever need.
    ///
    /// # Errors
    /// [`CodecError`] if a setting is out of its range.
    pub fn new(settings: &EncoderSettings) -> Result<Self, CodecError> {
        let frame = settings.frame;
        let opus = opusic_c::Encoder::new(Channels::Mono, SampleRate::Hz48000, frame.application())
            .map_err(refused("make an encoder"))?;
        let mut encoder = Self { opus, frame, input: vec![0; frame.samples()].into_boxed_slice() };
        encoder.apply(settings)?;
        Ok(encoder)
    }

    /// Changes to these settings from the next frame on, without allocating.
    ///
    /// # Errors
    /// [`CodecError`] if a setting is out of its range, or the frame's length is another: that takes a new
    /// encoder. Those before it are changed then.
    pub fn apply(&mut self, settings: &EncoderSettings) -> Result<(), CodecError> {
        if settings.frame != self.frame {
            return Err(refused("change the frame length of an encoder; make a new one")(ErrorCode::BadArg));
        }
        let out_of_range = |_| ErrorCode::BadArg;
        let bits =
            u32::try_from(settings.bits_per_second).map_err(out_of_range).map_err(refused("set the bit rate"))?;
        self.opus.set_bitrate(Bitrate::Value(bits)).map_err(refused("set the bit rate"))?;
        let complexity =
            u8::try_from(settings.complexity).map_err(out_of_range).map_err(refused("set the complexity"))?;
        self.opus.set_complexity(complexity).map_err(refused("set the complexity"))?;
        let fec = if settings.fec { InbandFec::Mode1 } else { InbandFec::Off };
        self.opus.set_inband_fec(fec).map_err(refused("set in-band FEC"))?;
        let loss = u8::try_from(settings.expected_loss_percent)
            .map_err(out_of_range)
            .map_err(refused("set the expected loss"))?;
        self.opus.set_packet_loss(loss).map_err(refused("set the expected loss"))?;
        self.opus.set_dtx(settings.dtx).map_err(refused("set DTX"))?;
        let history = u8::try_from(settings.dred_ms / 10).map_err(out_of_range).map_err(refused("set DRED"))?;
        self.opus.set_dred_duration(history).map_err(refused("set DRED"))?;
        Ok(())
    }

    /// The frame's length, which never changes.
    #[must_use]
    pub fn frame(&self) -> Frame {
        self.frame
    }

    /// Encodes a frame into `payload` and returns its length, bytes. 0: nothing is to be sent (DTX).
    ///
    /// # Errors
    /// [`CodecError`] if `samples` are not one frame, or `payload` is too short: `PAYLOAD_BYTES_MAX` always
    /// suffices.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> Result<usize, CodecError> {
        if samples.len() != self.input.len() {
            return Err(refused("encode other than one frame")(ErrorCode::BadArg));
        }
        for (to, from) in self.input.iter_mut().zip(samples) {
            *to = from.cast_unsigned();
        }
        let length = self.opus.encode_to_slice(&self.input, payload).map_err(refused("encode"))?;
        Ok(if length <= NOT_SENT_BYTES_MAX { 0 } else { length })
    }
}
