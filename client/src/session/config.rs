//! Who a session is and how it speaks: given once, at [`Session::new`](super::Session::new).

use echomesh_proto::control::{Feature, PROTOCOL_VERSION};

/// Settings of a session.
#[derive(Clone)]
pub struct Config {
    /// Account name.
    pub username: String,
    /// Its password; sent only in logins, never printed.
    pub password: String,
    /// A device token, instead of name and password; empty: none. Likewise.
    pub token: String,
    /// An invitation's code, for a login that is to make the account; empty: none.
    pub invitation: String,
    /// Without an account, under this name; the password is not sent.
    pub guest: bool,
    /// Sent in logins; 0 makes the server treat this as a minimal client.
    pub protocol_version: u32,
    /// Bit set of `Feature`. Without `FEATURE_RESUME` a lost connection is followed by a new login.
    pub features: u64,
    /// Direct lines that came while a connection was lost are fetched, as those of rooms are: one request more at a login.
    pub direct: bool,
    /// First index of each uplink key; the low 15 bits count (RFC 3711 §3.3.1: a start below 2^15, so
    /// that an early loss cannot be taken for a rollover). From the driver's entropy.
    pub voice_index_seed: u16,
    /// Another program seals and opens this session's voice, with the keys of
    /// [`Session::voice_keys`](super::Session::voice_keys). The session then sends no SRTP and no SRTCP:
    /// both count their indices under one key, and an index used twice breaks it. Keeping the path open
    /// (PROTOCOL M33) is the other program's part.
    pub voice_by_another: bool,
}

impl Config {
    /// A full client of this account: this build's protocol version, resumable.
    #[must_use]
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: password.into(),
            token: String::new(),
            invitation: String::new(),
            guest: false,
            protocol_version: PROTOCOL_VERSION,
            features: Feature::Resume as u64,
            direct: false,
            voice_index_seed: 0,
            voice_by_another: false,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("username", &self.username).finish_non_exhaustive()
    }
}
