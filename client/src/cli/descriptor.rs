//! A descriptor of somebody else's, to be waited for. In: it. Out: something to await that it can be read.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Within a runtime.
///
/// # Errors
/// The system's: it is of a kind that cannot be waited for.
pub fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(deprecated, reason = "its successor is for types whose descriptor may change; an OwnedFd keeps its own")]
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}
