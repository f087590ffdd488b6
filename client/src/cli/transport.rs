//! The control connection: TCP, with TLS or without, as plain bytes in and out.
//!
//! Waiting and moving bytes are apart: [`Transport::ready`] may be dropped at any point without losing
//! anything, so it can stand in a `select!`; [`Transport::read`] and [`Transport::write`] never wait.
//! Bounds: a connection attempt and a handshake take at most `CONNECT_MAX` each.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::ClientConnection;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::failure::Failure;
use super::settings::Settings;
use super::tls::Tls;
use super::trust::{Fingerprint, Known, KnownServers, Policy, Verdict};

/// Longest wait for a connection to one address, and for a handshake.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Bytes of TLS records that may wait to leave; beyond, no more is taken from the session.
const TLS_BYTES_MAX: usize = 64 * 1024;

/// A connection to the server's control port.
#[derive(Debug)]
pub struct Transport {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    peer: SocketAddr,
}

/// A handshake that was tried.
pub struct Shaken {
    /// The connection.
    pub transport: Transport,
    /// Whether it worked.
    pub outcome: io::Result<()>,
    /// The server's key, and what to do about it; `None` if it showed none.
    pub verdict: Option<(Fingerprint, Verdict)>,
}

/// A socket that never waits, as rustls wants it.
struct NoWait<'a>(&'a TcpStream);

impl Read for NoWait<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(out)
    }
}

impl Write for NoWait<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport {
    /// Connects, and with TLS shakes hands and remembers what was trusted. Without `tls`: in plaintext.
    ///
    /// # Errors
    /// `Failure::Connection`, `Trust`, or `Usage` for plaintext beyond this machine.
    pub async fn connect(settings: &Settings, tls: Option<&Tls>) -> Result<Self, Failure> {
        let (stream, peer) = connect_tcp(settings).await?;
        // Frames are small and answers are waited for. A refusal only costs latency.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("TCP_NODELAY: {error}");
        }
        let Some(tls) = tls else { return Ok(Self { stream, tls: None, peer }) };
        let Shaken { transport, outcome, verdict } = Self::shake(stream, peer, tls, policy(settings)?).await?;
        remember(settings, verdict, outcome)?;
        Ok(transport)
    }

    /// Shakes hands over a connection, and says what is to be thought of the server. Nothing is remembered.
    ///
    /// # Errors
    /// `Failure::Local` if TLS cannot be set up.
    pub async fn shake(stream: TcpStream, peer: SocketAddr, tls: &Tls, policy: Policy) -> Result<Shaken, Failure> {
        let mut transport = Self { stream, tls: Some(Box::new(tls.connection(policy)?)), peer };
        let outcome = timeout(CONNECT_MAX, transport.handshake()).await;
        let outcome = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let verdict = transport.tls.as_ref().and_then(|connection| tls.verdict(connection));
        Ok(Shaken { transport, outcome, verdict })
    }

    async fn handshake(&mut self) -> io::Result<()> {
        let mut early = Vec::new();
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            self.write(&[])?;
            if self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                self.ready(false).await?;
                if !self.read(&mut early)? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(())
    }

    /// The server's address; voice goes there too.
    pub fn peer(&self) -> IpAddr {
        self.peer.ip()
    }

    /// Waits until reading, or writing if `output_waits`, may get on. Safe to drop.
    ///
    /// # Errors
    /// The socket's.
    pub async fn ready(&self, output_waits: bool) -> io::Result<()> {
        let writing = output_waits || self.tls.as_ref().is_some_and(|tls| tls.wants_write());
        let interest = if writing { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.stream.ready(interest).await.map(drop)
    }

    /// Appends the plain bytes that have come. `false` once the server has closed.
    ///
    /// # Errors
    /// The socket's or TLS's.
    pub fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        let Some(tls) = &mut self.tls else {
            return match self.stream.try_read(&mut bytes) {
                Ok(count) => {
                    out.extend_from_slice(&bytes[..count]);
                    Ok(count > 0)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
                Err(error) => Err(error),
            };
        };
        let closed = match tls.read_tls(&mut NoWait(&self.stream)) {
            Ok(count) => count == 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => return Err(error),
        };
        let processed = tls.process_new_packets();
        if processed.is_err() {
            // Best effort: the alert tells the server why.
            drop(tls.write_tls(&mut NoWait(&self.stream)));
        }
        processed.map_err(io::Error::other)?;
        loop {
            match tls.reader().read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(count) => out.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(!closed),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes as many bytes as may wait, and sends what the socket takes. Returns how many were taken.
    ///
    /// # Errors
    /// The socket's or TLS's.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                other => other,
            };
        };
        tls.set_buffer_limit(Some(TLS_BYTES_MAX));
        let taken = if bytes.is_empty() { 0 } else { tls.writer().write(bytes)? };
        while tls.wants_write() {
            match tls.write_tls(&mut NoWait(&self.stream)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Ends in order: TLS's close_notify if the socket takes it, then TCP's end.
    pub fn close(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        if let Err(error) = self.write(&[]) {
            tracing::debug!("closing: {error}");
        }
    }
}

/// What the settings and the file of known servers say of this server.
///
/// # Errors
/// `Failure::Trust` if the file cannot be read.
pub fn policy(settings: &Settings) -> Result<Policy, Failure> {
    let file = settings.known_servers.as_deref();
    let known = file.map(KnownServers::read).transpose()?.unwrap_or_default();
    Ok(Policy {
        server: settings.server(),
        fingerprint: settings.fingerprint,
        known: known.get(&settings.server()),
        file: file.map_or_else(String::new, |file| file.display().to_string()),
    })
}

/// Connects to the first of the server's addresses that takes it.
///
/// # Errors
/// `Failure::Connection`, or `Usage` for plaintext beyond this machine.
pub async fn connect_tcp(settings: &Settings) -> Result<(TcpStream, SocketAddr), Failure> {
    let server = settings.server();
    let unknown = |error: io::Error| {
        Failure::Connection(format!("cannot find {}: {error}. Check --server and the network.", settings.host))
    };
    let lookup = tokio::net::lookup_host((settings.host.as_str(), settings.port));
    let addresses: Vec<SocketAddr> = lookup.await.map_err(unknown)?.collect();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        if settings.plaintext && !address.ip().to_canonical().is_loopback() {
            let text = format!("{server} is not on this machine: connect to it without --plaintext");
            return Err(Failure::Usage(text));
        }
        match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    let advice = "Is the server running, and its port open?";
    Err(Failure::Connection(format!("cannot connect to {server}: {last}. {advice}")))
}

/// After the handshake: acts on the verdict, and says what failed in terms of what to do.
fn remember(
    settings: &Settings,
    verdict: Option<(Fingerprint, Verdict)>,
    shaken: io::Result<()>,
) -> Result<(), Failure> {
    let server = settings.server();
    let (shown, verdict) = match (verdict, shaken) {
        (Some((_, Verdict::Refused(text))), _) => return Err(Failure::Trust(text)),
        (_, Err(error)) => {
            let text = format!("no TLS connection to {server}: {error}. Is it an EchoMesh server?");
            return Err(Failure::Connection(text));
        }
        (Some(verdict), Ok(())) => verdict,
        (None, Ok(())) => return Err(Failure::Trust(format!("{server} showed no certificate"))),
    };
    let Verdict::Remember(known) = verdict else { return Ok(()) };
    if let Known::Pinned(_) = known {
        eprintln!("echomesh: first connection to {server}; its key is\n  {shown}");
        eprintln!("  Compare it with what the server printed at its start. It is trusted from now on.");
    }
    match &settings.known_servers {
        Some(file) => KnownServers::remember(file, &server, known),
        None => {
            eprintln!("echomesh: without HOME or XDG_DATA_HOME the certificate cannot be remembered");
            Ok(())
        }
    }
}
