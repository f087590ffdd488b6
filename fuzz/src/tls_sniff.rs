//! The protection of a control connection: the first byte, and TLS behind it.
//!
//! In: a byte that says whether a real client shakes hands first, how the bytes are cut, then changes of what it sends, or
//! the stranger's bytes. Checked: nothing panics, in any order of receiving, answering and closing; plaintext passes
//! unchanged; a stranger never opens TLS.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use arbitrary::{Result, Unstructured};
use echomesh_server::tls_stream::TlsStream;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

static CONFIGS: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = LazyLock::new(configs);

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate of its own");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("key and certificate fit");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// See the module.
pub fn tls_sniff(data: &[u8]) {
    let mut input = Unstructured::new(data);
    // Where bytes run out the script is over.
    let _ = if input.arbitrary().unwrap_or(false) { client(&mut input) } else { stranger(&mut input) };
}

fn stranger(input: &mut Unstructured<'_>) -> Result<()> {
    let cut = usize::from(input.arbitrary::<u8>()?) + 1;
    let closes: bool = input.arbitrary()?;
    let bytes = input.bytes(input.len())?;
    let mut stream = TlsStream::Unknown(CONFIGS.0.clone());
    let (mut plain, mut wire, mut failed) = (Vec::new(), Vec::new(), false);
    for piece in bytes.chunks(cut) {
        match stream.receive(piece, &mut plain) {
            Ok(progress) => assert!(progress.opened.is_none() || bytes[0] == 0, "a stranger opened TLS"),
            Err(_) => failed = true,
        }
        stream.seal(&[], &mut wire);
        if failed {
            break;
        }
    }
    if bytes.first() == Some(&0) {
        assert!(!failed && plain == bytes, "plaintext passes as it is");
    } else {
        assert!(plain.is_empty() && !stream.is_open());
    }
    farewell(stream, closes.then_some(bytes));
    Ok(())
}

fn farewell(mut stream: TlsStream, later: Option<&[u8]>) {
    let (mut plain, mut wire) = (Vec::new(), Vec::new());
    stream.seal_close(&mut wire);
    let before = wire.len();
    if let Some(bytes) = later {
        let progress = stream.receive(bytes, &mut plain).expect("the farewell was said: nothing fails any more");
        assert!(progress.opened.is_none() && plain.is_empty());
        stream.seal(bytes, &mut wire);
    }
    assert_eq!(wire.len(), before, "nothing follows the farewell");
}

/// A change of one byte somewhere in what the client sends, counted from its first.
struct Change {
    at: usize,
    by: u8,
}

fn client(input: &mut Unstructured<'_>) -> Result<()> {
    let cut = usize::from(input.arbitrary::<u8>()?) + 1;
    let change = Change { at: usize::from(input.arbitrary::<u16>()?), by: input.arbitrary()? };
    let name = ServerName::try_from("localhost").expect("a name");
    let mut peer = ClientConnection::new(CONFIGS.1.clone(), name).expect("the configuration is right");
    let mut stream = TlsStream::Unknown(CONFIGS.0.clone());
    let (mut plain, mut said, mut sent, mut opened) = (Vec::new(), Vec::new(), 0, false);
    while !input.is_empty() || peer.is_handshaking() {
        if !peer.is_handshaking() {
            let length = input.arbitrary_len::<u8>()?;
            let bytes = input.bytes(length.max(1).min(input.len()))?;
            peer.writer().write_all(bytes).expect("it takes what is taken from it at once");
            said.extend_from_slice(bytes);
        }
        let mut to_server = Vec::new();
        while peer.wants_write() {
            peer.write_tls(&mut to_server).expect("a Vec takes all");
        }
        if change.by != 0 && (sent..sent + to_server.len()).contains(&change.at) {
            to_server[change.at - sent] ^= change.by;
        }
        sent += to_server.len();
        for piece in to_server.chunks(cut) {
            let Ok(progress) = stream.receive(piece, &mut plain) else {
                assert!(change.by != 0 && said.starts_with(&plain), "only a changed byte fails");
                stream.seal(&[], &mut Vec::new());
                farewell(stream, Some(piece));
                return Ok(());
            };
            opened |= progress.opened.is_some();
        }
        let mut to_peer = Vec::new();
        stream.seal(if opened { b"hello" } else { b"" }, &mut to_peer);
        let mut rest = &to_peer[..];
        while !rest.is_empty() {
            if peer.read_tls(&mut rest).is_err() || peer.process_new_packets().is_err() {
                return Ok(());
            }
        }
        if to_server.is_empty() && to_peer.is_empty() {
            // A changed length makes both wait.
            break;
        }
    }
    assert!(said.starts_with(&plain), "nothing but what was said");
    assert!(change.by != 0 && change.at < sent || plain == said, "and all of it");
    Ok(())
}
