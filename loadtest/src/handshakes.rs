//! TLS handshakes and nothing after them: the connection is closed when both sides have finished.
//!
//! With tickets, a connection first waits for the server's new ones, which the next handshakes use; that wait is not in
//! the latency. Bounds: `slots` connections at a time; none may take longer than `STALL`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use rustls::ClientConfig;

use crate::clock::{self, SECOND};
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::histogram::Histogram;
use crate::interrupt;

/// Longest time without a handshake, nanoseconds.
const STALL: u64 = 10 * SECOND;

/// Longest wait of a turn, milliseconds.
const WAIT_MS: u16 = 100;

/// What came of it.
#[derive(Debug, Default)]
pub struct Done {
    /// From connecting to the end of the handshake; where tickets are used, of those that did.
    pub latency: Histogram,
    /// Those that used a ticket.
    pub resumed: usize,
}

struct Slot {
    connection: Connection,
    started: u64,
    finished: bool,
}

/// Does `count` handshakes, `slots` at a time.
///
/// # Errors
/// A connection or a handshake failed.
pub fn run(
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
    count: usize,
    slots: usize,
    wait_for_tickets: bool,
    counted: &AtomicUsize,
) -> Outcome<Done> {
    let failed = |error: std::io::Error| {
        Failure(format!("a handshake with {address} failed: {error}; is it an EchoMesh server, and not overloaded?"))
    };
    let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let mut active: Vec<Option<Slot>> = (0..slots).map(|_| None).collect();
    let (mut done, mut begun, mut ended, mut moved) = (Done::default(), 0, 0, clock::real());
    let (mut events, mut plain) = (vec![EpollEvent::empty(); slots], Vec::new());
    while ended < count {
        for (at, slot) in active.iter_mut().enumerate().filter(|(_, slot)| slot.is_none()) {
            if begun == count {
                break;
            }
            let started = clock::real();
            let mut connection = Connection::open(address, tls).map_err(failed)?;
            connection.write(&[]).map_err(failed)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, at as u64);
            poll.add(&connection, event).map_err(|errno| failed(errno.into()))?;
            *slot = Some(Slot { connection, started, finished: false });
            begun += 1;
        }
        let ready = poll.wait(&mut events, WAIT_MS).unwrap_or(0);
        for event in &events[..ready] {
            let at = event.data() as usize;
            let Some(slot) = active[at].as_mut() else { continue };
            let open = slot.connection.read(&mut plain).map_err(failed)?;
            slot.connection.write(&[]).map_err(failed)?;
            if !slot.finished && !slot.connection.is_handshaking() {
                slot.finished = true;
                let resumed = slot.connection.is_resumed();
                done.resumed += usize::from(resumed);
                if resumed || !wait_for_tickets {
                    done.latency.record(clock::real().saturating_sub(slot.started));
                }
            }
            if slot.finished && (!wait_for_tickets || slot.connection.has_tickets()) {
                slot.connection.farewell();
                active[at] = None;
                ended += 1;
                moved = clock::real();
                counted.store(ended, Ordering::Relaxed);
            } else if !open {
                return Err(failed(std::io::Error::other("the server closed the connection")));
            }
        }
        if interrupt::is_wanted() {
            return Err(Failure("stopped".to_owned()));
        }
        if clock::real() > moved + STALL {
            return Err(failed(std::io::Error::other("no handshake ended within 10 s")));
        }
    }
    Ok(done)
}
