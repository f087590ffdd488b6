//! Opens a device as voice wants it, and takes what is granted.
//!
//! Not the loop over it. Asked for: 48 kHz, S16, one channel or two, the caller's period, a buffer of three. ALSA's
//! converter (`plug`) may change format and channels, but not the rate: its linear interpolation is heard, and
//! our resampler is not.
//! In: a name as ALSA knows it. Out: a device ready to start, with what it granted. Blocks: a sound server may
//! take its time.

use ::alsa::pcm::{Access, Format, HwParams, PCM};
use ::alsa::{Output, ValueOr};

use super::Direction;
use super::error::{DeviceError, Problem};
use crate::SAMPLE_RATE;

/// Periods of buffer asked for, and kept full in a loudspeaker that grants more: one that plays, one that waits,
/// one to be late by.
const PERIODS: usize = 3;

/// Longest period that can be used, frames: an eighth of a ring (`shared::RING_SAMPLES`).
const PERIOD_FRAMES_MAX: i64 = 4_096;

/// Rates that can be used, Hz.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;

/// What a device granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Samples a second, Hz.
    pub rate: u32,
    /// Channels of a frame.
    pub channels: usize,
    /// Frames moved at a time.
    pub period: usize,
    /// Frames it holds.
    pub buffer: usize,
    /// Of a sample.
    pub format: SampleFormat,
}

/// Formats of a sample that are converted to and from `i16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// `i16`.
    S16,
    /// `i32`.
    S32,
    /// `f32`, full scale 1.0.
    Float,
}

impl std::fmt::Display for Granted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rate, channels, period, buffer, format } = self;
        let ms = *period as f64 * 1_000.0 / f64::from(*rate);
        write!(f, "{rate} Hz, {channels} channels, {format:?}, period {period} frames ({ms:.1} ms), buffer {buffer}")
    }
}

/// A device that is ready to start.
pub struct Opened {
    /// ALSA's handle, in nonblocking mode.
    pub pcm: PCM,
    /// What it granted.
    pub granted: Granted,
    /// Playback: periods kept in the device.
    pub lead: usize,
}

/// Keeps ALSA from writing to standard error on this thread: what fails is told by [`DeviceError`].
pub fn quiet() {
    // Without memory for the handler the messages show: no harm.
    drop(Output::local_error_handler());
}

/// Opens a device. `period_us` is asked for, microseconds: three of it are a loudspeaker's delay, two of it may a
/// thread be late.
///
/// # Errors
/// [`DeviceError`], with what to do.
pub fn open(name: &str, direction: Direction, period_us: u32) -> Result<Opened, DeviceError> {
    quiet();
    let failed = |problem| DeviceError { device: name.to_owned(), direction, problem };
    let system = |error: ::alsa::Error| failed(Problem::of(&error));
    let pcm = PCM::new(name, direction.alsa(), true).map_err(system)?;
    // Some configurations force a rate behind the converter: then it must convert, as well as it can.
    let granted = hardware(&pcm, period_us, false).or_else(|_| hardware(&pcm, period_us, true)).map_err(failed)?;
    let lead = PERIODS.min(granted.buffer / granted.period);
    software(&pcm, direction, &granted, lead).map_err(system)?;
    Ok(Opened { pcm, granted, lead })
}

fn hardware(pcm: &PCM, period_us: u32, resample: bool) -> Result<Granted, Problem> {
    let system = |error: ::alsa::Error| Problem::of(&error);
    let wanted = HwParams::any(pcm).map_err(system)?;
    wanted.set_access(Access::RWInterleaved).map_err(|_| Problem::Unfit("interleaved access"))?;
    // Refused where there is no converter: then there is nothing to switch off.
    let _ = wanted.set_rate_resample(resample);
    let formats = [
        (Format::s16(), SampleFormat::S16),
        (Format::s32(), SampleFormat::S32),
        (Format::float(), SampleFormat::Float),
    ];
    let (_, format) = formats
        .into_iter()
        .find(|(format, _)| wanted.set_format(*format).is_ok())
        .ok_or(Problem::Unfit("sample format"))?;
    let channels = if wanted.set_channels(1).is_ok() { 1 } else { wanted.set_channels_near(2).map_err(system)? };
    let rate = wanted.set_rate_near(SAMPLE_RATE, ValueOr::Nearest).map_err(system)?;
    if !RATES.contains(&rate) {
        return Err(Problem::Unfit("sample rate"));
    }
    let period = i64::from(rate) * i64::from(period_us) / 1_000_000;
    let period = wanted.set_period_size_near(period, ValueOr::Nearest).map_err(system)?;
    wanted.set_buffer_size_near(period * PERIODS as i64).map_err(system)?;
    pcm.hw_params(&wanted).map_err(|error| match error.errno() {
        libc::EINVAL => Problem::Unfit("settings"),
        _ => system(error),
    })?;
    let (period, buffer) = (wanted.get_period_size().map_err(system)?, wanted.get_buffer_size().map_err(system)?);
    if !(1..=PERIOD_FRAMES_MAX).contains(&period) || buffer < period {
        return Err(Problem::Unfit("period"));
    }
    Ok(Granted { rate, channels: channels as usize, period: period as usize, buffer: buffer as usize, format })
}

/// When the device wakes us and when it starts: a playback device is kept filled to `lead` periods.
fn software(pcm: &PCM, direction: Direction, granted: &Granted, lead: usize) -> Result<(), ::alsa::Error> {
    let Granted { period, buffer, .. } = *granted;
    let wanted = pcm.sw_params_current()?;
    let (start, wake) = match direction {
        Direction::Capture => (1, period),
        Direction::Playback => (lead * period, buffer - (lead - 1) * period),
    };
    wanted.set_start_threshold(start as i64)?;
    wanted.set_avail_min(wake as i64)?;
    wanted.set_stop_threshold(buffer as i64)?;
    pcm.sw_params(&wanted)
}
