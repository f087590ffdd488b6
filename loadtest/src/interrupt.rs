//! Ctrl-C and SIGTERM end a run in order, so that a server it started is stopped and its data removed.
//!
//! The signals are blocked in every thread and taken by one that does nothing else; child processes begin with none
//! blocked (the standard library sees to it). A second one ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};

use crate::failure::{Failure, Outcome};

static WANTED: AtomicBool = AtomicBool::new(false);

/// Exit code of a program that was interrupted, as shells give it.
const INTERRUPTED: i32 = 130;

/// Takes the signals from now on. Call it before any other thread is made.
///
/// # Errors
/// The system gives no thread.
pub fn take_signals() -> Outcome<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block().map_err(|error| Failure::because("signals cannot be blocked", error))?;
    let wait = move || {
        while set.wait().is_ok() {
            if WANTED.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map(drop)
        .map_err(|error| Failure::because("the system gives no thread; raise `ulimit -u`", error))
}

/// Whether the user wants to stop.
pub fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}
