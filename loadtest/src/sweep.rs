//! Voice sockets while a step is measured: read in turn every few milliseconds, not watched.
//!
//! A socket in an epoll set costs whoever delivers to it: on loopback that is the server's core, which listeners
//! elsewhere would not burden. The kernel stamps each datagram as it arrives, so reading it later changes no figure;
//! it also brings more of them in a call.
//! Bounds: a sweep each `SWEEP_MIN` to `SWEEP_MAX`, a socket's share of the time `SOCKET`; its buffer holds far more.

use echomesh_proto::time::Now;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::clock::{self, MILLISECOND};
use crate::failure::{Failure, Outcome};
use crate::fleet::{Fleet, token};

/// Between two sweeps, nanoseconds; and how much of that each socket asks for: looking at one that is empty takes a
/// thirtieth of it. Sweeping four times as often cost this core half as much again and changed nothing for the server.
const SWEEP_MIN: u64 = MILLISECOND;
const SWEEP_MAX: u64 = 5 * MILLISECOND;
const SOCKET: u64 = 10_000;

impl Fleet {
    /// Takes the voice sockets out of epoll: from here on they are swept.
    ///
    /// # Errors
    /// None that is expected.
    pub(crate) fn begin_sweeping(&mut self) -> Outcome<()> {
        for udp in self.clients.iter().filter_map(|client| client.udp()) {
            self.poll.delete(udp).map_err(|error| Failure::because("epoll does not let a socket go", error))?;
        }
        self.sweep_at = Some(clock::real());
        Ok(())
    }

    /// Puts them back.
    ///
    /// # Errors
    /// The system has no room for them.
    pub(crate) fn end_sweeping(&mut self) -> Outcome<()> {
        self.sweep_at = None;
        for (at, client) in self.clients.iter().enumerate() {
            let Some(udp) = client.udp() else { continue };
            // One that was opened meanwhile is in there.
            match self.poll.add(udp, watched(at)) {
                Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
                Err(error) => return Err(Failure::because("epoll takes no more sockets", error)),
            }
        }
        Ok(())
    }

    /// Reads all voice sockets if that is due.
    pub(crate) fn sweep(&mut self, real: u64, now: Now) {
        if self.sweep_at.is_none_or(|due| real < due) {
            return;
        }
        for at in 0..self.clients.len() {
            self.read_voice(at, now);
        }
        let wait = (self.clients.len() as u64 * SOCKET).clamp(SWEEP_MIN, SWEEP_MAX);
        self.sweep_at = Some(real + wait);
    }
}

/// How a voice socket is watched: edge by edge, as each is drained when it has something, and asking again whether it
/// is empty costs time.
pub(crate) fn watched(at: usize) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, token(at, true))
}
