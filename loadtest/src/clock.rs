//! The clocks: real time for latency, monotonic for sessions, processor time for costs.
//!
//! Latency is measured on the real-time clock because that is the one the kernel stamps datagrams with; a clock
//! that is stepped during a run shows as an outlier.

use echomesh_proto::time::{Now, Time};
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds in a second, millisecond and microsecond.
pub const SECOND: u64 = 1_000_000_000;
pub const MILLISECOND: u64 = 1_000_000;
pub const MICROSECOND: u64 = 1_000;

/// Nanoseconds of this many seconds.
#[must_use]
pub fn seconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

fn read(clock: ClockId) -> u64 {
    // These clocks are always there; a time before the epoch is 0.
    clock_gettime(clock).map_or(0, |time| time.tv_sec() as u64 * SECOND + time.tv_nsec() as u64)
}

/// Nanoseconds of CLOCK_REALTIME.
#[must_use]
pub fn real() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

/// Nanoseconds of processor time that this process has used.
#[must_use]
pub fn process() -> u64 {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

/// Nanoseconds of processor time that this thread has used.
#[must_use]
pub fn thread() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// What a session is given.
#[must_use]
pub fn now() -> Now {
    Now { time: Time(read(ClockId::CLOCK_MONOTONIC) / MICROSECOND), unix_ms: real() / MILLISECOND }
}
