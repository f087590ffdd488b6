//! What a reload may change of what the admin's thread shows and uses: the certificate, and the server's name.
//!
//! Not the settings, which are `config`'s. A lock that is held for a copy; no shard takes it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::cert::Identity;

/// As it holds now.
#[derive(Clone, Debug)]
pub struct Facts {
    /// For HTTPS.
    pub tls: Arc<rustls::ServerConfig>,
    /// Of the public key, as `Identity::fingerprint`.
    pub fingerprint: String,
    /// Shown.
    pub server_name: String,
}

/// The facts, and whoever changes them.
#[derive(Debug)]
pub struct Current(Mutex<Facts>);

impl Current {
    /// At the start.
    pub fn new(identity: &Identity, server_name: &str) -> Self {
        Self(Mutex::new(Facts {
            tls: identity.tls.clone(),
            fingerprint: identity.fingerprint.clone(),
            server_name: server_name.to_owned(),
        }))
    }

    /// As it holds now.
    pub fn facts(&self) -> Facts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a reload; without another certificate what is there stays, and its tickets with it.
    pub fn renew(&self, identity: Option<&Identity>, server_name: &str) {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = identity {
            facts.tls = identity.tls.clone();
            facts.fingerprint.clone_from(&identity.fingerprint);
        }
        server_name.clone_into(&mut facts.server_name);
    }
}
