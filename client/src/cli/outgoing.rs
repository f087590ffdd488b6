//! Lines on their way: said in order, said again when their answer was lost or the server was too busy, and as fast as
//! the server lets them.
//!
//! Not showing them, and not reading them. In: text, answers. Out: requests to the session, and what became of a line.
//! Bounds: `UNACKNOWLEDGED_MAX` on their way; what waits before that is bounded by who types it, who is asked
//! ([`Outgoing::takes_more`]) whether there is room.

use std::collections::{BTreeMap, VecDeque};

use echomesh_client::{Answer, Done, Outcome, RequestError, RequestId};
use echomesh_proto::control::{ChatMsg, StatusCode};
use echomesh_proto::time::{MILLISECOND_US, SECOND_US, Time};

use super::clock;
use super::failure::Failure;
use super::link::Link;

/// Lines sent whose acknowledgement is awaited.
const UNACKNOWLEDGED_MAX: usize = 32;

/// Longest wait after which a line that the server would not take then is sent again by itself, milliseconds.
const AGAIN_MS_MAX: u32 = 2_000;

/// Least time between two sentences about that.
const TELL_SLOW_US: u64 = 10 * SECOND_US;

/// Where a line is said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A room, by its name.
    Room(String),
    /// To one person.
    Person(String),
}

/// A line. The id makes sending it again harmless.
#[derive(Clone, Debug)]
struct Line {
    /// In the order in which they were typed.
    number: u64,
    place: Place,
    text: String,
    client_id: String,
}

/// What became of a line.
#[derive(Debug, PartialEq)]
pub enum Fate {
    /// It is stored so.
    Stored(Place, Box<ChatMsg>),
    /// It will be said again; a sentence about it, if the person was not told of late.
    Again(Option<String>),
    /// It was refused: why.
    Refused(String),
}

/// All of them.
pub struct Outgoing {
    typed: u64,
    unsent: VecDeque<Line>,
    unacknowledged: BTreeMap<RequestId, Line>,
    /// How many may be on their way at once, and when the next may go: fewer and later while the server says that it is
    /// too fast. When the person was told so.
    window: usize,
    next_line: Time,
    told_slow: Option<Time>,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self {
            typed: 0,
            unsent: VecDeque::new(),
            unacknowledged: BTreeMap::new(),
            window: UNACKNOWLEDGED_MAX,
            next_line: Time(0),
            told_slow: None,
        }
    }
}

fn client_id() -> Result<String, Failure> {
    let random = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
    let (high, low) = random.map_err(|error| Failure::Local(format!("the system gives no random bytes: {error}")))?;
    Ok(format!("{high:016x}{low:016x}"))
}

impl Outgoing {
    /// A line that was typed.
    ///
    /// # Errors
    /// `Failure::Local` if the system gives no random bytes.
    pub fn push(&mut self, place: Place, text: String) -> Result<(), Failure> {
        self.typed += 1;
        self.unsent.push_back(Line { number: self.typed, place, text, client_id: client_id()? });
        Ok(())
    }

    /// Whether another line may be typed: the last one is on its way.
    pub fn takes_more(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Lines that were never sent, or are to be sent again.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Whether answers are awaited.
    pub fn is_awaiting(&self) -> bool {
        !self.unacknowledged.is_empty()
    }

    /// Says what may be said now; whether one was too long and is dropped.
    pub fn say(&mut self, link: &mut Link) -> bool {
        let mut is_too_long = false;
        while self.unacknowledged.len() < self.window && self.next_line <= clock::monotonic() {
            let Some(line) = self.unsent.front() else { break };
            let request = match &line.place {
                Place::Room(room) => link.session.chat(clock::now(), room, &line.text, &line.client_id),
                Place::Person(name) => link.session.direct(clock::now(), name, &line.text, &line.client_id),
            };
            match request {
                Ok(id) => {
                    if let Some(line) = self.unsent.pop_front() {
                        self.unacknowledged.insert(id, line);
                    }
                }
                Err(RequestError::TooLong) => {
                    is_too_long = true;
                    self.unsent.pop_front();
                }
                Err(RequestError::NotLoggedIn | RequestError::Busy) => break,
            }
        }
        is_too_long
    }

    /// An answer: what became of the line it is about, if it is one of these.
    pub fn answered(&mut self, answer: &Answer) -> Option<Fate> {
        let line = self.unacknowledged.remove(&answer.request)?;
        Some(match &answer.outcome {
            Outcome::Done(Done::Chat(stored)) => {
                self.window = (self.window + 1).min(UNACKNOWLEDGED_MAX);
                Fate::Stored(line.place, Box::new(stored.clone()))
            }
            Outcome::Done(_) => Fate::Again(None),
            Outcome::TimedOut | Outcome::ConnectionLost => {
                self.put_back(line);
                Fate::Again(None)
            }
            // A longer wait is slow mode's: the person may want to say something else by then.
            Outcome::Refused { status: StatusCode::StatusTryAgain, message, retry_after_ms }
                if (1..=AGAIN_MS_MAX).contains(retry_after_ms) =>
            {
                self.put_back(line);
                Fate::Again(self.slow_down(message, *retry_after_ms))
            }
            Outcome::Refused { message, .. } => Fate::Refused(message.clone()),
        })
    }

    /// One of one's own lines came: whether it is one whose acknowledgement was lost with a connection.
    pub fn own_came(&mut self, line: &ChatMsg) -> bool {
        let before = self.unsent.len();
        self.unsent.retain(|unsent| line.client_id.is_empty() || unsent.client_id != line.client_id);
        self.unsent.len() < before
    }

    /// What was typed for one room and is not said goes to another, to which its writer was moved.
    pub fn follow(&mut self, from: &str, to: &str) {
        let from = Place::Room(from.to_owned());
        for line in self.unsent.iter_mut().filter(|line| line.place == from) {
            line.place = Place::Room(to.to_owned());
        }
    }

    fn slow_down(&mut self, message: &str, retry_after_ms: u32) -> Option<String> {
        let now = clock::monotonic();
        (self.window, self.next_line) = (1, now.after_us(u64::from(retry_after_ms) * MILLISECOND_US));
        if self.told_slow.is_some_and(|told| now.since_us(told) < TELL_SLOW_US) {
            return None;
        }
        self.told_slow = Some(now);
        Some(format!("lines wait and are sent again: {message}"))
    }

    /// A line that must be sent again, to its place before those that were never sent.
    fn put_back(&mut self, line: Line) {
        let at = self.unsent.partition_point(|other| other.number < line.number);
        self.unsent.insert(at, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what was on its way when a connection was lost is said again before what was typed after it.
    #[test]
    fn lines_keep_their_order_when_sent_again() {
        let line = |number| Line {
            number,
            place: Place::Room("hall".into()),
            text: String::new(),
            client_id: number.to_string(),
        };
        let mut outgoing = Outgoing { unsent: VecDeque::from([line(4), line(5)]), ..Outgoing::default() };
        for number in [1, 3, 2] {
            outgoing.unacknowledged.insert(RequestId(number as u32), line(number));
            let answer = Answer { request: RequestId(number as u32), outcome: Outcome::ConnectionLost };
            assert_eq!(outgoing.answered(&answer), Some(Fate::Again(None)));
        }
        assert_eq!(outgoing.unsent.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(outgoing.own_came(&ChatMsg { client_id: "3".into(), ..ChatMsg::default() }));
        assert!(!outgoing.own_came(&ChatMsg::default()));
        outgoing.follow("hall", "den");
        assert!(outgoing.unsent.iter().all(|line| line.place == Place::Room("den".into())));
    }
}
