//! Two things about descriptors that the standard library has no call for.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use socket2::SockRef;

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
