//! The last lines of the log, for the admin page.
//!
//! Not the log: that goes to standard error. What the log may not hold (passwords, tokens, keys) is not here either.
//! In: events that the log's filter lets through. Bounds: `LINES_MAX` lines of `LINE_BYTES_MAX`. Nobody waits: a line
//! that comes while another is written, or while the page reads, is left out and counted. Cost: as the log's own line.

use std::collections::VecDeque;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines kept.
const LINES_MAX: usize = 256;

/// Longest line; the rest is cut off.
const LINE_BYTES_MAX: usize = 512;

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct LogLine {
    /// Ascending.
    pub number: u64,
    /// Unix time, milliseconds.
    pub time_ms: u64,
    /// ERROR, WARN, INFO, DEBUG or TRACE.
    pub level: &'static str,
    /// What it says, and its fields.
    pub text: String,
}

/// The last lines.
#[derive(Debug, Default)]
pub struct LogLines {
    kept: Mutex<Kept>,
    missed: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    last: u64,
}

impl LogLines {
    /// Lines after the one of this number, the oldest first.
    pub fn after(&self, number: u64) -> Vec<LogLine> {
        let Ok(kept) = self.kept.lock() else { return Vec::new() };
        kept.lines.iter().filter(|line| line.number > number).cloned().collect()
    }

    /// Lines that were left out because another was being written.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn keep(&self, level: &'static str, text: String) {
        let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let Ok(mut kept) = self.kept.try_lock() else {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        kept.last += 1;
        let number = kept.last;
        if kept.lines.len() == LINES_MAX {
            kept.lines.pop_front();
        }
        kept.lines.push_back(LogLine { number, time_ms, level, text });
    }
}

/// Takes the log's events.
pub struct LogLinesLayer(pub Arc<LogLines>);

impl<S: Subscriber> Layer<S> for LogLinesLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let mut text = line.message + &line.fields;
        text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
        self.0.keep(event.metadata().level().as_str(), text);
    }
}

/// A line in the making: its sentence first, whatever the order of the fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.expect("a String takes all");
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Goal: the page shows what the log says, the newest lines only, each cut to its bound; and asks for news alone.
    #[test]
    fn the_last_lines_are_kept() {
        let lines = Arc::new(LogLines::default());
        let subscriber = tracing_subscriber::registry().with(LogLinesLayer(lines.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..LINES_MAX + 10 {
                tracing::warn!(number, "said");
            }
            tracing::info!("{}", "ä".repeat(LINE_BYTES_MAX));
        });
        let kept = lines.after(0);
        assert_eq!(kept.len(), LINES_MAX);
        assert_eq!((kept[0].level, kept[0].text.as_str()), ("WARN", "said number=11"));
        assert_eq!(kept[LINES_MAX - 1].text.len(), LINE_BYTES_MAX);
        assert_eq!(lines.after(kept[LINES_MAX - 2].number).len(), 1);
        assert_eq!(lines.missed(), 0);
    }

    /// Goal: who writes a line never waits for who reads, and what is left out is counted.
    #[test]
    fn a_line_in_the_way_is_counted() {
        let lines = LogLines::default();
        let held = lines.kept.lock().unwrap();
        lines.keep("WARN", "said".to_owned());
        drop(held);
        assert_eq!((lines.missed(), lines.after(0).len()), (1, 0));
    }
}
