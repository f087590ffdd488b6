//! Tokens and invitation codes: how they are made, shown and kept.
//!
//! They are random and long, so a plain SHA-256 of them is as good as a slow hash is for passwords, and costs a login
//! nothing. Cost: a digest.

use std::fmt::Write;

use echomesh_proto::limits::SECRET_BYTES_MAX;
use echomesh_proto::time::{Now, SECOND_US};
use rand_chacha::rand_core::RngCore;
use sha2::{Digest, Sha256};

use super::AccountsJob;
use crate::effect::Effects;
use crate::jobs::StoreJob;
use crate::{Job, Shard};

/// Random bytes of a device token.
const TOKEN_BYTES: usize = 32;

/// Random bytes of an invitation's code: 80 bits are out of reach of guessing at five a connection, and can be typed.
const CODE_BYTES: usize = 10;

/// When a token was used last is kept to this grain, milliseconds, so that logins need not write.
const TOUCH_MS: u64 = 3_600 * SECOND_US / 1_000;

/// Bytes as a person may copy them.
#[must_use]
pub fn secret_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String grows as needed");
    }
    text
}

/// What is kept of a secret that someone typed: SHA-256, in hexadecimal. Blanks around it and capitals do not count.
#[must_use]
pub fn hash_typed(secret: &str) -> String {
    // What is longer than any secret is none, whatever its hash.
    let start = secret.char_indices().nth(SECRET_BYTES_MAX).map_or(secret, |(end, _)| &secret[..end]);
    secret_text(&Sha256::digest(start.trim().to_ascii_lowercase()))
}

impl Shard {
    pub(super) fn new_token(&mut self) -> String {
        let mut bytes = [0; TOKEN_BYTES];
        self.random.fill_bytes(&mut bytes);
        secret_text(&bytes)
    }

    pub(super) fn new_code(&mut self) -> String {
        let mut bytes = [0; CODE_BYTES];
        self.random.fill_bytes(&mut bytes);
        secret_text(&bytes)
    }

    /// Notes that a token was used, unless that was noted a short while ago. The login does not wait for it.
    pub(crate) fn touch_token(&mut self, now: Now, token: u64, last_used_ms: u64, effects: &mut Effects) {
        if now.unix_ms.saturating_sub(last_used_ms) < TOUCH_MS {
            return;
        }
        let job = StoreJob::Accounts(Box::new(AccountsJob::TouchToken { token, time_ms: now.unix_ms }));
        // If the store has no room, the next login notes it.
        self.ask_store(Job::Aside, job, effects);
    }
}
