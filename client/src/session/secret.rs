//! What a session keeps and nobody may read in a log: passwords, and the token that resumes it.
//!
//! Not hidden from who has the session's memory. In and out: the secret itself.

use bytes::Bytes;

/// An account's or a room's password, which is not printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Password(pub(super) String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "a password" })
    }
}

/// What resumes the session, which is not printed; empty: nothing does.
#[derive(Clone, Default)]
pub(super) struct ResumeToken(pub(super) Bytes);

impl std::fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "a token" })
    }
}
