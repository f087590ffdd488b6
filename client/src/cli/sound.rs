//! What the audio thread does in one turn: a frame of the input to Opus, a frame of all speakers to the
//! output.
//!
//! Not the pace and not the network: `speech` has both. Codec, files and jitter buffers are
//! `echomesh_audio`'s.
//! Bounds: `SPEAKERS_MAX` speakers at once; one frame each way a call.

use echomesh_audio::codec::{Encoder, EncoderSettings};
use echomesh_audio::level::audio_level;
use echomesh_audio::playout::{FRAME_SAMPLES, PAYLOAD_BYTES_MAX, Packet, TICK_SAMPLES, TICK_US};
use echomesh_audio::receiver::{Receiver, ReceiverStatistics, SPEAKERS_MAX};
use echomesh_audio::sink::Sink;
use echomesh_audio::source::Source;
use echomesh_proto::ids::Ssrc;
use echomesh_proto::time::MediaTime;

use super::args::Join;
use super::clock;
use super::failure::Failure;
use super::link::HeardPacket;
use super::speech::SpokenFrame;

/// A frame of silence or sound, mono, 48 kHz.
type Samples = [i16; FRAME_SAMPLES];

/// What was said and heard.
#[derive(Clone, Debug, Default)]
pub struct SoundTotals {
    /// Frames encoded, and those of them that DTX left out.
    encoded: u64,
    silent: u64,
    /// Frames written to the output, and those with at least one speaker.
    played: u64,
    with_speech: u64,
    receiver: ReceiverStatistics,
}

impl std::fmt::Display for SoundTotals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.encoded > 0 {
            writeln!(f, "said: {} frames, {} of them silent and not sent", self.encoded, self.silent)?;
        }
        if self.played == 0 {
            return Ok(());
        }
        let totals = &self.receiver.totals;
        writeln!(f, "heard: {} frames, {} of them with speech", self.played, self.with_speech)?;
        writeln!(
            f,
            "playout: {} decoded, {} recovered, {} concealed, {} skipped; {} late, {} missing, {} duplicate; {} of more \
             speakers than can be heard",
            totals.played,
            totals.recovered,
            totals.concealed,
            totals.skipped,
            totals.late,
            totals.missing,
            totals.duplicate,
            self.receiver.dropped_speaker_limit
        )
    }
}

/// Input, codec, jitter buffers and output.
pub struct Sound {
    input: String,
    looped: bool,
    /// `None` once it is over.
    source: Option<Source>,
    encoder: Encoder,
    receiver: Receiver,
    sink: Option<Sink>,
    media_time: MediaTime,
    totals: SoundTotals,
}

fn audio(error: impl std::fmt::Display) -> Failure {
    Failure::Audio(error.to_string())
}

impl Sound {
    /// Opens input and output.
    ///
    /// # Errors
    /// `Failure::Audio` if a file cannot be used.
    pub fn open(join: &Join) -> Result<Self, Failure> {
        let source = if join.input == "none" { None } else { Some(Source::open(&join.input).map_err(audio)?) };
        let sink = if join.output == "none" { None } else { Some(Sink::open(&join.output).map_err(audio)?) };
        // RFC 3550 §5.1: the first timestamp is random.
        let start =
            getrandom::u32().map_err(|error| Failure::Local(format!("the system gives no random bytes: {error}")))?;
        Ok(Self {
            input: join.input.clone(),
            looped: join.looped,
            source,
            encoder: Encoder::new(&EncoderSettings::default()).map_err(audio)?,
            receiver: Receiver::new(SPEAKERS_MAX).map_err(audio)?,
            sink,
            media_time: MediaTime(start),
            totals: SoundTotals::default(),
        })
    }

    /// The next frame to send, if there is something to say. `marker`: none was sent before it.
    ///
    /// # Errors
    /// `Failure::Audio` if the input cannot be read any more.
    pub fn say(&mut self, marker: bool) -> Result<Option<SpokenFrame>, Failure> {
        let media_time = self.media_time;
        self.skip(1);
        let mut samples: Samples = [0; FRAME_SAMPLES];
        if !self.next_samples(&mut samples)? {
            return Ok(None);
        }
        let mut payload = vec![0; PAYLOAD_BYTES_MAX];
        let length = self.encoder.encode(&samples, &mut payload).map_err(audio)?;
        self.totals.encoded += 1;
        if length == 0 {
            self.totals.silent += 1;
            return Ok(None);
        }
        payload.truncate(length);
        Ok(Some(SpokenFrame { media_time, marker, audio_level: audio_level(&samples), payload }))
    }

    /// Fills a frame from the input; begins it again where asked to. `false` once it is over.
    fn next_samples(&mut self, samples: &mut Samples) -> Result<bool, Failure> {
        let Some(source) = &mut self.source else { return Ok(false) };
        if source.frame(samples).map_err(audio)? {
            return Ok(true);
        }
        self.source = None;
        if !self.looped {
            return Ok(false);
        }
        let mut again = Source::open(&self.input).map_err(audio)?;
        // A file without sound is over at once, and stays so.
        let begun = again.frame(samples).map_err(audio)?;
        self.source = begun.then_some(again);
        Ok(begun)
    }

    /// Frames pass of which nothing is said: the media clock goes on.
    pub fn skip(&mut self, frames: u64) {
        let samples = frames.wrapping_mul(FRAME_SAMPLES as u64) as u32;
        self.media_time = MediaTime(self.media_time.0.wrapping_add(samples));
    }

    /// A packet that was heard.
    pub fn hear(&mut self, packet: &HeardPacket) {
        let HeardPacket { time, ssrc, index, media_time, marker, payload } = packet;
        let packet = Packet { arrival_us: time.0, index: *index, media_time: media_time.0, marker: *marker, payload };
        self.receiver.insert(ssrc.0, packet);
    }

    /// A speaker is gone: its place is another's.
    pub fn forget(&mut self, ssrc: Ssrc) {
        self.receiver.forget(ssrc.0);
    }

    /// Writes the next frame of what is heard.
    ///
    /// # Errors
    /// `Failure::Audio`, such as a full disk.
    pub fn play(&mut self) -> Result<(), Failure> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let mut samples: Samples = [0; FRAME_SAMPLES];
        let mut speakers = 0;
        let mut now_us = clock::monotonic().0;
        let (ticks, _) = samples.as_chunks_mut::<TICK_SAMPLES>();
        for tick in ticks {
            speakers = self.receiver.mix(now_us, tick).max(speakers);
            now_us += TICK_US;
        }
        self.totals.played += 1;
        self.totals.with_speech += u64::from(speakers > 0);
        sink.write(&samples).map_err(audio)
    }

    /// Ends the output file.
    ///
    /// # Errors
    /// `Failure::Audio`.
    pub fn finish(self) -> Result<SoundTotals, Failure> {
        let receiver = self.receiver.statistics();
        self.sink.map(Sink::finish).transpose().map_err(audio)?;
        Ok(SoundTotals { receiver, ..self.totals })
    }
}
