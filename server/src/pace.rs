//! When a shard looks at its voice socket: at once for each datagram, or, when it is busy, in rounds.
//!
//! Not a clock and not a timer: it is told how busy the shard was and says how to go on; `RoundTimer` is the
//! descriptor that the runtime waits for. In rounds a packet waits up to one round longer, and what came
//! meanwhile is woken for, received and sent together: several speakers' packets to one listener in one
//! message. Bounds: one decision a tick; a round is as long as the operator lets voice wait.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::uring;

/// Share of its core, in thousandths, at which a shard begins rounds, and below which it ends them. Far apart,
/// as rounds themselves make it less busy, by up to half.
const BUSY_BEGINS: u32 = 700;
const BUSY_ENDS: u32 = 250;

/// How the voice socket is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Each datagram as it comes.
    Prompt,
    /// Whatever has come, once a round.
    Rounds,
}

/// Decides on the pace.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    gathers: bool,
}

impl Pacer {
    /// Prompt at first, and always unless voice may wait.
    pub fn new(gathers: bool) -> Self {
        Self { pace: Pace::Prompt, gathers }
    }

    /// As it is now.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// The shard used this much of its core since the last time: thousandths.
    pub fn used(&mut self, busy: u32) {
        self.pace = match self.pace {
            Pace::Prompt if self.gathers && busy >= BUSY_BEGINS => Pace::Rounds,
            Pace::Rounds if busy < BUSY_ENDS => Pace::Prompt,
            pace => pace,
        };
    }
}

/// A timer that the runtime of this thread can wait for; its own are over a millisecond late.
pub struct RoundTimer {
    timer: AsyncFd<File>,
    round: Duration,
}

impl RoundTimer {
    /// A timer of rounds of this length, shorter than a second; it does not run yet.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new(round: Duration) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { timer: uring::watch_readable(File::from(timer))?, round })
    }

    /// Starts or stops the rounds.
    ///
    /// # Errors
    /// None that is expected.
    pub fn run(&self, on: bool) -> io::Result<()> {
        let nanoseconds = if on { i64::from(self.round.subsec_nanos()) } else { 0 };
        let period = Timespec { tv_sec: 0, tv_nsec: nanoseconds };
        let rounds = Itimerspec { it_interval: period, it_value: period };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &rounds)?;
        Ok(())
    }

    /// Waits for the next round.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn round(&self) -> io::Result<()> {
        let mut guard = self.timer.readable().await?;
        let mut expirations = [0; 8];
        // WouldBlock only clears the readiness. A read starts the next period.
        let _ = guard.try_io(|timer| timer.get_ref().read(&mut expirations));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: rounds begin when a shard is busy and do not end because they help.
    #[test]
    fn rounds_last_while_there_is_much_to_do() {
        let mut pacer = Pacer::new(true);
        let paces = [100, 690, 700, 400, 250, 249, 600].map(|busy| {
            pacer.used(busy);
            pacer.pace()
        });
        use Pace::{Prompt, Rounds};
        assert_eq!(paces, [Prompt, Prompt, Rounds, Rounds, Rounds, Prompt, Prompt]);
        let mut prompt = Pacer::new(false);
        prompt.used(1_000);
        assert_eq!(prompt.pace(), Prompt, "where voice may not wait it does not");
    }
}
