//! One control connection: TCP and TLS as plain bytes in and out, never waiting.
//!
//! Not the protocol: the session kernel reads and writes these bytes.
//! Bounds: rustls's own buffers; what the socket does not take waits in TLS, at most `TLS_BYTES_MAX`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

/// Bytes of TLS records that may wait to leave.
const TLS_BYTES_MAX: usize = 64 * 1024;

/// A connection to the server's control port.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    tls: ClientConnection,
}

impl Connection {
    /// Connects and queues the first handshake message. Waits for TCP only.
    ///
    /// # Errors
    /// The system's, or rustls's.
    pub fn open(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let name = ServerName::IpAddress(address.ip().into());
        let mut tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(TLS_BYTES_MAX));
        Ok(Self { stream, tls })
    }

    /// Whether the handshake is still under way.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether the handshake used a ticket; `false` while it is not known.
    pub fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether the server has given tickets for later handshakes.
    pub fn has_tickets(&self) -> bool {
        self.tls.tls13_tickets_received() > 0
    }

    /// Whether bytes wait that the socket did not take.
    pub fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Appends the plain bytes that have come. `false` once the server has closed.
    ///
    /// # Errors
    /// The socket's or TLS's.
    pub fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            let taken = match self.tls.read_tls(&mut self.stream) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            let plain = self.tls.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read();
            if plain > 0 {
                let from = out.len();
                out.resize(from + plain, 0);
                self.tls.reader().read_exact(&mut out[from..])?;
            }
            if taken == 0 {
                return Ok(false);
            }
        }
    }

    /// Takes as many bytes as may wait, and sends what the socket takes. Returns how many were taken.
    ///
    /// # Errors
    /// The socket's or TLS's.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = if bytes.is_empty() { 0 } else { self.tls.writer().write(bytes)? };
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Says goodbye in TLS; dropping it ends TCP.
    pub fn farewell(&mut self) {
        self.tls.send_close_notify();
        // The connection ends either way.
        let _ = self.write(&[]);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
