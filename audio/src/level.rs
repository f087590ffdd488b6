//! The loudness of a frame, as a packet tells it to the server and to listeners.
//!
//! Not a voice detector: here the V bit is set by loudness alone; [`processing`](crate::processing) knows better.
//! In: a frame. Out: the byte of RFC 6464: V in bit 7, below it the level in −dBov.

/// V bit: the frame holds voice (RFC 6464 §3).
pub(crate) const VOICE: u8 = 0x80;

/// Level of silence, −dBov (RFC 6464 §3).
const SILENCE: u8 = 127;

/// Frames this loud count as voice, −dBov: speech at arm's length gives 20 to 40, a quiet room 60 and more.
const VOICE_MAX: u8 = 50;

/// The RFC 6464 byte of these samples, of any rate and layout. 0 dBov is a full-scale square wave, so a
/// full-scale sine has 3.
#[must_use]
pub fn audio_level(samples: &[i16]) -> u8 {
    let (level, loud) = level(samples);
    if loud { level | VOICE } else { level }
}

/// The level in −dBov, 0 to 127, and whether it is loud enough for voice.
pub(crate) fn level(samples: &[i16]) -> (u8, bool) {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum();
    if energy == 0.0 {
        return (SILENCE, false);
    }
    let mean = energy / samples.len() as f64;
    let full_scale = -f64::from(i16::MIN);
    // The cast saturates; a whole frame at −32768 gives 0.
    let level = ((-10.0 * (mean / (full_scale * full_scale)).log10()).round() as u8).min(SILENCE);
    (level, level <= VOICE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(amplitude: f64) -> Vec<i16> {
        (0..960).map(|n| (amplitude * (f64::from(n) * 440.0 * std::f64::consts::TAU / 48_000.0).sin()) as i16).collect()
    }

    /// Goal: the ends of the scale. Method: silence, one bit of noise, full-scale sine and square.
    #[test]
    fn the_scale_is_dbov() {
        assert_eq!(audio_level(&[0; 960]), 127);
        assert_eq!(audio_level(&[]), 127);
        assert_eq!(audio_level(&[1; 960]), 90, "20 log 32768");
        assert_eq!(audio_level(&sine(32_767.0)), 0x80 | 3);
        assert_eq!(audio_level(&[i16::MIN; 960]), 0x80);
    }

    /// Goal: the V bit divides speech from a quiet room. Method: sines of 30 and 60 dB below full scale.
    #[test]
    fn the_v_bit_follows_loudness() {
        assert_eq!(audio_level(&sine(1_036.0)), 0x80 | 33);
        assert_eq!(audio_level(&sine(32.77)) & 0x80, 0);
    }
}
