//! Why the server cannot start or go on: one sentence for the operator, which says what to do.
//!
//! Nobody matches on the causes, so there is no list of them: only whose fault it is, which is the exit
//! code.

use std::fmt;
use std::process::ExitCode;

/// A sentence for standard error, and the exit code that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// Flags, environment or configuration file are wrong: exit code 2, as clap's own.
    Settings(String),
    /// The machine does not give what is needed, or a part of the server has failed: exit code 1.
    Machine(String),
}

impl StartError {
    /// The exit code of the process.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            StartError::Settings(_) => ExitCode::from(2),
            StartError::Machine(_) => ExitCode::from(1),
        }
    }

    /// A system call failed while doing `what`.
    pub fn system(what: &str, error: &dyn fmt::Display) -> Self {
        StartError::Machine(format!("{what}: {error}"))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (StartError::Settings(sentence) | StartError::Machine(sentence)) = self;
        f.write_str(sentence)
    }
}

impl std::error::Error for StartError {}
