//! One shard's voice socket on an io_uring of its own.
//!
//! Not a policy: it receives and sends what it is told, and counts what the kernel refuses.
//! In: `send` and `submit`. Out: `receive`, and readiness through `watch`.
//! One `RECVMSG` waits for the next datagram. While the socket keeps giving, each submission adds
//! twice as many that do not wait (`MSG_DONTWAIT`), so that a queue is emptied in few enters; more than
//! one that waits would all be woken for each datagram.
//! The ring's own descriptor is watched, not an eventfd: epoll asks the ring whether a completion is
//! there, so those that were taken in passing wake nobody. (With `DEFER_TASKRUN` that would not work.)
//! Bounds: `RECEIVE_SLOTS` + `SEND_SLOTS` operations, which the completion queue holds; no allocation.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, opcode, squeue, types};
use tokio::io::unix::AsyncFd;

use super::descriptor::{receive_buffer_drops, watch_readable};
use super::slots::Slots;

/// Datagrams received in one enter at most.
const RECEIVE_SLOTS: u32 = 64;
/// Datagrams on their way out at most: twenty listeners for each of a full batch of receives.
const SEND_SLOTS: u32 = 1_024;
/// Submission entries; a longer batch is submitted in pieces. 256 × 64 bytes, and the completion queue
/// of 2,048 × 16 bytes, fit in the 64 KiB that Linux before 5.12 lets an unprivileged process lock.
const SUBMISSION_ENTRIES: u32 = 256;
/// More than all slots and the cancellation together: completions never overflow.
const COMPLETION_ENTRIES: u32 = 2_048;
/// When memory to lock is short: a quarter.
const SHRUNK_BY: u32 = 4;

const _: () = assert!(RECEIVE_SLOTS + SEND_SLOTS < COMPLETION_ENTRIES);

/// `user_data`: what the completion is about in the high half, the slot in the low half.
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
const CANCEL: u64 = 3 << 32;
const ABOUT: u64 = !(u32::MAX as u64);

/// What went wrong at the voice socket; each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// Datagrams given to the kernel.
    pub sent: u64,
    /// Sends dropped since all send slots were taken.
    pub send_slots_full: u64,
    /// Sends dropped since the socket's or the device's queue was full.
    pub send_queue_full: u64,
    /// Sends that the kernel refused otherwise: no route, too long for the path, firewall.
    pub send_failed: u64,
    /// Receives that failed.
    pub receive_failed: u64,
    /// Datagrams that the system dropped before they were received: the socket's buffer was full.
    pub receive_buffer_full: u64,
}

/// A UDP socket, its ring and the memory between them.
pub struct VoiceRing {
    ring: IoUring,
    socket: UdpSocket,
    /// A dual-stack socket takes IPv4 targets as mapped addresses.
    is_ipv6: bool,
    receives: Slots,
    sends: Slots,
    /// The slot of the receive that waits.
    waiting: Option<u32>,
    /// How many receives that do not wait to add to the next submission.
    burst: usize,
    /// Completed receives: slot and result. At most one for each receive slot.
    ready: VecDeque<(u32, i32)>,
    /// Operations whose completion is still to come.
    in_flight: usize,
    counters: RingCounters,
}

impl VoiceRing {
    /// A ring for this socket, already waiting for datagrams. The socket must be in blocking mode.
    ///
    /// # Errors
    /// As of `io_uring_setup(2)`: see `probe` for what they mean.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let is_ipv6 = socket.local_addr()?.is_ipv6();
        let (ring, shrunk_by) = match Self::build(1) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => (Self::build(SHRUNK_BY)?, SHRUNK_BY),
            built => (built?, 1),
        };
        let mut voice = Self {
            ring,
            socket,
            is_ipv6,
            receives: Slots::new(RECEIVE_SLOTS / shrunk_by),
            sends: Slots::new(SEND_SLOTS / shrunk_by),
            waiting: None,
            burst: 0,
            ready: VecDeque::with_capacity(RECEIVE_SLOTS as usize),
            in_flight: 0,
            counters: RingCounters::default(),
        };
        voice.submit();
        Ok(voice)
    }

    fn build(shrunk_by: u32) -> io::Result<IoUring> {
        IoUring::builder().setup_cqsize(COMPLETION_ENTRIES / shrunk_by).build(SUBMISSION_ENTRIES / shrunk_by)
    }

    /// Readable when a completion is there. Call inside the shard's runtime.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn watch(&self) -> io::Result<AsyncFd<File>> {
        // SAFETY: the ring owns the descriptor and is borrowed for longer than this borrow of it.
        let fd = unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) };
        watch_readable(File::from(fd.try_clone_to_owned()?))
    }

    /// What happened so far.
    pub fn counters(&self) -> RingCounters {
        let receive_buffer_full = u64::from(receive_buffer_drops(&self.socket));
        RingCounters { receive_buffer_full, ..self.counters }
    }

    /// Whether completions wait to be taken.
    pub fn has_completions(&mut self) -> bool {
        !self.ready.is_empty() || !self.ring.completion().is_empty()
    }

    /// Takes the next datagram into `out`: where from (canonical), and its length, which is over
    /// `DATAGRAM_BYTES_MAX` if it was cut. `None` when there is none yet.
    pub fn receive(&mut self, out: &mut [u8]) -> Option<(SocketAddr, usize)> {
        if self.ready.is_empty() {
            self.reap();
        }
        while let Some((slot, result)) = self.ready.pop_front() {
            let got = match usize::try_from(result) {
                Ok(bytes) => {
                    let (source, datagram) = self.receives.received(slot, bytes);
                    let bytes = datagram.len().min(out.len());
                    out[..bytes].copy_from_slice(&datagram[..bytes]);
                    source.map(|source| (canonical(source), bytes))
                }
                // The socket was empty: a receive of the burst that found nothing.
                Err(_) if result == -libc::EAGAIN => {
                    self.burst = 0;
                    None
                }
                Err(_) => {
                    self.counters.receive_failed += 1;
                    None
                }
            };
            self.receives.give_back(slot);
            if got.is_some() {
                return got;
            }
        }
        if self.waiting.is_some() {
            self.burst = 0;
        }
        None
    }

    /// Queues a datagram to `target`, which `fill` writes into a slot of `SLOT_BYTES`, giving its
    /// length. False, and counted, if every slot is on its way.
    pub fn send(&mut self, target: SocketAddr, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let slot = match self.sends.take_free() {
            Some(slot) => slot,
            None => {
                self.enter(0);
                self.reap();
                let Some(slot) = self.sends.take_free() else {
                    self.counters.send_slots_full += 1;
                    return false;
                };
                slot
            }
        };
        let bytes = fill(self.sends.bytes_mut(slot));
        let target = if self.is_ipv6 { mapped(target) } else { target };
        let message = self.sends.send_message(slot, bytes, target);
        let send = opcode::SendMsg::new(types::Fd(self.socket.as_raw_fd()), message);
        let send = send.flags(libc::MSG_DONTWAIT as u32).build().user_data(SEND | u64::from(slot));
        self.push(&send);
        true
    }

    /// Gives all that is queued to the kernel, and receives to wait for the next datagram.
    pub fn submit(&mut self) {
        if self.waiting.is_none() {
            self.waiting = self.push_receive(0);
            for _ in 0..self.burst.min(self.receives.free_count()) {
                self.push_receive(libc::MSG_DONTWAIT);
            }
            self.burst = (self.burst * 2).clamp(1, RECEIVE_SLOTS as usize);
        }
        if !self.ring.submission().is_empty() {
            self.enter(0);
        }
    }

    fn push_receive(&mut self, flags: i32) -> Option<u32> {
        let slot = self.receives.take_free()?;
        let message = self.receives.receive_message(slot);
        let receive = opcode::RecvMsg::new(types::Fd(self.socket.as_raw_fd()), message);
        self.push(&receive.flags(flags as u32).build().user_data(RECEIVE | u64::from(slot)));
        Some(slot)
    }

    fn push(&mut self, entry: &squeue::Entry) {
        if self.ring.submission().is_full() {
            self.enter(0);
        }
        // SAFETY: the entry points into `sends` or `receives` (or nowhere), whose memory lives until
        // the completion comes (`Drop` waits for it or leaks), and the slot is not free before.
        let pushed = unsafe { self.ring.submission().push(entry) };
        if pushed.is_ok() {
            self.in_flight += 1;
        } else {
            self.refused(entry.get_user_data());
        }
    }

    /// The submission queue stays full, as the kernel takes nothing: drops the entry.
    fn refused(&mut self, user_data: u64) {
        match user_data & ABOUT {
            SEND => {
                self.counters.send_slots_full += 1;
                self.sends.give_back(user_data as u32);
            }
            RECEIVE => self.ready.push_back((user_data as u32, -libc::EAGAIN)),
            _ => {}
        }
    }

    /// # Panics
    /// If the kernel finds fault with the ring itself, which only a bug here can cause.
    fn enter(&mut self, wait_for: usize) {
        match self.ring.submit_and_wait(wait_for) {
            Ok(_) => {}
            // A signal, or for the moment no memory or no room for completions: the entries stay queued.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {}
            Err(error) => panic!("io_uring_enter on the voice ring: {error}"),
        }
    }

    /// Takes every completion: frees send slots, notes receives.
    fn reap(&mut self) {
        for completion in self.ring.completion() {
            self.in_flight -= 1;
            let slot = completion.user_data() as u32;
            match completion.user_data() & ABOUT {
                SEND => {
                    self.sends.give_back(slot);
                    match -completion.result() {
                        error if error <= 0 => self.counters.sent += 1,
                        libc::EAGAIN | libc::ENOBUFS => self.counters.send_queue_full += 1,
                        _ => self.counters.send_failed += 1,
                    }
                }
                RECEIVE => {
                    if self.waiting == Some(slot) {
                        self.waiting = None;
                    }
                    self.ready.push_back((slot, completion.result()));
                }
                _ => {}
            }
        }
    }
}

impl Drop for VoiceRing {
    /// Takes the slots back from the kernel before their memory goes.
    fn drop(&mut self) {
        if let Some(slot) = self.waiting {
            self.push(&opcode::AsyncCancel::new(RECEIVE | u64::from(slot)).build().user_data(CANCEL));
        }
        // Sends do not wait and the receive is cancelled, so each round ends at least one.
        for _ in 0..COMPLETION_ENTRIES {
            if self.in_flight == 0 {
                return;
            }
            self.enter(1);
            self.reap();
        }
        self.receives.leak();
        self.sends.leak();
    }
}

/// The address without the IPv4-mapped form that a dual-stack socket shows.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(ipv4) => SocketAddrV6::new(ipv4.ip().to_ipv6_mapped(), ipv4.port(), 0, 0).into(),
        SocketAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pair() -> (VoiceRing, UdpSocket) {
        let ring = VoiceRing::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        peer.connect(ring.socket.local_addr().unwrap()).unwrap();
        (ring, peer)
    }

    /// Blocks until the next datagram is there.
    fn next(ring: &mut VoiceRing, out: &mut [u8]) -> (SocketAddr, usize) {
        loop {
            if let Some(got) = ring.receive(out) {
                return got;
            }
            ring.submit();
            if !ring.has_completions() {
                ring.enter(1);
            }
        }
    }

    /// Goal: what arrives is given with its source, and what is sent arrives. Method: echo 300
    /// datagrams of different lengths over the loopback, in batches larger than the receive slots.
    #[test]
    fn datagrams_go_both_ways() {
        let (mut ring, peer) = pair();
        let mut out = [0; 2_048];
        for batch in 0..3u8 {
            for number in 0..100u8 {
                peer.send(&vec![number; 1 + usize::from(number) + usize::from(batch)]).unwrap();
            }
            for number in 0..100u8 {
                let (source, bytes) = next(&mut ring, &mut out);
                assert_eq!(source, peer.local_addr().unwrap());
                assert_eq!(out[..bytes], vec![number; 1 + usize::from(number) + usize::from(batch)]);
                let sent = ring.send(source, |slot| {
                    slot[..bytes].copy_from_slice(&out[..bytes]);
                    bytes
                });
                assert!(sent);
            }
            ring.submit();
            for number in 0..100u8 {
                let bytes = peer.recv(&mut out).unwrap();
                assert_eq!(out[..bytes], vec![number; 1 + usize::from(number) + usize::from(batch)]);
            }
        }
        ring.reap();
        assert_eq!(ring.counters(), RingCounters { sent: 300, ..RingCounters::default() });
        assert_eq!(ring.sends.free_count(), SEND_SLOTS as usize);
    }

    /// Goal: one packet to more listeners than there are slots reaches them all, since sends finish in
    /// the enter that submits them. Method: 3,000 copies, read as they come.
    #[test]
    fn a_fan_out_may_be_larger_than_the_slots() {
        let (mut ring, peer) = pair();
        let target = peer.local_addr().unwrap();
        let reader = std::thread::spawn(move || {
            let mut out = [0; 64];
            let mut got = 0u32;
            peer.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            while got < 3_000 && peer.recv(&mut out).is_ok() {
                got += 1;
            }
            got
        });
        for number in 0..3_000u32 {
            assert!(ring.send(target, |slot| {
                slot[..4].copy_from_slice(&number.to_le_bytes());
                4
            }));
        }
        ring.submit();
        ring.reap();
        let counters = ring.counters();
        assert_eq!(counters.sent, 3_000);
        assert_eq!(counters.send_slots_full, 0);
        // The reader's socket buffer may overflow on a busy machine; the ring's part is done above.
        assert!(reader.join().unwrap() > 0);
    }

    /// Goal: a dual-stack socket hides IPv4-mapped addresses on the way in and uses them on the way
    /// out, and a datagram that is too long is seen to be.
    #[test]
    fn a_dual_stack_socket_speaks_ipv4() {
        let Ok(socket) = UdpSocket::bind("[::]:0") else {
            eprintln!("SKIPPED: this machine has no IPv6");
            return;
        };
        let port = socket.local_addr().unwrap().port();
        let mut ring = VoiceRing::new(socket).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        peer.send_to(&[7; 1_500], ("127.0.0.1", port)).unwrap();
        let mut out = [0; 2_048];
        let (source, bytes) = next(&mut ring, &mut out);
        assert_eq!(source, peer.local_addr().unwrap());
        assert!(bytes > echomesh_proto::limits::DATAGRAM_BYTES_MAX);
        assert!(ring.send(source, |slot| {
            slot[0] = 9;
            1
        }));
        ring.submit();
        assert_eq!(peer.recv(&mut out).unwrap(), 1);
    }

    /// Goal: what the system itself drops is counted. Method: more datagrams than the smallest receive buffer
    /// holds, before one is received.
    #[test]
    fn datagrams_the_system_drops_are_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(1).unwrap();
        let ring = VoiceRing::new(socket).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..200 {
            sender.send_to(&[0; 1_000], address).unwrap();
        }
        assert!(ring.counters().receive_buffer_full > 100, "{:?}", ring.counters());
    }
}
