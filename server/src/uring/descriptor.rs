//! System calls on descriptors for which there is no safe interface.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A new eventfd, non-blocking: writing 8 bytes adds to a counter, reading takes it.
///
/// # Errors
/// The process or the machine is out of descriptors.
pub fn event_counter() -> io::Result<File> {
    // SAFETY: eventfd takes no pointers; a negative result is not used as a descriptor.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above has just made this descriptor and nothing else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Lets the runtime of this thread watch a descriptor, which it closes when dropped.
///
/// # Errors
/// The descriptor cannot be watched, or there is no room to watch it.
pub fn watch_readable(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a File owns its descriptor and gives the same one for as long as it lives, and the
    // AsyncFd owns the File.
    unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) }.map_err(io::Error::from)
}

/// The address at our end of an accepted connection.
///
/// # Errors
/// The peer is gone already.
pub fn local_address(stream: &tokio_uring::net::TcpStream) -> io::Result<SocketAddr> {
    // SAFETY: `stream` owns the descriptor and is borrowed for longer than this borrow of it.
    let fd = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    let address = SockRef::from(&fd).local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::other("a TCP socket without an IP address"))
}

/// Has the system stamp each datagram of this socket with the time it was received (`SO_TIMESTAMPNS`, socket(7)).
///
/// # Errors
/// None that is expected of a socket.
pub fn stamp_datagrams(socket: &UdpSocket) -> io::Result<()> {
    set_option(socket, libc::SO_TIMESTAMPNS, 1)
}

/// Gives a socket buffers of this size, past the system's limit if this process may (`SO_RCVBUFFORCE`, socket(7)).
///
/// # Errors
/// None that is expected of a socket.
pub fn set_buffers(socket: &impl AsRawFd, bytes: libc::c_int) -> io::Result<()> {
    for (forced, asked) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
        set_option(socket, forced, bytes).or_else(|_| set_option(socket, asked, bytes))?;
    }
    Ok(())
}

/// Sets an option of the socket itself whose value is an int.
fn set_option(socket: &impl AsRawFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option is an int, which the system copies during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Entries of SO_MEMINFO, and which of them counts datagrams that found the receive buffer full
/// (linux/sock_diag.h; Linux 4.12).
const MEMINFO_ENTRIES: usize = 9;
const MEMINFO_DROPS: usize = 8;

/// Datagrams that the system dropped because this socket's receive buffer was full; 0 if it cannot tell. Wraps at
/// 2^32.
pub fn receive_buffer_drops(socket: &UdpSocket) -> u32 {
    let mut entries = [0_u32; MEMINFO_ENTRIES];
    let mut bytes = size_of_val(&entries) as libc::socklen_t;
    // SAFETY: the system writes at most `bytes` bytes into `entries`, which has as many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            entries.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if result == 0 { entries[MEMINFO_DROPS] } else { 0 }
}

/// Gives the reuseport group of `socket` a classic BPF program that picks the receiving socket: it
/// returns the socket's place in the group, in the order of binding (socket(7), Linux 4.5).
///
/// # Errors
/// The program is not valid, or the socket is in no group.
pub fn attach_reuseport_filter(socket: &UdpSocket, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let length = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: `filter` points at `len` instructions, which the kernel copies during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
