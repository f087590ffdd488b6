//! When the microphone is open, as a person chooses it by flag, command or key.
//!
//! Not what closes it besides, such as a mute. In: a name. Out: the mode, and whether its key closes the microphone.

use clap::ValueEnum;

/// When the microphone is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TalkMode {
    /// While somebody speaks
    #[default]
    Voice,
    /// While a key is held, or from one press to the next
    Push,
    /// While no key is held: push to mute
    Mute,
    /// Always
    Always,
}

impl TalkMode {
    /// In the order in which the key goes through them.
    pub const ALL: [Self; 4] = [Self::Voice, Self::Push, Self::Mute, Self::Always];

    /// As flag and command have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Push => "push",
            Self::Mute => "mute",
            Self::Always => "always",
        }
    }

    /// The one of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == text)
    }

    /// The one after it.
    pub fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }

    /// Whether the key, held or not, closes the microphone.
    pub fn is_closed(self, pushed: bool) -> bool {
        match self {
            Self::Push => !pushed,
            Self::Mute => pushed,
            Self::Voice | Self::Always => false,
        }
    }
}
