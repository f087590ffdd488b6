//! How much memory a shard's connections hold, against `Limits::memory_bytes_max`.
//!
//! Counted: what is queued for them, what they sent and waits, and a constant for each. Not rooms, sessions and streams,
//! which have bounds of their own, nor what a connection that was closed has still to read, for a second at most.
//! Over three quarters, new connections are refused; over the whole, who is behind is closed.
//! Bounds: beyond the whole by `SPARED_BYTES` and one message for each connection. Cost: O(1).

use crate::config::Limits;

/// What a connection takes though it is silent: 11.4 KiB over TLS (docs/BENCHMARKS.md, idle members), a session and a
/// place in a room included.
const CONNECTION_BYTES: usize = 12 * 1024;

/// Unread bytes that close nobody: the driver writes as much at once, so a peer that reads may have them.
const SPARED_BYTES: usize = 16 * 1024;

/// What is held.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) connections: usize,
    /// Output that was not given to the system yet.
    pub(crate) queued: usize,
    /// Input that waits.
    pub(crate) buffered: usize,
}

impl Memory {
    /// Bytes that count against the limit.
    pub(crate) fn held(&self) -> usize {
        self.connections * CONNECTION_BYTES + self.queued + self.buffered
    }

    /// No new connections.
    pub(crate) fn is_short(&self, limits: &Limits) -> bool {
        limits.memory_bytes_max > 0 && self.held() > limits.memory_bytes_max / 4 * 3
    }

    /// Not even a word to them.
    pub(crate) fn is_over(&self, limits: &Limits) -> bool {
        limits.memory_bytes_max > 0 && self.held() > limits.memory_bytes_max
    }

    /// Whether a connection with so much unread, the next message included, is to be closed.
    pub(crate) fn cuts(&self, limits: &Limits, unread: usize) -> bool {
        unread > SPARED_BYTES && self.is_over(limits)
    }
}
