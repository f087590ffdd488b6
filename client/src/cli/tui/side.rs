//! The left side: the rooms one is in, the members of the one that is looked at with who talks how loud, conversations,
//! and the server's other rooms.
//!
//! In: the interface's state. Out: rows, as many as there is room for; what is left out is counted in the last.

use echomesh_proto::time::Time;
use ratatui::text::{Line, Span};

use super::app::{App, Shown};
use super::theme::Theme;
use super::wrap::{cut, fill};
use crate::cli::commands::printable;
use crate::cli::outgoing::Place;

/// Signs of a bar.
const BAR: usize = 4;

/// How loud, as a bar.
pub fn bar(share: f32, theme: Theme) -> Span<'static> {
    let full = (share * BAR as f32).ceil() as usize;
    let text = format!("{}{}", theme.signs.bar.repeat(full.min(BAR)), theme.signs.no_bar.repeat(BAR - full.min(BAR)));
    Span::styled(text, if full > 0 { theme.talking() } else { theme.quiet() })
}

fn member(app: &App, member: &Shown, theme: Theme, now: Time, columns: usize) -> Line<'static> {
    let (share, heard) = if member.is_me {
        (app.meters.share(super::meters::OWN, now), app.own.talking)
    } else {
        (app.meters.share(member.ssrc, now), member.ssrc != 0 && app.meters.is_talking(member.ssrc, now))
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
    Line::from(vec![
        Span::raw("  "),
        Span::styled(format!("{sign} "), style),
        Span::styled(fill(&member.name, room), name),
        Span::raw(" "),
        bar(share, theme),
    ])
}

fn place(app: &App, at: usize, theme: Theme, columns: usize) -> Line<'static> {
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
    Line::styled(format!("{text}{unread}"), style)
}

/// The rows.
pub fn lines(app: &App, theme: Theme, now: Time, columns: usize, height: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (at, view) in app.views.iter().enumerate() {
        if matches!(view.place, Place::Person(_)) {
            continue;
        }
        lines.push(place(app, at, theme, columns));
        if at == app.current && view.is_joined {
            // A large room leaves room for the rest.
            let most = (height / 2).max(4);
            lines.extend(app.members.iter().take(most).map(|of| member(app, of, theme, now, columns)));
            if app.members.len() > most {
                lines.push(Line::styled(format!("    and {} more", app.members.len() - most), theme.quiet()));
            }
        }
    }
    let people = app.views.iter().enumerate().filter(|(_, view)| matches!(view.place, Place::Person(_)));
    lines.extend(people.map(|(at, _)| place(app, at, theme, columns)));
    let is_open = |name: &str| app.views.iter().any(|view| matches!(&view.place, Place::Room(room) if room == name));
    let others: Vec<_> = app.rooms.iter().filter(|room| !is_open(&room.room_id)).collect();
    if !others.is_empty() {
        lines.push(Line::styled("other rooms", theme.quiet()));
    }
    for room in others {
        let count = if room.member_count > 0 { format!(" {}", room.member_count) } else { String::new() };
        let lock = if room.password_needed || room.invite_only { "*" } else { " " };
        let name = cut(&printable(&room.room_id), columns.saturating_sub(count.len() + 1));
        lines.push(Line::styled(
            format!("{}{count}", fill(&format!("{lock}{name}"), columns - count.len())),
            theme.quiet(),
        ));
    }
    if lines.len() > height {
        let hidden = lines.len() + 1 - height;
        lines.truncate(height - 1);
        lines.push(Line::styled(format!(" {hidden} more"), theme.quiet()));
    }
    lines
}
