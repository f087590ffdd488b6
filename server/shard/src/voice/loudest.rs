//! Loudest-N: which of a room's speakers are heard when more speak than anyone can follow.
//!
//! Each speaker's own shard measures it and reports to the room's home every tick; the home chooses and
//! tells the shards; the choice is applied where the speaker's packets arrive, so withheld voice never
//! crosses the mesh. The voice path asks nobody. Who begins to speak is let through until it is judged.
//! Bounds: `NEWCOMERS` not yet judged speakers a room and shard; a report of `REPORT_SPEAKERS_MAX`.

use std::collections::BTreeMap;

use echomesh_proto::ids::{RoomNumber, SessionId, Ssrc};
use echomesh_proto::time::{MILLISECOND_US, Now, SECOND_US, Time};

use crate::Shard;
use crate::mesh::{Levels, Mesh, Selected};

/// Silence after which a packet begins a talkspurt, microseconds.
const PAUSE_US: u64 = 300 * MILLISECOND_US;

/// How long a speaker may be heard before it is judged: a few reports and answers.
const JUDGED_US: u64 = 200 * MILLISECOND_US;

/// Speakers let through before they are judged, beyond those chosen.
const NEWCOMERS: usize = 2;

/// Louder than this counts as this, -dBov: shouting, or claiming to, wins nothing.
const LEVEL_MIN: u8 = 20;

/// Level taken for a packet that tells none, -dBov: usual speech.
const LEVEL_UNKNOWN: u8 = 30;

/// Softer than this is the background of a room, -dBov.
const LEVEL_SILENT: u8 = 60;

/// Weight of a new packet: recent loudness follows in about 80 ms, the speaker's own average in 10 s.
const RECENT_SHIFT: u32 = 2;
const AVERAGE_SHIFT: u32 = 9;

/// Fractions of a decibel that levels are kept in.
const FRACTION: i32 = 256;

/// A chosen speaker is kept against one that is louder by less than this, in decibels, at first.
const KEPT_DB: i32 = 6;

/// After being chosen for so long others are preferred, by a decibel a second up to `HELD_DB_MAX`.
const HELD_US: u64 = 20 * SECOND_US;
const HELD_DB_MAX: i32 = 12;

/// A report older than this is of someone silent; after `FORGOTTEN_US` of someone gone.
const ACTIVE_US: u64 = 300 * MILLISECOND_US;
const FORGOTTEN_US: u64 = 10 * SECOND_US;

/// Speakers in one report: a record stays far below its bound.
const REPORT_SPEAKERS_MAX: usize = 1_000;

/// How loud a stream is, measured at its own shard.
#[derive(Debug)]
pub(crate) struct Activity {
    recent: i32,
    average: i32,
    last: Option<Time>,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self { recent: 0, average: 0, last: None }
    }

    /// One packet. Returns whether it begins a talkspurt.
    pub(crate) fn heard(&mut self, now: Time, audio_level: Option<u8>) -> bool {
        let level = audio_level.map_or(LEVEL_UNKNOWN, |level| level & 0x7F).max(LEVEL_MIN);
        let loudness = i32::from(127 - level) * FRACTION;
        let begins = self.last.is_none_or(|last| now.since_us(last) >= PAUSE_US);
        if self.last.is_none() {
            (self.recent, self.average) = (loudness, loudness);
        }
        self.recent += (loudness - self.recent) >> RECENT_SHIFT;
        self.average += (loudness - self.average) >> AVERAGE_SHIFT;
        self.last = Some(now);
        begins
    }

    /// Loudness against the speaker's own average, which counts half: a microphone that is always loud
    /// does not win against someone who begins to speak.
    fn score(&self) -> i32 {
        self.recent - self.average / 2
    }

    /// Whether it was heard within the last second, and not only sent silence: who looks once a second misses no word.
    pub(crate) fn is_loud(&self, now: Time) -> bool {
        self.last.is_some_and(|last| now.since_us(last) < SECOND_US)
            && self.recent >= i32::from(127 - LEVEL_SILENT) * FRACTION
    }

    /// Whether a packet came in the last 300 ms.
    pub(super) fn is_active(&self, now: Time) -> bool {
        self.last.is_some_and(|last| now.since_us(last) < ACTIVE_US)
    }
}

/// What the choice means for one stream, at its own shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The room does not choose, or this speaker is chosen.
    Heard,
    /// Not judged yet: heard until then.
    Newcomer(Time),
    Withheld,
}

/// A room's choice as a shard with streams of it knows it.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// Whether the room chooses at all.
    pub(crate) is_on: bool,
    /// Until when each of the newcomers here is heard.
    newcomers: [Time; NEWCOMERS],
}

impl Selection {
    /// What holds for a packet of this stream. Cost: constant.
    pub(crate) fn judge(&mut self, now: Time, choice: Choice, begins: bool) -> Choice {
        match choice {
            Choice::Heard => Choice::Heard,
            Choice::Newcomer(until) if now < until => choice,
            Choice::Newcomer(_) | Choice::Withheld if begins => {
                match self.newcomers.iter_mut().find(|until| **until <= now) {
                    Some(place) => {
                        *place = now.after_us(JUDGED_US);
                        Choice::Newcomer(*place)
                    }
                    None => Choice::Withheld,
                }
            }
            Choice::Newcomer(_) | Choice::Withheld => Choice::Withheld,
        }
    }

    /// Where a stream of this room begins.
    pub(crate) fn first(&self) -> Choice {
        if self.is_on { Choice::Withheld } else { Choice::Heard }
    }
}

#[derive(Debug)]
struct Speaker {
    score: i32,
    reported: Time,
    chosen: Option<Time>,
}

/// A room's speakers at its home.
#[derive(Debug, Default)]
pub(crate) struct Speakers {
    is_on: bool,
    speakers: BTreeMap<u32, Speaker>,
    fresh: bool,
}

impl Speakers {
    /// Chooses anew; the chosen if they changed.
    fn choose(&mut self, now: Time, most: usize) -> Option<Vec<u32>> {
        self.speakers.retain(|_, speaker| now.since_us(speaker.reported) < FORGOTTEN_US);
        let mut ranking: Vec<(bool, i32, u32)> = self
            .speakers
            .iter()
            .map(|(ssrc, speaker)| {
                let held_us = speaker.chosen.map(|since| now.since_us(since));
                let bonus = held_us.map_or(0, |held_us| {
                    let over = (held_us.saturating_sub(HELD_US) / SECOND_US) as i32;
                    KEPT_DB - over.min(HELD_DB_MAX)
                });
                (now.since_us(speaker.reported) < ACTIVE_US, speaker.score + bonus * FRACTION, *ssrc)
            })
            .collect();
        ranking.sort_unstable_by(|one, other| other.cmp(one));
        ranking.truncate(most);
        let mut changed = false;
        for (ssrc, speaker) in &mut self.speakers {
            let chosen = ranking.iter().any(|(_, _, other)| other == ssrc);
            changed |= chosen != speaker.chosen.is_some();
            speaker.chosen = if chosen { speaker.chosen.or(Some(now)) } else { None };
        }
        changed.then(|| self.chosen())
    }

    fn chosen(&self) -> Vec<u32> {
        self.speakers.iter().filter(|(_, speaker)| speaker.chosen.is_some()).map(|(ssrc, _)| *ssrc).collect()
    }

    pub(crate) fn told(&self, room: RoomNumber) -> Mesh {
        Mesh::Selected(Selected { room: room.0, is_on: self.is_on, ssrcs: self.chosen() })
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(crate) fn forget(&mut self, ssrc: Ssrc) {
        self.speakers.remove(&ssrc.0);
    }
}

impl Shard {
    /// Home: with this many streams open, does the room choose?
    pub(crate) fn count_speakers(&mut self, number: RoomNumber) {
        let by_default = self.config.speakers_max;
        let Some(home) = self.homes.get_mut(&number) else { return };
        let most = home.speakers_max(by_default);
        let is_on = most > 0 && home.streams() > most;
        if is_on == home.speakers.is_on {
            home.speakers.fresh = is_on;
            return;
        }
        home.speakers = Speakers { is_on, ..Speakers::default() };
        let told = home.speakers.told(number);
        self.broadcast(number, None, &told);
    }

    /// Home: a shard's report.
    pub(crate) fn levels(&mut self, now: Now, report: &Levels) {
        let Some(home) = self.homes.get_mut(&RoomNumber(report.room)) else { return };
        for (ssrc, score) in report.ssrcs.iter().zip(&report.scores).filter(|_| home.speakers.is_on) {
            let chosen = home.speakers.speakers.get(ssrc).and_then(|speaker| speaker.chosen);
            home.speakers.speakers.insert(*ssrc, Speaker { score: *score, reported: now.time, chosen });
            home.speakers.fresh = true;
        }
    }

    /// A shard with streams: the home has chosen.
    pub(crate) fn selected(&mut self, selected: &Selected) {
        let number = RoomNumber(selected.room);
        let Some(replica) = self.replicas.get_mut(&number) else { return };
        let turned_on = selected.is_on && !replica.selection.is_on;
        replica.selection.is_on = selected.is_on;
        let until = self.now.time.after_us(JUDGED_US);
        let sessions = (number, SessionId(0))..=(number, SessionId(u64::MAX));
        for ssrc in self.session_streams.range(sessions).map(|(_, ssrc)| ssrc) {
            let Some(stream) = self.streams.get_mut(ssrc) else { continue };
            let heard = !replica.selection.is_on || selected.ssrcs.contains(&ssrc.0);
            stream.choice = match stream.choice {
                _ if heard => Choice::Heard,
                // Nobody who speaks as the choosing begins is cut before being judged.
                Choice::Heard if turned_on => Choice::Newcomer(until),
                Choice::Newcomer(until) => Choice::Newcomer(until),
                Choice::Heard | Choice::Withheld => Choice::Withheld,
            };
        }
    }

    /// Every tick: reports to the homes, and choices at home.
    pub(crate) fn loudest_tick(&mut self, now: Now) {
        let mut reports = Vec::new();
        for number in self.replicas.iter().filter(|(_, replica)| replica.selection.is_on).map(|(number, _)| *number) {
            let mut report = Levels { room: number.0, ..Levels::default() };
            let sessions = (number, SessionId(0))..=(number, SessionId(u64::MAX));
            let streams = self.session_streams.range(sessions).filter_map(|(_, ssrc)| self.streams.get_key_value(ssrc));
            let active = streams.filter(|(_, stream)| !stream.is_muted() && stream.activity.is_active(now.time));
            for (ssrc, stream) in active.take(REPORT_SPEAKERS_MAX) {
                report.ssrcs.push(ssrc.0);
                report.scores.push(stream.activity.score());
            }
            if !report.ssrcs.is_empty() {
                reports.push(report);
            }
        }
        for report in reports {
            let Some(key) = self.room_keys.get(&RoomNumber(report.room)) else { continue };
            let home = self.home_of(key);
            self.tell(home, Mesh::Levels(report));
        }
        let by_default = self.config.speakers_max;
        let mut choices = Vec::new();
        for (number, home) in self.homes.iter_mut().filter(|(_, home)| home.speakers.fresh) {
            home.speakers.fresh = false;
            let most = home.speakers_max(by_default);
            if home.speakers.choose(now.time, most).is_some() {
                choices.push((*number, home.speakers.told(*number)));
            }
        }
        for (number, told) in choices {
            self.broadcast(number, None, &told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speakers(levels: &[(u32, i32)], now: Time) -> Speakers {
        let speaker = |score: i32| Speaker { score: score * FRACTION, reported: now, chosen: None };
        let speakers = levels.iter().map(|(ssrc, score)| (*ssrc, speaker(*score))).collect();
        Speakers { is_on: true, speakers, fresh: true }
    }

    /// Goal: the loudest are chosen, a little louder does not displace, much louder does.
    #[test]
    fn the_chosen_are_kept_against_a_little_more() {
        let now = Time(0);
        let mut room = speakers(&[(1, 40), (2, 50), (3, 30)], now);
        assert_eq!(room.choose(now, 2), Some(vec![1, 2]));
        room.speakers.get_mut(&3).unwrap().score = 44 * FRACTION;
        assert_eq!(room.choose(now, 2), None);
        room.speakers.get_mut(&3).unwrap().score = 47 * FRACTION;
        assert_eq!(room.choose(now, 2), Some(vec![2, 3]));
    }

    /// Goal: who holds a place for long gives it up to someone as loud, and nobody silent keeps one from a
    /// speaker.
    #[test]
    fn places_are_not_held_for_ever() {
        let mut room = speakers(&[(1, 40), (2, 40)], Time(0));
        let later = Time(HELD_US + 15 * SECOND_US);
        let first = room.choose(Time(0), 1).unwrap();
        for speaker in room.speakers.values_mut() {
            speaker.reported = later;
        }
        assert_ne!(room.choose(later, 1), Some(first.clone()));
        assert_ne!(room.chosen(), first);
        let quiet = room.chosen()[0];
        let now = later.after_us(ACTIVE_US);
        for speaker in room.speakers.iter_mut().filter(|(ssrc, _)| **ssrc != quiet).map(|(_, speaker)| speaker) {
            (speaker.reported, speaker.score) = (now, 0);
        }
        assert_eq!(room.choose(now, 1), Some(first));
    }

    /// Goal: a sender that claims the loudest level for ever scores below one who begins to speak.
    #[test]
    fn claiming_to_be_loud_wins_nothing() {
        let (mut liar, mut speaker) = (Activity::new(), Activity::new());
        for packet in 0..3_000 {
            liar.heard(Time(packet * 20_000), Some(0x80));
            speaker.heard(Time(packet * 20_000), Some(if packet < 2_900 { 70 } else { 0x80 | 25 }));
        }
        assert!(speaker.score() > liar.score(), "{} against {}", speaker.score(), liar.score());
    }

    /// Goal: who begins to speak is heard at once, `NEWCOMERS` at a time, and not for longer than it takes to
    /// be judged.
    #[test]
    fn newcomers_are_heard_until_judged() {
        let mut selection = Selection { is_on: true, ..Selection::default() };
        let now = Time(SECOND_US);
        let choices: Vec<Choice> = (0..3).map(|_| selection.judge(now, Choice::Withheld, true)).collect();
        assert!(matches!(choices[..], [Choice::Newcomer(_), Choice::Newcomer(_), Choice::Withheld]));
        let later = now.after_us(JUDGED_US);
        assert_eq!(selection.judge(later, choices[0], false), Choice::Withheld);
        assert!(matches!(selection.judge(later, choices[0], true), Choice::Newcomer(_)), "a second attempt");
        assert_eq!(selection.judge(later, Choice::Withheld, false), Choice::Withheld, "in mid-speech");
        assert!(matches!(selection.judge(later, Choice::Withheld, true), Choice::Newcomer(_)));
    }
}
