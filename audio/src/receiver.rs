//! All who are heard: a jitter buffer and a decoder for each, and their mix.
//!
//! Not the network: packets come in opened. Not the pace: the caller asks for a tick every 10 ms.
//! In: `insert`, any order. Out: `mix`. Bounds: a fixed number of speakers, made once; when all places are
//! taken, one who was silent for [`IDLE_TICKS`] makes room for another, else the other is not heard.

use echomesh_playout::{FRAME_US, Packet, Playout, Pulled, Statistics, TICK_SAMPLES};
use opus::{Channels, SoftClip};

use crate::codec::{CodecError, Decoder};

/// Speakers heard at once: more than anyone can follow, about 5 MB, and 16 decodes a frame.
pub const SPEAKERS_MAX: usize = 16;

/// Speakers whose losses are concealed well: a burst of losses on the way to us hits all at once, and each
/// costs up to a millisecond. Those who are loudest are missed most.
const DEEP_SPEAKERS_MAX: usize = 2;

/// Loudest that one speaker is made against the others: 12 dB.
pub const GAIN_MAX: f32 = 4.0;

/// Silent ticks after which a speaker's place may be another's: 1 s.
pub const IDLE_TICKS: u32 = 100;

/// What was received, over all speakers since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStatistics {
    /// Sums over all speakers, those who are gone too.
    pub totals: Statistics,
    /// Speakers who have a place.
    pub speakers: u64,
    /// Packets thrown away because all places were taken.
    pub dropped_speaker_limit: u64,
}

struct Speaker {
    /// `None` if the place is free.
    ssrc: Option<u32>,
    playout: Playout,
    decoder: Decoder,
    /// Factor of loudness, 0..=[`GAIN_MAX`].
    gain: f32,
    /// Ticks since sound or a packet came, at most [`IDLE_TICKS`].
    idle_ticks: u32,
}

/// The speakers of one listener.
pub struct Receiver {
    speakers: Vec<Speaker>,
    clip: SoftClip,
    mixed: [f32; TICK_SAMPLES],
    /// Of speakers who are gone.
    gone: Statistics,
    dropped_speaker_limit: u64,
}

impl Receiver {
    /// Allocates all it will ever need.
    ///
    /// # Errors
    /// [`CodecError`] if there is no memory for the decoders.
    pub fn new(speakers_max: usize) -> Result<Self, CodecError> {
        Self::with_floor(speakers_max, FRAME_US)
    }

    /// One whose delay beyond the fastest packets may be as low as this, microseconds, where nothing is lost.
    ///
    /// # Errors
    /// [`CodecError`] if there is no memory for the decoders.
    pub fn with_floor(speakers_max: usize, floor_us: u64) -> Result<Self, CodecError> {
        let speaker = |_| {
            Ok(Speaker {
                ssrc: None,
                playout: Playout::with_floor(floor_us),
                decoder: Decoder::new()?,
                gain: 1.0,
                idle_ticks: 0,
            })
        };
        Ok(Self {
            speakers: (0..speakers_max).map(speaker).collect::<Result<_, CodecError>>()?,
            clip: SoftClip::new(Channels::Mono),
            mixed: [0.0; TICK_SAMPLES],
            gone: Statistics::default(),
            dropped_speaker_limit: 0,
        })
    }

    /// Takes a packet, or counts why not.
    pub fn insert(&mut self, ssrc: u32, packet: Packet<'_>) {
        let Some(place) = self.place(ssrc) else {
            self.dropped_speaker_limit += 1;
            return;
        };
        let speaker = &mut self.speakers[place];
        speaker.idle_ticks = 0;
        speaker.playout.insert(packet);
    }

    /// Makes a speaker louder or softer by this factor, up to [`GAIN_MAX`]; nothing if it has no place. A place
    /// that is another's begins with 1.
    pub fn set_gain(&mut self, ssrc: u32, gain: f32) {
        if let Some(speaker) = self.speakers.iter_mut().find(|speaker| speaker.ssrc == Some(ssrc)) {
            speaker.gain = if gain.is_finite() { gain.clamp(0.0, GAIN_MAX) } else { 1.0 };
        }
    }

    /// Fills `out` with the next 10 ms of all speakers and says how many are in it.
    pub fn mix(&mut self, now_us: u64, out: &mut [i16; TICK_SAMPLES]) -> usize {
        self.choose_deep();
        self.mixed.fill(0.0);
        let mut heard = 0;
        for speaker in self.speakers.iter_mut().filter(|speaker| speaker.ssrc.is_some()) {
            if speaker.playout.pull(now_us, &mut speaker.decoder, out) == Pulled::Silence {
                let idle = speaker.playout.buffered() == 0;
                speaker.idle_ticks = if idle { (speaker.idle_ticks + 1).min(IDLE_TICKS) } else { 0 };
            } else {
                speaker.idle_ticks = 0;
                heard += 1;
            }
            // Silence too: its tick may begin with the end of the sound before.
            for (sum, sample) in self.mixed.iter_mut().zip(out.iter()) {
                *sum += f32::from(*sample) / 32_768.0 * speaker.gain;
            }
        }
        // Bends peaks instead of cutting them; leaves what is within full scale as it is.
        self.clip.apply(&mut self.mixed);
        for (sample, sum) in out.iter_mut().zip(&self.mixed) {
            // The cast saturates.
            *sample = (sum * 32_768.0).round() as i16;
        }
        heard
    }

    /// The longest delay that a jitter buffer with something in it aims at, microseconds; 0: nobody is heard.
    #[must_use]
    pub fn delay_us(&self) -> u32 {
        let heard = self.speakers.iter().filter(|speaker| speaker.ssrc.is_some() && speaker.idle_ticks < IDLE_TICKS);
        heard.map(|speaker| speaker.playout.statistics().target_us).max().map_or(0, |us| u32::try_from(us).unwrap_or(0))
    }

    /// The loudest speakers are concealed well.
    fn choose_deep(&mut self) {
        let mut loudest = [0.0; DEEP_SPEAKERS_MAX];
        for speaker in self.speakers.iter().filter(|speaker| speaker.ssrc.is_some()) {
            let mut loudness = speaker.playout.loudness();
            for place in &mut loudest {
                if loudness > *place {
                    std::mem::swap(place, &mut loudness);
                }
            }
        }
        let mut deep = 0;
        for speaker in self.speakers.iter_mut().filter(|speaker| speaker.ssrc.is_some()) {
            let is_loud = deep < DEEP_SPEAKERS_MAX && speaker.playout.loudness() >= loudest[DEEP_SPEAKERS_MAX - 1];
            deep += usize::from(is_loud);
            speaker.decoder.set_deep(is_loud);
        }
    }

    /// A speaker is gone; its place is free.
    pub fn forget(&mut self, ssrc: u32) {
        if let Some(place) = self.speakers.iter().position(|speaker| speaker.ssrc == Some(ssrc)) {
            self.clear(place);
        }
    }

    /// Counts since it was made.
    #[must_use]
    pub fn statistics(&self) -> ReceiverStatistics {
        let mut totals = self.gone;
        let present = self.speakers.iter().filter(|speaker| speaker.ssrc.is_some());
        let mut speakers = 0;
        for speaker in present {
            totals.add(&speaker.playout.statistics());
            speakers += 1;
        }
        ReceiverStatistics { totals, speakers, dropped_speaker_limit: self.dropped_speaker_limit }
    }

    /// The place of this speaker: its own, a free one, or that of who has long been silent.
    fn place(&mut self, ssrc: u32) -> Option<usize> {
        let place = |wanted: &dyn Fn(&Speaker) -> bool| self.speakers.iter().position(wanted);
        if let Some(own) = place(&|speaker| speaker.ssrc == Some(ssrc)) {
            return Some(own);
        }
        let found =
            place(&|speaker| speaker.ssrc.is_none()).or_else(|| place(&|speaker| speaker.idle_ticks >= IDLE_TICKS))?;
        self.clear(found);
        self.speakers[found].ssrc = Some(ssrc);
        Some(found)
    }

    /// Frees a place. What it counted is kept, what was buffered is counted as thrown away.
    fn clear(&mut self, place: usize) {
        let speaker = &mut self.speakers[place];
        if speaker.ssrc.take().is_none() {
            return;
        }
        self.gone.add(&speaker.playout.reset());
        speaker.idle_ticks = 0;
        speaker.gain = 1.0;
        if speaker.decoder.reset().is_err() {
            debug_assert!(false, "libopus refuses no reset of a decoder it made");
        }
    }
}
