//! TLS 1.3 for the control connection, with the trust rules of `trust` in place of rustls's own.
//!
//! The handshake's signature is always checked (`echomesh_tls`): what is judged here is only whose key it is.
//! A connection after the first resumes by a ticket (RFC 8446 §2.2), without certificate and signature:
//! then the certificate that the ticket's session showed is judged anew, by the policy and the clock of
//! now, before anything is sent. So no policy is looser for being resumed. Tickets are in memory only,
//! and a server that was started again takes none, so that its key is seen anew. No early data.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use echomesh_tls::{Judge, Shown, client_config};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};

use super::failure::Failure;
use super::trust::{Fingerprint, Policy, Verdict};

/// Sessions remembered; rustls counts eight tickets of a server as one.
const SESSIONS_MAX: usize = 8;

/// TLS to one host, for each connection to it.
#[derive(Debug)]
pub struct Tls {
    name: ServerName<'static>,
    bench: Arc<Bench>,
    config: Arc<ClientConfig>,
}

/// Judges the server's certificate and keeps the verdict for after the handshake.
#[derive(Debug)]
struct Bench {
    /// `None` if the system has no roots: then nobody is verified.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Of the connection under way, if there is one.
    case: Mutex<Option<Case>>,
}

#[derive(Debug)]
struct Case {
    policy: Policy,
    verdict: Option<(Fingerprint, Verdict)>,
    /// Why no authority vouches for it.
    doubt: Option<rustls::Error>,
}

impl Bench {
    fn case(&self) -> MutexGuard<'_, Option<Case>> {
        self.case.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges by the policy of the connection under way, and keeps the verdict.
    fn examine(&self, shown: &Shown<'_>) -> Result<(Fingerprint, Verdict), rustls::Error> {
        let Shown { end_entity, intermediates, name, ocsp_response, now } = *shown;
        let verified = self
            .authorities
            .as_ref()
            .map(|authorities| authorities.verify_server_cert(end_entity, intermediates, name, ocsp_response, now));
        let doubt = match &verified {
            Some(Err(error)) => Some(error.clone()),
            Some(Ok(_)) | None => None,
        };
        let verified = matches!(verified, Some(Ok(_)));
        let key = Fingerprint::of(&shown.key()?);
        let mut case = self.case();
        let case = case.as_mut().ok_or_else(|| rustls::Error::General("no connection is under way".to_owned()))?;
        let judged = (key, case.policy.judge(key, verified));
        (case.verdict, case.doubt) = (Some(judged.clone()), doubt);
        Ok(judged)
    }
}

impl Judge for Bench {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        match self.examine(shown)?.1 {
            Verdict::Refused(text) => Err(rustls::Error::General(text)),
            Verdict::Trusted | Verdict::Remember(_) => Ok(()),
        }
    }
}

impl Tls {
    /// For connections to this host.
    ///
    /// # Errors
    /// `Failure::Usage` if the host is neither a name nor an address.
    pub fn new(host: &str) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::with_roots(host, roots)
    }

    fn with_roots(host: &str, roots: RootCertStore) -> Result<Self, Failure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Usage(format!("{host:?} is neither a host name nor an address")))?;
        let provider = Arc::new(ring::default_provider());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok();
        let bench = Arc::new(Bench { authorities, case: Mutex::new(None) });
        let mut config = client_config(bench.clone())
            .map_err(|error| Failure::Local(format!("TLS 1.3 cannot be set up: {error}")))?;
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(Self { name, bench, config: Arc::new(config) })
    }

    /// A client that has sent nothing yet, whose server is judged by this policy. One at a time.
    ///
    /// # Errors
    /// `Failure::Local` if TLS cannot be set up.
    pub fn connection(&self, policy: Policy) -> Result<ClientConnection, Failure> {
        *self.bench.case() = Some(Case { policy, verdict: None, doubt: None });
        ClientConnection::new(self.config.clone(), self.name.clone())
            .map_err(|error| Failure::Local(format!("TLS cannot be set up: {error}")))
    }

    /// After the handshake, done or failed: what is to be thought of the server. `None` if it showed no
    /// certificate.
    pub fn verdict(&self, connection: &ClientConnection) -> Option<(Fingerprint, Verdict)> {
        if connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            let (end_entity, intermediates) = connection.peer_certificates()?.split_first()?;
            let (name, now) = (&self.name, UnixTime::now());
            return self.bench.examine(&Shown { end_entity, intermediates, name, ocsp_response: &[], now }).ok();
        }
        self.bench.case().as_ref()?.verdict.clone()
    }

    /// Why no authority vouches for the server that was judged last; `None` if one does, or the system knows none.
    pub fn doubt(&self) -> Option<rustls::Error> {
        self.bench.case().as_ref()?.doubt.clone()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::server::ParsedCertificate;
    use rustls::{ServerConfig, ServerConnection};

    use super::super::trust::Known;
    use super::*;

    /// A server with a key and tickets of its own, and its certificate.
    fn server() -> (Arc<ServerConfig>, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let certificate = made.cert.der().clone();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        config.ticketer = ring::Ticketer::new().unwrap();
        (Arc::new(config), certificate)
    }

    fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
        Fingerprint::of(&ParsedCertificate::try_from(certificate).unwrap().subject_public_key_info())
    }

    fn policy(fingerprint: Option<Fingerprint>, known: Option<Known>) -> Policy {
        Policy { server: "localhost:8888".to_owned(), fingerprint, known, file: "known_servers".to_owned() }
    }

    /// Shakes hands in memory, tickets included. Gives how, and the verdict; a failure has no how.
    fn connect(tls: &Tls, server: &Arc<ServerConfig>, policy: Policy) -> (Option<HandshakeKind>, Verdict) {
        let mut client = tls.connection(policy).unwrap();
        let mut server = ServerConnection::new(server.clone()).unwrap();
        let mut failed = false;
        while !failed && (client.wants_write() || server.wants_write()) {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                failed |= server.process_new_packets().is_err();
            }
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() && !failed {
                client.read_tls(&mut rest).unwrap();
                failed |= client.process_new_packets().is_err();
            }
        }
        let (_, verdict) = tls.verdict(&client).unwrap();
        (client.handshake_kind().filter(|_| !failed), verdict)
    }

    /// Goal: the second connection resumes, and is judged as the first would be by the policy of then: a pin,
    /// a fingerprint or none, each right and wrong.
    #[test]
    fn a_resumed_connection_is_judged_by_the_policy_of_now() {
        let (server, certificate) = server();
        let tls = Tls::with_roots("localhost", RootCertStore::empty()).unwrap();
        let shown = fingerprint(&certificate);
        let other = Fingerprint::of(b"another key");
        let (how, verdict) = connect(&tls, &server, policy(None, None));
        assert_eq!((how, verdict), (Some(HandshakeKind::Full), Verdict::Remember(Known::Pinned(shown))));
        for (policy, expected) in [
            (policy(None, Some(Known::Pinned(shown))), Some(Verdict::Trusted)),
            (policy(Some(shown), None), Some(Verdict::Trusted)),
            (policy(None, None), Some(Verdict::Remember(Known::Pinned(shown)))),
            (policy(None, Some(Known::Pinned(other))), None),
            (policy(Some(other), Some(Known::Pinned(shown))), None),
            (policy(None, Some(Known::Authority)), None),
        ] {
            let (how, verdict) = connect(&tls, &server, policy);
            assert_eq!(how, Some(HandshakeKind::Resumed));
            match expected {
                Some(expected) => assert_eq!(verdict, expected),
                None => assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}"),
            }
        }
    }

    /// Goal: who has another key cannot resume, and is refused in the full handshake; nor does an old verdict
    /// stand for it.
    #[test]
    fn another_server_cannot_resume() {
        let ((server, certificate), (impostor, _)) = (self::server(), self::server());
        let tls = Tls::with_roots("localhost", RootCertStore::empty()).unwrap();
        let pinned = policy(None, Some(Known::Pinned(fingerprint(&certificate))));
        assert_eq!(connect(&tls, &server, pinned.clone()), (Some(HandshakeKind::Full), Verdict::Trusted));
        let (how, verdict) = connect(&tls, &impostor, pinned.clone());
        assert!(how.is_none() && matches!(verdict, Verdict::Refused(_)), "{how:?} {verdict:?}");
        assert_eq!(connect(&tls, &server, pinned), (Some(HandshakeKind::Resumed), Verdict::Trusted));
    }

    /// Goal: a server that an authority vouches for stays verified when resumed.
    #[test]
    fn a_verified_server_stays_verified() {
        let (server, certificate) = server();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let tls = Tls::with_roots("localhost", roots).unwrap();
        let first = connect(&tls, &server, policy(None, None));
        assert_eq!(first, (Some(HandshakeKind::Full), Verdict::Remember(Known::Authority)));
        let second = connect(&tls, &server, policy(None, Some(Known::Authority)));
        assert_eq!(second, (Some(HandshakeKind::Resumed), Verdict::Trusted));
    }
}
