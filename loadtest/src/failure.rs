//! Why a run ends early: one sentence that says what to do.
//!
//! Not for programs to tell apart: nothing in this tool acts on the kind of failure.

use std::fmt;

/// One sentence for the person who runs the tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

/// What most of this crate returns.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// `what` could not be done because of `error`.
    pub fn because(what: &str, error: impl fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}
