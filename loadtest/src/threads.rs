//! Threads with clients, each on its core, while the main thread tells how far they are.
//!
//! Bounds: as many threads as the `Bench` says. A thread that panics stops the process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use crate::bench::{self, Bench};
use crate::client::Wanted;
use crate::failure::{Failure, Outcome};
use crate::fleet::{Concurrency, Fleet};

/// Between two looks of the main thread at how far the others are.
const LOOK: Duration = Duration::from_millis(20);

/// A thread of the scope, on its core.
///
/// # Errors
/// The system gives no thread.
pub fn on_core<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    core: Option<u32>,
    work: impl FnOnce() -> Outcome<T> + Send + 'scope,
) -> Outcome<ScopedJoinHandle<'scope, Outcome<T>>> {
    let pinned = move || {
        if let Some(core) = core {
            core_affinity::set_for_current(core_affinity::CoreId { id: core as usize });
        }
        bench::exact_sleep();
        work()
    };
    let spawned = std::thread::Builder::new().name("clients".to_owned()).spawn_scoped(scope, pinned);
    spawned.map_err(|error| Failure::because("the system gives no thread; raise `ulimit -u`", error))
}

/// What all threads gave, in their order.
///
/// # Errors
/// The first thread's that failed.
pub fn join<T>(handles: Vec<ScopedJoinHandle<'_, Outcome<T>>>) -> Outcome<Vec<T>> {
    handles.into_iter().map(|handle| handle.join().expect("a thread of clients panicked")).collect()
}

/// Does `work` on one thread, on the generator's first core; it counts what is done for the user to see.
///
/// # Errors
/// That of `work`.
pub fn alone<T: Send>(bench: &Bench, doing: &str, work: impl FnOnce(&AtomicUsize) -> Outcome<T> + Send) -> Outcome<T> {
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let handle = on_core(scope, bench.cores.first().copied(), || work(&done))?;
        while !handle.is_finished() {
            std::thread::sleep(LOOK);
            bench.progress.say(&format!("{doing}, {} done", done.load(Ordering::Relaxed)));
        }
        handle.join().expect("a thread of clients panicked")
    })
}

/// Connects `clients` clients, number `n` on the fleet `n % fleets.len()`.
///
/// # Errors
/// As for `Fleet::connect`.
pub fn connect(bench: &Bench, fleets: &mut [Fleet], clients: usize, wanted: impl Fn(usize) -> Wanted) -> Outcome<()> {
    let threads = fleets.len();
    let done = AtomicUsize::new(0);
    let limits = Concurrency { connections: bench.connections / threads, logins: (bench.logins / threads).max(1) };
    let parts: Vec<Vec<Wanted>> =
        (0..threads).map(|thread| (thread..clients).step_by(threads).map(&wanted).collect()).collect();
    std::thread::scope(|scope| {
        let mut handles = Vec::with_capacity(threads);
        for (thread, (fleet, part)) in fleets.iter_mut().zip(&parts).enumerate() {
            let (done, core) = (&done, bench.cores.get(thread).copied());
            handles.push(on_core(scope, core, move || fleet.connect(part, limits, done))?);
        }
        while handles.iter().any(|handle| !handle.is_finished()) {
            std::thread::sleep(LOOK);
            bench.progress.say(&format!("{} of {clients} clients connected", done.load(Ordering::Relaxed)));
        }
        join(handles).map(drop)
    })
}
