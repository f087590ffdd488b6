//! Messages on their way out, given to the kernel many at a time by `sendmmsg(2)`.
//!
//! Not io_uring, which does everything else here: a message through its ring costs more than one in a
//! `sendmmsg`, by a twelfth of all that a copy costs (docs/BENCHMARKS.md), and nothing is won by it, as a send that does
//! not wait is over when the call returns. Bounds: `MESSAGES` messages a call; no allocation after `Outbox::new`.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use super::slots::{Slot, Target};

/// Messages sent in one call at most: few enough to stay in a core's own cache from one batch to the next.
const MESSAGES: usize = 128;

/// What became of messages, in datagrams; each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounters {
    /// Given to the kernel.
    pub sent: u64,
    /// Their bytes, without headers of UDP and IP.
    pub sent_bytes: u64,
    /// Messages they went in: fewer, as several to one listener go in one.
    pub messages_sent: u64,
    /// Dropped since the socket's or the device's queue was full.
    pub queue_full: u64,
    /// Refused by the kernel otherwise: no route, too long for the path, firewall.
    pub failed: u64,
}

/// Messages that wait for the next call.
pub struct Outbox {
    slots: Box<[Slot]>,
    headers: Box<[libc::mmsghdr]>,
    count: usize,
    can_segment: bool,
    counters: SendCounters,
}

impl Outbox {
    pub fn new() -> Self {
        let mut slots: Box<[Slot]> = (0..MESSAGES).map(|_| Slot::new()).collect();
        let nowhere = Target::default();
        let header = |slot: &mut Slot| libc::mmsghdr { msg_hdr: slot.message_to(0, None, &nowhere), msg_len: 0 };
        let headers = slots.iter_mut().map(header).collect();
        Self { slots, headers, count: 0, can_segment: true, counters: SendCounters::default() }
    }

    /// Whether it must be sent before the next message.
    pub fn is_full(&self) -> bool {
        self.count == MESSAGES
    }

    /// Whether messages may be of several datagrams: not if a device has refused one.
    pub fn can_segment(&self) -> bool {
        self.can_segment
    }

    pub fn counters(&self) -> SendCounters {
        self.counters
    }

    /// Adds a message that `fill` writes, giving its length.
    ///
    /// # Panics
    /// If it is full: the caller's bug.
    pub fn push(&mut self, target: &Target, segment_bytes: Option<u16>, fill: impl FnOnce(&mut [u8]) -> usize) {
        let slot = &mut self.slots[self.count];
        let bytes = fill(slot.bytes_mut());
        self.headers[self.count].msg_hdr = slot.message_to(bytes, segment_bytes, target);
        self.count += 1;
    }

    /// Gives all to the kernel. What it does not take is dropped and counted: late voice is worth nothing.
    pub fn send(&mut self, socket: &UdpSocket) {
        let mut done = 0;
        while done < self.count {
            let rest = &mut self.headers[done..self.count];
            // SAFETY: as many headers as are said to be there, each of which points into its slot of `slots`, which
            // is neither moved nor touched during the call, after which the kernel has no more use for them.
            let taken = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, libc::MSG_DONTWAIT)
            };
            match usize::try_from(taken) {
                Ok(taken) if taken > 0 => {
                    self.counters.messages_sent += taken as u64;
                    self.counters.sent += self.slots[done..done + taken].iter().map(Slot::datagrams).sum::<u64>();
                    let lengths = self.headers[done..done + taken].iter().map(|header| u64::from(header.msg_len));
                    self.counters.sent_bytes += lengths.sum::<u64>();
                    done += taken;
                }
                _ => {
                    self.refused(done, io::Error::last_os_error().raw_os_error().unwrap_or_default());
                    done += 1;
                }
            }
        }
        self.count = 0;
    }

    fn refused(&mut self, message: usize, error: i32) {
        let datagrams = self.slots[message].datagrams();
        match error {
            libc::EAGAIN | libc::ENOBUFS => self.counters.queue_full += datagrams,
            _ => self.counters.failed += datagrams,
        }
        // udp(7): a device without checksum offload takes no segments.
        if self.can_segment && error == libc::EIO && datagrams > 1 {
            self.can_segment = false;
            tracing::info!(
                "a network device without checksum offload (`ethtool -K DEVICE tx on`) takes no messages of several \
                 datagrams: voice goes out one by one from now on"
            );
        }
    }
}
