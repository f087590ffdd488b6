//! TLS 1.3 to the server, one configuration for all clients.
//!
//! With a fingerprint the server's key must be that one; without, any is taken: this tool sends made-up names and
//! passwords only. The handshake's signature is always checked.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::failure::{Failure, Outcome};

/// Session tickets kept: of one server.
const TICKETS: usize = 64;

#[derive(Debug)]
struct Pinned {
    fingerprint: Option<String>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        let shown: String = digest(&SHA256, &key).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        match &self.fingerprint {
            Some(wanted) if !wanted.eq_ignore_ascii_case(&shown) => Err(rustls::Error::General(format!(
                "the server's key is SHA256:{shown}, not the one given: check --fingerprint and --server"
            ))),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
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
    let provider = Arc::new(provider::default_provider());
    let fingerprint = fingerprint.map(|text| text.trim_start_matches("SHA256:").to_owned());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Failure::because("TLS 1.3 cannot be set up; this build is broken, build it again", error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint, provider }))
        .with_no_client_auth();
    config.resumption = match tickets {
        Tickets::Unused => Resumption::disabled(),
        Tickets::Used => Resumption::in_memory_sessions(TICKETS),
    };
    Ok(Arc::new(config))
}
