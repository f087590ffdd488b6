//! The devices ALSA knows, and what each can do.
//!
//! Not a promise: a device that is busy or unplugged a moment later is still in the list.
//! In: ALSA's configuration and the hardware. Out: one [`Device`] for each name and direction. Cost: each
//! device is opened for a moment, which may take a sound server some milliseconds.

use ::alsa::Direction as Way;
use ::alsa::device_name::HintIter;
use ::alsa::pcm::{Format, HwParams, PCM};

use super::error::{DeviceError, Problem};
use super::{Direction, open};

/// Names that are no sound device for a person: ALSA's own ends and its surround layouts.
const NOT_DEVICES: [&str; 10] =
    ["null", "samplerate", "speexrate", "lavrate", "jack", "oss", "speex", "upmix", "vdownmix", "usbstream"];

/// A device.
#[derive(Clone, Debug)]
pub struct Device {
    /// As `--input` and `--output` take it after `alsa:`.
    pub name: String,
    /// What ALSA calls it, in one line; may be empty.
    pub description: String,
    /// Which way it goes.
    pub direction: Direction,
    /// What it can do, or why it cannot be used now.
    pub abilities: Result<Abilities, DeviceError>,
}

/// What a device can do, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Fewest and most channels.
    pub channels: (u32, u32),
    /// Lowest and highest sample rate, Hz.
    pub rates: (u32, u32),
    /// Shortest and longest period, frames.
    pub periods: (i64, i64),
    /// Of the sample formats that EchoMesh can use, those it takes.
    pub formats: Vec<&'static str>,
}

impl std::fmt::Display for Abilities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let range = |(low, high): (i64, i64)| if low == high { low.to_string() } else { format!("{low}-{high}") };
        write!(
            f,
            "{} channels, {} Hz, periods of {} frames, {}",
            range((self.channels.0.into(), self.channels.1.into())),
            range((self.rates.0.into(), self.rates.1.into())),
            range(self.periods),
            if self.formats.is_empty() { "no usable format".to_owned() } else { self.formats.join(" ") }
        )
    }
}

/// All devices of one direction, in ALSA's order, `default` first.
///
/// # Errors
/// [`DeviceError`] if ALSA's configuration cannot be read.
pub fn devices(direction: Direction) -> Result<Vec<Device>, DeviceError> {
    let failed = |error| DeviceError { device: "list".to_owned(), direction, problem: Problem::of(&error) };
    open::quiet();
    let hints = HintIter::new(None, c"pcm").map_err(failed)?;
    let wrong_way = match direction {
        Direction::Capture => Way::Playback,
        Direction::Playback => Way::Capture,
    };
    let mut found: Vec<Device> = hints
        .filter(|hint| hint.direction != Some(wrong_way))
        .filter_map(|hint| Some((hint.name?, hint.desc.unwrap_or_default())))
        .filter(|(name, _)| !NOT_DEVICES.contains(&name.as_str()))
        .map(|(name, description)| Device {
            abilities: abilities(&name, direction),
            description: description.replace('\n', ", "),
            name,
            direction,
        })
        .collect();
    // Not every configuration gives a hint of it.
    if !found.iter().any(|device| device.name == "default") {
        let (name, description) = ("default".to_owned(), String::new());
        found.push(Device { abilities: abilities(&name, direction), description, name, direction });
    }
    found.sort_by_key(|device| device.name != "default");
    Ok(found)
}

/// What one device can do.
///
/// # Errors
/// [`DeviceError`] if it cannot be opened.
pub fn abilities(name: &str, direction: Direction) -> Result<Abilities, DeviceError> {
    let failed = |error| DeviceError { device: name.to_owned(), direction, problem: Problem::of(&error) };
    let pcm = PCM::new(name, direction.alsa(), true).map_err(failed)?;
    let read = || -> Result<Abilities, ::alsa::Error> {
        let able = HwParams::any(&pcm)?;
        let formats = [(Format::s16(), "S16"), (Format::s32(), "S32"), (Format::float(), "FLOAT")];
        Ok(Abilities {
            channels: (able.get_channels_min()?, able.get_channels_max()?),
            rates: (able.get_rate_min()?, able.get_rate_max()?),
            periods: (able.get_period_size_min()?, able.get_period_size_max()?),
            formats: formats
                .into_iter()
                .filter(|(format, _)| able.test_format(*format).is_ok())
                .map(|(_, name)| name)
                .collect(),
        })
    };
    read().map_err(failed)
}
