//! Control connections over tokio-uring: accept, read, write.
//!
//! No rules: bytes go to the kernel, its effects come back through [`Link`]. Each connection has a reader
//! and a writer task. Neither ever drops a read or write under way, whose buffer is io_uring's and whose
//! bytes would be lost: a connection ends by shutting its socket down, which completes both.
//! Bounds: one read of `READ_BYTES_MAX` and one write in flight each; an idle connection holds
//! `READ_BYTES_IDLE` for the read that waits.

use std::cell::RefCell;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use echomesh_shard::{ClosedCause, Input, READ_BYTES_MAX, Security};
use rustls::ServerConfig;
use tokio_uring::net::{TcpListener, TcpStream};

use crate::driver::SharedCore;
use crate::link::{Link, Next};
use crate::logging::Seldom;
use crate::measures::Handshake;
use crate::tls_stream::TlsStream;
use crate::uring::{canonical, local_address};

/// Buffer of a read that waits for a silent peer: most requests fit, and ten thousand of them are 5 MB.
const READ_BYTES_IDLE: usize = 512;

/// Pause after a failed accept: out of file descriptors, say, until some connection closes.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What new connections are protected by, which may change.
pub type SharedTls = Rc<RefCell<Arc<ServerConfig>>>;

/// Accepts until the shard stops.
pub async fn accept(core: SharedCore, listener: TcpListener, tls: SharedTls) {
    let mut failures = Seldom::default();
    while !core.borrow().is_stopping() {
        match listener.accept().await {
            Ok((stream, remote)) => admit(&core, stream, remote, &tls.borrow()),
            Err(error) if core.borrow().is_stopping() => tracing::debug!(%error, "no longer accepting"),
            Err(error) => {
                core.borrow_mut().accept_failed();
                // Who opens connections until none is left to open could have it said each time one ends.
                if let Some(unsaid) = failures.due() {
                    tracing::warn!(%error, unsaid, "accept fails; is the limit of open files too low (LimitNOFILE=)?");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn admit(core: &SharedCore, stream: TcpStream, remote: SocketAddr, tls: &Arc<ServerConfig>) {
    let Ok(local) = local_address(&stream) else {
        return core.borrow_mut().accept_failed();
    };
    let (remote, local) = (canonical(remote), canonical(local));
    let Some(link) = core.borrow_mut().accepted(stream, TlsStream::Unknown(tls.clone()), remote, local) else { return };
    let writer = tokio_uring::spawn(write(core.clone(), link.clone()));
    let core = core.clone();
    tokio_uring::spawn(async move {
        let cause = read(&core, &link).await;
        core.borrow_mut().lost(&link, cause);
        // The writer ends by itself now: all has left, or the socket is shut. It does not panic.
        let _ = writer.await;
        core.borrow_mut().removed(&link);
    });
}

/// Reads until the end; says why it ended.
async fn read(core: &SharedCore, link: &Rc<Link>) -> ClosedCause {
    let mut buffer = Vec::with_capacity(READ_BYTES_IDLE);
    loop {
        link.until_reading().await;
        let wanted = if buffer.len() < READ_BYTES_IDLE { READ_BYTES_IDLE } else { READ_BYTES_MAX };
        if buffer.capacity() == wanted {
            buffer.clear();
        } else {
            buffer = Vec::with_capacity(wanted);
        }
        let (outcome, returned) = link.stream.read(buffer).await;
        buffer = returned;
        match outcome {
            Ok(0) => return ClosedCause::PeerClosed,
            Err(_) => return ClosedCause::Network,
            // Closing: what still comes is thrown away, so that the peer gets our last words and no reset.
            Ok(_) if !link.is_known() => {}
            Ok(_) => {
                if let Err(cause) = received(core, link, &buffer) {
                    return cause;
                }
            }
        }
    }
}

/// Gives the kernel what some received bytes hold.
fn received(core: &SharedCore, link: &Rc<Link>, bytes: &[u8]) -> Result<(), ClosedCause> {
    let mut plain = Vec::new();
    let outcome = link.tls.borrow_mut().receive(bytes, &mut plain);
    link.has_tls_output();
    core.borrow_mut().measures.tcp_received_bytes += bytes.len() as u64;
    if outcome.is_err() && link.tls.borrow().is_handshaking() {
        core.borrow_mut().measures.handshake(Handshake::Failed);
    }
    let progress = outcome?;
    core.borrow_mut().turn(|core| {
        if let Some(security) = progress.opened {
            if security == Security::Tls {
                core.measures.handshake(if progress.resumed { Handshake::Resumed } else { Handshake::Full });
            }
            core.input(Input::Opened { connection: link.id, security });
        }
        for bytes in plain.chunks(READ_BYTES_MAX) {
            // The kernel may close it over any of them.
            if link.is_known() {
                core.input(Input::Bytes { connection: link.id, bytes });
            }
        }
    });
    if progress.peer_closed { Err(ClosedCause::PeerClosed) } else { Ok(()) }
}

/// Writes what is queued, until the connection is closing and all has left.
async fn write(core: SharedCore, link: Rc<Link>) {
    let mut wire = Vec::new();
    loop {
        match link.next_write(&mut wire) {
            Next::Wait => {
                // An idle connection costs no buffer.
                wire = Vec::new();
                link.until_output().await;
            }
            Next::Write { plain_bytes } => {
                let (outcome, returned) = link.stream.write_all(wire).await;
                wire = returned;
                core.borrow_mut().measures.tcp_sent_bytes += wire.len() as u64;
                if outcome.is_err() {
                    core.borrow_mut().lost(&link, ClosedCause::Network);
                    return link.shut();
                }
                if plain_bytes > 0 && link.is_known() {
                    core.borrow_mut().turn(|core| {
                        core.input(Input::Drained { connection: link.id, bytes: plain_bytes });
                    });
                }
            }
            Next::Finish => break,
        }
    }
    link.tls.borrow_mut().seal_close(&mut wire);
    // Best effort: the peer may be gone.
    let _ = link.stream.write_all(wire).await;
    let _ = link.stream.shutdown(Shutdown::Write);
}
