//! The left side: the rooms one is in, the members of the one that is looked at with who talks how loud, conversations,
//! and the server's other rooms.
//!
//! In: the interface's state. Out: rows, as many as there is room for, and what a click on each means; what is left out
//! is counted in the last.

use echomesh_proto::time::Time;
use ratatui::text::{Line, Span};

use super::app::{App, Shown};
use super::theme::Theme;
use super::wrap::{cut, fill};
use crate::cli::commands::printable;
use crate::cli::outgoing::Place;

/// Signs of a bar.
const BAR: usize = 4;

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A place that is open, by its number.
    View(usize),
    /// Somebody.
    Person(String),
    /// A room that is not open.
    Room(String),
}

/// A row; one about nothing does nothing.
pub struct Row {
    pub line: Line<'static>,
    pub target: Option<Target>,
}

impl Row {
    fn words(text: String, theme: Theme) -> Self {
        Self { line: Line::styled(text, theme.quiet()), target: None }
    }
}

/// How loud, as a bar.
pub fn bar(share: f32, theme: Theme) -> Span<'static> {
    let full = (share * BAR as f32).ceil() as usize;
    let text = format!("{}{}", theme.signs.bar.repeat(full.min(BAR)), theme.signs.no_bar.repeat(BAR - full.min(BAR)));
    Span::styled(text, if full > 0 { theme.talking() } else { theme.quiet() })
}

fn member(app: &App, member: &Shown, theme: Theme, now: Time, columns: usize) -> Row {
    let (share, heard) = if member.is_me {
        (app.meters.share(super::meters::OWN, now), app.own.talking)
    } else if member.ssrc == 0 {
        // Without a voice; among the meters this number is the own one's.
        (0.0, false)
    } else {
        (app.meters.share(member.ssrc, now), app.meters.is_talking(member.ssrc, now))
    };
    let talking = heard || member.talking;
    let signs = theme.signs;
    let (sign, style) = match () {
        () if member.ignored => (signs.ignored, theme.quiet()),
        () if member.muted => (signs.muted, theme.quiet()),
        () if talking => (signs.talking, theme.talking()),
        () if member.deafened => (signs.deafened, theme.quiet()),
        () => (" ", theme.plain()),
    };
    let name = if talking { theme.talking() } else { theme.plain() };
    let room = columns.saturating_sub(BAR + 5);
    let line = Line::from(vec![
        Span::raw("  "),
        Span::styled(format!("{sign} "), style),
        Span::styled(fill(&member.name, room), name),
        Span::raw(" "),
        bar(share, theme),
    ]);
    Row { line, target: (!member.is_me).then(|| Target::Person(member.name.clone())) }
}

fn place(app: &App, at: usize, theme: Theme, columns: usize) -> Row {
    let view = &app.views[at];
    let unread = match (view.unread, view.mentions) {
        (0, _) => String::new(),
        (unread, 0) => format!(" {unread}"),
        (unread, mentions) => format!(" {unread}, {mentions}!"),
    };
    let voice = matches!(&view.place, Place::Room(room) if app.own.room.as_deref() == Some(room.as_str()));
    let mark = if voice { theme.signs.talking } else { " " };
    let name = view.name();
    let text = fill(&format!("{mark}{}", cut(&name, columns.saturating_sub(unread.len() + 1))), columns - unread.len());
    let style = match () {
        () if at == app.current => theme.reversed(),
        () if view.mentions > 0 || (view.unread > 0 && matches!(view.place, Place::Person(_))) => theme.mention(),
        () if view.unread > 0 => theme.strong(),
        () => theme.plain(),
    };
    Row { line: Line::styled(format!("{text}{unread}"), style), target: Some(Target::View(at)) }
}

/// The rows.
pub fn rows(app: &App, theme: Theme, now: Time, columns: usize, height: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, view) in app.views.iter().enumerate() {
        if matches!(view.place, Place::Person(_)) {
            continue;
        }
        rows.push(place(app, at, theme, columns));
        if at == app.current && view.is_joined {
            // A large room leaves room for the rest.
            let most = (height / 2).max(4);
            rows.extend(app.members.iter().take(most).map(|of| member(app, of, theme, now, columns)));
            if app.members.len() > most {
                rows.push(Row::words(format!("    and {} more", app.members.len() - most), theme));
            }
        }
    }
    let people = app.views.iter().enumerate().filter(|(_, view)| matches!(view.place, Place::Person(_)));
    rows.extend(people.map(|(at, _)| place(app, at, theme, columns)));
    let is_open = |name: &str| app.views.iter().any(|view| matches!(&view.place, Place::Room(room) if room == name));
    let others: Vec<_> = app.rooms.iter().filter(|room| !is_open(&room.room_id)).collect();
    if !others.is_empty() {
        rows.push(Row::words("other rooms".to_owned(), theme));
    }
    for room in others {
        let count = if room.member_count > 0 { format!(" {}", room.member_count) } else { String::new() };
        let lock = if room.password_needed || room.invite_only { "*" } else { " " };
        let name = cut(&printable(&room.room_id), columns.saturating_sub(count.len() + 1));
        let text = format!("{}{count}", fill(&format!("{lock}{name}"), columns - count.len()));
        rows.push(Row { target: Some(Target::Room(room.room_id.clone())), ..Row::words(text, theme) });
    }
    if rows.len() > height {
        let hidden = rows.len() + 1 - height;
        rows.truncate(height - 1);
        rows.push(Row::words(format!(" {hidden} more"), theme));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::keys::Keys;
    use super::super::meters::OWN;
    use super::*;

    /// Goal: each meter is its own member's: who has no voice shows no level while others, and oneself, speak.
    #[test]
    fn meters_are_their_members() {
        let mut app = App::new("host:8888", 1, "me", Keys::default());
        app.entered("hall", 0);
        let someone = |name: &str, ssrc| Shown { name: name.into(), ssrc, ..Shown::default() };
        app.members = vec![Shown { is_me: true, ..someone("me", 9) }, someone("bob", 7), someone("eve", 0)];
        app.meters.note(OWN, Time(0), Some(10));
        app.meters.note(7, Time(0), Some(35));
        let rows = rows(&app, Theme::new(true, true), Time(0), 24, 20);
        let bar_of = |name: &str| {
            let line = rows.iter().map(|row| row.line.to_string()).find(|line| line.contains(name)).unwrap();
            line.chars().filter(|sign| *sign == '▮').count()
        };
        assert_eq!((bar_of("me"), bar_of("bob"), bar_of("eve")), (4, 2, 0));
    }
}
