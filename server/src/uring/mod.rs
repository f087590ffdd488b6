//! All that needs `unsafe` at run time: the io_uring that voice goes through, and a few
//! system calls that no safe interface gives.
//!
//! Not tokio-uring, which carries TCP on the same thread: its UDP allocates for each datagram and
//! enters the kernel for each. This ring has preallocated slots and one enter for a batch.
//! Only operations of Linux 5.10 are used (`RECVMSG`).

mod descriptor;
mod outbox;
mod probe;
mod ring;
mod slots;

pub use descriptor::{attach_reuseport_filter, event_counter, local_address, set_buffers, watch_readable};
pub use probe::{Features, probe};
pub use ring::VoiceRing;
pub use slots::canonical;
pub use slots::{SLOT_BYTES, Target};
