//! `echomesh history`, `unread`, `edit`, `delete`: chat that is stored. A room is entered for it, a conversation needs
//! nothing but the other's name.
//!
//! In: arguments. Out: lines for people, or with `--json` an object on each line. Bounds: `LINES_MAX` lines, unless all are
//! asked for, which are printed page by page; a list of what is unread is one answer.

use clap::Args as ClapArgs;
use echomesh_client::Done;
use echomesh_proto::control::{ChatAction, ChatActionType, ChatMsg, ChatState, Unread as UnreadOf};
use echomesh_proto::limits::HISTORY_LINES_MAX;

use super::clock;
use super::commands::{enter, print_line, printable};
use super::failure::Failure;
use super::fields::{Field, Fields, json, owned, text};
use super::link::Link;

/// Lines of one `echomesh history`.
const LINES_MAX: i64 = 100_000;

/// `echomesh history`.
#[derive(Debug, ClapArgs)]
pub struct History {
    /// Room, or @NAME for what you and one person wrote each other
    place: String,
    /// Lines before this number [default: the newest]
    #[arg(long, value_name = "LINE", conflicts_with = "after")]
    before: Option<u64>,
    /// Lines after this number; 0 is from the first on
    #[arg(long, value_name = "LINE")]
    after: Option<u64>,
    /// How many
    #[arg(long, value_name = "LINES", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=LINES_MAX))]
    count: u32,
    /// All there is, from the first line on
    #[arg(long, conflicts_with_all = ["before", "after", "count"])]
    all: bool,
    /// Print JSON, an object on each line
    #[arg(long)]
    json: bool,
}

/// `echomesh unread`.
#[derive(Debug, ClapArgs)]
pub struct Unread {
    /// Print JSON, an object on each line
    #[arg(long)]
    json: bool,
}

/// A line that is to be changed.
#[derive(Debug, ClapArgs)]
pub struct Change {
    /// Room, or @NAME for a line between you and one person
    place: String,
    /// Its number, as `echomesh history` shows it
    line: u64,
}

/// A request about a room or a conversation; a room is entered first.
async fn about(link: &mut Link, place: &str, action: ChatActionType) -> Result<ChatAction, Failure> {
    let action = ChatAction { action: action as i32, ..ChatAction::default() };
    if let Some(name) = place.strip_prefix('@') {
        return Ok(ChatAction { username: name.to_owned(), ..action });
    }
    enter(link, place, false).await?;
    Ok(ChatAction { room_id: place.to_owned(), ..action })
}

async fn ask(link: &mut Link, action: ChatAction) -> Result<ChatState, Failure> {
    match link.page(|session| session.chat_action(clock::now(), action.clone())).await? {
        Done::ChatState(state) => Ok(state),
        _ => Ok(ChatState::default()),
    }
}

/// The last lines of a room, oldest first.
///
/// # Errors
/// [`Failure`].
pub async fn last_lines(link: &mut Link, room: &str, count: u32) -> Result<Vec<ChatMsg>, Failure> {
    let (action, room_id) = (ChatActionType::CaHistory as i32, room.to_owned());
    let mut lines = ask(link, ChatAction { action, room_id, count, ..ChatAction::default() }).await?.lines;
    lines.reverse();
    Ok(lines)
}

/// What is unread, as sentences.
///
/// # Errors
/// [`Failure`].
pub async fn unread(link: &mut Link) -> Result<Vec<UnreadOf>, Failure> {
    let action = ChatActionType::CaUnread as i32;
    Ok(ask(link, ChatAction { action, ..ChatAction::default() }).await?.unread)
}

/// A line of chat for a terminal.
pub fn shown(line: &ChatMsg) -> String {
    // Lines of a deleted account stay, without a name.
    let name = |name: &str| if name.is_empty() { "(deleted account)".to_owned() } else { printable(name) };
    let author = name(&line.username);
    let author = if line.room_id.is_empty() { format!("{author} to {}", name(&line.to)) } else { author };
    let edited = if line.edited_ms == 0 || line.deleted { "" } else { " (edited)" };
    let content = if line.deleted { "(deleted)".to_owned() } else { printable(&line.content) };
    format!("{author}: {content}{edited}")
}

/// What scripts know of a line.
pub fn line_fields(line: &ChatMsg) -> Fields {
    let mentions: Vec<String> = line.mentions.iter().map(u64::to_string).collect();
    vec![
        ("line", Field::Number(line.message_id)),
        ("time_ms", Field::Number(line.time_ms)),
        ("room", owned(&line.room_id)),
        ("to", owned(&line.to)),
        ("user", owned(&line.username)),
        ("user_id", Field::Number(line.user_id)),
        ("edited_ms", Field::Number(line.edited_ms)),
        ("deleted", Field::Flag(line.deleted)),
        ("mentions", Field::Text(mentions.join(","))),
        ("content", owned(&line.content)),
    ]
}

fn unread_fields(unread: &UnreadOf) -> Fields {
    let user = if unread.username.is_empty() { String::new() } else { format!("@{}", unread.username) };
    vec![
        ("room", owned(&unread.room_id)),
        ("from", Field::Text(user)),
        ("lines", Field::Number(unread.count.into())),
        ("mentions", Field::Number(unread.mentions.into())),
        ("seen", Field::Number(unread.seen)),
        ("newest", Field::Number(unread.newest)),
    ]
}

impl History {
    /// Asks, page after page, and prints: oldest first always.
    ///
    /// # Errors
    /// [`Failure`], with the server's sentence if it refused.
    pub async fn run(&self, link: &mut Link) -> Result<(), Failure> {
        let mut action = about(link, &self.place, ChatActionType::CaHistory).await?;
        let after = if self.all { Some(0) } else { self.after };
        (action.before, action.after) = (self.before.unwrap_or(0), after);
        let (mut left, mut newest_first) = (if self.all { u32::MAX } else { self.count }, Vec::new());
        while left > 0 {
            action.count = left.min(HISTORY_LINES_MAX);
            let state = ask(link, action.clone()).await?;
            let Some(last) = state.lines.last().map(|line| line.message_id) else { break };
            left = left.saturating_sub(state.lines.len() as u32);
            if after.is_some() {
                self.print(state.lines.iter())?;
            } else {
                newest_first.extend(state.lines);
            }
            if !state.more {
                break;
            }
            match &mut action.after {
                Some(after) => *after = last,
                None => action.before = last,
            }
        }
        self.print(newest_first.iter().rev())
    }

    fn print<'a>(&self, lines: impl Iterator<Item = &'a ChatMsg>) -> Result<(), Failure> {
        for line in lines {
            print_line(&if self.json {
                json(&line_fields(line))
            } else {
                format!("{} {} {}", line.message_id, utc(line.time_ms), shown(line))
            })?;
        }
        Ok(())
    }
}

impl Unread {
    /// Asks and prints.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn run(&self, link: &mut Link) -> Result<(), Failure> {
        for of in unread(link).await? {
            let fields = unread_fields(&of);
            print_line(&if self.json { json(&fields) } else { text(&fields) })?;
        }
        Ok(())
    }
}

impl Change {
    /// Gives the line another content.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn edit(&self, link: &mut Link, content: &str) -> Result<(), Failure> {
        let action = about(link, &self.place, ChatActionType::CaEdit).await?;
        ask(link, ChatAction { message_id: self.line, content: content.to_owned(), ..action }).await.map(drop)
    }

    /// Takes its content away.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn delete(&self, link: &mut Link) -> Result<(), Failure> {
        let action = about(link, &self.place, ChatActionType::CaDelete).await?;
        ask(link, ChatAction { message_id: self.line, ..action }).await.map(drop)
    }
}

/// `2026-01-31T12:34Z`. Source: days to civil date, Howard Hinnant, "chrono-compatible low-level date algorithms".
fn utc(time_ms: u64) -> String {
    let minutes = time_ms / 60_000;
    let days = minutes / 1_440 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}Z", minutes / 60 % 24, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: lines are told apart by who said them, to whom, and what became of them; nothing of others drives the
    /// terminal.
    #[test]
    fn lines_are_shown_safely() {
        let (username, content, room_id) = ("ann\u{1b}".into(), "a\u{1b}[2J\nb".into(), "hall".into());
        let line = ChatMsg { username, content, room_id, ..ChatMsg::default() };
        assert_eq!(shown(&line), "ann\u{FFFD}: a\u{FFFD}[2J\u{FFFD}b");
        let edited = ChatMsg { to: "bob".into(), edited_ms: 1, room_id: String::new(), ..line.clone() };
        assert_eq!(shown(&edited), "ann\u{FFFD} to bob: a\u{FFFD}[2J\u{FFFD}b (edited)");
        assert_eq!(shown(&ChatMsg { deleted: true, edited_ms: 1, ..line.clone() }), "ann\u{FFFD}: (deleted)");
        let fields = json(&line_fields(&ChatMsg { content: "\u{202e}x\u{1b}".into(), ..line }));
        assert!(!fields.contains('\u{1b}') && !fields.contains('\u{202e}'), "{fields}");
    }

    /// Goal: a line of an account that is deleted, or to one, does not look like another's or like one of a room (PROTOCOL
    /// M66).
    #[test]
    fn deleted_accounts_are_named_as_such() {
        let line = ChatMsg { content: "hi".into(), room_id: "hall".into(), ..ChatMsg::default() };
        assert_eq!(shown(&line), "(deleted account): hi");
        let direct = ChatMsg { username: "ann".into(), room_id: String::new(), ..line };
        assert_eq!(shown(&direct), "ann to (deleted account): hi");
    }

    /// Goal: dates are those of the calendar.
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (time_ms, expected) in [
            (0, "1970-01-01T00:00Z"),
            (951_782_400_000, "2000-02-29T00:00Z"),
            (1_700_000_000_000, "2023-11-14T22:13Z"),
            (4_102_444_799_999, "2099-12-31T23:59Z"),
        ] {
            assert_eq!(utc(time_ms), expected);
        }
    }
}
