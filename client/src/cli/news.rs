//! What happens in a stay, told: as sentences to people, as JSON to scripts, or by running a command.
//!
//! Not what happens, which the session's events are. In: [`News`]. Out: lines of standard output and error, or jobs of
//! `runner`. The names of events and fields are stable: docs/SCRIPTING.md has them.
//! Bounds: a line of output for each; what a runner bounds.

use clap::ValueEnum;
use echomesh_proto::control::{AuditEntry, ChatMsg, Member, Unread};

use super::chat;
use super::clock;
use super::commands::{print_line, printable};
use super::failure::Failure;
use super::fields::{Field, Fields, json, owned};
use super::runner::Runner;

/// Kinds of news, by the names that scripts know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// In the room
    In,
    /// Who is there
    Present,
    /// Somebody came
    Joined,
    /// Somebody went
    Left,
    /// Somebody is muted or deafened, or not any more
    Member,
    /// Somebody begins to talk, or ends
    Talking,
    /// A line in the room
    Line,
    /// A line to this account, or from it
    Direct,
    /// A line was edited or deleted
    Changed,
    /// A line of standard input is stored
    Said,
    /// One was refused
    Refused,
    /// Somebody wrote while this account was away
    Unread,
    /// Voice can be sent and heard, or not any more
    Voice,
    /// Voice goes by UDP, or through the control connection
    VoiceWay,
    /// What happened to a microphone or loudspeaker
    Device,
    /// There is no server yet
    Waiting,
    /// The connection was lost, and is made again
    ConnectionLost,
    /// It is there again
    ConnectionBack,
    /// A moderator moved this session to another room
    Moved,
    /// Not in a room any more
    RoomLost,
    /// The server says something
    Notice,
    /// Somebody was reported, told to moderators
    Reported,
    /// The last one
    End,
}

/// One of them.
pub enum News<'a> {
    In { room: &'a str, others: usize, again: bool },
    Present { room: &'a str, member: &'a Member },
    Joined { room: &'a str, member: &'a Member },
    Left { room: &'a str, member: &'a Member },
    Member { room: &'a str, member: &'a Member },
    Talking { room: &'a str, member: &'a Member },
    Line { line: &'a ChatMsg, own: bool, old: bool },
    Direct { line: &'a ChatMsg, own: bool },
    Changed { line: &'a ChatMsg, own: bool },
    Said(&'a ChatMsg),
    Refused(&'a str),
    Unread(&'a Unread),
    Voice { room: &'a str, open: bool },
    VoiceWay { room: &'a str, udp: bool },
    Device(&'a str),
    Waiting(&'a str),
    ConnectionLost,
    ConnectionBack { resumed: bool },
    Moved { room: &'a str },
    RoomLost { room: &'a str, message: &'a str },
    Notice(&'a str),
    Reported(&'a AuditEntry),
    End,
}

/// Whom they are told to.
pub enum Teller {
    /// A person: lines on standard output, all else on standard error.
    Person,
    /// A person who hears the room and does not read it: standard output is not for text.
    Listener,
    /// A script: an object on each line of standard output.
    Script,
    /// Commands, and a person who reads standard error.
    Commands(Box<Runner>),
}

impl Teller {
    /// Tells.
    ///
    /// # Errors
    /// `Failure::Local` if standard output cannot be written; as [`Runner::push`].
    pub fn tell(&mut self, news: &News<'_>) -> Result<(), Failure> {
        match self {
            Self::Script => print_line(&json(&news.fields())),
            Self::Person if news.is_line() => news.sentence().map_or(Ok(()), |text| print_line(&text)),
            Self::Person | Self::Listener => {
                news.report();
                Ok(())
            }
            Self::Commands(runner) => {
                news.report();
                if news.is_own() && !runner.takes_own() {
                    return Ok(());
                }
                if runner.wants(news.kind()) { runner.push(news.kind(), &news.fields()) } else { Ok(()) }
            }
        }
    }

    /// Waits until a command has ended. Safe to drop.
    pub async fn ready(&mut self) {
        match self {
            Self::Commands(runner) => runner.ready().await,
            Self::Person | Self::Listener | Self::Script => std::future::pending().await,
        }
    }

    /// Why the stay cannot go on, if so.
    ///
    /// # Errors
    /// As [`Runner::failure`].
    pub fn failure(&mut self) -> Result<(), Failure> {
        match self {
            Self::Commands(runner) => runner.failure(),
            Self::Person | Self::Listener | Self::Script => Ok(()),
        }
    }

    /// Ends what runs, and says what became of it.
    pub async fn finish(self) {
        if let Self::Commands(runner) = self {
            runner.finish().await;
        }
    }
}

fn member_fields(room: &str, member: &Member) -> Fields {
    vec![
        ("room", owned(room)),
        ("user", owned(&member.username)),
        ("user_id", Field::Number(member.user_id)),
        // As text: readers of JSON with one kind of number know 53 bits.
        ("session", Field::Text(format!("{:016x}", member.session_id))),
        ("muted", Field::Flag(member.muted || member.server_muted)),
        ("deafened", Field::Flag(member.deafened || member.server_deafened)),
        ("talking", Field::Flag(member.talking)),
    ]
}

impl News<'_> {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::In { .. } => Kind::In,
            Self::Present { .. } => Kind::Present,
            Self::Joined { .. } => Kind::Joined,
            Self::Left { .. } => Kind::Left,
            Self::Member { .. } => Kind::Member,
            Self::Talking { .. } => Kind::Talking,
            Self::Line { .. } => Kind::Line,
            Self::Direct { .. } => Kind::Direct,
            Self::Changed { .. } => Kind::Changed,
            Self::Said(_) => Kind::Said,
            Self::Refused(_) => Kind::Refused,
            Self::Unread(_) => Kind::Unread,
            Self::Voice { .. } => Kind::Voice,
            Self::VoiceWay { .. } => Kind::VoiceWay,
            Self::Device(_) => Kind::Device,
            Self::Waiting(_) => Kind::Waiting,
            Self::ConnectionLost => Kind::ConnectionLost,
            Self::ConnectionBack { .. } => Kind::ConnectionBack,
            Self::Moved { .. } => Kind::Moved,
            Self::RoomLost { .. } => Kind::RoomLost,
            Self::Notice(_) => Kind::Notice,
            Self::Reported(_) => Kind::Reported,
            Self::End => Kind::End,
        }
    }

    fn is_line(&self) -> bool {
        matches!(self, Self::Line { .. } | Self::Direct { .. } | Self::Changed { .. })
    }

    /// Whether this account did it, on another device.
    fn is_own(&self) -> bool {
        match self {
            Self::Line { own, .. } | Self::Direct { own, .. } | Self::Changed { own, .. } => *own,
            _ => false,
        }
    }

    /// The names and values that scripts know: `event`, `time_ms`, and what the kind has.
    pub fn fields(&self) -> Fields {
        let name = self.kind().to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let mut fields = vec![("event", Field::Text(name))];
        match self {
            Self::Line { line, .. } | Self::Direct { line, .. } | Self::Changed { line, .. } | Self::Said(line) => {
                fields.extend(chat::line_fields(line));
            }
            _ => fields.push(("time_ms", Field::Number(clock::now().unix_ms))),
        }
        fields.extend(match self {
            Self::In { room, others, again } => {
                vec![("room", owned(room)), ("others", Field::Number(*others as u64)), ("again", Field::Flag(*again))]
            }
            Self::Present { room, member }
            | Self::Joined { room, member }
            | Self::Left { room, member }
            | Self::Member { room, member }
            | Self::Talking { room, member } => member_fields(room, member),
            Self::Line { own, old, .. } => vec![("own", Field::Flag(*own)), ("old", Field::Flag(*old))],
            Self::Direct { own, .. } | Self::Changed { own, .. } => vec![("own", Field::Flag(*own))],
            Self::Refused(message) | Self::Device(message) | Self::Waiting(message) | Self::Notice(message) => {
                vec![("message", owned(message))]
            }
            Self::Unread(of) => vec![("user", owned(&of.username)), ("lines", Field::Number(of.count.into()))],
            Self::Voice { room, open } => vec![("room", owned(room)), ("open", Field::Flag(*open))],
            Self::VoiceWay { room, udp } => vec![("room", owned(room)), ("udp", Field::Flag(*udp))],
            Self::ConnectionBack { resumed } => vec![("resumed", Field::Flag(*resumed))],
            Self::Moved { room } => vec![("room", owned(room))],
            Self::RoomLost { room, message } => vec![("room", owned(room)), ("message", owned(message))],
            Self::Reported(report) => {
                vec![("by", owned(&report.by)), ("target", owned(&report.target)), ("reason", owned(&report.reason))]
            }
            Self::Said(_) | Self::ConnectionLost | Self::End => Vec::new(),
        });
        fields
    }

    /// On standard error, unless it is what people say.
    fn report(&self) {
        if !self.is_line()
            && let Some(text) = self.sentence()
        {
            eprintln!("echomesh: {text}");
        }
    }

    /// For a person, as far as it is worth a sentence.
    fn sentence(&self) -> Option<String> {
        Some(match self {
            Self::In { room, again: true, .. } => format!("in {} again", printable(room)),
            Self::In { room, others, .. } => format!("in {}; {others} others are there", printable(room)),
            Self::Joined { member, .. } => format!("{} joined", printable(&member.username)),
            Self::Left { member, .. } => format!("{} left", printable(&member.username)),
            Self::Line { line, .. } | Self::Direct { line, .. } | Self::Changed { line, .. } => chat::shown(line),
            Self::Refused(message) => printable(message),
            Self::Unread(of) => {
                let name = printable(&of.username);
                format!("{} from {name}: echomesh history '@{name}'", of.count)
            }
            Self::VoiceWay { udp: true, .. } => "voice goes by UDP again".to_owned(),
            Self::VoiceWay { .. } => {
                "nothing comes by UDP: voice goes through the control connection (is the server's \
                                      UDP port open?)"
                    .to_owned()
            }
            Self::Device(message) => (*message).to_owned(),
            Self::Waiting(message) => format!("{}; trying again until it is there", printable(message)),
            Self::ConnectionLost => "the connection was lost; trying again".to_owned(),
            Self::Moved { room } => format!("moved to {}", printable(room)),
            Self::RoomLost { room, message } => format!("not in {} any more: {}", printable(room), printable(message)),
            Self::Notice(message) => format!("the server says: {}", printable(message)),
            Self::Reported(AuditEntry { by, target, reason, .. }) => {
                printable(&format!("{by} reports {target}: {reason}"))
            }
            Self::Present { .. }
            | Self::Member { .. }
            | Self::Talking { .. }
            | Self::Said(_)
            | Self::Voice { .. }
            | Self::ConnectionBack { .. }
            | Self::End => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what scripts were promised stays: names, order, one line, and nothing of others breaks out of it.
    #[test]
    fn the_schema_is_stable() {
        let line = ChatMsg {
            message_id: 7,
            time_ms: 5,
            room_id: "hall".into(),
            username: "ann".into(),
            user_id: 3,
            content: "a \"b\"\n\u{1b}".into(),
            client_id: "secret".into(),
            ..ChatMsg::default()
        };
        let expected = r#"{"event":"line","line":7,"time_ms":5,"room":"hall","to":"","user":"ann","user_id":3,"edited_ms":0,"deleted":false,"mentions":"","content":"a \"b\"\u000a\u001b","own":false,"old":true}"#;
        assert_eq!(json(&News::Line { line: &line, own: false, old: true }.fields()), expected);
        let member = Member { session_id: u64::MAX, username: "ann".into(), talking: true, ..Member::default() };
        let told = json(&News::Talking { room: "hall", member: &member }.fields());
        assert!(told.starts_with(r#"{"event":"talking","time_ms":"#), "{told}");
        let end = r#""room":"hall","user":"ann","user_id":0,"session":"ffffffffffffffff","muted":false,"deafened":false,"talking":true}"#;
        assert!(told.ends_with(end), "{told}");
        assert!(json(&News::ConnectionLost.fields()).starts_with(r#"{"event":"connection_lost","#));
    }

    /// Goal: the documentation has every kind, and none that is not there.
    #[test]
    fn every_kind_is_documented() {
        let documented = include_str!("../../../docs/SCRIPTING.md");
        for kind in Kind::value_variants() {
            let value = kind.to_possible_value().unwrap();
            assert!(documented.contains(&format!("| `{}` |", value.get_name())), "{}", value.get_name());
        }
        assert_eq!(documented.lines().filter(|line| line.starts_with("| `")).count(), Kind::value_variants().len());
    }
}
