//! SIGINT and SIGTERM, which ask the server to stop in order; a second one asks it to hurry.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Caught from when this is made, so that none is missed between the summary and the wait.
pub struct Signals {
    runtime: tokio::runtime::Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches from here on.
    ///
    /// # Errors
    /// The system gives no handler.
    pub fn catch() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let within = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(within);
        Ok(Self { runtime, interrupt, terminate })
    }

    /// Waits until one has come, which is true, or until `over`, which is asked that often.
    pub fn wait(&mut self, often: Duration, mut over: impl FnMut() -> bool) -> bool {
        let Self { runtime, interrupt, terminate } = self;
        runtime.block_on(async {
            let mut watch = tokio::time::interval(often);
            watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = interrupt.recv() => return true,
                    _ = terminate.recv() => return true,
                    _ = watch.tick() => if over() { return false },
                }
            }
        })
    }
}
