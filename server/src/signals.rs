//! SIGINT and SIGTERM, which ask the server to stop in order.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the main thread looks whether a shard has ended by itself.
const WATCH: Duration = Duration::from_millis(200);

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

    /// Returns when one has come, or when a shard has ended by itself; joining it tells why.
    pub fn wait<T>(&mut self, shards: &[JoinHandle<T>]) {
        let Self { runtime, interrupt, terminate } = self;
        runtime.block_on(async {
            let mut watch = tokio::time::interval(WATCH);
            while !shards.iter().any(JoinHandle::is_finished) {
                tokio::select! {
                    _ = interrupt.recv() => return,
                    _ = terminate.recv() => return,
                    _ = watch.tick() => {}
                }
            }
        });
    }
}
