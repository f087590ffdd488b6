//! Preallocated messages for `RECVMSG` and `sendmmsg(2)`: header, address, control data and bytes of each in
//! one place.
//!
//! A slot is free, or lent to the kernel until its completion comes; while lent it is not touched.
//! Bounds: the number of slots is fixed, and nothing here allocates after `Slots::new`.

use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ptr;

use echomesh_proto::limits::DATAGRAM_BYTES_MAX;
use echomesh_proto::rtp::HEADER_BYTES_MAX;
use echomesh_proto::srtp::TAG_BYTES;

/// Room for the longest payload under the longest header and a tag, or for several datagrams of usual
/// length one after the other. More than `DATAGRAM_BYTES_MAX`, so a datagram that is too long is seen to be.
pub const SLOT_BYTES: usize = DATAGRAM_BYTES_MAX + HEADER_BYTES_MAX + TAG_BYTES;

/// Room for one control message: a `timespec` on the way in, a `u16` on the way out.
const CONTROL_BYTES: usize = 32;

/// A socket address as the kernel wants it: `sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Target {
    bytes: [u8; mem::size_of::<libc::sockaddr_in6>()],
    length: libc::socklen_t,
}

impl Default for Target {
    fn default() -> Self {
        Self::NONE
    }
}

impl Target {
    const NONE: Self = Self { bytes: [0; mem::size_of::<libc::sockaddr_in6>()], length: 0 };

    /// For a socket of this family: a dual-stack socket takes IPv4 addresses as mapped ones.
    pub fn new(address: SocketAddr, is_ipv6: bool) -> Self {
        let mut target = Self::NONE;
        match address {
            SocketAddr::V4(address) if is_ipv6 => {
                let mapped = SocketAddrV6::new(address.ip().to_ipv6_mapped(), address.port(), 0, 0);
                return Self::new(mapped.into(), true);
            }
            // sockaddr_in (ip(7)): family, port and address in network order.
            SocketAddr::V4(address) => {
                target.bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                target.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
                target.bytes[4..8].copy_from_slice(&address.ip().octets());
                target.length = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            // sockaddr_in6 (ipv6(7)): family, port, flow information, address, scope.
            SocketAddr::V6(address) => {
                target.bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                target.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
                target.bytes[4..8].copy_from_slice(&address.flowinfo().to_be_bytes());
                target.bytes[8..24].copy_from_slice(&address.ip().octets());
                target.bytes[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
                target.length = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        target
    }

    /// What it names, [`canonical`].
    fn address(&self) -> Option<SocketAddr> {
        let family = libc::c_int::from(u16::from_ne_bytes([self.bytes[0], self.bytes[1]]));
        let port = u16::from_be_bytes([self.bytes[2], self.bytes[3]]);
        match family {
            libc::AF_INET => {
                let ip: [u8; 4] = *self.bytes[4..].first_chunk()?;
                Some(SocketAddr::from((Ipv4Addr::from(ip), port)))
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(*self.bytes[8..].first_chunk::<16>()?);
                let scope = u32::from_ne_bytes(*self.bytes[24..].first_chunk()?);
                Some(canonical(SocketAddrV6::new(ip, port, 0, scope).into()))
            }
            _ => None,
        }
    }
}

/// The address without the IPv4-mapped form that a dual-stack socket shows.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}

/// The control data of one message, aligned as its header wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// One message and all that its header points to.
pub(super) struct Slot {
    header: libc::msghdr,
    part: libc::iovec,
    name: Target,
    control: Control,
    /// Datagrams that it carries on its way out.
    datagrams: u16,
    bytes: [u8; SLOT_BYTES],
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            // SAFETY: msghdr is a C struct of integers and pointers, for which all zeros is a value.
            header: unsafe { MaybeUninit::zeroed().assume_init() },
            part: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
            name: Target::NONE,
            control: Control([0; CONTROL_BYTES]),
            datagrams: 0,
            bytes: [0; SLOT_BYTES],
        }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Datagrams that its message carries.
    pub(super) fn datagrams(&self) -> u64 {
        self.datagrams.into()
    }

    /// Makes the first `bytes` a message to `target`: one datagram, or with `segment_bytes` as many as that length
    /// goes into it, the last one shorter (`UDP_SEGMENT`, Linux 4.18). The header points into the slot: it holds as
    /// long as the slot stays where it is and is not touched.
    pub(super) fn message_to(&mut self, bytes: usize, segment_bytes: Option<u16>, target: &Target) -> libc::msghdr {
        self.name = *target;
        self.datagrams = 1;
        let mut control_bytes = 0;
        if let Some(segment_bytes) = segment_bytes {
            self.datagrams = bytes.div_ceil(usize::from(segment_bytes)) as u16;
            control_bytes = write_segment(&mut self.control.0, segment_bytes);
        }
        message(self, bytes, control_bytes);
        self.header
    }
}

/// What a completed `RECVMSG` brought.
pub struct Arrived<'a> {
    /// Where from, canonical; `None` if that is no IP address.
    pub source: Option<SocketAddr>,
    /// When the system received it: Unix time, nanoseconds.
    pub stamp_ns: Option<u64>,
    /// The datagram.
    pub bytes: &'a [u8],
}

/// A fixed number of messages.
pub struct Slots {
    slots: Box<[Slot]>,
    free: Vec<u32>,
}

impl Slots {
    pub fn new(count: u32) -> Self {
        Self { slots: (0..count).map(|_| Slot::new()).collect(), free: (0..count).rev().collect() }
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

    /// Makes the slot a message to receive into. The pointer is for one `RECVMSG`, and holds as long
    /// as `self` lives and the slot is not touched.
    pub fn receive_message(&mut self, slot: u32) -> *mut libc::msghdr {
        let slot = &mut self.slots[slot as usize];
        slot.name.length = mem::size_of_val(&slot.name.bytes) as libc::socklen_t;
        message(slot, SLOT_BYTES, CONTROL_BYTES)
    }

    /// What a completed `RECVMSG` of `bytes` brought.
    pub fn arrived(&self, slot: u32, bytes: usize) -> Arrived<'_> {
        let slot = &self.slots[slot as usize];
        let control_bytes = slot.header.msg_controllen.min(CONTROL_BYTES);
        Arrived {
            source: slot.name.address(),
            stamp_ns: read_stamp(&slot.control.0[..control_bytes]),
            bytes: &slot.bytes[..bytes.min(SLOT_BYTES)],
        }
    }

    /// Gives the memory up for good, for when the kernel may still write into it.
    pub fn leak(&mut self) {
        Box::leak(mem::take(&mut self.slots));
        self.free.clear();
    }
}

fn message(slot: &mut Slot, bytes: usize, control_bytes: usize) -> *mut libc::msghdr {
    slot.part = libc::iovec { iov_base: slot.bytes.as_mut_ptr().cast(), iov_len: bytes };
    slot.header.msg_name = slot.name.bytes.as_mut_ptr().cast();
    slot.header.msg_namelen = slot.name.length;
    slot.header.msg_iov = &raw mut slot.part;
    slot.header.msg_iovlen = 1;
    slot.header.msg_control = if control_bytes > 0 { (&raw mut slot.control).cast() } else { ptr::null_mut() };
    slot.header.msg_controllen = control_bytes as _;
    &raw mut slot.header
}

/// Bytes of a control message's head (cmsg(3)): its length, level and type, aligned as a `size_t`.
const HEAD_BYTES: usize = mem::size_of::<libc::cmsghdr>();

/// Writes one control message; returns the bytes it takes, padding included.
fn write_segment(control: &mut [u8; CONTROL_BYTES], segment_bytes: u16) -> usize {
    let length = HEAD_BYTES + mem::size_of::<u16>();
    control[..8].copy_from_slice(&(length as u64).to_ne_bytes());
    control[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    control[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    control[HEAD_BYTES..length].copy_from_slice(&segment_bytes.to_ne_bytes());
    length.next_multiple_of(8)
}

/// The stamp that `SO_TIMESTAMPNS` asked for (socket(7)): a `timespec`, the only control message asked for.
fn read_stamp(control: &[u8]) -> Option<u64> {
    let head: &[u8; HEAD_BYTES] = control.first_chunk()?;
    let level = i32::from_ne_bytes(*head[8..].first_chunk()?);
    let kind = i32::from_ne_bytes(*head[12..].first_chunk()?);
    if (level, kind) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return None;
    }
    let seconds = u64::from_ne_bytes(*control.get(HEAD_BYTES..)?.first_chunk()?);
    let nanoseconds = u64::from_ne_bytes(*control.get(HEAD_BYTES + 8..)?.first_chunk()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

// The layouts above are those of 64-bit Linux.
const _: () = assert!(HEAD_BYTES == 16 && mem::size_of::<libc::timespec>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: addresses come back from the kernel's form as they went in, IPv4 through a dual-stack socket too.
    #[test]
    fn addresses_round_trip() {
        for (text, is_ipv6) in [("192.0.2.7:8888", false), ("192.0.2.7:8888", true), ("[2001:db8::7%3]:9", true)] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Target::new(address, is_ipv6).address(), Some(address), "{text}");
        }
        assert_eq!(Target::NONE.address(), None);
    }

    /// Goal: a stamp is read, and control data that is cut or another's is no stamp.
    #[test]
    fn stamps_are_read() {
        let mut control = [0; CONTROL_BYTES];
        control[..8].copy_from_slice(&32_u64.to_ne_bytes());
        control[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        control[12..16].copy_from_slice(&libc::SCM_TIMESTAMPNS.to_ne_bytes());
        control[16..24].copy_from_slice(&7_u64.to_ne_bytes());
        control[24..].copy_from_slice(&9_u64.to_ne_bytes());
        assert_eq!(read_stamp(&control), Some(7_000_000_009));
        assert_eq!(read_stamp(&control[..24]), None);
        assert_eq!(read_stamp(&[]), None);
        control[12] ^= 1;
        assert_eq!(read_stamp(&control), None);
    }
}
