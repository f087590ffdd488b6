//! A load as a plan: rooms, members, who talks and how. Nothing here touches a server.

use std::fmt;
use std::str::FromStr;

use crate::payload::Payload;

/// How speakers talk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Talk {
    /// A packet each 20 ms, without end.
    Continuous,
    /// Talkspurts and silences of these mean lengths, seconds; each from half to one and a half times as long.
    Spurts {
        /// Speech.
        speech_s: f64,
        /// Silence, in which nothing is sent (DTX).
        silence_s: f64,
    },
}

/// Longest talkspurt and silence, seconds.
const SPURT_S_MAX: f64 = 600.0;

impl FromStr for Talk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "continuous" {
            return Ok(Talk::Continuous);
        }
        let seconds = |text: &str| text.trim_end_matches('s').parse().ok().filter(|s| (0.02..=SPURT_S_MAX).contains(s));
        let pair = text.split_once('/').and_then(|(speech, silence)| Some((seconds(speech)?, seconds(silence)?)));
        pair.map(|(speech_s, silence_s)| Talk::Spurts { speech_s, silence_s })
            .ok_or_else(|| "give continuous, or seconds of speech and of silence such as 1.5/3".to_owned())
    }
}

impl fmt::Display for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Talk::Continuous => f.write_str("continuous"),
            Talk::Spurts { speech_s, silence_s } => write!(f, "{speech_s}s/{silence_s}s"),
        }
    }
}

/// Rooms and what is said in them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Rooms.
    pub rooms: u32,
    /// Members of each.
    pub members: u32,
    /// Speakers of each.
    pub speakers: u32,
    /// What they send.
    pub payload: Payload,
    /// When.
    pub talk: Talk,
    /// Share of the listeners that decrypt all they hear.
    pub opened: f64,
}

/// Parts of one stretch of load, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// Load before anything is measured.
    pub warm_s: f64,
    /// Load that is measured.
    pub measured_s: f64,
    /// No load: what is still under way arrives.
    pub drain_s: f64,
}

impl Load {
    /// All clients.
    #[must_use]
    pub fn clients(&self) -> usize {
        (self.rooms * self.members) as usize
    }

    /// Room and member of the `turn`th speaker: speakers take turns over rooms, so that rooms differ by one at most.
    #[must_use]
    pub fn speaker(&self, turn: usize) -> (u32, u32) {
        let rooms = self.rooms as usize;
        ((turn % rooms) as u32, (turn / rooms) as u32)
    }

    /// Whether this member decrypts all it hears: spread evenly over all members, never fewer than the share asks.
    #[must_use]
    pub fn opens(&self, client: usize) -> bool {
        let upto = |count: usize| (count as f64 * self.opened).ceil() as usize;
        upto(client + 1) > upto(client)
    }
}

/// What a listener should get: all that was said in its room but by itself.
#[must_use]
pub fn expected_of(said_in_room: u64, said_itself: u64) -> u64 {
    said_in_room - said_itself
}

/// Share of `expected` that is missing; 0 if nothing was expected, or more came.
#[must_use]
pub fn loss(expected: u64, received: u64) -> f64 {
    if expected == 0 { 0.0 } else { (expected.saturating_sub(received)) as f64 / expected as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(rooms: u32, members: u32, opened: f64) -> Load {
        Load { rooms, members, speakers: 1, payload: Payload::Fixed(100), talk: Talk::Continuous, opened }
    }

    /// Goal: speakers fill rooms evenly, and each member is one speaker only.
    #[test]
    fn speakers_take_turns_over_rooms() {
        let load = load(4, 3, 1.0);
        let turns: Vec<(u32, u32)> = (0..12).map(|turn| load.speaker(turn)).collect();
        assert_eq!(turns[..5], [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1)]);
        let mut sorted = turns.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 12);
    }

    /// Goal: the share of listeners that decrypt is as asked, spread evenly, and never none unless asked.
    #[test]
    fn the_share_that_opens_is_spread() {
        let count = |opened: f64, clients: usize| {
            let load = load(1, 1, opened);
            (0..clients).filter(|client| load.opens(*client)).count()
        };
        assert_eq!(
            (count(1.0, 1_000), count(0.0, 1_000), count(1.0 / 16.0, 1_000), count(0.001, 10)),
            (1_000, 0, 63, 1)
        );
        let sixteenth = load(1, 1, 1.0 / 16.0);
        assert!((0..16).filter(|client| sixteenth.opens(160 + client)).count() == 1);
    }

    /// Goal: a speaker does not hear itself, and loss is a share of what was expected.
    #[test]
    fn expectations_leave_out_the_speaker() {
        assert_eq!((expected_of(500, 0), expected_of(500, 250)), (500, 250));
        assert!((loss(1_000, 990) - 0.01).abs() < 1e-12);
        assert_eq!((loss(0, 0), loss(10, 11)), (0.0, 0.0));
    }

    /// Goal: what the help shows is understood, and what cannot be is refused.
    #[test]
    fn talk_and_payload_are_read() {
        assert_eq!("1.5s/3s".parse(), Ok(Talk::Spurts { speech_s: 1.5, silence_s: 3.0 }));
        assert_eq!("1.5/3".parse::<Talk>().map(|talk| talk.to_string()), Ok("1.5s/3s".to_owned()));
        assert!("0/3".parse::<Talk>().is_err() && "fast".parse::<Talk>().is_err());
        assert_eq!(("100".parse(), "opus-vbr".parse()), (Ok(Payload::Fixed(100)), Ok(Payload::OpusVbr)));
        assert!("0".parse::<Payload>().is_err() && "5000".parse::<Payload>().is_err());
    }
}
