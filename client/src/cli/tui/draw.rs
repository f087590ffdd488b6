//! The screen: title, places and members on the left, lines on the right, the line that is typed, figures, keys.
//!
//! Not what is shown, which is [`App`]'s. In: that, and now. Out: a frame. Works from 40 columns and 8 rows on; the left
//! side needs 60. Cost: the rows that are seen.

use echomesh_proto::time::Time;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::app::App;
use super::keys::ACTIONS;
use super::microphone;
use super::side::{self, Target};
use super::slash::COMMANDS;
use super::theme::Theme;
use super::view::{Kind, Shown};
use super::wrap::{cut, fill, rows, width};

/// Columns of the left side, and of a screen that has room for it.
const SIDE_COLUMNS: u16 = 24;
const WIDE_COLUMNS: u16 = 60;

/// Least screen.
const COLUMNS_MIN: u16 = 40;
const ROWS_MIN: u16 = 8;

/// Columns of the time before a line: `12:34 `.
const TIME_COLUMNS: usize = 6;

/// What was drawn where.
#[derive(Default)]
pub struct Drawn {
    /// How far the lines can be scrolled back, rows.
    pub scroll_max: usize,
    /// The left side, and what its rows are about.
    side: Rect,
    targets: Vec<Option<Target>>,
}

impl Drawn {
    /// What is at a column and row of the screen.
    pub fn target(&self, column: u16, row: u16) -> Option<&Target> {
        let is_in = self.side.contains((column, row).into());
        self.targets.get(usize::from(row - self.side.y.min(row))).filter(|_| is_in)?.as_ref()
    }
}

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, app: &App, theme: Theme, now: Time, clock: fn(u64) -> String) -> Drawn {
    let area = frame.area();
    if area.width < COLUMNS_MIN || area.height < ROWS_MIN {
        frame.render_widget(Paragraph::new(format!("{COLUMNS_MIN}x{ROWS_MIN} at least")), area);
        return Drawn::default();
    }
    let [title, body, rule, input, status, hints] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    let side = if area.width >= WIDE_COLUMNS { SIDE_COLUMNS } else { 0 };
    let [left, divider, right] =
        Layout::horizontal([Constraint::Length(side), Constraint::Length(u16::from(side > 0)), Constraint::Min(1)])
            .areas(body);
    draw_title(frame, title, app, theme);
    let mut targets = Vec::new();
    if side > 0 {
        let rows = side::rows(app, theme, now, usize::from(left.width), usize::from(left.height));
        let (lines, of_rows): (Vec<_>, Vec<_>) = rows.into_iter().map(|row| (row.line, row.target)).unzip();
        targets = of_rows;
        frame.render_widget(Paragraph::new(lines), left);
        let bar = vec![Line::styled(theme.signs.divider, theme.quiet()); usize::from(divider.height)];
        frame.render_widget(Paragraph::new(bar), divider);
    }
    let scroll_max = draw_lines(frame, right, app, theme, clock);
    frame.render_widget(Line::styled(theme.signs.line.repeat(usize::from(rule.width)), theme.quiet()), rule);
    draw_input(frame, input, app, theme);
    draw_status(frame, status, app, theme, now);
    draw_hints(frame, hints, app, theme);
    if app.shows_help {
        draw_help(frame, body, app, theme);
        targets.clear();
    }
    Drawn { scroll_max, side: left, targets }
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let view = app.view();
    let place = match app.room() {
        Some(room) if view.is_joined => format!("{room}  {} here", app.members.len()),
        Some(room) => format!("{room}  (not in it)"),
        None => view.name(),
    };
    let about = app.room().and_then(|room| app.rooms.iter().find(|other| other.room_id == room));
    let about = about.map_or(String::new(), |room| format!("  {}", crate::cli::commands::printable(&room.description)));
    let right = format!("{}@{} ", app.name, app.server);
    let columns = usize::from(area.width);
    let left = fill(&format!(" {place}{about}"), columns.saturating_sub(width(&right)));
    frame.render_widget(Line::styled(cut(&format!("{left}{right}"), columns), theme.reversed()), area);
}

/// One line's rows, as wide as there is room.
fn line_rows(line: &Shown, theme: Theme, columns: usize, clock: fn(u64) -> String) -> Vec<Line<'static>> {
    let author = if line.author.is_empty() { String::new() } else { format!("{} ", line.author) };
    let head = TIME_COLUMNS + width(&author);
    let style = match line.kind {
        Kind::Said | Kind::Own => theme.plain(),
        Kind::Mention => theme.mention(),
        Kind::Notice => theme.notice(),
        Kind::Problem => theme.problem(),
    };
    let indent = head.min(TIME_COLUMNS + 2);
    let texts = rows(&line.text, columns.saturating_sub(head), columns.saturating_sub(indent));
    let mut lines = Vec::with_capacity(texts.len());
    for (number, text) in texts.into_iter().enumerate() {
        let text = Span::styled(text, style);
        lines.push(if number == 0 {
            let name = if line.kind == Kind::Own { theme.strong() } else { theme.name(&line.author) };
            let time = Span::styled(format!("{} ", clock(line.time_ms)), theme.quiet());
            Line::from(vec![time, Span::styled(author.clone(), name), text])
        } else {
            Line::from(vec![Span::raw(" ".repeat(indent)), text])
        });
    }
    lines
}

fn draw_lines(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, clock: fn(u64) -> String) -> usize {
    let (columns, height) = (usize::from(area.width), usize::from(area.height));
    let view = app.view();
    // From the newest back, as far as the screen and the scrolling go; the rest only where that goes to the start.
    let wanted = view.scroll + height;
    let mut from_below: Vec<Line<'static>> = Vec::with_capacity(wanted);
    for line in view.lines().rev() {
        let mut lines = line_rows(line, theme, columns, clock);
        if view.unread_from == Some(line.id) {
            let text = format!("{0}{0} new ", theme.signs.line);
            let rest = theme.signs.line.repeat(columns.saturating_sub(width(&text)));
            lines.insert(0, Line::styled(format!("{text}{rest}"), theme.mention()));
        }
        from_below.extend(lines.into_iter().rev());
        if from_below.len() >= wanted {
            break;
        }
    }
    let scroll_max = from_below.len().saturating_sub(height);
    let scroll = view.scroll.min(scroll_max);
    let shown: Vec<Line<'static>> = from_below.into_iter().skip(scroll).take(height).collect();
    let top = height - shown.len();
    let area = Rect { y: area.y + top as u16, height: shown.len() as u16, ..area };
    frame.render_widget(Paragraph::new(shown.into_iter().rev().collect::<Vec<_>>()), area);
    if scroll > 0 {
        let text = format!(" {scroll} rows below ");
        let columns = (width(&text) as u16).min(area.width);
        let place = Rect { x: area.right() - columns, y: area.bottom() - 1, width: columns, height: 1 };
        frame.render_widget(Line::styled(text, theme.reversed()), place);
    }
    scroll_max
}

fn draw_input(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let columns = usize::from(area.width).saturating_sub(3);
    let before = app.editor.before_cursor();
    // What is before the cursor stays in sight.
    let mut skip = 0;
    let mut text = app.editor.text();
    while width(&before[skip..]) > columns {
        skip += before[skip..].chars().next().map_or(1, char::len_utf8);
        text = &app.editor.text()[skip..];
    }
    let line = Line::from(vec![Span::styled("> ", theme.strong()), Span::raw(cut(text, columns + 1))]);
    frame.render_widget(line, area);
    frame.set_cursor_position((area.x + 2 + width(&before[skip..]) as u16, area.y));
}

fn draw_status(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: Time) {
    let status = &app.status;
    let mut spans = microphone::spans(app, theme, now);
    if !status.connected {
        spans.push(Span::raw(" "));
        spans.push(Span::styled(" NO CONNECTION, trying again ", theme.closed()));
    }
    let mut figures = Vec::new();
    figures.extend(status.round_trip_us.map(|us| format!("rtt {:.0} ms", us as f64 / 1_000.0)));
    figures.extend(status.loss_percent.map(|loss| format!("loss {loss:.0} %")));
    figures.extend(status.jitter_ms.map(|jitter| format!("jitter {jitter:.0} ms")));
    figures.extend(status.playout_ms.map(|delay| format!("delay {delay:.0} ms")));
    figures.extend(status.kbit_s.map(|rate| format!("{rate} kbit/s")));
    figures.extend(status.xruns.filter(|xruns| *xruns > 0).map(|xruns| format!("xruns {xruns}")));
    if status.tunnelled {
        figures.push("by TCP".to_owned());
    }
    let used: usize = spans.iter().map(|span| width(&span.content)).sum();
    let room = usize::from(area.width).saturating_sub(used + 1);
    // Whole ones: the first are the ones that tell most.
    while width(&figures.join("  ")) > room {
        figures.pop();
    }
    let text = figures.join("  ");
    spans.push(Span::raw(" ".repeat(usize::from(area.width).saturating_sub(used + width(&text)))));
    spans.push(Span::styled(text, theme.plain()));
    frame.render_widget(Line::from(spans), area);
}

fn draw_hints(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    use super::keys::Action::{Deafen, Help, Mute, Next, Quit, Talk, Unread};
    let wanted = [
        (Help, "help"),
        (Mute, "mute"),
        (Deafen, "deafen"),
        (Talk, "talk"),
        (Next, "next"),
        (Unread, "unread"),
        (Quit, "quit"),
    ];
    let mut text = String::new();
    for (action, word) in wanted {
        let keys = app.keys.of(action);
        let key = keys.split(", ").next().unwrap_or_default();
        text.push_str(&format!(" {key} {word} "));
    }
    frame.render_widget(Line::styled(cut(&text, usize::from(area.width)), theme.quiet()), area);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let mut lines = vec![Line::styled("Keys", theme.strong())];
    for (action, _, _, what) in ACTIONS {
        lines.push(Line::raw(format!("  {}{what}", fill(&app.keys.of(action), 20))));
    }
    lines.push(Line::raw(format!("  {}complete a command, a name, a room", fill("tab", 20))));
    lines.push(Line::raw(format!("  {}earlier lines", fill("up, down", 20))));
    lines.push(Line::styled("Commands", theme.strong()));
    for (name, arguments, what) in COMMANDS {
        lines.push(Line::raw(format!("  {}{what}", fill(&format!("/{name} {arguments}"), 26))));
    }
    let end = format!(
        "F1, Esc: back   {} {}: more",
        app.keys.of(super::keys::Action::ScrollUp),
        app.keys.of(super::keys::Action::ScrollDown)
    );
    lines.push(Line::styled(end, theme.quiet()));
    let most = (lines.len() as u16).saturating_sub(area.height);
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).scroll((app.help_scroll.min(most), 0)), area);
}
