//! The log: on standard error, for people or as one JSON object a line. Standard output is for the
//! summary and the totals, which scripts read.
//!
//! Bounds: what others can bring about again and again goes through [`Seldom`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::admin::{LogLines, LogLinesLayer};
use crate::cli::LogFormat;
use crate::start_error::StartError;

/// What is logged, which may change.
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// From now on.
    pub fn set(&self, filter: EnvFilter) {
        if let Err(error) = self.0.reload(filter) {
            tracing::error!(%error, "the log's filter stays as it was");
        }
    }
}

/// Reads a filter in tracing's syntax.
///
/// # Errors
/// It is none.
pub fn filter(text: &str) -> Result<EnvFilter, StartError> {
    // Who asked for a reload waits for what it did, and may just have asked for fewer lines.
    let always = if text == "off" { "" } else { ",echomesh_server::reload=info" };
    EnvFilter::try_new(text).and_then(|_| EnvFilter::try_new(format!("{text}{always}"))).map_err(|error| {
        StartError::Settings(format!("log = {text:?} is no filter ({error}): try info, debug or echomesh_server=debug"))
    })
}

/// Starts logging what the filter lets through; gives where the last lines are kept, too.
///
/// # Errors
/// The filter cannot be read.
pub fn start(text: &str, format: LogFormat) -> Result<(LogFilter, Arc<LogLines>), StartError> {
    let (filter, handle) = reload::Layer::new(filter(text)?);
    // A standard error that is gone, with its terminal, must not end the server.
    let log = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let log = match format {
        LogFormat::Text => {
            log.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed()
        }
        LogFormat::Json => log.json().boxed(),
    };
    let lines = Arc::new(LogLines::default());
    tracing_subscriber::registry().with(filter).with(log).with(LogLinesLayer(lines.clone())).init();
    Ok((LogFilter(handle), lines))
}

/// Least time between two lines about the same thing.
const SELDOM: Duration = Duration::from_secs(10);

/// Keeps one line of the log from drowning all others.
#[derive(Debug, Default)]
pub struct Seldom {
    last: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Whether it is time for a line; then, how many were left out since the last.
    pub fn due(&mut self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < SELDOM) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what happens all the time is said once a period, with how often it was not.
    #[test]
    fn a_repeated_line_is_said_seldom() {
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.due_at(start), Some(0));
        assert_eq!(seldom.due_at(start + SELDOM / 2), None);
        assert_eq!(seldom.due_at(start + SELDOM / 2), None);
        assert_eq!(seldom.due_at(start + SELDOM), Some(2));
    }
}
