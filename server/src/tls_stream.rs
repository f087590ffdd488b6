//! How the bytes of a control connection are protected: not known yet, not at all, or by TLS in memory.
//!
//! Not I/O and not a rule: bytes in, bytes out. The first byte tells TLS from plaintext.
//! In: `receive` (from the peer), `seal` (for the peer). Bounds: rustls holds at most one record of
//! input and nothing of output, which is taken at once.

use std::io::{self, Read, Write};
use std::sync::Arc;

use echomesh_shard::{ClosedCause, Security};
use rustls::{HandshakeKind, ServerConfig, ServerConnection};

/// First byte of a TLS handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// First byte of a frame's length, which is below 2^24 (PROTOCOL M02).
const PLAINTEXT_FRAME: u8 = 0x00;

/// The protection of one connection.
pub enum TlsStream {
    /// Nothing received yet.
    Unknown(Arc<ServerConfig>),
    /// None.
    Plaintext,
    /// TLS 1.3; the handshake may still be under way.
    Tls(Box<ServerConnection>),
    /// The farewell is sealed: what comes later, in either direction, is thrown away.
    Ended,
}

/// What some received bytes amount to, besides the plaintext they held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The protection is now known and, for TLS, the handshake is done.
    pub opened: Option<Security>,
    /// It is by a ticket of an earlier handshake.
    pub resumed: bool,
    /// The peer has said that it sends no more.
    pub peer_closed: bool,
}

impl TlsStream {
    /// Takes bytes of the peer and appends what they hold in clear to `plain`.
    ///
    /// # Errors
    /// The peer's fault: not our protocol, or TLS failed; `seal` then gives the alert.
    pub fn receive(&mut self, received: &[u8], plain: &mut Vec<u8>) -> Result<Progress, ClosedCause> {
        let mut progress = Progress::default();
        if let TlsStream::Unknown(config) = self {
            *self = match received.first() {
                None => return Ok(progress),
                Some(&TLS_HANDSHAKE) => {
                    let connection = ServerConnection::new(config.clone()).map_err(|_| ClosedCause::TlsFailed)?;
                    TlsStream::Tls(Box::new(connection))
                }
                Some(&PLAINTEXT_FRAME) => {
                    progress.opened = Some(Security::Plaintext);
                    TlsStream::Plaintext
                }
                Some(_) => return Err(ClosedCause::NotOurProtocol),
            };
        }
        match self {
            TlsStream::Tls(tls) => receive_records(tls, received, plain, &mut progress)?,
            TlsStream::Plaintext => plain.extend_from_slice(received),
            TlsStream::Unknown(_) | TlsStream::Ended => {}
        }
        Ok(progress)
    }

    /// Appends to `wire` what protects `plain`, and whatever TLS itself has to say (handshake, alerts).
    pub fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        let tls = match self {
            TlsStream::Tls(tls) => tls,
            TlsStream::Plaintext => return wire.extend_from_slice(plain),
            TlsStream::Unknown(_) | TlsStream::Ended => return,
        };
        let mut rest = plain;
        loop {
            // The writer takes as much as its buffer holds, which is emptied into records below.
            // A connection that has failed takes none, but has an alert to say.
            let taken = tls.writer().write(rest).unwrap_or(0);
            rest = &rest[taken..];
            while tls.wants_write() {
                tls.write_tls(wire).expect("a Vec takes all");
            }
            if rest.is_empty() || taken == 0 {
                return;
            }
        }
    }

    /// Appends the farewell of TLS to `wire` (RFC 8446 §6.1). It is the end: rustls takes a bad record
    /// after its own farewell for a bug of its caller.
    pub fn seal_close(&mut self, wire: &mut Vec<u8>) {
        if let TlsStream::Tls(tls) = self {
            tls.send_close_notify();
        }
        self.seal(&[], wire);
        *self = TlsStream::Ended;
    }

    /// Whether output can be sealed: the protection is known and the handshake done.
    pub fn is_open(&self) -> bool {
        match self {
            TlsStream::Unknown(_) | TlsStream::Ended => false,
            TlsStream::Plaintext => true,
            TlsStream::Tls(tls) => !tls.is_handshaking(),
        }
    }

    /// Whether a TLS handshake was begun and is not done.
    pub fn is_handshaking(&self) -> bool {
        matches!(self, TlsStream::Tls(tls) if tls.is_handshaking())
    }

    /// Whether TLS has something of its own to say.
    pub fn wants_write(&self) -> bool {
        matches!(self, TlsStream::Tls(tls) if tls.wants_write())
    }
}

fn receive_records(
    tls: &mut ServerConnection,
    mut records: &[u8],
    plain: &mut Vec<u8>,
    progress: &mut Progress,
) -> Result<(), ClosedCause> {
    while !records.is_empty() {
        let was_handshaking = tls.is_handshaking();
        let taken = tls.read_tls(&mut records).map_err(|_| ClosedCause::TlsFailed)?;
        tls.process_new_packets().map_err(|_| ClosedCause::TlsFailed)?;
        if was_handshaking && !tls.is_handshaking() {
            progress.opened = Some(Security::Tls);
            progress.resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
        }
        match tls.reader().read_to_end(plain) {
            Ok(_) => progress.peer_closed = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(ClosedCause::TlsFailed),
        }
        if progress.peer_closed || taken == 0 {
            progress.peer_closed = true;
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::{PrivateKeyDer, ServerName};

    use super::*;

    fn configs() -> (Arc<ServerConfig>, Arc<rustls::ClientConfig>) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    }

    /// Goal: the first byte decides, and other protocols are told apart (PROTOCOL M02).
    #[test]
    fn the_first_byte_tells_the_protocol() {
        let (server, _) = configs();
        let mut plain = Vec::new();
        let mut stream = TlsStream::Unknown(server.clone());
        let progress = stream.receive(&[0, 0, 0, 5, 1], &mut plain).unwrap();
        assert_eq!(progress.opened, Some(Security::Plaintext));
        assert_eq!(plain, [0, 0, 0, 5, 1]);
        assert!(stream.is_open());
        for hello in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x", &[0x80]] {
            let mut stream = TlsStream::Unknown(server.clone());
            assert_eq!(stream.receive(hello, &mut plain), Err(ClosedCause::NotOurProtocol));
        }
        let mut stream = TlsStream::Unknown(server);
        let cut = stream.receive(&[0x16, 3, 1, 0], &mut plain).unwrap();
        assert_eq!(cut, Progress::default());
        assert!(!stream.is_open());
    }

    /// An application record that no key opens.
    fn damaged_record() -> Vec<u8> {
        [&[23, 3, 3, 0, 20][..], &[1; 20]].concat()
    }

    /// Goal: a damaged record ends the connection, with an alert for the peer (RFC 8446 §6.2).
    #[test]
    fn damage_is_answered_with_an_alert() {
        let (server, _) = configs();
        let mut stream = TlsStream::Unknown(server);
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        let hello_that_is_none = [0x16, 3, 1, 0, 4, 99, 0, 0, 0];
        assert_eq!(stream.receive(&hello_that_is_none, &mut plain), Err(ClosedCause::TlsFailed));
        stream.seal(&[], &mut wire);
        assert_eq!(wire[0], 21, "the alert record");
        stream.seal_close(&mut wire);
    }

    /// Goal: a handshake in pieces opens once, bytes go both ways whatever their number, the farewell
    /// is understood, and a damaged record after it is nobody's problem.
    #[test]
    fn tls_runs_in_memory() {
        let (server, client) = configs();
        let mut stream = TlsStream::Unknown(server);
        let name = ServerName::try_from("localhost").unwrap();
        let mut peer = rustls::ClientConnection::new(client, name).unwrap();
        let (mut plain, mut opened) = (Vec::new(), 0);
        while peer.is_handshaking() || opened == 0 {
            let mut to_server = Vec::new();
            while peer.wants_write() {
                peer.write_tls(&mut to_server).unwrap();
            }
            for piece in to_server.chunks(100) {
                opened += u32::from(stream.receive(piece, &mut plain).unwrap().opened.is_some());
            }
            let mut to_peer = Vec::new();
            stream.seal(&[], &mut to_peer);
            peer.read_tls(&mut to_peer.as_slice()).unwrap();
            peer.process_new_packets().unwrap();
        }
        assert_eq!(opened, 1);
        peer.writer().write_all(&[7; 10_000]).unwrap();
        let mut to_server = Vec::new();
        while peer.wants_write() {
            peer.write_tls(&mut to_server).unwrap();
        }
        for piece in to_server.chunks(4_096) {
            stream.receive(piece, &mut plain).unwrap();
        }
        assert_eq!(plain, [7; 10_000]);
        let mut to_peer = Vec::new();
        stream.seal(&[9; 200_000], &mut to_peer);
        stream.seal_close(&mut to_peer);
        let (mut got, mut rest) = (Vec::new(), to_peer.as_slice());
        while !rest.is_empty() {
            peer.read_tls(&mut rest).unwrap();
            peer.process_new_packets().unwrap();
            match peer.reader().read_to_end(&mut got) {
                Ok(_) => break,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(got, vec![9; 200_000]);
        assert_eq!(stream.receive(&damaged_record(), &mut plain), Ok(Progress::default()));
        assert_eq!(plain.len(), 10_000);
    }
}
