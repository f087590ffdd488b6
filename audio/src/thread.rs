//! What a thread asks of the system to be in time: real-time scheduling, memory that stays, and a floating-point
//! unit that does not stumble over numbers near zero.
//!
//! Not a thread itself. The only file of this crate with `unsafe`: system calls that have no safe binding, and
//! a processor register. None of it is needed for correct sound, only for sound in time: each step falls back
//! to the next best, and [`Rights`] says which it was.
//! Cost: some system calls when a thread begins; none after.
#![allow(unsafe_code, reason = "sched_setscheduler, mlockall and the control register have no safe interface")]

/// Priority of the threads that move samples. Below the kernel's own (50) and a desktop's sound server (PipeWire:
/// 88 of 99 in its module-rt); above all that is not real time.
pub const DEVICE_PRIORITY: i32 = 20;

/// Priority of the engine: it works for milliseconds, and the threads that move samples must not wait for it.
pub const ENGINE_PRIORITY: i32 = 18;

/// Nice value where real time is refused: what PulseAudio asks for.
const NICE: i32 = -11;

/// How a thread is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// SCHED_FIFO with this priority.
    Fifo(i32),
    /// Ordinary, but preferred.
    Nice(i32),
    /// As any other thread.
    Ordinary,
}

impl Rights {
    /// What to tell the person, once; `None` if all is as wanted.
    #[must_use]
    pub fn warning(self) -> Option<String> {
        let instead = match self {
            Rights::Fifo(_) => return None,
            Rights::Nice(nice) => format!("runs with nice {nice} instead"),
            Rights::Ordinary => "runs as an ordinary program instead".to_owned(),
        };
        Some(format!(
            "the system refuses real-time priority: sound {instead}, and may crackle when the machine is busy. To \
             allow it, write `@audio - rtprio 20` and `@audio - memlock 65536` to /etc/security/limits.d/audio.conf, \
             join that group (`sudo usermod -aG audio $USER`), and log in again"
        ))
    }
}

/// Makes the calling thread real-time, as far as the system lets it.
#[must_use]
pub fn begin_real_time(priority: i32) -> Rights {
    let granted =
        [priority, priority.min(priority_limit())].into_iter().find(|priority| *priority > 0 && fifo(*priority));
    if let Some(priority) = granted {
        return Rights::Fifo(priority);
    }
    // SAFETY: two numbers; 0 is the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } == 0 { Rights::Nice(NICE) } else { Rights::Ordinary }
}

/// Makes the calling thread ordinary again, before it does what may take long.
pub fn end_real_time() {
    let ordinary = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a parameter that lives through the call; 0 is the calling thread. It cannot be
    // refused: anyone may lower a priority.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary) };
}

fn fifo(priority: i32) -> bool {
    let wanted = libc::sched_param { sched_priority: priority };
    // A child process must not inherit it.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the pointer is to a parameter that lives through the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const wanted) == 0 }
}

/// Highest priority that limits.conf lets this user have, 0 for none.
fn priority_limit() -> i32 {
    limit(libc::RLIMIT_RTPRIO).map_or(0, |limit| i32::try_from(limit).unwrap_or(0))
}

fn limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a limit that lives through the call, for the system to fill.
    (unsafe { libc::getrlimit(resource, &raw mut limit) } == 0).then_some(limit.rlim_cur)
}

/// Keeps the process' memory from being swapped out, pages as they are first used.
///
/// What comes later is locked too only where there is no limit: else the next allocation past the limit would
/// fail.
///
/// # Errors
/// The system's, if it refuses: sound goes on, and may crackle when memory is short.
pub fn lock_memory() -> std::io::Result<()> {
    // SAFETY: no arguments; who is root is bound by no limit.
    let root = unsafe { libc::geteuid() } == 0;
    let unlimited = root || limit(libc::RLIMIT_MEMLOCK) == Some(libc::RLIM_INFINITY);
    let future = if unlimited { libc::MCL_FUTURE } else { 0 };
    // SAFETY: flags only.
    match unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_ONFAULT | future) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Lets the calling thread's floating-point unit take numbers too small for full precision for 0: filters that
/// fade out would otherwise become a hundred times slower.
pub fn flush_denormals() {
    #[cfg(target_arch = "x86_64")]
    {
        /// Flush to zero, denormals are zero (Intel SDM vol. 1, §10.2.3).
        const FLUSH: u32 = 1 << 15 | 1 << 6;
        let mut control = 0_u32;
        // SAFETY: reads and writes this thread's MXCSR by a word on the stack; the two bits exist on all of
        // x86_64, and Rust makes no use of the difference but in results near zero.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack));
            control |= FLUSH;
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack, readonly));
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        /// FZ of FPCR (Arm ARM, C5.2.8).
        const FLUSH: u64 = 1 << 24;
        let mut control: u64;
        // SAFETY: reads and writes this thread's FPCR; the bit exists on all of aarch64, and Rust makes no use of
        // the difference but in results near zero.
        unsafe {
            std::arch::asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack));
            control |= FLUSH;
            std::arch::asm!("msr fpcr, {}", in(reg) control, options(nomem, nostack));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: whatever the system grants, the thread goes on, and what is refused is told with its remedy.
    #[test]
    fn refusal_is_told_with_its_remedy() {
        let rights = begin_real_time(DEVICE_PRIORITY);
        assert_eq!(rights.warning().is_none(), matches!(rights, Rights::Fifo(_)));
        end_real_time();
        for refused in [Rights::Nice(NICE), Rights::Ordinary] {
            assert!(refused.warning().is_some_and(|text| text.contains("limits.d")));
        }
    }

    /// Goal: numbers too small for full precision are 0 on a thread that asked for it, and on no other.
    #[test]
    fn denormals_are_flushed_on_this_thread_only() {
        let smallest = || std::hint::black_box(f32::MIN_POSITIVE) * std::hint::black_box(0.5);
        let flushed = std::thread::spawn(move || {
            flush_denormals();
            smallest()
        });
        assert_eq!(flushed.join().unwrap(), 0.0);
        assert!(smallest() > 0.0);
    }
}
