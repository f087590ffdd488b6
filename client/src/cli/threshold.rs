//! The threshold of voice activation: how loud one has to be at least, as a person sets it.
//!
//! Not what comes of it, which is `echomesh_audio`'s. In: `-45` or `auto`, from a flag, the configuration or a command.
//! Out: decibels. Bounds: `DB`. The scale is RFC 6464's, as in the meters: 0 is a full square wave, a full sine has -3.

use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::Error;

/// What can be set, decibels below full scale. Above, nobody would be heard; below, it would close nothing.
const DB: RangeInclusive<u8> = 10..=80;

/// The threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threshold {
    /// The detector of voice alone decides.
    #[default]
    Auto,
    /// What is more than so many decibels below full scale is not sent.
    Below(u8),
}

impl Threshold {
    /// Decibels below full scale.
    pub fn below_full_scale(self) -> Option<u8> {
        match self {
            Self::Auto => None,
            Self::Below(db) => Some(db),
        }
    }

    fn of_db(db: i64) -> Option<Self> {
        db.checked_neg().and_then(|db| u8::try_from(db).ok()).filter(|db| DB.contains(db)).map(Self::Below)
    }
}

/// What is wrong with it.
fn wrong(given: &str) -> String {
    format!("{given} is no threshold: give decibels from -{} to -{}, or auto", DB.end(), DB.start())
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        // People write -45dB, too.
        let number = text.trim_end_matches(|sign: char| sign.is_alphabetic() || sign.is_whitespace());
        number.parse().ok().and_then(Self::of_db).ok_or_else(|| wrong(text))
    }
}

impl std::fmt::Display for Threshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Below(db) => write!(f, "-{db} dB"),
        }
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Word(String),
        }
        let (threshold, text) = match Written::deserialize(deserializer)? {
            Written::Number(db) => (Self::of_db(db), db.to_string()),
            Written::Word(text) => (text.parse().ok(), text),
        };
        threshold.ok_or_else(|| D::Error::custom(wrong(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: decibels below full scale or `auto`, by flag, command and file alike, and a mistake is told with what can be
    /// given.
    #[test]
    fn a_threshold_is_decibels_or_auto() {
        for (text, threshold) in
            [("-45", Threshold::Below(45)), ("-45 dB", Threshold::Below(45)), ("auto", Threshold::Auto)]
        {
            assert_eq!(text.parse(), Ok(threshold));
            assert_eq!(threshold.to_string().parse(), Ok(threshold));
        }
        #[derive(Deserialize)]
        struct File {
            threshold: Threshold,
        }
        let of_file = |text: &str| toml::from_str::<File>(text).map(|file| file.threshold).map_err(|e| e.to_string());
        assert_eq!(of_file("threshold = -45"), Ok(Threshold::Below(45)));
        assert_eq!(of_file("threshold = \"auto\""), Ok(Threshold::Auto));
        assert!(of_file("threshold = 45").is_err_and(|text| text.contains("45 is no threshold")));
        for wrong in ["45", "0", "-9", "-81", "loud", "", "-4.5", "-9223372036854775808"] {
            assert!(wrong.parse::<Threshold>().is_err_and(|text| text.contains("from -80 to -10, or auto")), "{wrong}");
        }
    }
}
