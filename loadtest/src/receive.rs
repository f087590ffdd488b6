//! Datagrams off a socket, several a system call, each with the time the kernel got it.
//!
//! Not a decoder. In: a socket. Out: `each(bytes, stamp)`, nanoseconds of the real-time clock.
//! Bounds: `BATCH` datagrams a call, buffers allocated once. Cost: the system call, and nothing on the heap.

use std::cell::RefCell;
use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use echomesh_proto::limits::DATAGRAM_BYTES_MAX;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, recvmmsg};
use nix::sys::time::TimeSpec;

use crate::clock::{self, SECOND};

/// Most datagrams a call. Each that is asked for costs a header to prepare, and most sockets have one or two: so
/// the first call asks for `FIRST`, and one that came back full is followed by one for `BATCH`.
const BATCH: usize = 64;
const FIRST: usize = 4;

/// Room for one datagram, bytes: one more than is allowed, so that a longer one shows, and whole cache lines.
const SLOT: usize = (DATAGRAM_BYTES_MAX + 1).next_multiple_of(64);

/// Buffers of one thread: the kernel's headers point into them, so they stay on it.
struct Receiver {
    headers: MultiHeaders<()>,
    buffer: Box<[u8]>,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(TimeSpec))),
            buffer: vec![0; BATCH * SLOT].into_boxed_slice(),
        }
    }
}

thread_local! {
    static RECEIVER: RefCell<Receiver> = RefCell::default();
}

/// Takes all that waits on `socket`. `each` must not drain another.
pub fn drain(socket: &UdpSocket, each: impl FnMut(&[u8], u64)) {
    RECEIVER.with_borrow_mut(|receiver| receiver.drain(socket, each));
}

impl Receiver {
    fn drain(&mut self, socket: &UdpSocket, mut each: impl FnMut(&[u8], u64)) {
        if self.once::<FIRST>(socket, &mut each) == FIRST {
            while self.once::<BATCH>(socket, &mut each) == BATCH {}
        }
    }

    fn once<const MOST: usize>(&mut self, socket: &UdpSocket, each: &mut impl FnMut(&[u8], u64)) -> usize {
        let mut slots = self.buffer.chunks_exact_mut(SLOT);
        let mut slices: [[IoSliceMut<'_>; 1]; MOST] =
            std::array::from_fn(|_| [IoSliceMut::new(slots.next().expect("there are BATCH slots"))]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages = match recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(messages) => messages,
            // Nothing there; or an ICMP answer to an earlier datagram, which this has taken.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return 0,
            Err(_) => return 0,
        };
        let mut count = 0;
        for message in messages {
            count += 1;
            let stamp = message.cmsgs().ok().and_then(|mut list| {
                list.find_map(|of| match of {
                    ControlMessageOwned::ScmTimestampns(time) => {
                        Some(time.tv_sec() as u64 * SECOND + time.tv_nsec() as u64)
                    }
                    _ => None,
                })
            });
            if let Some(bytes) = message.iovs().next() {
                each(bytes, stamp.unwrap_or_else(clock::real));
            }
        }
        count
    }
}
