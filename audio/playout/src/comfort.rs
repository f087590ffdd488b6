//! Comfort noise: in a pause, the speaker's own background goes on, so that the line does not sound dead.
//!
//! Not sent by anyone: what the last quiet ticks of a talkspurt sounded like is made again, by the model of
//! RFC 3389 §3 (a level, and an all-pole filter over white noise), and at most as loud as [`LEVEL_MAX`].
//! In: ticks that were decoded. Out: noise for a pause of at most [`TICKS_MAX`] ticks. Deterministic: the white
//! noise is a fixed sequence. Bounds: O(`ORDER` · samples), no allocation.

use crate::TICK_SAMPLES;
use crate::splice::loudness;

/// Poles of the filter: RFC 3389 §3.2 has no more than that in its examples.
const ORDER: usize = 10;

/// Loudest background that is made again, root mean square: 45 dB below full scale. More is no background.
const LEVEL_MAX: f32 = 184.0;

/// A tick within this factor of the background is background: 3.5 dB.
const ALIKE: f32 = 1.5;

/// What a tick of background adds to what is known of it.
const WEIGHT: f32 = 0.1;

/// The background rises by this factor each tick that is louder: 3 dB in 4 s.
const RISE: f32 = 1.0009;

/// Ticks of background before it is known.
const KNOWN_TICKS: u32 = 8;

/// Ticks after which it fades, and within which: a person who is away does not hiss.
const STEADY_TICKS: u32 = 1_000;
const FADE_TICKS: u32 = 200;

/// Longest noise, ticks: 12 s.
const TICKS_MAX: u32 = STEADY_TICKS + FADE_TICKS;

/// The background of one speaker.
#[derive(Debug)]
pub(crate) struct Comfort {
    /// Root mean square.
    level: f32,
    /// Autocorrelation of the background, of its lags 0..=`ORDER`; each tick counts alike, however loud.
    correlation: [f32; ORDER + 1],
    known_ticks: u32,
    /// The last outputs of the filter, newest first.
    past: [f32; ORDER],
    /// State of the white noise; never 0.
    white: u32,
    /// Ticks of noise since the last sound.
    ticks: u32,
}

impl Default for Comfort {
    fn default() -> Self {
        let (level, ticks) = (0.0, 0);
        Self { level, correlation: [0.0; ORDER + 1], known_ticks: 0, past: [0.0; ORDER], white: 0x9E37_79B9, ticks }
    }
}

impl Comfort {
    /// Learns from a tick that was decoded whole.
    pub(crate) fn learn(&mut self, tick: &[i16; TICK_SAMPLES]) {
        self.ticks = 0;
        let level = loudness(tick);
        if self.known_ticks > 0 && level > self.level * ALIKE {
            self.level *= RISE;
            return;
        }
        if level * ALIKE < self.level {
            // Much quieter than believed: it was no background.
            self.known_ticks = 0;
        }
        let weight = if self.known_ticks == 0 { 1.0 } else { WEIGHT };
        self.known_ticks = self.known_ticks.saturating_add(1);
        self.level += (level - self.level) * weight;
        let energy = level * level * TICK_SAMPLES as f32;
        for (lag, known) in self.correlation.iter_mut().enumerate() {
            let pairs = tick[lag..].iter().zip(tick.iter());
            let sum: f32 = pairs.map(|(later, sooner)| f32::from(*later) * f32::from(*sooner)).sum();
            *known += (if energy > 0.0 { sum / energy } else { 0.0 } - *known) * weight;
        }
    }

    /// Fills a tick's silence with background, if it is known.
    pub(crate) fn fill(&mut self, silence: &mut [i16]) {
        if self.known_ticks < KNOWN_TICKS || self.level > LEVEL_MAX || self.level < 1.0 || self.ticks >= TICKS_MAX {
            return;
        }
        let (filter, error) = self.filter();
        let left = (TICKS_MAX - self.ticks).min(FADE_TICKS) as f32 / FADE_TICKS as f32;
        // Uniform in -1..1 has a mean square of a third.
        let gain = self.level * (3.0 * error).sqrt();
        let begins = self.ticks == 0;
        self.ticks += 1;
        let length = silence.len() as f32;
        for (n, out) in silence.iter_mut().enumerate() {
            let sample = self.white() * gain - filter.iter().zip(&self.past).map(|(a, past)| a * past).sum::<f32>();
            self.past.copy_within(..ORDER - 1, 1);
            self.past[0] = sample;
            let rise = if begins { n as f32 / length } else { 1.0 };
            // The cast saturates.
            *out = (sample * left * rise).round() as i16;
        }
    }

    /// Weights of the last outputs, and the share of the energy that they do not foretell (Levinson and Durbin's
    /// recursion).
    fn filter(&self) -> ([f32; ORDER], f32) {
        // A little white noise below it keeps the filter stable.
        let energy = self.correlation[0] * 1.001 + 1e-6;
        let (mut filter, mut error) = ([0.0; ORDER], energy);
        for order in 0..ORDER {
            let foretold: f32 = (0..order).map(|n| filter[n] * self.correlation[order - n]).sum();
            let reflection = -(self.correlation[order + 1] + foretold) / error;
            if !(-0.999..=0.999).contains(&reflection) {
                break;
            }
            let before = filter;
            for n in 0..order {
                filter[n] += reflection * before[order - 1 - n];
            }
            filter[order] = reflection;
            error *= 1.0 - reflection * reflection;
        }
        (filter, error / energy)
    }

    /// The next sample of white noise, -1..1: Marsaglia's xorshift of 32 bits.
    fn white(&mut self) -> f32 {
        self.white ^= self.white << 13;
        self.white ^= self.white >> 17;
        self.white ^= self.white << 5;
        self.white as f32 / (u32::MAX / 2) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise of one pole: low-pitched if `pole` is near 1.
    fn background(pole: f32, level: f32, ticks: usize) -> Vec<[i16; TICK_SAMPLES]> {
        let mut source = Comfort::default();
        let mut last = 0.0;
        let gain = level * (3.0 * (1.0 - pole * pole)).sqrt();
        let mut next = || {
            last = pole * last + source.white() * gain;
            last.round() as i16
        };
        (0..ticks).map(|_| std::array::from_fn(|_| next())).collect()
    }

    /// Share of the energy that is in the differences from sample to sample: high pitch has much.
    fn brightness(samples: &[i16]) -> f32 {
        let differences: Vec<i16> = samples.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        loudness(&differences) / loudness(samples)
    }

    fn pause(comfort: &mut Comfort, ticks: usize) -> Vec<i16> {
        let tick = |_| {
            let mut out = [0; TICK_SAMPLES];
            comfort.fill(&mut out);
            out
        };
        (0..ticks).flat_map(tick).collect()
    }

    /// Goal: a pause sounds as the background did, as loud within 2 dB and as bright within a fifth; speech before
    /// it changes nothing.
    #[test]
    fn a_pause_sounds_like_the_background() {
        for pole in [0.0, 0.7, 0.95] {
            let noise = background(pole, 60.0, 40);
            let mut comfort = Comfort::default();
            noise[..10].iter().for_each(|tick| comfort.learn(tick));
            background(0.5, 3_000.0, 200).iter().for_each(|tick| comfort.learn(tick));
            noise[10..].iter().for_each(|tick| comfort.learn(tick));
            let made = pause(&mut comfort, 100);
            let level = loudness(&made[TICK_SAMPLES..]) / 60.0;
            assert!((0.8..1.25).contains(&level), "pole {pole}: level {level}");
            let bright = brightness(&made) / brightness(&noise.concat());
            assert!((0.8..1.2).contains(&bright), "pole {pole}: brightness {bright}");
        }
    }

    /// Goal: no noise is made up. Method: nothing heard yet; a background of digital silence; someone who only
    /// ever speaks; and a pause of a minute ends in silence.
    #[test]
    fn there_is_no_noise_where_there_was_none() {
        assert!(pause(&mut Comfort::default(), 10).iter().all(|sample| *sample == 0));
        for tick in [[0; TICK_SAMPLES], background(0.5, 3_000.0, 1)[0]] {
            let mut comfort = Comfort::default();
            (0..100).for_each(|_| comfort.learn(&tick));
            assert!(pause(&mut comfort, 10).iter().all(|sample| *sample == 0));
        }
        let mut comfort = Comfort::default();
        background(0.5, 60.0, 40).iter().for_each(|tick| comfort.learn(tick));
        let minute = pause(&mut comfort, 6_000);
        assert!(minute[..TICK_SAMPLES * 1_000].iter().any(|sample| *sample != 0));
        assert!(minute[TICKS_MAX as usize * TICK_SAMPLES..].iter().all(|sample| *sample == 0));
    }

    /// Goal: whatever is learnt, the filter does not run away. Method: pure tones, clicks and full scale.
    #[test]
    fn no_background_makes_it_ring() {
        let tone = |hz: f32, level: f32| -> [i16; TICK_SAMPLES] {
            std::array::from_fn(|n| ((n as f32 * hz * std::f32::consts::TAU / 48_000.0).sin() * level) as i16)
        };
        let mut click = [0; TICK_SAMPLES];
        click[100] = 2_000;
        for tick in [tone(100.0, 200.0), tone(1_000.0, 200.0), tone(23_900.0, 200.0), click, [i16::MIN; TICK_SAMPLES]] {
            let mut comfort = Comfort::default();
            (0..50).for_each(|_| comfort.learn(&tick));
            let made = pause(&mut comfort, 200);
            assert!(loudness(&made) <= LEVEL_MAX * 2.0, "level {}", loudness(&made));
        }
    }
}
