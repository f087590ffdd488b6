//! TLS 1.3 to a server whose key is judged by a rule of one's own: a pin, what was trusted before, or an authority.
//!
//! Not the rules, which are the programs'. What no rule may loosen is here: the version, and that the handshake's
//! signature is checked, so that what a judge sees is whose key it really is.
//! In: a judge. Out: what rustls makes connections with. Cost: one call of the judge a full handshake.

#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

/// Decides whether a server's key is the one that is wanted.
pub trait Judge: Debug + Send + Sync {
    /// Takes what the server shows.
    ///
    /// # Errors
    /// It is not to be talked to; the handshake ends with this.
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error>;
}

/// What a server shows of itself.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Its own certificate.
    pub end_entity: &'a CertificateDer<'a>,
    /// Those that vouch for it.
    pub intermediates: &'a [CertificateDer<'a>],
    /// The name that was asked for.
    pub name: &'a ServerName<'a>,
    /// Empty if there is none.
    pub ocsp_response: &'a [u8],
    /// By this machine's clock.
    pub now: UnixTime,
}

impl Shown<'_> {
    /// Its public key, as RFC 7469 §2.4 pins it.
    ///
    /// # Errors
    /// The certificate is none.
    pub fn key(&self) -> Result<SubjectPublicKeyInfoDer<'static>, rustls::Error> {
        Ok(ParsedCertificate::try_from(self.end_entity)?.subject_public_key_info().into_owned())
    }
}

/// What connections are made with: TLS 1.3 alone, no certificate of the client's. Resumption is rustls's usual one.
///
/// # Errors
/// This build of rustls has no TLS 1.3.
pub fn client_config(judge: Arc<dyn Judge>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Verifier { judge, provider: provider.clone() });
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The judge as rustls asks it.
#[derive(Debug)]
struct Verifier {
    judge: Arc<dyn Judge>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge.judge(&Shown { end_entity, intermediates, name, ocsp_response, now })?;
        Ok(ServerCertVerified::assertion())
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
