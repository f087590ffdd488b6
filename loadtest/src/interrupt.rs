//! Ctrl-C and SIGTERM end a run in order, so that a server it started is stopped and its data removed.
//!
//! They are handled, not blocked: a child process would inherit a blocked signal, and the server not hear SIGTERM.
//! A second one, a while later, ends the program at once, and tells the server to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{Failure, Outcome};
use crate::server;

static WANTED: AtomicBool = AtomicBool::new(false);

/// A signal so long after the first is another one: a terminal or `timeout` may send the same twice.
const IMPATIENT: Duration = Duration::from_secs(1);

/// Exit code of a program that was interrupted, as shells give it.
const INTERRUPTED: i32 = 130;

/// Takes the signals from now on.
///
/// # Errors
/// The system gives no thread.
pub fn take_signals() -> Outcome<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::because("signals cannot be taken; start it from an ordinary shell", error))?;
    let wait = move || {
        let mut first = None;
        for _ in signals.forever() {
            WANTED.store(true, Ordering::Relaxed);
            if first.get_or_insert_with(Instant::now).elapsed() > IMPATIENT {
                server::stop_running();
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
