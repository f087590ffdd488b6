//! TLS of the real server: who comes again resumes by a ticket, on whichever shard it lands.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use echomesh_proto::control::{Body, EchoMsg, Who};
use prost::Message;
use running::{Server, login};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CipherSuite, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

/// Enough that two shards, chosen by a hash of the ports, both take one.
const CONNECTIONS_MAX: usize = 64;

/// A client that trusts the certificate in the server's data directory, and keeps tickets.
fn client(data_dir: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(data_dir.join("cert.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn next(stream: &mut impl Read) -> Body {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).unwrap();
    EchoMsg::decode(&frame[..]).unwrap().body.unwrap()
}

/// Logs in and asks where it is: the shard, and how the hands were shaken.
fn visit(server: &Server, config: &Arc<ClientConfig>, name: &str) -> (u32, HandshakeKind) {
    let tcp = server.connect().stream;
    let connection = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, tcp);
    let mut frames = Vec::new();
    EchoMsg::new(1, login(name, "secret")).append_frame(&mut frames);
    EchoMsg::new(2, Body::Who(Who::default())).append_frame(&mut frames);
    stream.write_all(&frames).unwrap();
    loop {
        if let Body::Who(who) = next(&mut stream) {
            // The cheapest, though this client names AES-256 first.
            let suite = stream.conn.negotiated_cipher_suite().unwrap().suite();
            assert_eq!(suite, CipherSuite::TLS13_AES_128_GCM_SHA256);
            return (who.shard, stream.conn.handshake_kind().unwrap());
        }
    }
}

/// Goal: the first handshake is full, every later one is resumed, also on a shard that never saw the client;
/// a restarted server takes no old ticket and shows its certificate again.
#[test]
fn a_second_handshake_is_resumed_on_any_shard() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--port", "0", "--shards", "2", "--password-memory-kib", "8"];
    let server = Server::start(directory.path(), &arguments);
    let config = client(directory.path());
    let (first_shard, how) = visit(&server, &config, "first");
    assert_eq!(how, HandshakeKind::Full);
    let mut seen = [false; 2];
    for number in 0..CONNECTIONS_MAX {
        let (shard, how) = visit(&server, &config, &format!("ada{number}"));
        assert_eq!(how, HandshakeKind::Resumed, "the first was on shard {first_shard}, this one on {shard}");
        seen[shard as usize] = true;
        if seen == [true; 2] {
            break;
        }
    }
    assert_eq!(seen, [true; 2], "{CONNECTIONS_MAX} connections on one of two shards");
    let totals = server.stop();
    assert!(totals.contains("\"tls_handshakes\":{\"full\":1,\"resumed\":"), "{totals}");
    let restarted = Server::start(directory.path(), &arguments);
    assert_eq!(visit(&restarted, &config, "first").1, HandshakeKind::Full);
    restarted.stop();
}
