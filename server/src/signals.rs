//! SIGINT and SIGTERM, which ask the server to stop in order; a second one asks it to hurry. SIGHUP, which asks it to
//! read its settings again; or to stop, if it comes because the terminal is gone.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To stop.
    Stop,
    /// To read the settings again.
    Reload,
    /// Nobody asked; what was waited for has come.
    Over,
}

/// Caught from when this is made, so that none is missed between the summary and the wait.
pub struct Signals {
    runtime: tokio::runtime::Runtime,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    had_terminal: bool,
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
        let hangup = signal(SignalKind::hangup())?;
        drop(within);
        Ok(Self { runtime, interrupt, terminate, hangup, had_terminal: has_terminal() })
    }

    /// Waits until one has come, or until `over`, which is asked that often.
    pub fn wait(&mut self, often: Duration, mut over: impl FnMut() -> bool) -> Asked {
        let Self { runtime, interrupt, terminate, hangup, had_terminal } = self;
        runtime.block_on(async {
            let mut watch = tokio::time::interval(often);
            watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = interrupt.recv() => return Asked::Stop,
                    _ = terminate.recv() => return Asked::Stop,
                    // The system takes a terminal away before it says so.
                    _ = hangup.recv() => return if *had_terminal && !has_terminal() { Asked::Stop } else { Asked::Reload },
                    _ = watch.tick() => if over() { return Asked::Over },
                }
            }
        })
    }
}

fn has_terminal() -> bool {
    io::stderr().is_terminal() || io::stdin().is_terminal()
}
