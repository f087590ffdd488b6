//! Settings read again by SIGHUP, in a real process: what holds at once, what waits, and that a wrong file changes nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use echomesh_proto::control::{Body, EchoMsg, LoginResponse, StatusCode};
use prost::Message;
use running::{Server, log, login};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn write(data_dir: &Path, text: &str) {
    std::fs::write(data_dir.join("server.toml"), text).unwrap();
}

fn visit(server: &Server, name: &str) -> LoginResponse {
    let mut client = server.connect();
    client.send(login(name, "secret"));
    match client.next() {
        Some(Body::LoginResponse(response)) => response,
        other => panic!("{other:?}"),
    }
}

/// Goal: what a reload takes holds for the next login and the log says so by key; what waits is named each time until
/// the restart, after which it holds; a key that leaves the file has its default again.
#[test]
fn changes_are_taken_and_named() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "password-memory-kib = 8\nmotd = \"old\"\n");
    let (server, mut log) = log::start(directory.path(), &["--speakers-max", "3"]);
    assert_eq!(visit(&server, "ada").motd, "old");
    assert!(server.reload(&mut log).contains("nothing changed"));

    write(directory.path(), "password-memory-kib = 8\nregistration = \"closed\"\nmotd = \"new\"\nspread-after = 9\n");
    let told = server.reload(&mut log);
    assert!(told.contains("taken=\"registration, motd\" needs_restart=\"spread-after\""), "{told}");
    assert_eq!(visit(&server, "ada").motd, "new");
    assert_ne!(visit(&server, "bob").status_code(), StatusCode::StatusOk);

    // A flag wins over the file, now as at the start.
    write(directory.path(), "password-memory-kib = 8\nspread-after = 9\nspeakers-max = 4\n");
    let told = server.reload(&mut log);
    assert!(told.contains("taken=\"registration, motd\" needs_restart=\"spread-after\""), "{told}");
    assert_eq!(
        (visit(&server, "bob").status_code(), visit(&server, "ada").motd),
        (StatusCode::StatusOk, String::new())
    );
    server.stop();
    let (server, mut log) = log::start(directory.path(), &["--speakers-max", "3"]);
    assert!(server.reload(&mut log).contains("nothing changed"));
    server.stop();
}

/// Goal: a file, a filter or a certificate that is wrong changes nothing, not even what is right beside it, and the log
/// says what is wrong; mended, it is taken.
#[test]
fn what_is_wrong_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "password-memory-kib = 8\nmotd = \"old\"\n");
    let (server, mut log) = log::start(directory.path(), &[]);
    for (text, sentence) in [
        ("motd = \"new\"\nvioce-port = 1\n", "unknown key `vioce-port`, line 2; did you mean `voice-port`?"),
        ("motd = \"new\"\nspeakers-max = -1\n", "line 2: speakers-max is -1"),
        ("motd = \"new\"\nlog = \"a=b=c\"\n", "is no filter"),
        ("motd = \"new\"\nmemory-mib = 7\n", "line 2: memory-mib is 7: it must be 0, or at least 8"),
        ("motd = \"new\"\ntls-cert = \"/nowhere.pem\"\ntls-key = \"/nowhere.pem\"\n", "/nowhere.pem"),
    ] {
        write(directory.path(), text);
        let told = server.reload(&mut log);
        assert!(told.contains("nothing was reloaded") && told.contains(sentence), "{told}");
        assert_eq!(visit(&server, "ada").motd, "old");
    }
    write(directory.path(), "password-memory-kib = 8\nmotd = \"new\"\n");
    server.reload(&mut log);
    assert_eq!(visit(&server, "ada").motd, "new");
    server.stop();
}

/// Goal: limits and the log's level change under way: a limit of connections is met by the next one, and debug lines come.
#[test]
fn limits_and_log_change() {
    let directory = tempfile::tempdir().unwrap();
    let (server, mut log) = log::start(directory.path(), &[]);
    let inside = [server.connect(), server.connect()];
    write(directory.path(), "connections-per-address = 2\nlog = \"warn\"\n");
    let told = server.reload(&mut log);
    assert!(told.contains("taken=\"connections-per-address, log\""), "{told}");
    let mut beyond = server.connect();
    beyond.send(login("eve", "secret"));
    assert!(!matches!(beyond.next(), Some(Body::LoginResponse(_))), "the third connection is one too many");
    drop((inside, beyond));
    write(directory.path(), "log = \"debug\"\n");
    server.reload(&mut log);
    server.stop();
    log.until(&["DEBUG"]);
}

/// The certificate that a new connection is shown.
fn shown(server: &Server, roots: &[&CertificateDer<'static>]) -> CertificateDer<'static> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add((*root).clone()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, server.connect().stream);
    let mut frame = Vec::new();
    EchoMsg::new(1, login("ada", "secret")).append_frame(&mut frame);
    stream.write_all(&frame).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    assert!(EchoMsg::decode(&answer[..]).unwrap().body.is_some());
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

fn make_certificate(directory: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("c.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("k.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// Goal: a renewed certificate under the same file names is shown to new connections, connections of before go on, and
/// one whose key does not fit leaves the old one in its place.
#[test]
fn a_renewed_certificate_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let old = make_certificate(directory.path());
    let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
    let files = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let (server, mut log) = log::start(directory.path(), &[&files[..], &["--password-memory-kib", "8"]].concat());
    let mut member = server.member("bob", "hall");
    assert_eq!(shown(&server, &[&old]), old);
    let new = make_certificate(directory.path());
    let told = server.reload(&mut log);
    assert!(told.contains("renewed, another key: SHA256:"), "{told}");
    assert_eq!(shown(&server, &[&old, &new]), new);
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(server.reload(&mut log).contains("belong together"));
    assert_eq!(shown(&server, &[&new]), new);
    member.send(running::chat("hall", "still here", "1"));
    assert!(matches!(member.next(), Some(Body::ChatMsg(line)) if line.content == "still here"));
    server.stop();
}

/// Goal: systemd is told when a reload begins, by which clock, and that it is over, so that `systemctl reload` can wait.
#[test]
fn the_service_manager_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut command = running::command(directory.path(), &["--port", "0", "--shards", "1"]);
    let server = Server::start_with(command.env("NOTIFY_SOCKET", &path));
    let until = |sign: &str| loop {
        let mut bytes = [0; 4_096];
        let count = manager.recv(&mut bytes).unwrap();
        let told = String::from_utf8_lossy(&bytes[..count]).into_owned();
        if told.contains(sign) {
            return told;
        }
    };
    until("READY=1");
    server.signal("-HUP");
    assert!(until("RELOADING=1").contains("MONOTONIC_USEC="));
    assert!(until("READY=1").contains("STATUS=settings read again: nothing changed"));
    server.stop();
    until("STOPPING=1");
}
