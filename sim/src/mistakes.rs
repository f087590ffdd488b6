//! Mistakes that can be planted, in the kernels and in the simulator's part of the driver, and what is known of them.
//!
//! Without the feature `mistakes` none of this is there: kernels and driver make none.

#[cfg(feature = "mistakes")]
pub use planted::*;

/// Whether the driver forgets to wake a shard for this record of a ring.
#[cfg(not(feature = "mistakes"))]
pub const fn loses_wake_up(_record: u64) -> bool {
    false
}

#[cfg(feature = "mistakes")]
mod planted {
    use std::cell::Cell;

    /// Of so many records the driver forgets one.
    const LOST_ONE_IN: u64 = 50;

    thread_local! {
        static LOSES_WAKE_UPS: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether the driver forgets to wake a shard for this record of a ring.
    pub fn loses_wake_up(record: u64) -> bool {
        LOSES_WAKE_UPS.get() && record.is_multiple_of(LOST_ONE_IN)
    }

    /// Names of all mistakes.
    pub fn names() -> Vec<&'static str> {
        let of_kernel = echomesh_shard::mistakes::Mistake::ALL.iter().map(|mistake| mistake.as_str());
        of_kernel.chain([LOSE_WAKE_UP, NEVER_SHRINK]).collect()
    }

    const LOSE_WAKE_UP: &str = "lose-wake-up";
    const NEVER_SHRINK: &str = "never-shrink";

    /// Makes what runs in this thread make one mistake.
    pub fn plant(name: &str) {
        let of_kernel = echomesh_shard::mistakes::Mistake::ALL.iter().find(|mistake| mistake.as_str() == name);
        echomesh_shard::mistakes::plant(of_kernel.copied());
        LOSES_WAKE_UPS.set(name == LOSE_WAKE_UP);
        echomesh_playout::mistakes::never_shrink(name == NEVER_SHRINK);
    }
}
