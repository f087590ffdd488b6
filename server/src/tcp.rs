//! Control connections over tokio-uring: accept, tell TLS from plaintext, read, write.
//!
//! No rules: bytes go to the kernel, its effects come back through [`Link`]. Each connection has a reader
//! and a writer task; a read is never cancelled (its buffer belongs to the kernel), a connection ends by
//! shutting its socket down. Bounds: one read of `READ_BYTES_MAX` in flight; output is bounded by the
//! shard kernel.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use echomesh_proto::ids::ConnectionId;
use echomesh_shard::{ClosedCause, Input, READ_BYTES_MAX, Security};
use rustls::{ServerConfig, ServerConnection};
use tokio::sync::Notify;
use tokio_uring::net::{TcpListener, TcpStream};

use crate::shard_thread::SharedCore;

/// First byte of a TLS record that begins a handshake (RFC 8446 §5.1), and of a plaintext frame.
const TLS_HANDSHAKE: u8 = 0x16;
const PLAINTEXT_FRAME: u8 = 0x00;

/// How long what was sent before a close may take to leave.
const LINGER: Duration = Duration::from_secs(1);

/// Pause after a failed accept (out of file descriptors, say).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What the shard thread holds of a connection.
pub struct Link {
    stream: TcpStream,
    tls: RefCell<Option<ServerConnection>>,
    /// Plaintext for the peer that no write has taken yet.
    output: RefCell<Vec<u8>>,
    has_output: Notify,
    paused: Cell<bool>,
    resumed: Notify,
    closing: Cell<bool>,
}

impl Link {
    /// Queues bytes for the peer.
    pub fn send(&self, bytes: &[u8]) {
        self.output.borrow_mut().extend_from_slice(bytes);
        self.has_output.notify_one();
    }

    /// Starts or stops reading.
    pub fn set_paused(&self, paused: bool) {
        self.paused.set(paused);
        self.resumed.notify_one();
    }

    /// Ends the connection once the output has left, or after `LINGER`.
    pub fn close(self: &Rc<Self>) {
        self.closing.set(true);
        self.has_output.notify_one();
        self.resumed.notify_one();
        let link = self.clone();
        tokio_uring::spawn(async move {
            tokio::time::sleep(LINGER).await;
            link.shut();
        });
    }

    fn shut(&self) {
        // An error means that it is shut already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Accepts until the listener fails for good.
pub async fn accept(core: SharedCore, listener: TcpListener, tls: Arc<ServerConfig>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => admit(&core, stream, remote, &tls),
            Err(error) => {
                tracing::warn!(%error, "accept failed; is the limit of open files too low (LimitNOFILE=)?");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn admit(core: &SharedCore, stream: TcpStream, remote: SocketAddr, tls: &Arc<ServerConfig>) {
    let local = crate::uring::local_address(&stream).unwrap_or(remote);
    let link = Rc::new(Link {
        stream,
        tls: RefCell::new(None),
        output: RefCell::new(Vec::new()),
        has_output: Notify::new(),
        paused: Cell::new(false),
        resumed: Notify::new(),
        closing: Cell::new(false),
    });
    let id = core.borrow_mut().add(link.clone());
    core.borrow_mut().input(Input::Accepted { connection: id, remote: canonical(remote), local: canonical(local) });
    tokio_uring::spawn(write(core.clone(), id, link.clone()));
    let (core, tls) = (core.clone(), tls.clone());
    tokio_uring::spawn(async move {
        let cause = read(&core, id, &link, tls).await;
        let mut core = core.borrow_mut();
        if !link.closing.replace(true) {
            core.input(Input::Closed { connection: id, cause });
        }
        link.has_output.notify_one();
        link.shut();
        core.remove(id);
    });
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Reads until the end; says why it ended.
async fn read(core: &SharedCore, id: ConnectionId, link: &Rc<Link>, tls: Arc<ServerConfig>) -> ClosedCause {
    let mut buffer = Vec::with_capacity(READ_BYTES_MAX);
    let mut first = true;
    loop {
        while link.paused.get() && !link.closing.get() {
            link.resumed.notified().await;
        }
        buffer.clear();
        let (outcome, returned) = link.stream.read(buffer).await;
        buffer = returned;
        match outcome {
            Ok(0) => return ClosedCause::PeerClosed,
            Err(_) => return ClosedCause::Network,
            Ok(_) if link.closing.get() => continue,
            Ok(_) => {}
        }
        if std::mem::take(&mut first) {
            match buffer[0] {
                TLS_HANDSHAKE => match ServerConnection::new(tls.clone()) {
                    Ok(connection) => *link.tls.borrow_mut() = Some(connection),
                    Err(_) => return ClosedCause::TlsFailed,
                },
                PLAINTEXT_FRAME => {
                    core.borrow_mut().input(Input::Opened { connection: id, security: Security::Plaintext });
                }
                _ => return ClosedCause::NotOurProtocol,
            }
        }
        let secured = link.tls.borrow().is_some();
        if !secured {
            core.borrow_mut().input(Input::Bytes { connection: id, bytes: &buffer });
        } else if let Err(cause) = read_tls(core, id, link, &buffer) {
            return cause;
        }
    }
}

/// Feeds TLS records and hands on what they hold.
fn read_tls(core: &SharedCore, id: ConnectionId, link: &Rc<Link>, mut records: &[u8]) -> Result<(), ClosedCause> {
    while !records.is_empty() {
        let mut plain = Vec::new();
        let opened;
        {
            let mut tls = link.tls.borrow_mut();
            let tls = tls.as_mut().expect("set when the first byte told TLS");
            let was_handshaking = tls.is_handshaking();
            let read = tls.read_tls(&mut records).map_err(|_| ClosedCause::TlsFailed)?;
            let state = tls.process_new_packets();
            // An alert, handshake records, or a key update may have to leave.
            link.has_output.notify_one();
            let state = state.map_err(|_| ClosedCause::TlsFailed)?;
            opened = was_handshaking && !tls.is_handshaking();
            if state.plaintext_bytes_to_read() > 0 {
                plain.resize(state.plaintext_bytes_to_read(), 0);
                tls.reader().read_exact(&mut plain).map_err(|_| ClosedCause::TlsFailed)?;
            }
            if state.peer_has_closed() || read == 0 {
                return Err(ClosedCause::PeerClosed);
            }
        }
        let mut core = core.borrow_mut();
        if opened {
            core.input(Input::Opened { connection: id, security: Security::Tls });
        }
        for part in plain.chunks(READ_BYTES_MAX) {
            core.input(Input::Bytes { connection: id, bytes: part });
        }
    }
    Ok(())
}

/// Writes what is queued until the connection is closing and all has left.
async fn write(core: SharedCore, id: ConnectionId, link: Rc<Link>) {
    loop {
        let output = std::mem::take(&mut *link.output.borrow_mut());
        let plain_bytes = output.len();
        let records = seal(&link, output);
        if records.is_empty() {
            if link.closing.get() {
                break;
            }
            link.has_output.notified().await;
            continue;
        }
        let (outcome, _) = link.stream.write_all(records).await;
        if outcome.is_err() {
            break;
        }
        if plain_bytes > 0 && !link.closing.get() {
            core.borrow_mut().input(Input::Drained { connection: id, bytes: plain_bytes });
        }
    }
    if let Some(tls) = link.tls.borrow_mut().as_mut() {
        tls.send_close_notify();
    }
    let farewell = seal(&link, Vec::new());
    if !farewell.is_empty() {
        // Best effort: the peer may be gone.
        let _ = link.stream.write_all(farewell).await;
    }
    link.shut();
}

/// What goes on the wire for some plaintext: itself, or TLS records.
fn seal(link: &Link, plain: Vec<u8>) -> Vec<u8> {
    let mut tls = link.tls.borrow_mut();
    let Some(tls) = tls.as_mut() else { return plain };
    let mut records = Vec::new();
    tls.set_buffer_limit(None);
    // A connection whose TLS has failed takes no more: what was queued for it is lost with it.
    if tls.writer().write_all(&plain).is_err() {
        return Vec::new();
    }
    while tls.wants_write() {
        tls.write_tls(&mut records).expect("a Vec takes all");
    }
    records
}
