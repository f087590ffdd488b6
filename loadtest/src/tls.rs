//! TLS 1.3 to the server, one configuration for all clients.
//!
//! With a fingerprint the server's key must be that one; without, any is taken: this tool sends made-up names and
//! passwords only. The handshake's signature is always checked.

use std::sync::Arc;

use echomesh_tls::{Judge, Shown, client_config};
use ring::digest::{SHA256, digest};
use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::failure::{Failure, Outcome};

/// Session tickets kept: of one server.
const TICKETS: usize = 64;

/// One key, or any.
#[derive(Debug)]
struct Pinned(Option<String>);

impl Judge for Pinned {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        let key = shown.key()?;
        let shown: String = digest(&SHA256, &key).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        match &self.0 {
            Some(wanted) if !wanted.eq_ignore_ascii_case(&shown) => Err(rustls::Error::General(format!(
                "the server's key is SHA256:{shown}, not the one given: check --fingerprint and --server"
            ))),
            _ => Ok(()),
        }
    }
}

/// Whether handshakes use tickets of earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tickets {
    /// Each handshake is a full one.
    Unused,
    /// Those that can be are resumed.
    Used,
}

/// What every connection is made with.
///
/// # Errors
/// rustls has no TLS 1.3.
pub fn config(fingerprint: Option<&str>, tickets: Tickets) -> Outcome<Arc<ClientConfig>> {
    let fingerprint = fingerprint.map(|text| text.trim_start_matches("SHA256:").to_owned());
    let mut config = client_config(Arc::new(Pinned(fingerprint)))
        .map_err(|error| Failure::because("TLS 1.3 cannot be set up; this build is broken, build it again", error))?;
    config.resumption = match tickets {
        Tickets::Unused => Resumption::disabled(),
        Tickets::Used => Resumption::in_memory_sessions(TICKETS),
    };
    Ok(Arc::new(config))
}
