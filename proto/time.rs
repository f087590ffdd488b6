//! Clocks as inputs. Kernels never read one: their caller passes [`Now`].

/// Microseconds in a second.
pub const SECOND_US: u64 = 1_000_000;

/// Microseconds in a millisecond.
pub const MILLISECOND_US: u64 = 1_000;

/// A point on a monotonic clock, in microseconds since an origin of the caller's. All shards of one
/// server share the origin, so that a packet's age can be told across the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// This long after, in microseconds.
    #[must_use]
    pub fn after_us(self, us: u64) -> Time {
        Time(self.0 + us)
    }

    /// Microseconds since `earlier`; 0 if that is in the future.
    #[must_use]
    pub fn since_us(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The two clocks of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: for waits and ages.
    pub time: Time,
    /// Unix milliseconds: only for stamps that people and stores see.
    pub unix_ms: u64,
}

/// Sample clock of 48 kHz RTP media (RFC 7587 §4.1), wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MediaTime(pub u32);
