//! The log: on standard error, for people or as one JSON object a line. Standard output is for the
//! summary and the totals, which scripts read.

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::start_error::StartError;

/// Starts logging what `filter` (tracing's syntax) lets through.
///
/// # Errors
/// The filter cannot be read.
pub fn start(filter: &str, format: LogFormat) -> Result<(), StartError> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| {
        StartError::Settings(format!(
            "log = {filter:?} is no filter ({error}): try info, debug or echomesh_server=debug"
        ))
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            log.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init()
        }
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
