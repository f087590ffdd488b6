//! How other threads wake a shard that sleeps: an eventfd, and a flag that tells whether it sleeps.
//!
//! The rule that loses no wake-up is [`Parking`]'s: a producer publishes, then calls `signal`; the shard announces
//! that it will sleep, then looks once more for work, then sleeps.
//! Cost: awake, one fence and one load; asleep, one write to the eventfd for the first producer.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use echomesh_parking::Parking;
use tokio::io::unix::AsyncFd;

use crate::uring;

/// The bell of one shard; anybody may ring it.
#[derive(Debug)]
pub struct Wake {
    parking: Parking,
    event: File,
}

impl Wake {
    /// A bell for one shard.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { parking: Parking::default(), event: uring::event_counter()? })
    }

    /// Wakes the shard if it sleeps; says whether it did. Call after the work is published.
    pub fn signal(&self) -> bool {
        let sleeps = self.parking.must_wake();
        if sleeps {
            // It can only fail when the counter is full, and then the shard is being woken anyway.
            let _ = (&self.event).write(&1u64.to_ne_bytes());
        }
        sleeps
    }

    /// The side of the shard, on its own thread and inside its runtime.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn sleeper(self: &Arc<Self>) -> io::Result<Sleeper> {
        let event = uring::watch_readable(self.event.try_clone()?)?;
        Ok(Sleeper { wake: self.clone(), event })
    }
}

/// The shard's side of a [`Wake`].
#[derive(Debug)]
pub struct Sleeper {
    wake: Arc<Wake>,
    event: AsyncFd<File>,
}

impl Sleeper {
    /// From here on producers signal. Look for work once more before `sleep`.
    pub fn announce(&self) {
        self.wake.parking.announce();
    }

    /// There was work after all: producers need not signal.
    pub fn stay_awake(&self) {
        self.wake.parking.stay_awake();
    }

    /// Waits for a signal since `announce`; may return without one.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn sleep(&self) -> io::Result<()> {
        let mut guard = self.event.readable().await?;
        let mut count = [0; 8];
        // WouldBlock only clears the readiness: the signal was taken by an earlier read.
        let _ = guard.try_io(|event| event.get_ref().read(&mut count));
        self.stay_awake();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no wake-up is lost however producers and the sleeper interleave. Method: two producers
    /// push 20,000 numbers each one by one, signalling after each; the sleeper sleeps whenever its
    /// rings are empty. A lost signal would hang the test.
    #[test]
    fn no_wake_up_is_lost() {
        const COUNT: u32 = 20_000;
        let wake = Arc::new(Wake::new().unwrap());
        let mut rings = Vec::new();
        let producers: Vec<_> = (0..2)
            .map(|_| {
                let (mut producer, consumer) = rtrb::RingBuffer::new(64);
                rings.push(consumer);
                let wake = wake.clone();
                std::thread::spawn(move || {
                    for number in 0..COUNT {
                        while producer.push(number).is_err() {
                            std::thread::yield_now();
                        }
                        wake.signal();
                    }
                })
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let mut next = [0; 2];
        runtime.block_on(async {
            let sleeper = wake.sleeper().unwrap();
            while next != [COUNT; 2] {
                sleeper.announce();
                let before = next;
                for (ring, next) in rings.iter_mut().zip(&mut next) {
                    while let Ok(number) = ring.pop() {
                        assert_eq!(number, *next);
                        *next += 1;
                    }
                }
                if next == before {
                    sleeper.sleep().await.unwrap();
                } else {
                    sleeper.stay_awake();
                }
            }
        });
        producers.into_iter().for_each(|producer| producer.join().unwrap());
    }

    /// Goal: a shard that is awake is not signalled, and a sleeping one once for many signals.
    #[test]
    fn only_a_sleeper_is_signalled_and_once() {
        let wake = Wake::new().unwrap();
        let mut count = [0; 8];
        wake.signal();
        assert_eq!((&wake.event).read(&mut count).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        wake.parking.announce();
        wake.signal();
        wake.signal();
        assert_eq!((&wake.event).read(&mut count).unwrap(), 8);
        assert_eq!(u64::from_ne_bytes(count), 1);
    }
}
