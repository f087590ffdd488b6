//! The server's certificate: the operator's, or a self-signed one made at the first start and kept.
//!
//! Clients that find no authority behind it pin what they see; the fingerprint printed at start is what
//! they compare. Not a renewer: an operator's new certificate is taken at the next start or reload.
//! Source: TLS 1.3 only, RFC 8446; tickets without state, RFC 8446 §4.6.1.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self as provider, cipher_suite};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;

use crate::config::TlsFiles;
use crate::hex::hex;
use crate::start_error::StartError;

/// Names in the self-signed certificate. Clients go by its fingerprint, not by these.
const NAMES: [&str; 4] = ["echomesh", "localhost", "127.0.0.1", "::1"];

/// All that ring has of TLS 1.3, the cheapest first, whatever a client prefers: the handshake's hash is SHA-256,
/// for which processors have instructions, and not SHA-384, which took a tenth of a handshake's time.
const SUITES: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
];

/// What the server proves itself with.
#[derive(Debug)]
pub struct Identity {
    /// For control connections: TLS 1.3.
    pub tls: Arc<rustls::ServerConfig>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo in DER, as RFC 7469 §2.4 pins it), 64 hexadecimal
    /// digits: a certificate renewed with the same key keeps it.
    pub fingerprint: String,
    /// SHA-256 of the certificates: another after a renewal.
    pub chain: String,
}

/// Takes the operator's files, or those in the data directory, which are made if missing.
///
/// # Errors
/// A file cannot be read or written, or certificate and key do not belong together.
pub fn load(files: Option<&TlsFiles>, data_dir: &Path) -> Result<Identity, StartError> {
    if files.is_none() {
        let own = own_files(data_dir);
        if !own.certificate.exists() {
            make(&own).map_err(|error| {
                StartError::system(&format!("cannot make a certificate in {}", data_dir.display()), &error)
            })?;
        }
    }
    read(files, data_dir)
}

/// Whether there is a certificate, or it will be made at the first start.
pub fn is_there(files: Option<&TlsFiles>, data_dir: &Path) -> bool {
    files.is_some() || own_files(data_dir).certificate.exists()
}

fn own_files(data_dir: &Path) -> TlsFiles {
    TlsFiles { certificate: data_dir.join("cert.pem"), key: data_dir.join("key.pem") }
}

/// Takes the operator's files, or those in the data directory.
///
/// # Errors
/// A file cannot be read, or certificate and key do not belong together.
pub fn read(files: Option<&TlsFiles>, data_dir: &Path) -> Result<Identity, StartError> {
    let files = files.cloned().unwrap_or_else(|| own_files(data_dir));
    let cannot = |path: &Path, error: &dyn std::fmt::Display| {
        StartError::Machine(format!(
            "cannot use {}: {error}. It must be PEM that this user can read; certificate and key must belong together",
            path.display()
        ))
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| cannot(&files.certificate, &error))?;
    let first = chain.first().ok_or_else(|| cannot(&files.certificate, &"it holds no certificate"))?;
    let parsed =
        rustls::server::ParsedCertificate::try_from(first).map_err(|error| cannot(&files.certificate, &error))?;
    let fingerprint = hex(digest(&SHA256, &parsed.subject_public_key_info()).as_ref());
    let chain_hash =
        hex(digest(&SHA256, &chain.iter().flat_map(|der| der.as_ref()).copied().collect::<Vec<_>>()).as_ref());
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| cannot(&files.key, &error))?;
    let tls = settings(chain, key).map_err(|error| cannot(&files.certificate, &error))?;
    Ok(Identity { tls: Arc::new(tls), fingerprint, chain: chain_hash })
}

fn settings(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<rustls::ServerConfig, rustls::Error> {
    let crypto = CryptoProvider { cipher_suites: SUITES.to_vec(), ..provider::default_provider() };
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(crypto))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    tls.ignore_client_order = true;
    // One key for all shards, new at each start and every 12 hours: a client resumes on whichever shard takes it.
    tls.ticketer = provider::Ticketer::new()?;
    // A reconnect takes one ticket and is given two: one is for an attempt that breaks off. Nothing is kept here.
    tls.send_tls13_tickets = 2;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(tls)
}

fn make(files: &TlsFiles) -> std::io::Result<()> {
    let pair = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned)).map_err(std::io::Error::other)?;
    // The key first: a certificate that is there is taken for complete.
    write_private(&files.key, &pair.signing_key.serialize_pem())?;
    write_private(&files.certificate, &pair.cert.pem())
}

/// Writes a file that only this user can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(partial, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Goal: the certificate made at the first start is the one of the next, and its key is private.
    #[test]
    fn the_fingerprint_stays() {
        let directory = tempfile::tempdir().unwrap();
        let first = load(None, directory.path()).unwrap().fingerprint;
        assert_eq!(load(None, directory.path()).unwrap().fingerprint, first);
        assert_eq!(first.len(), 64);
        let mode = std::fs::metadata(directory.path().join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    /// Goal: a key of another certificate is refused at start, not at the first client.
    #[test]
    fn a_foreign_key_is_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        load(None, one.path()).unwrap();
        load(None, other.path()).unwrap();
        let files = TlsFiles { certificate: one.path().join("cert.pem"), key: other.path().join("key.pem") };
        let refused = load(Some(&files), one.path()).unwrap_err().to_string();
        assert!(refused.contains("belong together"), "{refused}");
    }
}
