//! The rule of the devices' threads, checked: no allocation, no system call but ALSA's and one write to the
//! engine's bell, on the paths of every fault too.
//!
//! Method: malloc and its kin are stood in for by counting ones, C's included; a seccomp filter on the thread lets
//! pass what is allowed and raises SIGSYS for the rest. A lock that nobody else holds shows in neither; one that
//! somebody holds is a futex call. ALSA's calls are played by a script that fails as devices do; then the real
//! library runs its `null` device, which has no driver below it. A sound server's plugin has threads and locks of
//! its own, and is not what this is about.
//! Each check is also run with a `Vec`, and with a `getppid`, planted where a period is awaited: it turns red.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../server/shard/tests/allocations/alloc.rs"]
mod alloc;
mod script;

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use echomesh_audio::alsa::device::Ended;
use echomesh_audio::alsa::open::open;
use echomesh_audio::alsa::playback::{Lead, Rings};
use echomesh_audio::alsa::port::{AlsaPort, Fault};
use echomesh_audio::alsa::shared::{Bell, DeviceEvent, ReportEnd, ThreadEnd, ends};
use echomesh_audio::alsa::{Direction, capture, playback};
use rtrb::RingBuffer;
use script::{PERIOD, Script, Step};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Samples of the engine's tick.
const TICK: usize = 480;

/// What a loop did, and what came of it.
struct Verdict {
    found: Found,
    reports: ReportEnd,
    /// Captured, or given back as written.
    samples: Vec<i16>,
}

impl Verdict {
    fn keeps_the_rule(&self) {
        let Found { allocations, forbidden_calls, .. } = self.found;
        assert_eq!((allocations, forbidden_calls), (0, false), "allocations, and forbidden system calls");
    }

    fn events(&mut self) -> Vec<DeviceEvent> {
        std::iter::from_fn(|| self.reports.events.pop().ok()).collect()
    }
}

/// Lets pass the clock (which is no call where the processor has one), the bell, and what ends the thread.
fn filter(bell: &Bell, alsa: &[libc::c_long]) -> BpfProgram {
    let bell = bell.descriptor().as_raw_fd() as u64;
    let to_bell = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, bell).unwrap();
    let mut rules = BTreeMap::from([(libc::SYS_write, vec![SeccompRule::new(vec![to_bell]).unwrap()])]);
    let always = [libc::SYS_clock_gettime, libc::SYS_rt_sigreturn, libc::SYS_exit];
    rules.extend(always.iter().chain(alsa).map(|call| (*call, Vec::new())));
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, architecture).unwrap();
    filter.try_into().unwrap()
}

/// What a loop did while it was watched.
struct Found {
    ended: Ended,
    allocations: u64,
    forbidden_calls: bool,
}

/// Watches one loop on the thread it is made for.
struct Watch {
    program: BpfProgram,
    trapped: Arc<AtomicBool>,
}

impl Watch {
    fn around(self, run: impl FnOnce() -> Ended) -> Found {
        seccompiler::apply_filter(&self.program).unwrap();
        self.trapped.store(false, Ordering::SeqCst);
        let before = alloc::count();
        let ended = run();
        let allocations = alloc::count() - before;
        Found { ended, allocations, forbidden_calls: self.trapped.load(Ordering::SeqCst) }
    }
}

/// One at a time: a signal does not say whose thread it was for.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a loop on a thread of its own, under the filter. What the thread does at its end is kept from the system
/// too, which does no harm: it is joined by the kernel's word, not by its own.
fn audited(
    direction: Direction,
    alsa: &[libc::c_long],
    run: impl FnOnce(&mut ThreadEnd, Watch) -> Found + Send + 'static,
) -> (Found, ReportEnd) {
    // A check that failed holds nothing back.
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let trapped = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(libc::SIGSYS, trapped.clone()).unwrap();
    let bell = Bell::new().unwrap();
    let watch = Watch { program: filter(&bell, alsa), trapped };
    let (mut end, reports) = ends(direction, &bell);
    let found = std::thread::spawn(move || run(&mut end, watch)).join().unwrap();
    drop(alone);
    (found, reports)
}

/// What is run.
enum Device {
    Script(Script),
    /// ALSA's device that takes and gives at once.
    Null,
}

impl From<Vec<Step>> for Device {
    fn from(steps: Vec<Step>) -> Self {
        Device::Script(Script::new(steps))
    }
}

fn run_capture(device: impl Into<Device>, alsa: &[libc::c_long]) -> Verdict {
    let device = device.into();
    let (mut producer, mut consumer) = RingBuffer::new(1 << 18);
    let mut samples = vec![0; PERIOD];
    let (found, reports) = audited(Direction::Capture, alsa, move |end, watch| match device {
        Device::Script(mut port) => watch.around(|| capture::run(&mut port, &mut producer, &mut samples, TICK, end)),
        Device::Null => {
            let opened = open("null", Direction::Capture, 5_000).unwrap();
            let mut port = AlsaPort::new(&opened).ok().unwrap();
            watch.around(|| capture::run(&mut port, &mut producer, &mut samples, TICK, end))
        }
    });
    Verdict { found, reports, samples: std::iter::from_fn(|| consumer.pop().ok()).collect() }
}

fn run_playback(device: impl Into<Device>, sound: &[i16], alsa: &[libc::c_long]) -> Verdict {
    run_playback_with(Lead { periods: 3, may_grow: true }, device, sound, alsa)
}

fn run_playback_with(lead: Lead, device: impl Into<Device>, sound: &[i16], alsa: &[libc::c_long]) -> Verdict {
    let device = device.into();
    let (mut producer, mut consumer) = RingBuffer::new(1 << 18);
    let (mut written, mut was_written) = RingBuffer::new(1 << 18);
    sound.iter().for_each(|sample| producer.push(*sample).unwrap());
    let mut samples = vec![0; PERIOD];
    let (found, reports) = audited(Direction::Playback, alsa, move |end, watch| {
        let rings = Rings { sound: &mut consumer, written: &mut written };
        match device {
            Device::Script(mut port) => watch.around(|| playback::run(&mut port, rings, &mut samples, lead, end)),
            Device::Null => {
                let opened = open("null", Direction::Playback, 5_000).unwrap();
                let mut port = AlsaPort::new(&opened).ok().unwrap();
                watch.around(|| playback::run(&mut port, rings, &mut samples, lead, end))
            }
        }
    });
    Verdict { found, reports, samples: std::iter::from_fn(|| was_written.pop().ok()).collect() }
}

/// Every kind of turn: periods, an empty wait, each fault that is recovered from, and again periods.
fn bad_day() -> Vec<Step> {
    let faults = [Step::Nothing, Step::Fault(Fault::Xrun), Step::Fault(Fault::Suspended), Step::Fault(Fault::Xrun)];
    let mut steps = vec![Step::Period; 4];
    for fault in faults {
        steps.extend([fault, Step::Period, Step::Period]);
    }
    steps
}

/// What is planted: an allocation, or a system call that nobody needs.
fn vector() {
    std::hint::black_box(Vec::<u8>::with_capacity(std::hint::black_box(64)));
}

fn parent() {
    std::hint::black_box(std::os::unix::process::parent_id());
}

/// Goal: the rule holds on all paths of both loops, and all that the device gave and took is there.
#[test]
fn loops_keep_the_rule_through_every_fault() {
    let mut verdict = run_capture(bad_day(), &[]);
    verdict.keeps_the_rule();
    assert_eq!(verdict.found.ended, Ended::Gone(0), "the script is over");
    assert_eq!(verdict.samples, Script::captured(12), "no sample is lost or doubled");
    let events = verdict.events();
    assert_eq!(events.iter().filter(|event| matches!(event, DeviceEvent::Xrun { .. })).count(), 2);
    assert_eq!(events.iter().filter(|event| matches!(event, DeviceEvent::Resumed)).count(), 1);

    let sound: Vec<i16> = (1..=4 * PERIOD as i16).collect();
    let verdict = run_playback(bad_day(), &sound, &[]);
    verdict.keeps_the_rule();
    assert_eq!(verdict.samples[..sound.len()], sound, "sound comes first");
    assert!(verdict.samples[sound.len()..].iter().all(|sample| *sample == 0), "and silence when there is none");
    assert_eq!(verdict.reports.counters.starved.load(Ordering::Relaxed), 1, "which is one want, however long");
}

/// Goal: a device that is gone ends the loop, within the rule, with the system's number.
#[test]
fn a_device_that_is_gone_ends_the_loop() {
    let steps = || vec![Step::Period, Step::Fault(Fault::Gone(libc::ENODEV))];
    for verdict in [run_capture(steps(), &[]), run_playback(steps(), &[], &[])] {
        assert_eq!(verdict.found.ended, Ended::Gone(libc::ENODEV));
        verdict.keeps_the_rule();
    }
}

/// Goal: a device that wakes the thread and gives nothing, or fails again and again, does not keep a core busy.
#[test]
fn a_broken_device_is_given_up() {
    for step in [Step::Empty, Step::Fault(Fault::Xrun)] {
        let verdict = run_capture(vec![step; 5_000], &[]);
        assert_eq!(verdict.found.ended, Ended::Stalled);
        verdict.keeps_the_rule();
    }
}

/// Goal: a loudspeaker whose wake-ups come too late for its periods is given up for longer ones, within the rule, and
/// only if there are longer ones.
#[test]
fn a_loudspeaker_that_runs_dry_again_and_again_is_to_have_longer_periods() {
    let dry = || [Step::Period, Step::Fault(Fault::Xrun)].repeat(8);
    for (may_grow, ended, xruns) in [(true, Ended::RanDry, 5), (false, Ended::Gone(0), 8)] {
        let verdict = run_playback_with(Lead { periods: 3, may_grow }, dry(), &[], &[]);
        assert_eq!(verdict.found.ended, ended);
        assert_eq!(verdict.reports.counters.xruns.load(Ordering::Relaxed), xruns);
        verdict.keeps_the_rule();
    }
}

/// Goal: the checks see what they should. Method: a `Vec` and a `getppid`, each planted into both loops.
#[test]
fn what_is_planted_turns_red() {
    for (planted, is_call) in [(vector as fn(), false), (parent as fn(), true)] {
        let steps = || vec![Step::Period, Step::Planted(planted), Step::Period];
        for verdict in [run_capture(steps(), &[]), run_playback(steps(), &[], &[])] {
            assert_eq!((verdict.found.allocations > 0, verdict.found.forbidden_calls), (!is_call, is_call));
        }
    }
}

/// Goal: ALSA itself, as we call it, keeps the rule; a device without a clock is refused soon. Method: its `null`
/// device, both ways.
#[test]
fn alsa_keeps_the_rule_as_we_call_it() {
    #[cfg(target_arch = "x86_64")]
    let calls = [libc::SYS_poll, libc::SYS_ppoll, libc::SYS_ioctl];
    #[cfg(not(target_arch = "x86_64"))]
    let calls = [libc::SYS_ppoll, libc::SYS_ioctl];
    for verdict in [run_capture(Device::Null, &calls), run_playback(Device::Null, &[1; 4_800], &calls)] {
        assert_eq!(verdict.found.ended, Ended::NoClock);
        verdict.keeps_the_rule();
    }
}
