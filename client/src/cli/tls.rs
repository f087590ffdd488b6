//! TLS 1.3 for the control connection, with the trust rules of `trust` in place of rustls's own.
//!
//! The handshake's signature is always checked by rustls: what is judged here is only whose key it is.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::failure::Failure;
use super::trust::{Fingerprint, Policy, Verdict};

/// Judges the server's certificate and keeps the verdict for after the handshake.
#[derive(Debug)]
pub struct Judge {
    policy: Policy,
    provider: Arc<CryptoProvider>,
    /// `None` if the system has no roots: then nobody is verified.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    verdict: Mutex<Option<(Fingerprint, Verdict)>>,
}

impl Judge {
    /// What was decided; `None` before the certificate was seen.
    pub fn verdict(&self) -> Option<(Fingerprint, Verdict)> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.authorities.as_ref().is_some_and(|authorities| {
            authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).is_ok()
        });
        let shown = Fingerprint::of(&ParsedCertificate::try_from(end_entity)?.subject_public_key_info());
        let verdict = self.policy.judge(shown, verified);
        let outcome = match &verdict {
            Verdict::Refused(text) => Err(rustls::Error::General(text.clone())),
            Verdict::Trusted | Verdict::Remember(_) => Ok(ServerCertVerified::assertion()),
        };
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some((shown, verdict));
        outcome
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

/// A TLS 1.3 client that has sent nothing yet, and the judge of its server's certificate.
///
/// # Errors
/// `Failure::Usage` if the host is neither a name nor an address.
pub fn client(host: &str, policy: Policy) -> Result<(ClientConnection, Arc<Judge>), Failure> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::Usage(format!("{host:?} is neither a host name nor an address")))?;
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok();
    let judge = Arc::new(Judge { policy, provider: provider.clone(), authorities, verdict: Mutex::new(None) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Failure::Local(format!("TLS 1.3 cannot be set up: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(judge.clone())
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), name)
        .map_err(|error| Failure::Local(format!("TLS cannot be set up: {error}")))?;
    Ok((connection, judge))
}
