//! Preallocated messages for `RECVMSG` and `SENDMSG`: header, address and bytes of each in one place.
//!
//! A slot is free, or lent to the kernel until its completion comes; while lent it is not touched.
//! Bounds: the number of slots is fixed, and nothing here allocates after `Slots::new`.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ptr;

use echomesh_proto::limits::DATAGRAM_BYTES_MAX;
use echomesh_proto::rtp::HEADER_BYTES_MAX;
use echomesh_proto::srtp::TAG_BYTES;
use socket2::{SockAddr, SockAddrStorage};

/// Room for the longest payload under the longest header and a tag. More than `DATAGRAM_BYTES_MAX`, so
/// a datagram that is too long is seen to be.
pub const SLOT_BYTES: usize = DATAGRAM_BYTES_MAX + HEADER_BYTES_MAX + TAG_BYTES;

/// One message and all that its header points to.
struct Slot {
    header: libc::msghdr,
    part: libc::iovec,
    address: SockAddrStorage,
    bytes: [u8; SLOT_BYTES],
}

/// A fixed number of messages.
pub struct Slots {
    slots: Box<[Slot]>,
    free: Vec<u32>,
}

impl Slots {
    pub fn new(count: u32) -> Self {
        let slot = || Slot {
            // SAFETY: msghdr is a C struct of integers and pointers, for which all zeros is a value.
            header: unsafe { MaybeUninit::zeroed().assume_init() },
            part: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
            address: SockAddrStorage::zeroed(),
            bytes: [0; SLOT_BYTES],
        };
        Self { slots: (0..count).map(|_| slot()).collect(), free: (0..count).rev().collect() }
    }

    pub fn take_free(&mut self) -> Option<u32> {
        self.free.pop()
    }

    pub fn give_back(&mut self, slot: u32) {
        self.free.push(slot);
    }

    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    pub fn bytes_mut(&mut self, slot: u32) -> &mut [u8] {
        &mut self.slots[slot as usize].bytes
    }

    /// Makes the slot a message to receive into. The pointer is for one `RECVMSG`, and holds as long
    /// as `self` lives and the slot is not touched.
    pub fn receive_message(&mut self, slot: u32) -> *mut libc::msghdr {
        let address_bytes = self.slots[slot as usize].address.size_of();
        self.message(slot, SLOT_BYTES, address_bytes)
    }

    /// Makes the slot's first `bytes` a message to `target`. The pointer is for one `SENDMSG`, and
    /// holds as long as `self` lives and the slot is not touched.
    pub fn send_message(&mut self, slot: u32, bytes: usize, target: SocketAddr) -> *const libc::msghdr {
        let address = SockAddr::from(target);
        let address_bytes = address.len();
        self.slots[slot as usize].address = address.as_storage();
        self.message(slot, bytes, address_bytes)
    }

    fn message(&mut self, slot: u32, bytes: usize, address_bytes: libc::socklen_t) -> *mut libc::msghdr {
        let slot = &mut self.slots[slot as usize];
        slot.part = libc::iovec { iov_base: slot.bytes.as_mut_ptr().cast(), iov_len: bytes };
        slot.header.msg_name = (&raw mut slot.address).cast();
        slot.header.msg_namelen = address_bytes;
        slot.header.msg_iov = &raw mut slot.part;
        slot.header.msg_iovlen = 1;
        &raw mut slot.header
    }

    /// What a completed `RECVMSG` brought: where from, and the bytes.
    pub fn received(&self, slot: u32, bytes: usize) -> (Option<SocketAddr>, &[u8]) {
        let slot = &self.slots[slot as usize];
        // SAFETY: plain C data, initialised (zeroed at first), and copied.
        let storage = unsafe { ptr::read(&slot.address) };
        // SAFETY: the kernel wrote an address of msg_namelen bytes into it, as recvmsg(2) says.
        let address = unsafe { SockAddr::new(storage, slot.header.msg_namelen) };
        (address.as_socket(), &slot.bytes[..bytes.min(SLOT_BYTES)])
    }

    /// Gives the memory up for good, for when the kernel may still write into it.
    pub fn leak(&mut self) {
        Box::leak(std::mem::take(&mut self.slots));
        self.free.clear();
    }
}
