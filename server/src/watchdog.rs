//! Sees a shard that stands still, and says where.
//!
//! Each shard leaves a pulse: when it ticked last, and what it is doing. The main thread looks at the pulses. A shard
//! that stands still is logged with what it was doing and what the system says of its thread; one that does so for
//! [`GIVE_UP`] ends the process, since a server with a dead shard looks alive and is not: acknowledged chat is
//! stored, and sessions come back after the start. Under systemd the watchdog is told that all is well only while it is.
//! Not seen: a time in which the whole process stood still (suspended, stopped by SIGSTOP), which is logged as that.
//! Cost to a shard: a relaxed store into a line of its own for each input.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use echomesh_shard::{Input, TICK_US};

/// A shard that has not ticked for so long stands still.
const STALL: Duration = Duration::from_micros(10 * TICK_US);

/// One that stands still for so long will not go on.
const GIVE_UP: Duration = Duration::from_secs(30);

/// What a shard is doing, for who asks why it stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Doing {
    /// Nothing of the kernel's: TLS, sockets, or it waits.
    Outside,
    /// A connection that came or went.
    Connection,
    /// Bytes of a connection.
    Bytes,
    /// A datagram, or voice of another shard.
    Voice,
    /// A message of another shard.
    Mesh,
    /// An answer of the store or the hashers.
    Answer,
    /// Its deadlines.
    Tick,
    /// Its end.
    End,
    /// Datagrams are given to the system.
    Sending,
    /// Settings that changed.
    Settings,
}

const DOINGS: [(Doing, &str); 10] = [
    (Doing::Outside, "outside the kernel (TLS, sockets, waiting)"),
    (Doing::Connection, "taking in or ending a connection"),
    (Doing::Bytes, "serving a connection's bytes"),
    (Doing::Voice, "forwarding voice"),
    (Doing::Mesh, "serving another shard's message"),
    (Doing::Answer, "going on with an answer of the store or the hashers"),
    (Doing::Tick, "at its tick"),
    (Doing::End, "ending"),
    (Doing::Sending, "giving datagrams to the system"),
    (Doing::Settings, "taking changed settings"),
];

impl Doing {
    /// What an input makes the shard do.
    pub fn of(input: &Input<'_>) -> Self {
        match input {
            Input::Accepted { .. } | Input::Opened { .. } | Input::Closed { .. } => Self::Connection,
            Input::Bytes { .. } | Input::Drained { .. } => Self::Bytes,
            Input::Datagram { .. } | Input::MeshVoice { .. } => Self::Voice,
            Input::MeshControl { .. } | Input::RingFree { .. } => Self::Mesh,
            Input::Store(_) | Input::Hash(_) => Self::Answer,
            Input::Tick => Self::Tick,
            Input::Settings(_) => Self::Settings,
            Input::Drain | Input::Shutdown => Self::End,
        }
    }
}

/// In the place of a time: its silence means nothing any more.
const ENDED: u64 = u64::MAX;

/// What one shard leaves. Two cache lines of alignment, so that shards do not share any.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Pulse {
    /// Of the last tick, milliseconds since the start; 0 before the first, `ENDED` after the last.
    ticked_ms: AtomicU64,
    doing: AtomicU8,
    thread: AtomicU64,
    /// How often it was found standing still; the watchdog's to write.
    stalls: AtomicU64,
}

impl Pulse {
    /// The shard runs on the thread that calls.
    pub fn begin(&self) {
        self.thread.store(rustix::thread::gettid().as_raw_nonzero().get() as u64, Ordering::Relaxed);
    }

    /// The shard begins something.
    pub fn doing(&self, doing: Doing) {
        self.doing.store(doing as u8, Ordering::Relaxed);
    }

    /// The shard has ticked.
    pub fn tick(&self, since_start: Duration) {
        self.ticked_ms.store(since_start.as_millis() as u64, Ordering::Relaxed);
    }

    /// The shard has ended.
    pub fn end(&self) {
        self.ticked_ms.store(ENDED, Ordering::Relaxed);
    }

    /// How often it was found standing still.
    pub fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    /// Since its last tick; nothing once it has ended.
    pub fn still_for(&self, now: Duration) -> Duration {
        match self.ticked_ms.load(Ordering::Relaxed) {
            ENDED => Duration::ZERO,
            ticked => now.saturating_sub(Duration::from_millis(ticked)),
        }
    }

    fn place(&self) -> Place {
        let doing = self.doing.load(Ordering::Relaxed);
        let told = DOINGS.iter().find(|(known, _)| *known as u8 == doing).map_or("?", |(_, told)| *told);
        Place { doing: told, thread: ThreadState::read(self.thread.load(Ordering::Relaxed)) }
    }
}

/// Where a shard stands.
#[derive(Debug)]
struct Place {
    doing: &'static str,
    thread: Option<ThreadState>,
}

/// What the system says of a thread.
#[derive(Debug)]
struct ThreadState {
    state: char,
    /// The system call it is in, and its arguments, or "running".
    system_call: String,
}

impl ThreadState {
    fn read(thread: u64) -> Option<Self> {
        let of = |file| std::fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).ok();
        let stat = of("stat")?;
        // The name before it may hold anything.
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        Some(Self { state, system_call: of("syscall").unwrap_or_default().trim().to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.doing)?;
        let Some(ThreadState { state, system_call }) = &self.thread else { return Ok(()) };
        let told = match state {
            'R' => "runs",
            'S' => "sleeps",
            'D' => "waits for a device",
            'T' | 't' => "is stopped",
            _ => "is in an unknown state",
        };
        write!(f, "; its thread {told}")?;
        if !system_call.is_empty() && system_call != "running" {
            write!(f, " in system call {system_call}")?;
        }
        Ok(())
    }
}

/// What a look at the pulses found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All shards tick.
    Well,
    /// One stands still.
    Stalled,
    /// One will not go on.
    Dead,
}

/// Looks at the pulses, on the main thread.
#[derive(Debug)]
pub struct Watchdog {
    pulses: Vec<Arc<Pulse>>,
    started: Instant,
    looked: Option<Duration>,
    /// When the whole server went on after it stood still: no shard is accused of the time before.
    excused_until: Duration,
    /// How long each shard has stood still, when it was logged last.
    logged: Vec<Option<Duration>>,
}

impl Watchdog {
    /// For the shards of these pulses, whose clock began at `started`.
    pub fn new(pulses: Vec<Arc<Pulse>>, started: Instant) -> Self {
        let logged = vec![None; pulses.len()];
        Self { pulses, started, looked: None, excused_until: Duration::ZERO, logged }
    }

    /// One look. Call it several times in [`STALL`].
    pub fn look(&mut self) -> Health {
        self.look_at(self.started.elapsed())
    }

    fn look_at(&mut self, now: Duration) -> Health {
        let away = self.looked.replace(now).map_or(Duration::ZERO, |looked| now.saturating_sub(looked));
        if away >= STALL {
            tracing::warn!(
                ms = away.as_millis() as u64,
                "the whole server stood still: suspended, or short of processor"
            );
            // The shards have not had their turn either, and some need a while to catch up.
            self.excused_until = now;
            return Health::Well;
        }
        let mut health = Health::Well;
        for (shard, (pulse, logged)) in self.pulses.iter().zip(&mut self.logged).enumerate() {
            let still = pulse.still_for(now).min(now - self.excused_until);
            if still < STALL {
                if let Some(before) = logged.take() {
                    tracing::warn!(shard, ms = before.as_millis() as u64, "the shard goes on, after at least so long");
                }
                continue;
            }
            // Ever more rarely: the log shall not drown what happened before.
            if logged.is_none() {
                pulse.stalls.fetch_add(1, Ordering::Relaxed);
            }
            if logged.is_none_or(|before| still >= 2 * before) {
                tracing::error!(shard, ms = still.as_millis() as u64, "the shard stands still: {}", pulse.place());
                *logged = Some(still);
            }
            health = if still >= GIVE_UP || health == Health::Dead { Health::Dead } else { Health::Stalled };
        }
        health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn watched(shards: usize) -> (Vec<Arc<Pulse>>, Watchdog) {
        let pulses: Vec<Arc<Pulse>> = (0..shards).map(|_| Arc::default()).collect();
        (pulses.clone(), Watchdog::new(pulses, Instant::now()))
    }

    /// Goal: a shard that stands still is seen within a look, told apart from the others, and given up in the end.
    #[test]
    fn a_still_shard_is_seen() {
        let (pulses, mut watchdog) = watched(2);
        let mut found = Vec::new();
        for ms in (0..32_000).step_by(100) {
            pulses[0].tick(at(ms));
            if ms <= 1_000 {
                pulses[1].tick(at(ms));
            }
            found.push(watchdog.look_at(at(ms)));
        }
        let first = |health| found.iter().position(|found| *found == health).map(|at| at * 100);
        assert_eq!((first(Health::Stalled), first(Health::Dead)), (Some(1_500), Some(31_000)));
        assert_eq!([pulses[0].stalls(), pulses[1].stalls()], [0, 1]);
        pulses[1].tick(at(32_000));
        assert_eq!(watchdog.look_at(at(32_000)), Health::Well);
    }

    /// Goal: a shard that never comes to its first tick is seen, too.
    #[test]
    fn a_shard_that_does_not_begin_is_seen() {
        let (_pulses, mut watchdog) = watched(1);
        assert_eq!(watchdog.look_at(at(400)), Health::Well);
        assert_eq!(watchdog.look_at(at(600)), Health::Stalled);
    }

    /// Goal: after the machine slept no shard is accused, and one that ended is not either.
    #[test]
    fn a_sleep_of_the_machine_is_nobodys_fault() {
        let (pulses, mut watchdog) = watched(1);
        pulses[0].tick(at(0));
        assert_eq!(watchdog.look_at(at(100)), Health::Well);
        assert_eq!(watchdog.look_at(at(3_600_000)), Health::Well);
        // It catches up, and has not ticked yet.
        assert_eq!(watchdog.look_at(at(3_600_400)), Health::Well);
        assert_eq!(watchdog.look_at(at(3_600_600)), Health::Stalled);
        pulses[0].end();
        for ms in (3_600_700..3_700_000).step_by(100) {
            assert_eq!(watchdog.look_at(at(ms)), Health::Well);
        }
    }

    /// Goal: the log says what the shard was doing and in what system call its thread is.
    #[test]
    fn the_place_is_told() {
        let pulse = Arc::new(Pulse::default());
        let (began, wait) = (std::sync::Barrier::new(2), std::sync::Mutex::new(()));
        let held = wait.lock().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pulse.begin();
                pulse.doing(Doing::Bytes);
                began.wait();
                drop(wait.lock());
            });
            began.wait();
            loop {
                let place = pulse.place().to_string();
                assert!(place.starts_with("serving a connection's bytes; its thread "), "{place}");
                if place.contains("sleeps") {
                    break;
                }
                std::thread::yield_now();
            }
            drop(held);
        });
    }
}
