//! One shard's voice socket, in batches: receives through an io_uring of its own, and an outbox.
//!
//! Not a policy: it receives and sends what it is told, and counts what the kernel refuses.
//! In: `send`, and the socket's readiness through `watched`. Out: `receive`, `submit`.
//! Every receive carries `MSG_DONTWAIT`, so one enter submits a batch and finds it completed: nothing is
//! in flight while the shard sleeps, and epoll wakes it for the socket itself. (A receive that waits in the
//! ring costs two wake-ups for each datagram: one to complete it, one for the completion.) While the socket
//! keeps giving, each batch asks for twice as many.
//! Bounds: `RECEIVE_SLOTS` operations, which the completion queue holds; no allocation.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use io_uring::{IoUring, opcode, types};

use super::descriptor::{receive_buffer_drops, stamp_datagrams};
use super::outbox::{Outbox, SendCounters};
use super::slots::{Slots, Target};

/// Datagrams received in one enter at most.
const RECEIVE_SLOTS: u32 = 64;
/// Receives of the first batch: one for the datagram that woke the shard, one to see that it was alone.
const BURST_FIRST: usize = 2;
/// Submission entries: a batch. With the completion queue they fit in the 64 KiB that Linux before 5.12
/// lets an unprivileged process lock.
const SUBMISSION_ENTRIES: u32 = 64;
/// More than all slots: completions never overflow.
const COMPLETION_ENTRIES: u32 = 128;

const _: () = assert!(RECEIVE_SLOTS <= SUBMISSION_ENTRIES && SUBMISSION_ENTRIES < COMPLETION_ENTRIES);

/// The socket, in the ring's table of files: spares the kernel to look it up for each operation.
const SOCKET: types::Fixed = types::Fixed(0);

/// What happened at the voice socket; each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// What was sent.
    pub sends: SendCounters,
    /// Datagrams received.
    pub received: u64,
    /// Their bytes, without headers of UDP and IP.
    pub received_bytes: u64,
    /// Receives that failed.
    pub receive_failed: u64,
    /// Datagrams that the system dropped before they were received: the socket's buffer was full.
    pub receive_dropped: u64,
}

/// A datagram that was taken from the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where from, canonical.
    pub source: SocketAddr,
    /// Its length, over `DATAGRAM_BYTES_MAX` if it was cut.
    pub bytes: usize,
    /// When the system received it: Unix time, nanoseconds.
    pub stamp_ns: Option<u64>,
}

/// A UDP socket, its ring and the memory between them.
pub struct VoiceRing {
    ring: IoUring,
    socket: UdpSocket,
    is_ipv6: bool,
    receives: Slots,
    outbox: Outbox,
    /// How many receives to ask for in the next batch.
    burst: usize,
    /// Completed receives: slot and result. At most one for each receive slot.
    ready: VecDeque<(u32, i32)>,
    /// Operations whose completion is still to come: none, unless the kernel was short of memory.
    in_flight: usize,
    received: u64,
    received_bytes: u64,
    receive_failed: u64,
}

impl VoiceRing {
    /// A ring for this socket.
    ///
    /// # Errors
    /// As of `io_uring_setup(2)`: see `probe` for what they mean.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let is_ipv6 = socket.local_addr()?.is_ipv6();
        let ring = IoUring::builder().setup_cqsize(COMPLETION_ENTRIES).build(SUBMISSION_ENTRIES)?;
        ring.submitter().register_files(&[socket.as_raw_fd()])?;
        stamp_datagrams(&socket)?;
        Ok(Self {
            ring,
            socket,
            is_ipv6,
            receives: Slots::new(RECEIVE_SLOTS),
            outbox: Outbox::new(),
            burst: BURST_FIRST,
            ready: VecDeque::with_capacity(RECEIVE_SLOTS as usize),
            in_flight: 0,
            received: 0,
            received_bytes: 0,
            receive_failed: 0,
        })
    }

    /// The socket, to be watched. Its watcher is told once for each datagram that comes, so after it take all
    /// there are.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn watched(&self) -> io::Result<File> {
        Ok(File::from(self.socket.as_fd().try_clone_to_owned()?))
    }

    /// What happened so far.
    pub fn counters(&self) -> RingCounters {
        RingCounters {
            sends: self.outbox.counters(),
            received: self.received,
            received_bytes: self.received_bytes,
            receive_failed: self.receive_failed,
            receive_dropped: u64::from(receive_buffer_drops(&self.socket)),
        }
    }

    /// An address as `send` wants it.
    pub fn target(&self, address: SocketAddr) -> Target {
        Target::new(address, self.is_ipv6)
    }

    /// Whether several datagrams may go in one message: not if a device on the way has refused it.
    pub fn can_segment(&self) -> bool {
        self.outbox.can_segment()
    }

    /// Takes the next datagram into `out`. `None` when the socket has none.
    pub fn receive(&mut self, out: &mut [u8]) -> Option<Received> {
        loop {
            while let Some((slot, result)) = self.ready.pop_front() {
                let got = self.arrived(slot, result, out);
                self.receives.give_back(slot);
                if got.is_some() {
                    return got;
                }
            }
            if self.burst == 0 {
                // The last batch found the socket empty.
                self.burst = BURST_FIRST;
                return None;
            }
            let asked = self.burst.min(self.receives.free_count());
            for _ in 0..asked {
                self.push_receive();
            }
            self.burst = (self.burst * 2).min(RECEIVE_SLOTS as usize);
            self.enter();
            if self.ready.is_empty() {
                return None;
            }
        }
    }

    fn arrived(&mut self, slot: u32, result: i32, out: &mut [u8]) -> Option<Received> {
        match usize::try_from(result) {
            Ok(bytes) => {
                self.received += 1;
                self.received_bytes += bytes as u64;
                let arrived = self.receives.arrived(slot, bytes);
                let bytes = arrived.bytes.len().min(out.len());
                out[..bytes].copy_from_slice(&arrived.bytes[..bytes]);
                arrived.source.map(|source| Received { source, bytes, stamp_ns: arrived.stamp_ns })
            }
            Err(_) if result == -libc::EAGAIN => {
                self.burst = 0;
                None
            }
            Err(_) => {
                self.receive_failed += 1;
                None
            }
        }
    }

    /// Queues a message to `target`, which `fill` writes into a slot of `SLOT_BYTES`, giving its length: one
    /// datagram, or with `segment_bytes` one of each that length and a last one of at most that.
    pub fn send(&mut self, target: &Target, segment_bytes: Option<u16>, fill: impl FnOnce(&mut [u8]) -> usize) {
        if self.outbox.is_full() {
            self.submit();
        }
        self.outbox.push(target, segment_bytes, fill);
    }

    /// Gives all that is queued to the kernel. What it does not take is dropped and counted.
    pub fn submit(&mut self) {
        self.outbox.send(&self.socket);
    }

    /// # Panics
    /// If the kernel finds fault with the ring itself, which only a bug here can cause.
    fn enter(&mut self) {
        while !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                // For the moment no memory, or no room for completions: the entries stay queued.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) => break,
                Err(error) => panic!("io_uring_enter on the voice ring: {error}"),
            }
            self.reap();
        }
        self.reap();
    }

    fn push_receive(&mut self) {
        let Some(slot) = self.receives.take_free() else { return };
        let message = self.receives.receive_message(slot);
        let receive = opcode::RecvMsg::new(SOCKET, message).flags(libc::MSG_DONTWAIT as u32);
        // SAFETY: the entry points into `receives`, whose memory lives until the completion comes (`Drop` waits for
        // it or leaks), and the slot is not free before.
        let pushed = unsafe { self.ring.submission().push(&receive.build().user_data(slot.into())) };
        pushed.expect("there are no more slots than submission entries");
        self.in_flight += 1;
    }

    /// Notes every completion.
    fn reap(&mut self) {
        for completion in self.ring.completion() {
            self.in_flight -= 1;
            self.ready.push_back((completion.user_data() as u32, completion.result()));
        }
    }
}

impl Drop for VoiceRing {
    /// Takes the slots back from the kernel before their memory goes.
    fn drop(&mut self) {
        // Operations do not wait, so each round ends all there are.
        for _ in 0..COMPLETION_ENTRIES {
            if self.in_flight == 0 {
                return;
            }
            self.enter();
        }
        self.receives.leak();
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
