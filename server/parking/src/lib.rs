//! Whether a thread sleeps, so that who gives it work knows when to wake it.
//!
//! Not the sleeping (an eventfd or a condition variable does it) and not the work (it is in lock-free rings).
//! The rule that loses no wake-up: a producer publishes, then asks [`Parking::must_wake`]; the sleeper calls
//! [`Parking::announce`], then looks once more for work, then sleeps. Between the two there is a full fence on each
//! side, so either the sleeper sees the work or the producer sees the flag. `tests/loom.rs` tries every
//! interleaving of it that the memory model allows.
//! Cost: to a thread that is awake, one fence and one load.
#![forbid(unsafe_code)]

#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicBool, Ordering, fence};

/// The flag of one sleeper, seen by all its producers.
#[derive(Debug)]
pub struct Parking {
    sleeping: AtomicBool,
}

impl Default for Parking {
    fn default() -> Self {
        Self { sleeping: AtomicBool::new(false) }
    }
}

impl Parking {
    /// By a producer, after its work is published: whether it has to wake the sleeper. Of many producers one is
    /// told so.
    pub fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sleeping.load(Ordering::Relaxed)
            && self.sleeping.compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// By the sleeper: from here on producers wake it. It must look for work once more before it sleeps.
    pub fn announce(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// By the sleeper: there was work after all, or it woke; producers need not wake it.
    pub fn stay_awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    /// Goal: a thread that is awake is not woken, and a sleeping one once for many producers.
    #[test]
    fn only_a_sleeper_is_woken_and_once() {
        let parking = Parking::default();
        assert!(!parking.must_wake());
        parking.announce();
        assert!(parking.must_wake());
        assert!(!parking.must_wake());
        parking.announce();
        parking.stay_awake();
        assert!(!parking.must_wake());
    }
}
