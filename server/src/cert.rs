//! The server's certificate: the operator's, or a self-signed one made at the first start and kept.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// TLS settings and the SHA-256 of the certificate, as clients show it.
pub struct Identity {
    /// TLS 1.3 only.
    pub tls: Arc<rustls::ServerConfig>,
    /// Hexadecimal, of the certificate's DER.
    pub fingerprint: String,
}

/// Loads the files, or the certificate in the data directory, which is made if missing.
pub fn load(files: Option<&(std::path::PathBuf, std::path::PathBuf)>, data_dir: &Path) -> Result<Identity, String> {
    let (certificate, key) = match files {
        Some((certificate, key)) => (certificate.clone(), key.clone()),
        None => {
            let (certificate, key) = (data_dir.join("cert.pem"), data_dir.join("key.pem"));
            if !certificate.exists() {
                make(&certificate, &key)
                    .map_err(|error| format!("cannot make a certificate in {}: {error}", data_dir.display()))?;
            }
            (certificate, key)
        }
    };
    let explain = |path: &Path, error: &dyn std::fmt::Display| format!("cannot use {}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| explain(&certificate, &error))?;
    let first = chain.first().ok_or_else(|| explain(&certificate, &"it holds no certificate"))?;
    let fingerprint = crate::store::hex(ring::digest::digest(&ring::digest::SHA256, first).as_ref());
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| explain(&key, &error))?;
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| explain(&certificate, &error))?;
    Ok(Identity { tls: Arc::new(tls), fingerprint })
}

fn make(certificate: &Path, key: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let pair = rcgen::generate_simple_self_signed(["echomesh".to_owned(), "localhost".to_owned()])?;
    let write = |path: &Path, text: &str| {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    // The key first: a certificate without its key would be taken for complete.
    write(key, &pair.signing_key.serialize_pem())?;
    write(certificate, &pair.cert.pem())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the certificate made at the first start is the one used at the next.
    #[test]
    fn the_fingerprint_stays() {
        let directory = tempfile::tempdir().unwrap();
        let first = load(None, directory.path()).map(|identity| identity.fingerprint).unwrap();
        let second = load(None, directory.path()).map(|identity| identity.fingerprint).unwrap();
        assert_eq!(first, second);
        assert_eq!(first.len(), 64);
    }
}
