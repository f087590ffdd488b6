//! The clocks that the kernels are given.

use std::time::{SystemTime, UNIX_EPOCH};

use echomesh_proto::time::{Now, Time};
use rustix::time::{ClockId, clock_gettime};

/// Microseconds of CLOCK_MONOTONIC: the same for all processes of one machine, so that two clients'
/// packet logs compare.
pub fn monotonic() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    Time(now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000)
}

/// Both clocks.
pub fn now() -> Now {
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    Now { time: monotonic(), unix_ms }
}
